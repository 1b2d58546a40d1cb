/* The stream of activations: what its observers say is what a plain walk over the same tokens shows, whatever the
 * threads, the memory and the lengths of the sequences. */
#include "statistics_support.h"

#include <base/half.h>
#include <base/mem.h>
#include <calibrate/stream.h>
#include <math.h>
#include <network/exec.h>
#include <tests/tiny_model.h>

static const tiny_shape shape = {.vocab = 96, .hidden = 32, .intermediate = 48, .layers = 2, .heads = 4, .kv_heads = 2,
                                 .dtype = GS_F32};
/* several groups of GS_STREAM_ROWS, one sequence longer than that, some of a few tokens */
static const int64_t lengths[] = {5, 40, 1100, 3, 700, 2, 300, 64, 9};
enum { SEQUENCES = GS_COUNTOF(lengths), MOST_EDGES = 8, SKIP = 4, SAMPLES = 37 };

typedef struct world {
    char *dir;
    gs_model *model;
    gs_corpus corpus;
    int64_t starts[SEQUENCES + 1];
} world;

static void open_model(world *w) {
    gs_error err = {0};
    gs_checkpoint *checkpoint;
    assert_ok(gs_checkpoint_open(w->dir, NULL, &checkpoint, &err), &err);
    assert_ok(gs_model_take(checkpoint, NULL, NULL, &w->model, &err), &err);
}

static void begin(world *w) {
    uint64_t seed = 9;
    w->dir = gs_test_tmpdir();
    tiny_model(w->dir, &shape, 6);
    open_model(w);
    w->starts[0] = 0;
    for (int q = 0; q < SEQUENCES; q++) w->starts[q + 1] = w->starts[q] + lengths[q];
    w->corpus = (gs_corpus){.starts = w->starts, .sequences = SEQUENCES, .tokens = w->starts[SEQUENCES]};
    w->corpus.ids = malloc((size_t)w->corpus.tokens * sizeof *w->corpus.ids);
    assert_non_null(w->corpus.ids);
    for (int64_t i = 0; i < w->corpus.tokens; i++) w->corpus.ids[i] = (int32_t)(gs_test_rand(&seed) % 96);
}

static void end(world *w) {
    gs_model_close(w->model);
    free(w->corpus.ids);
    gs_test_rmdir(w->dir);
}

static gs_net *segment(const world *w, int i) {
    gs_error err = {0};
    gs_net *net;
    assert_ok(gs_model_segment(w->model, i, &net, &err), &err);
    return net;
}

static const gs_stream_options defaults = {.type = GS_GEMM_F32, .store = GS_F32, .memory = 1 << 30,
                                           .skip_tokens = SKIP, .sample_rows = SAMPLES};

/* ---- the plain walk ---- */

/* All values of the observed edges of one segment, every token. */
typedef struct record {
    gs_observed_edges edges;
    float *data[MOST_EDGES];
} record;

static gs_status keep_values(void *ctx, const gs_edge *edge, const gs_batch *batch, const float *data, gs_error *err) {
    record *r = ctx;
    (void)err;
    for (int i = 0; i < r->edges.count; i++) {
        if (strcmp(r->edges.at[i].edge->name, edge->name) != 0) continue;
        size_t bytes = (size_t)(batch->rows * edge->dims.dim[0]) * sizeof(float);
        r->data[i] = malloc(bytes);
        assert_non_null(r->data[i]);
        memcpy(r->data[i], data, bytes);
    }
    return GS_OK;
}

/* Runs a net over everything at once. */
static void walk(world *w, gs_net *net, const float *in, float *out, record *r) {
    gs_error err = {0};
    gs_exec *ex;
    gs_batch batch = {.rows = w->corpus.tokens, .sequences = SEQUENCES, .starts = w->starts};
    *r = (record){0};
    assert_ok(gs_observed_edges_find(net, false, &r->edges, &err), &err);
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    gs_exec_set_hook(ex, keep_values, r);
    assert_ok(gs_exec_prepare(ex, net, &err), &err);
    assert_ok(gs_exec_run(ex, net, &batch, &in, &out, &err), &err);
    gs_exec_release(ex, net);
    gs_exec_destroy(ex);
}

static bool near(double a, double b, double bound) { return fabs(a - b) <= bound * fabs(b); }

/* Statistics of the rows that count, by the words of observer.h. */
static void assert_statistics(const world *w, const gs_observer *o, const float *data, int64_t skip, int64_t samples) {
    int64_t width = o->width, rows = 0, counted = 0, kept = 0, last = -1;
    double *sum = calloc((size_t)width, sizeof *sum), *square = calloc((size_t)width, sizeof *square);
    float *lo = calloc((size_t)width, sizeof *lo), *hi = calloc((size_t)width, sizeof *hi), token_most = 0;
    uint64_t *bins = calloc(GS_HISTOGRAM_BINS, sizeof *bins), moved = 0;
    double token_sum = 0;
    for (int q = 0; q < SEQUENCES; q++) counted += lengths[q] > skip ? lengths[q] - skip : 0;
    if (samples > counted) samples = counted;
    for (int q = 0; q < SEQUENCES; q++)
        for (int64_t t = skip; t < lengths[q]; t++, rows++) {
            const float *x = data + (w->starts[q] + t) * width;
            float most = 0;
            for (int64_t j = 0; j < width; j++) {
                lo[j] = rows == 0 || x[j] < lo[j] ? x[j] : lo[j];
                hi[j] = rows == 0 || x[j] > hi[j] ? x[j] : hi[j];
                sum[j] += fabs((double)x[j]);
                square[j] += (double)x[j] * (double)x[j];
                bins[gs_histogram_bin(x[j])]++;
                most = fmaxf(most, fabsf(x[j]));
            }
            token_sum += (double)most;
            token_most = fmaxf(token_most, most);
            /* kept are the rows on which a line from 0 to `samples` reaches the next integer */
            if (kept < samples && rows == ((kept + 1) * counted + samples - 1) / samples - 1) {
                for (int64_t j = 0; j < width; j++)
                    assert_true(near((double)gs_bf16_to_f32(o->sample[kept * width + j]), (double)x[j], 0x1p-8));
                if (last >= 0) assert_true(rows - last >= counted / samples && rows - last <= counted / samples + 1);
                last = rows;
                kept++;
            }
        }
    assert_int_equal(o->rows, rows);
    assert_int_equal(o->sample_rows, samples);
    assert_int_equal(kept, samples);
    for (int64_t j = 0; j < width; j++) {
        assert_true(near((double)o->min[j], (double)lo[j], 1e-6) && near((double)o->max[j], (double)hi[j], 1e-6));
        assert_true(near(o->abs_sum[j], sum[j], 1e-6) && near(o->square_sum[j], square[j], 1e-6));
    }
    /* a value within the rounding of products of an edge may fall into the next bin */
    for (int b = 0; b < GS_HISTOGRAM_BINS; b++) moved += bins[b] > o->histogram[b] ? bins[b] - o->histogram[b] : 0;
    assert_true((double)moved <= 1e-3 * (double)(rows * width));
    assert_true(near(o->token_absmax_sum, token_sum, 1e-6) && near((double)o->token_absmax_max, (double)token_most, 1e-6));
    free(sum);
    free(square);
    free(lo);
    free(hi);
    free(bins);
}

static void compare_with_walk(const gs_stream_options *options) {
    gs_error err = {0};
    gs_context cx = {0};
    gs_stream *s;
    world w;
    int edges = 0;
    begin(&w);
    size_t cells = (size_t)w.corpus.tokens * 32;
    float *in = malloc(cells * sizeof *in), *out = malloc(cells * sizeof *out);
    for (int64_t i = 0; i < w.corpus.tokens; i++) in[i] = (float)w.corpus.ids[i];
    assert_ok(gs_stream_create(&cx, w.model, &w.corpus, options, &s, &err), &err);
    for (int i = 0; i + 1 < gs_model_segments(w.model); i++) {
        record r;
        gs_observer_set set;
        gs_net *net = segment(&w, i);
        walk(&w, net, in, out, &r);
        assert_int_equal(r.edges.count, i == 0 ? 0 : 4);
        assert_ok(gs_stream_observe_and_advance(s, net, &set, &err), &err);
        assert_int_equal(set.count, r.edges.count);
        for (int e = 0; e < set.count; e++, edges++) {
            assert_string_equal(set.observer[e].name, r.edges.at[e].edge->name);
            assert_ptr_equal(gs_observer_set_find(&set, set.observer[e].name), &set.observer[e]);
            assert_statistics(&w, &set.observer[e], r.data[e], options->skip_tokens, options->sample_rows);
            free(r.data[e]);
        }
        assert_null(gs_observer_set_find(&set, "nothing"));
        gs_observed_edges_clear(&r.edges);
        gs_observer_set_clear(&set);
        gs_observer_set_clear(&set);
        gs_net_destroy(net);
        float *swap = in;
        in = out;
        out = swap;
    }
    assert_int_equal(edges, 8);
    gs_stream_destroy(s);
    free(in);
    free(out);
    end(&w);
}

static void observers_say_what_a_plain_walk_shows(void **state) {
    (void)state;
    compare_with_walk(&defaults); /* sequences of 3 and of 2 tokens are skipped whole */
    gs_stream_options o = defaults;
    o.skip_tokens = 0;
    o.sample_rows = 1000000; /* all of them */
    compare_with_walk(&o);
    o.skip_tokens = 699; /* one sequence and one token are left */
    o.sample_rows = 1;
    compare_with_walk(&o);
    o.skip_tokens = 1;
    o.sample_rows = 0;
    compare_with_walk(&o);
}

/* ---- halves, and where outputs end up ---- */

typedef struct sums {
    float *attention, *mlp; /* the two residual sums of a block, every token; [tokens, 32] */
} sums;

static gs_status keep_sums(void *ctx, const gs_edge *edge, const gs_batch *batch, const float *data, gs_error *err) {
    sums *s = ctx;
    (void)err;
    if (strstr(edge->name, "attention_residual")) memcpy(s->attention, data, (size_t)batch->rows * 32 * sizeof *data);
    if (strstr(edge->name, "mlp_residual")) memcpy(s->mlp, data, (size_t)batch->rows * 32 * sizeof *data);
    return GS_OK;
}

static void assert_halves(const world *w, const gs_observer *o, const float *data) {
    int64_t width = o->width;
    for (int half = 0; half < 2; half++)
        for (int64_t j = 0; j < width; j++) {
            float lo = INFINITY, hi = -INFINITY;
            for (int q = 0; q < SEQUENCES; q++)
                for (int64_t t = SKIP; 2 * q / SEQUENCES == half && t < lengths[q]; t++) {
                    lo = fminf(lo, data[(w->starts[q] + t) * width + j]);
                    hi = fmaxf(hi, data[(w->starts[q] + t) * width + j]);
                }
            assert_true(near((double)o->fold_min[half * width + j], (double)lo, 1e-6));
            assert_true(near((double)o->fold_max[half * width + j], (double)hi, 1e-6));
        }
}

/* Energies of the kept rows, in their order; NULL: none is known. */
static void assert_energies(const world *w, const gs_observer *o, const float *sum) {
    int64_t counted = o->rows, rows = 0, kept = 0;
    for (int q = 0; q < SEQUENCES; q++)
        for (int64_t t = SKIP; t < lengths[q]; t++, rows++) {
            if (kept == o->sample_rows || rows != ((kept + 1) * counted + o->sample_rows - 1) / o->sample_rows - 1) continue;
            double energy = 0;
            for (int64_t j = 0; sum && j < 32; j++) {
                double v = (double)sum[(w->starts[q] + t) * 32 + j];
                energy += v * v;
            }
            assert_true(near((double)o->sample_energy[kept], energy, 1e-5));
            assert_int_equal(o->sample_fold[kept], 2 * q >= SEQUENCES);
            kept++;
        }
    assert_int_equal(kept, o->sample_rows);
}

static void each_half_has_its_extremes_and_each_row_its_energy(void **state) {
    (void)state;
    gs_error err = {0};
    gs_context cx = {0};
    gs_stream *s;
    gs_exec *ex;
    world w;
    begin(&w);
    size_t cells = (size_t)w.corpus.tokens * 32;
    float *in = malloc(cells * sizeof *in), *mid = malloc(cells * sizeof *mid), *out = malloc(cells * sizeof *out);
    sums sum = {malloc(cells * sizeof(float)), malloc(cells * sizeof(float))};
    for (int64_t i = 0; i < w.corpus.tokens; i++) in[i] = (float)w.corpus.ids[i];
    gs_net *embed = segment(&w, 0), *block = segment(&w, 1);
    record r;
    walk(&w, embed, in, mid, &r);
    gs_observed_edges_clear(&r.edges);
    walk(&w, block, mid, out, &r);
    assert_ok(gs_exec_create(NULL, GS_GEMM_F32, &ex, &err), &err);
    gs_exec_set_hook(ex, keep_sums, &sum);
    assert_ok(gs_exec_prepare(ex, block, &err), &err);
    gs_batch batch = {.rows = w.corpus.tokens, .sequences = SEQUENCES, .starts = w.starts};
    const float *from = mid;
    assert_ok(gs_exec_run(ex, block, &batch, &from, &out, &err), &err);
    gs_exec_release(ex, block);
    gs_exec_destroy(ex);

    gs_observer_set set;
    assert_ok(gs_stream_create(&cx, w.model, &w.corpus, &defaults, &s, &err), &err);
    assert_ok(gs_stream_advance(s, embed, &err), &err);
    assert_ok(gs_stream_observe(s, block, &set, &err), &err);
    const float *landing[] = {NULL, sum.attention, NULL, sum.mlp}; /* of the norms nothing is known */
    assert_int_equal(set.count, 4);
    for (int e = 0; e < 4; e++) {
        assert_halves(&w, &set.observer[e], r.data[e]);
        assert_energies(&w, &set.observer[e], landing[e]);
        free(r.data[e]);
    }
    gs_observed_edges_clear(&r.edges);
    gs_observer_set_clear(&set);
    gs_stream_destroy(s);
    gs_net_destroy(embed);
    gs_net_destroy(block);
    free(in);
    free(mid);
    free(out);
    free(sum.attention);
    free(sum.mlp);
    end(&w);
}

/* ---- what must not matter ---- */

static void stream(const world *w, const gs_stream_options *o, int threads, bool twice, gs_observer_set *sets) {
    gs_error err = {0};
    gs_context cx = {0};
    gs_stream *s;
    assert_ok(gs_team_create(NULL, threads, &cx.team, &err), &err);
    assert_ok(gs_stream_create(&cx, w->model, &w->corpus, o, &s, &err), &err);
    int64_t bytes = w->corpus.tokens * 32 * (o->store == GS_F32 ? 4 : 2);
    assert_int_equal(gs_stream_spilled(s) > 0, o->memory < bytes);
    for (int i = 0; i + 1 < gs_model_segments(w->model); i++) {
        gs_net *net = segment(w, i);
        if (twice) { /* looking changes nothing */
            assert_ok(gs_stream_observe(s, net, &sets[i], &err), &err);
            gs_observer_set_clear(&sets[i]);
            assert_ok(gs_stream_observe(s, net, &sets[i], &err), &err);
            assert_ok(gs_stream_advance(s, net, &err), &err);
        } else {
            assert_ok(gs_stream_observe_and_advance(s, net, &sets[i], &err), &err);
        }
        gs_net_destroy(net);
    }
    gs_stream_destroy(s);
    gs_team_destroy(cx.team);
}

static void neither_threads_nor_memory_nor_the_way_of_looking_change_a_byte(void **state) {
    (void)state;
    enum { SEGMENTS = 3 };
    world w;
    begin(&w);
    for (int half = 0; half < 2; half++) {
        gs_observer_set first[SEGMENTS], again[SEGMENTS];
        gs_stream_options o = defaults;
        o.store = half ? GS_BF16 : GS_F32;
        o.type = half ? GS_GEMM_BF16 : GS_GEMM_F32;
        stream(&w, &o, 1, false, first);
        const int64_t memory[] = {1 << 30, 100000, 0};
        for (int k = 0; k < 9; k++) {
            o.memory = memory[k % 3];
            stream(&w, &o, 1 + k / 3, k == 4, again);
            for (int i = 0; i < SEGMENTS; i++) {
                assert_int_equal(again[i].count, first[i].count);
                for (int e = 0; e < first[i].count; e++) stats_assert_same(&again[i].observer[e], &first[i].observer[e]);
                gs_observer_set_clear(&again[i]);
            }
        }
        for (int i = 0; i < SEGMENTS; i++) gs_observer_set_clear(&first[i]);
    }
    end(&w);
}

/* ---- what is refused ---- */

static void a_set_without_a_token_to_count_is_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_context cx = {0};
    gs_stream *s;
    world w;
    begin(&w);
    gs_stream_options o = defaults;
    o.skip_tokens = 1100;
    assert_fails(gs_stream_create(&cx, w.model, &w.corpus, &o, &s, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "1100"));
    o.skip_tokens = 1099;
    assert_ok(gs_stream_create(&cx, w.model, &w.corpus, &o, &s, &err), &err);
    assert_int_equal(gs_stream_sample_rows(s), 1);
    gs_stream_destroy(s);
    end(&w);
}

static void what_is_not_finite_is_named_with_its_edge(void **state) {
    (void)state;
    gs_error err = {0};
    gs_context cx = {0};
    gs_stream *s;
    gs_observer_set set;
    world w;
    begin(&w);
    gs_model_close(w.model);
    tiny_poke(w.dir, "model.layers.1.mlp.up_proj.weight", NAN);
    open_model(&w);
    assert_ok(gs_stream_create(&cx, w.model, &w.corpus, &defaults, &s, &err), &err);
    for (int i = 0; i < 3; i++) {
        gs_net *net = segment(&w, i);
        if (i < 2) {
            assert_ok(gs_stream_observe_and_advance(s, net, &set, &err), &err);
            gs_observer_set_clear(&set);
        } else {
            gs_observed_edges edges;
            assert_ok(gs_observed_edges_find(net, false, &edges, &err), &err);
            const char *edge = edges.at[3].edge->name; /* what down_proj reads */
            assert_fails(gs_stream_observe_and_advance(s, net, &set, &err), GS_E_NUMERIC, &err);
            if (!strstr(err.text, edge) || !strstr(err.text, "row 4")) fail_msg("'%s' lacks '%s'", err.text, edge);
            gs_observed_edges_clear(&edges);
            assert_int_equal(set.count, 0);
        }
        gs_net_destroy(net);
    }
    gs_stream_destroy(s);
    end(&w);
}

static void running_out_of_memory_anywhere_is_only_an_error(void **state) {
    (void)state;
    gs_status status = GS_E_NOMEM;
    world w;
    begin(&w);
    w.corpus.sequences = 2; /* 45 tokens */
    w.corpus.tokens = w.starts[2];
    gs_net *embed = segment(&w, 0), *block = segment(&w, 1);
    for (int64_t k = 0; status != GS_OK && k < 2000; k++) {
        gs_error err = {0};
        gs_context cx = {0};
        gs_stream *s = NULL;
        gs_observer_set set = {0};
        gs_mem_fail_after(k);
        status = gs_stream_create(&cx, w.model, &w.corpus, &defaults, &s, &err);
        if (status == GS_OK) status = gs_stream_advance(s, embed, &err);
        if (status == GS_OK) status = gs_stream_observe_and_advance(s, block, &set, &err);
        gs_mem_fail_after(-1);
        if (status != GS_OK) assert_int_equal(status, GS_E_NOMEM);
        gs_observer_set_clear(&set);
        gs_stream_destroy(s);
    }
    assert_int_equal(status, GS_OK);
    gs_net_destroy(embed);
    gs_net_destroy(block);
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(observers_say_what_a_plain_walk_shows),
        cmocka_unit_test(each_half_has_its_extremes_and_each_row_its_energy),
        cmocka_unit_test(neither_threads_nor_memory_nor_the_way_of_looking_change_a_byte),
        cmocka_unit_test(a_set_without_a_token_to_count_is_refused),
        cmocka_unit_test(what_is_not_finite_is_named_with_its_edge),
        cmocka_unit_test(running_out_of_memory_anywhere_is_only_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
