#include <base/file.h>

#include <base/mem.h>
#include <base/partial.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bundles are two or three levels deep; the bound only keeps the recursion finite. */
enum { MAX_DEPTH = 32 };

struct gs_outdir {
    gs_partial name;
    bool made; /* the temporary directory exists and is ours to remove */
};

/* Calls visit for every entry of the directory open at `fd` (which is consumed),
 * sub-directories after their contents. Links are never followed. */
typedef int visit_fn(int parent, const char *name, bool is_dir);

static int walk(int fd, int depth, visit_fn *visit) {
    DIR *handle = depth < MAX_DEPTH ? fdopendir(fd) : NULL;
    if (!handle) {
        int code = depth < MAX_DEPTH ? errno : ELOOP;
        close(fd);
        return code;
    }
    int code = 0;
    while (code == 0) {
        errno = 0;
        const struct dirent *entry = readdir(handle);
        if (!entry) {
            code = errno;
            break;
        }
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        int child = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        bool is_dir = child >= 0;
        if (is_dir) code = walk(child, depth + 1, visit);
        else if (errno != ENOTDIR && errno != ELOOP) code = errno;
        if (code == 0) code = visit(fd, name, is_dir);
    }
    closedir(handle);
    return code;
}

static int remove_entry(int parent, const char *name, bool is_dir) {
    return unlinkat(parent, name, is_dir ? AT_REMOVEDIR : 0) == 0 ? 0 : errno;
}

static int flush_entry(int parent, const char *name, bool is_dir) {
    /* links and special files have no data of their own to flush */
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return errno;
    if (!is_dir && !S_ISREG(st.st_mode)) return 0;
    int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno;
    int code = fsync(fd) == 0 || errno == EINVAL ? 0 : errno;
    close(fd);
    return code;
}

static int walk_path(const char *path, visit_fn *visit) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? errno : walk(fd, 0, visit);
}

static void discard(gs_outdir *d) {
    if (d->made) {
        /* best effort: nobody is left to be told */
        walk_path(d->name.temporary, remove_entry);
        rmdir(d->name.temporary);
    }
    gs_partial_clear(&d->name);
    gs_free(d);
}

static gs_status check_empty(const char *path, gs_error *err) {
    DIR *handle = opendir(path);
    if (!handle) {
        int code = errno;
        if (code != ENOTDIR)
            return gs_error_errno(err, code, "cannot open the directory '%s'", path);
        return GS_FAIL(err, GS_E_INVALID, "'%s' exists and is not a directory", path);
    }
    size_t entries = 0;
    while (readdir(handle)) entries++;
    closedir(handle);
    if (entries <= 2) return GS_OK; /* "." and ".." */
    GS_FAIL(err, GS_E_INVALID, "'%s' exists and is not empty", path);
    gs_error_hint(err, "choose a new directory, or remove this one first");
    return GS_E_INVALID;
}

/* Where the result goes: an existing empty directory under its real name (so that
 * "." and links to directories work), a new one under the name given. */
static gs_status resolve(gs_partial *name, const char *path, gs_error *err) {
    struct stat st;
    if (lstat(path, &st) != 0) {
        GS_TRY(gs_partial_init(name, path, err));
        /* "file/" is not found as it stands, yet the file would be in the way */
        return lstat(name->target, &st) == 0 ? check_empty(name->target, err) : GS_OK;
    }
    char real[PATH_MAX];
    if (!realpath(path, real))
        return GS_FAIL(err, GS_E_INVALID, "'%s' exists and cannot be resolved", path);
    GS_TRY(check_empty(real, err));
    return gs_partial_init(name, real, err);
}

gs_status gs_outdir_create(const char *path, gs_outdir **out, gs_error *err) {
    *out = NULL;
    gs_outdir *d = gs_calloc(1, sizeof *d);
    if (!d) return gs_error_nomem(err, sizeof *d);
    gs_status status;
    GS_TRY_GOTO(status, failed, resolve(&d->name, path, err));
    do {
        GS_TRY_GOTO(status, failed, gs_partial_next(&d->name, err));
        d->made = mkdir(d->name.temporary, 0777) == 0;
    } while (!d->made && errno == EEXIST);
    if (d->made) {
        *out = d;
        return GS_OK;
    }
    status = gs_partial_refused(&d->name, errno, err);
failed:
    discard(d);
    return status;
}

const char *gs_outdir_path(const gs_outdir *d) {
    return d->name.temporary;
}

static gs_status finish(gs_outdir *d, gs_error *err) {
    int code = walk_path(d->name.temporary, flush_entry);
    if (code == 0) code = flush_entry(AT_FDCWD, d->name.temporary, true);
    if (code != 0) return gs_error_errno(err, code, "cannot flush '%s'", d->name.target);
    GS_TRY(gs_partial_publish(&d->name, err));
    d->made = false;
    return GS_OK;
}

gs_status gs_outdir_commit(gs_outdir *d, gs_error *err) {
    gs_status status = finish(d, err);
    discard(d);
    return status;
}

void gs_outdir_abort(gs_outdir *d) {
    if (d) discard(d);
}
