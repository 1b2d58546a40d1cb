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
    refused("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2.0}," BASE "}",
            "'yarn'");
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

static void place_is(const gs_model_config *c, const char *name, const char *want, int64_t heads) {
    gs_gguf_place place;
    gs_error err = {0};
    assert_ok(gs_gguf_hf_place(c, name, &place, &err), &err);
    assert_string_equal(place.name, want);
    assert_int_equal(place.heads, heads);
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
    gs_model_config_clear(&c);
}

static void other_names_have_no_place(void **state) {
    (void)state;
    static const char *const names[] = {
        "model.layers.3.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.input_layernorm.bias", "model.layers.0.self_attn.q_proj.weight_scale", "model.layers.0.self_attn.q_proj",
        "model.layers.00.self_attn.v_proj.weight", "model.layers..self_attn.v_proj.weight", "lm_head.bias", "",
        "model.layers.0.self_attn.q_norm.weight"};
    gs_model_config c = config_of("{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05," BASE "}");
    for (size_t i = 0; i < GS_COUNTOF(names); i++) {
        gs_gguf_place place;
        gs_error err = {0};
        assert_fails(gs_gguf_hf_place(&c, names[i], &place, &err), GS_E_UNSUPPORTED, &err);
    }
    gs_model_config_clear(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations_go_round),
        cmocka_unit_test(what_gguf_has_no_words_for),
        cmocka_unit_test(names_are_the_readers),
        cmocka_unit_test(other_names_have_no_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
