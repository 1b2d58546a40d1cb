#include <loaders/gguf_hf.h>

#include <loaders/gguf_hf_config.h>

#include <base/mem.h>
#include <base/strbuf.h>

#include <stdio.h>
#include <string.h>

static const gs_gguf_family families[] = {
    {"llama", "llama", "LlamaForCausalLM", "silu", true},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", "silu", false},
};

/* Whose heads the rows of a projection belong to. */
typedef enum head_rows { ROWS_PLAIN, ROWS_Q, ROWS_K } head_rows;

typedef enum part { PART_NORM, PART_ATTENTION, PART_MLP } part;

static const struct {
    const char *gguf, *hf;
} model_names[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
};

/* "blk.N.<gguf>.weight" is "model.layers.N.<hf>.weight"; all but norms may have a ".bias". */
static const struct {
    const char *gguf, *hf;
    part part;
    head_rows rows;
} layer_names[] = {
    {"attn_norm", "input_layernorm", PART_NORM, ROWS_PLAIN},
    {"attn_q", "self_attn.q_proj", PART_ATTENTION, ROWS_Q},
    {"attn_k", "self_attn.k_proj", PART_ATTENTION, ROWS_K},
    {"attn_v", "self_attn.v_proj", PART_ATTENTION, ROWS_PLAIN},
    {"attn_output", "self_attn.o_proj", PART_ATTENTION, ROWS_PLAIN},
    {"ffn_norm", "post_attention_layernorm", PART_NORM, ROWS_PLAIN},
    {"ffn_gate", "mlp.gate_proj", PART_MLP, ROWS_PLAIN},
    {"ffn_up", "mlp.up_proj", PART_MLP, ROWS_PLAIN},
    {"ffn_down", "mlp.down_proj", PART_MLP, ROWS_PLAIN},
};

static gs_status find_family(const gs_gguf *g, const gs_gguf_family **out, gs_error *err) {
    gs_gguf_str name;
    if (!gs_gguf_string(g, "general.architecture", &name))
        return GS_FAIL(err, GS_E_FORMAT, "metadata key 'general.architecture' is missing");
    gs_strbuf known = {0};
    for (size_t i = 0; i < GS_COUNTOF(families); i++) {
        const char *row = families[i].architecture;
        if (strlen(row) == name.len && !memcmp(row, name.data, name.len)) {
            *out = &families[i];
            gs_strbuf_clear(&known);
            return GS_OK;
        }
        gs_strbuf_printf(&known, "%s%s", i ? ", " : "", row);
    }
    (void)GS_FAIL(err, GS_E_UNSUPPORTED, "GGUF architecture '%.*s' is not supported",
                  name.len < 64 ? (int)name.len : 64, name.data);
    gs_error_hint(err, "known: %s", gs_strbuf_text(&known));
    gs_strbuf_clear(&known);
    return GS_E_UNSUPPORTED;
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

static gs_status set_row_order(const gs_gguf_hf *h, gs_tensor *t, head_rows rows, gs_error *err) {
    if (rows == ROWS_PLAIN || !h->family->interleaved) return GS_OK;
    int64_t heads = rows == ROWS_Q ? h->sizes.heads : h->sizes.kv_heads;
    /* the converter interleaves biases too, but a vector has no rows to put back */
    if (t->ndim < 2)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "a bias of interleaved q or k rows");
    if (t->shape[0] % heads || t->shape[0] / heads % 2)
        return GS_FAIL(err, GS_E_FORMAT, "%lld rows are not %lld heads of even size",
                       (long long)t->shape[0], (long long)heads);
    t->order = GS_ROWS_LLAMA_INTERLEAVED;
    t->order_heads = heads;
    return GS_OK;
}

/* GS_OK with name empty when there is no such layer tensor. */
static gs_status name_layer_tensor(gs_gguf_hf *h, gs_tensor *t, const char *rest, int64_t layer,
                                   gs_strbuf *name, gs_error *err) {
    for (size_t i = 0; i < GS_COUNTOF(layer_names); i++) {
        size_t len = strlen(layer_names[i].gguf);
        if (strncmp(rest, layer_names[i].gguf, len)) continue;
        bool bias = !strcmp(rest + len, ".bias");
        if (!bias && strcmp(rest + len, ".weight")) continue;
        if (bias && layer_names[i].part == PART_NORM) continue;
        if (layer >= h->sizes.layers)
            return GS_FAIL(err, GS_E_FORMAT, "block %lld of a model with %lld", (long long)layer,
                           (long long)h->sizes.layers);
        h->attention_bias |= bias && layer_names[i].part == PART_ATTENTION;
        h->mlp_bias |= bias && layer_names[i].part == PART_MLP;
        gs_strbuf_printf(name, "model.layers.%lld.%s%s", (long long)layer, layer_names[i].hf,
                         rest + len);
        return set_row_order(h, t, layer_names[i].rows, err);
    }
    return GS_OK;
}

static gs_status add_tensor(gs_gguf_hf *h, const gs_tensor *from, gs_error *err) {
    gs_tensor t = *from;
    gs_strbuf name = {0};
    const char *rest = from->name;
    int64_t layer;
    for (size_t i = 0; i < GS_COUNTOF(model_names); i++)
        if (!strcmp(rest, model_names[i].gguf)) gs_strbuf_puts(&name, model_names[i].hf);
    if (!strncmp(rest, "blk.", 4)) {
        rest += 4;
        gs_status status = GS_OK;
        if (parse_layer(&rest, &layer)) status = name_layer_tensor(h, &t, rest, layer, &name, err);
        if (status != GS_OK) {
            gs_strbuf_clear(&name);
            return status;
        }
    }
    bool failed = name.failed;
    t.name = gs_strbuf_take(&name, NULL);
    if (failed) return gs_error_nomem(err, strlen(from->name));
    if (!t.name)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "no place for it in a %s model",
                       h->family->model_type);
    h->tensors[h->count++] = t;
    return GS_OK;
}

static gs_status add_tensors(gs_gguf_hf *h, gs_error *err) {
    size_t n = gs_gguf_count(h->g);
    h->tensors = gs_calloc(n ? n : 1, sizeof *h->tensors);
    if (!h->tensors) return gs_error_nomem(err, n * sizeof *h->tensors);
    h->rope_freqs = gs_gguf_find(h->g, "rope_freqs.weight");
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

gs_status gs_gguf_family_find(const char *model_type, const gs_gguf_family **out, gs_error *err) {
    gs_strbuf known = {0};
    for (size_t i = 0; i < GS_COUNTOF(families); i++) {
        gs_strbuf_printf(&known, "%s%s", i ? ", " : "", families[i].model_type);
        if (strcmp(families[i].model_type, model_type) != 0) continue;
        gs_strbuf_clear(&known);
        *out = &families[i];
        return GS_OK;
    }
    (void)GS_FAIL(err, GS_E_UNSUPPORTED, "no GGUF architecture is known for model_type '%.60s'", model_type);
    gs_error_hint(err, "known: %s", gs_strbuf_text(&known));
    gs_strbuf_clear(&known);
    return GS_E_UNSUPPORTED;
}

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
    for (size_t i = 0; i < GS_COUNTOF(layer_names); i++) {
        size_t len = strlen(layer_names[i].hf);
        head_rows rows = family->interleaved ? layer_names[i].rows : ROWS_PLAIN;
        if (strncmp(rest, layer_names[i].hf, len)) continue;
        bool bias = !strcmp(rest + len, ".bias");
        if (!bias && strcmp(rest + len, ".weight")) continue;
        if (bias && layer_names[i].part == PART_NORM) break;
        if (bias && rows != ROWS_PLAIN) /* what reads it could not put a vector's rows in order again */
            return GS_FAIL(err, GS_E_UNSUPPORTED, "'%.200s': a bias of interleaved q or k rows", name);
        out->heads = rows == ROWS_Q ? config->heads : rows == ROWS_K ? config->kv_heads : 0;
        snprintf(out->name, sizeof out->name, "blk.%lld.%s%s", (long long)layer, layer_names[i].gguf, rest + len);
        return GS_OK;
    }
    return no_place(family, name, err);
}

gs_status gs_gguf_hf_place(const gs_model_config *config, const char *name, gs_gguf_place *out, gs_error *err) {
    const gs_gguf_family *family;
    const char *rest = name;
    int64_t layer;
    *out = (gs_gguf_place){.heads = 0};
    GS_TRY(gs_gguf_family_find(config->model_type, &family, err));
    for (size_t i = 0; i < GS_COUNTOF(model_names); i++) {
        if (strcmp(name, model_names[i].hf) != 0) continue;
        snprintf(out->name, sizeof out->name, "%s", model_names[i].gguf);
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
    gs_free(h->tensors);
    gs_free(h);
}

size_t gs_gguf_hf_count(const gs_gguf_hf *h) {
    return h->count;
}

const gs_tensor *gs_gguf_hf_at(const gs_gguf_hf *h, size_t i) {
    return i < h->count ? &h->tensors[i] : NULL;
}
