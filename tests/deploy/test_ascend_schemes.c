/* Bundles that mix FLOAT, W8A16, W8A8 and W8A8_DYNAMIC: what is stored, what is read back, what is refused. */
#include "bundle_support.h"

#include <deploy/target.h>
#include <math.h>
#include <network/exec.h>

static const gs_dtype dtypes[] = {GS_F16, GS_BF16, GS_F32};
static mixed_bundle made[GS_COUNTOF(dtypes)]; /* for all tests, which leave them as they were */

static int make_bundles(void **state) {
    (void)state;
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++) mixed_begin(&made[i], dtypes[i]);
    return 0;
}

static int remove_bundles(void **state) {
    (void)state;
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++) mixed_end(&made[i]);
    return 0;
}

static const mixed_bundle *bundle_in(gs_dtype dtype) {
    size_t i = 0;
    while (dtypes[i] != dtype) i++;
    return &made[i];
}

/* Section 3.4 of ascend-bundles.md for one suffix: dtype and whether it is [n, 1], [n] or [1]. */
static void assert_stored(const gs_shards *s, const char *node, const char *suffix, gs_dtype dtype, int ndim,
                          int64_t rows) {
    char name[256];
    snprintf(name, sizeof name, "%s.%s", node, suffix);
    const gs_tensor *t = gs_shards_find(s, name);
    if (!t) fail_msg("%s is not stored", name);
    assert_int_equal(t->dtype, dtype);
    assert_int_equal(t->ndim, ndim);
    assert_int_equal(t->shape[0], rows);
    if (ndim == 2 && strcmp(suffix, "weight") != 0) assert_int_equal(t->shape[1], 1);
}

static void assert_linear_stored(const gs_shards *s, const char *node, int64_t rows, gs_dtype dtype) {
    gs_scheme scheme = mixed_scheme(node);
    if (scheme == GS_SCHEME_FLOAT) {
        assert_stored(s, node, "weight", dtype, 2, rows);
        return;
    }
    assert_stored(s, node, "weight", GS_I8, 2, rows);
    assert_stored(s, node, "weight_scale", GS_F32, 2, rows);
    assert_stored(s, node, "weight_offset", GS_F32, 2, rows);
    if (scheme != GS_SCHEME_W8A8) return;
    assert_stored(s, node, "input_scale", GS_F32, 1, 1);
    assert_stored(s, node, "input_offset", GS_F32, 1, 1);
    assert_stored(s, node, "quant_bias", GS_I32, 1, rows);
    assert_stored(s, node, "deq_scale", dtype == GS_BF16 ? GS_F32 : GS_I64, 1, rows);
}

/* How many tensors a linear brings beside its bias. */
static size_t tensors_of(gs_scheme scheme) {
    return scheme == GS_SCHEME_FLOAT ? 1 : scheme == GS_SCHEME_W8A8 ? 7 : 3;
}

static void every_scheme_stores_what_its_consumer_reads(void **state) {
    (void)state;
    static const struct {
        const char *part;
        int64_t rows;
    } linear[] = {{"self_attn.q_proj", 32}, {"self_attn.k_proj", 16}, {"self_attn.v_proj", 16},
                  {"self_attn.o_proj", 32}, {"mlp.gate_proj", 48},    {"mlp.up_proj", 48},
                  {"mlp.down_proj", 32}};
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++) {
        const gs_shards *s = made[i].weights;
        size_t count = 3 * 2 + 3 + 3 * 4; /* norms; embedding, norm, head; biases */
        for (int l = 0; l < 3; l++)
            for (size_t p = 0; p < GS_COUNTOF(linear); p++) {
                char node[128];
                snprintf(node, sizeof node, "model.layers.%d.%s", l, linear[p].part);
                assert_linear_stored(s, node, linear[p].rows, dtypes[i]);
                count += tensors_of(mixed_scheme(node));
            }
        assert_stored(s, "model.layers.0.self_attn.k_proj", "bias", GS_F32, 1, 16);
        assert_stored(s, "model.layers.2.self_attn.o_proj", "bias", dtypes[i], 1, 32); /* of a FLOAT linear */
        assert_int_equal(gs_shards_count(s), count);
    }
}

static void every_tensor_is_described_by_its_own_linears_scheme(void **state) {
    (void)state;
    gs_error err = {0};
    cJSON *description;
    char path[1200];
    const mixed_bundle *b = bundle_in(GS_F16);
    const gs_shards *s = b->weights;
    snprintf(path, sizeof path, "%s/quant_model_description.json", b->bundle);
    assert_ok(gs_json_load(path, 1 << 20, &description, &err), &err);
    for (size_t i = 0; i < gs_shards_count(s); i++) {
        const char *name = gs_shards_at(s, i)->name, *suffix = strrchr(name, '.');
        bool linear = strstr(name, "_proj.") && strcmp(suffix, ".bias") != 0;
        const cJSON *type = gs_json_get(description, name);
        assert_non_null(type);
        assert_string_equal(type->valuestring, linear ? gs_scheme_name(mixed_scheme(name)) : "FLOAT");
    }
    assert_string_equal(gs_json_get(description, "model_quant_type")->valuestring, "W8A8");
    cJSON_Delete(description);
}

/* deq_scale and the constants arrive bit by bit; I64 holds nothing but the float's bits. */
static void deq_scales_keep_their_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++) {
        const gs_shards *s = made[i].weights;
        const gs_tensor *deq = gs_shards_find(s, "model.layers.0.self_attn.q_proj.deq_scale");
        const gs_tensor *scale = gs_shards_find(s, "model.layers.0.self_attn.q_proj.weight_scale");
        for (size_t r = 0; r < 32; r++) {
            float w, want;
            uint32_t bits;
            uint64_t got = 0;
            memcpy(&w, scale->data + 4 * r, 4);
            want = gs_round_to(dtypes[i], 0.03f) * w;
            memcpy(&bits, &want, 4);
            memcpy(&got, deq->data + (dtypes[i] == GS_BF16 ? 4 : 8) * r, dtypes[i] == GS_BF16 ? 4 : 8);
            assert_true(got == bits);
        }
    }
}

/* A norm with factors is written as the cast of the product, a view's as well as an owned one's. */
static void scaled_norms_are_cast_after_scaling(void **state) {
    (void)state;
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++) {
        gs_error err = {0};
        gs_opened source, back;
        assert_ok(gs_opened_open(NULL, made[i].model, NULL, &source, &err), &err);
        assert_ok(gs_opened_open(NULL, made[i].bundle, NULL, &back, &err), &err);
        for (int l = 0; l < 3; l++) {
            char name[64];
            float want[32], got[32], plain[32];
            gs_net *net = mixed_segment(source.model, l + 1, dtypes[i]), *original, *read;
            snprintf(name, sizeof name, "model.layers.%d.input_layernorm", l);
            assert_ok(gs_model_segment(back.model, l + 1, &read, &err), &err);
            assert_ok(gs_model_segment(source.model, l + 1, &original, &err), &err);
            const gs_param *p = gs_net_find(read, name)->param[GS_ROLE_WEIGHT];
            assert_int_equal(p->dtype, dtypes[i]);
            assert_ok(gs_param_read_f32(gs_net_find(net, name)->param[GS_ROLE_WEIGHT], 0, 1, want, &err), &err);
            assert_ok(gs_param_read_f32(gs_net_find(original, name)->param[GS_ROLE_WEIGHT], 0, 1, plain, &err), &err);
            assert_ok(gs_param_read_f32(p, 0, 1, got, &err), &err);
            for (int c = 0; c < 32; c++) assert_true(got[c] == gs_round_to(dtypes[i], want[c]));
            if (l > 0) assert_memory_not_equal(want, plain, sizeof want);
            gs_net_destroy(net);
            gs_net_destroy(original);
            gs_net_destroy(read);
        }
        gs_opened_close(&source);
        gs_opened_close(&back);
    }
}

static void run_segment(gs_net *net, const float *x, float *y) {
    gs_error err = {0};
    gs_exec *ex;
    const int64_t starts[] = {0, 5};
    gs_batch batch = {.rows = 5, .sequences = 1, .starts = starts};
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    assert_ok(gs_exec_run(ex, net, &batch, &x, &y, &err), &err);
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
}

/* f32: the file holds the very values, so what is read back computes the very bits. */
static void what_is_read_back_computes_what_was_written(void **state) {
    (void)state;
    gs_error err = {0};
    const mixed_bundle *b = bundle_in(GS_F32);
    gs_opened source, back;
    uint64_t seed = 9;
    float x[5 * 32], want[5 * 32], got[5 * 32];
    for (int i = 0; i < 5 * 32; i++) x[i] = gs_test_randf(&seed);
    assert_ok(gs_opened_open(NULL, b->model, NULL, &source, &err), &err);
    assert_ok(gs_opened_open(NULL, b->bundle, NULL, &back, &err), &err);
    assert_string_equal(gs_bundle_type(back.bundle), "W8A8");
    for (int i = 1; i <= 3; i++) {
        gs_net *net = mixed_segment(source.model, i, GS_F32), *read;
        assert_ok(gs_model_segment(back.model, i, &read, &err), &err);
        for (int n = 0; n < gs_net_node_count(net); n++) {
            const gs_node *a = gs_net_node(net, n), *c = gs_net_find(read, a->name);
            assert_int_equal(a->op, c->op);
            assert_int_equal(a->attr.quant.scheme, c->attr.quant.scheme);
        }
        run_segment(net, x, want);
        run_segment(read, x, got);
        assert_memory_equal(got, want, sizeof want);
        gs_net_destroy(net);
        gs_net_destroy(read);
    }
    gs_opened_close(&source);
    gs_opened_close(&back);
}

static void a_tied_tensor_scaled_for_one_reader_is_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_context cx = {0};
    gs_bundle_writer *w;
    gs_opened source;
    char *root = gs_test_tmpdir(), bundle[1200];
    tiny_shape shape = tiny_default;
    float factor[32];
    for (int i = 0; i < 32; i++) factor[i] = 2;
    shape.tied = true;
    tiny_model(root, &shape, 3);
    snprintf(bundle, sizeof bundle, "%s/bundle", root);
    assert_ok(gs_opened_open(NULL, root, NULL, &source, &err), &err);
    gs_bundle_options o = {.source = gs_model_checkpoint(source.model), .dtype = GS_F16};
    assert_ok(gs_bundle_writer_create(&cx, &gs_bundle_ascend, bundle, &o, &w, &err), &err);
    for (int i = 0; i < gs_model_segments(source.model); i++) {
        gs_net *net;
        assert_ok(gs_model_segment(source.model, i, &net, &err), &err);
        bool head = i + 1 == gs_model_segments(source.model);
        gs_param *p = gs_net_output_at(net, 0)->producer->param[GS_ROLE_WEIGHT];
        if (head) assert_ok(gs_param_scale_cols(p, factor, &err), &err);
        if (head) assert_fails(gs_bundle_writer_plan(w, net, &err), GS_E_INVALID, &err);
        else assert_ok(gs_bundle_writer_plan(w, net, &err), &err);
        gs_net_destroy(net);
    }
    gs_bundle_writer_abort(w);
    gs_opened_close(&source);
    gs_test_rmdir(root);
}

/* ---- reading fails closed ---- */

#define Q "model.layers.0.self_attn.q_proj."
#define K "model.layers.0.self_attn.k_proj."
#define UP "model.layers.0.mlp.up_proj."
#define V1 "model.layers.1.self_attn.v_proj."

static void assert_edit(gs_dtype dtype, const tensor_edit *edit, const char *words) {
    const mixed_bundle *b = bundle_in(dtype);
    const tensor_edit none = {.name = ""};
    gs_error err = {0};
    gs_opened o;
    edit_tensor(b, edit);
    gs_status status = gs_opened_open(NULL, b->bundle, NULL, &o, &err);
    if (status == GS_OK) gs_opened_close(&o);
    if (words && status == GS_OK) fail_msg("%s was accepted", edit->name);
    if (words && status != GS_E_FORMAT) fail_msg("%s: status %d, '%s'", edit->name, (int)status, err.text);
    if (words && !strstr(err.text, words)) fail_msg("%s: '%s' lacks '%s'", edit->name, err.text, words);
    if (!words) assert_ok(status, &err);
    edit_tensor(b, &none);
}

static void the_other_form_of_deq_scale_is_refused(void **state) {
    (void)state;
    const tensor_edit narrow = {.name = Q "deq_scale", .dtype = GS_F32, .ndim = 1, .shape = {32}};
    const tensor_edit wide = {.name = Q "deq_scale", .dtype = GS_I64, .ndim = 1, .shape = {32}};
    assert_edit(GS_F16, &narrow, "a float16 model needs I64");
    assert_edit(GS_F32, &narrow, "a float32 model needs I64");
    assert_edit(GS_BF16, &wide, "a bfloat16 model needs F32");
}

static void a_tensor_that_is_not_there_is_missed(void **state) {
    (void)state;
    static const char *const needed[] = {Q "input_scale", Q "input_offset", Q "quant_bias", Q "deq_scale",
                                         UP "weight_scale", UP "weight_offset", V1 "weight_scale", V1 "weight_offset"};
    for (size_t i = 0; i < GS_COUNTOF(needed); i++) {
        const tensor_edit gone = {.name = needed[i], .drop = true};
        assert_edit(GS_F16, &gone, "is missing");
    }
    /* msModelSlim's current line stores neither beside static activations */
    const tensor_edit scale = {.name = Q "weight_scale", .drop = true};
    const tensor_edit offset = {.name = Q "weight_offset", .drop = true};
    assert_edit(GS_F16, &scale, NULL);
    assert_edit(GS_F16, &offset, NULL);
}

static void wrong_shapes_and_types_are_refused(void **state) {
    (void)state;
    const float other = 0.5f, minus = -6;
    const struct {
        tensor_edit edit;
        const char *words;
    } bad[] = {
        {{Q "weight", false, GS_F16, 2, {32, 32}, NULL}, "described as W8A8 but stored as F16"},
        {{Q "weight", false, GS_U8, 2, {32, 32}, NULL}, "described as W8A8 but stored as U8"},
        {{Q "input_scale", false, GS_F32, 0, {0}, NULL}, "input_scale' is F32"},
        {{Q "input_scale", false, GS_F32, 1, {2}, NULL}, "input_scale' is F32 [2]"},
        {{Q "input_scale", false, GS_F32, 2, {1, 1}, NULL}, "input_scale' is F32 [1, 1]"},
        {{Q "input_scale", false, GS_F32, 1, {32}, NULL}, "input_scale' is F32 [32]"},
        {{Q "input_offset", false, GS_I8, 1, {1}, NULL}, "input_offset' is I8 [1]"},
        {{Q "quant_bias", false, GS_F32, 1, {32}, NULL}, "quant_bias' is F32 [32]"},
        {{Q "quant_bias", false, GS_I32, 2, {32, 1}, NULL}, "quant_bias' is I32 [32, 1]"},
        {{Q "quant_bias", false, GS_I32, 1, {31}, NULL}, "quant_bias' is I32 [31]"},
        {{Q "deq_scale", false, GS_I64, 2, {32, 1}, NULL}, "deq_scale' is I64 [32, 1]"},
        {{Q "deq_scale", false, GS_I64, 1, {1}, NULL}, "deq_scale' is I64 [1]"},
        {{Q "deq_scale", false, GS_F16, 1, {32}, NULL}, "deq_scale' is F16 [32]"},
        {{K "bias", false, GS_I32, 1, {16}, NULL}, "described as FLOAT but stored as I32"},
        {{UP "weight_scale", false, GS_F32, 2, {48, 2}, NULL}, "weight_scale' is F32 [48, 2]"},
        {{UP "weight_scale", false, GS_I32, 2, {48, 1}, NULL}, "weight_scale' is I32 [48, 1]"},
        {{UP "weight_offset", false, GS_F32, 2, {1, 48}, NULL}, "weight_offset' is F32 [1, 48]"},
        {{V1 "weight_scale", false, GS_F32, 1, {17}, NULL}, "weight_scale' is F32 [17]"},
        {{K "input_scale", false, GS_F32, 1, {1}, &other}, "of the same input is"},
        {{K "input_offset", false, GS_F32, 1, {1}, &minus}, "of the same input is"},
        {{"model.layers.0.mlp.down_proj.weight", false, GS_I8, 2, {32, 48}, NULL},
         "described as FLOAT but stored as I8"},
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) assert_edit(GS_F16, &bad[i].edit, bad[i].words);
}

/* Scales in the model's dtype are msModelSlim's older line. */
static void scales_may_be_stored_in_the_models_dtype(void **state) {
    (void)state;
    const uint16_t half[48] = {0x3c00};
    const struct {
        const char *name;
        int ndim;
        int64_t rows;
    } scale[] = {{"model.layers.0.self_attn.o_proj.input_scale", 1, 1}, {UP "weight_scale", 2, 48}};
    for (size_t i = 0; i < GS_COUNTOF(scale); i++) {
        const tensor_edit edit = {scale[i].name, false, GS_F16, scale[i].ndim, {scale[i].rows, 1}, half};
        assert_edit(GS_F16, &edit, NULL);
    }
}

/* ---- who loads what ---- */

static void targets_permit_what_their_loaders_take(void **state) {
    (void)state;
    static const char *const names[] = {"both", "vllm-ascend", "mindie", "310p"};
    for (int t = 0; t < GS_TARGET_COUNT; t++) assert_string_equal(gs_target_names[t], names[t]);
    assert_false(gs_target_permits(GS_TARGET_BOTH, GS_SCHEME_W8A8, GS_SCHEME_W8A8_DYNAMIC));
    assert_false(gs_target_permits(GS_TARGET_MINDIE, GS_SCHEME_W8A8_DYNAMIC, GS_SCHEME_W8A8));
    assert_true(gs_target_permits(GS_TARGET_VLLM_ASCEND, GS_SCHEME_W8A8, GS_SCHEME_W8A8_DYNAMIC));
    assert_true(gs_target_permits(GS_TARGET_BOTH, GS_SCHEME_W8A8, GS_SCHEME_FLOAT));
    assert_true(gs_target_permits(GS_TARGET_310P, GS_SCHEME_W8A8, GS_SCHEME_W8A8_DYNAMIC));
    assert_false(gs_target_permits(GS_TARGET_310P, GS_SCHEME_W8A16, GS_SCHEME_W8A16));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scheme_stores_what_its_consumer_reads),
        cmocka_unit_test(every_tensor_is_described_by_its_own_linears_scheme),
        cmocka_unit_test(deq_scales_keep_their_bits),
        cmocka_unit_test(scaled_norms_are_cast_after_scaling),
        cmocka_unit_test(what_is_read_back_computes_what_was_written),
        cmocka_unit_test(a_tied_tensor_scaled_for_one_reader_is_refused),
        cmocka_unit_test(the_other_form_of_deq_scale_is_refused),
        cmocka_unit_test(a_tensor_that_is_not_there_is_missed),
        cmocka_unit_test(wrong_shapes_and_types_are_refused),
        cmocka_unit_test(scales_may_be_stored_in_the_models_dtype),
        cmocka_unit_test(targets_permit_what_their_loaders_take),
    };
    return cmocka_run_group_tests(tests, make_bundles, remove_bundles);
}
