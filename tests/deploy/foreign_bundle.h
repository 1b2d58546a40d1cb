/* Bundles of other ecosystems' formats, made by hand from one tiny model: every linear of the blocks has codes and scales
 * that are functions of its name and place, so that what a reader presents can be compared with what was meant. */
#ifndef GS_TESTS_DEPLOY_FOREIGN_BUNDLE_H
#define GS_TESTS_DEPLOY_FOREIGN_BUNDLE_H

#include <tests/support.h>
#include <tests/tiny_model.h>

#include <api/opened.h>
#include <base/json.h>
#include <base/mem.h>
#include <gstick.h>
#include <loaders/safetensors.h>
#include <sys/stat.h>

enum { FB_MAX = 400 };

typedef struct fb_tensor {
    char name[256];
    gs_dtype dtype;
    int ndim;
    int64_t shape[2];
    uint8_t *data;
    uint64_t bytes;
} fb_tensor;

typedef struct foreign_bundle {
    char *dir;
    fb_tensor tensor[FB_MAX];
    size_t count;
} foreign_bundle;

static const tiny_shape fb_shape = {96, 32, 48, 2, 4, 2, GS_F32, false};

/* ---- what the numbers are ---- */

static inline uint32_t fb_hash(const char *linear, int64_t a, int64_t b) {
    uint64_t h = 1469598103934665603u;
    for (const char *p = linear; *p; p++) h = (h ^ (uint8_t)*p) * 1099511628211u;
    h = (h ^ (uint64_t)(a * 1000003 + b)) * 1099511628211u;
    return (uint32_t)(h >> 32);
}
static inline int fb_code(const char *linear, int64_t r, int64_t c) { return (int)(fb_hash(linear, r, c) % 255) - 127; }
/* Exact in f16 and bf16. */
static inline float fb_scale(const char *linear, int64_t r, int64_t g) {
    return (1.0f + (float)(fb_hash(linear, r + 7777, g) % 16) / 16) / 1024;
}
/* Of the value that a linear reads: q, k and v, or gate and up, share it. */
static inline float fb_input_scale(const char *linear) {
    return strstr(linear, "o_proj") ? 0.03125f : strstr(linear, "down_proj") ? 0.0625f : 0.046875f;
}
static inline int fb_input_offset(const char *linear) { return strstr(linear, "o_proj") ? 3 : -5; }

/* ---- making one ---- */

/* data NULL: zeros. */
static inline fb_tensor *fb_put(foreign_bundle *b, const char *stem, const char *suffix, gs_dtype dtype, int ndim,
                                int64_t rows, int64_t cols, const void *data) {
    assert_true(b->count < FB_MAX);
    fb_tensor *t = &b->tensor[b->count++];
    *t = (fb_tensor){.dtype = dtype, .ndim = ndim, .shape = {rows, cols}};
    snprintf(t->name, sizeof t->name, "%s%s%s", stem, *suffix ? "." : "", suffix);
    assert_true(gs_dtype_bytes(dtype, (uint64_t)(rows * (ndim > 1 ? cols : 1)), &t->bytes));
    t->data = calloc(1, t->bytes + 1);
    assert_non_null(t->data);
    if (data) memcpy(t->data, data, t->bytes);
    return t;
}

static inline void fb_store(fb_tensor *t, int64_t i, float x) {
    int32_t word = (int32_t)x;
    uint16_t half = t->dtype == GS_BF16 ? gs_f32_to_bf16(x) : gs_f32_to_f16(x);
    if (t->dtype == GS_F32) memcpy(t->data + 4 * i, &x, 4);
    else if (t->dtype == GS_I32) memcpy(t->data + 4 * i, &word, 4);
    else if (t->dtype == GS_I8) t->data[i] = (uint8_t)(int8_t)x;
    else memcpy(t->data + 2 * i, &half, 2);
}

static inline fb_tensor *fb_find(foreign_bundle *b, const char *name) {
    for (size_t i = 0; i < b->count; i++)
        if (strcmp(b->tensor[i].name, name) == 0) return &b->tensor[i];
    fail_msg("no tensor '%s'", name);
    return NULL;
}

static inline void fb_drop(foreign_bundle *b, const char *name) {
    fb_tensor *t = fb_find(b, name);
    free(t->data);
    *t = b->tensor[--b->count];
}

/* Another type and shape; the bytes are cut or filled with zeros. */
static inline void fb_retype(foreign_bundle *b, const char *name, gs_dtype dtype, int ndim, int64_t rows, int64_t cols) {
    fb_tensor *t = fb_find(b, name), old = *t;
    uint64_t bytes;
    assert_true(gs_dtype_bytes(dtype, (uint64_t)(rows * (ndim > 1 ? cols : 1)), &bytes));
    t->data = calloc(1, bytes + 1);
    assert_non_null(t->data);
    memcpy(t->data, old.data, bytes < old.bytes ? bytes : old.bytes);
    free(old.data);
    *t = (fb_tensor){.dtype = dtype, .ndim = ndim, .shape = {rows, cols}, .data = t->data, .bytes = bytes};
    snprintf(t->name, sizeof t->name, "%s", name);
}

static inline bool fb_is_linear(const char *name) { return strstr(name, "_proj.weight") != NULL; }

typedef void fb_linear(foreign_bundle *b, const char *stem, int64_t n, int64_t k, void *ctx);

/* The tiny model with every linear of the blocks made by `linear`, the rest F32. embedding: its suffix. */
static inline void fb_begin(foreign_bundle *b, fb_linear *linear, void *ctx, const char *embedding) {
    tiny_tensor list[64];
    size_t n = tiny_list(&fb_shape, list);
    *b = (foreign_bundle){.dir = gs_test_tmpdir()};
    for (size_t i = 0; i < n; i++) {
        const tiny_tensor *t = &list[i];
        char stem[128];
        uint64_t seed = 50 + i;
        snprintf(stem, sizeof stem, "%.*s", (int)(strlen(t->name) - 7), t->name);
        if (fb_is_linear(t->name)) {
            linear(b, stem, t->shape[0], t->shape[1], ctx);
            continue;
        }
        fb_tensor *out = fb_put(b, stem, strstr(stem, "embed") ? embedding : "weight", GS_F32, t->ndim, t->shape[0],
                                t->shape[1], NULL);
        for (int64_t e = 0; e < (int64_t)(out->bytes / 4); e++) fb_store(out, e, tiny_value(t, &seed));
    }
}

static inline void fb_weights(const foreign_bundle *b, const char *file) {
    char path[1200];
    gs_error err = {0};
    gs_safetensors_writer *w;
    snprintf(path, sizeof path, "%s/%s", b->dir, file);
    assert_ok(gs_safetensors_writer_create(&w, &err), &err);
    for (size_t i = 0; i < b->count; i++)
        assert_ok(gs_safetensors_writer_plan(w, b->tensor[i].name, b->tensor[i].dtype, b->tensor[i].ndim,
                                             b->tensor[i].shape, &err), &err);
    assert_ok(gs_safetensors_writer_begin(w, path, &err), &err);
    for (size_t i = 0; i < b->count; i++)
        assert_ok(gs_safetensors_writer_put(w, b->tensor[i].name, 0, b->tensor[i].data, b->tensor[i].bytes, &err), &err);
    assert_ok(gs_safetensors_writer_commit(w, &err), &err);
}

/* config.json; quantization: the value of quantization_config, or NULL. */
static inline void fb_config(const foreign_bundle *b, const char *quantization) {
    char text[8192];
    snprintf(text, sizeof text,
             "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": 96, \"hidden_size\": 32,\n"
             " \"intermediate_size\": 48, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,\n"
             " \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\", \"max_position_embeddings\": 256,\n"
             " \"tie_word_embeddings\": false, \"torch_dtype\": \"float32\"%s%s}\n",
             quantization ? ", \"quantization_config\": " : "", quantization ? quantization : "");
    tiny_text(b->dir, "config.json", text);
}

static inline void fb_end(foreign_bundle *b) {
    for (size_t i = 0; i < b->count; i++) free(b->tensor[i].data);
    gs_test_rmdir(b->dir);
}

/* ---- looking at what was read ---- */

typedef struct fb_expected {
    gs_scheme scheme;
    int64_t groups;       /* of a row of k columns; 0: one scale for the whole tensor, that of row 0 */
    int64_t group_size;   /* instead of groups, when not 0 */
    float weight_offset;
    bool input_offset;    /* fb_input_offset, else 0 */
} fb_expected;

static inline void fb_check_floats(const gs_param *p, const char *name, const fb_expected *e, bool offset, int64_t n,
                                   int64_t groups) {
    gs_error err = {0};
    float got[48 * 16];
    assert_non_null(p);
    assert_true(n * groups <= 48 * 16 && gs_param_count(p) == n * groups);
    assert_ok(gs_param_read_f32(p, 0, p->ndim == 1 ? 1 : n, got, &err), &err);
    for (int64_t r = 0; r < n; r++)
        for (int64_t g = 0; g < groups; g++) {
            float want = offset ? e->weight_offset : fb_scale(name, e->groups || e->group_size ? r : 0, g);
            if (got[r * groups + g] != want)
                fail_msg("%s [%lld, %lld] is %g, not %g", p->name, (long long)r, (long long)g, (double)got[r * groups + g],
                         (double)want);
        }
}

/* The first value of a vector. */
static inline float fb_scalar(const gs_param *p) {
    gs_error err = {0};
    float x[64];
    assert_non_null(p);
    assert_true(gs_param_count(p) <= 64);
    assert_ok(gs_param_read_f32(p, 0, 1, x, &err), &err);
    return x[0];
}

static inline void fb_check_linear(const gs_node *node, const fb_expected *e) {
    gs_error err = {0};
    int8_t codes[48 * 48];
    const gs_param *w = node->param[GS_ROLE_WEIGHT];
    int64_t n = w->shape[0], k = w->shape[1];
    assert_int_equal(node->op, GS_OP_QLINEAR);
    assert_int_equal(node->attr.quant.scheme, e->scheme);
    assert_true(w->dtype == GS_I8 && n * k <= 48 * 48);
    assert_ok(gs_param_read_s8(w, 0, n, codes, &err), &err);
    for (int64_t i = 0; i < n * k; i++)
        if (codes[i] != fb_code(node->name, i / k, i % k))
            fail_msg("%s [%lld, %lld] is %d", w->name, (long long)(i / k), (long long)(i % k), codes[i]);
    int64_t groups = e->group_size ? k / e->group_size : e->groups ? e->groups : 1;
    fb_check_floats(node->param[GS_ROLE_WEIGHT_SCALE], node->name, e, false, n, groups);
    fb_check_floats(node->param[GS_ROLE_WEIGHT_OFFSET], node->name, e, true, n, groups);
    if (e->scheme != GS_SCHEME_W8A8) return;
    assert_true(fb_scalar(node->param[GS_ROLE_INPUT_SCALE]) == fb_input_scale(node->name));
    assert_true(fb_scalar(node->param[GS_ROLE_INPUT_OFFSET]) == (e->input_offset ? fb_input_offset(node->name) : 0));
}

/* Opens, compares every linear of the blocks, and computes a few tokens. */
static inline void fb_check(const foreign_bundle *b, const char *format, const fb_expected *e) {
    gs_error err = {0};
    gs_opened o;
    int linears = 0;
    assert_ok(gs_opened_open(NULL, b->dir, NULL, &o, &err), &err);
    assert_non_null(o.bundle);
    assert_string_equal(gs_bundle_format_name(o.bundle), format);
    assert_string_equal(gs_bundle_type(o.bundle), gs_scheme_name(e->scheme));
    for (int i = 0; i < gs_model_segments(o.model); i++) {
        gs_net *net;
        assert_ok(gs_model_segment(o.model, i, &net, &err), &err);
        for (int n = 0; n < gs_net_node_count(net); n++) {
            const gs_node *node = gs_net_node(net, n);
            if (!strstr(node->name, "_proj")) continue;
            fb_check_linear(node, e);
            linears++;
        }
        gs_net_destroy(net);
    }
    assert_int_equal(linears, 14);
    gs_opened_close(&o);
    char ids[1200];
    gs_session *s;
    gs_eval_result r;
    snprintf(ids, sizeof ids, "%s/ids.i32", b->dir);
    tiny_tokens(ids, 32, 96, 9);
    const gs_session_options so = {.threads = 1};
    assert_ok(gs_session_create(&so, &s, &err), &err);
    static const char *const ariths[] = {"ascend", "exact", "weights"};
    double nll[3];
    for (size_t a = 0; a < 3; a++) {
        gs_evaluate_options options = {.tokens = ids, .window = 32, .arith = ariths[a]};
        assert_ok(gs_evaluate(s, b->dir, &options, &r, &err), &err);
        nll[a] = r.nll;
    }
    if (!(nll[0] - nll[2] < 0.5 && nll[2] - nll[0] < 0.5)) fail_msg("nll %g, %g, %g", nll[0], nll[1], nll[2]);
    gs_session_destroy(s);
}

/* Opening it fails cleanly wherever memory ends, and works where it does not; ends it. */
static inline void fb_starve(foreign_bundle *b) {
    gs_error err = {0};
    gs_opened o;
    gs_status status = GS_E_NOMEM;
    for (int64_t k = 0; status != GS_OK; k++) {
        assert_true(k < 100000);
        gs_mem_fail_after(k);
        status = gs_opened_open(NULL, b->dir, NULL, &o, &err);
        gs_mem_fail_after(-1);
        assert_true(status == GS_OK || err.text[0]);
    }
    assert_non_null(o.bundle);
    gs_opened_close(&o);
    fb_end(b);
}

/* Opening it fails, with these words. */
static inline void fb_refused(const foreign_bundle *b, const char *words) {
    gs_error err = {0};
    gs_opened o;
    if (gs_opened_open(NULL, b->dir, NULL, &o, &err) == GS_OK) fail_msg("'%s' was opened", words);
    if (!strstr(err.text, words)) fail_msg("'%s' lacks '%s'", err.text, words);
}

/* Makes case `i` whole, its files too. */
typedef void fb_case(foreign_bundle *b, int i);

/* Every case is refused, with the words of its place. */
static inline void fb_all_refused(fb_case *make, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        foreign_bundle b;
        make(&b, (int)i);
        fb_refused(&b, words[i]);
        fb_end(&b);
    }
}

/* text (size bytes of room) with the first `from` replaced. */
static inline void fb_edit(char *text, size_t size, const char *from, const char *to) {
    char rest[4096];
    char *at = strstr(text, from);
    if (!at) fail_msg("'%s' is not there", from);
    assert_true(strlen(at) < sizeof rest && strlen(text) + strlen(to) < size);
    snprintf(rest, sizeof rest, "%s", at + strlen(from));
    snprintf(at, size - (size_t)(at - text), "%s%s", to, rest);
}

#endif
