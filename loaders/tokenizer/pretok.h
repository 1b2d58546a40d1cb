/* Pre-tokenizers: the chain of cuts that turns a text into words before BPE.
 *
 * A chain is the flattened "pre_tokenizer" of tokenizer.json (a Sequence of Sequences is
 * the same cuts in the same order). Each stage may change its piece (a leading space, ' '
 * to U+2581) and then cuts it by a matcher; every sub-piece goes on to the next stage, as
 * in Hugging Face's tokenizers. ByteLevel may only come last: behind it a text is bytes.
 *
 * The chain is read-only after parsing; each thread brings its own gs_pretok_run. */
#ifndef GS_LOADERS_TOKENIZER_PRETOK_H
#define GS_LOADERS_TOKENIZER_PRETOK_H

#include <base/json.h>
#include <loaders/tokenizer/regex.h>

enum { GS_PRETOK_MAX_STAGES = 32 };

typedef enum gs_split_behavior {
    GS_SPLIT_ISOLATED, GS_SPLIT_REMOVED, GS_SPLIT_MERGED_PREVIOUS, GS_SPLIT_MERGED_NEXT,
    GS_SPLIT_CONTIGUOUS
} gs_split_behavior;

typedef enum gs_pretok_prefix {
    GS_PREFIX_NEVER, GS_PREFIX_FIRST, GS_PREFIX_ALWAYS
} gs_pretok_prefix;

typedef bool gs_char_class(uint32_t cp);

/* A matcher is one of re, literal, cls; with none of them the piece goes on uncut. */
typedef struct gs_pretok_stage {
    gs_pretok_prefix prefix; /* put `space` in front of a piece that does not begin with it */
    char *space;             /* ' ' (ByteLevel) or Metaspace's replacement; owned */
    bool replace_spaces;     /* ' ' -> `space` before */
    gs_tokregex *re;
    char *literal; /* non-empty, owned */
    size_t literal_len;
    gs_char_class *cls;
    gs_split_behavior behavior;
    bool invert;
} gs_pretok_stage;

typedef struct gs_pretok {
    gs_pretok_stage stage[GS_PRETOK_MAX_STAGES];
    int count;
    bool byte_level;
} gs_pretok;

/* json: the value of "pre_tokenizer", NULL or null for none. `p` starts zeroed; on failure
 * it must still be cleared. Unknown kinds, options and behaviors: GS_E_UNSUPPORTED. */
gs_status gs_pretok_parse(gs_pretok *p, const cJSON *json, gs_error *err) GS_NODISCARD;
void gs_pretok_clear(gs_pretok *p);

/* {"Regex": "..."} or {"String": "..."}, as in Split and Replace: sets one of the two. */
gs_status gs_pattern_parse(const cJSON *pattern, gs_tokregex **re, char **literal,
                           gs_error *err) GS_NODISCARD;

typedef struct gs_pretok_run {
    const gs_pretok *chain;
    gs_tokregex_run *re[GS_PRETOK_MAX_STAGES];
    gs_strbuf buffer[GS_PRETOK_MAX_STAGES];
    /* where words go; the bytes are valid during the call */
    gs_status (*word)(void *ctx, const char *text, size_t len, gs_error *err);
    void *ctx;
} gs_pretok_run;

/* `r` starts zeroed with chain, word and ctx set; on failure it must still be cleared. */
gs_status gs_pretok_run_init(gs_pretok_run *r, gs_error *err) GS_NODISCARD;
void gs_pretok_run_clear(gs_pretok_run *r);
/* text: valid UTF-8; first: it begins where the whole text begins. */
gs_status gs_pretok_cut(gs_pretok_run *r, const char *text, size_t len, bool first,
                        gs_error *err) GS_NODISCARD;

#endif
