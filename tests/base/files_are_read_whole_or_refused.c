#include "../support.h"

#include <base/file.h>
#include <base/mem.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char *dir;

static int set_up(void **state) {
    (void)state;
    dir = gs_test_tmpdir();
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    gs_test_rmdir(dir);
    return 0;
}

/* Path below the test's directory, in one of a few static buffers. */
static const char *at(const char *name) {
    static char paths[4][512];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(paths[turn], sizeof paths[0], "%s/%s", dir, name);
    return paths[turn];
}

static void put(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void a_map_shows_the_bytes(void **state) {
    (void)state;
    gs_filemap m;
    gs_error err = {0};
    put(at("a"), "hello", 5);
    assert_ok(gs_filemap_open(&m, at("a"), &err), &err);
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "hello", 5);
    assert_string_equal(m.path, at("a"));
    gs_filemap_close(&m);
    assert_null(m.data);
    gs_filemap_close(&m); /* closing twice is harmless */
}

static void an_empty_file_has_no_data(void **state) {
    (void)state;
    gs_filemap m;
    gs_error err = {0};
    put(at("a"), "", 0);
    assert_ok(gs_filemap_open(&m, at("a"), &err), &err);
    assert_null(m.data);
    assert_int_equal(m.size, 0);
    gs_filemap_drop(&m, 0, 10);
    gs_filemap_close(&m);
}

static void only_regular_files_are_mapped(void **state) {
    (void)state;
    gs_filemap m;
    gs_error err = {0};
    assert_fails(gs_filemap_open(&m, at("missing"), &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "missing"));
    assert_fails(gs_filemap_open(&m, dir, &err), GS_E_FORMAT, &err);
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    assert_fails(gs_filemap_open(&m, at("fifo"), &err), GS_E_FORMAT, &err); /* no waiting */
    assert_null(m.path);
    assert_int_equal(gs_filemap_open(&m, dir, NULL), GS_E_FORMAT);
}

static int64_t resident_bytes(void) {
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &pages, &resident) != 2) resident = -1;
    if (f) fclose(f);
    return resident < 0 ? -1 : resident * sysconf(_SC_PAGESIZE);
}

static void dropped_pages_leave_memory_and_can_be_read_again(void **state) {
    (void)state;
    size_t n = (size_t)16 << 20, sum = 0;
    uint8_t *data = gs_calloc(1, n);
    gs_filemap m;
    gs_error err = {0};
    for (size_t i = 0; i < n; i += 512) data[i] = 1;
    put(at("a"), data, n);
    gs_free(data);
    assert_ok(gs_filemap_open(&m, at("a"), &err), &err);
    for (size_t i = 0; i < n; i += 512) sum += m.data[i];
    int64_t full = resident_bytes();
    gs_filemap_drop(&m, 1, SIZE_MAX); /* the length is cut to the file */
    gs_filemap_drop(&m, n, 1);
    gs_filemap_drop(&m, SIZE_MAX, 1);
    assert_true(gs_filemap_drop_bytes(&m, m.data + 1, n));
    assert_true(gs_filemap_drop_bytes(&m, m.data + n - 1, 1));
    assert_false(gs_filemap_drop_bytes(&m, m.data + n, 1));
    assert_false(gs_filemap_drop_bytes(&m, "elsewhere", 1));
    assert_false(gs_filemap_drop_bytes(&(gs_filemap){0}, NULL, 1));
    int64_t dropped = resident_bytes();
    if (full >= 0) assert_true(full - dropped >= (int64_t)n / 2);
    for (size_t i = 0; i < n; i += 512) sum += m.data[i];
    assert_int_equal(sum, 2 * (n / 512));
    gs_filemap_close(&m);
}

static void reading_ends_with_a_nul(void **state) {
    (void)state;
    char *data;
    size_t len;
    gs_error err = {0};
    put(at("a"), "abc\0def", 7);
    assert_ok(gs_file_read(at("a"), 7, &data, &len, &err), &err);
    assert_int_equal(len, 7);
    assert_memory_equal(data, "abc\0def", 8);
    gs_free(data);
    put(at("a"), "", 0);
    assert_ok(gs_file_read(at("a"), 0, &data, &len, &err), &err);
    assert_int_equal(len, 0);
    assert_string_equal(data, "");
    gs_free(data);
    /* says to be empty, and is not */
    assert_ok(gs_file_read("/proc/self/maps", SIZE_MAX, &data, &len, &err), &err);
    assert_true(len > 100 && data[len] == 0);
    gs_free(data);
}

static void a_file_over_the_limit_is_refused(void **state) {
    (void)state;
    char *data;
    size_t len;
    gs_error err = {0};
    put(at("a"), "1234567", 7);
    assert_fails(gs_file_read(at("a"), 6, &data, &len, &err), GS_E_FORMAT, &err);
    assert_null(data);
    assert_fails(gs_file_read("/dev/zero", 1000000, &data, &len, &err), GS_E_FORMAT, &err);
    assert_fails(gs_file_read(dir, 100, &data, &len, &err), GS_E_IO, &err);
    assert_fails(gs_file_read(at("b"), 100, &data, &len, &err), GS_E_FORMAT, &err);
}

static void paths_are_joined_with_one_slash(void **state) {
    (void)state;
    static const char *const table[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};
    for (size_t i = 0; i < GS_COUNTOF(table); i++) {
        char *path = gs_path_join(table[i][0], table[i][1]);
        assert_string_equal(path, table[i][2]);
        gs_free(path);
    }
}

static void paths_are_told_apart_by_inode(void **state) {
    (void)state;
    put(at("a"), "x", 1);
    put(at("b"), "x", 1);
    assert_int_equal(symlink("a", at("link")), 0);
    assert_int_equal(link(at("a"), at("hard")), 0);
    assert_true(gs_path_same(at("a"), at("link")));
    assert_true(gs_path_same(at("a"), at("hard")));
    assert_false(gs_path_same(at("a"), at("b")));
    assert_false(gs_path_same(at("none"), at("none")));
    assert_true(gs_path_exists(at("link")));
    assert_false(gs_path_exists(at("none")));
    assert_true(gs_path_is_dir(dir));
    assert_false(gs_path_is_dir(at("a")));
}

static void a_listing_is_sorted_and_only_of_files(void **state) {
    (void)state;
    char **names, name[32];
    size_t count;
    gs_error err = {0};
    assert_ok(gs_dir_list(dir, &names, &count, &err), &err);
    assert_int_equal(count, 0);
    gs_strlist_free(names, count);
    for (int i = 39; i >= 0; i--) {
        snprintf(name, sizeof name, "f%02d", i);
        put(at(name), "", 0);
    }
    assert_int_equal(mkdir(at("f05d"), 0700), 0);
    assert_int_equal(symlink("f00", at("a-link")), 0);
    assert_int_equal(symlink("nothing", at("dangling")), 0);
    assert_ok(gs_dir_list(dir, &names, &count, &err), &err);
    assert_int_equal(count, 41);
    assert_string_equal(names[0], "a-link");
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "f%02d", i);
        assert_string_equal(names[i + 1], name);
    }
    gs_strlist_free(names, count);
    assert_fails(gs_dir_list(at("none"), &names, &count, &err), GS_E_FORMAT, &err);
}

static void the_only_file_of_a_kind_is_found(void **state) {
    (void)state;
    put(at("one.x"), "", 0);
    put(at("one.y"), "", 0);
    put(at("two.y"), "", 0);
    char *found = gs_dir_only_file(dir, ".x");
    assert_non_null(found);
    assert_string_equal(found, at("one.x"));
    gs_free(found);
    assert_null(gs_dir_only_file(dir, ".y"));
    assert_null(gs_dir_only_file(dir, ".z"));
    assert_null(gs_dir_only_file(at("one.x"), ".x"));
}

static void listing_survives_a_failing_allocator(void **state) {
    (void)state;
    char **names, name[32];
    size_t count;
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "f%02d", i);
        put(at(name), "", 0);
    }
    for (int k = 0;; k++) {
        gs_error err = {0};
        gs_mem_fail_after(k);
        gs_status status = gs_dir_list(dir, &names, &count, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
        assert_null(names);
        assert_in_range(k, 0, 100);
    }
    assert_int_equal(count, 40);
    gs_strlist_free(names, count);
}

static void free_space_is_that_of_the_nearest_parent(void **state) {
    (void)state;
    assert_true(gs_path_free_bytes(dir) > 0);
    assert_true(gs_path_free_bytes(at("not/there/yet")) > 0);
    assert_true(gs_path_free_bytes("") > 0);
    assert_true(gs_path_free_bytes("relative-that-is-not-there") > 0);
    assert_true(gs_path_free_bytes("/gstick-none/x") >= 0);
}

#define with_dir(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        with_dir(a_map_shows_the_bytes),
        with_dir(an_empty_file_has_no_data),
        with_dir(only_regular_files_are_mapped),
        with_dir(dropped_pages_leave_memory_and_can_be_read_again),
        with_dir(reading_ends_with_a_nul),
        with_dir(a_file_over_the_limit_is_refused),
        cmocka_unit_test(paths_are_joined_with_one_slash),
        with_dir(paths_are_told_apart_by_inode),
        with_dir(a_listing_is_sorted_and_only_of_files),
        with_dir(the_only_file_of_a_kind_is_found),
        with_dir(listing_survives_a_failing_allocator),
        with_dir(free_space_is_that_of_the_nearest_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
