/* One linear as several, and several as one. The rows of every param go with the output channels they belong to. */
#include <network/rewrite.h>

#include <network/net_private.h>

#include <base/mem.h>

#include <stdio.h>
#include <string.h>

static int64_t rows_of(const gs_node *linear) { return linear->param[GS_ROLE_WEIGHT]->shape[0]; }

/* One value for all rows: scale and offset of the input. */
static bool is_shared(const gs_node *linear, const gs_param *p) {
    return gs_param_count(p) == 1 && p->ndim > 0 && p->shape[0] != rows_of(linear);
}

static gs_status check_rows(const gs_node *linear, const gs_param *p, gs_error *err) {
    if (is_shared(linear, p) || (p->ndim > 0 && p->shape[0] == rows_of(linear))) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "'%s' has not the %lld rows of its linear", p->name, (long long)rows_of(linear));
}

/* What a copy's bytes are: the stored ones where they can be copied, else what the values are read as. */
static gs_dtype copied_dtype(const gs_param *p) {
    return !gs_param_ready(p) || gs_param_stored(p) || p->dtype == GS_I8 ? p->dtype : GS_F32;
}

static uint64_t size_of(const gs_param *p, int64_t rows) {
    uint64_t bytes = 0; /* of part of a param that was checked when it was made */
    int64_t width = gs_param_count(p) / p->shape[0];
    return gs_dtype_bytes(p->dtype, (uint64_t)(rows * width), &bytes) ? bytes : 0;
}

/* A vector is one row of a matrix to the readers. */
static gs_status read_vector(const gs_param *from, int64_t row, int64_t n, float *dst, gs_error *err) {
    float *all = gs_alloc((size_t)from->shape[0] * sizeof *all);
    if (!all) return gs_error_nomem(err, (size_t)from->shape[0] * sizeof *all);
    gs_status status = gs_param_read_f32(from, 0, 1, all, err);
    if (status == GS_OK) memcpy(dst, all + row, (size_t)n * sizeof *all);
    gs_free(all);
    return status;
}

/* Rows [row, row + n) of `from` to `to` from row `at` on; to->dtype is copied_dtype of `from`. */
static gs_status copy_rows(const gs_param *from, int64_t row, int64_t n, gs_param *to, int64_t at, gs_error *err) {
    uint8_t *dst = (uint8_t *)to->data + size_of(to, at);
    const uint8_t *stored = gs_param_stored(from);
    if (stored) memcpy(dst, stored + size_of(from, row), size_of(from, n));
    else if (to->dtype == GS_I8) return gs_param_read_s8(from, row, n, (int8_t *)dst, err);
    else if (from->ndim == 1) return read_vector(from, row, n, (float *)(void *)dst, err);
    else return gs_param_read_f32(from, row, n, (float *)(void *)dst, err);
    return GS_OK;
}

/* Like `from` with `rows` rows, on another node; without bytes. */
static gs_status add_like(gs_net *net, gs_node *node, const gs_param *from, const char *owner, int64_t rows, gs_error *err) {
    char name[512];
    int64_t shape[GS_MAX_DIMS];
    memcpy(shape, from->shape, sizeof shape);
    shape[0] = rows;
    snprintf(name, sizeof name, "%s.%s", owner, gs_role_name(from->role));
    return gs_net_param_new(net, node, from->role, name, copied_dtype(from), from->ndim, shape, NULL, err);
}

/* ---- apart ---- */

static gs_status take_param(gs_net *net, gs_node *part, const gs_attr *slice, const gs_node *linear, const gs_param *p,
                            const char *name, gs_error *err) {
    gs_status status = GS_OK;
    bool shared = is_shared(linear, p);
    GS_TRY(check_rows(linear, p, err));
    GS_TRY(add_like(net, part, p, name, shared ? 1 : slice->slice.count * slice->slice.width, err));
    gs_param *to = part->param[p->role];
    if (!gs_param_ready(p)) return GS_OK;
    GS_TRY(gs_param_allocate(to, err));
    if (shared) return copy_rows(p, 0, 1, to, 0, err);
    for (int64_t i = 0; i < slice->slice.count && status == GS_OK; i++)
        status = copy_rows(p, slice->slice.start + i * slice->slice.stride, slice->slice.width, to, i * slice->slice.width, err);
    return status;
}

static gs_status check_apart(const gs_net *net, const gs_node *linear, gs_node *const *slice, int n, gs_error *err) {
    bool fits = gs_node_is_linear(linear) && linear->output->consumers == n && !linear->output->is_output;
    for (int i = 0; i < n && fits; i++) fits = slice[i] == gs_net_consumer(net, linear->output, i) && slice[i]->op == GS_OP_SLICE;
    return fits ? GS_OK : GS_FAIL(err, GS_E_INVALID, "'%s' is not read by %d slices alone", linear->name, n);
}

gs_status gs_net_split_linear(gs_net *net, gs_node *linear, gs_node *const *slice, const char *const *name, int n,
                              gs_error *err) {
    GS_TRY(check_apart(net, linear, slice, n, err));
    for (int i = 0; i < n; i++) {
        gs_node *part = slice[i];
        gs_attr cut = part->attr;
        GS_TRY(gs_net_replace(net, part, linear->op, &linear->attr, &part, err));
        GS_TRY(gs_net_rename(net, part, name[i], err));
        for (int r = 0; r < GS_ROLE_COUNT; r++)
            if (linear->param[r]) GS_TRY(take_param(net, part, &cut, linear, linear->param[r], name[i], err));
    }
    return gs_net_erase(net, linear, err);
}

/* ---- together ---- */

static bool computes_alike(const gs_node *a, const gs_node *b) {
    const gs_attr *x = &a->attr, *y = &b->attr;
    return a->op == b->op && a->input[0] == b->input[0] && x->quant.scheme == y->quant.scheme &&
           x->quant.compute == y->quant.compute && x->quant.arith == y->quant.arith &&
           x->linear.normalize_rows == y->linear.normalize_rows;
}

static gs_status check_alike(gs_node *const *linear, int n, gs_error *err) {
    for (int i = 0; i < n; i++) {
        const gs_node *a = linear[0], *b = linear[i];
        bool alike = gs_node_is_linear(b) && computes_alike(a, b);
        for (int r = 0; r < GS_ROLE_COUNT && alike; r++) {
            const gs_param *p = a->param[r], *q = b->param[r];
            alike = !p == !q && (!p || (p->ndim == q->ndim && gs_param_ready(p) == gs_param_ready(q) &&
                                        is_shared(a, p) == is_shared(b, q)));
            for (int d = 1; p && d < p->ndim && alike; d++) alike = p->shape[d] == q->shape[d];
            if (alike && q) GS_TRY(check_rows(b, q, err));
        }
        if (!alike) return GS_FAIL(err, GS_E_INVALID, "'%s' and '%s' are not alike, and cannot be one linear", a->name, b->name);
    }
    return GS_OK;
}

static gs_status check_same_value(const gs_param *a, const gs_param *b, gs_error *err) {
    float first, other;
    GS_TRY(gs_param_read_f32(a, 0, 1, &first, err));
    GS_TRY(gs_param_read_f32(b, 0, 1, &other, err));
    if (first == other) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is %g and '%s' %g: one linear has one", a->name, (double)first, b->name,
                   (double)other);
}

static gs_status check_dtype(const gs_param *p, const gs_param *to, gs_error *err) {
    if (copied_dtype(p) == to->dtype) return GS_OK;
    return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is %s where the one linear has %s", p->name, gs_dtype_name(copied_dtype(p)),
                   gs_dtype_name(to->dtype));
}

static gs_status join_rows(const gs_param *p, const gs_attr *slice, gs_param *to, gs_error *err) {
    gs_status status = GS_OK;
    for (int64_t i = 0; i < slice->slice.count && status == GS_OK; i++)
        status = copy_rows(p, i * slice->slice.width, slice->slice.width, to, slice->slice.start + i * slice->slice.stride, err);
    return status;
}

static gs_status join_role(gs_net *net, gs_node *whole, gs_node *const *linear, int n, const gs_attr *slice, gs_role role,
                           gs_error *err) {
    const gs_param *first = linear[0]->param[role];
    int64_t rows = 0;
    if (!first) return GS_OK;
    bool shared = is_shared(linear[0], first);
    for (int i = 0; i < n; i++) rows += rows_of(linear[i]);
    GS_TRY(add_like(net, whole, first, whole->name, shared ? 1 : rows, err));
    gs_param *to = whole->param[role];
    for (int i = 0; i < n && !shared; i++) GS_TRY(check_dtype(linear[i]->param[role], to, err));
    if (!gs_param_ready(first)) return GS_OK;
    GS_TRY(gs_param_allocate(to, err));
    if (shared) GS_TRY(copy_rows(first, 0, 1, to, 0, err));
    for (int i = 0; i < n; i++) {
        const gs_param *p = linear[i]->param[role];
        GS_TRY(shared ? check_same_value(first, p, err) : join_rows(p, &slice[i], to, err));
    }
    return GS_OK;
}

gs_status gs_net_join_linears(gs_net *net, gs_node *const *linear, int n, const char *name, const gs_attr *slice,
                              const char *const *slice_name, gs_error *err) {
    gs_node *whole;
    GS_TRY(check_alike(linear, n, err));
    GS_TRY(gs_net_insert(net, linear[0]->input[0], linear[0], linear[0]->op, name, &linear[0]->attr, &whole, err));
    for (int r = 0; r < GS_ROLE_COUNT; r++) GS_TRY(join_role(net, whole, linear, n, slice, (gs_role)r, err));
    for (int i = 0; i < n; i++) {
        gs_node *part = linear[i];
        for (int r = 0; r < GS_ROLE_COUNT; r++) gs_param_destroy(gs_node_param_detach(part, (gs_role)r));
        GS_TRY(gs_net_reroute(net, part, 0, whole->output, err));
        GS_TRY(gs_net_replace(net, part, GS_OP_SLICE, &slice[i], &part, err));
        GS_TRY(gs_net_rename(net, part, slice_name[i], err));
    }
    return GS_OK;
}
