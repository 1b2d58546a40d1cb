/* Building small nets in tests: every step fails the running test when it fails. */
#ifndef GS_TESTS_NETWORK_NETS_H
#define GS_TESTS_NETWORK_NETS_H

#include <base/mem.h>
#include <network/exec.h>
#include <tests/support.h>

static inline gs_net *gs_new_net(const char *name) {
    gs_error err = {0};
    gs_net *net = NULL;
    assert_ok(gs_net_create(name, &net, &err), &err);
    return net;
}

/* dims: up to three, 0 ends. */
static inline gs_edge *gs_new_input(gs_net *net, const char *name, int64_t a, int64_t b, int64_t c) {
    gs_error err = {0};
    gs_edge *edge = NULL;
    gs_dims dims = {.ndim = c ? 3 : b ? 2 : a ? 1 : 0, .dim = {a, b, c}};
    assert_ok(gs_net_input(net, name, dims, &edge, &err), &err);
    return edge;
}

static inline gs_node *gs_new_node(gs_net *net, gs_op op, const char *name, const gs_attr *attr,
                                   gs_edge *a, gs_edge *b, gs_edge *c) {
    gs_error err = {0};
    gs_node *node = NULL;
    gs_edge *in[3] = {a, b, c};
    assert_ok(gs_net_add(net, op, name, c ? 3 : b ? 2 : 1, in, attr, &node, &err), &err);
    return node;
}

/* An owned f32 param with values in [middle - spread, middle + spread); its values, which
 * belong to the param. */
static inline float *gs_new_param(gs_net *net, gs_node *node, gs_role role, int ndim, int64_t a,
                                  int64_t b, int64_t c, int64_t d, float middle, float spread,
                                  uint64_t *seed) {
    gs_error err = {0};
    char name[256];
    int64_t shape[4] = {a, b, c, d};
    snprintf(name, sizeof name, "%s.%s", node->name, gs_role_name(role));
    assert_ok(gs_net_param_new(net, node, role, name, GS_F32, ndim, shape, NULL, &err), &err);
    gs_param *p = node->param[role];
    assert_ok(gs_param_allocate(p, &err), &err);
    float *x = p->data;
    for (int64_t i = 0; i < gs_param_count(p); i++) x[i] = middle + spread * gs_test_randf(seed);
    return x;
}

/* A linear with a random weight. */
static inline gs_node *gs_new_linear(gs_net *net, const char *name, gs_edge *x, int64_t out, int64_t in,
                                     uint64_t *seed) {
    gs_node *node = gs_new_node(net, GS_OP_LINEAR, name, NULL, x, NULL, NULL);
    gs_new_param(net, node, GS_ROLE_WEIGHT, 2, out, in, 0, 0, 0, 0.5f, seed);
    return node;
}

static inline void gs_finish_net(gs_net *net, gs_edge *output) {
    gs_error err = {0};
    assert_ok(gs_net_output(net, output, &err), &err);
    assert_ok(gs_net_infer(net, &err), &err);
}

/* Text of the whole net; free() it. */
static inline char *gs_net_text(const gs_net *net) {
    gs_strbuf text = {0};
    gs_net_dump(net, &text);
    assert_false(text.failed);
    char *copy = strdup(gs_strbuf_text(&text));
    gs_strbuf_clear(&text);
    assert_non_null(copy);
    return copy;
}

/* Execution order, indices and counts are as net.h promises. */
static inline void gs_assert_net_is_sound(const gs_net *net) {
    for (int e = 0; e < gs_net_edge_count(net); e++) {
        const gs_edge *edge = gs_net_edge(net, e);
        int uses = edge->is_output ? 1 : 0;
        bool produced = !edge->producer;
        assert_int_equal(edge->index, e);
        for (int n = 0; n < gs_net_node_count(net); n++) {
            const gs_node *node = gs_net_node(net, n);
            for (int i = 0; i < node->ninputs; i++) {
                if (node->input[i] != edge) continue;
                assert_true(produced);
                uses++;
            }
            if (node == edge->producer) produced = true;
        }
        assert_true(produced);
        assert_int_equal(edge->consumers, uses);
    }
    for (int i = 0; i < gs_net_output_count(net); i++) assert_true(gs_net_output_at(net, i)->is_output);
}

/* prepare, run and release on a team of `threads`. */
static inline gs_status gs_try_net(gs_net *net, gs_gemm_type type, int threads, const gs_batch *batch,
                                   const float *const *in, float *const *out, gs_error *err) {
    gs_context cx = {0};
    gs_exec *ex = NULL;
    gs_status status = GS_OK;
    if (threads > 1) status = gs_team_create(NULL, threads, &cx.team, err);
    if (status == GS_OK) status = gs_exec_create(&cx, type, &ex, err);
    if (status == GS_OK) status = gs_exec_prepare(ex, net, err);
    if (status == GS_OK) {
        status = gs_exec_run(ex, net, batch, in, out, err);
        gs_exec_release(ex, net);
    }
    gs_exec_destroy(ex);
    gs_team_destroy(cx.team);
    return status;
}

/* A net of one input and one output over `rows` rows without sequences. */
static inline void gs_run_rows(gs_net *net, gs_gemm_type type, int64_t rows, const float *in, float *out) {
    gs_error err = {0};
    gs_batch batch = {.rows = rows};
    assert_ok(gs_try_net(net, type, 1, &batch, &in, &out, &err), &err);
}

/* Runs the net (one thread, f32) with the n-th allocation failing, for every n: each is an error without a leak. How many
 * there were. */
static inline int64_t gs_starve_net(gs_net *net, const gs_batch *batch, const float *const *in, float *const *out) {
    for (int64_t n = 0;; n++) {
        gs_error err = {0};
        gs_mem_fail_after(n);
        gs_status status = gs_try_net(net, GS_GEMM_F32, 1, batch, in, out, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) return n;
        assert_int_equal(status, GS_E_NOMEM);
    }
}

static inline float *gs_random_values(int64_t n, uint64_t *seed) {
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = gs_test_randf(seed);
    return x;
}

/* max |a - b| / max |b| is at most bound. */
static inline void gs_assert_close(int64_t n, const float *a, const float *b, double bound) {
    double difference = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i], x = (double)b[i];
        if (!(d <= difference && -d <= difference)) difference = d < 0 ? -d : d;
        if (x > largest || -x > largest) largest = x < 0 ? -x : x;
    }
    if (!(difference <= bound * largest))
        fail_msg("values up to %g differ by %g, bound %g of that", largest, difference, bound);
}

#endif
