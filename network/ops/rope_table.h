/* Cosines and sines of rotary embedding, by position.
 *
 * inv_j = theta^(-2j/head_dim), j < head_dim/2, in double and rounded to f32; scaled as the kind
 * says; the angle (float)position * inv_j is one f32 product, as the reference implementations
 * compute it; its cosine and sine are taken in double and rounded to f32.
 * (RoFormer, Su et al. 2021, section 3.3.) Kinds: LINEAR divides inv_j by factor (Chen et al.
 * 2023). LLAMA3: with wavelength 2*pi/inv_j, divided by factor above original/low, unchanged
 * below original/high, blended linearly in original/wavelength between.
 */
#ifndef GS_NETWORK_OPS_ROPE_TABLE_H
#define GS_NETWORK_OPS_ROPE_TABLE_H

#include <network/net.h>
#include <base/team.h>

/* Start with {0}. One thread at a time. */
typedef struct gs_rope_table {
    int64_t half;      /* head_dim/2 */
    float *inverse;    /* [half] */
    int64_t positions; /* rows of the two below */
    float *cosine, *sine; /* [positions, half] */
} gs_rope_table;

/* attr->rope is valid (the op's infer). */
gs_status gs_rope_table_init(gs_rope_table *t, const gs_attr *attr, gs_error *err) GS_NODISCARD;
/* At least that many positions; earlier ones keep their values. */
gs_status gs_rope_table_grow(gs_rope_table *t, gs_team *team, int64_t positions, gs_error *err) GS_NODISCARD;
void gs_rope_table_clear(gs_rope_table *t);

#endif
