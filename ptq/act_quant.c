#include <ptq/act_quant.h>

#include <base/half.h>

#include <math.h>

/* The least scales; consumers multiply by T(1 / s), which in f16 is infinite up to 2^-16. */
static const float LEAST = 0x1p-23f, LEAST_F16 = 0x1.01p-16f;

float gs_round_scale(gs_dtype compute, float s) {
    /* the last bit of an f16 subnormal is 2^-24 */
    if (compute == GS_F16 && s < 0x1p-14f) return ceilf(s * 0x1p24f) * 0x1p-24f;
    return gs_round_to(compute, s);
}

gs_act_params gs_act_params_from_range(float min, float max, bool symmetric, gs_dtype compute) {
    float lo = min < 0 ? min : 0.0f, hi = max > 0 ? max : 0.0f;
    gs_act_params p = {0};
    float s = symmetric ? (-lo > hi ? -lo : hi) / 127.0f : hi / 255.0f - lo / 255.0f;
    float least = compute == GS_F16 ? LEAST_F16 : LEAST;
    s = gs_round_scale(compute, s);
    p.scale = s > least ? s : least;
    if (symmetric) return p;
    float o = rintf(-lo / p.scale) - 128.0f;
    p.offset = o < -128.0f ? -128.0f : o > 127.0f ? 127.0f : o;
    return p;
}

gs_status gs_static_constants(gs_act_params act, float weight_scale, float bias, int64_t k, const int8_t *q,
                              const char *name, int64_t row, float *deq_scale,
                              int32_t *quant_bias, gs_error *err) {
    int64_t sum = 0, most = 0;
    float deq = act.scale * weight_scale;
    if (!(deq > 0) || !isfinite(deq))
        return GS_FAIL(err, GS_E_NUMERIC, "'%s' row %lld: input scale %g times weight scale %g is %g", name,
                       (long long)row, (double)act.scale, (double)weight_scale, (double)deq);
    for (int64_t i = 0; i < k; i++) {
        sum += q[i];
        most += q[i] < 0 ? -q[i] : q[i];
    }
    double b = rint((double)(bias / deq));
    if (!(fabs(b) < 0x1p31))
        return GS_FAIL(err, GS_E_NUMERIC, "'%s' row %lld: a bias of %g is %g steps of %g, beyond 32 bits", name,
                       (long long)row, (double)bias, b, (double)deq);
    int64_t correction = (int64_t)b - (int64_t)act.offset * sum;
    if ((correction < 0 ? -correction : correction) + 128 * most > INT32_MAX)
        return GS_FAIL(err, GS_E_NUMERIC, "'%s' row %lld can overflow its 32-bit accumulator (quant_bias %lld)",
                       name, (long long)row, (long long)correction);
    *deq_scale = deq;
    *quant_bias = (int32_t)correction;
    return GS_OK;
}
