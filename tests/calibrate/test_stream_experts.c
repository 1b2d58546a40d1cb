/* Statistics of what an expert's linears read are those of the tokens that go to it, and of no others. */
#include "statistics_support.h"

#include <base/half.h>
#include <base/mem.h>
#include <calibrate/stream.h>
#include <math.h>
#include <network/exec.h>
#include <network/routing.h>

enum { SEQUENCES = 4, SKIP = 1, SAMPLES = 7, TOKENS = 96, MOST_EDGES = 64 };
static const int64_t starts[SEQUENCES + 1] = {0, 40, 43, 44, TOKENS};

typedef struct record {
    gs_observed_edges edges;
    float *data[MOST_EDGES], *out;
    float residual[TOKENS * 64]; /* what a block's mlp ends up in */
} record;

static gs_status keep_values(void *ctx, const gs_edge *edge, const gs_batch *batch, const float *data, gs_error *err) {
    record *r = ctx;
    (void)err;
    if (strstr(edge->name, "mlp_residual")) memcpy(r->residual, data, sizeof r->residual);
    for (int i = 0; i < r->edges.count; i++) {
        if (r->edges.at[i].edge != edge) continue;
        size_t bytes = (size_t)(batch->rows * edge->dims.dim[0]) * sizeof(float);
        r->data[i] = malloc(bytes);
        assert_non_null(r->data[i]);
        memcpy(r->data[i], data, bytes);
    }
    return GS_OK;
}

static void walk(gs_net *net, const float *in, record *r) {
    gs_error err = {0};
    gs_exec *ex;
    gs_batch batch = {.rows = TOKENS, .sequences = SEQUENCES, .starts = starts};
    int64_t width = gs_net_output_at(net, 0)->dims.dim[0];
    *r = (record){.out = malloc((size_t)(TOKENS * width) * sizeof(float))};
    assert_ok(gs_observed_edges_find(net, false, &r->edges, &err), &err);
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    gs_exec_set_hook(ex, keep_values, r);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    assert_ok(gs_exec_run(ex, net, &batch, &in, &r->out, &err), &err);
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
}

/* The rows that count, in order; how many. */
static int64_t routed_rows(const float *data, int64_t width, int64_t *row, int *half) {
    int64_t count = 0;
    for (int q = 0; q < SEQUENCES; q++)
        for (int64_t t = starts[q] + SKIP; t < starts[q + 1]; t++) {
            bool any = false;
            for (int64_t j = 0; j < width; j++) any = any || data[t * width + j] != 0;
            if (!any) continue;
            row[count] = t;
            half[count++] = 2 * q >= SEQUENCES;
        }
    return count;
}

static bool near(double a, double b) { return fabs(a - b) <= 1e-6 * fabs(b); }

static void assert_channels(const gs_observer *o, const float *data, const int64_t *row, int64_t count) {
    for (int64_t j = 0; j < o->width; j++) {
        float lo = INFINITY, hi = -INFINITY;
        double sum = 0, square = 0;
        for (int64_t r = 0; r < count; r++) {
            float v = data[row[r] * o->width + j];
            lo = fminf(lo, v);
            hi = fmaxf(hi, v);
            sum += fabs((double)v);
            square += (double)v * (double)v;
        }
        assert_true(o->min[j] == lo && o->max[j] == hi);
        assert_true(near(o->abs_sum[j], sum) && near(o->square_sum[j], square));
    }
}

/* Of the sum that down's output ends up in; gate's and up's is nowhere told. */
static void assert_energy(float got, const float *sum, bool down) {
    double energy = 0;
    for (int j = 0; j < 64 && down; j++) energy += (double)sum[j] * (double)sum[j];
    assert_true(near((double)got, energy));
}

/* Rows 0, step, 2 step ... with the least step that is a power of two and leaves them room, then zeros. */
static void assert_sample(const gs_observer *o, const record *all, const float *data, const int64_t *row, const int *half,
                          int64_t count) {
    int64_t step = 1, kept = 0;
    while ((count + step - 1) / step > SAMPLES) step *= 2;
    for (int64_t r = 0; r < count; r += step, kept++) {
        assert_int_equal(o->sample_fold[kept], half[r]);
        assert_energy(o->sample_energy[kept], all->residual + row[r] * 64, o->width == 48);
        for (int64_t j = 0; j < o->width; j++)
            assert_int_equal(o->sample[kept * o->width + j], gs_f32_to_bf16(data[row[r] * o->width + j]));
    }
    assert_int_equal(o->sample_rows, SAMPLES);
    for (int64_t i = kept * o->width; i < SAMPLES * o->width; i++) assert_int_equal(o->sample[i], 0);
}

static gs_model *open_model(const char *folder) {
    gs_error err = {0};
    gs_checkpoint *checkpoint;
    gs_model *m;
    assert_ok(gs_checkpoint_open(folder, NULL, &checkpoint, &err), &err);
    assert_ok(gs_model_take(checkpoint, NULL, NULL, &m, &err), &err);
    return m;
}

static void only_tokens_that_go_there_count(void **state) {
    (void)state;
    gs_need_data(folder, "reference/families/qwen3-moe");
    gs_error err = {0};
    gs_context cx = {0};
    gs_stream *s;
    gs_model *m = open_model(folder);
    int32_t ids[TOKENS];
    float in[TOKENS];
    int experts = 0;
    uint64_t seed = 8;
    for (int i = 0; i < TOKENS; i++) in[i] = (float)(ids[i] = (int32_t)(gs_test_rand(&seed) % 256));
    const gs_corpus corpus = {.ids = ids, .starts = (int64_t *)(uintptr_t)starts, .sequences = SEQUENCES, .tokens = TOKENS};
    const gs_stream_options options = {.type = GS_GEMM_F32, .store = GS_F32, .memory = 1 << 30, .skip_tokens = SKIP,
                                       .sample_rows = SAMPLES};
    assert_ok(gs_stream_create(&cx, m, &corpus, &options, &s, &err), &err);
    const float *x = in;
    float *last = NULL;
    for (int i = 0; i < 2; i++) { /* the embedding and the first block, which has 8 experts */
        gs_net *net;
        gs_observer_set set;
        record r;
        assert_ok(gs_model_segment(m, i, &net, &err), &err);
        walk(net, x, &r);
        assert_ok(gs_stream_observe_and_advance(s, net, &set, &err), &err);
        for (int e = 0; e < set.count; e++) {
            int64_t row[TOKENS];
            int half[TOKENS];
            if (gs_routed_select(r.edges.at[e].edge)) {
                const gs_observer *o = &set.observer[e];
                int64_t count = routed_rows(r.data[e], o->width, row, half);
                experts++;
                assert_true(count > 0 && count < TOKENS - SEQUENCES * SKIP);
                assert_int_equal(o->rows, count);
                assert_channels(o, r.data[e], row, count);
                assert_sample(o, &r, r.data[e], row, half, count);
            }
            free(r.data[e]);
        }
        gs_observer_set_clear(&set);
        gs_observed_edges_clear(&r.edges);
        gs_net_destroy(net);
        free(last);
        x = last = r.out;
    }
    assert_int_equal(experts, 16);
    free(last);
    gs_stream_destroy(s);
    gs_model_close(m);
}

static void running_out_of_memory_anywhere_is_only_an_error(void **state) {
    (void)state;
    gs_need_data(folder, "reference/families/mixtral-moe");
    gs_model *m = open_model(folder);
    gs_status status = GS_E_NOMEM;
    int32_t ids[12] = {1, 2, 3, 40, 50, 60, 7, 8, 9, 100, 11, 12};
    int64_t two[3] = {0, 5, 12};
    const gs_corpus corpus = {.ids = ids, .starts = two, .sequences = 2, .tokens = 12};
    const gs_stream_options options = {.type = GS_GEMM_BF16, .store = GS_F32, .memory = 1 << 30, .sample_rows = 3};
    for (int64_t k = 0; status != GS_OK && k < 5000; k += 2) {
        gs_error err = {0};
        gs_context cx = {0};
        gs_stream *s = NULL;
        gs_observer_set set = {0};
        gs_net *embed = NULL, *block = NULL;
        gs_mem_fail_after(k);
        status = gs_stream_create(&cx, m, &corpus, &options, &s, &err);
        if (status == GS_OK) status = gs_model_segment(m, 0, &embed, &err);
        if (status == GS_OK) status = gs_model_segment(m, 1, &block, &err);
        if (status == GS_OK) status = gs_stream_advance(s, embed, &err);
        if (status == GS_OK) status = gs_stream_observe_and_advance(s, block, &set, &err);
        gs_mem_fail_after(-1);
        if (status != GS_OK) assert_int_equal(status, GS_E_NOMEM);
        gs_observer_set_clear(&set);
        gs_stream_destroy(s);
        gs_net_destroy(embed);
        gs_net_destroy(block);
    }
    assert_int_equal(status, GS_OK);
    gs_model_close(m);
}

/* ---- statistics of nothing ---- */

static void an_expert_without_tokens_is_kept_and_read_back(void **state) {
    (void)state;
    gs_error err = {0};
    gs_observer o, back;
    gs_statistics_writer *w;
    gs_statistics *s;
    char *dir = gs_test_tmpdir(), path[1100], twice[1100];
    snprintf(path, sizeof path, "%s/stats", dir);
    snprintf(twice, sizeof twice, "%s/twice", dir);
    assert_ok(gs_observer_init(&o, "expert", 5, 3, &err), &err);
    gs_observer_pad(&o);
    assert_ok(gs_statistics_writer_create(path, &stats_info, &w, &err), &err);
    assert_ok(gs_statistics_writer_plan(w, "expert", 5, 3, &err), &err);
    assert_ok(gs_statistics_writer_begin(w, &err), &err);
    assert_ok(gs_statistics_writer_put(w, &o, &err), &err);
    assert_ok(gs_statistics_writer_commit(w, &err), &err);
    const char *inputs[2] = {path, path};
    assert_ok(gs_statistics_merge(inputs, 2, twice, &err), &err);
    for (int i = 0; i < 2; i++) {
        assert_ok(gs_statistics_open(i ? twice : path, &s, &err), &err);
        assert_ok(gs_statistics_read(s, "expert", &back, &err), &err);
        assert_int_equal(back.rows, 0);
        assert_int_equal(back.sample_rows, i ? 6 : 3);
        assert_true(isinf(back.min[2]) && isinf(back.max[2]) && back.min[2] > back.max[2]);
        gs_observer_clear(&back);
        gs_statistics_close(s);
    }
    gs_observer_clear(&o);
    gs_test_rmdir(dir);
}

static void a_sample_is_thinned_from_its_first_row(void **state) {
    (void)state;
    gs_error err = {0};
    gs_observer o;
    assert_ok(gs_observer_init(&o, "e", 2, 5, &err), &err);
    for (int r = 0; r < 5; r++) {
        const float x[2] = {(float)r, (float)-r};
        o.fold = r > 2;
        assert_ok(gs_observer_keep(&o, x, &err), &err);
        o.sample_energy[r] = (float)r;
    }
    gs_observer_thin(&o);
    assert_int_equal(o.sample_rows, 3);
    for (int r = 0; r < 3; r++) {
        assert_true(gs_bf16_to_f32(o.sample[2 * r]) == (float)(2 * r) && gs_bf16_to_f32(o.sample[2 * r + 1]) == (float)(-2 * r));
        assert_true(o.sample_energy[r] == (float)(2 * r) && o.sample_fold[r] == (r == 2));
    }
    gs_observer_pad(&o);
    assert_int_equal(o.sample_rows, 5);
    assert_true(o.sample[6] == 0 && o.sample[9] == 0 && o.sample_fold[3] == 0 && o.sample_energy[4] == 0);
    gs_observer_clear(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_tokens_that_go_there_count),
        cmocka_unit_test(running_out_of_memory_anywhere_is_only_an_error),
        cmocka_unit_test(an_expert_without_tokens_is_kept_and_read_back),
        cmocka_unit_test(a_sample_is_thinned_from_its_first_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
