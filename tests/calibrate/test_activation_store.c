/* What was written is read back, wherever the rows live; a disk that is too small is noticed
 * when the store is made. The small disks are file systems of our own in a child process, as in
 * tests/base/a_full_disk_leaves_nothing_behind.c. */
#include "../support.h"

#include <base/half.h>
#include <base/mem.h>
#include <base/team.h>
#include <calibrate/activation_store.h>
#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

enum { ROWS = 57, WIDTH = 1009 };

static float *random_rows(int64_t rows, int64_t width, uint64_t seed) {
    float *x = malloc((size_t)(rows * width) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < rows * width; i++) x[i] = 37.0f * gs_test_randf(&seed);
    return x;
}

/* Writes in groups of 8 rows, from the last to the first, reads in groups of 5. */
static void round_trip(gs_dtype dtype, int64_t memory, int64_t spilled) {
    gs_error err = {0};
    gs_activation_store *s;
    char *dir = gs_test_tmpdir();
    float *x = random_rows(ROWS, WIDTH, 3), *y = calloc(5 * WIDTH, sizeof *y);
    assert_ok(gs_activation_store_create(ROWS, WIDTH, dtype, memory, dir, &s, &err), &err);
    assert_int_equal(gs_activation_store_spilled(s), spilled);
    for (int64_t row = 56; row >= 0; row -= 8)
        assert_ok(gs_activation_store_write(s, row, row + 8 < ROWS ? 8 : ROWS - row, x + row * WIDTH, &err), &err);
    for (int64_t row = 0; row < ROWS; row += 5) {
        int64_t n = row + 5 < ROWS ? 5 : ROWS - row;
        assert_ok(gs_activation_store_read(s, row, n, y, &err), &err);
        for (int64_t i = 0; i < n * WIDTH; i++) {
            float want = x[row * WIDTH + i];
            if (dtype == GS_BF16) want = gs_bf16_to_f32(gs_f32_to_bf16(want));
            assert_true(y[i] == want);
        }
    }
    /* nothing to be seen, then nothing left */
    assert_int_equal(rmdir(dir), 0);
    gs_activation_store_destroy(s);
    free(dir);
    free(x);
    free(y);
}

static void rows_come_back_from_memory(void **state) {
    (void)state;
    round_trip(GS_F32, ROWS * WIDTH * 4, 0);
    round_trip(GS_BF16, ROWS * WIDTH * 2, 0);
    round_trip(GS_F32, INT64_MAX, 0);
}

static void rows_come_back_from_disk(void **state) {
    (void)state;
    round_trip(GS_F32, 0, ROWS * WIDTH * 4);
    round_trip(GS_BF16, 0, ROWS * WIDTH * 2);
    round_trip(GS_BF16, WIDTH * 2 - 1, ROWS * WIDTH * 2); /* not one row fits */
}

static void rows_come_back_from_both_sides_of_the_split(void **state) {
    (void)state;
    round_trip(GS_F32, 20 * WIDTH * 4, 37 * WIDTH * 4);
    round_trip(GS_F32, 19 * WIDTH * 4 + 1, 38 * WIDTH * 4);
    round_trip(GS_BF16, 23 * WIDTH * 2, 34 * WIDTH * 2);
}

static void rows_wider_than_a_piece_come_back(void **state) {
    (void)state;
    gs_error err = {0};
    gs_activation_store *s;
    enum { WIDE = 40001 };
    float *x = random_rows(3, WIDE, 8), *y = malloc(3 * WIDE * sizeof *y);
    assert_ok(gs_activation_store_create(3, WIDE, GS_BF16, 2 * WIDE, NULL, &s, &err), &err);
    assert_ok(gs_activation_store_write(s, 0, 3, x, &err), &err);
    assert_ok(gs_activation_store_read(s, 0, 3, y, &err), &err);
    for (int i = 0; i < 3 * WIDE; i++) assert_true(y[i] == gs_bf16_to_f32(gs_f32_to_bf16(x[i])));
    gs_activation_store_destroy(s);
    free(x);
    free(y);
}

typedef struct shared_store {
    gs_activation_store *store;
    const float *x;
} shared_store;

static void write_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    shared_store *t = ctx;
    gs_error err = {0};
    float back[WIDTH];
    for (int64_t row = begin; row < end; row++) {
        assert_ok(gs_activation_store_write(t->store, row, 1, t->x + row * WIDTH, &err), &err);
        assert_ok(gs_activation_store_read(t->store, row, 1, back, &err), &err);
        assert_memory_equal(back, t->x + row * WIDTH, sizeof back);
    }
}

static void threads_may_work_on_different_rows(void **state) {
    (void)state;
    gs_error err = {0};
    gs_team *team;
    shared_store t;
    float *x = random_rows(ROWS, WIDTH, 5);
    t.x = x;
    assert_ok(gs_team_create(NULL, 3, &team, &err), &err);
    assert_ok(gs_activation_store_create(ROWS, WIDTH, GS_F32, 30 * WIDTH * 4, NULL, &t.store, &err), &err);
    gs_team_for(team, ROWS, 1, write_rows, &t);
    gs_activation_store_destroy(t.store);
    gs_team_destroy(team);
    free(x);
}

static void wrong_arguments_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_activation_store *s;
    float x[8] = {0};
    assert_fails(gs_activation_store_create(4, 4, GS_F16, 64, NULL, &s, &err), GS_E_INVALID, &err);
    assert_fails(gs_activation_store_create(-1, 4, GS_F32, 64, NULL, &s, &err), GS_E_INVALID, &err);
    assert_fails(gs_activation_store_create(4, 0, GS_F32, 64, NULL, &s, &err), GS_E_INVALID, &err);
    assert_fails(gs_activation_store_create(4, 4, GS_F32, -1, NULL, &s, &err), GS_E_INVALID, &err);
    assert_fails(gs_activation_store_create(INT64_MAX / 2, 4, GS_F32, 64, NULL, &s, &err), GS_E_INVALID, &err);
    assert_null(s);
    assert_ok(gs_activation_store_create(4, 4, GS_F32, 64, NULL, &s, &err), &err);
    assert_fails(gs_activation_store_write(s, 3, 2, x, &err), GS_E_INVALID, &err);
    assert_fails(gs_activation_store_read(s, -1, 1, x, &err), GS_E_INVALID, &err);
    assert_fails(gs_activation_store_read(s, INT64_MAX, INT64_MAX, x, &err), GS_E_INVALID, &err);
    assert_ok(gs_activation_store_read(s, 4, 0, x, &err), &err);
    gs_activation_store_destroy(s);
    gs_activation_store_destroy(NULL);
}

static void a_missing_scratch_directory_is_named(void **state) {
    (void)state;
    gs_error err = {0};
    gs_activation_store *s;
    assert_fails(gs_activation_store_create(4, 4, GS_F32, 0, "/tmp/gstick-not-there", &s, &err), GS_E_IO, &err);
    assert_non_null(strstr(err.text, "/tmp/gstick-not-there"));
    assert_non_null(strstr(err.hint, "TMPDIR"));
    /* not needed, not missed */
    assert_ok(gs_activation_store_create(4, 4, GS_F32, 64, "/tmp/gstick-not-there", &s, &err), &err);
    gs_activation_store_destroy(s);
}

static void the_scratch_directory_may_come_from_the_environment(void **state) {
    (void)state;
    gs_error err = {0};
    gs_activation_store *s;
    const char *before = getenv("TMPDIR");
    char *kept = before ? strdup(before) : NULL;
    setenv("TMPDIR", "/tmp/gstick-not-there", 1);
    assert_fails(gs_activation_store_create(4, 4, GS_F32, 0, NULL, &s, &err), GS_E_IO, &err);
    assert_non_null(strstr(err.text, "/tmp/gstick-not-there"));
    if (kept) setenv("TMPDIR", kept, 1);
    else unsetenv("TMPDIR");
    free(kept);
}

static void lack_of_memory_leaves_nothing(void **state) {
    (void)state;
    for (int64_t k = 0;; k++) {
        gs_error err = {0};
        gs_activation_store *s;
        gs_mem_fail_after(k);
        gs_status status = gs_activation_store_create(8, 8, GS_F32, 128, NULL, &s, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) {
            assert_true(k >= 2);
            gs_activation_store_destroy(s);
            break;
        }
        assert_int_equal(status, GS_E_NOMEM);
        assert_null(s);
    }
}

/* ---- small disks ---- */

enum { CANNOT_MOUNT = 77, DISK = 1 << 20 };

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);            \
            return 1;                                                          \
        }                                                                      \
    } while (0)

static bool mount_as(const char *dir, const char *type, const char *options) {
    if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0
           && mount(type, dir, type, 0, options) == 0;
}

static int entries(const char *dir) {
    int n = -2;
    DIR *handle = opendir(dir);
    if (!handle) return -1;
    while (readdir(handle)) n++;
    closedir(handle);
    return n;
}

static int ask_for_too_much(const char *dir) {
    gs_error err = {0};
    gs_activation_store *s;
    CHECK(gs_activation_store_create(DISK / 64, 64, GS_F32, 0, dir, &s, &err) == GS_E_NOSPACE);
    CHECK(!s && err.status == GS_E_NOSPACE && strstr(err.text, dir) && err.hint[0]);
    CHECK(entries(dir) == 0);
    /* half in memory, half as bf16: now it fits */
    CHECK(gs_activation_store_create(DISK / 64, 64, GS_BF16, DISK + DISK / 2, dir, &s, &err) == GS_OK);
    CHECK(gs_activation_store_spilled(s) == DISK / 2);
    gs_activation_store_destroy(s);
    return 0;
}

/* A second store finds no room once the first has reserved its own, before any write. */
static int ask_twice(const char *dir) {
    gs_error err = {0};
    gs_activation_store *s, *t;
    CHECK(gs_activation_store_create(12, DISK / 64, GS_F32, 0, dir, &s, &err) == GS_OK);
    CHECK(gs_activation_store_create(12, DISK / 64, GS_F32, 0, dir, &t, &err) == GS_E_NOSPACE);
    gs_activation_store_destroy(s);
    CHECK(gs_activation_store_create(12, DISK / 64, GS_F32, 0, dir, &t, &err) == GS_OK);
    gs_activation_store_destroy(t);
    return 0;
}

static int use_without_reserving(const char *dir) {
    gs_error err = {0};
    gs_activation_store *s;
    float x[4] = {1, 2, 3, 4}, y[4];
    CHECK(gs_activation_store_create(9, 4, GS_F32, 0, dir, &s, &err) == GS_OK);
    CHECK(gs_activation_store_write(s, 8, 1, x, &err) == GS_OK);
    CHECK(gs_activation_store_read(s, 8, 1, y, &err) == GS_OK);
    CHECK(memcmp(x, y, sizeof x) == 0);
    gs_activation_store_destroy(s);
    CHECK(entries(dir) == 0);
    return 0;
}

static void run_on(const char *type, const char *options, int (*scenario)(const char *dir)) {
    char *dir = gs_test_tmpdir();
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(mount_as(dir, type, options) ? scenario(dir) : CANNOT_MOUNT);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    gs_test_rmdir(dir);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CANNOT_MOUNT) {
        print_message("skipped: no %s can be mounted here\n", type);
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_disk_that_is_too_small_is_noticed_at_once(void **state) {
    (void)state;
    run_on("tmpfs", "size=1m", ask_for_too_much);
}

static void the_space_is_reserved(void **state) {
    (void)state;
    run_on("tmpfs", "size=1m", ask_twice);
}

/* ramfs knows no fallocate. */
static void a_file_system_that_cannot_reserve_will_do(void **state) {
    (void)state;
    run_on("ramfs", NULL, use_without_reserving);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back_from_memory),
        cmocka_unit_test(rows_come_back_from_disk),
        cmocka_unit_test(rows_come_back_from_both_sides_of_the_split),
        cmocka_unit_test(rows_wider_than_a_piece_come_back),
        cmocka_unit_test(threads_may_work_on_different_rows),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(a_missing_scratch_directory_is_named),
        cmocka_unit_test(the_scratch_directory_may_come_from_the_environment),
        cmocka_unit_test(lack_of_memory_leaves_nothing),
        cmocka_unit_test(a_disk_that_is_too_small_is_noticed_at_once),
        cmocka_unit_test(the_space_is_reserved),
        cmocka_unit_test(a_file_system_that_cannot_reserve_will_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
