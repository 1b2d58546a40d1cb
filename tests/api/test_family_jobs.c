/* Every family through every scheme, end to end: quantized, written, verified against its source, loaded back and held
 * against the float model. Prints the table. */
#include "families.h"

#include <base/file.h>

#include <math.h>

/* Mean KL divergence that a scheme may leave on random weights of width 64; logits that spread by 9 amplify it, and so do
 * tokens that go to other experts. */
static const struct {
    const char *name;
    double limit, wide_limit;
} schemes[] = {{"w8a16", 0.001, 0.01}, {"w8a8-dynamic", 0.003, 0.02}, {"w8a8", 0.004, 0.03}};

/* Every linear is quantized, or listed with the reason. */
static void check_linears(const gs_quantize_result *r, const char *family) {
    int quantized = 0, routers = 0;
    for (size_t i = 0; i < r->layer_count; i++) {
        const gs_layer_summary *l = &r->layer[i];
        if (strcmp(l->scheme, "FLOAT") != 0) quantized++;
        else if (strcmp(l->reason, "router") == 0) routers++;
        else if (!l->reason[0]) fail_msg("%s: '%s' is FLOAT without a reason", family, l->name);
    }
    assert_true(quantized + routers >= (int)r->layer_count - 1 && quantized > 0); /* all but the head */
}

static double quantized_kld(const work *w, const char *family, const char *scheme) {
    gs_error err = {0};
    gs_quantize_result q;
    gs_eval_result e;
    gs_quantize_options qo = {.scheme = scheme};
    const gs_evaluate_options eo = {.tokens = w->ids, .window = 96, .against = w->folder, .bos = -1};
    if (strcmp(scheme, "w8a8") == 0) qo.calibrate = (gs_calibrate_options){.calib = w->ids, .seq = 96};
    assert_ok(gs_quantize(w->session, w->folder, w->bundle, &qo, &q, &err), &err);
    check_linears(&q, family);
    gs_quantize_result_clear(&q);
    expect_verified(w, family);
    assert_ok(gs_evaluate(w->session, w->bundle, &eo, &e, &err), &err);
    return e.kld_mean;
}

static void every_family_passes_through_every_scheme(void **state) {
    (void)state;
    gs_need_data(first, "reference/families/llama2/logits.f32");
    (void)first;
    gs_error err = {0};
    const gs_session_options so = {.threads = 1};
    work w;
    assert_ok(gs_session_create(&so, &w.session, &err), &err);
    print_message("%-28s %12s %12s %12s  (mean KL divergence)\n", "", schemes[0].name, schemes[1].name, schemes[2].name);
    for (size_t i = 0; i < GS_COUNTOF(families); i++) {
        char *dir = gs_test_tmpdir();
        bool wide = strcmp(families[i], "qwen2") == 0 || strstr(families[i], "-moe");
        double kld[GS_COUNTOF(schemes)];
        work_on(&w, families[i]);
        for (size_t s = 0; s < GS_COUNTOF(schemes); s++) {
            snprintf(w.bundle, sizeof w.bundle, "%s/%s", dir, schemes[s].name);
            kld[s] = quantized_kld(&w, families[i], schemes[s].name);
        }
        print_message("%-28s %12.2e %12.2e %12.2e\n", families[i], kld[0], kld[1], kld[2]);
        for (size_t s = 0; s < GS_COUNTOF(schemes); s++)
            assert_true(kld[s] <= (wide ? schemes[s].wide_limit : schemes[s].limit));
        gs_test_rmdir(dir);
    }
    gs_session_destroy(w.session);
}

/* Before the calibration set is so much as opened. */
static void a_cache_of_a_fused_projection_is_refused(void **state) {
    (void)state;
    static const char *const fused[] = {"reference/families/phi3-fused", "reference/families/baichuan2-7b"};
    gs_error err = {0};
    gs_session *session;
    gs_quantize_result q;
    char *dir = gs_test_tmpdir(), bundle[1100];
    const gs_quantize_options o = {.dtype = "f16", .calibrate = {.calib = "/nowhere/ids.i32", .kv_cache = "int8"}};
    snprintf(bundle, sizeof bundle, "%s/bundle", dir);
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(fused); i++) {
        gs_need_data(folder, fused[i]);
        assert_fails(gs_quantize(session, folder, bundle, &o, &q, &err), GS_E_UNSUPPORTED, &err);
        assert_non_null(strstr(err.text, "attention': its queries, keys and values are one linear"));
        assert_string_equal(err.hint, "--kv-cache none");
    }
    gs_session_destroy(session);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cache_of_a_fused_projection_is_refused),
        cmocka_unit_test(every_family_passes_through_every_scheme),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
