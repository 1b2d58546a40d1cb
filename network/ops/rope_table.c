#include <network/ops/rope_table.h>

#include <base/mem.h>

#include <math.h>

enum { POSITION_GRAIN = 64 };

gs_status gs_rope_table_init(gs_rope_table *t, const gs_attr *attr, gs_error *err) {
    int64_t half = gs_rope_dim(attr) / 2;
    t->inverse = gs_calloc((size_t)half, sizeof *t->inverse);
    if (!t->inverse) return gs_error_nomem(err, (size_t)half * sizeof *t->inverse);
    t->half = half;
    t->amplitude = gs_rope_amplitude(attr);
    for (int64_t j = 0; j < half; j++) t->inverse[j] = gs_rope_inverse_frequency(attr, j);
    return GS_OK;
}

static void fill_positions(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_rope_table *t = ctx;
    for (int64_t p = begin; p < end; p++) {
        for (int64_t j = 0; j < t->half; j++) {
            float angle = (float)p * t->inverse[j];
            t->cosine[p * t->half + j] = (float)cos((double)angle) * t->amplitude;
            t->sine[p * t->half + j] = (float)sin((double)angle) * t->amplitude;
        }
    }
}

gs_status gs_rope_table_grow(gs_rope_table *t, gs_team *team, int64_t positions, gs_error *err) {
    size_t count, bytes;
    if (positions <= t->positions) return GS_OK;
    if (!gs_mul_size((size_t)positions, (size_t)t->half, &count) ||
        !gs_mul_size(count, sizeof(float), &bytes))
        return gs_error_nomem(err, SIZE_MAX);
    float *cosine = gs_alloc(bytes), *sine = gs_alloc(bytes);
    if (!cosine || !sine) {
        gs_free(cosine);
        gs_free(sine);
        return gs_error_nomem(err, bytes);
    }
    gs_free(t->cosine);
    gs_free(t->sine);
    t->cosine = cosine;
    t->sine = sine;
    t->positions = positions;
    gs_team_for(team, positions, POSITION_GRAIN, fill_positions, t);
    return GS_OK;
}

void gs_rope_table_clear(gs_rope_table *t) {
    gs_free(t->inverse);
    gs_free(t->cosine);
    gs_free(t->sine);
    *t = (gs_rope_table){0};
}
