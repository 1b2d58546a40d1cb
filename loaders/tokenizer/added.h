/* Added tokens: pieces that are found in the text itself, before anything else looks at
 * it. The longest token at the leftmost place wins; matches do not overlap.
 *
 *   gs_added a = {0};
 *   gs_added_add(&a, ...) for each token, in any order;
 *   gs_added_next(&a, ...) any number of threads.
 *
 * Flags as in tokenizer.json: `special` tokens count only where the caller wants them;
 * lstrip/rstrip swallow the white space beside a match; single_word wants no word character
 * beside it. */
#ifndef GS_LOADERS_TOKENIZER_ADDED_H
#define GS_LOADERS_TOKENIZER_ADDED_H

#include <base/error.h>

typedef struct gs_added_token {
    int32_t id;
    bool special, lstrip, rstrip, single_word;
} gs_added_token;

typedef struct gs_added_node {
    int32_t child, sibling; /* -1: none */
    int32_t token;          /* index of the token that ends here, or -1 */
    unsigned char byte;
} gs_added_node;

typedef struct gs_added {
    gs_added_token *token;
    size_t count, token_cap;
    gs_added_node *node;
    size_t nodes, node_cap;
    int32_t first[256]; /* node of each first byte, or 0 (node 0 is never used) */
} gs_added;

/* content: non-empty. *existed (may be NULL): the same content is there already, and stays. */
gs_status gs_added_add(gs_added *a, const char *content, size_t len, const gs_added_token *token,
                       bool *existed, gs_error *err) GS_NODISCARD;
void gs_added_clear(gs_added *a);

typedef struct gs_added_match {
    size_t begin, end; /* with the white space that the token swallows */
    int32_t id;
} gs_added_match;

/* The id of the token whose content this is, or -1. Linear in len. */
int32_t gs_added_find(const gs_added *a, const char *content, size_t len);
/* The next token at or after *at, where the previous match ended; false when there is
 * none. *at moves on with it. text: valid UTF-8. */
bool gs_added_next(const gs_added *a, const char *text, size_t len, size_t *at,
                   bool parse_special, gs_added_match *out);

#endif
