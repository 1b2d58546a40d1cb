/* Writes GGUF v3, little endian: metadata pairs in the order they were added, tensors in the order they were planned,
 * each at a multiple of 32 bytes and followed by zeros up to the next, also the last one.
 *
 * Pairs and tensors first, begin writes the header, then the bytes are put tensor by tensor. The file appears whole
 * or not at all (gs_outfile). What gs_gguf_open would refuse is refused here: GS_E_INVALID for a key or tensor name
 * that is taken, not UTF-8 or longer than 65535 bytes, for tensors without dimensions, of more than 4 or with a size of 0, and for dtypes that
 * GGUF lacks. One thread at a time. Resident: the metadata and about 150 bytes a tensor.
 */
#ifndef GS_LOADERS_GGUF_WRITER_H
#define GS_LOADERS_GGUF_WRITER_H

#include <loaders/gguf.h>

typedef struct gs_gguf_writer gs_gguf_writer;

enum { GS_GGUF_ALIGNMENT = 32 };

gs_status gs_gguf_writer_create(gs_gguf_writer **out, gs_error *err) GS_NODISCARD;

/* Pairs, before begin. */
gs_status gs_gguf_writer_u32(gs_gguf_writer *w, const char *key, uint32_t v, gs_error *err) GS_NODISCARD;
gs_status gs_gguf_writer_i32(gs_gguf_writer *w, const char *key, int32_t v, gs_error *err) GS_NODISCARD;
gs_status gs_gguf_writer_u64(gs_gguf_writer *w, const char *key, uint64_t v, gs_error *err) GS_NODISCARD;
gs_status gs_gguf_writer_f32(gs_gguf_writer *w, const char *key, float v, gs_error *err) GS_NODISCARD;
gs_status gs_gguf_writer_bool(gs_gguf_writer *w, const char *key, bool v, gs_error *err) GS_NODISCARD;
gs_status gs_gguf_writer_string(gs_gguf_writer *w, const char *key, const char *v, size_t len,
                                gs_error *err) GS_NODISCARD;
gs_status gs_gguf_writer_f32s(gs_gguf_writer *w, const char *key, const float *v, size_t count,
                              gs_error *err) GS_NODISCARD;
gs_status gs_gguf_writer_i32s(gs_gguf_writer *w, const char *key, const int32_t *v, size_t count,
                              gs_error *err) GS_NODISCARD;
gs_status gs_gguf_writer_strings(gs_gguf_writer *w, const char *key, const gs_gguf_str *v, size_t count,
                                 gs_error *err) GS_NODISCARD;
/* Every pair of g whose key begins with `prefix`, as it stands there, in its order. */
gs_status gs_gguf_writer_copy(gs_gguf_writer *w, const gs_gguf *g, const char *prefix, gs_error *err) GS_NODISCARD;

/* shape: [ndim], outermost first (GGUF's reversed order is made here). */
gs_status gs_gguf_writer_plan(gs_gguf_writer *w, const char *name, gs_dtype dtype, int ndim, const int64_t *shape,
                              gs_error *err) GS_NODISCARD;
/* Bytes of the file as planned so far. */
uint64_t gs_gguf_writer_bytes(const gs_gguf_writer *w);
/* Fixes the plan, creates the file under a temporary name and writes all before the first tensor. */
gs_status gs_gguf_writer_begin(gs_gguf_writer *w, const char *path, gs_error *err) GS_NODISCARD;
/* The next n bytes of the tensor planned as number `index`. Tensors ascend, each complete before the next. */
gs_status gs_gguf_writer_put(gs_gguf_writer *w, size_t index, const void *data, size_t n, gs_error *err) GS_NODISCARD;
/* GS_E_INVALID unless every tensor is complete. Consumes w. */
gs_status gs_gguf_writer_commit(gs_gguf_writer *w, gs_error *err) GS_NODISCARD;
void gs_gguf_writer_abort(gs_gguf_writer *w); /* consumes w; NULL ok */

#endif
