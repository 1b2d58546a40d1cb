/* A row read at run time. Its strings stay in the JSON document, which lives as long as the row. */
#include <base/file.h>
#include <base/json.h>
#include <base/mem.h>
#include <base/nearest.h>
#include <llm/helpers/network_helper.h>

#include <stddef.h>
#include <string.h>

enum { MAX_FILE = 1 << 20, MAX_NAME = 90 };

typedef struct loaded {
    gs_network_helper row; /* first: what callers hold */
    cJSON *json;
} loaded;

typedef enum kind { TEXT, BIAS, FLAG, COUNT, TEXTS, NAMES } kind;

typedef struct member {
    const char *name;
    kind kind;
    size_t offset;
    size_t room; /* TEXTS: most entries, the last of which stays NULL where the list is read so */
} member;

#define M(kind, of) {#of, kind, offsetof(gs_network_helper, of), 0}
static const member members[] = {
    M(TEXT, family),
    {"model_types", TEXTS, offsetof(gs_network_helper, model_types), 7},
    M(NAMES, name), M(NAMES, alternative),
    {"redundant", TEXTS, offsetof(gs_network_helper, redundant), 4},
    M(BIAS, qkv_bias), M(BIAS, o_bias), M(BIAS, mlp_bias),
    M(FLAG, qkv_by_group), M(FLAG, norm_plus_one), M(FLAG, qk_norm_whole), M(FLAG, alibi), M(FLAG, normalize_head), M(FLAG, tied),
    M(TEXT, embedding_multiplier), M(FLAG, embedding_by_width), M(TEXT, residual_multiplier),
    M(TEXT, attention_multiplier), M(TEXT, attention_width), M(TEXT, attention_softcap), M(TEXT, logits_softcap),
    M(TEXT, logits_divisor),
    M(FLAG, window), M(TEXT, window_when), M(TEXT, window_from), M(COUNT, window_every),
    M(FLAG, window_unscaled),
    M(TEXT, expert_width), M(BIAS, expert_renormalize), M(TEXT, dense_layers), M(TEXT, expert_every),
};
#undef M

#define N(of) {#of, TEXT, offsetof(gs_helper_names, of), 0}
static const member name_members[] = {
    N(embed), N(final_norm), N(head), N(embed_tensor), N(block),
    N(attention_input_norm), N(attention_output_norm), N(mlp_input_norm), N(mlp_output_norm),
    N(q), N(k), N(v), N(o), N(qkv), N(q_norm), N(k_norm), N(gate), N(up), N(down), N(gate_up),
    N(router), N(expert), N(expert_gate), N(expert_up), N(expert_down),
};
#undef N

static const member *find(const member *table, size_t n, const char *key, gs_error *err) {
    const char *known[GS_COUNTOF(members)];
    _Static_assert(GS_COUNTOF(members) >= GS_COUNTOF(name_members), "room for either table's names");
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, key) == 0) return &table[i];
        known[i] = table[i].name;
    }
    GS_FAIL(err, GS_E_FORMAT, "unknown member \"%.60s\"", key);
    gs_error_hint(err, "the nearest known is \"%s\"", gs_nearest(key, known, n));
    return NULL;
}

/* Names become parts of tensor names and of node names. */
static gs_status take_text(const cJSON *item, const char **out, gs_error *err) {
    if (!cJSON_IsString(item)) return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is not a string", item->string);
    size_t n = strlen(item->valuestring);
    if (n == 0 || n > MAX_NAME)
        return GS_FAIL(err, GS_E_FORMAT, "\"%s\" has %zu characters, outside 1..%d", item->string, n, MAX_NAME);
    *out = item->valuestring;
    return GS_OK;
}

static gs_status take_bias(const cJSON *item, const char **out, gs_error *err) {
    if (!cJSON_IsBool(item)) return take_text(item, out, err);
    *out = cJSON_IsTrue(item) ? "true" : NULL;
    return GS_OK;
}

static gs_status take_texts(const cJSON *list, const char **out, size_t room, gs_error *err) {
    const cJSON *item;
    size_t n = 0;
    if (!cJSON_IsArray(list) || (size_t)cJSON_GetArraySize(list) > room)
        return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is not a list of up to %zu strings", list->string, room);
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsString(item) || !item->valuestring[0])
            return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is not a list of up to %zu strings", list->string, room);
        out[n++] = item->valuestring;
    }
    return GS_OK;
}

static gs_status take_all(const cJSON *object, const member *table, size_t n, void *to, gs_error *err);

static gs_status take(const cJSON *item, const member *m, void *to, gs_error *err) {
    void *at = (char *)to + m->offset;
    int64_t count;
    switch (m->kind) {
    case TEXT: return take_text(item, at, err);
    case BIAS: return take_bias(item, at, err);
    case TEXTS: return take_texts(item, at, m->room, err);
    case NAMES: {
        gs_status status = take_all(item, name_members, GS_COUNTOF(name_members), at, err);
        if (status != GS_OK) gs_error_at(err, "\"%s\"", m->name);
        return status;
    }
    case FLAG:
        if (!cJSON_IsBool(item)) return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is not true or false", m->name);
        *(bool *)at = cJSON_IsTrue(item);
        return GS_OK;
    case COUNT:
        if (!gs_json_is_int(item, &count) || count < 0)
            return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is not a count", m->name);
        *(int64_t *)at = count;
        return GS_OK;
    }
    return GS_OK;
}

static gs_status take_all(const cJSON *object, const member *table, size_t n, void *to, gs_error *err) {
    const cJSON *item;
    if (!cJSON_IsObject(object)) return GS_FAIL(err, GS_E_FORMAT, "not a JSON object");
    cJSON_ArrayForEach(item, object) {
        const member *m = find(table, n, item->string, err);
        if (!m) return GS_E_FORMAT;
        if (!cJSON_IsNull(item)) GS_TRY(take(item, m, to, err));
    }
    return GS_OK;
}

/* ---- is it a network? ---- */

static gs_status need(const char *value, const char *what, gs_error *err) {
    return value ? GS_OK : GS_FAIL(err, GS_E_FORMAT, "%s has no name", what);
}

/* A name with one %d, for `what`. */
static gs_status check_place(const char *name, const char *of, const char *what, gs_error *err) {
    const char *place = strstr(name, "%d");
    if (place && !strchr(place + 1, '%') && strchr(name, '%') == place) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is '%s': it needs one %%d, for the %s", of, name, what);
}

static gs_status check_experts(const gs_helper_names *n, gs_error *err) {
    if (!n->router && !n->expert) return GS_OK;
    bool all = n->router && n->expert && n->expert_gate && n->expert_up && n->expert_down;
    if (!all)
        return GS_FAIL(err, GS_E_FORMAT, "\"router\", \"expert\", \"expert_gate\", \"expert_up\" and \"expert_down\" come "
                       "together");
    return check_place(n->expert, "expert", "expert", err);
}

static gs_status check_mlp(const gs_helper_names *n, gs_error *err) {
    if (n->router && !n->down && !n->gate && !n->up && !n->gate_up) return GS_OK; /* each layer is a mixture */
    GS_TRY(need(n->down, "\"down\"", err));
    return need(n->gate_up || (n->gate && n->up) ? "" : NULL, "one of \"gate\", \"up\" (or \"gate_up\" for both)", err);
}

static gs_status check_names(const gs_helper_names *n, gs_error *err) {
    GS_TRY(need(n->embed, "\"embed\"", err));
    GS_TRY(need(n->final_norm, "\"final_norm\"", err));
    GS_TRY(need(n->head, "\"head\"", err));
    GS_TRY(need(n->block, "\"block\"", err));
    GS_TRY(check_place(n->block, "block", "layer", err));
    GS_TRY(need(n->o, "\"o\"", err));
    GS_TRY(need(n->qkv || (n->q && n->k && n->v) ? "" : NULL, "one of \"q\", \"k\", \"v\" (or \"qkv\" for all)", err));
    GS_TRY(check_mlp(n, err));
    GS_TRY(check_experts(n, err));
    if (!n->q_norm != !n->k_norm)
        return GS_FAIL(err, GS_E_FORMAT, "\"q_norm\" and \"k_norm\" come together");
    return GS_OK;
}

/* Tensors under alternative names are renamed one by one: parts can stand for a fused linear, not the reverse. */
static gs_status check_alternative(const gs_network_helper *h, gs_error *err) {
    const gs_helper_names *n = &h->name, *a = &h->alternative;
    GS_TRY(check_names(a, err));
    if (n->router || a->router) return GS_FAIL(err, GS_E_FORMAT, "a row with experts has no second set of names");
    bool qkv = a->qkv ? n->qkv != NULL : n->q && n->k && n->v;
    bool gate_up = a->gate_up ? n->gate_up != NULL : n->gate && n->up;
    if (qkv && gate_up) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is fused or split otherwise than in \"name\", which has no names for that",
                   qkv ? "gate_up" : "qkv");
}

static gs_status check_own(const gs_helper_names *n, gs_error *err) {
    GS_TRY(check_names(n, err));
    if (!n->embed_tensor || strcmp(n->embed_tensor, "weight") == 0) return GS_OK;
    return GS_FAIL(err, GS_E_FORMAT, "\"embed_tensor\" is '%s': only an \"alternative\" may have one", n->embed_tensor);
}

static gs_status check(const gs_network_helper *h, bool has_alternative, gs_error *err) {
    gs_status status = GS_OK;
    GS_TRY(need(h->family, "\"family\"", err));
    GS_TRY(need(h->model_types[0], "\"model_types\"", err));
    if ((status = check_own(&h->name, err)) != GS_OK) gs_error_at(err, "\"name\"");
    else if (has_alternative && (status = check_alternative(h, err)) != GS_OK) gs_error_at(err, "\"alternative\"");
    return status;
}

gs_status gs_network_helper_parse(const char *text, size_t len, gs_network_helper **out, gs_error *err) {
    *out = NULL;
    loaded *l = gs_calloc(1, sizeof *l);
    if (!l) return gs_error_nomem(err, sizeof *l);
    gs_status status = gs_json_parse(text, len, &l->json, err);
    if (status == GS_OK) status = take_all(l->json, members, GS_COUNTOF(members), &l->row, err);
    if (status == GS_OK) status = check(&l->row, cJSON_IsObject(gs_json_get(l->json, "alternative")), err);
    if (status == GS_OK) *out = &l->row;
    else gs_network_helper_free(&l->row);
    return status;
}

gs_status gs_network_helper_load(const char *path, gs_network_helper **out, gs_error *err) {
    char *text = NULL;
    size_t n;
    *out = NULL;
    GS_TRY(gs_file_read(path, MAX_FILE, &text, &n, err));
    gs_status status = gs_network_helper_parse(text, n, out, err);
    gs_free(text);
    if (status != GS_OK) gs_error_at(err, "%s", path);
    return status;
}

void gs_network_helper_free(gs_network_helper *row) {
    if (!row) return;
    loaded *l = (loaded *)(void *)row;
    cJSON_Delete(l->json);
    gs_free(l);
}
