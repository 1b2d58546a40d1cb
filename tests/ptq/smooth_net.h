/* A net of two groups with channels that stand out, and SmoothQuant on it from what calibration saw of it.
 *
 *   x [24] -> norm -> gate, up [40, 24] -> act -> down [16, 40]
 *
 * The norm can carry factors for gate and up, the rows of up those for down. */
#ifndef GS_TESTS_PTQ_SMOOTH_NET_H
#define GS_TESTS_PTQ_SMOOTH_NET_H

#include "groups.h"

#include <ptq/smooth_quant.h>

enum { NET_IN = 24, NET_MIDDLE = 40, NET_OUT = 16, NET_ROWS = 96 };

static inline gs_net *smooth_net(void) {
    uint64_t seed = 40;
    gs_net *net = gs_new_net("block");
    gs_edge *x = gs_new_input(net, "x", NET_IN, 0, 0);
    gs_attr attr = {.eps = 1e-5f};
    gs_node *norm = gs_new_node(net, GS_OP_RMSNORM, "norm", &attr, x, NULL, NULL);
    float *w = gs_new_param(net, norm, GS_ROLE_WEIGHT, 1, NET_IN, 0, 0, 0, 1, 0.2f, &seed);
    w[3] *= 25;
    w[17] *= -12;
    gs_node *gate = gs_new_linear(net, "mlp.gate", norm->output, NET_MIDDLE, NET_IN, &seed);
    gs_node *up = gs_new_linear(net, "mlp.up", norm->output, NET_MIDDLE, NET_IN, &seed);
    gs_node *act = gs_new_node(net, GS_OP_SWIGLU, "act", NULL, gate->output, up->output, NULL);
    gs_node *down = gs_new_linear(net, "mlp.down", act->output, NET_OUT, NET_MIDDLE, &seed);
    gs_finish_net(net, down->output);
    return net;
}

static inline float *smooth_input(void) {
    uint64_t seed = 41;
    return gs_random_values(NET_ROWS * NET_IN, &seed);
}

/* What the source does. */
typedef struct smooth_source {
    int64_t sample_rows, asked;
    bool missing, narrow;
    const char *unseen; /* an edge that has seen no rows */
} smooth_source;

static inline gs_status smooth_observe(void *ctx, const char *edge, gs_observer *out, gs_error *err) {
    smooth_source *s = ctx;
    s->asked++;
    if (s->missing) return GS_FAIL(err, GS_E_FORMAT, "nothing is known of '%s'", edge);
    if (s->narrow) return gs_observer_init(out, edge, NET_IN - 1, 0, err);
    if (s->unseen && strcmp(s->unseen, edge) == 0)
        return gs_observer_init(out, edge, strcmp(edge, "norm") == 0 ? NET_IN : NET_MIDDLE, 0, err);
    gs_net *net = smooth_net();
    float *x = smooth_input();
    gs_observe(net, edge, NET_ROWS, x, s->sample_rows, out);
    free(x);
    gs_net_destroy(net);
    return GS_OK;
}

/* Settings of one run; `config` and the lists outlive the algorithm. */
typedef struct smooth_run {
    gs_ptq_config config;
    gs_smooth_quant_options options;
    smooth_source source;
    gs_comp_algo *algo;
} smooth_run;

static inline smooth_run smooth_settings(gs_scheme scheme, gs_smoothing smoothing, float alpha) {
    smooth_run r = {.source = {.sample_rows = NET_ROWS / 2}};
    r.config = scheme == GS_SCHEME_W8A16 ? gs_ptq_config_w8a16() : gs_ptq_config_w8a8(scheme == GS_SCHEME_W8A8_DYNAMIC);
    r.config.compute = GS_F32;
    if (smoothing != GS_SMOOTHING_NONE) r.config.outliers_suppression = GS_OUTLIERS_SMOOTH;
    r.options = (gs_smooth_quant_options){.smoothing = smoothing, .alpha = alpha, .percentile = 99.9,
                                          .fallback_threshold = 0.1, .fallback_share = 1};
    return r;
}

static inline gs_status smooth_create(smooth_run *r, gs_error *err) {
    return gs_smooth_quant_create(&r->config, &r->options, smooth_observe, &r->source, &r->algo, err);
}

/* Decides, and quantizes a fresh net; the caller destroys both. */
static inline gs_net *smooth_quantize(smooth_run *r, int threads) {
    gs_error err = {0};
    gs_context cx = {0};
    gs_net *net = smooth_net();
    assert_ok(gs_team_create(NULL, threads, &cx.team, &err), &err);
    assert_ok(smooth_create(r, &err), &err);
    assert_ok(gs_comp_algo_decide(r->algo, &cx, net, &err), &err);
    assert_ok(gs_comp_algo_settle(r->algo, &cx, &err), &err);
    gs_net_destroy(net);
    net = smooth_net();
    assert_ok(gs_comp_algo_apply(r->algo, net, &err), &err);
    assert_ok(gs_net_infer(net, &err), &err);
    assert_ok(gs_comp_algo_convert(r->algo, &cx, net, &err), &err);
    gs_team_destroy(cx.team);
    return net;
}

/* decide alone, on a net that may have been changed. */
static inline gs_status smooth_decide(smooth_run *r, gs_net *net, gs_error *err) {
    gs_context cx = {0};
    GS_TRY(smooth_create(r, err));
    return gs_comp_algo_decide(r->algo, &cx, net, err);
}

static inline const gs_layer_summary *smooth_row(const smooth_run *r, const char *name) {
    const gs_summary *s = gs_comp_algo_summary(r->algo);
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->layer[i].name, name) == 0) return &s->layer[i];
    fail_msg("'%s' is not in the summary", name);
    return NULL;
}

static inline void smooth_end(smooth_run *r, gs_net *net) {
    gs_comp_algo_destroy(r->algo);
    gs_net_destroy(net);
    r->algo = NULL;
}

#endif
