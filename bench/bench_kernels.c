/* Each row kernel on each level: time of a row, memory traffic, and how much faster than the
 * scalar table in the same run.
 *
 *     bench_kernels [--quick] [--row N] [--only WORD]
 *
 * WORD: a kernel's name, or a part of it. Rows of N elements (576) lie in the first-level
 * cache, so this measures arithmetic. */
#include <base/context.h>
#include <kernels/kernels.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 16 };
static double seconds_each = 0.05;
static float a[MOST], b[MOST], c[MOST], low[MOST];
static int32_t s[MOST];
static uint16_t h[MOST];
static int8_t q[MOST];
static double out[3];
static volatile float sink;

#define KERNEL(name, bytes, call)                                                                \
    static void run_##name(const gs_kernels *k, int64_t n, int times) {                          \
        for (int i = 0; i < times; i++) call;                                                    \
    }
/* bytes read and written for one element */
#define KERNELS(X)                                                                               \
    X(absmax_f32, 4, sink = k->absmax_f32(n, a))                                                 \
    X(convert_bf16_f32, 6, k->convert_bf16_f32(n, h, c))                                         \
    X(convert_f16_f32, 6, k->convert_f16_f32(n, h, c))                                           \
    X(convert_f32_bf16, 6, k->convert_f32_bf16(n, a, h))                                         \
    X(convert_f32_f16, 6, k->convert_f32_f16(n, a, h))                                           \
    X(quantize_s8, 5, k->quantize_s8(n, a, 0.0371f, q))                                          \
    X(quantize_affine_s8, 5, k->quantize_affine_s8(n, a, 27.0f, -3, q))                          \
    X(dequantize_s8, 5, k->dequantize_s8(n, q, 0.0371f, 3, c))                                   \
    X(rescale_s32, 16, k->rescale_s32(n, s, s, b, 0.7f, c))                                      \
    X(rmsnorm_f32, 16, k->rmsnorm_f32(n, a, b, 1e-5f, c))                                        \
    X(rope_f32, 24, k->rope_f32(n / 2, a, b, c))                                                 \
    X(swiglu_f32, 12, k->swiglu_f32(n, a, b, c))                                                 \
    X(add_f32, 12, k->add_f32(n, a, b, c))                                                       \
    X(scale_f32, 8, k->scale_f32(n, a, 0.7f, c))                                                 \
    X(scale_channels, 12, k->scale_channels(n, a, b, c))                                         \
    X(relu_f32, 8, k->relu_f32(n, a, c))                                                         \
    X(max_f32, 4, sink = k->max_f32(n, a))                                                       \
    X(min_max_channels, 20, k->min_max_channels(n, a, low, c))                                   \
    X(exp_sum_f32, 8, sink = k->exp_sum_f32(n, a, 4, c))                                         \
    X(exp_sum_bf16, 6, sink = k->exp_sum_bf16(n, a, 4, h))                                       \
    X(kl_block_f32, 8, k->kl_block_f32(n, a, 4, b, 4, out))
KERNELS(KERNEL)

typedef void run_fn(const gs_kernels *k, int64_t n, int times);
static const struct {
    const char *name;
    double bytes;
    run_fn *run;
} kernels[] = {
#define ENTRY(name, bytes, call) {#name, bytes, run_##name},
    KERNELS(ENTRY)
#undef ENTRY
};

static void fill(void) {
    uint32_t state = 1;
    for (int i = 0; i < MOST; i++) {
        state = state * 1664525u + 1013904223u;
        a[i] = (float)(int32_t)state * 0x1p-29f;
        b[i] = (float)(int32_t)(state * 7) * 0x1p-29f;
        c[i] = a[i] * 0.5f;
        q[i] = (int8_t)(state >> 24);
        s[i] = (int32_t)(state >> 8);
    }
    gs_kernels_get()->convert_f32_bf16(MOST, a, h);
}

/* Seconds a row, best of several turns. */
static double measure(run_fn *run, const gs_kernels *k, int64_t n) {
    enum { TURNS = 5 };
    int times = 1;
    double best = INFINITY;
    for (int turn = 0; turn < TURNS;) {
        double start = gs_clock();
        run(k, n, times);
        double took = gs_clock() - start;
        if (took < seconds_each / TURNS && times < 1 << 28) {
            times *= 2;
            continue;
        }
        best = fmin(best, took / times);
        turn++;
        memset(c, 0, sizeof c); /* in-place rotation must not wander off into subnormals */
    }
    return best;
}

int main(int argc, char **argv) {
    int64_t n = 576;
    const char *only = "";
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--quick")) seconds_each = 0.002;
        else if (!strcmp(argv[i], "--row") && i + 1 < argc) n = atoll(argv[++i]);
        else if (!strcmp(argv[i], "--only") && i + 1 < argc) only = argv[++i];
        else n = 0;
    }
    if (n < 2 || n > MOST || n % 2) {
        fprintf(stderr, "usage: bench_kernels [--quick] [--row N (even, 2..%d)] [--only WORD]\n", MOST);
        return 2;
    }
    fill();
    printf("rows of %lld elements\n%-18s %-8s %10s %8s %10s\n", (long long)n, "kernel", "level", "ns/row", "GB/s",
           "x scalar");
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        if (!strstr(kernels[i].name, only)) continue;
        double scalar = 0;
        for (int isa = 0; isa < GS_ISA_COUNT; isa++) {
            const gs_kernels *k = gs_kernels_for((gs_isa)isa);
            if (!k) continue;
            double row = measure(kernels[i].run, k, n);
            if (isa == GS_ISA_SCALAR) scalar = row;
            printf("%-18s %-8s %10.1f %8.1f %10.2f\n", kernels[i].name, gs_isa_name(k->isa), row * 1e9,
                   kernels[i].bytes * (double)n / row * 1e-9, scalar / row);
        }
        fflush(stdout);
    }
    return 0;
}
