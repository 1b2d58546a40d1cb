#include <kernels/isa.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const names[GS_ISA_COUNT] = {"scalar", "avx2", "avx512", "neon"};
static bool supported[GS_ISA_COUNT];
static gs_isa selected;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
/* Which register files the operating system saves on a context switch. */
static unsigned saved_state(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    return low;
}

static void detect(void) {
    enum { YMM_STATE = 0x06, ZMM_STATE = 0xe6 };
    const unsigned avx = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    const unsigned avx512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & avx) != avx) return;
    unsigned state = saved_state();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    supported[GS_ISA_AVX2] = (state & YMM_STATE) == YMM_STATE && (b & bit_AVX2);
    supported[GS_ISA_AVX512] =
        supported[GS_ISA_AVX2] && (state & ZMM_STATE) == ZMM_STATE && (b & avx512) == avx512;
}
#elif defined(__aarch64__)
/* Advanced SIMD is part of the base architecture. */
static void detect(void) { supported[GS_ISA_NEON] = true; }
#else
static void detect(void) {}
#endif

static void init(void) {
    supported[GS_ISA_SCALAR] = true;
    detect();
    const char *forced = getenv("GSTICK_ISA");
    int cap = GS_ISA_COUNT - 1;
    if (forced && *forced) {
        cap = GS_ISA_SCALAR;
        for (int i = 0; i < GS_ISA_COUNT; i++)
            if (!strcmp(forced, names[i])) cap = i;
        /* NEON stands last in the enum, but not above the x86 levels */
        if (cap == GS_ISA_NEON && !supported[GS_ISA_NEON]) cap = GS_ISA_SCALAR;
    }
    for (int i = 0; i <= cap; i++)
        if (supported[i]) selected = (gs_isa)i;
}

const char *gs_isa_name(gs_isa isa) {
    return (unsigned)isa < GS_ISA_COUNT ? names[isa] : "?";
}

bool gs_isa_supported(gs_isa isa) {
    pthread_once(&once, init);
    return (unsigned)isa < GS_ISA_COUNT && supported[isa];
}

gs_isa gs_isa_selected(void) {
    pthread_once(&once, init);
    return selected;
}
