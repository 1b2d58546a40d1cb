/* The activations between two segments: rows of f32 on the outside, kept as f32 or bf16, in
 * memory up to a budget and in an unlinked scratch file beyond. Rows [0, split) live in memory, the rest on
 * disk: which ones does not change what is read back.
 *
 * The scratch file is made with O_TMPFILE (or unlinked at once), so that nothing is left behind
 * however the program ends; its space is reserved at creation, so that a full disk is noticed
 * before hours of work.
 * Threads: reads and writes of different rows may run at once.
 */
#ifndef GS_CALIBRATE_ACTIVATION_STORE_H
#define GS_CALIBRATE_ACTIVATION_STORE_H

#include <base/dtype.h>
#include <base/error.h>

typedef struct gs_activation_store gs_activation_store;

/* dtype: GS_F32 or GS_BF16 (rounded to nearest even when written). memory: bytes to keep in memory, >= 0.
 * scratch_dir: where the rest goes; NULL: $TMPDIR or /tmp. GS_E_NOSPACE when the disk is too small,
 * GS_E_IO when the directory is missing or not writable. Where the file system cannot reserve, its
 * free space is looked at instead. A row has no defined value before it is written. */
gs_status gs_activation_store_create(int64_t rows, int64_t width, gs_dtype dtype, int64_t memory,
                                     const char *scratch_dir, gs_activation_store **out,
                                     gs_error *err) GS_NODISCARD;
void gs_activation_store_destroy(gs_activation_store *s); /* NULL ok */
/* x: [n, width] f32. Rows must lie in [0, rows). */
gs_status gs_activation_store_write(gs_activation_store *s, int64_t row0, int64_t n, const float *x,
                                    gs_error *err) GS_NODISCARD;
gs_status gs_activation_store_read(const gs_activation_store *s, int64_t row0, int64_t n, float *x,
                                   gs_error *err) GS_NODISCARD;
int64_t gs_activation_store_spilled(const gs_activation_store *s); /* bytes on disk */

#endif
