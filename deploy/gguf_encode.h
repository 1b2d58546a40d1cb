/* How GGUF lays the values of matrices and vectors out (internal to deploy/). The encoders of matrices work on blocks of rows
 * in bounded memory, on the context's team with a fixed grain. t->constant, but of norms: into how many heads the rows are cut
 * whose two rotary halves lie interleaved (gs_gguf_place.heads), or 0: rows in their order.
 */
#ifndef GS_DEPLOY_GGUF_ENCODE_H
#define GS_DEPLOY_GGUF_ENCODE_H

#include <deploy/bundle_writer.h>

/* gs_encode_float with that order of rows. */
gs_encoder gs_encode_gguf_float;
/* The bias of such a matrix: [n] elements in the order of its rows, as F32. Holds the vector. */
gs_encoder gs_encode_gguf_bias;
/* t->constant added to every element of the vector, in f32; as F32. Holds the vector. */
gs_encoder gs_encode_gguf_norm;
/* t->node is a W8A16 linear: its codes [n, k] as they are, with the scale of their group (every 32 of a row lie in one) in f16 before
 * each 32. GS_E_UNSUPPORTED where a scale is no f16 value or an offset is not 0. */
gs_encoder gs_encode_gguf_q8_0;

/* The numbers of a node that gs_encode_gguf_q8_0 refuses, looked at before anything is written; params that have no bytes yet pass.
 * Rows of the weight that are no whole blocks, groups that cut one, and shapes that do not fit are refused too. */
gs_status gs_gguf_q8_0_permits(const gs_node *node, gs_error *err) GS_NODISCARD;

#endif
