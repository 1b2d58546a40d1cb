/* Causal grouped-query attention over packed sequences, in blocks: scores exist for one
 * block of queries and one block of keys at a time, with the running maximum and sum of
 * online softmax (Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022, alg. 1).
 */
#ifndef GS_KERNELS_ATTENTION_H
#define GS_KERNELS_ATTENTION_H

#include <kernels/gemm/gemm.h>

typedef struct gs_attention_shape {
    int64_t heads, kv_heads, head_dim; /* heads % kv_heads == 0 */
    float scale;                       /* usually head_dim^-0.5 */
    int64_t window;                    /* keys visible: q-window < k <= q; 0 = all */
    float softcap;                     /* a scaled score s becomes softcap * tanh(s / softcap); 0: it stays */
    bool alibi;                        /* then gs_alibi_slope * (k - q) is added, in f32 */
} gs_attention_shape;

/* The slope of head h < heads (ALiBi, Press et al. 2022, section 3): with n the largest power of two <= heads, 2^(-8(h+1)/n)
 * for h < n, else 2^(-4(2(h-n)+1)/n). In double, rounded to f32. */
float gs_alibi_slope(int64_t heads, int64_t h);

/* q: [tokens, heads*head_dim], k, v: [tokens, kv_heads*head_dim], out: [tokens,
 * heads*head_dim], all f32 row-major, out not overlapping. The tokens are `sequences`
 * sequences laid end to end; sequence s covers rows starts[s] .. starts[s+1]-1, and attends
 * only to itself. q is scaled before the product. Softmax in f32. type GS_GEMM_BF16 rounds the
 * scaled q, k, v and the probabilities to bf16 before the products; their sum is of the unrounded
 * ones. Result independent of the team's size. Scratch is bounded by
 * a constant per worker, plus one bf16 copy of k and v in bf16, plus one f32 a position of the longest sequence
 * with alibi. */
gs_status gs_attention_run(gs_team *team, gs_gemm_type type, const gs_attention_shape *shape,
                           int64_t sequences, const int64_t *starts, const float *q, const float *k,
                           const float *v, float *out, gs_error *err) GS_NODISCARD;

/* The specification: one full score row at a time, double accumulation, no blocks. */
gs_status gs_attention_reference(const gs_attention_shape *shape, int64_t sequences,
                                 const int64_t *starts, const float *q, const float *k,
                                 const float *v, float *out, gs_error *err) GS_NODISCARD;

#endif
