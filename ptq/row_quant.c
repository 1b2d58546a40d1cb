#include <ptq/row_quant.h>

#include <kernels/kernels.h>
#include <ptq/act_quant.h>
#include <ptq/compat_quant.h>

#include <math.h>

float gs_row_scale(gs_scale_convention convention, gs_dtype stored, float m) {
    if (convention == GS_SCALE_GOLDENSTICK) {
        float s = gs_round_scale(stored, (float)(((double)m + (double)m) / 255.0));
        return s > 0 ? s : 1.0f;
    }
    float s = gs_round_scale(stored, m / 127.0f);
    return s > 0x1p-23f ? s : 0x1p-23f;
}

static float row_scale(const gs_row_rule *rule, float m) {
    return gs_row_scale(rule->convention, rule->scale_dtype == GS_F16 ? GS_F16 : rule->compute, m);
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

/* Expected square error of the output with row scale s. */
static double output_error(const gs_kernels *k, int64_t n, const float *w, const float *importance, float s,
                           int8_t *q, float *back) {
    double sum = 0;
    k->quantize_s8(n, w, s, q);
    k->dequantize_s8(n, q, s, 0.0f, back);
    for (int64_t i = 0; i < n; i++) {
        double e = (double)w[i] - (double)back[i];
        sum += (double)importance[i] * e * e;
    }
    return sum;
}

static float best_scale(const gs_row_rule *rule, const gs_kernels *k, int64_t n, const float *w, float m,
                        int8_t *q, float *back) {
    enum { STEPS = 40, PER_UNIT = 200 };
    float best = row_scale(rule, m);
    double least = output_error(k, n, w, rule->importance, best, q, back);
    for (int i = 1; i <= STEPS && m > 0; i++) {
        float s = row_scale(rule, m * ((float)(PER_UNIT - i) / PER_UNIT));
        double error = output_error(k, n, w, rule->importance, s, q, back);
        if (error < least) {
            least = error;
            best = s;
        }
    }
    return best;
}

bool gs_row_quantize(const gs_row_rule *rule, int64_t n, const float *w, int8_t *q, float *scale,
                     float *scratch, gs_row_stats *stats) {
    const gs_kernels *k = gs_kernels_get();
    float m = k->absmax_f32(n, w);
    float s;
    if (!isfinite(m)) return false;
    if (rule->compat) {
        if (!gs_compat_row(rule->compat, rule->compute, n, w, q, &s)) return false;
    } else {
        s = rule->importance ? best_scale(rule, k, n, w, m, q, scratch) : row_scale(rule, m);
        if (!isfinite(s)) return false;
        k->quantize_s8(n, w, s, q);
    }
    gs_row_measure(n, w, q, s, scratch, stats);
    *scale = s;
    return true;
}

bool gs_row_quantize_groups(const gs_row_rule *rule, int64_t n, int64_t g, const float *w, int8_t *q, float *scale,
                            float *scratch, gs_row_stats *stats) {
    gs_row_stats row = {0};
    for (int64_t i = 0; i < n; i += g)
        if (!gs_row_quantize(rule, g, w + i, q + i, &scale[i / g], scratch, &row)) return false;
    row.zero_rows = row.zero_rows == row.rows;
    row.rows = 1;
    gs_row_stats_merge(stats, &row);
    return true;
}

void gs_row_measure(int64_t n, const float *w, const int8_t *q, float scale, float *scratch, gs_row_stats *stats) {
    const gs_kernels *k = gs_kernels_get();
    k->dequantize_s8(n, q, scale, 0.0f, scratch);
    measure(n, w, q, scale, scratch, stats);
    stats->zero_rows += k->absmax_f32(n, w) == 0;
    if (stats->rows == 0 || (double)scale < stats->scale_min) stats->scale_min = (double)scale;
    if (stats->rows == 0 || (double)scale > stats->scale_max) stats->scale_max = (double)scale;
    stats->rows++;
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
