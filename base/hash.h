/* Content hashes: XXH3 (fast, not cryptographic) for manifests and tests. */
#ifndef GS_BASE_HASH_H
#define GS_BASE_HASH_H

#include <base/error.h>

uint64_t gs_hash64(const void *data, size_t n);
/* Streaming 128-bit XXH3 as 32 hex digits. */
typedef struct gs_hasher gs_hasher;
gs_hasher *gs_hasher_create(void);
void gs_hasher_update(gs_hasher *h, const void *data, size_t n);
void gs_hasher_hex(const gs_hasher *h, char out[33]);
void gs_hasher_destroy(gs_hasher *h);

#endif
