#include <cli/option_args.h>

#include <stdio.h>
#include <string.h>

static gs_arg_kind arg_kind(gs_option_kind kind) {
    static const gs_arg_kind kinds[] = {
        [GS_OPTION_STRING] = GS_ARG_STRING, [GS_OPTION_WORD] = GS_ARG_STRING, [GS_OPTION_PATH] = GS_ARG_STRING,   [GS_OPTION_INT] = GS_ARG_INT,
        [GS_OPTION_BYTES] = GS_ARG_BYTES,   [GS_OPTION_DOUBLE] = GS_ARG_DOUBLE, [GS_OPTION_BOOL] = GS_ARG_FLAG,
        [GS_OPTION_LIST] = GS_ARG_LIST,
    };
    return kinds[kind];
}

static void flag_name(const char *member, char *out, size_t size) {
    snprintf(out, size, "--%s", member);
    for (char *p = out; *p; p++)
        if (*p == '_') *p = '-';
}

static void add(gs_option_args *a, const gs_arg *rows, size_t count) {
    for (size_t i = 0; i < count && a->count < GS_OPTION_ARGS_MAX; i++) a->row[a->count++] = rows[i];
}

void gs_option_args_init(gs_option_args *a, gs_quantize_options *options, bool calibration_only,
                         const gs_arg *before, size_t nbefore, const gs_arg *after, size_t nafter) {
    size_t count;
    const gs_option_row *rows = gs_quantize_option_rows(&count);
    const gs_arg recipe = {"--recipe", "FILE", GS_ARG_STRING, &a->recipe_path,
                           "options from a JSON object, with _ for -; flags win over it"};
    memset(a, 0, sizeof *a);
    a->options = options;
    *options = (gs_quantize_options){0};
    add(a, before, nbefore);
    add(a, &recipe, 1);
    for (size_t i = 0; i < count; i++) {
        bool list = rows[i].kind == GS_OPTION_LIST;
        if (calibration_only && !gs_option_is_calibration(&rows[i])) continue;
        flag_name(rows[i].name, a->name[i], sizeof a->name[i]);
        const gs_arg row = {a->name[i], rows[i].value, arg_kind(rows[i].kind),
                            list ? &a->list[i] : gs_option_member(&rows[i], options), rows[i].help};
        add(a, &row, 1);
    }
    add(a, after, nafter);
}

/* Lists that were given replace those of the recipe. */
static void take_lists(gs_option_args *a) {
    size_t count;
    const gs_option_row *rows = gs_quantize_option_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind != GS_OPTION_LIST || !a->list[i].used) continue;
        *(const char *const **)gs_option_member(&rows[i], a->options) = a->list[i].item;
        *(size_t *)(void *)((char *)a->options + rows[i].count_offset) = a->list[i].count;
    }
}

gs_status gs_option_args_parse(gs_option_args *a, const gs_command *c, int argc, char **argv,
                               const char **positional, size_t max, size_t *npositional, bool *help,
                               gs_error *err) {
    GS_TRY(gs_args_parse(c, argc, argv, positional, max, npositional, help, err));
    if (a->recipe_path && !*help) {
        /* the words once more, now over what the recipe says */
        *a->options = (gs_quantize_options){0};
        for (size_t i = 0; i < GS_COUNTOF(a->list); i++) a->list[i].count = a->list[i].used = 0;
        GS_TRY(gs_recipe_read(a->recipe_path, a->options, &a->recipe, err));
        GS_TRY(gs_args_parse(c, argc, argv, positional, max, npositional, help, err));
    }
    take_lists(a);
    return GS_OK;
}

void gs_option_args_clear(gs_option_args *a) {
    gs_recipe_destroy(a->recipe);
    a->recipe = NULL;
}
