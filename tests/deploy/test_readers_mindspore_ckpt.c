/* MindSpore checkpoints of the older Golden Stick's names, made by hand, right and wrong. */
#include "foreign_bundle.h"

#include <base/affix.h>
#include <loaders/mindspore_ckpt.h>

static gs_scheme scheme_of(const void *ctx) { return *(const gs_scheme *)ctx; }

static void constants(foreign_bundle *b, const char *ms, const char *stem, int64_t n, int64_t k) {
    fb_tensor *bias = fb_put(b, ms, "_layer.matmul.quant_bias", GS_I32, 1, n, 0, NULL);
    fb_tensor *deq = fb_put(b, ms, "_layer.matmul.dequant_scale", GS_I64, 1, n, 0, NULL);
    fb_tensor *scale = fb_put(b, ms, "quant_op.input_scale", GS_F32, 1, k, 0, NULL);
    fb_tensor *zp = fb_put(b, ms, "quant_op.input_zp", GS_I8, 1, k, 0, NULL);
    for (int64_t r = 0; r < n; r++) {
        float d = fb_input_scale(stem) * fb_scale(stem, r, 0);
        int sum = 0;
        for (int64_t c = 0; c < k; c++) sum += fb_code(stem, r, c);
        memcpy(deq->data + 8 * r, &d, 4);
        fb_store(bias, r, (float)(-fb_input_offset(stem) * sum));
    }
    for (int64_t c = 0; c < k; c++) {
        fb_store(scale, c, fb_input_scale(stem));
        fb_store(zp, c, (float)fb_input_offset(stem));
    }
}

/* "model.layers.0.self_attn.q_proj" by MindFormers. */
static void translate(const char *hf, char out[128]) {
    static const char *const names[][2] = {
        {"self_attn.q_proj", "attention.wq"}, {"self_attn.k_proj", "attention.wk"}, {"self_attn.v_proj", "attention.wv"},
        {"self_attn.o_proj", "attention.wo"}, {"mlp.gate_proj", "feed_forward.w1"}, {"mlp.up_proj", "feed_forward.w3"},
        {"mlp.down_proj", "feed_forward.w2"}, {"input_layernorm", "attention_norm"},
        {"post_attention_layernorm", "ffn_norm"}, {"model.norm", "model.norm_out"}, {"model.embed_tokens", "model.tok_embeddings"},
    };
    snprintf(out, 128, "%s", hf);
    for (size_t i = 0; i < GS_COUNTOF(names); i++) {
        size_t n = strlen(hf), k = strlen(names[i][0]);
        if (gs_ends_with(hf, names[i][0])) snprintf(out + n - k, 128 - (n - k), "%s", names[i][1]);
    }
}

static void linear(foreign_bundle *b, const char *stem, int64_t n, int64_t k, void *ctx) {
    char ms[128];
    translate(stem, ms);
    fb_tensor *codes = fb_put(b, ms, "_layer.weight", GS_I8, 2, n, k, NULL);
    for (int64_t i = 0; i < n * k; i++) codes->data[i] = (uint8_t)(int8_t)fb_code(stem, i / k, i % k);
    if (scheme_of(ctx) == GS_SCHEME_W8A8) {
        constants(b, ms, stem, n, k);
        return;
    }
    fb_tensor *scale = fb_put(b, ms, "_layer.matmul.weight_scale", GS_F32, 1, n, 0, NULL);
    for (int64_t r = 0; r < n; r++) fb_store(scale, r, fb_scale(stem, r, 0));
    if (scheme_of(ctx) != GS_SCHEME_W8A16) return;
    fb_tensor *zp = fb_put(b, ms, "_layer.matmul.weight_zp", GS_F16, 1, n, 0, NULL);
    for (int64_t r = 0; r < n; r++) fb_store(zp, r, -4);
}

static void write_ckpt(const foreign_bundle *b, const char *file) {
    char path[1200];
    gs_error err = {0};
    gs_mindspore_ckpt_writer *w;
    snprintf(path, sizeof path, "%s/%s", b->dir, file);
    assert_ok(gs_mindspore_ckpt_writer_create(&w, &err), &err);
    for (size_t i = 0; i < b->count; i++)
        assert_ok(gs_mindspore_ckpt_writer_plan(w, b->tensor[i].name, b->tensor[i].dtype, b->tensor[i].ndim,
                                                b->tensor[i].shape, &err), &err);
    assert_ok(gs_mindspore_ckpt_writer_begin(w, path, &err), &err);
    for (size_t i = 0; i < b->count; i++)
        assert_ok(gs_mindspore_ckpt_writer_put(w, i, b->tensor[i].data, b->tensor[i].bytes, &err), &err);
    assert_ok(gs_mindspore_ckpt_writer_commit(w, &err), &err);
}

static void make(foreign_bundle *b, gs_scheme scheme) {
    fb_begin(b, linear, &scheme, "embedding_weight");
    for (size_t i = 0; i < b->count; i++) {
        fb_tensor *t = &b->tensor[i];
        char ms[128], stem[128], suffix[32];
        const char *dot = strrchr(t->name, '.');
        if (strstr(t->name, "_layer.") || strstr(t->name, "quant_op.")) continue;
        snprintf(suffix, sizeof suffix, "%s", dot);
        snprintf(stem, sizeof stem, "%.*s", (int)(dot - t->name), t->name);
        translate(stem, ms);
        snprintf(t->name, sizeof t->name, "%s%s", ms, suffix);
    }
    fb_config(b, NULL);
}

static void every_scheme_is_read(void **state) {
    (void)state;
    static const fb_expected cases[] = {
        {GS_SCHEME_W8A16, 1, 0, 4, false},
        {GS_SCHEME_W8A8_DYNAMIC, 1, 0, 0, false},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        foreign_bundle b;
        make(&b, cases[i].scheme);
        write_ckpt(&b, "model.ckpt");
        fb_check(&b, "mindspore-ckpt", &cases[i]);
        fb_end(&b);
    }
}

/* No weight scales are stored there: what is read are the constants. */
static void static_linears_are_read(void **state) {
    (void)state;
    foreign_bundle b;
    gs_error err = {0};
    gs_opened o;
    int seen = 0;
    make(&b, GS_SCHEME_W8A8);
    write_ckpt(&b, "any_name.ckpt");
    assert_ok(gs_opened_open(NULL, b.dir, NULL, &o, &err), &err);
    for (int i = 1; i < 3; i++) {
        gs_net *net;
        assert_ok(gs_model_segment(o.model, i, &net, &err), &err);
        for (int n = 0; n < gs_net_node_count(net); n++) {
            const gs_node *node = gs_net_node(net, n);
            if (node->op != GS_OP_QLINEAR) continue;
            seen++;
            assert_int_equal(node->attr.quant.scheme, GS_SCHEME_W8A8);
            assert_true(fb_scalar(node->param[GS_ROLE_INPUT_SCALE]) == fb_input_scale(node->name));
            assert_true(fb_scalar(node->param[GS_ROLE_INPUT_OFFSET]) == fb_input_offset(node->name));
            float deq;
            memcpy(&deq, node->param[GS_ROLE_DEQ_SCALE]->source->data, 4);
            assert_true(deq == fb_input_scale(node->name) * fb_scale(node->name, 0, 0));
        }
        gs_net_destroy(net);
    }
    assert_int_equal(seen, 14);
    gs_opened_close(&o);
    fb_end(&b);
}

#define Q "model.layers.0.attention.wq."

static void lying(foreign_bundle *b, int how) {
    make(b, how < 7 ? GS_SCHEME_W8A16 : GS_SCHEME_W8A8);
    switch (how) {
    case 0: fb_retype(b, Q "_layer.weight", GS_U8, 2, 32, 32); break;
    case 1: fb_drop(b, Q "_layer.matmul.weight_scale"); break;
    case 2: fb_retype(b, Q "_layer.matmul.weight_scale", GS_F32, 1, 31, 0); break;
    case 3: fb_retype(b, Q "_layer.matmul.weight_zp", GS_I32, 1, 32, 0); break;
    case 4: fb_retype(b, Q "_layer.matmul.weight_zp", GS_F16, 1, 31, 0); break;
    case 5: fb_put(b, Q "smooth_scale", "", GS_F32, 1, 32, 0, NULL); break;
    case 6: fb_retype(b, Q "_layer.weight", GS_I8, 2, 32, 31); break;
    case 7: fb_drop(b, Q "_layer.matmul.quant_bias"); break;
    case 8: fb_drop(b, Q "quant_op.input_scale"); break;
    case 9: fb_drop(b, Q "quant_op.input_zp"); break;
    case 10: fb_store(fb_find(b, Q "quant_op.input_scale"), 5, 1); break;
    case 11: fb_retype(b, Q "quant_op.input_zp", GS_I8, 1, 31, 0); break;
    default: fb_retype(b, Q "_layer.matmul.dequant_scale", GS_F32, 1, 32, 0); break;
    }
    write_ckpt(b, "model.ckpt");
}

static void tensors_that_lie_are_refused(void **state) {
    (void)state;
    static const char *const words[] = {
        "_layer.weight", "weight_scale' is missing", "q_proj.weight_scale' is F32 [31]", "weight_zp' is I32", "weight_zp' is F16 [31]",
        "wq.smooth_scale", "q_proj.weight", "quant_bias' is missing", "input_scale' is missing", "input_zp' is missing", "smoothing",
        "input_zp' is I8 [31]", "q_proj.deq_scale' is F32",
    };
    fb_all_refused(lying, words, GS_COUNTOF(words));
}

static void no_memory_is_an_error_everywhere(void **state) {
    (void)state;
    foreign_bundle b;
    make(&b, GS_SCHEME_W8A8);
    write_ckpt(&b, "model.ckpt");
    fb_starve(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scheme_is_read),
        cmocka_unit_test(static_linears_are_read),
        cmocka_unit_test(tensors_that_lie_are_refused),
        cmocka_unit_test(no_memory_is_an_error_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
