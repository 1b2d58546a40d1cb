/* W8A8 and W8A8_DYNAMIC, bit for bit as a plain model of ascend-bundles.md 3.5 computes them. CTest runs this on
 * every engine of the integer products. */
#include "nets.h"

#include <base/half.h>
#include <kernels/gemm/gemm_s8.h>
#include <math.h>

enum { OUT = 70, IN = 150, ROWS = 37 };

/* A quantized linear as a bundle stores it, and inputs. */
typedef struct linear {
    gs_scheme scheme;
    gs_dtype compute, stored; /* of the float scales in the net */
    bool biased, wide;        /* wide: deq_scale as I64 */
    int8_t q[OUT * IN];
    float weight_scale[OUT], bias[OUT], deq[OUT], input_scale, input_offset;
    int32_t quant_bias[OUT];
    float x[ROWS * IN];
} linear;

static float rounded(gs_dtype t, float x) {
    if (t == GS_BF16) return gs_bf16_to_f32(gs_f32_to_bf16(x));
    return t == GS_F16 ? gs_f16_to_f32(gs_f32_to_f16(x)) : x;
}

/* Rows 3 and OUT - 1 of the weight and row 5 of the input are zero. */
static void draw(linear *l, gs_scheme scheme, gs_dtype compute, uint64_t seed) {
    *l = (linear){.scheme = scheme, .compute = compute, .stored = GS_F32};
    for (int i = 0; i < OUT * IN; i++)
        l->q[i] = i / IN == 3 || i / IN == OUT - 1 ? 0 : (int8_t)(gs_test_rand(&seed) & 0xff);
    for (int i = 0; i < OUT; i++) {
        l->weight_scale[i] = 0.01f + 0.009f * gs_test_randf(&seed);
        l->bias[i] = 3 * gs_test_randf(&seed);
        l->deq[i] = 1e-4f * (1.5f + gs_test_randf(&seed));
        l->quant_bias[i] = (int32_t)(100000 * gs_test_randf(&seed));
    }
    for (int i = 0; i < ROWS * IN; i++) l->x[i] = i / IN == 5 ? 0 : 4 * gs_test_randf(&seed);
    l->x[7] = 100; /* saturates a static scale */
    l->x[8] = -100;
    l->input_scale = 0.0313f;
}

/* ---- the model ---- */

static int8_t code(float v) {
    v = rintf(v);
    return (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);
}

/* Codes of one input row; the row's scale is returned. */
static float model_codes(const linear *l, const float *x, int8_t *codes) {
    if (l->scheme == GS_SCHEME_W8A8) {
        float s = rounded(l->compute, rounded(l->stored, l->input_scale)), r = rounded(l->compute, 1.0f / s);
        for (int k = 0; k < IN; k++) codes[k] = code(x[k] * r + l->input_offset);
        return 1;
    }
    float most = 0;
    for (int k = 0; k < IN; k++) most = fabsf(x[k]) > most ? fabsf(x[k]) : most;
    float s = most / 127.0f;
    for (int k = 0; k < IN; k++) codes[k] = s > 0 ? code(x[k] / s) : 0;
    return s;
}

static float model_output(const linear *l, int o, int32_t acc, float row_scale) {
    if (l->scheme == GS_SCHEME_W8A8) return rounded(l->compute, (float)(acc + l->quant_bias[o]) * l->deq[o]);
    float y = (float)acc * rounded(l->compute, rounded(l->stored, l->weight_scale[o])) * row_scale;
    if (l->biased) y += rounded(l->compute, rounded(l->stored, l->bias[o]));
    return rounded(l->compute, y);
}

static void model(const linear *l, float *y) {
    for (int r = 0; r < ROWS; r++) {
        int8_t codes[IN];
        float s = model_codes(l, l->x + r * IN, codes);
        for (int o = 0; o < OUT; o++) {
            int32_t acc = 0;
            for (int k = 0; k < IN; k++) acc += codes[k] * l->q[o * IN + k];
            y[r * OUT + o] = model_output(l, o, acc, s);
        }
    }
}

/* ---- the net ---- */

static void put_floats(gs_net *net, gs_node *node, gs_role role, gs_dtype dtype, int ndim, int64_t n, const float *x) {
    gs_error err = {0};
    const int64_t shape[2] = {n, 1};
    uint16_t half[OUT];
    for (int64_t i = 0; i < n; i++) half[i] = dtype == GS_F16 ? gs_f32_to_f16(x[i]) : gs_f32_to_bf16(x[i]);
    assert_ok(gs_net_param_new(net, node, role, gs_role_name(role), dtype, ndim, shape,
                               dtype == GS_F32 ? (const void *)x : half, &err), &err);
}

static void put_deq_scale(gs_net *net, gs_node *node, const linear *l) {
    gs_error err = {0};
    const int64_t n = OUT;
    int64_t wide[OUT];
    for (int i = 0; i < OUT; i++) {
        uint32_t bits;
        memcpy(&bits, &l->deq[i], sizeof bits);
        wide[i] = bits;
    }
    assert_ok(gs_net_param_new(net, node, GS_ROLE_DEQ_SCALE, "deq_scale", l->wide ? GS_I64 : GS_F32, 1, &n,
                               l->wide ? (const void *)wide : l->deq, &err), &err);
}

static gs_net *make_net(const linear *l, gs_node **out) {
    gs_error err = {0};
    const int64_t shape[2] = {OUT, IN};
    gs_net *net = gs_new_net("q");
    gs_attr attr = {.quant = {.scheme = l->scheme, .compute = l->compute}};
    gs_node *node = gs_new_node(net, GS_OP_QLINEAR, "l", &attr, gs_new_input(net, "x", IN, 0, 0), NULL, NULL);
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT, "l.weight", GS_I8, 2, shape, l->q, &err), &err);
    if (l->biased) put_floats(net, node, GS_ROLE_BIAS, l->stored, 1, OUT, l->bias);
    if (l->scheme == GS_SCHEME_W8A8) {
        put_floats(net, node, GS_ROLE_INPUT_SCALE, l->stored, 1, 1, &l->input_scale);
        put_floats(net, node, GS_ROLE_INPUT_OFFSET, l->stored, 1, 1, &l->input_offset);
        assert_ok(gs_net_param_new(net, node, GS_ROLE_QUANT_BIAS, "quant_bias", GS_I32, 1, shape, l->quant_bias,
                                   &err), &err);
        put_deq_scale(net, node, l);
    } else {
        put_floats(net, node, GS_ROLE_WEIGHT_SCALE, l->stored, 2, OUT, l->weight_scale);
    }
    gs_finish_net(net, node->output);
    if (out) *out = node;
    return net;
}

static void run(gs_net *net, gs_gemm_type type, int threads, int rows, const float *x, float *y) {
    gs_error err = {0};
    gs_batch batch = {.rows = rows};
    assert_ok(gs_try_net(net, type, threads, &batch, &x, &y, &err), &err);
}

static void assert_is_model(const linear *l) {
    float y[ROWS * OUT], want[ROWS * OUT];
    gs_net *net = make_net(l, NULL);
    model(l, want);
    run(net, GS_GEMM_F32, 1, ROWS, l->x, y);
    assert_memory_equal(y, want, sizeof y);
    gs_net_destroy(net);
}

static const gs_dtype types[] = {GS_F32, GS_F16, GS_BF16};

static void static_linears_are_the_model(void **state) {
    (void)state;
    static linear l;
    for (int c = 0; c < 36; c++) {
        draw(&l, GS_SCHEME_W8A8, types[c % 3], (uint64_t)c);
        l.stored = types[c / 3 % 3];
        l.wide = c / 9 % 2;
        l.biased = c / 18 % 2; /* which changes nothing: it is inside quant_bias */
        l.input_offset = (float)(c - 17);
        assert_is_model(&l);
    }
}

static void every_offset_is_the_model(void **state) {
    (void)state;
    static linear l;
    for (int o = -128; o <= 127; o += o == -128 || o == 126 ? 1 : 11) {
        draw(&l, GS_SCHEME_W8A8, types[(o + 128) % 3], 1);
        l.input_offset = (float)o;
        assert_is_model(&l);
    }
}

static void dynamic_linears_are_the_model(void **state) {
    (void)state;
    static linear l;
    for (int c = 0; c < 18; c++) {
        draw(&l, GS_SCHEME_W8A8_DYNAMIC, types[c % 3], (uint64_t)c);
        l.stored = types[c / 3 % 3];
        l.biased = c / 9 % 2;
        assert_is_model(&l);
    }
}

static void tiny_and_huge_rows_are_the_model(void **state) {
    (void)state;
    static linear l;
    draw(&l, GS_SCHEME_W8A8_DYNAMIC, GS_F32, 3);
    for (int k = 0; k < IN; k++) {
        l.x[k] *= 1e-42f;          /* a scale that is subnormal */
        l.x[IN + k] = k ? 0 : 3e-45f; /* one that is zero */
        l.x[2 * IN + k] *= 8e36f;
    }
    assert_is_model(&l);
}

static void results_depend_on_neither_threads_nor_batches_nor_the_type_of_products(void **state) {
    (void)state;
    static linear l;
    const gs_scheme schemes[] = {GS_SCHEME_W8A8, GS_SCHEME_W8A8_DYNAMIC};
    const int cut[] = {0, 1, 16, 20, ROWS};
    for (int s = 0; s < 2; s++) {
        float y[ROWS * OUT], want[ROWS * OUT];
        draw(&l, schemes[s], GS_BF16, 4);
        l.biased = true;
        gs_net *net = make_net(&l, NULL);
        model(&l, want);
        for (int type = 0; type < 2; type++)
            for (int threads = 1; threads <= 4; threads += 3) {
                run(net, (gs_gemm_type)type, threads, ROWS, l.x, y);
                assert_memory_equal(y, want, sizeof y);
                memset(y, 0xff, sizeof y);
                for (int c = 0; c < 4; c++)
                    run(net, (gs_gemm_type)type, threads, cut[c + 1] - cut[c], l.x + cut[c] * IN, y + cut[c] * OUT);
                assert_memory_equal(y, want, sizeof y);
            }
        gs_net_destroy(net);
    }
    print_message("%s\n", gs_gemm_s8_backend());
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

static void assert_refused(const linear *l, const char *words) {
    gs_error err = {0};
    gs_net *net = make_net(l, NULL);
    assert_fails(try_prepare(net, &err), GS_E_NUMERIC, &err);
    if (!strstr(err.text, words)) fail_msg("'%s' lacks '%s'", err.text, words);
    gs_net_destroy(net);
}

static void a_role_that_is_missing_is_named(void **state) {
    (void)state;
    static linear l;
    const struct {
        gs_scheme scheme;
        gs_role role;
        const char *words;
    } need[] = {
        {GS_SCHEME_W8A8, GS_ROLE_INPUT_SCALE, "W8A8 has no input_scale"},
        {GS_SCHEME_W8A8, GS_ROLE_INPUT_OFFSET, "W8A8 has no input_offset"},
        {GS_SCHEME_W8A8, GS_ROLE_QUANT_BIAS, "W8A8 has no quant_bias"},
        {GS_SCHEME_W8A8, GS_ROLE_DEQ_SCALE, "W8A8 has no deq_scale"},
        {GS_SCHEME_W8A8_DYNAMIC, GS_ROLE_WEIGHT_SCALE, "W8A8_DYNAMIC has no weight_scale"},
    };
    for (size_t i = 0; i < GS_COUNTOF(need); i++) {
        gs_error err = {0};
        gs_node *node;
        draw(&l, need[i].scheme, GS_F16, 1);
        gs_net *net = make_net(&l, &node);
        gs_param_destroy(gs_node_param_detach(node, need[i].role));
        assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
        assert_non_null(strstr(err.text, need[i].words));
        gs_net_destroy(net);
    }
}

static void types_and_shapes_are_checked(void **state) {
    (void)state;
    static linear l;
    const struct {
        gs_role role;
        gs_dtype dtype;
        int ndim;
        int64_t rows, cols;
    } bad[] = {
        {GS_ROLE_WEIGHT, GS_U8, 2, OUT, IN},       {GS_ROLE_WEIGHT, GS_F16, 2, OUT, IN},
        {GS_ROLE_INPUT_SCALE, GS_I8, 1, 1, 0},     {GS_ROLE_INPUT_SCALE, GS_F32, 1, 2, 0},
        {GS_ROLE_INPUT_SCALE, GS_F32, 1, OUT, 0},  {GS_ROLE_INPUT_SCALE, GS_F32, 0, 0, 0},
        {GS_ROLE_INPUT_OFFSET, GS_I8, 1, 1, 0},    {GS_ROLE_INPUT_OFFSET, GS_F32, 1, 2, 0},
        {GS_ROLE_QUANT_BIAS, GS_F32, 1, OUT, 0},   {GS_ROLE_QUANT_BIAS, GS_I64, 1, OUT, 0},
        {GS_ROLE_QUANT_BIAS, GS_I32, 2, OUT, 1},   {GS_ROLE_QUANT_BIAS, GS_I32, 1, OUT - 1, 0},
        {GS_ROLE_DEQ_SCALE, GS_F16, 1, OUT, 0},    {GS_ROLE_DEQ_SCALE, GS_I32, 1, OUT, 0},
        {GS_ROLE_DEQ_SCALE, GS_F32, 2, OUT, 1},    {GS_ROLE_DEQ_SCALE, GS_I64, 1, OUT + 1, 0},
        {GS_ROLE_WEIGHT_SCALE, GS_F32, 2, 1, OUT}, {GS_ROLE_WEIGHT_OFFSET, GS_I8, 2, OUT, 1},
        {GS_ROLE_BIAS, GS_F32, 1, OUT + 1, 0},
    };
    draw(&l, GS_SCHEME_W8A8, GS_BF16, 1);
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        gs_error err = {0};
        gs_node *node;
        gs_net *net = make_net(&l, &node);
        const int64_t shape[2] = {bad[i].rows, bad[i].cols};
        assert_ok(gs_net_param_new(net, node, bad[i].role, "p", bad[i].dtype, bad[i].ndim, shape, NULL, &err), &err);
        if (gs_net_infer(net, &err) != GS_E_INVALID) fail_msg("case %zu was taken", i);
        gs_net_destroy(net);
    }
}

static void planned_params_have_dims_but_no_values(void **state) {
    (void)state;
    static linear l;
    const struct {
        gs_role role;
        gs_dtype dtype;
        int64_t rows, cols;
    } part[] = {{GS_ROLE_WEIGHT, GS_I8, OUT, IN}, {GS_ROLE_INPUT_SCALE, GS_F32, 1, 0},
                {GS_ROLE_INPUT_OFFSET, GS_F32, 1, 0}, {GS_ROLE_QUANT_BIAS, GS_I32, OUT, 0},
                {GS_ROLE_DEQ_SCALE, GS_I64, OUT, 0}};
    draw(&l, GS_SCHEME_W8A8, GS_F16, 1);
    for (size_t i = 0; i < GS_COUNTOF(part); i++) {
        gs_error err = {0};
        gs_node *node;
        gs_net *net = make_net(&l, &node);
        const int64_t shape[2] = {part[i].rows, part[i].cols};
        assert_ok(gs_net_param_new(net, node, part[i].role, "p", part[i].dtype, part[i].cols ? 2 : 1, shape, NULL,
                                   &err), &err);
        assert_ok(gs_net_infer(net, &err), &err);
        assert_fails(try_prepare(net, &err), GS_E_INVALID, &err);
        assert_non_null(strstr(err.text, "has no values"));
        gs_net_destroy(net);
    }
}

static void scales_and_offsets_that_mean_nothing_are_refused(void **state) {
    (void)state;
    static linear l;
    const float scales[] = {0, -0.5f, NAN, INFINITY};
    for (size_t i = 0; i < GS_COUNTOF(scales); i++) {
        draw(&l, GS_SCHEME_W8A8, GS_F32, 1);
        l.input_scale = scales[i];
        assert_refused(&l, "input_scale of row 0 is");
        draw(&l, GS_SCHEME_W8A8_DYNAMIC, GS_F32, 1);
        l.weight_scale[9] = scales[i];
        assert_refused(&l, "weight_scale of row 9 is");
        for (int wide = 0; wide < 2; wide++) {
            draw(&l, GS_SCHEME_W8A8, GS_F32, 1);
            l.wide = wide;
            l.deq[9] = scales[i];
            assert_refused(&l, "deq_scale of row 9 is");
        }
    }
    draw(&l, GS_SCHEME_W8A8, GS_F16, 1);
    l.input_scale = 1e-9f; /* 0 in f16 */
    assert_refused(&l, "input_scale of row 0 is");
    l.input_scale = 1e-5f; /* above 65504 the other way round */
    assert_refused(&l, "has no reciprocal in F16");
    l.input_scale = 0x1p-23f;
    assert_refused(&l, "has no reciprocal in F16");
    draw(&l, GS_SCHEME_W8A8, GS_F32, 1);
    l.input_scale = 1e-39f;
    assert_refused(&l, "has no reciprocal in F32");
    const float offsets[] = {0.5f, 126.9f, 128, -129, NAN, INFINITY};
    for (size_t i = 0; i < GS_COUNTOF(offsets); i++) {
        draw(&l, GS_SCHEME_W8A8, GS_BF16, 1);
        l.input_offset = offsets[i];
        assert_refused(&l, "is no integer from -128 to 127");
    }
    draw(&l, GS_SCHEME_W8A8_DYNAMIC, GS_F32, 1);
    l.biased = true;
    l.bias[60] = NAN;
    assert_refused(&l, "bias of row 60 is nan");
}

static void a_packed_deq_scale_is_not_taken_for_a_plain_one(void **state) {
    (void)state;
    static linear l;
    gs_error err = {0};
    gs_node *node;
    draw(&l, GS_SCHEME_W8A8, GS_F16, 1);
    l.wide = true;
    gs_net *net = make_net(&l, &node);
    ((int64_t *)node->param[GS_ROLE_DEQ_SCALE]->data)[4] |= (int64_t)1 << 46;
    assert_fails(try_prepare(net, &err), GS_E_NUMERIC, &err);
    assert_non_null(strstr(err.text, "deq_scale of row 4 is"));
    ((int64_t *)node->param[GS_ROLE_DEQ_SCALE]->data)[4] = -1;
    assert_fails(try_prepare(net, &err), GS_E_NUMERIC, &err);
    gs_net_destroy(net);
}

/* The largest bias that cannot overflow, and the next one. */
static void an_accumulator_that_could_overflow_is_refused(void **state) {
    (void)state;
    static linear l;
    draw(&l, GS_SCHEME_W8A8, GS_F32, 1);
    int64_t sum = 0;
    for (int k = 0; k < IN; k++) sum += abs(l.q[20 * IN + k]);
    for (int sign = -1; sign <= 1; sign += 2) {
        l.quant_bias[20] = (int32_t)(sign * (INT32_MAX - 128 * sum));
        assert_is_model(&l);
        l.quant_bias[20] += sign;
        assert_refused(&l, "row 20 can overflow");
    }
    l.quant_bias[20] = INT32_MIN;
    assert_refused(&l, "row 20 can overflow");
}

static void too_many_columns_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    const int64_t shape[2] = {1, GS_GEMM_S8_MAX_K + 1}, one[2] = {1, 1};
    const float scale = 1;
    gs_net *net = gs_new_net("q");
    gs_attr attr = {.quant = {.scheme = GS_SCHEME_W8A8_DYNAMIC, .compute = GS_F32}};
    gs_node *node = gs_new_node(net, GS_OP_QLINEAR, "l", &attr, gs_new_input(net, "x", shape[1], 0, 0), NULL, NULL);
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT, "w", GS_I8, 2, shape, NULL, &err), &err);
    assert_ok(gs_param_allocate(node->param[GS_ROLE_WEIGHT], &err), &err);
    memset(node->param[GS_ROLE_WEIGHT]->data, 0, (size_t)shape[1]);
    assert_ok(gs_net_param_new(net, node, GS_ROLE_WEIGHT_SCALE, "s", GS_F32, 2, one, &scale, &err), &err);
    gs_finish_net(net, node->output);
    assert_fails(try_prepare(net, &err), GS_E_INVALID, &err);
    gs_net_destroy(net);
}

static void activations_that_are_no_numbers_are_refused(void **state) {
    (void)state;
    static linear l;
    const gs_scheme schemes[] = {GS_SCHEME_W8A8, GS_SCHEME_W8A8_DYNAMIC};
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int s = 0; s < 2; s++)
        for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
            gs_error err = {0};
            float y[ROWS * OUT], *out = y;
            draw(&l, schemes[s], GS_F32, 1);
            l.x[30 * IN + 149] = bad[i];
            const float *in = l.x;
            gs_batch batch = {.rows = ROWS};
            gs_net *net = make_net(&l, NULL);
            assert_fails(gs_try_net(net, GS_GEMM_F32, 1, &batch, &in, &out, &err), GS_E_NUMERIC, &err);
            assert_non_null(strstr(err.text, "NaN or an infinity"));
            gs_net_destroy(net);
        }
}

/* ---- memory ---- */

static int dropped;
static void count_drop(void *ctx, const gs_tensor *tensor) {
    (void)ctx;
    (void)tensor;
    dropped++;
}

/* Views instead of owned bytes: all are given up once they are read. */
static void every_view_is_dropped_when_it_is_read(void **state) {
    (void)state;
    static linear l;
    const gs_scheme schemes[] = {GS_SCHEME_W8A8, GS_SCHEME_W8A8_DYNAMIC};
    for (int s = 0; s < 2; s++) {
        gs_error err = {0};
        gs_node *node, *twin;
        gs_tensor view[GS_ROLE_COUNT];
        float y[ROWS * OUT], want[ROWS * OUT], *out = y;
        int views = 0;
        draw(&l, schemes[s], GS_F16, 9);
        l.biased = schemes[s] == GS_SCHEME_W8A8_DYNAMIC;
        l.wide = true;
        gs_net *owner = make_net(&l, &node), *net = make_net(&l, &twin);
        for (int r = 0; r < GS_ROLE_COUNT; r++) {
            const gs_param *p = node->param[r];
            if (!p) continue;
            view[r] = (gs_tensor){.name = p->name, .dtype = p->dtype, .ndim = p->ndim, .data = p->data,
                                  .bytes = gs_param_bytes(p)};
            memcpy(view[r].shape, p->shape, sizeof p->shape);
            assert_ok(gs_net_param_view(net, twin, (gs_role)r, &view[r], &err), &err);
            views++;
        }
        const float *in = l.x;
        gs_batch batch = {.rows = ROWS};
        gs_exec *ex;
        assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
        gs_exec_set_drop(ex, count_drop, NULL);
        dropped = 0;
        assert_ok(gs_exec_prepare(ex, net, &err), &err);
        assert_int_equal(dropped, views);
        assert_ok(gs_exec_run(ex, net, &batch, &in, &out, &err), &err);
        model(&l, want);
        assert_memory_equal(y, want, sizeof y);
        gs_exec_release(ex, net);
        gs_exec_destroy(ex);
        gs_net_destroy(net);
        gs_net_destroy(owner);
    }
}

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    static linear l;
    const gs_scheme schemes[] = {GS_SCHEME_W8A8, GS_SCHEME_W8A8_DYNAMIC};
    for (int s = 0; s < 2; s++) {
        float y[ROWS * OUT], *out = y;
        draw(&l, schemes[s], GS_BF16, 1);
        l.biased = true;
        const float *in = l.x;
        gs_batch batch = {.rows = ROWS};
        gs_net *net = make_net(&l, NULL);
        assert_true(gs_starve_net(net, &batch, &in, &out) > 6);
        gs_net_destroy(net);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(static_linears_are_the_model),
        cmocka_unit_test(every_offset_is_the_model),
        cmocka_unit_test(dynamic_linears_are_the_model),
        cmocka_unit_test(tiny_and_huge_rows_are_the_model),
        cmocka_unit_test(results_depend_on_neither_threads_nor_batches_nor_the_type_of_products),
        cmocka_unit_test(a_role_that_is_missing_is_named),
        cmocka_unit_test(types_and_shapes_are_checked),
        cmocka_unit_test(planned_params_have_dims_but_no_values),
        cmocka_unit_test(scales_and_offsets_that_mean_nothing_are_refused),
        cmocka_unit_test(a_packed_deq_scale_is_not_taken_for_a_plain_one),
        cmocka_unit_test(an_accumulator_that_could_overflow_is_refused),
        cmocka_unit_test(too_many_columns_are_refused),
        cmocka_unit_test(activations_that_are_no_numbers_are_refused),
        cmocka_unit_test(every_view_is_dropped_when_it_is_read),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
