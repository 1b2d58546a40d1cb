/* Which linears belong together, what can carry their factors, and that carrying them changes nothing. */
#include "groups.h"

#include <llm/model.h>
#include <tests/tiny_model.h>

static const tiny_shape shape = {.vocab = 96, .hidden = 32, .intermediate = 48, .layers = 2, .heads = 4, .kv_heads = 2,
                                 .dtype = GS_F32};
enum { HIDDEN = 32, MIDDLE = 48, DIM = 8, SHARE = 2, CACHED = 16 };

static gs_model *open_tiny(const char *dir) {
    gs_error err = {0};
    gs_checkpoint *checkpoint;
    gs_model *m;
    tiny_model(dir, &shape, 5);
    assert_ok(gs_checkpoint_open(dir, NULL, &checkpoint, &err), &err);
    assert_ok(gs_model_take(checkpoint, NULL, NULL, &m, &err), &err);
    return m;
}

static gs_net *segment(const gs_model *m, int i) {
    gs_error err = {0};
    gs_net *net;
    assert_ok(gs_model_segment(m, i, &net, &err), &err);
    return net;
}

static void expect(const gs_edge_group *g, const char *edge, int64_t width, const char *site, int64_t channels,
                   const char *const *linear, int count) {
    if (edge) assert_string_equal(g->edge->name, edge);
    assert_int_equal(g->width, width);
    assert_int_equal(g->count, count);
    for (int i = 0; i < count; i++) assert_string_equal(g->linear[i]->name, linear[i]);
    if (!site) {
        assert_null(g->site.node);
        assert_true(g->reason[0] != 0);
        return;
    }
    assert_non_null(g->site.node);
    assert_string_equal(g->site.node->name, site);
    assert_int_equal(g->site.width, width);
    assert_int_equal(g->site.channels, channels);
    assert_string_equal(g->reason, "");
}

#define L "model.layers.1."

static void a_llama_block_has_four_groups_and_each_its_site(void **state) {
    (void)state;
    static const char *const qkv[] = {L "self_attn.q_proj", L "self_attn.k_proj", L "self_attn.v_proj"};
    static const char *const o[] = {L "self_attn.o_proj"}, *const down[] = {L "mlp.down_proj"};
    static const char *const gate_up[] = {L "mlp.gate_proj", L "mlp.up_proj"};
    gs_error err = {0};
    char *dir = gs_test_tmpdir();
    gs_model *m = open_tiny(dir);
    gs_net *net = segment(m, 2);
    gs_edge_groups groups;
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    assert_int_equal(groups.count, 4);
    const gs_edge_group *g = groups.group;
    expect(&g[0], L "input_layernorm", HIDDEN, L "input_layernorm", HIDDEN, qkv, 3);
    expect(&g[1], NULL, HIDDEN, L "self_attn.v_proj", CACHED, o, 1);
    expect(&g[2], L "post_attention_layernorm", HIDDEN, L "post_attention_layernorm", HIDDEN, gate_up, 2);
    expect(&g[3], NULL, MIDDLE, L "mlp.up_proj", MIDDLE, down, 1);
    assert_int_equal(g[1].edge->producer->op, GS_OP_ATTENTION);
    assert_int_equal(g[3].edge->producer->op, GS_OP_SWIGLU);
    for (int j = 0; j < HIDDEN; j++) {
        assert_int_equal(g[0].site.map[j], j);
        assert_int_equal(g[1].site.map[j], j / DIM / SHARE * DIM + j % DIM); /* a key-value head serves two */
    }
    float s[CACHED], spread[HIDDEN];
    for (int c = 0; c < CACHED; c++) s[c] = (float)c;
    gs_edge_group_spread(&g[1], s, spread);
    for (int j = 0; j < HIDDEN; j++) assert_true(spread[j] == (float)g[1].site.map[j]);
    gs_edge_groups_clear(&groups);
    gs_edge_groups_clear(&groups);
    gs_net_destroy(net);

    net = segment(m, 0); /* the embedding */
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    assert_int_equal(groups.count, 0);
    gs_edge_groups_clear(&groups);
    gs_net_destroy(net);
    net = segment(m, 3); /* the head */
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    assert_int_equal(groups.count, 1);
    static const char *const head[] = {"lm_head"};
    expect(&groups.group[0], "model.norm", HIDDEN, "model.norm", HIDDEN, head, 1);
    gs_edge_groups_clear(&groups);
    gs_net_destroy(net);
    gs_model_close(m);
    gs_test_rmdir(dir);
}

static void smoothing_every_group_of_a_block_leaves_its_function(void **state) {
    (void)state;
    enum { ROWS = 24 };
    gs_error err = {0};
    uint64_t seed = 77;
    char *dir = gs_test_tmpdir();
    gs_model *m = open_tiny(dir);
    gs_net *net = segment(m, 1);
    gs_edge_groups groups;
    int64_t starts[3] = {0, 10, ROWS};
    gs_batch batch = {.rows = ROWS, .sequences = 2, .starts = starts};
    float *x = gs_random_values(ROWS * HIDDEN, &seed), before[ROWS * HIDDEN], after[ROWS * HIDDEN], *y = before;
    const float *in = x;
    assert_ok(gs_try_net(net, GS_GEMM_F32, 1, &batch, &in, &y, &err), &err);
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    for (int i = 0; i < groups.count; i++) {
        float s[MIDDLE];
        for (int c = 0; c < MIDDLE; c++) s[c] = ldexpf(1 + fabsf(gs_test_randf(&seed)), (int)(gs_test_rand(&seed) % 9) - 4);
        assert_ok(gs_edge_group_smooth(&groups.group[i], s, &err), &err);
    }
    gs_edge_groups_clear(&groups);
    y = after;
    assert_ok(gs_try_net(net, GS_GEMM_F32, 1, &batch, &in, &y, &err), &err);
    gs_assert_close(ROWS * HIDDEN, after, before, 1e-5);
    assert_true(memcmp(after, before, sizeof after) != 0); /* something was done */
    free(x);
    gs_net_destroy(net);
    gs_model_close(m);
    gs_test_rmdir(dir);
}

static void a_fused_projection_is_a_group_of_one(void **state) {
    (void)state;
    gs_error err = {0};
    uint64_t seed = 1;
    gs_net *net = gs_new_net("fused");
    gs_edge *x = gs_new_input(net, "x", 8, 0, 0);
    gs_node *norm = gs_new_node(net, GS_OP_RMSNORM, "norm", &(gs_attr){.eps = 1e-5f}, x, NULL, NULL);
    gs_new_param(net, norm, GS_ROLE_WEIGHT, 1, 8, 0, 0, 0, 1, 0.1f, &seed);
    gs_node *qkv = gs_new_linear(net, "qkv", norm->output, 24, 8, &seed);
    gs_finish_net(net, qkv->output);
    gs_edge_groups groups;
    static const char *const linear[] = {"qkv"};
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    assert_int_equal(groups.count, 1);
    expect(&groups.group[0], "norm", 8, "norm", 8, linear, 1);
    gs_edge_groups_clear(&groups);
    gs_net_destroy(net);
}

/* What each case adds beside the linear "a" on the norm's output. */
static gs_net *shared(int other, uint64_t *seed) {
    gs_error err = {0};
    gs_net *net = gs_new_net("shared");
    gs_edge *x = gs_new_input(net, "x", 8, 0, 0);
    gs_node *norm = gs_new_node(net, GS_OP_RMSNORM, "norm", &(gs_attr){.eps = 1e-5f}, x, NULL, NULL);
    gs_new_param(net, norm, GS_ROLE_WEIGHT, 1, 8, 0, 0, 0, 1, 0.1f, seed);
    gs_node *a = gs_new_linear(net, "a", norm->output, 8, 8, seed), *end = a;
    if (other == 1) end = gs_new_node(net, GS_OP_ADD, "sum", NULL, a->output, norm->output, NULL);
    if (other == 2) assert_ok(gs_net_output(net, norm->output, &err), &err);
    gs_finish_net(net, end->output);
    return net;
}

static void a_value_with_other_readers_has_no_site(void **state) {
    (void)state;
    uint64_t seed = 2;
    for (int other = 0; other < 3; other++) {
        gs_error err = {0};
        gs_net *net = shared(other, &seed);
        gs_edge_groups groups;
        assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
        assert_int_equal(groups.count, 1);
        assert_int_equal(groups.group[0].count, 1);
        if (other == 0) {
            assert_non_null(groups.group[0].site.node);
        } else {
            assert_null(groups.group[0].site.node);
            assert_string_equal(groups.group[0].reason, "others than linears read it");
        }
        gs_edge_groups_clear(&groups);
        gs_net_destroy(net);
    }
}

static void a_sum_and_an_input_carry_no_factors_and_groups_come_in_order(void **state) {
    (void)state;
    gs_error err = {0};
    uint64_t seed = 4;
    gs_net *net = gs_new_net("several");
    gs_edge *x = gs_new_input(net, "x", 8, 0, 0);
    gs_node *a = gs_new_linear(net, "a", x, 8, 8, &seed), *b = gs_new_linear(net, "b", a->output, 8, 8, &seed);
    gs_node *c = gs_new_linear(net, "c", x, 8, 8, &seed);
    gs_node *sum = gs_new_node(net, GS_OP_ADD, "sum", NULL, b->output, c->output, NULL);
    gs_node *d = gs_new_linear(net, "d", sum->output, 4, 8, &seed);
    gs_finish_net(net, d->output);
    gs_edge_groups groups;
    static const char *const of_x[] = {"a", "c"}, *const of_a[] = {"b"}, *const of_sum[] = {"d"};
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    assert_int_equal(groups.count, 3);
    expect(&groups.group[0], "x", 8, NULL, 0, of_x, 2);
    expect(&groups.group[1], "a", 8, "a", 8, of_a, 1); /* the rows of a linear */
    expect(&groups.group[2], "sum", 8, NULL, 0, of_sum, 1);
    assert_string_equal(groups.group[0].reason, "it is an input of the segment");
    assert_non_null(strstr(groups.group[2].reason, "add"));
    gs_edge_groups_clear(&groups);
    gs_net_destroy(net);
}

static void factors_that_are_not_positive_and_finite_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    const float bad[] = {0, INFINITY, NAN, -2};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        gs_net *net = gs_norm_net(8, 4, 1);
        gs_edge_groups groups;
        float s[8] = {1, 1, 1, bad[i], 1, 1, 1, 1};
        assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
        assert_fails(gs_edge_group_smooth(&groups.group[0], s, &err), GS_E_NUMERIC, &err);
        gs_edge_groups_clear(&groups);
        gs_net_destroy(net);
    }
}

static void running_out_of_memory_anywhere_is_only_an_error(void **state) {
    (void)state;
    gs_error err = {0};
    gs_status status = GS_E_NOMEM;
    float s[8] = {1, 2, 1, 2, 1, 2, 1, 2};
    for (int64_t k = 0; status != GS_OK && k < 100; k++) {
        gs_net *net = gs_norm_net(8, 4, 1);
        gs_edge_groups groups = {0};
        gs_mem_fail_after(k);
        status = gs_edge_groups_find(net, &groups, &err);
        if (status == GS_OK) status = gs_edge_group_smooth(&groups.group[0], s, &err);
        gs_mem_fail_after(-1);
        if (status != GS_OK) assert_int_equal(status, GS_E_NOMEM);
        gs_edge_groups_clear(&groups);
        gs_net_destroy(net);
    }
    assert_int_equal(status, GS_OK);
}

/* Smoothed columns would change the norms of its rows. */
static void a_linear_of_normalised_rows_has_no_site(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net = gs_norm_net(8, 24, 3);
    gs_edge_groups groups;
    gs_net_find(net, "b")->attr.linear.normalize_rows = true;
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    assert_int_equal(groups.count, 1);
    assert_null(groups.group[0].site.node);
    assert_string_equal(groups.group[0].reason, "rows of its linear are normalised");
    gs_edge_groups_clear(&groups);
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_llama_block_has_four_groups_and_each_its_site),
        cmocka_unit_test(smoothing_every_group_of_a_block_leaves_its_function),
        cmocka_unit_test(a_fused_projection_is_a_group_of_one),
        cmocka_unit_test(a_value_with_other_readers_has_no_site),
        cmocka_unit_test(a_sum_and_an_input_carry_no_factors_and_groups_come_in_order),
        cmocka_unit_test(factors_that_are_not_positive_and_finite_are_refused),
        cmocka_unit_test(a_linear_of_normalised_rows_has_no_site),
        cmocka_unit_test(running_out_of_memory_anywhere_is_only_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
