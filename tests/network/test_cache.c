/* An int8 cache of keys and values: its arithmetic against a plain loop, and where it stands in a net. */
#include "nets.h"

#include <base/half.h>
#include <math.h>
#include <network/cache.h>
#include <network/rewrite.h>
#include <network/scaling.h>

enum { WIDTH = 53, ROWS = 37 };

/* What a test varies; offsets NULL: none. */
typedef struct kind {
    gs_dtype compute, stored;
    gs_arith arith;
    int64_t scales, offsets;
} kind;

static void put(gs_net *net, gs_node *node, gs_role role, gs_dtype dtype, int64_t n, const float *x) {
    gs_error err = {0};
    uint16_t half[WIDTH];
    for (int64_t i = 0; i < n && x; i++) half[i] = dtype == GS_F16 ? gs_f32_to_f16(x[i]) : gs_f32_to_bf16(x[i]);
    const void *data = dtype == GS_F32 ? (const void *)x : half;
    assert_ok(gs_net_param_new(net, node, role, gs_role_name(role), dtype, 1, &n, x ? data : NULL, &err), &err);
}

static gs_net *make_net(const kind *k, const float *scale, const float *offset) {
    gs_net *net = gs_new_net("c");
    gs_attr attr = {.quant = {.compute = k->compute, .arith = k->arith}};
    gs_node *node = gs_new_node(net, GS_OP_CACHE, "k_cache", &attr, gs_new_input(net, "x", WIDTH, 0, 0), NULL, NULL);
    put(net, node, GS_ROLE_CACHE_SCALE, k->stored, k->scales, scale);
    if (k->offsets) put(net, node, GS_ROLE_CACHE_OFFSET, k->stored, k->offsets, offset);
    gs_finish_net(net, node->output);
    return net;
}

static void fill(uint64_t seed, float *scale, float *offset, float *x) {
    for (int i = 0; i < WIDTH; i++) {
        scale[i] = 0.02f + 0.015f * gs_test_randf(&seed);
        offset[i] = rintf(127 * gs_test_randf(&seed));
    }
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = 4 * gs_test_randf(&seed);
    x[0] = 1e30f;
    x[1] = -INFINITY;
    x[2] = NAN;
    x[3] = 0;
}

/* Rounded by the C library, clamped after it. */
static float model(const kind *k, const float *scale, const float *offset, int c, float x) {
    if (k->arith == GS_ARITH_WEIGHTS) return x;
    gs_dtype t = k->arith == GS_ARITH_CONSUMER ? k->compute : GS_F32;
    float s = gs_round_to(t, gs_round_to(k->stored, scale[k->scales == 1 ? 0 : c]));
    float o = k->offsets ? offset[k->offsets == 1 ? 0 : c] : 0, code = rintf(x / s + o);
    return ((code < -128 ? -128 : code > 127 ? 127 : code) - o) * s;
}

static void a_cache_is_the_model(void **state) {
    (void)state;
    static const gs_dtype types[] = {GS_F32, GS_F16, GS_BF16};
    float scale[WIDTH], offset[WIDTH], x[ROWS * WIDTH], y[ROWS * WIDTH];
    for (int c = 0; c < 3 * 3 * 3 * 6; c++) {
        kind k = {types[c % 3], types[c / 3 % 3], (gs_arith)(c / 9 % 3), c / 27 % 2 ? WIDTH : 1,
                  (const int64_t[]){0, 1, WIDTH}[c / 54]};
        fill((uint64_t)c, scale, offset, x);
        gs_net *net = make_net(&k, scale, offset);
        gs_run_rows(net, GS_GEMM_F32, ROWS, x, y);
        for (int i = 0; i < ROWS * WIDTH; i++) {
            float want = model(&k, scale, offset, i % WIDTH, x[i]);
            if (!(y[i] == want || (isnan(y[i]) && isnan(want))))
                fail_msg("case %d, value %d: %a of %a, not %a", c, i, (double)y[i], (double)x[i], (double)want);
        }
        gs_net_destroy(net);
    }
}

static void ties_go_to_even(void **state) {
    (void)state;
    const float scale = 2, x[WIDTH] = {1, 3, 5, -1, -3, -5, 255, 256, -257, 257};
    const float want[] = {0, 4, 4, -0.0f, -4, -4, 254, 254, -256, 254};
    float y[WIDTH];
    kind k = {GS_F32, GS_F32, GS_ARITH_CONSUMER, 1, 0};
    gs_net *net = make_net(&k, &scale, NULL);
    gs_run_rows(net, GS_GEMM_F32, 1, x, y);
    for (size_t i = 0; i < GS_COUNTOF(want); i++) assert_true(y[i] == want[i]);
    gs_net_destroy(net);
}

static gs_status try_prepare(gs_net *net, gs_error *err) {
    gs_exec *ex;
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, err), err);
    gs_status status = gs_exec_prepare(ex, net, err);
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
    return status;
}

static void scales_and_offsets_that_mean_nothing_are_refused(void **state) {
    (void)state;
    float scale[WIDTH], offset[WIDTH], x[ROWS * WIDTH];
    const struct {
        gs_dtype compute;
        float scale, offset;
        const char *words;
    } bad[] = {
        {GS_F32, 0, 0, "kv_cache_scale of channel 5 is 0"},   {GS_F32, NAN, 0, "kv_cache_scale of channel 5 is"},
        {GS_F32, -1, 0, "kv_cache_scale of channel 5 is -1"}, {GS_F32, INFINITY, 0, "kv_cache_scale of channel 5 is inf"},
        {GS_F16, 1e-9f, 0, "kv_cache_scale of channel 5 is 0"}, {GS_F32, 1, 0.5f, "kv_cache_offset 0.5 of channel 5"},
        {GS_F32, 1, 128, "kv_cache_offset 128 of channel 5"}, {GS_F32, 1, NAN, "kv_cache_offset nan of channel 5"},
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        gs_error err = {0};
        kind k = {bad[i].compute, GS_F32, GS_ARITH_CONSUMER, WIDTH, WIDTH};
        fill(1, scale, offset, x);
        scale[5] = bad[i].scale;
        offset[5] = bad[i].offset;
        gs_net *net = make_net(&k, scale, offset);
        assert_fails(try_prepare(net, &err), GS_E_NUMERIC, &err);
        if (!strstr(err.text, bad[i].words)) fail_msg("'%s' lacks '%s'", err.text, bad[i].words);
        gs_net_destroy(net);
    }
}

static void shapes_types_and_values_are_checked(void **state) {
    (void)state;
    float scale[WIDTH], offset[WIDTH], x[ROWS * WIDTH];
    gs_error err = {0};
    fill(1, scale, offset, x);
    kind k = {GS_BF16, GS_F32, GS_ARITH_CONSUMER, WIDTH, WIDTH};
    gs_net *net = make_net(&k, scale, offset);
    gs_node *node = gs_net_find(net, "k_cache");
    for (int role = GS_ROLE_CACHE_SCALE; role <= GS_ROLE_CACHE_OFFSET; role++) {
        put(net, node, (gs_role)role, GS_F32, WIDTH - 1, NULL);
        assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
        put(net, node, (gs_role)role, GS_I8, WIDTH, NULL);
        assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
        put(net, node, (gs_role)role, GS_F32, WIDTH, NULL);
        assert_ok(gs_net_infer(net, &err), &err); /* planned */
        assert_fails(try_prepare(net, &err), GS_E_INVALID, &err);
        assert_non_null(strstr(err.text, "has no values"));
        put(net, node, (gs_role)role, GS_F32, WIDTH, role == GS_ROLE_CACHE_SCALE ? scale : offset);
        assert_ok(try_prepare(net, &err), &err);
    }
    node->attr.quant.compute = GS_I8;
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    node->attr.quant.compute = GS_F16;
    node->attr.quant.arith = (gs_arith)-1;
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    gs_net_destroy(net);
}

static void every_failing_allocation_is_survived(void **state) {
    (void)state;
    float scale[WIDTH], offset[WIDTH], x[ROWS * WIDTH], y[ROWS * WIDTH], *out = y;
    const float *in = x;
    gs_batch batch = {.rows = ROWS};
    fill(1, scale, offset, x);
    kind k = {GS_BF16, GS_F16, GS_ARITH_CONSUMER, 1, WIDTH};
    gs_net *net = make_net(&k, scale, offset);
    assert_true(gs_starve_net(net, &batch, &in, &out) > 5);
    gs_net_destroy(net);
}

/* ---- in a net ---- */

enum { HEADS = 2, DIM = 4, HIDDEN = HEADS * DIM };

/* q, k, v of one value; k is normed and rotated. */
static gs_net *make_block(gs_node **attention) {
    uint64_t seed = 2;
    gs_net *net = gs_new_net("block");
    gs_edge *x = gs_new_input(net, "x", HIDDEN, 0, 0);
    gs_attr rope = {.rope = {.heads = HEADS, .head_dim = DIM, .theta = 1e4}};
    gs_attr attr = {.attention = {.heads = HEADS, .kv_heads = HEADS, .head_dim = DIM, .scale = 0.5f}};
    gs_node *q = gs_new_linear(net, "b.q", x, HIDDEN, HIDDEN, &seed), *k = gs_new_linear(net, "b.k", x, HIDDEN, HIDDEN, &seed);
    gs_node *v = gs_new_linear(net, "b.v", x, HIDDEN, HIDDEN, &seed);
    gs_attr eps = {.eps = 1e-5f};
    gs_node *norm = gs_new_node(net, GS_OP_RMSNORM, "b.k_norm", &eps, k->output, NULL, NULL);
    gs_new_param(net, norm, GS_ROLE_WEIGHT, 1, HIDDEN, 0, 0, 0, 1, 0, &seed);
    gs_node *turned = gs_new_node(net, GS_OP_ROPE, "b.rope_k", &rope, norm->output, NULL, NULL);
    *attention = gs_new_node(net, GS_OP_ATTENTION, "b.attention", &attr, q->output, turned->output, v->output);
    gs_new_linear(net, "b.o", (*attention)->output, HIDDEN, HIDDEN, &seed);
    gs_finish_net(net, gs_net_find(net, "b.o")->output);
    return net;
}

static void a_cache_stands_on_the_edge_that_attention_reads(void **state) {
    (void)state;
    gs_error err = {0};
    gs_node *attention, *k, *v;
    gs_net *net = make_block(&attention);
    const gs_attr attr = {.quant = {.compute = GS_F32, .arith = GS_ARITH_EXACT}};
    const float scale = 0.01f;
    assert_string_equal(gs_cache_linear(attention, 1)->name, "b.k");
    assert_string_equal(gs_cache_linear(attention, 2)->name, "b.v");
    assert_ok(gs_cache_insert(net, attention, 1, &attr, &k, &err), &err);
    assert_ok(gs_cache_insert(net, attention, 2, &attr, &v, &err), &err);
    assert_string_equal(k->name, "b.k_cache");
    assert_string_equal(v->name, "b.v_cache");
    assert_ptr_equal(attention->input[1], k->output);
    assert_ptr_equal(attention->input[2], v->output);
    assert_string_equal(k->input[0]->name, "b.rope_k");
    assert_string_equal(gs_cache_linear(attention, 1)->name, "b.k");
    gs_assert_net_is_sound(net);
    put(net, k, GS_ROLE_CACHE_SCALE, GS_F32, 1, &scale);
    put(net, v, GS_ROLE_CACHE_SCALE, GS_F32, 1, &scale);
    assert_ok(gs_net_infer(net, &err), &err);
    assert_fails(gs_cache_insert(net, attention, 1, &attr, &k, &err), GS_E_INVALID, &err);
    gs_net_destroy(net);
}

static void a_cache_lets_no_factors_through(void **state) {
    (void)state;
    gs_error err = {0};
    gs_node *attention, *v;
    gs_net *net = make_block(&attention);
    gs_scale_site site;
    char reason[96];
    const gs_attr attr = {.quant = {.compute = GS_F32}};
    const float scale = 0.01f;
    assert_ok(gs_scale_site_find(net, attention->output, &site, reason, &err), &err);
    assert_string_equal(site.node->name, "b.v");
    gs_scale_site_clear(&site);
    assert_ok(gs_cache_insert(net, attention, 2, &attr, &v, &err), &err);
    put(net, v, GS_ROLE_CACHE_SCALE, GS_F32, 1, &scale);
    assert_ok(gs_net_infer(net, &err), &err);
    assert_ok(gs_scale_site_find(net, attention->output, &site, reason, &err), &err);
    assert_null(site.node);
    assert_string_equal(reason, "the output of cache cannot be rescaled");
    gs_scale_site_clear(&site);
    gs_net_destroy(net);
}

static void names_stay_unique_and_wrong_places_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_node *attention, *cache;
    gs_net *net = make_block(&attention);
    gs_node *q = gs_net_find(net, "b.q");
    assert_null(gs_cache_linear(attention, 0));
    assert_null(gs_cache_linear(attention, 3));
    assert_null(gs_cache_linear(q, 1));
    assert_fails(gs_cache_insert(net, attention, 0, NULL, &cache, &err), GS_E_INVALID, &err);
    assert_fails(gs_cache_insert(net, attention, 3, NULL, &cache, &err), GS_E_INVALID, &err);
    assert_fails(gs_cache_insert(net, q, 1, NULL, &cache, &err), GS_E_INVALID, &err);
    gs_new_node(net, GS_OP_RELU, "b.v_cache", NULL, q->output, NULL, NULL);
    assert_ok(gs_cache_insert(net, attention, 2, NULL, &cache, &err), &err);
    assert_string_equal(cache->name, "b.v_cache_2");
    gs_net_destroy(net);

    net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", HIDDEN, 0, 0), *y = gs_new_input(net, "y", HIDDEN, 0, 0);
    uint64_t seed = 1;
    gs_node *from = gs_new_linear(net, "from", x, HIDDEN, HIDDEN, &seed);
    gs_node *sum = gs_new_node(net, GS_OP_ADD, "sum", NULL, from->output, y, NULL);
    attention = gs_new_node(net, GS_OP_ATTENTION, "a", NULL, x, sum->output, sum->output);
    assert_null(gs_cache_linear(attention, 1)); /* a sum is made by no one linear */
    assert_fails(gs_cache_insert(net, attention, 1, NULL, &cache, &err), GS_E_INVALID, &err);
    gs_node *other = gs_new_node(net, GS_OP_ATTENTION, "z", NULL, x, y, sum->output);
    assert_null(gs_cache_linear(other, 1)); /* an input of the net */
    gs_attr part = {0};
    part.slice.width = HIDDEN;
    part.slice.count = 1;
    gs_node *slice = gs_new_node(net, GS_OP_SLICE, "part", &part, from->output, NULL, NULL);
    gs_node *fused = gs_new_node(net, GS_OP_ATTENTION, "f", NULL, x, slice->output, from->output);
    assert_null(gs_cache_linear(fused, 1)); /* part of a linear's output */
    assert_ptr_equal(gs_cache_linear(fused, 2), from);
    assert_null(gs_cache_fused(fused)); /* queries are others' */
    gs_node *part_2 = gs_new_node(net, GS_OP_SLICE, "part 2", &part, from->output, NULL, NULL);
    gs_node *turned = gs_new_node(net, GS_OP_RELU, "turned", NULL, part_2->output, NULL, NULL);
    gs_node *all = gs_new_node(net, GS_OP_ATTENTION, "all", NULL, slice->output, turned->output, slice->output);
    assert_ptr_equal(gs_cache_fused(all), from);
    assert_null(gs_cache_linear(all, 1));
    all = gs_new_node(net, GS_OP_ATTENTION, "all but values", NULL, slice->output, turned->output, from->output);
    assert_null(gs_cache_fused(all));
    assert_null(gs_cache_fused(turned));
    for (int64_t n = 0;; n++) {
        gs_mem_fail_after(n);
        gs_status status = gs_cache_insert(net, other, 1, NULL, &cache, &err);
        gs_mem_fail_after(-1);
        gs_assert_net_is_sound(net);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
    }
    assert_string_equal(cache->name, "k_cache");
    assert_ptr_equal(attention->input[0], x); /* others read on as before */
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cache_is_the_model),
        cmocka_unit_test(ties_go_to_even),
        cmocka_unit_test(scales_and_offsets_that_mean_nothing_are_refused),
        cmocka_unit_test(shapes_types_and_values_are_checked),
        cmocka_unit_test(every_failing_allocation_is_survived),
        cmocka_unit_test(a_cache_stands_on_the_edge_that_attention_reads),
        cmocka_unit_test(a_cache_lets_no_factors_through),
        cmocka_unit_test(names_stay_unique_and_wrong_places_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
