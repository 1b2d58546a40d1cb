#include "../support.h"

#include <base/half.h>
#include <math.h>

/* A 16-bit float by its parameters, in plain double arithmetic (IEEE 754 section 3):
 * everything that is checked here is derived from these three numbers. */
typedef struct format {
    int mantissa, bias, exponents; /* mantissa bits, exponent bias, largest exponent field */
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
} format;

static const format f16 = {10, 15, 31, gs_f16_to_f32, gs_f32_to_f16};
static const format bf16 = {7, 127, 255, gs_bf16_to_f32, gs_f32_to_bf16};

/* Infinity and NaN aside. */
static double value_of(const format *f, uint32_t h) {
    int exponent = (int)(h >> f->mantissa) & f->exponents;
    double fraction = h & ((1u << f->mantissa) - 1);
    int scale = (exponent ? exponent : 1) - f->bias - f->mantissa;
    double v = ldexp(exponent ? fraction + ldexp(1, f->mantissa) : fraction, scale);
    return h & 0x8000 ? -v : v;
}

static bool is_special(const format *f, uint32_t h) {
    return ((int)(h >> f->mantissa) & f->exponents) == f->exponents;
}

static double rounded(const format *f, double v) {
    if (v == 0 || isinf(v)) return v;
    int exponent = ilogb(v);
    if (exponent < 1 - f->bias) exponent = 1 - f->bias;
    double quantum = ldexp(1, exponent - f->mantissa);
    double r = rint(v / quantum) * quantum; /* the default mode: ties to even */
    double limit = ldexp(2, f->exponents - 1 - f->bias);
    return fabs(r) >= limit ? copysign(INFINITY, v) : r;
}

static void check_narrow(const format *f, float x) {
    uint16_t h = f->narrow(x);
    double want = rounded(f, x);
    if (isinf(want)) {
        uint16_t infinity = (uint16_t)(f->exponents << f->mantissa);
        assert_int_equal(h, x < 0 ? infinity | 0x8000 : infinity);
    } else {
        assert_false(is_special(f, h));
        if (value_of(f, h) != want) fail_msg("%a became %a, not %a", x, value_of(f, h), want);
        assert_int_equal(h >> 15, signbit(x) ? 1 : 0);
    }
}

static void check_every_value(const format *f) {
    for (uint32_t h = 0; h <= 0xffff; h++) {
        float x = f->widen((uint16_t)h);
        uint32_t fraction = h & ((1u << f->mantissa) - 1);
        if (is_special(f, h) && fraction) {
            assert_true(isnan(x));
            uint16_t back = f->narrow(x);
            assert_true(isnan(f->widen(back)));
            assert_int_equal(back >> 15, h >> 15);
            continue;
        }
        if (is_special(f, h)) {
            assert_true(isinf(x));
            assert_int_equal(signbit(x) ? 1 : 0, h >> 15);
        } else {
            if ((double)x != value_of(f, h)) fail_msg("%04x is %a, not %a", h, x, value_of(f, h));
            assert_int_equal(signbit(x) ? 1 : 0, h >> 15);
        }
        assert_int_equal(f->narrow(x), h);
    }
}

/* Halfway between neighbours, one float less and one more. */
static void check_every_tie(const format *f) {
    for (uint32_t h = 0; h < 0x7fff; h++) {
        if (is_special(f, h)) continue;
        double next = is_special(f, h + 1) ? ldexp(2, f->exponents - 1 - f->bias)
                                           : value_of(f, h + 1);
        float middle = (float)((value_of(f, h) + next) / 2);
        float around[] = {nextafterf(middle, -INFINITY), middle, nextafterf(middle, INFINITY)};
        for (size_t i = 0; i < 3; i++) {
            check_narrow(f, around[i]);
            check_narrow(f, -around[i]);
        }
    }
}

static void check_random_floats(const format *f) {
    uint64_t seed = 11;
    for (int i = 0; i < 1000000; i++) {
        float x = gs_f32_from_bits((uint32_t)gs_test_rand(&seed));
        if (isnan(x)) assert_true(isnan(f->widen(f->narrow(x))));
        else check_narrow(f, x);
    }
}

static void every_f16_survives_both_ways(void **state) {
    (void)state;
    check_every_value(&f16);
}
static void every_bf16_survives_both_ways(void **state) {
    (void)state;
    check_every_value(&bf16);
}
static void f16_ties_go_to_even(void **state) {
    (void)state;
    check_every_tie(&f16);
}
static void bf16_ties_go_to_even(void **state) {
    (void)state;
    check_every_tie(&bf16);
}
static void any_float_rounds_to_the_nearest(void **state) {
    (void)state;
    check_random_floats(&f16);
    check_random_floats(&bf16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f16_survives_both_ways),
        cmocka_unit_test(every_bf16_survives_both_ways),
        cmocka_unit_test(f16_ties_go_to_even),
        cmocka_unit_test(bf16_ties_go_to_even),
        cmocka_unit_test(any_float_rounds_to_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
