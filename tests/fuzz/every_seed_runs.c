/* The seeds of a fuzz target, and findings that were kept among them, through the target
 * without the fuzzer: so every build and every sanitizer sees them. GS_CORPUS is the folder. */
#include "../support.h"

#include <base/file.h>
#include <base/mem.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void every_seed_runs(void **state) {
    (void)state;
    char **names;
    size_t count;
    gs_error err = {0};
    assert_ok(gs_dir_list(GS_CORPUS, &names, &count, &err), &err);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        char *path = gs_path_join(GS_CORPUS, names[i]), *data;
        size_t len;
        assert_ok(gs_file_read(path, 1 << 24, &data, &len, &err), &err);
        /* exactly as long as the seed, so that sanitizers see any overrun */
        uint8_t *exact = malloc(len ? len : 1);
        assert_non_null(exact);
        memcpy(exact, data, len);
        assert_int_equal(LLVMFuzzerTestOneInput(exact, len), 0);
        free(exact);
        gs_free(data);
        gs_free(path);
    }
    gs_strlist_free(names, count);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_seed_runs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
