#include <base/mem.h>
#include <kernels/conv/conv.h>
#include <kernels/onednn/onednn.h>
#include <stdatomic.h>
#include <string.h>

/* Elements of a tensor of up to four extents, each >= 1; false beyond what memory can hold. */
static bool elements(int64_t a, int64_t b, int64_t c, int64_t d, size_t *out) {
    size_t n, bytes;
    return gs_mul_size((size_t)a, (size_t)b, &n) && gs_mul_size(n, (size_t)c, &n) &&
           gs_mul_size(n, (size_t)d, out) && gs_mul_size(*out, sizeof(float), &bytes) &&
           bytes <= PTRDIFF_MAX;
}

/* Positions of a window of `kernel` dilated elements along `size` padded ones; 0: none. */
static int64_t positions(const gs_conv2d_shape *s, int64_t size, int64_t kernel) {
    int64_t padded = size + 2 * s->padding, reach = s->dilation * (kernel - 1) + 1;
    return padded < reach ? 0 : (padded - reach) / s->stride + 1;
}

gs_status gs_conv2d_output(const gs_conv2d_shape *s, int64_t *out_h, int64_t *out_w,
                           gs_error *err) {
    /* far above any image, and low enough that no sum or product below overflows */
    const int64_t limit = (int64_t)1 << 30;
    const int64_t extents[] = {s->batch,        s->in_channels, s->height,   s->width,
                               s->out_channels, s->kernel_h,    s->kernel_w, s->stride,
                               s->dilation,     s->groups};
    for (size_t i = 0; i < GS_COUNTOF(extents); i++)
        if (extents[i] < 1 || extents[i] > limit)
            return GS_FAIL(err, GS_E_INVALID, "convolution with an extent of %lld",
                           (long long)extents[i]);
    if (s->padding < 0 || s->padding > limit)
        return GS_FAIL(err, GS_E_INVALID, "convolution with padding %lld",
                       (long long)s->padding);
    if (s->in_channels % s->groups || s->out_channels % s->groups)
        return GS_FAIL(
            err, GS_E_INVALID, "convolution of %lld to %lld channels in %lld groups",
            (long long)s->in_channels, (long long)s->out_channels, (long long)s->groups);
    int64_t h = positions(s, s->height, s->kernel_h), w = positions(s, s->width, s->kernel_w);
    if (!h || !w)
        return GS_FAIL(err, GS_E_INVALID,
                       "a %lld x %lld kernel does not fit in a %lld x %lld image",
                       (long long)s->kernel_h, (long long)s->kernel_w, (long long)s->height,
                       (long long)s->width);
    size_t n;
    if (!elements(s->batch, s->in_channels, s->height, s->width, &n) ||
        !elements(s->batch, s->out_channels, h, w, &n) ||
        !elements(s->out_channels, s->in_channels / s->groups, s->kernel_h, s->kernel_w, &n))
        return GS_FAIL(err, GS_E_INVALID,
                       "convolution of %lld images of %lld x %lld x %lld is too large",
                       (long long)s->batch, (long long)s->in_channels, (long long)s->height,
                       (long long)s->width);
    *out_h = h;
    *out_w = w;
    return GS_OK;
}

/* One image's convolution. oneDNN chooses the layouts; src and dst are plain outside. */
typedef struct conv_plan {
    gs_dnnl_op op;
    gs_dnnl_md src, weights, bias, dst; /* plain */
    gs_dnnl_md any_src, any_weights, any_dst;
    size_t src_bytes, dst_bytes, worker_bytes;
    void *packed; /* the weights in the layout of op */
    char *scratch;
} conv_plan;

typedef struct conv_job {
    const conv_plan *plan;
    const float *x, *bias;
    float *y;
    size_t in_image, out_image; /* elements */
    atomic_int status;
} conv_job;

static void clear_plan(conv_plan *p) {
    gs_dnnl_op_clear(&p->op);
    gs_dnnl_md *all[] = {&p->src,     &p->weights,     &p->bias,   &p->dst,
                         &p->any_src, &p->any_weights, &p->any_dst};
    for (size_t i = 0; i < GS_COUNTOF(all); i++) gs_dnnl_md_clear(all[i]);
    gs_free(p->packed);
    gs_free(p->scratch);
}

static gs_status plain_and_any(gs_dnnl_md *plain, gs_dnnl_md *any, int ndims,
                               const int64_t *dims, gs_error *err) {
    int64_t strides[5];
    strides[ndims - 1] = 1;
    for (int i = ndims - 2; i >= 0; i--) strides[i] = strides[i + 1] * dims[i + 1];
    GS_TRY(gs_dnnl_md_init(plain, dnnl_f32, ndims, dims, strides, err));
    return any ? gs_dnnl_md_init(any, dnnl_f32, ndims, dims, NULL, err) : GS_OK;
}

static gs_status describe(conv_plan *p, const gs_conv2d_shape *s, int64_t out_h,
                          int64_t out_w, bool has_bias, gs_error *err) {
    const int64_t src[4] = {1, s->in_channels, s->height, s->width};
    const int64_t dst[4] = {1, s->out_channels, out_h, out_w};
    const int64_t weights[5] = {s->groups, s->out_channels / s->groups,
                                s->in_channels / s->groups, s->kernel_h, s->kernel_w};
    const int grouped = s->groups > 1;
    GS_TRY(plain_and_any(&p->src, &p->any_src, 4, src, err));
    GS_TRY(plain_and_any(&p->dst, &p->any_dst, 4, dst, err));
    GS_TRY(plain_and_any(&p->weights, &p->any_weights, grouped ? 5 : 4,
                         grouped ? weights : weights + 1, err));
    if (has_bias) GS_TRY(plain_and_any(&p->bias, NULL, 1, &s->out_channels, err));
    const int64_t strides[2] = {s->stride, s->stride};
    const int64_t dilates[2] = {s->dilation - 1, s->dilation - 1};
    const int64_t low[2] = {s->padding, s->padding};
    /* oneDNN wants the high padding to fit the output size exactly */
    int64_t high[2] = {(out_h - 1) * s->stride + s->dilation * (s->kernel_h - 1) + 1 -
                           s->height - s->padding,
                       (out_w - 1) * s->stride + s->dilation * (s->kernel_w - 1) + 1 -
                           s->width - s->padding};
    return gs_dnnl_convolution(&p->op, gs_dnnl_md_get(&p->any_src),
                               gs_dnnl_md_get(&p->any_weights),
                               has_bias ? gs_dnnl_md_get(&p->bias) : NULL,
                               gs_dnnl_md_get(&p->any_dst), strides, dilates, low, high, err);
}

static size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

static gs_status allocate(conv_plan *p, const float *w, int workers, gs_error *err) {
    size_t bytes = dnnl_memory_desc_get_size(gs_dnnl_op_weights(&p->op));
    p->packed = gs_alloc(bytes);
    if (!p->packed) return gs_error_nomem(err, bytes);
    GS_TRY(gs_dnnl_reorder(gs_dnnl_md_get(&p->weights), w, gs_dnnl_op_weights(&p->op),
                           p->packed, err));
    p->src_bytes = padded(dnnl_memory_desc_get_size(gs_dnnl_op_src(&p->op)));
    p->dst_bytes = padded(dnnl_memory_desc_get_size(gs_dnnl_op_dst(&p->op)));
    p->worker_bytes = p->src_bytes + p->dst_bytes + padded(p->op.scratch_bytes);
    if (!gs_mul_size((size_t)workers, p->worker_bytes, &bytes))
        return gs_error_nomem(err, SIZE_MAX);
    p->scratch = gs_alloc(bytes);
    return p->scratch ? GS_OK : gs_error_nomem(err, bytes);
}

static gs_status run_image(const conv_job *job, int64_t image, char *scratch) {
    const conv_plan *p = job->plan;
    void *src = scratch, *dst = scratch + p->src_bytes,
         *work = scratch + p->src_bytes + p->dst_bytes;
    const float *x = job->x + (size_t)image * job->in_image;
    GS_TRY(gs_dnnl_reorder(gs_dnnl_md_get(&p->src), x, gs_dnnl_op_src(&p->op), src, NULL));
    gs_dnnl_arg args[4] = {{DNNL_ARG_SRC, gs_dnnl_op_src(&p->op), src},
                           {DNNL_ARG_WEIGHTS, gs_dnnl_op_weights(&p->op), p->packed},
                           {DNNL_ARG_DST, gs_dnnl_op_dst(&p->op), dst},
                           {DNNL_ARG_BIAS, gs_dnnl_md_get(&p->bias), NULL}};
    memcpy(&args[3].data, &job->bias, sizeof job->bias); /* only read */
    GS_TRY(gs_dnnl_execute(&p->op, job->bias ? 4 : 3, args, work, NULL));
    return gs_dnnl_reorder(gs_dnnl_op_dst(&p->op), dst, gs_dnnl_md_get(&p->dst),
                           job->y + (size_t)image * job->out_image, NULL);
}

static void run_images(void *ctx, int64_t begin, int64_t end, int worker) {
    conv_job *job = ctx;
    for (int64_t i = begin; i < end; i++) {
        gs_status status =
            run_image(job, i, job->plan->scratch + (size_t)worker * job->plan->worker_bytes);
        if (status != GS_OK) atomic_store(&job->status, (int)status);
    }
}

gs_status gs_conv2d_run(gs_team *team, const gs_conv2d_shape *s, const float *x,
                        const float *w, const float *bias, float *y, gs_error *err) {
    int64_t out_h, out_w;
    GS_TRY(gs_conv2d_output(s, &out_h, &out_w, err));
    conv_plan plan;
    memset(&plan, 0, sizeof plan);
    gs_status status;
    GS_TRY_GOTO(status, done, describe(&plan, s, out_h, out_w, bias != NULL, err));
    GS_TRY_GOTO(status, done, allocate(&plan, w, gs_team_size(team), err));
    conv_job job = {.plan = &plan, .x = x, .bias = bias, .y = y};
    job.in_image = (size_t)(s->in_channels * s->height * s->width);
    job.out_image = (size_t)(s->out_channels * out_h * out_w);
    gs_team_for(team, s->batch, 1, run_images, &job);
    status = (gs_status)atomic_load(&job.status);
    if (status != GS_OK) GS_FAIL(err, status, "convolution failed in %s", gs_dnnl_name());
done:
    clear_plan(&plan);
    return status;
}
