/* The main job through the public header alone, on the model that the repository carries: its
 * perplexity is known from an independent program, its floor from the grammar that made the text
 * (examples/grammar-lm/README.md). */
#include <gstick.h>

#include "../support.h"

#include <math.h>

static const char model[] = "examples/grammar-lm", text[] = "examples/grammar-lm/eval.txt";

typedef struct ears {
    int64_t calls, last, total;
} ears;

static void progress(void *ui, const char *what, int64_t done, int64_t total) {
    ears *e = ui;
    assert_non_null(what);
    assert_true(done >= e->last || done == 0);
    assert_true(done <= total);
    e->calls++;
    e->last = done;
    e->total = total;
}

static void the_carried_model_has_its_published_perplexity_above_the_floor(void **state) {
    (void)state;
    gs_error err = {0};
    gs_session *session;
    ears e = {0};
    gs_session_options so = {.threads = 2, .progress = progress, .ui = &e};
    assert_ok(gs_session_create(&so, &session, &err), &err);
    gs_evaluate_options o = {.text = text, .window = 512};
    gs_eval_result r;
    assert_ok(gs_evaluate(session, model, &o, &r, &err), &err);
    print_message("perplexity %.5f\n", r.ppl);
    assert_true(fabs(r.ppl - 2.07823) <= 0.0005);
    assert_true(r.nll > 0.691602); /* the grammar's own */
    assert_true(e.calls > 1 && e.last == e.total);
    e = (ears){0};
    o.dtype = "bf16";
    gs_eval_result half;
    assert_ok(gs_evaluate(session, model, &o, &half, &err), &err);
    assert_true(fabs(half.ppl - r.ppl) <= 0.005 * r.ppl);
    gs_session_destroy(session);
}

static void quantizing_it_costs_little_and_says_what_it_did(void **state) {
    (void)state;
    gs_error err = {0};
    gs_session *session;
    char *dir = gs_test_tmpdir(), bundle[1200];
    snprintf(bundle, sizeof bundle, "%s/bundle", dir);
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    gs_quantize_result q;
    assert_ok(gs_quantize(session, model, bundle, NULL, &q, &err), &err);
    assert_string_equal(q.dtype, "bfloat16");
    assert_int_equal(q.layer_count, 4 * 7 + 1);
    for (size_t i = 0; i + 1 < q.layer_count; i++) assert_true(q.layer[i].sqnr_db > 30);
    assert_string_equal(q.layer[q.layer_count - 1].name, "lm_head");
    assert_string_equal(q.layer[q.layer_count - 1].scheme, "FLOAT");
    gs_quantize_result_clear(&q);
    gs_evaluate_options o = {.text = text, .window = 512, .against = model};
    gs_eval_result r;
    assert_ok(gs_evaluate(session, bundle, &o, &r, &err), &err);
    print_message("delta %+.5f, KL %.6f, top-1 %.4f\n", r.delta_ppl, r.kld_mean, r.top1_agreement);
    assert_true(r.compared && fabs(r.delta_ppl) <= 0.005);
    assert_true(r.kld_mean > 0 && r.kld_mean <= 0.001 && r.kld_p99 > r.kld_mean);
    assert_true(r.top1_agreement >= 0.99 && r.top1_agreement < 1);
    gs_session_destroy(session);
    gs_test_rmdir(dir);
}

static void a_dry_run_writes_nothing(void **state) {
    (void)state;
    gs_error err = {0};
    gs_session *session;
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    gs_quantize_options o = {.dry_run = true, .scale_convention = "goldenstick", .dtype = "f32"};
    gs_quantize_result q;
    assert_ok(gs_quantize(session, model, NULL, &o, &q, &err), &err);
    assert_int_equal(q.bytes_out, 0);
    assert_true(q.layer[0].saturated > 0); /* 2m/255: a row's largest weight lies at 127.5 steps */
    gs_quantize_result_clear(&q);
    gs_session_destroy(session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_carried_model_has_its_published_perplexity_above_the_floor),
        cmocka_unit_test(quantizing_it_costs_little_and_says_what_it_did),
        cmocka_unit_test(a_dry_run_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
