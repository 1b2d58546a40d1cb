/* exp and silu of the selected level against double precision. */
#include <kernels/kernels.h>
#include <math.h>
#include <tests/kernels/isa_level.h>

/* |got - want| in units in the last place of want as a float */
static double ulps(float got, double want) {
    int exponent;
    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1, exponent - 24);
}

static float from_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

enum { BLOCK = 1024 };

/* Every stride-th float from -0 down to -87, each block through the kernel. */
static void exp_is_within_two_ulp(void **state) {
    (void)state;
    const gs_kernels *k = gs_kernels_get();
    uint32_t first = 0x80000000u, last = 0xc2ae0000u; /* -0, -87 */
    float x[BLOCK], y[BLOCK];
    double worst = 0;
    for (uint32_t u = first; u < last;) {
        int n = 0;
        for (; n < BLOCK && u < last; n++, u += 977) x[n] = from_bits(u);
        k->exp_sum_f32(n, x, 0, y);
        for (int i = 0; i < n; i++) {
            double error = ulps(y[i], exp((double)x[i]));
            if (error > worst) worst = error;
        }
    }
    print_message("exp: worst error %.3f ulp\n", worst);
    assert_true(worst <= 2);
}

static void exp_knows_its_ends(void **state) {
    (void)state;
    const gs_kernels *k = gs_kernels_get();
    const float x[8] = {-INFINITY, -1e30f, -87.34f, 0, INFINITY, NAN, 88.7f, 90};
    float y[8];
    k->exp_sum_f32(8, x, 0, y);
    assert_true(y[0] == 0 && y[1] == 0 && y[2] == 0 && y[3] == 1);
    assert_true(y[4] == INFINITY && isnan(y[5]) && y[7] == INFINITY);
    assert_true(ulps(y[6], exp((double)88.7f)) <= 2);
    const float shifted[2] = {1005, 1000};
    float sum = k->exp_sum_f32(2, shifted, 1005, y);
    assert_true(y[0] == 1 && ulps(y[1], exp(-5)) <= 2 && sum == y[0] + y[1]);
    assert_true(k->exp_sum_f32(0, x, 0, y) == 0);
    /* the last that is not flushed, and its neighbour */
    const float low[2] = {-0x1.5d589ep+6f, -0x1.5d58ap+6f};
    k->exp_sum_f32(2, low, 0, y);
    assert_true(y[0] >= 0x1p-126f && ulps(y[0], exp((double)low[0])) <= 2 && y[1] == 0);
}

static void the_bf16_variant_rounds_the_same_values(void **state) {
    (void)state;
    const gs_kernels *k = gs_kernels_get();
    uint64_t seed = 1;
    for (int n = 0; n < 70; n++) {
        float x[70], y[70];
        uint16_t got[70], want[70];
        for (int i = 0; i < n; i++) x[i] = gs_test_randf(&seed) * 20;
        float a = k->exp_sum_f32(n, x, 20, y), b = k->exp_sum_bf16(n, x, 20, got);
        k->convert_f32_bf16(n, y, want);
        assert_true(a == b);
        assert_memory_equal(got, want, (size_t)n * sizeof *got);
    }
}

static void silu_is_within_four_ulp(void **state) {
    (void)state;
    const gs_kernels *k = gs_kernels_get();
    uint64_t seed = 2;
    double worst = 0;
    for (int block = 0; block < 400; block++) {
        float gate[BLOCK], up[BLOCK], y[BLOCK];
        for (int i = 0; i < BLOCK; i++) {
            /* beyond -87 silu falls into the subnormal numbers and the bound no longer holds */
            gate[i] = gs_test_randf(&seed) * (block % 2 ? 87.0f : 4.0f);
            up[i] = 1;
        }
        k->swiglu_f32(BLOCK, gate, up, y);
        for (int i = 0; i < BLOCK; i++) {
            double g = (double)gate[i], error = g == 0 ? 0 : ulps(y[i], g / (1 + exp(-g)));
            if (error > worst) worst = error;
        }
    }
    print_message("silu: worst error %.3f ulp\n", worst);
    assert_true(worst <= 4);
    float gate[4] = {-200, 200, 0, 1}, up[4] = {1, 2, 3, -2}, y[4];
    k->swiglu_f32(4, gate, up, y);
    assert_true(y[0] == 0 && y[1] == 400 && y[2] == 0 && y[3] < 0);
}

static double gelu(double g) { return g / (1 + exp(-2 * sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g))); }

/* Near zero and above in ulp; below, where the exponent's own rounding is multiplied by its size, in the size of the
 * exponent. */
static void gelu_is_within_its_bounds(void **state) {
    (void)state;
    const gs_kernels *k = gs_kernels_get();
    uint64_t seed = 4;
    double worst[2] = {0};
    for (int block = 0; block < 600; block++) {
        float gate[BLOCK], up[BLOCK], y[BLOCK];
        for (int i = 0; i < BLOCK; i++) {
            gate[i] = gs_test_randf(&seed) * (block % 3 == 0 ? 1.0f : block % 3 == 1 ? 9.0f : 0x1p-20f);
            up[i] = 1;
        }
        k->geglu_f32(BLOCK, gate, up, y);
        for (int i = 0; i < BLOCK; i++) {
            double g = (double)gate[i];
            double error = g == 0 ? 0 : g < -1 ? fabs((double)y[i] - gelu(g)) : ulps(y[i], gelu(g));
            if (error > worst[g < -1]) worst[g < -1] = error;
        }
    }
    print_message("gelu: worst error %.3f ulp, below -1 %.3g\n", worst[0], worst[1]);
    assert_true(worst[0] <= 4 && worst[1] <= 1e-7);
    float gate[6] = {-200, 200, 0, 1e30f, -1e30f, NAN}, up[6] = {1, 2, 3, -2, 1, 1}, y[6];
    k->geglu_f32(6, gate, up, y);
    assert_true(y[0] == 0 && y[1] == 400 && y[2] == 0 && y[3] == -2e30f && y[4] == 0 && isnan(y[5]));
}

static void soft_caps_are_within_four_ulp(void **state) {
    (void)state;
    const gs_kernels *k = gs_kernels_get();
    double worst = 0;
    float x[BLOCK], y[BLOCK];
    for (uint32_t u = 0x0d000000u; u < 0x42000000u;) { /* 4e-31 to 32 */
        int n = 0;
        for (; n < BLOCK && u < 0x42000000u; n++, u += 977) x[n] = from_bits(u);
        for (int i = 1; i < n; i += 2) x[i] = -x[i];
        k->softcap_f32(n, x, 1, y);
        for (int i = 0; i < n; i++) {
            double error = ulps(y[i], tanh((double)x[i]));
            if (error > worst) worst = error;
        }
    }
    print_message("tanh: worst error %.3f ulp\n", worst);
    assert_true(worst <= 4);
    const float ends[6] = {0, INFINITY, -INFINITY, NAN, 30, -1e30f};
    k->softcap_f32(6, ends, 30, y);
    assert_true(y[0] == 0 && y[1] == 30 && y[2] == -30 && isnan(y[3]) && y[5] == -30);
    assert_true(ulps(y[4], 30 * tanh(1)) <= 5);
}

static void divergence_terms_match_double_precision(void **state) {
    (void)state;
    enum { N = 5000 };
    const gs_kernels *k = gs_kernels_get();
    static float p[N], q[N];
    uint64_t seed = 3;
    for (int i = 0; i < N; i++) {
        p[i] = gs_test_randf(&seed) * 12;
        q[i] = p[i] + gs_test_randf(&seed);
    }
    double got[3] = {0}, want[3] = {0}, size = 0;
    for (int i = 0; i < N; i += 500) k->kl_block_f32(500, p + i, 12, q + i, 13, got);
    for (int i = 0; i < N; i++) {
        double e = exp((double)p[i] - 12), term = e * ((double)p[i] - (double)q[i]);
        want[0] += e;
        want[1] += exp((double)q[i] - 13);
        want[2] += term;
        size += fabs(term);
    }
    /* 500 terms in 16 lanes: 32 additions and 4 of lanes, each 2^-24 */
    double bound = 40 * 0x1p-24;
    assert_true(fabs(got[0] - want[0]) <= bound * want[0]);
    assert_true(fabs(got[1] - want[1]) <= bound * want[1]);
    assert_true(fabs(got[2] - want[2]) <= bound * size);
}

int main(void) {
    if (isa_level_is_missing()) return ISA_SKIPPED;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_forced_level_is_selected),
        cmocka_unit_test(exp_is_within_two_ulp),
        cmocka_unit_test(exp_knows_its_ends),
        cmocka_unit_test(the_bf16_variant_rounds_the_same_values),
        cmocka_unit_test(silu_is_within_four_ulp),
        cmocka_unit_test(gelu_is_within_its_bounds),
        cmocka_unit_test(soft_caps_are_within_four_ulp),
        cmocka_unit_test(divergence_terms_match_double_precision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
