/* MindSpore checkpoints (.ckpt): a protobuf message that holds whole tensors.
 *
 *   file    repeated field 1: entry
 *   entry   1: name, 2: tensor
 *   tensor  1: dims (unpacked varints, outermost first), 2: dtype word ("Int8", "Float16"), 3: bytes, little endian
 *
 * Dtype words: Bool, Int8 .. Int64, UInt8 .. UInt64, Float16, BFloat16, Float32, Float64.
 *
 * Reader: maps the file. Everything is validated: lengths inside their message, each field once (dims apart) and of its
 * wire type, names non-empty UTF-8 without control characters and unique, at most 2^20 of them and GS_MAX_DIMS dims,
 * sizes whose product does not overflow and gives exactly the bytes. MindSpore writes a tensor beyond 512 MiB as several entries of
 * the same name and dims, one behind the other, each with a piece of the bytes: such tensors alone are copied, at open,
 * into one unlinked scratch file ($TMPDIR, else /tmp), which takes that much space there and no memory beyond pages that
 * the kernel can take back. GS_E_FORMAT for anything else;
 * GS_E_UNSUPPORTED for map tensors, Int4, strings, unknown dtype words and unknown fields (what is not known is not
 * skipped: it might matter). Views stay valid until close. Read-only after open, any number of threads.
 *
 * Writer: tensors are planned, then put in that order. The encoding is the one that MindSpore's own writer (protobuf's) gives:
 * fields ascending, shortest varints; a tensor beyond 512 MiB in pieces. One thread at a time.
 */
#ifndef GS_LOADERS_MINDSPORE_CKPT_H
#define GS_LOADERS_MINDSPORE_CKPT_H

#include <base/file.h>
#include <loaders/tensor.h>

typedef struct gs_mindspore_ckpt gs_mindspore_ckpt;

gs_status gs_mindspore_ckpt_open(const char *path, gs_mindspore_ckpt **out, gs_error *err) GS_NODISCARD;
/* The same checks on bytes in memory (fuzzing, tests); data is borrowed. */
gs_status gs_mindspore_ckpt_open_memory(const uint8_t *data, size_t size, gs_mindspore_ckpt **out,
                                        gs_error *err) GS_NODISCARD;
void gs_mindspore_ckpt_close(gs_mindspore_ckpt *c);
size_t gs_mindspore_ckpt_count(const gs_mindspore_ckpt *c);
const gs_tensor *gs_mindspore_ckpt_at(const gs_mindspore_ckpt *c, size_t i); /* in file order */
const gs_tensor *gs_mindspore_ckpt_find(const gs_mindspore_ckpt *c, const char *name); /* or NULL */
/* Bytes of scratch space in use. */
uint64_t gs_mindspore_ckpt_scratch(const gs_mindspore_ckpt *c);
/* The tensor's pages will not be needed again. */
void gs_mindspore_ckpt_drop(const gs_mindspore_ckpt *c, const gs_tensor *t);

typedef struct gs_mindspore_ckpt_writer gs_mindspore_ckpt_writer;

gs_status gs_mindspore_ckpt_writer_create(gs_mindspore_ckpt_writer **out, gs_error *err) GS_NODISCARD;
/* Bytes of a tensor that go into one entry; 0: MindSpore's 512 MiB. Before the first plan. */
void gs_mindspore_ckpt_writer_slice(gs_mindspore_ckpt_writer *w, uint64_t bytes);
/* shape: [ndim]. GS_E_INVALID for a dtype without a word, a name that is taken, sizes that overflow. */
gs_status gs_mindspore_ckpt_writer_plan(gs_mindspore_ckpt_writer *w, const char *name, gs_dtype dtype, int ndim,
                                        const int64_t *shape, gs_error *err) GS_NODISCARD;
uint64_t gs_mindspore_ckpt_writer_bytes(const gs_mindspore_ckpt_writer *w); /* of the file as planned so far */
/* Fixes the plan and creates the file under a temporary name. */
gs_status gs_mindspore_ckpt_writer_begin(gs_mindspore_ckpt_writer *w, const char *path, gs_error *err) GS_NODISCARD;
/* The next n bytes of the tensor planned as number `index`. Tensors ascend, each complete before the next. */
gs_status gs_mindspore_ckpt_writer_put(gs_mindspore_ckpt_writer *w, size_t index, const void *data, size_t n,
                                       gs_error *err) GS_NODISCARD;
/* GS_E_INVALID unless every tensor is complete. Consumes w. */
gs_status gs_mindspore_ckpt_writer_commit(gs_mindspore_ckpt_writer *w, gs_error *err) GS_NODISCARD;
void gs_mindspore_ckpt_writer_abort(gs_mindspore_ckpt_writer *w); /* consumes w; NULL ok */

#endif
