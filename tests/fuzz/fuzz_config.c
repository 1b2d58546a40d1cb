/* Any JSON as a config.json: what is accepted has sizes that the rest may rely on. */
#include <loaders/config.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise) {
    if (!promise) abort();
}

static void check_config(const gs_model_config *c) {
    require(c->vocab >= 1 && c->hidden >= 1 && c->intermediate >= 1 && c->layers >= 1);
    require(c->vocab <= 1 << 24 && c->hidden <= 1 << 20 && c->layers <= 4096);
    require(c->heads >= 1 && c->kv_heads >= 1 && c->heads % c->kv_heads == 0);
    require(c->head_dim >= 1 && c->max_positions >= 1);
    require(c->norm_eps > 0 && c->norm_eps <= 1);
    require(c->rope_theta > 0 && isfinite(c->rope_theta));
    require(memchr(c->model_type, 0, sizeof c->model_type) != NULL);
    require(memchr(c->architecture, 0, sizeof c->architecture) != NULL);
    require(memchr(c->hidden_act, 0, sizeof c->hidden_act) != NULL);
    require(memchr(c->rope_scaling.name, 0, sizeof c->rope_scaling.name) != NULL);
    if (c->rope_scaling.kind == GS_ROPE_SCALING_LINEAR || c->rope_scaling.kind == GS_ROPE_SCALING_LLAMA3)
        require(c->rope_scaling.factor > 0);
    if (c->rope_scaling.kind == GS_ROPE_SCALING_LLAMA3) {
        require(c->rope_scaling.low_freq_factor < c->rope_scaling.high_freq_factor);
        require(c->rope_scaling.original_max_positions >= 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cJSON *json = NULL;
    gs_model_config config;
    gs_error err = {0};
    if (gs_json_parse((const char *)data, size, &json, &err) != GS_OK) return 0;
    if (gs_model_config_from_json(json, &config, &err) == GS_OK) {
        check_config(&config);
        gs_model_config_clear(&config);
    } else {
        require(err.text[0] && !config.json);
        cJSON_Delete(json);
    }
    return 0;
}
