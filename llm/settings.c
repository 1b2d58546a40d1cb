#include <llm/settings.h>

#include <base/half.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

bool gs_helper_block_name(const char *block, int64_t layer, char *out, size_t size) {
    const char *place = strstr(block, "%d");
    int n = place ? snprintf(out, size, "%.*s%lld%s", (int)(place - block), block, (long long)layer, place + 2)
                  : snprintf(out, size, "%s", block);
    return n >= 0 && (size_t)n < size;
}

/* ---- windows ---- */

static bool is_sliding(const cJSON *kind) {
    return strcmp(kind->valuestring, "sliding_attention") == 0;
}

static bool has_windows(const gs_decoder_settings *s) {
    const gs_network_helper *h = s->helper;
    if (!h->window || !s->config->window) return false;
    return !h->window_when || cJSON_IsTrue(gs_json_get(s->config->json, h->window_when));
}

static gs_status check_kind(const gs_decoder_settings *s, const cJSON *kind, gs_error *err) {
    if (!cJSON_IsString(kind))
        return GS_FAIL(err, GS_E_FORMAT, "\"layer_types\" holds something that is no string");
    if (strcmp(kind->valuestring, "full_attention") == 0) return GS_OK;
    if (!is_sliding(kind))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "\"layer_types\" holds '%.40s' (full_attention and sliding_attention are known)",
                       kind->valuestring);
    if (!s->helper->window)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "\"layer_types\" holds 'sliding_attention', but the row of '%s' has no windows",
                       s->helper->family);
    return GS_OK;
}

/* Where layer_types is silent, this key may say what the row's window_every does. */
static gs_status check_pattern(const gs_decoder_settings *s, gs_error *err) {
    int64_t every = s->helper->window_every;
    if (!has_windows(s)) return GS_OK;
    GS_TRY(gs_json_int(s->config->json, "sliding_window_pattern", &every, err));
    if (every == s->helper->window_every) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "\"sliding_window_pattern\" is %lld, the row of '%s' has %lld", (long long)every,
                   s->helper->family, (long long)s->helper->window_every);
}

static gs_status check_windows(const gs_decoder_settings *s, gs_error *err) {
    const cJSON *json = s->config->json, *kinds = gs_json_get(json, "layer_types"), *kind;
    bool on;
    int64_t from;
    if (s->helper->window_when) GS_TRY(gs_json_bool(json, s->helper->window_when, &on, err));
    if (s->helper->window_from) GS_TRY(gs_json_int(json, s->helper->window_from, &from, err));
    if (!kinds || cJSON_IsNull(kinds)) return check_pattern(s, err);
    if (!cJSON_IsArray(kinds) || cJSON_GetArraySize(kinds) != s->config->layers)
        return GS_FAIL(err, GS_E_FORMAT, "\"layer_types\" has %d entries, num_hidden_layers is %lld",
                       cJSON_IsArray(kinds) ? cJSON_GetArraySize(kinds) : 0, (long long)s->config->layers);
    cJSON_ArrayForEach(kind, kinds) GS_TRY(check_kind(s, kind, err));
    return GS_OK;
}

int64_t gs_decoder_window(const gs_decoder_settings *s, int64_t layer) {
    const gs_network_helper *h = s->helper;
    const cJSON *json = s->config->json, *kinds = gs_json_get(json, "layer_types");
    int64_t from = 0;
    if (!has_windows(s)) return 0;
    if (cJSON_IsArray(kinds)) return is_sliding(cJSON_GetArrayItem(kinds, (int)layer)) ? s->config->window : 0;
    if (h->window_from && gs_json_int(json, h->window_from, &from, NULL) != GS_OK) return 0;
    if (layer < from || (h->window_every && (layer + 1) % h->window_every == 0)) return 0;
    return s->config->window;
}

/* ---- numbers ---- */

static gs_status read_number(const gs_model_config *c, const char *key, double otherwise, float *out, gs_error *err) {
    double value = otherwise;
    if (key) GS_TRY(gs_model_config_positive(c, key, &value, err));
    *out = (float)value;
    return GS_OK;
}

static gs_status settle_numbers(gs_decoder_settings *s, gs_error *err) {
    const gs_network_helper *h = s->helper;
    const gs_model_config *c = s->config;
    double width = (double)c->head_dim;
    float divisor;
    GS_TRY(read_number(c, h->embedding_multiplier, 1, &s->embedding_scale, err));
    if (h->embedding_by_width) s->embedding_scale = gs_round_to(c->dtype, (float)sqrt((double)c->hidden));
    GS_TRY(read_number(c, h->residual_multiplier, 1, &s->residual_scale, err));
    if (h->attention_width) GS_TRY(gs_model_config_positive(c, h->attention_width, &width, err));
    GS_TRY(read_number(c, h->attention_multiplier, h->attention_multiplier ? 1 : 1.0 / sqrt(width), &s->attention_scale, err));
    GS_TRY(read_number(c, h->attention_softcap, 0, &s->attention_softcap, err));
    GS_TRY(read_number(c, h->logits_softcap, 0, &s->logits_softcap, err));
    GS_TRY(read_number(c, h->logits_divisor, 1, &divisor, err));
    s->logits_scale = (float)(1.0 / (double)divisor);
    return GS_OK;
}

/* ---- what no row can say ---- */

static bool has_no(const cJSON *list) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (cJSON_IsFalse(item) || (cJSON_IsNumber(item) && item->valuedouble == 0)) return true;
    }
    return false;
}

/* Keys that change what a network computes while its tensors look as ever: a row cannot be asked for them. */
static gs_status check_foreign(const gs_model_config *c, gs_error *err) {
    const cJSON *causal = gs_json_get(c->json, "is_causal"), *clip = gs_json_get(c->json, "clip_qkv");
    const cJSON *both_ways = gs_json_get(c->json, "use_bidirectional_attention");
    if (cJSON_IsFalse(causal))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "\"is_causal\" is false: attention to later tokens is not supported");
    if (both_ways && !cJSON_IsFalse(both_ways) && !cJSON_IsNull(both_ways))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "\"use_bidirectional_attention\": attention to later tokens is not supported");
    if (clip && !cJSON_IsNull(clip))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "\"clip_qkv\": limits on queries, keys and values are not supported");
    if (has_no(gs_json_get(c->json, "no_rope_layers")))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "\"no_rope_layers\" holds 0: layers without rotation are not supported");
    return GS_OK;
}

/* ---- the rest ---- */

static gs_status settle_bias(const gs_model_config *c, const char *said, bool *out, gs_error *err) {
    *out = said && strcmp(said, "true") == 0;
    return said && !*out ? gs_json_bool(c->json, said, out, err) : GS_OK;
}

static gs_status settle_biases(gs_decoder_settings *s, gs_error *err) {
    GS_TRY(settle_bias(s->config, s->helper->qkv_bias, &s->qkv_bias, err));
    GS_TRY(settle_bias(s->config, s->helper->o_bias, &s->o_bias, err));
    return settle_bias(s->config, s->helper->mlp_bias, &s->mlp_bias, err);
}

static gs_status settle_activation(gs_decoder_settings *s, gs_error *err) {
    static const struct {
        const char *name;
        gs_op op;
    } known[] = {{"silu", GS_OP_SWIGLU}, {"swish", GS_OP_SWIGLU}, {"gelu_pytorch_tanh", GS_OP_GEGLU}};
    for (size_t i = 0; i < GS_COUNTOF(known); i++)
        if (strcmp(s->config->hidden_act, known[i].name) == 0) {
            s->activation = known[i].op;
            return GS_OK;
        }
    return GS_FAIL(err, GS_E_UNSUPPORTED, "hidden_act '%s' is not supported (silu and gelu_pytorch_tanh are)",
                   s->config->hidden_act);
}

static gs_status check_rope(const gs_rope_scaling *r, gs_error *err) {
    if (r->kind != GS_ROPE_SCALING_OTHER) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "rope scaling '%s' is not supported (linear, llama3, dynamic and yarn are)", r->name);
}

gs_status gs_decoder_settle(const gs_network_helper *helper, const gs_model_config *config, gs_decoder_settings *out,
                            gs_error *err) {
    *out = (gs_decoder_settings){.helper = helper, .config = config, .alibi = helper->alibi,
                                 .normalize_head = helper->normalize_head};
    GS_TRY(check_foreign(config, err));
    GS_TRY(settle_activation(out, err));
    GS_TRY(check_windows(out, err));
    GS_TRY(settle_biases(out, err));
    GS_TRY(settle_numbers(out, err));
    GS_TRY(gs_experts_settle(out, err));
    if (helper->settle) GS_TRY(helper->settle(config, out, err));
    if (out->alibi) return GS_OK;
    GS_TRY(check_rope(&config->rope_scaling, err));
    return check_rope(&config->sliding_rope_scaling, err);
}
