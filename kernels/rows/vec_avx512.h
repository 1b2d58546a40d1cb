/* The pack of rows.inc in one AVX-512 register. */
#ifndef GS_KERNELS_VEC_AVX512_H
#define GS_KERNELS_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#define GS_VEC_FN inline __attribute__((always_inline))
typedef __m512 pack;

static GS_VEC_FN pack load_f32(const float *x) { return _mm512_loadu_ps(x); }
static GS_VEC_FN void store_f32(float *y, pack v) { _mm512_storeu_ps(y, v); }
static GS_VEC_FN pack set1(float x) { return _mm512_set1_ps(x); }
static GS_VEC_FN pack add(pack a, pack b) { return _mm512_add_ps(a, b); }
static GS_VEC_FN pack sub(pack a, pack b) { return _mm512_sub_ps(a, b); }
static GS_VEC_FN pack mul(pack a, pack b) { return _mm512_mul_ps(a, b); }
static GS_VEC_FN pack divide(pack a, pack b) { return _mm512_div_ps(a, b); }
/* a*b + c, rounded once */
static GS_VEC_FN pack fused(pack a, pack b, pack c) { return _mm512_fmadd_ps(a, b, c); }
static GS_VEC_FN pack nearest(pack a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static GS_VEC_FN pack negate(pack a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }

/* The x86 minimum and maximum return their second operand when one is NaN, or both are zero. */
static GS_VEC_FN pack cap(pack a, float top) { return _mm512_min_ps(_mm512_set1_ps(top), a); }
static GS_VEC_FN pack greater(pack a, pack otherwise) { return _mm512_max_ps(a, otherwise); }
static GS_VEC_FN pack lesser(pack a, pack otherwise) { return _mm512_min_ps(a, otherwise); }
static GS_VEC_FN pack not_negative(pack a) { return _mm512_max_ps(_mm512_setzero_ps(), a); }

/* As integers: NaN is above infinity. */
static GS_VEC_FN pack max_magnitude(pack top, pack a) {
    __m512i bits = _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff));
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(top), bits));
}

/* a * 2^n, rounded once; n whole */
static GS_VEC_FN pack times_pow2(pack a, pack n) { return _mm512_scalef_ps(a, n); }
/* 0 where x < low (so not for NaN), else a */
static GS_VEC_FN pack zero_below(pack a, pack x, float low) {
    __mmask16 keep = _mm512_cmp_ps_mask(x, _mm512_set1_ps(low), _CMP_NLT_UQ);
    return _mm512_maskz_mov_ps(keep, a);
}
static GS_VEC_FN pack first_lanes(pack a, int count) {
    return _mm512_maskz_mov_ps((__mmask16)((1u << count) - 1), a);
}

static GS_VEC_FN pack load_bf16(const uint16_t *x) {
    __m512i u = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)x));
    return _mm512_castsi512_ps(_mm512_slli_epi32(u, 16));
}
/* With integers: the bf16 instructions would flush subnormals. */
static GS_VEC_FN void store_bf16(uint16_t *y, pack v) {
    __m512i u = _mm512_castps_si512(v);
    __mmask16 odd = _mm512_test_epi32_mask(u, _mm512_set1_epi32(0x10000));
    __m512i r = _mm512_add_epi32(u, _mm512_set1_epi32(0x7fff));
    r = _mm512_mask_add_epi32(r, odd, r, _mm512_set1_epi32(1));
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    r = _mm512_mask_or_epi32(r, nan, u, _mm512_set1_epi32(0x400000));
    r = _mm512_srli_epi32(r, 16);
    _mm256_storeu_si256((__m256i *)y, _mm512_cvtepi32_epi16(r));
}
static GS_VEC_FN pack load_f16(const uint16_t *x) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x));
}
static GS_VEC_FN void store_f16(uint16_t *y, pack v) {
    _mm256_storeu_si256((__m256i *)y,
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static GS_VEC_FN pack load_s8(const int8_t *x) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)x)));
}
/* x + y modulo 2^32, to the nearest float; y may be NULL */
static GS_VEC_FN pack load_sum_s32(const int32_t *x, const int32_t *y) {
    __m512i sum = _mm512_loadu_si512(x);
    if (y) sum = _mm512_add_epi32(sum, _mm512_loadu_si512(y));
    return _mm512_cvtepi32_ps(sum);
}
/* clamp, then round to nearest even; NaN becomes 0 */
static GS_VEC_FN void store_s8(int8_t *y, pack v) {
    __mmask16 number = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q);
    v = _mm512_max_ps(v, _mm512_set1_ps(-128.0f));
    v = _mm512_min_ps(v, _mm512_set1_ps(127.0f));
    __m512i q = _mm512_maskz_cvtps_epi32(number, v);
    _mm_storeu_si128((__m128i *)y, _mm512_cvtepi32_epi8(q));
}

#endif
