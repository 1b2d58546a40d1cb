/* The rotation as a node: part of a head, scaled, and stretched for each sequence by its length. */
#include "nets.h"

#include <math.h>

enum { HEADS = 3, HEAD = 24, WIDTH = HEADS * HEAD, SEQUENCES = 5, ROWS = 93 };

/* one within the original positions, an empty one, two of one length, one of another */
static const int64_t starts[SEQUENCES + 1] = {0, 16, 16, 45, 74, ROWS};
enum { ORIGINAL = 16 };

static gs_net *make_net(gs_attr attr) {
    gs_net *net = gs_new_net("n");
    attr.rope.heads = HEADS;
    attr.rope.head_dim = HEAD;
    gs_finish_net(net, gs_new_node(net, GS_OP_ROPE, "r", &attr, gs_new_input(net, "x", WIDTH, 0, 0), NULL, NULL)->output);
    return net;
}

static gs_attr make_attr(gs_rope_kind kind, int64_t rotary) {
    gs_attr attr = {.rope = {.rotary_dim = rotary, .theta = 10000, .kind = kind, .factor = 2, .original_positions = ORIGINAL}};
    return attr;
}

static double theta_of(const gs_attr *a, int64_t d, int64_t length) {
    if (a->rope.kind != GS_ROPE_DYNAMIC || length <= ORIGINAL) return a->rope.theta;
    double factor = a->rope.factor;
    return a->rope.theta * pow(factor * (double)length / ORIGINAL - factor + 1, (double)d / ((double)d - 2));
}

static void rotate(const gs_attr *a, int64_t length, int64_t position, const float *x, float *y) {
    int64_t d = a->rope.rotary_dim ? a->rope.rotary_dim : HEAD;
    memcpy(y, x, HEAD * sizeof *y);
    for (int64_t j = 0; j < d / 2; j++) {
        double angle = (double)position * pow(theta_of(a, d, length), -2.0 * (double)j / (double)d);
        double low = (double)x[j], high = (double)x[j + d / 2];
        y[j] = (float)(low * cos(angle) - high * sin(angle));
        y[j + d / 2] = (float)(high * cos(angle) + low * sin(angle));
    }
}

static void assert_is_model(gs_attr attr) {
    gs_error err = {0};
    uint64_t seed = 12;
    gs_net *net = make_net(attr);
    gs_batch batch = {ROWS, SEQUENCES, starts};
    float *x = gs_random_values(ROWS * WIDTH, &seed), want[ROWS * WIDTH], y[ROWS * WIDTH], *out = y;
    const float *in = x;
    for (int s = 0; s < SEQUENCES; s++)
        for (int64_t r = starts[s]; r < starts[s + 1]; r++)
            for (int h = 0; h < HEADS; h++)
                rotate(&attr, starts[s + 1] - starts[s], r - starts[s], x + r * WIDTH + h * HEAD, want + r * WIDTH + h * HEAD);
    for (int threads = 1; threads <= 3; threads++) {
        assert_ok(gs_try_net(net, GS_GEMM_F32, threads, &batch, &in, &out, &err), &err);
        gs_assert_close(ROWS * WIDTH, y, want, 4e-6);
    }
    free(x);
    gs_net_destroy(net);
}

static void part_of_a_head_is_rotated(void **state) {
    (void)state;
    const int64_t dims[] = {0, 2, 10, 22, HEAD};
    for (size_t i = 0; i < GS_COUNTOF(dims); i++) assert_is_model(make_attr(GS_ROPE_PLAIN, dims[i]));
}

static void long_sequences_are_stretched_by_their_length(void **state) {
    (void)state;
    assert_is_model(make_attr(GS_ROPE_DYNAMIC, 0));
    assert_is_model(make_attr(GS_ROPE_DYNAMIC, 10));
}

/* Tables of one batch are not those of the next. */
static void batches_of_other_lengths_follow(void **state) {
    (void)state;
    gs_error err = {0};
    uint64_t seed = 13;
    gs_net *net = make_net(make_attr(GS_ROPE_DYNAMIC, 0));
    const int64_t other[] = {0, 60, ROWS}, fewer[] = {0, 29};
    const gs_batch batches[] = {{ROWS, SEQUENCES, starts}, {ROWS, 2, other}, {29, 1, fewer}};
    float *x = gs_random_values(ROWS * WIDTH, &seed), want[3][ROWS * WIDTH], y[ROWS * WIDTH], *out;
    const float *in = x;
    gs_exec *ex;
    for (int i = 0; i < 3; i++) {
        out = want[i];
        assert_ok(gs_try_net(net, GS_GEMM_F32, 1, &batches[i], &in, &out, &err), &err);
    }
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    out = y;
    for (int i = 0; i < 9; i++) {
        int b = i * i % 3 ? i % 3 : (i / 2) % 3;
        assert_ok(gs_exec_run(ex, net, &batches[b], &in, &out, &err), &err);
        assert_memory_equal(y, want[b], (size_t)(batches[b].rows * WIDTH) * sizeof *y);
    }
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
    free(x);
    gs_net_destroy(net);
}

static void yarn_makes_values_larger(void **state) {
    (void)state;
    gs_error err = {0};
    gs_attr attr = make_attr(GS_ROPE_YARN, 0);
    gs_net *net = make_net(attr);
    int64_t one[] = {0, 1};
    gs_batch batch = {1, 1, one};
    float x[WIDTH], y[WIDTH], *out = y;
    const float *in = x;
    for (int i = 0; i < WIDTH; i++) x[i] = 1;
    assert_ok(gs_try_net(net, GS_GEMM_F32, 1, &batch, &in, &out, &err), &err);
    for (int i = 0; i < WIDTH; i++) assert_true(fabs((double)y[i] - (0.1 * log(2) + 1)) <= 1e-7);
    gs_net_node(net, 0)->attr.rope.attention_factor = 1.5;
    assert_ok(gs_try_net(net, GS_GEMM_F32, 1, &batch, &in, &out, &err), &err);
    for (int i = 0; i < WIDTH; i++) assert_true(y[i] == 1.5f);
    gs_net_destroy(net);
}

static void assert_refused(gs_attr attr) {
    gs_error err = {0};
    gs_net *net = make_net(make_attr(GS_ROPE_PLAIN, 0));
    attr.rope.heads = HEADS;
    attr.rope.head_dim = HEAD;
    gs_net_node(net, 0)->attr = attr;
    assert_fails(gs_net_infer(net, &err), attr.rope.kind > GS_ROPE_DYNAMIC ? GS_E_UNSUPPORTED : GS_E_INVALID, &err);
    gs_net_destroy(net);
}

static void impossible_attributes_are_refused(void **state) {
    (void)state;
    const int64_t dims[] = {-2, 3, HEAD + 2};
    for (size_t i = 0; i < GS_COUNTOF(dims); i++) assert_refused(make_attr(GS_ROPE_PLAIN, dims[i]));
    assert_refused(make_attr(GS_ROPE_DYNAMIC, 2)); /* d / (d - 2) */
    assert_refused(make_attr((gs_rope_kind)(GS_ROPE_DYNAMIC + 1), 0));
    for (int kind = GS_ROPE_YARN; kind <= GS_ROPE_DYNAMIC; kind++) {
        gs_attr attr = make_attr((gs_rope_kind)kind, 0);
        attr.rope.original_positions = 0;
        assert_refused(attr);
        attr = make_attr((gs_rope_kind)kind, 0);
        attr.rope.factor = 0;
        assert_refused(attr);
    }
    gs_attr attr = make_attr(GS_ROPE_DYNAMIC, 0);
    attr.rope.factor = 0.5;
    assert_refused(attr);
    const double bad[] = {-1, NAN, INFINITY};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++)
        for (int which = 0; which < 3; which++) {
            attr = make_attr(GS_ROPE_YARN, 0);
            *(which == 0 ? &attr.rope.beta_fast : which == 1 ? &attr.rope.beta_slow : &attr.rope.attention_factor) = bad[i];
            assert_refused(attr);
        }
    attr = make_attr(GS_ROPE_YARN, 0);
    attr.rope.theta = 1;
    assert_refused(attr);
}

static void a_rotation_tells_its_kind(void **state) {
    (void)state;
    gs_attr attr = make_attr(GS_ROPE_YARN, 10);
    attr.rope.beta_fast = 32;
    attr.rope.beta_slow = 1;
    gs_net *net = make_net(attr);
    char *text = gs_net_text(net);
    assert_non_null(strstr(text, "heads 3 head_dim 24 theta 10000 rotated 10 yarn factor 2 fast 32 slow 1 amplitude 1.06931 "
                                 "original 16 ->"));
    free(text);
    gs_net_destroy(net);
    net = make_net(make_attr(GS_ROPE_DYNAMIC, 0));
    text = gs_net_text(net);
    assert_non_null(strstr(text, "theta 10000 dynamic factor 2 original 16 ->"));
    free(text);
    gs_net_destroy(net);
}

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    gs_net *net = make_net(make_attr(GS_ROPE_DYNAMIC, 0));
    float x[ROWS * WIDTH] = {0}, y[ROWS * WIDTH], *out = y;
    const float *in = x;
    gs_batch batch = {ROWS, SEQUENCES, starts};
    assert_true(gs_starve_net(net, &batch, &in, &out) > 10);
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(part_of_a_head_is_rotated),
        cmocka_unit_test(long_sequences_are_stretched_by_their_length),
        cmocka_unit_test(batches_of_other_lengths_follow),
        cmocka_unit_test(yarn_makes_values_larger),
        cmocka_unit_test(impossible_attributes_are_refused),
        cmocka_unit_test(a_rotation_tells_its_kind),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
