#include <verify/source.h>

#include <base/file.h>
#include <base/mem.h>
#include <loaders/shards.h>
#include <verify/mindformers.h>

#include <stdio.h>
#include <string.h>

enum { MOST = 3 };

/* Stems of a block: a fused linear, and its parts from the first row on. */
typedef struct group {
    const char *fused, *part[MOST];
    int n;
} group;

/* ---- a MindSpore checkpoint ---- */

static void drop(const void *ckpt, const gs_tensor *t) { gs_mindspore_ckpt_drop(ckpt, t); }

static gs_status present_ckpt(gs_source *s, gs_error *err) {
    size_t n = gs_mindspore_ckpt_count(s->ckpt);
    gs_tensor *shown = gs_calloc(n + 1, sizeof *shown);
    char (*name)[GS_MINDFORMERS_NAME] = gs_calloc(n + 1, sizeof *name);
    for (size_t i = 0; shown && name && i < n; i++) {
        shown[i] = *gs_mindspore_ckpt_at(s->ckpt, i);
        gs_mindformers_back(shown[i].name, name[i]);
        shown[i].name = name[i];
    }
    gs_status status = shown && name ? gs_checkpoint_present(s->checkpoint, shown, n, err) : gs_error_nomem(err, n * sizeof *shown);
    gs_checkpoint_drop_by(s->checkpoint, drop, s->ckpt);
    gs_free(shown);
    gs_free(name);
    return status;
}

static gs_status open_ckpt(const char *path, const char *file, gs_source *out, gs_error *err) {
    const gs_checkpoint_parts none = {0};
    GS_TRY(gs_mindspore_ckpt_open(file, &out->ckpt, err));
    GS_TRY(gs_checkpoint_open_parts(path, &none, &out->checkpoint, err));
    return present_ckpt(out, err);
}

gs_status gs_source_open(const char *path, const gs_network_helper *extra, gs_source *out, gs_error *err) {
    *out = (gs_source){0};
    char *file = gs_shards_in_dir(path) ? NULL : gs_dir_only_file(path, ".ckpt");
    gs_status status = file ? open_ckpt(path, file, out, err) : gs_checkpoint_open(path, NULL, &out->checkpoint, err);
    gs_free(file);
    GS_TRY(status);
    return gs_model_rename(extra, out->checkpoint, &out->helper, err);
}

void gs_source_close(gs_source *s) {
    gs_free(s->joined);
    gs_checkpoint_close(s->checkpoint);
    gs_mindspore_ckpt_close(s->ckpt);
    *s = (gs_source){0};
}

/* ---- tensors ---- */

/* "<block>.<stem>.<suffix>": the length of "<block>." when the stem stands there, else 0. */
static size_t block_before(const char *name, const char *stem, const char **suffix) {
    size_t k = stem ? strlen(stem) : 0, n = strlen(name);
    const char *dot = strrchr(name, '.');
    size_t end = dot ? (size_t)(dot - name) : n;
    if (k == 0 || end < k + 2 || name[end - k - 1] != '.' || strncmp(name + end - k, stem, k) != 0) return 0;
    *suffix = dot + 1;
    return end - k;
}

static const gs_tensor *sibling(const gs_source *s, const char *name, size_t block, const char *stem, const char *suffix) {
    char other[400];
    snprintf(other, sizeof other, "%.*s%s.%s", (int)block, name, stem, suffix);
    return gs_checkpoint_find(s->checkpoint, other);
}

static bool has_rows(const gs_tensor *t) {
    return t && t->ndim > 0 && t->shape[0] > 0 && t->order == GS_ROWS_AS_STORED && t->codes == GS_CODES_PLAIN;
}

static uint64_t row_bytes(const gs_tensor *t) { return t->bytes / (uint64_t)t->shape[0]; }

static void make(gs_source *s, const gs_tensor *like, const char *name, int64_t rows, const void *data) {
    s->made = *like;
    snprintf(s->name, sizeof s->name, "%s", name);
    s->made.name = s->name;
    s->made.shape[0] = rows;
    s->made.bytes = row_bytes(like) * (uint64_t)rows;
    s->made.data = data;
}

/* The rows of the i-th part. Of three the last two are equal, of two both are: so the first has the rest. */
static bool cut(gs_source *s, const gs_tensor *fused, const char *name, int i, int n, int64_t rows) {
    int64_t all = fused->shape[0], at = i == 0 ? 0 : all - (n - i) * rows;
    if (rows < 1 || at < 0 || at + rows > all) return false;
    make(s, fused, name, rows, fused->data + (uint64_t)at * row_bytes(fused));
    return true;
}

static gs_status join(gs_source *s, const char *name, const gs_tensor *const *part, int n, bool *made, gs_error *err) {
    uint64_t bytes = 0, at = 0;
    int64_t rows = 0;
    for (int i = 0; i < n; i++) {
        if (!has_rows(part[i]) || part[i]->dtype != part[0]->dtype || part[i]->ndim != part[0]->ndim ||
            row_bytes(part[i]) != row_bytes(part[0]))
            return GS_OK;
        bytes += part[i]->bytes;
        rows += part[i]->shape[0];
    }
    gs_free(s->joined);
    s->joined = gs_alloc((size_t)bytes);
    if (!s->joined) return gs_error_nomem(err, (size_t)bytes);
    for (int i = 0; i < n; i++) {
        memcpy((uint8_t *)s->joined + at, part[i]->data, (size_t)part[i]->bytes);
        at += part[i]->bytes;
        gs_checkpoint_drop(s->checkpoint, part[i]);
    }
    make(s, part[0], name, rows, s->joined);
    *made = true;
    return GS_OK;
}

static gs_status look_in(gs_source *s, const group *g, const char *name, int64_t rows, bool *made, gs_error *err) {
    const char *suffix;
    const gs_tensor *part[MOST] = {NULL};
    size_t block = block_before(name, g->fused, &suffix);
    if (block) {
        for (int i = 0; i < g->n; i++) part[i] = g->part[i] ? sibling(s, name, block, g->part[i], suffix) : NULL;
        return join(s, name, part, g->n, made, err);
    }
    for (int i = 0; i < g->n && g->fused; i++) {
        block = block_before(name, g->part[i], &suffix);
        const gs_tensor *fused = block ? sibling(s, name, block, g->fused, suffix) : NULL;
        if (has_rows(fused)) *made = cut(s, fused, name, i, g->n, rows);
    }
    return GS_OK;
}

gs_status gs_source_find(gs_source *s, const char *name, int64_t rows, const gs_tensor **out, gs_error *err) {
    const gs_helper_names *n = &s->helper->name;
    const group groups[] = {{n->qkv, {n->q, n->k, n->v}, 3}, {n->gate_up, {n->gate, n->up}, 2}};
    bool made = false;
    *out = gs_checkpoint_find(s->checkpoint, name);
    for (size_t i = 0; i < GS_COUNTOF(groups) && !*out && !made; i++) {
        if (i == 0 && s->helper->qkv_by_group) continue; /* their rows lie otherwise, and nobody takes them apart */
        GS_TRY(look_in(s, &groups[i], name, rows, &made, err));
    }
    if (made) *out = &s->made;
    return GS_OK;
}
