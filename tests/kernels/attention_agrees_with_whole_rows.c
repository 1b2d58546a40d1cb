/* gs_attention_run against gs_attention_reference, and the reference against hand arithmetic. */
#include <base/half.h>
#include <base/mem.h>
#include <base/team.h>
#include <kernels/attention/attention.h>
#include <math.h>
#include <tests/support.h>

typedef struct inputs {
    float *q, *k, *v, *out, *want;
    int64_t tokens;
} inputs;

static float *values(int64_t count, float size, uint64_t *seed) {
    float *x = malloc((size_t)(count + 1) * sizeof *x);
    for (int64_t i = 0; i < count; i++) x[i] = gs_test_randf(seed) * size;
    return x;
}

static inputs make(const gs_attention_shape *s, int64_t tokens, uint64_t seed) {
    inputs in = {.tokens = tokens};
    in.q = values(tokens * s->heads * s->head_dim, 3, &seed);
    in.k = values(tokens * s->kv_heads * s->head_dim, 3, &seed);
    in.v = values(tokens * s->kv_heads * s->head_dim, 1, &seed);
    in.out = values(tokens * s->heads * s->head_dim, 1, &seed);
    in.want = values(tokens * s->heads * s->head_dim, 1, &seed);
    return in;
}

static void drop(inputs *in) {
    free(in->q);
    free(in->k);
    free(in->v);
    free(in->out);
    free(in->want);
}

static void round_all(float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] = gs_bf16_to_f32(gs_f32_to_bf16(x[i]));
}

/* Outputs are averages of |v| <= 1. f32: scores are sums of head_dim terms of up to 9*scale;
 * their error moves the weights by as much. bf16: inputs are rounded beforehand, what remains
 * is the rounding of scaled q and of the weights, each 2^-9. */
static double tolerance(gs_gemm_type type, const gs_attention_shape *s) {
    double score = 9 * (double)s->scale * (double)s->head_dim;
    if (type == GS_GEMM_F32) return 4 * (score + 4) * sqrt((double)s->head_dim + 4) * 0x1p-24;
    bool exact_scale = frexp((double)s->scale, &(int){0}) == 0.5;
    return 0x1p-8 + (exact_scale ? 0 : sqrt(score * 9 * (double)s->scale) * 0x1p-8);
}

static void compare(gs_team *team, gs_gemm_type type, const gs_attention_shape *s,
                    int64_t sequences, const int64_t *starts) {
    gs_error err = {0};
    inputs in = make(s, starts[sequences], (uint64_t)(starts[sequences] + s->head_dim));
    if (type == GS_GEMM_BF16) {
        round_all(in.q, in.tokens * s->heads * s->head_dim);
        round_all(in.k, in.tokens * s->kv_heads * s->head_dim);
        round_all(in.v, in.tokens * s->kv_heads * s->head_dim);
    }
    assert_ok(
        gs_attention_run(team, type, s, sequences, starts, in.q, in.k, in.v, in.out, &err),
        &err);
    assert_ok(gs_attention_reference(s, sequences, starts, in.q, in.k, in.v, in.want, &err),
              &err);
    double worst = 0;
    for (int64_t i = 0; i < in.tokens * s->heads * s->head_dim; i++) {
        double error = fabs((double)in.out[i] - (double)in.want[i]);
        if (!(error <= tolerance(type, s)))
            fail_msg("%s, %lld/%lld heads of %lld, window %lld, %lld tokens: out[%lld] = %g, "
                     "not %g",
                     type ? "bf16" : "f32", (long long)s->heads, (long long)s->kv_heads,
                     (long long)s->head_dim, (long long)s->window, (long long)in.tokens,
                     (long long)i, (double)in.out[i], (double)in.want[i]);
        if (error > worst) worst = error;
    }
    drop(&in);
}

static gs_attention_shape shape(int64_t heads, int64_t kv_heads, int64_t head_dim,
                                int64_t window) {
    gs_attention_shape s = {.heads = heads, .kv_heads = kv_heads, .head_dim = head_dim,
                            .scale = (float)(1 / sqrt((double)head_dim)), .window = window};
    return s;
}

static gs_team *two(void) {
    gs_team *team;
    gs_error err = {0};
    assert_ok(gs_team_create(NULL, 2, &team, &err), &err);
    return team;
}

static void every_kind_of_head_agrees(void **state) {
    (void)state;
    static const int64_t heads[][3] = {{1, 1, 8},  {4, 4, 16},  {3, 1, 64},
                                       {9, 3, 64}, {8, 2, 128}, {12, 1, 24},
                                       {2, 2, 80}, {20, 1, 8},  {6, 3, 1}};
    static const int64_t lengths[] = {1, 17, 64, 65, 300};
    gs_team *team = two();
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++)
        for (size_t h = 0; h < GS_COUNTOF(heads); h++)
            for (size_t l = 0; l < GS_COUNTOF(lengths); l++) {
                gs_attention_shape s = shape(heads[h][0], heads[h][1], heads[h][2], 0);
                const int64_t starts[2] = {0, lengths[l]};
                compare(team, (gs_gemm_type)type, &s, 1, starts);
            }
    gs_team_destroy(team);
}

static void sequences_see_only_themselves(void **state) {
    (void)state;
    static const int64_t starts[] = {0, 5, 5, 6, 206, 300, 850};
    gs_team *team = two();
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++) {
        gs_attention_shape s = shape(6, 2, 32, 0);
        compare(team, (gs_gemm_type)type, &s, GS_COUNTOF(starts) - 1, starts);
        compare(NULL, (gs_gemm_type)type, &s, 0, starts);
        s.window = 40;
        compare(team, (gs_gemm_type)type, &s, GS_COUNTOF(starts) - 1, starts);
    }
    gs_team_destroy(team);
}

static void windows_hide_far_keys(void **state) {
    (void)state;
    static const int64_t windows[] = {1, 2, 64, 511, 512, 513, 599, 600, 5000};
    static const int64_t starts[] = {0, 600};
    gs_team *team = two();
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++)
        for (size_t i = 0; i < GS_COUNTOF(windows); i++) {
            gs_attention_shape s = shape(3, 1, 16, windows[i]);
            compare(team, (gs_gemm_type)type, &s, 1, starts);
        }
    gs_team_destroy(team);
}

/* Scores that differ by far more than exp can hold: the running maximum must keep up. */
static void large_scores_do_not_overflow(void **state) {
    (void)state;
    gs_attention_shape s = shape(2, 1, 16, 0);
    s.scale = 40;
    enum { TOKENS = 1100 };
    const int64_t starts[2] = {0, TOKENS};
    gs_error err = {0};
    inputs in = make(&s, TOKENS, 9);
    for (int64_t t = 0; t < TOKENS; t++) /* the best key is always the newest */
        for (int d = 0; d < 16; d++) {
            in.k[t * 16 + d] = (float)t * 0.01f;
            in.q[t * 32 + d] = in.q[t * 32 + 16 + d] = 0.5f;
        }
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++) {
        assert_ok(gs_attention_run(NULL, (gs_gemm_type)type, &s, 1, starts, in.q, in.k, in.v,
                                   in.out, &err),
                  &err);
        for (int64_t i = 0; i < TOKENS * 32; i++) assert_true(fabsf(in.out[i]) <= 1.01f);
    }
    assert_ok(
        gs_attention_run(NULL, GS_GEMM_F32, &s, 1, starts, in.q, in.k, in.v, in.out, &err),
        &err);
    assert_ok(gs_attention_reference(&s, 1, starts, in.q, in.k, in.v, in.want, &err), &err);
    /* scores reach 3520, with an error of some 1e-3 */
    for (int64_t i = 0; i < TOKENS * 32; i++)
        assert_true(fabsf(in.out[i] - in.want[i]) <= 2e-3f);
    drop(&in);
}

static void results_do_not_depend_on_the_team(void **state) {
    (void)state;
    static const int64_t starts[] = {0, 333, 400, 900};
    gs_attention_shape s = shape(9, 3, 64, 0);
    gs_error err = {0};
    for (int kind = 0; kind < 4; kind++) {
        int type = kind % 2 ? GS_GEMM_BF16 : GS_GEMM_F32;
        s.alibi = kind > 1;
        s.softcap = kind > 1 ? 4 : 0;
        inputs in = make(&s, 900, 4);
        assert_ok(gs_attention_run(NULL, (gs_gemm_type)type, &s, 3, starts, in.q, in.k, in.v,
                                   in.want, &err),
                  &err);
        for (int threads = 1; threads <= 3; threads++) {
            gs_team *team;
            assert_ok(gs_team_create(NULL, threads, &team, &err), &err);
            assert_ok(gs_attention_run(team, (gs_gemm_type)type, &s, 3, starts, in.q, in.k,
                                       in.v, in.out, &err),
                      &err);
            assert_memory_equal(in.out, in.want, 900 * 576 * sizeof(float));
            gs_team_destroy(team);
        }
        drop(&in);
    }
}

static void the_reference_is_softmax_times_values(void **state) {
    (void)state;
    gs_attention_shape s = {.heads = 1, .kv_heads = 1, .head_dim = 1, .scale = 2.0f};
    const int64_t starts[2] = {0, 2};
    const float q[2] = {1, 0.5f}, k[2] = {1, 3}, v[2] = {10, 20};
    float out[2];
    gs_error err = {0};
    assert_ok(gs_attention_reference(&s, 1, starts, q, k, v, out, &err), &err);
    double a = exp(1), b = exp(3); /* 2 * 0.5 * {1, 3} */
    assert_true(out[0] == 10);
    assert_true(fabs((double)out[1] - (10 * a + 20 * b) / (a + b)) <= 1e-5);
    s.window = 1;
    assert_ok(gs_attention_reference(&s, 1, starts, q, k, v, out, &err), &err);
    assert_true(out[0] == 10 && out[1] == 20);
}

/* Powers of one root when the heads are a power of two; else the odd powers of the next root follow. */
static void slopes_are_the_published_ones(void **state) {
    (void)state;
    for (int h = 0; h < 8; h++) assert_true(gs_alibi_slope(8, h) == ldexpf(1, -h - 1));
    for (int h = 0; h < 32; h++) assert_true(gs_alibi_slope(40, h) == (float)pow(2, -0.25 * (h + 1)));
    for (int m = 0; m < 8; m++) assert_true(gs_alibi_slope(40, 32 + m) == (float)pow(2, -0.125 * (2 * m + 1)));
    assert_true(gs_alibi_slope(1, 0) == 0x1p-8f);
    assert_true(gs_alibi_slope(3, 1) == 0x1p-8f && gs_alibi_slope(3, 2) == 0x1p-2f);
}

static void the_reference_caps_and_then_adds_slopes(void **state) {
    (void)state;
    gs_attention_shape s = {.heads = 1, .kv_heads = 1, .head_dim = 1, .scale = 2.0f, .softcap = 1.5f};
    const int64_t starts[2] = {0, 2};
    const float q[2] = {1, 0.5f}, k[2] = {1, 3}, v[2] = {10, 20};
    float out[2];
    gs_error err = {0};
    assert_ok(gs_attention_reference(&s, 1, starts, q, k, v, out, &err), &err);
    double one = 1.5 * tanh(1 / 1.5), three = 1.5 * tanh(3 / 1.5), a = exp(one), b = exp(three);
    assert_true(out[0] == 10 && fabs((double)out[1] - (10 * a + 20 * b) / (a + b)) <= 1e-5);
    s.alibi = true;
    assert_ok(gs_attention_reference(&s, 1, starts, q, k, v, out, &err), &err);
    a = exp(one - 1.0 / 256);
    assert_true(out[0] == 10 && fabs((double)out[1] - (10 * a + 20 * b) / (a + b)) <= 1e-5);
}

static void caps_and_slopes_agree(void **state) {
    (void)state;
    static const int64_t heads[][3] = {{4, 4, 16}, {6, 2, 32}, {9, 1, 8}};
    static const int64_t starts[] = {0, 1, 1, 34, 564};
    gs_team *team = two();
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++)
        for (size_t h = 0; h < GS_COUNTOF(heads); h++)
            for (int with = 1; with < 8; with++) {
                gs_attention_shape s = shape(heads[h][0], heads[h][1], heads[h][2], with & 1 ? 100 : 0);
                s.softcap = with & 2 ? 3.5f : 0;
                s.alibi = with & 4;
                compare(team, (gs_gemm_type)type, &s, GS_COUNTOF(starts) - 1, starts);
            }
    gs_team_destroy(team);
}

static void impossible_caps_are_refused(void **state) {
    (void)state;
    static const float caps[] = {-1, NAN, INFINITY};
    gs_error err = {0};
    float x[64] = {0};
    const int64_t starts[2] = {0, 1};
    for (size_t i = 0; i < GS_COUNTOF(caps); i++) {
        gs_attention_shape s = shape(2, 2, 4, 0);
        s.softcap = caps[i];
        assert_fails(gs_attention_run(NULL, GS_GEMM_F32, &s, 1, starts, x, x, x, x, &err), GS_E_INVALID, &err);
    }
}

static void impossible_shapes_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    float x[64] = {0};
    const int64_t good[2] = {0, 1}, late[2] = {1, 2}, backwards[3] = {0, 2, 1};
    gs_attention_shape s = shape(3, 2, 4, 0);
    assert_fails(gs_attention_run(NULL, GS_GEMM_F32, &s, 1, good, x, x, x, x, &err),
                 GS_E_INVALID, &err);
    s = shape(2, 2, 0, 0);
    assert_fails(gs_attention_run(NULL, GS_GEMM_F32, &s, 1, good, x, x, x, x, &err),
                 GS_E_INVALID, &err);
    s = shape(2, 2, 4, -1);
    assert_fails(gs_attention_run(NULL, GS_GEMM_F32, &s, 1, good, x, x, x, x, &err),
                 GS_E_INVALID, &err);
    s = shape(2, 2, 4, 0);
    assert_fails(gs_attention_run(NULL, GS_GEMM_F32, &s, 1, late, x, x, x, x, &err),
                 GS_E_INVALID, &err);
    assert_fails(gs_attention_run(NULL, GS_GEMM_F32, &s, 2, backwards, x, x, x, x, &err),
                 GS_E_INVALID, &err);
}

static void running_out_of_memory_is_an_error(void **state) {
    (void)state;
    gs_attention_shape s = shape(2, 1, 8, 0);
    s.alibi = true;
    const int64_t starts[2] = {0, 70};
    inputs in = make(&s, 70, 2);
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++) {
        bool done = false;
        for (int64_t fail = 0; !done && fail < 100; fail++) {
            gs_error err = {0};
            gs_mem_fail_after(fail);
            gs_status status = gs_attention_run(NULL, (gs_gemm_type)type, &s, 1, starts, in.q,
                                                in.k, in.v, in.out, &err);
            gs_mem_fail_after(-1);
            if (status == GS_OK) done = true;
            else assert_true(status == GS_E_NOMEM && err.text[0]);
        }
        assert_true(done);
    }
    drop(&in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_is_softmax_times_values),
        cmocka_unit_test(every_kind_of_head_agrees),
        cmocka_unit_test(sequences_see_only_themselves),
        cmocka_unit_test(windows_hide_far_keys),
        cmocka_unit_test(large_scores_do_not_overflow),
        cmocka_unit_test(slopes_are_the_published_ones),
        cmocka_unit_test(the_reference_caps_and_then_adds_slopes),
        cmocka_unit_test(caps_and_slopes_agree),
        cmocka_unit_test(impossible_caps_are_refused),
        cmocka_unit_test(results_do_not_depend_on_the_team),
        cmocka_unit_test(impossible_shapes_are_refused),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
