/* Bytes changed and files cut at random, a thousand times in a small bundle of each format: verify never crashes, and what it
 * passes over in the metadata (JSON files, headers of safetensors) is harmless: the bundle reads back to the same values. */
#include "verify_support.h"

#include <base/affix.h>
#include <deploy/bundle.h>

enum { ROUNDS = 1000, FILES = 8 };

static const gs_quantize_options formats[] = {
    {.scheme = "w8a8", .dtype = "bf16", .alpha = "none"},
    {.scheme = "w8a16", .dtype = "f16", .format = "compressed-tensors", .group_size = 16},
    {.scheme = "w8a8", .dtype = "bf16", .alpha = "none", .format = "compressed-tensors"},
    {.scheme = "w8a16", .dtype = "f16", .format = "gptq"},
    {.scheme = "w8a8", .dtype = "bf16", .alpha = "none", .format = "mindspore"},
    {.scheme = "w8a8-dynamic", .dtype = "bf16", .alpha = "none", .format = "mindspore-ckpt"},
    {.scheme = "w8a16", .dtype = "f16", .format = "gguf"},
    {.scheme = "float", .dtype = "f16", .format = "compressed-tensors"},
};

typedef struct file {
    char path[1200];
    uint8_t *data;
    size_t size, metadata; /* bytes at its beginning */
} file;

typedef struct bundle {
    char path[1000], model[1000], opened[1100]; /* opened: what a reader is given */
    file file[FILES];
    size_t files;
    uint64_t values;  /* a hash of what it reads back to */
    size_t found, harmless, data;
} bundle;

/* ---- what it reads back to ---- */

static void mix(uint64_t *hash, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++) *hash = (*hash ^ p[i]) * 0x100000001b3u;
}

static void mix_tensor(uint64_t *sum, const gs_tensor *t) {
    uint64_t hash = 0xcbf29ce484222325u;
    const int64_t facts[] = {(int64_t)t->dtype, t->ndim, (int64_t)t->codes, (int64_t)t->order, t->order_heads};
    mix(&hash, t->name, strlen(t->name) + 1);
    mix(&hash, facts, sizeof facts);
    mix(&hash, t->shape, (size_t)t->ndim * sizeof *t->shape);
    mix(&hash, t->data, t->bytes);
    *sum += hash; /* whatever order they come in */
}

/* False: it cannot be read. */
static bool read_back(const char *path, uint64_t *hash, gs_error *err) {
    gs_bundle *b = NULL;
    gs_checkpoint *c = NULL;
    const gs_bundle_open_options o = {.codes = true};
    *hash = 0;
    if (gs_bundle_open(path, &o, &b, &c, err) != GS_OK) return false;
    if (b) mix(hash, gs_bundle_type(b), strlen(gs_bundle_type(b)));
    else if (gs_checkpoint_open(path, NULL, &c, err) != GS_OK) return false;
    for (size_t i = 0; i < gs_checkpoint_count(c); i++) mix_tensor(hash, gs_checkpoint_at(c, i));
    gs_checkpoint_close(c);
    gs_bundle_close(b);
    return true;
}

/* ---- damage ---- */

/* In place: file systems write a file at once that is emptied first. */
static void put(const file *f, const uint8_t *data, size_t n) {
    FILE *out = fopen(f->path, "r+b");
    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(truncate(f->path, (off_t)n), 0);
}

static void take_files(bundle *b) {
    gs_error err = {0};
    char **names;
    assert_ok(gs_dir_list(b->path, &names, &b->files, &err), &err);
    assert_true(b->files > 0 && b->files <= FILES);
    for (size_t i = 0; i < b->files; i++) {
        file *f = &b->file[i];
        uint64_t header = 0;
        snprintf(f->path, sizeof f->path, "%s/%s", b->path, names[i]);
        f->data = (uint8_t *)file_text(f->path, &f->size);
        if (gs_ends_with(names[i], ".json")) f->metadata = f->size;
        if (gs_ends_with(names[i], ".safetensors")) {
            memcpy(&header, f->data, sizeof header);
            f->metadata = 8 + (size_t)header;
        }
    }
    gs_strlist_free(names, b->files);
}

/* Judges the damaged bundle; `metadata`: no value was touched. */
static void judge(gs_session *session, bundle *b, bool metadata, const char *what, size_t at) {
    gs_error err = {0};
    gs_verify_result r;
    uint64_t values;
    gs_verify_options o = {.against = b->model};
    assert_ok(gs_verify(session, b->path, &o, &r, &err), &err);
    size_t findings = r.total_findings;
    gs_verify_result_clear(&r);
    if (findings) {
        b->found++;
    } else if (!metadata) {
        b->data++;
    } else {
        if (!read_back(b->opened, &values, &err)) fail_msg("%s, byte %zu: passed over, and unreadable: %s", what, at, err.text);
        if (values != b->values) fail_msg("%s, byte %zu: passed over, and reads back to something else", what, at);
        b->harmless++;
    }
}

static void flip(gs_session *session, bundle *b, file *f, uint64_t *seed) {
    /* mostly in the metadata, where there is any */
    size_t range = f->metadata && gs_test_rand(seed) % 4 ? f->metadata : f->size, at = (size_t)(gs_test_rand(seed) % range);
    uint8_t was = f->data[at];
    /* one bit, or another printable character: what is still JSON is harder to find */
    uint8_t bit = (uint8_t)(1 << gs_test_rand(seed) % 8);
    f->data[at] = gs_test_rand(seed) % 2 ? (uint8_t)(was ^ bit) : (uint8_t)(' ' + gs_test_rand(seed) % 95);
    put(f, f->data, f->size);
    if (f->data[at] != was) judge(session, b, at < f->metadata, f->path, at);
    f->data[at] = was;
    put(f, f->data, f->size);
}

static void cut(gs_session *session, bundle *b, file *f, uint64_t *seed) {
    size_t n = (size_t)(gs_test_rand(seed) % f->size);
    put(f, f->data, n);
    judge(session, b, true, f->path, n);
    put(f, f->data, f->size);
}

/* The manifest is no part of what servers read, and of what verify reads it may only change the target. */
static bool is_manifest(const file *f) { return gs_ends_with(f->path, "gstick_manifest.json"); }

static void damage(gs_session *session, bundle *b, uint64_t *seed) {
    for (int i = 0; i < ROUNDS; i++) {
        file *f = &b->file[gs_test_rand(seed) % b->files];
        if (is_manifest(f) && gs_test_rand(seed) % 4) f = &b->file[b->files - 1]; /* it is not the last */
        if (gs_test_rand(seed) % 8) flip(session, b, f, seed);
        else cut(session, b, f, seed);
    }
}

static void no_damage_crashes_and_none_of_the_metadata_passes(void **state) {
    (void)state;
    gs_error err = {0};
    gs_session *session;
    char *root = gs_test_tmpdir(), ids[1100];
    uint64_t seed = 20240607;
    tiny_shape shape = tiny_default;
    shape.layers = 1;
    shape.vocab = 64;
    shape.intermediate = 64;
    snprintf(ids, sizeof ids, "%s/ids.i32", root);
    tiny_tokens(ids, 4 * 32, shape.vocab, 5);
    const gs_session_options so = {.threads = 1};
    assert_ok(gs_session_create(&so, &session, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(formats); i++) {
        bundle b = {.files = 0};
        snprintf(b.model, sizeof b.model, "%s/model", root);
        snprintf(b.path, sizeof b.path, "%s/bundle%zu", root, i);
        if (i == 0) {
            assert_int_equal(mkdir(b.model, 0755), 0);
            tiny_model(b.model, &shape, 3);
        }
        make_bundle(session, b.model, b.path, ids, formats[i]);
        bool gguf = formats[i].format && strcmp(formats[i].format, "gguf") == 0;
        snprintf(b.opened, sizeof b.opened, "%s%s", b.path, gguf ? "/model.gguf" : "");
        if (!read_back(b.opened, &b.values, &err)) fail_msg("%s", err.text);
        take_files(&b);
        damage(session, &b, &seed);
        print_message("%s %s: %zu found, %zu harmless, %zu in values passed over\n", formats[i].format ? formats[i].format : "ascend",
                      formats[i].scheme, b.found, b.harmless, b.data);
        assert_true(b.found > ROUNDS / 3);
        for (size_t k = 0; k < b.files; k++) gs_free(b.file[k].data);
    }
    gs_session_destroy(session);
    gs_test_rmdir(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_damage_crashes_and_none_of_the_metadata_passes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
