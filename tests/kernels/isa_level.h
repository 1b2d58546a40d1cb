/* Programs that ctest runs once for each level of GSTICK_ISA. */
#ifndef GS_TESTS_KERNELS_ISA_LEVEL_H
#define GS_TESTS_KERNELS_ISA_LEVEL_H

#include <kernels/isa.h>
#include <tests/support.h>

/* True when GSTICK_ISA names a level that this machine has not: the program is to end with
 * the status that ctest counts as skipped. */
static inline bool isa_level_is_missing(void) {
    const char *forced = getenv("GSTICK_ISA");
    if (!forced) return false;
    for (int i = 0; i < GS_ISA_COUNT; i++)
        if (!strcmp(forced, gs_isa_name((gs_isa)i))) return !gs_isa_supported((gs_isa)i);
    return true;
}
enum { ISA_SKIPPED = 77 };

static inline void the_forced_level_is_selected(void **state) {
    (void)state;
    const char *forced = getenv("GSTICK_ISA");
    if (forced) assert_string_equal(gs_isa_name(gs_isa_selected()), forced);
    assert_true(gs_isa_supported(gs_isa_selected()));
}

#endif
