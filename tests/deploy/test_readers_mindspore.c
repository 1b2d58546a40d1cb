/* Golden Stick bundles: made by hand in both back ends' forms, the two whole ones that the original tool wrote (shared
 * data), and descriptions and tensors that lie. */
#include "foreign_bundle.h"

typedef struct form {
    gs_scheme scheme;
    bool device;       /* the Ascend back end's form of static linears */
    int64_t group_size;
    gs_dtype dtype;
    int offset;        /* of weights */
} form;

static void constants(foreign_bundle *b, const char *stem, int64_t n, int64_t k) {
    fb_tensor *deq = fb_put(b, stem, "deq_scale", GS_F32, 1, n, 0, NULL);
    fb_tensor *bias = fb_put(b, stem, "quant_bias", GS_I32, 1, n, 0, NULL);
    for (int64_t r = 0; r < n; r++) {
        int sum = 0;
        for (int64_t c = 0; c < k; c++) sum += fb_code(stem, r, c);
        fb_store(deq, r, fb_input_scale(stem) * fb_scale(stem, r, 0));
        fb_store(bias, r, (float)(-fb_input_offset(stem) * sum));
    }
}

static void linear(foreign_bundle *b, const char *stem, int64_t n, int64_t k, void *ctx) {
    const form *f = ctx;
    int64_t groups = f->group_size ? k / f->group_size : 1, inputs = f->device ? k : 1;
    int ndim = f->group_size ? 2 : 1;
    fb_tensor *codes = fb_put(b, stem, "weight", GS_I8, 2, n, k, NULL);
    for (int64_t i = 0; i < n * k; i++) codes->data[i] = (uint8_t)(int8_t)fb_code(stem, i / k, i % k);
    fb_tensor *scale = fb_put(b, stem, "weight_scale", f->dtype, ndim, ndim == 2 ? groups : n, n, NULL);
    fb_tensor *offset = fb_put(b, stem, "weight_offset", GS_I32, ndim, ndim == 2 ? groups : n, n, NULL);
    for (int64_t i = 0; i < groups * n; i++) {
        fb_store(scale, i, fb_scale(stem, i % n, i / n));
        fb_store(offset, i, (float)f->offset);
    }
    if (f->scheme != GS_SCHEME_W8A8) return;
    fb_tensor *s = fb_put(b, stem, "input_scale", f->dtype, 1, inputs, 0, NULL);
    fb_tensor *o = fb_put(b, stem, "input_offset", f->device ? GS_I8 : GS_I32, 1, inputs, 0, NULL);
    for (int64_t i = 0; i < inputs; i++) {
        fb_store(s, i, fb_input_scale(stem));
        fb_store(o, i, (float)fb_input_offset(stem));
    }
    if (f->device) constants(b, stem, n, k);
}

/* Every tensor with its type; one more line, or NULL. */
static void describe(const foreign_bundle *b, gs_scheme scheme, const char *extra) {
    char text[32768] = "{";
    for (size_t i = 0; i < b->count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\n \"%s\": \"%s\"", i ? "," : "", b->tensor[i].name,
                 strstr(b->tensor[i].name, "_proj.") ? gs_scheme_name(scheme) : "FLOAT");
    snprintf(text + strlen(text), sizeof text - strlen(text), "%s}\n", extra ? extra : "");
    tiny_text(b->dir, "quantization_description.json", text);
}

static void make(foreign_bundle *b, const form *f) {
    fb_begin(b, linear, (void *)(uintptr_t)f, "embedding_table");
    fb_config(b, NULL);
}

static const form generic = {GS_SCHEME_W8A8, false, 0, GS_F32, 0}, device = {GS_SCHEME_W8A8, true, 0, GS_F32, 0};

static void every_form_is_read(void **state) {
    (void)state;
    const struct {
        form f;
        fb_expected e;
    } cases[] = {
        {{GS_SCHEME_W8A8, false, 0, GS_F32, 0}, {GS_SCHEME_W8A8, 1, 0, 0, true}},
        {{GS_SCHEME_W8A8, true, 0, GS_F16, 0}, {GS_SCHEME_W8A8, 1, 0, 0, true}},
        {{GS_SCHEME_W8A16, false, 0, GS_BF16, 0}, {GS_SCHEME_W8A16, 1, 0, 0, false}},
        {{GS_SCHEME_W8A16, false, 16, GS_F32, 3}, {GS_SCHEME_W8A16, 1, 16, 3, false}},
        {{GS_SCHEME_W8A8_DYNAMIC, false, 0, GS_F32, 0}, {GS_SCHEME_W8A8_DYNAMIC, 1, 0, 0, false}},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        foreign_bundle b;
        make(&b, &cases[i].f);
        fb_weights(&b, "model.safetensors");
        describe(&b, cases[i].f.scheme, NULL);
        fb_check(&b, "mindspore", &cases[i].e);
        fb_end(&b);
    }
}

#define Q "model.layers.0.self_attn.q_proj."

static void spoil(foreign_bundle *b, int how) {
    switch (how) {
    case 0: fb_drop(b, Q "weight_scale"); break;
    case 1: fb_drop(b, Q "weight_offset"); break;
    case 2: fb_drop(b, Q "input_scale"); break;
    case 3: fb_drop(b, Q "input_offset"); break;
    case 4: fb_drop(b, Q "deq_scale"); break;
    case 5: fb_drop(b, Q "quant_bias"); break;
    case 6: fb_drop(b, Q "weight"); break;
    case 7: fb_retype(b, Q "weight_scale", GS_F32, 1, 31, 0); break;
    case 8: fb_retype(b, Q "weight_scale", GS_I32, 1, 32, 0); break;
    case 9: fb_retype(b, Q "weight_scale", GS_F32, 2, 32, 1); break;
    case 10: fb_retype(b, Q "weight_scale", GS_F32, 2, 3, 32); break;
    case 11: fb_retype(b, Q "weight_offset", GS_F32, 1, 32, 0); break;
    case 12: fb_find(b, Q "weight_offset")->data[7] = 0x40; break;
    case 13: fb_retype(b, Q "input_scale", GS_F32, 1, 31, 0); break;
    case 14: fb_store(fb_find(b, Q "input_scale"), 9, 0.5f); break;
    case 15: fb_find(b, Q "input_offset")->data[9] = 1; break;
    case 16: fb_retype(b, Q "input_offset", GS_I64, 1, 32, 0); break;
    case 17: fb_put(b, Q "smooth_scale", "", GS_F32, 1, 32, 0, NULL); break;
    case 18: fb_retype(b, Q "quant_bias", GS_F32, 1, 32, 0); break;
    case 19: fb_retype(b, Q "weight", GS_U8, 2, 32, 32); break;
    default: fb_retype(b, Q "weight", GS_I8, 2, 16, 64); break;
    }
}

static void lying(foreign_bundle *b, int how) {
    make(b, &device);
    spoil(b, how);
    fb_weights(b, "model.safetensors");
    describe(b, GS_SCHEME_W8A8, NULL);
}

static void tensors_that_lie_are_refused(void **state) {
    (void)state;
    static const char *const words[] = {
        "weight_scale' is missing", "weight_offset' is missing", "input_scale' is missing", "input_offset' is missing",
        "deq_scale' is missing", "quant_bias' is missing", Q, "weight_scale' is F32 [31]", "weight_scale' is I32",
        "weight_scale' is F32 [32, 1]", "weight_scale' is F32 [3, 32]", "weight_offset' is F32", "of channel 1 is",
        "input_scale' is F32 [31]", "smoothing", "smoothing", "input_offset' is I64", "smooth_scale", "quant_bias' is F32",
        "weight' is U8", "weight_scale' is F32 [32]",
    };
    fb_all_refused(lying, words, GS_COUNTOF(words));
}

static void descriptions_that_lie_are_refused(void **state) {
    (void)state;
    static const struct {
        gs_scheme scheme;
        const char *extra, *words;
    } bad[] = {
        {GS_SCHEME_W8A8, ",\n \"model.layers.0.extra.weight\": \"W8A8\"", "described but not stored"},
        {GS_SCHEME_W8A8, ",\n \"model.norm.weight\": \"W8A8\"", "model.norm.weight"},
        {GS_SCHEME_W8A8, ",\n \"other\": 3", "no string"},
        {GS_SCHEME_FLOAT, NULL, "described as FLOAT but stored as I8"},
        {GS_SCHEME_W8A16, NULL, "of type 'W8A16' is not computed here"},
        {GS_SCHEME_W8A8_MIX, NULL, "'W8A8_MIX'"},
        {GS_SCHEME_COUNT, NULL, "not computed here"},
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        foreign_bundle b;
        make(&b, &generic);
        fb_weights(&b, "model.safetensors");
        describe(&b, bad[i].scheme, bad[i].extra);
        fb_refused(&b, bad[i].words);
        fb_end(&b);
    }
}

/* What the original tool wrote, calibrated on a few tokens. */
static void the_tools_own_bundles_are_computed(void **state) {
    (void)state;
    gs_need_data(tokens, "data/lm/golden/stories260K_eval_61440.i32");
    gs_need_data(config, "data/lm/stories260K-hf-llama/config.json");
    gs_need_data(w8a16, "reference/goldenstick/bundles/w8a16-f32");
    gs_need_data(w8a8, "reference/goldenstick/bundles/w8a8-smooth-f32");
    const char *const bundles[] = {w8a16, w8a8};
    static const double most[] = {0.002, 0.02};
    char model[1024];
    snprintf(model, sizeof model, "%.*s", (int)(strlen(config) - 12), config);
    gs_session *s;
    gs_error err = {0};
    assert_ok(gs_session_create(NULL, &s, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        gs_evaluate_options o = {.tokens = tokens, .window = 512, .max_windows = 1, .against = model};
        gs_eval_result r;
        assert_ok(gs_evaluate(s, bundles[i], &o, &r, &err), &err);
        print_message("%s: nll %.5f, float %.5f, divergence %.6f\n", strrchr(bundles[i], '/') + 1, r.nll, r.ref_nll, r.kld_mean);
        assert_true(r.kld_mean < most[i]);
    }
    gs_session_destroy(s);
}

static void no_memory_is_an_error_everywhere(void **state) {
    (void)state;
    foreign_bundle b;
    make(&b, &device);
    fb_weights(&b, "model.safetensors");
    describe(&b, GS_SCHEME_W8A8, NULL);
    fb_starve(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_read),
        cmocka_unit_test(tensors_that_lie_are_refused),
        cmocka_unit_test(descriptions_that_lie_are_refused),
        cmocka_unit_test(the_tools_own_bundles_are_computed),
        cmocka_unit_test(no_memory_is_an_error_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
