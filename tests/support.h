/* What every test program shares: cmocka, the location of the shared data, skipping.
 *
 * Third-party test data is never in the repository: it is looked for in
 * $GSTICK_TEST_DATA, then ../shared (beside the checkout). Where it is absent a test
 * calls skip() through gs_need_data, and is counted as skipped. */
#ifndef GS_TESTS_SUPPORT_H
#define GS_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the standard headers that it needs */
#include <cmocka.h>

#include <base/error.h>

/* Fails the test with the error's own words. */
#define assert_ok(expr, err)                                                   \
    do {                                                                       \
        gs_status assert_ok_status_ = (expr);                                  \
        if (assert_ok_status_ != GS_OK)                                        \
            fail_msg("%s: %s (%s)", #expr, gs_status_text(assert_ok_status_),  \
                     (err)->text);                                             \
    } while (0)
#define assert_fails(expr, status, err)                                        \
    do {                                                                       \
        gs_status assert_fails_status_ = (expr);                               \
        if (assert_fails_status_ != (status))                                  \
            fail_msg("%s: got '%s' (%s), wanted '%s'", #expr,                  \
                     gs_status_text(assert_fails_status_), (err)->text,        \
                     gs_status_text(status));                                  \
        assert_true((err)->text[0] != 0);                                      \
        assert_null(strchr((err)->text, '\n'));                                \
    } while (0)

/* Path of a shared file ("data/text/wiki.test.raw") in a static buffer, or NULL. */
static inline const char *gs_test_data(const char *relative) {
    static char path[8][1024];
    static int turn;
    const char *roots[2] = {getenv("GSTICK_TEST_DATA"), "../shared"};
    char *out = path[turn = (turn + 1) % 8];
    for (int i = 0; i < 2; i++) {
        if (!roots[i]) continue;
        snprintf(out, sizeof path[0], "%s/%s", roots[i], relative);
        if (access(out, R_OK) == 0) return out;
    }
    return NULL;
}

#define gs_need_data(var, relative)                                            \
    const char *var = gs_test_data(relative);                                  \
    if (!var) {                                                                \
        print_message("skipped: no shared data (%s)\n", relative);             \
        skip();                                                                \
    }

/* A small deterministic generator for test inputs (splitmix64). */
static inline uint64_t gs_test_rand(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
/* Uniform in [-1, 1). */
static inline float gs_test_randf(uint64_t *state) {
    return (float)((int64_t)(gs_test_rand(state) >> 40) - (1 << 23)) / (float)(1 << 23);
}

/* A fresh temporary directory; the caller removes it with gs_test_rmdir. */
static inline char *gs_test_tmpdir(void) {
    char *path = strdup("/tmp/gstick-test-XXXXXX");
    assert_non_null(path);
    assert_non_null(mkdtemp(path));
    return path;
}
static inline void gs_test_rmdir(char *path) {
    char command[1200];
    snprintf(command, sizeof command, "chmod -R u+rwx '%s' && rm -rf '%s'", path, path);
    assert_int_equal(system(command), 0);
    free(path);
}

#endif
