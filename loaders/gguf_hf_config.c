#include <loaders/gguf_hf_config.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = GS_GGUF_KEY_MAX };

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

/* GGUF stores f32; config.json means the short decimal that the f32 was rounded from (1e-5f
 * is 1e-05, not 9.99999974737875e-06). The shortest decimal that rounds to the same f32. */
static double shortest_decimal(double v) {
    char text[32];
    if (!(fabs(v) <= (double)FLT_MAX) || (double)(float)v != v) return v;
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtof(text, NULL) == (float)v) return strtod(text, NULL);
    }
    return v;
}

/* A finite number above zero into *out; absent: as read_size. */
static gs_status read_real(const gs_gguf *g, const gs_gguf_family *family, const char *suffix,
                           double *out, gs_error *err) {
    char key[KEY_MAX];
    double value = 0;
    if (!gs_gguf_double(g, gs_gguf_key(family, suffix, key), &value)) {
        if (*out != 0) return GS_OK;
        return GS_FAIL(err, GS_E_FORMAT, "metadata key '%s' is missing or no float", key);
    }
    if (!(value > 0) || !isfinite(value))
        return GS_FAIL(err, GS_E_FORMAT, "'%s' is %g", key, value);
    *out = shortest_decimal(value);
    return GS_OK;
}

/* Keys that some converters write and that config.json of these families has no word for.
 * Anything but the neutral value would silently change the network's function. */
static gs_status check_neutral_keys(const gs_gguf *g, const gs_gguf_family *family, gs_error *err) {
    static const struct {
        const char *suffix;
        double neutral;
    } rows[] = {
        {"expert_count", 0},          {"logit_scale", 1},
        {"residual_scale", 1},        {"embedding_scale", 1},
        {"attention.clamp_kqv", 0},   {"attention.max_alibi_bias", 0},
        {"rope.scaling.attn_factor", 1}, {"attention.sliding_window", 0},
        {"attention.scale", 0},
    };
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        char key[KEY_MAX];
        int64_t integer;
        double value = rows[i].neutral;
        gs_gguf_key(family, rows[i].suffix, key);
        if (gs_gguf_int(g, key, &integer)) value = (double)integer;
        else (void)gs_gguf_double(g, key, &value);
        if (value != rows[i].neutral)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is %g; only %g is supported", key, value,
                           rows[i].neutral);
    }
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
    int64_t value_dim = s->head_dim, rope_dim = s->head_dim;
    GS_TRY(read_size(g, family, "attention.value_length", &value_dim, err));
    GS_TRY(read_size(g, family, "rope.dimension_count", &rope_dim, err));
    if (value_dim != s->head_dim || rope_dim != s->head_dim)
        return GS_FAIL(err, GS_E_UNSUPPORTED,
                       "keys of %lld, values of %lld and %lld rotated dimensions differ",
                       (long long)s->head_dim, (long long)value_dim, (long long)rope_dim);
    return GS_OK;
}

gs_status gs_gguf_sizes_read(const gs_gguf *g, const gs_gguf_family *family, gs_gguf_sizes *out,
                             gs_error *err) {
    *out = (gs_gguf_sizes){.rope_theta = 10000};
    GS_TRY(check_neutral_keys(g, family, err));
    GS_TRY(read_size(g, family, "block_count", &out->layers, err));
    GS_TRY(read_size(g, family, "embedding_length", &out->hidden, err));
    GS_TRY(read_size(g, family, "feed_forward_length", &out->intermediate, err));
    GS_TRY(read_size(g, family, "context_length", &out->context, err));
    GS_TRY(read_real(g, family, "attention.layer_norm_rms_epsilon", &out->norm_eps, err));
    GS_TRY(read_real(g, family, "rope.freq_base", &out->rope_theta, err));
    return read_head_sizes(g, family, out, err);
}

/* Adds to a tree; remembers a failed allocation. */
typedef struct builder {
    cJSON *object;
    bool failed;
} builder;

static void put_number(builder *b, const char *key, double value) {
    b->failed |= !cJSON_AddNumberToObject(b->object, key, value);
}

static void put_string(builder *b, const char *key, const char *value) {
    b->failed |= !cJSON_AddStringToObject(b->object, key, value);
}

static void put_bool(builder *b, const char *key, bool value) {
    b->failed |= !cJSON_AddBoolToObject(b->object, key, value);
}

/* rope_scaling under both names that readers look for: "rope_type" and the older "type". */
static builder put_rope_scaling(builder *b, const char *type, double factor) {
    builder scaling = {cJSON_AddObjectToObject(b->object, "rope_scaling"), false};
    put_string(&scaling, "rope_type", type);
    put_string(&scaling, "type", type);
    put_number(&scaling, "factor", factor);
    return scaling;
}

static gs_status read_linear_factor(const gs_gguf *g, const gs_gguf_family *family,
                                    double *factor, gs_error *err) {
    char key[KEY_MAX];
    gs_gguf_str type = {"none", 4};
    *factor = 1;
    GS_TRY(read_real(g, family, "rope.scale_linear", factor, err)); /* older files */
    gs_gguf_string(g, gs_gguf_key(family, "rope.scaling.type", key), &type);
    if (type.len == 4 && !memcmp(type.data, "none", 4)) return GS_OK;
    if (type.len == 6 && !memcmp(type.data, "linear", 6)) {
        *factor = 0;
        return read_real(g, family, "rope.scaling.factor", factor, err);
    }
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is '%.*s'; only 'linear' is supported", key,
                   type.len < 64 ? (int)type.len : 64, type.data);
}

double gs_llama3_divisor(const gs_llama3_scaling *s, int64_t j) {
    double wavelength = 2 * 3.14159265358979323846 * pow(s->theta, 2.0 * (double)j / (double)s->head_dim);
    if (wavelength < s->original / s->high) return 1;
    if (wavelength > s->original / s->low) return s->factor;
    double t = (s->original / wavelength - s->low) / (s->high - s->low);
    return 1 / ((1 - t) / s->factor + t);
}

/* A constant that the file may say; absent: *out stays. */
static gs_status own_constant(const gs_gguf *g, const char *key, double *out, gs_error *err) {
    double value;
    if (!gs_gguf_double(g, key, &value)) return GS_OK;
    if (!(value > 0) || !isfinite(value)) return GS_FAIL(err, GS_E_FORMAT, "'%s' is %g", key, value);
    *out = shortest_decimal(value);
    return GS_OK;
}

/* last: the divisor of the lowest frequency, which has the whole factor in every published model. */
static gs_status read_constants(const gs_gguf_hf *h, float last, gs_llama3_scaling *s, gs_error *err) {
    *s = (gs_llama3_scaling){h->sizes.rope_theta, shortest_decimal((double)last), GS_LLAMA3_LOW, GS_LLAMA3_HIGH,
                             GS_LLAMA3_ORIGINAL, h->sizes.head_dim};
    GS_TRY(own_constant(h->g, GS_LLAMA3_KEY "factor", &s->factor, err));
    GS_TRY(own_constant(h->g, GS_LLAMA3_KEY "low", &s->low, err));
    GS_TRY(own_constant(h->g, GS_LLAMA3_KEY "high", &s->high, err));
    return own_constant(h->g, GS_LLAMA3_KEY "original", &s->original, err);
}

/* s->factor is 1 when the divisors are all ones. */
static gs_status recover_llama3(const gs_gguf_hf *h, gs_llama3_scaling *s, gs_error *err) {
    const gs_tensor *t = h->rope_freqs;
    int64_t n = h->sizes.head_dim / 2;
    if (t->dtype != GS_F32 || t->ndim != 1 || t->shape[0] != n)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is not %lld F32 values", t->name, (long long)n);
    float last;
    memcpy(&last, t->data + 4 * (n - 1), sizeof last);
    GS_TRY(read_constants(h, last, s, err));
    for (int64_t j = 0; j < n; j++) {
        float stored;
        memcpy(&stored, t->data + 4 * j, sizeof stored);
        double want = gs_llama3_divisor(s, j);
        /* the converter works in f32: t near 0 loses some bits, times the factor */
        if (!(fabs((double)stored - want) <= 1e-3 * want) || !(s->factor >= 1) || !isfinite(s->factor))
            return GS_FAIL(err, GS_E_UNSUPPORTED,
                           "'%s': divisor %lld is %g where llama3 scaling has %g", t->name,
                           (long long)j, (double)stored, want);
    }
    return GS_OK;
}

static gs_status put_rope(const gs_gguf_hf *h, builder *b, gs_error *err) {
    double linear = 1;
    gs_llama3_scaling llama3 = {.factor = 1};
    put_number(b, "rope_theta", h->sizes.rope_theta);
    GS_TRY(read_linear_factor(h->g, h->family, &linear, err));
    if (h->rope_freqs) GS_TRY(recover_llama3(h, &llama3, err));
    if (linear != 1 && llama3.factor != 1)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "linear and llama3 rope scaling at once");
    if (linear != 1) b->failed |= put_rope_scaling(b, "linear", linear).failed;
    if (llama3.factor != 1) {
        builder scaling = put_rope_scaling(b, "llama3", llama3.factor);
        put_number(&scaling, "low_freq_factor", llama3.low);
        put_number(&scaling, "high_freq_factor", llama3.high);
        put_number(&scaling, "original_max_position_embeddings", llama3.original);
        b->failed |= scaling.failed;
    }
    return GS_OK;
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
static void put_token_id(const gs_gguf_hf *h, builder *b, const char *key, const char *hf,
                         int64_t vocab) {
    int64_t id;
    if (gs_gguf_int(h->g, key, &id) && id >= 0 && id < vocab) put_number(b, hf, (double)id);
}

static const char *torch_dtype(const gs_gguf_hf *h) {
    gs_dtype common = GS_DTYPE_NONE;
    for (size_t i = 0; i < h->count; i++) {
        const gs_tensor *t = &h->tensors[i];
        if (t->ndim < 2) continue;
        if (common == GS_DTYPE_NONE) common = t->dtype;
        if (t->dtype != common) common = GS_F32;
    }
    return gs_dtype_torch_name(common == GS_F16 || common == GS_BF16 ? common : GS_F32);
}

static gs_status put_config(const gs_gguf_hf *h, builder *b, gs_error *err) {
    const gs_gguf_sizes *s = &h->sizes;
    int64_t vocab;
    GS_TRY(vocab_size(h, &vocab, err));
    cJSON *classes = cJSON_AddArrayToObject(b->object, "architectures");
    cJSON *name = cJSON_CreateString(h->family->class_name);
    if (!classes || !cJSON_AddItemToArray(classes, name)) {
        cJSON_Delete(name);
        b->failed = true;
    }
    put_string(b, "model_type", h->family->model_type);
    put_number(b, "vocab_size", (double)vocab);
    put_number(b, "hidden_size", (double)s->hidden);
    put_number(b, "intermediate_size", (double)s->intermediate);
    put_number(b, "num_hidden_layers", (double)s->layers);
    put_number(b, "num_attention_heads", (double)s->heads);
    put_number(b, "num_key_value_heads", (double)s->kv_heads);
    if (s->explicit_head_dim) put_number(b, "head_dim", (double)s->head_dim);
    put_number(b, "max_position_embeddings", (double)s->context);
    put_number(b, "rms_norm_eps", s->norm_eps);
    GS_TRY(put_rope(h, b, err));
    put_string(b, "hidden_act", h->family->hidden_act);
    put_bool(b, "attention_bias", h->attention_bias);
    put_bool(b, "mlp_bias", h->mlp_bias);
    put_bool(b, "tie_word_embeddings", h->tied);
    put_token_id(h, b, "tokenizer.ggml.bos_token_id", "bos_token_id", vocab);
    put_token_id(h, b, "tokenizer.ggml.eos_token_id", "eos_token_id", vocab);
    put_token_id(h, b, "tokenizer.ggml.padding_token_id", "pad_token_id", vocab);
    put_string(b, "torch_dtype", torch_dtype(h));
    return GS_OK;
}

gs_status gs_gguf_hf_config(const gs_gguf_hf *h, cJSON **out, gs_error *err) {
    *out = NULL;
    builder b = {cJSON_CreateObject(), false};
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
