/* U+0000 in the strings of tokenizer.json. InternLM2's vocabulary has it as a piece, while C strings, so cJSON's, cannot
 * hold it: in the text another character stands in for it, a noncharacter that the text does not have. */
#ifndef GS_LOADERS_TOKENIZER_JSON_NUL_H
#define GS_LOADERS_TOKENIZER_JSON_NUL_H

#include <base/strbuf.h>

typedef struct gs_json_nul {
    unsigned char mark[3]; /* UTF-8 of the stand-in; 0: none is needed */
    size_t count;          /* in the text */
    size_t taken;          /* put back */
} gs_json_nul;

/* *n zeroed and out empty when the text has no escaped NUL, else out is the text with stand-ins. GS_E_UNSUPPORTED when all
 * noncharacters are taken, GS_E_NOMEM. */
gs_status gs_json_nul_hide(const char *text, size_t len, gs_strbuf *out, gs_json_nul *n, gs_error *err) GS_NODISCARD;
/* Puts NULs back into s[0, len), a string of the tree; its length then. */
size_t gs_json_nul_show(gs_json_nul *n, char *s, size_t len);

#endif
