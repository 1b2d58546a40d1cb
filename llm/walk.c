#include <llm/walk.h>

#include <base/mem.h>
#include <llm/settings.h>

#include <string.h>

int64_t gs_walk_bytes_per_row(const gs_model *m) {
    const gs_model_config *c = gs_model_settings(m);
    int64_t heads = (c->heads + c->kv_heads * 2) * c->head_dim;
    const gs_helper_names *name = &gs_model_helper(m)->name;
    /* residual in and out, norm, attention heads twice, gate, up and their product, and the
     * 16-bit copies of what linears read; fused linears beside their slices */
    int64_t floats = 4 * c->hidden + 2 * heads + 3 * c->intermediate;
    if (name->qkv) floats += heads;
    if (name->gate_up) floats += 2 * c->intermediate;
    /* the sum of experts, one's rows, and what is copied together to compute them */
    if (name->router) floats += gs_config_experts(c) + 4 * c->hidden + 2 * c->intermediate;
    return floats * 4 + 2 * (c->hidden + c->intermediate);
}

/* Builds, materialises and runs one segment. */
static gs_status run_segment(gs_exec *ex, const gs_model *m, int i, const gs_batch *batch,
                             const float *in, float *out, gs_error *err) {
    gs_net *net;
    GS_TRY(gs_model_segment(m, i, &net, err));
    gs_status status = gs_exec_prepare(ex, net, err);
    if (status == GS_OK) {
        status = gs_exec_run(ex, net, batch, &in, &out, err);
        gs_exec_release(ex, net);
    }
    if (status != GS_OK) gs_error_at(err, "%s", gs_net_name(net));
    gs_net_destroy(net);
    return status;
}

gs_status gs_walk_hidden(gs_context *cx, const gs_model *m, gs_gemm_type type, const int32_t *tokens,
                         const gs_batch *batch, float *hidden, gs_walk_done *done, void *done_ctx,
                         gs_error *err) {
    int64_t rows = batch->rows, width = gs_model_settings(m)->hidden;
    gs_exec *ex = NULL;
    size_t bytes;
    if (!gs_mul_size((size_t)rows, (size_t)width * sizeof(float), &bytes))
        return GS_FAIL(err, GS_E_NOMEM, "activations of %lld tokens", (long long)rows);
    float *other = gs_alloc(bytes);
    gs_status status = other ? gs_exec_create(cx, type, &ex, err) : gs_error_nomem(err, bytes);
    if (status != GS_OK) goto finish;
    gs_exec_set_drop(ex, gs_checkpoint_drop_view, (void *)(uintptr_t)gs_model_checkpoint(m));

    /* ids are exact in f32: vocabularies are limited to 2^24 (loaders/config.h) */
    for (int64_t i = 0; i < rows; i++) other[i] = (float)tokens[i];
    float *from = other, *to = hidden;
    int last = gs_model_segments(m) - 1; /* the head */
    for (int i = 0; i < last; i++) {
        GS_TRY_GOTO(status, finish, gs_cancel_check(err));
        GS_TRY_GOTO(status, finish, run_segment(ex, m, i, batch, from, to, err));
        float *swap = from;
        from = to;
        to = swap;
        if (done) done(done_ctx);
    }
    if (from != hidden) memcpy(hidden, from, bytes);
finish:
    gs_exec_destroy(ex);
    gs_free(other);
    return status;
}
