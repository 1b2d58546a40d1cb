/* Cosines and sines of rotary embedding, by position.
 *
 * d = rotary_dim or, when that is 0, head_dim. inv_j = theta^(-2j/d), j < d/2, in double and rounded to f32; scaled as the
 * kind says; the angle (float)position * inv_j is one f32 product, as the reference implementations
 * compute it; its cosine and sine are taken in double and rounded to f32, then multiplied by the amplitude (1, but for YARN).
 * (RoFormer, Su et al. 2021, section 3.3.) Kinds: LINEAR divides inv_j by factor (Chen et al.
 * 2023). LLAMA3: with wavelength 2*pi/inv_j, divided by factor above original/low, unchanged
 * below original/high, blended linearly in original/wavelength between.
 * YARN (Peng et al. 2023): the dimension that turns r times within the original positions is
 * at(r) = d ln(original / (2 pi r)) / (2 ln theta). Below low = max(floor(at(beta_fast)), 0) inv_j stays, above
 * high = min(ceil(at(beta_slow)), d - 1) it is divided by factor, blended linearly in j between. Amplitude: attention_factor.
 * DYNAMIC (NTK-aware): a sequence of n > original positions is rotated by
 * theta * (factor n / original - (factor - 1))^(d / (d - 2)), a shorter one plainly.
 */
#ifndef GS_NETWORK_OPS_ROPE_TABLE_H
#define GS_NETWORK_OPS_ROPE_TABLE_H

#include <network/net.h>
#include <base/team.h>

/* Start with {0}. One thread at a time. */
typedef struct gs_rope_table {
    int64_t half;      /* rotated dimensions / 2 */
    float amplitude;   /* of the cosines and sines */
    float *inverse;    /* [half] */
    int64_t positions; /* rows of the two below */
    float *cosine, *sine; /* [positions, half] */
} gs_rope_table;

/* ---- rope_frequency.c; attr->rope is valid (the op's infer) ---- */

int64_t gs_rope_dim(const gs_attr *attr); /* rotated dimensions of a head */
float gs_rope_inverse_frequency(const gs_attr *attr, int64_t j); /* DYNAMIC: of short sequences */
float gs_rope_amplitude(const gs_attr *attr);
/* DYNAMIC: the plain rotation of a sequence of `positions` > original. */
gs_attr gs_rope_stretched(const gs_attr *attr, int64_t positions);

/* ---- rope_table.c ---- */

/* attr->rope is valid (the op's infer). */
gs_status gs_rope_table_init(gs_rope_table *t, const gs_attr *attr, gs_error *err) GS_NODISCARD;
/* At least that many positions; earlier ones keep their values. */
gs_status gs_rope_table_grow(gs_rope_table *t, gs_team *team, int64_t positions, gs_error *err) GS_NODISCARD;
void gs_rope_table_clear(gs_rope_table *t);

#endif
