/* Products and attention of the network room's shapes: GFLOP/s of gs_gemm_run beside what
 * oneDNN reaches by itself with as many OpenMP threads, and of gs_gemm_s8_run beside bf16, each
 * pair measured in turns in the same run.
 *
 *     bench_gemm [--quick] [--threads N] [--rows M] [--only WORD]
 *
 * WORD: gemm | s8 | attention. */
#include <base/context.h>
#include <base/mem.h>
#include <base/team.h>
#include <dlfcn.h>
#include <kernels/attention/attention.h>
#include <kernels/gemm/gemm.h>
#include <kernels/gemm/gemm_s8.h>
#include <kernels/kernels.h>
#include <kernels/onednn/onednn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds_each = 0.5; /* measuring time of one figure */
static int turns = 12;              /* in which it is measured */
static int threads;
static gs_team *team;

static void die(const char *what, const gs_error *err) {
    fprintf(stderr, "bench_gemm: %s: %s\n", what, err ? err->text : "failed");
    exit(1);
}

static void *allocate(size_t bytes) {
    void *p = gs_calloc(bytes, 1);
    if (!p) die("out of memory", NULL);
    return p;
}

/* f32 values in [-1, 1), or their bf16 bits */
static void *random_matrix(gs_gemm_type type, int64_t count) {
    float *x = allocate((size_t)count * sizeof *x);
    uint32_t state = 1;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state * 0x1p-31f;
    }
    if (type == GS_GEMM_F32) return x;
    uint16_t *y = allocate((size_t)count * sizeof *y);
    gs_kernels_get()->convert_f32_bf16(count, x, y);
    gs_free(x);
    return y;
}

typedef struct product {
    gs_gemm_type type;
    int64_t m, n, k;
    const void *a, *w;
    float *c;
    gs_gemm_weight *ours;
    /* the same product of int8 codes */
    const int8_t *codes;
    const float *scale;
    gs_gemm_s8_weight *ours_s8;
    /* oneDNN's own */
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[3];
    void *packed;
    char impl[64];
} product;

static void openmp_threads(int n) {
    void (*set)(int);
    void *symbol = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    if (!symbol) return;
    memcpy(&set, &symbol, sizeof symbol);
    set(n);
}

static dnnl_status_t plain_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                const gs_dnnl_md *a, const gs_dnnl_md *w,
                                const gs_dnnl_md *c) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(pd, engine, a->handle, w->handle, NULL,
                                             c->handle, NULL);
#else
    dnnl_matmul_desc_t d;
    dnnl_status_t s = dnnl_matmul_desc_init(&d, &a->value, &w->value, NULL, &c->value);
    return s == dnnl_success ? dnnl_primitive_desc_create(pd, &d, NULL, engine, NULL) : s;
#endif
}

/* One primitive for the whole product, weights in the layout it asks for (their values do not
 * matter), all threads inside oneDNN. */
static bool plain_create(product *p) {
    dnnl_data_type_t type = p->type == GS_GEMM_BF16 ? dnnl_bf16 : dnnl_f32;
    const int64_t a_dims[2] = {p->m, p->k}, a_strides[2] = {p->k, 1};
    const int64_t w_dims[2] = {p->k, p->n}, c_dims[2] = {p->m, p->n},
                  c_strides[2] = {p->n, 1};
    gs_dnnl_md a, w, c;
    memset(&a, 0, sizeof a);
    memset(&w, 0, sizeof w);
    memset(&c, 0, sizeof c);
    dnnl_primitive_desc_t pd = NULL;
    gs_error err = {0};
    if (gs_dnnl_md_init(&a, type, 2, a_dims, a_strides, &err) != GS_OK ||
        gs_dnnl_md_init(&w, type, 2, w_dims, NULL, &err) != GS_OK ||
        gs_dnnl_md_init(&c, dnnl_f32, 2, c_dims, c_strides, &err) != GS_OK)
        die("layout", &err);
    openmp_threads(threads);
    if (dnnl_engine_create(&p->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags) !=
            dnnl_success ||
        plain_desc(&pd, p->engine, &a, &w, &c) != dnnl_success ||
        dnnl_primitive_create(&p->primitive, pd) != dnnl_success)
        return false;
    const char *impl = "";
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&impl);
    snprintf(p->impl, sizeof p->impl, "%s", impl);
    gs_dnnl_md_ref packed = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    p->packed = allocate(dnnl_memory_desc_get_size(packed));
    void *a_data;
    memcpy(&a_data, &p->a, sizeof a_data);
    p->args[0].arg = DNNL_ARG_SRC;
    p->args[1].arg = DNNL_ARG_WEIGHTS;
    p->args[2].arg = DNNL_ARG_DST;
    bool ok = dnnl_memory_create(&p->args[0].memory, gs_dnnl_md_get(&a), p->engine, a_data) ==
                  dnnl_success &&
              dnnl_memory_create(&p->args[1].memory, packed, p->engine, p->packed) ==
                  dnnl_success &&
              dnnl_memory_create(&p->args[2].memory, gs_dnnl_md_get(&c), p->engine, p->c) ==
                  dnnl_success;
    dnnl_primitive_desc_destroy(pd);
    gs_dnnl_md_clear(&a);
    gs_dnnl_md_clear(&w);
    gs_dnnl_md_clear(&c);
    openmp_threads(1);
    return ok;
}

static void plain_run(product *p) {
    openmp_threads(threads);
    dnnl_primitive_execute(p->primitive, p->stream, 3, p->args);
    dnnl_stream_wait(p->stream);
    openmp_threads(1);
}

static void ours_run(product *p) {
    gs_error err = {0};
    if (gs_gemm_run(team, p->ours, p->m, p->a, p->k, p->c, p->n, &err) != GS_OK)
        die("gs_gemm_run", &err);
}

/* As a static W8A8 linear asks for it. */
static void s8_run(product *p) {
    const gs_gemm_s8_epilogue e = {.scale = p->scale, .round = GS_BF16};
    gs_error err = {0};
    if (gs_gemm_s8_run(team, p->ours_s8, p->m, p->codes, p->k, &e, p->c, p->n, &err) != GS_OK)
        die("gs_gemm_s8_run", &err);
}

static double timed(void (*run)(product *), product *p, int times) {
    double start = gs_clock();
    for (int i = 0; i < times; i++) run(p);
    return (gs_clock() - start) / times;
}

/* An idle OpenMP worker spins for some milliseconds before it sleeps, on a core that the other
 * side is to use. */
static void let_workers_sleep(void) {
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    nanosleep(&pause, NULL);
}

/* Both in short turns, best of the turns: what else runs on the machine disturbs both alike. */
static void compare(product *p, double *ours, double *plain) {
    double once = timed(ours_run, p, 1);
    bool has_plain = plain_create(p);
    if (has_plain) plain_run(p);
    int times = (int)(seconds_each / 2 / turns / (once > 1e-6 ? once : 1e-6));
    if (times < 1) times = 1;
    *ours = *plain = INFINITY;
    for (int i = 0; i < turns; i++) {
        let_workers_sleep();
        ours_run(p); /* wakes the team */
        *ours = fmin(*ours, timed(ours_run, p, times));
        let_workers_sleep();
        if (!has_plain) continue;
        plain_run(p);
        *plain = fmin(*plain, timed(plain_run, p, times));
    }
}

static void release(product *p) {
    for (int i = 0; i < 3; i++)
        if (p->args[i].memory) dnnl_memory_destroy(p->args[i].memory);
    if (p->primitive) dnnl_primitive_destroy(p->primitive);
    if (p->stream) dnnl_stream_destroy(p->stream);
    if (p->engine) dnnl_engine_destroy(p->engine);
    gs_free(p->packed);
    gs_gemm_weight_destroy(p->ours);
    gs_gemm_s8_weight_destroy(p->ours_s8);
}

static void bench_product(gs_gemm_type type, int64_t m, int64_t n, int64_t k) {
    product p;
    memset(&p, 0, sizeof p);
    p.type = type;
    p.m = m;
    p.n = n;
    p.k = k;
    void *a = random_matrix(type, m * k), *w = random_matrix(type, n * k);
    p.a = a;
    p.w = w;
    p.c = allocate((size_t)(m * n) * sizeof(float));
    gs_error err = {0};
    double start = gs_clock();
    bool borrowed;
    if (gs_gemm_weight_create(type, n, k, w, team, &borrowed, &p.ours, &err) != GS_OK)
        die("pack", &err);
    double pack = gs_clock() - start, ours, plain;
    compare(&p, &ours, &plain);
    double flop = 2.0 * (double)m * (double)n * (double)k;
    printf("%-5s %6lld x %6lld x %5lld  %8.1f GFLOP/s  oneDNN %8.1f  ratio %.2f  pack %7.2f "
           "ms  (%s)\n",
           type == GS_GEMM_BF16 ? "bf16" : "f32", (long long)m, (long long)n, (long long)k,
           flop / ours / 1e9, flop / plain / 1e9, plain / ours, pack * 1e3, p.impl);
    fflush(stdout);
    release(&p);
    gs_free(a);
    gs_free(w);
    gs_free(p.c);
}

static int8_t *random_codes(int64_t count) {
    int8_t *q = allocate((size_t)count);
    uint32_t state = 1;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        q[i] = (int8_t)(state >> 24);
    }
    return q;
}

static void compare_s8(product *p, double *s8, double *bf16) {
    double once = timed(ours_run, p, 1);
    int times = 1 + (int)(seconds_each / 2 / turns / (once > 1e-6 ? once : 1e-6));
    *s8 = *bf16 = INFINITY;
    for (int i = 0; i < turns; i++) {
        ours_run(p);
        *bf16 = fmin(*bf16, timed(ours_run, p, times));
        s8_run(p);
        *s8 = fmin(*s8, timed(s8_run, p, times));
    }
}

static void bench_s8(int64_t m, int64_t n, int64_t k) {
    product p;
    memset(&p, 0, sizeof p);
    p.m = m;
    p.n = n;
    p.k = k;
    void *a = random_matrix(GS_GEMM_BF16, m * k), *w = random_matrix(GS_GEMM_BF16, n * k);
    int8_t *codes = random_codes(m * k), *w_codes = random_codes(n * k);
    float *scale = random_matrix(GS_GEMM_F32, n);
    p.a = a;
    p.codes = codes;
    p.scale = scale;
    p.c = allocate((size_t)(m * n) * sizeof(float));
    gs_error err = {0};
    bool borrowed;
    if (gs_gemm_weight_create(GS_GEMM_BF16, n, k, w, team, &borrowed, &p.ours, &err) != GS_OK ||
        gs_gemm_s8_weight_create(n, k, w_codes, team, &borrowed, &p.ours_s8, &err) != GS_OK)
        die("pack", &err);
    double s8, bf16, operations = 2.0 * (double)m * (double)n * (double)k;
    compare_s8(&p, &s8, &bf16);
    printf("s8    %6lld x %6lld x %5lld  %8.1f Gop/s     bf16   %8.1f  ratio %.2f\n",
           (long long)m, (long long)n, (long long)k, operations / s8 / 1e9,
           operations / bf16 / 1e9, bf16 / s8);
    fflush(stdout);
    release(&p);
    gs_free(a);
    gs_free(w);
    gs_free(codes);
    gs_free(w_codes);
    gs_free(scale);
    gs_free(p.c);
}

/* The linears of one block of the smallest shared model, for scale. */
static double block_seconds(gs_gemm_type type, int64_t m) {
    static const int64_t shapes[][3] = {
        {576, 576, 2}, {192, 576, 2}, {1536, 576, 2}, {576, 1536, 1}};
    double total = 0;
    for (size_t i = 0; i < GS_COUNTOF(shapes); i++) {
        product p;
        memset(&p, 0, sizeof p);
        p.m = m;
        p.n = shapes[i][0];
        p.k = shapes[i][1];
        void *a = random_matrix(type, m * p.k), *w = random_matrix(type, p.n * p.k);
        p.a = a;
        p.c = allocate((size_t)(m * p.n) * sizeof(float));
        gs_error err = {0};
        bool borrowed;
        if (gs_gemm_weight_create(type, p.n, p.k, w, team, &borrowed, &p.ours, &err) != GS_OK)
            die("pack", &err);
        double best = INFINITY;
        for (int j = 0; j < 5; j++) best = fmin(best, timed(ours_run, &p, 2));
        total += best * (double)shapes[i][2];
        gs_gemm_weight_destroy(p.ours);
        gs_free(a);
        gs_free(w);
        gs_free(p.c);
    }
    return total;
}

static void bench_attention(gs_gemm_type type, int64_t tokens) {
    const gs_attention_shape shape = {
        .heads = 9, .kv_heads = 3, .head_dim = 64, .scale = 0.125f};
    const int64_t starts[2] = {0, tokens};
    float *q = random_matrix(GS_GEMM_F32, tokens * 576),
          *k = random_matrix(GS_GEMM_F32, tokens * 192);
    float *v = random_matrix(GS_GEMM_F32, tokens * 192),
          *out = allocate((size_t)(tokens * 576) * 4);
    double best = INFINITY, spent = 0;
    for (int i = 0; i < 3 || spent < seconds_each; i++) {
        gs_error err = {0};
        double start = gs_clock();
        if (gs_attention_run(team, type, &shape, 1, starts, q, k, v, out, &err) != GS_OK)
            die("attention", &err);
        double took = gs_clock() - start;
        best = fmin(best, took);
        spent += took;
    }
    double linears = block_seconds(type, tokens);
    printf("%-5s attention %lld tokens, 9/3 heads of 64: %.2f ms; linears of the block %.2f "
           "ms; ratio %.2f\n",
           type == GS_GEMM_BF16 ? "bf16" : "f32", (long long)tokens, best * 1e3,
           linears * 1e3, best / linears);
    fflush(stdout);
    gs_free(q);
    gs_free(k);
    gs_free(v);
    gs_free(out);
}

static bool wanted(const char *only, const char *part) { return !*only || !strcmp(only, part); }

int main(int argc, char **argv) {
    bool quick = false;
    int64_t rows = 2048;
    const char *only = "";
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--quick")) quick = true;
        else if (!strcmp(argv[i], "--threads") && i + 1 < argc) threads = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--rows") && i + 1 < argc) rows = atoll(argv[++i]);
        else if (!strcmp(argv[i], "--only") && i + 1 < argc) only = argv[++i];
        else {
            fprintf(stderr, "usage: bench_gemm [--quick] [--threads N] [--rows M] [--only "
                            "gemm|s8|attention]\n");
            return 2;
        }
    }
    if (quick) {
        seconds_each = 0.01;
        turns = 1;
        if (rows > 128) rows = 128;
    }
    gs_error err = {0};
    /* no topology: a bound caller would bind oneDNN's OpenMP threads to its own core */
    if (rows < 1 || gs_team_create(NULL, threads, &team, &err) != GS_OK) die("team", &err);
    threads = gs_team_size(team);
    printf("f32: %s; bf16: %s; s8: %s; rows: %s; %d threads\n", gs_gemm_backend(GS_GEMM_F32),
           gs_gemm_backend(GS_GEMM_BF16), gs_gemm_s8_backend(), gs_isa_name(gs_isa_selected()),
           threads);
    static const int64_t shapes[][2] = {
        {576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {49152, 576}};
    for (int t = GS_GEMM_F32; t <= GS_GEMM_BF16; t++) {
        for (size_t i = 0; i < GS_COUNTOF(shapes) && wanted(only, "gemm"); i++)
            if (!quick || shapes[i][0] < 10000)
                bench_product((gs_gemm_type)t, rows, shapes[i][0], shapes[i][1]);
        if (wanted(only, "attention")) bench_attention((gs_gemm_type)t, rows);
    }
    static const int64_t s8_shapes[][2] = {
        {576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {4096, 4096}};
    for (size_t i = 0; i < GS_COUNTOF(s8_shapes) && wanted(only, "s8"); i++)
        if (!quick || s8_shapes[i][0] < 4096) bench_s8(rows, s8_shapes[i][0], s8_shapes[i][1]);
    gs_team_destroy(team);
    return 0;
}
