/* Linears of one input: every server fuses some of them (q, k, v; gate, up). */
#include <base/mem.h>
#include <deploy/stored.h>

#include <string.h>

/* The first value of a param that is there. */
static gs_status first_value(const gs_param *p, float *out, gs_error *err) {
    float *v;
    int64_t n;
    GS_TRY(gs_encode_read(p, &v, &n, err));
    *out = n ? v[0] : 0;
    gs_free(v);
    return GS_OK;
}

static gs_status same_value(const gs_node *a, const gs_node *b, gs_role role, gs_error *err) {
    const gs_param *p = a->param[role], *q = b->param[role];
    float x = 0, y = 0; /* an offset that is not stored is 0 */
    if ((p && !gs_param_ready(p)) || (q && !gs_param_ready(q))) return GS_OK;
    if (p) GS_TRY(first_value(p, &x, err));
    if (q) GS_TRY(first_value(q, &y, err));
    if (memcmp(&x, &y, sizeof x) == 0 || (x == 0 && y == 0)) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' and '%s' are computed together, but their %s are %.9g and %.9g", a->name,
                   b->name, gs_role_name(role), (double)x, (double)y);
}

static gs_status same_treatment(const gs_node *a, const gs_node *b, gs_error *err) {
    gs_scheme s = gs_node_scheme(a);
    if (s != gs_node_scheme(b)) {
        GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is %s and '%s' is %s: servers compute them together, as one type", a->name,
                gs_scheme_name(s), b->name, gs_scheme_name(gs_node_scheme(b)));
        return gs_error_hint(err, "put every linear that reads '%s' in the blacklist, or none", a->input[0]->name);
    }
    if (!gs_scheme_is_static(s)) return GS_OK;
    GS_TRY(same_value(a, b, GS_ROLE_INPUT_SCALE, err));
    return same_value(a, b, GS_ROLE_INPUT_OFFSET, err);
}

/* Against the first linear of the same input; the head is fused with nothing. */
static gs_status permits_group(const gs_bundle_options *o, const gs_net *net, const gs_node *node, gs_error *err) {
    for (int i = 0;; i++) {
        const gs_node *other = gs_net_consumer(net, node->input[0], i);
        if (!other || other == node) return GS_OK;
        if (!gs_node_is_linear(other) || (o->head && strcmp(other->name, o->head) == 0)) continue;
        return same_treatment(other, node, err);
    }
}

gs_status gs_permits_fused(const gs_bundle_options *o, const gs_net *segment, gs_error *err) {
    for (int i = 0; i < gs_net_node_count(segment); i++) {
        const gs_node *node = gs_net_node(segment, i);
        if (!gs_node_is_linear(node) || (o->head && strcmp(node->name, o->head) == 0)) continue;
        GS_TRY(permits_group(o, segment, node, err));
    }
    return GS_OK;
}
