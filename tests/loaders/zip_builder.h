/* Zip archives by hand, right or, once a byte at a place that is remembered has been changed, wrong. */
#ifndef GS_TESTS_ZIP_BUILDER_H
#define GS_TESTS_ZIP_BUILDER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    ZIP_PLAIN = 0,
    ZIP_DEFLATED = 1,
    ZIP_FOLLOWS = 2, /* sizes and CRC behind the data, as torch.save has it */
    ZIP_WIDE = 4,    /* sizes and place in zip64's fields */
    ZIP_ALIGNED = 8  /* an extra field that moves the data to a multiple of 64, as torch.save has it */
};

enum { ZIP_MEMBERS = 40 };

typedef struct zip_builder {
    uint8_t *data;
    size_t len, cap, count;
    struct {
        const char *name;
        size_t local, data, entry; /* where its headers and bytes are */
        uint32_t size, packed, crc;
        int flags;
    } member[ZIP_MEMBERS];
    size_t directory, end64, end;
} zip_builder;

static inline void zip_bytes(zip_builder *z, const void *bytes, size_t n) {
    if (z->len + n > z->cap) {
        z->cap = 2 * (z->len + n) + 256;
        z->data = realloc(z->data, z->cap);
        if (!z->data) abort();
    }
    if (n) memcpy(z->data + z->len, bytes, n);
    z->len += n;
}

static inline void zip_number(zip_builder *z, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) zip_bytes(z, &(uint8_t){(uint8_t)(value >> 8 * i)}, 1);
}

static inline void zip_set(zip_builder *z, size_t at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) z->data[at + (size_t)i] = (uint8_t)(value >> 8 * i);
}

/* Raw deflate; the caller frees it. */
static inline uint8_t *zip_deflate(const void *content, size_t n, size_t *packed) {
    z_stream s = {0};
    size_t room = n + n / 100 + 64;
    uint8_t *out = malloc(room);
    if (!out || deflateInit2(&s, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) abort();
    s.next_in = (Bytef *)(uintptr_t)content;
    s.avail_in = (uInt)n;
    s.next_out = out;
    s.avail_out = (uInt)room;
    if (deflate(&s, Z_FINISH) != Z_STREAM_END) abort();
    *packed = s.total_out;
    deflateEnd(&s);
    return out;
}

/* The local header of member i; sizes and CRC are those of the directory unless they follow. */
static inline void zip_local(zip_builder *z, size_t i) {
    int flags = z->member[i].flags;
    bool follows = flags & ZIP_FOLLOWS, wide = flags & ZIP_WIDE;
    size_t name = strlen(z->member[i].name), extra = wide ? 20 : 0, pad = 0;
    if (flags & ZIP_ALIGNED) pad = 4 + (64 - (z->len + 30 + name + extra + 4) % 64) % 64;
    z->member[i].local = z->len;
    zip_number(z, 0x04034b50, 4);
    zip_number(z, 45, 2);
    zip_number(z, follows ? 0x808 : 0, 2);
    zip_number(z, flags & ZIP_DEFLATED ? 8 : 0, 2);
    zip_number(z, 0, 4);
    zip_number(z, follows ? 0 : z->member[i].crc, 4);
    zip_number(z, follows ? 0 : wide ? UINT32_MAX : z->member[i].packed, 4);
    zip_number(z, follows ? 0 : wide ? UINT32_MAX : z->member[i].size, 4);
    zip_number(z, name, 2);
    zip_number(z, extra + pad, 2);
    zip_bytes(z, z->member[i].name, name);
    if (wide) {
        zip_number(z, 1, 2);
        zip_number(z, 16, 2);
        zip_number(z, z->member[i].size, 8);
        zip_number(z, z->member[i].packed, 8);
    }
    if (pad) {
        zip_number(z, 0x4246, 2);
        zip_number(z, pad - 4, 2);
        for (size_t k = 4; k < pad; k++) zip_bytes(z, "Z", 1);
    }
}

/* name is borrowed until zip_end. */
static inline void zip_add(zip_builder *z, const char *name, const void *content, size_t n, int flags) {
    size_t i = z->count++, packed = n;
    uint8_t *deflated = flags & ZIP_DEFLATED ? zip_deflate(content, n, &packed) : NULL;
    z->member[i].name = name;
    z->member[i].size = (uint32_t)n;
    z->member[i].packed = (uint32_t)packed;
    z->member[i].crc = (uint32_t)crc32_z(crc32_z(0, NULL, 0), content, n);
    z->member[i].flags = flags;
    zip_local(z, i);
    z->member[i].data = z->len;
    zip_bytes(z, deflated ? deflated : content, packed);
    free(deflated);
    if (!(flags & ZIP_FOLLOWS)) return;
    zip_number(z, 0x08074b50, 4);
    zip_number(z, z->member[i].crc, 4);
    zip_number(z, packed, 4);
    zip_number(z, n, 4);
}

static inline void zip_entry(zip_builder *z, size_t i) {
    int flags = z->member[i].flags;
    bool wide = flags & ZIP_WIDE;
    z->member[i].entry = z->len;
    zip_number(z, 0x02014b50, 4);
    zip_number(z, 45, 2);
    zip_number(z, 45, 2);
    zip_number(z, flags & ZIP_FOLLOWS ? 0x808 : 0, 2);
    zip_number(z, flags & ZIP_DEFLATED ? 8 : 0, 2);
    zip_number(z, 0, 4);
    zip_number(z, z->member[i].crc, 4);
    zip_number(z, wide ? UINT32_MAX : z->member[i].packed, 4);
    zip_number(z, wide ? UINT32_MAX : z->member[i].size, 4);
    zip_number(z, strlen(z->member[i].name), 2);
    zip_number(z, wide ? 28 : 0, 2);
    zip_number(z, 0, 8);
    zip_number(z, 0, 2);
    zip_number(z, wide ? UINT32_MAX : z->member[i].local, 4);
    zip_bytes(z, z->member[i].name, strlen(z->member[i].name));
    if (!wide) return;
    zip_number(z, 1, 2);
    zip_number(z, 24, 2);
    zip_number(z, z->member[i].size, 8);
    zip_number(z, z->member[i].packed, 8);
    zip_number(z, z->member[i].local, 8);
}

/* end64: zip64's end record and its locator too. saturated: numbers only there. */
static inline void zip_end(zip_builder *z, bool end64, bool saturated) {
    z->directory = z->len;
    for (size_t i = 0; i < z->count; i++) zip_entry(z, i);
    size_t size = z->len - z->directory;
    z->end64 = z->len;
    if (end64) {
        zip_number(z, 0x06064b50, 4);
        zip_number(z, 44, 8);
        zip_number(z, 45, 2);
        zip_number(z, 45, 2);
        zip_number(z, 0, 8);
        zip_number(z, z->count, 8);
        zip_number(z, z->count, 8);
        zip_number(z, size, 8);
        zip_number(z, z->directory, 8);
        zip_number(z, 0x07064b50, 4);
        zip_number(z, 0, 4);
        zip_number(z, z->end64, 8);
        zip_number(z, 1, 4);
    }
    z->end = z->len;
    zip_number(z, 0x06054b50, 4);
    zip_number(z, 0, 4);
    zip_number(z, saturated ? UINT16_MAX : z->count, 2);
    zip_number(z, saturated ? UINT16_MAX : z->count, 2);
    zip_number(z, saturated ? UINT32_MAX : size, 4);
    zip_number(z, saturated ? UINT32_MAX : z->directory, 4);
    zip_number(z, 0, 2);
}

static inline void zip_clear(zip_builder *z) {
    free(z->data);
    *z = (zip_builder){0};
}

#endif
