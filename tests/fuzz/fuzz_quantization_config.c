/* Any JSON as the quantization_config of a compressed-tensors checkpoint: what is accepted gives every name a rule that
 * the reader can compute with, or none. */
#include <deploy/compressed_tensors_config.h>

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise) {
    if (!promise) abort();
}

static void check_rules(const gs_ct_config *c) {
    static const char *const names[] = {"lm_head", "model.layers.0.self_attn.q_proj", "", "model.layers.11.mlp.down_proj"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const gs_ct_rule *rule = NULL;
        gs_error err = {0};
        gs_status status = gs_ct_config_find(c, names[i], &rule, &err);
        require(status == GS_OK || (err.text[0] && !rule));
        if (!rule) continue;
        require(rule->scheme == GS_SCHEME_W8A16 || rule->scheme == GS_SCHEME_W8A8 || rule->scheme == GS_SCHEME_W8A8_DYNAMIC);
        require(rule->group_size >= 0 && !(rule->group_size && rule->one_scale));
        require(!rule->group_size || rule->scheme == GS_SCHEME_W8A16);
        require(!rule->input_asymmetric || rule->scheme == GS_SCHEME_W8A8);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cJSON *json = NULL;
    gs_ct_config *config = NULL;
    gs_error err = {0};
    if (gs_json_parse((const char *)data, size, &json, &err) != GS_OK) return 0;
    if (gs_ct_config_create(json, &config, &err) == GS_OK) check_rules(config);
    else require(err.text[0] && !config);
    gs_ct_config_destroy(config);
    cJSON_Delete(json);
    return 0;
}
