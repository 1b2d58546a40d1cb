/* Factors on a param are seen by whoever reads it, and by nobody else: the source keeps its bytes. */
#include "nets.h"

#include <base/half.h>
#include <math.h>

enum { ROWS = 6, COLS = 64, BATCH = 7 };

/* Bytes of one matrix in a stored type, and a view on them. */
typedef struct source {
    uint8_t bytes[ROWS * COLS * 4];
    gs_tensor view;
} source;

static void store_floats(source *s, gs_dtype dtype, uint64_t *seed) {
    for (int i = 0; i < ROWS * COLS; i++) {
        float x = gs_test_randf(seed);
        uint16_t half = dtype == GS_F16 ? gs_f32_to_f16(x) : gs_f32_to_bf16(x);
        if (dtype == GS_F32) memcpy(s->bytes + 4 * i, &x, 4);
        else memcpy(s->bytes + 2 * i, &half, 2);
    }
}

/* Q8_0 and Q4_0 begin a block with its f16 step; all else may be any bits. */
static void store_blocks(source *s, gs_dtype dtype, uint64_t *seed) {
    size_t step = (size_t)gs_dtype_block_bytes(dtype), count = ROWS * COLS / 32;
    for (size_t b = 0; b < count; b++) {
        uint16_t d = gs_f32_to_f16(0.01f + 0.005f * gs_test_randf(seed));
        for (size_t i = 0; i < step; i++) s->bytes[b * step + i] = (uint8_t)gs_test_rand(seed);
        memcpy(s->bytes + b * step, &d, 2);
    }
}

static void make_source(source *s, gs_dtype dtype, uint64_t *seed) {
    memset(s, 0, sizeof *s);
    s->view = (gs_tensor){.name = "w", .dtype = dtype, .ndim = 2, .shape = {ROWS, COLS}, .data = s->bytes};
    assert_true(gs_dtype_bytes(dtype, ROWS * COLS, &s->view.bytes));
    if (gs_dtype_block(dtype) > 1) store_blocks(s, dtype, seed);
    else store_floats(s, dtype, seed);
}

/* A LINEAR whose weight views the source. */
static gs_net *linear_on(const gs_tensor *view, gs_param **weight) {
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_node *l = gs_new_node(net, GS_OP_LINEAR, "l", NULL, gs_new_input(net, "x", view->shape[view->ndim - 1], 0, 0),
                             NULL, NULL);
    assert_ok(gs_net_param_view(net, l, GS_ROLE_WEIGHT, view, &err), &err);
    *weight = l->param[GS_ROLE_WEIGHT];
    return net;
}

static void draw_factors(int n, float *f, uint64_t *seed) {
    for (int i = 0; i < n; i++) f[i] = expf(gs_test_randf(seed)) * (i % 5 ? 1.0f : -1.0f);
}

static void multiply(int rows, int cols, float *w, const float *row, const float *col) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) w[r * cols + c] = (w[r * cols + c] * col[c]) * row[r];
}

static void every_stored_type_is_read_with_its_factors(void **state) {
    (void)state;
    const gs_dtype types[] = {GS_F32, GS_F16, GS_BF16, GS_Q8_0, GS_Q4_0};
    uint64_t seed = 1;
    float row[ROWS], col[COLS], want[ROWS * COLS], got[ROWS * COLS];
    uint16_t half[ROWS * COLS];
    draw_factors(ROWS, row, &seed);
    draw_factors(COLS, col, &seed);
    for (size_t t = 0; t < GS_COUNTOF(types); t++) {
        gs_error err = {0};
        source s, before;
        gs_param *p;
        make_source(&s, types[t], &seed);
        before = s;
        gs_net *net = linear_on(&s.view, &p);
        assert_ok(gs_param_read_f32(p, 0, ROWS, want, &err), &err);
        multiply(ROWS, COLS, want, row, col);
        assert_ok(gs_param_scale_rows(p, row, &err), &err);
        assert_ok(gs_param_scale_cols(p, col, &err), &err);
        assert_ok(gs_param_read_f32(p, 0, ROWS, got, &err), &err);
        assert_memory_equal(got, want, sizeof got);
        assert_ok(gs_param_read_f32(p, 2, 3, got, &err), &err); /* rows keep their own factors */
        assert_memory_equal(got, want + 2 * COLS, 3 * COLS * sizeof(float));
        for (int bf16 = 0; bf16 < 2; bf16++) {
            assert_ok(gs_param_read_16(p, bf16 ? GS_BF16 : GS_F16, 1, ROWS - 1, half, &err), &err);
            for (int i = 0; i < (ROWS - 1) * COLS; i++)
                assert_int_equal(half[i], bf16 ? gs_f32_to_bf16(want[COLS + i]) : gs_f32_to_f16(want[COLS + i]));
        }
        assert_fails(gs_param_read_16(p, GS_F16, 0, ROWS + 1, half, &err), GS_E_INVALID, &err);
        assert_memory_equal(&s.bytes, &before.bytes, sizeof s.bytes);
        gs_net_destroy(net);
    }
}

static void reordered_rows_take_the_factors_of_their_places(void **state) {
    (void)state;
    gs_error err = {0};
    uint64_t seed = 2;
    float row[ROWS], col[COLS], want[ROWS * COLS], got[ROWS * COLS];
    source s;
    gs_param *p;
    make_source(&s, GS_F32, &seed);
    s.view.order = GS_ROWS_LLAMA_INTERLEAVED;
    s.view.order_heads = 1;
    gs_net *net = linear_on(&s.view, &p);
    draw_factors(ROWS, row, &seed);
    draw_factors(COLS, col, &seed);
    assert_ok(gs_param_read_f32(p, 0, ROWS, want, &err), &err);
    assert_memory_not_equal(want, s.bytes, sizeof want);
    multiply(ROWS, COLS, want, row, col);
    assert_ok(gs_param_scale_rows(p, row, &err), &err);
    assert_ok(gs_param_scale_cols(p, col, &err), &err);
    assert_ok(gs_param_read_f32(p, 0, ROWS, got, &err), &err);
    assert_memory_equal(got, want, sizeof got);
    gs_net_destroy(net);
}

static void factors_multiply_and_a_vector_is_one_row(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    uint64_t seed = 3;
    gs_node *n = gs_new_node(net, GS_OP_RMSNORM, "n1", NULL, gs_new_input(net, "x", COLS, 0, 0), NULL, NULL);
    float w[COLS], first[COLS], second[COLS], got[COLS], whole = 3;
    memcpy(w, gs_new_param(net, n, GS_ROLE_WEIGHT, 1, COLS, 0, 0, 0, 1, 0.1f, &seed), sizeof w);
    gs_param *p = n->param[GS_ROLE_WEIGHT];
    draw_factors(COLS, first, &seed);
    draw_factors(COLS, second, &seed);
    assert_ok(gs_param_scale_cols(p, first, &err), &err);
    assert_ok(gs_param_scale_cols(p, second, &err), &err);
    assert_ok(gs_param_scale_rows(p, &whole, &err), &err);
    for (int i = 0; i < COLS; i++) w[i] = (w[i] * (first[i] * second[i])) * whole;
    assert_ok(gs_param_read_f32(p, 0, 1, got, &err), &err);
    assert_memory_equal(got, w, sizeof w);
    gs_net_destroy(net);
}

static void bad_factors_change_nothing(void **state) {
    (void)state;
    const float bad[] = {0, -0.0f, NAN, INFINITY, -INFINITY, 1e30f /* overflows with the first */, 1e-30f};
    gs_error err = {0};
    uint64_t seed = 4;
    float first[COLS], f[COLS], want[ROWS * COLS], got[ROWS * COLS];
    source s;
    gs_param *p;
    make_source(&s, GS_F32, &seed);
    gs_net *net = linear_on(&s.view, &p);
    for (int i = 0; i < COLS; i++) first[i] = i % 2 ? 1e20f : 1e-20f;
    assert_ok(gs_param_scale_cols(p, first, &err), &err);
    assert_ok(gs_param_read_f32(p, 0, ROWS, want, &err), &err);
    for (size_t b = 0; b < GS_COUNTOF(bad); b++) {
        for (int i = 0; i < COLS; i++) f[i] = i < 10 ? 2 : bad[b];
        assert_fails(gs_param_scale_cols(p, f, &err), GS_E_NUMERIC, &err);
        assert_non_null(strstr(err.text, "'w' cannot be scaled by"));
        assert_ok(gs_param_read_f32(p, 0, ROWS, got, &err), &err);
        assert_memory_equal(got, want, sizeof want);
    }
    gs_net_destroy(net);
}

static void only_floats_are_scaled(void **state) {
    (void)state;
    const gs_dtype types[] = {GS_I8, GS_I32, GS_I64, GS_U8, GS_BOOL, GS_F8_E4M3};
    const float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const int64_t shape[2] = {8, 8};
    gs_net *net = gs_new_net("n");
    gs_node *l = gs_new_node(net, GS_OP_LINEAR, "l", NULL, gs_new_input(net, "x", 8, 0, 0), NULL, NULL);
    for (size_t t = 0; t < GS_COUNTOF(types); t++) {
        gs_error err = {0};
        assert_ok(gs_net_param_new(net, l, GS_ROLE_WEIGHT, "w", types[t], 2, shape, NULL, &err), &err);
        assert_fails(gs_param_scale_rows(l->param[GS_ROLE_WEIGHT], ones, &err), GS_E_INVALID, &err);
        assert_fails(gs_param_scale_cols(l->param[GS_ROLE_WEIGHT], ones, &err), GS_E_INVALID, &err);
    }
    gs_net_destroy(net);
}

/* ---- the operations ---- */

/* One node of each op that reads a float weight; LINEAR also has a bias. */
static gs_net *one_node(gs_op op, const gs_tensor *weight, const gs_tensor *bias, gs_node **node) {
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_attr attr = {.eps = 1e-5f};
    int64_t width = op == GS_OP_EMBEDDING ? 0 : COLS;
    *node = gs_new_node(net, op, "o", op == GS_OP_RMSNORM ? &attr : NULL, gs_new_input(net, "x", width, 0, 0), NULL,
                        NULL);
    assert_ok(gs_net_param_view(net, *node, GS_ROLE_WEIGHT, weight, &err), &err);
    if (bias) assert_ok(gs_net_param_view(net, *node, GS_ROLE_BIAS, bias, &err), &err);
    gs_finish_net(net, (*node)->output);
    return net;
}

static gs_tensor f32_view(const char *name, const float *data, int ndim, int64_t a, int64_t b) {
    return (gs_tensor){.name = name, .dtype = GS_F32, .ndim = ndim, .shape = {a, b}, .data = (const uint8_t *)data,
                       .bytes = (uint64_t)(a * (ndim == 2 ? b : 1)) * sizeof(float)};
}

static void compare_with_hand_made(gs_op op, bool vector, gs_gemm_type type) {
    gs_error err = {0};
    uint64_t seed = 5 + (uint64_t)op;
    int rows = vector ? 1 : ROWS;
    float *w = gs_random_values(ROWS * COLS, &seed), *made = malloc(ROWS * COLS * sizeof *made);
    float *x = gs_random_values(BATCH * COLS, &seed), bias[ROWS], made_bias[ROWS], row[ROWS] = {1}, col[COLS];
    float y[BATCH * COLS], want[BATCH * COLS];
    memcpy(made, w, ROWS * COLS * sizeof *made);
    draw_factors(COLS, col, &seed);
    if (!vector) draw_factors(ROWS, row, &seed);
    for (int i = 0; i < ROWS; i++) {
        bias[i] = gs_test_randf(&seed);
        made_bias[i] = bias[i] * row[i];
    }
    if (op == GS_OP_EMBEDDING)
        for (int i = 0; i < BATCH; i++) x[i] = (float)(i % ROWS);
    multiply(rows, COLS, made, row, col);
    gs_tensor view = f32_view("w", w, vector ? 1 : 2, vector ? COLS : ROWS, COLS);
    gs_tensor bias_view = f32_view("b", bias, 1, ROWS, 0);
    gs_tensor made_view = view, made_bias_view = bias_view;
    made_view.data = (const uint8_t *)made;
    made_bias_view.data = (const uint8_t *)made_bias;
    bool biased = op == GS_OP_LINEAR;
    gs_node *node, *twin;
    gs_net *net = one_node(op, &view, biased ? &bias_view : NULL, &node);
    gs_net *hand = one_node(op, &made_view, biased ? &made_bias_view : NULL, &twin);
    assert_ok(gs_param_scale_cols(node->param[GS_ROLE_WEIGHT], col, &err), &err);
    if (!vector) assert_ok(gs_param_scale_rows(node->param[GS_ROLE_WEIGHT], row, &err), &err);
    if (biased) assert_ok(gs_param_scale_cols(node->param[GS_ROLE_BIAS], row, &err), &err);
    int64_t n = BATCH * (biased ? ROWS : COLS);
    gs_run_rows(net, type, BATCH, x, y);
    gs_run_rows(hand, type, BATCH, x, want);
    assert_memory_equal(y, want, (size_t)n * sizeof(float));
    gs_net_destroy(net);
    gs_net_destroy(hand);
    free(w);
    free(made);
    free(x);
}

static void operations_see_the_factors(void **state) {
    (void)state;
    for (int type = 0; type < 2; type++) {
        compare_with_hand_made(GS_OP_LINEAR, false, (gs_gemm_type)type);
        compare_with_hand_made(GS_OP_RMSNORM, true, (gs_gemm_type)type);
        compare_with_hand_made(GS_OP_EMBEDDING, false, (gs_gemm_type)type);
    }
}

static int dropped;
static void count_drop(void *ctx, const gs_tensor *tensor) {
    (void)ctx;
    (void)tensor;
    dropped++;
}

/* A linear with factors owns what it multiplies with: the file's pages are given up at once. */
static void a_view_with_factors_is_not_borrowed(void **state) {
    (void)state;
    gs_error err = {0};
    uint64_t seed = 6;
    float *w = gs_random_values(ROWS * COLS, &seed), *x = gs_random_values(BATCH * COLS, &seed), col[COLS];
    float y[BATCH * ROWS], again[BATCH * ROWS], *out = y;
    const float *in = x;
    gs_tensor view = f32_view("w", w, 2, ROWS, COLS);
    gs_node *node;
    gs_net *net = one_node(GS_OP_LINEAR, &view, NULL, &node);
    gs_batch batch = {.rows = BATCH};
    gs_exec *ex;
    draw_factors(COLS, col, &seed);
    assert_ok(gs_param_scale_cols(node->param[GS_ROLE_WEIGHT], col, &err), &err);
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    gs_exec_set_drop(ex, count_drop, NULL);
    dropped = 0;
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    assert_int_equal(dropped, 1);
    assert_ok(gs_exec_run(ex, net, &batch, &in, &out, &err), &err);
    memset(w, 0xff, ROWS * COLS * sizeof *w); /* as if the pages were gone */
    out = again;
    assert_ok(gs_exec_run(ex, net, &batch, &in, &out, &err), &err);
    assert_memory_equal(y, again, sizeof y);
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
    gs_net_destroy(net);
    free(w);
    free(x);
}

static void a_failing_allocation_is_survived(void **state) {
    (void)state;
    uint64_t seed = 7;
    float col[COLS], got[ROWS * COLS], want[ROWS * COLS];
    uint16_t half[COLS];
    gs_error err = {0};
    source s;
    gs_param *p;
    make_source(&s, GS_F32, &seed);
    gs_net *net = linear_on(&s.view, &p);
    draw_factors(COLS, col, &seed);
    assert_ok(gs_param_read_f32(p, 0, ROWS, want, &err), &err);
    gs_mem_fail_after(0);
    gs_status status = gs_param_scale_cols(p, col, &err);
    gs_mem_fail_after(-1);
    assert_int_equal(status, GS_E_NOMEM);
    assert_ok(gs_param_read_f32(p, 0, ROWS, got, &err), &err);
    assert_memory_equal(got, want, sizeof got);
    assert_ok(gs_param_scale_cols(p, col, &err), &err);
    gs_mem_fail_after(0);
    status = gs_param_read_16(p, GS_BF16, 0, 1, half, &err);
    gs_mem_fail_after(-1);
    assert_int_equal(status, GS_E_NOMEM);
    gs_net_destroy(net);
}

/* A biased linear whose rows have to be made: whatever fails, nothing leaks (under a sanitizer). */
static void preparing_survives_every_failing_allocation(void **state) {
    (void)state;
    uint64_t seed = 8;
    float *w = gs_random_values(ROWS * COLS, &seed), *x = gs_random_values(BATCH * COLS, &seed), col[COLS];
    float bias[ROWS] = {0}, y[BATCH * ROWS], *out = y;
    const float *in = x;
    gs_tensor view = f32_view("w", w, 2, ROWS, COLS), bias_view = f32_view("b", bias, 1, ROWS, 0);
    gs_error err = {0};
    gs_node *node;
    gs_net *net = one_node(GS_OP_LINEAR, &view, &bias_view, &node);
    gs_batch batch = {.rows = BATCH};
    draw_factors(COLS, col, &seed);
    assert_ok(gs_param_scale_cols(node->param[GS_ROLE_WEIGHT], col, &err), &err);
    int64_t n = 0;
    for (;; n++) {
        gs_mem_fail_after(n);
        gs_status status = gs_try_net(net, GS_GEMM_BF16, 1, &batch, &in, &out, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) break;
        assert_true(status == GS_E_NOMEM || status == GS_E_FORMAT);
    }
    assert_true(n > 4);
    gs_net_destroy(net);
    free(w);
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stored_type_is_read_with_its_factors),
        cmocka_unit_test(reordered_rows_take_the_factors_of_their_places),
        cmocka_unit_test(factors_multiply_and_a_vector_is_one_row),
        cmocka_unit_test(bad_factors_change_nothing),
        cmocka_unit_test(only_floats_are_scaled),
        cmocka_unit_test(operations_see_the_factors),
        cmocka_unit_test(a_view_with_factors_is_not_borrowed),
        cmocka_unit_test(a_failing_allocation_is_survived),
        cmocka_unit_test(preparing_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
