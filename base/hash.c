#include <base/hash.h>

#include <base/mem.h>

#include <stdio.h>

/* Inlined, because the layout of the streaming state is only promised within one
 * version of xxHash: header and code then always match. */
#define XXH_INLINE_ALL
#include <xxhash.h>

struct gs_hasher {
    XXH3_state_t state; /* wants 64-byte alignment, which gs_alloc gives */
};

uint64_t gs_hash64(const void *data, size_t n) {
    return XXH3_64bits(data, n);
}

gs_hasher *gs_hasher_create(void) {
    gs_hasher *h = gs_calloc(1, sizeof *h);
    if (h) XXH3_128bits_reset(&h->state);
    return h;
}

void gs_hasher_update(gs_hasher *h, const void *data, size_t n) {
    if (n) XXH3_128bits_update(&h->state, data, n);
}

void gs_hasher_hex(const gs_hasher *h, char out[33]) {
    XXH128_hash_t sum = XXH3_128bits_digest(&h->state);
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)sum.high64,
             (unsigned long long)sum.low64);
}

void gs_hasher_destroy(gs_hasher *h) {
    gs_free(h);
}
