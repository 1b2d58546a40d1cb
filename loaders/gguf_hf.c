#include <loaders/gguf_hf.h>

#include <loaders/gguf_hf_config.h>

#include <base/mem.h>
#include <base/strbuf.h>

#include <stdio.h>
#include <string.h>

static gs_status find_family(const gs_gguf *g, const gs_gguf_family **out, gs_error *err) {
    gs_gguf_str name;
    char key[GS_GGUF_KEY_MAX];
    int64_t experts = 0;
    if (!gs_gguf_string(g, "general.architecture", &name))
        return GS_FAIL(err, GS_E_FORMAT, "metadata key 'general.architecture' is missing");
    GS_TRY(gs_gguf_family_of(name, false, out, err));
    (void)gs_gguf_int(g, gs_gguf_key(*out, "expert_count", key), &experts);
    return gs_gguf_family_of(name, experts != 0, out, err);
}

/* Decimal without sign or leading zeros, followed by a dot; p moves behind it. */
static bool parse_layer(const char **p, int64_t *layer) {
    const char *s = *p;
    int64_t v = 0;
    int digits = 0;
    for (; s[digits] >= '0' && s[digits] <= '9'; digits++) {
        if (digits == 9) return false;
        v = 10 * v + (s[digits] - '0');
    }
    if (digits == 0 || (digits > 1 && s[0] == '0') || s[digits] != '.') return false;
    *p = s + digits + 1;
    *layer = v;
    return true;
}

/* A vector of n values of the file, to be changed: h owns the copy, and t shows it. */
static gs_status own_vector(gs_gguf_hf *h, gs_tensor *t, int64_t n, float **out, gs_error *err) {
    if (t->dtype != GS_F32) return GS_FAIL(err, GS_E_UNSUPPORTED, "a vector of %s, not f32", gs_dtype_name(t->dtype));
    if (t->ndim != 1 || t->shape[0] != n)
        return GS_FAIL(err, GS_E_FORMAT, "not a vector of %lld values", (long long)n);
    float *values = gs_alloc((size_t)n * sizeof *values);
    if (!values) return gs_error_nomem(err, (size_t)n * sizeof *values);
    h->made[h->count] = values;
    *out = values;
    GS_TRY(gs_tensor_read_f32(t, 0, 1, values, err));
    t->data = (const uint8_t *)values;
    return GS_OK;
}

/* The bias of interleaved rows, put back into their order. */
static gs_status unweave_bias(gs_gguf_hf *h, gs_tensor *t, int64_t heads, gs_error *err) {
    int64_t dim = h->sizes.head_dim, n = heads * dim;
    const uint8_t *stored = t->data;
    float *values;
    if (dim % 2) return GS_FAIL(err, GS_E_FORMAT, "heads of %lld cannot be interleaved", (long long)dim);
    GS_TRY(own_vector(h, t, n, &values, err));
    for (int64_t i = 0; i < n; i++) /* GS_ROWS_LLAMA_INTERLEAVED */
        memcpy(&values[i / dim * dim + i % 2 * (dim / 2) + i % dim / 2], stored + 4 * i, sizeof *values);
    return GS_OK;
}

static gs_status shift_norm(gs_gguf_hf *h, gs_tensor *t, gs_error *err) {
    float *values;
    if (h->family->norm_shift == 0) return GS_OK;
    GS_TRY(own_vector(h, t, h->sizes.hidden, &values, err));
    for (int64_t i = 0; i < t->shape[0]; i++) values[i] -= h->family->norm_shift;
    return GS_OK;
}

static gs_status set_row_order(gs_gguf_hf *h, gs_tensor *t, const gs_gguf_layer_name *row, gs_error *err) {
    if (row->part == GS_GGUF_NORM) return shift_norm(h, t, err);
    if (row->rows == GS_GGUF_ROWS_PLAIN || !h->family->interleaved) return GS_OK;
    int64_t heads = row->rows == GS_GGUF_ROWS_Q ? h->sizes.heads : h->sizes.kv_heads;
    if (t->ndim < 2) return unweave_bias(h, t, heads, err);
    if (t->shape[0] % heads || t->shape[0] / heads % 2)
        return GS_FAIL(err, GS_E_FORMAT, "%lld rows are not %lld heads of even size",
                       (long long)t->shape[0], (long long)heads);
    t->order = GS_ROWS_LLAMA_INTERLEAVED;
    t->order_heads = heads;
    return GS_OK;
}

/* ---- names */

/* Room for n more. made grows along: a tensor's place there is its number. */
static gs_status reserve(gs_gguf_hf *h, size_t n, gs_error *err) {
    if (n <= h->slots - h->count) return GS_OK;
    size_t slots = h->slots + (n > h->slots ? n : h->slots);
    gs_tensor *tensors = gs_realloc(h->tensors, slots, sizeof *tensors);
    if (!tensors) return gs_error_nomem(err, slots * sizeof *tensors);
    h->tensors = tensors;
    float **made = gs_realloc(h->made, slots, sizeof *made);
    if (!made) return gs_error_nomem(err, slots * sizeof *made);
    h->made = made;
    memset(made + h->slots, 0, (slots - h->slots) * sizeof *made);
    h->slots = slots;
    return GS_OK;
}

/* Takes the name, which is freed where it cannot be kept. */
static gs_status keep(gs_gguf_hf *h, const gs_tensor *t, gs_strbuf *name, gs_error *err) {
    bool failed = name->failed;
    h->tensors[h->count] = *t;
    h->tensors[h->count].name = gs_strbuf_take(name, NULL);
    if (failed || !h->tensors[h->count].name) return gs_error_nomem(err, 64);
    h->count++;
    return GS_OK;
}

/* A stack, [experts, rows, cols], as a matrix each. */
static gs_status keep_experts(gs_gguf_hf *h, const gs_tensor *stack, const char *hf, int64_t layer, gs_error *err) {
    const gs_gguf_sizes *s = &h->sizes;
    const char *place = strstr(hf, "%d");
    bool wide = stack->ndim == 3 && stack->shape[1] == s->hidden && stack->shape[2] == s->expert_width; /* down */
    bool tall = stack->ndim == 3 && stack->shape[2] == s->hidden && stack->shape[1] == s->expert_width;
    if ((!wide && !tall) || stack->shape[0] != s->experts)
        return GS_FAIL(err, GS_E_FORMAT, "not a stack of %lld experts of %lld by %lld", (long long)s->experts,
                       (long long)s->expert_width, (long long)s->hidden);
    GS_TRY(reserve(h, (size_t)s->experts, err));
    for (int64_t e = 0; e < s->experts; e++) {
        gs_tensor t = *stack;
        gs_strbuf name = {0};
        t.ndim = 2;
        t.shape[0] = stack->shape[1];
        t.shape[1] = stack->shape[2];
        t.bytes = stack->bytes / (uint64_t)s->experts;
        t.data = stack->data + (uint64_t)e * t.bytes;
        gs_strbuf_printf(&name, "model.layers.%lld.%.*s%lld%s.weight", (long long)layer, (int)(place - hf), hf,
                         (long long)e, place + 2);
        GS_TRY(keep(h, &t, &name, err));
    }
    return GS_OK;
}

static gs_status no_tensor(const gs_gguf_hf *h, gs_error *err) {
    return GS_FAIL(err, GS_E_UNSUPPORTED, "no place for it in a %s model", h->family->model_type);
}

static gs_status add_row(gs_gguf_hf *h, const gs_tensor *from, const gs_gguf_layer_name *row, int64_t layer,
                         const char *ending, gs_error *err) {
    gs_tensor t = *from;
    gs_strbuf name = {0};
    bool bias = strcmp(ending, ".bias") == 0;
    if (layer >= h->sizes.layers)
        return GS_FAIL(err, GS_E_FORMAT, "block %lld of a model with %lld", (long long)layer,
                       (long long)h->sizes.layers);
    h->attention_bias |= bias && row->part != GS_GGUF_MLP;
    h->mlp_bias |= bias && row->part == GS_GGUF_MLP;
    if (strstr(row->hf, "%d")) return keep_experts(h, from, row->hf, layer, err);
    GS_TRY(reserve(h, 1, err));
    GS_TRY(set_row_order(h, &t, row, err));
    gs_strbuf_printf(&name, "model.layers.%lld.%s%s", (long long)layer, row->hf, ending);
    return keep(h, &t, &name, err);
}

/* rest: behind "blk.". */
static gs_status add_layer_tensor(gs_gguf_hf *h, const gs_tensor *t, const char *rest, gs_error *err) {
    const gs_gguf_layer_name *row;
    int64_t layer;
    if (!parse_layer(&rest, &layer)) return no_tensor(h, err);
    for (size_t i = 0; (row = gs_gguf_layer_name_at(h->family, i)); i++) {
        size_t len = strlen(row->gguf);
        if (strncmp(rest, row->gguf, len)) continue;
        bool bias = !strcmp(rest + len, ".bias");
        if (!bias && strcmp(rest + len, ".weight")) continue;
        if (bias && (!(row->part & h->family->biases) || strstr(row->hf, "%d"))) continue;
        return add_row(h, t, row, layer, rest + len, err);
    }
    return no_tensor(h, err);
}

static gs_status add_tensor(gs_gguf_hf *h, const gs_tensor *from, gs_error *err) {
    const char *hf = gs_gguf_model_name(from->name);
    gs_tensor t = *from;
    gs_strbuf name = {0};
    if (!strncmp(from->name, "blk.", 4)) return add_layer_tensor(h, from, from->name + 4, err);
    if (!hf) return no_tensor(h, err);
    GS_TRY(reserve(h, 1, err));
    if (strcmp(from->name, "output_norm.weight") == 0) GS_TRY(shift_norm(h, &t, err));
    gs_strbuf_puts(&name, hf);
    return keep(h, &t, &name, err);
}

static gs_status add_tensors(gs_gguf_hf *h, gs_error *err) {
    size_t n = gs_gguf_count(h->g);
    h->tensors = gs_calloc(n ? n : 1, sizeof *h->tensors);
    if (!h->tensors) return gs_error_nomem(err, n * sizeof *h->tensors);
    h->made = gs_calloc(n ? n : 1, sizeof *h->made);
    if (!h->made) return gs_error_nomem(err, n * sizeof *h->made);
    h->slots = n ? n : 1;
    if (h->family->rope_divisors) h->rope_freqs = gs_gguf_find(h->g, "rope_freqs.weight");
    h->tied = !gs_gguf_find(h->g, "output.weight");
    for (size_t i = 0; i < n; i++) {
        const gs_tensor *t = gs_gguf_at(h->g, i);
        if (t == h->rope_freqs) continue;
        gs_status status = add_tensor(h, t, err);
        if (status != GS_OK) {
            gs_error_at(err, "tensor '%.200s'", t->name);
            return status;
        }
    }
    return GS_OK;
}

static gs_status check_complete_file(const gs_gguf *g, gs_error *err) {
    int64_t parts = 0;
    if (!gs_gguf_int(g, "split.count", &parts) || parts <= 1) return GS_OK;
    (void)GS_FAIL(err, GS_E_UNSUPPORTED, "this is one of %lld parts of a split GGUF model",
                  (long long)parts);
    gs_error_hint(err, "merge the parts into one file first (llama-gguf-split --merge)");
    return GS_E_UNSUPPORTED;
}

/* ---- the other way */

/* "model.layers.N." in front of what layer_names tells apart. */
static bool parse_hf_layer(const char **p, int64_t *layer) {
    static const char prefix[] = "model.layers.";
    if (strncmp(*p, prefix, sizeof prefix - 1) != 0) return false;
    *p += sizeof prefix - 1;
    return parse_layer(p, layer);
}

static gs_status no_place(const gs_gguf_family *family, const char *name, gs_error *err) {
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%.200s': GGUF's %s models have no such tensor", name, family->architecture);
}

static gs_status place_layer_tensor(const gs_gguf_family *family, const gs_model_config *config, const char *name,
                                    const char *rest, int64_t layer, gs_gguf_place *out, gs_error *err) {
    const gs_gguf_layer_name *row;
    for (size_t i = 0; (row = gs_gguf_layer_name_at(family, i)); i++) {
        size_t len = strlen(row->hf);
        if (strncmp(rest, row->hf, len)) continue;
        bool bias = !strcmp(rest + len, ".bias");
        if (!bias && strcmp(rest + len, ".weight")) continue;
        if (bias && !(row->part & family->biases)) break;
        if (family->interleaved && row->rows != GS_GGUF_ROWS_PLAIN)
            out->heads = row->rows == GS_GGUF_ROWS_Q ? config->heads : config->kv_heads;
        if (row->part == GS_GGUF_NORM) out->shift = family->norm_shift;
        snprintf(out->name, sizeof out->name, "blk.%lld.%s%s", (long long)layer, row->gguf, rest + len);
        return GS_OK;
    }
    return no_place(family, name, err);
}

gs_status gs_gguf_hf_place(const gs_model_config *config, const char *name, gs_gguf_place *out, gs_error *err) {
    const gs_gguf_family *family;
    const char *rest = name, *gguf = gs_gguf_model_name_back(name);
    int64_t layer;
    *out = (gs_gguf_place){.heads = 0};
    GS_TRY(gs_gguf_family_find(config->model_type, &family, err));
    if (gguf && !(family->output == GS_GGUF_OUTPUT_TIED && strcmp(gguf, "output.weight") == 0)) {
        snprintf(out->name, sizeof out->name, "%s", gguf);
        if (strcmp(gguf, "output_norm.weight") == 0) out->shift = family->norm_shift;
        return GS_OK;
    }
    if (parse_hf_layer(&rest, &layer) && layer < config->layers)
        return place_layer_tensor(family, config, name, rest, layer, out, err);
    return no_place(family, name, err);
}

gs_status gs_gguf_hf_create(const gs_gguf *g, gs_gguf_hf **out, gs_error *err) {
    *out = NULL;
    const gs_gguf_family *family = NULL;
    GS_TRY(check_complete_file(g, err));
    GS_TRY(find_family(g, &family, err));
    gs_gguf_hf *h = gs_calloc(1, sizeof *h);
    if (!h) return gs_error_nomem(err, sizeof *h);
    h->g = g;
    h->family = family;
    gs_status status = gs_gguf_sizes_read(g, family, &h->sizes, err);
    if (status == GS_OK) status = add_tensors(h, err);
    if (status != GS_OK) {
        gs_gguf_hf_destroy(h);
        return status;
    }
    *out = h;
    return GS_OK;
}

void gs_gguf_hf_destroy(gs_gguf_hf *h) {
    if (!h) return;
    for (size_t i = 0; i < h->count; i++) gs_free((char *)h->tensors[i].name);
    for (size_t i = 0; i < h->slots; i++) gs_free(h->made[i]);
    gs_free(h->tensors);
    gs_free(h->made);
    gs_free(h);
}

size_t gs_gguf_hf_count(const gs_gguf_hf *h) {
    return h->count;
}

const gs_tensor *gs_gguf_hf_at(const gs_gguf_hf *h, size_t i) {
    return i < h->count ? &h->tensors[i] : NULL;
}
