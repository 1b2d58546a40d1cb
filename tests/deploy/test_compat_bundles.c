/* Bundles of msModelSlim, tensor by tensor and bit by bit, from the f32 model with `compat` (ptq/compat_quant.h): every
 * linear is quantized as its folder's description says, in the folder's dtype, with the tool's arithmetic. Static input
 * scales come from the ranges that the tool had (extras), or where those are not kept, from the bundle itself; smoothing
 * factors from the extras. */
#include "reference_files.h"

#include <base/affix.h>
#include <base/half.h>
#include <base/json.h>
#include <dirent.h>
#include <math.h>
#include <ptq/compat_quant.h>
#include <ptq/compat_smooth.h>
#include <ptq/linear_batch.h>
#include <ptq/smooth_quant.h>

#define V1 GS_COMPAT_MSMODELSLIM_V1
#define V0 GS_COMPAT_MSMODELSLIM_V0
#define STEM "stories260K-"

typedef struct folder {
    const char *name;
    gs_compat tool;
    gs_dtype r;
    gs_scheme scheme;
    const char *ranges; /* "" : the bundle's own input scales; NULL: none are needed */
    bool symmetric, smoothed;
    int exact;          /* tensors that agree */
} folder;

static const folder table[] = {
    {"f32-v1-w8a16", V1, GS_F32, GS_SCHEME_W8A16, NULL, false, false, 118},
    {"f16-v1-w8a16", V1, GS_F16, GS_SCHEME_W8A16, NULL, false, false, 118},
    {"bf16-v1-w8a16", V1, GS_BF16, GS_SCHEME_W8A16, NULL, false, false, 118},
    {"f32-v1-w8a16-onefile", V1, GS_F32, GS_SCHEME_W8A16, NULL, false, false, 118},
    {"f32-v1-w8a16-c8", V1, GS_F32, GS_SCHEME_W8A16, NULL, false, false, 118},
    {"f32-v1-float-c8", V1, GS_F32, GS_SCHEME_FLOAT, NULL, false, false, 48},
    {"f32-v1-w8a8-dynamic", V1, GS_F32, GS_SCHEME_W8A8_DYNAMIC, NULL, false, false, 118},
    {"f16-v1-w8a8-dynamic", V1, GS_F16, GS_SCHEME_W8A8_DYNAMIC, NULL, false, false, 118},
    {"bf16-v1-w8a8-dynamic", V1, GS_BF16, GS_SCHEME_W8A8_DYNAMIC, NULL, false, false, 118},
    {"f32-v1-w8a8-dynamic-itersmooth09", V1, GS_F32, GS_SCHEME_W8A8_DYNAMIC, NULL, false, true, 118},
    {"f32-v1-w8a8-static-asym", V1, GS_F32, GS_SCHEME_W8A8, "f32-v1-w8a8-static-asym", false, false, 188},
    {"f16-v1-w8a8-static-asym", V1, GS_F16, GS_SCHEME_W8A8, "f16-v1-w8a8-static-asym", false, false, 188},
    {"bf16-v1-w8a8-static-asym", V1, GS_BF16, GS_SCHEME_W8A8, "bf16-v1-w8a8-static-asym", false, false, 188},
    {"f32-v1-w8a8-static-sym", V1, GS_F32, GS_SCHEME_W8A8, "f32-v1-w8a8-static-sym", true, false, 188},
    {"f32-v1-w8a8-static-mean", V1, GS_F32, GS_SCHEME_W8A8, "f32-v1-w8a8-static-mean", false, false, 188},
    {"f32-v1-w8a8-static-smoothquant05", V1, GS_F32, GS_SCHEME_W8A8, "f32-v1-w8a8-static-smoothquant05", false, true, 188},
    {"f32-v1-w8a8-static-itersmooth05", V1, GS_F32, GS_SCHEME_W8A8, "f32-v1-w8a8-static-itersmooth05", false, true, 188},
    {"f32-v1-w8a8-static-histogram", V1, GS_F32, GS_SCHEME_W8A8, "", false, false, 188},
    {"f32-v1-w8a8-static-asym-bias", V1, GS_F32, GS_SCHEME_W8A8, "", false, false, 208},
    {"f32-v1-w8a8-static-downfloat", V1, GS_F32, GS_SCHEME_W8A8, "", false, false, 168},
    {"f32-v1-w8a8-mix", V1, GS_F32, GS_SCHEME_W8A8_MIX, "", false, false, 258},
    {"f32-v0-w8a16", V0, GS_F32, GS_SCHEME_W8A16, NULL, false, false, 118},
    {"f16-v0-w8a16", V0, GS_F16, GS_SCHEME_W8A16, NULL, false, false, 118},
    {"bf16-v0-w8a16", V0, GS_BF16, GS_SCHEME_W8A16, NULL, false, false, 118},
    {"f32-v0-w8a16-c8", V0, GS_F32, GS_SCHEME_W8A16, NULL, false, false, 118},
    {"f32-v0-w8a8-dynamic", V0, GS_F32, GS_SCHEME_W8A8_DYNAMIC, NULL, false, false, 118},
    {"f32-v0-w8a8-static", V0, GS_F32, GS_SCHEME_W8A8, "", false, false, 258},
    {"f16-v0-w8a8-static", V0, GS_F16, GS_SCHEME_W8A8, "", false, false, 258},
    {"bf16-v0-w8a8-static", V0, GS_BF16, GS_SCHEME_W8A8, "", false, false, 258},
};

/* ---- theirs ---- */

/* The one safetensors file of a folder. */
static gs_safetensors *open_bundle(const char *name) {
    char where[256], file[1400] = "";
    gs_error err = {0};
    gs_safetensors *st;
    snprintf(where, sizeof where, SLIM STEM "%s/", name);
    const char *path = gs_test_data(where);
    if (!path) fail_msg("%s is not there", name);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (gs_ends_with(e->d_name, ".safetensors")) snprintf(file, sizeof file, "%s%s", path, e->d_name);
    closedir(d);
    assert_ok(gs_safetensors_open(file, &st, &err), &err);
    return st;
}

static const gs_tensor *of_node(const gs_safetensors *st, const gs_node *node, const char *what) {
    char name[256];
    snprintf(name, sizeof name, "%s.%s", node->name, what);
    return gs_safetensors_find(st, name);
}

static float scalar_of(const gs_tensor *t) {
    gs_error err = {0};
    float x;
    assert_ok(gs_tensor_read_f32(t, 0, 1, &x, &err), &err);
    return x;
}

/* ---- ours ---- */

typedef struct run {
    const folder *f;
    const gs_safetensors *theirs;
    gs_safetensors *factors;
    cJSON *ranges;
    uint8_t *met; /* a tensor of theirs */
    int exact;
} run;

static gs_act_params act_of(const run *r, const gs_node *node) {
    if (!r->f->ranges) return (gs_act_params){0};
    if (!r->f->ranges[0])
        return (gs_act_params){scalar_of(of_node(r->theirs, node, "input_scale")), scalar_of(of_node(r->theirs, node, "input_offset"))};
    gs_error err = {0};
    double lo, hi;
    const cJSON *range = gs_json_get(gs_json_get(r->ranges, "linears"), node->name);
    assert_non_null(range);
    assert_ok(gs_json_double(range, "min", &lo, &err), &err);
    assert_ok(gs_json_double(range, "max", &hi, &err), &err);
    return gs_compat_act(r->f->tool, r->f->r, (float)lo, (float)hi, r->f->symmetric);
}

static void take_bias(const run *r, gs_net *net, gs_node *node) {
    gs_error err = {0};
    const gs_tensor *bias = of_node(r->theirs, node, "bias");
    if (bias) assert_ok(gs_net_param_new(net, node, GS_ROLE_BIAS, bias->name, GS_F32, 1, bias->shape, bias->data, &err), &err);
}

static void plan_linears(const run *r, gs_net *net, gs_linear_batch *batch) {
    gs_error err = {0};
    for (int i = 0; i < gs_net_node_count(net); i++) {
        gs_node *node = gs_net_node(net, i);
        if (node->op != GS_OP_LINEAR) continue;
        const gs_tensor *weight = of_node(r->theirs, node, "weight");
        gs_linear_decision d = {.scheme = weight && weight->dtype == GS_I8 ? r->f->scheme : GS_SCHEME_FLOAT,
                                .compute = r->f->r, .scale_dtype = GS_DTYPE_NONE, .compat = r->f->tool, .alpha = NAN,
                                .output_error = NAN};
        if (d.scheme != GS_SCHEME_FLOAT) {
            d.act = act_of(r, node);
            take_bias(r, net, node);
        }
        assert_ok(gs_linear_batch_plan(batch, net, node, &d, &err), &err);
    }
}

static void smooth(const run *r, gs_net *net) {
    gs_error err = {0};
    gs_edge_groups groups;
    if (!r->factors) return;
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    for (int i = 0; i < groups.count; i++) {
        float s[WIDEST];
        const gs_edge_group *g = &groups.group[i];
        int kind = kind_of(g);
        if (kind >= 0 && slim_factors(r->factors, layer_of(net), kind, s))
            assert_ok(gs_compat_fold(r->f->tool, r->f->r, net, g, s, &err), &err);
    }
    gs_edge_groups_clear(&groups);
}

/* ---- comparing ---- */

static void compare_bytes(run *r, const gs_param *p, const gs_tensor *t) {
    if (p->dtype != t->dtype || p->ndim != t->ndim || memcmp(p->shape, t->shape, (size_t)t->ndim * sizeof *t->shape) != 0)
        fail_msg("%s: %s is of another type or shape", r->f->name, t->name);
    if (memcmp(p->data, t->data, t->bytes) != 0) fail_msg("%s: %s differs", r->f->name, t->name);
}

static void compare_floats(run *r, const gs_param *p, const gs_tensor *t) {
    gs_error err = {0};
    int64_t rows, cols;
    gs_param_matrix(p, &rows, &cols);
    gs_dtype stored = p->role == GS_ROLE_BIAS ? GS_F32 : r->f->r;
    assert_int_equal(t->dtype, stored);
    assert_int_equal(gs_tensor_count(t), rows * cols);
    for (int64_t i = 0; i < rows; i++) {
        float ours[WIDEST], theirs[WIDEST];
        assert_ok(gs_param_read_f32(p, i, 1, ours, &err), &err);
        assert_ok(gs_tensor_read_f32(t, i, 1, theirs, &err), &err);
        for (int64_t j = 0; j < cols; j++)
            if (gs_round_to(stored, ours[j]) != theirs[j]) fail_msg("%s: %s differs in row %d", r->f->name, t->name, (int)i);
    }
}

static void compare_param(run *r, const gs_param *p) {
    for (size_t i = 0; i < gs_safetensors_count(r->theirs); i++) {
        const gs_tensor *t = gs_safetensors_at(r->theirs, i);
        if (strcmp(t->name, p->name) != 0) continue;
        bool integers = t->dtype == GS_I8 || t->dtype == GS_I32 || t->dtype == GS_I64;
        if (integers || gs_ends_with(t->name, "_scale") || gs_ends_with(t->name, "_offset")) compare_bytes(r, p, t);
        else compare_floats(r, p, t);
        r->exact += !r->met[i];
        r->met[i] = 1;
        return;
    }
    fail_msg("%s: they do not write %s", r->f->name, p->name);
}

static void compare_segment(run *r, gs_context *cx, gs_net *net, gs_linear_batch *batch) {
    gs_error err = {0};
    gs_comp_algo algo = {0};
    smooth(r, net);
    plan_linears(r, net, batch);
    assert_ok(gs_linear_batch_convert(batch, &algo, cx, NULL, NULL, &err), &err);
    gs_summary_clear(&algo.summary);
    for (int i = 0; i < gs_net_node_count(net); i++)
        for (int role = 0; role < GS_ROLE_COUNT; role++) {
            const gs_param *p = gs_net_node(net, i)->param[role];
            if (p) compare_param(r, p);
        }
}

/* What we have no params for: a tied head, biases of norms that are all zero, the cache's scales. */
static void check_the_rest(const run *r) {
    for (size_t i = 0; i < gs_safetensors_count(r->theirs); i++) {
        const gs_tensor *t = gs_safetensors_at(r->theirs, i);
        if (r->met[i] || strstr(t->name, "kv_cache_")) continue;
        if (strcmp(t->name, "lm_head.weight") == 0) {
            assert_memory_equal(t->data, tensor(r->theirs, "model.embed_tokens.weight")->data, t->bytes);
            continue;
        }
        if (!gs_ends_with(t->name, "norm.bias")) fail_msg("%s: we do not write %s", r->f->name, t->name);
        for (uint64_t b = 0; b < t->bytes; b++) assert_int_equal(t->data[b], 0);
    }
}

static void compare_folder(const folder *f, const gs_model *m) {
    gs_error err = {0};
    gs_context cx = {0};
    gs_linear_batch *batch;
    char name[160];
    gs_safetensors *theirs = open_bundle(f->name);
    run r = {.f = f, .theirs = theirs};
    r.met = calloc(gs_safetensors_count(theirs), 1);
    assert_non_null(r.met);
    snprintf(name, sizeof name, STEM "%s", f->name);
    if (f->smoothed) r.factors = open_factors(name);
    if (f->ranges && f->ranges[0]) {
        snprintf(name, sizeof name, SLIM "extras/" STEM "%s/activation-ranges.json", f->ranges);
        assert_non_null(gs_test_data(name));
        assert_ok(gs_json_load(gs_test_data(name), 1 << 24, &r.ranges, &err), &err);
    }
    assert_ok(gs_linear_batch_create(&batch, &err), &err);
    for (int i = 0; i < gs_model_segments(m); i++) {
        gs_net *net;
        assert_ok(gs_model_segment(m, i, &net, &err), &err);
        compare_segment(&r, &cx, net, batch);
        gs_net_destroy(net);
    }
    check_the_rest(&r);
    print_message("%s: %d of %d tensors agree\n", f->name, r.exact, (int)gs_safetensors_count(theirs));
    assert_int_equal(r.exact, f->exact);
    gs_linear_batch_destroy(batch);
    gs_safetensors_close(theirs);
    gs_safetensors_close(r.factors);
    cJSON_Delete(r.ranges);
    free(r.met);
}

static void msmodelslims_tensors_come_out_bit_by_bit(void **state) {
    (void)state;
    gs_need_data(model, MODEL "/config.json");
    gs_need_data(slim, SLIM "README.md");
    gs_model *m = open_model(NULL);
    for (size_t i = 0; i < GS_COUNTOF(table); i++) compare_folder(&table[i], m);
    gs_model_close(m);
}

/* ---- through the algorithm, from maxima of the activations alone ---- */

/* A gs_observer_source: rows of +max and -max. */
typedef struct maxima {
    gs_safetensors *factors;
    const gs_net *net; /* of the segment in hand */
} maxima;

static gs_status from_maxima(void *ctx, const char *edge, gs_observer *out, gs_error *err) {
    static const char *const names[] = {"norm-linear.attn", "ov", "norm-linear.mlp", "up-down"};
    const maxima *x = ctx;
    gs_edge_groups groups;
    float rows[2 * WIDEST];
    char name[128] = "";
    GS_TRY(gs_edge_groups_find(x->net, &groups, err));
    for (int i = 0; i < groups.count; i++)
        if (strcmp(groups.group[i].edge->name, edge) == 0)
            snprintf(name, sizeof name, "model.layers.%d.%s.act_absmax", layer_of(x->net), names[kind_of(&groups.group[i])]);
    gs_edge_groups_clear(&groups);
    int64_t width = values(x->factors, name, rows);
    for (int64_t j = 0; j < width; j++) rows[width + j] = -rows[j];
    GS_TRY(gs_observer_init(out, edge, width, 0, err));
    return gs_observer_see(out, NULL, 0, 2, rows, err);
}

/* How far our tensors of a segment are from theirs, which start from other powers. */
typedef struct distance {
    int64_t norm_ulps, scale_ulps, codes, all_codes;
} distance;

static void measure(const gs_safetensors *theirs, const gs_net *net, distance *d) {
    gs_error err = {0};
    for (int i = 0; i < gs_net_node_count(net); i++) {
        const gs_node *node = gs_net_node(net, i);
        const gs_param *weight = node->param[GS_ROLE_WEIGHT];
        float ours[WIDEST], want[WIDEST];
        if (node->op == GS_OP_RMSNORM) {
            assert_ok(gs_param_read_f32(weight, 0, 1, ours, &err), &err);
            int64_t n = values(theirs, weight->name, want);
            for (int64_t j = 0; j < n; j++) d->norm_ulps = ulps(ours[j], want[j]) > d->norm_ulps ? ulps(ours[j], want[j]) : d->norm_ulps;
        }
        if (node->op != GS_OP_QLINEAR) continue;
        const gs_tensor *t = tensor(theirs, weight->name), *scale = of_node(theirs, node, "weight_scale");
        for (int64_t r = 0; r < t->shape[0]; r++) {
            assert_ok(gs_tensor_read_f32(scale, r, 1, want, &err), &err);
            int64_t u = ulps(((const float *)node->param[GS_ROLE_WEIGHT_SCALE]->data)[r], want[0]);
            d->scale_ulps = u > d->scale_ulps ? u : d->scale_ulps;
        }
        for (int64_t k = 0; k < gs_tensor_count(t); k++) {
            int64_t off = ((const int8_t *)weight->data)[k] - (int8_t)t->data[k];
            assert_true(off >= -1 && off <= 1);
            d->codes += off != 0;
        }
        d->all_codes += gs_tensor_count(t);
    }
}

/* The order of V1: pairs of linears first, with signed maxima, then the norms, whose maxima see the rows of up and v that were
 * changed. Only the powers differ, by an ulp. */
static void v1s_iterative_smoothing_comes_out_of_the_algorithm(void **state) {
    (void)state;
    gs_need_data(model, MODEL "/config.json");
    gs_need_data(slim, SLIM "README.md");
    gs_error err = {0};
    gs_context cx = {0};
    gs_comp_algo *algo;
    gs_ptq_config config = gs_ptq_config_w8a8(true);
    gs_smooth_quant_options options = {.smoothing = GS_SMOOTHING_FIXED, .alpha = 0.9f};
    maxima source = {.factors = open_factors(F32 "dynamic-itersmooth09")};
    gs_safetensors *theirs = open_bundle("f32-v1-w8a8-dynamic-itersmooth09");
    gs_model *m = open_model(NULL);
    distance d = {0};
    config.compute = GS_F32;
    config.compat = V1;
    config.outliers_suppression = GS_OUTLIERS_SMOOTH;
    assert_ok(gs_smooth_quant_create(&config, &options, from_maxima, &source, &algo, &err), &err);
    for (int layer = 0; layer < LAYERS; layer++) {
        gs_net *net, *fresh;
        assert_ok(gs_model_segment(m, layer + 1, &net, &err), &err);
        source.net = net;
        assert_ok(gs_comp_algo_decide(algo, &cx, net, &err), &err);
        assert_ok(gs_model_segment(m, layer + 1, &fresh, &err), &err);
        for (int i = 0; i < gs_net_node_count(net); i++) /* deciding changed nothing */
            if (gs_net_node(net, i)->param[GS_ROLE_WEIGHT]) assert_null(gs_net_node(net, i)->param[GS_ROLE_WEIGHT]->row_factor);
        assert_ok(gs_comp_algo_apply(algo, fresh, &err), &err);
        assert_ok(gs_comp_algo_convert(algo, &cx, fresh, &err), &err);
        measure(theirs, fresh, &d);
        gs_net_destroy(fresh);
        gs_net_destroy(net);
    }
    print_message("norms within %d ulp, scales within %d, %d of %d codes differ\n", (int)d.norm_ulps, (int)d.scale_ulps, (int)d.codes,
                  (int)d.all_codes);
    assert_true(d.norm_ulps <= 4 && d.scale_ulps <= 5 && d.codes * 10000 < d.all_codes);
    assert_true(d.all_codes > 200000);
    gs_comp_algo_destroy(algo);
    gs_safetensors_close(theirs);
    gs_safetensors_close(source.factors);
    gs_model_close(m);
}

/* ---- Golden Stick ---- */

typedef struct stick {
    const char *file, *prefix; /* of the names of its tensors */
    const char *constants;     /* prefix of deq_scale and quant_bias; NULL: none */
    gs_dtype r;
    bool smoothed;
    int layers, linears;
} stick;

#define STICK "reference/goldenstick/"
static const stick sticks[] = {
    {STICK "bundles/w8a16-f32/quant-model-00001-of-00001.safetensors", "", NULL, GS_F32, false, LAYERS, 35},
    {STICK "bundles/w8a16-f16.layer0.safetensors", "", NULL, GS_F16, false, 1, 7},
    {STICK "bundles/w8a8-dynamic-f32.layer0.safetensors", "", NULL, GS_F32, false, 1, 7},
    {STICK "bundles/w8a8-static-nosmooth-f32-none.layer0.safetensors", "", NULL, GS_F32, false, 1, 7},
    {STICK "smooth/w8a8_smooth_layer0_f32.safetensors", "none.", "ascend.", GS_F32, true, 1, 7},
    {STICK "smooth/w8a8_smooth_layer0_f16.safetensors", "none.", "ascend.", GS_F16, true, 1, 7},
};

static const gs_tensor *stick_tensor(const gs_safetensors *st, const char *prefix, const gs_node *node, const char *what) {
    char name[256];
    snprintf(name, sizeof name, "%s%s.%s", prefix, node->name, what);
    return gs_safetensors_find(st, name);
}

static void stick_smooth(const stick *s, const gs_safetensors *st, gs_net *net) {
    static const char *const names[] = {"qkv.s", "o.s", "gate_up.s", "down.s"};
    gs_error err = {0};
    gs_edge_groups groups;
    assert_ok(gs_edge_groups_find(net, &groups, &err), &err);
    for (int i = 0; i < groups.count; i++) {
        const gs_edge_group *g = &groups.group[i];
        float wide[WIDEST], f[WIDEST];
        assert_int_equal(values(st, names[kind_of(g)], wide), g->width); /* those of o are spread over all heads */
        for (int64_t j = 0; j < g->width; j++) f[g->site.map[j]] = wide[j];
        assert_ok(gs_compat_fold(GS_COMPAT_GOLDENSTICK, s->r, net, g, f, &err), &err);
    }
    gs_edge_groups_clear(&groups);
}

static void stick_constants(const stick *s, const gs_safetensors *st, const gs_node *node, int64_t r) {
    const gs_tensor *deq = stick_tensor(st, s->constants, node, "deq_scale"), *bias = stick_tensor(st, s->constants, node, "quant_bias");
    uint32_t ours = (uint32_t)((const int64_t *)node->param[GS_ROLE_DEQ_SCALE]->data)[r], theirs;
    memcpy(&theirs, deq->data + 4 * r, 4);
    if (ours != theirs) fail_msg("%s: deq_scale of %s, row %d", s->file, node->name, (int)r);
    assert_int_equal(((const int32_t *)node->param[GS_ROLE_QUANT_BIAS]->data)[r], element(bias, r));
}

static void stick_linear(const stick *s, const gs_safetensors *st, const gs_node *node) {
    gs_error err = {0};
    const gs_tensor *q = stick_tensor(st, s->prefix, node, "weight"), *scale = stick_tensor(st, s->prefix, node, "weight_scale");
    float want[WIDEST];
    assert_int_equal(scale->dtype, s->r);
    assert_ok(gs_tensor_read_f32(scale, 0, 1, want, &err), &err);
    if (memcmp(node->param[GS_ROLE_WEIGHT]->data, q->data, q->bytes) != 0) fail_msg("%s: codes of %s differ", s->file, node->name);
    for (int64_t r = 0; r < q->shape[0]; r++) {
        if (((const float *)node->param[GS_ROLE_WEIGHT_SCALE]->data)[r] != want[r])
            fail_msg("%s: scale %d of %s is %.9g", s->file, (int)r, node->name, (double)want[r]);
        if (s->constants) stick_constants(s, st, node, r);
    }
}

static int stick_layer(const stick *s, const gs_safetensors *st, gs_net *net) {
    gs_error err = {0};
    gs_context cx = {0};
    gs_comp_algo algo = {0};
    gs_linear_batch *batch;
    int linears = 0;
    assert_ok(gs_linear_batch_create(&batch, &err), &err);
    if (s->smoothed) stick_smooth(s, st, net);
    for (int i = 0; i < gs_net_node_count(net); i++) {
        gs_node *node = gs_net_node(net, i);
        if (node->op != GS_OP_LINEAR) continue;
        gs_linear_decision d = {.scheme = s->constants ? GS_SCHEME_W8A8 : GS_SCHEME_W8A16, .convention = GS_SCALE_GOLDENSTICK,
                                .compute = s->r, .compat = GS_COMPAT_GOLDENSTICK, .alpha = NAN, .output_error = NAN};
        if (s->constants)
            d.act = (gs_act_params){scalar_of(stick_tensor(st, "none.", node, "input_scale")),
                                    (float)element(stick_tensor(st, "none.", node, "input_offset"), 0)};
        assert_ok(gs_linear_batch_plan(batch, net, node, &d, &err), &err);
    }
    assert_ok(gs_linear_batch_convert(batch, &algo, &cx, NULL, NULL, &err), &err);
    for (int i = 0; i < gs_net_node_count(net); i++) {
        const gs_node *node = gs_net_node(net, i);
        float ours[WIDEST], want[WIDEST];
        if (node->op == GS_OP_QLINEAR) {
            stick_linear(s, st, node);
            linears++;
        } else if (node->op == GS_OP_RMSNORM) {
            assert_ok(gs_param_read_f32(node->param[GS_ROLE_WEIGHT], 0, 1, ours, &err), &err);
            assert_ok(gs_tensor_read_f32(stick_tensor(st, s->prefix, node, "weight"), 0, 1, want, &err), &err);
            for (int j = 0; j < 64; j++) assert_true(gs_round_to(s->r, ours[j]) == want[j]);
        }
    }
    gs_summary_clear(&algo.summary);
    gs_linear_batch_destroy(batch);
    return linears;
}

static void golden_sticks_bundles_come_out_bit_by_bit(void **state) {
    (void)state;
    gs_need_data(model, MODEL "/config.json");
    gs_need_data(first, STICK "README.md");
    gs_model *m = open_model(NULL);
    for (size_t i = 0; i < GS_COUNTOF(sticks); i++) {
        const stick *s = &sticks[i];
        gs_error err = {0};
        gs_safetensors *st;
        int linears = 0;
        assert_ok(gs_safetensors_open(gs_test_data(s->file), &st, &err), &err);
        for (int layer = 0; layer < s->layers; layer++) {
            gs_net *net;
            assert_ok(gs_model_segment(m, layer + 1, &net, &err), &err);
            linears += stick_layer(s, st, net);
            gs_net_destroy(net);
        }
        print_message("%s: %d linears agree\n", s->file, linears);
        assert_int_equal(linears, s->linears);
        gs_safetensors_close(st);
    }
    gs_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(msmodelslims_tensors_come_out_bit_by_bit),
        cmocka_unit_test(v1s_iterative_smoothing_comes_out_of_the_algorithm),
        cmocka_unit_test(golden_sticks_bundles_come_out_bit_by_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
