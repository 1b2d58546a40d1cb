/* All heap memory of the library comes from here.
 *
 * gs_alloc and gs_calloc return 64-byte aligned memory or NULL. Any of these
 * blocks is released with gs_free (NULL is fine). Thread safe.
 *
 * gs_mem_fail_after(k) makes the k-th allocation from now (0 = the next) and all
 * later ones fail, k < 0 switches that off: the fault-injection harness of the
 * tests. */
#ifndef GS_BASE_MEM_H
#define GS_BASE_MEM_H

#include <base/error.h>

void *gs_alloc(size_t bytes);                       /* uninitialised */
void *gs_calloc(size_t count, size_t size);         /* zeroed; NULL on overflow */
/* Grows or shrinks an array; contents kept; NULL (old block intact) on overflow
 * or no memory. Alignment is only that of malloc. */
void *gs_realloc(void *p, size_t count, size_t size);
char *gs_strdup(const char *s);
char *gs_strndup(const char *s, size_t n);
void gs_free(void *p);

/* Fresh zeroed pages that nobody has touched, so that they can still be bound to a NUMA node;
 * NULL when there are none. Released by gs_free_pages alone, with the same size; NULL ok. */
void *gs_alloc_pages(size_t bytes);
void gs_free_pages(void *p, size_t bytes);

void gs_mem_fail_after(int64_t k);

/* Largest resident set of this process so far, in bytes (getrusage). */
int64_t gs_mem_peak_rss(void);

/* count*size into *out; false on overflow. */
bool gs_mul_size(size_t count, size_t size, size_t *out);

/* GS_E_NOMEM with the size that was asked for. */
gs_status gs_error_nomem(gs_error *err, size_t bytes);

#endif
