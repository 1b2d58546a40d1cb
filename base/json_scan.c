#include <base/json_scan.h>

#include <base/json.h>
#include <base/utf8.h>

#include <string.h>

/* cJSON reads a number through a buffer of 64 bytes and cuts what is longer. */
enum { LONGEST_NUMBER = 63 };

typedef struct scanner {
    const char *text;
    size_t len, at;
    const char *wrong; /* what is wrong at `at` */
} scanner;

static bool fail(scanner *s, const char *wrong) {
    s->wrong = wrong;
    return false;
}

static int peek(const scanner *s) {
    return s->at < s->len ? (unsigned char)s->text[s->at] : -1;
}

static void skip_space(scanner *s) {
    for (int c = peek(s); c == ' ' || c == '\n' || c == '\r' || c == '\t'; c = peek(s))
        s->at++;
}

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}

/* Four hex digits at `at`; -1 when they are not. */
static long hex4(const scanner *s, size_t at) {
    long v = 0;
    if (s->len < 4 || at > s->len - 4) return -1;
    for (size_t i = 0; i < 4; i++) {
        int c = (unsigned char)s->text[at + i];
        if (is_digit(c)) v = v * 16 + (c - '0');
        else if (c >= 'a' && c <= 'f') v = v * 16 + (c - 'a' + 10);
        else if (c >= 'A' && c <= 'F') v = v * 16 + (c - 'A' + 10);
        else return -1;
    }
    return v;
}

/* After the backslash. */
static bool scan_escape(scanner *s) {
    int c = peek(s);
    if (c > 0 && strchr("\"\\/bfnrt", c)) {
        s->at++;
        return true;
    }
    if (c != 'u') return fail(s, "unknown escape");
    long unit = hex4(s, s->at + 1);
    if (unit < 0) return fail(s, "\\u without four hex digits");
    if (unit == 0) return fail(s, "NUL in a string");
    s->at += 5;
    if (unit < 0xd800 || unit > 0xdfff) return true;
    /* half a surrogate pair: the other half must follow */
    bool pair = unit < 0xdc00 && s->len - s->at >= 6 && s->text[s->at] == '\\'
                && s->text[s->at + 1] == 'u';
    long low = pair ? hex4(s, s->at + 2) : -1;
    if (low < 0xdc00 || low > 0xdfff) return fail(s, "half a surrogate pair");
    s->at += 6;
    return true;
}

/* At the opening quote. */
static bool scan_string(scanner *s) {
    s->at++;
    while (s->at < s->len) {
        unsigned char c = (unsigned char)s->text[s->at];
        if (c == '"') {
            s->at++;
            return true;
        }
        if (c == '\\') {
            s->at++;
            if (!scan_escape(s)) return false;
        } else if (c < 0x20) {
            return fail(s, c ? "control character in a string" : "NUL in a string");
        } else {
            size_t n = gs_utf8_sequence(s->text + s->at, s->len - s->at);
            if (n == 0) return fail(s, "invalid UTF-8");
            s->at += n;
        }
    }
    return fail(s, "unterminated string");
}

static bool scan_digits(scanner *s) {
    if (!is_digit(peek(s))) return fail(s, "digit expected");
    while (is_digit(peek(s))) s->at++;
    return true;
}

static bool scan_number(scanner *s) {
    size_t start = s->at;
    if (peek(s) == '-') s->at++;
    if (peek(s) == '0') {
        s->at++;
        if (is_digit(peek(s))) return fail(s, "number with a leading zero");
    } else if (!scan_digits(s)) {
        return false;
    }
    if (peek(s) == '.') {
        s->at++;
        if (!scan_digits(s)) return false;
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-') s->at++;
        if (!scan_digits(s)) return false;
    }
    if (s->at - start > LONGEST_NUMBER) return fail(s, "number of more than 63 characters");
    return true;
}

static bool scan_word(scanner *s, const char *word) {
    size_t n = strlen(word);
    if (s->len - s->at < n || memcmp(s->text + s->at, word, n) != 0)
        return fail(s, "value expected");
    s->at += n;
    return true;
}

static bool scan_scalar(scanner *s) {
    int c = peek(s);
    if (c == '"') return scan_string(s);
    if (c == '-' || is_digit(c)) return scan_number(s);
    if (c == 't') return scan_word(s, "true");
    if (c == 'f') return scan_word(s, "false");
    if (c == 'n') return scan_word(s, "null");
    return fail(s, c < 0 ? "the text ends too early" : "value expected");
}

static bool scan_key(scanner *s) {
    skip_space(s);
    if (peek(s) != '"') return fail(s, "key expected");
    if (!scan_string(s)) return false;
    skip_space(s);
    if (peek(s) != ':') return fail(s, "':' expected");
    s->at++;
    return true;
}

/* After a value: eats ',' (true, *more), or closing brackets as long as they close. */
static bool scan_after(scanner *s, const char *open, int *depth) {
    while (*depth > 0) {
        bool object = open[*depth - 1] == '{';
        skip_space(s);
        int c = peek(s);
        if (c == ',') {
            s->at++;
            return !object || scan_key(s);
        }
        if (c != (object ? '}' : ']'))
            return fail(s, c < 0 ? "the text ends too early"
                                 : "',' or closing bracket expected");
        s->at++;
        (*depth)--;
    }
    return true;
}

/* One value, with a stack of open brackets instead of recursion. */
static bool scan_document(scanner *s) {
    char open[GS_JSON_MAX_DEPTH];
    int depth = 0;
    do {
        skip_space(s);
        int c = peek(s);
        if (c == '{' || c == '[') {
            if (depth == GS_JSON_MAX_DEPTH) return fail(s, "nested too deeply");
            open[depth++] = (char)c;
            s->at++;
            skip_space(s);
            if (peek(s) != (c == '{' ? '}' : ']')) {
                if (c == '{' && !scan_key(s)) return false;
                continue;
            }
            s->at++;
            depth--;
        } else if (!scan_scalar(s)) {
            return false;
        }
        if (!scan_after(s, open, &depth)) return false;
    } while (depth > 0);
    skip_space(s);
    return s->at == s->len || fail(s, "bytes after the end of the document");
}

gs_status gs_json_scan(const char *text, size_t len, gs_error *err) {
    scanner s = {text, len, 0, NULL};
    if (scan_document(&s)) return GS_OK;
    size_t line = 1, start = 0;
    for (size_t i = 0; i < s.at && i < len; i++) {
        if (text[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    return GS_FAIL(err, GS_E_FORMAT, "JSON line %zu column %zu: %s", line, s.at - start + 1,
                   s.wrong);
}
