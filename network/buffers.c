#include <network/buffers.h>

#include <base/mem.h>

gs_status gs_pool_take(gs_pool *pool, size_t bytes, gs_buffer *out, gs_error *err) {
    int best = -1;
    for (int i = 0; i < pool->count; i++) {
        if (pool->idle[i].bytes < bytes) continue;
        if (best < 0 || pool->idle[i].bytes < pool->idle[best].bytes) best = i;
    }
    if (best >= 0) {
        *out = pool->idle[best];
        pool->idle[best] = pool->idle[--pool->count];
        return GS_OK;
    }
    void *data = gs_alloc(bytes);
    if (!data) return gs_error_nomem(err, bytes);
    *out = (gs_buffer){data, bytes};
    return GS_OK;
}

void gs_pool_give(gs_pool *pool, gs_buffer *buffer) {
    gs_buffer back = *buffer;
    *buffer = (gs_buffer){0};
    if (!back.data) return;
    if (pool->count < GS_POOL_BUFFERS) {
        pool->idle[pool->count++] = back;
        return;
    }
    int smallest = 0;
    for (int i = 1; i < pool->count; i++)
        if (pool->idle[i].bytes < pool->idle[smallest].bytes) smallest = i;
    if (pool->idle[smallest].bytes < back.bytes) {
        gs_buffer swap = pool->idle[smallest];
        pool->idle[smallest] = back;
        back = swap;
    }
    gs_free(back.data);
}

void gs_pool_clear(gs_pool *pool) {
    for (int i = 0; i < pool->count; i++) gs_free(pool->idle[i].data);
    pool->count = 0;
}
