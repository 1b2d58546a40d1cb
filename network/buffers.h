/* Memory of values, recycled between nodes and between runs of one size. Not thread safe. */
#ifndef GS_NETWORK_BUFFERS_H
#define GS_NETWORK_BUFFERS_H

#include <base/error.h>

typedef struct gs_buffer {
    void *data; /* 64-byte aligned, NULL: none */
    size_t bytes;
} gs_buffer;

enum { GS_POOL_BUFFERS = 16 };

/* Start with {0}. */
typedef struct gs_pool {
    gs_buffer idle[GS_POOL_BUFFERS];
    int count;
} gs_pool;

/* A buffer of at least `bytes`, uninitialised: the smallest idle one that is large enough, else
 * a new one. */
gs_status gs_pool_take(gs_pool *pool, size_t bytes, gs_buffer *out, gs_error *err) GS_NODISCARD;
/* Takes the buffer back and empties *buffer (which may be empty). When the pool is full the
 * smallest of all goes. */
void gs_pool_give(gs_pool *pool, gs_buffer *buffer);
void gs_pool_clear(gs_pool *pool);

#endif
