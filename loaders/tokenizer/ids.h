/* A growing list of token ids. Start with `gs_ids ids = {0}`; gs_free(ids.v) ends it. */
#ifndef GS_LOADERS_TOKENIZER_IDS_H
#define GS_LOADERS_TOKENIZER_IDS_H

#include <base/mem.h>

typedef struct gs_ids {
    int32_t *v;
    size_t n, cap;
} gs_ids;

/* Room for `more` further ids. */
static inline gs_status gs_ids_reserve(gs_ids *ids, size_t more, gs_error *err) {
    if (more <= ids->cap - ids->n) return GS_OK;
    if (more > SIZE_MAX / 4 - ids->n) return gs_error_nomem(err, SIZE_MAX);
    size_t cap = ids->cap + ids->cap / 2, least = ids->n + more;
    if (cap < least) cap = least;
    if (cap < 64) cap = 64;
    int32_t *v = gs_realloc(ids->v, cap, sizeof *v);
    if (!v) return gs_error_nomem(err, cap * sizeof *v);
    ids->v = v;
    ids->cap = cap;
    return GS_OK;
}

static inline gs_status gs_ids_push(gs_ids *ids, int32_t id, gs_error *err) {
    if (ids->n == ids->cap) GS_TRY(gs_ids_reserve(ids, 1, err));
    ids->v[ids->n++] = id;
    return GS_OK;
}

#endif
