#include <network/net_private.h>

#include <base/mem.h>
#include <network/ops/op.h>

#include <string.h>

static gs_status check_shape(const char *name, gs_dtype dtype, int ndim, const int64_t *shape,
                             gs_error *err) {
    if (ndim < 0 || ndim > GS_MAX_DIMS)
        return GS_FAIL(err, GS_E_INVALID, "param '%s' of %d dimensions", name, ndim);
    uint64_t count = 1, bytes;
    bool fits = gs_dtype_block(dtype) > 0;
    for (int i = 0; i < ndim && fits; i++)
        fits = shape[i] >= 0 && !__builtin_mul_overflow(count, (uint64_t)shape[i], &count);
    fits = fits && count <= INT64_MAX && gs_dtype_bytes(dtype, count, &bytes) && bytes <= PTRDIFF_MAX;
    char text[256];
    if (!fits)
        return GS_FAIL(err, GS_E_INVALID, "param '%s' cannot be %s%s", name, gs_dtype_name(dtype),
                       gs_shape_text(ndim, shape, text, sizeof text));
    return GS_OK;
}

gs_status gs_param_create(gs_role role, const char *name, gs_dtype dtype, int ndim,
                          const int64_t *shape, const void *data, gs_param **out, gs_error *err) {
    GS_TRY(check_shape(name, dtype, ndim, shape, err));
    gs_param *p = gs_calloc(1, sizeof *p);
    if (!p) return gs_error_nomem(err, sizeof *p);
    p->role = role;
    p->dtype = dtype;
    p->ndim = ndim;
    for (int i = 0; i < ndim; i++) p->shape[i] = shape[i];
    p->name = gs_strdup(name);
    gs_status status = p->name ? GS_OK : gs_error_nomem(err, strlen(name) + 1);
    if (status == GS_OK && data) status = gs_param_allocate(p, err);
    if (status != GS_OK) {
        gs_param_destroy(p);
        return status;
    }
    if (data) memcpy(p->data, data, (size_t)gs_param_bytes(p));
    *out = p;
    return GS_OK;
}

void gs_param_destroy(gs_param *p) {
    if (!p) return;
    gs_free(p->name);
    gs_free(p->data);
    gs_free(p->row_factor);
    gs_free(p->col_factor);
    gs_free(p);
}

void gs_node_param_put(gs_node *node, gs_param *param) {
    gs_param_destroy(gs_node_param_detach(node, param->role));
    node->param[param->role] = param;
}

gs_param *gs_node_param_detach(gs_node *node, gs_role role) {
    if ((unsigned)role >= GS_ROLE_COUNT) return NULL;
    gs_param *p = node->param[role];
    node->param[role] = NULL;
    gs_op_release(node); /* it may borrow the param's bytes */
    return p;
}

static gs_status check_role(const gs_net *net, const gs_node *node, gs_role role, gs_error *err) {
    if ((unsigned)role >= GS_ROLE_COUNT)
        return GS_FAIL(err, GS_E_INVALID, "'%s': param role %d", node->name, (int)role);
    if (gs_net_position(net, node) < 0)
        return GS_FAIL(err, GS_E_INVALID, "node '%s' is not of net '%s'", node->name, net->name);
    return GS_OK;
}

gs_status gs_net_param_view(gs_net *net, gs_node *node, gs_role role, const gs_tensor *source,
                            gs_error *err) {
    GS_TRY(check_role(net, node, role, err));
    gs_param *p;
    GS_TRY(gs_param_create(role, source->name, source->dtype, source->ndim, source->shape, NULL, &p,
                           err));
    p->source = source;
    gs_node_param_put(node, p);
    return GS_OK;
}

gs_status gs_net_param_new(gs_net *net, gs_node *node, gs_role role, const char *name, gs_dtype dtype,
                           int ndim, const int64_t *shape, const void *data, gs_error *err) {
    GS_TRY(check_role(net, node, role, err));
    gs_param *p;
    GS_TRY(gs_param_create(role, name, dtype, ndim, shape, data, &p, err));
    gs_node_param_put(node, p);
    return GS_OK;
}

gs_status gs_param_allocate(gs_param *p, gs_error *err) {
    if (gs_param_ready(p)) return GS_OK;
    p->data = gs_alloc((size_t)gs_param_bytes(p));
    return p->data ? GS_OK : gs_error_nomem(err, (size_t)gs_param_bytes(p));
}

int64_t gs_param_count(const gs_param *p) {
    int64_t count = 1;
    for (int i = 0; i < p->ndim; i++) count *= p->shape[i];
    return count;
}

bool gs_param_ready(const gs_param *p) { return p->data || p->source; }

uint64_t gs_param_bytes(const gs_param *p) {
    uint64_t bytes = 0;
    /* checked when the param was made */
    return gs_dtype_bytes(p->dtype, (uint64_t)gs_param_count(p), &bytes) ? bytes : 0;
}

void gs_param_matrix(const gs_param *p, int64_t *rows, int64_t *cols) {
    *rows = 1;
    *cols = p->ndim ? p->shape[p->ndim - 1] : 1;
    for (int i = 0; i + 1 < p->ndim; i++) *rows *= p->shape[i];
}

const void *gs_param_stored(const gs_param *p) {
    if (p->row_factor || p->col_factor) return NULL;
    if (!p->source) return p->data;
    bool plain = p->source->order == GS_ROWS_AS_STORED && p->source->codes == GS_CODES_PLAIN;
    return plain ? p->source->data : NULL;
}

/* The tensor to read from: the view, or one made over the owned bytes, or NULL when there are
 * none. A view's messages carry the tensor's own name, so that a copy of the struct may outlive
 * the node. */
static const gs_tensor *readable(const gs_param *p, gs_tensor *own) {
    if (p->source) return p->source;
    *own = (gs_tensor){.name = p->name, .dtype = p->dtype, .ndim = p->ndim, .data = p->data,
                       .bytes = gs_param_bytes(p), .order = GS_ROWS_AS_STORED};
    memcpy(own->shape, p->shape, sizeof own->shape);
    return p->data ? own : NULL;
}

static gs_status no_values(const gs_param *p, gs_error *err) {
    return GS_FAIL(err, GS_E_INVALID, "param '%s' has no values yet", p->name);
}

gs_status gs_param_read_f32(const gs_param *p, int64_t row0, int64_t nrows, float *dst, gs_error *err) {
    gs_tensor own;
    const gs_tensor *t = readable(p, &own);
    if (!t) return no_values(p, err);
    GS_TRY(gs_tensor_read_f32(t, row0, nrows, dst, err));
    gs_param_apply_factors(p, row0, nrows, dst);
    return GS_OK;
}

gs_status gs_param_read_16(const gs_param *p, gs_dtype dtype, int64_t row0, int64_t nrows, uint16_t *dst,
                           gs_error *err) {
    gs_tensor own;
    const gs_tensor *t = readable(p, &own);
    if (!t) return no_values(p, err);
    if (p->row_factor || p->col_factor) return gs_param_read_scaled_16(p, dtype, row0, nrows, dst, err);
    return gs_tensor_read_16(t, dtype, row0, nrows, dst, err);
}

gs_status gs_param_read_s8(const gs_param *p, int64_t row0, int64_t nrows, int8_t *dst, gs_error *err) {
    gs_tensor own;
    const gs_tensor *t = readable(p, &own);
    if (!t) return no_values(p, err);
    if (p->row_factor || p->col_factor)
        return GS_FAIL(err, GS_E_INVALID, "param '%s' has factors: its values are no codes", p->name);
    return gs_tensor_read_s8(t, row0, nrows, dst, err);
}
