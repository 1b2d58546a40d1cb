/* Bundles of one tiny model with linears of chosen schemes, made without any algorithm: codes and scales are
 * random, so that only writer and reader are looked at. And bundles broken on purpose. */
#ifndef GS_TESTS_DEPLOY_BUNDLE_SUPPORT_H
#define GS_TESTS_DEPLOY_BUNDLE_SUPPORT_H

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

typedef struct mixed_bundle {
    char *root;
    char model[1100], bundle[1100];
    gs_dtype dtype;
    gs_shards *weights;  /* as they were written */
    char *description;
} mixed_bundle;

/* Layer 0: attention W8A8, gate and up W8A8_DYNAMIC, down FLOAT. Layer 1: all W8A16 but o, W8A8. Layer 2 and the
 * head: FLOAT. */
static inline gs_scheme mixed_scheme(const char *node) {
    bool first = strstr(node, "layers.0.") != NULL, second = strstr(node, "layers.1.") != NULL;
    if (strstr(node, "o_proj")) return first || second ? GS_SCHEME_W8A8 : GS_SCHEME_FLOAT;
    if (second) return GS_SCHEME_W8A16;
    if (!first || strstr(node, "down_proj")) return GS_SCHEME_FLOAT;
    return strstr(node, "self_attn") ? GS_SCHEME_W8A8 : GS_SCHEME_W8A8_DYNAMIC;
}

/* Linears of one input share input_scale and input_offset: both come from the kind of the input alone. */
static inline void mixed_static(gs_net *net, gs_node *node, gs_dtype dtype, int64_t n, const float *scale,
                                uint64_t *seed) {
    float input = gs_round_to(dtype, strstr(node->name, "o_proj") ? 0.02f : 0.03f);
    *(float *)made_param(net, node, GS_ROLE_INPUT_SCALE, GS_F32, 1, 1, 0) = input;
    *(float *)made_param(net, node, GS_ROLE_INPUT_OFFSET, GS_F32, 1, 1, 0) = -7;
    int32_t *bias = made_param(net, node, GS_ROLE_QUANT_BIAS, GS_I32, 1, n, 0);
    void *deq = made_param(net, node, GS_ROLE_DEQ_SCALE, dtype == GS_BF16 ? GS_F32 : GS_I64, 1, n, 0);
    for (int64_t i = 0; i < n; i++) {
        float d = input * scale[i];
        uint32_t bits;
        memcpy(&bits, &d, sizeof bits);
        bias[i] = (int32_t)(gs_test_rand(seed) % 2000) - 1000;
        if (dtype == GS_BF16) ((float *)deq)[i] = d;
        else ((int64_t *)deq)[i] = bits;
    }
}

static inline void mixed_quantize(gs_net *net, gs_node *node, gs_dtype dtype, uint64_t *seed) {
    gs_error err = {0};
    gs_attr attr = {.quant = {.scheme = mixed_scheme(node->name), .compute = dtype}};
    int64_t n, k;
    gs_param_matrix(node->param[GS_ROLE_WEIGHT], &n, &k);
    assert_ok(gs_net_replace(net, node, GS_OP_QLINEAR, &attr, &node, &err), &err);
    int8_t *q = made_param(net, node, GS_ROLE_WEIGHT, GS_I8, 2, n, k);
    float *scale = made_param(net, node, GS_ROLE_WEIGHT_SCALE, GS_F32, 2, n, 1);
    float *offset = made_param(net, node, GS_ROLE_WEIGHT_OFFSET, GS_F32, 2, n, 1);
    for (int64_t i = 0; i < n * k; i++) q[i] = (int8_t)(gs_test_rand(seed) & 0xff);
    for (int64_t i = 0; i < n; i++) {
        scale[i] = gs_round_to(dtype, 0.002f + 0.001f * gs_test_randf(seed));
        offset[i] = 0;
    }
    if (attr.quant.scheme == GS_SCHEME_W8A8) mixed_static(net, node, dtype, n, scale, seed);
}

/* The source has none; the bundle's config.json will say that there are. */
static inline void mixed_bias(gs_net *net, gs_node *node, uint64_t *seed) {
    int64_t n, k;
    gs_param_matrix(node->param[GS_ROLE_WEIGHT], &n, &k);
    float *bias = made_param(net, node, GS_ROLE_BIAS, GS_F32, 1, n, 0);
    for (int64_t i = 0; i < n; i++) bias[i] = gs_test_randf(seed);
}

/* Segment i as it is to be written: quantized linears, biases in attention, layer 1's first norm scaled, layer 2's
 * first norm owned and scaled. */
static inline gs_net *mixed_segment(const gs_model *m, int i, gs_dtype dtype) {
    gs_error err = {0};
    gs_net *net;
    uint64_t seed = 100 + (uint64_t)i;
    float factor[32], *own;
    assert_ok(gs_model_segment(m, i, &net, &err), &err);
    for (int n = 0; n < gs_net_node_count(net); n++) {
        gs_node *node = gs_net_node(net, n);
        if (strstr(node->name, "self_attn.") && strstr(node->name, "_proj")) mixed_bias(net, node, &seed);
        if (node->op == GS_OP_LINEAR && mixed_scheme(node->name) != GS_SCHEME_FLOAT)
            mixed_quantize(net, node, dtype, &seed);
        if (node->op != GS_OP_RMSNORM || !strstr(node->name, "input_layernorm") || i < 2) continue;
        for (int c = 0; c < 32; c++) factor[c] = 0.7f + 0.1f * (float)(c % 5);
        if (i == 3) {
            own = made_param(net, node, GS_ROLE_WEIGHT, GS_F32, 1, 32, 0);
            for (int c = 0; c < 32; c++) own[c] = 1 + 0.01f * (float)c;
        }
        assert_ok(gs_param_scale_cols(node->param[GS_ROLE_WEIGHT], factor, &err), &err);
    }
    return net;
}

typedef gs_status bundle_step(gs_bundle_writer *w, const gs_net *segment, gs_error *err);

static inline void mixed_pass(bundle_step *step, gs_bundle_writer *w, const gs_model *m, gs_dtype dtype) {
    gs_error err = {0};
    for (int i = 0; i < gs_model_segments(m); i++) {
        gs_net *net = mixed_segment(m, i, dtype);
        assert_ok(step(w, net, &err), &err);
        gs_net_destroy(net);
    }
}

static inline void mixed_write(mixed_bundle *b, gs_dtype dtype) {
    gs_error err = {0};
    gs_context cx = {0};
    gs_opened source;
    gs_bundle_writer *w;
    uint64_t bytes;
    assert_ok(gs_opened_open(NULL, b->model, NULL, &source, &err), &err);
    gs_bundle_options o = {.source = gs_model_checkpoint(source.model), .dtype = dtype, .target = GS_TARGET_VLLM_ASCEND};
    assert_ok(gs_bundle_writer_create(&cx, &gs_bundle_ascend, b->bundle, &o, &w, &err), &err);
    mixed_pass(gs_bundle_writer_plan, w, source.model, dtype);
    assert_ok(gs_bundle_writer_begin(w, &err), &err);
    mixed_pass(gs_bundle_writer_write, w, source.model, dtype);
    assert_ok(gs_bundle_writer_finish(w, &bytes, &err), &err);
    gs_opened_close(&source);
}

static inline void bundle_text(const mixed_bundle *b, const char *name, char **out) {
    gs_error err = {0};
    char path[1200];
    size_t len;
    snprintf(path, sizeof path, "%s/%s", b->bundle, name);
    assert_ok(gs_file_read(path, 1 << 20, out, &len, &err), &err);
}

static inline void mixed_begin(mixed_bundle *b, gs_dtype dtype) {
    gs_error err = {0};
    char *config, edited[4096];
    b->dtype = dtype;
    b->root = gs_test_tmpdir();
    snprintf(b->model, sizeof b->model, "%s/model", b->root);
    snprintf(b->bundle, sizeof b->bundle, "%s/bundle", b->root);
    assert_int_equal(mkdir(b->model, 0755), 0);
    tiny_model(b->model, &tiny_default, 3);
    mixed_write(b, dtype);
    assert_ok(gs_shards_open_dir(b->bundle, "quant_model_weights", &b->weights, &err), &err);
    bundle_text(b, "quant_model_description.json", &b->description);
    bundle_text(b, "config.json", &config);
    snprintf(edited, sizeof edited, "{\"attention_bias\": true,%s", strchr(config, '{') + 1);
    tiny_text(b->bundle, "config.json", edited);
    gs_free(config);
}

static inline void mixed_end(mixed_bundle *b) {
    gs_shards_close(b->weights);
    gs_free(b->description);
    gs_test_rmdir(b->root);
}

/* ---- breaking one ---- */

/* What becomes of one tensor of a bundle's file. */
typedef struct tensor_edit {
    const char *name;     /* "": nothing is changed */
    bool drop;            /* it is gone, from the description as well */
    gs_dtype dtype;       /* its new type and shape; bytes are cut, or filled up with zeros */
    int ndim;
    int64_t shape[2];
    const void *data;     /* its new bytes, or NULL: those it had */
} tensor_edit;

static inline void edit_plan(gs_safetensors_writer *w, const gs_shards *s, const tensor_edit *e) {
    gs_error err = {0};
    bool met = !e->name[0];
    for (size_t i = 0; i < gs_shards_count(s); i++) {
        const gs_tensor *t = gs_shards_at(s, i);
        bool hit = strcmp(t->name, e->name) == 0;
        met = met || hit;
        if (hit && e->drop) continue;
        assert_ok(gs_safetensors_writer_plan(w, t->name, hit ? e->dtype : t->dtype, hit ? e->ndim : t->ndim,
                                             hit ? e->shape : t->shape, &err), &err);
    }
    assert_true(met);
}

static inline void edit_put(gs_safetensors_writer *w, const gs_tensor *t, const tensor_edit *e) {
    gs_error err = {0};
    uint64_t count = 1, bytes = 0;
    if (strcmp(t->name, e->name) != 0) {
        assert_ok(gs_safetensors_writer_put(w, t->name, 0, t->data, t->bytes, &err), &err);
        return;
    }
    if (e->drop) return;
    for (int d = 0; d < e->ndim; d++) count *= (uint64_t)e->shape[d];
    assert_true(gs_dtype_bytes(e->dtype, count, &bytes));
    uint8_t *data = calloc(1, bytes + 1);
    assert_non_null(data);
    memcpy(data, e->data ? e->data : t->data, e->data || bytes < t->bytes ? bytes : t->bytes);
    assert_ok(gs_safetensors_writer_put(w, t->name, 0, data, bytes, &err), &err);
    free(data);
}

/* The description without one tensor's line, or whole. */
static inline void edit_description(const mixed_bundle *b, const char *without) {
    char *text = strdup(b->description), key[256];
    assert_non_null(text);
    snprintf(key, sizeof key, "\"%s\"", without ? without : "");
    char *line = without ? strstr(text, key) : NULL;
    if (line) memmove(line, strchr(line, '\n') + 1, strlen(strchr(line, '\n') + 1) + 1);
    assert_true(line || !without);
    tiny_text(b->bundle, "quant_model_description.json", text);
    free(text);
}

/* The bundle as it was written, but for one tensor. */
static inline void edit_tensor(const mixed_bundle *b, const tensor_edit *e) {
    gs_error err = {0};
    char path[1200];
    const gs_shards *s = b->weights;
    gs_safetensors_writer *w;
    snprintf(path, sizeof path, "%s/quant_model_weights.safetensors", b->bundle);
    assert_ok(gs_safetensors_writer_create(&w, &err), &err);
    edit_plan(w, s, e);
    assert_ok(gs_safetensors_writer_begin(w, path, &err), &err);
    for (size_t i = 0; i < gs_shards_count(s); i++) edit_put(w, gs_shards_at(s, i), e);
    assert_ok(gs_safetensors_writer_commit(w, &err), &err);
    edit_description(b, e->drop ? e->name : NULL);
}

#endif
