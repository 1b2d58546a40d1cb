/* Which instruction set the row kernels use. Read once from the processor (and from the
 * operating system: xgetbv), capped by the environment variable GSTICK_ISA
 * (scalar | avx2 | avx512 | neon). */
#ifndef GS_KERNELS_ISA_H
#define GS_KERNELS_ISA_H

#include <stdbool.h>

typedef enum gs_isa { GS_ISA_SCALAR, GS_ISA_AVX2, GS_ISA_AVX512, GS_ISA_NEON, GS_ISA_COUNT } gs_isa;

const char *gs_isa_name(gs_isa isa); /* "avx512" */
/* True when this build has the kernels and this machine can run them. */
bool gs_isa_supported(gs_isa isa);
/* Without GSTICK_ISA the best supported level; with it the best supported level not above the
 * one it names (avx512 on an AVX2 machine: avx2). A name that is unknown, or that belongs to
 * another architecture, gives scalar: a forced level is never silently exceeded. Read once. */
gs_isa gs_isa_selected(void);

#endif
