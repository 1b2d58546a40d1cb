#include <ptq/row_quant.h>

#include <base/half.h>
#include <kernels/kernels.h>

#include <math.h>

static float round_to(gs_dtype compute, float s) {
    if (compute == GS_BF16) return gs_bf16_to_f32(gs_f32_to_bf16(s));
    /* the last bit of an f16 subnormal is 2^-24 */
    if (compute == GS_F16 && s < 0x1p-14f) return ceilf(s * 0x1p24f) * 0x1p-24f;
    return s;
}

float gs_row_scale(gs_scale_convention convention, gs_dtype compute, float m) {
    if (convention == GS_SCALE_GOLDENSTICK) {
        float s = round_to(compute, (float)(((double)m + (double)m) / 255.0));
        return s > 0 ? s : 1.0f;
    }
    float s = round_to(compute, m / 127.0f);
    return s > 0x1p-23f ? s : 0x1p-23f;
}

/* Error statistics of a row, in element order so that they do not depend on anything else. */
static void measure(int64_t n, const float *w, const int8_t *q, float scale, const float *back,
                    gs_row_stats *stats) {
    double weight = 0, error = 0, worst = stats->max_error;
    float limit = 127.5f * scale;
    int64_t saturated = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = (double)w[i] - (double)back[i];
        weight += (double)w[i] * (double)w[i];
        error += e * e;
        worst = fabs(e) > worst ? fabs(e) : worst;
        saturated += fabsf(w[i]) > limit || q[i] == -128;
    }
    stats->weight_square += weight;
    stats->error_square += error;
    stats->max_error = worst;
    stats->saturated += saturated;
}

bool gs_row_quantize(gs_scale_convention convention, gs_dtype compute, int64_t n, const float *w,
                     int8_t *q, float *scale, float *scratch, gs_row_stats *stats) {
    const gs_kernels *k = gs_kernels_get();
    float m = k->absmax_f32(n, w);
    if (!isfinite(m)) return false;
    float s = gs_row_scale(convention, compute, m);
    k->quantize_s8(n, w, s, q);
    k->dequantize_s8(n, q, s, 0.0f, scratch);
    measure(n, w, q, s, scratch, stats);
    stats->zero_rows += m == 0;
    if (stats->rows == 0 || (double)s < stats->scale_min) stats->scale_min = (double)s;
    if (stats->rows == 0 || (double)s > stats->scale_max) stats->scale_max = (double)s;
    stats->rows++;
    *scale = s;
    return true;
}

void gs_row_stats_merge(gs_row_stats *into, const gs_row_stats *from) {
    if (from->rows == 0) return;
    if (into->rows == 0 || from->scale_min < into->scale_min) into->scale_min = from->scale_min;
    if (into->rows == 0 || from->scale_max > into->scale_max) into->scale_max = from->scale_max;
    if (from->max_error > into->max_error) into->max_error = from->max_error;
    into->weight_square += from->weight_square;
    into->error_square += from->error_square;
    into->saturated += from->saturated;
    into->zero_rows += from->zero_rows;
    into->rows += from->rows;
}
