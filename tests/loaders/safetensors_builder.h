/* safetensors bytes from a header as text, right or wrong, in memory or on disk. */
#ifndef GS_TESTS_SAFETENSORS_BUILDER_H
#define GS_TESTS_SAFETENSORS_BUILDER_H

#include "../support.h"

#include <loaders/safetensors.h>

/* Exactly *size bytes on the heap (free them), so that sanitizers see any overrun: the
 * length `claimed` (the header's own when negative), the header, then data bytes 0, 1, 2... */
static inline uint8_t *st_bytes(const char *header, size_t header_len, int64_t claimed,
                                size_t data, size_t *size) {
    uint64_t n = claimed < 0 ? header_len : (uint64_t)claimed;
    *size = 8 + header_len + data;
    uint8_t *bytes = malloc(*size);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(n >> 8 * i);
    memcpy(bytes + 8, header, header_len);
    for (size_t i = 0; i < data; i++) bytes[8 + header_len + i] = (uint8_t)i;
    return bytes;
}

static inline void st_write_bytes(const char *path, const void *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static inline void st_write_text(const char *path, const char *text) {
    st_write_bytes(path, text, strlen(text));
}

static inline void st_write(const char *path, const char *header, size_t data) {
    size_t size;
    uint8_t *bytes = st_bytes(header, strlen(header), -1, data, &size);
    st_write_bytes(path, bytes, size);
    free(bytes);
}

/* "<dir>/<name>" in one of four static buffers. */
static inline const char *st_path(const char *dir, const char *name) {
    static char path[4][1024];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

static inline void assert_text_has(const gs_error *err, const char *words) {
    if (!strstr(err->text, words))
        fail_msg("the error is '%s', it should say '%s'", err->text, words);
}

#endif
