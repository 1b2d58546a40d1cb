/* What gguf_hf.c and gguf_hf_config.c share: the architecture row, the sizes read from the
 * metadata before any tensor is named, and the view itself. Private to the room. */
#ifndef GS_LOADERS_GGUF_HF_CONFIG_H
#define GS_LOADERS_GGUF_HF_CONFIG_H

#include <loaders/gguf_hf.h>

typedef struct gs_gguf_family {
    const char *architecture; /* general.architecture, also the prefix of the size keys */
    const char *model_type, *class_name, *hidden_act; /* as config.json spells them */
    bool interleaved;         /* q and k rows lie as GS_ROWS_LLAMA_INTERLEAVED */
} gs_gguf_family;

/* head_dim is always set; explicit_head_dim when the file says it rather than hidden/heads. */
typedef struct gs_gguf_sizes {
    int64_t layers, hidden, intermediate, heads, kv_heads, head_dim, context;
    bool explicit_head_dim;
    double norm_eps, rope_theta;
} gs_gguf_sizes;

struct gs_gguf_hf {
    const gs_gguf *g;
    const gs_gguf_family *family;
    gs_gguf_sizes sizes;
    gs_tensor *tensors; /* names owned (gs_free) */
    size_t count;
    bool tied, attention_bias, mlp_bias;
    const gs_tensor *rope_freqs; /* per-frequency divisors [head_dim/2], or NULL */
};

/* Reads and range-checks the sizes; refuses (GS_E_UNSUPPORTED) per-layer sizes that differ
 * and metadata that changes the arithmetic in ways config.json cannot say. */
gs_status gs_gguf_sizes_read(const gs_gguf *g, const gs_gguf_family *family, gs_gguf_sizes *out,
                             gs_error *err) GS_NODISCARD;

#endif
