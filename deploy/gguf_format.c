/* The "gguf" bundle: one file, model.gguf, for llama.cpp and what is built on it.
 *
 *   quantized linears        Q8_0; codes and scales as they are, per-channel scales in every block
 *   embedding, head, linears left FLOAT   the bundle's dtype
 *   vectors (norms, biases)  F32
 *   configuration, vocabulary   metadata
 *
 * Names, the order of rows and which models there are: loaders/gguf_hf.h.
 */
#include <deploy/container.h>
#include <deploy/encode.h>
#include <deploy/gguf_encode.h>
#include <loaders/gguf_hf.h>

#include <string.h>

static const gs_model_config *config_of(const gs_bundle_options *o) { return gs_checkpoint_config(o->source); }

static bool is_stored(gs_role role) { return role == GS_ROLE_WEIGHT || role == GS_ROLE_BIAS; }

static gs_status permits_quantized(const gs_node *node, gs_error *err) {
    gs_scheme s = node->attr.quant.scheme;
    if (s == GS_SCHEME_W8A16) return gs_gguf_q8_0_permits(node, err);
    if (s == GS_SCHEME_W4A16) return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': GGUF's 4-bit blocks are not written yet", node->name);
    GS_FAIL(err, GS_E_UNSUPPORTED, "'%s' is %s: GGUF stores no scales of int8 activations", node->name, gs_scheme_name(s));
    return gs_error_hint(err, "quantize with --scheme w8a16 for this format");
}

static gs_status permits(const gs_bundle_options *o, const gs_node *node, gs_error *err) {
    gs_gguf_place place;
    if (node->param[GS_ROLE_CACHE_SCALE])
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': GGUF stores no scales of an int8 key-value cache", node->name);
    if (node->op == GS_OP_RMSNORM && node->param[GS_ROLE_BIAS])
        return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': GGUF's models have norms without a bias", node->name);
    if (node->op == GS_OP_QLINEAR) GS_TRY(permits_quantized(node, err));
    for (int r = 0; r < GS_ROLE_COUNT; r++)
        if (node->param[r] && is_stored((gs_role)r)) GS_TRY(gs_gguf_hf_place(config_of(o), node->param[r]->name, &place, err));
    return GS_OK;
}

static gs_status emit_param(const gs_bundle_options *o, const gs_node *node, gs_role role, gs_stored_emit *emit,
                            void *ctx, gs_error *err) {
    const gs_param *p = node->param[role];
    gs_gguf_place place;
    GS_TRY(gs_gguf_hf_place(config_of(o), p->name, &place, err));
    gs_stored t = {.dtype = o->dtype, .ndim = p->ndim, .node = node, .param = p, .encode = gs_encode_float,
                   .constant = (double)place.heads};
    if (p->ndim < 2) t.dtype = GS_F32;
    else if (node->op == GS_OP_QLINEAR) t.dtype = GS_Q8_0;
    if (t.dtype == GS_Q8_0) t.encode = gs_encode_gguf_q8_0;
    else if (place.shift != 0) t.encode = gs_encode_gguf_norm;
    else if (place.heads) t.encode = p->ndim < 2 ? gs_encode_gguf_bias : gs_encode_gguf_float;
    if (place.shift != 0) t.constant = (double)place.shift;
    t.type = gs_dtype_name(t.dtype);
    memcpy(t.shape, p->shape, sizeof t.shape);
    memcpy(t.name, place.name, sizeof place.name);
    return emit(ctx, &t, err);
}

static gs_status tensors(const gs_bundle_options *o, const gs_node *node, gs_stored_emit *emit, void *ctx,
                         gs_error *err) {
    for (int r = 0; r < GS_ROLE_COUNT; r++)
        if (node->param[r] && is_stored((gs_role)r)) GS_TRY(emit_param(o, node, (gs_role)r, emit, ctx, err));
    return GS_OK;
}

/* All that a loader wants is in the one file. */
static gs_status side_files(gs_bundle_writer *w, gs_error *err) {
    (void)w;
    (void)err;
    return GS_OK;
}

const gs_bundle_format gs_bundle_gguf = {
    .name = "gguf",
    .about = "llama.cpp and its kin: Q8_0, F16, BF16 or F32",
    .container = &gs_container_gguf,
    .naming = {.stem = "model", .extension = ".gguf"},
    .scale_dtype = GS_F16,
    .group_size = 32,
    .permits = permits,
    .tensors = tensors,
    .side_files = side_files,
};
