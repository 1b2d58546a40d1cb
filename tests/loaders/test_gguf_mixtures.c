/* Mixtures of experts: a stack of all in the file, a matrix each in the model. */
#include "gguf_family.h"

#include <base/mem.h>

enum { EXPERTS = 3, WIDTH = 4 };

/* [experts, rows, cols] of F32 */
static void stack(const char *name, uint64_t experts, uint64_t rows, uint64_t cols) {
    const uint64_t dims[3] = {cols, rows, experts};
    gguf_tensor_at(&b, name, 3, dims, 0, b.next_offset);
    b.next_offset += (experts * rows * cols * 4 + b.alignment - 1) / b.alignment * b.alignment;
}

static void begin_mixture(const char *architecture, uint32_t experts, uint32_t used) {
    begin_family(architecture);
    gguf_kv_u32(&b, key_of(architecture, "expert_count"), experts);
    gguf_kv_u32(&b, key_of(architecture, "expert_used_count"), used);
}

/* Expert e of a stack is a matrix of its own, without a copy. */
static void experts_are(const model *m, size_t first, const char *pattern, const char *of, int64_t rows, int64_t cols) {
    const gs_tensor *whole = gs_gguf_find(m->g, of);
    for (size_t e = 0; e < EXPERTS; e++) {
        const gs_tensor *t = gs_gguf_hf_at(m->hf, first + e);
        char name[128];
        gs_error err = {0};
        const char *at = strstr(pattern, "%d");
        snprintf(name, sizeof name, "%.*s%zu%s", (int)(at - pattern), pattern, e, at + 2);
        assert_string_equal(t->name, name);
        assert_int_equal(t->ndim, 2);
        assert_true(t->shape[0] == rows && t->shape[1] == cols);
        assert_ok(gs_tensor_check(t, &err), &err);
        assert_ptr_equal(t->data, whole->data + e * (size_t)(rows * cols) * 4);
        assert_int_equal(t->order, GS_ROWS_AS_STORED);
    }
}

static void stacks_are_split_into_experts(void **state) {
    (void)state;
    begin_mixture("llama", EXPERTS, 2);
    gguf_tensor_f32(&b, "blk.0.ffn_gate_inp.weight", EXPERTS, HIDDEN);
    stack("blk.0.ffn_gate_exps.weight", EXPERTS, MLP, HIDDEN);
    stack("blk.0.ffn_down_exps.weight", EXPERTS, HIDDEN, MLP);
    stack("blk.0.ffn_up_exps.weight", EXPERTS, MLP, HIDDEN);
    gguf_tensor_f32(&b, "blk.0.attn_q.weight", HEADS * HEAD, HIDDEN);
    model m = open_ok();
    assert_string_equal(cJSON_GetStringValue(gs_json_get(m.config, "model_type")), "mixtral");
    assert_true(number(&m, "num_local_experts") == EXPERTS && number(&m, "num_experts_per_tok") == 2);
    assert_int_equal(gs_gguf_hf_count(m.hf), 2 + 3 * EXPERTS);
    assert_string_equal(gs_gguf_hf_at(m.hf, 0)->name, "model.layers.0.block_sparse_moe.gate.weight");
    experts_are(&m, 1, "model.layers.0.block_sparse_moe.experts.%d.w1.weight", "blk.0.ffn_gate_exps.weight", MLP, HIDDEN);
    experts_are(&m, 1 + EXPERTS, "model.layers.0.block_sparse_moe.experts.%d.w2.weight", "blk.0.ffn_down_exps.weight", HIDDEN, MLP);
    experts_are(&m, 1 + 2 * EXPERTS, "model.layers.0.block_sparse_moe.experts.%d.w3.weight", "blk.0.ffn_up_exps.weight", MLP, HIDDEN);
    assert_int_equal(gs_gguf_hf_at(m.hf, 1 + 3 * EXPERTS)->order, GS_ROWS_LLAMA_INTERLEAVED);
    close_model(&m);
}

static void experts_may_have_a_width_of_their_own(void **state) {
    (void)state;
    begin_mixture("qwen3moe", EXPERTS, 2);
    gguf_kv_u32(&b, "qwen3moe.expert_feed_forward_length", WIDTH);
    stack("blk.0.ffn_gate_exps.weight", EXPERTS, WIDTH, HIDDEN);
    stack("blk.0.ffn_down_exps.weight", EXPERTS, HIDDEN, WIDTH);
    model m = open_ok();
    assert_true(number(&m, "num_experts") == EXPERTS && number(&m, "moe_intermediate_size") == WIDTH);
    assert_true(cJSON_IsTrue(gs_json_get(m.config, "norm_topk_prob")));
    experts_are(&m, 0, "model.layers.0.mlp.experts.%d.gate_proj.weight", "blk.0.ffn_gate_exps.weight", WIDTH, HIDDEN);
    experts_are(&m, EXPERTS, "model.layers.0.mlp.experts.%d.down_proj.weight", "blk.0.ffn_down_exps.weight", HIDDEN, WIDTH);
    close_model(&m);
    begin_mixture("qwen3moe", EXPERTS, 2);
    m = open_ok();
    assert_true(number(&m, "moe_intermediate_size") == MLP / 2); /* llama.cpp's default */
    close_model(&m);
}

static void stacks_of_another_shape_are_refused(void **state) {
    (void)state;
    static const uint64_t shapes[][3] = {{EXPERTS - 1, MLP, HIDDEN}, {EXPERTS + 1, MLP, HIDDEN}, {EXPERTS, MLP + 1, HIDDEN},
                                         {EXPERTS, MLP, HIDDEN - 1}, {1, EXPERTS * MLP, HIDDEN}};
    for (size_t i = 0; i < GS_COUNTOF(shapes); i++) {
        begin_mixture("llama", EXPERTS, 2);
        stack("blk.0.ffn_up_exps.weight", shapes[i][0], shapes[i][1], shapes[i][2]);
        expect_refusal(GS_E_FORMAT, "blk.0.ffn_up_exps.weight");
    }
    begin_mixture("llama", EXPERTS, 2);
    gguf_tensor_f32(&b, "blk.0.ffn_up_exps.weight", EXPERTS * MLP, HIDDEN);
    expect_refusal(GS_E_FORMAT, "stack");
    begin_mixture("llama", EXPERTS, 2);
    stack("blk.1.ffn_up_exps.weight", EXPERTS, MLP, HIDDEN);
    expect_refusal(GS_E_FORMAT, "block 1");
    begin_mixture("llama", EXPERTS, 2);
    gguf_tensor_f32(&b, "blk.0.ffn_up_exps.bias", EXPERTS, MLP);
    expect_refusal(GS_E_UNSUPPORTED, "ffn_up_exps.bias");
    begin_mixture("llama", EXPERTS, 2); /* a dense mlp in between */
    gguf_tensor_f32(&b, "blk.0.ffn_up.weight", MLP, HIDDEN);
    expect_refusal(GS_E_UNSUPPORTED, "ffn_up.weight");
    begin_family("llama");
    stack("blk.0.ffn_up_exps.weight", EXPERTS, MLP, HIDDEN);
    expect_refusal(GS_E_UNSUPPORTED, "ffn_up_exps");
}

static void absurd_mixtures_are_refused(void **state) {
    (void)state;
    static const uint32_t counts[][2] = {{3, 4}, {3, 0}, {4097, 2}, {0x80000000u, 2}};
    for (size_t i = 0; i < GS_COUNTOF(counts); i++) {
        begin_mixture("llama", counts[i][0], counts[i][1]);
        expect_refusal(GS_E_FORMAT, "expert");
    }
    begin_family("llama");
    gguf_kv_u32(&b, "llama.expert_count", EXPERTS);
    expect_refusal(GS_E_FORMAT, "llama.expert_used_count");
    begin_family("qwen3moe");
    expect_refusal(GS_E_FORMAT, "qwen3moe.expert_count");
    begin_mixture("phi3", EXPERTS, 2); /* an architecture whose mixtures are unknown here */
    expect_refusal(GS_E_UNSUPPORTED, "phi3.expert_count");
    begin_mixture("qwen3moe", EXPERTS, 2);
    gguf_kv_u32(&b, "qwen3moe.expert_shared_count", 1);
    expect_refusal(GS_E_UNSUPPORTED, "expert_shared_count");
    begin_mixture("qwen3moe", EXPERTS, 2);
    gguf_kv_u32(&b, "qwen3moe.expert_gating_func", 2); /* sigmoid */
    expect_refusal(GS_E_UNSUPPORTED, "expert_gating_func");
    begin_mixture("qwen3moe", 7, 7); /* MLP / 7 is no width */
    expect_refusal(GS_E_FORMAT, "expert_feed_forward_length");
}

/* Converters leave routers in F32, which says nothing of the model's type. */
static void the_router_does_not_say_the_dtype(void **state) {
    (void)state;
    const uint64_t dims[3] = {HIDDEN, MLP, EXPERTS};
    begin_mixture("llama", EXPERTS, 2);
    gguf_tensor_f32(&b, "blk.0.ffn_gate_inp.weight", EXPERTS, HIDDEN);
    gguf_tensor_at(&b, "blk.0.ffn_gate_exps.weight", 3, dims, 1, b.next_offset);
    b.next_offset += (EXPERTS * MLP * HIDDEN * 2 + b.alignment - 1) / b.alignment * b.alignment;
    model m = open_ok();
    assert_string_equal(cJSON_GetStringValue(gs_json_get(m.config, "torch_dtype")), "float16");
    close_model(&m);
}

static void memory_runs_out_among_experts(void **state) {
    (void)state;
    gs_gguf *g = NULL;
    gs_error err = {0};
    int64_t k = 0;
    begin_mixture("llama", EXPERTS, 2);
    gguf_tensor_f32(&b, "blk.0.attn_norm.weight", 0, HIDDEN);
    stack("blk.0.ffn_gate_exps.weight", EXPERTS, MLP, HIDDEN);
    gguf_data(&b);
    assert_ok(gguf_open_copy(b.data, b.len, &g, &err), &err);
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
    assert_in_range(k, 5, 199);
    gs_gguf_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stacks_are_split_into_experts),
        cmocka_unit_test(experts_may_have_a_width_of_their_own),
        cmocka_unit_test(stacks_of_another_shape_are_refused),
        cmocka_unit_test(absurd_mixtures_are_refused),
        cmocka_unit_test(the_router_does_not_say_the_dtype),
        cmocka_unit_test(memory_runs_out_among_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
