/* config.json in GGUF's words and back; names of tensors there and back. */
#include "../support.h"

#include <base/mem.h>
#include <loaders/gguf_hf.h>

#include <math.h>

#define BASE                                                                                                           \
    "\"vocab_size\": 100, \"hidden_size\": 48, \"intermediate_size\": 80, \"num_hidden_layers\": 3,"                   \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"max_position_embeddings\": 2048, \"hidden_act\": \"silu\""

static gs_model_config config_of(const char *text) {
    cJSON *json;
    gs_model_config c;
    gs_error err = {0};
    assert_ok(gs_json_parse(text, strlen(text), &json, &err), &err);
    assert_ok(gs_model_config_from_json(json, &c, &err), &err);
    return c;
}

/* The config as a GGUF file without tensors (but the divisors' place), read back. */
static gs_model_config there_and_back(const gs_model_config *c) {
    char *dir = gs_test_tmpdir(), *path = gs_path_join(dir, "x.gguf");
    gs_gguf_writer *w;
    gs_gguf *g;
    gs_gguf_hf *hf;
    cJSON *json;
    float *divisors;
    int64_t n;
    gs_model_config back;
    gs_error err = {0};
    assert_ok(gs_gguf_writer_create(&w, &err), &err);
    assert_ok(gs_gguf_hf_put_config(c, w, &err), &err);
    assert_ok(gs_gguf_hf_rope_divisors(c, &divisors, &n, &err), &err);
    if (n) assert_ok(gs_gguf_writer_plan(w, "rope_freqs.weight", GS_F32, 1, &n, &err), &err);
    assert_ok(gs_gguf_writer_begin(w, path, &err), &err);
    if (n) assert_ok(gs_gguf_writer_put(w, 0, divisors, (size_t)n * 4, &err), &err);
    assert_ok(gs_gguf_writer_commit(w, &err), &err);
    gs_free(divisors);
    assert_ok(gs_gguf_open(path, &g, &err), &err);
    assert_ok(gs_gguf_hf_create(g, &hf, &err), &err);
    assert_ok(gs_gguf_hf_config(hf, &json, &err), &err);
    assert_ok(gs_model_config_from_json(json, &back, &err), &err);
    gs_gguf_hf_destroy(hf);
    gs_gguf_close(g);
    gs_free(path);
    gs_test_rmdir(dir);
    return back;
}

static void goes_round(const char *text) {
    gs_model_config a = config_of(text), b = there_and_back(&a);
    assert_string_equal(a.model_type, b.model_type);
    assert_string_equal(a.hidden_act, b.hidden_act);
    assert_int_equal(a.vocab, b.vocab);
    assert_int_equal(a.hidden, b.hidden);
    assert_int_equal(a.intermediate, b.intermediate);
    assert_int_equal(a.layers, b.layers);
    assert_int_equal(a.heads, b.heads);
    assert_int_equal(a.kv_heads, b.kv_heads);
    assert_int_equal(a.head_dim, b.head_dim);
    assert_int_equal(a.max_positions, b.max_positions);
    assert_true(a.norm_eps == b.norm_eps);
    assert_true(a.rope_theta == b.rope_theta);
    assert_int_equal(a.rope_scaling.kind, b.rope_scaling.kind);
    assert_true(a.rope_scaling.factor == b.rope_scaling.factor);
    assert_true(a.rope_scaling.low_freq_factor == b.rope_scaling.low_freq_factor);
    assert_true(a.rope_scaling.high_freq_factor == b.rope_scaling.high_freq_factor);
    assert_int_equal(a.rope_scaling.original_max_positions, b.rope_scaling.original_max_positions);
    assert_true(fabs(a.rope_scaling.attention_factor - b.rope_scaling.attention_factor) < 1e-6);
    assert_int_equal(a.rotary_dim, b.rotary_dim);
    assert_int_equal(a.window, b.window);
    gs_model_config_clear(&a);
    gs_model_config_clear(&b);
}

static void configurations_go_round(void **state) {
    (void)state;
    goes_round("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05," BASE "}");
    goes_round("{\"model_type\": \"qwen2\", \"rms_norm_eps\": 1e-06, \"rope_theta\": 1000000.0," BASE "}");
    goes_round("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05, \"head_dim\": 20," BASE "}");
    goes_round("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.5}," BASE "}");
    goes_round("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05, \"rope_theta\": 500000.0, \"head_dim\": 128,"
               "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0,"
               "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}," BASE "}");
    /* constants of no published model; and too few frequencies for one that has the whole factor */
    goes_round("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0,"
               "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.5,"
               "\"high_freq_factor\": 3.3, \"original_max_position_embeddings\": 64}," BASE "}");
    goes_round("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05, \"rope_theta\": 100.0,"
               "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0,"
               "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}," BASE "}");
}

static double number_of(const gs_model_config *c, const char *key) {
    double value = 0;
    gs_error err = {0};
    assert_ok(gs_model_config_positive(c, key, &value, &err), &err);
    return value;
}

#define GEMMA2 "\"head_dim\": 16, \"hidden_activation\": \"gelu_pytorch_tanh\", \"sliding_window\": 32, "                     \
               "\"attn_logit_softcapping\": 20.0, \"final_logit_softcapping\": 10.0, \"query_pre_attn_scalar\": 16"
/* BASE says silu, which the last of two members would be: an own one */
#define GELU_BASE                                                                                                      \
    "\"vocab_size\": 100, \"hidden_size\": 48, \"intermediate_size\": 80, \"num_hidden_layers\": 3,"                   \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"max_position_embeddings\": 2048"

static void other_families_go_round(void **state) {
    (void)state;
    goes_round("{\"model_type\": \"qwen3\", \"head_dim\": 20, \"rms_norm_eps\": 1e-06, \"use_sliding_window\": false,"
               "\"sliding_window\": null," BASE "}");
    goes_round("{\"model_type\": \"phi3\", \"sliding_window\": 2047, \"rms_norm_eps\": 1e-05," BASE "}");
    goes_round("{\"model_type\": \"phi3\", \"partial_rotary_factor\": 0.5, \"rms_norm_eps\": 1e-05," BASE "}");
    goes_round("{\"model_type\": \"olmo2\", \"rms_norm_eps\": 1e-06," BASE "}");
    goes_round("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0,"
               "\"original_max_position_embeddings\": 512}," BASE "}");
    goes_round("{\"model_type\": \"qwen2\", \"rms_norm_eps\": 1e-05, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0,"
               "\"original_max_position_embeddings\": 512, \"attention_factor\": 0.9}," BASE "}");
    goes_round("{\"model_type\": \"gemma2\"," GEMMA2 "," GELU_BASE "}");
    gs_model_config a = config_of("{\"model_type\": \"gemma2\"," GEMMA2 "," GELU_BASE "}"), b = there_and_back(&a);
    assert_true(number_of(&b, "attn_logit_softcapping") == 20 && number_of(&b, "final_logit_softcapping") == 10);
    assert_true(number_of(&b, "query_pre_attn_scalar") == 16);
    gs_model_config_clear(&a);
    gs_model_config_clear(&b);
    a = config_of("{\"model_type\": \"granite\", \"attention_multiplier\": 0.0078125, \"embedding_multiplier\": 12.0,"
                  "\"residual_multiplier\": 0.22, \"logits_scaling\": 8.0," BASE "}");
    b = there_and_back(&a);
    assert_true(number_of(&b, "attention_multiplier") == 0.0078125 && number_of(&b, "embedding_multiplier") == 12);
    assert_true(number_of(&b, "residual_multiplier") == 0.22 && number_of(&b, "logits_scaling") == 8);
    gs_model_config_clear(&a);
    gs_model_config_clear(&b);
}

/* The same architecture, whose files cannot say which of the two it was; the arithmetic is the same. */
static void a_model_without_a_cutting_window_is_a_llama(void **state) {
    (void)state;
    static const char *const texts[] = {"null", "2048", "4096"};
    for (size_t i = 0; i < GS_COUNTOF(texts); i++) {
        char text[1024];
        snprintf(text, sizeof text, "{\"model_type\": \"mistral\", \"head_dim\": 20, \"sliding_window\": %s, " BASE "}", texts[i]);
        gs_model_config a = config_of(text), b = there_and_back(&a);
        assert_string_equal(b.model_type, "llama");
        assert_int_equal(b.head_dim, 20);
        assert_int_equal(b.window, 0);
        gs_model_config_clear(&a);
        gs_model_config_clear(&b);
    }
}

static void refused(const char *text, const char *word) {
    gs_model_config c = config_of(text);
    gs_gguf_writer *w;
    gs_error err = {0};
    assert_ok(gs_gguf_writer_create(&w, &err), &err);
    assert_fails(gs_gguf_hf_put_config(&c, w, &err), GS_E_UNSUPPORTED, &err);
    if (!strstr(err.text, word)) fail_msg("'%s' does not mention '%s'", err.text, word);
    gs_gguf_writer_abort(w);
    gs_model_config_clear(&c);
}

static void what_gguf_has_no_words_for(void **state) {
    (void)state;
    refused("{\"model_type\": \"gpt2\", \"rms_norm_eps\": 1e-05," BASE "}", "'gpt2'");
    refused("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05, \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}," BASE "}",
            "'dynamic'");
    refused("{\"model_type\": \"mixtral\", \"num_local_experts\": 4, \"num_experts_per_tok\": 2," BASE "}", "mixtures of experts");
    /* windows that cut, of architectures without */
    refused("{\"model_type\": \"mistral\", \"sliding_window\": 2047," BASE "}", "no windows");
    refused("{\"model_type\": \"qwen2\", \"use_sliding_window\": true, \"sliding_window\": 64, \"max_window_layers\": 2," BASE "}",
            "no windows");
    refused("{\"model_type\": \"qwen3\", \"use_sliding_window\": true, \"sliding_window\": 64, \"layer_types\":"
            "[\"full_attention\", \"sliding_attention\", \"full_attention\"]," BASE "}", "no windows");
    goes_round("{\"model_type\": \"qwen3\", \"use_sliding_window\": true, \"max_window_layers\": 3," BASE "}");
    refused("{\"model_type\": \"phi3\", \"sliding_window\": 64, \"layer_types\":"
            "[\"full_attention\", \"sliding_attention\", \"full_attention\"]," BASE "}", "layer_types");
    refused("{\"model_type\": \"gemma2\", \"layer_types\": [\"full_attention\", \"sliding_attention\", \"full_attention\"]," GEMMA2
            "," GELU_BASE "}", "every other");
    refused("{\"model_type\": \"gemma2\", \"rope_local_base_freq\": 20000.0," GEMMA2 "," GELU_BASE "}", "rotate otherwise");
    /* what llama.cpp takes for granted */
    refused("{\"model_type\": \"gemma2\", \"sliding_window\": 32, \"head_dim\": 16, \"hidden_activation\": \"gelu_pytorch_tanh\","
            "\"final_logit_softcapping\": 10.0, \"attn_logit_softcapping\": null," GELU_BASE "}", "attn_logit_softcapping");
    refused("{\"model_type\": \"gemma2\", \"head_dim\": 16, \"hidden_activation\": \"gelu_pytorch_tanh\"," GELU_BASE "}", "sliding_window");
    refused("{\"model_type\": \"gemma2\", \"tie_word_embeddings\": false," GEMMA2 "," GELU_BASE "}", "tie_word_embeddings");
    refused("{\"model_type\": \"gemma2\", \"sliding_window\": 32, \"head_dim\": 16, \"hidden_activation\": \"gelu_pytorch_tanh\","
            "\"final_logit_softcapping\": 10.0, \"attn_logit_softcapping\": 5.0, \"query_pre_attn_scalar\": 12," GELU_BASE "}",
            "query_pre_attn_scalar 12");
    refused("{\"model_type\": \"olmo2\", \"tie_word_embeddings\": true," BASE "}", "tie_word_embeddings");
    refused("{\"model_type\": \"qwen2\", \"head_dim\": 20," BASE "}", "head_dim 20");
    refused("{\"model_type\": \"llama\", \"partial_rotary_factor\": 0.5," BASE "}", "rotate all");
    refused("{\"model_type\": \"granite\", \"residual_multiplier\": 1e-60," BASE "}", "residual_scale");
    /* scalings: constants that llama.cpp cannot be told, divisors where it reads none */
    refused("{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2.0, \"beta_fast\": 16.0}," BASE "}", "betas");
    refused("{\"model_type\": \"qwen2\", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0,"
            "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}," BASE "}", "llama3");
    gs_model_config c = config_of("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05," BASE "}");
    gs_gguf_writer *w;
    gs_error err = {0};
    strcpy(c.hidden_act, "gelu");
    assert_ok(gs_gguf_writer_create(&w, &err), &err);
    assert_fails(gs_gguf_hf_put_config(&c, w, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "'gelu'"));
    gs_gguf_writer_abort(w);
    gs_model_config_clear(&c);
}

static float shift_of(const gs_model_config *c, const char *name, const char *want, int64_t heads) {
    gs_gguf_place place;
    gs_error err = {0};
    assert_ok(gs_gguf_hf_place(c, name, &place, &err), &err);
    assert_string_equal(place.name, want);
    assert_int_equal(place.heads, heads);
    return place.shift;
}

static void place_is(const gs_model_config *c, const char *name, const char *want, int64_t heads) {
    assert_true(shift_of(c, name, want, heads) == 0);
}

static void names_are_the_readers(void **state) {
    (void)state;
    gs_model_config c = config_of("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05," BASE "}");
    place_is(&c, "model.embed_tokens.weight", "token_embd.weight", 0);
    place_is(&c, "model.norm.weight", "output_norm.weight", 0);
    place_is(&c, "lm_head.weight", "output.weight", 0);
    place_is(&c, "model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight", 0);
    place_is(&c, "model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight", 0);
    place_is(&c, "model.layers.2.self_attn.q_proj.weight", "blk.2.attn_q.weight", 4);
    place_is(&c, "model.layers.2.self_attn.k_proj.weight", "blk.2.attn_k.weight", 2);
    place_is(&c, "model.layers.2.self_attn.v_proj.bias", "blk.2.attn_v.bias", 0);
    place_is(&c, "model.layers.1.self_attn.o_proj.weight", "blk.1.attn_output.weight", 0);
    place_is(&c, "model.layers.1.mlp.gate_proj.weight", "blk.1.ffn_gate.weight", 0);
    place_is(&c, "model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight", 0);
    place_is(&c, "model.layers.1.mlp.down_proj.weight", "blk.1.ffn_down.weight", 0);
    strcpy(c.model_type, "qwen2");
    place_is(&c, "model.layers.2.self_attn.q_proj.weight", "blk.2.attn_q.weight", 0);
    place_is(&c, "model.layers.2.self_attn.q_proj.bias", "blk.2.attn_q.bias", 0);
    strcpy(c.model_type, "llama");
    place_is(&c, "model.layers.2.self_attn.q_proj.bias", "blk.2.attn_q.bias", 4);
    place_is(&c, "model.layers.2.self_attn.k_proj.bias", "blk.2.attn_k.bias", 2);
    place_is(&c, "model.layers.2.mlp.down_proj.bias", "blk.2.ffn_down.bias", 0);
    strcpy(c.model_type, "mistral");
    place_is(&c, "model.layers.2.self_attn.k_proj.weight", "blk.2.attn_k.weight", 2);
    strcpy(c.model_type, "phi3");
    place_is(&c, "model.layers.2.self_attn.qkv_proj.weight", "blk.2.attn_qkv.weight", 0);
    place_is(&c, "model.layers.2.mlp.gate_up_proj.weight", "blk.2.ffn_up.weight", 0);
    strcpy(c.model_type, "qwen3");
    place_is(&c, "model.layers.2.self_attn.q_norm.weight", "blk.2.attn_q_norm.weight", 0);
    strcpy(c.model_type, "olmo2");
    place_is(&c, "model.layers.1.post_attention_layernorm.weight", "blk.1.post_attention_norm.weight", 0);
    place_is(&c, "model.layers.1.post_feedforward_layernorm.weight", "blk.1.post_ffw_norm.weight", 0);
    strcpy(c.model_type, "gemma2");
    assert_true(shift_of(&c, "model.layers.1.pre_feedforward_layernorm.weight", "blk.1.ffn_norm.weight", 0) == 1);
    assert_true(shift_of(&c, "model.norm.weight", "output_norm.weight", 0) == 1);
    place_is(&c, "model.embed_tokens.weight", "token_embd.weight", 0);
    place_is(&c, "model.layers.1.self_attn.k_proj.weight", "blk.1.attn_k.weight", 0);
    gs_model_config_clear(&c);
}

static void other_names_have_no_place(void **state) {
    (void)state;
    static const char *const names[] = {
        "model.layers.3.self_attn.q_proj.weight", "model.layers.0.self_attn.qkv_proj.weight",
        "model.layers.0.input_layernorm.bias", "model.layers.0.self_attn.q_proj.weight_scale", "model.layers.0.self_attn.q_proj",
        "model.layers.00.self_attn.v_proj.weight", "model.layers..self_attn.v_proj.weight", "lm_head.bias", "",
        "model.layers.0.self_attn.q_norm.weight"};
    gs_model_config c = config_of("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05," BASE "}");
    for (size_t i = 0; i < GS_COUNTOF(names); i++) {
        gs_gguf_place place;
        gs_error err = {0};
        assert_fails(gs_gguf_hf_place(&c, names[i], &place, &err), GS_E_UNSUPPORTED, &err);
    }
    static const char *const others[][2] = {
        {"qwen2", "model.layers.0.self_attn.o_proj.bias"}, {"qwen3", "model.layers.0.self_attn.q_proj.bias"},
        {"phi3", "model.layers.0.self_attn.q_proj.weight"}, {"olmo2", "model.layers.0.input_layernorm.weight"},
        {"gemma2", "lm_head.weight"}, {"mistral", "model.layers.0.self_attn.q_proj.bias"}};
    for (size_t i = 0; i < GS_COUNTOF(others); i++) {
        gs_gguf_place place;
        gs_error err = {0};
        strcpy(c.model_type, others[i][0]);
        assert_fails(gs_gguf_hf_place(&c, others[i][1], &place, &err), GS_E_UNSUPPORTED, &err);
    }
    gs_model_config_clear(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations_go_round),
        cmocka_unit_test(other_families_go_round),
        cmocka_unit_test(a_model_without_a_cutting_window_is_a_llama),
        cmocka_unit_test(what_gguf_has_no_words_for),
        cmocka_unit_test(names_are_the_readers),
        cmocka_unit_test(other_names_have_no_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
