#include "../support.h"

#include <base/file.h>
#include <base/mem.h>
#include <dirent.h>
#include <signal.h>
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

static const char *at(const char *name) {
    static char paths[4][1024];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(paths[turn], sizeof paths[0], "%s/%s", dir, name);
    return paths[turn];
}

static void put(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void expect_bytes(const char *path, const void *want, size_t n) {
    char *data;
    size_t len;
    gs_error err = {0};
    assert_ok(gs_file_read(path, (size_t)64 << 20, &data, &len, &err), &err);
    assert_int_equal(len, n);
    assert_memory_equal(data, want, n);
    gs_free(data);
}

/* Entries of the test's directory, hidden ones too. */
static int entries(void) {
    DIR *handle = opendir(dir);
    assert_non_null(handle);
    int n = -2;
    while (readdir(handle)) n++;
    closedir(handle);
    return n;
}

static void a_file_appears_at_commit(void **state) {
    (void)state;
    gs_outfile *f;
    gs_error err = {0};
    struct stat st;
    mode_t mask = umask(027);
    assert_ok(gs_outfile_create(at("out"), &f, &err), &err);
    umask(mask);
    assert_ok(gs_outfile_write(f, "hello", 5, &err), &err);
    assert_int_equal(gs_outfile_size(f), 5);
    assert_false(gs_path_exists(at("out")));
    assert_int_equal(entries(), 1);
    assert_ok(gs_outfile_commit(f, &err), &err);
    expect_bytes(at("out"), "hello", 5);
    assert_int_equal(entries(), 1);
    assert_int_equal(stat(at("out"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void abort_leaves_nothing(void **state) {
    (void)state;
    gs_outfile *f;
    gs_error err = {0};
    put(at("out"), "old");
    assert_ok(gs_outfile_create(at("out"), &f, &err), &err);
    assert_ok(gs_outfile_write(f, "new", 3, &err), &err);
    gs_outfile_abort(f);
    gs_outfile_abort(NULL);
    assert_int_equal(entries(), 1);
    expect_bytes(at("out"), "old", 3);
}

static void an_old_file_is_replaced(void **state) {
    (void)state;
    gs_outfile *f;
    gs_error err = {0};
    put(at("out"), "old and longer");
    assert_ok(gs_outfile_create(at("out"), &f, &err), &err);
    assert_ok(gs_outfile_write(f, "new", 3, &err), &err);
    assert_ok(gs_outfile_commit(f, &err), &err);
    expect_bytes(at("out"), "new", 3);
}

static void a_failed_commit_leaves_nothing(void **state) {
    (void)state;
    gs_outfile *f;
    gs_error err = {0};
    assert_ok(gs_outfile_create(at("out"), &f, &err), &err);
    assert_int_equal(mkdir(at("out"), 0700), 0); /* in the way of the rename */
    assert_fails(gs_outfile_commit(f, &err), GS_E_IO, &err);
    assert_int_equal(entries(), 1);
    assert_true(gs_path_is_dir(at("out")));
}

static void a_failed_write_forbids_the_commit(void **state) {
    (void)state;
    struct rlimit before, small;
    gs_outfile *f;
    gs_error err = {0};
    size_t n = (size_t)4 << 20;
    char *data = gs_calloc(1, n);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 65536;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_ok(gs_outfile_create(at("out"), &f, &err), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    gs_status wrote = gs_outfile_write(f, data, n, &err);
    gs_status again = gs_outfile_write(f, data, 1, NULL);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    gs_free(data);
    assert_int_equal(wrote, GS_E_IO);
    assert_int_equal(again, GS_E_IO);
    assert_fails(gs_outfile_commit(f, &err), GS_E_IO, &err);
    assert_int_equal(entries(), 0);
}

/* Every mix of small, large and placed writes against a model in memory. */
static void writes_land_where_they_belong(void **state) {
    (void)state;
    enum { SPACE = 12 << 20 };
    uint8_t *model = gs_calloc(1, SPACE), *data = gs_alloc(3 << 20);
    gs_error err = {0};
    uint64_t seed = 5;
    for (int i = 0; i < (3 << 20); i++) data[i] = (uint8_t)gs_test_rand(&seed);
    gs_outfile *f;
    assert_ok(gs_outfile_create(at("out"), &f, &err), &err);
    size_t end = 0, place = 0;
    for (int i = 0; i < 3000; i++) {
        uint64_t r = gs_test_rand(&seed);
        size_t n = r % 512 == 0 ? r / 512 % (3 << 20) : r / 512 % 5000;
        bool placed = r >> 60 == 0;
        size_t where = place;
        if (placed) where = gs_test_rand(&seed) % (SPACE - (3 << 20));
        /* half of these onto bytes that are probably still in the buffer */
        if (placed && r >> 59 & 1 && place > 8000) where = place - gs_test_rand(&seed) % 8000;
        const uint8_t *from = data + gs_test_rand(&seed) % ((3 << 20) - n);
        if (where + n > SPACE) continue;
        if (placed) assert_ok(gs_outfile_pwrite(f, from, n, (int64_t)where, &err), &err);
        else assert_ok(gs_outfile_write(f, from, n, &err), &err);
        memcpy(model + where, from, n);
        if (n && where + n > end) end = where + n;
        if (!placed) place += n;
        assert_int_equal(gs_outfile_size(f), end);
    }
    assert_ok(gs_outfile_commit(f, &err), &err);
    expect_bytes(at("out"), model, end);
    gs_free(model);
    gs_free(data);
}

static void a_gap_reads_as_zeros(void **state) {
    (void)state;
    gs_outfile *f;
    gs_error err = {0};
    assert_ok(gs_outfile_create(at("out"), &f, &err), &err);
    assert_ok(gs_outfile_pwrite(f, "z", 1, 4, &err), &err);
    assert_ok(gs_outfile_write(f, "ab", 2, &err), &err);
    assert_int_equal(gs_outfile_size(f), 5);
    assert_fails(gs_outfile_pwrite(f, "z", 1, -1, &err), GS_E_INVALID, &err);
    assert_fails(gs_outfile_pwrite(f, "z", 1, INT64_MAX, &err), GS_E_INVALID, &err);
    assert_ok(gs_outfile_commit(f, &err), &err);
    expect_bytes(at("out"), "ab\0\0z", 5);
}

static void impossible_file_targets_are_refused_at_once(void **state) {
    (void)state;
    gs_outfile *f;
    gs_error err = {0};
    assert_int_equal(mkdir(at("sub"), 0700), 0);
    assert_fails(gs_outfile_create(at("sub"), &f, &err), GS_E_INVALID, &err);
    assert_fails(gs_outfile_create(at("new/"), &f, &err), GS_E_INVALID, &err);
    assert_fails(gs_outfile_create("", &f, &err), GS_E_INVALID, &err);
    assert_fails(gs_outfile_create("/dev/null", &f, &err), GS_E_INVALID, &err);
    assert_fails(gs_outfile_create(at("none/out"), &f, &err), GS_E_IO, &err);
    assert_true(err.hint[0] != 0);
    assert_int_equal(gs_outfile_create(at("none/out"), &f, NULL), GS_E_IO);
    assert_null(f);
    assert_int_equal(entries(), 1);
}

static void the_longest_file_name_works(void **state) {
    (void)state;
    char name[256];
    memset(name, 'n', 255);
    name[255] = 0;
    gs_outfile *f;
    gs_error err = {0};
    assert_ok(gs_outfile_create(at(name), &f, &err), &err);
    assert_ok(gs_outfile_commit(f, &err), &err);
    expect_bytes(at(name), "", 0);
}

static void creating_survives_a_failing_allocator(void **state) {
    (void)state;
    for (int k = 0; k < 20; k++) {
        gs_outfile *f = NULL;
        gs_outdir *d = NULL;
        gs_mem_fail_after(k);
        gs_status file = gs_outfile_create(at("out"), &f, NULL);
        gs_mem_fail_after(k);
        gs_status folder = gs_outdir_create(at("dir"), &d, NULL);
        gs_mem_fail_after(-1);
        assert_true(file == GS_OK || file == GS_E_NOMEM);
        assert_true(folder == GS_OK || folder == GS_E_NOMEM);
        gs_outfile_abort(f);
        gs_outdir_abort(d);
        assert_int_equal(entries(), 0);
        if (k == 19) assert_true(file == GS_OK && folder == GS_OK);
    }
}

static void a_copy_has_the_same_bytes(void **state) {
    (void)state;
    size_t n = ((size_t)3 << 20) + 17;
    char *data = gs_alloc(n);
    uint64_t seed = 9;
    for (size_t i = 0; i < n; i++) data[i] = (char)gs_test_rand(&seed);
    FILE *f = fopen(at("from"), "wb");
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
    gs_error err = {0};
    assert_ok(gs_file_copy(at("from"), at("to"), &err), &err);
    expect_bytes(at("to"), data, n);
    assert_ok(gs_file_copy(at("from"), at("from"), &err), &err);
    expect_bytes(at("from"), data, n);
    gs_free(data);
    assert_fails(gs_file_copy(at("none"), at("x"), &err), GS_E_FORMAT, &err);
    assert_fails(gs_file_copy(dir, at("x"), &err), GS_E_FORMAT, &err);
    assert_fails(gs_file_copy(at("from"), at("none/x"), &err), GS_E_IO, &err);
    assert_int_equal(entries(), 2);
}

/* Writes a/b/file below the directory in progress. */
static void fill(const gs_outdir *d) {
    char path[1024];
    snprintf(path, sizeof path, "%s/a", gs_outdir_path(d));
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/a/b", gs_outdir_path(d));
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/a/b/file", gs_outdir_path(d));
    put(path, "deep");
    snprintf(path, sizeof path, "%s/top", gs_outdir_path(d));
    put(path, "top");
}

static void a_directory_appears_at_commit(void **state) {
    (void)state;
    static const char *const names[] = {"out", "slash/", "many///"};
    gs_error err = {0};
    for (size_t i = 0; i < GS_COUNTOF(names); i++) {
        gs_outdir *d;
        char inside[64];
        assert_ok(gs_outdir_create(at(names[i]), &d, &err), &err);
        fill(d);
        assert_false(gs_path_exists(at(names[i])));
        assert_ok(gs_outdir_commit(d, &err), &err);
        snprintf(inside, sizeof inside, "%s/a/b/file", names[i]);
        expect_bytes(at(inside), "deep", 4);
        assert_int_equal(entries(), (int)i + 1);
    }
}

static void an_empty_directory_is_replaced(void **state) {
    (void)state;
    gs_error err = {0};
    gs_outdir *d;
    assert_int_equal(mkdir(at("real"), 0700), 0);
    assert_int_equal(symlink("real", at("link")), 0);
    assert_ok(gs_outdir_create(at("link"), &d, &err), &err);
    fill(d);
    assert_ok(gs_outdir_commit(d, &err), &err);
    expect_bytes(at("real/top"), "top", 3);
    expect_bytes(at("link/top"), "top", 3);
    assert_int_equal(entries(), 2);
}

static void the_working_directory_may_be_the_target(void **state) {
    (void)state;
    gs_error err = {0};
    gs_outdir *d;
    char *before = getcwd(NULL, 0);
    assert_int_equal(mkdir(at("here"), 0700), 0);
    assert_int_equal(chdir(at("here")), 0);
    gs_status status = gs_outdir_create(".", &d, &err);
    if (status == GS_OK) status = gs_outdir_commit(d, &err);
    assert_int_equal(chdir(before), 0);
    free(before);
    assert_ok(status, &err);
    assert_int_equal(entries(), 1);
}

static void aborting_a_directory_removes_it_all(void **state) {
    (void)state;
    gs_error err = {0};
    gs_outdir *d;
    char path[1024];
    assert_int_equal(mkdir(at("outside"), 0700), 0);
    put(at("outside/precious"), "keep");
    assert_ok(gs_outdir_create(at("out"), &d, &err), &err);
    fill(d);
    /* links are removed, never followed */
    snprintf(path, sizeof path, "%s/a/dirlink", gs_outdir_path(d));
    assert_int_equal(symlink(at("outside"), path), 0);
    snprintf(path, sizeof path, "%s/filelink", gs_outdir_path(d));
    assert_int_equal(symlink(at("outside/precious"), path), 0);
    snprintf(path, sizeof path, "%s/dangling", gs_outdir_path(d));
    assert_int_equal(symlink("nothing", path), 0);
    gs_outdir_abort(d);
    gs_outdir_abort(NULL);
    assert_int_equal(entries(), 1);
    expect_bytes(at("outside/precious"), "keep", 4);
}

static void a_failed_directory_commit_leaves_nothing(void **state) {
    (void)state;
    gs_error err = {0};
    gs_outdir *d;
    assert_ok(gs_outdir_create(at("out"), &d, &err), &err);
    fill(d);
    assert_int_equal(mkdir(at("out"), 0700), 0);
    put(at("out/other"), "someone else's");
    assert_fails(gs_outdir_commit(d, &err), GS_E_IO, &err);
    assert_int_equal(entries(), 1);
    assert_false(gs_path_exists(at("out/top")));
    assert_true(gs_path_exists(at("out/other")));
}

static void impossible_directory_targets_are_refused_at_once(void **state) {
    (void)state;
    gs_error err = {0};
    gs_outdir *d;
    put(at("file"), "x");
    assert_fails(gs_outdir_create(at("file"), &d, &err), GS_E_INVALID, &err);
    assert_fails(gs_outdir_create(at("file/"), &d, &err), GS_E_INVALID, &err);
    assert_fails(gs_outdir_create(dir, &d, &err), GS_E_INVALID, &err);
    assert_true(err.hint[0] != 0);
    assert_fails(gs_outdir_create("", &d, &err), GS_E_INVALID, &err);
    assert_fails(gs_outdir_create("/", &d, &err), GS_E_INVALID, &err);
    assert_int_equal(symlink("nothing", at("dangling")), 0);
    assert_fails(gs_outdir_create(at("dangling"), &d, &err), GS_E_INVALID, &err);
    assert_fails(gs_outdir_create(at("none/out"), &d, &err), GS_E_IO, &err);
    assert_fails(gs_outdir_create(at("file/out"), &d, &err), GS_E_IO, &err);
    assert_null(d);
    assert_int_equal(entries(), 2);
}

static void two_outputs_do_not_disturb_each_other(void **state) {
    (void)state;
    gs_error err = {0};
    gs_outfile *a, *b;
    assert_ok(gs_outfile_create(at("out"), &a, &err), &err);
    assert_ok(gs_outfile_create(at("out"), &b, &err), &err);
    assert_ok(gs_outfile_write(a, "a", 1, &err), &err);
    assert_ok(gs_outfile_write(b, "b", 1, &err), &err);
    assert_ok(gs_outfile_commit(b, &err), &err);
    expect_bytes(at("out"), "b", 1);
    assert_ok(gs_outfile_commit(a, &err), &err);
    expect_bytes(at("out"), "a", 1);
    assert_int_equal(entries(), 1);
}

#define with_dir(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        with_dir(a_file_appears_at_commit),
        with_dir(abort_leaves_nothing),
        with_dir(an_old_file_is_replaced),
        with_dir(a_failed_commit_leaves_nothing),
        with_dir(a_failed_write_forbids_the_commit),
        with_dir(writes_land_where_they_belong),
        with_dir(a_gap_reads_as_zeros),
        with_dir(impossible_file_targets_are_refused_at_once),
        with_dir(the_longest_file_name_works),
        with_dir(creating_survives_a_failing_allocator),
        with_dir(a_copy_has_the_same_bytes),
        with_dir(a_directory_appears_at_commit),
        with_dir(an_empty_directory_is_replaced),
        with_dir(the_working_directory_may_be_the_target),
        with_dir(aborting_a_directory_removes_it_all),
        with_dir(a_failed_directory_commit_leaves_nothing),
        with_dir(impossible_directory_targets_are_refused_at_once),
        with_dir(two_outputs_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
