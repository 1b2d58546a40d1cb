/* Two bundles of msModelSlim's older path whose outliers it moved (AntiOutlier m1 and m4, f32): it keeps no factors, but a norm's
 * weight n' = fl(n / s) leaves each factor a few neighbouring floats, and the scales of the rows that it decides, one. With
 * those our tensors agree bit by bit: norms and all that read them, and in m1, where nothing else is smoothed, every linear.
 * In m4 the factors of v, o, up and down leave no such trace. */
#include "reference_files.h"

#include <math.h>
#include <ptq/compat_smooth.h>
#include <ptq/linear_batch.h>

typedef struct counts {
    int norms, linears, tensors;
    int64_t settled, open; /* factors that a scale decides, and those where any neighbour does */
} counts;

static const gs_tensor *part(const gs_safetensors *st, const gs_node *node, const char *what) {
    char name[256];
    snprintf(name, sizeof name, "%s.%s", node->name, what);
    return tensor(st, name);
}

static float scalar(const gs_tensor *t) {
    float x;
    memcpy(&x, t->data, 4);
    return x;
}

/* The floats next to n / n' that give n' again. */
static int neighbours(float n, float stored, float *out) {
    int count = 0;
    float s = n / stored;
    for (int i = 0; i < 3; i++) s = nextafterf(s, 0);
    for (int i = 0; i < 7; i++, s = nextafterf(s, INFINITY))
        if (n / s == stored) out[count++] = s;
    assert_true(count > 0);
    return count;
}

/* Of the candidates for the column whose magnitude is the row's largest, those remain that give the row's scale. */
static void settle_row(int64_t k, const float *w, float scale, float (*candidate)[7], const int *count, const float *s,
                       unsigned *allowed) {
    int64_t at = 0;
    unsigned fits = 0;
    for (int64_t j = 1; j < k; j++)
        if (fabsf(w[j] * s[j]) > fabsf(w[at] * s[at])) at = j;
    for (int c = 0; c < count[at]; c++)
        if (fabsf(w[at] * candidate[at][c]) / 127.0f == scale) fits |= 1u << c;
    assert_true((allowed[at] & fits) != 0);
    allowed[at] &= fits;
}

static void find_factors(const gs_safetensors *st, const gs_edge_group *g, bool all, float *s, counts *n) {
    gs_error err = {0};
    float norm[WIDEST], stored[WIDEST], candidate[WIDEST][7], w[WIDEST];
    int count[WIDEST];
    unsigned allowed[WIDEST];
    assert_ok(gs_param_read_f32(g->site.node->param[GS_ROLE_WEIGHT], 0, 1, norm, &err), &err);
    values(st, g->site.node->param[GS_ROLE_WEIGHT]->name, stored);
    for (int64_t j = 0; j < g->width; j++) {
        count[j] = neighbours(norm[j], stored[j], candidate[j]);
        s[j] = candidate[j][count[j] / 2];
        allowed[j] = (1u << count[j]) - 1;
    }
    for (int i = 0; i < g->count; i++) {
        const gs_tensor *scale = part(st, g->linear[i], "weight_scale");
        if (!all && (strstr(g->linear[i]->name, "v_proj") || strstr(g->linear[i]->name, "up_proj"))) continue;
        for (int64_t r = 0; r < scale->shape[0]; r++) {
            float theirs;
            memcpy(&theirs, scale->data + 4 * r, 4);
            assert_ok(gs_param_read_f32(g->linear[i]->param[GS_ROLE_WEIGHT], r, 1, w, &err), &err);
            settle_row(g->width, w, theirs, candidate, count, s, allowed);
        }
    }
    for (int64_t j = 0; j < g->width; j++) {
        s[j] = candidate[j][__builtin_ctz(allowed[j])];
        *((allowed[j] & (allowed[j] - 1)) == 0 ? &n->settled : &n->open) += 1;
    }
}

static void smooth_norms(const gs_safetensors *st, gs_net *net, bool all, counts *n) {
    gs_error err = {0};
    gs_edge_groups groups;
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    for (int i = 0; i < groups.count; i++) {
        const gs_edge_group *g = &groups.group[i];
        float s[WIDEST];
        if (kind_of(g) % 2) continue;
        find_factors(st, g, all, s, n);
        assert_ok(gs_compat_fold(GS_COMPAT_MSMODELSLIM_V0, GS_F32, net, g, s, &err), &err);
        assert_memory_equal(g->site.node->param[GS_ROLE_WEIGHT]->data, part(st, g->site.node, "weight")->data, (size_t)g->width * 4);
        n->norms++;
    }
    gs_edge_groups_clear(&groups);
}

static bool known(const gs_node *node, bool all) {
    return all || strstr(node->name, "q_proj") || strstr(node->name, "k_proj") || strstr(node->name, "gate_proj");
}

static void compare(const gs_safetensors *st, const gs_node *node, counts *n) {
    static const gs_role roles[] = {GS_ROLE_WEIGHT, GS_ROLE_WEIGHT_SCALE, GS_ROLE_WEIGHT_OFFSET, GS_ROLE_DEQ_SCALE, GS_ROLE_QUANT_BIAS};
    for (size_t i = 0; i < GS_COUNTOF(roles); i++) {
        const gs_param *p = node->param[roles[i]];
        const gs_tensor *t = tensor(st, p->name);
        assert_int_equal(p->dtype, t->dtype);
        if (memcmp(p->data, t->data, t->bytes) != 0) fail_msg("%s differs", p->name);
        n->tensors++;
    }
    n->linears++;
}

static void compare_layer(const gs_safetensors *st, gs_net *net, bool all, counts *n) {
    gs_error err = {0};
    gs_context cx = {0};
    gs_comp_algo algo = {0};
    gs_linear_batch *batch;
    smooth_norms(st, net, all, n);
    assert_ok(gs_linear_batch_create(&batch, &err), &err);
    for (int i = 0; i < gs_net_node_count(net); i++) {
        gs_node *node = gs_net_node(net, i);
        if (node->op != GS_OP_LINEAR || !known(node, all)) continue;
        gs_linear_decision d = {.scheme = GS_SCHEME_W8A8, .compute = GS_F32, .compat = GS_COMPAT_MSMODELSLIM_V0, .alpha = NAN,
                                .output_error = NAN,
                                .act = {scalar(part(st, node, "input_scale")), scalar(part(st, node, "input_offset"))}};
        assert_ok(gs_linear_batch_plan(batch, net, node, &d, &err), &err);
    }
    assert_ok(gs_linear_batch_convert(batch, &algo, &cx, NULL, NULL, &err), &err);
    for (int i = 0; i < gs_net_node_count(net); i++)
        if (gs_net_node(net, i)->op == GS_OP_QLINEAR) compare(st, gs_net_node(net, i), n);
    gs_summary_clear(&algo.summary);
    gs_linear_batch_destroy(batch);
}

static void bundles_with_moved_outliers_come_out_again(void **state) {
    (void)state;
    gs_need_data(model, MODEL "/config.json");
    gs_need_data(first, SLIM "stories260K-f32-v0-w8a8-static-m1/quant_model_weight_w8a8.safetensors");
    (void)first;
    for (int m4 = 0; m4 < 2; m4++) {
        gs_error err = {0};
        gs_safetensors *st;
        char file[256];
        counts n = {0};
        gs_model *m = open_model(NULL);
        snprintf(file, sizeof file, SLIM "stories260K-f32-v0-w8a8-static-m%d/quant_model_weight_w8a8.safetensors", m4 ? 4 : 1);
        assert_ok(gs_safetensors_open(gs_test_data(file), &st, &err), &err);
        for (int layer = 0; layer < LAYERS; layer++) {
            gs_net *net;
            assert_ok(gs_model_segment(m, layer + 1, &net, &err), &err);
            compare_layer(st, net, !m4, &n);
            gs_net_destroy(net);
        }
        print_message("m%d: %d norms and %d tensors of %d linears agree (%lld factors settled, %lld open)\n", m4 ? 4 : 1, n.norms,
                      n.tensors, n.linears, (long long)n.settled, (long long)n.open);
        assert_int_equal(n.norms, 2 * LAYERS);
        assert_int_equal(n.linears, (m4 ? 3 : 7) * LAYERS);
        gs_safetensors_close(st);
        gs_model_close(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bundles_with_moved_outliers_come_out_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
