/* A small statistics directory of two edges, for the tests of its reader, writer and merge. */
#ifndef GS_TESTS_STATISTICS_SUPPORT_H
#define GS_TESTS_STATISTICS_SUPPORT_H

#include "../support.h"

#include <base/file.h>
#include <calibrate/statistics.h>

static const gs_statistics_info stats_info = {
    .model_hash = 0xfedcba9876543210u, .set_hash = 7, .sequences = 4, .tokens = 12, .length = 64,
    .skip_tokens = 1, .sample_rows = 2, .seed = UINT64_MAX, .compute = "bf16", .store = "f32", .feed = "sequential"};

enum { STATS_EDGES = 2 };
static const char *const stats_edges[STATS_EDGES] = {"model.layers.0.norm", "a \"quoted\" edge"};
static const int64_t stats_widths[STATS_EDGES] = {9, 70}, stats_samples[STATS_EDGES] = {2, 0};

/* Edge i after 12 random rows. */
static inline void stats_observe(gs_observer *o, int i, uint64_t seed) {
    gs_error err = {0};
    float x[12 * 70];
    int64_t width = stats_widths[i];
    seed += (uint64_t)i;
    for (int64_t k = 0; k < 12 * width; k++) x[k] = 5 * gs_test_randf(&seed);
    assert_ok(gs_observer_init(o, stats_edges[i], width, stats_samples[i], &err), &err);
    assert_ok(gs_observer_see(o, NULL, 0, 12, x, &err), &err);
    for (int64_t row = 0; row < stats_samples[i]; row++)
        assert_ok(gs_observer_keep(o, x + row * width, &err), &err);
}

static inline gs_status stats_fill(gs_statistics_writer *w, uint64_t seed, gs_error *err) {
    for (int i = 0; i < STATS_EDGES; i++)
        GS_TRY(gs_statistics_writer_plan(w, stats_edges[i], stats_widths[i], stats_samples[i], err));
    GS_TRY(gs_statistics_writer_begin(w, err));
    for (int i = 0; i < STATS_EDGES; i++) {
        gs_observer o;
        stats_observe(&o, i, seed);
        gs_status status = gs_statistics_writer_put(w, &o, err);
        gs_observer_clear(&o);
        GS_TRY(status);
    }
    return GS_OK;
}

static inline void stats_write(const char *path, const gs_statistics_info *info, uint64_t seed) {
    gs_error err = {0};
    gs_statistics_writer *w;
    assert_ok(gs_statistics_writer_create(path, info, &w, &err), &err);
    assert_ok(stats_fill(w, seed, &err), &err);
    assert_ok(gs_statistics_writer_commit(w, &err), &err);
}

static inline void stats_assert_same(const gs_observer *a, const gs_observer *b) {
    size_t n = (size_t)a->width;
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->sample_rows, b->sample_rows);
    assert_memory_equal(a->min, b->min, n * sizeof *a->min);
    assert_memory_equal(a->max, b->max, n * sizeof *a->max);
    assert_memory_equal(a->abs_sum, b->abs_sum, n * sizeof *a->abs_sum);
    assert_memory_equal(a->square_sum, b->square_sum, n * sizeof *a->square_sum);
    assert_memory_equal(a->histogram, b->histogram, GS_HISTOGRAM_BINS * sizeof *a->histogram);
    assert_true(a->token_absmax_sum == b->token_absmax_sum);
    assert_true(a->token_absmax_max == b->token_absmax_max);
    if (a->sample_rows) assert_memory_equal(a->sample, b->sample, (size_t)a->sample_rows * n * sizeof *a->sample);
}

static inline char *stats_path(const char *dir, const char *name) {
    char *path = gs_path_join(dir, name);
    assert_non_null(path);
    return path;
}

/* Both files byte for byte. */
static inline void stats_assert_same_files(const char *a, const char *b) {
    static const char *const names[] = {"statistics.json", "statistics.safetensors"};
    for (size_t i = 0; i < GS_COUNTOF(names); i++) {
        gs_error err = {0};
        char *pa = stats_path(a, names[i]), *pb = stats_path(b, names[i]), *x, *y;
        size_t nx, ny;
        assert_ok(gs_file_read(pa, 1 << 24, &x, &nx, &err), &err);
        assert_ok(gs_file_read(pb, 1 << 24, &y, &ny, &err), &err);
        assert_int_equal(nx, ny);
        assert_memory_equal(x, y, nx);
        free(pa);
        free(pb);
        free(x);
        free(y);
    }
}

#endif
