/* Image operations, NCHW f32, forward. Convolution through oneDNN; plain loops are the
 * reference. Backward passes will stand beside them. */
#ifndef GS_KERNELS_CONV_H
#define GS_KERNELS_CONV_H

#include <base/team.h>

typedef struct gs_conv2d_shape {
    int64_t batch, in_channels, height, width;
    int64_t out_channels, kernel_h, kernel_w;
    int64_t stride, padding, dilation, groups; /* same in both directions; dilation 1 = dense */
} gs_conv2d_shape;

/* GS_E_INVALID when sizes do not fit together or overflow; no extent is above 2^30. */
gs_status gs_conv2d_output(const gs_conv2d_shape *s, int64_t *out_h, int64_t *out_w, gs_error *err) GS_NODISCARD;
/* x: [batch, in_channels, height, width]; w: [out_channels, in_channels/groups, kernel_h,
 * kernel_w]; bias: [out_channels] or NULL; y: [batch, out_channels, out_h, out_w]. The batch is
 * split over the team, one image a piece. */
gs_status gs_conv2d_run(gs_team *team, const gs_conv2d_shape *s, const float *x, const float *w,
                        const float *bias, float *y, gs_error *err) GS_NODISCARD;
/* The specification: double accumulation, rounded once. Does nothing for a refused shape. */
void gs_conv2d_reference(const gs_conv2d_shape *s, const float *x, const float *w, const float *bias, float *y);

/* Inference batch normalisation (Ioffe and Szegedy 2015, alg. 2), per channel:
 * y = (x - mean)/sqrt(var + eps)*gamma + beta, as y = x*a + b with a, b rounded to f32.
 * x, y: [batch, channels, spatial]. */
void gs_batchnorm2d_run(int64_t batch, int64_t channels, int64_t spatial, const float *x,
                        const float *gamma, const float *beta, const float *mean, const float *var,
                        float eps, float *y);

#endif
