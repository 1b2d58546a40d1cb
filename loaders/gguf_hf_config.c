#include <loaders/gguf_hf_config.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = GS_GGUF_KEY_MAX };

#define NUMBER_MAX 1e12 /* of gs_model_config_positive */

const char *gs_gguf_key(const gs_gguf_family *family, const char *suffix, char buf[GS_GGUF_KEY_MAX]) {
    snprintf(buf, KEY_MAX, "%s.%s", family->architecture, suffix);
    return buf;
}

/* One value a layer: *out is the common one. */
static gs_status uniform_array(const gs_gguf *g, const char *key, bool *found, int64_t *out,
                               gs_error *err) {
    static const gs_gguf_type elements[] = {GS_GGUF_U32, GS_GGUF_I32};
    for (size_t k = 0; k < GS_COUNTOF(elements); k++) {
        int64_t n = 0;
        const uint8_t *p = gs_gguf_array_data(g, key, elements[k], &n);
        if (!p || n == 0) continue;
        for (int64_t i = 1; i < n; i++)
            if (memcmp(p, p + 4 * i, 4))
                return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' differs between layers 0 and %lld", key,
                               (long long)i);
        uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                        (uint32_t)p[3] << 24;
        *out = elements[k] == GS_GGUF_I32 ? (int32_t)bits : (int64_t)bits;
        *found = true;
    }
    return GS_OK;
}

/* A size of 1..2^31-1 into *out. Absent: *out keeps its value, which is the default; 0 there
 * means that there is none. */
static gs_status read_size(const gs_gguf *g, const gs_gguf_family *family, const char *suffix,
                           int64_t *out, gs_error *err) {
    char key[KEY_MAX];
    int64_t value = 0;
    bool found = gs_gguf_int(g, gs_gguf_key(family, suffix, key), &value);
    if (!found) GS_TRY(uniform_array(g, key, &found, &value, err));
    if (!found) {
        if (*out) return GS_OK;
        return GS_FAIL(err, GS_E_FORMAT, "metadata key '%s' is missing or no integer", key);
    }
    if (value < 1 || value > INT32_MAX)
        return GS_FAIL(err, GS_E_FORMAT, "'%s' is %lld", key, (long long)value);
    *out = value;
    return GS_OK;
}

double gs_gguf_shortest_decimal(double v) {
    char text[32];
    if (!(fabs(v) <= (double)FLT_MAX) || (double)(float)v != v) return v;
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtof(text, NULL) == (float)v) return strtod(text, NULL);
    }
    return v;
}

gs_status gs_gguf_read_real(const gs_gguf *g, const gs_gguf_family *family, const char *suffix, double *out,
                            gs_error *err) {
    char key[KEY_MAX];
    double value = 0;
    if (!gs_gguf_double(g, gs_gguf_key(family, suffix, key), &value)) {
        if (*out != 0) return GS_OK;
        return GS_FAIL(err, GS_E_FORMAT, "metadata key '%s' is missing or no float", key);
    }
    if (!(value > 0) || !(value <= 1e15)) return GS_FAIL(err, GS_E_FORMAT, "'%s' is %g", key, value);
    *out = gs_gguf_shortest_decimal(value);
    return GS_OK;
}

/* Keys that some converters write and that config.json of these families has no word for.
 * Anything but the neutral value would silently change the network's function. */
static gs_status check_neutral_key(const gs_gguf *g, const gs_gguf_family *family, const char *suffix, double neutral,
                                   gs_error *err) {
    char key[KEY_MAX];
    int64_t integer;
    bool flag;
    double value = neutral;
    gs_gguf_key(family, suffix, key);
    if (gs_gguf_int(g, key, &integer)) value = (double)integer;
    else if (gs_gguf_bool(g, key, &flag)) value = flag;
    else (void)gs_gguf_double(g, key, &value);
    if (value == neutral) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is %g; only %g is supported", key, value, neutral);
}

static gs_status check_neutral_keys(const gs_gguf *g, const gs_gguf_family *family, gs_error *err) {
    static const struct {
        const char *suffix;
        double neutral;
    } rows[] = {
        {"expert_shared_count", 0}, {"expert_shared_feed_forward_length", 0}, {"expert_group_count", 0},
        {"expert_weights_scale", 1}, {"expert_gating_func", 1 /* softmax */}, {"attention.clamp_kqv", 0},
        {"attention.max_alibi_bias", 0}, {"attention.causal", 1},
        {"rope.scaling.yarn_ext_factor", 1}, {"rope.scaling.yarn_beta_fast", GS_YARN_BETA_FAST},
        {"rope.scaling.yarn_beta_slow", GS_YARN_BETA_SLOW},
    };
    static const struct {
        const char *suffix;
        double neutral;
    } multipliers[] = {{"logit_scale", 1}, {"residual_scale", 1}, {"embedding_scale", 1}, {"attention.scale", 0}};
    for (size_t i = 0; i < GS_COUNTOF(rows); i++)
        GS_TRY(check_neutral_key(g, family, rows[i].suffix, rows[i].neutral, err));
    if (!family->experts.count) GS_TRY(check_neutral_key(g, family, "expert_count", 0, err));
    if (family->numbers != GS_GGUF_MULTIPLIERS)
        for (size_t i = 0; i < GS_COUNTOF(multipliers); i++)
            GS_TRY(check_neutral_key(g, family, multipliers[i].suffix, multipliers[i].neutral, err));
    else /* the architecture's switch for rotation */
        GS_TRY(check_neutral_key(g, family, "rope.scaling.finetuned", 1, err));
    return GS_OK;
}

/* Which layers have it, where the file says so at all, must be what the family's own rule says. */
static gs_status read_window(const gs_gguf *g, const gs_gguf_family *family, double theta, int64_t *window,
                             gs_error *err) {
    enum { EVERY = 2, DEFAULT = 4096 /* llama.cpp's */ };
    static const char suffix[] = "attention.sliding_window", pattern[] = "attention.sliding_window_pattern";
    char key[KEY_MAX];
    bool alternates = family->window == GS_GGUF_WINDOW_ALTERNATES;
    *window = alternates ? DEFAULT : 0;
    if (!alternates && family->window != GS_GGUF_WINDOW_SAID) return check_neutral_key(g, family, suffix, 0, err);
    GS_TRY(check_neutral_key(g, family, "rope.freq_base_swa", theta, err));
    if (gs_gguf_array(g, gs_gguf_key(family, pattern, key), GS_GGUF_BOOL) >= 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' says it layer by layer", key);
    if (alternates) GS_TRY(check_neutral_key(g, family, pattern, EVERY, err));
    gs_gguf_key(family, suffix, key);
    if (!gs_gguf_int(g, key, window)) return GS_OK;
    if (*window < alternates || *window > INT32_MAX)
        return GS_FAIL(err, GS_E_FORMAT, "'%s' is %lld", key, (long long)*window);
    return GS_OK;
}

static gs_status read_head_sizes(const gs_gguf *g, const gs_gguf_family *family,
                                 gs_gguf_sizes *s, gs_error *err) {
    GS_TRY(read_size(g, family, "attention.head_count", &s->heads, err));
    s->kv_heads = s->heads;
    GS_TRY(read_size(g, family, "attention.head_count_kv", &s->kv_heads, err));
    char key[KEY_MAX];
    int64_t said;
    s->explicit_head_dim = gs_gguf_int(g, gs_gguf_key(family, "attention.key_length", key), &said);
    if (!s->explicit_head_dim && s->hidden % s->heads)
        return GS_FAIL(err, GS_E_FORMAT, "hidden size %lld is not a multiple of %lld heads",
                       (long long)s->hidden, (long long)s->heads);
    s->head_dim = s->hidden / s->heads;
    if (s->explicit_head_dim)
        GS_TRY(read_size(g, family, "attention.key_length", &s->head_dim, err));
    int64_t value_dim = s->head_dim;
    s->rope_dim = s->head_dim;
    GS_TRY(read_size(g, family, "attention.value_length", &value_dim, err));
    GS_TRY(read_size(g, family, "rope.dimension_count", &s->rope_dim, err));
    if (value_dim != s->head_dim || (s->rope_dim != s->head_dim && !family->rope_part))
        return GS_FAIL(err, GS_E_UNSUPPORTED,
                       "keys of %lld, values of %lld and %lld rotated dimensions differ",
                       (long long)s->head_dim, (long long)value_dim, (long long)s->rope_dim);
    if (s->rope_dim > s->head_dim || (s->rope_dim != s->head_dim && s->rope_dim % 2))
        return GS_FAIL(err, GS_E_FORMAT, "%lld rotated dimensions of heads of %lld", (long long)s->rope_dim,
                       (long long)s->head_dim);
    return GS_OK;
}

/* Most experts: llm/expert_settings.c refuses more. */
static gs_status read_experts(const gs_gguf *g, const gs_gguf_family *family, gs_gguf_sizes *s, gs_error *err) {
    enum { MOST = 4096 };
    if (!family->experts.count) return GS_OK;
    GS_TRY(read_size(g, family, "expert_count", &s->experts, err));
    GS_TRY(read_size(g, family, "expert_used_count", &s->experts_used, err));
    if (s->experts > MOST || s->experts_used > s->experts)
        return GS_FAIL(err, GS_E_FORMAT, "%lld of %lld experts", (long long)s->experts_used, (long long)s->experts);
    s->expert_width = s->intermediate;
    if (!family->experts.width) return GS_OK;
    s->expert_width = s->intermediate / s->experts_used; /* llama.cpp's default; 0: none */
    return read_size(g, family, "expert_feed_forward_length", &s->expert_width, err);
}

gs_status gs_gguf_sizes_read(const gs_gguf *g, const gs_gguf_family *family, gs_gguf_sizes *out,
                             gs_error *err) {
    *out = (gs_gguf_sizes){.rope_theta = 10000};
    GS_TRY(check_neutral_keys(g, family, err));
    GS_TRY(read_size(g, family, "block_count", &out->layers, err));
    GS_TRY(read_size(g, family, "embedding_length", &out->hidden, err));
    GS_TRY(read_size(g, family, "feed_forward_length", &out->intermediate, err));
    GS_TRY(read_size(g, family, "context_length", &out->context, err));
    GS_TRY(gs_gguf_read_real(g, family, "attention.layer_norm_rms_epsilon", &out->norm_eps, err));
    GS_TRY(gs_gguf_read_real(g, family, "rope.freq_base", &out->rope_theta, err));
    if (family->only_layers && out->layers != family->only_layers)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "%lld layers: llama.cpp rotates queries and keys of %s models of %lld",
                       (long long)out->layers, family->architecture, (long long)family->only_layers);
    GS_TRY(read_window(g, family, out->rope_theta, &out->window, err));
    GS_TRY(read_experts(g, family, out, err));
    return read_head_sizes(g, family, out, err);
}

void gs_gguf_put_number(gs_gguf_builder *b, const char *key, double value) {
    b->failed |= !cJSON_AddNumberToObject(b->object, key, value);
}

void gs_gguf_put_string(gs_gguf_builder *b, const char *key, const char *value) {
    b->failed |= !cJSON_AddStringToObject(b->object, key, value);
}

static void put_bool(gs_gguf_builder *b, const char *key, bool value) {
    b->failed |= !cJSON_AddBoolToObject(b->object, key, value);
}

/* The embedding's rows are the truth; a file without tensors has only words about it. */
static gs_status vocab_size(const gs_gguf_hf *h, int64_t *out, gs_error *err) {
    const gs_tensor *embedding = gs_gguf_find(h->g, "token_embd.weight");
    int64_t tokens = gs_gguf_array(h->g, "tokenizer.ggml.tokens", GS_GGUF_STRING);
    *out = tokens > 0 ? tokens : 0;
    if (!embedding) return read_size(h->g, h->family, "vocab_size", out, err);
    *out = embedding->shape[0];
    return GS_OK;
}

/* Ids outside the vocabulary stand for "none" (-1 as u32). */
static void put_token_id(const gs_gguf_hf *h, gs_gguf_builder *b, const char *key, const char *hf,
                         int64_t vocab) {
    int64_t id;
    if (gs_gguf_int(h->g, key, &id) && id >= 0 && id < vocab) gs_gguf_put_number(b, hf, (double)id);
}

static const char *torch_dtype(const gs_gguf_hf *h) {
    gs_dtype common = GS_DTYPE_NONE;
    for (size_t i = 0; i < h->count; i++) {
        const gs_tensor *t = &h->tensors[i];
        if (t->ndim < 2) continue;
        if (h->sizes.experts && t->shape[0] == h->sizes.experts) continue; /* a router: converters leave it in F32 */
        if (common == GS_DTYPE_NONE) common = t->dtype;
        if (t->dtype != common) common = GS_F32;
    }
    return gs_dtype_torch_name(common == GS_F16 || common == GS_BF16 ? common : GS_F32);
}

/* Multipliers and caps of the family. */
static gs_status put_numbers(const gs_gguf_hf *h, gs_gguf_builder *b, gs_error *err) {
    const gs_gguf_sizes *s = &h->sizes;
    const gs_gguf_number *n;
    char key[KEY_MAX];
    for (size_t i = 0; (n = gs_gguf_number_at(i)); i++) {
        double value = n->absent_file < 0 ? 1 / sqrt((double)s->head_dim) : n->absent_file;
        if (n->kind != h->family->numbers) continue;
        GS_TRY(gs_gguf_read_real(h->g, h->family, n->gguf, &value, err));
        if (value > NUMBER_MAX)
            return GS_FAIL(err, GS_E_FORMAT, "'%s' is %g", gs_gguf_key(h->family, n->gguf, key), value);
        gs_gguf_put_number(b, n->hf, value);
    }
    if (h->family->numbers != GS_GGUF_SOFT_CAPS) return GS_OK;
    gs_gguf_put_number(b, "query_pre_attn_scalar",
                       (double)gs_gguf_attention_width(h->family, s->layers, s->hidden, s->heads, s->head_dim));
    gs_gguf_put_string(b, "hidden_activation", h->family->hidden_act);
    return GS_OK;
}

static void put_experts(const gs_gguf_hf *h, gs_gguf_builder *b) {
    const gs_gguf_mixture *m = &h->family->experts;
    if (!m->count) return;
    gs_gguf_put_number(b, m->count, (double)h->sizes.experts);
    gs_gguf_put_number(b, "num_experts_per_tok", (double)h->sizes.experts_used);
    if (m->width) gs_gguf_put_number(b, m->width, (double)h->sizes.expert_width);
    if (m->renormalize) put_bool(b, m->renormalize, true);
}

static gs_status put_config(const gs_gguf_hf *h, gs_gguf_builder *b, gs_error *err) {
    const gs_gguf_sizes *s = &h->sizes;
    int64_t vocab;
    GS_TRY(vocab_size(h, &vocab, err));
    cJSON *classes = cJSON_AddArrayToObject(b->object, "architectures");
    cJSON *name = cJSON_CreateString(h->family->class_name);
    if (!classes || !cJSON_AddItemToArray(classes, name)) {
        cJSON_Delete(name);
        b->failed = true;
    }
    gs_gguf_put_string(b, "model_type", h->family->model_type);
    gs_gguf_put_number(b, "vocab_size", (double)vocab);
    gs_gguf_put_number(b, "hidden_size", (double)s->hidden);
    gs_gguf_put_number(b, "intermediate_size", (double)s->intermediate);
    gs_gguf_put_number(b, "num_hidden_layers", (double)s->layers);
    gs_gguf_put_number(b, "num_attention_heads", (double)s->heads);
    gs_gguf_put_number(b, "num_key_value_heads", (double)s->kv_heads);
    if (s->explicit_head_dim || h->family->head_size == GS_GGUF_HEADS_SAID)
        gs_gguf_put_number(b, "head_dim", (double)s->head_dim);
    gs_gguf_put_number(b, "max_position_embeddings", (double)s->context);
    gs_gguf_put_number(b, "rms_norm_eps", s->norm_eps);
    GS_TRY(gs_gguf_put_rope(h, b, err));
    if (s->window) gs_gguf_put_number(b, "sliding_window", (double)s->window);
    GS_TRY(put_numbers(h, b, err));
    put_experts(h, b);
    gs_gguf_put_string(b, "hidden_act", h->family->hidden_act);
    put_bool(b, "attention_bias", h->attention_bias);
    put_bool(b, "mlp_bias", h->mlp_bias);
    put_bool(b, "tie_word_embeddings", h->tied);
    put_token_id(h, b, "tokenizer.ggml.bos_token_id", "bos_token_id", vocab);
    put_token_id(h, b, "tokenizer.ggml.eos_token_id", "eos_token_id", vocab);
    put_token_id(h, b, "tokenizer.ggml.padding_token_id", "pad_token_id", vocab);
    gs_gguf_put_string(b, "torch_dtype", torch_dtype(h));
    return GS_OK;
}

gs_status gs_gguf_hf_config(const gs_gguf_hf *h, cJSON **out, gs_error *err) {
    *out = NULL;
    gs_gguf_builder b = {cJSON_CreateObject(), false};
    if (!b.object) return GS_FAIL(err, GS_E_NOMEM, "no memory for the model's configuration");
    gs_status status = put_config(h, &b, err);
    if (status == GS_OK && b.failed)
        status = GS_FAIL(err, GS_E_NOMEM, "no memory for the model's configuration");
    if (status != GS_OK) {
        cJSON_Delete(b.object);
        return status;
    }
    *out = b.object;
    return GS_OK;
}
