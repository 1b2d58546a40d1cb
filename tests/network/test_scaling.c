/* Factors on a value's channels are pushed back to params that can carry them, and the net computes what it
 * did before. */
#include "nets.h"

#include <math.h>
#include <network/scaling.h>

enum { HIDDEN = 12, HEAD = 4, HEADS = 6, INNER = 20, ROWS = 9 };

typedef struct block {
    gs_net *net;
    gs_edge *x;
    gs_node *norm1, *q, *k, *v, *rope_q, *rope_k, *attention, *o, *add1, *norm2, *gate, *up, *swiglu, *down, *add2;
} block;

static gs_node *norm(gs_net *net, const char *name, gs_edge *x, uint64_t *seed) {
    gs_attr attr = {.eps = 1e-5f};
    gs_node *n = gs_new_node(net, GS_OP_RMSNORM, name, &attr, x, NULL, NULL);
    gs_new_param(net, n, GS_ROLE_WEIGHT, 1, HIDDEN, 0, 0, 0, 1, 0.3f, seed);
    return n;
}

static gs_node *linear(gs_net *net, const char *name, gs_edge *x, int64_t out, int64_t in, uint64_t *seed) {
    gs_node *n = gs_new_linear(net, name, x, out, in, seed);
    gs_new_param(net, n, GS_ROLE_BIAS, 1, out, 0, 0, 0, 0, 0.5f, seed);
    return n;
}

static gs_node *rope(gs_net *net, const char *name, gs_edge *x, int64_t heads) {
    gs_attr attr = {.rope = {.heads = heads, .head_dim = HEAD, .theta = 1e4}};
    return gs_new_node(net, GS_OP_ROPE, name, &attr, x, NULL, NULL);
}

/* A decoder block with biases everywhere; not finished. */
static block make_block(int64_t kv_heads) {
    uint64_t seed = 11;
    block b = {.net = gs_new_net("block")};
    gs_attr attention = {.attention = {.heads = HEADS, .kv_heads = kv_heads, .head_dim = HEAD, .scale = 0.5f}};
    b.x = gs_new_input(b.net, "x", HIDDEN, 0, 0);
    b.norm1 = norm(b.net, "norm1", b.x, &seed);
    b.q = linear(b.net, "q", b.norm1->output, HEADS * HEAD, HIDDEN, &seed);
    b.k = linear(b.net, "k", b.norm1->output, kv_heads * HEAD, HIDDEN, &seed);
    b.v = linear(b.net, "v", b.norm1->output, kv_heads * HEAD, HIDDEN, &seed);
    b.rope_q = rope(b.net, "rope_q", b.q->output, HEADS);
    b.rope_k = rope(b.net, "rope_k", b.k->output, kv_heads);
    b.attention = gs_new_node(b.net, GS_OP_ATTENTION, "attention", &attention, b.rope_q->output, b.rope_k->output,
                              b.v->output);
    b.o = linear(b.net, "o", b.attention->output, HIDDEN, HEADS * HEAD, &seed);
    b.add1 = gs_new_node(b.net, GS_OP_ADD, "add1", NULL, b.x, b.o->output, NULL);
    b.norm2 = norm(b.net, "norm2", b.add1->output, &seed);
    b.gate = linear(b.net, "gate", b.norm2->output, INNER, HIDDEN, &seed);
    b.up = linear(b.net, "up", b.norm2->output, INNER, HIDDEN, &seed);
    b.swiglu = gs_new_node(b.net, GS_OP_SWIGLU, "swiglu", NULL, b.gate->output, b.up->output, NULL);
    b.down = linear(b.net, "down", b.swiglu->output, HIDDEN, INNER, &seed);
    b.add2 = gs_new_node(b.net, GS_OP_ADD, "add2", NULL, b.add1->output, b.down->output, NULL);
    return b;
}

static gs_scale_site find(const gs_net *net, const gs_edge *edge, const gs_node *want) {
    gs_error err = {0};
    gs_scale_site site;
    char reason[96];
    assert_ok(gs_scale_site_find(net, edge, &site, reason, &err), &err);
    assert_ptr_equal(site.node, want);
    assert_string_equal(reason, "");
    return site;
}

/* The site is `node`, one channel for one. */
static void assert_plain_site(const gs_net *net, const gs_edge *edge, const gs_node *node, int64_t width) {
    gs_scale_site site = find(net, edge, node);
    assert_int_equal(site.width, width);
    assert_int_equal(site.channels, width);
    for (int64_t j = 0; j < width; j++) assert_int_equal(site.map[j], j);
    gs_scale_site_clear(&site);
    assert_null(site.map);
}

static void assert_blocked(const gs_net *net, const gs_edge *edge, const char *why) {
    gs_error err = {0};
    gs_scale_site site;
    char reason[96];
    assert_ok(gs_scale_site_find(net, edge, &site, reason, &err), &err);
    assert_null(site.node);
    assert_string_equal(reason, why);
    gs_scale_site_clear(&site);
}

static void norms_and_linears_carry_factors(void **state) {
    (void)state;
    block b = make_block(3);
    gs_finish_net(b.net, b.add2->output);
    assert_plain_site(b.net, b.norm1->output, b.norm1, HIDDEN);
    assert_plain_site(b.net, b.norm2->output, b.norm2, HIDDEN);
    assert_plain_site(b.net, b.swiglu->output, b.up, INNER);
    assert_plain_site(b.net, b.q->output, b.q, HEADS * HEAD);
    gs_net_destroy(b.net);
}

static void values_of_attention_are_shared_by_the_heads_of_a_group(void **state) {
    (void)state;
    const int64_t kv_heads[] = {HEADS, 3, 1};
    for (size_t i = 0; i < GS_COUNTOF(kv_heads); i++) {
        block b = make_block(kv_heads[i]);
        gs_finish_net(b.net, b.add2->output);
        gs_scale_site site = find(b.net, b.attention->output, b.v);
        assert_int_equal(site.width, HEADS * HEAD);
        assert_int_equal(site.channels, kv_heads[i] * HEAD);
        for (int64_t h = 0; h < HEADS; h++)
            for (int64_t d = 0; d < HEAD; d++)
                assert_int_equal(site.map[h * HEAD + d], h * kv_heads[i] / HEADS * HEAD + d);
        gs_scale_site_clear(&site);
        gs_net_destroy(b.net);
    }
}

static void relu_passes_factors_on(void **state) {
    (void)state;
    uint64_t seed = 5;
    gs_net *net = gs_new_net("mlp");
    gs_node *a = linear(net, "a", gs_new_input(net, "x", HIDDEN, 0, 0), INNER, HIDDEN, &seed);
    gs_node *r = gs_new_node(net, GS_OP_RELU, "r", NULL, a->output, NULL, NULL);
    gs_node *s = gs_new_node(net, GS_OP_RELU, "s", NULL, r->output, NULL, NULL);
    gs_finish_net(net, s->output);
    assert_plain_site(net, s->output, a, INNER);
    gs_net_destroy(net);
}

static void what_is_not_linear_in_its_channels_blocks(void **state) {
    (void)state;
    block b = make_block(3);
    gs_finish_net(b.net, b.add2->output);
    assert_blocked(b.net, b.add1->output, "the output of add cannot be rescaled");
    assert_blocked(b.net, b.rope_q->output, "the output of rope cannot be rescaled");
    assert_blocked(b.net, b.x, "it is an input of the segment");
    gs_net_destroy(b.net);

    uint64_t seed = 6;
    gs_net *net = gs_new_net("gated"); /* up comes out of something that cannot, gate out of a linear */
    gs_edge *x = gs_new_input(net, "x", HIDDEN, 0, 0);
    gs_node *gate = linear(net, "gate", x, HIDDEN, HIDDEN, &seed);
    gs_node *up = gs_new_node(net, GS_OP_ADD, "up", NULL, x, x, NULL);
    gs_node *glu = gs_new_node(net, GS_OP_SWIGLU, "glu", NULL, gate->output, up->output, NULL);
    gs_node *relu = gs_new_node(net, GS_OP_RELU, "relu", NULL, glu->output, NULL, NULL);
    gs_finish_net(net, relu->output);
    assert_blocked(net, relu->output, "the output of add cannot be rescaled");
    gs_net_destroy(net);

    net = gs_new_net("direct"); /* the net's input is the unit's up */
    x = gs_new_input(net, "x", HIDDEN, 0, 0);
    gs_edge *g = gs_new_input(net, "g", HIDDEN, 0, 0);
    glu = gs_new_node(net, GS_OP_SWIGLU, "glu", NULL, g, x, NULL);
    gs_finish_net(net, glu->output);
    assert_blocked(net, glu->output, "it is an input of the segment");
    gs_net_destroy(net);
}

static void a_value_on_the_way_with_other_readers_blocks(void **state) {
    (void)state;
    gs_error err = {0};
    block b = make_block(3);
    assert_ok(gs_net_output(b.net, b.v->output, &err), &err);
    gs_node *r = gs_new_node(b.net, GS_OP_RELU, "r", NULL, b.up->output, NULL, NULL);
    assert_ok(gs_net_output(b.net, r->output, &err), &err);
    gs_finish_net(b.net, b.add2->output);
    assert_blocked(b.net, b.attention->output, "v has other readers");
    assert_blocked(b.net, b.swiglu->output, "up has other readers");
    assert_blocked(b.net, r->output, "up has other readers");
    gs_net_destroy(b.net);
}

static void a_value_without_channels_is_an_error(void **state) {
    (void)state;
    gs_error err = {0};
    gs_scale_site site;
    char reason[96];
    gs_net *net = gs_new_net("n");
    gs_dims unknown = {.ndim = 1};
    gs_edge *x;
    assert_ok(gs_net_input(net, "x", unknown, &x, &err), &err);
    assert_fails(gs_scale_site_find(net, x, &site, reason, &err), GS_E_INVALID, &err);
    gs_scale_site_clear(&site);
    gs_net_destroy(net);
}

/* ---- fused projections ---- */

enum { KV = 3, GROUP = HEADS / KV, QKV = (HEADS + 2 * KV) * HEAD };

static gs_node *slice(gs_net *net, const char *name, gs_node *from, int64_t start, int64_t width, int64_t stride, int64_t count) {
    gs_attr attr = {0};
    attr.slice.start = start;
    attr.slice.width = width;
    attr.slice.stride = stride;
    attr.slice.count = count;
    return gs_new_node(net, GS_OP_SLICE, name, &attr, from->output, NULL, NULL);
}

/* x -> qkv -> attention -> o, and gate_up -> a gated unit whose up is scaled -> down; not finished. by_group: a group's
 * query heads, its key and its value stand together. */
static block make_fused(bool by_group, gs_op glu) {
    uint64_t seed = 17;
    block b = {.net = gs_new_net("fused")};
    gs_attr attention = {.attention = {.heads = HEADS, .kv_heads = KV, .head_dim = HEAD, .scale = 0.5f}}, scale = {0};
    scale.scale.factor = -0.5f;
    b.x = gs_new_input(b.net, "x", HIDDEN, 0, 0);
    gs_node *qkv = linear(b.net, "qkv", b.x, QKV, HIDDEN, &seed);
    int64_t stride = (GROUP + 2) * HEAD;
    b.q = by_group ? slice(b.net, "q", qkv, 0, GROUP * HEAD, stride, KV) : slice(b.net, "q", qkv, 0, HEADS * HEAD, 0, 1);
    b.k = by_group ? slice(b.net, "k", qkv, GROUP * HEAD, HEAD, stride, KV) : slice(b.net, "k", qkv, HEADS * HEAD, KV * HEAD, 0, 1);
    b.v = by_group ? slice(b.net, "v", qkv, (GROUP + 1) * HEAD, HEAD, stride, KV)
                   : slice(b.net, "v", qkv, (HEADS + KV) * HEAD, KV * HEAD, 0, 1);
    b.attention = gs_new_node(b.net, GS_OP_ATTENTION, "attention", &attention, b.q->output, b.k->output, b.v->output);
    b.o = linear(b.net, "o", b.attention->output, HIDDEN, HEADS * HEAD, &seed);
    gs_node *gate_up = linear(b.net, "gate_up", b.o->output, 2 * INNER, HIDDEN, &seed);
    b.gate = slice(b.net, "gate", gate_up, 0, INNER, 0, 1);
    b.up = slice(b.net, "up", gate_up, INNER, INNER, 0, 1);
    gs_node *scaled = gs_new_node(b.net, GS_OP_SCALE, "scaled", &scale, b.up->output, NULL, NULL);
    b.swiglu = gs_new_node(b.net, glu, "glu", NULL, b.gate->output, scaled->output, NULL);
    b.down = linear(b.net, "down", b.swiglu->output, HIDDEN, INNER, &seed);
    return b;
}

static void slices_carry_factors_to_their_own_channels(void **state) {
    (void)state;
    for (int by_group = 0; by_group < 2; by_group++) {
        block b = make_fused(by_group, GS_OP_GEGLU);
        gs_finish_net(b.net, b.down->output);
        gs_scale_site site = find(b.net, b.attention->output, gs_net_find(b.net, "qkv"));
        assert_int_equal(site.width, HEADS * HEAD);
        assert_int_equal(site.channels, KV * HEAD);
        for (int64_t h = 0; h < HEADS; h++)
            for (int64_t d = 0; d < HEAD; d++) {
                int64_t kv = h / GROUP, row = by_group ? kv * (GROUP + 2) * HEAD + (GROUP + 1) * HEAD : (HEADS + KV + kv) * HEAD;
                assert_int_equal(site.map[h * HEAD + d], kv * HEAD + d);
                assert_int_equal(gs_scale_site_row(&site, h * HEAD + d), row + d);
            }
        gs_scale_site_clear(&site);
        site = find(b.net, b.swiglu->output, gs_net_find(b.net, "gate_up"));
        assert_int_equal(site.channels, INNER);
        for (int64_t j = 0; j < INNER; j++) assert_int_equal(gs_scale_site_row(&site, j), INNER + j);
        float factor[INNER], *all;
        gs_error err = {0};
        for (int j = 0; j < INNER; j++) factor[j] = (float)(j + 2);
        assert_ok(gs_scale_site_expand(&site, factor, &all, &err), &err);
        for (int j = 0; j < 2 * INNER; j++) assert_true(all[j] == (j < INNER ? 1 : (float)(j - INNER + 2)));
        gs_free(all);
        gs_scale_site_clear(&site);
        gs_net_destroy(b.net);
    }
}

static void channels_that_others_read_too_block(void **state) {
    (void)state;
    gs_error err = {0};
    static const struct { int64_t start, width, stride, count; bool free; } other[] = {
        {0, (HEADS + KV) * HEAD, 0, 1, true},  {QKV - 1, 1, 0, 1, false},     {(HEADS + KV) * HEAD - 1, 2, 0, 1, false},
        {0, 1, QKV / 3, 3, true},              {3, 1, (QKV - 4) / 2, 3, false}, {0, QKV, 0, 1, false}};
    for (size_t i = 0; i < GS_COUNTOF(other); i++) {
        block b = make_fused(false, GS_OP_SWIGLU);
        gs_node *s = slice(b.net, "other", gs_net_find(b.net, "qkv"), other[i].start, other[i].width, other[i].stride, other[i].count);
        assert_ok(gs_net_output(b.net, s->output, &err), &err);
        gs_finish_net(b.net, b.down->output);
        if (other[i].free) {
            gs_scale_site site = find(b.net, b.attention->output, gs_net_find(b.net, "qkv"));
            gs_scale_site_clear(&site);
        } else assert_blocked(b.net, b.attention->output, "qkv has other readers");
        gs_net_destroy(b.net);
    }
    for (int i = 0; i < 2; i++) { /* a reader that is no slice, the world outside */
        block b = make_fused(false, GS_OP_SWIGLU);
        gs_node *qkv = gs_net_find(b.net, "qkv");
        gs_edge *out = i ? qkv->output : gs_new_node(b.net, GS_OP_RELU, "r", NULL, qkv->output, NULL, NULL)->output;
        assert_ok(gs_net_output(b.net, out, &err), &err);
        gs_finish_net(b.net, b.down->output);
        assert_blocked(b.net, b.attention->output, "qkv has other readers");
        gs_net_destroy(b.net);
    }
}

static void soft_caps_block(void **state) {
    (void)state;
    uint64_t seed = 5;
    gs_attr attr = {0};
    attr.softcap.cap = 3;
    gs_net *net = gs_new_net("n");
    gs_node *a = linear(net, "a", gs_new_input(net, "x", HIDDEN, 0, 0), INNER, HIDDEN, &seed);
    gs_node *s = gs_new_node(net, GS_OP_SOFTCAP, "s", &attr, a->output, NULL, NULL);
    gs_finish_net(net, s->output);
    assert_blocked(net, s->output, "the output of softcap cannot be rescaled");
    gs_net_destroy(net);
}

static void running_out_of_memory_is_an_error(void **state) {
    (void)state;
    block b = make_fused(true, GS_OP_GEGLU);
    gs_finish_net(b.net, b.down->output);
    for (int64_t n = 0;; n++) {
        gs_error err = {0};
        gs_scale_site site;
        char reason[96];
        gs_mem_fail_after(n);
        gs_status status = gs_scale_site_find(b.net, b.attention->output, &site, reason, &err);
        gs_mem_fail_after(-1);
        gs_scale_site_clear(&site);
        if (status == GS_OK) {
            assert_true(n == 3);
            break;
        }
        assert_int_equal(status, GS_E_NOMEM);
    }
    gs_net_destroy(b.net);
}

/* ---- the function of the net stays ---- */

static void run(gs_net *net, const float *x, float *y) {
    gs_error err = {0};
    const int64_t starts[] = {0, 4, ROWS};
    gs_batch batch = {.rows = ROWS, .sequences = 2, .starts = starts};
    assert_ok(gs_try_net(net, GS_GEMM_F32, 1, &batch, &x, &y, &err), &err);
}

/* Multiplies an edge's channels by random factors and takes them out of the linears that read it. */
static void move_factors(gs_net *net, gs_edge *edge, gs_node *site_node, uint64_t *seed) {
    gs_error err = {0};
    float f[64], inverse[64];
    gs_scale_site site = find(net, edge, site_node);
    for (int64_t c = 0; c < site.channels; c++) f[c] = expf(2 * gs_test_randf(seed));
    for (int64_t j = 0; j < site.width; j++) inverse[j] = 1.0f / f[site.map[j]];
    assert_ok(gs_scale_site_apply(&site, f, &err), &err);
    gs_node *reader;
    for (int i = 0; (reader = gs_net_consumer(net, edge, i)); i++)
        assert_ok(gs_param_scale_cols(reader->param[GS_ROLE_WEIGHT], inverse, &err), &err);
    gs_scale_site_clear(&site);
}

static void a_blocks_function_does_not_change(void **state) {
    (void)state;
    const int64_t kv_heads[] = {HEADS, 3, 1};
    for (size_t i = 0; i < GS_COUNTOF(kv_heads); i++) {
        uint64_t seed = 20 + i;
        block b = make_block(kv_heads[i]);
        float *x = gs_random_values(ROWS * HIDDEN, &seed), before[ROWS * HIDDEN], after[ROWS * HIDDEN];
        gs_finish_net(b.net, b.add2->output);
        run(b.net, x, before);
        move_factors(b.net, b.norm1->output, b.norm1, &seed);
        move_factors(b.net, b.attention->output, b.v, &seed);
        run(b.net, x, after);
        gs_assert_close(ROWS * HIDDEN, after, before, 1e-5);
        move_factors(b.net, b.norm2->output, b.norm2, &seed);
        move_factors(b.net, b.swiglu->output, b.up, &seed);
        move_factors(b.net, b.swiglu->output, b.up, &seed); /* factors multiply */
        run(b.net, x, after);
        gs_assert_close(ROWS * HIDDEN, after, before, 1e-5);
        assert_memory_not_equal(after, before, sizeof after);
        free(x);
        gs_net_destroy(b.net);
    }
}

static void a_fused_blocks_function_does_not_change(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        uint64_t seed = 40;
        block b = make_fused(kind & 1, kind & 2 ? GS_OP_GEGLU : GS_OP_SWIGLU);
        float *x = gs_random_values(ROWS * HIDDEN, &seed), before[ROWS * HIDDEN], after[ROWS * HIDDEN];
        gs_finish_net(b.net, b.down->output);
        run(b.net, x, before);
        move_factors(b.net, b.attention->output, gs_net_find(b.net, "qkv"), &seed);
        move_factors(b.net, b.swiglu->output, gs_net_find(b.net, "gate_up"), &seed);
        move_factors(b.net, b.swiglu->output, gs_net_find(b.net, "gate_up"), &seed);
        run(b.net, x, after);
        gs_assert_close(ROWS * HIDDEN, after, before, 1e-5);
        assert_memory_not_equal(after, before, sizeof after);
        free(x);
        gs_net_destroy(b.net);
    }
}

static void a_relu_chains_function_does_not_change(void **state) {
    (void)state;
    uint64_t seed = 7;
    gs_net *net = gs_new_net("mlp");
    gs_node *a = linear(net, "a", gs_new_input(net, "x", HIDDEN, 0, 0), INNER, HIDDEN, &seed);
    gs_node *r = gs_new_node(net, GS_OP_RELU, "r", NULL, a->output, NULL, NULL);
    gs_node *c = linear(net, "c", r->output, HIDDEN, INNER, &seed);
    float *x = gs_random_values(ROWS * HIDDEN, &seed), before[ROWS * HIDDEN], after[ROWS * HIDDEN];
    gs_finish_net(net, c->output);
    run(net, x, before);
    move_factors(net, r->output, a, &seed);
    run(net, x, after);
    gs_assert_close(ROWS * HIDDEN, after, before, 1e-5);
    free(x);
    gs_net_destroy(net);
}

static void bad_factors_change_nothing(void **state) {
    (void)state;
    const float bad[] = {0, -1, NAN, INFINITY};
    block b = make_block(3);
    uint64_t seed = 8;
    float *x = gs_random_values(ROWS * HIDDEN, &seed), before[ROWS * HIDDEN], after[ROWS * HIDDEN], f[64];
    gs_finish_net(b.net, b.add2->output);
    run(b.net, x, before);
    gs_scale_site site = find(b.net, b.swiglu->output, b.up);
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        gs_error err = {0};
        for (int c = 0; c < INNER; c++) f[c] = c == 13 ? bad[i] : 2;
        assert_fails(gs_scale_site_apply(&site, f, &err), GS_E_NUMERIC, &err);
        run(b.net, x, after);
        assert_memory_equal(before, after, sizeof before);
    }
    gs_scale_site_clear(&site);
    free(x);
    gs_net_destroy(b.net);
}

static void a_scaled_node_must_be_prepared_again(void **state) {
    (void)state;
    gs_error err = {0};
    block b = make_block(3);
    float x[HIDDEN] = {1}, y[HIDDEN], *out = y, f[64];
    const float *in = x;
    const int64_t starts[] = {0, 1};
    gs_batch batch = {.rows = 1, .sequences = 1, .starts = starts};
    gs_exec *ex;
    gs_finish_net(b.net, b.add2->output);
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    assert_ok(gs_exec_prepare(ex, b.net, &err), &err);
    gs_scale_site site = find(b.net, b.norm1->output, b.norm1);
    for (int c = 0; c < HIDDEN; c++) f[c] = 2;
    assert_ok(gs_scale_site_apply(&site, f, &err), &err);
    assert_fails(gs_exec_run(ex, b.net, &batch, &in, &out, &err), GS_E_INVALID, &err);
    assert_ok(gs_exec_prepare(ex, b.net, &err), &err);
    assert_ok(gs_exec_run(ex, b.net, &batch, &in, &out, &err), &err);
    gs_scale_site_clear(&site);
    gs_exec_release(ex, b.net);
    gs_exec_destroy(ex);
    gs_net_destroy(b.net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_and_linears_carry_factors),
        cmocka_unit_test(values_of_attention_are_shared_by_the_heads_of_a_group),
        cmocka_unit_test(relu_passes_factors_on),
        cmocka_unit_test(what_is_not_linear_in_its_channels_blocks),
        cmocka_unit_test(a_value_on_the_way_with_other_readers_blocks),
        cmocka_unit_test(a_value_without_channels_is_an_error),
        cmocka_unit_test(slices_carry_factors_to_their_own_channels),
        cmocka_unit_test(channels_that_others_read_too_block),
        cmocka_unit_test(soft_caps_block),
        cmocka_unit_test(running_out_of_memory_is_an_error),
        cmocka_unit_test(a_blocks_function_does_not_change),
        cmocka_unit_test(a_fused_blocks_function_does_not_change),
        cmocka_unit_test(a_relu_chains_function_does_not_change),
        cmocka_unit_test(bad_factors_change_nothing),
        cmocka_unit_test(a_scaled_node_must_be_prepared_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
