/* Text to token ids, for every vocabulary a checkpoint may carry:
 *   tokenizer.json   byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM, DeepSeek ...) with its
 *                    pre-tokenizer sequence and added tokens; also BPE with Metaspace/Prepend
 *                    and byte fallback (Llama-2 style);
 *   tokenizer.model  SentencePiece (the library);
 *   GGUF             tokenizer.ggml.model "gpt2" (BPE, pre-tokenizer by tokenizer.ggml.pre)
 *                    and "llama" (SentencePiece).
 * Encoding is deterministic and thread safe; input that is not valid UTF-8 is refused
 * (GS_E_FORMAT) unless stated. One row a kind in a table: encode, destroy.
 */
#ifndef GS_LOADERS_TOKENIZER_H
#define GS_LOADERS_TOKENIZER_H

#include <base/context.h>
#include <loaders/gguf.h>

typedef struct gs_tokenizer gs_tokenizer;

typedef enum gs_bos_mode { GS_BOS_AUTO, GS_BOS_ALWAYS, GS_BOS_NEVER } gs_bos_mode;

/* path: a directory (tokenizer.json preferred, then tokenizer.model), such a file itself, or
 * a .gguf file. tokenizer_config.json beside it is read for add_bos_token. */
gs_status gs_tokenizer_open(const char *path, gs_tokenizer **out, gs_error *err) GS_NODISCARD;
gs_status gs_tokenizer_from_gguf(const gs_gguf *g, gs_tokenizer **out, gs_error *err) GS_NODISCARD;
/* tokenizer.json text (fuzzing, tests). */
gs_status gs_tokenizer_from_json(const char *text, size_t len, gs_tokenizer **out, gs_error *err) GS_NODISCARD;
void gs_tokenizer_destroy(gs_tokenizer *t);

const char *gs_tokenizer_kind(const gs_tokenizer *t); /* "byte-level BPE", "SentencePiece BPE", ... */
int64_t gs_tokenizer_vocab(const gs_tokenizer *t);    /* ids are below this */
int32_t gs_tokenizer_bos(const gs_tokenizer *t);      /* -1 when there is none */
/* Whether the tokenizer's own configuration puts a BOS first. */
bool gs_tokenizer_adds_bos(const gs_tokenizer *t);

/* ids (gs_free) of the text, BOS by `bos`. Special/added tokens in the text are recognised
 * when parse_special, else encoded as plain text. Long texts are cut at pre-token boundaries
 * and worked on by the team of cx; the result does not depend on it. cx may be NULL. */
gs_status gs_tokenizer_encode(const gs_tokenizer *t, gs_context *cx, const char *text, size_t len,
                              gs_bos_mode bos, bool parse_special, int32_t **ids, size_t *count,
                              gs_error *err) GS_NODISCARD;

/* Files that the ecosystem can read, made from a GGUF vocabulary: "tokenizer.json" (BPE) or
 * "tokenizer.model" (SentencePiece) plus "tokenizer_config.json", written into dir. */
gs_status gs_tokenizer_export_gguf(const gs_gguf *g, const char *dir, gs_error *err) GS_NODISCARD;

#endif
