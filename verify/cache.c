/* Scales of an int8 key-value cache (AB 3.7). */
#include <verify/subject.h>

#include <base/half.h>
#include <base/mem.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The linear that makes an input of the attention, through what only rotates it. */
static const gs_node *maker_of(const gs_edge *edge) {
    const gs_node *node = edge->producer;
    while (node && node->op == GS_OP_ROPE) node = node->input[0]->producer;
    return node && node->op == GS_OP_LINEAR ? node : NULL;
}

static gs_status check_values(gs_subject *s, const gs_tensor *t, bool offset, gs_error *err) {
    float *v = NULL;
    gs_status status = gs_read_floats(t, &v, err);
    for (int64_t i = 0; status == GS_OK && i < gs_tensor_count(t); i++) {
        float r = gs_round_to(s->dtype, v[i]);
        bool fine = offset ? v[i] == 0 : v[i] > 0 && isfinite(r) && r > 0;
        if (!gs_report_that(&s->report, GS_CHECK_KV_CACHE, fine, t->name, "[%lld] is %g, expected %s", (long long)i, (double)v[i],
                            offset ? "0" : "a positive number"))
            break;
    }
    gs_free(v);
    return status;
}

static gs_status check_one(gs_subject *s, const gs_node *linear, const char *suffix, int64_t width, gs_error *err) {
    char name[400];
    const gs_dtype wanted[] = {GS_F32, s->dtype == GS_F32 ? GS_DTYPE_NONE : s->dtype, GS_DTYPE_NONE};
    snprintf(name, sizeof name, "%s.%s", linear->name, suffix);
    gs_stored *t = gs_subject_find(s, name);
    if (!gs_report_that(&s->report, GS_CHECK_KV_CACHE, t != NULL, name, "it is missing, while other cache scales are stored"))
        return GS_OK;
    t->known = true;
    const char *value = gs_described(s, name);
    gs_report_that(&s->report, GS_CHECK_DESCRIPTION_VALUE, strcmp(value, "C8") == 0, name, "described as '%.40s', expected C8", value);
    int64_t n = t->t->ndim == 1 && t->t->shape[0] == 1 ? 1 : width;
    if (!gs_verify_tensor(s, t, wanted, 1, n, 0)) return GS_OK;
    return check_values(s, t->t, strstr(suffix, "offset") != NULL, err);
}

static gs_status check_attention(gs_subject *s, const gs_node *attention, gs_error *err) {
    int64_t width = attention->attr.attention.kv_heads * attention->attr.attention.head_dim;
    for (int i = 1; i <= 2; i++) {
        const gs_node *linear = maker_of(attention->input[i]);
        if (!linear) continue;
        GS_TRY(check_one(s, linear, "kv_cache_scale", width, err));
        GS_TRY(check_one(s, linear, "kv_cache_offset", width, err));
    }
    return GS_OK;
}

static gs_status check_segment(gs_subject *s, int segment, gs_error *err) {
    gs_net *net = NULL;
    gs_status status = gs_subject_net(s, segment, &net, err);
    for (int n = 0; status == GS_OK && n < gs_net_node_count(net); n++) {
        const gs_node *node = gs_net_node(net, n);
        if (node->op == GS_OP_ATTENTION) status = check_attention(s, node, err);
    }
    gs_net_destroy(net);
    return status;
}

gs_status gs_verify_cache(gs_subject *s, gs_error *err) {
    bool any = false;
    for (size_t i = 0; i < s->tensors && !any; i++) any = strstr(s->tensor[i].t->name, ".kv_cache_") != NULL;
    for (int i = 0; any && i < s->segments; i++) GS_TRY(check_segment(s, i, err));
    return GS_OK;
}
