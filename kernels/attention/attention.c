#include <base/mem.h>
#include <kernels/attention/attention.h>
#include <kernels/kernels.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum {
    TILE_ROWS = 192, /* rows of a product: queries times the heads that share their keys */
    MIN_QUERIES = 32,
    MAX_HEADS = 8, /* heads of one tile */
    KEYS = 512     /* keys of a block */
};

typedef struct attention_job {
    const gs_attention_shape *shape;
    gs_gemm_type type;
    const gs_kernels *kernels;
    int64_t sequences;
    const int64_t *starts;
    const int64_t *first_tile; /* of each sequence; sequences+1 entries */
    const float *q, *k, *v;
    float *out;
    uint16_t *k16, *v16;       /* [kv_heads, tokens, head_dim], bf16 only */
    bool adjusts;              /* scores are capped or biased */
    int64_t longest;           /* sequence; with alibi: */
    float *distance;           /* [longest]: 1-longest .. 0 */
    int64_t queries;           /* of a tile */
    int64_t group, tile_heads; /* query heads of a kv head, of a tile */
    int64_t head_tiles;        /* tiles of a group */
    size_t q_bytes, score_bytes, p_bytes, sum_bytes, worker_bytes;
    char *scratch;
    atomic_int status;
} attention_job;

/* What one piece of work covers. Row r of the tile is head head0 + r/queries at position
 * q0 + r%queries. */
typedef struct tile {
    int64_t start;       /* first token of the sequence */
    int64_t q0, queries; /* positions in the sequence */
    int64_t kv, head0, heads, rows;
    void *q;                  /* [rows, head_dim], scaled, of the job's type */
    float *score;             /* [rows, keys of the block] */
    uint16_t *p;              /* the same in bf16 */
    float *sum, *top, *total; /* [rows, head_dim], [rows], [rows] */
} tile;

/* Rows of q for the tile, times scale, dense, in the type of the product. */
static void gather_queries(const attention_job *job, const tile *t) {
    int64_t hd = job->shape->head_dim, stride = job->shape->heads * hd;
    for (int64_t r = 0; r < t->rows; r++) {
        const float *src = job->q + (t->start + t->q0 + r % t->queries) * stride +
                           (t->head0 + r / t->queries) * hd;
        if (job->type == GS_GEMM_F32) {
            job->kernels->scale_f32(hd, src, job->shape->scale, (float *)t->q + r * hd);
        } else {
            job->kernels->scale_f32(hd, src, job->shape->scale, t->sum);
            job->kernels->convert_f32_bf16(hd, t->sum, (uint16_t *)t->q + r * hd);
        }
    }
}

/* Scores of the tile against keys k0..k0+keys-1, or (values) their weighted values into sum. */
static gs_status product(const attention_job *job, const tile *t, int64_t k0, int64_t keys,
                         bool values, bool accumulate) {
    int64_t hd = job->shape->head_dim, tokens = job->starts[job->sequences];
    const void *b;
    int64_t ldb;
    if (job->type == GS_GEMM_BF16) {
        b = (values ? job->v16 : job->k16) + (t->kv * tokens + t->start + k0) * hd;
        ldb = hd;
    } else {
        ldb = job->shape->kv_heads * hd;
        b = (values ? job->v : job->k) + (t->start + k0) * ldb + t->kv * hd;
    }
    const void *p = job->type == GS_GEMM_BF16 ? (const void *)t->p : (const void *)t->score;
    if (values)
        return gs_gemm_block(job->type, false, accumulate, t->rows, hd, keys, p, keys, b, ldb,
                             t->sum, hd, NULL);
    return gs_gemm_block(job->type, true, false, t->rows, keys, hd, t->q, hd, b, ldb,
                         t->score, keys, NULL);
}

/* Weights of one row for the keys [from, to) of the block, zero elsewhere, against the running
 * maximum; total and sum are rescaled to the new maximum. */
static void softmax_row(const attention_job *job, tile *t, int64_t row, int64_t keys,
                        int64_t from, int64_t to, bool first) {
    const gs_kernels *kernels = job->kernels;
    float *score = t->score + row * keys, *p32 = score;
    uint16_t *p16 = t->p + row * keys;
    int64_t hd = job->shape->head_dim;
    float block_top = kernels->max_f32(to - from, score + from), top = t->top[row], total;
    if (block_top > top) {
        if (!first && top > -INFINITY) {
            float shrink = expf(top - block_top);
            t->total[row] *= shrink;
            kernels->scale_f32(hd, t->sum + row * hd, shrink, t->sum + row * hd);
        }
        t->top[row] = top = block_top;
    }
    if (job->type == GS_GEMM_BF16) {
        total = kernels->exp_sum_bf16(to - from, score + from, top, p16 + from);
        memset(p16, 0, (size_t)from * sizeof *p16);
        memset(p16 + to, 0, (size_t)(keys - to) * sizeof *p16);
    } else {
        total = kernels->exp_sum_f32(to - from, score + from, top, p32 + from);
        memset(p32, 0, (size_t)from * sizeof *p32);
        memset(p32 + to, 0, (size_t)(keys - to) * sizeof *p32);
    }
    t->total[row] += total;
}

/* The keys of block [k0, k0+keys) that the query at `position` sees, relative to k0. */
static void visible(const attention_job *job, int64_t position, int64_t k0, int64_t keys,
                    int64_t *from, int64_t *to) {
    int64_t window = job->shape->window;
    int64_t first = window && position >= window ? position - window + 1 : 0;
    *from = first > k0 ? first - k0 : 0;
    *to = position + 1 - k0 < keys ? position + 1 - k0 : keys;
    if (*from > keys) *from = keys;
    if (*to < *from) *to = *from;
}

float gs_alibi_slope(int64_t heads, int64_t h) {
    int64_t n = 1;
    while (n <= heads / 2) n *= 2;
    double exponent = h < n ? -8.0 * (double)(h + 1) : -4.0 * (double)(2 * (h - n) + 1);
    return (float)exp2(exponent / (double)n);
}

/* Cap and position bias of row `row`'s scores [from, to) of the block at k0. */
static void adjust_scores(const attention_job *job, const tile *t, int64_t row, int64_t k0, int64_t keys, int64_t from,
                          int64_t to) {
    const gs_attention_shape *s = job->shape;
    float *score = t->score + row * keys + from;
    if (s->softcap > 0) job->kernels->softcap_f32(to - from, score, s->softcap, score);
    if (!s->alibi) return;
    float slope = gs_alibi_slope(s->heads, t->head0 + row / t->queries);
    const float *distance = job->distance + (job->longest - 1) + k0 + from - (t->q0 + row % t->queries);
    job->kernels->add_scaled_f32(to - from, score, slope, distance, score);
}

static gs_status run_tile(const attention_job *job, tile *t) {
    int64_t hd = job->shape->head_dim, window = job->shape->window;
    gather_queries(job, t);
    for (int64_t r = 0; r < t->rows; r++) {
        t->top[r] = -INFINITY;
        t->total[r] = 0;
    }
    int64_t k0 = window && t->q0 >= window ? (t->q0 - window + 1) / KEYS * KEYS : 0;
    int64_t end = t->q0 + t->queries;
    for (bool first = true; k0 < end; k0 += KEYS, first = false) {
        int64_t keys = end - k0 < KEYS ? end - k0 : KEYS;
        GS_TRY(product(job, t, k0, keys, false, false));
        for (int64_t r = 0; r < t->rows; r++) {
            int64_t from, to;
            visible(job, t->q0 + r % t->queries, k0, keys, &from, &to);
            if (job->adjusts && from < to) adjust_scores(job, t, r, k0, keys, from, to);
            softmax_row(job, t, r, keys, from, to, first);
        }
        GS_TRY(product(job, t, k0, keys, true, !first));
    }
    for (int64_t r = 0; r < t->rows; r++) {
        float *dst = job->out + (t->start + t->q0 + r % t->queries) * job->shape->heads * hd +
                     (t->head0 + r / t->queries) * hd;
        job->kernels->scale_f32(hd, t->sum + r * hd, 1.0f / t->total[r], dst);
    }
    return GS_OK;
}

/* Tiles are numbered by sequence, then block of queries (the last, which sees most keys,
 * first), kv head, and part of its group. */
static void locate(const attention_job *job, int64_t index, tile *t) {
    int64_t s = 0;
    while (job->first_tile[s + 1] <= index) s++;
    int64_t per_block = job->shape->kv_heads * job->head_tiles;
    int64_t within = index - job->first_tile[s], length = job->starts[s + 1] - job->starts[s];
    int64_t blocks = (job->first_tile[s + 1] - job->first_tile[s]) / per_block;
    t->start = job->starts[s];
    t->q0 = (blocks - 1 - within / per_block) * job->queries;
    t->queries = length - t->q0 < job->queries ? length - t->q0 : job->queries;
    t->kv = within % per_block / job->head_tiles;
    int64_t part = within % job->head_tiles;
    t->heads = job->group - part * job->tile_heads;
    if (t->heads > job->tile_heads) t->heads = job->tile_heads;
    t->head0 = t->kv * job->group + part * job->tile_heads;
    t->rows = t->queries * t->heads;
}

static void run_tiles(void *ctx, int64_t begin, int64_t end, int worker) {
    attention_job *job = ctx;
    char *scratch = job->scratch + (size_t)worker * job->worker_bytes;
    int64_t rows = job->queries * job->tile_heads;
    tile t;
    t.q = scratch;
    t.score = (float *)(void *)(scratch + job->q_bytes);
    t.p = (uint16_t *)(void *)(scratch + job->q_bytes + job->score_bytes);
    t.sum = (float *)(void *)(scratch + job->q_bytes + job->score_bytes + job->p_bytes);
    t.top = t.sum + rows * job->shape->head_dim;
    t.total = t.top + rows;
    for (int64_t i = begin; i < end; i++) {
        locate(job, i, &t);
        gs_status status = run_tile(job, &t);
        if (status != GS_OK) atomic_store(&job->status, (int)status);
    }
}

/* k and v of some tokens to bf16, a kv head's rows together */
static void convert_keys(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    attention_job *job = ctx;
    int64_t hd = job->shape->head_dim, kv_heads = job->shape->kv_heads;
    int64_t tokens = job->starts[job->sequences];
    for (int64_t i = begin; i < end; i++) {
        for (int64_t h = 0; h < kv_heads; h++) {
            int64_t from = (i * kv_heads + h) * hd, to = (h * tokens + i) * hd;
            job->kernels->convert_f32_bf16(hd, job->k + from, job->k16 + to);
            job->kernels->convert_f32_bf16(hd, job->v + from, job->v16 + to);
        }
    }
}

static gs_status check(const gs_attention_shape *s, int64_t sequences, const int64_t *starts,
                       gs_error *err) {
    const int64_t limit = 1 << 20;
    if (s->heads < 1 || s->kv_heads < 1 || s->head_dim < 1 || s->heads > limit ||
        s->head_dim > limit || s->heads % s->kv_heads || s->window < 0 || !(s->softcap >= 0) || isinf(s->softcap))
        return GS_FAIL(err, GS_E_INVALID,
                       "attention of %lld heads on %lld of dimension %lld, window %lld, soft cap %g",
                       (long long)s->heads, (long long)s->kv_heads, (long long)s->head_dim,
                       (long long)s->window, (double)s->softcap);
    if (sequences < 0 || (sequences && starts[0] != 0))
        return GS_FAIL(err, GS_E_INVALID,
                       "attention over %lld sequences that do not start at 0",
                       (long long)sequences);
    for (int64_t i = 0; i < sequences; i++)
        if (starts[i + 1] < starts[i])
            return GS_FAIL(err, GS_E_INVALID,
                           "sequence %lld ends at %lld, before its start %lld", (long long)i,
                           (long long)starts[i + 1], (long long)starts[i]);
    if (sequences && starts[sequences] > (INT64_MAX >> 3) / (s->heads * s->head_dim))
        return GS_FAIL(err, GS_E_INVALID, "attention over %lld tokens",
                       (long long)starts[sequences]);
    return GS_OK;
}

static size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* How heads and queries are cut into tiles, and the scratch of a worker. */
static void plan_tiles(attention_job *job) {
    const gs_attention_shape *s = job->shape;
    job->group = s->heads / s->kv_heads;
    job->tile_heads = job->group < MAX_HEADS ? job->group : MAX_HEADS;
    job->head_tiles = (job->group - 1) / job->tile_heads + 1;
    job->queries = TILE_ROWS / job->tile_heads / 16 * 16;
    if (job->queries < MIN_QUERIES) job->queries = MIN_QUERIES;
    size_t rows = (size_t)(job->queries * job->tile_heads), hd = (size_t)s->head_dim;
    job->q_bytes = padded(rows * hd * sizeof(float));
    job->score_bytes = padded(rows * KEYS * sizeof(float));
    job->p_bytes = job->type == GS_GEMM_BF16 ? padded(rows * KEYS * sizeof(uint16_t)) : 0;
    job->sum_bytes = padded(rows * (hd + 2) * sizeof(float));
    job->worker_bytes = job->q_bytes + job->score_bytes + job->p_bytes + job->sum_bytes;
}

static gs_status fill_distances(attention_job *job, gs_error *err) {
    for (int64_t s = 0; s < job->sequences; s++)
        if (job->starts[s + 1] - job->starts[s] > job->longest) job->longest = job->starts[s + 1] - job->starts[s];
    job->distance = gs_calloc((size_t)job->longest, sizeof *job->distance);
    if (!job->distance) return gs_error_nomem(err, (size_t)job->longest * sizeof *job->distance);
    for (int64_t i = 0; i < job->longest; i++) job->distance[i] = (float)(i - job->longest + 1);
    return GS_OK;
}

static gs_status allocate(attention_job *job, int workers, int64_t **first_tile,
                          gs_error *err) {
    size_t bytes, tokens = (size_t)job->starts[job->sequences];
    *first_tile = gs_calloc((size_t)job->sequences + 1, sizeof **first_tile);
    if (!*first_tile)
        return gs_error_nomem(err, ((size_t)job->sequences + 1) * sizeof **first_tile);
    if (!gs_mul_size((size_t)workers, job->worker_bytes, &bytes))
        return gs_error_nomem(err, SIZE_MAX);
    job->scratch = gs_alloc(bytes);
    if (!job->scratch) return gs_error_nomem(err, bytes);
    if (job->shape->alibi) GS_TRY(fill_distances(job, err));
    if (job->type != GS_GEMM_BF16) return GS_OK;
    size_t elements = tokens * (size_t)(job->shape->kv_heads * job->shape->head_dim);
    job->k16 = gs_alloc(elements * 2 * sizeof *job->k16);
    if (!job->k16) return gs_error_nomem(err, elements * 2 * sizeof *job->k16);
    job->v16 = job->k16 + elements;
    return GS_OK;
}

static int64_t count_tiles(const attention_job *job, int64_t *first_tile) {
    int64_t tiles = 0;
    for (int64_t s = 0; s < job->sequences; s++) {
        int64_t length = job->starts[s + 1] - job->starts[s];
        first_tile[s] = tiles;
        tiles += (length + job->queries - 1) / job->queries * job->shape->kv_heads *
                 job->head_tiles;
    }
    return first_tile[job->sequences] = tiles;
}

gs_status gs_attention_run(gs_team *team, gs_gemm_type type, const gs_attention_shape *shape,
                           int64_t sequences, const int64_t *starts, const float *q,
                           const float *k, const float *v, float *out, gs_error *err) {
    GS_TRY(check(shape, sequences, starts, err));
    if (sequences == 0 || starts[sequences] == 0) return GS_OK;
    attention_job job = {.shape = shape,
                         .type = type,
                         .kernels = gs_kernels_get(),
                         .adjusts = shape->softcap > 0 || shape->alibi,
                         .sequences = sequences,
                         .starts = starts,
                         .q = q,
                         .k = k,
                         .v = v,
                         .out = out};
    plan_tiles(&job);
    int64_t *first_tile = NULL;
    gs_status status;
    GS_TRY_GOTO(status, done, allocate(&job, gs_team_size(team), &first_tile, err));
    job.first_tile = first_tile;
    int64_t tiles = count_tiles(&job, first_tile);
    if (type == GS_GEMM_BF16) gs_team_for(team, starts[sequences], 64, convert_keys, &job);
    gs_team_for(team, tiles, 1, run_tiles, &job);
    status = (gs_status)atomic_load(&job.status);
    if (status != GS_OK)
        GS_FAIL(err, status, "attention over %lld tokens failed in %s",
                (long long)starts[sequences], gs_gemm_backend(type));
done:
    gs_free(first_tile);
    gs_free(job.scratch);
    gs_free(job.k16);
    gs_free(job.distance);
    return status;
}
