/* A GGUF file of Q8_0 matrices: the float model it stands for, or where codes are asked for, the same numbers as codes and
 * scales. */
#include "../loaders/gguf_builder.h"

#include <api/opened.h>
#include <base/half.h>

static gguf_builder b;

enum { HIDDEN = 64, HEADS = 2, KV_HEADS = 1, MLP = 96, WORDS = 10, Q8_0 = 8, BLOCK = 32, BLOCK_BYTES = 34 };

/* Scales near 1/500 and any codes, in every block of the data section from `start` on that is a matrix's. */
static void fill_blocks(uint8_t *start, uint64_t offset, uint64_t blocks) {
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t seed = offset + i;
        uint16_t scale = gs_f32_to_f16(0.002f + 0.001f * gs_test_randf(&seed));
        uint8_t *at = start + offset + BLOCK_BYTES * i;
        memcpy(at, &scale, 2);
        for (int k = 0; k < BLOCK; k++) at[2 + k] = (uint8_t)gs_test_rand(&seed);
    }
}

static void write_model(const char *path, uint32_t type) {
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } rows[] = {
        {"token_embd.weight", WORDS, HIDDEN},         {"output.weight", WORDS, HIDDEN},
        {"output_norm.weight", 0, HIDDEN},            {"blk.0.attn_norm.weight", 0, HIDDEN},
        {"blk.0.ffn_norm.weight", 0, HIDDEN},         {"blk.0.attn_q.weight", HIDDEN, HIDDEN},
        {"blk.0.attn_k.weight", HIDDEN / HEADS, HIDDEN}, {"blk.0.attn_v.weight", HIDDEN / HEADS, HIDDEN},
        {"blk.0.attn_output.weight", HIDDEN, HIDDEN}, {"blk.0.ffn_gate.weight", MLP, HIDDEN},
        {"blk.0.ffn_up.weight", MLP, HIDDEN},         {"blk.0.ffn_down.weight", HIDDEN, MLP},
    };
    uint64_t offset[GS_COUNTOF(rows)];
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "general.architecture", "llama");
    gguf_kv_u32(&b, "llama.embedding_length", HIDDEN);
    gguf_kv_u32(&b, "llama.attention.head_count", HEADS);
    gguf_kv_u32(&b, "llama.attention.head_count_kv", KV_HEADS);
    gguf_kv_u32(&b, "llama.context_length", 64);
    gguf_kv_u32(&b, "llama.block_count", 1);
    gguf_kv_u32(&b, "llama.feed_forward_length", MLP);
    gguf_kv_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        uint64_t n = rows[i].rows * rows[i].cols;
        offset[i] = b.next_offset;
        gguf_tensor(&b, rows[i].name, rows[i].rows, rows[i].cols, rows[i].rows ? type : 0,
                    !rows[i].rows ? rows[i].cols * 4 : type == Q8_0 ? n / BLOCK * BLOCK_BYTES : n * 4);
    }
    uint8_t *start = gguf_data(&b);
    for (size_t i = 0; type == Q8_0 && i < GS_COUNTOF(rows); i++)
        fill_blocks(start, offset[i], rows[i].rows * rows[i].cols / BLOCK);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.data, 1, b.len, f), b.len);
    assert_int_equal(fclose(f), 0);
}

enum { EXPERTS = 2 };

/* The same with a stack of experts in the place of the mlp. */
static void write_mixture(const char *path) {
    static const struct {
        const char *name;
        uint64_t experts, rows, cols;
    } rows[] = {
        {"token_embd.weight", 0, WORDS, HIDDEN},         {"output.weight", 0, WORDS, HIDDEN},
        {"output_norm.weight", 0, 0, HIDDEN},            {"blk.0.attn_norm.weight", 0, 0, HIDDEN},
        {"blk.0.ffn_norm.weight", 0, 0, HIDDEN},         {"blk.0.attn_q.weight", 0, HIDDEN, HIDDEN},
        {"blk.0.attn_k.weight", 0, HIDDEN / HEADS, HIDDEN}, {"blk.0.attn_v.weight", 0, HIDDEN / HEADS, HIDDEN},
        {"blk.0.attn_output.weight", 0, HIDDEN, HIDDEN}, {"blk.0.ffn_gate_inp.weight", 0, EXPERTS, HIDDEN},
        {"blk.0.ffn_gate_exps.weight", EXPERTS, MLP, HIDDEN}, {"blk.0.ffn_up_exps.weight", EXPERTS, MLP, HIDDEN},
        {"blk.0.ffn_down_exps.weight", EXPERTS, HIDDEN, MLP},
    };
    uint64_t offset[GS_COUNTOF(rows)];
    gguf_begin(&b, 3);
    gguf_kv_text(&b, "general.architecture", "llama");
    gguf_kv_u32(&b, "llama.embedding_length", HIDDEN);
    gguf_kv_u32(&b, "llama.attention.head_count", HEADS);
    gguf_kv_u32(&b, "llama.attention.head_count_kv", KV_HEADS);
    gguf_kv_u32(&b, "llama.context_length", 64);
    gguf_kv_u32(&b, "llama.block_count", 1);
    gguf_kv_u32(&b, "llama.feed_forward_length", MLP);
    gguf_kv_u32(&b, "llama.expert_count", EXPERTS);
    gguf_kv_u32(&b, "llama.expert_used_count", 1);
    gguf_kv_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        const uint64_t dims[3] = {rows[i].cols, rows[i].rows, rows[i].experts};
        uint64_t n = rows[i].rows * rows[i].cols * (rows[i].experts ? rows[i].experts : 1);
        uint64_t bytes = n ? n / BLOCK * BLOCK_BYTES : rows[i].cols * 4;
        offset[i] = b.next_offset;
        gguf_tensor_at(&b, rows[i].name, rows[i].experts ? 3 : rows[i].rows ? 2 : 1, dims, n ? Q8_0 : 0, b.next_offset);
        b.next_offset += (bytes + b.alignment - 1) / b.alignment * b.alignment;
    }
    uint8_t *start = gguf_data(&b);
    for (size_t i = 0; i < GS_COUNTOF(rows); i++)
        fill_blocks(start, offset[i], rows[i].rows * rows[i].cols * (rows[i].experts ? rows[i].experts : 1) / BLOCK);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.data, 1, b.len, f), b.len);
    assert_int_equal(fclose(f), 0);
}

/* code * scale is the value that the float model reads, bit by bit. */
static void compare(const gs_node *codes, const gs_node *floats) {
    gs_error err = {0};
    static float want[MLP * MLP], scale[MLP * MLP / BLOCK], offset[MLP * MLP / BLOCK];
    static int8_t q[MLP * MLP];
    int64_t n = codes->param[GS_ROLE_WEIGHT]->shape[0], k = codes->param[GS_ROLE_WEIGHT]->shape[1];
    assert_int_equal(codes->attr.quant.scheme, GS_SCHEME_W8A16);
    assert_ok(gs_param_read_f32(floats->param[GS_ROLE_WEIGHT], 0, n, want, &err), &err);
    assert_ok(gs_param_read_s8(codes->param[GS_ROLE_WEIGHT], 0, n, q, &err), &err);
    assert_ok(gs_param_read_f32(codes->param[GS_ROLE_WEIGHT_SCALE], 0, n, scale, &err), &err);
    assert_ok(gs_param_read_f32(codes->param[GS_ROLE_WEIGHT_OFFSET], 0, n, offset, &err), &err);
    for (int64_t i = 0; i < n * k; i++) {
        assert_true(offset[i / BLOCK] == 0);
        if ((float)q[i] * scale[i / BLOCK] != want[i])
            fail_msg("%s, element %lld: %d * %g, not %g", codes->name, (long long)i, q[i], (double)scale[i / BLOCK],
                     (double)want[i]);
    }
}

static void same_numbers(const char *path, int linears) {
    gs_error err = {0};
    gs_opened as_float, as_codes;
    const gs_bundle_open_options options = {.codes = true};
    int quantized = 0;
    assert_ok(gs_opened_open(NULL, path, NULL, &as_float, &err), &err);
    assert_ok(gs_opened_open(NULL, path, &options, &as_codes, &err), &err);
    assert_null(as_float.bundle);
    assert_string_equal(gs_bundle_format_name(as_codes.bundle), "gguf");
    for (int i = 0; i < 3; i++) {
        gs_net *f, *c;
        assert_ok(gs_model_segment(as_float.model, i, &f, &err), &err);
        assert_ok(gs_model_segment(as_codes.model, i, &c, &err), &err);
        for (int n = 0; n < gs_net_node_count(f); n++) {
            const gs_node *node = gs_net_node(f, n), *other = gs_net_find(c, node->name);
            assert_non_null(other);
            assert_int_equal(other->op, node->op == GS_OP_LINEAR ? GS_OP_QLINEAR : node->op);
            if (node->op == GS_OP_LINEAR) compare(other, node);
            quantized += node->op == GS_OP_LINEAR;
        }
        gs_net_destroy(f);
        gs_net_destroy(c);
    }
    assert_int_equal(quantized, linears);
    gs_opened_close(&as_codes);
    gs_opened_close(&as_float);
}

static void codes_and_scales_are_the_float_model(void **state) {
    (void)state;
    char path[1200], *dir = gs_test_tmpdir();
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    write_model(path, Q8_0);
    same_numbers(path, 8);
    gs_test_rmdir(dir);
}

/* Each expert of a stack on its own: the head, four of attention, a router, three an expert. */
static void so_are_those_of_experts(void **state) {
    (void)state;
    char path[1200], *dir = gs_test_tmpdir();
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    write_mixture(path);
    same_numbers(path, 6 + 3 * EXPERTS);
    gs_test_rmdir(dir);
}

/* A file without such matrices is no bundle, whatever is asked for. */
static void a_float_file_stays_a_model(void **state) {
    (void)state;
    char path[1200], *dir = gs_test_tmpdir();
    gs_error err = {0};
    gs_opened o;
    const gs_bundle_open_options options = {.codes = true};
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    write_model(path, 0);
    assert_ok(gs_opened_open(NULL, path, &options, &o, &err), &err);
    assert_null(o.bundle);
    gs_opened_close(&o);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_and_scales_are_the_float_model),
        cmocka_unit_test(so_are_those_of_experts),
        cmocka_unit_test(a_float_file_stays_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
