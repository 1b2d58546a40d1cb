/* gs_gemm_run and gs_gemm_block against the triple loop in double, on shapes around the cuts
 * into blocks and panels, and with gaps between rows. The back end is the machine's, or the one
 * that GSTICK_GEMM names. */
#include <base/half.h>
#include <base/mem.h>
#include <base/team.h>
#include <kernels/gemm/gemm.h>
#include <math.h>
#include <tests/support.h>

static void *matrix(gs_gemm_type type, int64_t count, uint64_t *seed) {
    float *x = malloc((size_t)(count + 1) * sizeof *x);
    for (int64_t i = 0; i < count; i++) {
        x[i] = gs_test_randf(seed);
        if (type == GS_GEMM_BF16) ((uint16_t *)x)[i] = gs_f32_to_bf16(x[i]);
    }
    return x;
}

static double element(gs_gemm_type type, const void *p, int64_t i) {
    return type == GS_GEMM_BF16 ? (double)gs_bf16_to_f32(((const uint16_t *)p)[i])
                                : (double)((const float *)p)[i];
}

/* The error of a sum of k rounded products is below k*eps*sum|a||b| in any order (Higham,
 * Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5); plus the last rounding
 * and that of an accumulated start value. */
static void check(const char *what, gs_gemm_type type, bool trans, bool accumulate, int64_t m,
                  int64_t n, int64_t k, const void *a, int64_t lda, const void *b,
                  int64_t ldb, const float *before, const float *got, int64_t ldc) {
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double start = accumulate ? (double)before[i * ldc + j] : 0, sum = start,
                   size = fabs(start);
            for (int64_t l = 0; l < k; l++) {
                double p = element(type, a, i * lda + l) *
                           element(type, b, trans ? j * ldb + l : l * ldb + j);
                sum += p;
                size += fabs(p);
            }
            double bound = (double)(k + 2) * 0x1p-24 * size,
                   error = fabs((double)got[i * ldc + j] - sum);
            if (!(error <= bound))
                fail_msg("%s %s %lld x %lld x %lld: c[%lld,%lld] = %g, not %g", what,
                         type ? "bf16" : "f32", (long long)m, (long long)n, (long long)k,
                         (long long)i, (long long)j, (double)got[i * ldc + j], sum);
        }
    }
}

/* c with a pattern in it, so that writes between rows are seen. */
static float *patterned(int64_t count) {
    float *c = malloc((size_t)(count + 1) * sizeof *c);
    for (int64_t i = 0; i < count; i++) c[i] = (float)(i % 97) * 0.25f;
    return c;
}

static void gaps_are_untouched(const float *before, const float *after, int64_t m, int64_t n,
                               int64_t ldc) {
    for (int64_t i = 0; i < m; i++)
        assert_memory_equal(before + i * ldc + n, after + i * ldc + n,
                            (size_t)(ldc - n) * sizeof *after);
}

static void one_run(gs_team *team, gs_gemm_type type, int64_t m, int64_t n, int64_t k,
                    int64_t gap_a, int64_t gap_c, bool may_borrow) {
    uint64_t seed = (uint64_t)(m * 31 + n * 7 + k);
    gs_error err = {0};
    void *w = matrix(type, n * k, &seed), *a = matrix(type, m * (k + gap_a), &seed);
    float *before = patterned(m * (n + gap_c)), *c = patterned(m * (n + gap_c));
    void *original = malloc((size_t)(n * k) * 4);
    memcpy(original, w, (size_t)(n * k) * (type == GS_GEMM_BF16 ? 2 : 4));
    gs_gemm_weight *weight;
    bool borrowed = true;
    assert_ok(gs_gemm_weight_create(type, n, k, w, team, may_borrow ? &borrowed : NULL,
                                    &weight, &err),
              &err);
    /* what was not borrowed may go */
    if (!may_borrow || !borrowed)
        memset(w, 0xff, (size_t)(n * k) * (type == GS_GEMM_BF16 ? 2 : 4));
    assert_true(gs_gemm_weight_bytes(weight) > 0);
    assert_ok(gs_gemm_run(team, weight, m, a, k + gap_a, c, n + gap_c, &err), &err);
    check("run", type, true, false, m, n, k, a, k + gap_a, original, k, NULL, c, n + gap_c);
    gaps_are_untouched(before, c, m, n, n + gap_c);
    gs_gemm_weight_destroy(weight);
    free(w);
    free(a);
    free(before);
    free(c);
    free(original);
}

static void a_weight_multiplies_any_number_of_rows(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {
        {1, 1, 1},       {1, 64, 64},   {3, 1, 5},      {64, 64, 64},  {65, 17, 33},
        {63, 65, 1},     {128, 1, 128}, {130, 192, 48}, {5, 1100, 31}, {64, 576, 96},
        {100, 100, 100}, {257, 40, 72}, {300, 33, 7},   {2, 128, 576}};
    gs_team *team;
    gs_error err = {0};
    assert_ok(gs_team_create(NULL, 2, &team, &err), &err);
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++) {
        for (size_t i = 0; i < GS_COUNTOF(shapes); i++) {
            const int64_t *s = shapes[i];
            one_run(team, (gs_gemm_type)type, s[0], s[1], s[2], 0, 0, true);
            one_run(team, (gs_gemm_type)type, s[0], s[1], s[2], 3, 0, false);
            one_run(NULL, (gs_gemm_type)type, s[0], s[1], s[2], 0, 5, true);
            one_run(team, (gs_gemm_type)type, s[0], s[1], s[2], 1, 2, false);
        }
    }
    gs_team_destroy(team);
}

/* Wide and deep enough to be cut into panels of columns. */
static void wide_weights_are_cut_into_panels(void **state) {
    (void)state;
    gs_team *team;
    gs_error err = {0};
    assert_ok(gs_team_create(NULL, 2, &team, &err), &err);
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++) {
        one_run(team, (gs_gemm_type)type, 67, 1300, 1700, 0, 0, true);
        one_run(team, (gs_gemm_type)type, 1, 1536, 2100, 7, 9, false);
    }
    gs_team_destroy(team);
}

static void results_do_not_depend_on_the_team(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{200, 576, 192}, {70, 1300, 1700}, {333, 77, 65}};
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++) {
        for (size_t i = 0; i < GS_COUNTOF(shapes); i++) {
            int64_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
            uint64_t seed = 11;
            gs_error err = {0};
            void *w = matrix((gs_gemm_type)type, n * k, &seed),
                 *a = matrix((gs_gemm_type)type, m * k, &seed);
            float *c[4];
            for (int threads = 0; threads <= 3; threads++) {
                gs_team *team = NULL;
                gs_gemm_weight *weight;
                c[threads] = patterned(m * n);
                if (threads) assert_ok(gs_team_create(NULL, threads, &team, &err), &err);
                bool borrowed;
                assert_ok(gs_gemm_weight_create((gs_gemm_type)type, n, k, w, team, &borrowed,
                                                &weight, &err),
                          &err);
                for (int again = 0; again < 2; again++)
                    assert_ok(gs_gemm_run(team, weight, m, a, k, c[threads], n, &err), &err);
                gs_gemm_weight_destroy(weight);
                gs_team_destroy(team);
                assert_memory_equal(c[threads], c[0], (size_t)(m * n) * sizeof(float));
            }
            for (int threads = 0; threads <= 3; threads++) free(c[threads]);
            free(w);
            free(a);
        }
    }
}

static void one_block(gs_gemm_type type, bool trans, bool accumulate, int64_t m, int64_t n,
                      int64_t k, const int64_t gaps[3]) {
    uint64_t seed = (uint64_t)(m + n * 3 + k * 5);
    int64_t lda = k + gaps[0], ldb = (trans ? k : n) + gaps[1], ldc = n + gaps[2];
    gs_error err = {0};
    void *a = matrix(type, m * lda, &seed), *b = matrix(type, (trans ? n : k) * ldb, &seed);
    float *before = patterned(m * ldc), *c = patterned(m * ldc),
          *reference = patterned(m * ldc);
    assert_ok(gs_gemm_block(type, trans, accumulate, m, n, k, a, lda, b, ldb, c, ldc, &err),
              &err);
    check("block", type, trans, accumulate, m, n, k, a, lda, b, ldb, before, c, ldc);
    gaps_are_untouched(before, c, m, n, ldc);
    gs_gemm_reference(type, trans, accumulate, m, n, k, a, lda, b, ldb, reference, ldc);
    check("reference", type, trans, accumulate, m, n, k, a, lda, b, ldb, before, reference,
          ldc);
    free(a);
    free(b);
    free(before);
    free(c);
    free(reference);
}

static void blocks_take_any_strides(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{1, 1, 1},    {1, 17, 64},  {17, 1, 9},
                                        {16, 16, 1},  {33, 65, 31}, {192, 256, 64},
                                        {64, 64, 250}};
    static const int64_t gaps[][3] = {
        {0, 0, 0}, {1, 0, 0}, {0, 3, 0}, {0, 0, 5}, {7, 128, 1}};
    for (int bits = 0; bits < 8; bits++)
        for (size_t i = 0; i < GS_COUNTOF(shapes); i++)
            for (size_t j = 0; j < GS_COUNTOF(gaps); j++)
                one_block(bits & 1 ? GS_GEMM_BF16 : GS_GEMM_F32, (bits & 2) != 0,
                          (bits & 4) != 0, shapes[i][0], shapes[i][1], shapes[i][2], gaps[j]);
}

/* More shapes than the cache of products holds, twice, so that they are evicted and remade. */
static void many_shapes_pass_through_the_cache(void **state) {
    (void)state;
    static const int64_t gaps[3] = {0, 0, 0};
    for (int round = 0; round < 2; round++)
        for (int64_t i = 1; i <= 300; i++)
            one_block(GS_GEMM_F32, true, false, 1 + i % 3, i, 1 + i % 5, gaps);
}

static void nothing_to_do_is_fine(void **state) {
    (void)state;
    gs_error err = {0};
    float a[4] = {1, 2, 3, 4}, c[4] = {5, 6, 7, 8};
    assert_ok(gs_gemm_block(GS_GEMM_F32, true, false, 0, 2, 2, a, 2, a, 2, c, 2, &err), &err);
    assert_ok(gs_gemm_block(GS_GEMM_F32, true, false, 2, 0, 2, a, 2, a, 2, c, 2, &err), &err);
    assert_ok(gs_gemm_block(GS_GEMM_F32, true, true, 2, 2, 0, a, 2, a, 2, c, 2, &err), &err);
    assert_true(c[0] == 5 && c[3] == 8);
    assert_ok(gs_gemm_block(GS_GEMM_F32, true, false, 2, 2, 0, a, 2, a, 2, c, 2, &err), &err);
    assert_true(c[0] == 0 && c[3] == 0);
    gs_gemm_weight *w;
    assert_ok(gs_gemm_weight_create(GS_GEMM_F32, 2, 2, a, NULL, NULL, &w, &err), &err);
    assert_ok(gs_gemm_run(NULL, w, 0, a, 2, c, 2, &err), &err);
    gs_gemm_weight_destroy(w);
    gs_gemm_weight_destroy(NULL);
}

static void impossible_sizes_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    float a[4] = {1, 2, 3, 4}, c[4];
    gs_gemm_weight *w;
    assert_fails(gs_gemm_weight_create(GS_GEMM_F32, 0, 2, a, NULL, NULL, &w, &err),
                 GS_E_INVALID, &err);
    assert_null(w);
    assert_fails(
        gs_gemm_weight_create(GS_GEMM_F32, INT64_MAX, INT64_MAX, a, NULL, NULL, &w, &err),
        GS_E_INVALID, &err);
    assert_fails(gs_gemm_block(GS_GEMM_F32, true, false, 2, 2, 2, a, 1, a, 2, c, 2, &err),
                 GS_E_INVALID, &err);
    assert_fails(gs_gemm_block(GS_GEMM_F32, false, false, 2, 2, 2, a, 2, a, 1, c, 2, &err),
                 GS_E_INVALID, &err);
    assert_fails(gs_gemm_block(GS_GEMM_F32, false, false, -1, 2, 2, a, 2, a, 2, c, 2, &err),
                 GS_E_INVALID, &err);
    assert_ok(gs_gemm_weight_create(GS_GEMM_F32, 2, 2, a, NULL, NULL, &w, &err), &err);
    assert_fails(gs_gemm_run(NULL, w, 1, a, 1, c, 2, &err), GS_E_INVALID, &err);
    assert_fails(gs_gemm_run(NULL, w, 1, a, 2, c, 1, &err), GS_E_INVALID, &err);
    gs_gemm_weight_destroy(w);
}

/* Every allocation of ours fails once: an error each time, and nothing leaks (LeakSanitizer). */
static void running_out_of_memory_is_an_error(void **state) {
    (void)state;
    enum { M = 70, N = 48, K = 40 };
    uint64_t seed = 3;
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++) {
        void *a = matrix((gs_gemm_type)type, M * (K + 1), &seed),
             *w = matrix((gs_gemm_type)type, N * K, &seed);
        float *c = patterned(M * N);
        bool done = false;
        for (int64_t fail = 0; !done && fail < 100; fail++) {
            gs_error err = {0};
            gs_gemm_weight *weight;
            gs_mem_fail_after(fail);
            gs_status status =
                gs_gemm_weight_create((gs_gemm_type)type, N, K, w, NULL, NULL, &weight, &err);
            if (status == GS_OK) status = gs_gemm_run(NULL, weight, M, a, K + 1, c, N, &err);
            gs_mem_fail_after(-1);
            gs_gemm_weight_destroy(weight);
            if (status == GS_OK) done = true;
            else assert_true(status == GS_E_NOMEM && err.text[0]);
        }
        assert_true(done);
        free(a);
        free(w);
        free(c);
    }
}

static void the_backend_has_a_name(void **state) {
    (void)state;
    assert_true(strlen(gs_gemm_backend(GS_GEMM_F32)) > 0 &&
                strlen(gs_gemm_backend(GS_GEMM_BF16)) > 0);
    print_message("%s; %s\n", gs_gemm_backend(GS_GEMM_F32), gs_gemm_backend(GS_GEMM_BF16));
    const char *forced = getenv("GSTICK_GEMM");
    if (forced) assert_non_null(strcasestr(gs_gemm_backend(GS_GEMM_F32), forced));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_backend_has_a_name),
        cmocka_unit_test(a_weight_multiplies_any_number_of_rows),
        cmocka_unit_test(wide_weights_are_cut_into_panels),
        cmocka_unit_test(results_do_not_depend_on_the_team),
        cmocka_unit_test(blocks_take_any_strides),
        cmocka_unit_test(many_shapes_pass_through_the_cache),
        cmocka_unit_test(nothing_to_do_is_fine),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
