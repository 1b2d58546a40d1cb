/* libgstick.so exports gs_ names and nothing else; libgstick.a defines no other global
 * name that could collide with a user's. The lists are nm's, made by the build. */
#include <tests/support.h>

#include <base/affix.h>

/* Counts the names of an nm list (posix format: "name type value size") that `fine`
 * refuses; *gs is the number of gs_ names. */
static int count_foreign(const char *path, bool (*fine)(const char *name), int *gs) {
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char line[4096];
    int foreign = 0;
    *gs = 0;
    while (fgets(line, sizeof line, f)) {
        char name[4096], type;
        /* an archive's list has a line "archive[member.o]:" before each member's names */
        if (sscanf(line, "%4095s %c", name, &type) != 2) continue;
        if (gs_starts_with(name, "gs_")) ++*gs;
        else if (!fine(name)) {
            foreign++;
            print_error("%s: %s\n", path, name);
        }
    }
    fclose(f);
    return foreign;
}

static bool never(const char *name) {
    (void)name;
    return false;
}

/* C++ (templates of the SentencePiece shim) and compilers have names of their own. */
static bool is_the_compilers(const char *name) {
    return gs_starts_with(name, "_Z") || gs_starts_with(name, "__") || gs_starts_with(name, "DW.ref.");
}

static void the_shared_library_exports_gs_names_only(void **state) {
    (void)state;
    int gs;
    assert_int_equal(count_foreign(GS_EXPORTED_LIST, never, &gs), 0);
    assert_true(gs >= 2);
}

static void every_global_name_has_the_prefix(void **state) {
    (void)state;
    int gs;
    assert_int_equal(count_foreign(GS_GLOBALS_LIST, is_the_compilers, &gs), 0);
    assert_true(gs >= 2);
}

static void a_foreign_name_would_be_found(void **state) {
    (void)state;
    char path[] = "/tmp/gstick-symbols-XXXXXX";
    int fd = mkstemp(path), gs;
    assert_true(fd >= 0);
    const char list[] = "lib.a[x.o]:\ngs_version T 10 4\nhelper T 20 4\n_ZSt4swap W 0 8\n";
    assert_int_equal(write(fd, list, sizeof list - 1), sizeof list - 1);
    close(fd);
    assert_int_equal(count_foreign(path, is_the_compilers, &gs), 1);
    assert_int_equal(gs, 1);
    assert_int_equal(count_foreign(path, never, &gs), 2);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shared_library_exports_gs_names_only),
        cmocka_unit_test(every_global_name_has_the_prefix),
        cmocka_unit_test(a_foreign_name_would_be_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
