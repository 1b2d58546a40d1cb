#include <kernels/kernels.h>
#include <kernels/rows/rows.h>

const gs_kernels *gs_kernels_for(gs_isa isa) {
    if (!gs_isa_supported(isa)) return NULL;
    switch (isa) {
    case GS_ISA_SCALAR: return &gs_kernels_scalar;
#if defined(__x86_64__)
    case GS_ISA_AVX2: return &gs_kernels_avx2;
    case GS_ISA_AVX512: return &gs_kernels_avx512;
#elif defined(__aarch64__)
    case GS_ISA_NEON: return &gs_kernels_neon;
#endif
    default: return NULL;
    }
}

const gs_kernels *gs_kernels_get(void) { return gs_kernels_for(gs_isa_selected()); }
