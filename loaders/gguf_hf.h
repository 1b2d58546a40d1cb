/* A GGUF file seen as a Hugging Face checkpoint: tensor names and config.json that the
 * rest of the house understands; and the other way, a Hugging Face model in GGUF's words.
 * Data only, the same for both ways: one row an architecture (general.architecture) with its
 * model_type, class name and whether llama.cpp's q/k row interleaving applies; one row a tensor
 * name. */
#ifndef GS_LOADERS_GGUF_HF_H
#define GS_LOADERS_GGUF_HF_H

#include <base/json.h>
#include <loaders/config.h>
#include <loaders/gguf_writer.h>

typedef struct gs_gguf_hf gs_gguf_hf;

/* Borrows g. GS_E_UNSUPPORTED for an architecture without a row (hint lists the known), a
 * part of a split model, a tensor without a row, q/k biases of an interleaved architecture,
 * sizes that differ between layers, and metadata that changes the arithmetic in a way
 * config.json cannot say. GS_E_FORMAT for sizes that are missing or absurd. Whether all
 * tensors of the model are there is left to whoever builds the network. */
gs_status gs_gguf_hf_create(const gs_gguf *g, gs_gguf_hf **out, gs_error *err) GS_NODISCARD;
void gs_gguf_hf_destroy(gs_gguf_hf *h);
/* Tensors under their Hugging Face names; q/k carry GS_ROWS_LLAMA_INTERLEAVED. In file
 * order; "rope_freqs.weight" is not among them (it becomes rope_scaling). */
size_t gs_gguf_hf_count(const gs_gguf_hf *h);
const gs_tensor *gs_gguf_hf_at(const gs_gguf_hf *h, size_t i);
/* A fresh config.json tree (caller deletes): sizes, eps, rope, token ids, tied when there is
 * no output.weight, torch_dtype "float32" unless every matrix is F16 or every one BF16.
 * Floats are the shortest decimals that round to the file's f32. rope_scaling "linear" from
 * the metadata; "llama3" where rope_freqs follow its formula (low 1, high 4, original 8192 unless the file says others),
 * any other rope_freqs or rope.scaling.type: GS_E_UNSUPPORTED. */
gs_status gs_gguf_hf_config(const gs_gguf_hf *h, cJSON **out, gs_error *err) GS_NODISCARD;

/* ---- a Hugging Face model in GGUF's words */

/* What GGUF calls a tensor. heads: 0, or into how many heads its rows are cut that must lie interleaved: stored row
 * (head, 2*j + half) is row (head, half*hd/2 + j), as GS_ROWS_LLAMA_INTERLEAVED undoes it. */
typedef struct gs_gguf_place {
    char name[64];
    int64_t heads;
} gs_gguf_place;

/* name: the Hugging Face name, with ".weight" or ".bias". GS_E_UNSUPPORTED naming the tensor, or the model_type (hint lists
 * the known). */
gs_status gs_gguf_hf_place(const gs_model_config *config, const char *name, gs_gguf_place *out,
                           gs_error *err) GS_NODISCARD;
/* general.architecture and the sizes: what gs_gguf_hf_config reads back as the same numbers (as f32). GS_E_UNSUPPORTED for a
 * model_type without a row, another hidden_act, and rope scaling that GGUF has no words for. */
gs_status gs_gguf_hf_put_config(const gs_model_config *config, gs_gguf_writer *w, gs_error *err) GS_NODISCARD;
/* The divisors of the rotary frequencies, [head_dim/2], that the tensor "rope_freqs.weight" holds; *count 0: the model needs none.
 * The caller frees *divisors. */
gs_status gs_gguf_hf_rope_divisors(const gs_model_config *config, float **divisors, int64_t *count,
                                   gs_error *err) GS_NODISCARD;

#endif
