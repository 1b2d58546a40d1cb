/* What our arithmetic gains over that of the original tool (ptq/compat_quant.h): signal to noise of the outputs of every linear
 * of the small model, on rows of what it reads, both from the same ranges. The figures stand in docs/formats.md. */
#include "reference_files.h"

#include <base/half.h>
#include <base/json.h>
#include <calibrate/stream.h>
#include <math.h>
#include <ptq/compat_quant.h>
#include <ptq/row_quant.h>

enum { ROWS = 256 };

/* One way to quantize a linear. */
typedef struct way {
    gs_row_rule rule;
    gs_act_params act;
} way;

static way way_of(gs_compat tool, gs_dtype r, const gs_observer *o) {
    way w = {.rule = {.convention = GS_SCALE_ASCEND, .compute = r, .compat = tool}};
    float lo, hi;
    gs_observer_range(o, &lo, &hi);
    w.act = tool ? gs_compat_act(tool, r, lo, hi, false) : gs_act_params_from_range(lo, hi, false, r);
    return w;
}

/* Square errors of the outputs, [weights alone, static activations]. */
typedef struct noise {
    double signal, error[2];
} noise;

static void add_row(const way *v, gs_dtype r, int64_t k, const float *w, int64_t rows, const float *x, noise *n) {
    gs_error err = {0};
    gs_row_stats stats = {0};
    int8_t q[WIDEST];
    float s, deq, scratch[WIDEST];
    int32_t bias;
    float reciprocal = gs_round_to(r, 1.0f / v->act.scale);
    assert_true(gs_row_quantize(&v->rule, k, w, q, &s, scratch, &stats));
    gs_status status = v->rule.compat
                           ? gs_compat_constants(v->rule.compat, r, v->act, s, 0, k, q, "", 0, &deq, &bias, &err)
                           : gs_static_constants(v->act, s, 0, k, q, "", 0, &deq, &bias, &err);
    assert_ok(status, &err);
    for (int64_t i = 0; i < rows; i++) {
        double y = 0, plain = 0;
        int64_t sum = bias;
        for (int64_t j = 0; j < k; j++) {
            float code = rintf(x[i * k + j] * reciprocal) + v->act.offset;
            code = code < -128 ? -128 : code > 127 ? 127 : code;
            y += (double)w[j] * (double)x[i * k + j];
            plain += (double)q[j] * (double)x[i * k + j];
            sum += q[j] * (int64_t)code;
        }
        double e0 = y - plain * (double)s, e1 = y - (double)sum * (double)deq;
        n->signal += y * y;
        n->error[0] += e0 * e0;
        n->error[1] += e1 * e1;
    }
}

static double db(const noise *n, int which) { return 10 * log10(n->signal / n->error[which]); }

/* Of all linears, and where the other way is better. */
typedef struct totals {
    double sum[2][2], worst[2]; /* [way][scheme]; largest loss of ours */
    int linears;
} totals;

static void add_linear(gs_dtype r, const gs_node *node, const gs_observer *o, totals *t) {
    gs_error err = {0};
    const gs_param *weight = node->param[GS_ROLE_WEIGHT];
    int64_t rows, k;
    gs_param_matrix(weight, &rows, &k);
    float *x = malloc((size_t)(o->sample_rows * k) * sizeof *x), w[WIDEST];
    way ways[2] = {way_of(GS_COMPAT_NONE, r, o), way_of(GS_COMPAT_MSMODELSLIM_V1, r, o)};
    noise n[2] = {{0}};
    assert_non_null(x);
    for (int64_t i = 0; i < o->sample_rows * k; i++) x[i] = gs_bf16_to_f32(o->sample[i]);
    for (int64_t i = 0; i < rows; i++) {
        assert_ok(gs_param_read_f32(weight, i, 1, w, &err), &err);
        for (int64_t j = 0; j < k; j++) w[j] = gs_round_to(r, w[j]); /* the model of that dtype */
        for (int v = 0; v < 2; v++) add_row(&ways[v], r, k, w, o->sample_rows, x, &n[v]);
    }
    for (int scheme = 0; scheme < 2; scheme++) {
        double loss = db(&n[1], scheme) - db(&n[0], scheme);
        t->worst[scheme] = fmax(t->worst[scheme], loss);
        for (int v = 0; v < 2; v++) t->sum[v][scheme] += db(&n[v], scheme);
    }
    t->linears++;
    free(x);
}

static void texts(gs_corpus *c) {
    gs_error err = {0};
    cJSON *json;
    assert_ok(gs_json_load(gs_test_data(SLIM "source/calibration.json"), 1 << 20, &json, &err), &err);
    const cJSON *lists = gs_json_get(json, "input_ids"), *list, *id;
    *c = (gs_corpus){.ids = malloc(4096 * 4), .starts = calloc(65, sizeof *c->starts)};
    assert_true(c->ids && c->starts);
    cJSON_ArrayForEach(list, lists) {
        assert_true(c->sequences < 64);
        cJSON_ArrayForEach(id, list) {
            assert_true(c->tokens < 4096);
            c->ids[c->tokens++] = (int32_t)id->valuedouble;
        }
        c->starts[++c->sequences] = c->tokens;
    }
    cJSON_Delete(json);
}

static void our_outputs_are_no_worse_than_the_tools(void **state) {
    (void)state;
    gs_need_data(model, MODEL "/config.json");
    gs_need_data(slim, SLIM "source/calibration.json");
    static const gs_dtype dtypes[] = {GS_F16, GS_BF16};
    static const char *const schemes[] = {"W8A16", "W8A8"};
    gs_error err = {0};
    gs_context cx = {0};
    gs_corpus corpus;
    gs_stream *stream;
    totals t[2] = {{.worst = {-INFINITY, -INFINITY}}, {.worst = {-INFINITY, -INFINITY}}};
    gs_model *m = open_model(NULL);
    texts(&corpus);
    gs_stream_options options = {.type = GS_GEMM_F32, .store = GS_F32, .memory = 1 << 26, .sample_rows = ROWS};
    assert_ok(gs_stream_create(&cx, m, &corpus, &options, &stream, &err), &err);
    for (int i = 0; i + 1 < gs_model_segments(m); i++) {
        gs_net *net;
        gs_observer_set set;
        assert_ok(gs_model_segment(m, i, &net, &err), &err);
        assert_ok(gs_stream_observe_and_advance(stream, net, &set, &err), &err);
        for (int n = 0; n < gs_net_node_count(net); n++) {
            const gs_node *node = gs_net_node(net, n);
            if (node->op != GS_OP_LINEAR) continue;
            for (int d = 0; d < 2; d++) add_linear(dtypes[d], node, gs_observer_set_find(&set, node->input[0]->name), &t[d]);
        }
        gs_observer_set_clear(&set);
        gs_net_destroy(net);
    }
    for (int d = 0; d < 2; d++)
        for (int s = 0; s < 2; s++) {
            double ours = t[d].sum[0][s] / t[d].linears, theirs = t[d].sum[1][s] / t[d].linears;
            print_message("%s %s: mean SNR of the outputs %.2f dB, with --compat msmodelslim-v1 %.2f dB; where ours is worse: by %.2f dB at most\n",
                          gs_dtype_name(dtypes[d]), schemes[s], ours, theirs, fmax(0, t[d].worst[s]));
            assert_true(ours >= theirs - 0.01);
        }
    assert_int_equal(t[0].linears, 7 * LAYERS);
    gs_stream_destroy(stream);
    free(corpus.ids);
    free(corpus.starts);
    gs_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_outputs_are_no_worse_than_the_tools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
