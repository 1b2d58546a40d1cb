/* Calibration and what follows from it, through the public header: the same input gives the same bytes however it is
 * computed, statistics add up, and a written bundle is what was decided. */
#include "../support.h"
#include "../tiny_model.h"

#include <api/choices.h>
#include <api/session.h>
#include <base/hash.h>
#include <base/mem.h>
#include <eval/perplexity.h>
#include <loaders/token_file.h>
#include <math.h>
#include <sys/stat.h>

/* So that these tests do not hang on what is thought to be too bad an error. */
static const char *const no_fallback[] = {"none"};
static const char carried[] = "examples/grammar-lm", text[] = "examples/grammar-lm/eval.txt";

static gs_session *session(int threads, int64_t memory) {
    gs_error err = {0};
    gs_session *s;
    gs_session_options o = {.threads = threads, .memory_budget = memory};
    assert_ok(gs_session_create(&o, &s, &err), &err);
    return s;
}

typedef struct places {
    char *root;
    char path[8][1100];
} places;

static places begin(void) {
    places p = {.root = gs_test_tmpdir()};
    for (int i = 0; i < 8; i++) snprintf(p.path[i], sizeof p.path[i], "%s/%c", p.root, 'a' + i);
    return p;
}

/* One hash of the names and bytes of all files of a directory. */
static uint64_t directory_hash(const char *dir) {
    gs_error err = {0};
    char **names;
    size_t count;
    uint64_t parts[64];
    assert_ok(gs_dir_list(dir, &names, &count, &err), &err);
    assert_true(count > 0 && count <= 32);
    for (size_t i = 0; i < count; i++) {
        char *path = gs_path_join(dir, names[i]), *bytes;
        size_t len;
        assert_ok(gs_file_read(path, 1 << 26, &bytes, &len, &err), &err);
        parts[2 * i] = gs_hash64(names[i], strlen(names[i]));
        parts[2 * i + 1] = gs_hash64(bytes, len);
        gs_free(bytes);
        gs_free(path);
    }
    gs_strlist_free(names, count);
    return gs_hash64(parts, 2 * count * sizeof *parts);
}

/* Names the file that differs. */
static void assert_same_directories(const char *a, const char *b) {
    char command[3000];
    snprintf(command, sizeof command, "diff -rq '%s' '%s'", a, b);
    if (directory_hash(a) == directory_hash(b)) return;
    assert_int_equal(system(command), 0);
    fail_msg("%s and %s differ", a, b);
}

static void calibrate(const char *model, const char *out, const gs_calibrate_options *o, int threads, int64_t memory,
                      gs_calibrate_result *r) {
    gs_error err = {0};
    gs_calibrate_result ignored;
    gs_session *s = session(threads, memory);
    assert_ok(gs_calibrate(s, model, out, o, r ? r : &ignored, &err), &err);
    gs_session_destroy(s);
}

static void quantize(const char *model, const char *out, const gs_quantize_options *o, int threads, int64_t memory) {
    gs_error err = {0};
    gs_quantize_result r;
    gs_session *s = session(threads, memory);
    assert_ok(gs_quantize(s, model, out, o, &r, &err), &err);
    gs_quantize_result_clear(&r);
    gs_session_destroy(s);
}

/* 6 x 512 tokens of 512 bytes: above 1 MiB, so that --memory 1M spills. */
static const gs_calibrate_options set = {.calib = text, .samples = 6, .seq = 512, .seed = 3, .skip_tokens = 1, .sample_rows = 48};
static const struct {
    int threads;
    int64_t memory;
} machines[] = {{1, 0}, {2, 1 << 20}, {3, 0}};

static void statistics_have_the_same_bytes_at_any_thread_count_and_memory(void **state) {
    (void)state;
    places p = begin();
    for (size_t i = 0; i < GS_COUNTOF(machines); i++) {
        gs_calibrate_result r;
        calibrate(carried, p.path[i], &set, machines[i].threads, machines[i].memory, &r);
        assert_int_equal(r.tokens, 6 * 512);
        assert_int_equal(r.edges, 16);
        assert_int_equal(r.spilled_bytes > 0, machines[i].memory > 0);
        if (i) assert_same_directories(p.path[0], p.path[i]);
    }
    gs_test_rmdir(p.root);
}

static void bundles_have_the_same_bytes_at_any_thread_count_and_memory(void **state) {
    (void)state;
    places p = begin();
    gs_quantize_options o = {.scheme = "w8a8", .refine = true, .observer = "mse", .calibrate = set};
    for (size_t i = 0; i < GS_COUNTOF(machines); i++) {
        quantize(carried, p.path[i], &o, machines[i].threads, machines[i].memory);
        if (i) assert_same_directories(p.path[0], p.path[i]);
    }
    gs_test_rmdir(p.root);
}

static void statistics_and_their_calibration_set_give_the_same_bundle(void **state) {
    (void)state;
    static const char *const schemes[] = {"w8a8", "w8a8-dynamic"};
    places p = begin();
    calibrate(carried, p.path[0], &set, 2, 0, NULL);
    for (size_t i = 0; i < GS_COUNTOF(schemes); i++) {
        gs_quantize_options direct = {.scheme = schemes[i], .calibrate = set};
        gs_quantize_options later = {.scheme = schemes[i], .stats = p.path[0]};
        quantize(carried, p.path[1 + 2 * i], &direct, 2, 0);
        quantize(carried, p.path[2 + 2 * i], &later, 1, 0);
        assert_same_directories(p.path[1 + 2 * i], p.path[2 + 2 * i]);
    }
    gs_test_rmdir(p.root);
}

static void sequential_calibration_feeds_what_was_quantized(void **state) {
    (void)state;
    gs_error err = {0};
    places p = begin();
    gs_quantize_options o = {.scheme = "w8a8", .alpha = "none", .dtype = "f32", .fallback = no_fallback, .fallback_count = 1,
                             .calibrate = set};
    quantize(carried, p.path[0], &o, 2, 0);
    o.sequential = true;
    quantize(carried, p.path[1], &o, 2, 0);
    quantize(carried, p.path[2], &o, 1, 1 << 20);
    assert_same_directories(p.path[1], p.path[2]);
    assert_true(directory_hash(p.path[0]) != directory_hash(p.path[1]));
    /* the first block reads what it reads without; a later one does not */
    gs_safetensors *st[2];
    float scale[2][2];
    static const char *const names[] = {"model.layers.0.self_attn.q_proj.input_scale", "model.layers.3.mlp.down_proj.input_scale"};
    for (int b = 0; b < 2; b++) {
        char path[1200];
        snprintf(path, sizeof path, "%s/quant_model_weights.safetensors", p.path[b]);
        assert_ok(gs_safetensors_open(path, &st[b], &err), &err);
        for (int i = 0; i < 2; i++) {
            const gs_tensor *t = gs_safetensors_find(st[b], names[i]);
            assert_non_null(t);
            uint64_t bits = 0;
            memcpy(&bits, t->data, t->bytes < 8 ? (size_t)t->bytes : 8);
            scale[b][i] = (float)bits; /* compared only */
        }
        gs_safetensors_close(st[b]);
    }
    assert_true(scale[0][0] == scale[1][0]);
    assert_true(scale[0][1] != scale[1][1]);
    gs_session *s = session(2, 0);
    gs_evaluate_options e = {.text = text, .window = 512, .max_windows = 8, .against = carried};
    gs_eval_result r;
    assert_ok(gs_evaluate(s, p.path[1], &e, &r, &err), &err);
    assert_true(fabs(r.delta_ppl) < 0.05);
    gs_session_destroy(s);
    gs_test_rmdir(p.root);
}

/* ---- merging ---- */

/* Lines [first, first + n) of a set whose every line is longer than 64 tokens. */
static void write_lines(const char *path, int first, int n) {
    gs_error err = {0};
    char *all;
    size_t len;
    assert_ok(gs_file_read(text, 1 << 24, &all, &len, &err), &err);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = first; i < first + n; i++) {
        fputs("{\"text\": \"", f);
        for (const char *c = all + 600 * i; c < all + 600 * (i + 1); c++)
            if (*c != '"' && *c != '\\') fputc(*c == '\n' ? ' ' : *c, f);
        fputs("\"}\n", f);
    }
    assert_int_equal(fclose(f), 0);
    gs_free(all);
}

static void assert_adds_up(const gs_observer *whole, const gs_observer *merged) {
    assert_int_equal(whole->rows, merged->rows);
    assert_int_equal(whole->sample_rows, merged->sample_rows);
    assert_memory_equal(whole->min, merged->min, (size_t)whole->width * sizeof(float));
    assert_memory_equal(whole->max, merged->max, (size_t)whole->width * sizeof(float));
    assert_memory_equal(whole->histogram, merged->histogram, GS_HISTOGRAM_BINS * sizeof *whole->histogram);
    assert_true(whole->token_absmax_max == merged->token_absmax_max);
    for (int64_t i = 0; i < whole->width; i++) {
        assert_true(fabs(whole->abs_sum[i] - merged->abs_sum[i]) <= 1e-12 * whole->abs_sum[i]);
        assert_true(fabs(whole->square_sum[i] - merged->square_sum[i]) <= 1e-12 * whole->square_sum[i]);
    }
}

static void halves_add_up_to_the_whole(void **state) {
    (void)state;
    enum { LINES = 8 };
    static const int parts[3][2] = {{0, LINES}, {0, LINES / 2}, {LINES / 2, LINES / 2}};
    gs_error err = {0};
    places p = begin();
    for (int i = 0; i < 3; i++) {
        char lines[1200];
        snprintf(lines, sizeof lines, "%s/%d.jsonl", p.root, i);
        write_lines(lines, parts[i][0], parts[i][1]);
        gs_calibrate_options o = {.calib = lines, .samples = parts[i][1], .seq = 64, .sample_rows = i ? 16 : 32};
        gs_calibrate_result r;
        calibrate(carried, p.path[i], &o, 2, 0, &r);
        assert_int_equal(r.tokens, 64 * parts[i][1]);
    }
    const char *const halves[] = {p.path[1], p.path[2]};
    assert_ok(gs_merge_statistics(halves, 2, p.path[3], &err), &err);
    gs_statistics *whole, *merged;
    assert_ok(gs_statistics_open(p.path[0], &whole, &err), &err);
    assert_ok(gs_statistics_open(p.path[3], &merged, &err), &err);
    assert_int_equal(gs_statistics_about(merged)->tokens, gs_statistics_about(whole)->tokens);
    assert_int_equal(gs_statistics_about(merged)->sequences, LINES);
    assert_int_equal(gs_statistics_count(merged), 16);
    for (int64_t i = 0; i < gs_statistics_count(whole); i++) {
        gs_observer a, b;
        assert_ok(gs_statistics_read(whole, gs_statistics_edge(whole, i), &a, &err), &err);
        assert_ok(gs_statistics_read(merged, gs_statistics_edge(whole, i), &b, &err), &err);
        assert_adds_up(&a, &b);
        gs_observer_clear(&a);
        gs_observer_clear(&b);
    }
    gs_statistics_close(whole);
    gs_statistics_close(merged);
    /* what only extremes decide is the same bundle, but for the manifest */
    gs_quantize_options o = {.scheme = "w8a8", .alpha = "0.5", .fallback = no_fallback, .fallback_count = 1};
    for (int i = 0; i < 2; i++) {
        char manifest[1200];
        o.stats = i ? p.path[3] : p.path[0];
        quantize(carried, p.path[4 + i], &o, 2, 0);
        snprintf(manifest, sizeof manifest, "%s/gstick_manifest.json", p.path[4 + i]);
        assert_int_equal(unlink(manifest), 0);
    }
    assert_same_directories(p.path[4], p.path[5]);
    gs_test_rmdir(p.root);
}

/* ---- the bundle is what was decided ---- */

typedef struct memory_form {
    gs_context *cx;
    gs_comp_algo *algo;
    bool on; /* off while the checkpoint is compared with what the family needs */
} memory_form;

/* A gs_model_rewrite: each segment quantized when it is built, without a file between. */
static gs_status quantize_in_memory(void *ctx, gs_net *segment, gs_error *err) {
    memory_form *m = ctx;
    if (!m->on) return GS_OK;
    GS_TRY(gs_comp_algo_apply(m->algo, segment, err));
    return gs_comp_algo_convert(m->algo, m->cx, segment, err);
}

static gs_status from_statistics(void *ctx, const char *edge, gs_observer *out, gs_error *err) {
    return gs_statistics_read(ctx, edge, out, err);
}

static void decide_all(memory_form *m, const char *model) {
    gs_error err = {0};
    gs_checkpoint *checkpoint;
    gs_model *plain;
    assert_ok(gs_checkpoint_open(model, NULL, &checkpoint, &err), &err);
    assert_ok(gs_model_take(checkpoint, NULL, NULL, &plain, &err), &err);
    for (int i = 0; i < gs_model_segments(plain); i++) {
        gs_net *net;
        assert_ok(gs_model_segment(plain, i, &net, &err), &err);
        assert_ok(gs_comp_algo_decide(m->algo, m->cx, net, &err), &err);
        gs_net_destroy(net);
    }
    assert_ok(gs_comp_algo_settle(m->algo, m->cx, &err), &err);
    gs_model_close(plain);
}

static double nll_in_memory(gs_session *s, const gs_quantize_options *o, const char *ids_path) {
    gs_error err = {0};
    gs_choices choices;
    gs_statistics *statistics;
    gs_checkpoint *checkpoint;
    gs_model *quantized;
    int32_t *ids;
    size_t count;
    memory_form m = {.cx = &s->context};
    assert_ok(gs_choices_read(o, &choices, &err), &err);
    choices.config.compute = choices.dtype;
    assert_ok(gs_statistics_open(o->stats, &statistics, &err), &err);
    assert_ok(gs_smooth_quant_create(&choices.config, &choices.smooth, from_statistics, statistics, &m.algo, &err), &err);
    decide_all(&m, carried);
    assert_ok(gs_checkpoint_open(carried, NULL, &checkpoint, &err), &err);
    assert_ok(gs_model_take(checkpoint, quantize_in_memory, &m, &quantized, &err), &err);
    m.on = true;
    assert_ok(gs_token_file_read(ids_path, &ids, &count, &err), &err);
    gs_eval_options e = {.type = GS_GEMM_F32, .window = 128, .bos = -1};
    gs_eval_result r;
    assert_ok(gs_eval_perplexity(&s->context, quantized, NULL, &e, ids, (int64_t)count, &r, &err), &err);
    gs_free(ids);
    gs_model_close(quantized);
    gs_comp_algo_destroy(m.algo);
    gs_statistics_close(statistics);
    return r.nll;
}

static void a_written_bundle_computes_what_was_decided_in_memory(void **state) {
    (void)state;
    static const char *const schemes[] = {"w8a8", "w8a8-dynamic"};
    gs_error err = {0};
    places p = begin();
    char ids[1200];
    snprintf(ids, sizeof ids, "%s/ids.i32", p.root);
    tiny_tokens(ids, 1024, 512, 7);
    calibrate(carried, p.path[0], &set, 2, 0, NULL);
    for (int i = 0; i < 2; i++) {
        /* float32, so that what is not quantized is not rounded either */
        gs_quantize_options o = {.scheme = schemes[i], .dtype = "f32", .alpha = "0.6", .fallback = no_fallback,
                                 .fallback_count = 1, .stats = p.path[0]};
        gs_evaluate_options e = {.tokens = ids, .window = 128};
        gs_eval_result r;
        quantize(carried, p.path[1 + i], &o, 2, 0);
        gs_session *s = session(2, 0);
        assert_ok(gs_evaluate(s, p.path[1 + i], &e, &r, &err), &err);
        double nll = nll_in_memory(s, &o, ids);
        print_message("%s: nll %.9f written, %.9f in memory\n", schemes[i], r.nll, nll);
        assert_true(fabs(r.nll - nll) <= 1e-6);
        gs_session_destroy(s);
    }
    gs_test_rmdir(p.root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_have_the_same_bytes_at_any_thread_count_and_memory),
        cmocka_unit_test(bundles_have_the_same_bytes_at_any_thread_count_and_memory),
        cmocka_unit_test(statistics_and_their_calibration_set_give_the_same_bundle),
        cmocka_unit_test(sequential_calibration_feeds_what_was_quantized),
        cmocka_unit_test(halves_add_up_to_the_whole),
        cmocka_unit_test(a_written_bundle_computes_what_was_decided_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
