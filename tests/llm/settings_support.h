/* A family's row and a config.json of tiny sizes, settled together; and what they refuse. */
#ifndef GS_TESTS_LLM_SETTINGS_SUPPORT_H
#define GS_TESTS_LLM_SETTINGS_SUPPORT_H

#include "../support.h"

#include <llm/model.h>
#include <llm/settings.h>

#define SIZES                                                                                                          \
    "\"vocab_size\": 96, \"hidden_size\": 32, \"intermediate_size\": 48, \"num_hidden_layers\": 4, "                  \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2"

/* more: other members, or "". gs_model_config_clear when done. */
static inline gs_model_config config_of(const char *type, const char *more) {
    char text[900];
    cJSON *json;
    gs_error err = {0};
    gs_model_config c;
    snprintf(text, sizeof text, "{\"model_type\": \"%s\", " SIZES "%s%s}", type, *more ? ", " : "", more);
    assert_ok(gs_json_parse(text, strlen(text), &json, &err), &err);
    assert_ok(gs_model_config_from_json(json, &c, &err), &err);
    return c;
}

static inline gs_status settle(const gs_model_config *c, gs_decoder_settings *s, gs_error *err) {
    const gs_network_helper *h;
    GS_TRY(gs_network_helper_find(c, NULL, &h, err));
    return gs_decoder_settle(h, c, s, err);
}

/* A config.json that cannot be settled, and what the error says. */
typedef struct refusal {
    const char *type, *more, *word;
} refusal;

static inline void expect_refused(const refusal *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        gs_error err = {0};
        gs_decoder_settings s;
        gs_model_config c = config_of(cases[i].type, cases[i].more);
        gs_status status = settle(&c, &s, &err);
        if (status == GS_OK || !strstr(err.text, cases[i].word)) fail_msg("{%s}: '%s'", cases[i].more, err.text);
        gs_model_config_clear(&c);
    }
}

#endif
