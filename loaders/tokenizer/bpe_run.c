#include <loaders/tokenizer/bpe.h>

#include <stdio.h>
#include <string.h>

#include <base/hash.h>
#include <base/strbuf.h>
#include <loaders/tokenizer/bpe_lookup.h>
#include <loaders/tokenizer/utf8.h>

enum {
    SCAN_MOST = 48,       /* symbols up to which scanning for the minimum beats a heap */
    CACHED_BYTES = 64,    /* longest word that is remembered */
    CACHE_MOST = 1 << 18, /* words remembered */
    CACHE_START = 1 << 12
};

typedef struct cached {
    uint64_t hash;
    uint32_t key, ids; /* offsets; an entry without length is free */
    uint16_t len, count;
} cached;

typedef struct symbol {
    int32_t id, prev, next; /* id -1: merged away */
} symbol;

typedef struct candidate {
    int32_t rank, at, left, right, id;
} candidate;

struct gs_bpe_run {
    const gs_bpe *bpe;
    cached *cache;
    size_t cache_cap, cache_count;
    gs_strbuf keys;
    gs_ids cached_ids;
    gs_ids first; /* symbols before any merge */
    symbol *symbols;
    size_t symbol_cap;
    candidate *heap;
    size_t heap_n, heap_cap;
    gs_strbuf spelled;
};

gs_status gs_bpe_run_create(const gs_bpe *b, gs_bpe_run **out, gs_error *err) {
    gs_bpe_run *r = *out = gs_calloc(1, sizeof *r);
    if (!r) return gs_error_nomem(err, sizeof *r);
    r->bpe = b;
    r->cache_cap = CACHE_START;
    r->cache = gs_calloc(r->cache_cap, sizeof *r->cache);
    if (r->cache) return GS_OK;
    gs_bpe_run_destroy(r);
    *out = NULL;
    return gs_error_nomem(err, CACHE_START * sizeof(cached));
}

void gs_bpe_run_destroy(gs_bpe_run *r) {
    if (!r) return;
    gs_free(r->cache);
    gs_strbuf_clear(&r->keys);
    gs_strbuf_clear(&r->spelled);
    gs_free(r->cached_ids.v);
    gs_free(r->first.v);
    gs_free(r->symbols);
    gs_free(r->heap);
    gs_free(r);
}

/* ---- the symbols a word starts from */

static gs_status push_byte_tokens(gs_bpe_run *r, const char *s, size_t n, bool *done,
                                  gs_error *err) {
    *done = false;
    for (size_t k = 0; k < n; k++)
        if (r->bpe->byte_ids[(unsigned char)s[k]] < 0) return GS_OK;
    *done = true;
    for (size_t k = 0; k < n; k++)
        GS_TRY(gs_ids_push(&r->first, r->bpe->byte_ids[(unsigned char)s[k]], err));
    return GS_OK;
}

static gs_status first_chars(gs_bpe_run *r, const char *s, size_t len, gs_error *err) {
    const gs_bpe *b = r->bpe;
    bool unknown = false; /* an unknown token waits, so that the next may fuse with it */
    for (size_t i = 0, n; i < len; i += n) {
        n = gs_utf8_len(s[i]);
        int32_t id = gs_vocab_id(&b->vocab, s + i, n);
        if (id >= 0) {
            if (unknown) GS_TRY(gs_ids_push(&r->first, b->unk, err));
            unknown = false;
            GS_TRY(gs_ids_push(&r->first, id, err));
            continue;
        }
        if (b->byte_fallback) {
            bool done;
            /* an unknown token that waits goes on waiting, behind these bytes: so does the
             * library whose ids these must equal */
            GS_TRY(push_byte_tokens(r, s + i, n, &done, err));
            if (done) continue;
        }
        if (b->unk < 0) continue;
        if (unknown && !b->fuse_unk) GS_TRY(gs_ids_push(&r->first, b->unk, err));
        unknown = true;
    }
    return unknown ? gs_ids_push(&r->first, b->unk, err) : GS_OK;
}

static gs_status first_bytes(gs_bpe_run *r, const char *s, size_t len, gs_error *err) {
    const gs_bpe *b = r->bpe;
    bool unknown = false;
    GS_TRY(gs_ids_reserve(&r->first, len + 1, err));
    int32_t *out = r->first.v;
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int32_t id = b->byte_ids[(unsigned char)s[i]];
        if (id < 0 && b->unk < 0) continue;
        if (unknown && (id >= 0 || !b->fuse_unk)) out[n++] = b->unk;
        unknown = id < 0;
        if (id >= 0) out[n++] = id;
    }
    if (unknown) out[n++] = b->unk;
    r->first.n = n;
    return GS_OK;
}

/* ---- merging */

/* Few symbols: the ranks of all neighbours in an array, the minimum found by scanning. */
static size_t merge_scan(const gs_bpe *b, int32_t *id, size_t n) {
    int32_t rank[SCAN_MOST], made[SCAN_MOST];
    for (size_t i = 0; i + 1 < n; i++)
        if (!gs_bpe_find(b, id[i], id[i + 1], &rank[i], &made[i])) rank[i] = INT32_MAX;
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == INT32_MAX) break;
        id[best] = made[best];
        size_t tail = n - best - 2; /* symbols behind the pair */
        memmove(id + best + 1, id + best + 2, tail * sizeof *id);
        if (tail) {
            memmove(rank + best, rank + best + 1, tail * sizeof *rank);
            memmove(made + best, made + best + 1, tail * sizeof *made);
        }
        n--;
        if (best + 1 < n && !gs_bpe_find(b, id[best], id[best + 1], &rank[best], &made[best]))
            rank[best] = INT32_MAX;
        if (best > 0 && !gs_bpe_find(b, id[best - 1], id[best], &rank[best - 1], &made[best - 1]))
            rank[best - 1] = INT32_MAX;
    }
    return n;
}

static bool before(const candidate *a, const candidate *b) {
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static gs_status heap_push(gs_bpe_run *r, int32_t at, gs_error *err) {
    const symbol *s = r->symbols;
    candidate c = {0, at, 0, 0, 0};
    if (at < 0 || s[at].next < 0) return GS_OK;
    c.left = s[at].id;
    c.right = s[s[at].next].id;
    if (!gs_bpe_find(r->bpe, c.left, c.right, &c.rank, &c.id)) return GS_OK;
    if (r->heap_n == r->heap_cap) {
        size_t cap = r->heap_cap ? r->heap_cap * 2 : 256;
        candidate *heap = gs_realloc(r->heap, cap, sizeof *heap);
        if (!heap) return gs_error_nomem(err, cap * sizeof *heap);
        r->heap = heap;
        r->heap_cap = cap;
    }
    size_t i = r->heap_n++;
    for (; i > 0 && before(&c, &r->heap[(i - 1) / 2]); i = (i - 1) / 2)
        r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = c;
    return GS_OK;
}

static candidate heap_pop(gs_bpe_run *r) {
    candidate top = r->heap[0], last = r->heap[--r->heap_n];
    size_t i = 0, n = r->heap_n;
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && before(&r->heap[k + 1], &r->heap[k])) k++;
        if (!before(&r->heap[k], &last)) break;
        r->heap[i] = r->heap[k];
    }
    if (n) r->heap[i] = last;
    return top;
}

/* Many symbols: a linked list and a heap of candidates, stale ones told by their ids. */
static gs_status merge_heap(gs_bpe_run *r, gs_ids *ids, gs_error *err) {
    size_t n = ids->n;
    if (n > r->symbol_cap) {
        symbol *s = gs_realloc(r->symbols, n, sizeof *s);
        if (!s) return gs_error_nomem(err, n * sizeof *s);
        r->symbols = s;
        r->symbol_cap = n;
    }
    symbol *s = r->symbols;
    for (size_t i = 0; i < n; i++)
        s[i] = (symbol){ids->v[i], (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
    r->heap_n = 0;
    for (size_t i = 0; i + 1 < n; i++) GS_TRY(heap_push(r, (int32_t)i, err));
    while (r->heap_n) {
        candidate c = heap_pop(r);
        int32_t next = s[c.at].next;
        if (s[c.at].id != c.left || next < 0 || s[next].id != c.right) continue;
        s[c.at].id = c.id;
        s[c.at].next = s[next].next;
        s[next].id = -1;
        if (s[c.at].next >= 0) s[s[c.at].next].prev = c.at;
        GS_TRY(heap_push(r, s[c.at].prev, err));
        GS_TRY(heap_push(r, c.at, err));
    }
    ids->n = 0;
    for (int32_t i = 0; i >= 0; i = s[i].next) ids->v[ids->n++] = s[i].id;
    return GS_OK;
}

/* ---- words remembered */

static cached *find_cached(const gs_bpe_run *r, const char *word, size_t len, uint64_t hash) {
    size_t mask = r->cache_cap - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        cached *c = &r->cache[i];
        if (!c->len) return c;
        if (c->hash == hash && c->len == len && memcmp(r->keys.data + c->key, word, len) == 0)
            return c;
    }
}

static gs_status grow_cache(gs_bpe_run *r, gs_error *err) {
    size_t cap = r->cache_cap * 2, mask = cap - 1;
    cached *fresh = gs_calloc(cap, sizeof *fresh);
    if (!fresh) return gs_error_nomem(err, cap * sizeof *fresh);
    for (size_t k = 0; k < r->cache_cap; k++) {
        if (!r->cache[k].len) continue;
        size_t i = (size_t)r->cache[k].hash & mask;
        while (fresh[i].len) i = (i + 1) & mask;
        fresh[i] = r->cache[k];
    }
    gs_free(r->cache);
    r->cache = fresh;
    r->cache_cap = cap;
    return GS_OK;
}

static gs_status remember(gs_bpe_run *r, const char *word, size_t len, uint64_t hash,
                          const int32_t *ids, size_t n, gs_error *err) {
    if (r->cache_count >= CACHE_MOST) return GS_OK;
    if (2 * (r->cache_count + 1) > r->cache_cap) GS_TRY(grow_cache(r, err));
    cached c = {hash, (uint32_t)r->keys.len, (uint32_t)r->cached_ids.n, (uint16_t)len,
                (uint16_t)n};
    GS_TRY(gs_ids_reserve(&r->cached_ids, n, err));
    gs_strbuf_append(&r->keys, word, len);
    if (r->keys.failed) return gs_error_nomem(err, len);
    if (n) memcpy(r->cached_ids.v + c.ids, ids, n * sizeof *ids);
    r->cached_ids.n += n;
    *find_cached(r, word, len, hash) = c;
    r->cache_count++;
    return GS_OK;
}

/* ---- a word */

/* The piece that is the whole word, or -1. */
static gs_status whole_word(gs_bpe_run *r, const char *word, size_t len, int32_t *id,
                            gs_error *err) {
    if (!r->bpe->byte_level) {
        *id = gs_vocab_id(&r->bpe->vocab, word, len);
        return GS_OK;
    }
    gs_strbuf_reset(&r->spelled);
    for (size_t i = 0; i < len; i++) {
        char c[4];
        gs_strbuf_append(&r->spelled, c, gs_utf8_put(gs_bpe_byte_char((uint8_t)word[i]), c));
    }
    if (r->spelled.failed) return gs_error_nomem(err, len);
    *id = gs_vocab_id(&r->bpe->vocab, gs_strbuf_text(&r->spelled), r->spelled.len);
    return GS_OK;
}

static gs_status encode_word(gs_bpe_run *r, const char *word, size_t len, gs_error *err) {
    r->first.n = 0;
    if (r->bpe->ignore_merges) {
        int32_t id = -1;
        GS_TRY(whole_word(r, word, len, &id, err));
        if (id >= 0) return gs_ids_push(&r->first, id, err);
    }
    GS_TRY(r->bpe->byte_level ? first_bytes(r, word, len, err) : first_chars(r, word, len, err));
    if (r->first.n > SCAN_MOST) return merge_heap(r, &r->first, err);
    r->first.n = merge_scan(r->bpe, r->first.v, r->first.n);
    return GS_OK;
}

static gs_status one_word(gs_bpe_run *r, const char *word, size_t len, gs_ids *out, gs_error *err) {
    const int32_t *ids;
    size_t n;
    uint64_t hash = 0;
    const cached *hit = NULL;
    bool keep = len > 0 && len <= CACHED_BYTES;
    if (keep) {
        hash = gs_hash64(word, len);
        hit = find_cached(r, word, len, hash);
    }
    if (hit && hit->len) {
        n = hit->count;
        ids = n ? r->cached_ids.v + hit->ids : NULL;
    } else {
        GS_TRY(encode_word(r, word, len, err));
        ids = r->first.v;
        n = r->first.n;
        if (keep) GS_TRY(remember(r, word, len, hash, ids, n, err));
    }
    if (n == 0) return GS_OK;
    GS_TRY(gs_ids_reserve(out, n, err));
    memcpy(out->v + out->n, ids, n * sizeof *ids);
    out->n += n;
    return GS_OK;
}

/* End of the part that begins at `begin`: before the next U+2581 that follows another character and cannot merge with it. */
static size_t part_end(const gs_bpe *b, const char *word, size_t len, size_t begin) {
    for (size_t i = begin + 1; i + 3 <= len; i++) {
        const char *hit = memmem(word + i, len - i, "\xe2\x96\x81", 3);
        if (!hit) break;
        i = (size_t)(hit - word);
        bool follows = i >= begin + 3 && memcmp(word + i - 3, "\xe2\x96\x81", 3) == 0;
        if (!follows && !b->crosses[(uint8_t)word[i - 1]]) return i;
        i += 2;
    }
    return len;
}

gs_status gs_bpe_word(gs_bpe_run *r, const char *word, size_t len, gs_ids *out, gs_error *err) {
    if (len > INT32_MAX / 2)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "one word of %zu bytes, at most %d", len, INT32_MAX / 2);
    if (!r->bpe->cuttable) return one_word(r, word, len, out, err);
    for (size_t begin = 0, end; begin < len; begin = end) {
        end = part_end(r->bpe, word, len, begin);
        GS_TRY(one_word(r, word + begin, end - begin, out, err));
    }
    return GS_OK;
}
