#include <base/map.h>

#include <base/hash.h>
#include <base/mem.h>

#include <string.h>

struct gs_map_slot {
    const char *key; /* NULL: the slot is free */
    size_t len;
    uint64_t hash;
    int64_t value;
};

/* The slot that holds the key, or the free slot where it belongs. A free slot always
 * exists: the load stays at 3/4 or less. */
static struct gs_map_slot *find(const gs_map *m, const char *key, size_t len,
                                uint64_t hash) {
    size_t mask = m->cap - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        struct gs_map_slot *s = &m->slots[i];
        if (!s->key) return s;
        if (s->hash == hash && s->len == len && memcmp(s->key, key, len) == 0) return s;
    }
}

static gs_status rehash(gs_map *m, size_t cap, gs_error *err) {
    gs_map fresh = {gs_calloc(cap, sizeof *m->slots), cap, m->count};
    if (!fresh.slots) return gs_error_nomem(err, cap * sizeof *m->slots);
    for (size_t i = 0; i < m->cap; i++) {
        const struct gs_map_slot *s = &m->slots[i];
        if (s->key) *find(&fresh, s->key, s->len, s->hash) = *s;
    }
    gs_free(m->slots);
    *m = fresh;
    return GS_OK;
}

gs_status gs_map_reserve(gs_map *m, size_t count, gs_error *err) {
    size_t cap = m->cap ? m->cap : 16;
    while (cap - cap / 4 < count) {
        if (cap > SIZE_MAX / 2 / sizeof *m->slots) return gs_error_nomem(err, SIZE_MAX);
        cap *= 2;
    }
    return cap == m->cap ? GS_OK : rehash(m, cap, err);
}

gs_status gs_map_put(gs_map *m, const char *key, size_t len, int64_t value,
                     bool *existed, gs_error *err) {
    if (len == 0) key = ""; /* a NULL key marks a free slot */
    GS_TRY(gs_map_reserve(m, m->count + 1, err));
    uint64_t hash = gs_hash64(key, len);
    struct gs_map_slot *s = find(m, key, len, hash);
    if (existed) *existed = s->key != NULL;
    if (s->key) return GS_OK;
    *s = (struct gs_map_slot){key, len, hash, value};
    m->count++;
    return GS_OK;
}

bool gs_map_get(const gs_map *m, const char *key, size_t len, int64_t *value) {
    if (m->count == 0) return false;
    if (len == 0) key = "";
    const struct gs_map_slot *s = find(m, key, len, gs_hash64(key, len));
    if (!s->key) return false;
    if (value) *value = s->value;
    return true;
}

void gs_map_clear(gs_map *m) {
    gs_free(m->slots);
    *m = (gs_map){0};
}
