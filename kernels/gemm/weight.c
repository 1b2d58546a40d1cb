/* The packed weight of a linear, and its product with many rows over the team.
 *
 * The columns of C (rows of w) are cut into panels and its rows into blocks; a piece of work
 * is one block of one panel. Both cuts depend on the shapes alone, so results do not depend on
 * the team. Pieces are numbered panel by panel, so that workers share a panel in the cache.
 *
 * On several NUMA nodes workers read the copy of their own node (base/placed.h). */
#include <base/mem.h>
#include <kernels/gemm/backend.h>
#include <kernels/gemm/panels.h>
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
    gs_panels panels;
};

static size_t element_size(gs_gemm_type type) { return type == GS_GEMM_BF16 ? 2 : 4; }

static int64_t choose_width(int64_t n, int64_t k, size_t element) {
    int64_t row_bytes = k > INT64_MAX / 4 ? INT64_MAX : k * (int64_t)element;
    int64_t width = PANEL_BYTES / row_bytes / PANEL_ALIGN * PANEL_ALIGN;
    if (width < PANEL_MIN) width = PANEL_MIN;
    return width > n || n <= WHOLE_BYTES / row_bytes ? n : width;
}

static gs_status fill(gs_gemm_weight *w, int64_t n, int64_t k, const void *src, gs_team *team,
                      bool *borrowed, gs_error *err) {
    size_t element = element_size(w->compute);
    bool packs = w->engine == GS_ENGINE_ONEDNN;
    w->panels = (gs_panels){.type = w->compute, .element = element, .n = n, .k = k,
                            .rows = packs ? ROWS_ONEDNN : ROWS_OTHER};
    gs_panels_cut(&w->panels, choose_width(n, k, element));
    if (packs) return gs_panels_pack(&w->panels, src, team, err);
    return gs_panels_keep(&w->panels, src, team, borrowed, err);
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
    gs_status status;
    if (type == GS_GEMM_BF16 && !gs_gemm_engine_has_bf16()) {
        w->compute = GS_GEMM_F32;
        float *wide = gs_alloc(bytes);
        if (!wide) {
            status = gs_error_nomem(err, bytes);
        } else {
            gs_gemm_widen(n, k, src, k, wide);
            status = fill(w, n, k, wide, team, NULL, err);
        }
        gs_free(wide);
    } else {
        status = fill(w, n, k, src, team, borrowed, err);
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
    gs_panels_clear(&w->panels);
    gs_free(w);
}

size_t gs_gemm_weight_bytes(const gs_gemm_weight *w) {
    return sizeof *w + gs_panels_bytes(&w->panels);
}

gs_placed *gs_gemm_weight_placed(const gs_gemm_weight *w) { return w->panels.own; }

typedef struct run_job {
    const gs_gemm_weight *w;
    const gs_team *team;
    int64_t m, blocks;
    const char *a;
    int64_t lda;
    float *c;
    int64_t ldc;
    gs_panel_products products; /* oneDNN only */
    size_t product_bytes, a_bytes, c_bytes; /* a worker's scratch: product, dense a, dense c */
    atomic_int status;
} run_job;

/* A product wants dense operands: a is copied when it has gaps, or widened; c goes through a
 * dense block when it is wider than the panel. */
static bool copies_a(const run_job *job) {
    return job->w->type != job->w->compute ||
           (job->w->engine == GS_ENGINE_ONEDNN && job->lda != job->w->panels.k);
}

static bool copies_c(const run_job *job) {
    return job->w->engine == GS_ENGINE_ONEDNN &&
           (job->w->panels.count > 1 || job->ldc != job->w->panels.n);
}

static void dense_a(const run_job *job, int64_t row, int64_t rows, char *dst) {
    const gs_gemm_weight *w = job->w;
    int64_t k = w->panels.k;
    size_t size = element_size(w->type);
    const char *src = job->a + (size_t)(row * job->lda) * size;
    if (w->type != w->compute) {
        gs_gemm_widen(rows, k, (const uint16_t *)(const void *)src, job->lda,
                      (float *)(void *)dst);
        return;
    }
    for (int64_t i = 0; i < rows; i++)
        memcpy(dst + (size_t)(i * k) * size, src + (size_t)(i * job->lda) * size,
               (size_t)k * size);
}

static gs_status run_piece(const run_job *job, const char *data, int64_t p, int64_t block,
                           char *scratch) {
    const gs_gemm_weight *w = job->w;
    const gs_panels *s = &w->panels;
    int64_t row = block * s->rows, rows = job->m - row, cols = gs_panel_width(s, p),
            lda = job->lda;
    if (rows > s->rows) rows = s->rows;
    const void *a = job->a + (size_t)(row * job->lda) * element_size(w->type);
    const void *b = data + (size_t)p * s->panel_bytes;
    float *c = job->c + row * job->ldc + p * s->panel;
    if (copies_a(job)) {
        dense_a(job, row, rows, scratch + job->product_bytes);
        a = scratch + job->product_bytes;
        lda = s->k;
    }
    if (w->engine != GS_ENGINE_ONEDNN)
        return gs_gemm_block(w->compute, true, false, rows, cols, s->k, a, lda, b, s->k, c,
                             job->ldc, NULL);
    const gs_product *product = job->products.at[rows < s->rows][cols < s->panel];
    if (!copies_c(job)) return gs_product_run(product, a, b, c, scratch, NULL);
    float *dense = (float *)(void *)(scratch + job->product_bytes + job->a_bytes);
    gs_status status = gs_product_run(product, a, b, dense, scratch, NULL);
    for (int64_t i = 0; i < rows; i++)
        memcpy(c + i * job->ldc, dense + i * cols, (size_t)cols * sizeof *c);
    return status;
}

static void run_pieces(void *ctx, int64_t begin, int64_t end, int worker) {
    run_job *job = ctx;
    const char *data = gs_panels_read(&job->w->panels, job->team, worker);
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

static size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

static void size_scratch(run_job *job) {
    const gs_gemm_weight *w = job->w;
    size_t rows = (size_t)w->panels.rows;
    job->product_bytes = padded(job->products.scratch_bytes);
    if (copies_a(job)) job->a_bytes = padded(rows * (size_t)w->panels.k * w->panels.element);
    if (copies_c(job)) job->c_bytes = padded(rows * (size_t)w->panels.panel * sizeof(float));
}

gs_status gs_gemm_run(gs_team *team, const gs_gemm_weight *w, int64_t m, const void *a,
                      int64_t lda, float *c, int64_t ldc, gs_error *err) {
    const gs_panels *s = &w->panels;
    if (m < 0 || lda < s->k || ldc < s->n)
        return GS_FAIL(
            err, GS_E_INVALID,
            "product of %lld rows with strides %lld, %lld for a %lld x %lld weight",
            (long long)m, (long long)lda, (long long)ldc, (long long)s->n, (long long)s->k);
    if (m == 0) return GS_OK;
    run_job job = {.w = w, .team = team, .m = m, .a = a, .lda = lda, .c = c, .ldc = ldc};
    job.blocks = (m - 1) / s->rows + 1;
    gs_status status = GS_OK;
    if (w->engine == GS_ENGINE_ONEDNN) GS_TRY_GOTO(status, done, gs_panels_acquire(s, m, &job.products, err));
    size_scratch(&job);
    gs_team_for(team, job.blocks * s->count, 1, run_pieces, &job);
    status = (gs_status)atomic_load(&job.status);
    if (status != GS_OK)
        GS_FAIL(err, status, "product %lld x %lld x %lld failed in %s", (long long)m,
                (long long)s->n, (long long)s->k, gs_gemm_backend(w->type));
done:
    gs_panels_release(&job.products);
    return status;
}
