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

/* Hangs "<node>.<role>" on a QLINEAR: [rows, 1] or [rows], one of the float types. */
static gs_status attach_channel(const gs_bundle *b, gs_net *net, gs_node *node, gs_role role, int64_t rows,
                                gs_error *err) {
    char name[512], shape[128];
    snprintf(name, sizeof name, "%s.%s", node->name, gs_role_name(role));
    const gs_tensor *t = gs_checkpoint_find(b->checkpoint, name);
    if (!t) return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is missing", name);
    bool fits = (t->ndim == 1 || (t->ndim == 2 && t->shape[1] == 1)) && t->shape[0] == rows &&
                (t->dtype == GS_F32 || t->dtype == GS_F16 || t->dtype == GS_BF16);
    if (!fits)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is %s %s, not float [%lld, 1]", name,
                       gs_dtype_name(t->dtype), gs_tensor_shape_text(t, shape, sizeof shape), (long long)rows);
    return gs_net_param_view(net, node, role, t, err);
}

static gs_status rewrite_w8a16(const gs_bundle *b, gs_net *net, gs_node *node, gs_error *err) {
    const gs_param *weight = node->param[GS_ROLE_WEIGHT];
    if (weight->dtype != GS_I8)
        return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is described as W8A16 but stored as %s", weight->name,
                       gs_dtype_name(weight->dtype));
    int64_t rows = weight->shape[0];
    gs_attr attr = {.quant = {.scheme = GS_SCHEME_W8A16, .compute = b->compute}};
    GS_TRY(gs_net_replace(net, node, GS_OP_QLINEAR, &attr, &node, err));
    GS_TRY(attach_channel(b, net, node, GS_ROLE_WEIGHT_SCALE, rows, err));
    return attach_channel(b, net, node, GS_ROLE_WEIGHT_OFFSET, rows, err);
}

/* A float param must be stored as one. */
static gs_status check_float(const gs_node *node, gs_error *err) {
    for (int r = 0; r < GS_ROLE_COUNT; r++) {
        const gs_param *p = node->param[r];
        if (p && p->source && !gs_dtype_is_float(p->dtype))
            return GS_FAIL(err, GS_E_FORMAT, "tensor '%s' is described as FLOAT but stored as %s", p->name,
                           gs_dtype_name(p->dtype));
    }
    return GS_OK;
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
            GS_TRY(check_float(node, err));
        } else if (type == GS_SCHEME_W8A16 && node->op == GS_OP_LINEAR) {
            GS_TRY(rewrite_w8a16(b, segment, node, err));
        } else {
            const cJSON *item = gs_json_get(b->json, weight->name);
            return GS_FAIL(err, GS_E_UNSUPPORTED, "tensor '%s' has type '%s', which is not computed here",
                           weight->name, item && item->valuestring ? item->valuestring : "?");
        }
    }
    return GS_OK;
}
