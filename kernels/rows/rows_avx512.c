#include <kernels/rows/vec_avx512.h>

#define GS_ROWS_TABLE gs_kernels_avx512
#define GS_ROWS_ISA GS_ISA_AVX512

#include <kernels/rows/rows.inc>
