#include <kernels/gemm/panels.h>

#include <base/mem.h>

#include <stdatomic.h>
#include <string.h>

void gs_panels_cut(gs_panels *s, int64_t width) {
    s->panel = width;
    s->count = (s->n - 1) / width + 1;
}

int64_t gs_panel_width(const gs_panels *s, int64_t p) {
    int64_t rest = s->n - p * s->panel;
    return rest < s->panel ? rest : s->panel;
}

static gs_product_key packed_key(const gs_panels *s, int64_t m, int64_t n) {
    return (gs_product_key){.type = s->type,
                            .weights = GS_PRODUCT_PACKED,
                            .m = m,
                            .n = n,
                            .k = s->k,
                            .lda = s->k,
                            .ldc = n};
}

typedef struct pack_job {
    const gs_panels *s;
    const char *src;
    char *packed;
    gs_product *full, *last;
    atomic_int status;
} pack_job;

static void pack_panels(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    pack_job *job = ctx;
    const gs_panels *s = job->s;
    size_t row = (size_t)s->k * s->element;
    for (int64_t p = begin; p < end; p++) {
        gs_product *model = gs_panel_width(s, p) == s->panel ? job->full : job->last;
        gs_status status = gs_product_pack(model, job->src + (size_t)(p * s->panel) * row,
                                           job->packed + (size_t)p * s->panel_bytes, NULL);
        if (status != GS_OK) atomic_store(&job->status, (int)status);
    }
}

gs_status gs_panels_pack(gs_panels *s, const void *src, gs_team *team, gs_error *err) {
    pack_job job = {.s = s, .src = src};
    gs_product_key key = packed_key(s, GS_PRODUCT_ROWS, s->panel);
    gs_status status;
    GS_TRY_GOTO(status, done, gs_product_acquire(&key, &job.full, err));
    key = packed_key(s, GS_PRODUCT_ROWS, gs_panel_width(s, s->count - 1));
    GS_TRY_GOTO(status, done, gs_product_acquire(&key, &job.last, err));
    s->panel_bytes = (gs_product_packed_bytes(job.full) + 63) / 64 * 64;
    size_t bytes;
    if (!gs_mul_size((size_t)s->count, s->panel_bytes, &bytes)) bytes = SIZE_MAX;
    GS_TRY_GOTO(status, done, gs_placed_create(team, bytes, &s->own, err));
    job.packed = gs_placed_write(s->own);
    gs_team_for(team, s->count, 1, pack_panels, &job);
    status = (gs_status)atomic_load(&job.status);
    if (status != GS_OK)
        GS_FAIL(err, status, "cannot pack a %lld x %lld weight", (long long)s->n, (long long)s->k);
    else
        gs_placed_spread(s->own, team);
done:
    gs_product_release(job.full);
    gs_product_release(job.last);
    return status;
}

gs_status gs_panels_keep(gs_panels *s, const void *src, gs_team *team, bool *borrowed, gs_error *err) {
    size_t bytes = (size_t)s->n * (size_t)s->k * s->element;
    s->panel_bytes = (size_t)s->panel * (size_t)s->k * s->element;
    /* one place for all nodes is no better than where the caller has it */
    if (borrowed && !gs_placed_has_copies(team, bytes)) {
        s->borrowed = src;
        *borrowed = true;
        return GS_OK;
    }
    GS_TRY(gs_placed_create(team, bytes, &s->own, err));
    memcpy(gs_placed_write(s->own), src, bytes);
    gs_placed_spread(s->own, team);
    return GS_OK;
}

void gs_panels_clear(gs_panels *s) {
    gs_placed_destroy(s->own);
    s->own = NULL;
}

size_t gs_panels_bytes(const gs_panels *s) { return s->own ? gs_placed_bytes(s->own) : 0; }

const char *gs_panels_read(const gs_panels *s, const gs_team *team, int worker) {
    return s->own ? gs_placed_read(s->own, gs_team_node(team, worker)) : s->borrowed;
}

gs_status gs_panels_acquire(const gs_panels *s, int64_t m, gs_panel_products *out, gs_error *err) {
    int64_t heights[2] = {m < s->rows ? 0 : s->rows, m % s->rows};
    int64_t widths[2] = {s->panel, s->n % s->panel};
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++) {
            if (heights[i] == 0 || widths[j] == 0) continue;
            gs_product_key key = packed_key(s, heights[i], widths[j]);
            GS_TRY(gs_product_acquire(&key, &out->at[i][j], err));
            size_t bytes = gs_product_scratch_bytes(out->at[i][j]);
            if (bytes > out->scratch_bytes) out->scratch_bytes = bytes;
        }
    }
    return GS_OK;
}

void gs_panels_release(gs_panel_products *products) {
    for (int i = 0; i < 4; i++) gs_product_release(products->at[i / 2][i % 2]);
}
