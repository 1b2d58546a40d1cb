/* The C++ library behind C functions. No exception leaves them; what went wrong comes back
 * as a line in `why`. */
#ifndef GS_LOADERS_TOKENIZER_SPM_SHIM_H
#define GS_LOADERS_TOKENIZER_SPM_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum gs_spm_result { GS_SPM_OK, GS_SPM_BAD, GS_SPM_NOMEM } gs_spm_result;

/* proto: bytes that gs_spm_check has accepted. */
gs_spm_result gs_spm_load(const uint8_t *proto, size_t len, void **out, char *why,
                          size_t why_len);
void gs_spm_unload(void *model);
int32_t gs_spm_bos(const void *model); /* or -1 */
/* Calls push once with the ids; 0 from it is success. Any number of threads. */
gs_spm_result gs_spm_encode(const void *model, const char *text, size_t len,
                            int (*push)(void *ctx, const int *ids, size_t n), void *ctx,
                            char *why, size_t why_len);

#ifdef __cplusplus
}
#endif
#endif
