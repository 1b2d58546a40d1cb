/* The packed weight of a linear, and its product with many rows over the team.
 *
 * The columns of C (rows of w) are cut into panels and its rows into blocks; a piece of work
 * is one block of one panel. Both cuts depend on the shapes alone, so results do not depend on
 * the team. Pieces are numbered panel by panel, so that workers share a panel in the cache.
 *
 * On several NUMA nodes workers read the copy of their own node (base/placed.h). */
#include <base/mem.h>
#include <base/placed.h>
#include <kernels/gemm/backend.h>
#include <kernels/gemm/product.h>
#include <stdatomic.h>
#include <string.h>

enum {
    ROWS_ONEDNN = GS_PRODUCT_ROWS,
    ROWS_OTHER = 256, /* OpenBLAS packs w anew for each block, so blocks are taller */
    PANEL_ALIGN = 64,
    WHOLE_BYTES = 4 << 20, /* up to here a weight is one panel: c needs no copy then */
    PANEL_BYTES = 1 << 20, /* a panel and its block of c stay in the caches of a core */
    PANEL_MIN = 512
};

struct gs_gemm_weight {
    gs_gemm_type type;    /* of a, as the caller sees it */
    gs_gemm_type compute; /* f32 when bf16 is widened */
    gs_gemm_engine engine;
    int64_t n, k, rows, panel, panels;
    /* plain [n, k], or the packed panels end to end; one of the two is set */
    const void *borrowed;
    gs_placed *own;
    size_t panel_bytes; /* distance of panels */
};

static size_t element_size(gs_gemm_type type) { return type == GS_GEMM_BF16 ? 2 : 4; }

static int64_t panel_width(const gs_gemm_weight *w, int64_t p) {
    int64_t rest = w->n - p * w->panel;
    return rest < w->panel ? rest : w->panel;
}

static void cut_panels(gs_gemm_weight *w) {
    int64_t row_bytes =
        w->k > INT64_MAX / 4 ? INT64_MAX : w->k * (int64_t)element_size(w->compute);
    int64_t width = PANEL_BYTES / row_bytes / PANEL_ALIGN * PANEL_ALIGN;
    if (width < PANEL_MIN) width = PANEL_MIN;
    if (width > w->n || w->n <= WHOLE_BYTES / row_bytes) width = w->n;
    w->panel = width;
    w->panels = (w->n - 1) / width + 1;
}

static gs_product_key packed_key(const gs_gemm_weight *w, int64_t m, int64_t n) {
    return (gs_product_key){.type = w->compute,
                            .weights = GS_PRODUCT_PACKED,
                            .m = m,
                            .n = n,
                            .k = w->k,
                            .lda = w->k,
                            .ldc = n};
}

typedef struct pack_job {
    const gs_gemm_weight *w;
    const char *src;
    char *packed;
    gs_product *full, *last;
    atomic_int status;
} pack_job;

static void pack_panels(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    pack_job *job = ctx;
    const gs_gemm_weight *w = job->w;
    size_t row = (size_t)w->k * element_size(w->compute);
    for (int64_t p = begin; p < end; p++) {
        gs_product *model = panel_width(w, p) == w->panel ? job->full : job->last;
        gs_status status = gs_product_pack(model, job->src + (size_t)(p * w->panel) * row,
                                           job->packed + (size_t)p * w->panel_bytes, NULL);
        if (status != GS_OK) atomic_store(&job->status, (int)status);
    }
}

static gs_status pack_dnnl(gs_gemm_weight *w, const void *src, gs_team *team, gs_error *err) {
    pack_job job = {.w = w, .src = src};
    gs_product_key key = packed_key(w, ROWS_ONEDNN, w->panel);
    gs_status status = gs_product_acquire(&key, &job.full, err);
    if (status != GS_OK) return status;
    key = packed_key(w, ROWS_ONEDNN, panel_width(w, w->panels - 1));
    GS_TRY_GOTO(status, done, gs_product_acquire(&key, &job.last, err));
    w->panel_bytes = (gs_product_packed_bytes(job.full) + 63) / 64 * 64;
    size_t bytes;
    if (!gs_mul_size((size_t)w->panels, w->panel_bytes, &bytes)) bytes = SIZE_MAX;
    GS_TRY_GOTO(status, done, gs_placed_create(team, bytes, &w->own, err));
    job.packed = gs_placed_write(w->own);
    gs_team_for(team, w->panels, 1, pack_panels, &job);
    status = (gs_status)atomic_load(&job.status);
    if (status != GS_OK)
        GS_FAIL(err, status, "cannot pack a %lld x %lld weight", (long long)w->n,
                (long long)w->k);
    else
        gs_placed_spread(w->own, team);
done:
    gs_product_release(job.full);
    gs_product_release(job.last);
    return status;
}

static gs_status keep_plain(gs_gemm_weight *w, const void *src, gs_team *team, bool *borrowed,
                            gs_error *err) {
    size_t size = element_size(w->compute), bytes = (size_t)w->n * (size_t)w->k * size;
    w->panel_bytes = (size_t)w->panel * (size_t)w->k * size;
    /* one place for all nodes is no better than where the caller has it */
    if (borrowed && !gs_placed_has_copies(team, bytes)) {
        w->borrowed = src;
        *borrowed = true;
        return GS_OK;
    }
    GS_TRY(gs_placed_create(team, bytes, &w->own, err));
    memcpy(gs_placed_write(w->own), src, bytes);
    gs_placed_spread(w->own, team);
    return GS_OK;
}

static gs_status fill(gs_gemm_weight *w, const void *src, gs_team *team, bool *borrowed,
                      gs_error *err) {
    cut_panels(w);
    if (w->engine == GS_ENGINE_ONEDNN) return pack_dnnl(w, src, team, err);
    return keep_plain(w, src, team, borrowed, err);
}

gs_status gs_gemm_weight_create(gs_gemm_type type, int64_t n, int64_t k, const void *src,
                                gs_team *team, bool *borrowed, gs_gemm_weight **out,
                                gs_error *err) {
    *out = NULL;
    if (borrowed) *borrowed = false;
    size_t count, bytes;
    if (n < 1 || k < 1 || !gs_mul_size((size_t)n, (size_t)k, &count) ||
        !gs_mul_size(count, sizeof(float), &bytes) || bytes > PTRDIFF_MAX)
        return GS_FAIL(err, GS_E_INVALID, "weight of %lld x %lld elements", (long long)n,
                       (long long)k);
    gs_gemm_weight *w = gs_calloc(1, sizeof *w);
    if (!w) return gs_error_nomem(err, sizeof *w);
    w->engine = gs_gemm_engine_get();
    w->type = w->compute = type;
    w->rows = w->engine == GS_ENGINE_ONEDNN ? ROWS_ONEDNN : ROWS_OTHER;
    w->n = n;
    w->k = k;
    gs_status status;
    if (type == GS_GEMM_BF16 && !gs_gemm_engine_has_bf16()) {
        w->compute = GS_GEMM_F32;
        float *wide = gs_alloc(bytes);
        if (!wide) {
            status = gs_error_nomem(err, bytes);
        } else {
            gs_gemm_widen(n, k, src, k, wide);
            status = fill(w, wide, team, NULL, err);
        }
        gs_free(wide);
    } else {
        status = fill(w, src, team, borrowed, err);
    }
    if (status != GS_OK) {
        gs_gemm_weight_destroy(w);
        return status;
    }
    *out = w;
    return GS_OK;
}

void gs_gemm_weight_destroy(gs_gemm_weight *w) {
    if (!w) return;
    gs_placed_destroy(w->own);
    gs_free(w);
}

size_t gs_gemm_weight_bytes(const gs_gemm_weight *w) {
    return sizeof *w + (w->own ? gs_placed_bytes(w->own) : 0);
}

gs_placed *gs_gemm_weight_placed(const gs_gemm_weight *w) { return w->own; }

typedef struct run_job {
    const gs_gemm_weight *w;
    const gs_team *team;
    int64_t m, blocks;
    const char *a;
    int64_t lda;
    float *c;
    int64_t ldc;
    gs_product *product[2][2]; /* [short block][last panel], oneDNN only */
    size_t product_bytes, a_bytes, c_bytes; /* a worker's scratch: product, dense a, dense c */
    atomic_int status;
} run_job;

/* A product wants dense operands: a is copied when it has gaps, or widened; c goes through a
 * dense block when it is wider than the panel. */
static bool copies_a(const run_job *job) {
    return job->w->type != job->w->compute ||
           (job->w->engine == GS_ENGINE_ONEDNN && job->lda != job->w->k);
}

static bool copies_c(const run_job *job) {
    return job->w->engine == GS_ENGINE_ONEDNN &&
           (job->w->panels > 1 || job->ldc != job->w->n);
}

static void dense_a(const run_job *job, int64_t row, int64_t rows, char *dst) {
    const gs_gemm_weight *w = job->w;
    size_t size = element_size(w->type);
    const char *src = job->a + (size_t)(row * job->lda) * size;
    if (w->type != w->compute) {
        gs_gemm_widen(rows, w->k, (const uint16_t *)(const void *)src, job->lda,
                      (float *)(void *)dst);
        return;
    }
    for (int64_t i = 0; i < rows; i++)
        memcpy(dst + (size_t)(i * w->k) * size, src + (size_t)(i * job->lda) * size,
               (size_t)w->k * size);
}

static gs_status run_piece(const run_job *job, const char *data, int64_t p, int64_t block,
                           char *scratch) {
    const gs_gemm_weight *w = job->w;
    int64_t row = block * w->rows, rows = job->m - row, cols = panel_width(w, p),
            lda = job->lda;
    if (rows > w->rows) rows = w->rows;
    const void *a = job->a + (size_t)(row * job->lda) * element_size(w->type);
    const void *b = data + (size_t)p * w->panel_bytes;
    float *c = job->c + row * job->ldc + p * w->panel;
    if (copies_a(job)) {
        dense_a(job, row, rows, scratch + job->product_bytes);
        a = scratch + job->product_bytes;
        lda = w->k;
    }
    if (w->engine != GS_ENGINE_ONEDNN)
        return gs_gemm_block(w->compute, true, false, rows, cols, w->k, a, lda, b, w->k, c,
                             job->ldc, NULL);
    const gs_product *product = job->product[rows < w->rows][cols < w->panel];
    if (!copies_c(job)) return gs_product_run(product, a, b, c, scratch, NULL);
    float *dense = (float *)(void *)(scratch + job->product_bytes + job->a_bytes);
    gs_status status = gs_product_run(product, a, b, dense, scratch, NULL);
    for (int64_t i = 0; i < rows; i++)
        memcpy(c + i * job->ldc, dense + i * cols, (size_t)cols * sizeof *c);
    return status;
}

static void run_pieces(void *ctx, int64_t begin, int64_t end, int worker) {
    run_job *job = ctx;
    const gs_gemm_weight *w = job->w;
    const char *data =
        w->own ? gs_placed_read(w->own, gs_team_node(job->team, worker)) : w->borrowed;
    size_t bytes = job->product_bytes + job->a_bytes + job->c_bytes;
    /* the thread's own, so that it lies on the worker's node */
    char *scratch = bytes ? gs_gemm_scratch(bytes) : NULL;
    for (int64_t i = begin; i < end; i++) {
        gs_status status = bytes && !scratch
                               ? GS_E_NOMEM
                               : run_piece(job, data, i / job->blocks, i % job->blocks, scratch);
        if (status != GS_OK) atomic_store(&job->status, (int)status);
    }
}

static gs_status acquire_products(run_job *job, gs_error *err) {
    const gs_gemm_weight *w = job->w;
    int64_t heights[2] = {w->rows, job->m % w->rows};
    int64_t widths[2] = {w->panel, w->n % w->panel};
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++) {
            if ((i == 0 && job->m < w->rows) || heights[i] == 0 || widths[j] == 0) continue;
            gs_product_key key = packed_key(w, heights[i], widths[j]);
            GS_TRY(gs_product_acquire(&key, &job->product[i][j], err));
            size_t bytes = gs_product_scratch_bytes(job->product[i][j]);
            if (bytes > job->product_bytes) job->product_bytes = bytes;
        }
    }
    return GS_OK;
}

static size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

static void size_scratch(run_job *job) {
    const gs_gemm_weight *w = job->w;
    size_t rows = (size_t)w->rows;
    job->product_bytes = padded(job->product_bytes);
    if (copies_a(job)) job->a_bytes = padded(rows * (size_t)w->k * element_size(w->compute));
    if (copies_c(job)) job->c_bytes = padded(rows * (size_t)w->panel * sizeof(float));
}

gs_status gs_gemm_run(gs_team *team, const gs_gemm_weight *w, int64_t m, const void *a,
                      int64_t lda, float *c, int64_t ldc, gs_error *err) {
    if (m < 0 || lda < w->k || ldc < w->n)
        return GS_FAIL(
            err, GS_E_INVALID,
            "product of %lld rows with strides %lld, %lld for a %lld x %lld weight",
            (long long)m, (long long)lda, (long long)ldc, (long long)w->n, (long long)w->k);
    if (m == 0) return GS_OK;
    run_job job = {.w = w, .team = team, .m = m, .a = a, .lda = lda, .c = c, .ldc = ldc};
    job.blocks = (m - 1) / w->rows + 1;
    gs_status status = GS_OK;
    if (w->engine == GS_ENGINE_ONEDNN) GS_TRY_GOTO(status, done, acquire_products(&job, err));
    size_scratch(&job);
    gs_team_for(team, job.blocks * w->panels, 1, run_pieces, &job);
    status = (gs_status)atomic_load(&job.status);
    if (status != GS_OK)
        GS_FAIL(err, status, "product %lld x %lld x %lld failed in %s", (long long)m,
                (long long)w->n, (long long)w->k, gs_gemm_backend(w->type));
done:
    for (int i = 0; i < 4; i++) gs_product_release(job.product[i / 2][i % 2]);
    return status;
}
