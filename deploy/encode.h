/* Encoders: how a tensor's bytes are made from a node's params (internal to deploy/). Each streams by blocks through the
 * sink, in bounded memory unless it says otherwise, on the context's team with fixed grains, so that the bytes do
 * not depend on the number of threads. A param that lacks bytes is GS_E_INVALID; a matrix that is read is dropped
 * from the source's pages. Files are little-endian, and so are the machines this runs on.
 */
#ifndef GS_DEPLOY_ENCODE_H
#define GS_DEPLOY_ENCODE_H

#include <deploy/bundle_writer.h>

/* ---- weights (encode.c) ---- */

/* The values of t->param (with its factors) rounded to nearest even to t->dtype, F32, F16 or BF16. GS_E_NUMERIC for NaN,
 * infinities and what t->dtype cannot hold. */
gs_encoder gs_encode_float;
/* The int8 codes of t->param, [n, k] row-major, whatever their layout. */
gs_encoder gs_encode_codes;
/* The same as code + 128, one byte a code: I32 [n, k/4] whose words hold four, the first in the low byte. */
gs_encoder gs_encode_biased;
/* I32 [k/4, n]: byte j of word (r, c) is code (c, 4r + j) of t->param, plus 128. Holds one weight. */
gs_encoder gs_encode_columns;

/* ---- vectors and scales (encode_values.c); a vector is held as f32 ---- */

/* The values of t->param in its order as t->dtype: a float type that holds each exactly, else GS_E_UNSUPPORTED naming the
 * first; or I32 or I8, whose values must be integers in range. */
gs_encoder gs_encode_values;
/* The same for a matrix, transposed: [rows, cols] of t->param as [cols, rows]. */
gs_encoder gs_encode_transposed;
/* -value, also of zero: a float type. */
gs_encoder gs_encode_negated;
/* The first value of t->param in every element. */
gs_encoder gs_encode_repeated;
/* t->constant in every element; no param is needed. I8, I32, F32, F16 or BF16. */
gs_encoder gs_encode_constant;
/* Zeros, which t->param, when there is one, must be: else GS_E_UNSUPPORTED, as for an offset whose consumers differ in
 * its sign or ignore it. */
gs_encoder gs_encode_zeros;

/* ---- what a consumer of static activations multiplies with (encode_static.c) ---- */

/* deq_scale as F32, or as I64 that holds an f32's bits: t->node's own, or where it has none the f32 product of its
 * input_scale, rounded to the bundle's dtype as the consumer does, and its weight_scale. GS_E_NUMERIC for an I64 that holds
 * more than an f32's bits. */
gs_encoder gs_encode_deq_scale;
/* quant_bias, I32: t->node's own, or derived (network/static_constants.h). */
gs_encoder gs_encode_quant_bias;

/* ---- for formats ---- */

/* How many values t->param has: those of a vector or a matrix, [count]. gs_free it. */
gs_status gs_encode_read(const gs_param *p, float **values, int64_t *count, gs_error *err) GS_NODISCARD;
/* p's values, which nothing multiplies, are all exact in the dtype. Planned params are taken to be: whoever makes them
 * rounds to it, and gs_encode_values looks again. */
bool gs_values_exact(const gs_param *p, gs_dtype dtype);
/* p's values are there already and some is not zero. */
bool gs_values_nonzero(const gs_param *p);

/* values: n of t->dtype (F32, F16, BF16), aligned. GS_E_NUMERIC naming the tensor for NaN and infinities. */
gs_status gs_encode_check_finite(const gs_stored *t, int64_t n, const void *values, gs_error *err) GS_NODISCARD;

#endif
