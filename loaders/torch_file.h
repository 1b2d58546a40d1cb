/* PyTorch weights (pytorch_model*.bin, *.pt): a zip archive `<top>/data.pkl`, `<top>/data/<key>` holding a state dict.
 *
 * The pickle is read by loaders/unpickle.h: no code runs, what is not data is refused by name. Its root is a dict whose
 * values are all tensors; or a dict without tensors that holds one such dict under "state_dict", "model_state_dict",
 * "model" or "module" (gs_torch_file_nested; what lies beside it, optimizers and counters, is left alone). Names are as
 * stored; they are non-empty UTF-8 without control characters, and unique.
 *
 * Storages may be shared, and a tensor may be any view that lies inside its storage and has no more elements than it.
 * A row-major view of a stored member is a view on the file map. Other tensors are made at open, in pieces of 1 MiB,
 * in one unlinked scratch file ($TMPDIR, else /tmp) that is mapped in the same way: each deflated storage that a tensor
 * uses is inflated once (its CRC is checked), each view of another order (a transposed weight) is gathered. That costs the
 * scratch space and one pass over those tensors and no memory beyond pages that the kernel can take back; readers never
 * see a difference. Scratch beyond 16 times the file and 16 MiB is refused as a zip bomb. The CRC of stored members is not
 * checked (zip_archive.h).
 *
 * GS_E_FORMAT for bytes that break a rule; GS_E_UNSUPPORTED for old files that are bare pickles, TorchScript, big-endian
 * ones, and what the unpickler refuses. Views stay valid until close. Read-only after open, any number of threads. */
#ifndef GS_LOADERS_TORCH_FILE_H
#define GS_LOADERS_TORCH_FILE_H

#include <base/file.h>
#include <loaders/tensor.h>

typedef struct gs_torch_file gs_torch_file;

gs_status gs_torch_file_open(const char *path, gs_torch_file **out, gs_error *err) GS_NODISCARD;
/* The same checks on bytes in memory (fuzzing, tests); data is borrowed. */
gs_status gs_torch_file_open_memory(const uint8_t *data, size_t size, gs_torch_file **out, gs_error *err) GS_NODISCARD;
void gs_torch_file_close(gs_torch_file *f); /* NULL ok */
size_t gs_torch_file_count(const gs_torch_file *f);
const gs_tensor *gs_torch_file_at(const gs_torch_file *f, size_t i); /* in the order of the state dict */
const gs_tensor *gs_torch_file_find(const gs_torch_file *f, const char *name); /* or NULL */
/* The key under which the state dict was found; NULL: it is the root. */
const char *gs_torch_file_nested(const gs_torch_file *f);
/* Bytes of scratch space in use. */
uint64_t gs_torch_file_scratch(const gs_torch_file *f);
/* The tensor's pages will not be needed again; false for bytes that are not this file's. */
bool gs_torch_file_drop(const gs_torch_file *f, const gs_tensor *t);

#endif
