/* Buffers that end at a page nobody may touch: a read or write beyond them is a fault. */
#ifndef GS_TESTS_KERNELS_GUARDED_H
#define GS_TESTS_KERNELS_GUARDED_H

#include <sys/mman.h>
#include <tests/support.h>

typedef struct guarded {
    char *map;
    size_t size; /* of the map, with the guard page */
    void *data;  /* `bytes` bytes, the last one just before the guard page */
} guarded;

static inline guarded guarded_alloc(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guarded g;
    g.size = (bytes + page - 1) / page * page + page;
    g.map = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect(g.map + g.size - page, page, PROT_NONE), 0);
    g.data = g.map + g.size - page - bytes;
    return g;
}

static inline void guarded_free(guarded *g) { munmap(g->map, g->size); }

#endif
