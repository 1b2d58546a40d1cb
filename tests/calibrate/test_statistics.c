/* What was observed is read back to the bit; a file that was tampered with is refused, whatever
 * was changed. */
#include "statistics_support.h"

#include <base/mem.h>
#include <base/strbuf.h>
#include <loaders/safetensors.h>
#include <math.h>

static void what_is_written_is_read_back(void **state) {
    (void)state;
    gs_error err = {0};
    gs_statistics *s;
    char *dir = gs_test_tmpdir(), *path = stats_path(dir, "stats");
    stats_write(path, &stats_info, 5);
    assert_ok(gs_statistics_open(path, &s, &err), &err);
    const gs_statistics_info *info = gs_statistics_about(s);
    assert_memory_equal(info, &stats_info, sizeof *info);
    assert_int_equal(gs_statistics_count(s), STATS_EDGES);
    assert_null(gs_statistics_edge(s, STATS_EDGES));
    for (int i = STATS_EDGES; i-- > 0;) {
        gs_observer want, got;
        int64_t width, rows;
        assert_string_equal(gs_statistics_edge(s, i), stats_edges[i]);
        stats_observe(&want, i, 5);
        assert_ok(gs_statistics_read(s, stats_edges[i], &got, &err), &err);
        stats_assert_same(&got, &want);
        assert_ok(gs_statistics_sizes(s, stats_edges[i], &width, &rows, &err), &err);
        assert_int_equal(width, stats_widths[i]);
        assert_int_equal(rows, stats_samples[i]);
        gs_observer_clear(&want);
        gs_observer_clear(&got);
    }
    gs_observer none;
    assert_fails(gs_statistics_read(s, "model.layers.0", &none, &err), GS_E_FORMAT, &err);
    assert_true(err.hint[0] != 0);
    gs_observer_clear(&none);
    gs_statistics_close(s);
    free(path);
    gs_test_rmdir(dir);
}

static void the_same_input_gives_the_same_bytes(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), *a = stats_path(dir, "a"), *b = stats_path(dir, "b");
    stats_write(a, &stats_info, 5);
    stats_write(b, &stats_info, 5);
    stats_assert_same_files(a, b);
    free(a);
    free(b);
    gs_test_rmdir(dir);
}

static void nothing_appears_before_commit_or_after_abort(void **state) {
    (void)state;
    gs_error err = {0};
    gs_statistics_writer *w;
    char *dir = gs_test_tmpdir(), *path = stats_path(dir, "stats");
    assert_ok(gs_statistics_writer_create(path, &stats_info, &w, &err), &err);
    assert_ok(stats_fill(w, 1, &err), &err);
    assert_false(gs_path_exists(path));
    gs_statistics_writer_abort(w);
    gs_statistics_writer_abort(NULL);
    assert_int_equal(rmdir(dir), 0);
    free(path);
    free(dir);
}

static void edges_come_in_the_order_planned(void **state) {
    (void)state;
    gs_error err = {0};
    gs_statistics_writer *w;
    gs_observer first, second, wrong;
    char *dir = gs_test_tmpdir(), *path = stats_path(dir, "stats");
    stats_observe(&first, 0, 1);
    stats_observe(&second, 1, 1);
    assert_ok(gs_statistics_writer_create(path, &stats_info, &w, &err), &err);
    assert_ok(gs_statistics_writer_plan(w, stats_edges[0], stats_widths[0], 2, &err), &err);
    assert_fails(gs_statistics_writer_put(w, &first, &err), GS_E_INVALID, &err);
    assert_ok(gs_statistics_writer_plan(w, stats_edges[1], stats_widths[1], 0, &err), &err);
    assert_ok(gs_statistics_writer_begin(w, &err), &err);
    assert_fails(gs_statistics_writer_begin(w, &err), GS_E_INVALID, &err);
    assert_fails(gs_statistics_writer_plan(w, "late", 4, 0, &err), GS_E_INVALID, &err);
    assert_fails(gs_statistics_writer_put(w, &second, &err), GS_E_INVALID, &err);
    assert_ok(gs_observer_init(&wrong, stats_edges[0], stats_widths[0], 2, &err), &err);
    assert_fails(gs_statistics_writer_put(w, &wrong, &err), GS_E_INVALID, &err); /* sample missing */
    wrong.sample_rows = 2;
    wrong.rows = -1;
    assert_fails(gs_statistics_writer_put(w, &wrong, &err), GS_E_INVALID, &err);
    gs_observer_clear(&wrong);
    assert_ok(gs_statistics_writer_put(w, &first, &err), &err);
    assert_fails(gs_statistics_writer_commit(w, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "quoted"));
    assert_false(gs_path_exists(path));
    gs_observer_clear(&first);
    gs_observer_clear(&second);
    free(path);
    gs_test_rmdir(dir);
}

static void bad_plans_and_settings_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_statistics_writer *w;
    char *dir = gs_test_tmpdir(), *path = stats_path(dir, "stats");
    gs_statistics_info info = stats_info;
    memcpy(info.compute, "f16", 4);
    assert_fails(gs_statistics_writer_create(path, &info, &w, &err), GS_E_INVALID, &err);
    info = stats_info;
    memset(info.feed, 'x', sizeof info.feed);
    assert_fails(gs_statistics_writer_create(path, &info, &w, &err), GS_E_INVALID, &err);
    info = stats_info;
    info.tokens = -1;
    assert_fails(gs_statistics_writer_create(path, &info, &w, &err), GS_E_INVALID, &err);
    assert_null(w);
    assert_ok(gs_statistics_writer_create(path, &stats_info, &w, &err), &err);
    assert_fails(gs_statistics_writer_plan(w, "", 4, 0, &err), GS_E_INVALID, &err);
    assert_fails(gs_statistics_writer_plan(w, "a", 0, 0, &err), GS_E_INVALID, &err);
    assert_fails(gs_statistics_writer_plan(w, "a", 4, -1, &err), GS_E_INVALID, &err);
    assert_fails(gs_statistics_writer_plan(w, "a\nb", 4, 0, &err), GS_E_INVALID, &err);
    assert_ok(gs_statistics_writer_plan(w, "a", 4, 0, &err), &err);
    assert_fails(gs_statistics_writer_plan(w, "a", 4, 0, &err), GS_E_INVALID, &err);
    gs_statistics_writer_abort(w);
    free(path);
    gs_test_rmdir(dir);
}

/* ---- hostile files ---- */

typedef struct tamper {
    const char *from, *to; /* first place in statistics.json */
    const char *says;      /* in the error */
} tamper;

static void refuse_json(const char *path, const char *text, const tamper *t) {
    gs_error err = {0};
    gs_statistics *s;
    gs_strbuf changed = {0};
    const char *at = strstr(text, t->from);
    if (!at) fail_msg("'%s' is not in %s", t->from, text);
    gs_strbuf_append(&changed, text, (size_t)(at - text));
    gs_strbuf_puts(&changed, t->to);
    gs_strbuf_puts(&changed, at + strlen(t->from));
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(changed.data, 1, changed.len, f), changed.len);
    assert_int_equal(fclose(f), 0);
    char dir[1200];
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    gs_status status = gs_statistics_open(dir, &s, &err);
    if (status != GS_E_FORMAT || !strstr(err.text, t->says))
        fail_msg("'%s' for '%s': %s (%s)", t->to, t->from, gs_status_text(status), err.text);
    assert_null(s);
    gs_strbuf_clear(&changed);
}

static void a_tampered_json_is_refused(void **state) {
    (void)state;
    static const tamper list[] = {
        {"gstick statistics", "gstick", "'format'"},
        {"\"version\": 1", "\"version\": 2", "version 2"},
        {"fedcba9876543210", "fedcba987654321", "'model_hash'"},
        {"fedcba9876543210", "FEDCBA9876543210", "'model_hash'"},
        {"fedcba9876543210", "0xdcba9876543210", "'model_hash'"},
        {"\"tokens\": 12", "\"tokens\": -12", "'tokens'"},
        {"\"length\": 64,", "", "'length'"},
        {"\"f32\"", "\"f16\"", "store"},
        {"sequential", "sequentially or not at all", "'feed'"},
        {"\"settings\": {", "\"settings\": 3, \"old\": {", "'settings'"},
        {"\"edges\": [", "\"edges\": 7, \"old\": [", "'edges'"},
        {"\"edges\": [", "\"edges\": [1,", "edge"},
        {"model.layers.0.norm", "model.layers.0", "model.layers.0.min"},
        {"model.layers.0.norm", "", "no name"},
        {"a \\\"quoted\\\" edge", "model.layers.0.norm", "twice"},
        {"\"width\": 9", "\"width\": 8", "model.layers.0.norm.min"},
        {"\"width\": 9", "\"width\": 0", "model.layers.0.norm"},
        {"\"width\": 9", "\"width\": 1e15", "model.layers.0.norm"},
        {"\"rows\": 12", "\"rows\": 13", "histogram"},
        {"\"rows\": 12", "\"rows\": 0", "0 rows"},
        {"\"rows\": 12", "\"rows\": 9007199254740991", "model.layers.0.norm"},
        {"\"sample_rows\": 2, \"token", "\"sample_rows\": 1, \"token", "sample"},
        {"\"sample_rows\": 2, \"token", "\"sample_rows\": 2147483647, \"token", "sample"},
        {"\"token_absmax_sum\": ", "\"token_absmax_sum\": 9", "largest value"},
        {"\"token_absmax_sum\": ", "\"token_absmax_sum\": null, \"old\": ", "largest value"},
        {"\"token_absmax_max\": ", "\"token_absmax_max\": -", "largest value"},
        {"\"token_absmax_max\": ", "\"token_absmax_max\": 1e300, \"old\": ", "largest value"},
    };
    gs_error err = {0};
    char *dir = gs_test_tmpdir(), *path = stats_path(dir, "stats"), *json = stats_path(path, "statistics.json"), *text;
    size_t length;
    stats_write(path, &stats_info, 5);
    assert_ok(gs_file_read(json, 1 << 20, &text, &length, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(list); i++) refuse_json(json, text, &list[i]);
    free(text);
    free(json);
    free(path);
    gs_test_rmdir(dir);
}

/* Overwrites bytes of a tensor, expects a refusal that names the edge, and puts them back. */
static void refuse_bytes(const char *dir, const char *tensor, size_t at, const void *bytes, size_t n) {
    gs_error err = {0};
    gs_safetensors *st;
    gs_statistics *s;
    char *path = stats_path(dir, "statistics.safetensors"), before[16];
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    const gs_tensor *t = gs_safetensors_find(st, tensor);
    assert_non_null(t);
    long offset = (long)(t->data - gs_safetensors_file(st)->data) + (long)at;
    memcpy(before, t->data + at, n);
    gs_safetensors_close(st);
    for (int turn = 0; turn < 2; turn++) {
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        assert_int_equal(fseek(f, offset, SEEK_SET), 0);
        assert_int_equal(fwrite(turn ? before : bytes, 1, n, f), n);
        assert_int_equal(fclose(f), 0);
        gs_status status = gs_statistics_open(dir, &s, &err);
        if (status != (turn ? GS_OK : GS_E_FORMAT) || (!turn && !strstr(err.text, "model.layers.0.norm")))
            fail_msg("%s at %zu: %s (%s)", tensor, at, gs_status_text(status), err.text);
        gs_statistics_close(s);
    }
    free(path);
}

static void numbers_that_contradict_each_other_are_refused(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 100, -100};
    static const double sums[] = {(double)NAN, (double)INFINITY, -1, 0, 1e6};
    static const uint64_t counts[] = {UINT64_MAX, 1};
    static const uint16_t halves[] = {0x7f80, 0xff80, 0x7fc0};
    char *dir = gs_test_tmpdir(), *path = stats_path(dir, "stats");
    stats_write(path, &stats_info, 5);
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        refuse_bytes(path, "model.layers.0.norm.min", 8, &bad[i], 4);
        refuse_bytes(path, "model.layers.0.norm.max", 32, &bad[i], 4);
    }
    for (size_t i = 0; i < GS_COUNTOF(sums); i++) {
        refuse_bytes(path, "model.layers.0.norm.abs_sum", 16, &sums[i], 8);
        refuse_bytes(path, "model.layers.0.norm.square_sum", 64, &sums[i], 8);
    }
    for (size_t i = 0; i < GS_COUNTOF(counts); i++) {
        refuse_bytes(path, "model.layers.0.norm.histogram", 0, &counts[i], 8);
        refuse_bytes(path, "model.layers.0.norm.histogram", 8 * (GS_HISTOGRAM_BINS - 1), &counts[i], 8);
    }
    /* as many values as before, but below the minimum */
    gs_observer o;
    size_t lowest = 0;
    stats_observe(&o, 0, 5);
    while (!o.histogram[lowest]) lowest++;
    const uint64_t moved[2] = {o.histogram[lowest], 0};
    refuse_bytes(path, "model.layers.0.norm.histogram", 8 * (lowest - 1), moved, sizeof moved);
    /* one ulp above the maximum, and no other number is any the wiser */
    size_t channel = 0;
    while (o.max[channel] < -o.min[channel]) channel++;
    float above = nextafterf(o.max[channel], 100);
    refuse_bytes(path, "model.layers.0.norm.min", 4 * channel, &above, 4);
    gs_observer_clear(&o);
    for (size_t i = 0; i < GS_COUNTOF(halves); i++)
        refuse_bytes(path, "model.layers.0.norm.sample", 34, &halves[i], 2);
    free(path);
    gs_test_rmdir(dir);
}

/* Writes statistics.safetensors again: tensor `changed` with another dtype, and one more tensor. */
static void rewrite_tensors(const char *file, const char *changed, gs_dtype dtype, bool more) {
    gs_error err = {0};
    gs_safetensors *st;
    gs_safetensors_writer *w;
    assert_ok(gs_safetensors_open(file, &st, &err), &err);
    assert_ok(gs_safetensors_writer_create(&w, &err), &err);
    if (more) assert_ok(gs_safetensors_writer_plan(w, "more", GS_F32, 1, (int64_t[]){1}, &err), &err);
    for (size_t i = 0; i < gs_safetensors_count(st); i++) {
        const gs_tensor *t = gs_safetensors_at(st, i);
        gs_dtype as = changed && strcmp(t->name, changed) == 0 ? dtype : t->dtype;
        assert_ok(gs_safetensors_writer_plan(w, t->name, as, t->ndim, t->shape, &err), &err);
    }
    assert_ok(gs_safetensors_writer_begin(w, file, &err), &err);
    if (more) assert_ok(gs_safetensors_writer_put(w, "more", 0, &(float){1}, 4, &err), &err);
    for (size_t i = 0; i < gs_safetensors_count(st); i++) {
        const gs_tensor *t = gs_safetensors_at(st, i);
        assert_ok(gs_safetensors_writer_put(w, t->name, 0, t->data, (size_t)t->bytes, &err), &err);
    }
    gs_safetensors_close(st);
    assert_ok(gs_safetensors_writer_commit(w, &err), &err);
}

static void tensors_too_many_or_of_another_type_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_statistics *s;
    char *dir = gs_test_tmpdir(), *path = stats_path(dir, "stats"), *file = stats_path(path, "statistics.safetensors");
    stats_write(path, &stats_info, 5);
    rewrite_tensors(file, NULL, GS_F32, true);
    assert_fails(gs_statistics_open(path, &s, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "21 tensors"));
    gs_test_rmdir(path);
    path = stats_path(dir, "stats");
    stats_write(path, &stats_info, 5);
    rewrite_tensors(file, "model.layers.0.norm.histogram", GS_I64, false);
    assert_fails(gs_statistics_open(path, &s, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "'model.layers.0.norm.histogram' is I64"));
    free(path);
    free(file);
    gs_test_rmdir(dir);
}

static void what_is_no_statistics_directory_is_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_statistics *s;
    char *dir = gs_test_tmpdir(), *path = stats_path(dir, "stats"), *file = stats_path(path, "statistics.safetensors");
    assert_fails(gs_statistics_open(path, &s, &err), GS_E_FORMAT, &err);
    assert_true(err.hint[0] != 0);
    assert_fails(gs_statistics_open(dir, &s, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "statistics.json"));
    stats_write(path, &stats_info, 5);
    assert_int_equal(unlink(file), 0);
    assert_fails(gs_statistics_open(path, &s, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "statistics.safetensors"));
    gs_statistics_close(NULL);
    free(path);
    free(file);
    gs_test_rmdir(dir);
}

static void lack_of_memory_leaves_nothing(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir(), *path = stats_path(dir, "stats");
    gs_observer o[STATS_EDGES];
    for (int i = 0; i < STATS_EDGES; i++) stats_observe(&o[i], i, 3);
    for (int64_t k = 0;; k++) {
        gs_error err = {0};
        gs_statistics_writer *w;
        gs_mem_fail_after(k);
        gs_status status = gs_statistics_writer_create(path, &stats_info, &w, &err);
        for (int i = 0; i < STATS_EDGES && status == GS_OK; i++)
            status = gs_statistics_writer_plan(w, stats_edges[i], stats_widths[i], stats_samples[i], &err);
        if (status == GS_OK) status = gs_statistics_writer_begin(w, &err);
        for (int i = 0; i < STATS_EDGES && status == GS_OK; i++) status = gs_statistics_writer_put(w, &o[i], &err);
        if (status == GS_OK) status = gs_statistics_writer_commit(w, &err);
        else gs_statistics_writer_abort(w);
        gs_mem_fail_after(-1);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
        assert_false(gs_path_exists(path));
    }
    for (int64_t k = 0;; k++) {
        gs_error err = {0};
        gs_statistics *s;
        gs_mem_fail_after(k);
        gs_status status = gs_statistics_open(path, &s, &err);
        gs_mem_fail_after(-1);
        gs_statistics_close(s);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
    }
    for (int i = 0; i < STATS_EDGES; i++) gs_observer_clear(&o[i]);
    free(path);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(the_same_input_gives_the_same_bytes),
        cmocka_unit_test(nothing_appears_before_commit_or_after_abort),
        cmocka_unit_test(edges_come_in_the_order_planned),
        cmocka_unit_test(bad_plans_and_settings_are_refused),
        cmocka_unit_test(a_tampered_json_is_refused),
        cmocka_unit_test(numbers_that_contradict_each_other_are_refused),
        cmocka_unit_test(tensors_too_many_or_of_another_type_are_refused),
        cmocka_unit_test(what_is_no_statistics_directory_is_refused),
        cmocka_unit_test(lack_of_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
