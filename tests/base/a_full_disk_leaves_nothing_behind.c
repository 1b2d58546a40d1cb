/* Needs a file system that can be filled: a small tmpfs in a mount namespace of our
 * own, in a child process, so that it is gone with the child whatever happens. Skipped
 * where the kernel forbids that. */
#include "../support.h"

#include <base/file.h>
#include <base/mem.h>
#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

enum { CANNOT_MOUNT = 77, DISK = 1 << 20 };

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);            \
            return 1;                                                          \
        }                                                                      \
    } while (0)

static bool mount_small(const char *dir) {
    char size[32];
    snprintf(size, sizeof size, "size=%d", DISK);
    if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0
           && mount("tmpfs", dir, "tmpfs", 0, size) == 0;
}

static int entries(const char *dir) {
    int n = -2;
    DIR *handle = opendir(dir);
    if (!handle) return -1;
    while (readdir(handle)) n++;
    closedir(handle);
    return n;
}

static int fill_a_file(const char *dir) {
    char path[512];
    snprintf(path, sizeof path, "%s/out", dir);
    gs_error err = {0};
    gs_outfile *f;
    char *data = gs_calloc(1, 2 * DISK);
    CHECK(gs_path_free_bytes(path) == DISK);
    CHECK(gs_outfile_create(path, &f, &err) == GS_OK);
    CHECK(gs_outfile_write(f, data, 2 * DISK, &err) == GS_E_NOSPACE);
    CHECK(err.status == GS_E_NOSPACE && err.hint[0]);
    CHECK(gs_path_free_bytes(path) < DISK / 2);
    CHECK(gs_outfile_commit(f, &err) == GS_E_NOSPACE);
    CHECK(entries(dir) == 0);
    CHECK(gs_path_free_bytes(path) == DISK);
    gs_free(data);
    return 0;
}

static int fill_the_last_buffer(const char *dir) {
    /* what is still in the buffer at commit no longer fits */
    char path[512], other[512];
    snprintf(path, sizeof path, "%s/out", dir);
    snprintf(other, sizeof other, "%s/other", dir);
    gs_error err = {0};
    gs_outfile *f, *g;
    char *data = gs_calloc(1, DISK);
    CHECK(gs_outfile_create(path, &f, &err) == GS_OK);
    CHECK(gs_outfile_write(f, data, DISK / 2, &err) == GS_OK);
    CHECK(gs_outfile_create(other, &g, &err) == GS_OK);
    CHECK(gs_outfile_pwrite(g, data, DISK / 4 * 3, 0, &err) == GS_OK);
    CHECK(gs_outfile_commit(g, &err) == GS_OK);
    CHECK(gs_outfile_commit(f, &err) == GS_E_NOSPACE);
    CHECK(err.hint[0]);
    CHECK(entries(dir) == 1);
    gs_free(data);
    return 0;
}

static void run_in_small_disk(int (*scenario)(const char *dir)) {
    char *dir = gs_test_tmpdir();
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(mount_small(dir) ? scenario(dir) : CANNOT_MOUNT);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    gs_test_rmdir(dir);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CANNOT_MOUNT) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_file_that_does_not_fit_is_removed(void **state) {
    (void)state;
    run_in_small_disk(fill_a_file);
}

static void a_buffer_that_does_not_fit_fails_the_commit(void **state) {
    (void)state;
    run_in_small_disk(fill_the_last_buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_does_not_fit_is_removed),
        cmocka_unit_test(a_buffer_that_does_not_fit_fails_the_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
