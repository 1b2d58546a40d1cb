/* Reading a bundle back, as its consumer does. A bundle is a directory with
 * quant_model_description.json; the network it holds is the one its config.json names, and the
 * description says which linears are quantized and how. gs_bundle_rewrite turns those into
 * QLINEAR nodes on the stored tensors, in the consumer's arithmetic (ascend-bundles.md 3.5):
 * scales are rounded to config.json's torch_dtype before use.
 *
 * Fails closed: a linear or a stored tensor that the description does not list, a listed tensor
 * that is not stored (but for a tied head), an unknown type, a wrong shape or dtype, or an input scale or offset
 * that linears of one input do not share is an error.
 */
#ifndef GS_DEPLOY_BUNDLE_H
#define GS_DEPLOY_BUNDLE_H

#include <loaders/checkpoint.h>
#include <network/net.h>

typedef struct gs_bundle gs_bundle;

/* True for a directory with quant_model_description.json in it. */
bool gs_bundle_detect(const char *path);
/* Reads the description and opens the checkpoint, which the caller takes over (*checkpoint; it must
 * outlive the bundle). */
gs_status gs_bundle_open(const char *path, gs_bundle **out, gs_checkpoint **checkpoint, gs_error *err) GS_NODISCARD;
void gs_bundle_close(gs_bundle *b);
/* The dominant type, "W8A16". */
const char *gs_bundle_type(const gs_bundle *b);
/* A gs_model_rewrite; ctx is the bundle. */
gs_status gs_bundle_rewrite(void *bundle, gs_net *segment, gs_error *err);

#endif
