/* Mixtures of experts through the public header: routers stay float, experts are quantized, those that calibration did not
 * reach are told, and what a server takes as one stays one. */
#include "../support.h"

#include <base/file.h>
#include <gstick.h>

#include <math.h>
#include <stdlib.h>

typedef struct work {
    gs_session *session;
    char *dir, folder[1024], few[1100], bundle[1100], other[1100], stats[1100];
} work;

static void put_ids(const char *path, const int32_t *ids, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(ids, sizeof *ids, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static work begin(const char *folder, int threads) {
    static const int32_t ids[] = {7, 200};
    gs_error err = {0};
    const gs_session_options so = {.threads = threads};
    work w = {.dir = gs_test_tmpdir()};
    snprintf(w.folder, sizeof w.folder, "%s", folder);
    snprintf(w.few, sizeof w.few, "%s/few.i32", w.dir);
    snprintf(w.bundle, sizeof w.bundle, "%s/bundle", w.dir);
    snprintf(w.other, sizeof w.other, "%s/other", w.dir);
    snprintf(w.stats, sizeof w.stats, "%s/stats", w.dir);
    put_ids(w.few, ids, GS_COUNTOF(ids));
    assert_ok(gs_session_create(&so, &w.session, &err), &err);
    return w;
}

static void end(work *w) {
    gs_session_destroy(w->session);
    gs_test_rmdir(w->dir);
}

static void verified(const work *w, const char *bundle, const char *target) {
    gs_error err = {0};
    gs_verify_result v;
    const gs_verify_options o = {.against = w->folder, .target = target};
    assert_ok(gs_verify(w->session, bundle, &o, &v, &err), &err);
    if (v.finding_count) fail_msg("%s %s: %s", v.finding[0].check, v.finding[0].tensor, v.finding[0].text);
    gs_verify_result_clear(&v);
}

/* The one thing that verify finds for vllm-ascend. */
static void expect_mixture(const work *w, const char *tensor) {
    gs_error err = {0};
    gs_verify_result v;
    const gs_verify_options o = {.target = "vllm-ascend"};
    assert_ok(gs_verify(w->session, w->bundle, &o, &v, &err), &err);
    assert_int_equal(v.finding_count, 1);
    assert_string_equal(v.finding[0].check, "target-mixture");
    assert_string_equal(v.finding[0].tensor, tensor);
    gs_verify_result_clear(&v);
}

static bool same_weights(const work *w) {
    char command[4000];
    snprintf(command, sizeof command, "cd '%s' && for f in *.safetensors quant_model_description.json; do cmp -s \"$f\" '%s'/\"$f\" || exit 1; done",
             w->bundle, w->other);
    return system(command) == 0;
}

/* A projection of an expert, not of attention or of a dense mlp. */
static bool is_experts(const gs_layer_summary *l) { return strstr(l->name, ".experts.") != NULL; }

static void two_tokens_do_not_reach_all_experts(void **state) {
    (void)state;
    gs_need_data(folder, "reference/families/qwen3-moe");
    gs_error err = {0};
    work w = begin(folder, 1);
    gs_quantize_result q;
    int reached = 0, unreached = 0, routers = 0;
    const gs_quantize_options o = {.scheme = "w8a8", .target = "mindie", .calibrate = {.calib = w.few, .seq = 2}};
    assert_ok(gs_quantize(w.session, w.folder, w.bundle, &o, &q, &err), &err);
    for (size_t i = 0; i < q.layer_count; i++) {
        const gs_layer_summary *l = &q.layer[i];
        if (strcmp(l->reason, "router") == 0) {
            assert_string_equal(l->scheme, "FLOAT");
            assert_non_null(strstr(l->name, ".mlp.gate"));
            routers++;
        } else if (strcmp(l->reason, "no calibration token reached it") == 0) {
            assert_true(is_experts(l) && l->fallback);
            assert_string_equal(l->scheme, "FLOAT");
            unreached++;
        } else if (is_experts(l)) {
            assert_string_equal(l->scheme, "W8A8");
            reached++;
        }
    }
    assert_int_equal(routers, 2);
    assert_int_equal(reached + unreached, 2 * 8 * 3);
    assert_true(reached >= 2 * 2 * 3 && reached <= 2 * 4 * 3 && reached % 3 == 0); /* 2 tokens, 2 experts each */
    gs_quantize_result_clear(&q);
    verified(&w, w.bundle, "mindie");
    end(&w);
}

/* What vllm-ascend loads: the layers that have such an expert get another scheme as a whole. */
static void unreached_experts_take_their_layer_along_for_vllm(void **state) {
    (void)state;
    gs_need_data(folder, "reference/families/qwen3-moe");
    static const char *const targets[] = {"vllm-ascend", "both"}, *const got[] = {"W8A8_DYNAMIC", "FLOAT"};
    for (int t = 0; t < 2; t++) {
        gs_error err = {0};
        work w = begin(folder, 1);
        gs_quantize_result q;
        int unreached = 0, along = 0;
        const gs_quantize_options o = {.scheme = "w8a8", .target = targets[t], .calibrate = {.calib = w.few, .seq = 2}};
        assert_ok(gs_quantize(w.session, w.folder, w.bundle, &o, &q, &err), &err);
        for (size_t i = 0; i < q.layer_count; i++) {
            const gs_layer_summary *l = &q.layer[i];
            if (!is_experts(l)) continue;
            assert_string_equal(l->scheme, got[t]);
            assert_true(l->fallback);
            unreached += strcmp(l->reason, "no calibration token reached it") == 0;
            along += strcmp(l->reason, "as another expert of its layer, which no token reached") == 0;
        }
        assert_int_equal(unreached + along, 2 * 8 * 3);
        assert_true(unreached >= 2 * 4 * 3 && along >= 2 * 2 * 3);
        gs_quantize_result_clear(&q);
        verified(&w, w.bundle, targets[t]);
        end(&w);
    }
}

/* A threshold that nothing meets: the experts stay as asked, all others fall. */
static void no_expert_falls_back_alone_for_vllm(void **state) {
    (void)state;
    gs_need_data(folder, "reference/families/mixtral-moe");
    static const char *const targets[] = {"vllm-ascend", "mindie"};
    for (int t = 0; t < 2; t++) {
        gs_error err = {0};
        work w = begin(folder, 1);
        char ids[1100];
        gs_quantize_result q;
        int fallen = 0;
        snprintf(ids, sizeof ids, "%s/ids.i32", w.folder);
        const gs_quantize_options o = {.scheme = "w8a8", .target = targets[t], .fallback_threshold = 1e-9, .fallback_share = 1,
                                       .calibrate = {.calib = ids, .seq = 96}};
        assert_ok(gs_quantize(w.session, w.folder, w.bundle, &o, &q, &err), &err);
        for (size_t i = 0; i < q.layer_count; i++) {
            const gs_layer_summary *l = &q.layer[i];
            if (is_experts(l)) assert_string_equal(l->scheme, t == 0 ? "W8A8" : "FLOAT");
            fallen += l->fallback;
        }
        assert_int_equal(fallen, t == 0 ? 3 * 4 : 3 * (4 + 4 * 3));
        gs_quantize_result_clear(&q);
        verified(&w, w.bundle, targets[t]);
        end(&w);
    }
}

/* The same bundle whichever way, on however many threads. */
static void statistics_of_few_tokens_serve_as_well(void **state) {
    (void)state;
    gs_need_data(folder, "reference/families/qwen3-moe");
    gs_error err = {0};
    work w = begin(folder, 3);
    gs_quantize_result q;
    gs_calibrate_result c;
    const gs_calibrate_options co = {.calib = w.few, .seq = 2};
    gs_quantize_options o = {.scheme = "w8a8", .target = "mindie", .calibrate = co};
    assert_ok(gs_quantize(w.session, w.folder, w.bundle, &o, &q, &err), &err);
    gs_quantize_result_clear(&q);
    assert_ok(gs_calibrate(w.session, w.folder, w.stats, &co, &c, &err), &err);
    gs_session_destroy(w.session);
    assert_ok(gs_session_create(NULL, &w.session, &err), &err);
    o.calibrate = (gs_calibrate_options){0};
    o.stats = w.stats;
    assert_ok(gs_quantize(w.session, w.folder, w.other, &o, &q, &err), &err);
    gs_quantize_result_clear(&q);
    assert_true(same_weights(&w));
    end(&w);
}

static void what_needs_no_data_is_done_all_the_same(void **state) {
    (void)state;
    gs_need_data(folder, "reference/families/mixtral-moe");
    gs_error err = {0};
    work w = begin(folder, 2);
    gs_quantize_result q;
    int unreached = 0, experts = 0;
    const gs_quantize_options o = {.scheme = "w8a8-dynamic", .alpha = "0.5", .calibrate = {.calib = w.few, .seq = 2, .skip_tokens = 1}};
    assert_ok(gs_quantize(w.session, w.folder, w.bundle, &o, &q, &err), &err);
    for (size_t i = 0; i < q.layer_count; i++) {
        const gs_layer_summary *l = &q.layer[i];
        if (!is_experts(l)) continue;
        experts++;
        assert_string_equal(l->scheme, "W8A8_DYNAMIC");
        assert_false(l->fallback);
        unreached += strcmp(l->reason, "no calibration token reached it") == 0;
    }
    assert_int_equal(experts, 3 * 4 * 3);
    assert_int_equal(unreached, 3 * (4 - 2) * 3); /* one token counts */
    gs_quantize_result_clear(&q);
    verified(&w, w.bundle, NULL);
    end(&w);
}

/* vllm-ascend would take the first expert's type for all. */
static void experts_of_a_layer_have_one_type_for_vllm(void **state) {
    (void)state;
    gs_need_data(folder, "reference/families/qwen3-moe");
    static const char *const targets[] = {"vllm-ascend", "both"};
    static const char *const one[] = {"lm_head", "layers.2.mlp.experts.5.down_proj"};
    gs_error err = {0};
    work w = begin(folder, 1);
    gs_quantize_result q;
    for (int i = 0; i < 3; i++) {
        gs_quantize_options o = {.scheme = "w8a16", .target = i < 2 ? targets[i] : "mindie", .blacklist = one, .blacklist_count = 2};
        gs_status status = gs_quantize(w.session, w.folder, w.bundle, &o, &q, &err);
        if (i == 2) {
            assert_ok(status, &err);
            gs_quantize_result_clear(&q);
            verified(&w, w.bundle, "mindie");
            expect_mixture(&w, "model.layers.2.mlp.experts.5.down_proj");
            break;
        }
        assert_int_equal(status, GS_E_UNSUPPORTED);
        assert_non_null(strstr(err.text, "layers.2.mlp.experts.0.gate_proj' is W8A16"));
        assert_non_null(strstr(err.text, "layers.2.mlp.experts.5.down_proj' is FLOAT: vllm-ascend takes the experts"));
        assert_true(err.hint[0] != 0);
        assert_false(gs_path_exists(w.bundle));
    }
    /* a whole layer of them is no mixture */
    static const char *const layer[] = {"lm_head", "layers.2.mlp.experts"};
    const gs_quantize_options o = {.scheme = "w8a16", .target = "vllm-ascend", .blacklist = layer, .blacklist_count = 2};
    assert_ok(gs_quantize(w.session, w.folder, w.other, &o, &q, &err), &err);
    gs_quantize_result_clear(&q);
    verified(&w, w.other, "vllm-ascend");
    end(&w);
}

/* up's rows carry factors for down, inside each expert; in front of experts nothing is smoothed. */
static void smoothing_stays_inside_experts(void **state) {
    (void)state;
    gs_need_data(folder, "reference/families/mixtral-moe");
    gs_error err = {0};
    work w = begin(folder, 1);
    char ids[1100];
    gs_quantize_result q;
    snprintf(ids, sizeof ids, "%s/ids.i32", w.folder);
    const gs_quantize_options o = {.scheme = "w8a8-dynamic", .alpha = "0.5", .calibrate = {.calib = ids, .seq = 96}};
    assert_ok(gs_quantize(w.session, w.folder, w.bundle, &o, &q, &err), &err);
    assert_true(q.smoothing_change <= 1e-5);
    for (size_t i = 0; i < q.layer_count; i++) {
        const gs_layer_summary *l = &q.layer[i];
        if (!is_experts(l)) continue;
        bool down = strstr(l->name, ".w2") != NULL;
        assert_int_equal(isnan(l->alpha), !down);
        if (!down) assert_non_null(strstr(l->reason, "not smoothed: the output of select"));
    }
    gs_quantize_result_clear(&q);
    verified(&w, w.bundle, NULL);
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_tokens_do_not_reach_all_experts),
        cmocka_unit_test(unreached_experts_take_their_layer_along_for_vllm),
        cmocka_unit_test(no_expert_falls_back_alone_for_vllm),
        cmocka_unit_test(statistics_of_few_tokens_serve_as_well),
        cmocka_unit_test(what_needs_no_data_is_done_all_the_same),
        cmocka_unit_test(experts_of_a_layer_have_one_type_for_vllm),
        cmocka_unit_test(smoothing_stays_inside_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
