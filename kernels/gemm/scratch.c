#include <base/mem.h>
#include <kernels/gemm/backend.h>
#include <pthread.h>
#include <stdlib.h>

typedef struct scratch {
    size_t size;
    void *data;
} scratch;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool have_key;

static void release(void *p) {
    scratch *s = p;
    gs_free(s->data);
    gs_free(s);
}

/* The main thread often ends without running key destructors. */
static void release_last(void) {
    scratch *s = pthread_getspecific(key);
    pthread_setspecific(key, NULL);
    if (s) release(s);
}

static void init(void) {
    have_key = pthread_key_create(&key, release) == 0;
    if (have_key) atexit(release_last);
}

void *gs_gemm_scratch(size_t bytes) {
    pthread_once(&once, init);
    if (!have_key) return NULL;
    scratch *s = pthread_getspecific(key);
    if (!s) {
        s = gs_calloc(1, sizeof *s);
        if (!s || pthread_setspecific(key, s) != 0) {
            gs_free(s);
            return NULL;
        }
    }
    if (s->size < bytes) {
        gs_free(s->data);
        s->data = gs_alloc(bytes);
        s->size = s->data ? bytes : 0;
    }
    return s->data;
}
