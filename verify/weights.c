/* Codes and scales of a module, wherever its format puts them. */
#include <verify/subject.h>

#include <base/half.h>
#include <base/mem.h>

#include <string.h>

gs_codes gs_weight_codes(const gs_module *m) {
    return (gs_codes){m->weight.at ? m->weight.at->t : NULL, m->weight.layout, m->rows, m->cols};
}

/* The scales of blocks, a row's one after the other. */
static void read_blocks(const gs_module *m, float *out) {
    gs_codes c = gs_weight_codes(m);
    for (int64_t r = 0; r < m->rows; r++) {
        const uint8_t *block = c.t->data + gs_codes_stored_row(&c, r) * m->weight.groups * GS_Q8_0_BYTES;
        for (int64_t g = 0; g < m->weight.groups; g++, block += GS_Q8_0_BYTES) {
            uint16_t scale;
            memcpy(&scale, block, 2);
            *out++ = gs_f16_to_f32(scale);
        }
    }
}

static void derive(const gs_module *m, const float *deq, float input, float *out) {
    for (int64_t r = 0; r < m->rows; r++) out[r] = deq[r] / input;
}

static gs_status read_derived(const gs_module *m, float *out, gs_error *err) {
    float *deq = NULL, *input = NULL;
    gs_status status = gs_read_deq(m->weight.deq->t, &deq, err);
    if (status == GS_OK) status = gs_read_floats(m->weight.input->t, &input, err);
    if (status == GS_OK) derive(m, deq, input[0], out);
    gs_free(deq);
    gs_free(input);
    return status;
}

/* As [rows, groups]; one value stands for all. */
static gs_status read_spread(const gs_module *m, const gs_stored *t, float sign, float *out, gs_error *err) {
    float *v = NULL;
    int64_t n = gs_tensor_count(t->t), rows = m->rows, groups = m->weight.groups;
    gs_status status = gs_read_floats(t->t, &v, err);
    for (int64_t r = 0; r < rows && status == GS_OK; r++)
        for (int64_t g = 0; g < groups; g++)
            out[r * groups + g] = sign * v[n == 1 ? 0 : m->weight.turned ? g * rows + r : r * groups + g];
    gs_free(v);
    return status;
}

static bool all_zero(const float *v, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (v[i] != 0) return false;
    return true;
}

static gs_status read_offset(const gs_module *m, float **offset, gs_error *err) {
    int64_t n = m->rows * m->weight.groups;
    *offset = gs_alloc((size_t)n * sizeof **offset);
    if (!*offset) return gs_error_nomem(err, (size_t)n * sizeof **offset);
    GS_TRY(read_spread(m, m->weight.offset, m->weight.negated ? -1 : 1, *offset, err));
    if (!all_zero(*offset, n)) return GS_OK;
    gs_free(*offset);
    *offset = NULL;
    return GS_OK;
}

static gs_status read_scale(const gs_module *m, float *out, gs_error *err) {
    if (m->weight.scale) return read_spread(m, m->weight.scale, 1, out, err);
    if (m->weight.deq) return read_derived(m, out, err);
    read_blocks(m, out);
    return GS_OK;
}

gs_status gs_weight_scales(const gs_module *m, float **scale, float **offset, gs_error *err) {
    size_t n = (size_t)(m->rows * m->weight.groups);
    *offset = NULL;
    *scale = gs_alloc(n * sizeof **scale + 1);
    if (!*scale) return gs_error_nomem(err, n * sizeof **scale);
    gs_status status = read_scale(m, *scale, err);
    if (status == GS_OK && m->weight.offset) status = read_offset(m, offset, err);
    if (status == GS_OK) return GS_OK;
    gs_free(*scale);
    gs_free(*offset);
    *scale = *offset = NULL;
    return status;
}
