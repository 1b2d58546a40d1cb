/* The pack of rows.inc in two AVX registers. */
#ifndef GS_KERNELS_VEC_AVX2_H
#define GS_KERNELS_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define GS_VEC_FN inline __attribute__((always_inline))
typedef struct pack {
    __m256 a, b;
} pack;

static GS_VEC_FN pack pair(__m256 a, __m256 b) {
    pack v = {a, b};
    return v;
}
static GS_VEC_FN pack load_f32(const float *x) {
    return pair(_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8));
}
static GS_VEC_FN void store_f32(float *y, pack v) {
    _mm256_storeu_ps(y, v.a);
    _mm256_storeu_ps(y + 8, v.b);
}
static GS_VEC_FN pack set1(float x) { return pair(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
static GS_VEC_FN pack add(pack x, pack y) {
    return pair(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b));
}
static GS_VEC_FN pack sub(pack x, pack y) {
    return pair(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b));
}
static GS_VEC_FN pack mul(pack x, pack y) {
    return pair(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b));
}
static GS_VEC_FN pack divide(pack x, pack y) {
    return pair(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b));
}
/* x*y + z, rounded once */
static GS_VEC_FN pack fused(pack x, pack y, pack z) {
    return pair(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}
static GS_VEC_FN pack nearest(pack x) {
    enum { MODE = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return pair(_mm256_round_ps(x.a, MODE), _mm256_round_ps(x.b, MODE));
}
static GS_VEC_FN pack negate(pack x) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return pair(_mm256_xor_ps(x.a, sign), _mm256_xor_ps(x.b, sign));
}

/* The x86 minimum and maximum return their second operand when one is NaN, or both are zero. */
static GS_VEC_FN pack cap(pack x, float top) {
    __m256 t = _mm256_set1_ps(top);
    return pair(_mm256_min_ps(t, x.a), _mm256_min_ps(t, x.b));
}
static GS_VEC_FN pack greater(pack x, pack otherwise) {
    return pair(_mm256_max_ps(x.a, otherwise.a), _mm256_max_ps(x.b, otherwise.b));
}
static GS_VEC_FN pack lesser(pack x, pack otherwise) {
    return pair(_mm256_min_ps(x.a, otherwise.a), _mm256_min_ps(x.b, otherwise.b));
}
static GS_VEC_FN pack not_negative(pack x) {
    __m256 zero = _mm256_setzero_ps();
    return pair(_mm256_max_ps(zero, x.a), _mm256_max_ps(zero, x.b));
}

/* As integers: NaN is above infinity. */
static GS_VEC_FN __m256 max_magnitude8(__m256 top, __m256 x) {
    __m256i bits = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
    return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(top), bits));
}
static GS_VEC_FN pack max_magnitude(pack top, pack x) {
    return pair(max_magnitude8(top.a, x.a), max_magnitude8(top.b, x.b));
}

/* a * 2^n for whole n in [-126, 128]; in two steps, since 2^128 is no float; the first is
 * exact. What n is for lanes that zero_below clears, or NaN, does not matter. */
static GS_VEC_FN __m256 times_pow2_8(__m256 a, __m256 n) {
    const __m256i bias = _mm256_set1_epi32(127);
    __m256i k = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(k, 1);
    __m256i one = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i two = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(k, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(a, _mm256_castsi256_ps(one)),
                         _mm256_castsi256_ps(two));
}
static GS_VEC_FN pack times_pow2(pack x, pack n) {
    return pair(times_pow2_8(x.a, n.a), times_pow2_8(x.b, n.b));
}
/* 0 where x < low (so not for NaN), else v */
static GS_VEC_FN pack zero_below(pack v, pack x, float low) {
    __m256 l = _mm256_set1_ps(low);
    return pair(_mm256_and_ps(_mm256_cmp_ps(x.a, l, _CMP_NLT_UQ), v.a),
                _mm256_and_ps(_mm256_cmp_ps(x.b, l, _CMP_NLT_UQ), v.b));
}
static GS_VEC_FN pack first_lanes(pack v, int count) {
    __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), c = _mm256_set1_epi32(count);
    __m256i high = _mm256_add_epi32(low, _mm256_set1_epi32(8));
    return pair(_mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(c, low)), v.a),
                _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(c, high)), v.b));
}

static GS_VEC_FN pack load_bf16(const uint16_t *x) {
    __m256i a = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)x));
    __m256i b = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(x + 8)));
    return pair(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
                _mm256_castsi256_ps(_mm256_slli_epi32(b, 16)));
}
static GS_VEC_FN __m256i bf16_bits8(__m256 v) {
    __m256i u = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_srli_epi32(_mm256_blendv_epi8(r, quiet, nan), 16);
}
static GS_VEC_FN void store_bf16(uint16_t *y, pack v) {
    /* packing works within 128-bit halves: put the quarters right again */
    __m256i packed = _mm256_packus_epi32(bf16_bits8(v.a), bf16_bits8(v.b));
    _mm256_storeu_si256((__m256i *)y, _mm256_permute4x64_epi64(packed, 0xd8));
}
static GS_VEC_FN pack load_f16(const uint16_t *x) {
    return pair(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x)),
                _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + 8))));
}
static GS_VEC_FN void store_f16(uint16_t *y, pack v) {
    _mm_storeu_si128((__m128i *)y, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(y + 8), _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT));
}
static GS_VEC_FN pack load_s8(const int8_t *x) {
    __m128i q = _mm_loadu_si128((const __m128i *)x);
    return pair(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(q, 8))));
}
/* x + y modulo 2^32, to the nearest float; y may be NULL */
static GS_VEC_FN __m256 load_sum8(const int32_t *x, const int32_t *y) {
    __m256i sum = _mm256_loadu_si256((const __m256i *)x);
    if (y) sum = _mm256_add_epi32(sum, _mm256_loadu_si256((const __m256i *)y));
    return _mm256_cvtepi32_ps(sum);
}
static GS_VEC_FN pack load_sum_s32(const int32_t *x, const int32_t *y) {
    return pair(load_sum8(x, y), load_sum8(x + 8, y ? y + 8 : NULL));
}
/* clamp, then round to nearest even; NaN becomes 0 */
static GS_VEC_FN __m256i quantized8(__m256 v) {
    __m256 number = _mm256_cmp_ps(v, v, _CMP_ORD_Q);
    v = _mm256_and_ps(v, number);
    v = _mm256_min_ps(_mm256_max_ps(v, _mm256_set1_ps(-128.0f)), _mm256_set1_ps(127.0f));
    return _mm256_cvtps_epi32(v);
}
static GS_VEC_FN void store_s8(int8_t *y, pack v) {
    __m256i q16 = _mm256_packs_epi32(quantized8(v.a), quantized8(v.b));
    q16 = _mm256_permute4x64_epi64(q16, 0xd8);
    __m128i q8 =
        _mm_packs_epi16(_mm256_castsi256_si128(q16), _mm256_extracti128_si256(q16, 1));
    _mm_storeu_si128((__m128i *)y, q8);
}

#endif
