/* A row and a config.json together: windows, biases, multipliers, variants; and what is refused. */
#include "settings_support.h"

static void each_layer_has_its_window(void **state) {
    (void)state;
    static const struct {
        const char *type, *more;
        int64_t window[4];
    } cases[] = {
        {"mistral", "\"sliding_window\": 8", {8, 8, 8, 8}},
        {"mistral", "\"sliding_window\": null", {0, 0, 0, 0}},
        {"llama", "\"sliding_window\": 8", {0, 0, 0, 0}},
        {"qwen2", "\"sliding_window\": 8", {0, 0, 0, 0}},
        {"qwen2", "\"sliding_window\": 8, \"use_sliding_window\": false, \"max_window_layers\": 1", {0, 0, 0, 0}},
        {"qwen2", "\"sliding_window\": 8, \"use_sliding_window\": true, \"max_window_layers\": 1", {0, 8, 8, 8}},
        {"qwen3", "\"sliding_window\": 8, \"use_sliding_window\": true, \"layer_types\": "
                  "[\"full_attention\", \"full_attention\", \"sliding_attention\", \"full_attention\"]", {0, 0, 8, 0}},
        {"gemma2", "\"sliding_window\": 8", {8, 0, 8, 0}},
        {"gemma2", "\"sliding_window\": 8, \"layer_types\": "
                   "[\"full_attention\", \"full_attention\", \"sliding_attention\", \"sliding_attention\"]", {0, 0, 8, 8}},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        gs_error err = {0};
        gs_decoder_settings s;
        gs_model_config c = config_of(cases[i].type, cases[i].more);
        assert_ok(settle(&c, &s, &err), &err);
        for (int64_t l = 0; l < 4; l++)
            if (gs_decoder_window(&s, l) != cases[i].window[l])
                fail_msg("%s {%s}: layer %d has window %d", cases[i].type, cases[i].more, (int)l, (int)gs_decoder_window(&s, l));
        gs_model_config_clear(&c);
    }
}

static void what_no_row_expresses_is_refused(void **state) {
    (void)state;
    static const refusal cases[] = {
        {"llama", "\"layer_types\": [\"full_attention\", \"full_attention\", \"full_attention\", \"sliding_attention\"]",
         "sliding_attention"},
        {"qwen2", "\"layer_types\": [\"full_attention\"]", "1 entries, num_hidden_layers is 4"},
        {"qwen2", "\"layer_types\": [\"full_attention\", \"full_attention\", \"full_attention\", \"chunked_attention\"]",
         "chunked_attention"},
        {"qwen2", "\"layer_types\": [1, 2, 3, 4]", "no string"},
        {"qwen2", "\"layer_types\": \"full_attention\"", "layer_types"},
        {"qwen2", "\"use_sliding_window\": 3", "use_sliding_window"},
        {"qwen2", "\"max_window_layers\": \"x\"", "max_window_layers"},
        {"gemma2", "\"sliding_window\": 8, \"sliding_window_pattern\": 6",
         "\"sliding_window_pattern\" is 6, the row of 'gemma2' has 2"},
        {"llama", "\"hidden_act\": \"relu\"", "relu"},
        {"qwen2", "\"is_causal\": false", "\"is_causal\" is false"}, /* gte-Qwen2 */
        {"gemma2", "\"use_bidirectional_attention\": true", "use_bidirectional_attention"},
        {"gemma2", "\"use_bidirectional_attention\": \"all\"", "use_bidirectional_attention"},
        {"olmo2", "\"clip_qkv\": 8.0", "clip_qkv"},
        {"llama", "\"no_rope_layers\": [1, 1, 1, 0]", "no_rope_layers"},
        {"phi3", "\"rope_scaling\": {\"type\": \"yarn\", \"short_factor\": [1], \"long_factor\": [1]}", "longrope"},
        {"internlm2", "\"bias\": 1", "\"bias\" is not true or false"},
        {"phi3", "\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1]}", "longrope"},
        {"granite", "\"logits_scaling\": 0", "logits_scaling"},
        {"granite", "\"residual_multiplier\": \"big\"", "residual_multiplier"},
        {"gemma2", "\"attn_logit_softcapping\": -50", "attn_logit_softcapping"},
        {"baichuan", "\"position_embedding\": \"learned\"", "learned"},
        {"baichuan", "\"norm_head\": 1", "norm_head"},
        {"qwen2_moe", "\"num_experts\": 60", "mixture of 60 experts"},
        {"mistrall", "\"rms_norm_eps\": 1e-5", "'mistrall' is not a known"},
    };
    expect_refused(cases, GS_COUNTOF(cases));
}

/* Keys of refused kinds, with the value at which they say nothing. */
static void idle_keys_are_no_reason(void **state) {
    (void)state;
    gs_error err = {0};
    gs_decoder_settings s;
    gs_model_config c = config_of("gemma2", "\"is_causal\": true, \"use_bidirectional_attention\": null, \"clip_qkv\": null, "
                                            "\"no_rope_layers\": [1, 1, 1, 1], \"sliding_window\": 8, "
                                            "\"sliding_window_pattern\": 2, \"pretraining_tp\": 2");
    assert_ok(settle(&c, &s, &err), &err);
    gs_model_config_clear(&c);
    c = config_of("gemma2", "\"use_bidirectional_attention\": false, \"sliding_window_pattern\": 6");
    assert_ok(settle(&c, &s, &err), &err); /* no window, no pattern */
    gs_model_config_clear(&c);
}

static void an_unknown_type_is_told_its_neighbour_and_the_way_out(void **state) {
    (void)state;
    gs_error err = {0};
    const gs_network_helper *h;
    gs_model_config c = config_of("mistrall", "");
    assert_fails(gs_network_helper_find(&c, NULL, &h, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.hint, "'mistral'"));
    assert_non_null(strstr(err.hint, "--helper"));
    gs_model_config_clear(&c);
}

static void numbers_come_from_named_keys(void **state) {
    (void)state;
    gs_error err = {0};
    gs_decoder_settings s;
    gs_model_config c = config_of("granite", "\"embedding_multiplier\": 12.0, \"attention_multiplier\": 0.25, "
                                             "\"residual_multiplier\": 0.5, \"logits_scaling\": 8.0, \"attention_bias\": true");
    assert_ok(settle(&c, &s, &err), &err);
    assert_true(s.embedding_scale == 12 && s.attention_scale == 0.25f && s.residual_scale == 0.5f && s.logits_scale == 0.125f);
    assert_true(s.qkv_bias && s.o_bias && !s.mlp_bias && s.activation == GS_OP_SWIGLU);
    gs_model_config_clear(&c);
    c = config_of("gemma2", "\"query_pre_attn_scalar\": 64, \"attn_logit_softcapping\": 50.0, \"final_logit_softcapping\": null, "
                            "\"hidden_activation\": \"gelu_pytorch_tanh\", \"torch_dtype\": \"bfloat16\"");
    assert_ok(settle(&c, &s, &err), &err);
    assert_true(s.attention_scale == 0.125f && s.attention_softcap == 50 && s.logits_softcap == 0);
    assert_true(s.embedding_scale == 5.65625f); /* sqrt(32) in bfloat16 */
    assert_int_equal(s.activation, GS_OP_GEGLU);
    gs_model_config_clear(&c);
    c = config_of("gemma2", ""); /* transformers' defaults */
    assert_ok(settle(&c, &s, &err), &err);
    assert_true(s.attention_softcap == 50 && s.logits_softcap == 30);
    assert_int_equal(s.activation, GS_OP_GEGLU);
    gs_model_config_clear(&c);
    c = config_of("granite", ""); /* transformers' default of all of them is 1 */
    assert_ok(settle(&c, &s, &err), &err);
    assert_true(s.embedding_scale == 1 && s.attention_scale == 1 && s.residual_scale == 1 && s.logits_scale == 1);
    gs_model_config_clear(&c);
    c = config_of("qwen2", "");
    assert_ok(settle(&c, &s, &err), &err);
    assert_true(s.qkv_bias && !s.o_bias && !s.mlp_bias && s.embedding_scale == 1 && s.logits_scale == 1);
    gs_model_config_clear(&c);
}

/* The published files do not say which variant they are. */
static void variants_follow_from_class_width_and_vocabulary(void **state) {
    (void)state;
    static const struct {
        const char *class, *more;
        int64_t hidden, vocab;
        bool alibi, normalize;
    } cases[] = {
        {"BaiChuanForCausalLM", "", 4096, 64000, false, false},  {"BaichuanForCausalLM", "", 5120, 64000, true, false},
        {"BaichuanForCausalLM", "", 4096, 125696, false, true},  {"BaichuanForCausalLM", "", 5120, 125696, true, true},
        {"BaichuanForCausalLM", ", \"position_embedding\": \"alibi\", \"norm_head\": true", 64, 256, true, true},
        {"BaichuanForCausalLM", ", \"position_embedding\": \"rope\", \"norm_head\": false", 5120, 125696, false, false},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        char text[600];
        cJSON *json;
        gs_error err = {0};
        gs_model_config c;
        gs_decoder_settings s;
        snprintf(text, sizeof text, "{\"model_type\": \"baichuan\", \"architectures\": [\"%s\"], \"vocab_size\": %lld, "
                 "\"hidden_size\": %lld, \"intermediate_size\": 48, \"num_hidden_layers\": 2, \"num_attention_heads\": 8%s}",
                 cases[i].class, (long long)cases[i].vocab, (long long)cases[i].hidden, cases[i].more);
        assert_ok(gs_json_parse(text, strlen(text), &json, &err), &err);
        assert_ok(gs_model_config_from_json(json, &c, &err), &err);
        assert_ok(settle(&c, &s, &err), &err);
        if (s.alibi != cases[i].alibi || s.normalize_head != cases[i].normalize) fail_msg("case %zu", i);
        gs_model_config_clear(&c);
    }
}

/* Layers with a window turn by their own base where the file gives one. */
static void kinds_of_layers_rotate_by_their_own_base(void **state) {
    (void)state;
    gs_error err = {0};
    gs_model_config c = config_of("gemma2", "\"sliding_window\": 8, \"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e6, "
                                            "\"rope_type\": \"linear\", \"factor\": 8}, \"sliding_attention\": {\"rope_theta\": 2e4}}");
    for (int layer = 0; layer < 2; layer++) {
        gs_net *net;
        char name[64];
        assert_ok(gs_model_blueprint(&c, 1 + layer, &net, NULL, &err), &err);
        snprintf(name, sizeof name, "model.layers.%d.rope_k", layer);
        const gs_node *rope = gs_net_find(net, name);
        assert_non_null(rope);
        assert_true(rope->attr.rope.theta == (layer ? 1e6 : 2e4));
        assert_int_equal(rope->attr.rope.kind, layer ? GS_ROPE_LINEAR : GS_ROPE_PLAIN);
        gs_net_destroy(net);
    }
    gs_model_config_clear(&c);
}

/* Published files leave out what is the default of their class. */
static void a_silent_file_is_tied_where_the_family_is(void **state) {
    (void)state;
    static const struct {
        const char *type, *more, *weight;
    } cases[] = {
        {"gemma2", "", "model.embed_tokens.weight"},
        {"gemma2", "\"tie_word_embeddings\": null", "model.embed_tokens.weight"},
        {"gemma2", "\"tie_word_embeddings\": false", "lm_head.weight"},
        {"llama", "", "lm_head.weight"},
        {"llama", "\"tie_word_embeddings\": true", "model.embed_tokens.weight"},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        gs_error err = {0};
        gs_net *net;
        gs_model_config c = config_of(cases[i].type, cases[i].more);
        assert_ok(gs_model_blueprint(&c, 5, &net, NULL, &err), &err);
        assert_string_equal(gs_net_find(net, "lm_head")->param[GS_ROLE_WEIGHT]->name, cases[i].weight);
        gs_net_destroy(net);
        gs_model_config_clear(&c);
    }
}

static void block_names_hold_one_number(void **state) {
    (void)state;
    char name[24];
    assert_true(gs_helper_block_name("model.layers.%d", 31, name, sizeof name));
    assert_string_equal(name, "model.layers.31");
    assert_true(gs_helper_block_name("h.%d.block", 7, name, sizeof name));
    assert_string_equal(name, "h.7.block");
    assert_false(gs_helper_block_name("model.layers.of.a.long.name.%d", 1, name, sizeof name));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_layer_has_its_window),
        cmocka_unit_test(what_no_row_expresses_is_refused),
        cmocka_unit_test(idle_keys_are_no_reason),
        cmocka_unit_test(an_unknown_type_is_told_its_neighbour_and_the_way_out),
        cmocka_unit_test(numbers_come_from_named_keys),
        cmocka_unit_test(variants_follow_from_class_width_and_vocabulary),
        cmocka_unit_test(kinds_of_layers_rotate_by_their_own_base),
        cmocka_unit_test(a_silent_file_is_tied_where_the_family_is),
        cmocka_unit_test(block_names_hold_one_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
