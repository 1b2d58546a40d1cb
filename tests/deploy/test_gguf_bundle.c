/* GGUF bundles, byte by byte against what the format says, computed here once more: blocks of Q8_0, the order of rows, the types
 * of vectors, names and metadata. And what is refused. */
#include "../support.h"
#include "../tiny_model.h"

#include <api/opened.h>
#include <base/mem.h>
#include <base/team.h>
#include <deploy/bundle_writer.h>
#include <network/rewrite.h>
#include <sys/stat.h>

#include <math.h>

static const tiny_shape shape = {96, 64, 96, 2, 4, 2, GS_F32, false};

/* What is done to the linears before they are written. */
typedef struct plan {
    const char *quantize; /* linears whose name contains it; NULL: none */
    gs_scheme scheme;
    int64_t groups;       /* scales a row */
    bool vectors;         /* scales and offsets are [n], not [n, 1] */
    float scale;          /* of every group, times 1 to 8; an f16 value */
    float offset;
    bool qkv_bias;
    const char *norm_bias;
    gs_dtype dtype;
    int threads;
} plan;

static const plan usual = {"_proj", GS_SCHEME_W8A16, 1, false, 0x1p-9f, 0, false, NULL, GS_F16, 1};

typedef struct job {
    char *root, model[1100], bundle[1100], file[1200];
    gs_opened source;
} job;

static void begin_config(job *j, const tiny_shape *s, const char *from, const char *to) {
    char path[1200], *text, edited[4096];
    size_t len;
    gs_error err = {0};
    *j = (job){.root = gs_test_tmpdir()};
    snprintf(j->model, sizeof j->model, "%s/model", j->root);
    snprintf(j->bundle, sizeof j->bundle, "%s/bundle", j->root);
    snprintf(j->file, sizeof j->file, "%s/model.gguf", j->bundle);
    assert_int_equal(mkdir(j->model, 0755), 0);
    tiny_model(j->model, s, 7);
    if (from) {
        snprintf(path, sizeof path, "%s/config.json", j->model);
        assert_ok(gs_file_read(path, 1 << 20, &text, &len, &err), &err);
        char *at = strstr(text, from);
        assert_non_null(at);
        snprintf(edited, sizeof edited, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
        tiny_text(j->model, "config.json", edited);
        gs_free(text);
    }
    assert_ok(gs_opened_open(NULL, j->model, NULL, &j->source, &err), &err);
}

static void begin(job *j) { begin_config(j, &shape, NULL, NULL); }

static void end(job *j) {
    gs_opened_close(&j->source);
    gs_test_rmdir(j->root);
}

static void *own(gs_net *net, gs_node *node, gs_role role, gs_dtype dtype, int ndim, int64_t a, int64_t b) {
    gs_error err = {0};
    char name[256];
    const int64_t dims[2] = {a, b};
    snprintf(name, sizeof name, "%s.%s", node->name, gs_role_name(role));
    assert_ok(gs_net_param_new(net, node, role, name, dtype, ndim, dims, NULL, &err), &err);
    assert_ok(gs_param_allocate(node->param[role], &err), &err);
    return node->param[role]->data;
}

static int8_t code_at(const char *name, int64_t row, int64_t col) {
    uint64_t state = strlen(name) * 131u + (uint64_t)(unsigned char)name[13] + (uint64_t)row * 1009u + (uint64_t)col;
    return (int8_t)(gs_test_rand(&state) & 0xff);
}

static float scale_at(const plan *p, int64_t row, int64_t group) {
    return p->scale * (float)(1 + (row + 3 * group) % 8);
}

static void quantize(gs_net *net, gs_node *node, const plan *p) {
    gs_error err = {0};
    gs_attr attr = {.quant = {.scheme = p->scheme, .compute = p->dtype}};
    int64_t n, k;
    gs_param_matrix(node->param[GS_ROLE_WEIGHT], &n, &k);
    assert_ok(gs_net_replace(net, node, GS_OP_QLINEAR, &attr, &node, &err), &err);
    int8_t *q = own(net, node, GS_ROLE_WEIGHT, GS_I8, 2, n, k);
    float *scale = own(net, node, GS_ROLE_WEIGHT_SCALE, GS_F32, p->vectors ? 1 : 2, n, p->groups);
    float *offset = own(net, node, GS_ROLE_WEIGHT_OFFSET, GS_F32, p->vectors ? 1 : 2, n, p->groups);
    for (int64_t i = 0; i < n * k; i++) q[i] = code_at(node->name, i / k, i % k);
    for (int64_t i = 0; i < n * p->groups; i++) {
        scale[i] = scale_at(p, i / p->groups, i % p->groups);
        offset[i] = p->offset;
    }
}

static void add_bias(gs_net *net, gs_node *node) {
    int64_t n, k;
    gs_param_matrix(node->param[GS_ROLE_WEIGHT], &n, &k);
    if (node->op == GS_OP_RMSNORM) n = k;
    float *bias = own(net, node, GS_ROLE_BIAS, GS_F32, 1, n, 0);
    for (int64_t i = 0; i < n; i++) bias[i] = 0.25f * (float)i;
}

static gs_net *segment(const job *j, int i, const plan *p) {
    gs_error err = {0};
    gs_net *net;
    assert_ok(gs_model_segment(j->source.model, i, &net, &err), &err);
    for (int n = 0; n < gs_net_node_count(net); n++) {
        gs_node *node = gs_net_node(net, n);
        bool qkv = strstr(node->name, "q_proj") || strstr(node->name, "k_proj") || strstr(node->name, "v_proj");
        if (p->qkv_bias && qkv) add_bias(net, node);
        if (p->norm_bias && strstr(node->name, p->norm_bias)) add_bias(net, node);
        if (node->op == GS_OP_LINEAR && p->quantize && strstr(node->name, p->quantize)) quantize(net, node, p);
    }
    return net;
}

typedef gs_status step(gs_bundle_writer *w, const gs_net *segment, gs_error *err);

static gs_status pass(step *f, gs_bundle_writer *w, const job *j, const plan *p, gs_error *err) {
    gs_status status = GS_OK;
    for (int i = 0; i < gs_model_segments(j->source.model) && status == GS_OK; i++) {
        gs_net *net = segment(j, i, p);
        status = f(w, net, err);
        gs_net_destroy(net);
    }
    return status;
}

static gs_status write_all(const job *j, const plan *p, gs_context *cx, gs_error *err) {
    gs_bundle_options o = {.source = gs_model_checkpoint(j->source.model), .dtype = p->dtype, .head = "lm_head",
                           .embed = "model.embed_tokens", .tied = gs_checkpoint_config(gs_model_checkpoint(j->source.model))->tied};
    gs_bundle_writer *w;
    uint64_t bytes;
    GS_TRY(gs_bundle_writer_create(cx, &gs_bundle_gguf, j->bundle, &o, &w, err));
    gs_status status = pass(gs_bundle_writer_plan, w, j, p, err);
    if (status == GS_OK) status = gs_bundle_writer_begin(w, err);
    if (status == GS_OK) status = pass(gs_bundle_writer_write, w, j, p, err);
    if (status == GS_OK) return gs_bundle_writer_finish(w, &bytes, err);
    gs_bundle_writer_abort(w);
    return status;
}

static gs_gguf *written(const job *j, const plan *p) {
    gs_error err = {0};
    gs_context cx = {0};
    gs_gguf *g;
    assert_ok(write_all(j, p, &cx, &err), &err);
    assert_ok(gs_gguf_open(j->file, &g, &err), &err);
    return g;
}

static const gs_tensor *tensor_of(const gs_gguf *g, const char *name, gs_dtype dtype, int64_t rows, int64_t cols) {
    const gs_tensor *t = gs_gguf_find(g, name);
    if (!t) fail_msg("no '%s'", name);
    assert_int_equal(t->dtype, dtype);
    assert_int_equal(t->ndim, rows ? 2 : 1);
    assert_int_equal(t->shape[t->ndim - 1], cols);
    if (rows) assert_int_equal(t->shape[0], rows);
    return t;
}

/* Where the converter's reshape [heads, 2, hd/2, k], axes 1 and 2 swapped, puts a row of heads of 16. */
static int64_t swapped(int64_t row) { return row / 16 * 16 + row % 8 * 2 + row % 16 / 8; }

static void check_blocks(const gs_tensor *t, const char *name, const plan *p, bool swap) {
    int64_t n = t->shape[0], k = t->shape[1], per_group = k / p->groups;
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < k; c++) {
            const uint8_t *block = t->data + ((swap ? swapped(r) : r) * (k / 32) + c / 32) * 34;
            uint16_t d = (uint16_t)(block[0] | block[1] << 8);
            assert_true(gs_f16_to_f32(d) == scale_at(p, r, c / per_group));
            assert_int_equal((int8_t)block[2 + c % 32], code_at(name, r, c));
        }
}

static void blocks_are_as_the_format_says(void **state) {
    (void)state;
    for (int form = 0; form < 3; form++) {
        job j;
        plan p = usual;
        p.quantize = "self_attn"; /* k = 64: per channel, as a vector and as a column, and a scale for each 32 */
        p.groups = form == 2 ? 2 : 1;
        p.vectors = form == 0;
        begin(&j);
        gs_gguf *g = written(&j, &p);
        check_blocks(tensor_of(g, "blk.0.attn_q.weight", GS_Q8_0, 64, 64), "model.layers.0.self_attn.q_proj", &p, true);
        check_blocks(tensor_of(g, "blk.1.attn_k.weight", GS_Q8_0, 32, 64), "model.layers.1.self_attn.k_proj", &p, true);
        check_blocks(tensor_of(g, "blk.1.attn_v.weight", GS_Q8_0, 32, 64), "model.layers.1.self_attn.v_proj", &p, false);
        check_blocks(tensor_of(g, "blk.0.attn_output.weight", GS_Q8_0, 64, 64), "model.layers.0.self_attn.o_proj", &p, false);
        tensor_of(g, "blk.0.ffn_down.weight", GS_F16, 64, 96);
        gs_gguf_close(g);
        end(&j);
    }
}

static void the_metadata_describes_the_model(void **state) {
    (void)state;
    static const struct {
        const char *key;
        int64_t value;
    } ints[] = {{"llama.block_count", 2}, {"llama.context_length", 256}, {"llama.embedding_length", 64},
                {"llama.feed_forward_length", 96}, {"llama.attention.head_count", 4}, {"llama.attention.head_count_kv", 2},
                {"llama.rope.dimension_count", 16}, {"llama.vocab_size", 96}, {"general.file_type", 7},
                {"general.quantization_version", 2}};
    job j;
    double real;
    gs_gguf_str s;
    begin_config(&j, &shape, "\"rope_theta\"", "\"_name_or_path\": \"/some/where/Tiny\", \"rope_theta\"");
    gs_gguf *g = written(&j, &usual);
    for (size_t i = 0; i < GS_COUNTOF(ints); i++) {
        int64_t v = -1;
        if (!gs_gguf_int(g, ints[i].key, &v) || v != ints[i].value) fail_msg("%s: %d", ints[i].key, (int)v);
    }
    assert_true(gs_gguf_double(g, "llama.attention.layer_norm_rms_epsilon", &real) && real == (double)1e-5f);
    assert_true(gs_gguf_double(g, "llama.rope.freq_base", &real) && real == 10000);
    assert_true(gs_gguf_string(g, "general.architecture", &s) && s.len == 5 && !memcmp(s.data, "llama", 5));
    assert_true(gs_gguf_string(g, "tokenizer.ggml.model", &s) && s.len == 4 && !memcmp(s.data, "none", 4));
    assert_true(gs_gguf_string(g, "general.name", &s) && s.len == 4 && !memcmp(s.data, "Tiny", 4));
    assert_null(gs_gguf_find(g, "rope_freqs.weight"));
    assert_int_equal(gs_gguf_count(g), 3 + 9 * 2);
    gs_gguf_close(g);
    end(&j);
}

/* Every tensor of the source, rounded as the bundle's type rounds, under its own name again. shift: what was added to norms. */
static void same_tensors(const gs_checkpoint *source, const gs_checkpoint *back, gs_dtype dtype, float shift) {
    gs_error err = {0};
    assert_int_equal(gs_checkpoint_count(back), gs_checkpoint_count(source));
    for (size_t i = 0; i < gs_checkpoint_count(source); i++) {
        const gs_tensor *s = gs_checkpoint_at(source, i), *t = gs_checkpoint_find(back, s->name);
        int64_t rows, cols;
        if (!t) fail_msg("no '%s'", s->name);
        gs_tensor_matrix(s, &rows, &cols);
        float *x = malloc((size_t)(rows * cols) * 4), *y = malloc((size_t)(rows * cols) * 4);
        assert_true(x && y);
        assert_ok(gs_tensor_read_f32(s, 0, rows, x, &err), &err);
        assert_ok(gs_tensor_read_f32(t, 0, rows, y, &err), &err);
        for (int64_t e = 0; e < rows * cols; e++) {
            float want = s->ndim < 2 ? x[e] + shift - shift : gs_round_to(dtype, x[e]);
            if (y[e] != want) fail_msg("%s[%d]: %g, wanted %g", s->name, (int)e, (double)y[e], (double)want);
        }
        free(x);
        free(y);
    }
}

static void same_model(const job *j, gs_dtype dtype) {
    gs_checkpoint *back;
    gs_error err = {0};
    const gs_checkpoint *source = gs_model_checkpoint(j->source.model);
    assert_ok(gs_checkpoint_open(j->file, NULL, &back, &err), &err);
    const gs_model_config *a = gs_checkpoint_config(source), *b = gs_checkpoint_config(back);
    assert_string_equal(a->model_type, b->model_type);
    assert_true(a->vocab == b->vocab && a->hidden == b->hidden && a->layers == b->layers && a->heads == b->heads &&
                a->kv_heads == b->kv_heads && a->head_dim == b->head_dim && a->max_positions == b->max_positions &&
                a->norm_eps == b->norm_eps && a->rope_theta == b->rope_theta && a->tied == b->tied &&
                a->rope_scaling.kind == b->rope_scaling.kind && a->rope_scaling.factor == b->rope_scaling.factor);
    same_tensors(source, back, dtype, 0);
    gs_checkpoint_close(back);
}

static void float_models_read_back(void **state) {
    (void)state;
    static const gs_dtype dtypes[] = {GS_F32, GS_F16, GS_BF16};
    static const int64_t types[] = {0, 1, 32};
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++) {
        job j;
        plan p = {.dtype = dtypes[i], .threads = 1};
        int64_t v;
        begin(&j);
        gs_gguf *g = written(&j, &p);
        assert_true(gs_gguf_int(g, "general.file_type", &v) && v == types[i]);
        assert_false(gs_gguf_int(g, "general.quantization_version", &v));
        tensor_of(g, "token_embd.weight", dtypes[i], 96, 64);
        tensor_of(g, "output.weight", dtypes[i], 96, 64);
        tensor_of(g, "output_norm.weight", GS_F32, 0, 64);
        tensor_of(g, "blk.1.ffn_norm.weight", GS_F32, 0, 64);
        gs_gguf_close(g);
        same_model(&j, dtypes[i]);
        end(&j);
    }
}

static void a_tied_head_is_not_stored(void **state) {
    (void)state;
    job j;
    tiny_shape tied = shape;
    plan p = {.dtype = GS_BF16, .threads = 1};
    tied.tied = true;
    begin_config(&j, &tied, NULL, NULL);
    gs_gguf *g = written(&j, &p);
    assert_null(gs_gguf_find(g, "output.weight"));
    gs_gguf_close(g);
    same_model(&j, GS_BF16);
    end(&j);
}

static void rope_scaling_has_its_forms(void **state) {
    (void)state;
    job j;
    plan p = {.dtype = GS_F16, .threads = 1};
    begin_config(&j, &shape, "\"rope_theta\": 10000.0",
                 "\"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 32.0,"
                 "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}");
    gs_gguf *g = written(&j, &p);
    const gs_tensor *t = tensor_of(g, "rope_freqs.weight", GS_F32, 0, 8);
    for (int i = 0; i < 8; i++) {
        float got;
        double length = 2 * 3.14159265358979323846 * pow(500000, i / 8.0), want = 1;
        double smooth = (8192 / length - 1) / 3;
        if (length > 8192) want = 32;
        else if (length > 2048) want = 1 / ((1 - smooth) / 32 + smooth);
        memcpy(&got, t->data + 4 * i, 4);
        assert_true(fabs((double)got - want) <= 1e-6 * want);
    }
    gs_gguf_close(g);
    same_model(&j, GS_F16);
    end(&j);
    begin_config(&j, &shape, "\"rope_theta\": 10000.0",
                 "\"rope_theta\": 10000.0, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4.0}");
    g = written(&j, &p);
    double factor;
    assert_true(gs_gguf_double(g, "llama.rope.scaling.factor", &factor) && factor == 4);
    gs_gguf_close(g);
    same_model(&j, GS_F16);
    end(&j);
}

/* The other architecture: biases on q, k and v, and rows in their own order. */
static void a_family_without_interleaving(void **state) {
    (void)state;
    job j;
    plan p = usual;
    gs_gguf_str s;
    p.qkv_bias = true;
    p.quantize = "self_attn";
    begin(&j);
    /* the segments stay those of the tiny model, the words become the other family's */
    gs_model_config *config = (gs_model_config *)(uintptr_t)gs_checkpoint_config(gs_model_checkpoint(j.source.model));
    strcpy(config->model_type, "qwen2");
    gs_gguf *g = written(&j, &p);
    assert_true(gs_gguf_string(g, "general.architecture", &s) && s.len == 5 && !memcmp(s.data, "qwen2", 5));
    check_blocks(tensor_of(g, "blk.0.attn_q.weight", GS_Q8_0, 64, 64), "model.layers.0.self_attn.q_proj", &p, false);
    const gs_tensor *t = tensor_of(g, "blk.1.attn_k.bias", GS_F32, 0, 32);
    for (int i = 0; i < 32; i++) {
        float v;
        memcpy(&v, t->data + 4 * i, 4);
        assert_true(v == 0.25f * (float)i);
    }
    gs_gguf_close(g);
    end(&j);
}

static float float_at(const gs_tensor *t, int64_t i) {
    float v;
    memcpy(&v, t->data + 4 * i, 4);
    return v;
}

/* Elements go where the rows go; of v they stay. */
static void biases_lie_as_the_rows_do(void **state) {
    (void)state;
    job j;
    plan p = usual;
    p.qkv_bias = true;
    begin(&j);
    gs_gguf *g = written(&j, &p);
    const gs_tensor *q = tensor_of(g, "blk.0.attn_q.bias", GS_F32, 0, 64), *k = tensor_of(g, "blk.1.attn_k.bias", GS_F32, 0, 32);
    const gs_tensor *v = tensor_of(g, "blk.1.attn_v.bias", GS_F32, 0, 32);
    for (int64_t i = 0; i < 64; i++) assert_true(float_at(q, swapped(i)) == 0.25f * (float)i);
    for (int64_t i = 0; i < 32; i++) assert_true(float_at(k, swapped(i)) == 0.25f * (float)i);
    for (int64_t i = 0; i < 32; i++) assert_true(float_at(v, i) == 0.25f * (float)i);
    gs_gguf_close(g);
    end(&j);
}

static void write_family(job *j, const char *folder, const char *model_type) {
    gs_error err = {0};
    gs_context cx = {0};
    plan p = {.dtype = GS_F32, .threads = 1};
    *j = (job){.root = gs_test_tmpdir()};
    snprintf(j->bundle, sizeof j->bundle, "%s/bundle", j->root);
    snprintf(j->file, sizeof j->file, "%s/model.gguf", j->bundle);
    assert_ok(gs_opened_open(NULL, folder, NULL, &j->source, &err), &err);
    assert_string_equal(gs_checkpoint_config(gs_model_checkpoint(j->source.model))->model_type, model_type);
    assert_ok(write_all(j, &p, &cx, &err), &err);
}

/* Models of every family, written in f32 and read back: all tensors under their names, bit by bit (but for norms to which 1 was
 * added and taken away). What llama.cpp computes from such files: tests/interop/run.py. */
static void families_read_back(void **state) {
    (void)state;
    static const struct {
        const char *folder, *model_type;
        float shift;
    } rows[] = {{"qwen3", "qwen3", 0}, {"llama-linear-rope-bias", "llama", 0}, {"phi3-fused", "phi3", 0},
                {"gemma2", "gemma2", 1}, {"granite", "granite", 0}, {"olmo2-postnorm", "olmo2", 0}};
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        char relative[128];
        job j;
        gs_checkpoint *back;
        gs_error err = {0};
        snprintf(relative, sizeof relative, "reference/families/%s", rows[i].folder);
        gs_need_data(folder, relative);
        write_family(&j, folder, rows[i].model_type);
        assert_ok(gs_checkpoint_open(j.file, NULL, &back, &err), &err);
        same_tensors(gs_model_checkpoint(j.source.model), back, GS_F32, rows[i].shift);
        gs_checkpoint_close(back);
        if (rows[i].shift != 0) { /* as stored */
            gs_gguf *g;
            const gs_tensor *s = gs_checkpoint_find(gs_model_checkpoint(j.source.model), "model.norm.weight");
            float x[64];
            assert_ok(gs_tensor_read_f32(s, 0, 1, x, &err), &err);
            assert_ok(gs_gguf_open(j.file, &g, &err), &err);
            const gs_tensor *t = tensor_of(g, "output_norm.weight", GS_F32, 0, 64);
            for (int64_t e = 0; e < 64; e++) assert_true(float_at(t, e) == x[e] + rows[i].shift);
            gs_gguf_close(g);
        }
        end(&j);
    }
}

static char *bytes_with(const plan *p, int threads, size_t *len) {
    job j;
    gs_error err = {0};
    gs_context cx = {0};
    char *file;
    begin(&j);
    if (threads > 1) assert_ok(gs_team_create(NULL, threads, &cx.team, &err), &err);
    assert_ok(write_all(&j, p, &cx, &err), &err);
    assert_ok(gs_file_read(j.file, 1 << 26, &file, len, &err), &err);
    gs_team_destroy(cx.team);
    end(&j);
    return file;
}

static void threads_do_not_show(void **state) {
    (void)state;
    size_t m, n;
    char *a = bytes_with(&usual, 1, &m), *b = bytes_with(&usual, 3, &n);
    assert_int_equal(m, n);
    assert_memory_equal(a, b, n);
    gs_free(a);
    gs_free(b);
}

static void refused(plan p, gs_status want, const char *word) {
    job j;
    gs_error err = {0};
    gs_context cx = {0};
    begin(&j);
    assert_fails(write_all(&j, &p, &cx, &err), want, &err);
    if (!strstr(err.text, word)) fail_msg("'%s' does not mention '%s'", err.text, word);
    assert_false(gs_path_exists(j.bundle));
    end(&j);
}

static void what_gguf_cannot_carry_is_refused(void **state) {
    (void)state;
    plan p = usual;
    p.scheme = GS_SCHEME_W8A8_DYNAMIC;
    refused(p, GS_E_UNSUPPORTED, "activations");
    p = usual;
    p.scale = 0.001f; /* no f16 value */
    refused(p, GS_E_UNSUPPORTED, "float16");
    p = usual;
    p.scale = INFINITY;
    refused(p, GS_E_UNSUPPORTED, "float16");
    p = usual;
    p.scale = NAN;
    refused(p, GS_E_UNSUPPORTED, "float16");
    p = usual;
    p.offset = 1;
    refused(p, GS_E_UNSUPPORTED, "symmetric");
    p = usual;
    p.groups = 4; /* of 16 columns */
    refused(p, GS_E_UNSUPPORTED, "blocks of 32");
    p = usual;
    p.norm_bias = "input_layernorm";
    refused(p, GS_E_UNSUPPORTED, "norms without a bias");
}

static void odd_rows_and_odd_values_are_refused(void **state) {
    (void)state;
    job j;
    plan p = usual;
    tiny_shape odd = shape;
    gs_error err = {0};
    gs_context cx = {0};
    odd.intermediate = 48;
    begin_config(&j, &odd, NULL, NULL);
    assert_fails(write_all(&j, &p, &cx, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "down_proj"));
    assert_non_null(strstr(err.text, "blocks of 32"));
    end(&j);
    /* interleaved rows have an encoder of their own */
    begin(&j);
    gs_opened_close(&j.source);
    tiny_poke(j.model, "model.layers.1.self_attn.k_proj.weight", 1e6f);
    assert_ok(gs_opened_open(NULL, j.model, NULL, &j.source, &err), &err);
    p.quantize = NULL;
    assert_fails(write_all(&j, &p, &cx, &err), GS_E_NUMERIC, &err);
    assert_non_null(strstr(err.text, "attn_k"));
    assert_false(gs_path_exists(j.bundle));
    end(&j);
}

static void unknown_models_are_answered_with_the_known(void **state) {
    (void)state;
    job j;
    plan p = {.dtype = GS_F16, .threads = 1};
    gs_error err = {0};
    gs_context cx = {0};
    begin(&j);
    gs_model_config *config = (gs_model_config *)(uintptr_t)gs_checkpoint_config(gs_model_checkpoint(j.source.model));
    strcpy(config->model_type, "other");
    assert_fails(write_all(&j, &p, &cx, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "'other'"));
    assert_non_null(strstr(err.hint, "llama, qwen2"));
    end(&j);
}

/* No leak (sanitizers see it) and no bundle, whichever allocation fails. Only every few: a whole job has many. */
static void no_memory_is_survived(void **state) {
    (void)state;
    job j;
    gs_context cx = {0};
    gs_status status = GS_E_NOMEM;
    begin(&j);
    gs_bundle_options o = {.source = gs_model_checkpoint(j.source.model), .dtype = GS_F16, .head = "lm_head"};
    gs_net *net = segment(&j, 1, &usual);
    for (int64_t k = 0; status != GS_OK; k++) {
        gs_bundle_writer *w = NULL;
        assert_true(k < 3000);
        gs_mem_fail_after(k);
        status = gs_bundle_writer_create(&cx, &gs_bundle_gguf, j.bundle, &o, &w, NULL);
        if (status == GS_OK) {
            status = gs_bundle_writer_plan(w, net, NULL);
            if (status == GS_OK) status = gs_bundle_writer_begin(w, NULL);
            if (status == GS_OK) status = gs_bundle_writer_write(w, net, NULL);
            gs_mem_fail_after(-1);
            gs_bundle_writer_abort(w);
        }
        gs_mem_fail_after(-1);
        assert_true(status == GS_OK || status == GS_E_NOMEM);
        assert_false(gs_path_exists(j.bundle));
    }
    gs_net_destroy(net);
    end(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_as_the_format_says),
        cmocka_unit_test(the_metadata_describes_the_model),
        cmocka_unit_test(float_models_read_back),
        cmocka_unit_test(a_tied_head_is_not_stored),
        cmocka_unit_test(rope_scaling_has_its_forms),
        cmocka_unit_test(a_family_without_interleaving),
        cmocka_unit_test(biases_lie_as_the_rows_do),
        cmocka_unit_test(families_read_back),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(what_gguf_cannot_carry_is_refused),
        cmocka_unit_test(odd_rows_and_odd_values_are_refused),
        cmocka_unit_test(unknown_models_are_answered_with_the_known),
        cmocka_unit_test(no_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
