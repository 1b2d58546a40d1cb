/* Merged statistics are the observers merged one by one; only statistics that belong together merge. */
#include "statistics_support.h"

#include <base/hash.h>
#include <base/mem.h>

typedef struct two {
    char *dir, *a, *b, *out;
} two;

static two two_statistics(const gs_statistics_info *other) {
    two t = {.dir = gs_test_tmpdir()};
    t.a = stats_path(t.dir, "a");
    t.b = stats_path(t.dir, "b");
    t.out = stats_path(t.dir, "out");
    stats_write(t.a, &stats_info, 5);
    stats_write(t.b, other, 900);
    return t;
}

static void clear(two *t) {
    free(t->a);
    free(t->b);
    free(t->out);
    gs_test_rmdir(t->dir);
}

static void two_merge_into_their_sum(void **state) {
    (void)state;
    gs_error err = {0};
    gs_statistics *s;
    gs_statistics_info other = stats_info;
    other.set_hash = 0xa1b2c3d4e5f60718u;
    other.sequences = 3;
    other.tokens = 30;
    other.sample_rows = 5;
    two t = two_statistics(&other);
    assert_ok(gs_statistics_merge((const char *[]){t.a, t.b}, 2, t.out, &err), &err);
    assert_ok(gs_statistics_open(t.out, &s, &err), &err);

    const uint8_t hashes[16] = {7, 0, 0, 0, 0, 0, 0, 0, 0x18, 0x07, 0xf6, 0xe5, 0xd4, 0xc3, 0xb2, 0xa1};
    gs_statistics_info want = stats_info;
    want.set_hash = gs_hash64(hashes, sizeof hashes);
    want.sequences = 7;
    want.tokens = 42;
    want.sample_rows = 7;
    assert_memory_equal(gs_statistics_about(s), &want, sizeof want);
    assert_int_equal(gs_statistics_count(s), STATS_EDGES);
    for (int i = 0; i < STATS_EDGES; i++) {
        gs_observer first, second, got;
        stats_observe(&first, i, 5);
        stats_observe(&second, i, 900);
        assert_ok(gs_observer_merge(&first, &second, &err), &err);
        assert_string_equal(gs_statistics_edge(s, i), stats_edges[i]);
        assert_ok(gs_statistics_read(s, stats_edges[i], &got, &err), &err);
        stats_assert_same(&got, &first);
        gs_observer_clear(&first);
        gs_observer_clear(&second);
        gs_observer_clear(&got);
    }
    gs_statistics_close(s);
    clear(&t);
}

static void one_merges_into_itself(void **state) {
    (void)state;
    gs_error err = {0};
    two t = two_statistics(&stats_info);
    assert_ok(gs_statistics_merge((const char *[]){t.a}, 1, t.out, &err), &err);
    stats_assert_same_files(t.a, t.out);
    clear(&t);
}

static void merged_statistics_merge_again(void **state) {
    (void)state;
    gs_error err = {0};
    two t = two_statistics(&stats_info);
    char *more = stats_path(t.dir, "more");
    assert_ok(gs_statistics_merge((const char *[]){t.a, t.b}, 2, t.out, &err), &err);
    assert_ok(gs_statistics_merge((const char *[]){t.out, t.a}, 2, more, &err), &err);
    gs_statistics *s;
    assert_ok(gs_statistics_open(more, &s, &err), &err);
    assert_int_equal(gs_statistics_about(s)->sequences, 12);
    gs_statistics_close(s);
    free(more);
    clear(&t);
}

static void refuse(const gs_statistics_info *other, const char *says) {
    gs_error err = {0};
    two t = two_statistics(other);
    assert_fails(gs_statistics_merge((const char *[]){t.a, t.b}, 2, t.out, &err), GS_E_INVALID, &err);
    if (!strstr(err.text, says)) fail_msg("'%s' is not in '%s'", says, err.text);
    assert_non_null(strstr(err.text, t.b));
    assert_true(err.hint[0] != 0);
    assert_false(gs_path_exists(t.out));
    clear(&t);
}

static void other_settings_do_not_merge(void **state) {
    (void)state;
    gs_statistics_info i;
    i = stats_info, i.model_hash++, refuse(&i, "the model");
    i = stats_info, i.length++, refuse(&i, "the length");
    i = stats_info, i.skip_tokens++, refuse(&i, "skipped");
    i = stats_info, memcpy(i.compute, "f32", 4), refuse(&i, "products");
    i = stats_info, memcpy(i.store, "bf16", 5), refuse(&i, "activations");
    i = stats_info, memcpy(i.feed, "float", 6), refuse(&i, "fed");
}

static void other_edges_do_not_merge(void **state) {
    (void)state;
    gs_error err = {0};
    gs_statistics_writer *w;
    gs_observer o;
    two t = two_statistics(&stats_info);
    char *one = stats_path(t.dir, "one");
    stats_observe(&o, 0, 1);
    assert_ok(gs_statistics_writer_create(one, &stats_info, &w, &err), &err);
    assert_ok(gs_statistics_writer_plan(w, stats_edges[0], stats_widths[0], 2, &err), &err);
    assert_ok(gs_statistics_writer_begin(w, &err), &err);
    assert_ok(gs_statistics_writer_put(w, &o, &err), &err);
    assert_ok(gs_statistics_writer_commit(w, &err), &err);
    assert_fails(gs_statistics_merge((const char *[]){t.a, one}, 2, t.out, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "the edges"));
    assert_fails(gs_statistics_merge(NULL, 0, t.out, &err), GS_E_INVALID, &err);
    assert_fails(gs_statistics_merge((const char *[]){t.a}, 1, t.a, &err), GS_E_INVALID, &err);
    assert_fails(gs_statistics_merge((const char *[]){t.a, t.out}, 2, t.out, &err), GS_E_FORMAT, &err);
    gs_observer_clear(&o);
    free(one);
    clear(&t);
}

static void lack_of_memory_leaves_nothing(void **state) {
    (void)state;
    two t = two_statistics(&stats_info);
    for (int64_t k = 0;; k++) {
        gs_error err = {0};
        gs_mem_fail_after(k);
        gs_status status = gs_statistics_merge((const char *[]){t.a, t.b}, 2, t.out, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
        assert_false(gs_path_exists(t.out));
    }
    clear(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_merge_into_their_sum),
        cmocka_unit_test(one_merges_into_itself),
        cmocka_unit_test(merged_statistics_merge_again),
        cmocka_unit_test(other_settings_do_not_merge),
        cmocka_unit_test(other_edges_do_not_merge),
        cmocka_unit_test(lack_of_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
