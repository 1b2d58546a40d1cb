/* What gguf_hf.c, gguf_hf_config.c and gguf_hf_put.c share: the architecture row, the sizes read from the
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

gs_status gs_gguf_family_find(const char *model_type, const gs_gguf_family **out, gs_error *err) GS_NODISCARD;

enum { GS_GGUF_KEY_MAX = 128 };
/* Metadata keys of an architecture begin with its name: "x.block_count". Into buf, and returns it. */
const char *gs_gguf_key(const gs_gguf_family *family, const char *suffix, char buf[GS_GGUF_KEY_MAX]);

/* Llama 3's scaling, which GGUF spells as one divisor a frequency. With inv_j = theta^(-2j/hd), wavelength l =
 * 2*pi/inv_j and o the original number of positions, frequency j is divided by
 *   1                                  where l < o/high
 *   factor                             where l > o/low
 *   1 / ((1-t)/factor + t)             between, t = (o/l - low)/(high - low)
 * Source: Hugging Face transformers, rope type "llama3". */
typedef struct gs_llama3_scaling {
    double theta, factor, low, high, original;
    int64_t head_dim;
} gs_llama3_scaling;
double gs_llama3_divisor(const gs_llama3_scaling *s, int64_t j);

/* The constants of every published model. Where a file's are others, pairs of our own say which: readers that do not know
 * them lose nothing, the divisors are what counts. */
#define GS_LLAMA3_LOW 1.0
#define GS_LLAMA3_HIGH 4.0
#define GS_LLAMA3_ORIGINAL 8192.0
#define GS_LLAMA3_KEY "gstick.rope_scaling." /* + "factor", "low", "high", "original": f32 */

#endif
