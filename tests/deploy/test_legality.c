/* Which combinations may be written, which are refused, and that nothing is done silently in another way: every
 * row of golden-stick.md 1.12 and every type of ascend-bundles.md 3.3. */
#include "../support.h"
#include "../tiny_model.h"

#include <api/opened.h>
#include <deploy/bundle_format.h>
#include <deploy/target.h>
#include <ptq/round_to_nearest.h>
#include <ptq/smooth_quant.h>
#include <sys/stat.h>

#define I8 GS_QUANT_INT8
#define I4 GS_QUANT_INT4
#define F GS_QUANT_NONE
#define T GS_PER_TENSOR
#define C GS_PER_CHANNEL
#define G GS_PER_GROUP
#define K GS_PER_TOKEN

typedef enum outcome {
    PLAIN = 1,    /* RoundToNearest does it */
    SMOOTHED = 2, /* SmoothQuant does it */
    MISSING = 4,  /* legal, not implemented: both say so by name */
    ILLEGAL = 8
} outcome;

typedef struct row {
    gs_quant_dtype weight, act, kv;
    gs_granularity weight_granularity, act_granularity, kv_granularity;
    gs_outliers outliers;
    gs_recovery recovery;
    int64_t group;
    int outcome;
    const char *word; /* of the refusal */
} row;

static const row matrix[] = {
    /* int8 | - | - / int8 | per channel, per group | GPTQ possible */
    {I8, F, F, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, PLAIN | SMOOTHED, NULL},
    {I8, F, I8, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, PLAIN | SMOOTHED, NULL},
    {I8, F, F, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 128, PLAIN, "groups"},
    {I8, F, F, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 0, MISSING, "GPTQ"},
    {I8, F, I8, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 64, MISSING, "GPTQ"},
    {I8, F, F, C, T, C, GS_OUTLIERS_SMOOTH, GS_RECOVERY_NONE, 0, ILLEGAL, "outlier suppression"},
    {I8, F, F, C, T, C, GS_OUTLIERS_AWQ, GS_RECOVERY_NONE, 0, ILLEGAL, "outlier suppression"},
    /* int8 | int8 | - / int8 | activations per tensor | SMOOTH */
    {I8, I8, F, C, T, C, GS_OUTLIERS_SMOOTH, GS_RECOVERY_NONE, 0, SMOOTHED, "A8W8"},
    {I8, I8, F, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, SMOOTHED, "A8W8"}, /* alpha none */
    {I8, I8, I8, C, T, C, GS_OUTLIERS_SMOOTH, GS_RECOVERY_NONE, 0, SMOOTHED, "A8W8C8"},
    /* int8 | int8 | - | per tensor | OSL, without an int8 cache */
    {I8, I8, F, C, T, C, GS_OUTLIERS_OSL, GS_RECOVERY_NONE, 0, MISSING, "outlier suppression lite"},
    {I8, I8, I8, C, T, C, GS_OUTLIERS_OSL, GS_RECOVERY_NONE, 0, ILLEGAL, "KV cache"},
    {I8, I8, F, C, T, C, GS_OUTLIERS_OSP, GS_RECOVERY_NONE, 0, MISSING, "outlier suppression plus"},
    /* int8 | int8 | - / int8 | activations per token, weights per channel | NONE, SMOOTH */
    {I8, I8, F, C, K, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, PLAIN | SMOOTHED, NULL},
    {I8, I8, F, C, K, C, GS_OUTLIERS_SMOOTH, GS_RECOVERY_NONE, 0, SMOOTHED, "A8W8"},
    {I8, I8, I8, C, K, K, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, MISSING, "KV cache"},
    {I8, I8, F, G, K, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 64, ILLEGAL, "per-channel weights"},
    {I8, I8, F, C, K, C, GS_OUTLIERS_OSL, GS_RECOVERY_NONE, 0, ILLEGAL, "per-token"},
    /* int4 | - | none | per channel, per group | AWQ or GPTQ or neither; an int8 cache is rejected */
    {I4, F, F, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, MISSING, "int4"},
    {I4, F, F, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 64, MISSING, "int4"},
    {I4, F, F, G, T, C, GS_OUTLIERS_AWQ, GS_RECOVERY_NONE, 128, MISSING, "int4"},
    {I4, F, F, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 256, MISSING, "int4"},
    {I4, F, F, G, T, C, GS_OUTLIERS_AWQ, GS_RECOVERY_GPTQ, 64, ILLEGAL, "AWQ and GPTQ"},
    {I4, F, I8, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 64, ILLEGAL, "int8 KV cache"},
    /* int4 | int8 | none | activations per token, per group | GPTQ */
    {I4, I8, F, G, K, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 64, MISSING, "int4"},
    {I4, I8, F, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 64, ILLEGAL, "per-token"},
    {I4, I8, F, C, K, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 0, ILLEGAL, "per-group"},
    /* - | int8 | any: refused */
    {F, I8, F, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, ILLEGAL, "weights stay float"},
    {F, I8, I8, C, K, K, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, ILLEGAL, "weights stay float"},
    /* int8 | int8 | any | any | AWQ or GPTQ: refused */
    {I8, I8, F, C, T, C, GS_OUTLIERS_AWQ, GS_RECOVERY_NONE, 0, ILLEGAL, "AWQ"},
    {I8, I8, F, C, K, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 0, ILLEGAL, "GPTQ"},
    /* - | - | int8 | per channel, per token */
    {F, F, I8, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, PLAIN, "not C8"},
    {F, F, I8, C, T, K, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, MISSING, "KV cache"},
};

static gs_ptq_config build(const row *r) {
    gs_ptq_config p = gs_ptq_config_w8a16();
    p.weight_quant_dtype = r->weight;
    p.act_quant_dtype = r->act;
    p.kvcache_quant_dtype = r->kv;
    p.weight_quant_granularity = r->weight_granularity;
    p.act_quant_granularity = r->act_granularity;
    p.kvcache_quant_granularity = r->kv_granularity;
    p.outliers_suppression = r->outliers;
    p.precision_recovery = r->recovery;
    p.group_size = r->group;
    return p;
}

static gs_status no_statistics(void *ctx, const char *edge, gs_observer *out, gs_error *err) {
    (void)ctx;
    (void)out;
    return GS_FAIL(err, GS_E_INVALID, "'%s'", edge);
}

static void expect(size_t i, const row *r, int bit, gs_comp_algo *algo, gs_status status, const gs_error *err) {
    bool done = (r->outcome & bit) != 0;
    gs_comp_algo_destroy(status == GS_OK ? algo : NULL);
    if ((status == GS_OK) != done) fail_msg("row %zu, algorithm %d: %s (%s)", i, bit, gs_status_text(status), err->text);
    if (done) return;
    assert_int_equal(status, GS_E_INVALID);
    if (!strstr(err->text, r->word)) fail_msg("row %zu, algorithm %d: '%s' lacks '%s'", i, bit, err->text, r->word);
}

/* By ascend bundles, as vllm-ascend takes them. */
static bool carried(gs_scheme scheme) {
    gs_error err = {0};
    gs_bundle_options o = {.dtype = GS_BF16, .target = GS_TARGET_VLLM_ASCEND};
    gs_param weight = {.ndim = 2, .shape = {4, 4}}, scale = {.ndim = 2, .shape = {4, 1}};
    gs_node node = {.op = scheme == GS_SCHEME_FLOAT ? GS_OP_LINEAR : GS_OP_QLINEAR, .name = (char *)"q",
                    .param = {[GS_ROLE_WEIGHT] = &weight, [GS_ROLE_WEIGHT_SCALE] = &scale},
                    .attr = {.quant = {.scheme = scheme}}};
    return gs_bundle_ascend.permits(&o, &node, &err) == GS_OK;
}

static void every_combination_is_done_or_refused_by_name(void **state) {
    (void)state;
    for (size_t i = 0; i < GS_COUNTOF(matrix); i++) {
        const row *r = &matrix[i];
        gs_ptq_config c = build(r);
        gs_error err = {0};
        gs_comp_algo *algo = NULL;
        gs_smooth_quant_options o = {.smoothing = r->outliers == GS_OUTLIERS_SMOOTH ? GS_SMOOTHING_AUTO : GS_SMOOTHING_NONE};
        gs_status legal = gs_ptq_config_check(&c, &err);
        if ((legal == GS_OK) != !(r->outcome & ILLEGAL)) fail_msg("row %zu: %s", i, err.text);
        gs_status status = gs_round_to_nearest_create(&c, &algo, &err);
        expect(i, r, PLAIN, algo, status, &err);
        status = gs_smooth_quant_create(&c, &o, no_statistics, NULL, &algo, &err);
        expect(i, r, SMOOTHED, algo, status, &err);
        if (r->outcome & (PLAIN | SMOOTHED)) assert_true(carried(gs_ptq_config_scheme(&c)));
    }
}

/* The types of ascend-bundles.md 3.3; `word` is how a user would ask for it. */
static const struct {
    const char *type, *word;
    bool done, read; /* written, or else read at least */
} types[] = {
    {"FLOAT", NULL, true, true},
    {"W8A8", "w8a8", true, true},
    {"W8A8_DYNAMIC", "w8a8-dynamic", true, true},
    {"W8A16", "w8a16", true, true},
    {"W8A8_MIX", "w8a8-mix", true, true},
    {"W4A8_DYNAMIC", "w4a8-dynamic", false, false},
    {"W4A16", "w4a16", false, true},
    {"W4A4_DYNAMIC", "w4a4-dynamic", false, false},
    {"W4A4_FLATQUANT_DYNAMIC", "w4a4-flatquant-dynamic", false, false},
    {"W8A8_MXFP8", "w8a8-mxfp8", false, false},
    {"W4A8_MXFP", "w4a8-mxfp", false, false},
    {"W4A4_MXFP4", "w4a4-mxfp4", false, false},
    {"W4A4_MXFP4_FLATQUANT", "w4a4-mxfp4-flatquant", false, false},
    {"W8A8FP8_DYNAMIC", "w8a8fp8-dynamic", false, false},
    {"W8A8S", "w8a8s", false, false},
    {"W8A8SC", "w8a8sc", false, false},
    {"FAKQuant", "fakquant", false, false},
    {"INT8_DYNAMIC", "int8-dynamic", false, false},
    {"C8", "c8", false, false},
};

static void a_type_is_written_or_refused_by_name(void **state) {
    (void)state;
    gs_error err = {0};
    gs_session *session;
    char *dir = gs_test_tmpdir();
    tiny_model(dir, &tiny_default, 2);
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(types); i++) {
        gs_scheme scheme = gs_scheme_from_name(types[i].type);
        assert_int_equal(scheme != GS_SCHEME_COUNT, types[i].read);
        if (types[i].done) {
            assert_true(carried(scheme));
            continue;
        }
        if (types[i].read) assert_false(carried(scheme));
        gs_quantize_options o = {.scheme = types[i].word, .dry_run = true};
        gs_quantize_result r;
        assert_fails(gs_quantize(session, dir, NULL, &o, &r, &err), GS_E_INVALID, &err);
        if (!strstr(err.text, types[i].word)) fail_msg("'%s' lacks '%s'", err.text, types[i].word);
    }
    assert_false(carried(GS_SCHEME_COUNT));
    gs_session_destroy(session);
    gs_test_rmdir(dir);
}

/* Puts another type in the place of W8A16 in a bundle's description. */
static void retype(const char *bundle, const char *type) {
    char command[3000];
    snprintf(command, sizeof command, "sed -i 's/\\(_proj[^\"]*\"\\): \"[^\"]*\"/\\1: \"%s\"/' '%s/quant_model_description.json'",
             type, bundle);
    assert_int_equal(system(command), 0);
}

static void a_type_that_is_not_computed_is_not_loaded_either(void **state) {
    (void)state;
    gs_error err = {0};
    gs_session *session;
    char *dir = gs_test_tmpdir(), model[1100], bundle[1100];
    snprintf(model, sizeof model, "%s/model", dir);
    snprintf(bundle, sizeof bundle, "%s/bundle", dir);
    assert_int_equal(mkdir(model, 0755), 0);
    tiny_model(model, &tiny_default, 2);
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    gs_quantize_result r;
    assert_ok(gs_quantize(session, model, bundle, NULL, &r, &err), &err);
    gs_quantize_result_clear(&r);
    for (size_t i = 0; i < GS_COUNTOF(types); i++) {
        gs_opened opened;
        if (gs_scheme_from_name(types[i].type) != GS_SCHEME_COUNT && strcmp(types[i].type, "W8A16") != 0) continue;
        retype(bundle, types[i].type);
        if (types[i].done) {
            assert_ok(gs_opened_open(NULL, bundle, NULL, &opened, &err), &err);
            gs_opened_close(&opened);
            continue;
        }
        assert_fails(gs_opened_open(NULL, bundle, NULL, &opened, &err), GS_E_UNSUPPORTED, &err);
        if (!strstr(err.text, types[i].type)) fail_msg("'%s' lacks '%s'", err.text, types[i].type);
    }
    gs_session_destroy(session);
    gs_test_rmdir(dir);
}

/* vllm-ascend looks every linear up; MindIE knows one scheme a bundle, and float. */
static void a_target_says_which_schemes_may_stand_together(void **state) {
    (void)state;
    for (int target = 0; target < GS_TARGET_COUNT; target++)
        for (int dominant = 0; dominant < GS_SCHEME_COUNT; dominant++)
            for (int scheme = 0; scheme < GS_SCHEME_COUNT; scheme++) {
                bool want = target == GS_TARGET_VLLM_ASCEND || scheme == GS_SCHEME_FLOAT || scheme == dominant;
                bool small = scheme == GS_SCHEME_FLOAT || scheme == GS_SCHEME_W8A8 || scheme == GS_SCHEME_W8A8_DYNAMIC;
                if (target == GS_TARGET_310P) want = small;
                assert_int_equal(gs_target_permits((gs_target)target, (gs_scheme)dominant, (gs_scheme)scheme), want);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_combination_is_done_or_refused_by_name),
        cmocka_unit_test(a_type_is_written_or_refused_by_name),
        cmocka_unit_test(a_type_that_is_not_computed_is_not_loaded_either),
        cmocka_unit_test(a_target_says_which_schemes_may_stand_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
