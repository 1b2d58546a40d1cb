/* Small pieces that formats are made of (internal to deploy/): describing a node's tensors, and asking a node what it is. */
#ifndef GS_DEPLOY_STORED_H
#define GS_DEPLOY_STORED_H

#include <deploy/encode.h>

gs_scheme gs_node_scheme(const gs_node *node); /* FLOAT unless QLINEAR */
void gs_node_weight_shape(const gs_node *node, int64_t *n, int64_t *k); /* zeros without a weight */
int64_t gs_node_groups(const gs_node *node); /* columns of weight_scale; 1: per channel; 0: there is none */

/* The bundle's dtype where it holds p's values exactly, else F32. */
gs_dtype gs_exact_dtype(const gs_bundle_options *o, const gs_param *p);

/* A tensor of p's shape under p's name. */
gs_stored gs_stored_param(const gs_node *node, const gs_param *p, gs_dtype dtype, const char *type, gs_encoder *encode);
/* "<node><suffix>", [a], or [a, b] when b > 0. p may be NULL. GS_E_INVALID for a name that is too long. */
gs_status gs_stored_make(gs_stored *t, const gs_node *node, const char *suffix, const gs_param *p, gs_dtype dtype,
                         int64_t a, int64_t b, const char *type, gs_encoder *encode, gs_error *err) GS_NODISCARD;

/* What formats emit tensors with. */
typedef struct gs_emission {
    const gs_bundle_options *o;
    const gs_node *node;
    const char *type; /* of every tensor that is emitted */
    gs_stored_emit *emit;
    void *ctx;
} gs_emission;
/* gs_stored_make with the emission's node and type, emitted. */
gs_status gs_emit(const gs_emission *e, const char *suffix, const gs_param *p, gs_dtype dtype, int64_t a, int64_t b,
                  gs_encoder *encode, gs_error *err) GS_NODISCARD;
/* Every param of a node that is not quantized, cast to the bundle's dtype under its own name; not the idle bias of a norm. */
gs_status gs_emit_floats(const gs_emission *e, gs_error *err) GS_NODISCARD;

/* ---- reasons to refuse: GS_E_UNSUPPORTED, or GS_E_INVALID for params that contradict each other ---- */

/* A QLINEAR has what every scheme needs: weight_scale where activations are not static, no group scales beside int8
 * activations, no weight offsets beside them either. */
gs_status gs_permits_qlinear(const gs_node *node, gs_error *err) GS_NODISCARD;
/* "'<node>': <format> carries no int8 key-value cache", "... no bias of a norm": what most formats lack. */
gs_status gs_permits_plain(const char *format, const gs_node *node, gs_error *err) GS_NODISCARD;
/* Linears that read one edge, but the head, have one scheme, and static ones one input scale and offset, as far as these
 * are there. A gs_bundle_format.permits_segment. */
gs_status gs_permits_fused(const gs_bundle_options *o, const gs_net *segment, gs_error *err) GS_NODISCARD;
/* A norm's bias that is there and all zeros: nothing is lost without it. */
bool gs_norm_bias_is_idle(const gs_node *node);

#endif
