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

/* The file alone: a descriptor of `size` > 0 reserved bytes in dir, closed by the caller; what: "activations". GS_E_NOSPACE
 * with both numbers when they are not free. */
gs_status gs_scratch_reserve(const char *dir, uint64_t size, const char *what, int *fd, gs_error *err) GS_NODISCARD;
/* Reserves and maps size > 0 bytes in gs_scratch_dir(NULL). Errors as gs_scratch_reserve and
 * gs_scratch_error. */
gs_status gs_scratch_file_open(gs_scratch_file *f, uint64_t size, gs_error *err) GS_NODISCARD;
/* n bytes at offset, inside the reserved ones; the map shows them at once. */
gs_status gs_scratch_file_write(gs_scratch_file *f, uint64_t offset, const void *data, size_t n,
                                gs_error *err) GS_NODISCARD;
void gs_scratch_file_close(gs_scratch_file *f); /* safe on a zeroed struct */

#endif
