#include "gguf_model.h"

#include <math.h>

static double number(const model *m, const char *key) {
    const cJSON *item = gs_json_get(m->config, key);
    if (!cJSON_IsNumber(item)) fail_msg("'%s' is no number", key);
    return item->valuedouble;
}

static const char *text(const cJSON *object, const char *key) {
    const char *s = cJSON_GetStringValue(gs_json_get(object, key));
    if (!s) fail_msg("'%s' is no string", key);
    return s;
}

static void the_config_says_what_the_metadata_said(void **state) {
    (void)state;
    begin_model();
    usual_keys();
    gguf_kv_f32(&b, "llama.rope.freq_base", 500000);
    gguf_kv_u32(&b, "llama.rope.dimension_count", HEAD);
    gguf_kv_u32(&b, "llama.vocab_size", 999); /* the embedding's rows count */
    gguf_kv_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    gguf_kv_u32(&b, "tokenizer.ggml.eos_token_id", 9);
    gguf_kv_u32(&b, "tokenizer.ggml.padding_token_id", 0xffffffff);
    usual_tensors(0);
    model m = open_ok();
    assert_string_equal(text(m.config, "model_type"), "llama");
    const cJSON *classes = gs_json_get(m.config, "architectures");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(classes, 0)), "LlamaForCausalLM");
    assert_true(number(&m, "vocab_size") == WORDS);
    assert_true(number(&m, "hidden_size") == HIDDEN);
    assert_true(number(&m, "intermediate_size") == MLP);
    assert_true(number(&m, "num_hidden_layers") == 1);
    assert_true(number(&m, "num_attention_heads") == HEADS);
    assert_true(number(&m, "num_key_value_heads") == KV_HEADS);
    assert_true(number(&m, "max_position_embeddings") == 64);
    assert_true(number(&m, "rms_norm_eps") == 1e-5); /* not (double)1e-5f */
    assert_true(number(&m, "rope_theta") == 500000);
    assert_true(number(&m, "bos_token_id") == 1);
    assert_true(number(&m, "eos_token_id") == 9);
    assert_null(gs_json_get(m.config, "pad_token_id"));
    assert_null(gs_json_get(m.config, "head_dim"));
    assert_null(gs_json_get(m.config, "rope_scaling"));
    assert_string_equal(text(m.config, "hidden_act"), "silu");
    assert_string_equal(text(m.config, "torch_dtype"), "float32");
    assert_true(cJSON_IsTrue(gs_json_get(m.config, "tie_word_embeddings")));
    assert_true(cJSON_IsFalse(gs_json_get(m.config, "attention_bias")));
    close_model(&m);
}

static void absent_keys_have_the_usual_defaults(void **state) {
    (void)state;
    begin_model();
    gguf_kv_u32(&b, "llama.block_count", 1);
    gguf_kv_u32(&b, "llama.feed_forward_length", MLP);
    gguf_kv_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-6f);
    gguf_kv_u32(&b, "llama.vocab_size", 999);
    model m = open_ok(); /* no tensors: a vocabulary file */
    assert_true(number(&m, "num_key_value_heads") == HEADS);
    assert_true(number(&m, "rope_theta") == 10000);
    assert_true(number(&m, "rms_norm_eps") == 1e-6);
    assert_true(number(&m, "vocab_size") == 999);
    close_model(&m);
}

static void an_explicit_head_size_is_kept(void **state) {
    (void)state;
    begin_model();
    usual_keys();
    gguf_kv_u32(&b, "llama.attention.key_length", 16);
    gguf_kv_u32(&b, "llama.attention.value_length", 16);
    gguf_kv_u32(&b, "llama.rope.dimension_count", 16);
    gguf_kv_u32(&b, "llama.vocab_size", 5);
    model m = open_ok();
    assert_true(number(&m, "head_dim") == 16);
    close_model(&m);
}

static void head_sizes_that_differ_are_unsupported(void **state) {
    (void)state;
    static const char *const keys[] = {"llama.attention.value_length", "llama.rope.dimension_count",
                                       "llama.attention.key_length"};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) {
        begin_model();
        usual_keys();
        gguf_kv_u32(&b, keys[i], 2);
        if (i == 2) gguf_kv_u32(&b, "llama.rope.dimension_count", 4);
        expect_refusal(GS_E_UNSUPPORTED, "differ");
    }
}

static void the_dtype_follows_the_matrices(void **state) {
    (void)state;
    static const struct {
        uint32_t type, head;
        const char *name;
    } rows[] = {{0, 0, "float32"}, {1, 1, "float16"}, {30, 30, "bfloat16"}, {1, 30, "float32"},
                {1, 0, "float32"}};
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        begin_model();
        usual_keys();
        usual_tensors(rows[i].type);
        gguf_tensor(&b, "output.weight", WORDS, HIDDEN, rows[i].head, WORDS * HIDDEN * 4);
        model m = open_ok();
        assert_string_equal(text(m.config, "torch_dtype"), rows[i].name);
        close_model(&m);
    }
}

static void every_needed_size_is_asked_for_by_name(void **state) {
    (void)state;
    static const char *const keys[] = {
        "llama.block_count", "llama.embedding_length", "llama.feed_forward_length",
        "llama.context_length", "llama.attention.head_count",
    };
    for (size_t absent = 0; absent < GS_COUNTOF(keys); absent++) {
        gguf_begin(&b, 3);
        gguf_kv_text(&b, "general.architecture", "llama");
        for (size_t i = 0; i < GS_COUNTOF(keys); i++)
            if (i != absent) gguf_kv_u32(&b, keys[i], 4);
        gguf_kv_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
        expect_refusal(GS_E_FORMAT, keys[absent]);
    }
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "general.architecture", "llama");
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) gguf_kv_u32(&b, keys[i], 4);
    expect_refusal(GS_E_FORMAT, "layer_norm_rms_epsilon");
}

static void absurd_numbers_are_refused(void **state) {
    (void)state;
    static const uint64_t sizes[] = {0, UINT64_C(1) << 31, UINT64_C(1) << 40, (uint64_t)-4};
    static const float epsilons[] = {0, -1e-5f, NAN, INFINITY};
    for (size_t i = 0; i < GS_COUNTOF(sizes); i++) {
        begin_model();
        gguf_kv_int(&b, "llama.block_count", GS_GGUF_I64, sizes[i], 8);
        expect_refusal(GS_E_FORMAT, "block_count");
        begin_model();
        gguf_kv_u32(&b, "llama.block_count", 1);
        gguf_kv_u32(&b, "llama.feed_forward_length", MLP);
        gguf_kv_f32(&b, "llama.attention.layer_norm_rms_epsilon", epsilons[i]);
        expect_refusal(GS_E_FORMAT, "epsilon");
    }
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "general.architecture", "llama");
    gguf_kv_u32(&b, "llama.embedding_length", 10);
    gguf_kv_u32(&b, "llama.attention.head_count", 3);
    gguf_kv_u32(&b, "llama.context_length", 64);
    usual_keys();
    expect_refusal(GS_E_FORMAT, "multiple of 3 heads");
}

static void floats_become_the_decimals_they_were_rounded_from(void **state) {
    (void)state;
    static const double values[] = {1e-5, 1e-6, 1.25e-6, 3.1622776e-6, 0.1, 123456.79};
    for (size_t i = 0; i < GS_COUNTOF(values); i++) {
        begin_model();
        gguf_kv_u32(&b, "llama.block_count", 1);
        gguf_kv_u32(&b, "llama.feed_forward_length", MLP);
        gguf_kv_f32(&b, "llama.attention.layer_norm_rms_epsilon", (float)values[i]);
        gguf_kv_u32(&b, "llama.vocab_size", 5);
        model m = open_ok();
        assert_true(number(&m, "rms_norm_eps") == values[i]);
        close_model(&m);
    }
}

static void layer_sizes_may_be_arrays_of_one_value(void **state) {
    (void)state;
    for (int differs = 0; differs < 2; differs++) {
        begin_model();
        gguf_kv_u32(&b, "llama.block_count", 3);
        gguf_kv_array(&b, "llama.feed_forward_length", GS_GGUF_I32, 3);
        for (int i = 0; i < 3; i++) gguf_int(&b, i == 2 && differs ? 7 : 6, 4);
        gguf_kv_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
        gguf_kv_u32(&b, "llama.vocab_size", 5);
        if (differs) {
            expect_refusal(GS_E_UNSUPPORTED, "feed_forward_length");
        } else {
            model m = open_ok();
            assert_true(number(&m, "intermediate_size") == 6);
            close_model(&m);
        }
    }
}

static void metadata_that_changes_the_arithmetic_is_not_ignored(void **state) {
    (void)state;
    begin_model();
    usual_keys();
    gguf_kv_u32(&b, "llama.expert_shared_count", 8);
    expect_refusal(GS_E_UNSUPPORTED, "expert_shared_count");
    begin_model();
    usual_keys();
    gguf_kv_f32(&b, "llama.attention.scale", 0.25f);
    expect_refusal(GS_E_UNSUPPORTED, "attention.scale");
    begin_model();
    usual_keys();
    gguf_kv_u32(&b, "llama.expert_count", 0);
    gguf_kv_f32(&b, "llama.logit_scale", 1);
    gguf_kv_u32(&b, "llama.vocab_size", 5);
    model m = open_ok();
    close_model(&m);
}

static void linear_rope_scaling_is_passed_on(void **state) {
    (void)state;
    begin_model();
    usual_keys();
    gguf_kv_u32(&b, "llama.vocab_size", 5);
    gguf_kv_text(&b, "llama.rope.scaling.type", "linear");
    gguf_kv_f32(&b, "llama.rope.scaling.factor", 2.5f);
    model m = open_ok();
    const cJSON *scaling = gs_json_get(m.config, "rope_scaling");
    assert_string_equal(text(scaling, "rope_type"), "linear");
    assert_string_equal(text(scaling, "type"), "linear");
    assert_true(gs_json_get(scaling, "factor")->valuedouble == 2.5);
    close_model(&m);

    begin_model();
    usual_keys();
    gguf_kv_u32(&b, "llama.vocab_size", 5);
    gguf_kv_text(&b, "llama.rope.scaling.type", "none");
    m = open_ok();
    assert_null(gs_json_get(m.config, "rope_scaling"));
    close_model(&m);
}

static void other_rope_scaling_is_unsupported(void **state) {
    (void)state;
    begin_model();
    usual_keys();
    gguf_kv_u32(&b, "llama.vocab_size", 5);
    gguf_kv_text(&b, "llama.rope.scaling.type", "longrope");
    expect_refusal(GS_E_UNSUPPORTED, "'longrope'");
    begin_model();
    usual_keys();
    gguf_kv_u32(&b, "llama.vocab_size", 5);
    gguf_kv_text(&b, "llama.rope.scaling.type", "linear");
    expect_refusal(GS_E_FORMAT, "rope.scaling.factor");
}

/* A 3.x model: heads of 64, theta 5e5, rope_freqs as the converter makes them (in f32). */
static void build_llama3(double factor, int spoil) {
    enum { HD = 64 };
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "general.architecture", "llama");
    gguf_kv_u32(&b, "llama.embedding_length", HD);
    gguf_kv_u32(&b, "llama.attention.head_count", 1);
    gguf_kv_u32(&b, "llama.context_length", 131072);
    gguf_kv_f32(&b, "llama.rope.freq_base", 500000);
    gguf_kv_u32(&b, "llama.vocab_size", 5);
    usual_keys();
    gguf_tensor_f32(&b, "rope_freqs.weight", 0, HD / 2);
    gguf_finish(&b);
    gguf_pad(&b);
    for (int j = 0; j < HD / 2; j++) {
        float freq = 1 / powf(500000, (float)(2 * j) / HD);
        float wavelength = 2 * 3.14159265f / freq, divisor;
        if (wavelength < 8192.0f / 4) divisor = 1;
        else if (wavelength > 8192) divisor = (float)factor;
        else {
            float t = (8192 / wavelength - 1) / 3;
            divisor = 1 / ((1 - t) / (float)factor + t);
        }
        if (j == spoil) divisor *= 1.01f;
        gguf_int(&b, gs_f32_bits(divisor), 4);
    }
}

static void llama3_rope_scaling_is_recovered_from_its_divisors(void **state) {
    (void)state;
    static const double factors[] = {8, 32};
    for (size_t i = 0; i < GS_COUNTOF(factors); i++) {
        model m;
        gs_error err = {0};
        build_llama3(factors[i], -1);
        assert_ok(open_model(&m, &err), &err);
        assert_int_equal(gs_gguf_hf_count(m.hf), 0); /* rope_freqs is no tensor of the model */
        const cJSON *scaling = gs_json_get(m.config, "rope_scaling");
        assert_string_equal(text(scaling, "rope_type"), "llama3");
        assert_true(gs_json_get(scaling, "factor")->valuedouble == factors[i]);
        assert_true(gs_json_get(scaling, "low_freq_factor")->valuedouble == 1);
        assert_true(gs_json_get(scaling, "high_freq_factor")->valuedouble == 4);
        assert_true(gs_json_get(scaling, "original_max_position_embeddings")->valuedouble == 8192);
        close_model(&m);
    }
}

static void divisors_of_one_mean_no_scaling(void **state) {
    (void)state;
    model m;
    gs_error err = {0};
    build_llama3(1, -1);
    assert_ok(open_model(&m, &err), &err);
    assert_null(gs_json_get(m.config, "rope_scaling"));
    close_model(&m);
}

static void divisors_that_fit_no_formula_are_unsupported(void **state) {
    (void)state;
    for (int spoil = 0; spoil < 32; spoil++) {
        model m;
        gs_error err = {0};
        build_llama3(8, spoil);
        if (spoil == 31) continue; /* the last defines the factor; its neighbours catch it */
        assert_fails(open_model(&m, &err), GS_E_UNSUPPORTED, &err);
        assert_non_null(strstr(err.text, "rope_freqs.weight"));
        close_model(&m);
    }
    static const uint64_t counts[] = {HEAD / 2 - 1, HEAD / 2 + 1}; /* all ones, too few and many */
    for (size_t i = 0; i < GS_COUNTOF(counts); i++) {
        begin_model();
        usual_keys();
        gguf_kv_u32(&b, "llama.vocab_size", 5);
        gguf_tensor_f32(&b, "rope_freqs.weight", 0, counts[i]);
        uint8_t *ones = gguf_data(&b);
        model m;
        gs_error err = {0};
        for (uint64_t k = 0; k < counts[i]; k++) memcpy(ones + 4 * k, &(float){1}, 4);
        assert_fails(open_model(&m, &err), GS_E_UNSUPPORTED, &err);
        assert_non_null(strstr(err.text, "rope_freqs.weight"));
        close_model(&m);
    }
}

static void a_real_config_equals_its_hugging_face_twin(void **state) {
    (void)state;
    gs_need_data(gguf_path, "data/lm/stories260K-f32.gguf");
    gs_need_data(twin_path, "data/lm/stories260K-hf-llama/config.json");
    model m = {0};
    cJSON *twin = NULL;
    gs_error err = {0};
    assert_ok(gs_gguf_open(gguf_path, &m.g, &err), &err);
    assert_ok(gs_gguf_hf_create(m.g, &m.hf, &err), &err);
    assert_ok(gs_gguf_hf_config(m.hf, &m.config, &err), &err);
    assert_ok(gs_json_load(twin_path, 1 << 20, &twin, &err), &err);
    const cJSON *item;
    cJSON_ArrayForEach(item, twin) {
        /* the GGUF stores output.weight, so nothing says any more that it was tied */
        if (!strcmp(item->string, "tie_word_embeddings")) continue;
        if (!cJSON_Compare(item, gs_json_get(m.config, item->string), true))
            fail_msg("'%s' differs", item->string);
    }
    cJSON_Delete(twin);
    close_model(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_config_says_what_the_metadata_said),
        cmocka_unit_test(absent_keys_have_the_usual_defaults),
        cmocka_unit_test(an_explicit_head_size_is_kept),
        cmocka_unit_test(head_sizes_that_differ_are_unsupported),
        cmocka_unit_test(the_dtype_follows_the_matrices),
        cmocka_unit_test(every_needed_size_is_asked_for_by_name),
        cmocka_unit_test(absurd_numbers_are_refused),
        cmocka_unit_test(floats_become_the_decimals_they_were_rounded_from),
        cmocka_unit_test(layer_sizes_may_be_arrays_of_one_value),
        cmocka_unit_test(metadata_that_changes_the_arithmetic_is_not_ignored),
        cmocka_unit_test(linear_rope_scaling_is_passed_on),
        cmocka_unit_test(other_rope_scaling_is_unsupported),
        cmocka_unit_test(llama3_rope_scaling_is_recovered_from_its_divisors),
        cmocka_unit_test(divisors_of_one_mean_no_scaling),
        cmocka_unit_test(divisors_that_fit_no_formula_are_unsupported),
        cmocka_unit_test(a_real_config_equals_its_hugging_face_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
