/* The packed int8 weight and its product with many rows over the team; cut as in weight.c.
 *
 * oneDNN multiplies u8 x s8. Its s8 x s8 is the same with a correction, but it adds that in f32,
 * which is wrong beyond 2^24. Here a code of a is shifted by 128 as it is copied, and
 *     sum a*w = sum (a+128)*w - 128 * sum w,
 * all modulo 2^32; the last term of each column joins the bias. */
#include <base/mem.h>
#include <kernels/gemm/backend.h>
#include <kernels/gemm/panels.h>
#include <kernels/gemm/s8.h>
#include <kernels/onednn/onednn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

typedef enum s8_engine { S8_DOT, S8_SLICED, S8_REFERENCE } s8_engine;

enum {
    ROWS_DOT = GS_PRODUCT_ROWS,
    ROWS_OTHER = 256, /* codes are widened anew for each block, so blocks are taller */
    PANEL_ALIGN = 64,
    PANEL_DOT = 512, /* 64 rows of s32 sums leave most of a core's cache to the weight */
    PANEL_OTHER = 256
};

struct gs_gemm_s8_weight {
    s8_engine engine;
    gs_panels panels;
    int32_t *correction; /* [n]: -128 * sum of a row of w; S8_DOT only */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static s8_engine engine;
static char name[160];

static void init(void) {
    switch (gs_gemm_engine_get()) {
    case GS_ENGINE_ONEDNN: engine = gs_dnnl_has_u8s8() ? S8_DOT : S8_SLICED; break;
    case GS_ENGINE_OPENBLAS: engine = S8_SLICED; break;
    case GS_ENGINE_REFERENCE: engine = S8_REFERENCE; break;
    }
    snprintf(name, sizeof name, "%s, int8%s", gs_gemm_backend(GS_GEMM_F32),
             engine == S8_SLICED ? " widened to f32" : "");
}

const char *gs_gemm_s8_backend(void) {
    pthread_once(&once, init);
    return name;
}

static s8_engine engine_get(void) {
    pthread_once(&once, init);
    return engine;
}

/* Panels of about the same width. */
static int64_t choose_width(int64_t n, int64_t most) {
    int64_t share = (n - 1) / ((n - 1) / most + 1) + 1;
    int64_t width = (share + PANEL_ALIGN - 1) / PANEL_ALIGN * PANEL_ALIGN;
    return width < n ? width : n;
}

typedef struct correct_job {
    const int8_t *src;
    int64_t k;
    int32_t *correction;
} correct_job;

static void correct_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const correct_job *job = ctx;
    for (int64_t j = begin; j < end; j++) {
        int32_t sum = 0;
        for (int64_t l = 0; l < job->k; l++) sum += job->src[j * job->k + l];
        job->correction[j] = -128 * sum;
    }
}

static gs_status pack(gs_gemm_s8_weight *w, const int8_t *src, gs_team *team, gs_error *err) {
    size_t sums = (size_t)w->panels.n * sizeof *w->correction;
    GS_TRY(gs_panels_pack(&w->panels, src, team, err));
    w->correction = gs_alloc(sums);
    if (!w->correction) return gs_error_nomem(err, sums);
    correct_job job = {src, w->panels.k, w->correction};
    gs_team_for(team, w->panels.n, PANEL_ALIGN, correct_rows, &job);
    return GS_OK;
}

gs_status gs_gemm_s8_weight_create(int64_t n, int64_t k, const int8_t *src, gs_team *team,
                                   bool *borrowed, gs_gemm_s8_weight **out, gs_error *err) {
    *out = NULL;
    if (borrowed) *borrowed = false;
    if (n < 1 || k < 1 || k > GS_GEMM_S8_MAX_K || n > PTRDIFF_MAX / GS_GEMM_S8_MAX_K)
        return GS_FAIL(err, GS_E_INVALID, "int8 weight of %lld x %lld (at most %d columns)",
                       (long long)n, (long long)k, GS_GEMM_S8_MAX_K);
    gs_gemm_s8_weight *w = gs_calloc(1, sizeof *w);
    if (!w) return gs_error_nomem(err, sizeof *w);
    w->engine = engine_get();
    bool packs = w->engine == S8_DOT;
    w->panels = (gs_panels){.type = GS_PRODUCT_U8S8, .element = 1, .n = n, .k = k,
                            .rows = packs ? ROWS_DOT : ROWS_OTHER};
    gs_panels_cut(&w->panels, choose_width(n, packs ? PANEL_DOT : PANEL_OTHER));
    gs_status status = packs ? pack(w, src, team, err)
                             : gs_panels_keep(&w->panels, src, team, borrowed, err);
    if (status != GS_OK) {
        gs_gemm_s8_weight_destroy(w);
        return status;
    }
    *out = w;
    return GS_OK;
}

void gs_gemm_s8_weight_destroy(gs_gemm_s8_weight *w) {
    if (!w) return;
    gs_panels_clear(&w->panels);
    gs_free(w->correction);
    gs_free(w);
}

size_t gs_gemm_s8_weight_bytes(const gs_gemm_s8_weight *w) {
    size_t sums = w->correction ? (size_t)w->panels.n * sizeof *w->correction : 0;
    return sizeof *w + sums + gs_panels_bytes(&w->panels);
}

typedef struct run_job {
    const gs_gemm_s8_weight *w;
    const gs_gemm_s8_epilogue *e;
    gs_team *team;
    int64_t m, blocks;
    const int8_t *a;
    int64_t lda;
    float *c;
    int64_t ldc;
    gs_panel_products products; /* S8_DOT only */
    /* a worker's scratch, in this order: of the product, shifted codes, sums, bias, halves */
    size_t product_bytes, a_bytes, acc_bytes, bias_bytes, worker_bytes;
    char *scratch;
    atomic_int status;
} run_job;

typedef struct run_scratch {
    const int8_t *weight; /* of the worker's node */
    void *product;
    uint8_t *a;
    int32_t *acc, *bias;
    uint16_t *half;
} run_scratch;

static run_scratch scratch_of(const run_job *job, int worker) {
    char *at = job->scratch + (size_t)worker * job->worker_bytes;
    run_scratch s = {.product = at,
                     .weight = (const int8_t *)gs_panels_read(&job->w->panels, job->team, worker)};
    s.a = (uint8_t *)(at += job->product_bytes);
    s.acc = (int32_t *)(void *)(at += job->a_bytes);
    s.bias = (int32_t *)(void *)(at += job->acc_bytes);
    s.half = (uint16_t *)(void *)(at + job->bias_bytes);
    return s;
}

static void shift_codes(int64_t rows, int64_t k, const int8_t *a, int64_t lda, uint8_t *dst) {
    for (int64_t i = 0; i < rows; i++, a += lda, dst += k)
        for (int64_t l = 0; l < k; l++) dst[l] = (uint8_t)a[l] ^ 0x80;
}

static gs_status multiply(const run_job *job, const gs_s8_piece *piece, int64_t p,
                          const run_scratch *s) {
    const gs_panels *n = &job->w->panels;
    const int8_t *a = job->a + piece->row * job->lda, *b = s->weight + (size_t)p * n->panel_bytes;
    switch (job->w->engine) {
    case S8_DOT:
        shift_codes(piece->rows, n->k, a, job->lda, s->a);
        return gs_product_run(job->products.at[piece->rows < n->rows][piece->cols < n->panel], s->a, b,
                              s->acc, s->product, NULL);
    case S8_SLICED:
        return gs_s8_sliced(piece->rows, piece->cols, n->k, a, job->lda, b, s->acc, s->product,
                            NULL);
    case S8_REFERENCE:
        for (int64_t i = 0; i < piece->rows; i++)
            gs_gemm_s8_reference(1, piece->cols, n->k, a + i * job->lda, b,
                                 s->acc + i * piece->cols);
        break;
    }
    return GS_OK;
}

/* What is to be added to the sums of a piece: [cols], or NULL. */
static const int32_t *bias_of(const run_job *job, const gs_s8_piece *piece, int32_t *sum) {
    const int32_t *bias = job->e->bias ? job->e->bias + piece->col : NULL;
    if (!job->w->correction) return bias;
    const int32_t *correction = job->w->correction + piece->col;
    if (!bias) return correction;
    for (int64_t j = 0; j < piece->cols; j++)
        sum[j] = (int32_t)((uint32_t)bias[j] + (uint32_t)correction[j]);
    return sum;
}

static gs_status run_piece(const run_job *job, int64_t p, int64_t block, const run_scratch *s) {
    const gs_panels *n = &job->w->panels;
    gs_s8_piece piece = {.row = block * n->rows, .col = p * n->panel, .cols = gs_panel_width(n, p)};
    piece.rows = job->m - piece.row < n->rows ? job->m - piece.row : n->rows;
    GS_TRY(multiply(job, &piece, p, s));
    gs_s8_epilogue_run(job->e, &piece, s->acc, bias_of(job, &piece, s->bias), s->half, job->c,
                       job->ldc);
    return GS_OK;
}

static void run_pieces(void *ctx, int64_t begin, int64_t end, int worker) {
    run_job *job = ctx;
    run_scratch s = scratch_of(job, worker);
    for (int64_t i = begin; i < end; i++) {
        gs_status status = run_piece(job, i / job->blocks, i % job->blocks, &s);
        if (status != GS_OK) atomic_store(&job->status, (int)status);
    }
}

static size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

static gs_status allocate_scratch(run_job *job, int workers, gs_error *err) {
    const gs_gemm_s8_weight *w = job->w;
    const gs_panels *n = &w->panels;
    int64_t rows = job->m < n->rows ? job->m : n->rows;
    size_t cols = (size_t)n->panel, total;
    if (w->engine == S8_DOT) job->a_bytes = padded((size_t)(rows * n->k));
    job->product_bytes = padded(w->engine == S8_SLICED ? gs_s8_sliced_bytes(rows, n->panel, n->k)
                                                       : job->products.scratch_bytes);
    job->acc_bytes = padded((size_t)rows * cols * sizeof(int32_t));
    job->bias_bytes = padded(cols * sizeof(int32_t));
    job->worker_bytes = job->product_bytes + job->a_bytes + job->acc_bytes + job->bias_bytes +
                        padded(cols * sizeof(uint16_t));
    if (!gs_mul_size((size_t)workers, job->worker_bytes, &total))
        return gs_error_nomem(err, SIZE_MAX);
    job->scratch = gs_alloc(total);
    return job->scratch ? GS_OK : gs_error_nomem(err, total);
}

static gs_status check(const gs_gemm_s8_weight *w, int64_t m, int64_t lda,
                       const gs_gemm_s8_epilogue *e, int64_t ldc, gs_error *err) {
    if (m < 0 || lda < w->panels.k || ldc < w->panels.n)
        return GS_FAIL(
            err, GS_E_INVALID,
            "product of %lld rows with strides %lld, %lld for a %lld x %lld weight of int8",
            (long long)m, (long long)lda, (long long)ldc, (long long)w->panels.n, (long long)w->panels.k);
    if (!e->scale || (e->round != GS_F32 && e->round != GS_F16 && e->round != GS_BF16))
        return GS_FAIL(err, GS_E_INVALID, "integer product without scales, or rounded to %s",
                       gs_dtype_name(e->round));
    return GS_OK;
}

gs_status gs_gemm_s8_run(gs_team *team, const gs_gemm_s8_weight *w, int64_t m, const int8_t *a,
                         int64_t lda, const gs_gemm_s8_epilogue *e, float *c, int64_t ldc,
                         gs_error *err) {
    GS_TRY(check(w, m, lda, e, ldc, err));
    if (m == 0) return GS_OK;
    run_job job = {.w = w, .e = e, .team = team, .m = m, .a = a, .lda = lda, .c = c, .ldc = ldc};
    job.blocks = (m - 1) / w->panels.rows + 1;
    gs_status status = GS_OK;
    if (w->engine == S8_DOT) GS_TRY_GOTO(status, done, gs_panels_acquire(&w->panels, m, &job.products, err));
    GS_TRY_GOTO(status, done, allocate_scratch(&job, gs_team_size(team), err));
    gs_team_for(team, job.blocks * w->panels.count, 1, run_pieces, &job);
    status = (gs_status)atomic_load(&job.status);
    if (status != GS_OK)
        GS_FAIL(err, status, "product %lld x %lld x %lld failed in %s", (long long)m,
                (long long)w->panels.n, (long long)w->panels.k, gs_gemm_s8_backend());
done:
    gs_panels_release(&job.products);
    gs_free(job.scratch);
    return status;
}
