/* Logits of a model through the public interface, and checkpoints made of another's rows. */
#ifndef GS_TESTS_LLM_LOGITS_H
#define GS_TESTS_LLM_LOGITS_H

#include "../support.h"
#include "../tiny_model.h"

#include <base/mem.h>
#include <gstick.h>

#include <math.h>

/* [*count] logits of the token ids in the file, one window; nll may be NULL. helper: a JSON row, or NULL. free() them. */
static inline float *logits_of(const char *model, const char *ids, int64_t window, const char *helper, size_t *count,
                               double *nll) {
    char dump[1100], *root = gs_test_tmpdir(), *bytes;
    gs_error err = {0};
    gs_session *session;
    gs_eval_result r;
    size_t n;
    snprintf(dump, sizeof dump, "%s/logits", root);
    const gs_session_options so = {.threads = 1, .helper = helper};
    const gs_evaluate_options o = {.tokens = ids, .window = window, .dtype = "f32", .dump_logits = dump, .bos = -1};
    assert_ok(gs_session_create(&so, &session, &err), &err);
    assert_ok(gs_evaluate(session, model, &o, &r, &err), &err);
    gs_session_destroy(session);
    assert_ok(gs_file_read(dump, 1 << 26, &bytes, &n, &err), &err);
    float *out = malloc(n);
    assert_non_null(out);
    memcpy(out, bytes, n);
    gs_free(bytes);
    gs_test_rmdir(root);
    *count = n / sizeof *out;
    if (nll) *nll = r.nll;
    return out;
}

static inline double largest_difference(const float *a, const float *b, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d; /* NaN stays */
    }
    return worst;
}

/* The same logits of two models on random tokens below `vocab`. */
static inline void expect_same_logits(const char *a, const char *a_helper, const char *b, const char *b_helper, int64_t vocab) {
    char ids[1200], *dir = gs_test_tmpdir();
    size_t n, m;
    snprintf(ids, sizeof ids, "%s/t.i32", dir);
    tiny_tokens(ids, 40, vocab, 5);
    float *x = logits_of(a, ids, 40, a_helper, &n, NULL), *y = logits_of(b, ids, 40, b_helper, &m, NULL);
    assert_int_equal(n, m);
    double worst = largest_difference(x, y, n);
    if (!(worst <= 1e-5)) fail_msg("%s and %s: logits differ by %g", a, b, worst);
    free(x);
    free(y);
    gs_test_rmdir(dir);
}

/* Rows [row0, row0 + rows) of tensor `from` of an F32 file; rows 0: all of it. */
typedef struct made_piece {
    char from[96];
    int64_t row0, rows;
} made_piece;

/* A tensor made of pieces, one below the other. */
typedef struct made_tensor {
    char name[96];
    int pieces;
    made_piece piece[16];
} made_tensor;

static inline const gs_tensor *made_source(const gs_safetensors *st, const char *name) {
    const gs_tensor *t = gs_safetensors_find(st, name);
    if (!t) fail_msg("there is no '%s' to copy", name);
    return t;
}

static inline int64_t made_rows(const gs_safetensors *st, const made_tensor *t) {
    int64_t rows = 0;
    for (int p = 0; p < t->pieces; p++)
        rows += t->piece[p].rows ? t->piece[p].rows : made_source(st, t->piece[p].from)->shape[0];
    return rows;
}

/* Writes "<to>/model.safetensors" out of "<from>/model.safetensors". */
static inline void made_weights(const char *from, const char *to, const made_tensor *t, size_t n) {
    char path[1200];
    gs_error err = {0};
    gs_safetensors *st;
    gs_safetensors_writer *w;
    snprintf(path, sizeof path, "%s/model.safetensors", from);
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    assert_ok(gs_safetensors_writer_create(&w, &err), &err);
    for (size_t i = 0; i < n; i++) {
        const gs_tensor *first = made_source(st, t[i].piece[0].from);
        int64_t shape[2] = {made_rows(st, &t[i]), first->shape[1]};
        assert_ok(gs_safetensors_writer_plan(w, t[i].name, GS_F32, first->ndim, shape, &err), &err);
    }
    snprintf(path, sizeof path, "%s/model.safetensors", to);
    assert_ok(gs_safetensors_writer_begin(w, path, &err), &err);
    for (size_t i = 0; i < n; i++) {
        uint64_t at = 0;
        for (int p = 0; p < t[i].pieces; p++) {
            const made_piece *piece = &t[i].piece[p];
            const gs_tensor *s = made_source(st, piece->from);
            uint64_t row = s->bytes / (uint64_t)s->shape[0], bytes = row * (uint64_t)(piece->rows ? piece->rows : s->shape[0]);
            assert_ok(gs_safetensors_writer_put(w, t[i].name, at, s->data + row * (uint64_t)piece->row0, bytes, &err), &err);
            at += bytes;
        }
    }
    assert_ok(gs_safetensors_writer_commit(w, &err), &err);
    gs_safetensors_close(st);
}

#endif
