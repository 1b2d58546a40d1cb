/* ZIP archives, read in place: where each member's bytes lie, and their contents.
 *
 * The central directory says what there is; every local header must say the same (name, method, and, unless they
 * follow the data, sizes and CRC). The zip64 form is read, saturated fields or not. Everything is validated at open:
 * offsets and sizes inside the file, members that neither overlap one another nor the directory, one part, names that
 * are unique non-empty UTF-8 without control characters, a stored member as long as its content, a deflated one whose
 * content is no longer than deflate can make of its bytes (1032 to 1), nothing behind the end but the comment it
 * announces. GS_E_FORMAT for what breaks a rule, GS_E_UNSUPPORTED for encryption, several parts and methods other
 * than stored and deflated. Memory is bounded by the directory's size; contents are read by the caller's leave only.
 *
 * CRC: checked where the content passes through here (extract, read). Bytes that a caller reads in place through
 * `offset` are not checked: that would read a file of many gigabytes once more, which no other container asks for.
 *
 * Read-only after open, any number of threads. */
#ifndef GS_LOADERS_ZIP_ARCHIVE_H
#define GS_LOADERS_ZIP_ARCHIVE_H

#include <base/error.h>

typedef struct gs_zip gs_zip;

typedef struct gs_zip_member {
    const char *name;      /* owned by the archive */
    const uint8_t *packed; /* its bytes in the archive; the content itself when stored */
    uint64_t packed_size;
    uint64_t size; /* of the content */
    uint32_t crc;  /* of the content */
    bool deflated;
} gs_zip_member;

/* data is borrowed until close. */
gs_status gs_zip_open(const uint8_t *data, size_t size, gs_zip **out, gs_error *err) GS_NODISCARD;
void gs_zip_close(gs_zip *zip); /* NULL ok */
size_t gs_zip_count(const gs_zip *zip);
const gs_zip_member *gs_zip_at(const gs_zip *zip, size_t i); /* in the directory's order; NULL beyond the last */
const gs_zip_member *gs_zip_find(const gs_zip *zip, const char *name); /* or NULL */

/* Takes n > 0 bytes of content that start at byte `at`. */
typedef gs_status gs_zip_sink(void *ctx, uint64_t at, const void *bytes, size_t n, gs_error *err);
/* The whole content in pieces of at most 256 KiB, ascending. GS_E_FORMAT, after some pieces maybe, when it does not
 * inflate to exactly `size` bytes of the stated CRC. */
gs_status gs_zip_extract(const gs_zip_member *m, gs_zip_sink *sink, void *ctx, gs_error *err) GS_NODISCARD;
/* The whole content in fresh memory (gs_free). GS_E_UNSUPPORTED beyond max bytes. */
gs_status gs_zip_read(const gs_zip_member *m, size_t max, uint8_t **out, gs_error *err) GS_NODISCARD;

#endif
