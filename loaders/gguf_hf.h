/* A GGUF file seen as a Hugging Face checkpoint: tensor names and config.json that the
 * rest of the house understands. Data only: one row an architecture (general.architecture)
 * with its model_type, class name and whether llama.cpp's q/k row interleaving applies; one
 * row a tensor name. */
#ifndef GS_LOADERS_GGUF_HF_H
#define GS_LOADERS_GGUF_HF_H

#include <base/json.h>
#include <loaders/gguf.h>

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
 * the metadata; "llama3" (low 1, high 4, original 8192) where rope_freqs follow its formula,
 * any other rope_freqs or rope.scaling.type: GS_E_UNSUPPORTED. */
gs_status gs_gguf_hf_config(const gs_gguf_hf *h, cJSON **out, gs_error *err) GS_NODISCARD;

#endif
