#include <network/static_constants.h>

#include <math.h>
#include <string.h>

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

uint64_t gs_deq_scale_word(const gs_param *p, int64_t i) {
    const uint8_t *bytes = p->data ? p->data : p->source->data;
    size_t size = p->dtype == GS_I64 ? 8 : 4;
    uint64_t word = 0;
    memcpy(&word, bytes + size * (size_t)i, size); /* little-endian, as the file */
    return word;
}
