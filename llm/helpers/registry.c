/* Which row serves a config.json. */
#include <base/nearest.h>
#include <llm/settings.h>

#include <string.h>

static const gs_network_helper *const helpers[] = {
#define X(family) &gs_helper_##family,
    GS_HELPER_LIST(X)
#undef X
};

static bool serves(const gs_network_helper *h, const char *model_type) {
    for (size_t i = 0; i < GS_COUNTOF(h->model_types) && h->model_types[i]; i++)
        if (strcmp(h->model_types[i], model_type) == 0) return true;
    return false;
}

static gs_status refuse_mixture(const gs_model_config *config, const gs_network_helper *row, gs_error *err) {
    gs_status status = GS_FAIL(err, GS_E_UNSUPPORTED, "model_type '%s' is a mixture of %lld experts, which %s",
                               config->model_type, (long long)gs_config_experts(config),
                               row ? "its row has no names for" : "is not supported");
    gs_error_hint(err, "mixtures like mixtral and qwen3_moe are; --helper FILE.json describes another (docs/adding-a-model.md)");
    return status;
}

static const gs_network_helper *find(const gs_model_config *config, const gs_network_helper *extra) {
    if (extra && serves(extra, config->model_type)) return extra;
    for (size_t h = 0; h < GS_COUNTOF(helpers); h++)
        if (serves(helpers[h], config->model_type)) return helpers[h];
    return NULL;
}

static gs_status refuse_unknown(const gs_model_config *config, gs_error *err) {
    const char *known[GS_COUNTOF(helpers) * GS_COUNTOF(helpers[0]->model_types)];
    size_t count = 0;
    for (size_t h = 0; h < GS_COUNTOF(helpers); h++)
        for (size_t i = 0; i < GS_COUNTOF(helpers[h]->model_types) && helpers[h]->model_types[i]; i++)
            known[count++] = helpers[h]->model_types[i];
    gs_status status = GS_FAIL(err, GS_E_UNSUPPORTED, "model_type '%s' is not a known architecture", config->model_type);
    gs_error_hint(err, "the nearest known is '%s'; --helper FILE.json describes another (docs/adding-a-model.md)",
                  gs_nearest(config->model_type, known, count));
    return status;
}

gs_status gs_network_helper_find(const gs_model_config *config, const gs_network_helper *extra,
                                 const gs_network_helper **out, gs_error *err) {
    const gs_network_helper *row = find(config, extra);
    if (gs_config_experts(config) > 1 && !(row && row->name.router)) return refuse_mixture(config, row, err);
    if (!row) return refuse_unknown(config, err);
    *out = row;
    return GS_OK;
}
