#include <kernels/conv/conv.h>

/* One output element, in double: the window's elements that fall on the padding are zero. */
static double window_sum(const gs_conv2d_shape *s, const float *x, const float *w, int64_t oy,
                         int64_t ox) {
    int64_t depth = s->in_channels / s->groups;
    double sum = 0;
    for (int64_t c = 0; c < depth; c++) {
        for (int64_t ky = 0; ky < s->kernel_h; ky++) {
            int64_t iy = oy * s->stride - s->padding + ky * s->dilation;
            if (iy < 0 || iy >= s->height) continue;
            for (int64_t kx = 0; kx < s->kernel_w; kx++) {
                int64_t ix = ox * s->stride - s->padding + kx * s->dilation;
                if (ix < 0 || ix >= s->width) continue;
                sum += (double)x[(c * s->height + iy) * s->width + ix] *
                       (double)w[(c * s->kernel_h + ky) * s->kernel_w + kx];
            }
        }
    }
    return sum;
}

void gs_conv2d_reference(const gs_conv2d_shape *s, const float *x, const float *w,
                         const float *bias, float *y) {
    int64_t out_h, out_w;
    if (gs_conv2d_output(s, &out_h, &out_w, NULL) != GS_OK) return;
    int64_t depth = s->in_channels / s->groups, out_group = s->out_channels / s->groups;
    for (int64_t i = 0; i < s->batch * s->out_channels; i++) {
        int64_t image = i / s->out_channels, oc = i % s->out_channels;
        const float *in =
            x + (image * s->in_channels + oc / out_group * depth) * s->height * s->width;
        const float *kernel = w + oc * depth * s->kernel_h * s->kernel_w;
        for (int64_t j = 0; j < out_h * out_w; j++) {
            double sum = window_sum(s, in, kernel, j / out_w, j % out_w);
            y[i * out_h * out_w + j] = (float)(sum + (bias ? (double)bias[oc] : 0));
        }
    }
}
