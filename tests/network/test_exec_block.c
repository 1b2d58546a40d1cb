#include "block_reference.h"

enum { HIDDEN = GS_BLOCK_HIDDEN, SEQUENCES = 4, ROWS = 200 };

/* of very different lengths, one of them empty */
static const int64_t starts[SEQUENCES + 1] = {0, 7, 8, 8, ROWS};

static void run_batch(gs_net *net, gs_gemm_type type, int threads, const float *x, float *y) {
    gs_error err = {0};
    gs_batch batch = {ROWS, SEQUENCES, starts};
    assert_ok(gs_try_net(net, type, threads, &batch, &x, &y, &err), &err);
}

static void a_decoder_block_agrees_with_double_precision(void **state) {
    (void)state;
    uint64_t seed = 5;
    gs_net *net = gs_block_net(21);
    float *x = gs_random_values(ROWS * HIDDEN, &seed), *want = malloc(ROWS * HIDDEN * sizeof *want);
    float *y = malloc(ROWS * HIDDEN * sizeof *y);
    for (int s = 0; s < SEQUENCES; s++)
        gs_block_reference(net, starts[s + 1] - starts[s], x + starts[s] * HIDDEN, want + starts[s] * HIDDEN);
    run_batch(net, GS_GEMM_F32, 1, x, y);
    gs_assert_close(ROWS * HIDDEN, y, want, 4e-6);
    run_batch(net, GS_GEMM_BF16, 1, x, y);
    gs_assert_close(ROWS * HIDDEN, y, want, 2e-2);
    free(x);
    free(y);
    free(want);
    gs_net_destroy(net);
}

static void a_sequence_does_not_see_its_neighbours(void **state) {
    (void)state;
    uint64_t seed = 6;
    gs_error err = {0};
    gs_net *net = gs_block_net(22);
    float *x = gs_random_values(ROWS * HIDDEN, &seed);
    float *y = malloc(ROWS * HIDDEN * sizeof *y), *alone = malloc(ROWS * HIDDEN * sizeof *alone);
    for (int type = 0; type < 2; type++) {
        run_batch(net, (gs_gemm_type)type, 1, x, y);
        for (int s = 0; s < SEQUENCES; s++) {
            int64_t one[2] = {0, starts[s + 1] - starts[s]};
            gs_batch batch = {one[1], 1, one};
            const float *in = x + starts[s] * HIDDEN;
            assert_ok(gs_try_net(net, (gs_gemm_type)type, 1, &batch, &in, &alone, &err), &err);
            gs_assert_close(one[1] * HIDDEN, y + starts[s] * HIDDEN, alone, type ? 4e-3 : 2e-6);
        }
    }
    free(x);
    free(y);
    free(alone);
    gs_net_destroy(net);
}

static void the_team_does_not_change_a_bit(void **state) {
    (void)state;
    uint64_t seed = 7;
    gs_net *net = gs_block_net(23);
    float *x = gs_random_values(ROWS * HIDDEN, &seed);
    float *y = malloc(ROWS * HIDDEN * sizeof *y), *first = malloc(ROWS * HIDDEN * sizeof *first);
    for (int type = 0; type < 2; type++) {
        run_batch(net, (gs_gemm_type)type, 1, x, first);
        for (int threads = 2; threads <= 3; threads++) {
            memset(y, 0xff, ROWS * HIDDEN * sizeof *y);
            run_batch(net, (gs_gemm_type)type, threads, x, y);
            assert_memory_equal(y, first, ROWS * HIDDEN * sizeof *y);
        }
    }
    free(x);
    free(y);
    free(first);
    gs_net_destroy(net);
}

static void a_second_run_gives_the_same(void **state) {
    (void)state;
    uint64_t seed = 8;
    gs_error err = {0};
    gs_net *net = gs_block_net(24);
    gs_exec *ex;
    float *x = gs_random_values(ROWS * HIDDEN, &seed);
    float *y = malloc(ROWS * HIDDEN * sizeof *y), *first = malloc(ROWS * HIDDEN * sizeof *first);
    const float *in = x;
    assert_ok(gs_exec_create(NULL, GS_GEMM_BF16, &ex, &err), &err);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    /* a short batch in between: other buffers, and a table of positions that then grows */
    const int64_t small[2] = {0, 3};
    gs_batch batch = {ROWS, SEQUENCES, starts}, short_batch = {3, 1, small};
    assert_ok(gs_exec_run(ex, net, &short_batch, &in, &y, &err), &err);
    assert_ok(gs_exec_run(ex, net, &batch, &in, &first, &err), &err);
    assert_ok(gs_exec_run(ex, net, &short_batch, &in, &y, &err), &err);
    assert_ok(gs_exec_run(ex, net, &batch, &in, &y, &err), &err);
    assert_memory_equal(y, first, ROWS * HIDDEN * sizeof *y);
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
    free(x);
    free(y);
    free(first);
    gs_net_destroy(net);
}

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    uint64_t seed = 9;
    gs_net *net = gs_block_net(25);
    float *x = gs_random_values(ROWS * HIDDEN, &seed), *y = malloc(ROWS * HIDDEN * sizeof *y);
    const float *in = x;
    gs_batch batch = {ROWS, SEQUENCES, starts};
    for (int type = 0; type < 2; type++) {
        int64_t k = 0;
        for (;; k++) {
            gs_error err = {0};
            gs_mem_fail_after(k);
            gs_status status = gs_try_net(net, (gs_gemm_type)type, 1, &batch, &in, &y, &err);
            gs_mem_fail_after(-1);
            for (int i = 0; i < gs_net_node_count(net); i++) assert_null(gs_net_node(net, i)->prepared);
            if (status == GS_OK) break;
            assert_int_equal(status, GS_E_NOMEM);
            assert_true(err.text[0] != 0);
        }
        assert_true(k > 30);
    }
    free(x);
    free(y);
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decoder_block_agrees_with_double_precision),
        cmocka_unit_test(a_sequence_does_not_see_its_neighbours),
        cmocka_unit_test(the_team_does_not_change_a_bit),
        cmocka_unit_test(a_second_run_gives_the_same),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
