/* Bundles to verify, made by gs_quantize from small random models, and ways to break a copy of one. */
#ifndef GS_TESTS_VERIFY_SUPPORT_H
#define GS_TESTS_VERIFY_SUPPORT_H

#include "../support.h"
#include "../tiny_model.h"

#include <base/json.h>
#include <base/mem.h>
#include <gstick.h>
#include <sys/stat.h>

/* The tiny model with biases on q, k and v, as "qwen2" has them. */
static inline void tiny_biased_model(const char *dir, const tiny_shape *s, uint64_t seed) {
    tiny_tensor list[96];
    char path[1200], command[1300];
    size_t n = tiny_list(s, list);
    int64_t hd = s->hidden / s->heads;
    for (int l = 0; l < (int)s->layers; l++)
        for (int i = 0; i < 3; i++, n++) {
            list[n] = (tiny_tensor){.ndim = 1, .shape = {i ? s->kv_heads * hd : s->heads * hd, 1}};
            snprintf(list[n].name, sizeof list[n].name, "model.layers.%d.self_attn.%c_proj.bias", l, "qkv"[i]);
        }
    tiny_config(dir, s);
    snprintf(command, sizeof command, "sed -i 's/LlamaForCausalLM/Qwen2ForCausalLM/; s/\"llama\"/\"qwen2\"/' '%s/config.json'", dir);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    tiny_weights(path, s, list, n, seed);
}

/* Quantizes model into bundle; calibrates on random tokens. */
static inline void make_bundle(gs_session *session, const char *model, const char *bundle, const char *ids, gs_quantize_options o) {
    gs_error err = {0};
    gs_quantize_result r;
    if (strcmp(o.scheme, "w8a16") != 0) {
        o.calibrate.calib = ids;
        o.calibrate.samples = 4;
        o.calibrate.seq = 32;
    }
    assert_ok(gs_quantize(session, model, bundle, &o, &r, &err), &err);
    gs_quantize_result_clear(&r);
}

static inline bool found(const gs_verify_result *r, const char *check) {
    for (size_t i = 0; i < r->finding_count; i++)
        if (strcmp(r->finding[i].check, check) == 0) return true;
    return false;
}

static inline void print_findings(const gs_verify_result *r) {
    for (size_t i = 0; i < r->finding_count && i < 12; i++)
        print_message("    %s %s: %s\n", r->finding[i].check, r->finding[i].tensor, r->finding[i].text);
}

/* ---- breaking one ---- */

static inline void shell(const char *fmt, const char *a, const char *b) {
    char command[4000];
    snprintf(command, sizeof command, fmt, a, b);
    assert_int_equal(system(command), 0);
}

static inline char *file_text(const char *path, size_t *len) {
    gs_error err = {0};
    char *text;
    assert_ok(gs_file_read(path, 1 << 24, &text, len, &err), &err);
    return text;
}

/* Replaces the first occurrence of `from` (bytes, no pattern) in a file. */
static inline void replace_in(const char *dir, const char *name, const char *from, const char *to) {
    char path[1300];
    size_t len, at = 0, n = strlen(from);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    char *text = file_text(path, &len);
    while (at + n <= len && memcmp(text + at, from, n) != 0) at++;
    if (at + n > len) fail_msg("%s does not hold %s", name, from);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fwrite(text, 1, at, f) == at && fwrite(to, 1, strlen(to), f) == strlen(to) &&
                fwrite(text + at + n, 1, len - at - n, f) == len - at - n);
    assert_int_equal(fclose(f), 0);
    gs_free(text);
}

/* What becomes of one tensor. */
typedef struct tensor_change {
    const char *tensor;
    bool drop;
    const char *copy_as;  /* stored a second time, under this name */
    gs_dtype dtype;       /* NONE: as it is */
    int ndim;             /* 0: as it is; -1: a scalar */
    int64_t shape[2];
    void (*edit)(uint8_t *data, const gs_tensor *t, void *ctx);
    void *ctx;
} tensor_change;

/* The file of the directory that stores the tensor. */
static inline gs_safetensors *open_holder(const char *dir, const char *tensor, char path[1300]) {
    gs_error err = {0};
    char **names;
    size_t count;
    gs_safetensors *st = NULL;
    assert_ok(gs_dir_list(dir, &names, &count, &err), &err);
    for (size_t i = 0; i < count && !st; i++) {
        if (!strstr(names[i], ".safetensors") || strstr(names[i], ".json")) continue;
        snprintf(path, 1300, "%s/%s", dir, names[i]);
        assert_ok(gs_safetensors_open(path, &st, &err), &err);
        if (gs_safetensors_find(st, tensor)) break;
        gs_safetensors_close(st);
        st = NULL;
    }
    gs_strlist_free(names, count);
    if (!st) fail_msg("no %s", tensor);
    return st;
}

static inline void plan_change(gs_safetensors_writer *w, const gs_tensor *t, const tensor_change *c) {
    gs_error err = {0};
    bool hit = strcmp(t->name, c->tensor) == 0;
    if (hit && c->drop) return;
    int ndim = hit && c->ndim ? (c->ndim < 0 ? 0 : c->ndim) : t->ndim;
    assert_ok(gs_safetensors_writer_plan(w, t->name, hit && c->dtype != GS_DTYPE_NONE ? c->dtype : t->dtype, ndim,
                                         hit && c->ndim > 0 ? c->shape : t->shape, &err), &err);
    if (hit && c->copy_as) assert_ok(gs_safetensors_writer_plan(w, c->copy_as, t->dtype, t->ndim, t->shape, &err), &err);
}

static inline void put_change(gs_safetensors_writer *w, const gs_tensor *t, const tensor_change *c) {
    gs_error err = {0};
    bool hit = strcmp(t->name, c->tensor) == 0;
    if (hit && c->drop) return;
    uint64_t bytes = t->bytes, count = 1;
    if (hit) {
        int ndim = c->ndim ? (c->ndim < 0 ? 0 : c->ndim) : t->ndim;
        for (int d = 0; d < ndim; d++) count *= (uint64_t)(c->ndim > 0 ? c->shape[d] : t->shape[d]);
        assert_true(gs_dtype_bytes(c->dtype != GS_DTYPE_NONE ? c->dtype : t->dtype, count, &bytes));
    }
    uint8_t *data = calloc(1, (bytes > t->bytes ? bytes : t->bytes) + 8);
    assert_non_null(data);
    memcpy(data, t->data, t->bytes);
    if (hit && c->copy_as) assert_ok(gs_safetensors_writer_put(w, t->name, 0, data, t->bytes, &err), &err);
    if (hit && c->edit) c->edit(data, t, c->ctx);
    assert_ok(gs_safetensors_writer_put(w, hit && c->copy_as ? c->copy_as : t->name, 0, data, (size_t)bytes, &err), &err);
    free(data);
}

static inline void change_tensor(const char *dir, const tensor_change *c) {
    gs_error err = {0};
    char path[1300];
    gs_safetensors_writer *w;
    gs_safetensors *st = open_holder(dir, c->tensor, path);
    assert_ok(gs_safetensors_writer_create(&w, &err), &err);
    for (size_t i = 0; i < gs_safetensors_count(st); i++) plan_change(w, gs_safetensors_at(st, i), c);
    assert_ok(gs_safetensors_writer_begin(w, path, &err), &err);
    for (size_t i = 0; i < gs_safetensors_count(st); i++) put_change(w, gs_safetensors_at(st, i), c);
    assert_ok(gs_safetensors_writer_commit(w, &err), &err);
    gs_safetensors_close(st);
}

#endif
