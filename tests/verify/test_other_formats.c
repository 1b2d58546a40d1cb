/* The bundles of other ecosystems: those that this program writes hold, and broken ones are found. */
#include "mutations.h"

enum { CT_WEIGHTS, CT_STATIC, CT_DYNAMIC, GPTQ, MS_WEIGHTS, MS_STATIC, CKPT_WEIGHTS, CKPT_STATIC, CKPT_DYNAMIC, GGUF, BIASED_CT, BASES };

static const struct {
    gs_quantize_options options;
    bool biased;
} bases[BASES] = {
    [CT_WEIGHTS] = {{.scheme = "w8a16", .format = "compressed-tensors", .dtype = "bf16"}, false},
    [CT_STATIC] = {{.scheme = "w8a8", .format = "compressed-tensors", .dtype = "f16", .alpha = "none"}, false},
    [CT_DYNAMIC] = {{.scheme = "w8a8-dynamic", .format = "compressed-tensors", .dtype = "bf16", .alpha = "0.5"}, false},
    [GPTQ] = {{.scheme = "w8a16", .format = "gptq", .dtype = "f16"}, false},
    [MS_WEIGHTS] = {{.scheme = "w8a16", .format = "mindspore", .dtype = "f16"}, false},
    [MS_STATIC] = {{.scheme = "w8a8", .format = "mindspore", .dtype = "bf16", .alpha = "none"}, false},
    [CKPT_WEIGHTS] = {{.scheme = "w8a16", .format = "mindspore-ckpt", .dtype = "f16"}, false},
    [CKPT_STATIC] = {{.scheme = "w8a8", .format = "mindspore-ckpt", .dtype = "f16", .alpha = "none"}, false},
    [CKPT_DYNAMIC] = {{.scheme = "w8a8-dynamic", .format = "mindspore-ckpt", .dtype = "bf16", .alpha = "none"}, false},
    [GGUF] = {{.scheme = "w8a16", .format = "gguf", .dtype = "f16"}, false},
    [BIASED_CT] = {{.scheme = "w8a8", .format = "compressed-tensors", .dtype = "bf16", .alpha = "none"}, true},
};

#define ROW(check_, base_, apply_, ...) {.check = (check_), .base = (base_), .apply = (apply_), __VA_ARGS__}
#define Q "model.layers.0.self_attn.q_proj."
#define MS_DESC "quantization_description.json"
#define MS_FILE "quant-model-00001-of-00001.safetensors"

static const mutation table[] = {
    ROW("tensor-missing", CT_WEIGHTS, drop, .a = Q "weight_shape"),
    ROW("tensor-missing", CT_WEIGHTS, drop, .a = Q "weight_scale"),
    ROW("tensor-dtype", CT_WEIGHTS, retype, .a = Q "weight_packed", .b = "F32"),
    ROW("compressed-tensors-packed", CT_WEIGHTS, dirty, .a = Q "weight_shape"),
    ROW("compressed-tensors-config", CT_WEIGHTS, text, .a = "config.json", .b = "\"symmetric\"", .c = "\"symetric\""),
    ROW("compressed-tensors-config", CT_WEIGHTS, text, .a = "config.json", .b = "pack-quantized", .c = "int-quantized"),
    ROW("compressed-tensors-config", CT_STATIC, text, .a = "config.json", .b = "\"Linear\"", .c = "\"Conv2d\""),
    ROW("tensor-missing", CT_STATIC, drop, .a = Q "input_scale"),
    ROW("tensor-missing", CT_STATIC, drop, .a = Q "input_zero_point"),
    ROW("fused-input", CT_STATIC, times, .a = Q "input_scale", .value = 2),
    ROW("scale-positive", CT_STATIC, set, .a = Q "weight_scale", .at = 3, .value = 0),
    ROW("code-range", CT_DYNAMIC, row, .a = Q "weight", .at = 3, .value = 2),
    ROW("finite", CT_DYNAMIC, set, .a = "model.norm.weight", .at = 3, .value = NAN),
    ROW("tensor-unknown", CT_DYNAMIC, copy_as, .a = "model.norm.weight", .b = "model.extra.weight"),
    ROW("tensor-missing", BIASED_CT, drop, .a = Q "bias"),
    ROW("gptq-config", GPTQ, text, .a = "config.json", .b = "\"bits\": 8", .c = "\"bits\": 5"),
    ROW("gptq-config", GPTQ, text, .a = "config.json", .b = "\"sym\": true", .c = "\"sym\": false"),
    ROW("gptq-zeros", GPTQ, add, .a = Q "qzeros", .at = 2, .value = 1),
    ROW("gptq-zeros", GPTQ, add, .a = Q "g_idx", .at = 2, .value = 1),
    ROW("tensor-missing", GPTQ, drop, .a = Q "scales"),
    ROW("tensor-shape", GPTQ, reshape, .a = Q "qweight", .b = "32,8"),
    ROW("mindspore-description", MS_WEIGHTS, unlist, .a = MS_DESC, .b = Q "weight_scale"),
    ROW("mindspore-description", MS_WEIGHTS, text, .a = MS_DESC, .b = "\"W8A16\"", .c = "\"W8A61\""),
    ROW("tensor-missing", MS_WEIGHTS, drop, .a = Q "weight_scale"),
    ROW("weight-offset", MS_WEIGHTS, set, .a = Q "weight_offset", .at = 1, .value = 4),
    ROW("container", MS_STATIC, cut, .a = MS_FILE, .at = -10),
    ROW("tensor-missing", MS_STATIC, drop, .a = Q "deq_scale"),
    ROW("tensor-dtype", MS_STATIC, retype, .a = Q "input_offset", .b = "U8"),
    ROW("index-size", MS_STATIC, text, .a = "model.safetensors.index.json", .b = "\"total_size\": ", .c = "\"total_size\": 1"),
    ROW("container", CKPT_WEIGHTS, cut, .a = "model.ckpt", .at = -10),
    ROW("tensor-unknown", CKPT_STATIC, text, .a = "model.ckpt", .b = "attention.wq._layer.weight", .c = "attention.wx._layer.weight"),
    ROW("tensor-missing", CKPT_DYNAMIC, text, .a = "model.ckpt", .b = "model.norm_out", .c = "model.norm_uot"),
    ROW("deq-scale-dtype", CKPT_STATIC, text, .a = "config.json", .b = "float16", .c = "bfloat16"),
    ROW("container", GGUF, cut, .a = "model.gguf", .at = -10),
    ROW("container", GGUF, text, .a = "model.gguf", .b = "blk.0.attn_q.weight", .c = "blk.0.attn_x.weight"),
};

typedef struct world {
    gs_session *session;
    char *root;
} world;

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    gs_error err = {0};
    char model[2][1000], ids[1100];
    w->root = gs_test_tmpdir();
    assert_ok(gs_session_create(NULL, &w->session, &err), &err);
    snprintf(ids, sizeof ids, "%s/ids.i32", w->root);
    tiny_tokens(ids, 4 * 32, tiny_default.vocab, 5);
    for (int i = 0; i < 2; i++) {
        /* rows of whole GGUF blocks */
        tiny_shape shape = tiny_default;
        shape.intermediate = 64;
        snprintf(model[i], sizeof model[i], "%s/model%d", w->root, i);
        assert_int_equal(mkdir(model[i], 0755), 0);
        (i ? tiny_biased_model : tiny_model)(model[i], &shape, 3);
    }
    for (int b = 0; b < BASES; b++) {
        char bundle[1100];
        snprintf(bundle, sizeof bundle, "%s/bundle%d", w->root, b);
        make_bundle(w->session, model[bases[b].biased], bundle, ids, bases[b].options);
    }
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    gs_session_destroy(w->session);
    gs_test_rmdir(w->root);
    free(w);
    return 0;
}

static void the_unbroken_ones_hold(void **state) {
    const world *w = *state;
    gs_error err = {0};
    for (int b = 0; b < BASES; b++) {
        gs_verify_result r;
        char bundle[1100];
        snprintf(bundle, sizeof bundle, "%s/bundle%d", w->root, b);
        assert_ok(gs_verify(w->session, bundle, NULL, &r, &err), &err);
        if (r.total_findings) print_message("%s %s\n", bases[b].options.format, bases[b].options.scheme);
        print_findings(&r);
        assert_true(r.total_findings == 0 && r.checks_run >= 8 && r.tensors >= 30);
        gs_verify_result_clear(&r);
    }
}

static bool caught(const world *w, const mutation *m, size_t number) {
    char bundle[1100], copy[1100];
    gs_error err = {0};
    gs_verify_result r;
    snprintf(bundle, sizeof bundle, "%s/bundle%d", w->root, m->base);
    snprintf(copy, sizeof copy, "%s/copy", w->root);
    shell("cp -r '%s' '%s'", bundle, copy);
    m->apply(copy, m);
    assert_ok(gs_verify(w->session, copy, NULL, &r, &err), &err);
    bool hit = found(&r, m->check);
    if (!hit) {
        print_message("  %zu: %s (%s %s): %zu findings\n", number, m->check, m->a, m->b ? m->b : "", r.total_findings);
        print_findings(&r);
    }
    gs_verify_result_clear(&r);
    shell("rm -r '%s'%s", copy, "");
    return hit;
}

static void every_way_to_break_one_is_found_by_its_check(void **state) {
    size_t hits = 0;
    for (size_t i = 0; i < GS_COUNTOF(table); i++) hits += caught(*state, &table[i], i);
    print_message("%zu of %zu mutations found\n", hits, GS_COUNTOF(table));
    assert_int_equal(hits, GS_COUNTOF(table));
}

/* What is not checked is said, not passed over. */
static void comparing_with_a_source_is_refused_where_it_is_not_done(void **state) {
    const world *w = *state;
    gs_error err = {0};
    gs_verify_result r;
    char bundle[1100], model[1100];
    snprintf(model, sizeof model, "%s/model0", w->root);
    snprintf(bundle, sizeof bundle, "%s/bundle%d", w->root, GPTQ);
    gs_verify_options o = {.against = model};
    assert_fails(gs_verify(w->session, bundle, &o, &r, &err), GS_E_UNSUPPORTED, &err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_unbroken_ones_hold),
        cmocka_unit_test(every_way_to_break_one_is_found_by_its_check),
        cmocka_unit_test(comparing_with_a_source_is_refused_where_it_is_not_done),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
