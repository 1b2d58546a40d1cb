#include <kernels/rows/vec_neon.h>

#define GS_ROWS_TABLE gs_kernels_neon
#define GS_ROWS_ISA GS_ISA_NEON

#include <kernels/rows/rows.inc>
