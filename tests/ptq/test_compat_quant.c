/* The arithmetic of compat_quant.h: Golden Stick's quantizer against every case it was run on, and the words of the header. */
#include "../support.h"

#include <base/half.h>
#include <loaders/safetensors.h>
#include <math.h>
#include <ptq/compat_quant.h>

/* ---- Golden Stick's own outputs ---- */

/* "rand.bf16.w4_pg4_asym": what is quantized how. */
typedef struct stick_case {
    char weight[160], name[160];
    gs_dtype r;
    gs_stick_levels levels;
    int64_t group;           /* 0: none */
    bool per_tensor, turned; /* turned: a channel is a column */
} stick_case;

typedef struct tally {
    int cases;
    int64_t units, degenerate; /* scales compared; those of rules 4, 5 and 7 */
    int64_t codes;
} tally;

static bool parse(const char *q, stick_case *c) {
    const char *dot = strrchr(q, '.'), *config;
    if (!dot || strcmp(dot, ".q") != 0) return false;
    *c = (stick_case){.levels = {-128, 127, strstr(q, "_sym") != NULL}};
    snprintf(c->name, sizeof c->name, "%.*s", (int)(dot - q), q);
    config = strrchr(c->name, '.') + 1;
    snprintf(c->weight, sizeof c->weight, "%.*s", (int)(config - 1 - c->name), c->name);
    c->r = strstr(c->weight, ".bf16") ? GS_BF16 : strstr(c->weight, ".f16") ? GS_F16 : GS_F32;
    if (config[1] == '4') c->levels.low = -8, c->levels.high = 7;
    if (strstr(config, "narrow")) c->levels.low++;
    c->per_tensor = strstr(config, "_pt_") != NULL;
    c->turned = strstr(config, "_nt") != NULL;
    const char *group = strstr(config, "_pg");
    if (group) c->group = atoi(group + 3);
    return true;
}

static const gs_tensor *part(const gs_safetensors *st, const stick_case *c, const char *ending) {
    char name[200];
    snprintf(name, sizeof name, "%s.%s", c->name, ending);
    return gs_safetensors_find(st, name);
}

/* Which scale serves an element, in the order they are stored in. Groups of a weight stored [in, out] are not runs of inputs:
 * theirs take every (in / group)-th one. */
static int64_t unit_of(const stick_case *c, int64_t rows, int64_t cols, int64_t i, int64_t j) {
    if (c->per_tensor) return 0;
    if (c->turned) return c->group ? i % (rows / c->group) * cols + j : j;
    return c->group ? j / c->group * rows + i : i;
}

static double wide(const gs_tensor *t, int64_t i) {
    gs_error err = {0};
    float x[4096];
    if (t->dtype == GS_F64) return ((const double *)(const void *)t->data)[i];
    if (t->dtype == GS_I32) return ((const int32_t *)(const void *)t->data)[i];
    int64_t rows, cols;
    gs_tensor_matrix(t, &rows, &cols);
    assert_true(cols <= 4096);
    assert_ok(gs_tensor_read_f32(t, i / cols, 1, x, &err), &err);
    return (double)x[i % cols];
}

typedef struct unit {
    float min, max;
    double scale, zero;
    float stored;
    bool skip; /* rules 4, 5 and 7 */
} unit;

static void find_units(const stick_case *c, const float *w, int64_t rows, int64_t cols, unit *u, int64_t n) {
    for (int64_t i = 0; i < n; i++) u[i] = (unit){.min = INFINITY, .max = -INFINITY};
    for (int64_t i = 0; i < rows * cols; i++) {
        unit *at = &u[unit_of(c, rows, cols, i / cols, i % cols)];
        at->min = fminf(at->min, w[i]);
        at->max = fmaxf(at->max, w[i]);
    }
}

/* A scale of theirs that we make otherwise, or that has no codes. */
static bool is_degenerate(const unit *u, bool all_constant) {
    return all_constant || u->scale == 0 || u->stored == 0 || !isfinite(u->stored);
}

static void check_units(const gs_safetensors *st, const stick_case *c, unit *u, int64_t n, tally *t) {
    const gs_tensor *scale = part(st, c, "scale"), *exact = part(st, c, "scale_f64"), *zero = part(st, c, "offset");
    bool all_constant = true;
    for (int64_t i = 0; i < n; i++) all_constant &= u[i].min == u[i].max;
    assert_int_equal(gs_tensor_count(scale), n);
    for (int64_t i = 0; i < n; i++) {
        gs_stick_scale(c->levels, u[i].min, u[i].max, &u[i].scale, &u[i].zero);
        u[i].stored = gs_stick_round(c->r, u[i].scale);
        u[i].skip = is_degenerate(&u[i], all_constant);
        t->units++;
        t->degenerate += u[i].skip;
        if (u[i].skip) continue;
        if (exact && wide(exact, i) != u[i].scale) fail_msg("%s: scale %d is %.17g in double", c->name, (int)i, wide(exact, i));
        if (wide(scale, i) != (double)u[i].stored) fail_msg("%s: scale %d is %.9g", c->name, (int)i, wide(scale, i));
        if (zero && wide(zero, i) != u[i].zero) fail_msg("%s: offset %d is %g", c->name, (int)i, wide(zero, i));
    }
}

static void check_case(const gs_safetensors *st, const stick_case *c, const gs_tensor *weight, tally *t) {
    gs_error err = {0};
    int64_t rows, cols;
    gs_tensor_matrix(weight, &rows, &cols);
    float *w = malloc((size_t)(rows * cols) * sizeof *w);
    unit *u = calloc((size_t)(rows * cols), sizeof *u);
    assert_true(w && u);
    assert_ok(gs_tensor_read_f32(weight, 0, rows, w, &err), &err);
    for (int64_t i = 0; i < rows * cols; i++) w[i] = gs_round_to(c->r, w[i]);
    int64_t n = unit_of(c, rows, cols, rows - 1, cols - 1) + 1; /* the last element has the last scale */
    const int8_t *q = (const int8_t *)part(st, c, "q")->data;
    find_units(c, w, rows, cols, u, n);
    check_units(st, c, u, n, t);
    for (int64_t i = 0; i < rows * cols; i++) {
        const unit *at = &u[unit_of(c, rows, cols, i / cols, i % cols)];
        if (at->skip) continue;
        int code = gs_stick_code(c->levels, c->r, w[i], at->stored, at->zero);
        if (code != q[i]) fail_msg("%s: code %d is %d, not %d", c->name, (int)i, q[i], code);
        t->codes++;
    }
    /* the row of a bundle is the same thing */
    bool plain = c->levels.symmetric && c->levels.low == -128 && !c->turned && !c->per_tensor && !c->group;
    for (int64_t i = 0; i < rows && plain; i++) {
        int8_t codes[4096];
        float scale;
        if (u[i].skip) continue;
        assert_true(gs_compat_row(GS_COMPAT_GOLDENSTICK, c->r, cols, w + i * cols, codes, &scale));
        assert_true(scale == u[i].stored);
        assert_memory_equal(codes, q + i * cols, (size_t)cols);
    }
    t->cases++;
    free(w);
    free(u);
}

/* "stories260K_l0_mlp_down_proj.f16": the weights are the model's own, not repeated there. */
static const gs_tensor *weight_of(const gs_safetensors *st, const gs_safetensors *model, const stick_case *c) {
    char name[200];
    if (strncmp(c->weight, "stories260K_l0_", 15) != 0) {
        snprintf(name, sizeof name, "%s.w", c->weight);
        return gs_safetensors_find(st, name);
    }
    snprintf(name, sizeof name, "model.layers.0.%.*s.weight", (int)strcspn(c->weight + 15, "."), c->weight + 15);
    *(strstr(name, "mlp_") ? strstr(name, "mlp_") + 3 : strstr(name, "attn_") + 4) = '.';
    return gs_safetensors_find(model, name);
}

static void golden_sticks_480_cases_come_out_bit_by_bit(void **state) {
    (void)state;
    static const char *const files[] = {"reference/goldenstick/rtn/rtn_synthetic.safetensors",
                                        "reference/goldenstick/rtn/rtn_stories260K_layer0.safetensors"};
    gs_need_data(model_path, "data/lm/stories260K-hf-llama/model.safetensors");
    gs_need_data(first, files[0]);
    (void)first;
    gs_error err = {0};
    gs_safetensors *model, *st;
    tally t = {0};
    assert_ok(gs_safetensors_open(model_path, &model, &err), &err);
    for (size_t f = 0; f < GS_COUNTOF(files); f++) {
        assert_ok(gs_safetensors_open(gs_test_data(files[f]), &st, &err), &err);
        for (size_t i = 0; i < gs_safetensors_count(st); i++) {
            stick_case c;
            if (!parse(gs_safetensors_at(st, i)->name, &c)) continue;
            const gs_tensor *w = weight_of(st, model, &c);
            if (!w) fail_msg("%s has no weight", c.name);
            check_case(st, &c, w, &t);
        }
        gs_safetensors_close(st);
    }
    gs_safetensors_close(model);
    print_message("%d cases, %lld scales of which %lld degenerate, %lld codes\n", t.cases, (long long)t.units,
                  (long long)t.degenerate, (long long)t.codes);
    assert_int_equal(t.cases, 480);
    assert_true(t.degenerate * 10 < t.units);
}

/* ---- the words of the header ---- */

static void a_row_of_msmodelslim_is_rounded_at_each_step(void **state) {
    (void)state;
    static const gs_dtype dtypes[] = {GS_F32, GS_F16, GS_BF16};
    enum { N = 301 };
    uint64_t seed = 5;
    int different = 0, lowest = 0;
    for (int round = 0; round < 300; round++) {
        gs_dtype r = dtypes[round % 3];
        float w[N], m = 0, s0, s1, size = 1 + gs_test_randf(&seed) / 2;
        int8_t v0[N], v1[N];
        for (int i = 0; i < N; i++) {
            w[i] = gs_round_to(r, size * gs_test_randf(&seed));
            m = fmaxf(m, fabsf(w[i]));
        }
        assert_true(gs_compat_row(GS_COMPAT_MSMODELSLIM_V0, r, N, w, v0, &s0));
        assert_true(gs_compat_row(GS_COMPAT_MSMODELSLIM_V1, r, N, w, v1, &s1));
        assert_true(s0 == s1 && s0 == gs_round_to(r, m / 127.0f));
        for (int i = 0; i < N; i++) {
            float q = rintf(gs_round_to(r, w[i] / s0));
            different += rintf(w[i] / s0) != q;
            lowest += v1[i] == -128;
            assert_true((float)v1[i] == fminf(127, q) && v0[i] == (v1[i] == -128 ? -127 : v1[i]));
        }
    }
    assert_true(different > 100 && lowest > 0); /* or nothing was tried */
}

static void a_row_without_values_has_a_usable_scale(void **state) {
    (void)state;
    const float zero[4] = {0}, bad[4] = {1, NAN, 0, 0}, large[4] = {3e38f, 0, 0, 0};
    int8_t q[4] = {9, 9, 9, 9};
    float s;
    for (int tool = GS_COMPAT_MSMODELSLIM_V1; tool <= GS_COMPAT_GOLDENSTICK; tool++) {
        assert_true(gs_compat_row((gs_compat)tool, GS_F16, 4, zero, q, &s));
        assert_true(s == (tool == GS_COMPAT_GOLDENSTICK ? 1.0f : 0x1p-23f));
        for (int i = 0; i < 4; i++) assert_int_equal(q[i], 0);
        assert_false(gs_compat_row((gs_compat)tool, GS_F32, 4, bad, q, &s));
        assert_false(gs_compat_row((gs_compat)tool, GS_F16, 4, large, q, &s));
    }
}

static void a_bias_beyond_32_bits_is_refused(void **state) {
    (void)state;
    gs_error err = {0};
    const int8_t q[2] = {100, -3};
    float deq;
    int32_t bias;
    gs_act_params act = {0.001f, -5};
    assert_ok(gs_compat_constants(GS_COMPAT_MSMODELSLIM_V1, GS_F32, act, 0.01f, 0.25f, 2, q, "w", 0, &deq, &bias, &err), &err);
    assert_true(deq == 0.001f * 0.01f);
    assert_int_equal(bias, (int)rintf(0.25f / deq) + 5 * 97);
    /* R(bias / deq) is beyond f16: theirs is -2147483648 */
    assert_fails(gs_compat_constants(GS_COMPAT_MSMODELSLIM_V1, GS_F16, act, 0.01f, 1.0f, 2, q, "w", 0, &deq, &bias, &err),
                 GS_E_NUMERIC, &err);
}

static void smoothing_takes_the_tools_order(void **state) {
    (void)state;
    static const gs_dtype dtypes[] = {GS_F32, GS_F16, GS_BF16};
    uint64_t seed = 9;
    for (int round = 0; round < 900; round++) {
        gs_dtype r = dtypes[round % 3];
        gs_compat tool = (gs_compat)(GS_COMPAT_MSMODELSLIM_V1 + round / 3 % 3);
        float w = gs_test_randf(&seed), column = 1 + gs_test_randf(&seed) / 2, s = 1.5f + gs_test_randf(&seed), got = w, want;
        float column_r = gs_round_to(r, column), factor = gs_round_to(r, 1 / s), x = gs_round_to(r, w);
        bool divides = tool == GS_COMPAT_MSMODELSLIM_V0;
        gs_compat_smooth_row(tool, r, 1, &column, 1 / s, divides ? s : 0, &got);
        if (tool == GS_COMPAT_MSMODELSLIM_V1) want = gs_round_to(r, gs_round_to(r, x * factor) * column_r);
        else if (divides) want = gs_round_to(r, gs_round_to(r, x * column_r) / gs_round_to(r, s));
        else want = gs_round_to(r, gs_round_to(r, x * column_r) * factor);
        assert_true(got == want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_sticks_480_cases_come_out_bit_by_bit),
        cmocka_unit_test(a_row_of_msmodelslim_is_rounded_at_each_step),
        cmocka_unit_test(a_row_without_values_has_a_usable_scale),
        cmocka_unit_test(a_bias_beyond_32_bits_is_refused),
        cmocka_unit_test(smoothing_takes_the_tools_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
