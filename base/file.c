#include <base/file.h>

#include <base/affix.h>
#include <base/mem.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static gs_status map_fd(gs_filemap *m, int fd, gs_error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return gs_error_errno(err, errno, "cannot examine '%s'", m->path);
    if (!S_ISREG(st.st_mode))
        return GS_FAIL(err, GS_E_FORMAT, "'%s' is not a regular file", m->path);
    if (st.st_size < 0 || (uint64_t)st.st_size > PTRDIFF_MAX)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is too large to map (%lld bytes)",
                       m->path, (long long)st.st_size);
    if (st.st_size == 0) return GS_OK;
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) return gs_error_errno(err, errno, "cannot map '%s'", m->path);
    m->data = data;
    m->size = (size_t)st.st_size;
    return GS_OK;
}

gs_status gs_filemap_open(gs_filemap *m, const char *path, gs_error *err) {
    *m = (gs_filemap){0};
    m->path = gs_strdup(path);
    if (!m->path) return gs_error_nomem(err, strlen(path) + 1);
    /* O_NONBLOCK: a FIFO must be refused, not waited for */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    gs_status status = fd < 0 ? gs_error_errno(err, errno, "cannot open '%s'", path)
                              : map_fd(m, fd, err);
    if (fd >= 0) close(fd); /* the map outlives it */
    if (status != GS_OK) gs_filemap_close(m);
    return status;
}

void gs_filemap_drop(const gs_filemap *m, size_t offset, size_t length) {
    if (!m->data || offset >= m->size) return;
    if (length > m->size - offset) length = m->size - offset;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), end = offset + length;
    /* only whole pages: the neighbours' bytes in shared pages may still be wanted */
    size_t begin = offset + (page - offset % page) % page;
    if (end != m->size) end -= end % page;
    if (begin >= end) return;
    /* the pages are clean, so dropping them loses nothing */
    madvise((void *)(uintptr_t)(m->data + begin), end - begin, MADV_DONTNEED);
}

bool gs_filemap_drop_bytes(const gs_filemap *m, const void *data, size_t n) {
    /* as integers: comparing pointers into different maps is undefined */
    uintptr_t begin = (uintptr_t)m->data, at = (uintptr_t)data;
    if (!m->data || at < begin || at - begin >= m->size) return false;
    gs_filemap_drop(m, at - begin, n);
    return true;
}

void gs_filemap_close(gs_filemap *m) {
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    gs_free(m->path);
    *m = (gs_filemap){0};
}

typedef struct growing {
    char *data;
    size_t len, cap;
} growing;

/* Room for at least one more byte and the terminator; never much beyond the limit. */
static gs_status grow(growing *b, size_t max_bytes, gs_error *err) {
    if (b->data && b->cap - b->len > 1) return GS_OK;
    size_t cap = b->data && b->cap <= SIZE_MAX / 2 ? b->cap * 2 : b->cap;
    /* one byte over the limit is enough to see that the file is too long */
    if (max_bytes < SIZE_MAX - 2 && cap > max_bytes + 2) cap = max_bytes + 2;
    char *data = gs_realloc(b->data, 1, cap);
    if (!data) return gs_error_nomem(err, cap);
    b->data = data;
    b->cap = cap;
    return GS_OK;
}

static gs_status read_all(int fd, const char *path, size_t max_bytes, growing *b,
                          gs_error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return gs_error_errno(err, errno, "cannot examine '%s'", path);
    b->cap = 4096;
    /* the size is a hint only: pipes and /proc files say 0 */
    if (S_ISREG(st.st_mode) && st.st_size > 0 && (uint64_t)st.st_size < PTRDIFF_MAX - 2)
        b->cap = (size_t)st.st_size + 2;
    for (;;) {
        GS_TRY(grow(b, max_bytes, err));
        ssize_t n = read(fd, b->data + b->len, b->cap - b->len - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return gs_error_errno(err, errno, "cannot read '%s'", path);
        if (n == 0) break;
        b->len += (size_t)n;
        if (b->len > max_bytes)
            return GS_FAIL(err, GS_E_FORMAT, "'%s' is larger than %zu bytes", path,
                           max_bytes);
    }
    b->data[b->len] = 0;
    return GS_OK;
}

gs_status gs_file_read(const char *path, size_t max_bytes, char **data, size_t *len,
                       gs_error *err) {
    *data = NULL;
    *len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return gs_error_errno(err, errno, "cannot open '%s'", path);
    growing b = {0};
    gs_status status = read_all(fd, path, max_bytes, &b, err);
    close(fd);
    if (status != GS_OK) {
        gs_free(b.data);
        return status;
    }
    *data = b.data;
    *len = b.len;
    return GS_OK;
}

bool gs_path_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

bool gs_path_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool gs_path_same(const char *a, const char *b) {
    struct stat sa, sb;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev
           && sa.st_ino == sb.st_ino;
}

char *gs_path_join(const char *dir, const char *name) {
    size_t d = strlen(dir), n = strlen(name), slash = d > 0 && dir[d - 1] != '/';
    char *path = gs_realloc(NULL, 1, d + slash + n + 1);
    if (!path) return NULL;
    memcpy(path, dir, d);
    if (slash) path[d] = '/';
    memcpy(path + d + slash, name, n + 1);
    return path;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static gs_status list_into(DIR *handle, const char *dir, char ***names, size_t *count,
                           gs_error *err) {
    for (size_t cap = 0;;) {
        errno = 0;
        const struct dirent *entry = readdir(handle);
        if (!entry && errno) return gs_error_errno(err, errno, "cannot read '%s'", dir);
        if (!entry) return GS_OK;
        struct stat st;
        if (fstatat(dirfd(handle), entry->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode))
            continue;
        if (*count == cap) {
            cap = cap ? cap * 2 : 16;
            char **more = gs_realloc(*names, cap, sizeof **names);
            if (!more) return gs_error_nomem(err, cap * sizeof **names);
            *names = more;
        }
        char *name = gs_strdup(entry->d_name);
        if (!name) return gs_error_nomem(err, strlen(entry->d_name) + 1);
        (*names)[(*count)++] = name;
    }
}

gs_status gs_dir_list(const char *dir, char ***names, size_t *count, gs_error *err) {
    *names = NULL;
    *count = 0;
    DIR *handle = opendir(dir);
    if (!handle) return gs_error_errno(err, errno, "cannot open the directory '%s'", dir);
    gs_status status = list_into(handle, dir, names, count, err);
    closedir(handle);
    if (status != GS_OK) {
        gs_strlist_free(*names, *count);
        *names = NULL;
        *count = 0;
        return status;
    }
    if (*count) qsort(*names, *count, sizeof **names, by_name);
    return GS_OK;
}

void gs_strlist_free(char **names, size_t count) {
    for (size_t i = 0; i < count; i++) gs_free(names[i]);
    gs_free(names);
}

char *gs_dir_only_file(const char *dir, const char *end) {
    char **names = NULL, *found = NULL;
    size_t count = 0, hits = 0;
    if (!gs_path_is_dir(dir) || gs_dir_list(dir, &names, &count, NULL) != GS_OK) return NULL;
    for (size_t i = 0; i < count; i++) {
        if (!gs_ends_with(names[i], end) || hits++) continue;
        found = gs_path_join(dir, names[i]);
    }
    gs_strlist_free(names, count);
    if (hits == 1) return found;
    gs_free(found);
    return NULL;
}

gs_status gs_dir_bytes(const char *dir, uint64_t *bytes, gs_error *err) {
    char **names;
    size_t count;
    uint64_t sum = 0;
    GS_TRY(gs_dir_list(dir, &names, &count, err));
    gs_status status = GS_OK;
    for (size_t i = 0; i < count && status == GS_OK; i++) {
        struct stat st;
        char *path = gs_path_join(dir, names[i]);
        if (!path) status = gs_error_nomem(err, strlen(dir) + strlen(names[i]) + 2);
        else if (stat(path, &st) != 0) status = gs_error_errno(err, errno, "'%s'", path);
        else sum += (uint64_t)st.st_size;
        gs_free(path);
    }
    gs_strlist_free(names, count);
    if (status == GS_OK) *bytes = sum;
    return status;
}

int64_t gs_path_free_bytes(const char *path) {
    char *place = gs_strdup(*path ? path : ".");
    struct statvfs fs;
    int64_t bytes = -1;
    while (place) {
        if (statvfs(place, &fs) == 0) {
            uint64_t product;
            if (__builtin_mul_overflow((uint64_t)fs.f_bavail, (uint64_t)fs.f_frsize,
                                       &product)
                || product > INT64_MAX)
                product = INT64_MAX;
            bytes = (int64_t)product;
            break;
        }
        if (strcmp(place, ".") == 0 || strcmp(place, "/") == 0) break;
        char *slash = strrchr(place, '/');
        if (!slash) strcpy(place, "."); /* not empty, so there is room */
        else if (slash == place) place[1] = 0;
        else *slash = 0;
    }
    gs_free(place);
    return bytes;
}

const char *gs_scratch_dir(const char *dir) {
    const char *tmp = getenv("TMPDIR");
    if (dir) return dir;
    return tmp && *tmp ? tmp : "/tmp";
}

gs_status gs_scratch_error(gs_status status, gs_error *err) {
    if (status == GS_E_FORMAT) status = GS_E_IO;
    if (err) err->status = status;
    if (status == GS_E_IO)
        gs_error_hint(err, "the scratch directory must exist and be writable: name another one, or set TMPDIR");
    return status;
}
