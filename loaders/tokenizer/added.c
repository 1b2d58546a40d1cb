#include <loaders/tokenizer/added.h>

#include <string.h>

#include <base/mem.h>
#include <loaders/tokenizer/utf8.h>

static gs_status new_node(gs_added *a, unsigned char byte, int32_t *out, gs_error *err) {
    if (a->nodes == 0) a->nodes = 1; /* so that 0 can say "none" in `first` */
    if (a->nodes >= INT32_MAX / 2)
        return GS_FAIL(err, GS_E_FORMAT, "added tokens of more than %d bytes", INT32_MAX / 2);
    if (a->nodes >= a->node_cap) {
        size_t cap = a->node_cap ? a->node_cap * 2 : 256;
        gs_added_node *node = gs_realloc(a->node, cap, sizeof *node);
        if (!node) return gs_error_nomem(err, cap * sizeof *node);
        a->node = node;
        a->node_cap = cap;
    }
    a->node[a->nodes] = (gs_added_node){-1, -1, -1, byte};
    *out = (int32_t)a->nodes++;
    return GS_OK;
}

static int32_t child_of(const gs_added *a, int32_t node, unsigned char byte) {
    int32_t k = a->node[node].child;
    while (k >= 0 && a->node[k].byte != byte) k = a->node[k].sibling;
    return k;
}

static gs_status descend(gs_added *a, int32_t *node, unsigned char byte, gs_error *err) {
    int32_t k = child_of(a, *node, byte);
    if (k < 0) {
        GS_TRY(new_node(a, byte, &k, err));
        a->node[k].sibling = a->node[*node].child;
        a->node[*node].child = k;
    }
    *node = k;
    return GS_OK;
}

gs_status gs_added_add(gs_added *a, const char *content, size_t len, const gs_added_token *token,
                       bool *existed, gs_error *err) {
    if (existed) *existed = false;
    if (len == 0) return GS_FAIL(err, GS_E_FORMAT, "added token %d is empty", token->id);
    if (a->count == a->token_cap) {
        size_t cap = a->token_cap ? a->token_cap * 2 : 32;
        gs_added_token *t = gs_realloc(a->token, cap, sizeof *t);
        if (!t) return gs_error_nomem(err, cap * sizeof *t);
        a->token = t;
        a->token_cap = cap;
    }
    unsigned char lead = (unsigned char)content[0];
    if (!a->first[lead]) GS_TRY(new_node(a, lead, &a->first[lead], err));
    int32_t node = a->first[lead];
    for (size_t i = 1; i < len; i++) GS_TRY(descend(a, &node, (unsigned char)content[i], err));
    if (a->node[node].token >= 0) {
        if (existed) *existed = true;
        return GS_OK;
    }
    a->node[node].token = (int32_t)a->count;
    a->token[a->count++] = *token;
    return GS_OK;
}

void gs_added_clear(gs_added *a) {
    gs_free(a->token);
    gs_free(a->node);
    memset(a, 0, sizeof *a);
}

int32_t gs_added_find(const gs_added *a, const char *content, size_t len) {
    int32_t node = len ? a->first[(unsigned char)content[0]] : 0;
    for (size_t i = 1; i < len && node > 0; i++) node = child_of(a, node, (unsigned char)content[i]);
    return node > 0 && a->node[node].token >= 0 ? a->token[a->node[node].token].id : -1;
}

/* Longest token that begins at text[i]; its end, or 0. */
static size_t longest_at(const gs_added *a, const char *text, size_t len, size_t i,
                         int32_t *token) {
    size_t end = 0;
    int32_t node = a->first[(unsigned char)text[i]];
    if (!node) return 0;
    while (node > 0) {
        if (a->node[node].token >= 0) {
            *token = a->node[node].token;
            end = i + 1;
        }
        if (++i >= len) break;
        node = child_of(a, node, (unsigned char)text[i]);
    }
    return end;
}

static bool word_beside(const char *text, size_t len, size_t begin, size_t end) {
    size_t n;
    return (begin > 0 && gs_char_is_word(gs_utf8_get(text + gs_utf8_before(text, begin), &n))) ||
           (end < len && gs_char_is_word(gs_utf8_get(text + end, &n)));
}

bool gs_added_next(const gs_added *a, const char *text, size_t len, size_t *at,
                   bool parse_special, gs_added_match *out) {
    if (a->count == 0) return false;
    /* the search itself goes on behind a token that does not count here */
    for (size_t i = *at; i < len;) {
        int32_t k = -1;
        size_t end = longest_at(a, text, len, i, &k), n;
        if (!end) {
            i++;
            continue;
        }
        const gs_added_token *t = &a->token[k];
        if ((t->special && !parse_special) ||
            (t->single_word && word_beside(text, len, i, end))) {
            i = end;
            continue;
        }
        size_t begin = i;
        while (t->lstrip && begin > *at) {
            size_t before = gs_utf8_before(text, begin);
            if (!gs_char_is_space(gs_utf8_get(text + before, &n))) break;
            begin = before;
        }
        while (t->rstrip && end < len && gs_char_is_space(gs_utf8_get(text + end, &n))) end += n;
        *out = (gs_added_match){begin, end, t->id};
        *at = end;
        return true;
    }
    return false;
}
