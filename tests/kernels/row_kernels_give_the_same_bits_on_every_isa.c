/* Each level's kernels against the scalar table, bit for bit, on random rows and on rows of
 * special values, of every length around the packs, ending at a guard page. */
#include <kernels/kernels.h>
#include <math.h>
#include <tests/kernels/guarded.h>
#include <tests/kernels/isa_level.h>

static const int64_t lengths[] = {0,   1,   2,   3,   4,   5,   6,    7,    8,   9,  10, 11,
                                  12,  13,  14,  15,  16,  17,  18,   23,   31,  32, 33, 34,
                                  39,  40,  41,  47,  48,  49,  63,   64,   65,  95, 96, 97,
                                  127, 128, 129, 192, 576, 577, 1000, 1536, 4099};

/* What makes up a row. */
typedef enum fill { RANDOM, WIDE, SPECIAL, TIES, ZERO, TINY, FILLS } fill;

static float special(uint64_t r) {
    static const uint32_t bits[] = {0x00000000, 0x80000000, 0x7f800000, 0xff800000,
                                    0x7fc00000, 0xffc00000, 0x7f800001, /* 0 inf NaN */
                                    0xff812345, 0x00000001, 0x80000001, 0x007fffff,
                                    0x00800000, 0x7f7fffff, 0xff7fffff, /* limits */
                                    0x477fefff, 0x477ff000, 0x477fe000, 0x38800000,
                                    0x387fffff, 0x33000000, 0x33000001, /* f16 edges */
                                    0x3f808000, 0x3f818000, 0x3f808001, 0x7f7f8000,
                                    0x3f800000, 0xbf800000, 0x42fe0000};
    float x;
    memcpy(&x, &bits[r % GS_COUNTOF(bits)], sizeof x);
    return x;
}

static float value(fill f, uint64_t *state) {
    float x = gs_test_randf(state);
    switch (f) {
    case WIDE: return ldexpf(x, (int)(gs_test_rand(state) % 250) - 130);
    case SPECIAL: return gs_test_rand(state) % 3 ? special(gs_test_rand(state)) : x;
    case TIES: return (float)((int)(gs_test_rand(state) % 600) - 300) + 0.5f;
    case ZERO: return gs_test_rand(state) % 2 ? 0.0f : -0.0f;
    case TINY: return x * 0x1p-130f;
    default: return x * 4;
    }
}

/* Two inputs of n floats, and an output of the kernel under test and of the scalar one. */
typedef struct row {
    int64_t n;
    guarded a, b, got, want;
    fill f;
} row;

static row row_make(int64_t n, size_t out_size, fill f, uint64_t seed) {
    row r = {.n = n, .f = f};
    size_t bytes = (size_t)n * sizeof(float);
    r.a = guarded_alloc(bytes);
    r.b = guarded_alloc(bytes);
    r.got = guarded_alloc((size_t)n * out_size);
    r.want = guarded_alloc((size_t)n * out_size);
    for (int64_t i = 0; i < n; i++) {
        ((float *)r.a.data)[i] = value(f, &seed);
        ((float *)r.b.data)[i] = value(f, &seed);
    }
    return r;
}

static void row_free(row *r) {
    guarded_free(&r->a);
    guarded_free(&r->b);
    guarded_free(&r->got);
    guarded_free(&r->want);
}

static void same_bytes(const char *kernel, const gs_kernels *k, const row *r, const void *got,
                       const void *want, size_t bytes) {
    if (memcmp(got, want, bytes) == 0) return;
    size_t i = 0;
    while (((const char *)got)[i] == ((const char *)want)[i]) i++;
    fail_msg("%s on %s differs from scalar at byte %zu of %zu (n = %lld, fill %d)", kernel,
             gs_isa_name(k->isa), i, bytes, (long long)r->n, (int)r->f);
}

/* NaN may carry another sign or payload where it comes out of arithmetic. */
static void one_nan(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (isnan(x[i])) x[i] = NAN;
}

typedef void each_fn(const gs_kernels *k, const gs_kernels *scalar, int64_t n, fill f,
                     uint64_t seed);

static void for_each_level(each_fn *each) {
    const gs_kernels *scalar = gs_kernels_for(GS_ISA_SCALAR);
    assert_non_null(scalar);
    for (int isa = 0; isa < GS_ISA_COUNT; isa++) {
        const gs_kernels *k = gs_kernels_for((gs_isa)isa);
        assert_true((k != NULL) == gs_isa_supported((gs_isa)isa));
        if (!k) continue;
        assert_int_equal(k->isa, isa);
        for (size_t i = 0; i < GS_COUNTOF(lengths); i++)
            for (int f = 0; f < FILLS; f++)
                each(k, scalar, lengths[i], (fill)f, (uint64_t)(lengths[i] * 7 + f));
    }
}

static void conversions(const gs_kernels *k, const gs_kernels *s, int64_t n, fill f,
                        uint64_t seed) {
    row r = row_make(n, 2, f, seed);
    k->convert_f32_bf16(n, r.a.data, r.got.data);
    s->convert_f32_bf16(n, r.a.data, r.want.data);
    same_bytes("convert_f32_bf16", k, &r, r.got.data, r.want.data, (size_t)n * 2);
    k->convert_f32_f16(n, r.a.data, r.got.data);
    s->convert_f32_f16(n, r.a.data, r.want.data);
    same_bytes("convert_f32_f16", k, &r, r.got.data, r.want.data, (size_t)n * 2);
    row_free(&r);
}

static void conversions_from_f32_agree(void **state) {
    (void)state;
    for_each_level(conversions);
}

static void all_65536_halves_widen_alike(void **state) {
    (void)state;
    enum { ALL = 65536 };
    const gs_kernels *scalar = gs_kernels_for(GS_ISA_SCALAR);
    uint16_t *in = malloc(ALL * sizeof *in);
    float *got = malloc(ALL * sizeof *got), *want = malloc(ALL * sizeof *want);
    for (int i = 0; i < ALL; i++) in[i] = (uint16_t)i;
    for (int isa = 0; isa < GS_ISA_COUNT; isa++) {
        const gs_kernels *k = gs_kernels_for((gs_isa)isa);
        if (!k) continue;
        k->convert_f16_f32(ALL, in, got);
        scalar->convert_f16_f32(ALL, in, want);
        assert_memory_equal(got, want, ALL * sizeof *got);
        k->convert_bf16_f32(ALL, in, got);
        scalar->convert_bf16_f32(ALL, in, want);
        assert_memory_equal(got, want, ALL * sizeof *got);
    }
    free(in);
    free(got);
    free(want);
}

static void widening(const gs_kernels *k, const gs_kernels *s, int64_t n, fill f,
                     uint64_t seed) {
    if (f != RANDOM) return;
    row r = row_make(n, 4, f, seed);
    guarded in = guarded_alloc((size_t)n * 2);
    for (int64_t i = 0; i < n; i++) ((uint16_t *)in.data)[i] = (uint16_t)gs_test_rand(&seed);
    k->convert_f16_f32(n, in.data, r.got.data);
    s->convert_f16_f32(n, in.data, r.want.data);
    same_bytes("convert_f16_f32", k, &r, r.got.data, r.want.data, (size_t)n * 4);
    k->convert_bf16_f32(n, in.data, r.got.data);
    s->convert_bf16_f32(n, in.data, r.want.data);
    same_bytes("convert_bf16_f32", k, &r, r.got.data, r.want.data, (size_t)n * 4);
    guarded_free(&in);
    row_free(&r);
}

static void widening_keeps_to_the_row(void **state) {
    (void)state;
    for_each_level(widening);
}

static void quantizing(const gs_kernels *k, const gs_kernels *s, int64_t n, fill f,
                       uint64_t seed) {
    static const float scales[] = {1.0f, 0.03125f, 0.017f, 3.1e-5f, 0x1p-126f, 3e38f};
    row r = row_make(n, 1, f, seed);
    row y = row_make(n, 4, ZERO, seed);
    for (size_t i = 0; i < GS_COUNTOF(scales); i++) {
        k->quantize_s8(n, r.a.data, scales[i], r.got.data);
        s->quantize_s8(n, r.a.data, scales[i], r.want.data);
        same_bytes("quantize_s8", k, &r, r.got.data, r.want.data, (size_t)n);
        k->quantize_affine_s8(n, r.a.data, scales[i], 2.5f - (float)i, r.got.data);
        s->quantize_affine_s8(n, r.a.data, scales[i], 2.5f - (float)i, r.want.data);
        same_bytes("quantize_affine_s8", k, &r, r.got.data, r.want.data, (size_t)n);
        k->dequantize_s8(n, r.got.data, scales[i], -3.0f, y.got.data);
        s->dequantize_s8(n, r.got.data, scales[i], -3.0f, y.want.data);
        same_bytes("dequantize_s8", k, &r, y.got.data, y.want.data, (size_t)n * 4);
    }
    row_free(&r);
    row_free(&y);
}

static void quantization_agrees(void **state) {
    (void)state;
    for_each_level(quantizing);
}

/* (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24 as a product, minus 1 + 2^-11: a fused multiply-add would keep the 2^-24. */
static void products_are_rounded_before_they_are_added(void **state) {
    (void)state;
    enum { N = 19 };
    const float edge = 1 + 0x1p-12f;
    float x[N], t[N], y[N];
    for (int i = 0; i < N; i++) {
        x[i] = -1 - 0x1p-11f;
        t[i] = edge;
    }
    for (int isa = 0; isa < GS_ISA_COUNT; isa++) {
        const gs_kernels *k = gs_kernels_for((gs_isa)isa);
        if (!k) continue;
        k->add_scaled_f32(N, x, edge, t, y);
        for (int i = 0; i < N; i++) assert_true(y[i] == 0);
    }
}

/* 2^24 + 2^13 + 1 as a product, minus 2^24 + 2^13: a fused multiply-add would keep the 1. */
static void products_are_rounded_before_offsets_are_added(void **state) {
    (void)state;
    enum { N = 19 };
    const float edge = 1 + 0x1p-12f;
    float x[N];
    for (int i = 0; i < N; i++) x[i] = 0x1p24f * edge;
    for (int isa = 0; isa < GS_ISA_COUNT; isa++) {
        const gs_kernels *k = gs_kernels_for((gs_isa)isa);
        int8_t q[N];
        if (!k) continue;
        k->quantize_affine_s8(N, x, edge, -0x1p24f - 0x1p13f, q);
        for (int i = 0; i < N; i++) assert_int_equal(q[i], 0);
    }
}

/* Whole numbers of every size, with sums that wrap. */
static void rescaling(const gs_kernels *k, const gs_kernels *s, int64_t n, fill f,
                      uint64_t seed) {
    row r = row_make(n, 4, f, seed);
    guarded ints[2] = {guarded_alloc((size_t)n * 4), guarded_alloc((size_t)n * 4)};
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < 2; j++)
            ((int32_t *)ints[j].data)[i] =
                (int32_t)(uint32_t)gs_test_rand(&seed) >> gs_test_rand(&seed) % 32;
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        const int32_t *bias = with_bias ? ints[1].data : NULL;
        k->rescale_s32(n, ints[0].data, bias, r.a.data, 0.37f, r.got.data);
        s->rescale_s32(n, ints[0].data, bias, r.a.data, 0.37f, r.want.data);
        one_nan(r.got.data, n);
        one_nan(r.want.data, n);
        same_bytes("rescale_s32", k, &r, r.got.data, r.want.data, (size_t)n * 4);
    }
    guarded_free(&ints[0]);
    guarded_free(&ints[1]);
    row_free(&r);
}

static void integer_sums_are_rescaled_alike(void **state) {
    (void)state;
    for_each_level(rescaling);
}

static void channel_ranges(const gs_kernels *k, const gs_kernels *s, int64_t n, fill f,
                           uint64_t seed) {
    row low = row_make(n, 4, f, seed), high = row_make(n, 4, f, seed + 1);
    size_t bytes = (size_t)n * 4;
    memcpy(low.got.data, low.b.data, bytes);
    memcpy(low.want.data, low.b.data, bytes);
    memcpy(high.got.data, high.b.data, bytes);
    memcpy(high.want.data, high.b.data, bytes);
    k->min_max_channels(n, low.a.data, low.got.data, high.got.data);
    s->min_max_channels(n, low.a.data, low.want.data, high.want.data);
    same_bytes("min_max_channels, low", k, &low, low.got.data, low.want.data, bytes);
    same_bytes("min_max_channels, high", k, &high, high.got.data, high.want.data, bytes);
    row_free(&low);
    row_free(&high);
}

static void ranges_of_channels_agree(void **state) {
    (void)state;
    for_each_level(channel_ranges);
}

static void reductions(const gs_kernels *k, const gs_kernels *s, int64_t n, fill f,
                       uint64_t seed) {
    row r = row_make(n, 4, f, seed);
    float got[2] = {k->absmax_f32(n, r.a.data), k->max_f32(n, r.a.data)};
    float want[2] = {s->absmax_f32(n, r.a.data), s->max_f32(n, r.a.data)};
    same_bytes("absmax_f32, max_f32", k, &r, got, want, sizeof got);
    row_free(&r);
}

static void extremes_agree(void **state) {
    (void)state;
    for_each_level(reductions);
}

static void arithmetic(const gs_kernels *k, const gs_kernels *s, int64_t n, fill f,
                       uint64_t seed) {
    row r = row_make(n, 4, f, seed);
    size_t bytes = (size_t)n * 4;
#define BOTH(name, ...) \
    do { \
        const gs_kernels *t = k; \
        float *out = r.got.data; \
        t->name(__VA_ARGS__); \
        t = s; \
        out = r.want.data; \
        t->name(__VA_ARGS__); \
        one_nan(r.got.data, n); \
        one_nan(r.want.data, n); \
        same_bytes(#name, k, &r, r.got.data, r.want.data, bytes); \
    } while (0)
    BOTH(add_f32, n, r.a.data, r.b.data, out);
    BOTH(scale_f32, n, r.a.data, 0.7f, out);
    BOTH(scale_channels, n, r.a.data, r.b.data, out);
    BOTH(add_scaled_f32, n, r.a.data, -0.3f, r.b.data, out);
    BOTH(relu_f32, n, r.a.data, out);
    BOTH(rmsnorm_f32, n, r.a.data, r.b.data, 1e-5f, out);
    /* bounded by contract; in fact the same operations everywhere */
    BOTH(swiglu_f32, n, r.a.data, r.b.data, out);
    BOTH(geglu_f32, n, r.a.data, r.b.data, out);
    BOTH(softcap_f32, n, r.a.data, 1.7f, out);
    BOTH(exp_sum_f32, n, r.a.data, 3.0f, out);
#undef BOTH
    row_free(&r);
}

static void arithmetic_agrees(void **state) {
    (void)state;
    for_each_level(arithmetic);
}

static void rotating(const gs_kernels *k, const gs_kernels *s, int64_t half, fill f,
                     uint64_t seed) {
    row r = row_make(half, 8, f, seed);
    for (int64_t i = 0; i < 2 * half; i++)
        ((float *)r.got.data)[i] = ((float *)r.want.data)[i] = value(f, &seed);
    k->rope_f32(half, r.a.data, r.b.data, r.got.data);
    s->rope_f32(half, r.a.data, r.b.data, r.want.data);
    one_nan(r.got.data, 2 * half);
    one_nan(r.want.data, 2 * half);
    same_bytes("rope_f32", k, &r, r.got.data, r.want.data, (size_t)half * 8);
    row_free(&r);
}

static void rotary_embedding_agrees(void **state) {
    (void)state;
    for_each_level(rotating);
}

static bool same_or_nan(double a, double b) {
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void exponential_sums(const gs_kernels *k, const gs_kernels *s, int64_t n, fill f,
                             uint64_t seed) {
    row r = row_make(n, 2, f, seed);
    float a = k->exp_sum_bf16(n, r.a.data, 2.0f, r.got.data);
    float b = s->exp_sum_bf16(n, r.a.data, 2.0f, r.want.data);
    assert_true(same_or_nan((double)a, (double)b));
    if (f != SPECIAL)
        same_bytes("exp_sum_bf16", k, &r, r.got.data, r.want.data, (size_t)n * 2);
    double got[3] = {1, 2, 3}, want[3] = {1, 2, 3};
    k->kl_block_f32(n, r.a.data, 4.0f, r.b.data, 3.5f, got);
    s->kl_block_f32(n, r.a.data, 4.0f, r.b.data, 3.5f, want);
    for (int i = 0; i < 3; i++)
        if (!same_or_nan(got[i], want[i]))
            fail_msg("kl_block_f32 on %s: out[%d] = %a, scalar %a (n = %lld, fill %d)",
                     gs_isa_name(k->isa), i, got[i], want[i], (long long)n, (int)f);
    row_free(&r);
}

static void exponential_sums_agree(void **state) {
    (void)state;
    for_each_level(exponential_sums);
}

static void operations_work_in_place(void **state) {
    (void)state;
    enum { N = 77 };
    for (int isa = 0; isa < GS_ISA_COUNT; isa++) {
        const gs_kernels *k = gs_kernels_for((gs_isa)isa);
        if (!k) continue;
        row r = row_make(N, 4, RANDOM, 5);
        float x[N], want[N];
#define IN_PLACE(call_out, call_x) \
    memcpy(x, r.a.data, sizeof x); \
    call_out; \
    call_x; \
    assert_memory_equal(x, want, sizeof x)
        IN_PLACE(k->add_f32(N, r.a.data, r.b.data, want), k->add_f32(N, x, r.b.data, x));
        IN_PLACE(k->add_f32(N, r.b.data, r.a.data, want), k->add_f32(N, r.b.data, x, x));
        IN_PLACE(k->swiglu_f32(N, r.a.data, r.b.data, want),
                 k->swiglu_f32(N, x, r.b.data, x));
        IN_PLACE(k->swiglu_f32(N, r.b.data, r.a.data, want),
                 k->swiglu_f32(N, r.b.data, x, x));
        IN_PLACE(k->geglu_f32(N, r.a.data, r.b.data, want), k->geglu_f32(N, x, r.b.data, x));
        IN_PLACE(k->geglu_f32(N, r.b.data, r.a.data, want), k->geglu_f32(N, r.b.data, x, x));
        IN_PLACE(k->softcap_f32(N, r.a.data, 2, want), k->softcap_f32(N, x, 2, x));
        IN_PLACE(k->add_scaled_f32(N, r.a.data, 2, r.b.data, want), k->add_scaled_f32(N, x, 2, r.b.data, x));
        IN_PLACE(k->rmsnorm_f32(N, r.a.data, r.b.data, 0.1f, want),
                 k->rmsnorm_f32(N, x, r.b.data, 0.1f, x));
        IN_PLACE(k->exp_sum_f32(N, r.a.data, 1, want), k->exp_sum_f32(N, x, 1, x));
        IN_PLACE(k->relu_f32(N, r.a.data, want), k->relu_f32(N, x, x));
        IN_PLACE(k->scale_f32(N, r.a.data, 3, want), k->scale_f32(N, x, 3, x));
        IN_PLACE(k->scale_channels(N, r.a.data, r.b.data, want),
                 k->scale_channels(N, x, r.b.data, x));
#undef IN_PLACE
        row_free(&r);
    }
}

/* The scalar table itself: values worked out by hand. */
static void the_scalar_kernels_do_what_the_header_says(void **state) {
    (void)state;
    const gs_kernels *k = gs_kernels_for(GS_ISA_SCALAR);
    const float x[8] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 300, -300, 0.49999997f};
    const int8_t want[8] = {0, 2, 2, 0, -2, 127, -128, 0};
    int8_t q[8];
    float y[8];
    k->quantize_s8(8, x, 1, q);
    assert_memory_equal(q, want, sizeof q);
    const float odd[3] = {NAN, INFINITY, -INFINITY};
    const int8_t odd_want[3] = {0, 127, -128};
    k->quantize_s8(3, odd, 1, q);
    assert_memory_equal(q, odd_want, 3);
    k->dequantize_s8(2, want + 5, 0.5f, 1, y);
    assert_true(y[0] == 64.0f && y[1] == -63.5f);
    assert_true(k->absmax_f32(0, x) == 0 && k->absmax_f32(8, x) == 300);
    assert_true(isnan(k->absmax_f32(3, odd)) && isinf(k->absmax_f32(2, odd + 1)));
    assert_true(k->max_f32(0, x) == -INFINITY && k->max_f32(3, odd) == INFINITY &&
                k->max_f32(7, x) == 300);
    const float v[2] = {3, 4}, w[2] = {1, 2};
    k->rmsnorm_f32(2, v, w, 0, y); /* r = 1/sqrt(12.5) */
    assert_true(fabs((double)y[0] - 3 / sqrt(12.5)) <= 1e-6 &&
                fabs((double)y[1] - 8 / sqrt(12.5)) <= 1e-6);
    float head[2] = {3, 4};
    const float cosine = 0.5f, sine = 0.25f;
    k->rope_f32(1, &cosine, &sine, head);
    assert_true(head[0] == 3 * 0.5f - 4 * 0.25f && head[1] == 4 * 0.5f + 3 * 0.25f);
    k->add_scaled_f32(2, v, -0.25f, w, y);
    assert_true(y[0] == 2.75f && y[1] == 3.5f);
    const float signs[3] = {-2, -0.0f, NAN};
    k->relu_f32(3, signs, y);
    assert_true(y[0] == 0 && signbit(y[1]) && isnan(y[2]));
}

static void the_scalar_kernels_for_integers_do_what_the_header_says(void **state) {
    (void)state;
    const gs_kernels *k = gs_kernels_for(GS_ISA_SCALAR);
    /* 0.25 -> 1, 0.5 -> 2, 0.375 -> 1.5 -> 2, 0.125 -> 0.5 -> 0, then beyond the range */
    const float x[7] = {0.25f, 0.5f, 0.375f, 0.125f, 100, -100, NAN};
    const int8_t plain[7] = {1, 2, 2, 0, 127, -128, 0}, moved[7] = {-2, -1, -2, -2, 127, -128, 0};
    int8_t q[7];
    k->quantize_affine_s8(7, x, 4, 0, q);
    assert_memory_equal(q, plain, sizeof q);
    k->quantize_affine_s8(7, x, 4, -3, q); /* 1.5 - 3 and 0.5 - 3 are ties, too */
    assert_memory_equal(q, moved, sizeof q);

    const int32_t acc[4] = {16777217, 16777219, INT32_MAX, -5}, bias[4] = {0, 0, 1, 3};
    const float scale[4] = {0.5f, 0.5f, 1, 3};
    float y[4];
    k->rescale_s32(4, acc, bias, scale, 2, y);
    assert_true(y[0] == 16777216 && y[1] == 16777220); /* conversion: ties to even */
    assert_true(y[2] == -0x1p32f && y[3] == -12);      /* the sum wraps */
    k->rescale_s32(4, acc, NULL, scale, 1, y);
    assert_true(y[2] == 0x1p31f && y[3] == -15);

    float low[3] = {0, 0, NAN}, high[3] = {0, 0, NAN};
    const float rows[2][3] = {{-1, NAN, 5}, {2, 3, 5}};
    k->min_max_channels(3, rows[0], low, high);
    k->min_max_channels(3, rows[1], low, high);
    assert_true(low[0] == -1 && high[0] == 2 && low[1] == 0 && high[1] == 3);
    assert_true(isnan(low[2]) && isnan(high[2]));
    k->scale_channels(4, x, scale, y);
    assert_true(y[0] == 0.125f && y[2] == 0.375f && y[3] == 0.375f);
}

int main(void) {
    if (isa_level_is_missing()) return ISA_SKIPPED;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_forced_level_is_selected),
        cmocka_unit_test(the_scalar_kernels_do_what_the_header_says),
        cmocka_unit_test(the_scalar_kernels_for_integers_do_what_the_header_says),
        cmocka_unit_test(conversions_from_f32_agree),
        cmocka_unit_test(all_65536_halves_widen_alike),
        cmocka_unit_test(widening_keeps_to_the_row),
        cmocka_unit_test(quantization_agrees),
        cmocka_unit_test(products_are_rounded_before_offsets_are_added),
        cmocka_unit_test(products_are_rounded_before_they_are_added),
        cmocka_unit_test(integer_sums_are_rescaled_alike),
        cmocka_unit_test(ranges_of_channels_agree),
        cmocka_unit_test(extremes_agree),
        cmocka_unit_test(arithmetic_agrees),
        cmocka_unit_test(rotary_embedding_agrees),
        cmocka_unit_test(exponential_sums_agree),
        cmocka_unit_test(operations_work_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
