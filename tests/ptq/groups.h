/* Small nets with groups of linears, and the observers that calibration would have made of them. */
#ifndef GS_TESTS_PTQ_GROUPS_H
#define GS_TESTS_PTQ_GROUPS_H

#include <tests/network/nets.h>

#include <base/half.h>
#include <calibrate/observer.h>
#include <math.h>
#include <ptq/edge_group.h>

/* x [width] -> norm -> linears "a" [rows_a, width] and "b" [rows_b, width] -> sum. rows_a == rows_b. */
static inline gs_net *gs_norm_net(int64_t width, int64_t rows, uint64_t seed) {
    gs_net *net = gs_new_net("norm_net");
    gs_edge *x = gs_new_input(net, "x", width, 0, 0);
    gs_attr attr = {.eps = 1e-5f};
    gs_node *norm = gs_new_node(net, GS_OP_RMSNORM, "norm", &attr, x, NULL, NULL);
    gs_new_param(net, norm, GS_ROLE_WEIGHT, 1, width, 0, 0, 0, 1, 0.5f, &seed);
    gs_node *a = gs_new_linear(net, "a", norm->output, rows, width, &seed);
    gs_node *b = gs_new_linear(net, "b", norm->output, rows, width, &seed);
    gs_node *sum = gs_new_node(net, GS_OP_ADD, "sum", NULL, a->output, b->output, NULL);
    gs_finish_net(net, sum->output);
    return net;
}

static inline float *gs_values(const gs_net *net, const char *node) {
    return gs_net_find(net, node)->param[GS_ROLE_WEIGHT]->data;
}

/* The group that reads an edge. */
static inline const gs_edge_group *gs_group_of(const gs_edge_groups *groups, const char *edge) {
    for (int i = 0; i < groups->count; i++)
        if (strcmp(groups->group[i].edge->name, edge) == 0) return &groups->group[i];
    fail_msg("nothing reads '%s'", edge);
    return NULL;
}

typedef struct gs_watch {
    const char *edge;
    gs_observer *observer;
    int64_t sample_rows;
} gs_watch;

static inline gs_status gs_watch_edge(void *ctx, const gs_edge *edge, const gs_batch *batch, const float *data,
                                      gs_error *err) {
    gs_watch *w = ctx;
    if (strcmp(edge->name, w->edge) != 0) return GS_OK;
    GS_TRY(gs_observer_init(w->observer, edge->name, edge->dims.dim[0], w->sample_rows, err));
    GS_TRY(gs_observer_see(w->observer, NULL, 0, batch->rows, data, err));
    for (int64_t r = 0; r < w->sample_rows; r++)
        GS_TRY(gs_observer_keep(w->observer, data + r * edge->dims.dim[0], err));
    return GS_OK;
}

/* What an edge carries while `rows` rows of x run through the net; the first sample_rows are kept. */
static inline void gs_observe(gs_net *net, const char *edge, int64_t rows, const float *x, int64_t sample_rows,
                              gs_observer *out) {
    gs_error err = {0};
    gs_exec *ex;
    gs_watch watch = {edge, out, sample_rows};
    gs_batch batch = {.rows = rows};
    float *y = malloc((size_t)rows * (size_t)gs_net_output_at(net, 0)->dims.dim[0] * sizeof *y);
    assert_non_null(y);
    *out = (gs_observer){0};
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    gs_exec_set_hook(ex, gs_watch_edge, &watch);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    assert_ok(gs_exec_run(ex, net, &batch, &x, &y, &err), &err);
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
    assert_non_null(out->name);
    free(y);
}

#endif
