/* The tables behind gs_kernels_for, one a source file. A file compiled for an instruction set
 * may only be entered after gs_isa_supported said yes. */
#ifndef GS_KERNELS_ROWS_H
#define GS_KERNELS_ROWS_H

#include <kernels/kernels.h>

extern const gs_kernels gs_kernels_scalar;
#if defined(__x86_64__)
extern const gs_kernels gs_kernels_avx2;
extern const gs_kernels gs_kernels_avx512;
#elif defined(__aarch64__)
extern const gs_kernels gs_kernels_neon;
#endif

#endif
