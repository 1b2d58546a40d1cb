#include <kernels/rows/vec_avx2.h>

#define GS_ROWS_TABLE gs_kernels_avx2
#define GS_ROWS_ISA GS_ISA_AVX2

#include <kernels/rows/rows.inc>
