#include <base/scratch_file.h>

#include <base/mem.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* For file systems without O_TMPFILE: the name is gone as soon as the file is there. */
static int open_unlinked(const char *dir) {
    char *path = gs_path_join(dir, ".gstick-scratch-XXXXXX");
    if (!path) {
        errno = ENOMEM;
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) unlink(path);
    int code = errno;
    gs_free(path);
    errno = code;
    return fd;
}

static gs_status create(const char *dir, int *fd, gs_error *err) {
    *fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    /* kernels and file systems that do not know the flag take it for O_DIRECTORY */
    if (*fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) *fd = open_unlinked(dir);
    if (*fd >= 0) return GS_OK;
    return gs_scratch_error(gs_error_errno(err, errno, "cannot create a scratch file in '%s'", dir), err);
}

static gs_status too_small(const char *dir, uint64_t size, const char *what, gs_error *err) {
    GS_FAIL(err, GS_E_NOSPACE, "%s need %.1f MiB of scratch space in '%s', %.1f MiB are free", what, (double)size / 0x1p20,
            dir, (double)gs_path_free_bytes(dir) / 0x1p20);
    gs_error_hint(err, "name a directory on a larger disk: TMPDIR, or --scratch-dir where there is one");
    return GS_E_NOSPACE;
}

/* fallocate and not posix_fallocate: where the file system cannot reserve, glibc's writes into every block instead,
 * which takes as long as the real writes. */
static gs_status reserve(int fd, const char *dir, uint64_t size, const char *what, gs_error *err) {
    int code;
    if (size > INT64_MAX) return too_small(dir, size, what, err);
    do {
        code = fallocate(fd, 0, 0, (off_t)size) == 0 ? 0 : errno;
    } while (code == EINTR);
    if (code == EOPNOTSUPP || code == ENOSYS) {
        int64_t free_bytes = gs_path_free_bytes(dir);
        if (free_bytes > 0 && (uint64_t)free_bytes < size) return too_small(dir, size, what, err);
        code = ftruncate(fd, (off_t)size) == 0 ? 0 : errno;
    }
    if (code == 0) return GS_OK;
    if (code == ENOSPC || code == EDQUOT || code == EFBIG) return too_small(dir, size, what, err);
    return gs_error_errno(err, code, "cannot reserve %llu bytes in '%s'", (unsigned long long)size, dir);
}

gs_status gs_scratch_reserve(const char *dir, uint64_t size, const char *what, int *fd, gs_error *err) {
    GS_TRY(create(dir, fd, err));
    gs_status status = reserve(*fd, dir, size, what, err);
    if (status != GS_OK) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

static gs_status map(gs_scratch_file *f, uint64_t size, gs_error *err) {
    /* shared: what is written to the file must show */
    void *data = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, f->fd, 0);
    if (data == MAP_FAILED) return gs_error_errno(err, errno, "cannot map a scratch file");
    f->map.data = data;
    f->map.size = (size_t)size;
    return GS_OK;
}

gs_status gs_scratch_file_open(gs_scratch_file *f, uint64_t size, gs_error *err) {
    *f = (gs_scratch_file){.fd = -1};
    GS_TRY(gs_scratch_reserve(gs_scratch_dir(NULL), size, "expanded tensors", &f->fd, err));
    f->open = true;
    gs_status status = map(f, size, err);
    if (status != GS_OK) gs_scratch_file_close(f);
    return status;
}

gs_status gs_scratch_file_write(gs_scratch_file *f, uint64_t offset, const void *data, size_t n, gs_error *err) {
    const char *from = data;
    assert(offset <= f->map.size && n <= f->map.size - offset);
    while (n) {
        ssize_t done = pwrite(f->fd, from, n, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return gs_error_errno(err, done < 0 ? errno : ENOSPC, "cannot write to a scratch file");
        from += done;
        offset += (uint64_t)done;
        n -= (size_t)done;
    }
    return GS_OK;
}

void gs_scratch_file_close(gs_scratch_file *f) {
    gs_filemap_close(&f->map);
    if (f->open) close(f->fd);
    *f = (gs_scratch_file){.fd = -1};
}
