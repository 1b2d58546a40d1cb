/* Readers of bundle formats, one row and one file each, and the canonical form that they fill in.
 *
 * A reader opens the checkpoint with the format's own file names, then adds every tensor that belongs to the model
 * under the Hugging Face name "<linear>.<role>" (gs_role_name), and says for each quantized weight which scheme it has.
 * Everything behind that (QLINEAR nodes, their shapes and dtypes, shared scales, the cache) is one function for all
 * formats, gs_bundle_rewrite. Canonical are:
 *   weight        I8 [n, k] in any gs_code_layout
 *   weight_scale  F32, F16 or BF16 [n], [n, 1] or, for schemes with float activations, [n, k/g]
 *   weight_offset of a float type, the same shapes: a weight is (code - offset) * scale
 *   input_scale, input_offset  of a float type, [1]: a code is round(x / scale) + offset
 *   quant_bias    I32 [n], deq_scale  F32 [n] or I64 [n]; both may be absent where weight_scale is stored
 *   kv_cache_scale, kv_cache_offset  of a float type, [1] or [n], on the linears that make keys and values
 *   norms         bias of a float type, on the module that has the weight
 * Tensors that a format stores otherwise are made by the reader, in memory of the content: small ones only, never of
 * a weight's size.
 *
 * To add a format: deploy/<format>_reader.c with a row, and a word in GS_BUNDLE_READER_LIST.
 */
#ifndef GS_DEPLOY_BUNDLE_READER_H
#define GS_DEPLOY_BUNDLE_READER_H

#include <base/json.h>
#include <base/map.h>
#include <deploy/bundle.h>

typedef struct gs_bundle_content {
    gs_checkpoint *checkpoint; /* opened by the reader; owned by the content until gs_bundle_open hands it out */
    gs_dtype compute;          /* dtype the model is served in: F16, BF16 or F32 */
    const char *dominant;      /* kept, or static; NULL: the most frequent scheme */
    bool derives_static;       /* static linears may lack quant_bias and deq_scale; weight_scale must be there then */
    bool loose_deq_scale;      /* deq_scale may be F32 in any model: this format's consumers convert it */
    bool spare_biases;         /* linears may store a bias of zeros that the model does not have, as AutoGPTQ gave them */
    float token_levels;        /* of gs_attr.quant; 0: the usual */
    bool caches;               /* keys and values are cached in int8: every layer must store its cache scales */
    /* Makes a QLINEAR of a float linear itself, or leaves it. attr has the arithmetic, but no scheme. For formats whose
     * scales lie inside the weight's bytes. May be NULL. */
    gs_status (*rewrite)(const void *rules, gs_net *net, gs_node *linear, const gs_attr *attr, gs_error *err);
    /* Whether the format says that the linear of this name is quantized. Asked for float linears; may be NULL. */
    bool (*claims)(const void *rules, const char *linear);
    void (*release)(void *rules); /* may be NULL */
    void *rules;               /* of the format */

    /* Filled in by the functions below. */
    gs_tensor *tensor;
    size_t count, cap;
    gs_map scheme; /* name of a quantized weight -> gs_scheme */
    int64_t linears[GS_SCHEME_COUNT];
    void **kept;
    size_t nkept, kept_cap;
} gs_bundle_content;

typedef struct gs_bundle_reader {
    const char *name;  /* "ascend" */
    const char *about; /* one line */
    /* config: the config.json of the path when it is a directory that has one, else NULL. */
    bool (*detect)(const char *path, const cJSON *config, const gs_bundle_open_options *options);
    /* Fills in a zeroed content; on failure the caller clears it. */
    gs_status (*open)(const char *path, const gs_bundle_open_options *options, gs_bundle_content *c, gs_error *err);
} gs_bundle_reader;

/* Asked in this order: a description file comes before what config.json says, as in vllm-ascend. */
#define GS_BUNDLE_READER_LIST(X) X(ascend) X(mindspore) X(compressed_tensors) X(gptq) X(mindspore_ckpt) X(gguf)
#define X(name) extern const gs_bundle_reader gs_bundle_reader_##name;
GS_BUNDLE_READER_LIST(X)
#undef X

/* ---- what readers fill the content with ---- */

/* Zeroed memory that lives as long as the bundle; bytes > 0. NULL: err is set. */
void *gs_content_keep(gs_bundle_content *c, size_t bytes, gs_error *err);
/* "<stem>.<role>" kept. NULL: err is set. */
const char *gs_content_name(gs_bundle_content *c, const char *stem, gs_role role, gs_error *err);
/* A tensor of the model under a canonical name (kept, or a name of the checkpoint); the struct is copied. */
gs_status gs_content_add(gs_bundle_content *c, const gs_tensor *t, const char *name, gs_error *err) GS_NODISCARD;
/* A made tensor of a float type "<stem>.<role>"; *data: its zeroed bytes. cols 0: a vector [rows]. */
gs_status gs_content_make(gs_bundle_content *c, const char *stem, gs_role role, gs_dtype dtype, int64_t rows,
                          int64_t cols, void **data, gs_error *err) GS_NODISCARD;
/* The weight of that canonical name is quantized. weight: kept. */
gs_status gs_content_quantized(gs_bundle_content *c, const char *weight, gs_scheme scheme, gs_error *err) GS_NODISCARD;
/* Releases everything, also the checkpoint when it is still there. */
void gs_content_clear(gs_bundle_content *c);

/* ---- what readers have in common ---- */

/* The caller's config directory, where the path has no config.json of its own; else NULL. */
const char *gs_content_foreign_config(const char *path, const gs_bundle_open_options *options);
/* compute from config.json's torch_dtype. */
gs_status gs_content_compute(gs_bundle_content *c, gs_error *err) GS_NODISCARD;
/* Opens the safetensors of a directory: "<prefix>*.safetensors.index.json" if there is exactly one, else the one
 * "<prefix>*.safetensors". config: directory of config.json, or NULL. */
gs_status gs_content_open(gs_bundle_content *c, const char *path, const char *prefix, const char *config,
                          gs_error *err) GS_NODISCARD;
/* The integer value of element i of an I8, I32 or I64 tensor. */
int64_t gs_tensor_integer(const gs_tensor *t, int64_t i);
/* name without ".<suffix>": its length; 0 when it does not end so. suffix without the dot. */
size_t gs_name_stem(const char *name, const char *suffix);
/* A member of config.json's quantization_config, quant_method, is this word. */
bool gs_config_has_method(const cJSON *config, const char *method);

#endif
