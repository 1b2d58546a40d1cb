#include "gguf_model.h"

#include <base/mem.h>
#include <loaders/safetensors.h>

static const gs_tensor *find(const gs_gguf_hf *h, const char *name) {
    for (size_t i = 0; i < gs_gguf_hf_count(h); i++)
        if (!strcmp(gs_gguf_hf_at(h, i)->name, name)) return gs_gguf_hf_at(h, i);
    return NULL;
}

static void tensors_get_their_hugging_face_names(void **state) {
    (void)state;
    static const char *const names[] = {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.self_attn.v_proj.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.mlp.gate_proj.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
        "lm_head.weight",
        "model.layers.0.self_attn.v_proj.bias",
        "model.layers.0.mlp.down_proj.bias",
    };
    begin_model();
    usual_keys();
    usual_tensors(0);
    gguf_tensor_f32(&b, "output.weight", WORDS, HIDDEN);
    gguf_tensor_f32(&b, "blk.0.attn_v.bias", 0, KV_HEADS * HEAD);
    gguf_tensor_f32(&b, "blk.0.ffn_down.bias", 0, HIDDEN);
    model m = open_ok();
    assert_int_equal(gs_gguf_hf_count(m.hf), GS_COUNTOF(names));
    assert_null(gs_gguf_hf_at(m.hf, GS_COUNTOF(names)));
    for (size_t i = 0; i < GS_COUNTOF(names); i++)
        assert_string_equal(gs_gguf_hf_at(m.hf, i)->name, names[i]);
    assert_true(cJSON_IsTrue(gs_json_get(m.config, "attention_bias")));
    assert_true(cJSON_IsTrue(gs_json_get(m.config, "mlp_bias")));
    assert_true(cJSON_IsFalse(gs_json_get(m.config, "tie_word_embeddings")));
    close_model(&m);
}

static void only_q_and_k_are_interleaved(void **state) {
    (void)state;
    begin_model();
    usual_keys();
    usual_tensors(0);
    model m = open_ok();
    for (size_t i = 0; i < gs_gguf_hf_count(m.hf); i++) {
        const gs_tensor *t = gs_gguf_hf_at(m.hf, i);
        int64_t heads = 0;
        if (strstr(t->name, "q_proj")) heads = HEADS;
        if (strstr(t->name, "k_proj")) heads = KV_HEADS;
        assert_int_equal(t->order, heads ? GS_ROWS_LLAMA_INTERLEAVED : GS_ROWS_AS_STORED);
        assert_int_equal(t->order_heads, heads);
    }
    close_model(&m);
}

/* Stored row r is filled with r; in rotary order a head of 4 is stored as 0, 2, 1, 3. */
static void reading_q_undoes_the_interleaving(void **state) {
    (void)state;
    static const float want[HEADS * HEAD] = {0, 2, 1, 3, 4, 6, 5, 7};
    float got[HEADS * HEAD * HIDDEN];
    gs_error err = {0};
    begin_model();
    usual_keys();
    usual_tensors(0);
    gguf_data(&b);
    model m;
    assert_ok(open_model(&m, &err), &err);
    const gs_tensor *q = find(m.hf, "model.layers.0.self_attn.q_proj.weight");
    uint8_t *bytes = (uint8_t *)q->data; /* the test's own copy of the file */
    for (int i = 0; i < HEADS * HEAD * HIDDEN; i++) {
        float row = (float)(i / HIDDEN);
        memcpy(bytes + 4 * i, &row, 4);
    }
    assert_ok(gs_tensor_read_f32(q, 0, HEADS * HEAD, got, &err), &err);
    for (int i = 0; i < HEADS * HEAD * HIDDEN; i++) assert_true(got[i] == want[i / HIDDEN]);
    close_model(&m);
}

static void an_unknown_architecture_is_answered_with_the_known(void **state) {
    (void)state;
    gs_error err = {0};
    model m;
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "general.architecture", "gpt2");
    expect_refusal(GS_E_UNSUPPORTED, "'gpt2'");
    assert_int_equal(open_model(&m, &err), GS_E_UNSUPPORTED);
    assert_non_null(strstr(err.hint, "llama"));
    close_model(&m);
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "general.architecture", "llam");
    expect_refusal(GS_E_UNSUPPORTED, "'llam'");
    gguf_begin(&b, 3);
    expect_refusal(GS_E_FORMAT, "general.architecture");
}

static void unknown_tensors_are_named(void **state) {
    (void)state;
    static const char *const names[] = {
        "blk.0.attn_q_norm.weight", "blk.0.ffn_gate_exps.weight", "blk.00.attn_v.weight",
        "blk..attn_v.weight",       "blk.0.attn_v",               "blk.0.attn_v.scale",
        "blk.0.attn_norm.bias",     "token_embd",                 "xoutput.weight",
        "blk.9999999999.attn_v.weight", "blk.-1.attn_v.weight",   "blk.",
    };
    for (size_t i = 0; i < GS_COUNTOF(names); i++) {
        begin_model();
        usual_keys();
        gguf_tensor_f32(&b, names[i], HIDDEN, HIDDEN);
        char quoted[80];
        snprintf(quoted, sizeof quoted, "'%s'", names[i]);
        expect_refusal(GS_E_UNSUPPORTED, quoted);
    }
}

static void blocks_beyond_the_count_are_refused(void **state) {
    (void)state;
    begin_model();
    usual_keys();
    gguf_tensor_f32(&b, "blk.1.attn_v.weight", HIDDEN, HIDDEN);
    expect_refusal(GS_E_FORMAT, "blk.1.attn_v.weight");
}

static void rows_that_do_not_split_into_heads_are_refused(void **state) {
    (void)state;
    begin_model();
    usual_keys();
    gguf_tensor_f32(&b, "blk.0.attn_q.weight", 7, HIDDEN);
    expect_refusal(GS_E_FORMAT, "2 heads");
    begin_model();
    usual_keys();
    gguf_tensor_f32(&b, "blk.0.attn_q.weight", 6, HIDDEN); /* heads of three */
    expect_refusal(GS_E_FORMAT, "2 heads");
}

static void one_part_of_a_split_model_is_refused(void **state) {
    (void)state;
    begin_model();
    usual_keys();
    gguf_kv_int(&b, "split.count", GS_GGUF_U16, 3, 2);
    expect_refusal(GS_E_UNSUPPORTED, "3 parts");
}

static void running_out_of_memory_is_reported(void **state) {
    (void)state;
    gs_gguf *g = NULL;
    gs_error err = {0};
    begin_model();
    usual_keys();
    usual_tensors(0);
    gguf_data(&b);
    assert_ok(gguf_open_copy(b.data, b.len, &g, &err), &err);
    int64_t k = 0;
    for (; k < 200; k++) {
        gs_gguf_hf *h = NULL;
        gs_mem_fail_after(k);
        gs_status status = gs_gguf_hf_create(g, &h, &err);
        gs_mem_fail_after(-1);
        gs_gguf_hf_destroy(h);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
        assert_null(h);
    }
    assert_in_range(k, 3, 199);
    gs_gguf_close(g);
}

/* The same trained model as GGUF and as a Hugging Face folder. */
static void a_real_model_equals_its_hugging_face_twin(void **state) {
    (void)state;
    gs_need_data(gguf_path, "data/lm/stories260K-f32.gguf");
    gs_need_data(twin_path, "data/lm/stories260K-hf-llama/model.safetensors");
    model m = {0};
    gs_safetensors *twin = NULL;
    gs_error err = {0};
    assert_ok(gs_gguf_open(gguf_path, &m.g, &err), &err);
    assert_ok(gs_gguf_hf_create(m.g, &m.hf, &err), &err);
    assert_ok(gs_safetensors_open(twin_path, &twin, &err), &err);
    assert_int_equal(gs_gguf_hf_count(m.hf), gs_safetensors_count(twin));
    for (size_t i = 0; i < gs_safetensors_count(twin); i++) {
        const gs_tensor *want = gs_safetensors_at(twin, i), *got = find(m.hf, want->name);
        int64_t rows, cols;
        if (!got) fail_msg("no tensor '%s'", want->name);
        assert_int_equal(got->ndim, want->ndim);
        for (int k = 0; k < want->ndim; k++) assert_int_equal(got->shape[k], want->shape[k]);
        gs_tensor_matrix(got, &rows, &cols);
        size_t bytes = (size_t)(rows * cols) * sizeof(float);
        float *x = malloc(bytes), *y = malloc(bytes);
        assert_ok(gs_tensor_read_f32(want, 0, rows, x, &err), &err);
        assert_ok(gs_tensor_read_f32(got, 0, rows, y, &err), &err);
        if (memcmp(x, y, bytes)) fail_msg("'%s' differs", want->name);
        free(x);
        free(y);
    }
    gs_safetensors_close(twin);
    close_model(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_get_their_hugging_face_names),
        cmocka_unit_test(only_q_and_k_are_interleaved),
        cmocka_unit_test(reading_q_undoes_the_interleaving),
        cmocka_unit_test(an_unknown_architecture_is_answered_with_the_known),
        cmocka_unit_test(unknown_tensors_are_named),
        cmocka_unit_test(blocks_beyond_the_count_are_refused),
        cmocka_unit_test(rows_that_do_not_split_into_heads_are_refused),
        cmocka_unit_test(one_part_of_a_split_model_is_refused),
        cmocka_unit_test(running_out_of_memory_is_reported),
        cmocka_unit_test(a_real_model_equals_its_hugging_face_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
