/* Which row serves a config.json. */
#include <base/nearest.h>
#include <llm/helpers/network_helper.h>

#include <string.h>

static const gs_network_helper *const helpers[] = {
#define X(family) &gs_helper_##family,
    GS_HELPER_LIST(X)
#undef X
};

gs_status gs_network_helper_find(const gs_model_config *config, const gs_network_helper **out,
                                 gs_error *err) {
    const char *known[GS_COUNTOF(helpers) * GS_COUNTOF(helpers[0]->model_types)];
    size_t count = 0;
    for (size_t h = 0; h < GS_COUNTOF(helpers); h++) {
        for (size_t i = 0; helpers[h]->model_types[i]; i++) {
            if (strcmp(helpers[h]->model_types[i], config->model_type) == 0) {
                *out = helpers[h];
                return helpers[h]->check ? helpers[h]->check(config, err) : GS_OK;
            }
            known[count++] = helpers[h]->model_types[i];
        }
    }
    gs_status status = GS_FAIL(err, GS_E_UNSUPPORTED, "model_type '%s' is not a known architecture",
                               config->model_type);
    gs_error_hint(err, "the nearest known is '%s'; a family is one file in llm/helpers/",
                  gs_nearest(config->model_type, known, count));
    return status;
}
