/* A GGUF file seen as a Hugging Face checkpoint: tensor names and config.json that the
 * rest of the house understands; and the other way, a Hugging Face model in GGUF's words.
 * Data only, the same for both ways (gguf_families.c): one row an architecture (general.architecture) with its
 * model_type, class name and what llama.cpp reads and computes; one row a tensor name; one row a number.
 *
 *   both ways    llama (also as mistral), qwen2, qwen3, phi3, gemma2, granite, olmo2
 *   read only    mixtral ("llama" with experts), qwen3moe; internlm2 and baichuan (of 32 layers) as the Llamas that
 *                they are once q, k and v are split */
#ifndef GS_LOADERS_GGUF_HF_H
#define GS_LOADERS_GGUF_HF_H

#include <base/json.h>
#include <loaders/config.h>
#include <loaders/gguf_writer.h>

typedef struct gs_gguf_hf gs_gguf_hf;

/* Borrows g. GS_E_UNSUPPORTED for an architecture without a row (hint lists the known), a part of a split model, a
 * tensor without a row, sizes that differ between layers, and metadata that changes the arithmetic in a way
 * config.json cannot say (windows, experts, multipliers that the architecture's row does not know). GS_E_FORMAT for
 * sizes that are missing or absurd, stacks that are not [experts, rows, cols] of the sizes, and vectors to be changed
 * (below) of another length. Whether all tensors of the model are there is left to whoever builds the network. */
gs_status gs_gguf_hf_create(const gs_gguf *g, gs_gguf_hf **out, gs_error *err) GS_NODISCARD;
void gs_gguf_hf_destroy(gs_gguf_hf *h);
/* Tensors under their Hugging Face names, views of g in file order; q/k carry GS_ROWS_LLAMA_INTERLEAVED. A stack of
 * experts is one matrix an expert. Vectors that the model has otherwise are copies, owned by h, F32: biases of
 * interleaved rows in the rows' order, norms less the 1 that converters add. "rope_freqs.weight" is not among them
 * (it becomes rope_scaling). */
size_t gs_gguf_hf_count(const gs_gguf_hf *h);
const gs_tensor *gs_gguf_hf_at(const gs_gguf_hf *h, size_t i);
/* A fresh config.json tree (caller deletes): sizes, eps, rope, token ids, tied when there is no output.weight,
 * torch_dtype "float32" unless every matrix is F16 or every one BF16. Floats are the shortest decimals that round to
 * the file's f32 (above 0; multipliers and caps at most 1e12, else GS_E_FORMAT); what the file does not say is
 * llama.cpp's default. rope_scaling "linear" or "yarn" from the metadata; "llama3" where rope_freqs follow its
 * formula (low 1, high 4, original 8192 unless the file says others); any other rope_freqs or rope.scaling.type, and
 * constants of yarn with which llama.cpp does not compute: GS_E_UNSUPPORTED. */
gs_status gs_gguf_hf_config(const gs_gguf_hf *h, cJSON **out, gs_error *err) GS_NODISCARD;

/* ---- a Hugging Face model in GGUF's words */

/* What GGUF calls a tensor. heads: 0, or into how many heads its rows are cut that must lie interleaved: stored row
 * (head, 2*j + half) is row (head, half*hd/2 + j), as GS_ROWS_LLAMA_INTERLEAVED undoes it; elements of a bias likewise.
 * shift: added to every element of a norm. */
typedef struct gs_gguf_place {
    char name[64];
    int64_t heads;
    float shift;
} gs_gguf_place;

/* name: the Hugging Face name, with ".weight" or ".bias". GS_E_UNSUPPORTED naming the tensor, or the model_type (hint
 * lists the known). */
gs_status gs_gguf_hf_place(const gs_model_config *config, const char *name, gs_gguf_place *out,
                           gs_error *err) GS_NODISCARD;
/* general.architecture, sizes and numbers: what gs_gguf_hf_config reads back as the same numbers (as f32; a "mistral"
 * comes back as the "llama" that it is in GGUF). GS_E_UNSUPPORTED for what llama.cpp would compute otherwise: a
 * model_type without a row or with experts, another hidden_act, a window that cuts (sliding_window below
 * max_position_embeddings) where the architecture has none, layers with windows other than its own, heads that are
 * not hidden/heads or rotated in part where it has no key, an output that is or is not tied, absent soft caps,
 * another query_pre_attn_scalar, rope scaling that it has no words for. */
gs_status gs_gguf_hf_put_config(const gs_model_config *config, gs_gguf_writer *w, gs_error *err) GS_NODISCARD;
/* The divisors of the rotary frequencies, [head_dim/2], that the tensor "rope_freqs.weight" holds; *count 0: the
 * model needs none. The caller frees *divisors. */
gs_status gs_gguf_hf_rope_divisors(const gs_model_config *config, float **divisors, int64_t *count,
                                   gs_error *err) GS_NODISCARD;

#endif
