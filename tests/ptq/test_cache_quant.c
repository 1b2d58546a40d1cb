/* The int8 key-value cache as a stage around an algorithm: scales against what msModelSlim wrote, and its structure. */
#include "../deploy/reference_files.h"
#include "../network/nets.h"
#include "../tiny_model.h"

#include <base/json.h>
#include <base/mem.h>
#include <calibrate/stream.h>
#include <math.h>
#include <ptq/act_quant.h>
#include <ptq/cache_quant.h>
#include <ptq/round_to_nearest.h>

#define FLOAT_C8 SLIM "stories260K-f32-v1-float-c8/quant_model_weights-00001-of-00001.safetensors"

static gs_status from_set(void *ctx, const char *edge, gs_observer *out, gs_error *err) {
    gs_observer_set *set = ctx;
    for (int i = 0; i < set->count; i++) {
        gs_observer *o = &set->observer[i];
        if (!o->name || strcmp(o->name, edge) != 0) continue;
        *out = *o;
        *o = (gs_observer){0};
        return GS_OK;
    }
    return GS_FAIL(err, GS_E_INVALID, "no '%s'", edge);
}

static gs_comp_algo *cached_rtn(const gs_ptq_config *config, gs_observer_source *source, void *ctx) {
    gs_error err = {0};
    gs_comp_algo *inner, *algo;
    assert_ok(gs_round_to_nearest_create(config, &inner, &err), &err);
    assert_ok(gs_cache_quant_create(config, inner, source, ctx, &algo, &err), &err);
    assert_ptr_equal(gs_cache_quant_inner(algo), inner);
    assert_ptr_equal(gs_cache_quant_inner(inner), inner);
    return algo;
}

/* ---- against msModelSlim ---- */

/* Its last calibration text: it forgets the others. */
static void last_text(gs_corpus *c) {
    gs_error err = {0};
    cJSON *json;
    assert_ok(gs_json_load(gs_test_data(SLIM "source/calibration.json"), 1 << 20, &json, &err), &err);
    const cJSON *texts = gs_json_get(json, "input_ids"), *ids = cJSON_GetArrayItem(texts, cJSON_GetArraySize(texts) - 1);
    int n = cJSON_GetArraySize(ids);
    *c = (gs_corpus){.ids = malloc((size_t)n * 4), .starts = calloc(2, sizeof *c->starts), .sequences = 1, .tokens = n};
    assert_true(c->ids && c->starts);
    for (int i = 0; i < n; i++) c->ids[i] = (int32_t)cJSON_GetArrayItem(ids, i)->valuedouble;
    c->starts[1] = n;
    cJSON_Delete(json);
}

static void compare_scales(const gs_safetensors *theirs, const gs_net *net, double *worst, int *nodes) {
    for (int i = 0; i < gs_net_node_count(net); i++) {
        const gs_node *node = gs_net_node(net, i);
        float want[WIDEST];
        if (node->op != GS_OP_CACHE) continue;
        const gs_param *scale = node->param[GS_ROLE_CACHE_SCALE], *offset = node->param[GS_ROLE_CACHE_OFFSET];
        assert_int_equal(values(theirs, scale->name, want), gs_param_count(scale));
        for (int64_t j = 0; j < gs_param_count(scale); j++)
            *worst = fmax(*worst, fabs(1 - (double)((const float *)scale->data)[j] / (double)want[j]));
        assert_int_equal(values(theirs, offset->name, want), gs_param_count(offset));
        assert_memory_equal(offset->data, want, gs_param_bytes(offset));
        ++*nodes;
    }
}

static void the_scales_of_a_float_model_are_msmodelslims(void **state) {
    (void)state;
    gs_need_data(model, MODEL "/config.json");
    gs_need_data(file, FLOAT_C8);
    gs_error err = {0};
    gs_context cx = {0};
    gs_safetensors *theirs;
    gs_corpus corpus;
    gs_stream *stream;
    gs_observer_set set = {0};
    gs_ptq_config config = gs_ptq_config_w8a16();
    gs_model *m = open_model(NULL);
    double worst = 0;
    int nodes = 0;
    config.weight_quant_dtype = GS_QUANT_NONE;
    config.kvcache_quant_dtype = GS_QUANT_INT8;
    config.compute = GS_F32;
    config.compat = GS_COMPAT_MSMODELSLIM_V1; /* ours gives keys a wider range */
    assert_ok(gs_safetensors_open(file, &theirs, &err), &err);
    last_text(&corpus);
    gs_stream_options options = {.type = GS_GEMM_F32, .store = GS_F32, .memory = 1 << 24, .skip_tokens = 5, .sample_rows = 8,
                                 .kv_cache = true};
    assert_ok(gs_stream_create(&cx, m, &corpus, &options, &stream, &err), &err);
    gs_comp_algo *algo = cached_rtn(&config, from_set, &set);
    for (int i = 0; i + 1 < gs_model_segments(m); i++) {
        gs_net *net;
        assert_ok(gs_model_segment(m, i, &net, &err), &err);
        gs_observed_edges with, without;
        assert_ok(gs_observed_edges_find(net, true, &with, &err), &err);
        assert_ok(gs_observed_edges_find(net, false, &without, &err), &err);
        assert_int_equal(with.count - without.count, i == 0 ? 0 : 2);
        gs_observed_edges_clear(&with);
        gs_observed_edges_clear(&without);
        assert_ok(gs_stream_observe_and_advance(stream, net, &set, &err), &err);
        for (int e = 0; e < set.count; e++) { /* every token is cached; only linears skip some and keep samples */
            bool linear = set.observer[e].sample_rows > 0;
            assert_int_equal(set.observer[e].rows, corpus.tokens - (linear ? 5 : 0));
        }
        assert_ok(gs_comp_algo_decide(algo, &cx, net, &err), &err);
        assert_ok(gs_comp_algo_apply(algo, net, &err), &err);
        assert_ok(gs_comp_algo_convert(algo, &cx, net, &err), &err);
        compare_scales(theirs, net, &worst, &nodes);
        gs_observer_set_clear(&set);
        gs_net_destroy(net);
    }
    print_message("%d caches, scales within %.2g of theirs\n", nodes, worst);
    assert_int_equal(nodes, 2 * LAYERS);
    assert_true(worst < 1e-5); /* another forward pass */
    assert_int_equal(gs_comp_algo_summary(algo)->count, 7 * LAYERS);
    gs_comp_algo_destroy(algo);
    gs_stream_destroy(stream);
    free(corpus.ids);
    free(corpus.starts);
    gs_safetensors_close(theirs);
    gs_model_close(m);
}

/* ---- structure ---- */

/* Channel j of every edge reaches j + 1; channel 0 is dead. */
static gs_status ramp(void *ctx, const char *edge, gs_observer *out, gs_error *err) {
    float x[2 * WIDEST];
    int64_t width = *(const int64_t *)ctx;
    for (int64_t j = 0; j < width; j++) {
        x[j] = j ? (float)(j + 1) : 0;
        x[width + j] = -x[j] / 2;
    }
    GS_TRY(gs_observer_init(out, edge, width, 0, err));
    gs_status status = gs_observer_see(out, NULL, 0, 2, x, err);
    if (status != GS_OK) gs_observer_clear(out);
    return status;
}

static gs_status run(const gs_ptq_config *config, const gs_model *m, int64_t *width, gs_net **net, gs_error *err) {
    gs_comp_algo *inner, *algo;
    gs_context cx = {0};
    GS_TRY(gs_model_segment(m, 1, net, err));
    gs_status status = gs_round_to_nearest_create(config, &inner, err);
    if (status == GS_OK) status = gs_cache_quant_create(config, inner, ramp, width, &algo, err);
    if (status != GS_OK) {
        gs_net_destroy(*net);
        return status;
    }
    status = gs_comp_algo_decide(algo, &cx, *net, err);
    if (status == GS_OK) status = gs_comp_algo_apply(algo, *net, err);
    if (status == GS_OK) status = gs_comp_algo_convert(algo, &cx, *net, err);
    if (status == GS_OK && gs_comp_algo_summary(algo)->count != 7) status = GS_FAIL(err, GS_E_INVALID, "rows of the summary");
    gs_comp_algo_destroy(algo);
    if (status != GS_OK) gs_net_destroy(*net);
    return status;
}

static void check(const gs_ptq_config *config, const gs_net *net, int64_t width, int64_t head_dim) {
    int caches = 0;
    for (int i = 0; i < gs_net_node_count(net); i++) {
        const gs_node *node = gs_net_node(net, i);
        for (int k = 1; k <= 2 && node->op == GS_OP_ATTENTION; k++) assert_int_equal(node->input[k]->producer->op, GS_OP_CACHE);
        if (node->op != GS_OP_CACHE) continue;
        const gs_param *scale = node->param[GS_ROLE_CACHE_SCALE];
        caches++;
        assert_int_equal(gs_param_count(scale), width);
        assert_non_null(strstr(scale->name, caches == 1 ? "k_proj.kv_cache_scale" : "v_proj.kv_cache_scale"));
        for (int64_t j = 0; j < width; j++) {
            int64_t half = head_dim / 2, other = j % head_dim < half ? j + half : j - half;
            double mine = j ? (double)(j + 1) : 0, its = other ? (double)(other + 1) : 0;
            float m = caches == 1 ? (float)hypot(mine, its) : (float)mine; /* keys turn, values do not */
            assert_true(((const float *)scale->data)[j] == gs_act_params_from_range(-m, m, true, config->compute).scale);
        }
    }
    assert_int_equal(caches, 2);
}

static void keys_and_values_get_a_cache_whatever_the_linears_become(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    gs_error err = {0};
    gs_checkpoint *checkpoint;
    gs_model *m;
    gs_net *net;
    gs_ptq_config config = gs_ptq_config_w8a16();
    config.compute = GS_F16;
    config.kvcache_quant_dtype = GS_QUANT_INT8;
    tiny_model(dir, &tiny_default, 1);
    assert_ok(gs_checkpoint_open(dir, NULL, &checkpoint, &err), &err);
    assert_ok(gs_model_take(checkpoint, NULL, NULL, &m, &err), &err);
    int64_t width = gs_model_settings(m)->kv_heads * gs_model_settings(m)->head_dim;
    assert_ok(run(&config, m, &width, &net, &err), &err);
    check(&config, net, width, gs_model_settings(m)->head_dim);
    gs_net_destroy(net);
    for (int64_t k = 0;; k++) { /* out of memory anywhere: an error and no leak */
        gs_mem_fail_after(k);
        gs_status status = run(&config, m, &width, &net, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) {
            assert_true(k > 20);
            gs_net_destroy(net);
            break;
        }
        assert_int_equal(status, GS_E_NOMEM);
    }
    config.kvcache_quant_dtype = GS_QUANT_NONE;
    assert_fails(run(&config, m, &width, &net, &err), GS_E_INVALID, &err);
    config.kvcache_quant_dtype = GS_QUANT_INT8;
    config.kvcache_quant_granularity = GS_PER_TOKEN;
    assert_fails(run(&config, m, &width, &net, &err), GS_E_INVALID, &err);
    gs_model_close(m);
    gs_test_rmdir(dir);
}

/* ---- what has no place in a bundle ---- */

/* q, k and v are thirds of one linear; with `apart` k and v are of linears of their own. */
static gs_net *fused_net(bool apart) {
    uint64_t seed = 1;
    gs_attr attr = {0};
    gs_node *third[3];
    gs_net *net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 8, 0, 0);
    gs_node *all = gs_new_linear(net, "b.qkv", x, 24, 8, &seed);
    for (int i = 0; i < 3; i++) {
        static const char *const name[] = {"b.q", "b.k", "b.v"};
        attr.slice.start = 8 * i;
        attr.slice.width = 8;
        attr.slice.count = 1;
        third[i] = i && apart ? gs_new_linear(net, name[i], x, 8, 8, &seed)
                              : gs_new_node(net, GS_OP_SLICE, name[i], &attr, all->output, NULL, NULL);
    }
    attr = (gs_attr){.attention = {.heads = 2, .kv_heads = 2, .head_dim = 4, .scale = 0.5f}};
    gs_node *attention = gs_new_node(net, GS_OP_ATTENTION, "b.attention", &attr, third[0]->output, third[1]->output, third[2]->output);
    gs_finish_net(net, attention->output);
    return net;
}

static void a_fused_projection_is_refused_for_what_it_is(void **state) {
    (void)state;
    static const char said[] = "'b.attention': its queries, keys and values are one linear, and bundles have no place for the scales "
                               "of a fused cache";
    gs_error err = {0};
    gs_context cx = {0};
    gs_comp_algo *algo;
    int64_t width = 8;
    gs_net *net = fused_net(false), *apart = fused_net(true);
    gs_ptq_config config = gs_ptq_config_w8a16();
    config.kvcache_quant_dtype = GS_QUANT_INT8;
    algo = cached_rtn(&config, ramp, &width);
    assert_fails(gs_cache_quant_check(net, &err), GS_E_UNSUPPORTED, &err);
    assert_string_equal(err.text, said);
    assert_string_equal(err.hint, "--kv-cache none");
    assert_fails(gs_comp_algo_decide(algo, &cx, net, &err), GS_E_UNSUPPORTED, &err);
    assert_fails(gs_comp_algo_apply(algo, net, &err), GS_E_UNSUPPORTED, &err);
    assert_string_equal(err.text, said);
    assert_ok(gs_cache_quant_check(apart, &err), &err);
    gs_comp_algo_destroy(algo);
    gs_net_destroy(net);
    gs_net_destroy(apart);
    net = gs_new_net("n");
    gs_edge *x = gs_new_input(net, "x", 8, 0, 0);
    gs_new_node(net, GS_OP_ATTENTION, "a", NULL, x, x, x);
    assert_fails(gs_cache_quant_check(net, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "no linear makes its keys"));
    gs_net_destroy(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scales_of_a_float_model_are_msmodelslims),
        cmocka_unit_test(a_fused_projection_is_refused_for_what_it_is),
        cmocka_unit_test(keys_and_values_get_a_cache_whatever_the_linears_become),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
