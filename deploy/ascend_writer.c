/* The "ascend" bundle: what vllm-ascend and MindIE load (ascend-bundles.md 1 to 3, 5).
 *
 *   config.json                    edited copy, see side_files.h
 *   quant_model_description.json   flat object: every stored tensor -> its type, then globals
 *   quant_model_weights.safetensors, or -0000i-of-0000N shards with an index
 *   tokenizer and other texts
 *
 * Tensors go to shards in plan order (embedding, blocks, head), so that one shard is complete
 * before the next begins and only one is open.
 */
#include <base/file.h>
#include <base/map.h>
#include <base/mem.h>
#include <deploy/bundle_format.h>
#include <deploy/side_files.h>
#include <loaders/safetensors.h>

#include <stdio.h>
#include <string.h>

static const char description_name[] = "quant_model_description.json";
static const char index_name[] = "quant_model_weights.safetensors.index.json";
enum { CHUNK_ROWS_BYTES = 4 << 20 };

typedef struct entry {
    char *name;
    const char *type; /* "FLOAT", "W8A16" */
    gs_dtype dtype;
    int ndim;
    int64_t shape[GS_MAX_DIMS];
    uint64_t bytes;
    size_t shard;
} entry;

struct gs_bundle_writer {
    gs_context *cx;
    gs_bundle_options options;
    gs_outdir *dir;
    char *path;
    entry *entry;
    size_t count, capacity;
    gs_map by_name;
    size_t shards, open; /* number of shards; index of the open one, when file is not NULL */
    gs_safetensors_writer *file;
    uint64_t shard_bytes; /* of the shard being planned */
    uint64_t written, planned;
    int64_t next; /* the first entry that is not written yet */
};

static bool carries(gs_scheme scheme) {
    return scheme == GS_SCHEME_FLOAT || scheme == GS_SCHEME_W8A16 || scheme == GS_SCHEME_W8A8 ||
           scheme == GS_SCHEME_W8A8_DYNAMIC;
}

static void abort_writer(gs_bundle_writer *w) {
    if (!w) return;
    gs_safetensors_writer_abort(w->file);
    gs_outdir_abort(w->dir);
    for (size_t i = 0; i < w->count; i++) gs_free(w->entry[i].name);
    gs_free(w->entry);
    gs_map_clear(&w->by_name);
    gs_free(w->path);
    gs_free(w);
}

static gs_status create(gs_context *cx, const char *path, const gs_bundle_options *options,
                        gs_bundle_writer **out, gs_error *err) {
    gs_bundle_writer *w = gs_calloc(1, sizeof *w);
    if (!w) return gs_error_nomem(err, sizeof *w);
    w->cx = cx;
    w->options = *options;
    w->path = gs_strdup(path);
    gs_status status = w->path ? gs_outdir_create(path, &w->dir, err) : gs_error_nomem(err, 256);
    if (status != GS_OK) {
        abort_writer(w);
        return status;
    }
    *out = w;
    return GS_OK;
}

static bool has_factors(const gs_param *p) { return p->row_factor || p->col_factor; }

/* FLOAT tensors are cast to the bundle's dtype; what a quantizer made is written as it is. */
static gs_dtype stored_dtype(const gs_bundle_writer *w, const gs_param *p) {
    bool is_float = gs_dtype_is_float(p->dtype) || gs_dtype_block(p->dtype) > 1;
    return (p->source || has_factors(p)) && is_float ? w->options.dtype : p->dtype;
}

static gs_status plan_param(gs_bundle_writer *w, const gs_param *p, const char *type, gs_error *err) {
    if (w->count == w->capacity) {
        size_t capacity = w->capacity ? 2 * w->capacity : 256;
        entry *grown = gs_realloc(w->entry, capacity, sizeof *grown);
        if (!grown) return gs_error_nomem(err, capacity * sizeof *grown);
        w->entry = grown;
        w->capacity = capacity;
    }
    entry e = {.type = type, .dtype = stored_dtype(w, p), .ndim = p->ndim};
    memcpy(e.shape, p->shape, sizeof e.shape);
    if (!gs_dtype_bytes(e.dtype, (uint64_t)gs_param_count(p), &e.bytes))
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s' is too large", p->name);
    e.name = gs_strdup(p->name);
    if (!e.name) return gs_error_nomem(err, 256);
    bool existed;
    gs_status status = gs_map_put(&w->by_name, e.name, strlen(e.name), (int64_t)w->count, &existed, err);
    if (status != GS_OK || existed) { /* a tied tensor is stored once */
        gs_free(e.name);
        if (status == GS_OK && has_factors(p))
            return GS_FAIL(err, GS_E_INVALID, "tensor '%s' is shared, but scaled for one of its readers", p->name);
        return status;
    }
    uint64_t limit = w->options.max_shard_bytes;
    if (w->shards == 0 || (limit && w->shard_bytes > 0 && w->shard_bytes + e.bytes > limit)) {
        w->shards++;
        w->shard_bytes = 0;
    }
    w->shard_bytes += e.bytes;
    w->planned += e.bytes;
    e.shard = w->shards - 1;
    w->entry[w->count++] = e;
    return GS_OK;
}

/* A bias and a node's own weight may have different types: biases are FLOAT. */
static const char *param_type(const gs_node *node, gs_role role) {
    bool quantized = node->op == GS_OP_QLINEAR && role != GS_ROLE_BIAS;
    return gs_scheme_name(quantized ? node->attr.quant.scheme : GS_SCHEME_FLOAT);
}

static gs_status plan(gs_bundle_writer *w, const gs_net *segment, gs_error *err) {
    for (int i = 0; i < gs_net_node_count(segment); i++) {
        const gs_node *node = gs_net_node(segment, i);
        if (node->op == GS_OP_QLINEAR && !carries(node->attr.quant.scheme))
            return GS_FAIL(err, GS_E_UNSUPPORTED, "'%s': ascend bundles carry no %s", node->name,
                           gs_scheme_name(node->attr.quant.scheme));
        for (int r = 0; r < GS_ROLE_COUNT; r++)
            if (node->param[r])
                GS_TRY(plan_param(w, node->param[r], param_type(node, (gs_role)r), err));
    }
    return GS_OK;
}

static void shard_name(const gs_bundle_writer *w, size_t shard, char out[80]) {
    if (w->shards == 1)
        snprintf(out, 80, "quant_model_weights.safetensors");
    else
        snprintf(out, 80, "quant_model_weights-%05zu-of-%05zu.safetensors", shard + 1, w->shards);
}

static gs_status open_shard(gs_bundle_writer *w, size_t shard, gs_error *err) {
    char name[80];
    shard_name(w, shard, name);
    GS_TRY(gs_safetensors_writer_create(&w->file, err));
    w->open = shard;
    for (size_t i = 0; i < w->count; i++) {
        const entry *e = &w->entry[i];
        if (e->shard == shard)
            GS_TRY(gs_safetensors_writer_plan(w->file, e->name, e->dtype, e->ndim, e->shape, err));
    }
    char *path = gs_path_join(gs_outdir_path(w->dir), name);
    gs_status status = path ? gs_safetensors_writer_begin(w->file, path, err) : gs_error_nomem(err, 256);
    gs_free(path);
    return status;
}

static gs_status close_shard(gs_bundle_writer *w, gs_error *err) {
    gs_safetensors_writer *file = w->file;
    w->file = NULL;
    return file ? gs_safetensors_writer_commit(file, err) : GS_OK;
}

static gs_status begin(gs_bundle_writer *w, gs_error *err) {
    enum { SIDE_FILES = 64 << 20 }; /* tokenizers and JSON, generously */
    int64_t room = gs_path_free_bytes(gs_outdir_path(w->dir));
    if (w->count == 0) return GS_FAIL(err, GS_E_INVALID, "nothing to write");
    if (room >= 0 && (uint64_t)room < w->planned + SIDE_FILES) {
        GS_FAIL(err, GS_E_NOSPACE, "%s: the bundle needs %.2f GB, %.2f GB are free", w->path,
                (double)(w->planned + SIDE_FILES) / 1e9, (double)room / 1e9);
        return gs_error_hint(err, "free some space or choose another -o");
    }
    return open_shard(w, 0, err);
}

typedef struct convert_job {
    const gs_param *param;
    gs_dtype dtype;
    int64_t row0, cols;
    uint8_t *out;
    bool failed;
} convert_job;

static gs_status read_rows(const gs_param *p, gs_dtype as, int64_t row0, int64_t n, void *out, gs_error *err) {
    if (as == GS_F32) return gs_param_read_f32(p, row0, n, out, err);
    return gs_param_read_16(p, as, row0, n, out, err);
}

static void convert_rows(void *ctx, int64_t begin_row, int64_t end_row, int worker) {
    (void)worker;
    convert_job *j = ctx;
    uint8_t *out = j->out + (size_t)(begin_row * j->cols) * (size_t)gs_dtype_block_bytes(j->dtype);
    if (read_rows(j->param, j->dtype, j->row0 + begin_row, end_row - begin_row, out, NULL) != GS_OK)
        __atomic_store_n(&j->failed, true, __ATOMIC_RELAXED);
}

/* Casting may overflow f16; NaN and infinities of the source are no better. */
static bool all_finite(gs_dtype dtype, int64_t n, const void *values) {
    uint32_t bad = 0;
    if (dtype == GS_F32) {
        const uint32_t *x = values;
        for (int64_t i = 0; i < n; i++) bad |= (x[i] & 0x7f800000u) == 0x7f800000u;
    } else {
        const uint16_t *x = values;
        uint16_t exponent = dtype == GS_F16 ? 0x7c00 : 0x7f80;
        for (int64_t i = 0; i < n; i++) bad |= (x[i] & exponent) == exponent;
    }
    return bad == 0;
}

static gs_status not_finite(const gs_bundle_writer *w, const entry *e, gs_error *err) {
    gs_status status = GS_FAIL(err, GS_E_NUMERIC, "tensor '%s' holds NaN, an infinity or a value beyond %s",
                               e->name, gs_dtype_torch_name(e->dtype));
    return w->options.dtype == GS_F16 ? gs_error_hint(err, "bfloat16 has a wider range: --dtype bf16") : status;
}

/* A FLOAT tensor, cast on the way by blocks of rows. */
static gs_status write_float(gs_bundle_writer *w, const entry *e, const gs_param *p, gs_error *err) {
    int64_t rows, cols;
    gs_param_matrix(p, &rows, &cols);
    size_t element = (size_t)gs_dtype_block_bytes(e->dtype), row_bytes = (size_t)cols * element;
    if (row_bytes == 0 || rows == 0) return GS_OK;
    int64_t chunk = CHUNK_ROWS_BYTES / (int64_t)row_bytes;
    if (chunk < 1) chunk = 1;
    if (chunk > rows) chunk = rows;
    convert_job j = {.param = p, .dtype = e->dtype, .cols = cols, .out = gs_alloc((size_t)chunk * row_bytes)};
    if (!j.out) return gs_error_nomem(err, (size_t)chunk * row_bytes);
    gs_status status = GS_OK;
    for (j.row0 = 0; j.row0 < rows && status == GS_OK; j.row0 += chunk) {
        int64_t n = rows - j.row0 < chunk ? rows - j.row0 : chunk;
        gs_team_for(w->cx->team, n, 64, convert_rows, &j);
        if (j.failed) /* once more, for its words */
            status = read_rows(p, e->dtype, j.row0, n, j.out, err);
        if (status == GS_OK && !all_finite(e->dtype, n * cols, j.out)) status = not_finite(w, e, err);
        if (status == GS_OK)
            status = gs_safetensors_writer_put(w->file, e->name, (uint64_t)j.row0 * row_bytes, j.out,
                                               (size_t)n * row_bytes, err);
        if (p->source) gs_checkpoint_drop_rows(w->options.source, p->source, j.row0, n);
    }
    gs_free(j.out);
    return status;
}

static gs_status write_param(gs_bundle_writer *w, const gs_param *p, gs_error *err) {
    int64_t at;
    if (!gs_map_get(&w->by_name, p->name, strlen(p->name), &at))
        return GS_FAIL(err, GS_E_INVALID, "tensor '%s' was not planned", p->name);
    const entry *e = &w->entry[at];
    if (at < w->next) return GS_OK; /* a tied tensor, stored by an earlier segment */
    w->next = at + 1;
    if (!w->file || e->shard != w->open) {
        GS_TRY(close_shard(w, err));
        GS_TRY(open_shard(w, e->shard, err));
    }
    w->written += e->bytes;
    if (!p->data && !p->source) return GS_FAIL(err, GS_E_INVALID, "tensor '%s' has no bytes", p->name);
    if (p->data && !has_factors(p))
        return gs_safetensors_writer_put(w->file, e->name, 0, p->data, (size_t)e->bytes, err);
    gs_status status = write_float(w, e, p, err);
    if (p->source) gs_checkpoint_drop(w->options.source, p->source);
    return status;
}

static gs_status write_net(gs_bundle_writer *w, const gs_net *segment, gs_error *err) {
    for (int i = 0; i < gs_net_node_count(segment); i++) {
        const gs_node *node = gs_net_node(segment, i);
        for (int r = 0; r < GS_ROLE_COUNT; r++) {
            const gs_param *p = node->param[r];
            if (p) GS_TRY(write_param(w, p, err));
        }
    }
    return GS_OK;
}

static gs_status write_description(gs_bundle_writer *w, gs_error *err) {
    gs_strbuf text = {0};
    gs_strbuf_puts(&text, "{");
    for (size_t i = 0; i < w->count; i++) {
        gs_strbuf_puts(&text, "\n    ");
        gs_strbuf_json(&text, w->entry[i].name, strlen(w->entry[i].name));
        gs_strbuf_printf(&text, ": \"%s\",", w->entry[i].type);
    }
    const char *tied = w->options.tied_head;
    int64_t at;
    if (tied && !gs_map_get(&w->by_name, tied, strlen(tied), &at)) {
        gs_strbuf_puts(&text, "\n    ");
        gs_strbuf_json(&text, tied, strlen(tied));
        gs_strbuf_puts(&text, ": \"FLOAT\",");
    }
    gs_strbuf_printf(&text,
                     "\n    \"version\": \"1.0.0\",\n    \"model_quant_type\": \"%s\",\n"
                     "    \"metadata\": {},\n    \"group_size\": 0,\n    \"optional\": {}\n}\n",
                     w->options.model_quant_type);
    gs_status status = text.failed ? gs_error_nomem(err, text.len)
                                   : gs_side_write(gs_outdir_path(w->dir), description_name,
                                                   gs_strbuf_text(&text), text.len, err);
    gs_strbuf_clear(&text);
    return status;
}

static gs_status write_index(gs_bundle_writer *w, gs_error *err) {
    if (w->shards == 1) return GS_OK;
    gs_strbuf text = {0};
    gs_strbuf_printf(&text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
                     (unsigned long long)w->planned);
    for (size_t i = 0; i < w->count; i++) {
        char name[80];
        shard_name(w, w->entry[i].shard, name);
        gs_strbuf_puts(&text, i ? ",\n    " : "\n    ");
        gs_strbuf_json(&text, w->entry[i].name, strlen(w->entry[i].name));
        gs_strbuf_printf(&text, ": \"%s\"", name);
    }
    gs_strbuf_puts(&text, "\n  }\n}\n");
    gs_status status = text.failed ? gs_error_nomem(err, text.len)
                                   : gs_side_write(gs_outdir_path(w->dir), index_name,
                                                   gs_strbuf_text(&text), text.len, err);
    gs_strbuf_clear(&text);
    return status;
}

static gs_status add_file(gs_bundle_writer *w, const char *name, const char *text, size_t len, gs_error *err) {
    return gs_side_write(gs_outdir_path(w->dir), name, text, len, err);
}

static gs_status write_config(gs_bundle_writer *w, gs_error *err) {
    gs_strbuf text = {0};
    gs_status status = gs_side_config(&w->options, &text, err);
    if (status == GS_OK)
        status = gs_side_write(gs_outdir_path(w->dir), "config.json", gs_strbuf_text(&text), text.len, err);
    gs_strbuf_clear(&text);
    return status;
}

static gs_status finish_files(gs_bundle_writer *w, uint64_t *bytes, gs_error *err) {
    GS_TRY(close_shard(w, err));
    if (w->written != w->planned)
        return GS_FAIL(err, GS_E_INVALID, "%llu of %llu planned bytes were written",
                       (unsigned long long)w->written, (unsigned long long)w->planned);
    GS_TRY(gs_side_copy(w->cx, &w->options, gs_outdir_path(w->dir), err));
    GS_TRY(write_config(w, err));
    GS_TRY(write_index(w, err));
    GS_TRY(write_description(w, err));
    GS_TRY(gs_dir_bytes(gs_outdir_path(w->dir), bytes, err));
    gs_outdir *dir = w->dir;
    w->dir = NULL;
    return gs_outdir_commit(dir, err);
}

static gs_status finish(gs_bundle_writer *w, uint64_t *bytes, gs_error *err) {
    gs_status status = finish_files(w, bytes, err);
    abort_writer(w); /* what is committed is no longer its */
    return status;
}

const gs_bundle_format gs_bundle_ascend = {
    .name = "ascend",
    .about = "vllm-ascend and MindIE (ModelSlim layout)",
    .carries = carries,
    .create = create,
    .plan = plan,
    .begin = begin,
    .write = write_net,
    .add_file = add_file,
    .finish = finish,
    .abort = abort_writer,
};
