#include <network/rewrite.h>

#include <base/mem.h>
#include <network/net_private.h>

#include <math.h>

/* One convolution with its norm, and the params that take the norm in. */
typedef struct fold {
    gs_node *conv, *norm;
    gs_param *weight, *bias;
} fold;

static const gs_pattern conv_norm = {
    .count = 2,
    .node = {{GS_OP_CONV2D, {-1}}, {GS_OP_BATCHNORM2D, {0}}},
};

/* The norm's per-channel values and the old bias (zeros without one), [channels] each. */
typedef struct channels {
    float *gamma, *beta, *mean, *variance, *bias;
} channels;

static gs_status read_channels(const fold *f, int64_t n, float *store, channels *out, gs_error *err) {
    *out = (channels){store, store + n, store + 2 * n, store + 3 * n, store + 4 * n};
    float *const into[] = {out->gamma, out->beta, out->mean, out->variance};
    static const gs_role role[] = {GS_ROLE_WEIGHT, GS_ROLE_BIAS, GS_ROLE_MEAN, GS_ROLE_VARIANCE};
    for (size_t i = 0; i < GS_COUNTOF(role); i++) {
        const gs_param *p = f->norm->param[role[i]];
        if (!p || p->ndim != 1 || p->shape[0] != n)
            return GS_FAIL(err, GS_E_INVALID, "'%s' has no %s [%lld]", f->norm->name,
                           gs_role_name(role[i]), (long long)n);
        GS_TRY(gs_param_read_f32(p, 0, 1, into[i], err));
    }
    const gs_param *bias = f->conv->param[GS_ROLE_BIAS];
    if (!bias) return GS_OK; /* the store is zeroed */
    if (bias->ndim != 1 || bias->shape[0] != n)
        return GS_FAIL(err, GS_E_INVALID, "'%s' has no bias [%lld]", f->conv->name, (long long)n);
    return gs_param_read_f32(bias, 0, 1, out->bias, err);
}

static gs_status make_params(fold *f, gs_error *err) {
    const gs_param *w = f->conv->param[GS_ROLE_WEIGHT], *b = f->conv->param[GS_ROLE_BIAS];
    gs_strbuf name = {0};
    if (b)
        gs_strbuf_puts(&name, b->name);
    else
        gs_strbuf_printf(&name, "%s.%s", f->conv->name, gs_role_name(GS_ROLE_BIAS));
    if (name.failed) {
        gs_strbuf_clear(&name);
        return gs_error_nomem(err, 256);
    }
    gs_status status =
        gs_param_create(GS_ROLE_WEIGHT, w->name, GS_F32, w->ndim, w->shape, NULL, &f->weight, err);
    if (status == GS_OK) status = gs_param_allocate(f->weight, err);
    if (status == GS_OK)
        status = gs_param_create(GS_ROLE_BIAS, gs_strbuf_text(&name), GS_F32, 1, w->shape, NULL,
                                 &f->bias, err);
    if (status == GS_OK) status = gs_param_allocate(f->bias, err);
    gs_strbuf_clear(&name);
    return status;
}

static gs_status compute(fold *f, gs_error *err) {
    const gs_param *w = f->conv->param[GS_ROLE_WEIGHT];
    if (!w || w->ndim != 4)
        return GS_FAIL(err, GS_E_INVALID, "'%s' has no weight of 4 dimensions", f->conv->name);
    int64_t n = w->shape[0], per_channel = n ? gs_param_count(w) / n : 0;
    double eps = (double)f->norm->attr.eps;
    channels c;
    float *store = gs_calloc((size_t)n, 5 * sizeof *store);
    if (!store) return gs_error_nomem(err, (size_t)n * 5 * sizeof *store);
    gs_status status = read_channels(f, n, store, &c, err);
    if (status == GS_OK) status = make_params(f, err);
    if (status == GS_OK) {
        int64_t rows, cols;
        gs_param_matrix(w, &rows, &cols);
        status = gs_param_read_f32(w, 0, rows, f->weight->data, err);
    }
    for (int64_t i = 0; i < n && status == GS_OK; i++) {
        double variance = (double)c.variance[i] + eps;
        if (!(variance > 0) || isinf(variance)) {
            status = GS_FAIL(err, GS_E_NUMERIC, "'%s': variance + eps is %g in channel %lld",
                             f->norm->name, variance, (long long)i);
            break;
        }
        double a = (double)c.gamma[i] / sqrt(variance);
        float *row = (float *)f->weight->data + i * per_channel;
        for (int64_t k = 0; k < per_channel; k++) row[k] = (float)((double)row[k] * a);
        ((float *)f->bias->data)[i] =
            (float)(((double)c.bias[i] - (double)c.mean[i]) * a + (double)c.beta[i]);
    }
    gs_free(store);
    return status;
}

/* Cannot fail: the norm has one input, and the convolution is no net output. */
static gs_status commit(gs_net *net, fold *f, gs_error *err) {
    GS_TRY(gs_net_erase(net, f->norm, err));
    gs_node_param_put(f->conv, f->weight);
    gs_node_param_put(f->conv, f->bias);
    f->weight = f->bias = NULL;
    return GS_OK;
}

gs_status gs_net_fold_batchnorm(gs_net *net, int *count, gs_error *err) {
    gs_match m;
    int found = 0, at = 0;
    gs_status status = GS_OK;
    *count = 0;
    while (gs_net_match(net, &conv_norm, &at, &m)) found++;
    fold *folds = gs_calloc((size_t)found, sizeof *folds);
    if (!folds) return gs_error_nomem(err, (size_t)found * sizeof *folds);
    at = 0;
    for (int i = 0; i < found && status == GS_OK; i++) {
        if (!gs_net_match(net, &conv_norm, &at, &m)) break;
        folds[i] = (fold){.conv = m.node[0], .norm = m.node[1]};
        status = compute(&folds[i], err);
    }
    for (int i = 0; i < found && status == GS_OK; i++) status = commit(net, &folds[i], err);
    for (int i = 0; i < found; i++) {
        gs_param_destroy(folds[i].weight);
        gs_param_destroy(folds[i].bias);
    }
    gs_free(folds);
    if (status == GS_OK) *count = found;
    return status;
}
