/* safetensors: header JSON plus a data section that its tensors tile exactly.
 *
 * Reader: maps the file and enforces every rule of the format (header length
 * 1..100,000,000 and inside the file, UTF-8, JSON, known dtypes, non-negative integral
 * shapes, checked products, offsets that tile the buffer without holes or overlaps and end
 * at the end of the file, `__metadata__` a flat string map). Stricter than the reference
 * reader: duplicate names, control characters in names, unknown members of an entry, deep
 * nesting and a byte order mark are refused; leading white space is accepted. Errors name the
 * tensor. While opening, the header's JSON tree is in memory (about 1 KB a tensor), afterwards
 * about 200 bytes a tensor. Views stay valid until close. Read-only after open, so any number
 * of threads may use it.
 *
 * Writer: tensors are planned first (name, dtype, shape), in any order; begin sorts them by
 * alignment (8, 4, 2, 1 byte elements) and then by name (byte order), which keeps every tensor
 * naturally aligned without holes and fixes the header; then their bytes are put in any order
 * and any number of pieces. Deterministic: the same set of tensors gives the same file
 * (metadata keys are sorted). One thread at a time.
 */
#ifndef GS_LOADERS_SAFETENSORS_H
#define GS_LOADERS_SAFETENSORS_H

#include <base/file.h>
#include <loaders/tensor.h>

enum { GS_SAFETENSORS_MAX_HEADER = 100000000 };

typedef struct gs_safetensors gs_safetensors;

gs_status gs_safetensors_open(const char *path, gs_safetensors **out, gs_error *err) GS_NODISCARD;
void gs_safetensors_close(gs_safetensors *st);
size_t gs_safetensors_count(const gs_safetensors *st);
/* In file (offset) order. */
const gs_tensor *gs_safetensors_at(const gs_safetensors *st, size_t i);
const gs_tensor *gs_safetensors_find(const gs_safetensors *st, const char *name); /* or NULL */
/* Value of a __metadata__ key, or NULL. */
const char *gs_safetensors_metadata(const gs_safetensors *st, const char *key);
const gs_filemap *gs_safetensors_file(const gs_safetensors *st);
/* The same checks on bytes in memory (fuzzing, tests); data is borrowed. */
gs_status gs_safetensors_open_memory(const uint8_t *data, size_t size, gs_safetensors **out,
                                     gs_error *err) GS_NODISCARD;

typedef struct gs_safetensors_writer gs_safetensors_writer;

/* Nothing touches the disk before gs_safetensors_writer_begin. */
gs_status gs_safetensors_writer_create(gs_safetensors_writer **out, gs_error *err) GS_NODISCARD;
/* `{"format":"pt"}` is always written; this adds a key. */
gs_status gs_safetensors_writer_metadata(gs_safetensors_writer *w, const char *key,
                                         const char *value, gs_error *err) GS_NODISCARD;
/* Another value of "format": a plain word of static text. Before begin. */
void gs_safetensors_writer_format(gs_safetensors_writer *w, const char *format);
/* Plans one tensor. GS_E_INVALID on a duplicate name, block dtype or overflow. */
gs_status gs_safetensors_writer_plan(gs_safetensors_writer *w, const char *name, gs_dtype dtype,
                                     int ndim, const int64_t *shape, gs_error *err) GS_NODISCARD;
/* Bytes of the file as planned so far, header and padding included. Sorts what was added
 * since the last call: cheap once, not meant for every tensor of a long list. */
uint64_t gs_safetensors_writer_bytes(gs_safetensors_writer *w);
/* Sorts and freezes the plan, creates the file (gs_outfile: temporary name) and writes the
 * header, padded with spaces to a multiple of 8. */
gs_status gs_safetensors_writer_begin(gs_safetensors_writer *w, const char *path, gs_error *err) GS_NODISCARD;
/* Writes n bytes of tensor `name` at byte `offset` of that tensor. Pieces of one tensor come
 * in ascending order without gaps; tensors in any order. GS_E_INVALID otherwise. */
gs_status gs_safetensors_writer_put(gs_safetensors_writer *w, const char *name, uint64_t offset,
                                    const void *data, size_t n, gs_error *err) GS_NODISCARD;
/* GS_E_INVALID unless every planned tensor is complete (the error names the first
 * that is not). Consumes w. */
gs_status gs_safetensors_writer_commit(gs_safetensors_writer *w, gs_error *err) GS_NODISCARD;
void gs_safetensors_writer_abort(gs_safetensors_writer *w); /* consumes w; NULL ok */

#endif
