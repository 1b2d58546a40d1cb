/* Every family in every format that takes it: whatever is written is found to be whole, alone and against its source, and
 * can be loaded back. */
#include "families.h"

#include <math.h>

static const char *const formats[] = {"ascend", "mindspore", "mindspore-ckpt", "compressed-tensors", "gptq", "gguf"};
static const char *const schemes[] = {"w8a16", "w8a8-dynamic", "w8a8", "float"}, *const dtypes[] = {"bf16", "f16"};

static void expect_loaded(const work *w, const char *what) {
    gs_error err = {0};
    gs_eval_result e;
    const gs_evaluate_options o = {.tokens = w->ids, .window = 96, .bos = -1};
    if (gs_evaluate(w->session, w->bundle, &o, &e, &err) != GS_OK) fail_msg("%s: %s", what, err.text);
    assert_true(isfinite(e.nll));
}

/* False: the format does not take it, and says so. */
static bool holds(const work *w, const char *format, const char *scheme, const char *dtype) {
    gs_error err = {0};
    gs_quantize_result r;
    char what[200];
    gs_quantize_options o = {.format = format, .scheme = scheme, .dtype = dtype};
    if (strcmp(scheme, "w8a8") == 0) o.calibrate = (gs_calibrate_options){.calib = w->ids, .seq = 96};
    gs_status status = gs_quantize(w->session, w->folder, w->bundle, &o, &r, &err);
    snprintf(what, sizeof what, "%s as %s, %s %s", strrchr(w->folder, '/') + 1, format, scheme, dtype);
    if (status == GS_E_UNSUPPORTED || status == GS_E_INVALID) return false;
    if (status != GS_OK) fail_msg("%s: %s", what, err.text);
    gs_quantize_result_clear(&r);
    expect_verified(w, what);
    expect_loaded(w, what);
    return true;
}

static int good_bundles(work *w, const char *dir, const char *format, int *number) {
    int good = 0;
    for (size_t i = 0; i < GS_COUNTOF(schemes) * GS_COUNTOF(dtypes); i++) {
        snprintf(w->bundle, sizeof w->bundle, "%s/%d", dir, ++*number);
        good += holds(w, format, schemes[i / 2], dtypes[i % 2]);
    }
    return good;
}

static void whatever_a_format_takes_is_whole(void **state) {
    (void)state;
    gs_need_data(first, "reference/families/llama2/logits.f32");
    (void)first;
    gs_error err = {0};
    const gs_session_options so = {.threads = 1};
    work w;
    int taken[GS_COUNTOF(formats)] = {0}, number = 0;
    assert_ok(gs_session_create(&so, &w.session, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(families); i++) {
        char *dir = gs_test_tmpdir();
        work_on(&w, families[i]);
        for (size_t f = 0; f < GS_COUNTOF(formats); f++) {
            int good = good_bundles(&w, dir, formats[f], &number);
            taken[f] += good;
            if (strcmp(formats[f], "ascend") == 0) assert_int_equal(good, GS_COUNTOF(schemes) * GS_COUNTOF(dtypes));
        }
        gs_test_rmdir(dir);
    }
    for (size_t f = 0; f < GS_COUNTOF(formats); f++) {
        print_message("%-20s %d good bundles\n", formats[f], taken[f]);
        assert_true(taken[f] >= 16); /* of four families at least */
    }
    gs_session_destroy(w.session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_a_format_takes_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
