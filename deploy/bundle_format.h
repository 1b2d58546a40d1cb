/* Bundle formats: one row and one file each. A row says what the format can carry, which tensors it stores for a node
 * and which files stand beside them; the writer (bundle_writer.h) plans, writes and commits for all of them.
 *
 * To add one: deploy/<format>_format.c with a row, and a word in GS_BUNDLE_FORMAT_LIST.
 */
#ifndef GS_DEPLOY_BUNDLE_FORMAT_H
#define GS_DEPLOY_BUNDLE_FORMAT_H

#include <base/context.h>
#include <deploy/target.h>
#include <loaders/checkpoint.h>
#include <network/net.h>

typedef struct gs_bundle_format gs_bundle_format;
typedef struct gs_bundle_writer gs_bundle_writer;
typedef struct gs_bundle_container gs_bundle_container; /* container.h */

typedef struct gs_bundle_options {
    const gs_checkpoint *source; /* config.json and the side files come from it */
    gs_dtype dtype;              /* of the FLOAT tensors: F16, BF16 or F32; written as torch_dtype */
    gs_target target;
    const char *embed, *head;    /* names of the embedding and the output projection, without ".weight" */
    bool tied;                   /* the head is the embedding, and not stored */
    bool act_symmetric;          /* every static input_offset is 0; some formats have another form for these */
    uint64_t max_shard_bytes;    /* tensor bytes a file; 0: one file */
} gs_bundle_options;

/* What planning found out about the whole. */
typedef struct gs_bundle_facts {
    unsigned schemes;     /* bit of each gs_scheme that a linear has */
    int quantized;        /* linears that are not FLOAT */
    gs_scheme dominant;   /* ascend-bundles.md 4.1 */
    int64_t group_size;   /* of weight scales, the largest one; 0: per channel everywhere */
    bool mixed_groups;    /* quantized linears differ in it */
    bool cache;           /* int8 key-value cache */
    uint64_t tensor_bytes;
} gs_bundle_facts;

/* One tensor of a bundle. */
typedef struct gs_stored gs_stored;
typedef struct gs_sink gs_sink; /* takes a tensor's bytes in order (bundle_writer.h) */
typedef gs_status gs_encoder(const gs_stored *t, gs_sink *sink, gs_error *err);

enum { GS_STORED_NAME = 512 };
struct gs_stored {
    char name[GS_STORED_NAME];
    gs_dtype dtype;
    int ndim;
    int64_t shape[GS_MAX_DIMS];
    const char *type;      /* what a description says of it: "FLOAT", "W8A16", "C8"; static */
    const gs_node *node;   /* whose tensor it is, for what has to be derived; valid during the call */
    const gs_param *param; /* the values, or NULL */
    gs_encoder *encode;    /* from encode.h, or the format's own */
    double constant;       /* of encoders that need a number */
};

/* Receives a node's tensors, one call each; *t is copied. */
typedef gs_status gs_stored_emit(void *ctx, const gs_stored *t, gs_error *err);

/* Names of the files that hold the tensors. */
typedef struct gs_container_naming {
    const char *stem;      /* "quant_model_weights" */
    const char *extension; /* ".safetensors" */
    const char *index;     /* name of the index of shards, or NULL: none is written */
    bool always_numbered;  /* "-00001-of-00001" and the index even for one file */
    const char *metadata;  /* safetensors' "format" value, "pt" or "ms" */
} gs_container_naming;

struct gs_bundle_format {
    const char *name;  /* "ascend" */
    const char *about; /* one line: who loads it */
    const gs_bundle_container *container;
    gs_container_naming naming;
    gs_dtype scale_dtype;   /* F16: weight scales must be f16 values; F32: any */
    int64_t group_size;     /* of weight scales when it quantizes itself: 0 per channel, 32 for Q8_0 */
    /* The quantizer's scale convention unless another is asked for ("goldenstick"); NULL: its own default. */
    const char *scale_convention;
    bool parts; /* its names are those of a framework that fuses other linears (llm/regroup.h) */
    /* GS_E_UNSUPPORTED with the reason ("'model.layers.0.mlp.down_proj': GGUF stores no int8 activations") when the format
     * or the target cannot carry the node as it is. */
    gs_status (*permits)(const gs_bundle_options *o, const gs_node *node, gs_error *err);
    /* The same for what several nodes of a segment must have in common; may be NULL. */
    gs_status (*permits_segment)(const gs_bundle_options *o, const gs_net *segment, gs_error *err);
    /* The same for the bundle as a whole, when everything is planned; may be NULL. */
    gs_status (*permits_bundle)(const gs_bundle_writer *w, gs_error *err);
    /* The tensors of a permitted node, in the order they are to be stored. */
    gs_status (*tensors)(const gs_bundle_options *o, const gs_node *node, gs_stored_emit *emit, void *ctx, gs_error *err);
    /* config.json, descriptions, copies of tokenizer files. */
    gs_status (*side_files)(gs_bundle_writer *w, gs_error *err);
};

#define GS_BUNDLE_FORMAT_LIST(X) X(ascend) X(mindspore) X(mindspore_ckpt) X(compressed_tensors) X(gptq) X(gguf)
#define X(name) extern const gs_bundle_format gs_bundle_##name;
GS_BUNDLE_FORMAT_LIST(X)
#undef X

/* NULL: the first. GS_E_INVALID naming the nearest known format. */
gs_status gs_bundle_format_find(const char *name, const gs_bundle_format **out, gs_error *err) GS_NODISCARD;

#endif
