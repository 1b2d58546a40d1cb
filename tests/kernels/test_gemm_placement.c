/* Products on a machine of two nodes: the same bits as without a team, from a weight that each
 * node has for itself. */
#include <kernels/gemm/backend.h>
#include <kernels/gemm/gemm_s8.h>
#include <tests/synthetic.h>

#define TWO_NODES "numa:2(memory=1GB) core:2 pu:1"
enum { M = 130, N = 1300, K = 1100 }; /* three blocks of three panels, the last ones short */

typedef struct operands {
    float *w, *a, *c, *expected; /* c and expected [M, N] */
} operands;

static void *matrix(gs_gemm_type type, int64_t count) {
    uint64_t seed = 5;
    float *x = malloc((size_t)count * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < count; i++) {
        float v = gs_test_randf(&seed);
        if (type == GS_GEMM_BF16) memcpy((uint16_t *)x + i, (char *)&v + 2, 2); /* cut, not rounded */
        else x[i] = v;
    }
    return x;
}

static gs_gemm_weight *packed(gs_gemm_type type, int64_t n, const operands *o, gs_team *team,
                              bool *borrowed) {
    gs_error err = {0};
    gs_gemm_weight *w;
    assert_ok(gs_gemm_weight_create(type, n, K, o->w, team, borrowed, &w, &err), &err);
    return w;
}

static operands make(gs_gemm_type type, int64_t n) {
    gs_error err = {0};
    operands o = {.w = matrix(type, n * K), .a = matrix(type, M * K),
                  .c = calloc((size_t)(M * n), sizeof(float)),
                  .expected = calloc((size_t)(M * n), sizeof(float))};
    gs_gemm_weight *w = packed(type, n, &o, NULL, NULL);
    assert_ok(gs_gemm_run(NULL, w, M, o.a, K, o.expected, n, &err), &err);
    gs_gemm_weight_destroy(w);
    return o;
}

static void release(operands *o) {
    free(o->w);
    free(o->a);
    free(o->c);
    free(o->expected);
}

static void results_do_not_depend_on_the_nodes(void **state) {
    (void)state;
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++) {
        for (int64_t n = 65; n <= N; n += N - 65) { /* one panel, and several */
            operands o = make((gs_gemm_type)type, n);
            gs_gemm_weight *plain = packed((gs_gemm_type)type, n, &o, NULL, NULL);
            gs_test_site site = gs_test_site_open(TWO_NODES, 4);
            gs_error err = {0};
            bool borrowed = true;
            gs_gemm_weight *w = packed((gs_gemm_type)type, n, &o, site.team, &borrowed);
            assert_false(borrowed);
            assert_int_equal(gs_placed_copies(gs_gemm_weight_placed(w)), 2);
            assert_int_equal(gs_gemm_weight_bytes(w) - gs_gemm_weight_bytes(plain),
                             gs_placed_bytes(gs_gemm_weight_placed(plain)));
            memset(o.w, 0xff, (size_t)(n * K) * (type == GS_GEMM_BF16 ? 2 : 4));
            for (int again = 0; again < 20; again++) {
                memset(o.c, 0xff, (size_t)(M * n) * sizeof *o.c);
                assert_ok(gs_gemm_run(site.team, w, M, o.a, K, o.c, n, &err), &err);
                assert_memory_equal(o.c, o.expected, (size_t)(M * n) * sizeof *o.c);
            }
            /* a weight serves other teams, and outlives its own */
            gs_test_site_close(&site);
            assert_ok(gs_gemm_run(NULL, w, M, o.a, K, o.c, n, &err), &err);
            assert_memory_equal(o.c, o.expected, (size_t)(M * n) * sizeof *o.c);
            gs_gemm_weight_destroy(w);
            gs_gemm_weight_destroy(plain);
            release(&o);
        }
    }
    assert_int_equal(gs_placed_held(), 0);
}

typedef struct reading {
    gs_team *team;
    const gs_gemm_weight *w;
    const operands *o;
    int worker;
    gs_status status;
} reading;

/* A product within a job is computed by the worker that asks for it. */
static void multiply_as_worker(void *ctx, int worker) {
    reading *r = ctx;
    if (worker != r->worker) return;
    r->status = gs_gemm_run(r->team, r->w, M, r->o->a, K, r->o->c, N, NULL);
}

/* The second copy is spoilt: only the second node's workers may notice. */
static void workers_read_the_copy_of_their_node(void **state) {
    (void)state;
    operands o = make(GS_GEMM_F32, N);
    gs_test_site site = gs_test_site_open(TWO_NODES, 4);
    gs_gemm_weight *w = packed(GS_GEMM_F32, N, &o, site.team, NULL);
    const gs_placed *placed = gs_gemm_weight_placed(w);
    memset((void *)(uintptr_t)gs_placed_read(placed, 1), 0, gs_placed_bytes(placed) / 2);
    for (int worker = 0; worker < 4; worker++) {
        reading r = {site.team, w, &o, worker, GS_E_INVALID};
        memset(o.c, 0xff, (size_t)(M * N) * sizeof *o.c);
        gs_team_run(site.team, multiply_as_worker, &r);
        assert_int_equal(r.status, GS_OK);
        for (int64_t i = 0; i < M * N; i++) assert_true(o.c[i] == (worker < 2 ? o.expected[i] : 0));
    }
    gs_gemm_weight_destroy(w);
    gs_test_site_close(&site);
    release(&o);
}

static void without_room_for_copies_there_is_one(void **state) {
    (void)state;
    operands o = make(GS_GEMM_F32, N);
    gs_test_site site = gs_test_site_open("numa:2(memory=1MB) core:2 pu:1", 4);
    gs_error err = {0};
    bool borrowed = false;
    gs_gemm_weight *w = packed(GS_GEMM_F32, N, &o, site.team, &borrowed);
    if (borrowed) assert_null(gs_gemm_weight_placed(w));
    else assert_int_equal(gs_placed_copies(gs_gemm_weight_placed(w)), 1);
    assert_ok(gs_gemm_run(site.team, w, M, o.a, K, o.c, N, &err), &err);
    assert_memory_equal(o.c, o.expected, (size_t)(M * N) * sizeof *o.c);
    gs_gemm_weight_destroy(w);
    gs_test_site_close(&site);
    release(&o);
}

static void integer_weights_have_a_copy_a_node_too(void **state) {
    (void)state;
    enum { ROWS = 70, OUT = 600, IN = 300 };
    gs_error err = {0};
    static int8_t w[OUT * IN], a[ROWS * IN];
    static float scale[OUT], want[ROWS * OUT], got[ROWS * OUT];
    uint64_t seed = 9;
    for (int i = 0; i < OUT * IN; i++) w[i] = (int8_t)gs_test_rand(&seed);
    for (int i = 0; i < ROWS * IN; i++) a[i] = (int8_t)gs_test_rand(&seed);
    for (int i = 0; i < OUT; i++) scale[i] = 1.0f + (float)i;
    gs_gemm_s8_epilogue e = {.scale = scale, .round = GS_F32};
    gs_gemm_s8_weight *plain, *placed;
    assert_ok(gs_gemm_s8_weight_create(OUT, IN, w, NULL, NULL, &plain, &err), &err);
    assert_ok(gs_gemm_s8_run(NULL, plain, ROWS, a, IN, &e, want, OUT, &err), &err);
    gs_test_site site = gs_test_site_open(TWO_NODES, 4);
    bool borrowed = true;
    assert_ok(gs_gemm_s8_weight_create(OUT, IN, w, site.team, &borrowed, &placed, &err), &err);
    assert_false(borrowed);
    assert_true(gs_gemm_s8_weight_bytes(placed) >= gs_gemm_s8_weight_bytes(plain) + OUT * IN);
    for (int again = 0; again < 20; again++) {
        memset(got, 0xff, sizeof got);
        assert_ok(gs_gemm_s8_run(site.team, placed, ROWS, a, IN, &e, got, OUT, &err), &err);
        assert_memory_equal(got, want, sizeof want);
    }
    gs_gemm_s8_weight_destroy(placed);
    gs_gemm_s8_weight_destroy(plain);
    gs_test_site_close(&site);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_do_not_depend_on_the_nodes),
        cmocka_unit_test(workers_read_the_copy_of_their_node),
        cmocka_unit_test(without_room_for_copies_there_is_one),
        cmocka_unit_test(integer_weights_have_a_copy_a_node_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
