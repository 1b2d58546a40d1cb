#include <base/mem.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { ALIGNMENT = 64 };

/* Allocations that may still succeed; negative: no fault injection. */
static _Atomic int64_t allowed = -1;

static bool injected_failure(void) {
    int64_t left = atomic_load_explicit(&allowed, memory_order_relaxed);
    while (left > 0) {
        if (atomic_compare_exchange_weak(&allowed, &left, left - 1)) return false;
    }
    return left == 0;
}

void gs_mem_fail_after(int64_t k) {
    atomic_store(&allowed, k < 0 ? -1 : k);
}

bool gs_mul_size(size_t count, size_t size, size_t *out) {
    return !__builtin_mul_overflow(count, size, out);
}

void *gs_alloc(size_t bytes) {
    void *p = NULL;
    if (bytes > PTRDIFF_MAX - ALIGNMENT || injected_failure()) return NULL;
    if (posix_memalign(&p, ALIGNMENT, bytes ? bytes : 1) != 0) return NULL;
    return p;
}

void *gs_calloc(size_t count, size_t size) {
    size_t bytes;
    if (!gs_mul_size(count, size, &bytes)) return NULL;
    void *p = gs_alloc(bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

void *gs_realloc(void *p, size_t count, size_t size) {
    size_t bytes;
    if (!gs_mul_size(count, size, &bytes) || bytes > PTRDIFF_MAX || injected_failure())
        return NULL;
    /* realloc(p, 0) would free p and return NULL, which reads as a failure */
    return realloc(p, bytes ? bytes : 1);
}

char *gs_strndup(const char *s, size_t n) {
    size_t len = strnlen(s, n);
    char *copy = gs_realloc(NULL, 1, len + 1);
    if (!copy) return NULL;
    memcpy(copy, s, len);
    copy[len] = 0;
    return copy;
}

char *gs_strdup(const char *s) {
    return gs_strndup(s, strlen(s));
}

void gs_free(void *p) {
    free(p);
}

void *gs_alloc_pages(size_t bytes) {
    if (bytes > PTRDIFF_MAX || injected_failure()) return NULL;
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void gs_free_pages(void *p, size_t bytes) {
    if (p) munmap(p, bytes ? bytes : 1);
}

int64_t gs_mem_peak_rss(void) {
    /* ru_maxrss survives fork and exec, so a child of a fat parent would report the
     * parent's peak; VmHWM belongs to this address space alone. */
    FILE *f = fopen("/proc/self/status", "re");
    long long kib = -1;
    if (f) {
        char line[256];
        while (kib < 0 && fgets(line, sizeof line, f)) {
            if (sscanf(line, "VmHWM: %lld kB", &kib) != 1) kib = -1;
        }
        fclose(f);
    }
    if (kib < 0) {
        struct rusage use;
        if (getrusage(RUSAGE_SELF, &use) != 0) return 0;
        kib = use.ru_maxrss;
    }
    return (int64_t)kib * 1024;
}

gs_status gs_error_nomem(gs_error *err, size_t bytes) {
    return GS_FAIL(err, GS_E_NOMEM, "cannot allocate %zu bytes", bytes);
}
