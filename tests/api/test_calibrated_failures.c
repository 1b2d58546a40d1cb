/* Calibration and calibrated quantization that end early, by memory or by the user's wish, leave nothing behind; and what
 * the public functions refuse before they begin. */
#include <gstick.h>

#include "../support.h"
#include "../tiny_model.h"

#include <base/context.h>
#include <base/mem.h>
#include <sys/stat.h>

typedef struct fixture {
    char *root;
    char model[1100], ids[1100], stats[1100], bundle[1100], other[1100];
    gs_calibrate_options set;
} fixture;

static void begin(fixture *f) {
    static const tiny_shape shape = {96, 32, 48, 1, 4, 2, GS_F32, false};
    f->root = gs_test_tmpdir();
    snprintf(f->model, sizeof f->model, "%s/model", f->root);
    snprintf(f->ids, sizeof f->ids, "%s/model/ids.i32", f->root);
    snprintf(f->stats, sizeof f->stats, "%s/model/stats", f->root);
    snprintf(f->bundle, sizeof f->bundle, "%s/bundle", f->root);
    snprintf(f->other, sizeof f->other, "%s/other", f->root);
    assert_int_equal(mkdir(f->model, 0755), 0);
    tiny_model(f->model, &shape, 3);
    tiny_tokens(f->ids, 120, 96, 5);
    f->set = (gs_calibrate_options){.calib = f->ids, .samples = 3, .seq = 40, .sample_rows = 16};
}

static void end(fixture *f) { gs_test_rmdir(f->root); }

static void assert_only_model_left(const fixture *f) {
    char command[1300];
    snprintf(command, sizeof command, "test \"$(ls -A '%s')\" = model", f->root);
    assert_int_equal(system(command), 0);
}

typedef gs_status job(gs_session *s, const fixture *f, gs_error *err);

static gs_status calibrate(gs_session *s, const fixture *f, gs_error *err) {
    gs_calibrate_result r;
    return gs_calibrate(s, f->model, f->bundle, &f->set, &r, err);
}

static gs_status quantize(gs_session *s, const fixture *f, gs_quantize_options o, gs_error *err) {
    gs_quantize_result r;
    gs_status status = gs_quantize(s, f->model, f->bundle, &o, &r, err);
    if (status == GS_OK) gs_quantize_result_clear(&r);
    return status;
}

static gs_status quantize_by_set(gs_session *s, const fixture *f, gs_error *err) {
    return quantize(s, f, (gs_quantize_options){.scheme = "w8a8", .calibrate = f->set, .refine = true}, err);
}

static gs_status quantize_sequentially(gs_session *s, const fixture *f, gs_error *err) {
    return quantize(s, f, (gs_quantize_options){.scheme = "w8a8", .alpha = "0.5", .calibrate = f->set, .sequential = true}, err);
}

static gs_status quantize_by_statistics(gs_session *s, const fixture *f, gs_error *err) {
    return quantize(s, f, (gs_quantize_options){.scheme = "w8a8-dynamic", .stats = f->stats}, err);
}

static gs_status merge(gs_session *s, const fixture *f, gs_error *err) {
    (void)s;
    const char *const inputs[] = {f->stats, f->stats};
    return gs_merge_statistics(inputs, 2, f->bundle, err);
}

static job *const jobs[] = {calibrate, quantize_by_set, quantize_sequentially, quantize_by_statistics, merge};

static void make_statistics(const fixture *f) {
    gs_error err = {0};
    gs_session *s;
    gs_calibrate_result r;
    assert_ok(gs_session_create(NULL, &s, &err), &err);
    assert_ok(gs_calibrate(s, f->model, f->stats, &f->set, &r, &err), &err);
    gs_session_destroy(s);
}

/* Each of the first allocations, then some of the thousands: a step that no loop of the code repeats in. */
static void running_out_of_memory_anywhere_leaves_nothing(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    gs_session *s;
    gs_session_options so = {.threads = 1};
    begin(&f);
    make_statistics(&f);
    assert_ok(gs_session_create(&so, &s, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(jobs); i++) {
        gs_status status = GS_E_NOMEM;
        int64_t step = 1, tried = 0;
        for (int64_t k = 0; status != GS_OK; k += step, tried++) {
            if (k == 60) step = 23;
            gs_mem_fail_after(k);
            status = jobs[i](s, &f, &err);
            gs_mem_fail_after(-1);
            if (status == GS_OK) continue;
            if (status != GS_E_NOMEM) fail_msg("job %zu, allocation %lld: %s", i, (long long)k, err.text);
            assert_only_model_left(&f);
        }
        print_message("job %zu: %lld failures\n", i, (long long)tried - 1);
        assert_true(tried > 20);
        char command[1300];
        snprintf(command, sizeof command, "rm -r '%s'", f.bundle);
        assert_int_equal(system(command), 0);
    }
    gs_session_destroy(s);
    end(&f);
}

/* Asks for the end once `left` reports of progress have come. */
static void cancel_later(void *ui, const char *what, int64_t done, int64_t total) {
    (void)what;
    (void)done;
    (void)total;
    int *left = ui;
    if ((*left)-- == 0) gs_cancel_request();
}

static void a_cancelled_job_leaves_nothing(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    begin(&f);
    make_statistics(&f);
    for (size_t i = 0; i + 1 < GS_COUNTOF(jobs); i++) {
        bool done = false;
        for (int reports = 0; !done; reports++) {
            int left = reports;
            gs_session *s;
            gs_session_options so = {.threads = 2, .progress = cancel_later, .ui = &left};
            assert_ok(gs_session_create(&so, &s, &err), &err);
            gs_status status = jobs[i](s, &f, &err);
            gs_cancel_reset();
            gs_session_destroy(s);
            done = status == GS_OK;
            if (done) break;
            assert_int_equal(status, GS_E_CANCELLED);
            assert_only_model_left(&f);
        }
        char command[1300];
        snprintf(command, sizeof command, "rm -r '%s'", f.bundle);
        assert_int_equal(system(command), 0);
    }
    gs_cancel_request();
    assert_fails(merge(NULL, &f, &err), GS_E_CANCELLED, &err);
    gs_cancel_reset();
    assert_only_model_left(&f);
    end(&f);
}

static void impossible_calls_are_refused(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    gs_session *s;
    gs_calibrate_result r;
    begin(&f);
    assert_ok(gs_session_create(NULL, &s, &err), &err);
    gs_calibrate_options o = f.set;
    assert_fails(gs_calibrate(s, f.model, NULL, &o, &r, &err), GS_E_INVALID, &err);
    assert_fails(gs_calibrate(s, f.model, "", &o, &r, &err), GS_E_INVALID, &err);
    assert_fails(gs_calibrate(s, f.model, f.model, &o, &r, &err), GS_E_INVALID, &err);
    o.calib = NULL;
    assert_fails(gs_calibrate(s, f.model, f.bundle, &o, &r, &err), GS_E_INVALID, &err);
    o = f.set;
    o.skip_tokens = -1;
    assert_fails(gs_calibrate(s, f.model, f.bundle, &o, &r, &err), GS_E_INVALID, &err);
    assert_fails(gs_merge_statistics(NULL, 0, f.bundle, &err), GS_E_INVALID, &err);
    const char *const one[] = {f.model};
    assert_fails(gs_merge_statistics(one, 1, NULL, &err), GS_E_INVALID, &err);
    /* a bundle is no float model */
    assert_ok(quantize(s, &f, (gs_quantize_options){.scheme = "w8a16"}, &err), &err);
    assert_fails(gs_calibrate(s, f.bundle, f.other, &f.set, &r, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "calibrate the float model"));
    gs_quantize_result q;
    gs_quantize_options w8a8 = {.scheme = "w8a8", .calibrate = f.set};
    assert_fails(gs_quantize(s, f.bundle, f.other, &w8a8, &q, &err), GS_E_UNSUPPORTED, &err);
    gs_session_destroy(s);
    end(&f);
}

/* The default length of a sequence does not exceed what the model was trained for. */
static void the_default_sequence_fits_the_model(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    gs_session *s;
    gs_calibrate_result r;
    begin(&f);
    tiny_tokens(f.ids, 600, 96, 5); /* of 256 positions */
    f.set = (gs_calibrate_options){.calib = f.ids};
    assert_ok(gs_session_create(NULL, &s, &err), &err);
    assert_ok(gs_calibrate(s, f.model, f.bundle, &f.set, &r, &err), &err);
    assert_int_equal(r.sequences, 2);
    assert_int_equal(r.tokens, 512);
    assert_non_null(strstr(r.note, "2 of 128"));
    gs_session_destroy(s);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(running_out_of_memory_anywhere_leaves_nothing),
        cmocka_unit_test(a_cancelled_job_leaves_nothing),
        cmocka_unit_test(impossible_calls_are_refused),
        cmocka_unit_test(the_default_sequence_fits_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
