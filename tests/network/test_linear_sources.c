/* A linear gives the same whatever its weight is stored as, and says which pages it is done
 * with. */
#include "nets.h"

#include <base/half.h>

enum { OUT = 24, IN = 20, ROWS = 5, HEADS = 3 };

static int dropped;
static void count_drop(void *ctx, const gs_tensor *tensor) {
    assert_ptr_equal(ctx, tensor);
    dropped++;
}

/* One linear with this view as its weight, run on x. */
static void run_view(const gs_tensor *view, gs_gemm_type type, const float *x, float *y) {
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *in = gs_new_input(net, "x", IN, 0, 0);
    gs_node *l = gs_new_node(net, GS_OP_LINEAR, "l", NULL, in, NULL, NULL);
    assert_ok(gs_net_param_view(net, l, GS_ROLE_WEIGHT, view, &err), &err);
    gs_finish_net(net, l->output);
    gs_batch batch = {.rows = ROWS};
    gs_exec *ex;
    assert_ok(gs_exec_create(NULL, type, &ex, &err), &err);
    dropped = 0;
    gs_exec_set_drop(ex, count_drop, (void *)(uintptr_t)view);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    assert_true(dropped <= 1);
    assert_ok(gs_exec_run(ex, net, &batch, &x, &y, &err), &err);
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
    gs_net_destroy(net);
}

/* y = x * w^T in double, both operands rounded to bf16 when `narrow`. */
static void reference(const float *w, const float *x, bool narrow, float *y) {
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUT; o++) {
            double sum = 0;
            for (int k = 0; k < IN; k++) {
                float a = x[r * IN + k], b = w[o * IN + k];
                if (narrow) {
                    a = gs_bf16_to_f32(gs_f32_to_bf16(a));
                    b = gs_bf16_to_f32(gs_f32_to_bf16(b));
                }
                sum += (double)a * (double)b;
            }
            y[r * OUT + o] = (float)sum;
        }
}

/* The weight w stored in another type at an odd or even address; bytes to free. */
static uint8_t *store(gs_dtype dtype, const float *w, int skew, gs_tensor *out) {
    size_t size = (size_t)gs_dtype_block_bytes(dtype);
    uint8_t *bytes = malloc(OUT * IN * size + 8);
    assert_non_null(bytes);
    for (int i = 0; i < OUT * IN; i++) {
        uint16_t half = dtype == GS_F16 ? gs_f32_to_f16(w[i]) : gs_f32_to_bf16(w[i]);
        if (dtype == GS_F32) memcpy(bytes + skew + (size_t)i * size, &w[i], size);
        else memcpy(bytes + skew + (size_t)i * size, &half, size);
    }
    *out = (gs_tensor){.name = "w", .dtype = dtype, .ndim = 2, .shape = {OUT, IN}, .data = bytes + skew,
                       .bytes = OUT * IN * size};
    return bytes;
}

static void every_stored_type_gives_the_product_of_its_values(void **state) {
    (void)state;
    uint64_t seed = 1;
    float w[OUT * IN], *x = gs_random_values(ROWS * IN, &seed), y[ROWS * OUT], want[ROWS * OUT];
    const gs_dtype types[] = {GS_F32, GS_F16, GS_BF16};
    /* values that every type holds exactly */
    for (int i = 0; i < OUT * IN; i++) w[i] = gs_bf16_to_f32(gs_f32_to_bf16(gs_test_randf(&seed)));
    for (size_t t = 0; t < GS_COUNTOF(types); t++)
        for (int skew = 0; skew < 2; skew++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                gs_tensor view;
                uint8_t *bytes = store(types[t], w, skew, &view);
                run_view(&view, bf16 ? GS_GEMM_BF16 : GS_GEMM_F32, x, y);
                reference(w, x, bf16, want);
                gs_assert_close(ROWS * OUT, y, want, 2e-6);
                /* converted or packed, the file's pages are not needed any more */
                if (types[t] == GS_F16 || skew) assert_int_equal(dropped, 1);
                free(bytes);
            }
    free(x);
}

static void reordered_rows_are_put_back(void **state) {
    (void)state;
    uint64_t seed = 2;
    float w[OUT * IN], stored[OUT * IN], *x = gs_random_values(ROWS * IN, &seed);
    float y[ROWS * OUT], want[ROWS * OUT];
    const int head = OUT / HEADS;
    for (int i = 0; i < OUT * IN; i++) w[i] = gs_test_randf(&seed);
    for (int r = 0; r < OUT; r++) {
        int within = r % head, at = r - within + 2 * (within % (head / 2)) + within / (head / 2);
        memcpy(stored + at * IN, w + r * IN, IN * sizeof(float));
    }
    gs_tensor view;
    uint8_t *bytes = store(GS_F32, stored, 0, &view);
    view.order = GS_ROWS_LLAMA_INTERLEAVED;
    view.order_heads = HEADS;
    run_view(&view, GS_GEMM_F32, x, y);
    reference(w, x, false, want);
    gs_assert_close(ROWS * OUT, y, want, 2e-6);
    assert_int_equal(dropped, 1);
    free(bytes);
    free(x);
}

static void a_weight_without_values_cannot_be_prepared(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", IN, 0, 0);
    gs_node *l = gs_new_node(net, GS_OP_LINEAR, "l", NULL, x, NULL, NULL);
    const int64_t shape[2] = {OUT, IN};
    assert_ok(gs_net_param_new(net, l, GS_ROLE_WEIGHT, "l.weight", GS_F32, 2, shape, NULL, &err), &err);
    gs_finish_net(net, l->output);
    gs_exec *ex;
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    assert_fails(gs_exec_prepare(ex, net, &err), GS_E_INVALID, &err);
    assert_string_equal(err.text, "l: param 'l.weight' has no values yet");
    /* nor one of a type that is no number */
    const uint8_t bytes[OUT * IN] = {0};
    const gs_tensor view = {.name = "w", .dtype = GS_BOOL, .ndim = 2, .shape = {OUT, IN}, .data = bytes,
                            .bytes = sizeof bytes};
    assert_ok(gs_net_param_view(net, l, GS_ROLE_WEIGHT, &view, &err), &err);
    assert_fails(gs_exec_prepare(ex, net, &err), GS_E_UNSUPPORTED, &err);
    gs_exec_destroy(ex);
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stored_type_gives_the_product_of_its_values),
        cmocka_unit_test(reordered_rows_are_put_back),
        cmocka_unit_test(a_weight_without_values_cannot_be_prepared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
