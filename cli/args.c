#include <cli/args.h>

#include <base/nearest.h>
#include <base/numbers.h>

#include <stdio.h>
#include <string.h>

/* The long form: what follows the comma of "-o,--output", or all of it. */
static const char *long_name(const gs_arg *a) {
    const char *comma = strchr(a->name, ',');
    return comma ? comma + 1 : a->name;
}

static bool matches(const gs_arg *a, const char *word, size_t len) {
    const char *name = long_name(a);
    if (strlen(name) == len && strncmp(name, word, len) == 0) return true;
    return name != a->name && (size_t)(name - 1 - a->name) == len && strncmp(a->name, word, len) == 0;
}

static const gs_arg *find(const gs_command *c, const char *word, size_t len) {
    for (size_t i = 0; i < c->count; i++)
        if (matches(&c->args[i], word, len)) return &c->args[i];
    return NULL;
}

static gs_status unknown(const gs_command *c, const char *word, gs_error *err) {
    const char *known[64];
    size_t count = 0;
    for (size_t i = 0; i < c->count && count < GS_COUNTOF(known); i++) known[count++] = long_name(&c->args[i]);
    gs_status status = GS_FAIL(err, GS_E_INVALID, "unknown option '%s'", word);
    gs_error_hint(err, "did you mean '%s'? --help lists them all", gs_nearest(word, known, count));
    return status;
}

static gs_status parse_number(gs_arg_kind kind, const char *name, const char *text, void *out, gs_error *err) {
    const char *wanted = kind == GS_ARG_INT     ? "a whole number"
                         : kind == GS_ARG_BYTES ? "a size like 512M or 4G"
                                                : "a number";
    bool ok = kind == GS_ARG_INT     ? gs_number_int(text, out)
              : kind == GS_ARG_BYTES ? gs_number_bytes(text, out)
                                     : gs_number_double(text, out);
    return ok ? GS_OK : GS_FAIL(err, GS_E_INVALID, "%s wants %s, not '%s'", name, wanted, text);
}

static gs_status add_items(const char *name, const char *text, gs_arg_list *list, gs_error *err) {
    size_t len = strlen(text) + 1;
    if (list->used + len > sizeof list->buffer) return GS_FAIL(err, GS_E_INVALID, "%s: the list is too long", name);
    char *copy = list->buffer + list->used;
    memcpy(copy, text, len);
    list->used += len;
    for (char *rest = NULL, *word = strtok_r(copy, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        if (list->count == GS_ARG_LIST_MAX) return GS_FAIL(err, GS_E_INVALID, "%s: the list is too long", name);
        list->item[list->count++] = word;
    }
    return GS_OK;
}

static gs_status store(const gs_arg *a, const char *value, gs_error *err) {
    const char *name = long_name(a);
    switch (a->kind) {
    case GS_ARG_FLAG:
        *(bool *)a->target = true;
        return GS_OK;
    case GS_ARG_STRING:
        *(const char **)a->target = value;
        return GS_OK;
    case GS_ARG_LIST:
        return add_items(name, value, a->target, err);
    default:
        return parse_number(a->kind, name, value, a->target, err);
    }
}

gs_status gs_args_parse(const gs_command *c, int argc, char **argv, const char **positional, size_t max,
                        size_t *npositional, bool *help, gs_error *err) {
    bool only_words = false;
    *npositional = 0;
    *help = false;
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *help = true;
            return GS_OK;
        }
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!only_words && strcmp(word, "--") == 0) {
            only_words = true;
        } else if (only_words || word[0] != '-' || word[1] == 0) {
            if (*npositional == max) return GS_FAIL(err, GS_E_INVALID, "unexpected argument '%s'", word);
            positional[(*npositional)++] = word;
        } else {
            const char *equals = strchr(word, '=');
            const gs_arg *a = find(c, word, equals ? (size_t)(equals - word) : strlen(word));
            if (!a) return unknown(c, word, err);
            const char *value = equals ? equals + 1 : NULL;
            if (a->value && !value) {
                if (i + 1 == argc) return GS_FAIL(err, GS_E_INVALID, "%s wants %s", word, a->value);
                value = argv[++i];
            }
            if (!a->value && value) return GS_FAIL(err, GS_E_INVALID, "%s takes no value", long_name(a));
            GS_TRY(store(a, value, err));
        }
    }
    return GS_OK;
}

void gs_args_help(const gs_command *c) {
    printf("usage: %s\n\n%s\n\noptions:\n", c->usage, c->about);
    for (size_t i = 0; i < c->count; i++) {
        char left[64];
        const gs_arg *a = &c->args[i];
        const char *name = long_name(a);
        int shortened = (int)(name == a->name ? 0 : name - 1 - a->name);
        snprintf(left, sizeof left, "%.*s%s%s%s%s", shortened, a->name, shortened ? ", " : "", name,
                 a->value ? " " : "", a->value ? a->value : "");
        printf("  %-28s %s\n", left, a->help);
    }
    printf("  %-28s %s\n", "-h, --help", "this text");
    if (c->epilog) printf("\n%s\n", c->epilog);
}
