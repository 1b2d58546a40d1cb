#include <deploy/ascend_rules.h>

#include <deploy/stored.h>
#include <network/routing.h>

#include <string.h>

/* ---- one node ---- */

static gs_status permits_310p(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    if (o->target != GS_TARGET_310P) return GS_OK;
    if (o->dtype != GS_F16) {
        GS_FAIL(err, GS_E_UNSUPPORTED, "310P computes in float16 only, this bundle would be %s", gs_dtype_torch_name(o->dtype));
        return gs_error_hint(err, "--dtype f16 when quantizing");
    }
    if (node->param[GS_ROLE_CACHE_SCALE])
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': vllm-ascend has no int8 key-value cache on 310P", node->name);
    gs_scheme s = gs_node_scheme(node);
    if (gs_target_permits(o->target, s, s)) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': vllm-ascend has no %s on 310P", node->name, gs_scheme_name(s));
}

static gs_status permits_groups(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    int64_t n, k, groups = gs_node_groups(node);
    if (groups <= 1) return GS_OK;
    gs_node_weight_shape(node, &n, &k);
    if (gs_target_has_vllm(o->target)) {
        GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': vllm-ascend takes one weight scale a row, there are %lld", node->name,
                (long long)groups);
        return gs_error_hint(err, "--target mindie, or scales per channel");
    }
    int64_t size = k / groups;
    if (size == 64 || size == 128 || size == 256) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': MindIE takes groups of 64, 128 or 256, these are of %lld", node->name,
                   (long long)size);
}

/* MindIE negates a stored offset, vllm-ascend does not: only zero means the same to both. */
static gs_status permits_offsets(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    const gs_param *offset = node->param[GS_ROLE_WEIGHT_OFFSET];
    if (!offset || !gs_target_has_vllm(o->target) || !gs_values_nonzero(offset)) return GS_OK;
    GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': its weights have offsets, whose sign vllm-ascend takes otherwise", node->name);
    return gs_error_hint(err, "--target mindie, or symmetric weights");
}

static gs_status permits_cache(const gs_node *node, gs_error *err) {
    const gs_param *offset = node->param[GS_ROLE_CACHE_OFFSET];
    if (!offset || !gs_values_nonzero(offset)) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': the offset of a key-value cache is not read when decoding, it must be 0",
                   node->name);
}

gs_status gs_ascend_permits(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    GS_TRY(permits_310p(o, node, err));
    GS_TRY(permits_cache(node, err));
    if (node->op != GS_OP_QLINEAR) return GS_OK;
    gs_scheme s = node->attr.quant.scheme;
    if (s != GS_SCHEME_W8A16 && s != GS_SCHEME_W8A8 && s != GS_SCHEME_W8A8_DYNAMIC && s != GS_SCHEME_W8A8_MIX)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': ascend bundles of this version carry no %s", node->name, gs_scheme_name(s));
    GS_TRY(gs_permits_qlinear(node, err));
    GS_TRY(permits_groups(o, node, err));
    return permits_offsets(o, node, err);
}

/* ---- nodes that belong together ---- */

static gs_status permits_norm(const gs_bundle_options *o, const gs_net *net, const gs_node *norm, gs_error *err) {
    if (norm->op != GS_OP_RMSNORM || !norm->param[GS_ROLE_BIAS] || gs_norm_bias_is_idle(norm)) return GS_OK;
    for (int i = 0;; i++) {
        const gs_node *reader = gs_net_consumer(net, norm->output, i);
        if (!reader && i > 0) return GS_OK;
        if (reader && gs_node_scheme(reader) == GS_SCHEME_W8A8) continue;
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' has a bias, which %s loads for static W8A8 linears alone; '%s' reads it",
                       norm->name, gs_target_has_mindie(o->target) ? "MindIE" : "no server", reader ? reader->name : "the output");
    }
}

/* What a linear is an expert's of: the routing; NULL: of none. */
static const gs_edge *routing_of(const gs_node *node) {
    const gs_node *select = gs_node_is_linear(node) ? gs_routed_select(node->input[0]) : NULL;
    return select ? select->input[1] : NULL;
}

/* vllm-ascend asks the first expert for the type of all. */
static gs_status permits_experts(const gs_bundle_options *o, const gs_net *net, gs_error *err) {
    const gs_node *first = NULL;
    if (!gs_target_has_vllm(o->target)) return GS_OK;
    for (int i = 0; i < gs_net_node_count(net); i++) {
        const gs_node *node = gs_net_node(net, i);
        if (!routing_of(node)) continue;
        if (!first || routing_of(first) != routing_of(node)) first = node;
        if (gs_node_scheme(first) == gs_node_scheme(node)) continue;
        GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is %s and '%s' is %s: vllm-ascend takes the experts of a layer as one type",
                first->name, gs_scheme_name(gs_node_scheme(first)), node->name, gs_scheme_name(gs_node_scheme(node)));
        return gs_error_hint(err, "more calibration tokens reach every expert; or --fallback none, --scheme w8a8-dynamic, "
                                  "--target mindie");
    }
    return GS_OK;
}

gs_status gs_ascend_permits_segment(const gs_bundle_options *o, const gs_net *segment, gs_error *err) {
    for (int i = 0; i < gs_net_node_count(segment); i++) GS_TRY(permits_norm(o, segment, gs_net_node(segment, i), err));
    GS_TRY(permits_experts(o, segment, err));
    return gs_permits_fused(o, segment, err);
}

/* ---- the whole ---- */

/* The first tensor of a type, as an example. */
static const char *example(const gs_bundle_writer *w, const char *type) {
    for (size_t i = 0; i < gs_bundle_writer_count(w); i++) {
        const char *t, *name = gs_bundle_writer_tensor(w, i, &t);
        if (strcmp(t, type) == 0) return name;
    }
    return "?";
}

gs_status gs_ascend_permits_bundle(const gs_bundle_writer *w, gs_error *err) {
    const gs_bundle_options *o = gs_bundle_writer_options(w);
    const gs_bundle_facts *f = gs_bundle_writer_facts(w);
    for (int s = 0; s < GS_SCHEME_COUNT; s++) {
        const char *name = gs_scheme_name((gs_scheme)s);
        if (!(f->schemes >> s & 1) || gs_target_permits(o->target, f->dominant, (gs_scheme)s)) continue;
        GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is %s in a bundle of %s, MindIE takes one type beside FLOAT", example(w, name),
                name, gs_scheme_name(f->dominant));
        return gs_error_hint(err, "--target vllm-ascend");
    }
    if (f->mixed_groups)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "an ascend bundle has one group size, the linears here differ in it");
    return GS_OK;
}
