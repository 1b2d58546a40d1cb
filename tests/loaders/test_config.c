/* config.json in its old and its new spelling, its defaults, and what is refused. */
#include "safetensors_builder.h"

#include <loaders/config.h>

/* The members that must be there. */
#define SIZES                                                                  \
    "\"vocab_size\":512,\"hidden_size\":64,\"intermediate_size\":172,"         \
    "\"num_hidden_layers\":5,\"num_attention_heads\":8"

static gs_status parse(const char *text, gs_model_config *c, gs_error *err) {
    cJSON *json;
    assert_ok(gs_json_parse(text, strlen(text), &json, err), err);
    gs_status status = gs_model_config_from_json(json, c, err);
    if (status != GS_OK) {
        assert_null(c->json);
        cJSON_Delete(json);
    }
    return status;
}

static gs_model_config good(const char *text) {
    gs_model_config c;
    gs_error err = {0};
    assert_ok(parse(text, &c, &err), &err);
    return c;
}

static void refused_with(gs_status status, const char *text, const char *words) {
    gs_model_config c;
    gs_error err = {0};
    gs_status got = parse(text, &c, &err);
    if (got != status)
        fail_msg("%s: '%s' (%s)", text, gs_status_text(got), err.text);
    assert_text_has(&err, words);
}

static void refused(const char *text, const char *words) {
    refused_with(GS_E_FORMAT, text, words);
}

static void absent_values_have_their_defaults(void **state) {
    (void)state;
    gs_model_config c = good("{" SIZES "}");
    assert_int_equal(c.vocab, 512);
    assert_int_equal(c.hidden, 64);
    assert_int_equal(c.intermediate, 172);
    assert_int_equal(c.layers, 5);
    assert_int_equal(c.heads, 8);
    assert_int_equal(c.kv_heads, 8);
    assert_int_equal(c.head_dim, 8);
    assert_int_equal(c.max_positions, 2048);
    assert_true(c.norm_eps == 1e-6);
    assert_true(c.rope_theta == 10000);
    assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_NONE);
    assert_false(c.tied || c.attention_bias || c.mlp_bias);
    assert_string_equal(c.hidden_act, "silu");
    assert_string_equal(c.model_type, "");
    assert_string_equal(c.architecture, "");
    assert_int_equal(c.dtype, GS_DTYPE_NONE);
    assert_non_null(c.json);
    gs_model_config_clear(&c);
    assert_null(c.json);
    c = good("{" SIZES ",\"num_key_value_heads\":null,\"head_dim\":null,\"rope_scaling\":null,"
             "\"rope_parameters\":null,\"rope_theta\":null,\"rms_norm_eps\":null,\"architectures\":null,"
             "\"torch_dtype\":null,\"tie_word_embeddings\":null,\"max_position_embeddings\":null}");
    assert_int_equal(c.kv_heads, 8);
    assert_int_equal(c.head_dim, 8);
    assert_true(c.rope_theta == 10000);
    gs_model_config_clear(&c);
}

static void everything_that_is_said_is_read(void **state) {
    (void)state;
    gs_model_config c = good(
        "{" SIZES ",\"num_key_value_heads\":2,\"head_dim\":32,\"max_position_embeddings\":4096,"
        "\"rms_norm_eps\":1e-5,\"rope_theta\":500000.0,\"tie_word_embeddings\":true,"
        "\"attention_bias\":true,\"mlp_bias\":true,\"hidden_act\":\"gelu\",\"model_type\":\"llama\","
        "\"architectures\":[\"LlamaForCausalLM\",\"x\"],\"torch_dtype\":\"bfloat16\",\"unknown\":[1]}");
    assert_int_equal(c.kv_heads, 2);
    assert_int_equal(c.head_dim, 32);
    assert_int_equal(c.max_positions, 4096);
    assert_true(c.norm_eps == 1e-5);
    assert_true(c.rope_theta == 500000);
    assert_true(c.tied && c.attention_bias && c.mlp_bias);
    assert_string_equal(c.hidden_act, "gelu");
    assert_string_equal(c.model_type, "llama");
    assert_string_equal(c.architecture, "LlamaForCausalLM");
    assert_int_equal(c.dtype, GS_BF16);
    gs_model_config_clear(&c);
}

static void both_spellings_are_understood(void **state) {
    (void)state;
    gs_model_config c = good("{" SIZES ",\"rope_parameters\":{\"rope_theta\":1e6,\"rope_type\":\"default\"},"
                             "\"dtype\":\"float16\",\"hidden_activation\":\"gelu_pytorch_tanh\","
                             "\"model_max_length\":777}");
    assert_true(c.rope_theta == 1e6);
    assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_NONE);
    assert_int_equal(c.dtype, GS_F16);
    assert_string_equal(c.hidden_act, "gelu_pytorch_tanh");
    assert_int_equal(c.max_positions, 777);
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"dtype\":\"torch.bfloat16\",\"torch_dtype\":\"float32\",\"rope_theta\":5,"
             "\"rope_parameters\":{\"rope_theta\":7},\"model_max_length\":1e30,"
             "\"max_position_embeddings\":99}");
    assert_int_equal(c.dtype, GS_BF16);
    assert_true(c.rope_theta == 7);
    assert_int_equal(c.max_positions, 99);
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"hidden_activation\":\"gelu_pytorch_tanh\",\"hidden_act\":\"gelu\"}");
    assert_string_equal(c.hidden_act, "gelu_pytorch_tanh"); /* what Gemma's code reads */
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"torch_dtype\":\"auto\"}");
    assert_int_equal(c.dtype, GS_DTYPE_NONE);
    gs_model_config_clear(&c);
}

static void rope_scaling_is_read_in_each_form(void **state) {
    (void)state;
    gs_model_config c = good("{" SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4.0}}");
    assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_LINEAR);
    assert_true(c.rope_scaling.factor == 4);
    assert_string_equal(c.rope_scaling.name, "linear");
    gs_model_config_clear(&c);
#define LLAMA3                                                                 \
    "\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"         \
    "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192"
    c = good("{" SIZES ",\"rope_scaling\":{" LLAMA3 "}}");
    assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_LLAMA3);
    assert_true(c.rope_scaling.factor == 8 && c.rope_scaling.low_freq_factor == 1);
    assert_true(c.rope_scaling.high_freq_factor == 4);
    assert_int_equal(c.rope_scaling.original_max_positions, 8192);
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"rope_parameters\":{\"rope_theta\":500000.0," LLAMA3 "}}");
    assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_LLAMA3);
    assert_true(c.rope_theta == 500000);
    gs_model_config_clear(&c);
    /* both may be there, but versions of transformers do not agree on which counts */
    c = good("{" SIZES ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2,\"rope_theta\":5},"
             "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}");
    assert_true(c.rope_scaling.factor == 2 && c.rope_theta == 5);
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2},\"rope_scaling\":{}}");
    assert_true(c.rope_scaling.factor == 2);
    gs_model_config_clear(&c);
    refused("{" SIZES ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2},"
            "\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}}", "\"rope_parameters\" disagree");
    refused("{" SIZES ",\"rope_parameters\":{\"rope_theta\":1e6},\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}}",
            "disagree");
    /* what we do not know is passed on by name, for the model's helper to refuse */
    c = good("{" SIZES ",\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":2}}");
    assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_OTHER);
    assert_string_equal(c.rope_scaling.name, "longrope");
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"original_max_position_embeddings\":512,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,"
             "\"original_max_position_embeddings\":512}}");
    assert_int_equal(c.rope_scaling.original_max_positions, 512);
    gs_model_config_clear(&c);
    /* as Phi-3's first files called it */
    c = good("{" SIZES ",\"rope_scaling\":{\"type\":\"yarn\",\"short_factor\":[1],\"long_factor\":[2]}}");
    assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_OTHER);
    assert_string_equal(c.rope_scaling.name, "longrope");
    gs_model_config_clear(&c);
}

static void yarn_and_dynamic_have_their_defaults(void **state) {
    (void)state;
    gs_model_config c = good("{" SIZES ",\"max_position_embeddings\":4096,\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}");
    assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_DYNAMIC);
    assert_true(c.rope_scaling.factor == 2 && c.rope_scaling.original_max_positions == 4096);
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"max_position_embeddings\":4096,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,"
             "\"original_max_position_embeddings\":1024}}");
    assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_YARN);
    assert_true(c.rope_scaling.beta_fast == 32 && c.rope_scaling.beta_slow == 1);
    assert_int_equal(c.rope_scaling.original_max_positions, 1024);
    double by_hand = c.rope_scaling.attention_factor - 1.1386294361119891; /* 0.1 ln 4 + 1 */
    assert_true(by_hand * by_hand < 1e-24);
    gs_model_config_clear(&c);
    /* the factor may follow from the positions; two scales cancel; an explicit one wins */
    c = good("{" SIZES ",\"max_position_embeddings\":4096,\"rope_scaling\":{\"rope_type\":\"yarn\",\"mscale\":0.7,"
             "\"mscale_all_dim\":0.7,\"original_max_position_embeddings\":512,\"beta_fast\":16,\"beta_slow\":2}}");
    assert_true(c.rope_scaling.factor == 8 && c.rope_scaling.attention_factor == 1);
    assert_true(c.rope_scaling.beta_fast == 16 && c.rope_scaling.beta_slow == 2);
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,\"attention_factor\":1.5}}");
    assert_true(c.rope_scaling.attention_factor == 1.5);
    assert_int_equal(c.rope_scaling.original_max_positions, 2048);
    gs_model_config_clear(&c);
}

static void kinds_of_layers_may_rotate_differently(void **state) {
    (void)state;
    gs_model_config c = good("{" SIZES ",\"rope_theta\":5,\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e6,"
                             "\"rope_type\":\"linear\",\"factor\":8},\"sliding_attention\":{\"rope_theta\":2e4}}}");
    assert_true(c.rope_theta == 1e6 && c.sliding_rope_theta == 2e4);
    assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_LINEAR);
    assert_int_equal(c.sliding_rope_scaling.kind, GS_ROPE_SCALING_NONE);
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"rope_theta\":1e6,\"rope_local_base_freq\":2e4,\"rope_scaling\":{\"type\":\"linear\",\"factor\":8}}");
    assert_true(c.rope_theta == 1e6 && c.sliding_rope_theta == 2e4);
    assert_int_equal(c.sliding_rope_scaling.kind, GS_ROPE_SCALING_NONE);
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"rope_parameters\":{\"rope_theta\":7,\"rope_type\":\"linear\",\"factor\":8}}");
    assert_true(c.sliding_rope_theta == 7 && c.sliding_rope_scaling.factor == 8);
    gs_model_config_clear(&c);
    refused_with(GS_E_UNSUPPORTED, "{" SIZES ",\"rope_parameters\":{\"chunked_attention\":{\"rope_theta\":1}}}", "chunked_attention");
    refused_with(GS_E_UNSUPPORTED, "{" SIZES ",\"rope_parameters\":{\"full_attention\":{},\"factor\":2}}", "\"factor\" beside");
    refused("{" SIZES ",\"rope_parameters\":{\"sliding_attention\":{\"rope_theta\":-1}}}", "rope_parameters: \"rope_theta\" is -1");
}

static void a_part_of_a_head_may_be_rotated(void **state) {
    (void)state;
    gs_model_config c = good("{" SIZES "}");
    assert_int_equal(c.rotary_dim, 8);
    assert_int_equal(c.window, 0);
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"partial_rotary_factor\":0.5,\"sliding_window\":99}");
    assert_int_equal(c.rotary_dim, 4);
    assert_int_equal(c.window, 99);
    gs_model_config_clear(&c);
    c = good("{" SIZES ",\"rope_parameters\":{\"partial_rotary_factor\":0.25,\"rope_theta\":3},\"sliding_window\":null}");
    assert_int_equal(c.rotary_dim, 2);
    gs_model_config_clear(&c);
    refused("{" SIZES ",\"partial_rotary_factor\":0.2}", "leaves 1 elements of heads of 8");
    refused("{" SIZES ",\"partial_rotary_factor\":1.5}", "\"partial_rotary_factor\" is 1.5");
    refused("{" SIZES ",\"sliding_window\":0}", "\"sliding_window\" is 0");
}

static void numbers_of_families_are_asked_for_by_key(void **state) {
    (void)state;
    gs_error err = {0};
    double x = 5;
    gs_model_config c = good("{" SIZES ",\"a\":0.25,\"b\":null,\"c\":0,\"d\":\"1\",\"e\":1e13}");
    assert_ok(gs_model_config_positive(&c, "b", &x, &err), &err);
    assert_ok(gs_model_config_positive(&c, "absent", &x, &err), &err);
    assert_true(x == 5);
    assert_ok(gs_model_config_positive(&c, "a", &x, &err), &err);
    assert_true(x == 0.25);
    assert_fails(gs_model_config_positive(&c, "c", &x, &err), GS_E_FORMAT, &err);
    assert_fails(gs_model_config_positive(&c, "d", &x, &err), GS_E_FORMAT, &err);
    assert_fails(gs_model_config_positive(&c, "e", &x, &err), GS_E_FORMAT, &err);
    gs_model_config_clear(&c);
}

/* These words are shown to users. */
static void words_have_no_control_characters(void **state) {
    (void)state;
    refused("{" SIZES ",\"architectures\":[\"Llama\\u001b[2J\"]}", "\"architectures\" has control characters");
    refused("{" SIZES ",\"model_type\":\"a\\u009b\"}", "\"model_type\" has control characters");
    refused("{" SIZES ",\"rope_scaling\":{\"type\":\"x\\n\"}}", "\"type\" has control characters");
}

static void bad_rope_scaling_is_refused(void **state) {
    (void)state;
    refused("{" SIZES ",\"rope_scaling\":[]}", "\"rope_scaling\" is not an object");
    refused("{" SIZES ",\"rope_scaling\":{\"type\":\"linear\"}}", "rope_scaling: \"factor\" is missing");
    refused("{" SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}}", "\"factor\" is 0");
    refused("{" SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":-2}}", "\"factor\" is -2");
    refused("{" SIZES ",\"rope_scaling\":{\"type\":5}}", "\"type\" is not a string");
    refused("{" SIZES ",\"rope_scaling\":{\"type\":\"a name that is far too long for anyone\"}}",
            "longer than 31 bytes");
    refused("{" SIZES ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8}}",
            "rope_parameters: \"low_freq_factor\" is missing");
    refused("{" SIZES ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
            "\"high_freq_factor\":4,\"original_max_position_embeddings\":64}}",
            "low_freq_factor (4) is not below high_freq_factor (4)");
    refused("{" SIZES ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
            "\"high_freq_factor\":4,\"original_max_position_embeddings\":0}}",
            "\"original_max_position_embeddings\" is 0");
    refused("{" SIZES ",\"rope_scaling\":{\"type\":\"dynamic\"}}", "rope_scaling: \"factor\" is missing");
    refused("{" SIZES ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"beta_fast\":1}}", "beta_slow (1) is not below beta_fast (1)");
    refused("{" SIZES ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"original_max_position_embeddings\":0}}",
            "\"original_max_position_embeddings\" is 0");
    refused_with(GS_E_UNSUPPORTED, "{" SIZES ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"truncate\":false}}", "truncate");
    refused_with(GS_E_UNSUPPORTED, "{" SIZES ",\"original_max_position_embeddings\":512,"
                 "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}}", "\"original_max_position_embeddings\" is 512, but 2048");
    refused("{" SIZES ",\"rope_scaling\":{\"factor\":4}}", "rope_scaling: a \"factor\" without a \"rope_type\"");
    refused_with(GS_E_UNSUPPORTED, "{" SIZES ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":1,\"alpha\":1000}}",
                 "\"alpha\"");
    refused_with(GS_E_UNSUPPORTED, "{" SIZES ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":16,"
                 "\"llama_4_scaling_beta\":0.1}}", "llama_4_scaling_beta");
    refused("{" SIZES ",\"rope_theta\":0}", "\"rope_theta\" is 0");
    refused("{" SIZES ",\"rope_theta\":\"1e4\"}", "\"rope_theta\" is not a number");
}

static void missing_sizes_are_named(void **state) {
    (void)state;
    static const char *const keys[] = {"vocab_size", "hidden_size", "intermediate_size",
                                       "num_hidden_layers", "num_attention_heads"};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) {
        char text[300], words[64];
        cJSON *json;
        gs_error err = {0};
        gs_model_config c;
        assert_ok(gs_json_parse("{" SIZES "}", sizeof SIZES + 1, &json, &err), &err);
        cJSON_DeleteItemFromObject(json, keys[i]);
        assert_fails(gs_model_config_from_json(json, &c, &err), GS_E_FORMAT, &err);
        snprintf(words, sizeof words, "\"%s\" is missing", keys[i]);
        assert_text_has(&err, words);
        assert_true(err.hint[0] != 0);
        cJSON_Delete(json);
        /* null is as good as absent */
        snprintf(text, sizeof text, "{\"%s\":null}", keys[0]);
        refused(text, "is missing");
    }
    gs_error err = {0};
    gs_model_config c;
    const char *nested = "{\"text_config\":{" SIZES "}}";
    assert_fails(parse(nested, &c, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.hint, "multimodal"));
    refused("[]", "not a JSON object");
}

/* Puts one size to a value and expects it to be refused. */
static void size_refused(const char *key, double value, const char *words) {
    cJSON *json;
    gs_error err = {0};
    gs_model_config c;
    assert_ok(gs_json_parse("{" SIZES "}", sizeof SIZES + 1, &json, &err), &err);
    cJSON_DeleteItemFromObject(json, key);
    cJSON_AddNumberToObject(json, key, value);
    assert_fails(gs_model_config_from_json(json, &c, &err), GS_E_FORMAT, &err);
    assert_text_has(&err, key);
    assert_text_has(&err, words);
    cJSON_Delete(json);
}

static void sizes_out_of_range_are_refused(void **state) {
    (void)state;
    static const char *const keys[] = {"vocab_size", "hidden_size", "intermediate_size",
                                       "num_hidden_layers", "num_attention_heads",
                                       "num_key_value_heads", "head_dim"};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) {
        size_refused(keys[i], 0, "is 0, outside 1..");
        size_refused(keys[i], -1, "is -1, outside 1..");
        size_refused(keys[i], 1e9, "is 1000000000, outside 1..");
        size_refused(keys[i], 1.5, "is not an integer");
        size_refused(keys[i], 1e300, "is not an integer");
    }
    size_refused("vocab_size", (1 << 24) + 1, "outside 1..16777216");
    size_refused("hidden_size", (1 << 20) + 1, "outside 1..1048576");
    size_refused("num_hidden_layers", 4097, "outside 1..4096");
    refused("{" SIZES ",\"max_position_embeddings\":0}", "\"max_position_embeddings\" is 0");
    refused("{" SIZES ",\"head_dim\":\"8\"}", "\"head_dim\" is not an integer");
}

static void heads_must_divide(void **state) {
    (void)state;
    refused("{" SIZES ",\"num_key_value_heads\":3}",
            "num_attention_heads (8) is not a multiple of num_key_value_heads (3)");
    refused("{" SIZES ",\"num_key_value_heads\":16}", "is not a multiple");
    const char *odd = "{\"vocab_size\":512,\"hidden_size\":60,\"intermediate_size\":172,"
                      "\"num_hidden_layers\":5,\"num_attention_heads\":8%s}";
    char text[256];
    snprintf(text, sizeof text, odd, "");
    refused(text, "hidden_size (60) must be a multiple of num_attention_heads (8)");
    snprintf(text, sizeof text, odd, ",\"head_dim\":16");
    gs_model_config c = good(text);
    assert_int_equal(c.head_dim, 16);
    gs_model_config_clear(&c);
}

static void other_members_are_checked_too(void **state) {
    (void)state;
    refused("{" SIZES ",\"rms_norm_eps\":0}", "\"rms_norm_eps\" is 0");
    refused("{" SIZES ",\"rms_norm_eps\":2}", "\"rms_norm_eps\" is 2");
    refused("{" SIZES ",\"tie_word_embeddings\":1}", "\"tie_word_embeddings\" is not true or false");
    refused("{" SIZES ",\"architectures\":\"x\"}", "\"architectures\" is not a list");
    refused("{" SIZES ",\"architectures\":[1]}", "\"architectures\" is not a list");
    refused("{" SIZES ",\"hidden_act\":\"a name that is far too long for anyone\"}", "longer than 31");
    refused("{" SIZES ",\"model_type\":7}", "\"model_type\" is not a string");
    refused("{" SIZES ",\"torch_dtype\":7}", "\"torch_dtype\" is not a string");
    refused_with(GS_E_UNSUPPORTED, "{" SIZES ",\"torch_dtype\":\"float8\"}", "\"torch_dtype\" is 'float8'");
    gs_model_config c = good("{" SIZES ",\"architectures\":[]}");
    assert_string_equal(c.architecture, "");
    gs_model_config_clear(&c);
}

static void files_are_named_in_errors(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    const char *path = st_path(dir, "config.json");
    gs_model_config c;
    gs_error err = {0};
    assert_fails(gs_model_config_load(path, &c, &err), GS_E_FORMAT, &err);
    gs_model_config_clear(&c);
    st_write_text(path, "{\"vocab_size\":0}");
    assert_fails(gs_model_config_load(path, &c, &err), GS_E_FORMAT, &err);
    assert_text_has(&err, "config.json: \"vocab_size\" is 0");
    gs_model_config_clear(&c);
    st_write_text(path, "{" SIZES "}");
    assert_ok(gs_model_config_load(path, &c, &err), &err);
    gs_model_config_clear(&c);
    gs_test_rmdir(dir);
}

static void real_configs_are_read(void **state) {
    (void)state;
    static const char *const models[] = {
        "data/lm/stories260K-hf-llama",       "data/lm/stories260K-baichuan-layout",
        "reference/families/llama2",          "reference/families/llama3-rope",
        "reference/families/llama-linear-rope-bias", "reference/families/mixtral-moe",
        "reference/families/gemma2",          "reference/families/qwen3-moe",
        "reference/families/phi3-fused",      "reference/families/baichuan2-13b-alibi",
    };
    for (size_t i = 0; i < GS_COUNTOF(models); i++) {
        char relative[128];
        gs_model_config c;
        gs_error err = {0};
        snprintf(relative, sizeof relative, "%s/config.json", models[i]);
        gs_need_data(path, relative);
        assert_ok(gs_model_config_load(path, &c, &err), &err);
        assert_int_equal(c.max_positions, 512);
        assert_int_equal(c.dtype, GS_F32);
        assert_int_equal(c.heads % c.kv_heads, 0);
        if (strstr(models[i], "llama3")) {
            assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_LLAMA3);
            assert_int_equal(c.rope_scaling.original_max_positions, 64);
        }
        if (strstr(models[i], "linear")) assert_int_equal(c.rope_scaling.kind, GS_ROPE_SCALING_LINEAR);
        if (strstr(models[i], "mixtral")) assert_int_equal(c.head_dim, 16);
        gs_model_config_clear(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_values_have_their_defaults),
        cmocka_unit_test(everything_that_is_said_is_read),
        cmocka_unit_test(both_spellings_are_understood),
        cmocka_unit_test(rope_scaling_is_read_in_each_form),
        cmocka_unit_test(yarn_and_dynamic_have_their_defaults),
        cmocka_unit_test(kinds_of_layers_may_rotate_differently),
        cmocka_unit_test(a_part_of_a_head_may_be_rotated),
        cmocka_unit_test(numbers_of_families_are_asked_for_by_key),
        cmocka_unit_test(words_have_no_control_characters),
        cmocka_unit_test(bad_rope_scaling_is_refused),
        cmocka_unit_test(missing_sizes_are_named),
        cmocka_unit_test(sizes_out_of_range_are_refused),
        cmocka_unit_test(heads_must_divide),
        cmocka_unit_test(other_members_are_checked_too),
        cmocka_unit_test(files_are_named_in_errors),
        cmocka_unit_test(real_configs_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
