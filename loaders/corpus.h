/* A calibration set: short token sequences taken from a file, told apart by its name's ending.
 *
 *   plain text   UTF-8, tokenised as a whole and cut into consecutive windows of `length` tokens; a
 *                rest shorter than a window is dropped, unless it is all there is;
 *   .jsonl       (or .json) one JSON object a line, one sequence a line, cut after `length` tokens. Its
 *                text is in `field`, or else in the first of the usual fields that is there and not
 *                null (GS_CORPUS_FIELDS): a string; a list of texts, joined by newlines; or an object,
 *                whose "content", "value" or "text" it is. So a chat (messages: [{role, content}]) is
 *                its contents, a line each, without a template. A backslash that begins no escape of
 *                JSON's (\d of an unescaped formula) is read as it stands, and noted;
 *   .i32         little-endian int32 token ids, cut like a text.
 *
 * seed 0 takes the first `samples` sequences in file order; any other seed takes `samples` of them
 * at random without replacement, in the order drawn: Fisher-Yates, which for place i of n takes
 * place i + (next of splitmix64) mod (n - i). The same file, settings and seed give the same sequences
 * everywhere. Lines with a text of fewer than two tokens are left out, and noted. Lines that are
 * not needed are not looked at.
 */
#ifndef GS_LOADERS_CORPUS_H
#define GS_LOADERS_CORPUS_H

#include <base/context.h>
#include <loaders/tokenizer.h>

#define GS_CORPUS_FIELDS "text", "content", "prompt", "inputs_pretokenized", "question", "instruction", \
    "messages", "conversations"

typedef struct gs_corpus_options {
    const char *path;
    const char *field;   /* of a .jsonl line; NULL: the usual ones */
    int64_t samples;     /* sequences wanted; 0: all */
    int64_t length;      /* tokens a sequence at most; >= 2 */
    uint64_t seed;
    int bos;             /* as gs_evaluate_options: 0 as the tokenizer says, 1 always, -1 never;
                          * a text gets one at its start, each line of a .jsonl its own */
    int64_t vocab;       /* ids must be below it */
} gs_corpus_options;

typedef struct gs_corpus {
    int32_t *ids;       /* [tokens], sequences end to end */
    int64_t *starts;    /* [sequences + 1] */
    int64_t sequences, tokens;
    uint64_t hash;      /* gs_hash64 of two hashes: that of ids and that of starts */
    char note[240];     /* what a user should know ("12 of 128 samples wanted are there"), or "" */
} gs_corpus;

/* tokenizer may be NULL for .i32 files only; cx may be NULL. Errors, each one line naming the file
 * (and line), with *out zeroed: GS_E_INVALID length < 2, samples < 0, no tokenizer; GS_E_FORMAT or
 * GS_E_IO unreadable (gs_error_errno); GS_E_FORMAT above 1 GiB, an empty file or no usable text, fewer
 * than two tokens, not UTF-8 (with the byte offset), a line above 16 MiB, one that is no JSON
 * (base/json.h: NUL and half surrogate pairs are refused), has none of the fields or a field that is
 * no text, an id out of the vocabulary in a sequence taken, a size that is no multiple of four;
 * GS_E_CANCELLED. Fewer sequences than wanted is a note, not an error. Blank lines, a byte order mark
 * and carriage returns are skipped. In memory are the file, one line's tree, and the result. */
gs_status gs_corpus_load(gs_context *cx, const gs_tokenizer *tokenizer, const gs_corpus_options *options,
                         gs_corpus *out, gs_error *err) GS_NODISCARD;
/* The same of bytes that are in memory already; options->path only says what they are. */
gs_status gs_corpus_from_memory(gs_context *cx, const gs_tokenizer *tokenizer, const gs_corpus_options *options,
                                const void *data, size_t len, gs_corpus *out, gs_error *err) GS_NODISCARD;
void gs_corpus_clear(gs_corpus *c); /* safe on a zeroed struct */

#endif
