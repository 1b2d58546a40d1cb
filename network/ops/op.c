#include <network/ops/op.h>

#include <base/mem.h>
#include <network/net_private.h>

#include <stdio.h>

void gs_op_release(gs_node *node) {
    if (!node->prepared) return;
    gs_op_class_get(node->op)->release(node->prepared);
    node->prepared = NULL;
}

bool gs_op_dim_fits(int64_t dim, int64_t want) { return dim == 0 || want == 0 || dim == want; }

const char *gs_op_dims_text(const gs_dims *dims, char *buf, size_t size) {
    if (dims->ndim == 1) {
        snprintf(buf, size, "%lld", (long long)dims->dim[0]);
        return buf;
    }
    return gs_shape_text(dims->ndim, dims->dim, buf, size);
}

gs_status gs_op_misfit(const gs_node *node, gs_role role, const gs_dims *in, gs_error *err) {
    char shape[256], value[128];
    const gs_param *p = node->param[role];
    return GS_FAIL(err, GS_E_INVALID, "%s %s does not fit an input of %s", gs_role_name(role),
                   gs_shape_text(p->ndim, p->shape, shape, sizeof shape),
                   gs_op_dims_text(in, value, sizeof value));
}

gs_status gs_op_check_ndim(const gs_node *node, int input, int ndim, gs_error *err) {
    const gs_dims *in = &node->input[input]->dims;
    char text[128];
    if (in->ndim == ndim) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "%s takes an input of %d dimension%s, not %s", gs_op_name(node->op),
                   ndim, ndim == 1 ? "" : "s", gs_op_dims_text(in, text, sizeof text));
}

gs_status gs_op_check_vector(const gs_node *node, gs_role role, int64_t n, gs_error *err) {
    const gs_param *p = node->param[role];
    char text[256];
    if (!p || (p->ndim == 1 && gs_op_dim_fits(n, p->shape[0]) && p->shape[0] > 0)) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "%s %s is not [%lld]", gs_role_name(role),
                   gs_shape_text(p->ndim, p->shape, text, sizeof text), (long long)n);
}

gs_status gs_op_infer_pair(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_dims *a = &node->input[0]->dims, *b = &node->input[1]->dims;
    bool same = a->ndim == b->ndim;
    *out = *a;
    for (int i = 0; i < a->ndim && same; i++) {
        same = gs_op_dim_fits(a->dim[i], b->dim[i]);
        if (a->dim[i] == 0) out->dim[i] = b->dim[i];
    }
    char left[128], right[128];
    if (same) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "inputs of %s and %s differ",
                   gs_op_dims_text(a, left, sizeof left), gs_op_dims_text(b, right, sizeof right));
}

gs_status gs_op_infer_same(const gs_node *node, gs_dims *out, gs_error *err) {
    (void)err;
    *out = node->input[0]->dims;
    return GS_OK;
}

void gs_op_dropped(const gs_op_env *env, const gs_param *p) {
    if (env->drop && p->source) env->drop(env->drop_ctx, p->source);
}

gs_status gs_op_read(const gs_op_env *env, const gs_param *p, float **out, gs_error *err) {
    int64_t rows, cols;
    gs_param_matrix(p, &rows, &cols);
    size_t bytes;
    if (!gs_mul_size((size_t)gs_param_count(p), sizeof(float), &bytes))
        return gs_error_nomem(err, SIZE_MAX);
    float *data = gs_alloc(bytes);
    if (!data) return gs_error_nomem(err, bytes);
    gs_status status = gs_param_read_f32(p, 0, rows, data, err);
    if (status != GS_OK) {
        gs_free(data);
        return status;
    }
    gs_op_dropped(env, p);
    *out = data;
    return GS_OK;
}

int64_t gs_op_width(const gs_edge *edge) {
    int64_t n = 1;
    for (int i = 0; i < edge->dims.ndim; i++) n *= edge->dims.dim[i];
    return n;
}

/* Team functions take a plain pointer and only read the call. */
static void *context(const gs_op_call *call) { return (void *)(uintptr_t)call; }

void gs_op_for_rows(const gs_op_call *call, gs_team_for_fn *fn) {
    gs_team_for(call->env->team, call->batch->rows, GS_OP_ROWS, fn, context(call));
}

void gs_op_for_elements(const gs_op_call *call, gs_team_for_fn *fn) {
    int64_t n = call->batch->rows * gs_op_width(call->node->output);
    gs_team_for(call->env->team, n, GS_OP_ELEMENTS, fn, context(call));
}

gs_status gs_op_check_sequences(const gs_op_call *call, gs_error *err) {
    if (call->batch->sequences > 0) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "%s needs sequences, the batch has rows alone",
                   gs_op_name(call->node->op));
}
