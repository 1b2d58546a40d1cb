#include <deploy/bundle.h>

#include <base/file.h>
#include <base/json.h>
#include <base/map.h>
#include <base/mem.h>
#include <network/rewrite.h>

#include <stdio.h>
#include <string.h>

static const char description_name[] = "quant_model_description.json";
static const char weights_stem[] = "quant_model_weights";
enum { MAX_DESCRIPTION = 100 << 20 }; /* MindIE's own limit (ascend-bundles.md 1, rule 8) */

struct gs_bundle {
    const gs_checkpoint *checkpoint;
    cJSON *json;
    gs_map type; /* tensor name -> gs_scheme, GS_SCHEME_COUNT for one we do not compute */
    const char *dominant;
    gs_dtype compute;
};

bool gs_bundle_detect(const char *path) {
    char *file = gs_path_join(path, description_name);
    bool found = file && gs_path_is_dir(path) && gs_path_exists(file);
    gs_free(file);
    return found;
}

void gs_bundle_close(gs_bundle *b) {
    if (!b) return;
    gs_map_clear(&b->type);
    cJSON_Delete(b->json);
    gs_free(b);
}

const char *gs_bundle_type(const gs_bundle *b) { return b->dominant; }

/* Globals are the keys that name no tensor. */
static bool is_global(const char *key) {
    static const char *const globals[] = {"version",        "model_quant_type", "metadata",
                                          "group_size",     "optional",         "kv_cache_type",
                                          "kv_quant_type",  "fa_quant_type",    "indexer_quant_type",
                                          "reduce_quant_type"};
    for (size_t i = 0; i < GS_COUNTOF(globals); i++)
        if (strcmp(globals[i], key) == 0) return true;
    return false;
}

/* Every listed tensor is stored; a head that is not must be tied. */
static gs_status check_listed(const gs_bundle *b, const char *name, gs_error *err) {
    if (gs_checkpoint_find(b->checkpoint, name)) return GS_OK;
    bool tied = gs_checkpoint_config(b->checkpoint)->tied && strcmp(name, "lm_head.weight") == 0;
    if (tied) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is described but not stored", name);
}

static gs_status index_types(gs_bundle *b, gs_error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, b->json) {
        if (is_global(item->string)) continue;
        if (!cJSON_IsString(item))
            return GS_FAIL(err, GS_E_FORMAT, "the type of '%s' is no string", item->string);
        GS_TRY(check_listed(b, item->string, err));
        GS_TRY(gs_map_put(&b->type, item->string, strlen(item->string),
                          gs_scheme_from_name(item->valuestring), NULL, err));
    }
    for (size_t i = 0; i < gs_checkpoint_count(b->checkpoint); i++) {
        const char *name = gs_checkpoint_at(b->checkpoint, i)->name;
        int64_t type;
        if (!gs_map_get(&b->type, name, strlen(name), &type))
            return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is stored but not described", name);
    }
    return GS_OK;
}

static gs_status read_description(gs_bundle *b, const char *path, gs_error *err) {
    char *file = gs_path_join(path, description_name);
    if (!file) return gs_error_nomem(err, 256);
    gs_status status = gs_json_load(file, MAX_DESCRIPTION, &b->json, err);
    gs_free(file);
    GS_TRY(status);
    if (!cJSON_IsObject(b->json)) return GS_FAIL(err, GS_E_FORMAT, "the description is no JSON object");
    b->dominant = "FLOAT";
    GS_TRY(gs_json_string(b->json, "model_quant_type", &b->dominant, err));
    return index_types(b, err);
}

gs_status gs_bundle_open(const char *path, gs_bundle **out, gs_checkpoint **checkpoint, gs_error *err) {
    gs_bundle *b = gs_calloc(1, sizeof *b);
    gs_checkpoint *c = NULL;
    if (!b) return gs_error_nomem(err, sizeof *b);
    gs_status status = gs_checkpoint_open(path, weights_stem, &c, err);
    if (status != GS_OK) goto failed;
    b->checkpoint = c;
    b->compute = gs_checkpoint_config(c)->dtype;
    if (b->compute != GS_F16 && b->compute != GS_BF16 && b->compute != GS_F32) {
        status = GS_FAIL(err, GS_E_FORMAT, "%s: config.json names no usable torch_dtype", path);
        goto failed;
    }
    status = read_description(b, path, err);
    if (status != GS_OK) {
        gs_error_at(err, "%s/%s", path, description_name);
        goto failed;
    }
    *out = b;
    *checkpoint = c;
    return GS_OK;
failed:
    gs_checkpoint_close(c);
    gs_bundle_close(b);
    return status;
}

/* What a scheme stores beside the weight. */
typedef enum stored_shape { TENSOR /* [1] */, VECTOR /* [rows] */, CHANNEL /* [rows, 1] or [rows] */ } stored_shape;
typedef struct stored_role {
    gs_role role;
    stored_shape shape;
    bool optional;
    int dtypes;
    gs_dtype dtype[3]; /* one of these */
} stored_role;

#define FLOATS 3, {GS_F32, GS_F16, GS_BF16}
enum { MAX_STORED = 6 };
static const stored_role stored[GS_SCHEME_COUNT][MAX_STORED + 1] = {
    [GS_SCHEME_W8A16] = {{GS_ROLE_WEIGHT_SCALE, CHANNEL, false, FLOATS},
                         {GS_ROLE_WEIGHT_OFFSET, CHANNEL, false, FLOATS}},
    [GS_SCHEME_W8A8_DYNAMIC] = {{GS_ROLE_WEIGHT_SCALE, CHANNEL, false, FLOATS},
                                {GS_ROLE_WEIGHT_OFFSET, CHANNEL, false, FLOATS}},
    [GS_SCHEME_W8A8] = {{GS_ROLE_INPUT_SCALE, TENSOR, false, FLOATS},
                        {GS_ROLE_INPUT_OFFSET, TENSOR, false, FLOATS},
                        {GS_ROLE_QUANT_BIAS, VECTOR, false, 1, {GS_I32}},
                        {GS_ROLE_DEQ_SCALE, VECTOR, false, 2, {GS_F32, GS_I64}},
                        /* the writer of msModelSlim's current line leaves these two out */
                        {GS_ROLE_WEIGHT_SCALE, CHANNEL, true, FLOATS},
                        {GS_ROLE_WEIGHT_OFFSET, CHANNEL, true, FLOATS}},
};

static bool has_dtype(const stored_role *s, gs_dtype dtype) {
    for (int i = 0; i < s->dtypes; i++)
        if (s->dtype[i] == dtype) return true;
    return false;
}

/* Hangs "<node>.<role>" on a QLINEAR. */
static gs_status attach(const gs_bundle *b, gs_net *net, gs_node *node, const stored_role *s, int64_t rows,
                        gs_error *err) {
    char name[512], shape[128];
    snprintf(name, sizeof name, "%s.%s", node->name, gs_role_name(s->role));
    const gs_tensor *t = gs_checkpoint_find(b->checkpoint, name);
    if (!t && s->optional) return GS_OK;
    if (!t) return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is missing", name);
    int64_t n = s->shape == TENSOR ? 1 : rows;
    bool column = s->shape == CHANNEL && t->ndim == 2 && t->shape[1] == 1;
    bool fits = (t->ndim == 1 || column) && t->shape[0] == n && has_dtype(s, t->dtype);
    if (!fits)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s %s, not %s%s [%lld]", name, gs_dtype_name(t->dtype),
                       gs_tensor_shape_text(t, shape, sizeof shape), gs_dtype_name(s->dtype[0]),
                       s->dtypes > 1 ? " or its like" : "", (long long)n);
    return gs_net_param_view(net, node, s->role, t, err);
}

/* bf16 consumers take deq_scale as f32, all others as f32 bits in an int64: the other form loads, and
 * computes nonsense (ascend-bundles.md 3.4). */
static gs_status check_deq_scale(const gs_bundle *b, const gs_node *node, gs_error *err) {
    const gs_param *p = node->param[GS_ROLE_DEQ_SCALE];
    gs_dtype want = b->compute == GS_BF16 ? GS_F32 : GS_I64;
    if (!p || p->dtype == want) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s, a %s model needs %s", p->name, gs_dtype_name(p->dtype),
                   gs_dtype_torch_name(b->compute), gs_dtype_name(want));
}

/* A server fuses the linears that read one value and keeps the last one's input scale for all
 * (ascend-bundles.md 3.8). */
static gs_status check_shared(const gs_net *net, const gs_node *node, gs_role role, gs_error *err) {
    const gs_param *mine = node->param[role];
    const gs_node *other;
    for (int i = 0; mine && (other = gs_net_consumer(net, node->input[0], i)) && other != node; i++) {
        const gs_param *its = other->op == GS_OP_QLINEAR ? other->param[role] : NULL;
        float a, b;
        if (!its) continue;
        GS_TRY(gs_param_read_f32(mine, 0, 1, &a, err));
        GS_TRY(gs_param_read_f32(its, 0, 1, &b, err));
        if (a != b)
            return GS_FAIL(err, GS_E_FORMAT, "'%s' is %g, but '%s' of the same input is %g", mine->name, (double)a,
                           its->name, (double)b);
    }
    return GS_OK;
}

/* A float param must be stored as one. */
static gs_status check_float(const gs_param *p, gs_error *err) {
    if (!p || !p->source || gs_dtype_is_float(p->dtype)) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is described as FLOAT but stored as %s", p->name,
                   gs_dtype_name(p->dtype));
}

static gs_status rewrite_linear(const gs_bundle *b, gs_net *net, gs_node *node, gs_scheme scheme, gs_error *err) {
    const gs_param *weight = node->param[GS_ROLE_WEIGHT];
    if (weight->dtype != GS_I8)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is described as %s but stored as %s", weight->name,
                       gs_scheme_name(scheme), gs_dtype_name(weight->dtype));
    int64_t rows = weight->shape[0];
    gs_attr attr = {.quant = {.scheme = scheme, .compute = b->compute}};
    GS_TRY(check_float(node->param[GS_ROLE_BIAS], err));
    GS_TRY(gs_net_replace(net, node, GS_OP_QLINEAR, &attr, &node, err));
    for (const stored_role *s = stored[scheme]; s->dtypes; s++) GS_TRY(attach(b, net, node, s, rows, err));
    GS_TRY(check_shared(net, node, GS_ROLE_INPUT_SCALE, err));
    GS_TRY(check_shared(net, node, GS_ROLE_INPUT_OFFSET, err));
    return check_deq_scale(b, node, err);
}

gs_status gs_bundle_rewrite(void *bundle, gs_net *segment, gs_error *err) {
    const gs_bundle *b = bundle;
    for (int i = 0; i < gs_net_node_count(segment); i++) {
        gs_node *node = gs_net_node(segment, i);
        const gs_param *weight = node->param[GS_ROLE_WEIGHT];
        int64_t type = GS_SCHEME_FLOAT;
        if (weight && !gs_map_get(&b->type, weight->name, strlen(weight->name), &type))
            return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is not described", weight->name);
        if (type == GS_SCHEME_FLOAT) {
            for (int r = 0; r < GS_ROLE_COUNT; r++) GS_TRY(check_float(node->param[r], err));
        } else if (type < GS_SCHEME_COUNT && node->op == GS_OP_LINEAR) {
            GS_TRY(rewrite_linear(b, segment, node, (gs_scheme)type, err));
        } else {
            const cJSON *item = gs_json_get(b->json, weight->name);
            return GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%s' has type '%s', which is not computed here",
                           weight->name, item && item->valuestring ? item->valuestring : "?");
        }
    }
    return GS_OK;
}
