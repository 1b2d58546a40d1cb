/* The weight files: each well formed, numbered as a set, no tensor twice. */
#include <verify/subject.h>

#include <base/mem.h>

#include <stdio.h>
#include <string.h>

/* "stem-00001-of-00002.safetensors": its stem's length and numbers. False: it is no shard. */
static bool shard_of(const char *name, size_t *stem, unsigned *i, unsigned *n) {
    const char *dash = strstr(name, "-of-");
    int end = 0;
    if (!dash || dash - name < 6) return false;
    if (sscanf(dash - 6, "-%5u-of-%5u.safetensors%n", i, n, &end) != 2 || dash[-6 + end] != 0 || end == 0) return false;
    *stem = (size_t)(dash - name) - 6;
    return true;
}

static size_t stem_of(const char *name) {
    size_t stem;
    unsigned i, n;
    return shard_of(name, &stem, &i, &n) ? stem : strlen(name) - 12;
}

/* Names that a bundle's own weight files have, by format. */
static bool own_stem(gs_bundle_kind kind, const char *name, size_t n) {
    static const char *const slim = "quant_model_weight";
    if (kind == GS_KIND_ASCEND) return n >= strlen(slim) && strncmp(name, slim, strlen(slim)) == 0;
    if (kind == GS_KIND_MINDSPORE) return n == 11 && strncmp(name, "quant-model", n) == 0;
    return n == 5 && strncmp(name, "model", n) == 0;
}

/* One set: one file, or shards 1..N of the same stem; the first own file says which. */
static void check_names(gs_subject *s) {
    size_t first = s->files, stem = 0, count = 0;
    unsigned i = 0, n = 0, expected = 0;
    for (size_t f = 0; f < s->files && first == s->files; f++)
        if (own_stem(s->kind, s->weights[f], stem_of(s->weights[f]))) first = f;
    if (!gs_report_that(&s->report, GS_CHECK_SHARD_NAMES, first < s->files, "", "no weight file of this format")) return;
    const char *base = s->first = s->weights[first];
    bool sharded = shard_of(base, &stem, &i, &expected);
    stem = stem_of(base);
    for (size_t f = 0; f < s->files; f++) {
        const char *name = s->weights[f];
        size_t k = stem_of(name);
        bool same = k == stem && strncmp(name, base, k) == 0 && shard_of(name, &k, &i, &n) == sharded;
        if (!gs_report_that(&s->report, GS_CHECK_STRAY_WEIGHTS, same, name, "it is no part of the weights that begin with %s", base))
            continue;
        count++;
        if (sharded)
            gs_report_that(&s->report, GS_CHECK_SHARD_NAMES, n == expected && i == count, name, "shard %u of %u, expected %zu of %u",
                      i, n, count, expected);
    }
    s->own_files = count;
    if (sharded)
        gs_report_that(&s->report, GS_CHECK_SHARD_NAMES, count == expected, base, "%zu of %u shards are there", count, expected);
}

static gs_status take_tensors(gs_subject *s, size_t file, gs_error *err) {
    const gs_safetensors *st = s->file[file];
    size_t n = gs_safetensors_count(st);
    GS_TRY(gs_subject_room(s, n, err));
    for (size_t i = 0; i < n; i++) {
        const gs_tensor *t = gs_safetensors_at(st, i);
        bool twice;
        GS_TRY(gs_subject_add(s, t, file, &twice, err));
        gs_report_that(&s->report, GS_CHECK_DUPLICATE_TENSOR, !twice, t->name, "it is also stored in %s", s->weights[file]);
    }
    return GS_OK;
}

static void check_metadata(gs_subject *s, size_t f) {
    static const char *const known[] = {"pt", "tf", "flax", "mlx", "np", "ms"};
    const char *format = gs_safetensors_metadata(s->file[f], "format");
    bool fine = !format;
    for (size_t i = 0; i < GS_COUNTOF(known); i++) fine = fine || strcmp(format, known[i]) == 0;
    gs_report_that(&s->report, GS_CHECK_METADATA_FORMAT, fine, s->weights[f], "metadata format '%.40s'", format ? format : "");
}

static gs_status open_file(gs_subject *s, size_t f, gs_error *err) {
    char *path = gs_subject_path(s, s->weights[f]);
    gs_error why = {0};
    if (!path) return gs_error_nomem(err, 256);
    gs_status status = gs_safetensors_open(path, &s->file[f], &why);
    size_t n = strlen(path);
    gs_free(path);
    if (status == GS_E_NOMEM) return gs_error_nomem(err, n);
    /* the reader's words begin with the path, which the finding names anyway */
    const char *text = strlen(why.text) > n + 2 && why.text[n] == ':' ? why.text + n + 2 : why.text;
    if (!gs_report_that(&s->report, GS_CHECK_CONTAINER, status == GS_OK, s->weights[f], "%s", text)) {
        s->file[f] = NULL;
        return GS_OK;
    }
    check_metadata(s, f);
    return take_tensors(s, f, err);
}

gs_status gs_verify_container(gs_subject *s, gs_error *err) {
    s->weights = gs_calloc(s->name_count + 1, sizeof *s->weights);
    s->file = gs_calloc(s->name_count + 1, sizeof *s->file);
    if (!s->weights || !s->file) return gs_error_nomem(err, s->name_count * sizeof *s->file);
    for (size_t i = 0; i < s->name_count; i++)
        if (gs_ends_with(s->names[i], ".safetensors")) s->weights[s->files++] = s->names[i];
    gs_report_that(&s->report, GS_CHECK_CONTAINER, s->files > 0, "", "no safetensors file is there");
    if (s->files) check_names(s);
    for (size_t f = 0; f < s->files; f++) GS_TRY(open_file(s, f, err));
    return GS_OK;
}
