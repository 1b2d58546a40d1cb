/* Hash map from byte strings to int64 values (xxHash, open addressing).
 * Keys are borrowed: the caller keeps them alive as long as the map.
 * Start with `gs_map m = {0}`. Not thread safe; concurrent gs_map_get is. */
#ifndef GS_BASE_MAP_H
#define GS_BASE_MAP_H

#include <base/error.h>

typedef struct gs_map {
    struct gs_map_slot *slots; /* capacity is a power of two */
    size_t cap, count;
} gs_map;

gs_status gs_map_reserve(gs_map *m, size_t count, gs_error *err) GS_NODISCARD;
/* Inserts, or leaves the old value and sets *existed. `existed` may be NULL. */
gs_status gs_map_put(gs_map *m, const char *key, size_t len, int64_t value,
                     bool *existed, gs_error *err) GS_NODISCARD;
bool gs_map_get(const gs_map *m, const char *key, size_t len, int64_t *value);
void gs_map_clear(gs_map *m);

#endif
