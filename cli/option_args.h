/* The rows of api/recipe.h as command-line options, over a recipe file that --recipe names. */
#ifndef GS_CLI_OPTION_ARGS_H
#define GS_CLI_OPTION_ARGS_H

#include <api/recipe.h>
#include <cli/args.h>

enum { GS_OPTION_ARGS_MAX = GS_OPTION_ROWS_MAX + 16 };

typedef struct gs_option_args {
    gs_quantize_options *options;
    const char *recipe_path;
    gs_recipe *recipe;              /* what *options borrows */
    gs_arg row[GS_OPTION_ARGS_MAX]; /* [count], for gs_command */
    size_t count;
    char name[GS_OPTION_ROWS_MAX][48];
    gs_arg_list list[GS_OPTION_ROWS_MAX]; /* of list options */
} gs_option_args;

/* Rows `before`, --recipe, one an option (with calibration_only those of gs_calibrate_options), rows
 * `after`: at most GS_OPTION_ARGS_MAX together. Large: keep *a static. *options is zeroed. */
void gs_option_args_init(gs_option_args *a, gs_quantize_options *options, bool calibration_only,
                         const gs_arg *before, size_t nbefore, const gs_arg *after, size_t nafter);
/* gs_args_parse of c, whose rows are a's. The recipe is read first, so that flags win over it; a
 * flag without a value can only switch on. "--blacklist=" is a list without a word. */
gs_status gs_option_args_parse(gs_option_args *a, const gs_command *c, int argc, char **argv,
                               const char **positional, size_t max, size_t *npositional, bool *help,
                               gs_error *err) GS_NODISCARD;
void gs_option_args_clear(gs_option_args *a); /* the options' strings from a recipe are gone */

#endif
