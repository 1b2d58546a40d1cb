/* Text to token ids, for every vocabulary a checkpoint may carry:
 *   tokenizer.json   byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM, DeepSeek ...) with its
 *                    pre-tokenizer sequence and added tokens; also BPE with Metaspace/Prepend
 *                    and byte fallback (Llama-2 style);
 *   tokenizer.model  SentencePiece (the library; BPE, unigram, words, characters);
 *   GGUF             tokenizer.ggml.model "gpt2" (BPE, pre-tokenizer by tokenizer.ggml.pre)
 *                    and "llama" (SentencePiece).
 * Ids are those of the original libraries, or there is an error: a part of tokenizer.json, a
 * construct of a regular expression or a pre-tokenizer's name that is not known exactly is
 * GS_E_UNSUPPORTED and named. Encoding is deterministic; a tokenizer is read-only and used
 * by any number of threads. Text that is not valid UTF-8 is refused (GS_E_FORMAT).
 */
#ifndef GS_LOADERS_TOKENIZER_H
#define GS_LOADERS_TOKENIZER_H

#include <base/context.h>
#include <loaders/config.h>
#include <loaders/gguf_writer.h>

typedef struct gs_tokenizer gs_tokenizer;

typedef enum gs_bos_mode { GS_BOS_AUTO, GS_BOS_ALWAYS, GS_BOS_NEVER } gs_bos_mode;

/* path: a directory (tokenizer.json preferred, then tokenizer.model, then the only .gguf file), such a file itself.
 * tokenizer_config.json beside it is read for add_bos_token, bos_token, add_eos_token and eos_token. */
gs_status gs_tokenizer_open(const char *path, gs_tokenizer **out, gs_error *err) GS_NODISCARD;
gs_status gs_tokenizer_from_gguf(const gs_gguf *g, gs_tokenizer **out,
                                 gs_error *err) GS_NODISCARD;
/* tokenizer.json text (fuzzing, tests). */
gs_status gs_tokenizer_from_json(const char *text, size_t len, gs_tokenizer **out,
                                 gs_error *err) GS_NODISCARD;
void gs_tokenizer_destroy(gs_tokenizer *t);

/* "byte-level BPE", "SentencePiece BPE", ...; static text */
const char *gs_tokenizer_kind(const gs_tokenizer *t);
int64_t gs_tokenizer_vocab(const gs_tokenizer *t); /* ids are below this */
int32_t gs_tokenizer_bos(const gs_tokenizer *t);   /* -1 when there is none */
/* Whether the tokenizer's own configuration puts a BOS first: add_bos_token of
 * tokenizer_config.json or GGUF, else the template of tokenizer.json; SentencePiece models and
 * GGUF kinds that say nothing follow their usual default. */
bool gs_tokenizer_adds_bos(const gs_tokenizer *t);
bool gs_tokenizer_adds_eos(const gs_tokenizer *t); /* an EOS last, likewise; false where nothing is said */

/* ids (gs_free) of the text, BOS by `bos`; an EOS ends them only with GS_BOS_AUTO, where the configuration (add_eos_token, the
 * template) says so. Added tokens in the text are
 * recognised: those marked special (control pieces of SentencePiece and GGUF) only when
 * parse_special, else they are plain text; the others (user-defined pieces) always, as in
 * Hugging Face's tokenizers and llama.cpp. SentencePiece begins anew behind each, with its
 * dummy space. Long texts of SentencePiece models are cut at spaces where that is exact and
 * worked on by the team of cx; the result does not depend on it. Byte-pair models run on the
 * calling thread. cx may be NULL. Texts from 512 MiB on are GS_E_INVALID; those that a normalizer would make more than 16
 * times as long, or with more than 1000 marks on one character, GS_E_UNSUPPORTED. */
gs_status gs_tokenizer_encode(const gs_tokenizer *t, gs_context *cx, const char *text, size_t len,
                              gs_bos_mode bos, bool parse_special, int32_t **ids, size_t *count,
                              gs_error *err) GS_NODISCARD;

/* Files that the ecosystem can read, made from a GGUF vocabulary: "tokenizer.json" (BPE) or
 * "tokenizer.model" (SentencePiece) plus "tokenizer_config.json", written into dir (which
 * exists). Read back they give the same ids. Each file appears whole or not at all. */
gs_status gs_tokenizer_export_gguf(const gs_gguf *g, const char *dir, gs_error *err) GS_NODISCARD;

/* The other direction: the vocabulary of a model's directory as tokenizer.ggml.* pairs. tokenizer.model (byte-pair) becomes
 * "llama", a tokenizer.json with a byte-level BPE "gpt2"; tables shorter than config's vocabulary are filled up with unused
 * pieces. What GGUF or this cannot say exactly becomes tokenizer.ggml.model "none" (the file then takes token ids, no
 * text), or a tokenizer.ggml.pre "default"; `why` then says so in a line for the user, else it stays empty.
 * GS_E_FORMAT for files that are broken. */
gs_status gs_tokenizer_put_gguf(const char *dir, const gs_model_config *config, gs_gguf_writer *w, gs_strbuf *why,
                                gs_error *err) GS_NODISCARD;

#endif
