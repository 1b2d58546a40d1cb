/* The files that the original tools wrote (shared data), and the f32 model they started from. Everything fails the running test
 * when it is not there: call gs_need_data first. */
#ifndef GS_TESTS_DEPLOY_REFERENCE_FILES_H
#define GS_TESTS_DEPLOY_REFERENCE_FILES_H

#include "../support.h"

#include <llm/model.h>
#include <loaders/shards.h>
#include <ptq/edge_group.h>

#define MODEL "data/lm/stories260K-hf-llama"
#define SLIM "reference/msmodelslim/"
#define F32 "stories260K-f32-v1-w8a8-"
enum { LAYERS = 5, WIDEST = 172 };

static inline const gs_tensor *tensor(const gs_safetensors *st, const char *name) {
    const gs_tensor *t = gs_safetensors_find(st, name);
    if (!t) fail_msg("%s is not in the reference", name);
    return t;
}

/* A vector of the reference into out. */
static inline int64_t values(const gs_safetensors *st, const char *name, float *out) {
    gs_error err = {0};
    const gs_tensor *t = tensor(st, name);
    assert_true(t->ndim == 1 && t->shape[0] <= WIDEST);
    assert_ok(gs_tensor_read_f32(t, 0, 1, out, &err), &err);
    return t->shape[0];
}

/* Which of the four groups of a block: 0 q k v, 1 o, 2 gate up, 3 down. */
static inline int kind_of(const gs_edge_group *g) {
    static const char *const first[] = {"q_proj", "o_proj", "gate_proj", "down_proj"};
    for (int i = 0; i < 4; i++)
        if (strstr(g->linear[0]->name, first[i])) return i;
    return -1;
}

/* msModelSlim's factors of a group; false when it has none there. */
static inline bool slim_factors(const gs_safetensors *st, int layer, int kind, float *s) {
    static const char *const names[] = {"norm-linear.attn.scale", "ov.scale_v", "norm-linear.mlp.scale", "up-down.scale"};
    char name[128];
    snprintf(name, sizeof name, "model.layers.%d.%s", layer, names[kind]);
    if (!gs_safetensors_find(st, name)) return false;
    values(st, name, s);
    return true;
}

static inline int layer_of(const gs_net *net) {
    const char *at = strstr(gs_net_node(net, 0)->name, "layers.");
    return at ? atoi(at + strlen("layers.")) : -1;
}

/* A gs_model_rewrite; ctx: their smoothing.safetensors. */
static inline gs_status fold_theirs(void *ctx, gs_net *net, gs_error *err) {
    gs_edge_groups groups;
    GS_TRY(gs_edge_groups_find(net, &groups, err));
    gs_status status = GS_OK;
    for (int i = 0; i < groups.count && status == GS_OK; i++) {
        float s[WIDEST];
        int kind = kind_of(&groups.group[i]);
        if (kind >= 0 && slim_factors(ctx, layer_of(net), kind, s)) status = gs_edge_group_smooth(&groups.group[i], s, err);
    }
    gs_edge_groups_clear(&groups);
    return status;
}

static inline gs_model *open_model(gs_safetensors *factors) {
    gs_error err = {0};
    gs_checkpoint *checkpoint;
    gs_model *m;
    assert_ok(gs_checkpoint_open(gs_test_data(MODEL), NULL, &checkpoint, &err), &err);
    assert_ok(gs_model_take(checkpoint, factors ? fold_theirs : NULL, factors, &m, &err), &err);
    return m;
}

/* Opens a file of the extras, or NULL. */
static inline gs_safetensors *open_factors(const char *folder) {
    char file[256];
    gs_error err = {0};
    gs_safetensors *st;
    snprintf(file, sizeof file, SLIM "extras/%s/smoothing.safetensors", folder);
    assert_non_null(gs_test_data(file));
    assert_ok(gs_safetensors_open(gs_test_data(file), &st, &err), &err);
    return st;
}

static inline gs_shards *open_theirs(const char *folder) {
    char file[256];
    gs_error err = {0};
    gs_shards *s;
    snprintf(file, sizeof file, SLIM "%s/", folder);
    assert_non_null(gs_test_data(file));
    assert_ok(gs_shards_open_dir(gs_test_data(file), "quant_model_weights", &s, &err), &err);
    return s;
}

static inline int64_t element(const gs_tensor *t, int64_t i) {
    int32_t word = 0;
    if (t->dtype == GS_I8) return ((const int8_t *)t->data)[i];
    memcpy(&word, t->data + (t->dtype == GS_I64 ? 8 : 4) * i, 4); /* little-endian; f32 by its bits */
    return word;
}

static inline int64_t ulps(float a, float b) {
    int32_t x, y;
    memcpy(&x, &a, 4);
    memcpy(&y, &b, 4);
    return x > y ? x - y : y - x;
}

#endif
