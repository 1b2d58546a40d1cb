/* Rotation: what the metadata and rope_freqs say of it as rope_theta, rope_scaling and partial_rotary_factor. */
#include <loaders/gguf_hf_config.h>

#include <math.h>
#include <string.h>

/* rope_scaling under both names that readers look for: "rope_type" and the older "type". */
static gs_gguf_builder put_rope_scaling(gs_gguf_builder *b, const char *type, double factor) {
    gs_gguf_builder scaling = {cJSON_AddObjectToObject(b->object, "rope_scaling"), false};
    gs_gguf_put_string(&scaling, "rope_type", type);
    gs_gguf_put_string(&scaling, "type", type);
    gs_gguf_put_number(&scaling, "factor", factor);
    return scaling;
}

typedef struct rope_words {
    bool yarn; /* else linear, which with factor 1 is none */
    double factor;
} rope_words;

static bool is_word(gs_gguf_str s, const char *word) { return s.len == strlen(word) && !memcmp(s.data, word, s.len); }

/* llama.cpp takes an absent type for linear, and does not look at the factor of "none". */
static gs_status read_scaling(const gs_gguf_hf *h, rope_words *s, gs_error *err) {
    char key[GS_GGUF_KEY_MAX];
    gs_gguf_str type = {"linear", 6};
    double older = 1;
    bool said = gs_gguf_string(h->g, gs_gguf_key(h->family, "rope.scaling.type", key), &type);
    *s = (rope_words){.factor = 1, .yarn = is_word(type, "yarn")};
    if (is_word(type, "none")) return GS_OK;
    if (!s->yarn && !is_word(type, "linear"))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is '%.*s'; 'linear' and 'yarn' are supported", key,
                       type.len < 64 ? (int)type.len : 64, type.data);
    GS_TRY(gs_gguf_read_real(h->g, h->family, "rope.scale_linear", &older, err));
    s->factor = said && older == 1 ? 0 : older;
    GS_TRY(gs_gguf_read_real(h->g, h->family, "rope.scaling.factor", &s->factor, err));
    return GS_OK;
}

static gs_status read_original(const gs_gguf_hf *h, double *out, gs_error *err) {
    char key[GS_GGUF_KEY_MAX];
    int64_t said;
    if (!gs_gguf_int(h->g, gs_gguf_key(h->family, "rope.scaling.original_context_length", key), &said)) return GS_OK;
    if (said < 1 || said > INT32_MAX) return GS_FAIL(err, GS_E_FORMAT, "'%s' is %lld", key, (long long)said);
    *out = (double)said;
    return GS_OK;
}

/* Without yarn llama.cpp multiplies cosine and sine by it all the same. */
static gs_status check_no_share(const gs_gguf_hf *h, gs_error *err) {
    char key[GS_GGUF_KEY_MAX];
    double share = 1;
    (void)gs_gguf_double(h->g, gs_gguf_key(h->family, "rope.scaling.attn_factor", key), &share);
    if (share == 1) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is %g; only 1 is supported", key, share);
}

/* rope.scaling.yarn_attn_factor, config.json's attention_factor as the converter writes it, is not read by llama.cpp:
 * taken where it says what is computed without it. */
static gs_status put_yarn(const gs_gguf_hf *h, double factor, gs_gguf_builder *b, gs_error *err) {
    double share = 1, said = 0, original = (double)h->sizes.context, own = gs_yarn_amplitude(factor, 1);
    char key[GS_GGUF_KEY_MAX];
    GS_TRY(gs_gguf_read_real(h->g, h->family, "rope.scaling.attn_factor", &share, err));
    GS_TRY(read_original(h, &original, err));
    if (gs_gguf_double(h->g, gs_gguf_key(h->family, "rope.scaling.yarn_attn_factor", key), &said) &&
        !(fabs(said - own * share) <= 1e-6 * own * share))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is %g, llama.cpp computes with %g", key, said, own * share);
    gs_gguf_builder scaling = put_rope_scaling(b, "yarn", factor);
    gs_gguf_put_number(&scaling, "original_max_position_embeddings", original);
    if (share != 1)
        gs_gguf_put_number(&scaling, "attention_factor", gs_gguf_shortest_decimal((double)(float)(own * share)));
    b->failed |= scaling.failed;
    return GS_OK;
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
    *out = gs_gguf_shortest_decimal(value);
    return GS_OK;
}

/* last: the divisor of the lowest frequency, which has the whole factor in every published model. */
static gs_status read_constants(const gs_gguf_hf *h, float last, gs_llama3_scaling *s, gs_error *err) {
    *s = (gs_llama3_scaling){h->sizes.rope_theta, gs_gguf_shortest_decimal((double)last), GS_LLAMA3_LOW, GS_LLAMA3_HIGH,
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

static gs_status put_llama3(const gs_llama3_scaling *s, gs_gguf_builder *b) {
    gs_gguf_builder scaling = put_rope_scaling(b, "llama3", s->factor);
    gs_gguf_put_number(&scaling, "low_freq_factor", s->low);
    gs_gguf_put_number(&scaling, "high_freq_factor", s->high);
    gs_gguf_put_number(&scaling, "original_max_position_embeddings", s->original);
    b->failed |= scaling.failed;
    return GS_OK;
}

/* The least number that config.json's reader multiplies a head by and cuts to rope_dim. */
static void put_part(const gs_gguf_sizes *s, gs_gguf_builder *b) {
    double part = (double)s->rope_dim / (double)s->head_dim;
    while ((int64_t)((double)s->head_dim * part) < s->rope_dim) part = nextafter(part, 1);
    gs_gguf_put_number(b, "partial_rotary_factor", part);
}

gs_status gs_gguf_put_rope(const gs_gguf_hf *h, gs_gguf_builder *b, gs_error *err) {
    rope_words s;
    gs_llama3_scaling llama3 = {.factor = 1};
    gs_gguf_put_number(b, "rope_theta", h->sizes.rope_theta);
    if (h->sizes.rope_dim != h->sizes.head_dim) put_part(&h->sizes, b);
    GS_TRY(read_scaling(h, &s, err));
    if (h->rope_freqs) GS_TRY(recover_llama3(h, &llama3, err));
    if ((s.yarn || s.factor != 1) && llama3.factor != 1)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "%s and llama3 rope scaling at once", s.yarn ? "yarn" : "linear");
    if (s.yarn) return put_yarn(h, s.factor, b, err);
    GS_TRY(check_no_share(h, err));
    if (s.factor != 1) b->failed |= put_rope_scaling(b, "linear", s.factor).failed;
    return llama3.factor != 1 ? put_llama3(&llama3, b) : GS_OK;
}
