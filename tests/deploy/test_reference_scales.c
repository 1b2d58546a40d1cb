/* What msModelSlim wrote, made again from the f32 source and its own statistics: through our algorithm and writer,
 * tensor by tensor, bit for bit (reference/msmodelslim/README.md).
 *
 * Smoothing factors are theirs, folded into the model as it is opened. One thing differs by design: where a
 * linear has factors on its rows and its columns (v, up), they multiply by the row first, we by the column
 * (network/net.h); those two are also made in their order from our functions, and then agree as well. */
#include "reference_files.h"

#include <base/affix.h>
#include <base/json.h>
#include <calibrate/observer.h>
#include <deploy/bundle_writer.h>
#include <math.h>
#include <ptq/act_quant.h>
#include <ptq/round_to_nearest.h>
#include <ptq/row_quant.h>
#include <ptq/smooth_quant.h>

/* ---- ours ---- */

/* Observers made of their ranges. */
typedef struct ranges {
    const cJSON *linears;
    const gs_net *net; /* of the segment in hand */
} ranges;

static gs_status from_ranges(void *ctx, const char *edge, gs_observer *out, gs_error *err) {
    const ranges *r = ctx;
    double lo = NAN, hi = NAN;
    const char *reader = NULL;
    for (int i = 0; i < gs_net_node_count(r->net) && !reader; i++) {
        const gs_node *n = gs_net_node(r->net, i);
        if (n->op == GS_OP_LINEAR && strcmp(n->input[0]->name, edge) == 0) reader = n->name;
    }
    const cJSON *range = reader ? gs_json_get(r->linears, reader) : NULL;
    if (!range) return GS_FAIL(err, GS_E_FORMAT, "no range of '%s'", edge);
    GS_TRY(gs_json_double(range, "min", &lo, err));
    GS_TRY(gs_json_double(range, "max", &hi, err));
    int64_t width = gs_net_find(r->net, reader)->param[GS_ROLE_WEIGHT]->shape[1];
    float rows[2 * WIDEST];
    for (int64_t j = 0; j < width; j++) {
        rows[j] = (float)lo;
        rows[width + j] = (float)hi;
    }
    GS_TRY(gs_observer_init(out, edge, width, 0, err));
    return gs_observer_see(out, NULL, 0, 2, rows, err);
}

static void decide(gs_context *cx, const gs_model *m, gs_comp_algo *algo, ranges *r) {
    gs_error err = {0};
    for (int i = 0; i < gs_model_segments(m); i++) {
        gs_net *net;
        assert_ok(gs_model_segment(m, i, &net, &err), &err);
        r->net = net;
        assert_ok(gs_comp_algo_decide(algo, cx, net, &err), &err);
        gs_net_destroy(net);
    }
}

static void write_segments(gs_context *cx, const gs_model *m, gs_comp_algo *algo, gs_bundle_writer *w, bool bytes) {
    gs_error err = {0};
    for (int i = 0; i < gs_model_segments(m); i++) {
        gs_net *net;
        assert_ok(gs_model_segment(m, i, &net, &err), &err);
        assert_ok(gs_comp_algo_apply(algo, net, &err), &err);
        if (bytes) assert_ok(gs_comp_algo_convert(algo, cx, net, &err), &err);
        assert_ok(bytes ? gs_bundle_writer_write(w, net, &err) : gs_bundle_writer_plan(w, net, &err), &err);
        gs_net_destroy(net);
    }
}

/* What a reference folder asks for. */
typedef struct recipe {
    const char *folder, *ranges; /* ranges NULL: per token */
    bool symmetric, smoothed;
    int exact, near;             /* tensors that agree bit for bit, and that are off by a rounding */
} recipe;

/* The bundle of a recipe, at `path`. */
static void write_bundle(const recipe *r, const gs_model *m, const char *path) {
    gs_error err = {0};
    gs_context cx = {0};
    gs_ptq_config config = gs_ptq_config_w8a8(!r->ranges);
    gs_smooth_quant_options options = {.act_symmetric = r->symmetric};
    gs_comp_algo *algo;
    gs_bundle_writer *w;
    cJSON *json = NULL;
    uint64_t size;
    config.compute = GS_F32;
    if (r->ranges) {
        char file[256];
        snprintf(file, sizeof file, SLIM "extras/%s/activation-ranges.json", r->ranges);
        assert_non_null(gs_test_data(file));
        assert_ok(gs_json_load(gs_test_data(file), 1 << 24, &json, &err), &err);
        ranges source = {.linears = gs_json_get(json, "linears")};
        assert_ok(gs_smooth_quant_create(&config, &options, from_ranges, &source, &algo, &err), &err);
        decide(&cx, m, algo, &source);
    } else {
        assert_ok(gs_round_to_nearest_create(&config, &algo, &err), &err);
    }
    gs_bundle_options o = {.source = gs_model_checkpoint(m), .dtype = GS_F32};
    assert_ok(gs_bundle_writer_create(&cx, &gs_bundle_ascend, path, &o, &w, &err), &err);
    write_segments(&cx, m, algo, w, false);
    assert_ok(gs_bundle_writer_begin(w, &err), &err);
    write_segments(&cx, m, algo, w, true);
    assert_ok(gs_bundle_writer_finish(w, &size, &err), &err);
    gs_comp_algo_destroy(algo);
    cJSON_Delete(json);
}

/* ---- comparing ---- */

/* Theirs that we do not write: a tied head, and biases of norms, which are zeros. */
static bool is_extra(const gs_tensor *t) {
    if (strcmp(t->name, "lm_head.weight") == 0) return true;
    if (!gs_ends_with(t->name, "norm.bias")) return false;
    for (uint64_t b = 0; b < t->bytes; b++) assert_int_equal(t->data[b], 0);
    return true;
}

/* Elements that differ, and the largest difference: codes, counts, or units in the last place of positive floats. */
static int64_t differences(const gs_tensor *a, const gs_tensor *b, int64_t *most) {
    int64_t count = 0;
    *most = 0;
    for (int64_t i = 0; i < gs_tensor_count(a); i++) {
        int64_t d = element(a, i) - element(b, i);
        count += d != 0;
        *most = d > *most ? d : -d > *most ? -d : *most;
    }
    return count;
}

/* v and up carry factors on both sides when all four groups are smoothed. */
static bool has_two_factors(const recipe *r, const char *name) {
    return r->smoothed && strstr(r->folder, "itersmooth") && (strstr(name, ".v_proj.") || strstr(name, ".up_proj."));
}

static void compare(const recipe *r, const gs_shards *ours, const gs_shards *theirs) {
    int exact = 0, near = 0;
    int64_t worst_ulp = 0, codes = 0;
    for (size_t i = 0; i < gs_shards_count(theirs); i++) {
        const gs_tensor *t = gs_shards_at(theirs, i), *o = gs_shards_find(ours, t->name);
        int64_t most;
        if (is_extra(t)) continue;
        if (!o) fail_msg("%s: we do not write %s", r->folder, t->name);
        assert_int_equal(o->dtype, t->dtype);
        assert_int_equal(o->ndim, t->ndim);
        for (int d = 0; d < t->ndim; d++) assert_int_equal(o->shape[d], t->shape[d]);
        if (memcmp(o->data, t->data, t->bytes) == 0) {
            exact++;
            continue;
        }
        int64_t count = differences(t, o, &most);
        if (!has_two_factors(r, t->name))
            fail_msg("%s: %s: %d values differ, by up to %d", r->folder, t->name, (int)count, (int)most);
        near++;
        if (t->dtype == GS_I8) codes += count;
        if (t->dtype == GS_I8) assert_true(most <= 1 && count <= 3);
        else if (t->dtype == GS_I32) assert_true(most <= 3 * 128);
        else worst_ulp = most > worst_ulp ? most : worst_ulp;
    }
    print_message("%s: %d tensors agree, %d are off (scales by %d ulp, %d codes)\n", r->folder, exact, near, (int)worst_ulp,
                  (int)codes);
    assert_true(worst_ulp <= 2);
    assert_int_equal(exact + near, r->exact + r->near);
    assert_true(exact >= r->exact);
}

static const recipe recipes[] = {
    {F32 "static-asym", F32 "static-asym", false, false, 187, 0},
    {F32 "static-sym", F32 "static-sym", true, false, 187, 0},
    {F32 "static-mean", F32 "static-mean", false, false, 187, 0},
    {F32 "dynamic", NULL, false, false, 117, 0},
    {F32 "static-smoothquant05", F32 "static-smoothquant05", false, true, 187, 0},
    {F32 "static-itersmooth05", F32 "static-itersmooth05", false, true, 175, 12},
    {F32 "dynamic-itersmooth09", NULL, false, true, 107, 10},
};

static void msmodelslims_bundles_come_out_again(void **state) {
    (void)state;
    gs_need_data(model, MODEL "/config.json");
    gs_need_data(slim, SLIM "README.md");
    for (size_t i = 0; i < GS_COUNTOF(recipes); i++) {
        const recipe *r = &recipes[i];
        char *dir = gs_test_tmpdir(), path[1100];
        gs_error err = {0};
        gs_safetensors *factors = r->smoothed ? open_factors(r->folder) : NULL;
        gs_model *m = open_model(factors);
        gs_shards *ours, *theirs = open_theirs(r->folder);
        snprintf(path, sizeof path, "%s/bundle", dir);
        write_bundle(r, m, path);
        assert_ok(gs_shards_open_dir(path, "quant_model_weights", &ours, &err), &err);
        compare(r, ours, theirs);
        gs_shards_close(ours);
        gs_shards_close(theirs);
        gs_model_close(m);
        gs_safetensors_close(factors);
        gs_test_rmdir(dir);
    }
}

/* ---- v and up, in their order ---- */

/* Rows of a float linear with their factors in their order: row first. */
static void rows_their_way(const gs_safetensors *factors, const gs_tensor *w, int layer, bool up, float *out) {
    gs_error err = {0};
    float by_row[WIDEST], by_column[WIDEST];
    int64_t rows = w->shape[0], cols = w->shape[1];
    assert_true(slim_factors(factors, layer, up ? 3 : 1, by_row) && slim_factors(factors, layer, up ? 2 : 0, by_column));
    assert_ok(gs_tensor_read_f32(w, 0, rows, out, &err), &err);
    for (int64_t i = 0; i < rows * cols; i++) out[i] = out[i] * (1.0f / by_row[i / cols]) * by_column[i % cols];
}

static void compare_rows(const gs_shards *theirs, const char *name, int64_t rows, int64_t cols, const float *w) {
    char key[160];
    gs_row_rule rule = {.convention = GS_SCALE_ASCEND, .compute = GS_F32};
    snprintf(key, sizeof key, "%s.weight", name);
    const gs_tensor *q = gs_shards_find(theirs, key);
    snprintf(key, sizeof key, "%s.weight_scale", name);
    const gs_tensor *scale = gs_shards_find(theirs, key);
    snprintf(key, sizeof key, "%s.deq_scale", name);
    const gs_tensor *deq = gs_shards_find(theirs, key);
    snprintf(key, sizeof key, "%s.quant_bias", name);
    const gs_tensor *bias = gs_shards_find(theirs, key);
    gs_act_params act = {0};
    if (deq) {
        snprintf(key, sizeof key, "%s.input_scale", name);
        memcpy(&act.scale, gs_shards_find(theirs, key)->data, 4);
        snprintf(key, sizeof key, "%s.input_offset", name);
        memcpy(&act.offset, gs_shards_find(theirs, key)->data, 4);
    }
    for (int64_t r = 0; r < rows; r++) {
        gs_error err = {0};
        gs_row_stats stats = {0};
        int8_t codes[WIDEST];
        float s, d, scratch[WIDEST], want = 0;
        int32_t b;
        assert_true(gs_row_quantize(&rule, cols, w + r * cols, codes, &s, scratch, &stats));
        assert_memory_equal(codes, q->data + r * cols, (size_t)cols);
        if (scale) memcpy(&want, scale->data + 4 * r, 4);
        if (scale) assert_true(s == want);
        if (!deq) continue;
        assert_ok(gs_static_constants(act, s, 0, cols, codes, name, r, &d, &b, &err), &err);
        memcpy(&want, deq->data + 8 * r, 4);
        assert_true(d == want);
        assert_int_equal(b, element(bias, r));
    }
}

static void rows_with_two_factors_agree_in_their_order(void **state) {
    (void)state;
    gs_need_data(model, MODEL "/model.safetensors");
    gs_need_data(slim, SLIM "README.md");
    static const char *const folders[] = {F32 "static-itersmooth05", F32 "dynamic-itersmooth09"};
    gs_error err = {0};
    gs_safetensors *source;
    assert_ok(gs_safetensors_open(model, &source, &err), &err);
    for (size_t f = 0; f < GS_COUNTOF(folders); f++) {
        gs_safetensors *factors = open_factors(folders[f]);
        gs_shards *theirs = open_theirs(folders[f]);
        for (int k = 0; k < 2 * LAYERS; k++) {
            char name[128], key[160];
            snprintf(name, sizeof name, "model.layers.%d.%s", k / 2, k % 2 ? "mlp.up_proj" : "self_attn.v_proj");
            snprintf(key, sizeof key, "%s.weight", name);
            const gs_tensor *w = tensor(source, key);
            float rows[WIDEST * 64];
            rows_their_way(factors, w, k / 2, k % 2, rows);
            compare_rows(theirs, name, w->shape[0], w->shape[1], rows);
        }
        gs_shards_close(theirs);
        gs_safetensors_close(factors);
    }
    gs_safetensors_close(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(msmodelslims_bundles_come_out_again),
        cmocka_unit_test(rows_with_two_factors_agree_in_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
