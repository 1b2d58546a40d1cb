#include <network/ops/rope_table.h>

#include <base/mem.h>

#include <math.h>

enum { POSITION_GRAIN = 64 };

/* attr->rope.kind LLAMA3. */
static double scale_by_wavelength(const gs_attr *attr, double inverse) {
    const double pi = 3.14159265358979323846;
    double original = (double)attr->rope.original_positions, wavelength = 2 * pi / inverse;
    double low = attr->rope.low_freq_factor, high = attr->rope.high_freq_factor;
    if (wavelength > original / low) return inverse / attr->rope.factor;
    if (wavelength < original / high) return inverse;
    double t = (original / wavelength - low) / (high - low);
    return (1 - t) * inverse / attr->rope.factor + t * inverse;
}

static float inverse_frequency(const gs_attr *attr, int64_t j) {
    double exponent = -2.0 * (double)j / (double)attr->rope.head_dim;
    float inverse = (float)pow(attr->rope.theta, exponent);
    switch (attr->rope.kind) {
    case GS_ROPE_LINEAR: return (float)((double)inverse / attr->rope.factor);
    case GS_ROPE_LLAMA3: return (float)scale_by_wavelength(attr, (double)inverse);
    case GS_ROPE_PLAIN: break;
    }
    return inverse;
}

gs_status gs_rope_table_init(gs_rope_table *t, const gs_attr *attr, gs_error *err) {
    int64_t half = attr->rope.head_dim / 2;
    t->inverse = gs_calloc((size_t)half, sizeof *t->inverse);
    if (!t->inverse) return gs_error_nomem(err, (size_t)half * sizeof *t->inverse);
    t->half = half;
    for (int64_t j = 0; j < half; j++) t->inverse[j] = inverse_frequency(attr, j);
    return GS_OK;
}

static void fill_positions(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_rope_table *t = ctx;
    for (int64_t p = begin; p < end; p++) {
        for (int64_t j = 0; j < t->half; j++) {
            float angle = (float)p * t->inverse[j];
            t->cosine[p * t->half + j] = (float)cos((double)angle);
            t->sine[p * t->half + j] = (float)sin((double)angle);
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
