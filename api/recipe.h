/* The options of a job as a table: one row a member of gs_quantize_options. Recipe files, the
 * command line (cli/option_args.h) and the recipe in a bundle's manifest are all read off it, so a
 * new option is its member in gstick.h and its row in recipe.c.
 *
 * A recipe is one JSON object whose keys are the members' names:
 *     {"scheme": "w8a16", "blacklist": ["lm_head", "gate"], "max_shard_size": "4G"}
 * A key that is absent or null leaves its member alone. Zero is every member's default, so a
 * member that is zero is not written to the manifest either.
 */
#ifndef GS_API_RECIPE_H
#define GS_API_RECIPE_H

#include <base/strbuf.h>

enum { GS_OPTION_ROWS_MAX = 40 };

typedef enum gs_option_kind {
    GS_OPTION_STRING, /* const char * */
    GS_OPTION_WORD,   /* const char *; a recipe may say 0.5 or "0.5" */
    GS_OPTION_PATH,   /* const char *; never in a manifest, which names no paths */
    GS_OPTION_INT,    /* int64_t, >= 0 */
    GS_OPTION_BYTES,  /* int64_t, >= 0; a recipe may say 4294967296 or "4G" */
    GS_OPTION_DOUBLE, /* double, finite */
    GS_OPTION_BOOL,   /* bool */
    GS_OPTION_LIST    /* const char *const * with a size_t <name>_count; NULL: not given */
} gs_option_kind;

typedef struct gs_option_row {
    const char *name; /* "max_shard_size"; the flag is --max-shard-size */
    gs_option_kind kind;
    size_t offset, count_offset; /* in gs_quantize_options; count_offset of lists only */
    const char *value;           /* placeholder in the help, NULL for a bool */
    const char *help;            /* one line */
} gs_option_row;

/* Static. */
const gs_option_row *gs_quantize_option_rows(size_t *count);
/* A row of gs_calibrate_options. */
bool gs_option_is_calibration(const gs_option_row *row);
/* The member that a row describes. */
void *gs_option_member(const gs_option_row *row, gs_quantize_options *o);

typedef struct gs_recipe gs_recipe;

/* Sets the members that the file names; the others keep their values, and so do all on failure.
 * Strings and lists of *o live as long as the handle. Errors name the file: GS_E_FORMAT unreadable,
 * above 1 MiB or no JSON (base/json.h); GS_E_INVALID an unknown key (the hint says the nearest known),
 * a value of the wrong type. Whether a word is a good one is gs_quantize's to say. */
gs_status gs_recipe_read(const char *path, gs_quantize_options *o, gs_recipe **out,
                         gs_error *err) GS_NODISCARD;
/* The same of a text, for tests. */
gs_status gs_recipe_from_json(const char *text, size_t len, gs_quantize_options *o, gs_recipe **out,
                              gs_error *err) GS_NODISCARD;
void gs_recipe_destroy(gs_recipe *r); /* NULL ok */

/* Appends the options as a recipe that reads back to the same values (paths left out), one key a
 * line; lines after the first begin with `indent` spaces. */
void gs_recipe_print(const gs_quantize_options *o, int indent, gs_strbuf *out);

#endif
