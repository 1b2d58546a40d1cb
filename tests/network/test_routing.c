/* Mixtures of experts against plain loops: what a router's logits become, which rows an expert gets, and that linears which
 * compute those rows alone give what they give on all rows. */
#include "nets.h"

#include <math.h>
#include <network/rewrite.h>
#include <network/routing.h>
#include <network/scaling.h>

enum { ROWS = 41, WIDTH = 24, MIDDLE = 40, EXPERTS = 6 };

/* ---- ROUTE ---- */

static gs_attr route_attr(int64_t top_k, bool renormalize) {
    gs_attr a = {0};
    a.route.top_k = top_k;
    a.route.renormalize = renormalize;
    return a;
}

static void route(int64_t n, int64_t top_k, bool renormalize, int threads, int64_t rows, const float *x, float *y) {
    gs_error err = {0};
    gs_net *net = gs_new_net("n");
    gs_attr attr = route_attr(top_k, renormalize);
    gs_batch batch = {.rows = rows};
    gs_finish_net(net, gs_new_node(net, GS_OP_ROUTE, "r", &attr, gs_new_input(net, "x", n, 0, 0), NULL, NULL)->output);
    assert_ok(gs_try_net(net, GS_GEMM_F32, threads, &batch, &x, &y, &err), &err);
    gs_net_destroy(net);
}

static void model_row(int64_t n, int64_t top_k, bool renormalize, const float *x, double *y) {
    double sum = 0, top = 0, most = -INFINITY;
    for (int64_t i = 0; i < n; i++) most = fmax(most, (double)x[i]);
    for (int64_t i = 0; i < n; i++) sum += exp((double)x[i] - most);
    for (int64_t i = 0; i < n; i++) {
        int64_t before = 0;
        for (int64_t j = 0; j < n; j++) before += j < i ? x[j] >= x[i] : x[j] > x[i];
        y[i] = before < top_k ? exp((double)x[i] - most) / sum : 0;
        top += y[i];
    }
    for (int64_t i = 0; renormalize && i < n; i++) y[i] /= top;
}

static void shares_are_those_of_the_model(void **state) {
    (void)state;
    static const struct {
        int64_t n, top_k;
    } sizes[] = {{1, 1}, {4, 2}, {8, 8}, {6, 1}, {128, 8}, {60, 4}, {17, 16}};
    uint64_t seed = 5;
    for (size_t s = 0; s < GS_COUNTOF(sizes); s++)
        for (int renormalize = 0; renormalize < 2; renormalize++) {
            int64_t n = sizes[s].n;
            float *x = gs_random_values(ROWS * n, &seed), *y = malloc((size_t)(ROWS * n) * sizeof *y);
            float *again = malloc((size_t)(ROWS * n) * sizeof *again);
            double *want = malloc((size_t)n * sizeof *want);
            for (int64_t i = 0; i < ROWS * n; i++) x[i] = 0.5f * rintf(8 * x[i]); /* ties */
            route(n, sizes[s].top_k, renormalize, 1, ROWS, x, y);
            for (int64_t r = 0; r < ROWS; r++) {
                model_row(n, sizes[s].top_k, renormalize, x + r * n, want);
                for (int64_t i = 0; i < n; i++) {
                    assert_int_equal(y[r * n + i] == 0, want[i] == 0);
                    assert_true(fabs((double)y[r * n + i] - want[i]) <= 1e-6 * want[i]);
                }
            }
            route(n, sizes[s].top_k, renormalize, 3, ROWS, x, again);
            assert_memory_equal(y, again, (size_t)(ROWS * n) * sizeof *y);
            free(x);
            free(y);
            free(again);
            free(want);
        }
}

static void extremes_of_logits(void **state) {
    (void)state;
    float y[4], far[4] = {-1e30f, 3e38f, -3e38f, 0}, bad[4] = {1, NAN, 3, 4}, endless[4] = {1, 2, INFINITY, 4};
    route(4, 2, true, 1, 1, far, y); /* the second has a share of 0: nobody's */
    assert_true(y[0] == 0 && y[1] == 1 && y[2] == 0 && y[3] == 0);
    const float *const each[] = {bad, endless};
    for (int i = 0; i < 2; i++) {
        route(4, 2, i, 1, 1, each[i], y);
        assert_true(isnan(y[0]) && isnan(y[1]) && y[2] == 0 && y[3] == 0);
    }
}

/* ---- a mixture ---- */

typedef struct mixture {
    gs_net *net;
    float *weight[EXPERTS][3], *bias[EXPERTS]; /* gate, up, down; bias of down */
} mixture;

static const int64_t shape[3][2] = {{MIDDLE, WIDTH}, {MIDDLE, WIDTH}, {WIDTH, MIDDLE}};

/* Routing comes in as an input, so that a test draws it. `dense`: experts read x itself, and so compute all rows. */
static void make_mixture(mixture *m, bool dense, bool biased) {
    uint64_t seed = 77;
    char name[32];
    *m = (mixture){.net = gs_new_net("block")};
    gs_edge *x = gs_new_input(m->net, "x", WIDTH, 0, 0), *p = gs_new_input(m->net, "p", EXPERTS, 0, 0), *sum = NULL;
    for (int64_t e = 0; e < EXPERTS; e++) {
        gs_attr attr = {0};
        gs_node *linear[3];
        attr.select.expert = e;
        snprintf(name, sizeof name, "e%d.select", (int)e);
        gs_edge *in = dense ? x : gs_new_node(m->net, GS_OP_SELECT, name, &attr, x, p, NULL)->output;
        for (int i = 0; i < 3; i++) {
            snprintf(name, sizeof name, "e%d.%d", (int)e, i);
            linear[i] = gs_new_node(m->net, GS_OP_LINEAR, name, NULL, in, NULL, NULL);
            m->weight[e][i] = gs_new_param(m->net, linear[i], GS_ROLE_WEIGHT, 2, shape[i][0], shape[i][1], 0, 0, 0, 0.3f, &seed);
            if (i != 1) continue;
            snprintf(name, sizeof name, "e%d.swiglu", (int)e);
            in = gs_new_node(m->net, GS_OP_SWIGLU, name, NULL, linear[0]->output, linear[1]->output, NULL)->output;
        }
        if (biased) m->bias[e] = gs_new_param(m->net, linear[2], GS_ROLE_BIAS, 1, WIDTH, 0, 0, 0, 0, 1, &seed);
        snprintf(name, sizeof name, "e%d.sum", (int)e);
        sum = e ? gs_new_node(m->net, GS_OP_ROUTED_ADD, name, &attr, sum, linear[2]->output, p)->output
                : gs_new_node(m->net, GS_OP_ROUTED, name, &attr, linear[2]->output, p, NULL)->output;
    }
    gs_finish_net(m->net, sum);
}

/* `most` experts a row; the last expert gets none, row 5 none at all. */
static float *draw_routing(int most) {
    uint64_t seed = 13;
    float *p = calloc(ROWS * EXPERTS, sizeof *p);
    assert_non_null(p);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < most && r != 5; i++)
            p[r * EXPERTS + (int)(gs_test_rand(&seed) % (EXPERTS - 1))] = 0.6f + 0.5f * gs_test_randf(&seed);
    return p;
}

static void model_expert(const mixture *m, int e, const float *x, double *y) {
    double v[2][MIDDLE];
    for (int i = 0; i < 2; i++)
        for (int o = 0; o < MIDDLE; o++) {
            v[i][o] = 0;
            for (int k = 0; k < WIDTH; k++) v[i][o] += (double)m->weight[e][i][o * WIDTH + k] * (double)x[k];
        }
    for (int o = 0; o < WIDTH; o++) {
        y[o] = m->bias[e] ? (double)m->bias[e][o] : 0;
        for (int k = 0; k < MIDDLE; k++)
            y[o] += (double)m->weight[e][2][o * MIDDLE + k] * (v[0][k] / (1 + exp(-v[0][k])) * v[1][k]);
    }
}

static void model(const mixture *m, const float *x, const float *p, float *y) {
    double one[WIDTH], sum[WIDTH];
    for (int r = 0; r < ROWS; r++) {
        memset(sum, 0, sizeof sum);
        for (int e = 0; e < EXPERTS; e++) {
            double share = (double)p[r * EXPERTS + e];
            model_expert(m, e, x + r * WIDTH, one);
            for (int o = 0; o < WIDTH && share != 0; o++) sum[o] += share * one[o];
        }
        for (int o = 0; o < WIDTH; o++) y[r * WIDTH + o] = (float)sum[o];
    }
}

static void run(const mixture *m, gs_gemm_type type, int threads, const float *x, const float *p, float *y) {
    gs_error err = {0};
    const float *in[2] = {x, p};
    gs_batch batch = {.rows = ROWS};
    memset(y, 0xff, ROWS * WIDTH * sizeof *y);
    assert_ok(gs_try_net(m->net, type, threads, &batch, in, &y, &err), &err);
}

static void a_mixture_is_the_model(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) { /* few rows an expert, or most rows */
        mixture m;
        uint64_t seed = 21;
        float *x = gs_random_values(ROWS * WIDTH, &seed), *p = draw_routing(i % 3 ? 2 : 20);
        float want[ROWS * WIDTH], got[ROWS * WIDTH], again[ROWS * WIDTH];
        make_mixture(&m, false, i % 3 == 2);
        model(&m, x, p, want);
        run(&m, i < 3 ? GS_GEMM_F32 : GS_GEMM_BF16, 1, x, p, got);
        gs_assert_close(ROWS * WIDTH, got, want, i < 3 ? 2e-6 : 2e-2);
        for (int o = 0; o < WIDTH; o++) assert_true(got[5 * WIDTH + o] == 0);
        run(&m, i < 3 ? GS_GEMM_F32 : GS_GEMM_BF16, 3, x, p, again);
        assert_memory_equal(got, again, sizeof got);
        gs_net_destroy(m.net);
        free(x);
        free(p);
    }
}

/* All linears become QLINEARs of a scheme; returns the net for comfort. */
static void quantize(mixture *m, gs_scheme scheme) {
    gs_error err = {0};
    uint64_t seed = 31;
    for (int i = 0; i < gs_net_node_count(m->net); i++) {
        gs_node *node = gs_net_node(m->net, i), *q;
        if (node->op != GS_OP_LINEAR) continue;
        int64_t out = node->param[GS_ROLE_WEIGHT]->shape[0], in = node->param[GS_ROLE_WEIGHT]->shape[1];
        gs_attr attr = {.quant = {.scheme = scheme, .compute = GS_F32}};
        gs_param_destroy(gs_node_param_detach(node, GS_ROLE_WEIGHT));
        assert_ok(gs_net_replace(m->net, node, GS_OP_QLINEAR, &attr, &q, &err), &err);
        const int64_t weight[2] = {out, in}, scales[2] = {out, 1};
        assert_ok(gs_net_param_new(m->net, q, GS_ROLE_WEIGHT, "w", GS_I8, 2, weight, NULL, &err), &err);
        assert_ok(gs_param_allocate(q->param[GS_ROLE_WEIGHT], &err), &err);
        for (int64_t c = 0; c < out * in; c++)
            ((int8_t *)q->param[GS_ROLE_WEIGHT]->data)[c] = (int8_t)(gs_test_rand(&seed) & 0xff);
        gs_new_param(m->net, q, GS_ROLE_WEIGHT_SCALE, 2, scales[0], scales[1], 0, 0, 0.01f, 0.004f, &seed);
        if (scheme != GS_SCHEME_W8A8) continue;
        gs_new_param(m->net, q, GS_ROLE_INPUT_SCALE, 1, 1, 0, 0, 0, 0.03f, 0, &seed);
        gs_new_param(m->net, q, GS_ROLE_INPUT_OFFSET, 1, 1, 0, 0, 0, 7, 0, &seed);
    }
}

/* Integer products are exact, so the rows that are computed together are those of the whole batch, bit for bit. */
static void quantized_experts_give_what_they_give_on_all_rows(void **state) {
    (void)state;
    static const gs_scheme schemes[] = {GS_SCHEME_W8A8_DYNAMIC, GS_SCHEME_W8A8};
    for (size_t i = 0; i < GS_COUNTOF(schemes); i++) {
        mixture some, all;
        uint64_t seed = 22;
        float *x = gs_random_values(ROWS * WIDTH, &seed), *p = draw_routing(2);
        float want[ROWS * WIDTH], got[ROWS * WIDTH];
        make_mixture(&some, false, true);
        make_mixture(&all, true, true);
        quantize(&some, schemes[i]);
        quantize(&all, schemes[i]);
        run(&some, GS_GEMM_F32, 2, x, p, got);
        run(&all, GS_GEMM_F32, 2, x, p, want);
        assert_memory_equal(got, want, sizeof got);
        gs_net_destroy(some.net);
        gs_net_destroy(all.net);
        free(x);
        free(p);
    }
}

typedef struct seen {
    const float *x, *p;
    int values;
} seen;

/* Rows that do not go to the expert are zeros in front of it, and all alike behind any of its linears. */
static gs_status look(void *ctx, const gs_edge *edge, const gs_batch *batch, const float *data, gs_error *err) {
    seen *s = ctx;
    (void)err;
    const gs_node *select = gs_routed_select(edge);
    int64_t n = edge->dims.dim[0], other = -1;
    if (!select) return GS_OK;
    s->values++;
    for (int64_t r = 0; r < batch->rows; r++) {
        const float *row = data + r * n;
        if (s->p[r * EXPERTS + select->attr.select.expert] != 0) {
            if (edge->producer == select) assert_memory_equal(row, s->x + r * n, (size_t)n * sizeof *row);
            continue;
        }
        if (other >= 0) assert_memory_equal(row, data + other * n, (size_t)n * sizeof *row);
        for (int64_t j = 0; j < n; j++) assert_true(row[j] == 0);
        other = r;
    }
    return GS_OK;
}

static void other_rows_are_zeros(void **state) {
    (void)state;
    mixture m;
    uint64_t seed = 23;
    gs_error err = {0};
    gs_exec *ex;
    float *x = gs_random_values(ROWS * WIDTH, &seed), *p = draw_routing(1), *y = malloc(ROWS * WIDTH * sizeof *y);
    const float *in[2] = {x, p};
    gs_batch batch = {.rows = ROWS};
    seen s = {x, p, 0};
    make_mixture(&m, false, false);
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    gs_exec_set_hook(ex, look, &s);
    assert_ok(gs_exec_prepare(ex, m.net, &err), &err);
    assert_ok(gs_exec_run(ex, m.net, &batch, in, &y, &err), &err);
    gs_exec_release(ex, m.net);
    assert_int_equal(s.values, EXPERTS * 5); /* select, gate, up, their product, down */
    gs_exec_destroy(ex);
    gs_net_destroy(m.net);
    free(x);
    free(p);
    free(y);
}

/* ---- asking the net ---- */

static void the_net_knows_its_routers_and_routed_values(void **state) {
    (void)state;
    uint64_t seed = 3;
    gs_attr attr = route_attr(1, false), second = {0};
    second.select.expert = 1;
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", WIDTH, 0, 0);
    gs_node *router = gs_new_linear(net, "router", x, 2, WIDTH, &seed);
    gs_node *p = gs_new_node(net, GS_OP_ROUTE, "route", &attr, router->output, NULL, NULL);
    gs_node *a = gs_new_node(net, GS_OP_SELECT, "a", NULL, x, p->output, NULL);
    gs_node *b = gs_new_node(net, GS_OP_SELECT, "b", &second, x, p->output, NULL);
    gs_node *gate = gs_new_linear(net, "gate", a->output, WIDTH, WIDTH, &seed);
    gs_node *up = gs_new_linear(net, "up", b->output, WIDTH, WIDTH, &seed);
    gs_node *mixed = gs_new_node(net, GS_OP_SWIGLU, "mixed", NULL, gate->output, up->output, NULL);
    gs_node *sum = gs_new_node(net, GS_OP_ROUTED, "sum", NULL, mixed->output, p->output, NULL);
    gs_finish_net(net, sum->output);
    assert_true(gs_is_router(net, router) && !gs_is_router(net, gate) && !gs_is_router(net, p));
    assert_ptr_equal(gs_routed_select(a->output), a);
    assert_ptr_equal(gs_routed_select(up->output), b);
    assert_null(gs_routed_select(mixed->output)); /* of two experts' rows */
    assert_null(gs_routed_select(sum->output));
    assert_null(gs_routed_select(x));
    gs_scale_site site;
    char reason[96];
    gs_error err = {0};
    assert_ok(gs_scale_site_find(net, a->output, &site, reason, &err), &err);
    assert_null(site.node);
    assert_string_equal(reason, "the output of select cannot be rescaled");
    gs_scale_site_clear(&site);
    char *text = gs_net_text(net);
    assert_non_null(strstr(text, "top 1"));
    assert_non_null(strstr(text, "expert 1"));
    free(text);
    gs_net_destroy(net);
}

static void wrong_attributes_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    static const int64_t tops[] = {0, -1, 5, INT64_MAX}, experts[] = {-1, 4, INT64_MAX};
    gs_attr attr = route_attr(2, false);
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 4, 0, 0);
    gs_node *p = gs_new_node(net, GS_OP_ROUTE, "p", &attr, x, NULL, NULL);
    gs_node *a = gs_new_node(net, GS_OP_SELECT, "a", NULL, x, p->output, NULL);
    gs_node *b = gs_new_node(net, GS_OP_ROUTED, "b", NULL, a->output, p->output, NULL);
    gs_node *c = gs_new_node(net, GS_OP_ROUTED_ADD, "c", NULL, b->output, a->output, p->output);
    gs_finish_net(net, c->output);
    for (size_t i = 0; i < GS_COUNTOF(tops); i++) {
        p->attr.route.top_k = tops[i];
        assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    }
    p->attr.route.top_k = 4;
    gs_node *const each[] = {a, b, c};
    for (size_t n = 0; n < GS_COUNTOF(each); n++)
        for (size_t i = 0; i < GS_COUNTOF(experts); i++) {
            each[n]->attr.select.expert = experts[i];
            assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
            each[n]->attr.select.expert = 3;
            assert_ok(gs_net_infer(net, &err), &err);
        }
    gs_net_destroy(net);
    net = gs_new_net("n"); /* a sum of another width */
    gs_edge *y = gs_new_input(net, "y", 5, 0, 0);
    x = gs_new_input(net, "x", 4, 0, 0);
    assert_ok(gs_net_output(net, gs_new_node(net, GS_OP_ROUTED_ADD, "c", NULL, x, y, x)->output, &err), &err);
    assert_fails(gs_net_infer(net, &err), GS_E_INVALID, &err);
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_those_of_the_model),
        cmocka_unit_test(extremes_of_logits),
        cmocka_unit_test(a_mixture_is_the_model),
        cmocka_unit_test(quantized_experts_give_what_they_give_on_all_rows),
        cmocka_unit_test(other_rows_are_zeros),
        cmocka_unit_test(the_net_knows_its_routers_and_routed_values),
        cmocka_unit_test(wrong_attributes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
