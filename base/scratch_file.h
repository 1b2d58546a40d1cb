/* A scratch file without a name: filled once, in pieces, and read through a map. It is gone with the process, however
 * that ends. Its pages are the file's, so the kernel may write them out and gs_filemap_drop takes them from this
 * process's share. One thread while it is filled, any number afterwards. */
#ifndef GS_BASE_SCRATCH_FILE_H
#define GS_BASE_SCRATCH_FILE_H

#include <base/file.h>

typedef struct gs_scratch_file {
    gs_filemap map; /* `size` bytes, zero where nothing was written; data stays where it is until close */
    int fd;
    bool open; /* a zeroed struct is closed */
} gs_scratch_file;

/* Reserves and maps size > 0 bytes in gs_scratch_dir(NULL). GS_E_NOSPACE, with both numbers, when they are not free;
 * else as gs_scratch_error. */
gs_status gs_scratch_file_open(gs_scratch_file *f, uint64_t size, gs_error *err) GS_NODISCARD;
/* n bytes at offset, inside the reserved ones; the map shows them at once. */
gs_status gs_scratch_file_write(gs_scratch_file *f, uint64_t offset, const void *data, size_t n,
                                gs_error *err) GS_NODISCARD;
void gs_scratch_file_close(gs_scratch_file *f); /* safe on a zeroed struct */

#endif
