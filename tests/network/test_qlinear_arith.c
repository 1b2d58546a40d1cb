/* Every scheme in every arithmetic, from every layout of codes, against sums in double precision; and what a quantized
 * linear refuses. Bit for bit comparisons of the consumers' arithmetic are in test_qlinear_int8.c. */
#include "nets.h"

#include <base/half.h>
#include <math.h>
#include <tests/codes.h>

enum { OUT = 26, IN = 96, ROWS = 19, MOST_GROUPS = 6 };

/* Which constants a static linear stores. */
typedef enum stored { SCALES = 1, CONSTANTS = 2, BOTH = 3 } stored;

typedef struct linear {
    gs_scheme scheme;
    gs_arith arith;
    gs_dtype compute;
    gs_code_layout layout;
    stored stored;
    bool decode, deq19, wide, biased;
    int groups;
    int8_t q[OUT * IN];
    float scale[OUT * MOST_GROUPS], offset[OUT * MOST_GROUPS], bias[OUT], deq[OUT], input_scale, input_offset;
    int32_t quant_bias[OUT];
    float x[ROWS * IN];
    uint8_t bytes[OUT * IN * 2];
    gs_tensor view; /* of bytes, where the layout is not plain */
} linear;

static gs_scheme effective(const linear *l) {
    if (l->scheme != GS_SCHEME_W8A8_MIX) return l->scheme;
    return l->decode ? GS_SCHEME_W8A8 : GS_SCHEME_W8A8_DYNAMIC;
}

static bool is_float(gs_scheme s) { return s == GS_SCHEME_W8A16 || s == GS_SCHEME_W4A16; }

/* Offsets of weights where the arithmetic has a term for them. */
static bool has_offset(const linear *l) {
    return l->stored != CONSTANTS && (is_float(l->scheme) || l->arith == GS_ARITH_WEIGHTS);
}

static void draw(linear *l, uint64_t seed) {
    bool small = gs_test_is_int4(l->layout) || l->scheme == GS_SCHEME_W4A16;
    memset(l->bytes, 0, sizeof l->bytes);
    for (int i = 0; i < OUT * IN; i++) {
        int code = (int)(gs_test_rand(&seed) & 0xff) - 128;
        l->q[i] = (int8_t)(small ? (code & 15) - 8 : code);
        gs_test_put_code(l->layout, OUT, IN, l->bytes, i / IN, i % IN, l->q[i]);
    }
    for (int i = 0; i < OUT * MOST_GROUPS; i++) {
        l->scale[i] = 0.01f + 0.009f * gs_test_randf(&seed);
        l->offset[i] = rintf(9 * gs_test_randf(&seed));
    }
    l->input_scale = 0.0313f + 0.001f * gs_test_randf(&seed);
    l->input_offset = rintf(60 * gs_test_randf(&seed));
    for (int o = 0; o < OUT; o++) {
        int sum = 0;
        for (int k = 0; k < IN; k++) sum += l->q[o * IN + k];
        l->bias[o] = l->biased ? 3 * gs_test_randf(&seed) : 0;
        l->deq[o] = l->input_scale * l->scale[o];
        l->quant_bias[o] = (int32_t)(rintf(l->bias[o] / l->deq[o]) - l->input_offset * (float)sum);
    }
    for (int i = 0; i < ROWS * IN; i++) l->x[i] = 4 * gs_test_randf(&seed);
    l->x[7] = 100;
}

/* ---- the model ---- */

static double held(const linear *l, float x) {
    return l->arith == GS_ARITH_CONSUMER ? (double)gs_round_to(l->compute, x) : (double)x;
}

static float clamped(float v) { return v < -128 ? -128 : v > 127 ? 127 : v; }

static double deq_of(const linear *l, int o) {
    uint32_t bits = gs_f32_bits(l->deq[o]);
    if (l->deq19 && l->wide && l->arith == GS_ARITH_CONSUMER) bits &= ~0x1fffu;
    return (double)gs_f32_from_bits(bits);
}

static double float_output(const linear *l, const float *x, int o) {
    double y = l->stored == CONSTANTS ? (double)l->quant_bias[o] * deq_of(l, o) : held(l, l->bias[o]);
    bool folded = l->stored == CONSTANTS;
    if (folded && l->biased) y = held(l, l->bias[o]); /* stored beside the constants */
    for (int k = 0; k < IN; k++) {
        int at = o * l->groups + k / (IN / l->groups);
        double s = folded ? deq_of(l, o) / held(l, l->input_scale) : held(l, l->scale[at]);
        double z = has_offset(l) ? held(l, l->offset[at]) : 0;
        y += (double)x[k] * (l->q[o * IN + k] - z) * s;
        if (folded && !l->biased) y += (double)l->input_offset * l->q[o * IN + k] * deq_of(l, o);
    }
    return y;
}

static double static_output(const linear *l, const float *x, int o) {
    bool consumer = l->arith == GS_ARITH_CONSUMER, derived = consumer && l->stored == SCALES;
    float s = (float)held(l, l->input_scale), r = gs_round_to(l->compute, 1.0f / s);
    double acc = 0, sum = 0, corrected = 0;
    for (int k = 0; k < IN; k++) {
        float code = consumer ? clamped(rintf(x[k] * r + l->input_offset)) : clamped(rintf(x[k] / s) + l->input_offset);
        acc += (double)code * l->q[o * IN + k];
        corrected += ((double)code - (double)l->input_offset) * l->q[o * IN + k];
        sum += l->q[o * IN + k];
    }
    float deq = s * (float)held(l, l->scale[o]);
    if (derived) return (acc + rint((double)((float)held(l, l->bias[o]) / deq)) - (double)l->input_offset * sum) * (double)deq;
    if (consumer || l->stored == CONSTANTS) return (acc + l->quant_bias[o]) * deq_of(l, o);
    return corrected * (double)l->input_scale * (double)l->scale[o] + (double)l->bias[o];
}

static double dynamic_output(const linear *l, const float *x, int o) {
    float most = 0;
    double acc = 0;
    for (int k = 0; k < IN; k++) most = fabsf(x[k]) > most ? fabsf(x[k]) : most;
    for (int k = 0; k < IN; k++) acc += (double)clamped(rintf(x[k] / (most / 127.0f))) * l->q[o * IN + k];
    return acc * held(l, l->scale[o]) * (double)(most / 127.0f) + held(l, l->bias[o]);
}

static void model(const linear *l, float *y) {
    gs_scheme scheme = effective(l);
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUT; o++) {
            const float *x = l->x + r * IN;
            double v = is_float(scheme) || l->arith == GS_ARITH_WEIGHTS ? float_output(l, x, o)
                       : scheme == GS_SCHEME_W8A8                      ? static_output(l, x, o)
                                                                        : dynamic_output(l, x, o);
            y[r * OUT + o] = (float)v;
        }
}

/* ---- the net ---- */

static void put(gs_net *net, gs_node *node, gs_role role, gs_dtype dtype, int ndim, int64_t a, int64_t b, const void *data) {
    gs_error err = {0};
    const int64_t shape[2] = {a, b};
    assert_ok(gs_net_param_new(net, node, role, gs_role_name(role), dtype, ndim, shape, data, &err), &err);
}

static void put_weight(gs_net *net, gs_node *node, linear *l) {
    gs_error err = {0};
    if (l->layout == GS_CODES_PLAIN) {
        put(net, node, GS_ROLE_WEIGHT, GS_I8, 2, OUT, IN, l->q);
        return;
    }
    l->view = (gs_tensor){.name = "w", .dtype = GS_I8, .ndim = 2, .shape = {OUT, IN}, .data = l->bytes, .codes = l->layout};
    assert_true(gs_tensor_codes_bytes(l->layout, OUT, IN, &l->view.bytes));
    assert_ok(gs_net_param_view(net, node, GS_ROLE_WEIGHT, &l->view, &err), &err);
}

static void put_static(gs_net *net, gs_node *node, const linear *l) {
    int64_t wide[OUT];
    for (int o = 0; o < OUT; o++) wide[o] = gs_f32_bits(l->deq[o]);
    put(net, node, GS_ROLE_INPUT_SCALE, GS_F32, 1, 1, 0, &l->input_scale);
    put(net, node, GS_ROLE_INPUT_OFFSET, GS_F32, 1, 1, 0, &l->input_offset);
    if (!(l->stored & CONSTANTS)) return;
    put(net, node, GS_ROLE_QUANT_BIAS, GS_I32, 1, OUT, 0, l->quant_bias);
    put(net, node, GS_ROLE_DEQ_SCALE, l->wide ? GS_I64 : GS_F32, 1, OUT, 0, l->wide ? (const void *)wide : l->deq);
}

static gs_net *make_net(linear *l) {
    gs_net *net = gs_new_net("q");
    gs_attr attr = {.quant = {.scheme = l->scheme, .compute = l->compute, .arith = l->arith, .deq19 = l->deq19,
                              .decode = l->decode}};
    gs_node *node = gs_new_node(net, GS_OP_QLINEAR, "l", &attr, gs_new_input(net, "x", IN, 0, 0), NULL, NULL);
    put_weight(net, node, l);
    if (l->stored & SCALES) put(net, node, GS_ROLE_WEIGHT_SCALE, GS_F32, 2, OUT, l->groups, l->scale);
    if (has_offset(l)) put(net, node, GS_ROLE_WEIGHT_OFFSET, GS_F32, 2, OUT, l->groups, l->offset);
    if (l->biased) put(net, node, GS_ROLE_BIAS, GS_F32, 1, OUT, 0, l->bias);
    if (gs_scheme_is_static(l->scheme)) put_static(net, node, l);
    gs_finish_net(net, node->output);
    return net;
}

static void run(linear *l, int threads, float *y) {
    gs_error err = {0};
    gs_batch batch = {.rows = ROWS};
    const float *in = l->x;
    gs_net *net = make_net(l);
    assert_ok(gs_try_net(net, GS_GEMM_F32, threads, &batch, &in, &y, &err), &err);
    gs_net_destroy(net);
}

static void assert_is_model(linear *l, uint64_t seed) {
    float y[ROWS * OUT], want[ROWS * OUT];
    draw(l, seed);
    model(l, want);
    run(l, 1, y);
    bool rounds = l->arith == GS_ARITH_CONSUMER && !is_float(effective(l));
    gs_assert_close(ROWS * OUT, y, want, !rounds || l->compute == GS_F32 ? 2e-6 : l->compute == GS_F16 ? 0x1p-11 : 0x1p-8);
    for (int i = 0; i < ROWS * OUT && rounds; i++) /* results are values of the type */
        assert_true(gs_f32_bits(y[i]) == gs_f32_bits(gs_round_to(l->compute, y[i])));
}

static const gs_dtype types[] = {GS_F32, GS_F16, GS_BF16};
static const gs_code_layout layouts[] = {GS_CODES_PLAIN,        GS_CODES_BIASED,    GS_CODES_GPTQ8,
                                         GS_CODES_INT4_COLUMNS, GS_CODES_INT4_ROWS, GS_CODES_Q8_0};

static void linears_of_float_activations_are_the_model(void **state) {
    (void)state;
    static linear l;
    static const int groups[] = {1, 2, 3, 6};
    for (int c = 0; c < 2 * 3 * 3 * 6 * 4; c++) {
        l = (linear){.scheme = c % 2 ? GS_SCHEME_W4A16 : GS_SCHEME_W8A16, .arith = (gs_arith)(c / 2 % 3),
                     .compute = types[c / 6 % 3], .layout = layouts[c / 18 % 6], .groups = groups[c / 108],
                     .stored = SCALES, .biased = c % 5 == 0};
        assert_is_model(&l, (uint64_t)c);
    }
}

static void linears_of_static_activations_are_the_model(void **state) {
    (void)state;
    static linear l;
    for (int c = 0; c < 3 * 3 * 3 * 6 * 4; c++) {
        l = (linear){.scheme = GS_SCHEME_W8A8, .arith = (gs_arith)(c % 3), .compute = types[c / 3 % 3],
                     .stored = (stored)(c / 9 % 3 + 1), .layout = layouts[c / 27 % 6], .groups = 1,
                     .biased = c / 162 % 2, .wide = c / 324};
        assert_is_model(&l, (uint64_t)c);
    }
}

static void linears_of_dynamic_activations_are_the_model(void **state) {
    (void)state;
    static linear l;
    for (int c = 0; c < 3 * 3 * 6 * 2; c++) {
        l = (linear){.scheme = GS_SCHEME_W8A8_DYNAMIC, .arith = (gs_arith)(c % 3), .compute = types[c / 3 % 3],
                     .layout = layouts[c / 9 % 6], .groups = 1, .stored = SCALES, .biased = c / 54};
        assert_is_model(&l, (uint64_t)c);
    }
}

static void a_mixed_linear_is_dynamic_or_static(void **state) {
    (void)state;
    static linear l;
    for (int c = 0; c < 3 * 3 * 2 * 2 * 2; c++) {
        float y[ROWS * OUT], twin[ROWS * OUT];
        l = (linear){.scheme = GS_SCHEME_W8A8_MIX, .arith = (gs_arith)(c % 3), .compute = types[c / 3 % 3], .groups = 1,
                     .decode = c / 9 % 2, .stored = c / 18 % 2 ? BOTH : SCALES, .biased = c / 36};
        assert_is_model(&l, (uint64_t)c);
        run(&l, 1, y);
        l.scheme = effective(&l);
        run(&l, 1, twin);
        assert_memory_equal(y, twin, sizeof y);
    }
}

static void deq19_clears_the_low_bits_of_wide_scales_alone(void **state) {
    (void)state;
    static linear l;
    float y[ROWS * OUT], want[ROWS * OUT];
    for (int wide = 0; wide < 2; wide++)
        for (int arith = 0; arith < 3; arith++) {
            l = (linear){.scheme = GS_SCHEME_W8A8, .arith = (gs_arith)arith, .compute = GS_F16, .groups = 1,
                         .stored = CONSTANTS, .wide = wide, .deq19 = true};
            assert_is_model(&l, 5);
            run(&l, 1, y);
            l.deq19 = false;
            if (wide && arith == GS_ARITH_CONSUMER)
                for (int o = 0; o < OUT; o++) l.deq[o] = gs_f32_from_bits(gs_f32_bits(l.deq[o]) & ~0x1fffu);
            run(&l, 1, want);
            assert_memory_equal(y, want, sizeof y);
        }
}

static void results_do_not_depend_on_threads(void **state) {
    (void)state;
    static linear l;
    for (int scheme = GS_SCHEME_W8A16; scheme < GS_SCHEME_COUNT; scheme++)
        for (int arith = 0; arith < 3; arith++) {
            float one[ROWS * OUT], four[ROWS * OUT];
            l = (linear){.scheme = (gs_scheme)scheme, .arith = (gs_arith)arith, .compute = GS_BF16, .groups = 1,
                         .stored = SCALES, .layout = GS_CODES_INT4_ROWS, .decode = true, .biased = true};
            draw(&l, 3);
            run(&l, 1, one);
            run(&l, 4, four);
            assert_memory_equal(one, four, sizeof one);
        }
}

/* ---- refusals ---- */

static gs_status try_prepare(gs_net *net, gs_error *err) {
    gs_exec *ex;
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, err), err);
    gs_status status = gs_exec_prepare(ex, net, err);
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
    return status;
}

static void assert_refused(gs_net *net, gs_status status, const char *words) {
    gs_error err = {0};
    assert_fails(try_prepare(net, &err), status, &err);
    if (!strstr(err.text, words)) fail_msg("'%s' lacks '%s'", err.text, words);
    gs_net_destroy(net);
}

static void integer_products_refuse_an_offset_of_weights(void **state) {
    (void)state;
    static linear l;
    static const gs_scheme schemes[] = {GS_SCHEME_W8A8, GS_SCHEME_W8A8_DYNAMIC, GS_SCHEME_W8A8_MIX};
    for (int c = 0; c < 3 * 3; c++) {
        gs_error err = {0};
        float zero[OUT] = {0};
        l = (linear){.scheme = schemes[c % 3], .arith = (gs_arith)(c / 3), .compute = GS_F16, .groups = 1, .stored = BOTH};
        draw(&l, 1);
        gs_net *net = make_net(&l);
        put(net, gs_net_find(net, "l"), GS_ROLE_WEIGHT_OFFSET, GS_F32, 1, OUT, 0, zero);
        assert_ok(try_prepare(net, &err), &err);
        zero[20] = -1;
        put(net, gs_net_find(net, "l"), GS_ROLE_WEIGHT_OFFSET, GS_F32, 1, OUT, 0, zero);
        if (c / 3 != GS_ARITH_WEIGHTS) {
            assert_refused(net, GS_E_UNSUPPORTED, "weight_offset of -1 (row 20)");
            continue;
        }
        assert_ok(try_prepare(net, &err), &err);
        gs_net_destroy(net);
    }
}

static void four_bit_codes_are_checked(void **state) {
    (void)state;
    static linear l;
    l = (linear){.scheme = GS_SCHEME_W4A16, .compute = GS_F16, .groups = 1, .stored = SCALES};
    draw(&l, 1);
    l.q[100] = 8;
    assert_refused(make_net(&l), GS_E_NUMERIC, "has codes beyond -8 and 7");
    l.q[100] = -9;
    assert_refused(make_net(&l), GS_E_NUMERIC, "has codes beyond -8 and 7");
}

static void bytes_of_a_layout_are_checked(void **state) {
    (void)state;
    static linear l;
    for (size_t i = 1; i < GS_COUNTOF(layouts); i++)
        for (int scheme = GS_SCHEME_W8A16; scheme <= GS_SCHEME_W8A8_DYNAMIC; scheme++) {
            l = (linear){.scheme = (gs_scheme)scheme, .compute = GS_F16, .groups = 1, .stored = BOTH, .layout = layouts[i]};
            draw(&l, 1);
            gs_net *net = make_net(&l);
            l.view.bytes--;
            assert_refused(net, GS_E_FORMAT, "do not hold the codes");
        }
}

static void constants_that_overflow_are_refused(void **state) {
    (void)state;
    static linear l;
    l = (linear){.scheme = GS_SCHEME_W8A8, .compute = GS_F32, .groups = 1, .stored = SCALES, .biased = true};
    draw(&l, 1);
    l.bias[3] = l.bias[9] = 1e9f;
    assert_refused(make_net(&l), GS_E_NUMERIC, "row 3: a bias of 1e+09");
    l.scale[2] = 1e-44f;
    l.input_scale = 1e-5f;
    assert_refused(make_net(&l), GS_E_NUMERIC, "row 2: input scale");
    l.arith = GS_ARITH_EXACT;
    assert_refused(make_net(&l), GS_E_NUMERIC, "row 2: a scale of 0");
}

/* Words of what is wrong once the param of a role is replaced (dtype NONE: taken away). */
static void roles_and_shapes_are_checked(void **state) {
    (void)state;
    static linear l;
    const struct {
        gs_scheme scheme;
        stored stored;
        gs_role role;
        gs_dtype dtype;
        int64_t rows, cols;
        const char *words;
    } bad[] = {
        {GS_SCHEME_W8A16, SCALES, GS_ROLE_WEIGHT_SCALE, GS_F32, OUT, 5, "is not float groups"},
        {GS_SCHEME_W8A16, SCALES, GS_ROLE_WEIGHT_SCALE, GS_F32, OUT, 2 * IN, "is not float groups"},
        {GS_SCHEME_W4A16, SCALES, GS_ROLE_WEIGHT_SCALE, GS_F32, OUT + 1, 2, "is not float groups"},
        {GS_SCHEME_W4A16, SCALES, GS_ROLE_WEIGHT_SCALE, GS_I8, OUT, 2, "is not float groups"},
        {GS_SCHEME_W8A16, SCALES, GS_ROLE_WEIGHT_OFFSET, GS_F32, OUT, 2, "as many values as weight_scale"},
        {GS_SCHEME_W4A16, SCALES, GS_ROLE_WEIGHT_SCALE, GS_DTYPE_NONE, 0, 0, "W4A16 has no weight_scale"},
        {GS_SCHEME_W8A8, SCALES, GS_ROLE_WEIGHT_SCALE, GS_F32, OUT, 2, "is not float"},
        {GS_SCHEME_W8A8_DYNAMIC, SCALES, GS_ROLE_WEIGHT_SCALE, GS_F32, OUT, 2, "is not float"},
        {GS_SCHEME_W8A8_MIX, BOTH, GS_ROLE_WEIGHT_SCALE, GS_F32, OUT, 2, "is not float"},
        {GS_SCHEME_W8A8_MIX, BOTH, GS_ROLE_INPUT_SCALE, GS_F32, 2, 0, "is not float"},
        {GS_SCHEME_W8A8_MIX, BOTH, GS_ROLE_WEIGHT_SCALE, GS_DTYPE_NONE, 0, 0, "W8A8_MIX has no weight_scale"},
        {GS_SCHEME_W8A8_MIX, BOTH, GS_ROLE_INPUT_SCALE, GS_DTYPE_NONE, 0, 0, "W8A8_MIX has no input_scale"},
        {GS_SCHEME_W8A8_MIX, BOTH, GS_ROLE_INPUT_OFFSET, GS_DTYPE_NONE, 0, 0, "W8A8_MIX has no input_offset"},
        {GS_SCHEME_W8A8_MIX, BOTH, GS_ROLE_DEQ_SCALE, GS_DTYPE_NONE, 0, 0, "W8A8_MIX has no deq_scale"},
        {GS_SCHEME_W8A8, BOTH, GS_ROLE_DEQ_SCALE, GS_DTYPE_NONE, 0, 0, "W8A8 has no deq_scale"},
        {GS_SCHEME_W8A8, BOTH, GS_ROLE_QUANT_BIAS, GS_DTYPE_NONE, 0, 0, "W8A8 has no quant_bias"},
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        gs_error err = {0};
        l = (linear){.scheme = bad[i].scheme, .compute = GS_F16, .groups = 1, .stored = bad[i].stored};
        draw(&l, 1);
        gs_net *net = make_net(&l);
        gs_node *node = gs_net_find(net, "l");
        if (bad[i].dtype == GS_DTYPE_NONE) gs_param_destroy(gs_node_param_detach(node, bad[i].role));
        else put(net, node, bad[i].role, bad[i].dtype, bad[i].cols ? 2 : 1, bad[i].rows, bad[i].cols, NULL);
        assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
        if (!strstr(err.text, bad[i].words)) fail_msg("case %zu: '%s' lacks '%s'", i, err.text, bad[i].words);
        gs_net_destroy(net);
    }
    l = (linear){.scheme = GS_SCHEME_W8A16, .compute = GS_F16, .groups = 1, .stored = SCALES};
    draw(&l, 1);
    gs_net *net = make_net(&l);
    gs_net_find(net, "l")->attr.quant.arith = (gs_arith)3;
    assert_refused(net, GS_E_INVALID, "arithmetic 3");
}

static void codes_of_a_param_are_read(void **state) {
    (void)state;
    static linear l;
    gs_error err = {0};
    int8_t codes[OUT * IN];
    float factor[OUT];
    for (size_t i = 0; i < GS_COUNTOF(layouts); i++) {
        l = (linear){.scheme = GS_SCHEME_W8A16, .compute = GS_F16, .groups = 1, .stored = SCALES, .layout = layouts[i]};
        draw(&l, i);
        gs_net *net = make_net(&l);
        const gs_param *w = gs_net_find(net, "l")->param[GS_ROLE_WEIGHT];
        assert_ok(gs_param_read_s8(w, 0, OUT, codes, &err), &err);
        assert_memory_equal(codes, l.q, sizeof codes);
        assert_ok(gs_param_read_s8(w, 5, 3, codes, &err), &err);
        assert_memory_equal(codes, l.q + 5 * IN, 3 * IN);
        assert_fails(gs_param_read_s8(w, OUT, 1, codes, &err), GS_E_INVALID, &err);
        gs_param *scale = gs_net_find(net, "l")->param[GS_ROLE_WEIGHT_SCALE];
        assert_fails(gs_param_read_s8(scale, 0, 1, codes, &err), GS_E_INVALID, &err);
        for (int o = 0; o < OUT; o++) factor[o] = 2;
        assert_ok(gs_param_scale_rows(scale, factor, &err), &err);
        assert_fails(gs_param_read_s8(scale, 0, 1, codes, &err), GS_E_INVALID, &err);
        put(net, gs_net_find(net, "l"), GS_ROLE_WEIGHT, GS_I8, 2, OUT, IN, NULL);
        w = gs_net_find(net, "l")->param[GS_ROLE_WEIGHT];
        assert_fails(gs_param_read_s8(w, 0, 1, codes, &err), GS_E_INVALID, &err);
        assert_refused(net, GS_E_INVALID, "has no values");
    }
}

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    static linear l;
    for (int c = 0; c < 5 * 3 * 2; c++) {
        float y[ROWS * OUT], *out = y;
        gs_batch batch = {.rows = ROWS};
        l = (linear){.scheme = (gs_scheme)(GS_SCHEME_W8A16 + c % 5), .arith = (gs_arith)(c / 5 % 3), .compute = GS_BF16,
                     .groups = 1, .layout = GS_CODES_INT4_COLUMNS, .biased = true, .decode = true};
        l.stored = l.scheme == GS_SCHEME_W8A8 && c / 15 ? CONSTANTS : SCALES;
        draw(&l, 1);
        const float *in = l.x;
        gs_net *net = make_net(&l);
        assert_true(gs_starve_net(net, &batch, &in, &out) > 6);
        gs_net_destroy(net);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linears_of_float_activations_are_the_model),
        cmocka_unit_test(linears_of_static_activations_are_the_model),
        cmocka_unit_test(linears_of_dynamic_activations_are_the_model),
        cmocka_unit_test(a_mixed_linear_is_dynamic_or_static),
        cmocka_unit_test(deq19_clears_the_low_bits_of_wide_scales_alone),
        cmocka_unit_test(results_do_not_depend_on_threads),
        cmocka_unit_test(integer_products_refuse_an_offset_of_weights),
        cmocka_unit_test(four_bit_codes_are_checked),
        cmocka_unit_test(bytes_of_a_layout_are_checked),
        cmocka_unit_test(constants_that_overflow_are_refused),
        cmocka_unit_test(roles_and_shapes_are_checked),
        cmocka_unit_test(codes_of_a_param_are_read),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
