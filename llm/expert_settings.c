#include <llm/settings.h>

#include <string.h>

/* of a layer, of all layers (a config.json of a few bytes would else ask for a network of millions of nodes) */
static const int64_t MOST_EXPERTS = 1024, MOST_IN_ALL = (int64_t)1 << 16, MOST_WIDTH = (int64_t)1 << 24;

int64_t gs_config_experts(const gs_model_config *c) {
    static const char *const keys[] = {"num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) {
        int64_t count = 0;
        if (gs_json_int(c->json, keys[i], &count, NULL) == GS_OK && count > 0) return count;
    }
    return 0;
}

/* Keys under which models do what the walk does not, and the number at which they do not. */
static gs_status refuse_more(const gs_model_config *c, gs_error *err) {
    static const struct {
        const char *key, *what;
        double idle;
    } more[] = {
        {"n_shared_experts", "shared experts", 0},     {"num_shared_experts", "shared experts", 0},
        {"shared_expert_intermediate_size", "shared experts", 0}, {"n_group", "groups of experts", 1},
        {"routed_scaling_factor", "scaled shares", 1},
    };
    const char *score = "softmax";
    for (size_t i = 0; i < GS_COUNTOF(more); i++) {
        double value = more[i].idle;
        GS_TRY(gs_json_double(c->json, more[i].key, &value, err));
        if (value != more[i].idle && value != 0)
            return GS_FAIL(err, GS_E_UNSUPPORTED, "\"%s\" is %g: %s are not supported", more[i].key, value, more[i].what);
    }
    GS_TRY(gs_json_string(c->json, "scoring_func", &score, err));
    if (!score || strcmp(score, "softmax") == 0) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "\"scoring_func\" is '%.40s' (softmax is known)", score);
}

static gs_status read_count(const gs_model_config *c, const char *key, int64_t most, int64_t *out, gs_error *err) {
    int64_t value = 0;
    GS_TRY(gs_json_int(c->json, key, &value, err));
    if (value < 1 || value > most)
        return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is %lld, outside 1..%lld", key, (long long)value, (long long)most);
    *out = value;
    return GS_OK;
}

static bool is_listed(const gs_decoder_settings *s, int64_t layer) {
    const cJSON *item, *list = s->helper->dense_layers ? gs_json_get(s->config->json, s->helper->dense_layers) : NULL;
    cJSON_ArrayForEach(item, list) {
        if (cJSON_IsNumber(item) && item->valuedouble == (double)layer) return true;
    }
    return false;
}

bool gs_decoder_is_sparse(const gs_decoder_settings *s, int64_t layer) {
    int64_t every = 1;
    if (!s->experts || is_listed(s, layer)) return false;
    const char *key = s->helper->expert_every;
    return !key || gs_json_int(s->config->json, key, &every, NULL) != GS_OK || (layer + 1) % every == 0;
}

/* What gs_decoder_is_sparse asks for is of the right kind. */
static gs_status check_places(const gs_decoder_settings *s, gs_error *err) {
    const gs_network_helper *h = s->helper;
    const cJSON *item, *list = h->dense_layers ? gs_json_get(s->config->json, h->dense_layers) : NULL;
    int64_t every, layer;
    if (list && !cJSON_IsNull(list) && !cJSON_IsArray(list))
        return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is not a list of layers", h->dense_layers);
    /* it is gone through for each layer */
    if (list && cJSON_GetArraySize(list) > s->config->layers)
        return GS_FAIL(err, GS_E_FORMAT, "\"%s\" has %d entries, num_hidden_layers is %lld", h->dense_layers,
                       cJSON_GetArraySize(list), (long long)s->config->layers);
    cJSON_ArrayForEach(item, list) {
        if (!gs_json_is_int(item, &layer) || layer < 0)
            return GS_FAIL(err, GS_E_FORMAT, "\"%s\" is not a list of layers", h->dense_layers);
    }
    const cJSON *step = h->expert_every ? gs_json_get(s->config->json, h->expert_every) : NULL;
    return step && !cJSON_IsNull(step) ? read_count(s->config, h->expert_every, INT32_MAX, &every, err) : GS_OK;
}

static gs_status check_dense(const gs_decoder_settings *s, gs_error *err) {
    const gs_helper_names *n = &s->helper->name;
    bool named = n->down && (n->gate_up || (n->gate && n->up));
    for (int64_t layer = 0; layer < s->config->layers && !named; layer++)
        if (!gs_decoder_is_sparse(s, layer))
            return GS_FAIL(err, GS_E_UNSUPPORTED, "layer %lld has no experts, and the row of '%s' has no names for a dense mlp",
                           (long long)layer, s->helper->family);
    return GS_OK;
}

gs_status gs_experts_settle(gs_decoder_settings *s, gs_error *err) {
    const gs_network_helper *h = s->helper;
    const gs_model_config *c = s->config;
    if (!h->name.router) return GS_OK;
    s->experts = gs_config_experts(c);
    s->expert_width = c->intermediate;
    if (!s->experts) return check_dense(s, err);
    if (s->experts > MOST_EXPERTS)
        return GS_FAIL(err, GS_E_FORMAT, "%lld experts, more than %lld", (long long)s->experts, (long long)MOST_EXPERTS);
    if (s->experts * c->layers > MOST_IN_ALL)
        return GS_FAIL(err, GS_E_FORMAT, "%lld layers of %lld experts, more than %lld in all", (long long)c->layers,
                       (long long)s->experts, (long long)MOST_IN_ALL);
    GS_TRY(refuse_more(c, err));
    GS_TRY(read_count(c, "num_experts_per_tok", s->experts, &s->experts_per_token, err));
    if (h->expert_width) GS_TRY(read_count(c, h->expert_width, MOST_WIDTH, &s->expert_width, err));
    s->renormalize = h->expert_renormalize && strcmp(h->expert_renormalize, "true") == 0;
    if (h->expert_renormalize && !s->renormalize)
        GS_TRY(gs_json_bool(c->json, h->expert_renormalize, &s->renormalize, err));
    GS_TRY(check_places(s, err));
    return check_dense(s, err);
}
