/* Files of token ids: little-endian int32, nothing else. */
#ifndef GS_LOADERS_TOKEN_FILE_H
#define GS_LOADERS_TOKEN_FILE_H

#include <base/error.h>

/* *ids (gs_free): [*count], not checked against any vocabulary; never NULL on success. Errors name
 * the file: GS_E_FORMAT above 1 GiB, or a size that is no multiple of four. */
gs_status gs_token_file_read(const char *path, int32_t **ids, size_t *count, gs_error *err) GS_NODISCARD;
/* The same of bytes in memory; errors name nothing. */
gs_status gs_token_file_decode(const void *data, size_t len, int32_t **ids, size_t *count,
                               gs_error *err) GS_NODISCARD;

#endif
