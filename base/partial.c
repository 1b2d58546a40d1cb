#include <base/partial.h>

#include <base/mem.h>
#include <base/strbuf.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* NAME_MAX is 255 everywhere that matters; the rest is for the pid and the number. */
enum { LONGEST_STEM = 200 };

static const char *last_name(const gs_partial *p) {
    const char *slash = strrchr(p->target, '/');
    return slash ? slash + 1 : p->target;
}

gs_status gs_partial_init(gs_partial *p, const char *path, gs_error *err) {
    size_t len = strlen(path);
    *p = (gs_partial){0};
    while (len > 1 && path[len - 1] == '/') len--;
    p->target = gs_strndup(path, len);
    if (!p->target) return gs_error_nomem(err, len + 1);
    const char *name = last_name(p);
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return GS_FAIL(err, GS_E_INVALID, "'%s' does not name an output", path);
    size_t dir = (size_t)(name - p->target);
    while (dir > 1 && p->target[dir - 1] == '/') dir--;
    p->parent = dir ? gs_strndup(p->target, dir) : gs_strdup(".");
    return p->parent ? GS_OK : gs_error_nomem(err, dir + 1);
}

gs_status gs_partial_next(gs_partial *p, gs_error *err) {
    static atomic_uint number;
    const char *name = last_name(p);
    gs_strbuf sb = {0};
    gs_strbuf_append(&sb, p->target, (size_t)(name - p->target));
    gs_strbuf_printf(&sb, ".%.*s.partial-%ld-%u", LONGEST_STEM, name, (long)getpid(),
                     atomic_fetch_add(&number, 1));
    gs_free(p->temporary);
    p->temporary = gs_strbuf_take(&sb, NULL);
    return p->temporary ? GS_OK : gs_error_nomem(err, strlen(p->target) + 64);
}

gs_status gs_partial_refused(const gs_partial *p, int errnum, gs_error *err) {
    gs_status status = gs_error_errno(NULL, errnum, "-");
    gs_error_errno(err, errnum, "cannot create '%s' in '%s'", last_name(p), p->parent);
    if (status == GS_E_FORMAT) status = GS_E_IO; /* a missing parent is no file format */
    if (err) err->status = status;
    if (errnum == ENOENT) gs_error_hint(err, "create the directory '%s' first", p->parent);
    return status;
}

gs_status gs_partial_publish(const gs_partial *p, gs_error *err) {
    /* opened before the rename, so that this failure still leaves nothing behind */
    int fd = open(p->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return gs_error_errno(err, errno, "cannot open '%s'", p->parent);
    gs_status status = GS_OK;
    if (rename(p->temporary, p->target) != 0) {
        status = gs_error_errno(err, errno, "cannot move the output to '%s'", p->target);
    } else if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP) {
        /* some file systems cannot flush a directory at all: not an error */
        status = gs_error_errno(err, errno, "'%s' is written, but not yet safe on disk",
                                p->target);
    }
    close(fd);
    return status;
}

void gs_partial_clear(gs_partial *p) {
    gs_free(p->target);
    gs_free(p->parent);
    gs_free(p->temporary);
    *p = (gs_partial){0};
}
