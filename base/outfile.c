#include <base/file.h>

#include <base/mem.h>
#include <base/partial.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 20 };

struct gs_outfile {
    gs_partial name;
    int fd;
    gs_status failed; /* a lost write must never be committed */
    uint8_t *buffer;  /* `fill` bytes that belong at `base` */
    size_t fill;
    int64_t base, end;
};

static void discard(gs_outfile *f) {
    if (f->fd >= 0) {
        close(f->fd);
        unlink(f->name.temporary);
    }
    gs_partial_clear(&f->name);
    gs_free(f->buffer);
    gs_free(f);
}

static gs_status open_temporary(gs_outfile *f, gs_error *err) {
    do {
        GS_TRY(gs_partial_next(&f->name, err));
        f->fd = open(f->name.temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    } while (f->fd < 0 && errno == EEXIST);
    return f->fd < 0 ? gs_partial_refused(&f->name, errno, err) : GS_OK;
}

static gs_status check_target(const char *path, gs_error *err) {
    struct stat st;
    size_t len = strlen(path);
    if (len && path[len - 1] == '/')
        return GS_FAIL(err, GS_E_INVALID, "'%s' names a directory, not a file", path);
    if (stat(path, &st) != 0 || S_ISREG(st.st_mode)) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "'%s' exists and is not a regular file", path);
}

gs_status gs_outfile_create(const char *path, gs_outfile **out, gs_error *err) {
    *out = NULL;
    GS_TRY(check_target(path, err));
    gs_outfile *f = gs_calloc(1, sizeof *f);
    if (!f) return gs_error_nomem(err, sizeof *f);
    f->fd = -1;
    gs_status status;
    GS_TRY_GOTO(status, failed, gs_partial_init(&f->name, path, err));
    f->buffer = gs_alloc(BUFFER);
    if (!f->buffer) status = gs_error_nomem(err, BUFFER);
    else status = open_temporary(f, err);
    if (status == GS_OK) {
        *out = f;
        return GS_OK;
    }
failed:
    discard(f);
    return status;
}

static gs_status write_at(gs_outfile *f, const uint8_t *data, size_t n, int64_t offset,
                          gs_error *err) {
    while (n > 0) {
        ssize_t done = pwrite(f->fd, data, n, offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            int code = done < 0 ? errno : ENOSPC;
            gs_error_errno(err, code, "cannot write '%s' at byte %lld", f->name.target,
                           (long long)offset);
            f->failed = gs_error_errno(NULL, code, "-");
            return f->failed;
        }
        data += done;
        n -= (size_t)done;
        offset += done;
    }
    return GS_OK;
}

static gs_status flush(gs_outfile *f, gs_error *err) {
    if (f->fill) GS_TRY(write_at(f, f->buffer, f->fill, f->base, err));
    f->base += (int64_t)f->fill;
    f->fill = 0;
    return GS_OK;
}

static gs_status check_range(gs_outfile *f, size_t n, int64_t offset, gs_error *err) {
    if (f->failed != GS_OK)
        return GS_FAIL(err, f->failed, "'%s': an earlier write failed", f->name.target);
    if (offset < 0 || n > PTRDIFF_MAX || (int64_t)n > INT64_MAX - offset)
        return GS_FAIL(err, GS_E_INVALID, "'%s': cannot write %zu bytes at offset %lld",
                       f->name.target, n, (long long)offset);
    return GS_OK;
}

gs_status gs_outfile_write(gs_outfile *f, const void *data, size_t n, gs_error *err) {
    int64_t at = f->base + (int64_t)f->fill;
    GS_TRY(check_range(f, n, at, err));
    if (n > BUFFER - f->fill) GS_TRY(flush(f, err));
    if (n >= BUFFER) {
        GS_TRY(write_at(f, data, n, at, err));
        f->base = at + (int64_t)n;
    } else if (n) {
        memcpy(f->buffer + f->fill, data, n);
        f->fill += n;
    }
    if (at + (int64_t)n > f->end) f->end = at + (int64_t)n;
    return GS_OK;
}

gs_status gs_outfile_pwrite(gs_outfile *f, const void *data, size_t n, int64_t offset,
                            gs_error *err) {
    GS_TRY(check_range(f, n, offset, err));
    if (n == 0) return GS_OK;
    GS_TRY(flush(f, err)); /* or older buffered bytes could land on top of these */
    GS_TRY(write_at(f, data, n, offset, err));
    if (offset + (int64_t)n > f->end) f->end = offset + (int64_t)n;
    return GS_OK;
}

int64_t gs_outfile_size(const gs_outfile *f) {
    return f->end;
}

static gs_status finish(gs_outfile *f, gs_error *err) {
    GS_TRY(check_range(f, 0, 0, err));
    GS_TRY(flush(f, err));
    if (fsync(f->fd) != 0)
        return gs_error_errno(err, errno, "cannot flush '%s'", f->name.target);
    int fd = f->fd;
    f->fd = -1;
    /* close reports delayed write errors of network file systems */
    if (close(fd) != 0) {
        gs_status status = gs_error_errno(err, errno, "cannot close '%s'", f->name.target);
        unlink(f->name.temporary);
        return status;
    }
    gs_status status = gs_partial_publish(&f->name, err);
    if (status != GS_OK) unlink(f->name.temporary);
    return status;
}

gs_status gs_outfile_commit(gs_outfile *f, gs_error *err) {
    gs_status status = finish(f, err);
    discard(f);
    return status;
}

void gs_outfile_abort(gs_outfile *f) {
    if (f) discard(f);
}

static gs_status copy_bytes(int from, const char *name, gs_outfile *out, uint8_t *buffer,
                            gs_error *err) {
    for (;;) {
        ssize_t n = read(from, buffer, BUFFER);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return gs_error_errno(err, errno, "cannot read '%s'", name);
        if (n == 0) return GS_OK;
        GS_TRY(gs_outfile_write(out, buffer, (size_t)n, err));
    }
}

static gs_status copy_from(int fd, const char *from, const char *to, gs_error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return gs_error_errno(err, errno, "cannot examine '%s'", from);
    if (!S_ISREG(st.st_mode))
        return GS_FAIL(err, GS_E_FORMAT, "'%s' is not a regular file", from);
    gs_outfile *out;
    GS_TRY(gs_outfile_create(to, &out, err));
    uint8_t *buffer = gs_alloc(BUFFER);
    gs_status status = buffer ? copy_bytes(fd, from, out, buffer, err)
                              : gs_error_nomem(err, BUFFER);
    gs_free(buffer);
    if (status != GS_OK) {
        gs_outfile_abort(out);
        return status;
    }
    return gs_outfile_commit(out, err);
}

gs_status gs_file_copy(const char *from, const char *to, gs_error *err) {
    int fd = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return gs_error_errno(err, errno, "cannot open '%s'", from);
    gs_status status = copy_from(fd, from, to, err);
    close(fd);
    return status;
}
