/* Reading a quantized bundle back, whatever format it has (deploy/bundle_reader.h: one file a format), as its
 * consumer does. The network a bundle holds is the one that config.json names; the format says which linears are
 * quantized and how. gs_bundle_open presents the stored tensors under Hugging Face names with the roles' suffixes
 * ("<linear>.weight", ".weight_scale", ...), and gs_bundle_rewrite turns described linears into QLINEAR nodes on
 * them (and puts CACHE nodes before attention where the key and value cache is int8), in the arithmetic that the
 * caller chose: by default the consumer's (ascend-bundles.md 3.5), with scales rounded to the model's dtype.
 *
 * Fails closed: a linear or a stored tensor that the format's description does not list, a listed tensor that is not
 * stored (but for a tied head), an unknown type, a wrong shape or dtype, or an input scale or offset
 * that linears of one input do not share is an error.
 */
#ifndef GS_DEPLOY_BUNDLE_H
#define GS_DEPLOY_BUNDLE_H

#include <loaders/checkpoint.h>
#include <network/net.h>

typedef struct gs_bundle gs_bundle;

/* Zeroed: the consumer's arithmetic, config.json in the bundle. */
typedef struct gs_bundle_open_options {
    const char *config; /* directory with the config.json of a bundle that has none; else NULL */
    gs_arith arith;
    bool deq19, decode; /* as in gs_attr.quant */
    /* a GGUF file whose matrices are Q8_0 is opened as a bundle of those codes, not as the float model they stand for */
    bool codes;
} gs_bundle_open_options;

/* Opens the checkpoint, which the caller takes over (*checkpoint), and shows it in canonical form. The checkpoint reads
 * memory of the bundle: close it first. options may be NULL. A path that no format claims is GS_OK with *out and
 * *checkpoint NULL: it is no bundle. GS_E_UNSUPPORTED where a format claims it but it holds something that is not
 * computed here; the error says what. */
gs_status gs_bundle_open(const char *path, const gs_bundle_open_options *options, gs_bundle **out,
                         gs_checkpoint **checkpoint, gs_error *err) GS_NODISCARD;
void gs_bundle_close(gs_bundle *b); /* NULL ok */
/* Nothing in it is quantized: a float model in the form of a bundle. */
bool gs_bundle_is_float(const gs_bundle *b);
/* The dominant type, "W8A16". */
const char *gs_bundle_type(const gs_bundle *b);
/* The format's name, "ascend". */
const char *gs_bundle_format_name(const gs_bundle *b);
/* A gs_model_rewrite; ctx is the bundle. */
gs_status gs_bundle_rewrite(void *bundle, gs_net *segment, gs_error *err);

#endif
