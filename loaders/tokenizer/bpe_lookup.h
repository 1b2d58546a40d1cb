/* The pair table of a gs_bpe: one multiply and, mostly, one cache line. */
#ifndef GS_LOADERS_TOKENIZER_BPE_LOOKUP_H
#define GS_LOADERS_TOKENIZER_BPE_LOOKUP_H

#include <loaders/tokenizer/bpe.h>

static inline uint64_t gs_bpe_pair_key(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* The pair's slot, or the free slot where it belongs (half of them stay free). */
static inline gs_bpe_pair *gs_bpe_slot(const gs_bpe *b, uint64_t pair) {
    size_t mask = ((size_t)1 << b->bits) - 1;
    /* Fibonacci hashing, Knuth vol. 3, 6.4; the fold lets the left id reach the top bits */
    size_t i = (size_t)(((pair ^ pair >> 29) * 0x9e3779b97f4a7c15u) >> (64 - b->bits));
    while (b->pairs[i].pair != pair && b->pairs[i].pair != UINT64_MAX) i = (i + 1) & mask;
    return &b->pairs[i];
}

/* Rank of a merge and the id it makes; false when the pair does not merge. */
static inline bool gs_bpe_find(const gs_bpe *b, int32_t left, int32_t right, int32_t *rank,
                               int32_t *id) {
    uint64_t pair = gs_bpe_pair_key(left, right);
    const gs_bpe_pair *s = gs_bpe_slot(b, pair);
    if (s->pair != pair) return false;
    *rank = s->rank;
    *id = s->id;
    return true;
}

#endif
