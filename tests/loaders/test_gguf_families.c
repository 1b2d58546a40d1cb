/* Files of every architecture, built from what llama.cpp's own sources say of them (loaders/gguf_families.c), seen as Hugging
 * Face models; and broken ones. */
#include "gguf_family.h"

#include <math.h>

static double scaling_number(const model *m, const char *key) {
    const cJSON *item = gs_json_get(gs_json_get(m->config, "rope_scaling"), key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

/* gguf: names of one block's tensors; hf: what they are called then. NULL ends. All F32 [HIDDEN, HIDDEN], norms [HIDDEN]. */
static void names_are(const char *architecture, const char *const *gguf, const char *const *hf, const char *class_name) {
    char name[128];
    if (strcmp(architecture, "granite") == 0) gguf_kv_f32(&b, "granite.logit_scale", 1);
    for (size_t i = 0; gguf[i]; i++) {
        snprintf(name, sizeof name, "blk.0.%s.weight", gguf[i]);
        gguf_tensor_f32(&b, name, strstr(gguf[i], "norm") ? 0 : HIDDEN, HIDDEN);
    }
    model m = open_ok();
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(gs_json_get(m.config, "architectures"), 0)), class_name);
    for (size_t i = 0; gguf[i]; i++) {
        snprintf(name, sizeof name, "model.layers.0.%s.weight", hf[i]);
        const gs_tensor *t = gs_gguf_hf_at(m.hf, i);
        assert_string_equal(t->name, name);
        bool woven = strcmp(architecture, "granite") == 0 && (strstr(name, "q_proj") || strstr(name, "k_proj"));
        assert_int_equal(t->order, woven ? GS_ROWS_LLAMA_INTERLEAVED : GS_ROWS_AS_STORED);
    }
    close_model(&m);
}

static void names_are_those_of_the_family(void **state) {
    (void)state;
    static const char *const qwen3[] = {"attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate",
                                        "ffn_up", "ffn_down", "attn_q_norm", "attn_k_norm", NULL};
    static const char *const qwen3_hf[] = {
        "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "self_attn.q_norm", "self_attn.k_norm"};
    static const char *const granite[] = {"attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate",
                                          "ffn_up", "ffn_down", NULL};
    static const char *const phi3[] = {"attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down", NULL};
    static const char *const phi3_hf[] = {"input_layernorm", "self_attn.qkv_proj", "self_attn.o_proj",
                                          "post_attention_layernorm", "mlp.gate_up_proj", "mlp.down_proj"};
    static const char *const gemma2[] = {"attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "post_attention_norm",
                                         "ffn_norm", "ffn_gate", "ffn_up", "ffn_down", "post_ffw_norm", NULL};
    static const char *const gemma2_hf[] = {
        "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "post_attention_layernorm", "pre_feedforward_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
        "post_feedforward_layernorm"};
    static const char *const olmo2[] = {"attn_q", "attn_k", "attn_v", "attn_q_norm", "attn_k_norm", "attn_output",
                                        "post_attention_norm", "ffn_gate", "ffn_up", "ffn_down", "post_ffw_norm", NULL};
    static const char *const olmo2_hf[] = {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.q_norm", "self_attn.k_norm", "self_attn.o_proj",
        "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "post_feedforward_layernorm"};
    begin_family("qwen3");
    names_are("qwen3", qwen3, qwen3_hf, "Qwen3ForCausalLM");
    begin_family("granite");
    names_are("granite", granite, qwen3_hf, "GraniteForCausalLM");
    begin_family("phi3");
    names_are("phi3", phi3, phi3_hf, "Phi3ForCausalLM");
    begin_family("gemma2");
    names_are("gemma2", gemma2, gemma2_hf, "Gemma2ForCausalLM");
    begin_family("olmo2");
    names_are("olmo2", olmo2, olmo2_hf, "Olmo2ForCausalLM");
}

static void names_of_other_families_have_no_place(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"qwen3", "attn_qkv.weight"},   {"qwen3", "post_ffw_norm.weight"}, {"qwen3", "attn_q.bias"}, {"phi3", "attn_q.weight"},
        {"phi3", "ffn_gate.weight"},    {"phi3", "attn_qkv.bias"},        {"gemma2", "attn_q_norm.weight"},
        {"gemma2", "attn_v.bias"},      {"olmo2", "attn_norm.weight"},    {"olmo2", "ffn_norm.weight"},
        {"granite", "attn_q_norm.weight"}, {"granite", "attn_norm.bias"}, {"qwen2", "ffn_up.bias"}, {"qwen2", "attn_output.bias"},
        {"phi3", "rope_factors_long.weight"}};
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        char name[80], quoted[96];
        begin_family(rows[i][0]);
        snprintf(name, sizeof name, "blk.0.%s", rows[i][1]);
        snprintf(quoted, sizeof quoted, "'%s'", name);
        gguf_tensor_f32(&b, name, 0, HIDDEN);
        expect_refusal(GS_E_UNSUPPORTED, quoted);
    }
    /* divisors of frequencies, which llama.cpp would not use */
    begin_family("qwen3");
    gguf_tensor_f32(&b, "rope_freqs.weight", 0, HEAD / 2);
    expect_refusal(GS_E_UNSUPPORTED, "'rope_freqs.weight'");
}

/* ---- vectors that are not as the model has them */

static void set_floats(const model *m, const char *name, float first) {
    const gs_tensor *t = gs_gguf_find(m->g, name);
    for (int64_t i = 0; i < t->shape[0]; i++) {
        float v = first + (float)i;
        memcpy((uint8_t *)(uintptr_t)t->data + 4 * i, &v, 4); /* the test's own copy */
    }
}

/* Reads the file's bytes once more, after they were set. */
static model open_set(const char *name, float first) {
    model m = open_ok(), again = {.g = m.g};
    gs_error err = {0};
    set_floats(&m, name, first);
    gs_gguf_hf_destroy(m.hf);
    cJSON_Delete(m.config);
    assert_ok(gs_gguf_hf_create(again.g, &again.hf, &err), &err);
    assert_ok(gs_gguf_hf_config(again.hf, &again.config, &err), &err);
    return again;
}

static void values_are(const model *m, const float *want, int64_t n) {
    float got[64];
    gs_error err = {0};
    const gs_tensor *t = gs_gguf_hf_at(m->hf, 0);
    assert_int_equal(t->ndim, 1);
    assert_int_equal(t->shape[0], n);
    assert_int_equal(t->order, GS_ROWS_AS_STORED);
    assert_ok(gs_tensor_check(t, &err), &err);
    assert_ok(gs_tensor_read_f32(t, 0, 1, got, &err), &err);
    for (int64_t i = 0; i < n; i++)
        if (got[i] != want[i]) fail_msg("%s[%d]: %g, not %g", t->name, (int)i, (double)got[i], (double)want[i]);
}

/* The converter's reshape [heads, 2, hd/2], axes 1 and 2 swapped, undone: heads of 4 are stored as 0, 2, 1, 3. */
static void interleaved_biases_are_put_in_order(void **state) {
    (void)state;
    static const float q[] = {5, 7, 6, 8, 9, 11, 10, 12}, k[] = {5, 7, 6, 8};
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "blk.0.attn_k.bias" : "blk.0.attn_q.bias";
        begin_family("llama");
        gguf_tensor_f32(&b, name, 0, i ? KV_HEADS * HEAD : HEADS * HEAD);
        model m = open_set(name, 5);
        values_are(&m, i ? k : q, i ? KV_HEADS * HEAD : HEADS * HEAD);
        assert_true(cJSON_IsTrue(gs_json_get(m.config, "attention_bias")));
        close_model(&m);
    }
}

static void other_biases_are_as_stored(void **state) {
    (void)state;
    static const float v[] = {5, 6, 7, 8};
    begin_family("llama");
    gguf_tensor_f32(&b, "blk.0.attn_v.bias", 0, 4);
    model m = open_set("blk.0.attn_v.bias", 5);
    values_are(&m, v, 4);
    close_model(&m);
    begin_family("qwen2");
    gguf_tensor_f32(&b, "blk.0.attn_k.bias", 0, 4);
    m = open_set("blk.0.attn_k.bias", 5);
    values_are(&m, v, 4);
    close_model(&m);
}

static void norms_lose_the_one_that_was_added(void **state) {
    (void)state;
    static const char *const names[] = {"blk.0.attn_norm.weight", "blk.0.post_ffw_norm.weight", "output_norm.weight"};
    static const float shifted[HIDDEN] = {0.5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f, 6.5f, 7.5f};
    static const float plain[HIDDEN] = {1.5f, 2.5f, 3.5f, 4.5f, 5.5f, 6.5f, 7.5f, 8.5f};
    for (size_t i = 0; i < GS_COUNTOF(names); i++) {
        begin_family("gemma2");
        gguf_tensor_f32(&b, names[i], 0, HIDDEN);
        model m = open_set(names[i], 1.5f);
        values_are(&m, shifted, HIDDEN);
        close_model(&m);
    }
    begin_family("olmo2");
    gguf_tensor_f32(&b, names[1], 0, HIDDEN);
    model m = open_set(names[1], 1.5f);
    values_are(&m, plain, HIDDEN);
    close_model(&m);
}

static void vectors_of_another_shape_are_refused(void **state) {
    (void)state;
    begin_family("llama");
    gguf_tensor_f32(&b, "blk.0.attn_q.bias", 0, HEADS * HEAD - 2);
    expect_refusal(GS_E_FORMAT, "8 values");
    begin_family("llama");
    gguf_tensor(&b, "blk.0.attn_q.bias", 0, HEADS * HEAD, 1, 2 * HEADS * HEAD);
    expect_refusal(GS_E_UNSUPPORTED, "not f32");
    begin_family("llama");
    gguf_kv_u32(&b, "llama.attention.key_length", 3);
    gguf_kv_u32(&b, "llama.attention.value_length", 3);
    gguf_kv_u32(&b, "llama.rope.dimension_count", 3);
    gguf_tensor_f32(&b, "blk.0.attn_q.bias", 0, 6);
    expect_refusal(GS_E_FORMAT, "interleaved");
    begin_family("gemma2");
    gguf_tensor_f32(&b, "output_norm.weight", 0, HIDDEN + 1);
    expect_refusal(GS_E_FORMAT, "8 values");
    begin_family("gemma2");
    gguf_tensor_f32(&b, "blk.0.ffn_norm.weight", 1, HIDDEN);
    expect_refusal(GS_E_FORMAT, "8 values");
}

/* ---- numbers */

static void multipliers_become_config_json_s(void **state) {
    (void)state;
    begin_family("granite");
    gguf_kv_f32(&b, "granite.attention.scale", 0.015625f);
    gguf_kv_f32(&b, "granite.embedding_scale", 12);
    gguf_kv_f32(&b, "granite.residual_scale", 0.22f);
    gguf_kv_f32(&b, "granite.logit_scale", 8);
    model m = open_ok();
    assert_true(number(&m, "attention_multiplier") == 0.015625);
    assert_true(number(&m, "embedding_multiplier") == 12);
    assert_true(number(&m, "residual_multiplier") == 0.22);
    assert_true(number(&m, "logits_scaling") == 8);
    close_model(&m);
    begin_family("granite");
    gguf_kv_f32(&b, "granite.logit_scale", 8);
    m = open_ok();
    assert_true(number(&m, "attention_multiplier") == 0.5); /* heads of 4 */
    assert_true(number(&m, "embedding_multiplier") == 1 && number(&m, "residual_multiplier") == 1);
    close_model(&m);
}

static void absurd_multipliers_are_refused(void **state) {
    (void)state;
    static const char *const keys[] = {"granite.attention.scale", "granite.embedding_scale", "granite.residual_scale"};
    static const float absurd[] = {0, -1, NAN, INFINITY, 1e13f};
    for (size_t k = 0; k < GS_COUNTOF(keys); k++)
        for (size_t i = 0; i < GS_COUNTOF(absurd); i++) {
            begin_family("granite");
            gguf_kv_f32(&b, "granite.logit_scale", 8);
            gguf_kv_f32(&b, keys[k], absurd[i]);
            expect_refusal(GS_E_FORMAT, keys[k]);
        }
    begin_family("granite");
    expect_refusal(GS_E_FORMAT, "granite.logit_scale"); /* which llama.cpp wants, too */
    begin_family("granite");
    gguf_kv_f32(&b, "granite.logit_scale", 8);
    gguf_kv_int(&b, "granite.rope.scaling.finetuned", GS_GGUF_BOOL, 0, 1); /* no rotation */
    expect_refusal(GS_E_UNSUPPORTED, "finetuned");
    begin_family("qwen3");
    gguf_kv_f32(&b, "qwen3.residual_scale", 0.5f);
    expect_refusal(GS_E_UNSUPPORTED, "residual_scale");
}

static void caps_and_windows(void **state) {
    (void)state;
    begin_family("gemma2");
    model m = open_ok(); /* llama.cpp's defaults */
    assert_true(number(&m, "attn_logit_softcapping") == 50 && number(&m, "final_logit_softcapping") == 30);
    assert_true(number(&m, "sliding_window") == 4096);
    assert_true(number(&m, "query_pre_attn_scalar") == HEAD && number(&m, "head_dim") == HEAD);
    assert_string_equal(cJSON_GetStringValue(gs_json_get(m.config, "hidden_activation")), "gelu_pytorch_tanh");
    assert_true(cJSON_IsTrue(gs_json_get(m.config, "tie_word_embeddings")));
    close_model(&m);
    begin_family("gemma2");
    gguf_kv_f32(&b, "gemma2.attn_logit_softcapping", 20);
    gguf_kv_f32(&b, "gemma2.final_logit_softcapping", 10);
    gguf_kv_u32(&b, "gemma2.attention.sliding_window", 7);
    gguf_kv_u32(&b, "gemma2.attention.sliding_window_pattern", 2);
    m = open_ok();
    assert_true(number(&m, "attn_logit_softcapping") == 20 && number(&m, "final_logit_softcapping") == 10);
    assert_true(number(&m, "sliding_window") == 7);
    close_model(&m);
    begin_family("phi3");
    gguf_kv_u32(&b, "phi3.attention.sliding_window", 2047);
    m = open_ok();
    assert_true(number(&m, "sliding_window") == 2047);
    close_model(&m);
    begin_family("phi3");
    gguf_kv_u32(&b, "phi3.attention.sliding_window", 0);
    m = open_ok();
    assert_null(gs_json_get(m.config, "sliding_window"));
    close_model(&m);
}

static void windows_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static const char *const without[] = {"llama", "qwen2", "qwen3", "olmo2"};
    for (size_t i = 0; i < GS_COUNTOF(without); i++) {
        begin_family(without[i]);
        gguf_kv_u32(&b, key_of(without[i], "attention.sliding_window"), 32);
        expect_refusal(GS_E_UNSUPPORTED, "sliding_window");
    }
    begin_family("gemma2");
    gguf_kv_u32(&b, "gemma2.attention.sliding_window", 0);
    expect_refusal(GS_E_FORMAT, "sliding_window");
    begin_family("gemma2");
    gguf_kv_int(&b, "gemma2.attention.sliding_window", GS_GGUF_I32, (uint32_t)-1, 4);
    expect_refusal(GS_E_FORMAT, "sliding_window");
    begin_family("gemma2");
    gguf_kv_u32(&b, "gemma2.attention.sliding_window_pattern", 6);
    expect_refusal(GS_E_UNSUPPORTED, "sliding_window_pattern");
    begin_family("gemma2");
    gguf_kv_array(&b, "gemma2.attention.sliding_window_pattern", GS_GGUF_BOOL, 1);
    gguf_int(&b, 1, 1);
    expect_refusal(GS_E_UNSUPPORTED, "layer by layer");
    begin_family("gemma2");
    gguf_kv_f32(&b, "gemma2.rope.freq_base_swa", 20000);
    expect_refusal(GS_E_UNSUPPORTED, "freq_base_swa");
    begin_family("gemma2");
    gguf_kv_f32(&b, "gemma2.attn_logit_softcapping", -50);
    expect_refusal(GS_E_FORMAT, "attn_logit_softcapping");
}

/* 46 layers: the one size whose scores llama.cpp scales by the width of hidden size / heads. */
static void the_widest_model_has_its_own_scale(void **state) {
    (void)state;
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "general.architecture", "gemma2");
    gguf_kv_u32(&b, "gemma2.embedding_length", 4608);
    gguf_kv_u32(&b, "gemma2.attention.head_count", 32);
    gguf_kv_u32(&b, "gemma2.attention.key_length", 128);
    gguf_kv_u32(&b, "gemma2.attention.value_length", 128);
    gguf_kv_u32(&b, "gemma2.context_length", 64);
    gguf_kv_u32(&b, "gemma2.block_count", 46);
    gguf_kv_u32(&b, "gemma2.feed_forward_length", MLP);
    gguf_kv_f32(&b, "gemma2.attention.layer_norm_rms_epsilon", 1e-6f);
    gguf_kv_u32(&b, "gemma2.vocab_size", WORDS);
    model m = open_ok();
    assert_true(number(&m, "query_pre_attn_scalar") == 144 && number(&m, "head_dim") == 128);
    close_model(&m);
}

/* ---- rotation */

static void part_of_a_head_may_be_rotated(void **state) {
    (void)state;
    static const uint32_t rows[][2] = {{128, 96}, {96, 32}, {80, 10}, {4, 2}, {44, 30}, {46, 26}};
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        gs_model_config c;
        gs_error err = {0};
        begin_family("phi3");
        gguf_kv_u32(&b, "phi3.attention.key_length", rows[i][0]);
        gguf_kv_u32(&b, "phi3.attention.value_length", rows[i][0]);
        gguf_kv_u32(&b, "phi3.rope.dimension_count", rows[i][1]);
        model m = open_ok();
        assert_ok(gs_model_config_from_json(m.config, &c, &err), &err);
        m.config = NULL; /* the config's now */
        assert_int_equal(c.rotary_dim, rows[i][1]);
        gs_model_config_clear(&c);
        close_model(&m);
    }
    begin_family("phi3");
    gguf_kv_u32(&b, "phi3.rope.dimension_count", HEAD + 2);
    expect_refusal(GS_E_FORMAT, "rotated");
    begin_family("phi3");
    gguf_kv_u32(&b, "phi3.rope.dimension_count", 3);
    expect_refusal(GS_E_FORMAT, "rotated");
    begin_family("qwen3");
    gguf_kv_u32(&b, "qwen3.rope.dimension_count", 2);
    expect_refusal(GS_E_UNSUPPORTED, "rotated");
}

static void begin_yarn(float factor) {
    begin_family("llama");
    gguf_kv_text(&b, "llama.rope.scaling.type", "yarn");
    gguf_kv_f32(&b, "llama.rope.scaling.factor", factor);
    gguf_kv_u32(&b, "llama.rope.scaling.original_context_length", 16);
}

static void yarn_is_read_as_llama_cpp_computes_it(void **state) {
    (void)state;
    begin_yarn(4);
    model m = open_ok();
    assert_string_equal(cJSON_GetStringValue(gs_json_get(gs_json_get(m.config, "rope_scaling"), "rope_type")), "yarn");
    assert_true(scaling_number(&m, "factor") == 4 && scaling_number(&m, "original_max_position_embeddings") == 16);
    assert_true(scaling_number(&m, "attention_factor") == 0);
    close_model(&m);
    begin_yarn(4);
    gguf_kv_f32(&b, "llama.rope.scaling.attn_factor", 0.5f);
    m = open_ok();
    assert_true(fabs(scaling_number(&m, "attention_factor") - 0.5 * (0.1 * log(4) + 1)) < 1e-7);
    close_model(&m);
    begin_yarn(4); /* the converter's word for attention_factor, where it changes nothing */
    gguf_kv_f32(&b, "llama.rope.scaling.yarn_attn_factor", (float)(0.1 * log(4) + 1));
    gguf_kv_f32(&b, "llama.rope.scaling.yarn_beta_fast", 32);
    gguf_kv_f32(&b, "llama.rope.scaling.yarn_beta_slow", 1);
    m = open_ok();
    close_model(&m);
}

static void yarn_that_llama_cpp_would_not_compute_is_refused(void **state) {
    (void)state;
    static const char *const keys[] = {"yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow", "yarn_ext_factor"};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) {
        char key[80];
        begin_yarn(4);
        snprintf(key, sizeof key, "llama.rope.scaling.%s", keys[i]);
        gguf_kv_f32(&b, key, 0.75f);
        expect_refusal(GS_E_UNSUPPORTED, keys[i]);
    }
    begin_family("llama");
    gguf_kv_f32(&b, "llama.rope.scaling.attn_factor", 0.5f); /* without yarn */
    expect_refusal(GS_E_UNSUPPORTED, "attn_factor");
    begin_yarn(NAN);
    expect_refusal(GS_E_FORMAT, "rope.scaling.factor");
    begin_family("llama");
    gguf_kv_text(&b, "llama.rope.scaling.type", "yarn");
    gguf_kv_f32(&b, "llama.rope.scaling.factor", 4);
    gguf_kv_u32(&b, "llama.rope.scaling.original_context_length", 0);
    expect_refusal(GS_E_FORMAT, "original_context_length");
}

/* llama.cpp: an absent type is linear. */
static void a_factor_without_a_type_is_linear(void **state) {
    (void)state;
    begin_family("llama");
    gguf_kv_f32(&b, "llama.rope.scaling.factor", 2);
    model m = open_ok();
    assert_true(scaling_number(&m, "factor") == 2);
    close_model(&m);
    begin_family("llama");
    gguf_kv_text(&b, "llama.rope.scaling.type", "none");
    gguf_kv_f32(&b, "llama.rope.scaling.factor", 2);
    m = open_ok();
    assert_null(gs_json_get(m.config, "rope_scaling"));
    close_model(&m);
}

/* ---- architectures that compute what a Llama does */

static void split_ones_are_llamas(void **state) {
    (void)state;
    begin_family("internlm2");
    gguf_tensor_f32(&b, "blk.0.attn_q.weight", HEADS * HEAD, HIDDEN);
    model m = open_ok();
    assert_string_equal(cJSON_GetStringValue(gs_json_get(m.config, "model_type")), "llama");
    assert_string_equal(gs_gguf_hf_at(m.hf, 0)->name, "model.layers.0.self_attn.q_proj.weight");
    assert_int_equal(gs_gguf_hf_at(m.hf, 0)->order, GS_ROWS_LLAMA_INTERLEAVED);
    close_model(&m);
    for (uint32_t layers = 32; layers <= 40; layers += 8) {
        gguf_begin(&b, 3);
        gguf_kv_text(&b, "general.architecture", "baichuan");
        gguf_kv_u32(&b, "baichuan.embedding_length", HIDDEN);
        gguf_kv_u32(&b, "baichuan.attention.head_count", HEADS);
        gguf_kv_u32(&b, "baichuan.context_length", 64);
        gguf_kv_u32(&b, "baichuan.block_count", layers);
        gguf_kv_u32(&b, "baichuan.feed_forward_length", MLP);
        gguf_kv_f32(&b, "baichuan.attention.layer_norm_rms_epsilon", 1e-5f);
        gguf_kv_u32(&b, "baichuan.vocab_size", WORDS);
        if (layers != 32) { /* which has ALiBi */
            expect_refusal(GS_E_UNSUPPORTED, "40 layers");
            continue;
        }
        m = open_ok();
        assert_string_equal(cJSON_GetStringValue(gs_json_get(m.config, "model_type")), "llama");
        close_model(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_the_family),
        cmocka_unit_test(names_of_other_families_have_no_place),
        cmocka_unit_test(interleaved_biases_are_put_in_order),
        cmocka_unit_test(other_biases_are_as_stored),
        cmocka_unit_test(norms_lose_the_one_that_was_added),
        cmocka_unit_test(vectors_of_another_shape_are_refused),
        cmocka_unit_test(multipliers_become_config_json_s),
        cmocka_unit_test(absurd_multipliers_are_refused),
        cmocka_unit_test(caps_and_windows),
        cmocka_unit_test(windows_that_do_not_fit_are_refused),
        cmocka_unit_test(the_widest_model_has_its_own_scale),
        cmocka_unit_test(part_of_a_head_may_be_rotated),
        cmocka_unit_test(yarn_is_read_as_llama_cpp_computes_it),
        cmocka_unit_test(yarn_that_llama_cpp_would_not_compute_is_refused),
        cmocka_unit_test(a_factor_without_a_type_is_linear),
        cmocka_unit_test(split_ones_are_llamas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
