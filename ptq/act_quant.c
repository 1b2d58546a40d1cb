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
