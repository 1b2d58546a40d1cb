/* Oniguruma (Ruby syntax) to PCRE2. What differs, and is rewritten:
 *   \s \S     White_Space; PCRE2's own \s has U+180E too
 *   \w        Alphabetic, M, Nd, Pc; PCRE2's own \w has L, N and '_'
 *   \p{Han}   a script; PCRE2 would take script extensions
 *   \v \uHHHH another character, or none, in PCRE2
 *   \p{L} \w \d  characters of Unicode 15 and 16, which PCRE2 may not know (unicode.h)
 * What has no counterpart, or a risky one, is refused by name. */
#include <loaders/tokenizer/regex.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <loaders/tokenizer/unicode.h>

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
    bool newer;            /* PCRE2 lacks the characters of unicode.h */
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

/* The rows of unicode.h that are no control, format or unassigned characters; with `format`, that are assigned. */
static void put_assigned(gs_strbuf *out, bool format) {
    for (const char *c = format ? "LMNPSZC" : "LMNPSZ"; *c; c++) gs_unicode_newer_ranges(c, 1, out);
}

/* \p{C} and \p{Cn}, among which PCRE2 counts what it does not know. */
static gs_status put_other(scan *s, const char *name, bool negated, bool in_class) {
    bool format = name[1] != 0;
    if (in_class && !negated) return refuse(s, "property C or Cn in a class (PCRE2's Unicode is too old)");
    if (!in_class) gs_strbuf_puts(s->out, negated ? "[" : "(?:(?![");
    if (negated) gs_strbuf_printf(s->out, "\\P{%s}", name);
    put_assigned(s->out, format);
    if (!in_class && negated) gs_strbuf_puts(s->out, "]");
    if (!negated) gs_strbuf_printf(s->out, "])\\p{%s})", name);
    return GS_OK;
}

/* name: as Oniguruma spells it */
static gs_status put_property(scan *s, const char *name, bool negated, bool in_class) {
    size_t n = strlen(name);
    const char *script = is_category(name, n) ? "" : "sc:";
    gs_strbuf more = {0};
    bool any = s->newer && gs_unicode_newer_ranges(name, n, &more);
    gs_status status = GS_OK;
    if (s->newer && (strcmp(name, "C") == 0 || strcmp(name, "Cn") == 0))
        status = put_other(s, name, negated, in_class);
    else if (!any)
        gs_strbuf_printf(s->out, "\\%c{%s%s}", negated ? 'P' : 'p', script, name);
    else if (in_class && negated)
        status = refuse(s, "negated property in a class (PCRE2's Unicode is too old)");
    else
        gs_strbuf_printf(s->out, "%s\\p{%s%s}%s%s", in_class ? "" : negated ? "[^" : "[", script, name, gs_strbuf_text(&more),
                         in_class ? "" : "]");
    if (more.failed) s->out->failed = true;
    gs_strbuf_clear(&more);
    return status;
}

/* s->i stands on 'p' or 'P' */
static gs_status property(scan *s, bool in_class) {
    bool negated = s->p[s->i] == 'P';
    char name[41];
    if (peek(s, 1) != '{') return refuse(s, "property without braces");
    s->i += 2;
    if (peek(s, 0) == '^') {
        negated = !negated;
        s->i++;
    }
    size_t begin = s->i;
    while (isalpha((unsigned char)peek(s, 0)) || peek(s, 0) == '_') s->i++;
    size_t n = s->i - begin;
    if (peek(s, 0) != '}' || n == 0 || n >= sizeof name) return refuse(s, "property name");
    memcpy(name, s->p + begin, n);
    name[n] = 0;
    s->i++;
    return put_property(s, name, negated, in_class);
}

/* \w and \W, behind the backslash */
static gs_status word_class(scan *s, bool negated, bool in_class) {
    static const char *const names[] = {"L", "M", "Nd"};
    if (in_class && negated) return refuse(s, "'\\W' in a class");
    if (!in_class) gs_strbuf_puts(s->out, negated ? "[^" : "[");
    gs_strbuf_puts(s->out, in_class ? WORD : WORD_ALONE);
    for (size_t i = 0; s->newer && i < GS_COUNTOF(names); i++) gs_unicode_newer_ranges(names[i], strlen(names[i]), s->out);
    if (!in_class) gs_strbuf_putc(s->out, ']');
    s->i++;
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
    if (c == 'p' || c == 'P') return property(s, in_class);
    if (c == 'w' || c == 'W') return word_class(s, c == 'W', in_class);
    if (c == 'd' || c == 'D') {
        s->i++;
        return put_property(s, "Nd", c == 'D', in_class);
    }
    const char *text = NULL;
    switch (c) {
    case 's': text = in_class ? SPACE_RANGES : "[" SPACE_RANGES "]"; break;
    case 'S': text = in_class ? NOT_SPACE_RANGES : "[^" SPACE_RANGES "]"; break;
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

static bool pcre2_lacks_newer(void) {
    char version[64] = "";
    if (pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, NULL) <= (int)sizeof version) pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
    return atoi(version) < 16;
}

gs_status gs_tokregex_translate(const char *pattern, size_t len, gs_strbuf *out, gs_error *err) {
    scan s = {.p = pattern, .len = len, .out = out, .err = err, .newer = pcre2_lacks_newer()};
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
