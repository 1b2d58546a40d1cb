/* A decoder block as a net, and the same block written out plainly in double. */
#ifndef GS_TESTS_NETWORK_BLOCK_REFERENCE_H
#define GS_TESTS_NETWORK_BLOCK_REFERENCE_H

#include "nets.h"

enum { GS_BLOCK_HIDDEN = 48, GS_BLOCK_HEADS = 6, GS_BLOCK_KV = 2, GS_BLOCK_HEAD_DIM = 8, GS_BLOCK_INNER = 80 };

/* Weights are f32, owned by the net; q, k and v have biases. Input "x" [48], one output. */
gs_net *gs_block_net(uint64_t seed);
/* One sequence: x, out [tokens, 48]. */
void gs_block_reference(const gs_net *net, int64_t tokens, const float *x, float *out);

#endif
