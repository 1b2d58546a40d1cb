/* SmoothQuant with the arithmetic of another tool, and W8A8_MIX: what stands in the net afterwards. */
#include "smooth_net.h"

#include <base/half.h>
#include <base/mem.h>
#include <math.h>
#include <ptq/compat_quant.h>
#include <ptq/compat_smooth.h>

static const gs_compat tools[] = {GS_COMPAT_MSMODELSLIM_V1, GS_COMPAT_MSMODELSLIM_V0, GS_COMPAT_GOLDENSTICK};

static smooth_run settings(gs_compat tool, gs_dtype r) {
    smooth_run run = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_FIXED, 0.5f);
    run.config.compat = tool;
    run.config.compute = r;
    if (tool == GS_COMPAT_GOLDENSTICK) run.config.scale_convention = GS_SCALE_GOLDENSTICK;
    return run;
}

/* V1 stores no weight scales: deq_scale has them. */
static double step(const gs_node *node, int64_t row) {
    const gs_param *scale = node->param[GS_ROLE_WEIGHT_SCALE], *deq = node->param[GS_ROLE_DEQ_SCALE];
    const gs_param *in = node->param[GS_ROLE_INPUT_SCALE];
    gs_error err = {0};
    float s, x;
    if (scale) {
        assert_ok(gs_param_read_f32(scale, row, 1, &s, &err), &err);
        return (double)s;
    }
    if (deq->dtype == GS_I64) memcpy(&s, (const int64_t *)deq->data + row, 4);
    else s = ((const float *)deq->data)[row];
    assert_ok(gs_param_read_f32(in, 0, 1, &x, &err), &err);
    return (double)s / (double)x;
}

static double value(const gs_net *net, const char *name, int64_t row, int64_t column) {
    const gs_node *node = gs_net_find(net, name);
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    gs_error err = {0};
    float x[NET_MIDDLE];
    if (node->op == GS_OP_QLINEAR) return (double)((const int8_t *)w->data)[row * w->shape[1] + column] * step(node, row);
    assert_ok(gs_param_read_f32(w, row, 1, x, &err), &err);
    return (double)x[column];
}

/* The factors of norm, up and down cancel in norm[j] up[r, j] down[o, r]: its noise is that of quantization alone. */
static double noise(const gs_net *plain, const gs_net *net) {
    double error = 0, all = 0;
    for (int64_t r = 0; r < NET_MIDDLE; r++)
        for (int64_t j = 0; j < NET_IN; j++)
            for (int64_t o = 0; o < NET_OUT; o += 5) {
                double a = value(plain, "norm", 0, j) * value(plain, "mlp.up", r, j) * value(plain, "mlp.down", o, r);
                double b = value(net, "norm", 0, j) * value(net, "mlp.up", r, j) * value(net, "mlp.down", o, r);
                error += (a - b) * (a - b);
                all += a * a;
            }
    return error / all;
}

static void factors_cancel_whichever_tool_applies_them(void **state) {
    (void)state;
    static const gs_dtype dtypes[] = {GS_F32, GS_F16, GS_BF16};
    for (size_t t = 0; t < GS_COUNTOF(tools); t++)
        for (size_t d = 0; d < GS_COUNTOF(dtypes); d++) {
            smooth_run r = settings(tools[t], dtypes[d]);
            gs_net *net = smooth_quantize(&r, 2), *plain = smooth_net();
            double lost = noise(plain, net);
            if (!(lost < 5e-4)) fail_msg("tool %zu in %s: %.2g is lost", t, gs_dtype_name(dtypes[d]), lost);
            bool scales = gs_net_find(net, "mlp.up")->param[GS_ROLE_WEIGHT_SCALE] != NULL;
            assert_int_equal(scales, tools[t] != GS_COMPAT_MSMODELSLIM_V1);
            gs_dtype stored = gs_net_find(net, "mlp.up")->param[GS_ROLE_INPUT_SCALE]->dtype;
            assert_int_equal(stored, tools[t] == GS_COMPAT_MSMODELSLIM_V0 ? dtypes[d] : GS_F32);
            gs_net_destroy(plain);
            smooth_end(&r, net);
        }
}

/* A source that can run out of memory without failing the test. */
static gs_status ramp(void *ctx, const char *edge, gs_observer *out, gs_error *err) {
    float x[2 * NET_MIDDLE];
    int64_t width = strcmp(edge, "norm") == 0 ? NET_IN : NET_MIDDLE;
    (void)ctx;
    for (int64_t j = 0; j < width; j++) {
        x[j] = 0.5f + (float)j;
        x[width + j] = -0.25f * (float)j;
    }
    GS_TRY(gs_observer_init(out, edge, width, 0, err));
    gs_status status = gs_observer_see(out, NULL, 0, 2, x, err);
    if (status != GS_OK) gs_observer_clear(out);
    return status;
}

static gs_status whole(const smooth_run *r, gs_net *net, gs_error *err) {
    gs_context cx = {0};
    gs_comp_algo *algo;
    GS_TRY(gs_smooth_quant_create(&r->config, &r->options, ramp, NULL, &algo, err));
    gs_status status = gs_comp_algo_decide(algo, &cx, net, err);
    if (status == GS_OK) status = gs_comp_algo_apply(algo, net, err);
    if (status == GS_OK) status = gs_comp_algo_convert(algo, &cx, net, err);
    gs_comp_algo_destroy(algo);
    return status;
}

/* The factors of one group of the plain net, from what the ramp says and the formula. */
static void factors_of(const gs_edge_group *g, gs_compat tool, gs_dtype r, float *s) {
    gs_error err = {0};
    gs_observer o;
    float act[NET_MIDDLE], weight[NET_MIDDLE];
    assert_ok(ramp(NULL, g->edge->name, &o, &err), &err);
    for (int64_t j = 0; j < g->width; j++) act[j] = gs_observer_absmax(&o, j);
    gs_observer_clear(&o);
    assert_ok(gs_compat_column_max(tool, r, g, g->linear, g->count, weight, &err), &err);
    assert_ok(gs_compat_factors(tool, r, g, act, weight, 0.5, s, &err), &err);
}

/* Rows of up, byte by byte: columns first, then the row, which V0 divides and Golden Stick multiplies by R(1 / s). */
static void rows_are_scaled_as_the_tool_does(void **state) {
    (void)state;
    static const gs_compat both[] = {GS_COMPAT_MSMODELSLIM_V0, GS_COMPAT_GOLDENSTICK};
    int rows = 0;
    for (size_t t = 0; t < 2; t++) {
        gs_error err = {0};
        gs_edge_groups groups;
        smooth_run r = settings(both[t], GS_F16);
        gs_net *net = smooth_net(), *plain = smooth_net();
        float columns[NET_MIDDLE], row[NET_MIDDLE], w[NET_IN], scale, stored;
        bool divides = both[t] == GS_COMPAT_MSMODELSLIM_V0;
        assert_ok(gs_edge_groups_find(plain, &groups, &err), &err);
        assert_int_equal(groups.count, 2);
        factors_of(&groups.group[0], both[t], GS_F16, columns);
        factors_of(&groups.group[1], both[t], GS_F16, row);
        assert_ok(whole(&r, net, &err), &err);
        const gs_node *up = gs_net_find(net, "mlp.up");
        for (int64_t i = 0; i < NET_MIDDLE; i++) {
            int8_t q[NET_IN];
            assert_ok(gs_param_read_f32(gs_net_find(plain, "mlp.up")->param[GS_ROLE_WEIGHT], i, 1, w, &err), &err);
            gs_compat_smooth_row(both[t], GS_F16, NET_IN, columns, 1.0f / row[i], divides ? row[i] : 0, w);
            assert_true(gs_compat_row(both[t], GS_F16, NET_IN, w, q, &scale));
            assert_ok(gs_param_read_f32(up->param[GS_ROLE_WEIGHT_SCALE], i, 1, &stored, &err), &err);
            assert_true(scale == stored);
            assert_memory_equal(q, (const int8_t *)up->param[GS_ROLE_WEIGHT]->data + i * NET_IN, NET_IN);
            rows++;
        }
        gs_edge_groups_clear(&groups);
        gs_net_destroy(net);
        gs_net_destroy(plain);
    }
    assert_int_equal(rows, 2 * NET_MIDDLE);
}

/* ---- gate and up as one linear ---- */

static gs_edge *half(gs_net *net, const char *name, gs_node *from, int64_t start) {
    gs_attr attr = {0};
    attr.slice.start = start;
    attr.slice.width = NET_MIDDLE;
    attr.slice.count = 1;
    return gs_new_node(net, GS_OP_SLICE, name, &attr, from->output, NULL, NULL)->output;
}

/* smooth_net with the weights of gate and up one below the other. */
static gs_net *fused_net(void) {
    uint64_t seed = 1;
    gs_net *net = gs_new_net("fused"), *plain = smooth_net();
    gs_attr attr = {.eps = 1e-5f};
    gs_node *norm = gs_new_node(net, GS_OP_RMSNORM, "norm", &attr, gs_new_input(net, "x", NET_IN, 0, 0), NULL, NULL);
    float *w = gs_new_param(net, norm, GS_ROLE_WEIGHT, 1, NET_IN, 0, 0, 0, 1, 0, &seed);
    memcpy(w, gs_values(plain, "norm"), NET_IN * sizeof *w);
    gs_node *both = gs_new_linear(net, "mlp.gate_up", norm->output, 2 * NET_MIDDLE, NET_IN, &seed);
    memcpy(gs_values(net, "mlp.gate_up"), gs_values(plain, "mlp.gate"), NET_MIDDLE * NET_IN * sizeof *w);
    memcpy(gs_values(net, "mlp.gate_up") + NET_MIDDLE * NET_IN, gs_values(plain, "mlp.up"), NET_MIDDLE * NET_IN * sizeof *w);
    gs_edge *gate = half(net, "gate", both, 0), *up = half(net, "up", both, NET_MIDDLE);
    gs_node *act = gs_new_node(net, GS_OP_SWIGLU, "act", NULL, gate, up, NULL);
    gs_node *down = gs_new_linear(net, "mlp.down", act->output, NET_OUT, NET_MIDDLE, &seed);
    memcpy(gs_values(net, "mlp.down"), gs_values(plain, "mlp.down"), NET_OUT * NET_MIDDLE * sizeof *w);
    gs_finish_net(net, down->output);
    gs_net_destroy(plain);
    return net;
}

/* As separate linears, but where V0 divides: it multiplies rows of a part by the inverse. */
static void a_fused_linear_has_the_codes_of_its_parts(void **state) {
    (void)state;
    static const gs_compat all[] = {GS_COMPAT_NONE, GS_COMPAT_MSMODELSLIM_V1, GS_COMPAT_GOLDENSTICK, GS_COMPAT_MSMODELSLIM_V0};
    for (size_t t = 0; t < GS_COUNTOF(all); t++) {
        gs_error err = {0};
        gs_context cx = {0};
        smooth_run r = settings(all[t], GS_F16), s = r;
        gs_net *plain = smooth_quantize(&r, 1), *net = fused_net();
        assert_ok(smooth_decide(&s, net, &err), &err);
        assert_ok(gs_comp_algo_settle(s.algo, &cx, &err), &err);
        for (int i = 0; i < gs_net_node_count(net); i++) /* what was lent is given back */
            for (int role = 0; role < GS_ROLE_COUNT; role++)
                if (gs_net_node(net, i)->param[role]) assert_null(gs_net_node(net, i)->param[role]->row_factor);
        assert_ok(gs_comp_algo_apply(s.algo, net, &err), &err);
        assert_ok(gs_comp_algo_convert(s.algo, &cx, net, &err), &err);
        const int8_t *gate = gs_net_find(plain, "mlp.gate")->param[GS_ROLE_WEIGHT]->data;
        const int8_t *up = gs_net_find(plain, "mlp.up")->param[GS_ROLE_WEIGHT]->data;
        const int8_t *both = gs_net_find(net, "mlp.gate_up")->param[GS_ROLE_WEIGHT]->data;
        const int8_t *down[2] = {gs_net_find(plain, "mlp.down")->param[GS_ROLE_WEIGHT]->data,
                                 gs_net_find(net, "mlp.down")->param[GS_ROLE_WEIGHT]->data};
        enum { PART = NET_MIDDLE * NET_IN };
        assert_memory_equal(both, gate, PART);
        for (int i = 0; i < PART; i++) {
            int apart = abs(both[PART + i] - up[i]);
            assert_true(apart <= (all[t] == GS_COMPAT_MSMODELSLIM_V0));
        }
        assert_memory_equal(down[0], down[1], NET_OUT * NET_MIDDLE);
        smooth_end(&r, plain);
        smooth_end(&s, net);
    }
}

static void what_the_tools_do_not_do_is_refused(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        gs_error err = {0};
        smooth_run r = settings(GS_COMPAT_MSMODELSLIM_V1, GS_F32);
        if (i == 0) r.options.smoothing = GS_SMOOTHING_AUTO;
        if (i == 1) r.options.refine = true;
        if (i == 2) r.options.range = GS_RANGE_MSE;
        if (i == 3) r.options.fallback = GS_FALLBACK_AUTO;
        assert_fails(smooth_create(&r, &err), GS_E_INVALID, &err);
        assert_non_null(strstr(err.text, "imitating"));
    }
}

static void a_mix_has_the_tensors_of_both(void **state) {
    (void)state;
    static const gs_role roles[] = {GS_ROLE_WEIGHT, GS_ROLE_WEIGHT_SCALE, GS_ROLE_WEIGHT_OFFSET, GS_ROLE_INPUT_SCALE,
                                    GS_ROLE_INPUT_OFFSET, GS_ROLE_DEQ_SCALE, GS_ROLE_QUANT_BIAS};
    smooth_run statics = smooth_settings(GS_SCHEME_W8A8, GS_SMOOTHING_AUTO, 0), mix = statics;
    mix.config.mixed = true;
    gs_net *a = smooth_quantize(&statics, 1), *b = smooth_quantize(&mix, 2);
    for (int i = 0; i < gs_net_node_count(b); i++) {
        const gs_node *node = gs_net_node(b, i), *other = gs_net_find(a, node->name);
        if (node->op != GS_OP_QLINEAR) continue;
        assert_int_equal(node->attr.quant.scheme, GS_SCHEME_W8A8_MIX);
        for (size_t r = 0; r < GS_COUNTOF(roles); r++) { /* numbers as of the static one */
            const gs_param *p = node->param[roles[r]];
            assert_non_null(p);
            assert_memory_equal(p->data, other->param[roles[r]]->data, gs_param_bytes(p));
        }
    }
    assert_string_equal(smooth_row(&mix, "mlp.down")->scheme, "W8A8_MIX");
    assert_true(smooth_row(&mix, "mlp.down")->alpha == smooth_row(&statics, "mlp.down")->alpha);
    smooth_end(&statics, a);
    smooth_end(&mix, b);
}

static void running_out_of_memory_anywhere_is_only_an_error(void **state) {
    (void)state;
    for (size_t t = 0; t < GS_COUNTOF(tools); t++) {
        smooth_run r = settings(tools[t], GS_F16);
        gs_status status = GS_E_NOMEM;
        for (int64_t k = 0; status != GS_OK; k++) {
            gs_error err = {0};
            gs_net *net = smooth_net();
            gs_mem_fail_after(k);
            status = whole(&r, net, &err);
            gs_mem_fail_after(-1);
            gs_net_destroy(net);
            if (status == GS_OK) assert_true(k > 50);
            else assert_int_equal(status, GS_E_NOMEM);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_cancel_whichever_tool_applies_them),
        cmocka_unit_test(rows_are_scaled_as_the_tool_does),
        cmocka_unit_test(a_fused_linear_has_the_codes_of_its_parts),
        cmocka_unit_test(what_the_tools_do_not_do_is_refused),
        cmocka_unit_test(a_mix_has_the_tensors_of_both),
        cmocka_unit_test(running_out_of_memory_anywhere_is_only_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
