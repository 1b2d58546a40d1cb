/* --against fails closed: what stands for something of the source was compared with it, or is named here. */
#include <verify/subject.h>

#include <string.h>

/* Follows from the weights and the calibration; other checks hold it against the codes. */
static bool is_constant(const char *suffix) {
    static const char *const suffixes[] = {"weight_scale", "weight_offset", "input_scale", "input_offset", "input_zero_point",
                                           "deq_scale", "quant_bias", "kv_cache_scale", "kv_cache_offset", "weight_shape", "qzeros",
                                           "g_idx", "scales", "dequant_scale", "weight_zp", "input_zp"};
    for (size_t i = 0; i < GS_COUNTOF(suffixes); i++)
        if (strcmp(suffix, suffixes[i]) == 0) return true;
    return false;
}

static bool is_zero(const gs_tensor *t) {
    if (!gs_dtype_is_float(t->dtype)) return false;
    uint64_t size = (uint64_t)gs_dtype_block_bytes(t->dtype);
    for (uint64_t i = 0; i < t->bytes; i++) {
        bool sign = i % size == size - 1; /* of a negative zero */
        if (t->data[i] & (sign ? 0x7f : 0xff)) return false;
    }
    return true;
}

void gs_verify_coverage(gs_subject *s) {
    for (size_t i = 0; i < s->tensors; i++) {
        const gs_tensor *t = s->tensor[i].t;
        const char *dot = strrchr(t->name, '.'), *suffix = dot ? dot + 1 : t->name;
        if (is_constant(suffix)) continue;
        bool idle = strcmp(suffix, "bias") == 0 && is_zero(t); /* adds nothing, whether the source has it or not */
        gs_report_that(&s->report, GS_CHECK_AGAINST_COVERAGE, s->tensor[i].compared || idle, t->name,
                       "nothing of the source was compared with it");
    }
}
