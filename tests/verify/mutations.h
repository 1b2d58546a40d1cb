/* The ways to break a bundle; one row of the table in test_mutations.c uses one of them. */
#ifndef GS_TESTS_VERIFY_MUTATIONS_H
#define GS_TESTS_VERIFY_MUTATIONS_H

#include "verify_support.h"

#include <loaders/checkpoint.h>
#include <loaders/mindspore_ckpt.h>
#include <math.h>

typedef struct mutation mutation;
struct mutation {
    const char *check;  /* that must find it */
    int base;
    void (*apply)(const char *dir, const mutation *m);
    const char *a, *b, *c; /* tensor or file; what; with what */
    int64_t at;
    double value;
    const char *target;
    bool against;
};

static inline void store(uint8_t *data, gs_dtype dtype, int64_t i, double v) {
    float f = (float)v;
    int32_t w = (int32_t)v;
    int64_t l = (int64_t)v;
    uint16_t h = dtype == GS_BF16 ? gs_f32_to_bf16(f) : gs_f32_to_f16(f);
    if (dtype == GS_F32) memcpy(data + 4 * i, &f, 4);
    else if (dtype == GS_I32) memcpy(data + 4 * i, &w, 4);
    else if (dtype == GS_I64) memcpy(data + 8 * i, &l, 8);
    else if (dtype == GS_I8) ((int8_t *)data)[i] = (int8_t)v;
    else memcpy(data + 2 * i, &h, 2);
}

static inline double load(const uint8_t *data, gs_dtype dtype, int64_t i) {
    gs_error err = {0};
    gs_tensor one = {.dtype = dtype, .ndim = 1, .shape = {1}, .bytes = (uint64_t)gs_dtype_block_bytes(dtype)};
    float f;
    one.data = data + i * gs_dtype_block_bytes(dtype);
    assert_ok(gs_tensor_read_f32(&one, 0, 1, &f, &err), &err);
    return (double)f;
}

/* ---- tensors ---- */

static inline void drop(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .drop = true, .dtype = GS_DTYPE_NONE});
}
/* b: the new type's name */
static inline void retype(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = gs_dtype_from_name(m->b)});
}
/* b: "rows,cols", "rows" or "" */
static inline void reshape(const char *dir, const mutation *m) {
    long long r = 1, c = 1;
    int n = sscanf(m->b, "%lld,%lld", &r, &c);
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .ndim = n < 1 ? -1 : n, .shape = {r, c}});
}
static inline void copy_as(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .copy_as = m->b, .dtype = GS_DTYPE_NONE});
}
/* a copy whose first value differs */
static inline void poke(uint8_t *data, const gs_tensor *t, void *ctx) {
    const mutation *m = ctx;
    store(data, t->dtype, m->at, m->value);
}
static inline void copy_changed(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .copy_as = m->b, .dtype = GS_DTYPE_NONE, .edit = poke, .ctx = (void *)(uintptr_t)m});
}
static inline void set(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = poke, .ctx = (void *)(uintptr_t)m});
}
static inline void scale_one(uint8_t *data, const gs_tensor *t, void *ctx) {
    const mutation *m = ctx;
    store(data, t->dtype, m->at, load(data, t->dtype, m->at) * m->value);
}
static inline void times(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = scale_one, .ctx = (void *)(uintptr_t)m});
}
static inline void add_one(uint8_t *data, const gs_tensor *t, void *ctx) {
    const mutation *m = ctx;
    int32_t v;
    memcpy(&v, data + 4 * m->at, 4);
    v += (int32_t)m->value;
    memcpy(data + 4 * m->at, &v, 4);
    (void)t;
}
static inline void add(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = add_one, .ctx = (void *)(uintptr_t)m});
}
/* the upper half of an I64 is not empty */
static inline void high_bit(uint8_t *data, const gs_tensor *t, void *ctx) {
    (void)t;
    (void)ctx;
    data[7] ^= 0x40;
}
static inline void dirty(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = high_bit});
}
static inline void I64_to_F32_edit(uint8_t *data, const gs_tensor *t, void *ctx) {
    (void)ctx;
    for (int64_t i = 0; i < t->shape[0]; i++) memmove(data + 4 * i, t->data + 8 * i, 4);
}
static inline void deq_as_f32(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_F32, .edit = I64_to_F32_edit});
}
/* codes of a row: all m->value (0: none), or halved */
static inline void row_edit(uint8_t *data, const gs_tensor *t, void *ctx) {
    const mutation *m = ctx;
    int64_t k = t->shape[1];
    for (int64_t j = 0; j < k; j++) {
        int8_t *q = (int8_t *)data + m->at * k + j;
        *q = (int8_t)(m->value == 2 ? *q / 4 : (int)m->value);
    }
}
static inline void row(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = row_edit, .ctx = (void *)(uintptr_t)m});
}
/* all bytes of row `at` of packed words become value */
static inline void nibbles_edit(uint8_t *data, const gs_tensor *t, void *ctx) {
    const mutation *m = ctx;
    memset(data + 4 * m->at * t->shape[1], (int)m->value, (size_t)(4 * t->shape[1]));
}
static inline void nibbles(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = nibbles_edit, .ctx = (void *)(uintptr_t)m});
}
/* all bytes of column `at` of words become value */
static inline void column_edit(uint8_t *data, const gs_tensor *t, void *ctx) {
    const mutation *m = ctx;
    for (int64_t i = 0; i < t->shape[0]; i++) memset(data + 4 * (i * t->shape[1] + m->at), (int)m->value, 4);
}
static inline void column(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = column_edit, .ctx = (void *)(uintptr_t)m});
}
/* one code, one nearer to zero */
static inline void step_edit(uint8_t *data, const gs_tensor *t, void *ctx) {
    const mutation *m = ctx;
    int8_t *q = (int8_t *)data + m->at;
    *q = (int8_t)(*q > 0 ? *q - 1 : *q + 1);
    (void)t;
}
static inline void step(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = step_edit, .ctx = (void *)(uintptr_t)m});
}
static inline void saturate_edit(uint8_t *data, const gs_tensor *t, void *ctx) {
    (void)ctx;
    for (uint64_t i = 0; i < t->bytes; i++) {
        int v = 3 * ((int8_t *)data)[i];
        ((int8_t *)data)[i] = (int8_t)(v > 127 ? 127 : v < -127 ? -127 : v);
    }
}
static inline void saturate(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = saturate_edit});
}
/* the bytes of the transpose under the old shape */
static inline void transpose_edit(uint8_t *data, const gs_tensor *t, void *ctx) {
    (void)ctx;
    int64_t n = t->shape[0], k = t->shape[1];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < k; j++) data[j * n + i] = t->data[i * k + j];
}
static inline void transpose(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = transpose_edit});
}
static inline void swap_rows_edit(uint8_t *data, const gs_tensor *t, void *ctx) {
    (void)ctx;
    size_t k = (size_t)t->shape[1];
    memcpy(data, t->data + k, k);
    memcpy(data + k, t->data, k);
}
static inline void swap_rows(const char *dir, const mutation *m) {
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = swap_rows_edit});
}
/* the bytes of one tensor become those of another of its shape */
static inline void take_edit(uint8_t *data, const gs_tensor *t, void *ctx) {
    const gs_tensor *from = ctx;
    assert_int_equal(from->bytes, t->bytes);
    memcpy(data, from->data, t->bytes);
}
static inline void take(const char *dir, const mutation *m) {
    char path[1300];
    gs_safetensors *st = open_holder(dir, m->b, path);
    gs_tensor from = *gs_safetensors_find(st, m->b);
    change_tensor(dir, &(tensor_change){.tensor = m->a, .dtype = GS_DTYPE_NONE, .edit = take_edit, .ctx = &from});
    gs_safetensors_close(st);
}
/* gate and up change places, with their scales */
static inline void swap_mlp(const char *dir, const mutation *m) {
    static const char *const suffixes[] = {"weight", "weight_scale"};
    for (int i = 0; i < 2; i++) {
        char gate[200], up[200], path[1300];
        snprintf(gate, sizeof gate, "%s.mlp.gate_proj.%s", m->a, suffixes[i]);
        snprintf(up, sizeof up, "%s.mlp.up_proj.%s", m->a, suffixes[i]);
        gs_safetensors *st = open_holder(dir, gate, path);
        gs_tensor from = *gs_safetensors_find(st, gate);
        take(dir, &(mutation){.a = gate, .b = up});
        change_tensor(dir, &(tensor_change){.tensor = up, .dtype = GS_DTYPE_NONE, .edit = take_edit, .ctx = &from});
        gs_safetensors_close(st);
    }
}

/* ---- files ---- */

static inline void text(const char *dir, const mutation *m) { replace_in(dir, m->a, m->b, m->c); }
static inline void write_file(const char *dir, const mutation *m) { tiny_text(dir, m->a, m->b); }
static inline void remove_file(const char *dir, const mutation *m) { shell("rm '%s/%s'", dir, m->a); }
static inline void copy_file(const char *dir, const mutation *m) {
    char pair[400];
    snprintf(pair, sizeof pair, "%s %s", m->a, m->b);
    shell("cd '%s' && cp %s", dir, pair);
}
static inline void rename_file(const char *dir, const mutation *m) {
    char pair[400];
    snprintf(pair, sizeof pair, "%s %s", m->a, m->b);
    shell("cd '%s' && mv %s", dir, pair);
}
static inline void mode(const char *dir, const mutation *m) {
    char path[1300];
    snprintf(path, sizeof path, "%s/%s", dir, m->a);
    assert_int_equal(chmod(path, (mode_t)m->at), 0);
}
/* at < 0: so many bytes less, else the file's new size */
static inline void cut(const char *dir, const mutation *m) {
    char path[1300];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, m->a);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, m->at < 0 ? st.st_size + m->at : m->at), 0);
}
static inline void append(const char *dir, const mutation *m) {
    char path[1300];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, m->a);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size + 8), 0);
}
/* ---- files of other containers: bytes are patched where they are ---- */

static inline uint8_t *patched(const char *dir, const char *name, const void *what, size_t n, size_t *len, size_t *at) {
    char path[1300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    uint8_t *text = (uint8_t *)file_text(path, len);
    for (*at = 0; *at + n <= *len && memcmp(text + *at, what, n) != 0; ++*at) {}
    if (*at + n > *len) fail_msg("%s does not hold what is to be patched", name);
    return text;
}
static inline void write_back(const char *dir, const char *name, uint8_t *text, size_t len) {
    char path[1300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    gs_free(text);
}
/* value `at` (of Q8_0: byte) of tensor b in file a, a .gguf or .ckpt */
static inline void raw(const char *dir, const mutation *m) {
    gs_error err = {0};
    char path[1300];
    gs_checkpoint *gguf = NULL;
    gs_mindspore_ckpt *ckpt = NULL;
    size_t len, at;
    snprintf(path, sizeof path, "%s/%s", dir, m->a);
    bool is_gguf = strstr(m->a, ".gguf") != NULL;
    if (is_gguf) assert_ok(gs_checkpoint_open(path, NULL, &gguf, &err), &err);
    else assert_ok(gs_mindspore_ckpt_open(path, &ckpt, &err), &err);
    const gs_tensor *t = is_gguf ? gs_checkpoint_find(gguf, m->b) : NULL;
    for (size_t i = 0; !is_gguf && i < gs_mindspore_ckpt_count(ckpt); i++)
        if (strcmp(gs_mindspore_ckpt_at(ckpt, i)->name, m->b) == 0) t = gs_mindspore_ckpt_at(ckpt, i);
    assert_non_null(t);
    uint8_t *text = patched(dir, m->a, t->data, t->bytes, &len, &at);
    store(text + at, t->dtype == GS_Q8_0 ? GS_I8 : t->dtype, m->at, m->value);
    gs_checkpoint_close(gguf);
    gs_mindspore_ckpt_close(ckpt);
    write_back(dir, m->a, text, len);
}
/* the u32 that stands `at` bytes behind the end of the word b in file a becomes value */
static inline void behind(const char *dir, const mutation *m) {
    size_t len, at;
    uint32_t v = (uint32_t)m->value;
    uint8_t *text = patched(dir, m->a, m->b, strlen(m->b), &len, &at);
    memcpy(text + at + strlen(m->b) + m->at, &v, 4);
    write_back(dir, m->a, text, len);
}
/* a line of the description is gone, from its key to the next line */
static inline void unlist(const char *dir, const mutation *m) {
    char command[700];
    snprintf(command, sizeof command, "grep -q '\"%s\"' %s && sed -i '/\"%s\"/d' %s", m->b, m->a, m->b, m->a);
    shell("cd '%s' && %s", dir, command);
}
/* every entry that begins with b gets the type c */
static inline void describe(const char *dir, const mutation *m) {
    char pattern[600];
    snprintf(pattern, sizeof pattern, "s/\\(\"%s[^\"]*\": \\)\"[A-Z0-9_]*\"/\\1\"%s\"/", m->b, m->c);
    shell("sed -i '%s' '%s/quant_model_description.json'", pattern, dir);
}

/* ---- one row of a table ---- */

typedef struct world {
    gs_session *session;
    char *root;
} world;

static inline int tear_down(void **state) {
    world *w = *state;
    gs_session_destroy(w->session);
    gs_test_rmdir(w->root);
    free(w);
    return 0;
}

/* Verifies a broken copy of the bundle; clear *r. */
static inline void verify_broken(const world *w, const char *bundle, const char *model, const mutation *m, gs_verify_result *r) {
    char copy[1100];
    gs_error err = {0};
    snprintf(copy, sizeof copy, "%s/copy", w->root);
    shell("cp -r '%s' '%s'", bundle, copy);
    m->apply(copy, m);
    const gs_verify_options o = {.target = m->target, .against = m->against ? model : NULL};
    assert_ok(gs_verify(w->session, copy, &o, r, &err), &err);
    shell("chmod -R u+rwx '%s' && rm -r '%s'", copy, copy);
}

/* Whether the broken copy is found by the check it is for. */
static inline bool caught(const world *w, const char *bundle, const char *model, const mutation *m, size_t number) {
    gs_verify_result r;
    verify_broken(w, bundle, model, m, &r);
    bool hit = found(&r, m->check);
    if (!hit) {
        print_message("  %zu: %s (%s %s %s): %zu findings\n", number, m->check, m->a ? m->a : "", m->b ? m->b : "", m->c ? m->c : "",
                      r.total_findings);
        print_findings(&r);
    }
    gs_verify_result_clear(&r);
    return hit;
}

#endif
