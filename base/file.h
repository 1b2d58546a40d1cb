/* Files: read-only maps of untrusted input, and output that appears whole or not
 * at all.
 *
 * Map: gs_filemap_open maps a regular file read-only. The bytes stay the file's;
 * a file that is truncated by someone else while mapped raises SIGBUS, so never map
 * a file this process writes. gs_filemap_drop tells the kernel that a range will
 * not be needed again (keeps resident memory flat while streaming).
 *
 * Output file: created as "<dir>/.<name>.partial-<pid>-<n>"; commit = fsync,
 * rename over the target, fsync the directory. Output directory: the same with a
 * hidden sibling directory which is renamed as a whole. Until commit nothing is
 * visible under the final name; abort (or a failed commit) removes the temporary.
 */
#ifndef GS_BASE_FILE_H
#define GS_BASE_FILE_H

#include <base/error.h>

typedef struct gs_filemap {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
    char *path;
} gs_filemap;

gs_status gs_filemap_open(gs_filemap *m, const char *path, gs_error *err) GS_NODISCARD;
void gs_filemap_drop(const gs_filemap *m, size_t offset, size_t length);
/* The same for n bytes at `data`; false, and nothing done, where they do not begin inside the map. */
bool gs_filemap_drop_bytes(const gs_filemap *m, const void *data, size_t n);
void gs_filemap_close(gs_filemap *m); /* safe on a zeroed struct */

/* Whole file into memory (gs_free), NUL-terminated beyond *len. */
gs_status gs_file_read(const char *path, size_t max_bytes, char **data, size_t *len,
                       gs_error *err) GS_NODISCARD;
bool gs_path_exists(const char *path);
bool gs_path_is_dir(const char *path);
/* True when both name the same existing file or directory (device and inode). */
bool gs_path_same(const char *a, const char *b);
/* "<dir>/<name>" in fresh memory, or NULL. */
char *gs_path_join(const char *dir, const char *name);
/* Sorted names of the regular files (following links) in dir; free with
 * gs_strlist_free. */
gs_status gs_dir_list(const char *dir, char ***names, size_t *count, gs_error *err) GS_NODISCARD;
void gs_strlist_free(char **names, size_t count);
/* Path of the one file in dir whose name ends so, in fresh memory; NULL: there is none, there are several, or no memory. */
char *gs_dir_only_file(const char *dir, const char *end);
/* Sum of the sizes of the regular files in dir. */
gs_status gs_dir_bytes(const char *dir, uint64_t *bytes, gs_error *err) GS_NODISCARD;
/* Bytes available to us on the file system that holds path (or its nearest
 * existing parent); -1 when unknown. */
int64_t gs_path_free_bytes(const char *path);

typedef struct gs_outfile gs_outfile;
/* An existing regular file of that name is replaced at commit; anything else there is
 * GS_E_INVALID, a missing parent GS_E_IO. Mode 0644 less the umask. */
gs_status gs_outfile_create(const char *path, gs_outfile **out, gs_error *err) GS_NODISCARD;
/* Appends to what gs_outfile_write has written before (from offset 0; gs_outfile_pwrite
 * does not move that place). After a failed write the file can only be aborted: further
 * writes and the commit fail. Buffered: an error may come with a later call. */
gs_status gs_outfile_write(gs_outfile *f, const void *data, size_t n, gs_error *err) GS_NODISCARD;
/* Writes at an absolute offset, also beyond the current end (the gap reads as zeros). */
gs_status gs_outfile_pwrite(gs_outfile *f, const void *data, size_t n, int64_t offset,
                            gs_error *err) GS_NODISCARD;
/* The end of the furthest write so far. */
int64_t gs_outfile_size(const gs_outfile *f);
gs_status gs_outfile_commit(gs_outfile *f, gs_error *err) GS_NODISCARD; /* consumes f */
void gs_outfile_abort(gs_outfile *f);                                   /* consumes f; NULL ok */

typedef struct gs_outdir gs_outdir;
/* Trailing slashes are ignored; "." and links to an empty directory work. Commit flushes
 * every file below, then renames the whole. Abort removes recursively without following
 * links; nesting is limited to 32 levels.
 * Refuses (GS_E_INVALID) a path that exists and is not an empty directory; GS_E_IO
 * when the parent is missing or not writable. */
gs_status gs_outdir_create(const char *path, gs_outdir **out, gs_error *err) GS_NODISCARD;
const char *gs_outdir_path(const gs_outdir *d); /* the temporary directory to write into */
gs_status gs_outdir_commit(gs_outdir *d, gs_error *err) GS_NODISCARD; /* consumes d */
void gs_outdir_abort(gs_outdir *d);                                   /* consumes d; NULL ok */
/* Copies a regular file's bytes to the path `to` (a gs_outfile). */
gs_status gs_file_copy(const char *from, const char *to, gs_error *err) GS_NODISCARD;

/* Where scratch files go: dir, or where that is NULL $TMPDIR, or /tmp. */
const char *gs_scratch_dir(const char *dir);
/* For a scratch file or directory that cannot be created: the status of gs_error_errno, but GS_E_IO for a place that
 * is missing (which is no file's format), with a hint on where else to go. */
gs_status gs_scratch_error(gs_status status, gs_error *err);

#endif
