#include <loaders/token_file.h>

#include <base/file.h>
#include <base/mem.h>

enum { MAX_BYTES = 1 << 30 };

gs_status gs_token_file_decode(const void *data, size_t len, int32_t **ids, size_t *count, gs_error *err) {
    const uint8_t *b = data;
    *ids = NULL;
    *count = 0;
    if (len % 4 != 0) return GS_FAIL(err, GS_E_FORMAT, "%zu bytes are no whole number of int32 tokens", len);
    int32_t *out = gs_calloc(len ? len / 4 : 1, sizeof *out);
    if (!out) return gs_error_nomem(err, len);
    for (size_t i = 0; i < len / 4; i++, b += 4)
        out[i] = (int32_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
    *ids = out;
    *count = len / 4;
    return GS_OK;
}

gs_status gs_token_file_read(const char *path, int32_t **ids, size_t *count, gs_error *err) {
    char *data;
    size_t len;
    *ids = NULL;
    *count = 0;
    GS_TRY(gs_file_read(path, MAX_BYTES, &data, &len, err));
    gs_status status = gs_token_file_decode(data, len, ids, count, err);
    gs_free(data);
    if (status != GS_OK) gs_error_at(err, "%s", path);
    return status;
}
