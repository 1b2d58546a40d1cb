/* Which values of a net are looked at, against a plain search through all of it. */
#include "../network/nets.h"

#include <base/mem.h>
#include <calibrate/observed_edges.h>
#include <llm/model.h>

enum { WIDTH = 4 };

static gs_model *open_model(const char *folder) {
    gs_error err = {0};
    gs_checkpoint *checkpoint;
    gs_model *m;
    assert_ok(gs_checkpoint_open(folder, NULL, &checkpoint, &err), &err);
    assert_ok(gs_model_take(checkpoint, NULL, NULL, &m, &err), &err);
    return m;
}

/* ---- the plain search ---- */

static bool read_by(const gs_net *net, const gs_edge *edge, gs_op op) {
    const gs_node *reader;
    for (int i = 0; (reader = gs_net_consumer(net, edge, i)); i++) {
        bool cached = op != GS_OP_ATTENTION || reader->input[1] == edge || reader->input[2] == edge;
        if (reader->op == op && cached) return true;
    }
    return false;
}

static const gs_node *next_of(const gs_net *net, const gs_node *node) {
    return node->output->consumers == 1 ? gs_net_consumer(net, node->output, 0) : NULL;
}

static const gs_edge *landing_of(const gs_net *net, const gs_edge *edge) {
    const gs_node *reader;
    for (int i = 0; (reader = gs_net_consumer(net, edge, i)); i++) {
        if (reader->op != GS_OP_LINEAR) continue;
        const gs_node *next = next_of(net, reader);
        while (next && (next->op == GS_OP_ROUTED || next->op == GS_OP_ROUTED_ADD)) next = next_of(net, next);
        if (next && next->op == GS_OP_ADD) return next->output;
    }
    return NULL;
}

/* How many are found. */
static int compare(const gs_net *net, bool kv_cache) {
    gs_error err = {0};
    gs_observed_edges edges;
    int at = 0, landings = 0, listed = 0;
    assert_ok(gs_observed_edges_find(net, kv_cache, &edges, &err), &err);
    for (int e = 0; e < gs_net_edge_count(net); e++) {
        const gs_edge *edge = gs_net_edge(net, e);
        bool linear = read_by(net, edge, GS_OP_LINEAR);
        for (int i = edges.first_landing[e], last = -1; i >= 0; last = i, i = edges.at[i].next_landing, listed++)
            assert_true(i > last && edges.at[i].landing == edge);
        if (!linear && !(kv_cache && read_by(net, edge, GS_OP_ATTENTION))) {
            assert_int_equal(edges.of[e], -1);
            continue;
        }
        assert_true(at < edges.count);
        assert_int_equal(edges.of[e], at);
        assert_ptr_equal(edges.at[at].edge, edge);
        assert_int_equal(edges.at[at].linear, linear);
        assert_ptr_equal(edges.at[at].landing, landing_of(net, edge));
        landings += edges.at[at++].landing != NULL;
    }
    assert_int_equal(at, edges.count);
    assert_int_equal(listed, landings);
    gs_observed_edges_clear(&edges);
    gs_observed_edges_clear(&edges);
    return at;
}

static void families_agree(void **state) {
    (void)state;
    static const char *const folders[] = {"reference/families/mixtral-moe", "reference/families/qwen3-moe", "reference/families/gemma2",
                                          "reference/families/phi3-fused", "reference/families/olmo2-postnorm"};
    int plain = 0, cached = 0, segments = 0;
    for (size_t f = 0; f < GS_COUNTOF(folders); f++) {
        gs_need_data(folder, folders[f]);
        gs_error err = {0};
        gs_model *m = open_model(folder);
        for (int i = 0; i < gs_model_segments(m); i++, segments++) {
            gs_net *net;
            assert_ok(gs_model_segment(m, i, &net, &err), &err);
            plain += compare(net, false);
            cached += compare(net, true);
            gs_net_destroy(net);
        }
        segments -= 2; /* blocks are left */
        gs_model_close(m);
    }
    assert_int_equal(cached - plain, 2 * segments);
    assert_true(plain > 4 * segments);
}

/* Linears a and b of x, attention over (a, b, x); c and d land in one sum, and f, which reads what d does, in a later one. */
static gs_net *make_net(void) {
    uint64_t seed = 1;
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", WIDTH, 0, 0), *y = gs_new_input(net, "y", WIDTH, 0, 0);
    gs_node *a = gs_new_linear(net, "a", x, WIDTH, WIDTH, &seed), *b = gs_new_linear(net, "b", x, WIDTH, WIDTH, &seed);
    gs_node *attention = gs_new_node(net, GS_OP_ATTENTION, "attention", NULL, a->output, b->output, x);
    gs_node *c = gs_new_linear(net, "c", attention->output, WIDTH, WIDTH, &seed);
    gs_node *d = gs_new_linear(net, "d", y, WIDTH, WIDTH, &seed);
    gs_node *sum = gs_new_node(net, GS_OP_ADD, "sum", NULL, c->output, d->output, NULL);
    gs_node *f = gs_new_linear(net, "f", y, WIDTH, WIDTH, &seed);
    gs_new_node(net, GS_OP_ADD, "later", NULL, f->output, x, NULL);
    gs_node *e = gs_new_linear(net, "e", sum->output, WIDTH, WIDTH, &seed);
    gs_node *twice = gs_new_node(net, GS_OP_ADD, "twice", NULL, e->output, e->output, NULL);
    assert_int_equal(gs_net_output(net, twice->output, NULL), GS_OK);
    return net;
}

static const gs_observed_edge *entry(const gs_net *net, const gs_observed_edges *edges, const char *producer) {
    int i = edges->of[gs_net_find(net, producer)->output->index];
    return i < 0 ? NULL : &edges->at[i];
}

static void a_sum_is_a_landing_when_nothing_else_reads(void **state) {
    (void)state;
    gs_error err = {0};
    gs_observed_edges edges;
    gs_net *net = make_net();
    assert_int_equal(compare(net, false), 4); /* x, y, attention, sum */
    assert_int_equal(compare(net, true), 5);  /* and b as keys; x is there already */
    assert_ok(gs_observed_edges_find(net, true, &edges, &err), &err);
    const gs_edge *sum = gs_net_find(net, "sum")->output;
    assert_true(entry(net, &edges, "attention")->linear && entry(net, &edges, "attention")->landing == sum);
    assert_ptr_equal(edges.at[edges.of[gs_net_input_at(net, 1)->index]].landing, sum);
    assert_true(!entry(net, &edges, "b")->linear && !entry(net, &edges, "b")->landing);
    assert_null(entry(net, &edges, "a")); /* queries are not cached */
    assert_true(entry(net, &edges, "sum")->linear && !entry(net, &edges, "sum")->landing); /* read twice */
    gs_observed_edges_clear(&edges);
    for (int64_t n = 0;; n++) {
        gs_mem_fail_after(n);
        gs_status status = gs_observed_edges_find(net, true, &edges, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
        assert_true(!edges.at && !edges.of && edges.count == 0);
    }
    gs_observed_edges_clear(&edges);
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_agree),
        cmocka_unit_test(a_sum_is_a_landing_when_nothing_else_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
