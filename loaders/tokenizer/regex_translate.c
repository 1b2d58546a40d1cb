/* Oniguruma (Ruby syntax) to PCRE2. What differs, and is rewritten:
 *   \s \S     White_Space; PCRE2's own \s has U+180E too
 *   \w        Alphabetic, M, Nd, Pc; PCRE2's own \w has L, N and '_'
 *   \p{Han}   a script; PCRE2 would take script extensions
 *   \v \uHHHH another character, or none, in PCRE2
 * What has no counterpart, or a risky one, is refused by name. */
#include <loaders/tokenizer/regex.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define SPACE_RANGES                                                                     \
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"       \
    "\\x{202f}\\x{205f}\\x{3000}"
/* the complement, for \S inside a class */
#define NOT_SPACE_RANGES                                                                 \
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-"      \
    "\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-"       \
    "\\x{2fff}\\x{3001}-\\x{10ffff}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
/* outside a class Oniguruma asks a Latin-1 table first, which has superscripts and
 * fractions among the word characters */
#define WORD_ALONE WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

enum { MAX_GROUPS = 200 };

typedef struct scan {
    const char *p;
    size_t len, i;
    gs_strbuf *out;
    gs_error *err;
    int depth;             /* open groups */
    bool fold[MAX_GROUPS]; /* by depth: case does not count */
} scan;

static gs_status refuse(scan *s, const char *what) {
    return GS_FAIL(s->err, GS_E_UNSUPPORTED, "regular expression: %s at offset %zu", what, s->i);
}

static char peek(const scan *s, size_t ahead) {
    return s->i + ahead < s->len ? s->p[s->i + ahead] : 0;
}

/* general categories are spelled alike in both; everything else must be a script */
static bool is_category(const char *name, size_t n) {
    static const char *const all[] = {"L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me",
                                      "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps", "Pe", "Pi",
                                      "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl",
                                      "Zp", "C", "Cc", "Cf", "Cs", "Co", "Cn"};
    for (size_t i = 0; i < GS_COUNTOF(all); i++)
        if (strlen(all[i]) == n && memcmp(all[i], name, n) == 0) return true;
    return false;
}

/* s->i stands on 'p' or 'P' */
static gs_status property(scan *s) {
    bool negated = s->p[s->i] == 'P';
    if (peek(s, 1) != '{') return refuse(s, "property without braces");
    s->i += 2;
    if (peek(s, 0) == '^') {
        negated = !negated;
        s->i++;
    }
    size_t begin = s->i;
    while (isalpha((unsigned char)peek(s, 0)) || peek(s, 0) == '_') s->i++;
    size_t n = s->i - begin;
    if (peek(s, 0) != '}' || n == 0 || n > 40) return refuse(s, "property name");
    s->i++;
    gs_strbuf_puts(s->out, negated ? "\\P{" : "\\p{");
    if (!is_category(s->p + begin, n)) gs_strbuf_puts(s->out, "sc:");
    gs_strbuf_append(s->out, s->p + begin, n);
    gs_strbuf_putc(s->out, '}');
    return GS_OK;
}

/* \xHH (below 80: above it Oniguruma means a byte), \x{H...}, \uHHHH; s->i on 'x' or 'u' */
static gs_status code_point(scan *s) {
    char kind = s->p[s->i++];
    bool braces = kind == 'x' && peek(s, 0) == '{';
    if (braces) s->i++;
    size_t begin = s->i, most = braces ? 6 : kind == 'u' ? 4 : 2;
    while (s->i - begin < most && isxdigit((unsigned char)peek(s, 0))) s->i++;
    size_t n = s->i - begin;
    if (n == 0 || (braces && peek(s, 0) != '}') || (kind == 'u' && n != 4))
        return refuse(s, "malformed character code");
    if (kind == 'x' && !braces && (n != 2 || s->p[begin] > '7'))
        return refuse(s, "byte escape");
    if (braces) s->i++;
    gs_strbuf_puts(s->out, "\\x{");
    gs_strbuf_append(s->out, s->p + begin, n);
    gs_strbuf_putc(s->out, '}');
    return GS_OK;
}

/* s->i stands on the character after the backslash. *is_set: it names a set, so it cannot
 * begin or end a range. */
static gs_status escape(scan *s, bool in_class, bool *is_set) {
    char c = peek(s, 0);
    *is_set = true;
    if (s->i >= s->len) return refuse(s, "lone backslash");
    if (c == 'p' || c == 'P') return property(s);
    const char *text = NULL;
    switch (c) {
    case 's': text = in_class ? SPACE_RANGES : "[" SPACE_RANGES "]"; break;
    case 'S': text = in_class ? NOT_SPACE_RANGES : "[^" SPACE_RANGES "]"; break;
    case 'w': text = in_class ? WORD : "[" WORD_ALONE "]"; break;
    case 'W': text = in_class ? NULL : "[^" WORD_ALONE "]"; break;
    case 'd': text = "\\p{Nd}"; break;
    case 'D': text = "\\P{Nd}"; break;
    default: *is_set = false; break;
    }
    switch (*is_set ? 0 : c) {
    case 0: break;
    case 'x':
    case 'u': return code_point(s);
    case 'n': text = "\\n"; break;
    case 'r': text = "\\r"; break;
    case 't': text = "\\t"; break;
    case 'f': text = "\\f"; break;
    case 'a': text = "\\a"; break;
    case 'e': text = "\\e"; break;
    case 'v': text = "\\x0b"; break;
    case 'b': text = in_class ? "\\x08" : NULL; break;
    case 'A': text = in_class ? NULL : "\\A"; break;
    case 'z': text = in_class ? NULL : "\\z"; break;
    default:
        if (isalnum((unsigned char)c)) break;
        gs_strbuf_putc(s->out, '\\');
        gs_strbuf_putc(s->out, c); /* the rest of a long character follows by itself */
        s->i++;
        return GS_OK;
    }
    if (!text) {
        char what[40];
        snprintf(what, sizeof what, "'\\%c'%s", c, in_class ? " in a class" : "");
        return refuse(s, what);
    }
    gs_strbuf_puts(s->out, text);
    s->i++;
    return GS_OK;
}

/* Where case does not count, Oniguruma also lets one character match two (sharp s and
 * "ss", ligatures), PCRE2 does not. Of ASCII letters only these pairs are concerned. */
static gs_status check_fold(scan *s) {
    static const char pairs[][3] = {"ss", "ff", "fi", "fl", "st"};
    if (!s->fold[s->depth]) return GS_OK;
    if ((unsigned char)peek(s, 0) >= 0x80) return refuse(s, "(?i) with a character beyond ASCII");
    for (size_t k = 0; k < GS_COUNTOF(pairs); k++)
        if (tolower((unsigned char)peek(s, 0)) == pairs[k][0] &&
            tolower((unsigned char)peek(s, 1)) == pairs[k][1])
            return refuse(s, "(?i) with letters that fold into one character");
    return GS_OK;
}

/* s->i stands behind '[' */
static gs_status char_class(scan *s) {
    gs_strbuf_putc(s->out, '[');
    if (peek(s, 0) == '^') {
        gs_strbuf_putc(s->out, '^');
        s->i++;
    }
    if (peek(s, 0) == ']') return refuse(s, "empty class");
    bool after_dash = false; /* the last character was a '-' that may make a range */
    for (bool first = true; s->i < s->len; first = false) {
        char c = s->p[s->i];
        if (c == ']') {
            gs_strbuf_putc(s->out, ']');
            s->i++;
            return GS_OK;
        }
        if (c == '[') return refuse(s, "class inside a class");
        if (c == '&' && peek(s, 1) == '&') return refuse(s, "intersection of classes");
        if (c == '\\') {
            bool is_set;
            s->i++;
            GS_TRY(escape(s, true, &is_set));
            if (is_set && (after_dash || (peek(s, 0) == '-' && peek(s, 1) != ']')))
                return refuse(s, "range that begins or ends with a set");
            after_dash = false;
            continue;
        }
        if (s->fold[s->depth] && (unsigned char)c >= 0x80)
            return refuse(s, "(?i) with a character beyond ASCII");
        after_dash = c == '-' && !first;
        gs_strbuf_putc(s->out, c);
        s->i++;
    }
    return refuse(s, "class without end");
}

/* s->i stands behind '(' */
static gs_status group(scan *s) {
    static const char *const kinds[] = {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:", "?-i:"};
    gs_strbuf_putc(s->out, '(');
    if (s->depth + 1 == MAX_GROUPS) return refuse(s, "too many open groups");
    s->depth++;
    s->fold[s->depth] = s->fold[s->depth - 1];
    if (peek(s, 0) == '*') return refuse(s, "control verb");
    if (peek(s, 0) != '?') return GS_OK;
    for (size_t k = 0; k < GS_COUNTOF(kinds); k++) {
        size_t n = strlen(kinds[k]);
        if (s->len - s->i < n || memcmp(s->p + s->i, kinds[k], n) != 0) continue;
        gs_strbuf_puts(s->out, kinds[k]);
        s->i += n;
        if (kinds[k][n - 2] == 'i') s->fold[s->depth] = kinds[k][1] != '-';
        return GS_OK;
    }
    /* at the very front (?i) means the same in both languages, later it does not */
    if (s->i == 1 && s->len >= 4 && memcmp(s->p, "(?i)", 4) == 0) {
        gs_strbuf_puts(s->out, "?i)");
        s->i += 3;
        s->fold[--s->depth] = true;
        return GS_OK;
    }
    return refuse(s, "this kind of group");
}

/* s->i stands on '{' */
static gs_status braces(scan *s) {
    size_t k = 1, digits = 0;
    if (peek(s, 1) == ',') return refuse(s, "'{,n}'");
    while (isdigit((unsigned char)peek(s, k))) k++, digits++;
    bool exact = peek(s, k) != ',';
    if (!exact) {
        k++;
        while (isdigit((unsigned char)peek(s, k))) k++;
    }
    if (digits == 0 || peek(s, k) != '}') {
        gs_strbuf_puts(s->out, "\\{");
        s->i++;
        return GS_OK;
    }
    char next = peek(s, k + 1);
    if (next == '+' || (exact && next == '?')) return refuse(s, "quantifier after '{n}'");
    gs_strbuf_append(s->out, s->p + s->i, k + 1);
    s->i += k + 1;
    return GS_OK;
}

gs_status gs_tokregex_translate(const char *pattern, size_t len, gs_strbuf *out, gs_error *err) {
    scan s = {.p = pattern, .len = len, .out = out, .err = err};
    while (s.i < s.len) {
        char c = s.p[s.i];
        bool is_set;
        if (c == '\\') {
            s.i++;
            GS_TRY(escape(&s, false, &is_set));
        } else if (c == '[') {
            s.i++;
            GS_TRY(char_class(&s));
        } else if (c == '(') {
            s.i++;
            GS_TRY(group(&s));
        } else if (c == '{') {
            GS_TRY(braces(&s));
        } else if (c == 0) {
            return refuse(&s, "NUL");
        } else {
            GS_TRY(check_fold(&s));
            if (c == ')' && s.depth > 0) s.depth--;
            gs_strbuf_putc(out, c);
            s.i++;
        }
    }
    return out->failed ? GS_FAIL(err, GS_E_NOMEM, "no memory for a regular expression") : GS_OK;
}
