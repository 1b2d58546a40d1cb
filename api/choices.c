#include <api/choices.h>

#include <api/calibration.h>
#include <api/output.h>
#include <base/nearest.h>
#include <base/numbers.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { W8A16, W8A8, W8A8_DYNAMIC, W8A8_MIX, FLOATING };
static const char *const schemes[] = {"w8a16", "w8a8", "w8a8-dynamic", "w8a8-mix", "float"};
static const gs_scheme scheme_of[] = {GS_SCHEME_W8A16, GS_SCHEME_W8A8, GS_SCHEME_W8A8_DYNAMIC, GS_SCHEME_W8A8_MIX,
                                      GS_SCHEME_FLOAT};
static const char *const conventions[] = {"ascend", "goldenstick"};
static const char *const dtypes[] = {"auto", "f16", "bf16", "f32"};
static const gs_dtype dtype_of[] = {GS_DTYPE_NONE, GS_F16, GS_BF16, GS_F32};
static const char *const observers[] = {"minmax", "percentile", "mse"};
static const char *const compats[] = {"none", "msmodelslim-v1", "msmodelslim-v0", "goldenstick"}; /* by gs_compat */
static const char *const automatic[] = {"auto"}, *const none[] = {"none"};
static const double DEFAULT_PERCENTILE = 99.99, DEFAULT_THRESHOLD = 0.02, DEFAULT_SHARE = 0.05;

static bool is_static(int scheme) { return scheme == W8A8 || scheme == W8A8_MIX; }
static bool has_int8_activations(int scheme) { return is_static(scheme) || scheme == W8A8_DYNAMIC; }

static gs_status read_alpha(const gs_quantize_options *o, int scheme, gs_choices *c, gs_error *err) {
    const char *word = o->alpha;
    double value = 0;
    if (!word) word = has_int8_activations(scheme) && c->has_data && !c->config.compat ? "auto" : "none";
    c->smooth.smoothing = GS_SMOOTHING_NONE;
    if (strcmp(word, "auto") == 0) {
        c->smooth.smoothing = GS_SMOOTHING_AUTO;
    } else if (strcmp(word, "none") != 0) {
        if (!gs_number_double(word, &value) || !(value >= 0 && value <= 1))
            return GS_FAIL(err, GS_E_INVALID, "alpha '%.40s' is not none, auto or a number between 0 and 1", word);
        c->smooth.smoothing = GS_SMOOTHING_FIXED;
        c->smooth.alpha = (float)value;
    }
    if (c->smooth.smoothing != GS_SMOOTHING_NONE) {
        if (!has_int8_activations(scheme))
            return GS_FAIL(err, GS_E_INVALID, "alpha is for int8 activations (w8a8, w8a8-dynamic, w8a8-mix), not %s", schemes[scheme]);
        c->config.outliers_suppression = GS_OUTLIERS_SMOOTH;
        c->needs_data = true;
    }
    if (c->smooth.smoothing == GS_SMOOTHING_FIXED)
        snprintf(c->alpha, sizeof c->alpha, "%.9g", value);
    else
        snprintf(c->alpha, sizeof c->alpha, "%s", word);
    return GS_OK;
}

static gs_status read_observer(const gs_quantize_options *o, int scheme, gs_choices *c, gs_error *err) {
    int range;
    GS_TRY(gs_choose("observer", o->observer, observers, GS_COUNTOF(observers), &range, err));
    c->smooth.range = (gs_range_rule)range;
    c->smooth.percentile = o->percentile != 0 ? o->percentile : DEFAULT_PERCENTILE;
    c->smooth.act_symmetric = o->act_symmetric;
    if (is_static(scheme)) {
        if (o->percentile == 0 || c->smooth.range == GS_RANGE_PERCENTILE) return GS_OK;
        return GS_FAIL(err, GS_E_INVALID, "percentile %g is for the observer 'percentile', not '%s'", o->percentile,
                       observers[range]);
    }
    if (o->observer || o->act_symmetric || o->percentile != 0)
        return GS_FAIL(err, GS_E_INVALID, "observer, percentile and act_symmetric are for static activations (w8a8), not %s",
                       schemes[scheme]);
    return GS_OK;
}

static bool is_word(const gs_quantize_options *o, const char *word) {
    return o->fallback && o->fallback_count == 1 && strcmp(o->fallback[0], word) == 0;
}

static gs_status check_words(const gs_quantize_options *o, gs_error *err) {
    for (size_t i = 0; i < o->fallback_count; i++) {
        const char *word = o->fallback[i];
        if (strcmp(word, "auto") == 0 || strcmp(word, "none") == 0 || !*word)
            return GS_FAIL(err, GS_E_INVALID, "fallback '%s' cannot stand in a list of names", word);
    }
    return GS_OK;
}

static gs_status read_fallback(const gs_quantize_options *o, int scheme, gs_choices *c, gs_error *err) {
    gs_smooth_quant_options *s = &c->smooth;
    s->fallback_share = o->fallback_share != 0 ? o->fallback_share : DEFAULT_SHARE;
    bool given = o->fallback && o->fallback_count > 0;
    s->fallback_threshold = o->fallback_threshold != 0 ? o->fallback_threshold : DEFAULT_THRESHOLD;
    if (!given)
        s->fallback = is_static(scheme) && !c->config.compat ? GS_FALLBACK_AUTO : GS_FALLBACK_NONE;
    else if (is_word(o, "auto"))
        s->fallback = GS_FALLBACK_AUTO;
    else if (is_word(o, "none"))
        s->fallback = GS_FALLBACK_NONE;
    else
        s->fallback = GS_FALLBACK_LIST;
    if (s->fallback == GS_FALLBACK_LIST) {
        GS_TRY(check_words(o, err));
        s->fallback_list = o->fallback;
        s->fallback_count = o->fallback_count;
    }
    if (s->fallback != GS_FALLBACK_NONE) c->needs_data = true;
    if (!(s->fallback_threshold > 0) || !isfinite(s->fallback_threshold))
        return GS_FAIL(err, GS_E_INVALID, "a fallback threshold of %g is not a number above 0", o->fallback_threshold);
    if (!(s->fallback_share > 0 && s->fallback_share <= 1))
        return GS_FAIL(err, GS_E_INVALID, "a fallback share of %g is not above 0 and at most 1", o->fallback_share);
    for (int i = 0; i < GS_SCHEME_COUNT; i++)
        if (gs_target_permits(c->target, scheme_of[scheme], (gs_scheme)i)) s->fallback_schemes |= 1u << i;
    s->experts_alike = gs_target_has_vllm(c->target);
    return GS_OK;
}

static gs_status check_data(const gs_quantize_options *o, int scheme, const gs_choices *c, gs_error *err) {
    if (o->stats && o->calibrate.calib)
        return GS_FAIL(err, GS_E_INVALID, "statistics and a calibration set exclude each other");
    if (o->sequential && !o->calibrate.calib)
        return GS_FAIL(err, GS_E_INVALID, "sequential calibration needs a calibration set, not statistics");
    if (o->sequential && o->refine)
        return GS_FAIL(err, GS_E_INVALID, "sequential and refine exclude each other: refinement reads its samples twice");
    if (!c->needs_data || c->has_data) return GS_OK;
    bool cache = c->config.kvcache_quant_dtype != GS_QUANT_NONE;
    bool fallback = c->smooth.fallback != GS_FALLBACK_NONE && !is_static(scheme);
    GS_FAIL(err, GS_E_INVALID, "%s%s%s%s%s needs calibration data", schemes[scheme],
            c->smooth.smoothing != GS_SMOOTHING_NONE ? " with smoothing" : "", o->refine ? " with refinement" : "",
            fallback ? " with a fallback" : "", cache ? " with an int8 cache" : "");
    return gs_error_hint(err, "give a text with --calib FILE, or the result of 'gstick calibrate' with --stats");
}

static gs_ptq_config config_of(int scheme) {
    gs_ptq_config c = scheme == W8A16 || scheme == FLOATING ? gs_ptq_config_w8a16() : gs_ptq_config_w8a8(scheme == W8A8_DYNAMIC);
    if (scheme == FLOATING) c.weight_quant_dtype = GS_QUANT_NONE;
    c.mixed = scheme == W8A8_MIX;
    return c;
}

static gs_status read_cache(const gs_quantize_options *o, gs_choices *c, gs_error *err) {
    bool cache;
    GS_TRY(gs_calibration_cache(&o->calibrate, &cache, err));
    if (!cache) return GS_OK;
    c->config.kvcache_quant_dtype = GS_QUANT_INT8;
    c->needs_data = true;
    return GS_OK;
}

static gs_status read_group(const gs_quantize_options *o, int scheme, gs_choices *c, gs_error *err) {
    if (o->group_size == 0) return GS_OK;
    if (o->group_size < 0 || scheme != W8A16)
        return GS_FAIL(err, GS_E_INVALID, "groups of %lld columns: a group size is for w8a16", (long long)o->group_size);
    if (o->refine) return GS_FAIL(err, GS_E_INVALID, "refine and group_size exclude each other: refinement is of whole rows");
    if (c->target != GS_TARGET_MINDIE && (!o->format || strcmp(o->format, "ascend") == 0)) {
        GS_FAIL(err, GS_E_INVALID, "vllm-ascend loads one scale a row, none for groups of %lld columns", (long long)o->group_size);
        return gs_error_hint(err, "--target mindie, or another --format");
    }
    c->config.weight_quant_granularity = GS_PER_GROUP;
    c->config.group_size = o->group_size;
    return GS_OK;
}

/* What the tools do not do is refused; what is left open is as with them. */
static gs_status read_compat(const gs_quantize_options *o, int scheme, gs_choices *c, gs_error *err) {
    int tool;
    GS_TRY(gs_choose("compat", o->compat, compats, GS_COUNTOF(compats), &tool, err));
    c->config.compat = (gs_compat)tool;
    if (tool == GS_COMPAT_NONE) return GS_OK;
    bool stick = tool == GS_COMPAT_GOLDENSTICK, automatic_alpha = o->alpha && strcmp(o->alpha, "auto") == 0;
    bool clipped = o->observer && strcmp(o->observer, "minmax") != 0;
    bool searched = is_word(o, "auto");
    if (automatic_alpha || clipped || searched || o->refine || o->group_size || (scheme == W8A8_MIX && tool != GS_COMPAT_MSMODELSLIM_V1)) {
        GS_FAIL(err, GS_E_INVALID, "compat %s is for the tool's own min-max arithmetic, not for %s", compats[tool],
                automatic_alpha ? "alpha auto" : clipped ? "a clipping observer" : searched ? "fallback auto"
                : o->refine ? "refine" : o->group_size ? "groups" : schemes[scheme]);
        return gs_error_hint(err, automatic_alpha ? "give --alpha none or a number, or leave --compat away"
                                                  : "leave it or --compat away");
    }
    if (o->scale_convention && stick != (c->config.scale_convention == GS_SCALE_GOLDENSTICK))
        return GS_FAIL(err, GS_E_INVALID, "compat %s and scale convention %s contradict each other", compats[tool], o->scale_convention);
    c->config.scale_convention = stick ? GS_SCALE_GOLDENSTICK : GS_SCALE_ASCEND;
    return GS_OK;
}

gs_status gs_choices_read(const gs_quantize_options *o, gs_choices *out, gs_error *err) {
    int scheme, convention, dtype, target;
    GS_TRY(gs_choose("scheme", o->scheme, schemes, GS_COUNTOF(schemes), &scheme, err));
    GS_TRY(gs_choose("scale convention", o->scale_convention, conventions, GS_COUNTOF(conventions), &convention, err));
    GS_TRY(gs_choose("dtype", o->dtype, dtypes, GS_COUNTOF(dtypes), &dtype, err));
    GS_TRY(gs_choose("target", o->target, gs_target_names, GS_TARGET_COUNT, &target, err));
    gs_choices c = {.dtype = dtype_of[dtype], .target = (gs_target)target};
    c.config = config_of(scheme);
    c.config.scale_convention = convention ? GS_SCALE_GOLDENSTICK : GS_SCALE_ASCEND;
    c.has_data = o->stats || o->calibrate.calib;
    if (scheme == FLOATING && o->refine) return GS_FAIL(err, GS_E_INVALID, "there is nothing to refine in a float bundle");
    c.needs_data = is_static(scheme) || o->refine;
    c.smooth.refine = o->refine;
    GS_TRY(read_compat(o, scheme, &c, err));
    GS_TRY(read_group(o, scheme, &c, err));
    if (o->blacklist) {
        c.config.opname_blacklist = o->blacklist;
        c.config.opname_blacklist_count = o->blacklist_count;
    }
    GS_TRY(read_alpha(o, scheme, &c, err));
    GS_TRY(read_observer(o, scheme, &c, err));
    GS_TRY(read_fallback(o, scheme, &c, err));
    c.linears_need_data = c.needs_data;
    GS_TRY(read_cache(o, &c, err));
    GS_TRY(check_data(o, scheme, &c, err));
    GS_TRY(gs_ptq_config_check(&c.config, err));
    GS_TRY(gs_output_shard_bytes(o->max_shard_size, &c.max_shard_bytes, err));
    *out = c;
    return GS_OK;
}

gs_status gs_choices_take_format(gs_choices *c, const gs_quantize_options *o, const gs_bundle_format *format, gs_error *err) {
    gs_ptq_config *p = &c->config;
    int convention;
    if (format->scale_dtype == GS_F16) p->scale_dtype = GS_F16;
    if (format->scale_convention && !o->scale_convention && !p->compat) {
        GS_TRY(gs_choose("scale convention", format->scale_convention, conventions, GS_COUNTOF(conventions), &convention, err));
        p->scale_convention = convention ? GS_SCALE_GOLDENSTICK : GS_SCALE_ASCEND;
    }
    if (!format->group_size || p->group_size || gs_ptq_config_scheme(p) != GS_SCHEME_W8A16) return GS_OK;
    if (c->smooth.refine || p->compat)
        return GS_FAIL(err, GS_E_INVALID, "%s stores a scale for each %lld columns: refine and compat are of whole rows",
                       format->name, (long long)format->group_size);
    p->weight_quant_granularity = GS_PER_GROUP;
    p->group_size = format->group_size;
    return gs_ptq_config_check(p, err);
}

gs_quantize_options gs_choices_effective(const gs_choices *c, const gs_quantize_options *o, const char *format) {
    gs_quantize_options e = *o;
    gs_scheme scheme = gs_ptq_config_scheme(&c->config);
    for (size_t i = 0; i < GS_COUNTOF(schemes); i++)
        if (scheme_of[i] == scheme) e.scheme = schemes[i];
    e.group_size = c->config.group_size;
    e.compat = c->config.compat ? compats[c->config.compat] : NULL;
    if (c->config.kvcache_quant_dtype == GS_QUANT_NONE) e.calibrate.kv_cache = NULL;
    e.format = format;
    e.target = gs_target_names[c->target];
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++)
        if (dtype_of[i] == c->config.compute) e.dtype = dtypes[i];
    e.scale_convention = conventions[c->config.scale_convention == GS_SCALE_GOLDENSTICK];
    e.blacklist = c->config.opname_blacklist;
    e.blacklist_count = c->config.opname_blacklist_count;
    e.alpha = c->alpha;
    if (gs_scheme_is_static(scheme)) e.observer = observers[c->smooth.range];
    if (c->smooth.range == GS_RANGE_PERCENTILE) e.percentile = c->smooth.percentile;
    if (c->smooth.fallback != GS_FALLBACK_LIST) {
        e.fallback = c->smooth.fallback == GS_FALLBACK_AUTO ? automatic : none;
        e.fallback_count = 1;
    }
    if (c->smooth.fallback != GS_FALLBACK_NONE) e.fallback_threshold = c->smooth.fallback_threshold;
    if (c->smooth.fallback == GS_FALLBACK_AUTO) e.fallback_share = c->smooth.fallback_share;
    e.max_shard_size = (int64_t)c->max_shard_bytes;
    return e;
}

/* ---- what only the model or the data can tell ---- */

static bool names_a_linear(const gs_net *net, const char *word) {
    for (int i = 0; i < gs_net_node_count(net); i++) {
        const gs_node *node = gs_net_node(net, i);
        if (node->op == GS_OP_LINEAR && strstr(node->name, word)) return true;
    }
    return false;
}

static gs_status find_word(const gs_model *m, const char *word, gs_error *err) {
    for (int i = 0; i < gs_model_segments(m); i++) {
        gs_net *net;
        GS_TRY(gs_model_segment(m, i, &net, err));
        bool found = names_a_linear(net, word);
        gs_net_destroy(net);
        if (found) return GS_OK;
    }
    GS_FAIL(err, GS_E_INVALID, "fallback '%.100s' is in no linear's name", word);
    return gs_error_hint(err, "auto, none, or parts of names, which 'gstick inspect MODEL --segment 1' shows");
}

gs_status gs_choices_check_names(const gs_choices *c, const gs_model *model, gs_error *err) {
    for (size_t i = 0; i < c->smooth.fallback_count; i++) GS_TRY(find_word(model, c->smooth.fallback_list[i], err));
    return GS_OK;
}

void gs_choices_take_calibration(const gs_statistics_info *about, gs_quantize_options *effective) {
    gs_calibrate_options *c = &effective->calibrate;
    c->samples = about->sequences;
    c->seq = about->length;
    c->seed = (int64_t)about->seed;
    c->skip_tokens = about->skip_tokens;
    c->sample_rows = about->sample_rows;
    c->calib_dtype = about->compute;
    c->store = about->store;
}
