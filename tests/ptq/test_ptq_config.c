/* The legality matrix of golden-stick.md 1.12, row by row, and what it refuses. */
#include "../support.h"

#include <ptq/ptq_config.h>

typedef struct combination {
    gs_quant_dtype weight, act, kv;
    gs_granularity weight_granularity, act_granularity, kv_granularity;
    gs_outliers outliers;
    gs_recovery recovery;
    int64_t group;
    bool desc_act;
} combination;

static gs_ptq_config build(const combination *c) {
    gs_ptq_config p = gs_ptq_config_w8a16();
    p.weight_quant_dtype = c->weight;
    p.act_quant_dtype = c->act;
    p.kvcache_quant_dtype = c->kv;
    p.weight_quant_granularity = c->weight_granularity;
    p.act_quant_granularity = c->act_granularity;
    p.kvcache_quant_granularity = c->kv_granularity;
    p.outliers_suppression = c->outliers;
    p.precision_recovery = c->recovery;
    p.group_size = c->group;
    p.desc_act = c->desc_act;
    return p;
}

#define I8 GS_QUANT_INT8
#define I4 GS_QUANT_INT4
#define F GS_QUANT_NONE
#define T GS_PER_TENSOR
#define C GS_PER_CHANNEL
#define G GS_PER_GROUP
#define K GS_PER_TOKEN

static void every_row_of_the_matrix_is_legal(void **state) {
    (void)state;
    static const combination legal[] = {
        {I8, F, F, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false},
        {I8, F, I8, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false},
        {I8, F, F, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 128, false},
        {I8, F, F, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 32, false},
        {I8, I8, F, C, T, C, GS_OUTLIERS_SMOOTH, GS_RECOVERY_NONE, 0, false},
        {I8, I8, I8, C, T, C, GS_OUTLIERS_SMOOTH, GS_RECOVERY_NONE, 0, false},
        {I8, I8, F, C, T, C, GS_OUTLIERS_OSL, GS_RECOVERY_NONE, 0, false},
        {I8, I8, F, C, K, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false},
        {I8, I8, I8, C, K, K, GS_OUTLIERS_SMOOTH, GS_RECOVERY_NONE, 0, false},
        {I4, F, F, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false},
        {I4, F, F, G, T, C, GS_OUTLIERS_AWQ, GS_RECOVERY_NONE, 64, false},
        {I4, F, F, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 128, true},
        {I4, I8, F, G, K, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 256, true},
        {F, F, I8, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false},
        {F, F, I8, C, T, K, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false},
    };
    for (size_t i = 0; i < GS_COUNTOF(legal); i++) {
        gs_error err = {0};
        gs_ptq_config c = build(&legal[i]);
        if (gs_ptq_config_check(&c, &err) != GS_OK) fail_msg("legal row %zu was refused: %s", i, err.text);
    }
}

static void what_the_matrix_leaves_out_is_refused(void **state) {
    (void)state;
    static const struct {
        combination c;
        const char *word; /* of the message */
    } illegal[] = {
        {{F, I8, F, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false}, "weights stay float"},
        {{F, I8, I8, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false}, "weights stay float"},
        {{I8, I8, F, C, T, C, GS_OUTLIERS_AWQ, GS_RECOVERY_NONE, 0, false}, "AWQ"},
        {{I8, I8, I8, C, K, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 0, false}, "GPTQ"},
        {{I8, I8, I8, C, T, C, GS_OUTLIERS_OSL, GS_RECOVERY_NONE, 0, false}, "KV"},
        {{I8, I8, F, G, K, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 64, false}, "per-channel"},
        {{I8, I8, F, C, K, C, GS_OUTLIERS_OSL, GS_RECOVERY_NONE, 0, false}, "per-token"},
        {{I4, F, I8, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false}, "int8 KV cache"},
        {{I4, I8, F, C, K, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 0, false}, "per-group"},
        {{I4, I8, F, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_GPTQ, 64, false}, "per-token"},
        {{I4, F, F, G, T, C, GS_OUTLIERS_SMOOTH, GS_RECOVERY_NONE, 64, false}, "AWQ"},
        {{I4, F, F, G, T, C, GS_OUTLIERS_AWQ, GS_RECOVERY_GPTQ, 64, false}, "do not combine"},
        {{I8, F, F, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 64, false}, "group size"},
        {{I8, F, F, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false}, "group size"},
        {{I4, F, F, G, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 100, false}, "group size"},
        {{I8, F, F, T, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false}, "per channel or per group"},
        {{I8, I8, F, C, G, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false}, "per tensor or per token"},
        {{I8, F, I8, C, T, G, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false}, "per channel or per token"},
        {{I8, F, F, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, true}, "desc_act"},
        {{I8, I4, F, C, T, C, GS_OUTLIERS_NONE, GS_RECOVERY_NONE, 0, false}, "int8 or float"},
        {{F, F, F, C, T, C, GS_OUTLIERS_SMOOTH, GS_RECOVERY_NONE, 0, false}, "float weights"},
        {{I8, F, F, C, T, C, GS_OUTLIERS_SMOOTH, GS_RECOVERY_NONE, 0, false}, "outlier suppression"},
    };
    for (size_t i = 0; i < GS_COUNTOF(illegal); i++) {
        gs_error err = {0};
        gs_ptq_config c = build(&illegal[i].c);
        assert_fails(gs_ptq_config_check(&c, &err), GS_E_INVALID, &err);
        if (!strstr(err.text, illegal[i].word)) fail_msg("row %zu: '%s' lacks '%s'", i, err.text, illegal[i].word);
    }
}

static void the_backend_must_be_ascend(void **state) {
    (void)state;
    gs_error err = {0};
    gs_ptq_config c = gs_ptq_config_w8a16();
    assert_ok(gs_ptq_config_check(&c, &err), &err);
    c.backend = GS_BACKEND_NONE;
    assert_fails(gs_ptq_config_check(&c, &err), GS_E_INVALID, &err);
}

static void a_policy_obeys_the_matrix_too(void **state) {
    (void)state;
    gs_error err = {0};
    gs_ptq_config bad = gs_ptq_config_w8a16(), c = gs_ptq_config_w8a16();
    bad.group_size = 64;
    gs_layer_policy policy[2] = {{"float", NULL}, {"broken.*", &bad}};
    c.layer_policies = policy;
    c.layer_policy_count = 2;
    assert_fails(gs_ptq_config_check(&c, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "broken.*"));
}

static void tags_are_golden_sticks(void **state) {
    (void)state;
    gs_ptq_config c = gs_ptq_config_w8a16();
    assert_string_equal(gs_ptq_config_tag(&c), "A16W8");
    c.act_quant_dtype = I8;
    assert_string_equal(gs_ptq_config_tag(&c), "A8W8");
    c.kvcache_quant_dtype = I8;
    assert_string_equal(gs_ptq_config_tag(&c), "A8W8C8");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_the_matrix_is_legal),
        cmocka_unit_test(what_the_matrix_leaves_out_is_refused),
        cmocka_unit_test(the_backend_must_be_ascend),
        cmocka_unit_test(a_policy_obeys_the_matrix_too),
        cmocka_unit_test(tags_are_golden_sticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
