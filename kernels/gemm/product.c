#include <base/mem.h>
#include <kernels/gemm/product.h>
#include <kernels/onednn/onednn.h>
#include <pthread.h>
#include <string.h>

struct gs_product {
    gs_product_key key;
    gs_dnnl_op op;
    gs_dnnl_md src, weights, dst;
    uint64_t used; /* clock of the last look-up; cache lock */
    int refs;      /* users, and one for the cache while it is there; cache lock */
};

enum { SETS = 64, WAYS = 4 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static gs_product *cache[SETS][WAYS];
static uint64_t ticks;

static dnnl_data_type_t a_type(int64_t type) {
    if (type == GS_PRODUCT_U8S8) return dnnl_u8;
    return type == GS_GEMM_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_data_type_t b_type(int64_t type) {
    return type == GS_PRODUCT_U8S8 ? dnnl_s8 : a_type(type);
}

static dnnl_data_type_t c_type(int64_t type) {
    return type == GS_PRODUCT_U8S8 ? dnnl_s32 : dnnl_f32;
}

static void destroy(gs_product *p) {
    if (!p) return;
    gs_dnnl_op_clear(&p->op);
    gs_dnnl_md_clear(&p->src);
    gs_dnnl_md_clear(&p->weights);
    gs_dnnl_md_clear(&p->dst);
    gs_free(p);
}

/* The packed layout must not depend on m, or the rest of the rows could not use it: it is the
 * one that oneDNN chooses for GS_PRODUCT_ROWS. */
static gs_status packed_layout(const gs_product_key *key, gs_dnnl_md *md, gs_error *err) {
    const int64_t dims[2] = {key->k, key->n};
    if (key->m == GS_PRODUCT_ROWS && key->lda == key->k && key->ldc == key->n)
        return gs_dnnl_md_init(md, b_type(key->type), 2, dims, NULL, err);
    gs_product_key full = *key;
    full.m = GS_PRODUCT_ROWS;
    full.accumulate = 0;
    full.lda = key->k;
    full.ldc = key->n;
    gs_product *model;
    GS_TRY(gs_product_acquire(&full, &model, err));
    gs_status status = gs_dnnl_md_copy(md, gs_dnnl_op_weights(&model->op), err);
    gs_product_release(model);
    return status;
}

static gs_status describe(gs_product *p, gs_error *err) {
    const gs_product_key *key = &p->key;
    const int64_t a_dims[2] = {key->m, key->k}, a_strides[2] = {key->lda, 1};
    const int64_t b_dims[2] = {key->k, key->n};
    const int64_t b_strides[2] = {key->weights == GS_PRODUCT_TRANSPOSED ? 1 : key->ldb,
                                  key->weights == GS_PRODUCT_TRANSPOSED ? key->ldb : 1};
    const int64_t c_dims[2] = {key->m, key->n}, c_strides[2] = {key->ldc, 1};
    GS_TRY(gs_dnnl_md_init(&p->src, a_type(key->type), 2, a_dims, a_strides, err));
    GS_TRY(gs_dnnl_md_init(&p->dst, c_type(key->type), 2, c_dims, c_strides, err));
    if (key->weights == GS_PRODUCT_PACKED) return packed_layout(key, &p->weights, err);
    return gs_dnnl_md_init(&p->weights, b_type(key->type), 2, b_dims, b_strides, err);
}

static gs_status create(const gs_product_key *key, gs_product **out, gs_error *err) {
    gs_product *p = gs_calloc(1, sizeof *p);
    if (!p) return gs_error_nomem(err, sizeof *p);
    p->key = *key;
    p->refs = 1;
    gs_status status;
    GS_TRY_GOTO(status, fail, describe(p, err));
    GS_TRY_GOTO(status, fail,
                gs_dnnl_matmul(&p->op, gs_dnnl_md_get(&p->src), gs_dnnl_md_get(&p->weights),
                               gs_dnnl_md_get(&p->dst), key->accumulate != 0, err));
    *out = p;
    return GS_OK;
fail:
    destroy(p);
    return status;
}

/* FNV-1a over the fields */
static gs_product **set_of(const gs_product_key *key) {
    int64_t fields[sizeof *key / sizeof(int64_t)];
    memcpy(fields, key, sizeof fields);
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < GS_COUNTOF(fields); i++)
        h = (h ^ (uint64_t)fields[i]) * 0x100000001b3u;
    return cache[(h ^ (h >> 32)) % SETS];
}

static gs_product *find_locked(gs_product **set, const gs_product_key *key) {
    for (int i = 0; i < WAYS; i++) {
        gs_product *p = set[i];
        if (p && !memcmp(&p->key, key, sizeof *key)) {
            p->used = ++ticks;
            p->refs++;
            return p;
        }
    }
    return NULL;
}

static gs_product *release_locked(gs_product *p) { return p && --p->refs == 0 ? p : NULL; }

/* Puts p into the set and returns what must be destroyed for it, if anything. */
static gs_product *insert_locked(gs_product **set, gs_product *p) {
    int oldest = 0;
    for (int i = 0; i < WAYS; i++) {
        if (!set[i]) {
            oldest = i;
            break;
        }
        if (set[i]->used < set[oldest]->used) oldest = i;
    }
    gs_product *evicted = release_locked(set[oldest]);
    set[oldest] = p;
    p->used = ++ticks;
    p->refs++;
    return evicted;
}

gs_status gs_product_acquire(const gs_product_key *key, gs_product **out, gs_error *err) {
    gs_product **set = set_of(key);
    pthread_mutex_lock(&lock);
    *out = find_locked(set, key);
    pthread_mutex_unlock(&lock);
    if (*out) return GS_OK;
    /* made without the lock, so two threads may make the same one: the first in wins */
    gs_product *made = NULL, *unwanted;
    GS_TRY(create(key, &made, err));
    pthread_mutex_lock(&lock);
    *out = find_locked(set, key);
    if (*out) {
        unwanted = made;
    } else {
        unwanted = insert_locked(set, made);
        *out = made;
    }
    pthread_mutex_unlock(&lock);
    destroy(unwanted);
    return GS_OK;
}

void gs_product_release(gs_product *p) {
    if (!p) return;
    pthread_mutex_lock(&lock);
    p = release_locked(p);
    pthread_mutex_unlock(&lock);
    destroy(p);
}

size_t gs_product_scratch_bytes(const gs_product *p) { return p->op.scratch_bytes; }

gs_status gs_product_run(const gs_product *p, const void *a, const void *b, void *c,
                         void *scratch, gs_error *err) {
    gs_dnnl_arg args[3] = {
        {DNNL_ARG_SRC, gs_dnnl_md_get(&p->src), NULL},
        {DNNL_ARG_WEIGHTS, gs_dnnl_op_weights(&p->op), NULL},
        {DNNL_ARG_DST, gs_dnnl_md_get(&p->dst), c},
    };
    /* only read, though the interface takes them as writable */
    memcpy(&args[0].data, &a, sizeof a);
    memcpy(&args[1].data, &b, sizeof b);
    return gs_dnnl_execute(&p->op, 3, args, scratch, err);
}

size_t gs_product_packed_bytes(const gs_product *p) {
    return dnnl_memory_desc_get_size(gs_dnnl_op_weights(&p->op));
}

gs_status gs_product_pack(const gs_product *p, const void *w, void *packed, gs_error *err) {
    const int64_t dims[2] = {p->key.k, p->key.n}, strides[2] = {1, p->key.k};
    gs_dnnl_md plain;
    memset(&plain, 0, sizeof plain);
    GS_TRY(gs_dnnl_md_init(&plain, b_type(p->key.type), 2, dims, strides, err));
    gs_status status =
        gs_dnnl_reorder(gs_dnnl_md_get(&plain), w, gs_dnnl_op_weights(&p->op), packed, err);
    gs_dnnl_md_clear(&plain);
    return status;
}
