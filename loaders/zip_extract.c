#include <loaders/zip_archive.h>

#include <base/mem.h>

#include <string.h>
#include <zlib.h>

/* Bytes of content in one piece, and of packed input that zlib is shown at a time. */
enum { PIECE = 256 << 10, INPUT = 1 << 20 };

/* A member on its way out. */
typedef struct extraction {
    const gs_zip_member *member;
    gs_zip_sink *sink;
    void *ctx;
    uint64_t done; /* bytes of content */
    uLong crc;
} extraction;

static gs_status put(extraction *x, const uint8_t *bytes, size_t n, gs_error *err) {
    if (n == 0) return GS_OK;
    if (n > x->member->size - x->done)
        return GS_FAIL(err, GS_E_FORMAT, "member '%.200s' inflates to more than the %llu bytes it states", x->member->name,
                       (unsigned long long)x->member->size);
    x->crc = crc32_z(x->crc, bytes, n);
    GS_TRY(x->sink(x->ctx, x->done, bytes, n, err));
    x->done += n;
    return GS_OK;
}

static gs_status copy(extraction *x, gs_error *err) {
    const gs_zip_member *m = x->member;
    while (x->done < m->size) {
        uint64_t left = m->size - x->done;
        GS_TRY(put(x, m->packed + x->done, left < PIECE ? (size_t)left : PIECE, err));
    }
    return GS_OK;
}

static gs_status broken(const extraction *x, const char *why, gs_error *err) {
    return GS_FAIL(err, GS_E_FORMAT, "member '%.200s' does not inflate (%s)", x->member->name, why);
}

/* Until the stream's end; whatever of the packed bytes it leaves is an error. */
static gs_status inflate_all(extraction *x, z_stream *z, uint8_t *piece, gs_error *err) {
    uint64_t left = x->member->packed_size;
    z->next_in = (Bytef *)(uintptr_t)x->member->packed;
    for (;;) {
        uInt shown = left < INPUT ? (uInt)left : INPUT;
        z->avail_in = shown;
        z->next_out = piece;
        z->avail_out = PIECE;
        int code = inflate(z, Z_NO_FLUSH);
        left -= shown - z->avail_in;
        if (code == Z_MEM_ERROR) return gs_error_nomem(err, PIECE);
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) return broken(x, z->msg ? z->msg : "broken", err);
        GS_TRY(put(x, piece, PIECE - z->avail_out, err));
        if (code == Z_STREAM_END) return left ? broken(x, "bytes follow its end", err) : GS_OK;
        /* room for output and nothing made of it: there is no more input */
        if (code == Z_BUF_ERROR || (left == 0 && z->avail_out > 0)) return broken(x, "cut off", err);
    }
}

static void *zlib_alloc(void *opaque, uInt count, uInt size) {
    (void)opaque;
    return gs_calloc(count, size);
}

static void zlib_free(void *opaque, void *p) {
    (void)opaque;
    gs_free(p);
}

static gs_status unpack(extraction *x, gs_error *err) {
    z_stream z = {.zalloc = zlib_alloc, .zfree = zlib_free};
    uint8_t *piece = gs_alloc(PIECE);
    if (!piece) return gs_error_nomem(err, PIECE);
    gs_status status = GS_OK;
    /* negative: raw deflate data, without zlib's own header */
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) status = gs_error_nomem(err, PIECE);
    else status = inflate_all(x, &z, piece, err);
    inflateEnd(&z);
    gs_free(piece);
    return status;
}

gs_status gs_zip_extract(const gs_zip_member *m, gs_zip_sink *sink, void *ctx, gs_error *err) {
    extraction x = {.member = m, .sink = sink, .ctx = ctx, .crc = crc32_z(0, NULL, 0)};
    GS_TRY(m->deflated ? unpack(&x, err) : copy(&x, err));
    if (x.done != m->size)
        return GS_FAIL(err, GS_E_FORMAT, "member '%.200s' inflates to %llu bytes, it states %llu", m->name,
                       (unsigned long long)x.done, (unsigned long long)m->size);
    if (x.crc != m->crc)
        return GS_FAIL(err, GS_E_FORMAT, "member '%.200s' has CRC %08lx, it states %08lx: its bytes are damaged", m->name,
                       (unsigned long)x.crc, (unsigned long)m->crc);
    return GS_OK;
}

static gs_status into_memory(void *ctx, uint64_t at, const void *bytes, size_t n, gs_error *err) {
    (void)err;
    memcpy((uint8_t *)ctx + at, bytes, n);
    return GS_OK;
}

gs_status gs_zip_read(const gs_zip_member *m, size_t max, uint8_t **out, gs_error *err) {
    *out = NULL;
    if (m->size > max)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "member '%.200s' has %llu bytes, more than the %zu that are read", m->name,
                       (unsigned long long)m->size, max);
    uint8_t *content = gs_alloc((size_t)m->size + 1);
    if (!content) return gs_error_nomem(err, (size_t)m->size + 1);
    gs_status status = gs_zip_extract(m, into_memory, content, err);
    if (status == GS_OK) *out = content;
    else gs_free(content);
    return status;
}
