/* gs_gemm_s8_run against the plain sums and an epilogue of single operations, bit for bit: on
 * shapes around the cuts into blocks, panels and slices, on codes that overflow any narrower
 * sum, and with gaps between rows. The engine is the machine's, or the one that GSTICK_GEMM or
 * DNNL_MAX_CPU_ISA leave. */
#include <base/half.h>
#include <base/mem.h>
#include <base/team.h>
#include <kernels/gemm/gemm_s8.h>
#include <math.h>
#include <tests/kernels/guarded.h>

/* What the codes are. */
typedef enum codes { RANDOM, LOWEST, HIGHEST, OPPOSITE, LARGE, CODES } codes;

static int8_t code(codes what, bool of_weight, uint64_t *seed) {
    uint64_t r = gs_test_rand(seed);
    switch (what) {
    case LOWEST: return -128;
    case HIGHEST: return 127;
    case OPPOSITE: return of_weight ? -128 : 127;
    case LARGE: return (int8_t)(127 - r % 9); /* odd sums beyond 2^24 */
    default: return (int8_t)r;
    }
}

static int8_t *matrix(codes what, bool of_weight, int64_t count, uint64_t *seed) {
    int8_t *q = malloc((size_t)count);
    for (int64_t i = 0; i < count; i++) q[i] = code(what, of_weight, seed);
    return q;
}

enum { WITH_BIAS = 1, WITH_ROW_SCALE = 2, WITH_ADDEND = 4, PARTS = 8 };

typedef struct terms {
    gs_gemm_s8_epilogue e;
    int32_t *bias;
    float *scale, *row_scale, *addend;
} terms;

static float *floats(int64_t count, float size, uint64_t *seed) {
    float *x = malloc((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++) x[i] = gs_test_randf(seed) * size;
    return x;
}

static terms terms_make(int parts, gs_dtype round, int64_t m, int64_t n, uint64_t *seed) {
    terms t = {.scale = floats(n, 1e-3f, seed),
               .row_scale = floats(m, 2, seed),
               .addend = floats(n, 30, seed)};
    t.bias = malloc((size_t)n * sizeof *t.bias);
    for (int64_t j = 0; j < n; j++) t.bias[j] = (int32_t)(gs_test_rand(seed) % 60001) - 30000;
    t.e = (gs_gemm_s8_epilogue){.bias = parts & WITH_BIAS ? t.bias : NULL,
                                .scale = t.scale,
                                .row_scale = parts & WITH_ROW_SCALE ? t.row_scale : NULL,
                                .addend = parts & WITH_ADDEND ? t.addend : NULL,
                                .round = round};
    return t;
}

static void terms_free(terms *t) {
    free(t->bias);
    free(t->scale);
    free(t->row_scale);
    free(t->addend);
}

static float finished(const gs_gemm_s8_epilogue *e, int64_t i, int64_t j, int32_t acc) {
    /* volatile: each operation rounded to f32 by itself */
    volatile float y = (float)(acc + (e->bias ? e->bias[j] : 0));
    y = y * e->scale[j];
    if (e->row_scale) y = y * e->row_scale[i];
    if (e->addend) y = y + e->addend[j];
    if (e->round == GS_F16) return gs_f16_to_f32(gs_f32_to_f16(y));
    if (e->round == GS_BF16) return gs_bf16_to_f32(gs_f32_to_bf16(y));
    return y;
}

/* Sums of the rows of a that lie lda apart. */
static int32_t *sums(int64_t m, int64_t n, int64_t k, const int8_t *a, int64_t lda,
                     const int8_t *w) {
    int32_t *acc = malloc((size_t)(m * n) * sizeof *acc);
    for (int64_t i = 0; i < m; i++) gs_gemm_s8_reference(1, n, k, a + i * lda, w, acc + i * n);
    return acc;
}

static const float GAP = 12345.75f;

static void check(const gs_gemm_s8_epilogue *e, int64_t m, int64_t n, int64_t k,
                  const int32_t *acc, const float *c, int64_t ldc) {
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            float want = finished(e, i, j, acc[i * n + j]), got = c[i * ldc + j];
            if (memcmp(&want, &got, sizeof got) != 0)
                fail_msg("%lld x %lld x %lld: c[%lld,%lld] = %a, not %a (sum %d)", (long long)m,
                         (long long)n, (long long)k, (long long)i, (long long)j, (double)got,
                         (double)want, (int)acc[i * n + j]);
        }
        for (int64_t j = n; j < ldc && i + 1 < m; j++) assert_true(c[i * ldc + j] == GAP);
    }
}

typedef struct setting {
    codes what;
    int parts; /* of the epilogue */
    gs_dtype round;
    int64_t gap_a, gap_c;
    bool may_borrow;
} setting;

/* a and c end at pages that nobody may touch. */
static void one_run(gs_team *team, int64_t m, int64_t n, int64_t k, setting s) {
    uint64_t seed = (uint64_t)(m * 31 + n * 7 + k);
    int64_t lda = k + s.gap_a, ldc = n + s.gap_c, a_count = (m - 1) * lda + k,
            c_count = (m - 1) * ldc + n;
    gs_error err = {0};
    int8_t *w = matrix(s.what, true, n * k, &seed);
    guarded a = guarded_alloc((size_t)a_count), c = guarded_alloc((size_t)c_count * sizeof(float));
    for (int64_t i = 0; i < a_count; i++) ((int8_t *)a.data)[i] = code(s.what, false, &seed);
    for (int64_t i = 0; i < c_count; i++) ((float *)c.data)[i] = GAP;
    int32_t *acc = sums(m, n, k, a.data, lda, w);
    terms t = terms_make(s.parts, s.round, m, n, &seed);
    gs_gemm_s8_weight *weight;
    bool borrowed = true;
    assert_ok(gs_gemm_s8_weight_create(n, k, w, team, s.may_borrow ? &borrowed : NULL, &weight,
                                       &err),
              &err);
    /* what was not borrowed may go */
    if (!s.may_borrow || !borrowed) memset(w, 0x55, (size_t)(n * k));
    assert_true(gs_gemm_s8_weight_bytes(weight) > 0);
    assert_ok(gs_gemm_s8_run(team, weight, m, a.data, lda, &t.e, c.data, ldc, &err), &err);
    check(&t.e, m, n, k, acc, c.data, ldc);
    gs_gemm_s8_weight_destroy(weight);
    terms_free(&t);
    guarded_free(&a);
    guarded_free(&c);
    free(acc);
    free(w);
}

static gs_team *team_of(int threads) {
    gs_team *team;
    gs_error err = {0};
    assert_ok(gs_team_create(NULL, threads, &team, &err), &err);
    return team;
}

static void the_reference_adds_up_products(void **state) {
    (void)state;
    const int8_t a[2][3] = {{1, -128, 3}, {127, 0, -1}}, w[2][3] = {{-128, -128, 2}, {5, 1, 0}};
    int32_t acc[4];
    gs_gemm_s8_reference(2, 2, 3, a[0], w[0], acc);
    assert_int_equal(acc[0], -128 + 16384 + 6);
    assert_int_equal(acc[1], 5 - 128);
    assert_int_equal(acc[2], -16256 - 2);
    assert_int_equal(acc[3], 635);
}

static void sums_are_exact_on_any_shape(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {
        {1, 1, 1},     {1, 1, 2},      {3, 5, 1},       {2, 3, 3},       {64, 64, 64},
        {65, 17, 33},  {63, 65, 1},    {1, 64, 1023},   {7, 33, 1023},   {5, 64, 1024},
        {66, 63, 1025}, {1, 513, 129}, {129, 511, 31},  {64, 577, 96},   {257, 257, 77},
        {300, 33, 7},  {2, 1100, 576}, {130, 192, 576}, {33, 129, 2049}, {70, 7, 3001}};
    gs_team *team = team_of(2);
    for (size_t i = 0; i < GS_COUNTOF(shapes); i++) {
        const int64_t *s = shapes[i];
        one_run(team, s[0], s[1], s[2], (setting){RANDOM, 0, GS_F32, 0, 0, true});
        one_run(team, s[0], s[1], s[2], (setting){RANDOM, WITH_BIAS, GS_F32, 3, 0, false});
        one_run(NULL, s[0], s[1], s[2], (setting){RANDOM, WITH_ROW_SCALE, GS_F32, 0, 5, true});
        one_run(team, s[0], s[1], s[2], (setting){LARGE, WITH_ADDEND, GS_F32, 1, 2, false});
    }
    gs_team_destroy(team);
}

static void sums_of_extreme_codes_are_exact(void **state) {
    (void)state;
    static const int64_t depths[] = {1, 2, 4, 576, 1024, 1025, 1536, 4096};
    for (int what = 0; what < CODES; what++) {
        for (size_t i = 0; i < GS_COUNTOF(depths); i++)
            one_run(NULL, 3, 65, depths[i], (setting){(codes)what, 0, GS_F32, 0, 0, true});
        one_run(NULL, 2, 3, GS_GEMM_S8_MAX_K, (setting){(codes)what, 0, GS_F32, 0, 0, true});
        one_run(NULL, 1, 17, GS_GEMM_S8_MAX_K - 1, (setting){(codes)what, 0, GS_F32, 0, 0, true});
    }
}

/* The corrected bias of an engine may wrap where the sum with it does not. */
static void a_bias_may_reach_the_limits(void **state) {
    (void)state;
    enum { K = 70000, N = 2 };
    static int8_t a[K], w[N][K];
    memset(a, -128, sizeof a);
    memset(w[0], 127, K);  /* -1137920000 */
    memset(w[1], -128, K); /* 1146880000 */
    const int32_t bias[N] = {INT32_MIN + 1137920000, INT32_MAX - 1146880000};
    const float scale[N] = {1, 1};
    const gs_gemm_s8_epilogue e = {.bias = bias, .scale = scale, .round = GS_F32};
    gs_gemm_s8_weight *weight;
    gs_error err = {0};
    float c[N];
    assert_ok(gs_gemm_s8_weight_create(N, K, w[0], NULL, NULL, &weight, &err), &err);
    assert_ok(gs_gemm_s8_run(NULL, weight, 1, a, K, &e, c, N, &err), &err);
    assert_true(c[0] == -0x1p31f && c[1] == 0x1p31f);
    gs_gemm_s8_weight_destroy(weight);
}

static void every_epilogue_rounds_each_operation_once(void **state) {
    (void)state;
    static const gs_dtype rounds[] = {GS_F32, GS_F16, GS_BF16};
    gs_team *team = team_of(2);
    for (int parts = 0; parts < PARTS; parts++)
        for (size_t r = 0; r < GS_COUNTOF(rounds); r++)
            for (int64_t gap = 0; gap < 4; gap += 3) {
                one_run(team, 70, 530, 200, (setting){RANDOM, parts, rounds[r], gap, gap, true});
                one_run(team, 1, 19, 1100, (setting){LARGE, parts, rounds[r], gap, gap, true});
            }
    gs_team_destroy(team);
}

static void results_do_not_depend_on_the_team(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{200, 576, 192}, {70, 1300, 1700}, {533, 77, 65}};
    for (size_t i = 0; i < GS_COUNTOF(shapes); i++) {
        int64_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
        uint64_t seed = 11;
        gs_error err = {0};
        int8_t *w = matrix(RANDOM, true, n * k, &seed), *a = matrix(RANDOM, false, m * k, &seed);
        terms t = terms_make(PARTS - 1, GS_BF16, m, n, &seed);
        size_t bytes = (size_t)(m * n) * sizeof(float);
        float *c = malloc(bytes), *first = malloc(bytes);
        for (int threads = 0; threads <= 3; threads++) {
            gs_team *team = threads ? team_of(threads) : NULL;
            gs_gemm_s8_weight *weight;
            bool borrowed;
            assert_ok(gs_gemm_s8_weight_create(n, k, w, team, &borrowed, &weight, &err), &err);
            for (int again = 0; again < 2; again++) {
                memset(c, 0xff, bytes);
                assert_ok(gs_gemm_s8_run(team, weight, m, a, k, &t.e, c, n, &err), &err);
                if (!threads && !again) memcpy(first, c, bytes);
                assert_memory_equal(c, first, bytes);
            }
            gs_gemm_s8_weight_destroy(weight);
            gs_team_destroy(team);
        }
        terms_free(&t);
        free(c);
        free(first);
        free(w);
        free(a);
    }
}

static void impossible_calls_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    const int8_t a[4] = {1, 2, 3, 4};
    const float scale[2] = {1, 1};
    float c[4] = {5, 6, 7, 8};
    gs_gemm_s8_epilogue e = {.scale = scale, .round = GS_F32};
    gs_gemm_s8_weight *w;
    static const int64_t bad[][2] = {{0, 2}, {2, 0}, {-1, 2}, {1, GS_GEMM_S8_MAX_K + 1},
                                     {INT64_MAX, 2}, {2, INT64_MAX}};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        assert_fails(gs_gemm_s8_weight_create(bad[i][0], bad[i][1], a, NULL, NULL, &w, &err),
                     GS_E_INVALID, &err);
        assert_null(w);
    }
    assert_ok(gs_gemm_s8_weight_create(2, 2, a, NULL, NULL, &w, &err), &err);
    assert_fails(gs_gemm_s8_run(NULL, w, -1, a, 2, &e, c, 2, &err), GS_E_INVALID, &err);
    assert_fails(gs_gemm_s8_run(NULL, w, 2, a, 1, &e, c, 2, &err), GS_E_INVALID, &err);
    assert_fails(gs_gemm_s8_run(NULL, w, 2, a, 2, &e, c, 1, &err), GS_E_INVALID, &err);
    e.round = GS_I8;
    assert_fails(gs_gemm_s8_run(NULL, w, 2, a, 2, &e, c, 2, &err), GS_E_INVALID, &err);
    e.round = GS_F32;
    e.scale = NULL;
    assert_fails(gs_gemm_s8_run(NULL, w, 2, a, 2, &e, c, 2, &err), GS_E_INVALID, &err);
    e.scale = scale;
    assert_ok(gs_gemm_s8_run(NULL, w, 0, a, 2, &e, c, 2, &err), &err);
    assert_true(c[0] == 5 && c[3] == 8);
    gs_gemm_s8_weight_destroy(w);
    gs_gemm_s8_weight_destroy(NULL);
}

/* Every allocation of ours fails once: an error each time, and nothing leaks (LeakSanitizer). */
static void running_out_of_memory_is_an_error(void **state) {
    (void)state;
    enum { M = 70, N = 601, K = 43 };
    uint64_t seed = 3;
    int8_t *w = matrix(RANDOM, true, N * K, &seed), *a = matrix(RANDOM, false, M * K, &seed);
    float *c = malloc(sizeof(float) * M * N);
    terms t = terms_make(PARTS - 1, GS_F16, M, N, &seed);
    int64_t fail = 0;
    for (bool done = false; !done && fail < 100; fail++) {
        gs_error err = {0};
        gs_gemm_s8_weight *weight;
        gs_mem_fail_after(fail);
        gs_status status = gs_gemm_s8_weight_create(N, K, w, NULL, NULL, &weight, &err);
        if (status == GS_OK) status = gs_gemm_s8_run(NULL, weight, M, a, K, &t.e, c, N, &err);
        gs_mem_fail_after(-1);
        if (status != GS_OK) {
            assert_int_equal(status, GS_E_NOMEM);
            assert_true(err.text[0] != 0);
        }
        gs_gemm_s8_weight_destroy(weight);
        done = status == GS_OK;
    }
    assert_true(fail > 3 && fail < 100);
    int32_t *acc = sums(M, N, K, a, K, w);
    check(&t.e, M, N, K, acc, c, N);
    terms_free(&t);
    free(acc);
    free(w);
    free(a);
    free(c);
}

static void the_backend_has_a_name(void **state) {
    (void)state;
    print_message("%s\n", gs_gemm_s8_backend());
    assert_non_null(strstr(gs_gemm_s8_backend(), "int8"));
    const char *forced = getenv("GSTICK_GEMM");
    if (forced) assert_non_null(strcasestr(gs_gemm_s8_backend(), forced));
    /* below the dot products the codes must be widened: sums of pairs in 16 bits saturate */
    const char *isa = getenv("DNNL_MAX_CPU_ISA");
    if (isa && !strcmp(isa, "AVX2")) assert_non_null(strstr(gs_gemm_s8_backend(), "widened"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_backend_has_a_name),
        cmocka_unit_test(the_reference_adds_up_products),
        cmocka_unit_test(sums_are_exact_on_any_shape),
        cmocka_unit_test(sums_of_extreme_codes_are_exact),
        cmocka_unit_test(a_bias_may_reach_the_limits),
        cmocka_unit_test(every_epilogue_rounds_each_operation_once),
        cmocka_unit_test(results_do_not_depend_on_the_team),
        cmocka_unit_test(impossible_calls_are_refused),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
