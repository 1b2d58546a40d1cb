/* Bundles of one tiny model in any format, made without any algorithm: every linear of its blocks has random codes
 * and scales of a chosen scheme, so that what a format stores can be compared with what went in. */
#ifndef GS_TESTS_DEPLOY_FORMATS_SUPPORT_H
#define GS_TESTS_DEPLOY_FORMATS_SUPPORT_H

#include "made_param.h"

#include <api/opened.h>
#include <base/half.h>
#include <base/json.h>
#include <base/mem.h>
#include <deploy/bundle_writer.h>
#include <loaders/shards.h>
#include <network/rewrite.h>
#include <sys/stat.h>
#include <tests/support.h>
#include <tests/tiny_model.h>

/* What every linear of a block becomes. */
typedef struct recipe {
    const gs_bundle_format *format;
    gs_scheme scheme;
    gs_dtype dtype;      /* of the bundle; scales are rounded to it */
    gs_target target;
    int64_t group;       /* 0: per channel */
    bool symmetric;      /* static activations: offset 0, else -7 */
    bool bare;           /* static linears lack deq_scale and quant_bias */
    bool bias;
    float weight_offset; /* of every row */
    const char *left;    /* a word: linears with it in their name stay float */
    const char *odd;     /* a word: static linears with it have another input scale */
    double odd_scale;    /* factor of their scales of weights; 0: 1 */
    int threads;
    uint64_t shard;
} recipe;

typedef struct fixture {
    char *root;
    char model[1100], bundle[1200];
    gs_opened source;
} fixture;

static inline void fixture_begin(fixture *f, const tiny_shape *shape) {
    gs_error err = {0};
    f->root = gs_test_tmpdir();
    snprintf(f->model, sizeof f->model, "%s/model", f->root);
    snprintf(f->bundle, sizeof f->bundle, "%s/bundle", f->root);
    assert_int_equal(mkdir(f->model, 0755), 0);
    tiny_model(f->model, shape, 3);
    assert_ok(gs_opened_open(NULL, f->model, NULL, &f->source, &err), &err);
}

static inline void fixture_end(fixture *f) {
    gs_opened_close(&f->source);
    gs_test_rmdir(f->root);
}

/* ---- the network that is written ---- */

static inline void made_constants(gs_net *net, gs_node *node, const recipe *r, int64_t n, uint64_t *seed) {
    int32_t *bias = made_param(net, node, GS_ROLE_QUANT_BIAS, GS_I32, 1, n, 0);
    void *deq = made_param(net, node, GS_ROLE_DEQ_SCALE, r->dtype == GS_BF16 ? GS_F32 : GS_I64, 1, n, 0);
    for (int64_t i = 0; i < n; i++) {
        float d = 1e-4f + 1e-6f * gs_test_randf(seed);
        uint32_t bits;
        memcpy(&bits, &d, sizeof bits);
        bias[i] = (int32_t)(gs_test_rand(seed) % 2000) - 1000;
        if (r->dtype == GS_BF16) ((float *)deq)[i] = d;
        else ((int64_t *)deq)[i] = bits;
    }
}

static inline void made_linear(gs_net *net, gs_node *node, const recipe *r, uint64_t *seed) {
    gs_error err = {0};
    gs_attr attr = {.quant = {.scheme = r->scheme, .compute = r->dtype}};
    int64_t n, k;
    bool odd = r->odd && strstr(node->name, r->odd), fixed = r->scheme == GS_SCHEME_W8A8 || r->scheme == GS_SCHEME_W8A8_MIX;
    gs_param_matrix(node->param[GS_ROLE_WEIGHT], &n, &k);
    int64_t groups = r->group ? k / r->group : 1;
    assert_ok(gs_net_replace(net, node, GS_OP_QLINEAR, &attr, &node, &err), &err);
    int8_t *q = made_param(net, node, GS_ROLE_WEIGHT, GS_I8, 2, n, k);
    float *scale = made_param(net, node, GS_ROLE_WEIGHT_SCALE, GS_F32, 2, n, groups);
    float *offset = made_param(net, node, GS_ROLE_WEIGHT_OFFSET, GS_F32, 2, n, groups);
    for (int64_t i = 0; i < n * k; i++) q[i] = (int8_t)(gs_test_rand(seed) & 0xff);
    for (int64_t i = 0; i < n * groups; i++) {
        scale[i] = gs_round_to(r->dtype, 0.002f + 0.001f * gs_test_randf(seed));
        if (odd && r->odd_scale != 0) scale[i] *= (float)r->odd_scale;
        offset[i] = r->weight_offset;
    }
    if (r->bias) {
        float *b = made_param(net, node, GS_ROLE_BIAS, GS_F32, 1, n, 0);
        for (int64_t i = 0; i < n; i++) b[i] = gs_round_to(r->dtype, gs_test_randf(seed));
    }
    if (!fixed) return;
    *(float *)made_param(net, node, GS_ROLE_INPUT_SCALE, GS_F32, 1, 1, 0) = gs_round_to(r->dtype, odd && r->odd_scale == 0 ? 0.02f : 0.03f);
    *(float *)made_param(net, node, GS_ROLE_INPUT_OFFSET, GS_F32, 1, 1, 0) = r->symmetric ? 0 : -7;
    if (!r->bare) made_constants(net, node, r, n, seed);
}

/* Segment i as it is to be written; the same at every call. */
static inline gs_net *made_segment(const fixture *f, int i, const recipe *r) {
    gs_error err = {0};
    gs_net *net;
    uint64_t seed = 100 + (uint64_t)i;
    assert_ok(gs_model_segment(f->source.model, i, &net, &err), &err);
    for (int n = 0; n < gs_net_node_count(net); n++) {
        gs_node *node = gs_net_node(net, n);
        if (node->op != GS_OP_LINEAR || !strstr(node->name, "layers.") || r->scheme == GS_SCHEME_FLOAT) continue;
        if (r->left && strstr(node->name, r->left)) continue;
        made_linear(net, node, r, &seed);
    }
    return net;
}

/* ---- writing it ---- */

static inline gs_status made_pass(gs_bundle_writer *w, const fixture *f, const recipe *r, bool bytes, gs_error *err) {
    gs_status status = GS_OK;
    for (int i = 0; i < gs_model_segments(f->source.model) && status == GS_OK; i++) {
        gs_net *net = made_segment(f, i, r);
        status = bytes ? gs_bundle_writer_write(w, net, err) : gs_bundle_writer_plan(w, net, err);
        gs_net_destroy(net);
    }
    return status;
}

static inline gs_bundle_options made_options(const fixture *f, const recipe *r) {
    return (gs_bundle_options){.source = gs_model_checkpoint(f->source.model), .dtype = r->dtype, .target = r->target,
                               .embed = "model.embed_tokens", .head = "lm_head",
                               .tied = gs_model_settings(f->source.model)->tied, .act_symmetric = r->symmetric,
                               .max_shard_bytes = r->shard};
}

static inline gs_status made_write(const fixture *f, const char *path, const recipe *r, gs_error *err) {
    gs_context cx = {0};
    gs_bundle_writer *w = NULL;
    uint64_t bytes;
    gs_bundle_options o = made_options(f, r);
    if (r->threads) assert_ok(gs_team_create(NULL, r->threads, &cx.team, err), err);
    gs_status status = gs_bundle_writer_create(&cx, r->format, path, &o, &w, err);
    if (status == GS_OK) status = made_pass(w, f, r, false, err);
    if (status == GS_OK) status = gs_bundle_writer_begin(w, err);
    if (status == GS_OK) status = made_pass(w, f, r, true, err);
    if (status == GS_OK) {
        status = gs_bundle_writer_finish(w, &bytes, err);
        w = NULL;
    }
    gs_bundle_writer_abort(w);
    gs_team_destroy(cx.team);
    return status;
}

/* ---- looking at it ---- */

static inline cJSON *made_json(const char *bundle, const char *name) {
    gs_error err = {0};
    char path[1300];
    cJSON *json;
    snprintf(path, sizeof path, "%s/%s", bundle, name);
    assert_ok(gs_json_load(path, 1 << 20, &json, &err), &err);
    return json;
}

static inline const gs_tensor *made_tensor(const gs_tensor *t, const char *name, gs_dtype dtype, int ndim, int64_t a, int64_t b) {
    if (!t) fail_msg("%s is not stored", name);
    if (t->dtype != dtype || t->ndim != ndim || t->shape[0] != a || (ndim > 1 && t->shape[1] != b))
        fail_msg("%s is %s [%lld, %lld]", name, gs_dtype_name(t->dtype), (long long)t->shape[0], (long long)t->shape[1]);
    return t;
}

/* Tensor "<stem><suffix>", of that type and shape; b 0: a vector. */
static inline const uint8_t *made_bytes(const gs_shards *s, const char *stem, const char *suffix, gs_dtype dtype, int64_t a,
                                        int64_t b) {
    char name[256];
    snprintf(name, sizeof name, "%s%s", stem, suffix);
    return made_tensor(gs_shards_find(s, name), name, dtype, b ? 2 : 1, a, b)->data;
}

static inline float made_float(const uint8_t *data, gs_dtype dtype, int64_t i) {
    float x;
    uint16_t h;
    if (dtype == GS_F32) {
        memcpy(&x, data + 4 * i, 4);
        return x;
    }
    memcpy(&h, data + 2 * i, 2);
    return dtype == GS_F16 ? gs_f16_to_f32(h) : gs_bf16_to_f32(h);
}

/* Calls check for every quantized linear of the network that was written. */
typedef void made_check(const gs_shards *s, const gs_node *node, const recipe *r, int64_t n, int64_t k);
static inline int made_each(const fixture *f, const gs_shards *s, const recipe *r, made_check *check) {
    int count = 0;
    for (int i = 0; i < gs_model_segments(f->source.model); i++) {
        gs_net *net = made_segment(f, i, r);
        for (int j = 0; j < gs_net_node_count(net); j++) {
            const gs_node *node = gs_net_node(net, j);
            int64_t n, k;
            if (node->op != GS_OP_QLINEAR) continue;
            gs_param_matrix(node->param[GS_ROLE_WEIGHT], &n, &k);
            check(s, node, r, n, k);
            count++;
        }
        gs_net_destroy(net);
    }
    return count;
}

#endif
