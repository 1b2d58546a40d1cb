/* make_checkpoint DIR [shape options]: a Hugging Face checkpoint with random bf16 weights.
 *
 * The default shape is TinyLlama-1.1B's (2.2 GB). Weights are uniform with variance
 * 1/columns, norm weights are one; every value follows from --seed and the tensor's name
 * alone, so that neither the number of shards nor the order of writing changes a weight.
 * The directory must not exist or be empty, and appears whole. */
#include <base/file.h>
#include <base/half.h>
#include <base/hash.h>
#include <base/mem.h>
#include <base/strbuf.h>
#include <loaders/safetensors.h>

#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 19 /* values written at a time */ };

typedef struct shape {
    int64_t hidden, intermediate, layers, heads, kv_heads, vocab, shards, tied, seed;
} shape;

typedef struct weight {
    char name[96];
    int64_t rows, cols; /* rows 0: a vector of cols */
    int64_t shard;
} weight;

typedef struct plan {
    shape s;
    weight *item;
    size_t count, room;
    uint64_t bytes; /* of all tensors */
} plan;

static gs_status add(plan *p, gs_error *err, int64_t rows, int64_t cols, const char *fmt, int64_t layer) {
    if (p->count == p->room) {
        size_t room = p->room ? 2 * p->room : 64;
        weight *grown = gs_realloc(p->item, room, sizeof *grown);
        if (!grown) return gs_error_nomem(err, room * sizeof *grown);
        p->item = grown;
        p->room = room;
    }
    weight *w = &p->item[p->count++];
    *w = (weight){.rows = rows, .cols = cols};
    char number[24];
    snprintf(number, sizeof number, "%" PRId64, layer);
    const char *mark = strchr(fmt, '#');
    if (mark)
        snprintf(w->name, sizeof w->name, "%.*s%s%s", (int)(mark - fmt), fmt, number, mark + 1);
    else
        snprintf(w->name, sizeof w->name, "%s", fmt);
    p->bytes += 2 * (uint64_t)(rows ? rows : 1) * (uint64_t)cols;
    return GS_OK;
}

static gs_status add_layer(plan *p, int64_t l, gs_error *err) {
    const shape *s = &p->s;
    int64_t kv = s->hidden / s->heads * s->kv_heads;
    GS_TRY(add(p, err, 0, s->hidden, "model.layers.#.input_layernorm.weight", l));
    GS_TRY(add(p, err, s->hidden, s->hidden, "model.layers.#.self_attn.q_proj.weight", l));
    GS_TRY(add(p, err, kv, s->hidden, "model.layers.#.self_attn.k_proj.weight", l));
    GS_TRY(add(p, err, kv, s->hidden, "model.layers.#.self_attn.v_proj.weight", l));
    GS_TRY(add(p, err, s->hidden, s->hidden, "model.layers.#.self_attn.o_proj.weight", l));
    GS_TRY(add(p, err, 0, s->hidden, "model.layers.#.post_attention_layernorm.weight", l));
    GS_TRY(add(p, err, s->intermediate, s->hidden, "model.layers.#.mlp.gate_proj.weight", l));
    GS_TRY(add(p, err, s->intermediate, s->hidden, "model.layers.#.mlp.up_proj.weight", l));
    return add(p, err, s->hidden, s->intermediate, "model.layers.#.mlp.down_proj.weight", l);
}

static gs_status make_plan(plan *p, gs_error *err) {
    const shape *s = &p->s;
    GS_TRY(add(p, err, s->vocab, s->hidden, "model.embed_tokens.weight", 0));
    for (int64_t l = 0; l < s->layers; l++) GS_TRY(add_layer(p, l, err));
    GS_TRY(add(p, err, 0, s->hidden, "model.norm.weight", 0));
    if (!s->tied) GS_TRY(add(p, err, s->vocab, s->hidden, "lm_head.weight", 0));
    uint64_t before = 0;
    for (size_t i = 0; i < p->count; i++) {
        weight *w = &p->item[i];
        w->shard = (int64_t)((double)before / (double)p->bytes * (double)s->shards);
        before += 2 * (uint64_t)(w->rows ? w->rows : 1) * (uint64_t)w->cols;
    }
    return GS_OK;
}

/* splitmix64: four 16-bit integers a step, scaled to the wanted range. */
static void fill(uint16_t *out, size_t n, uint64_t *state, float scale) {
    for (size_t i = 0; i < n; i += 4) {
        uint64_t z = (*state += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        for (size_t k = 0; k < 4 && i + k < n; k++)
            out[i + k] = gs_f32_to_bf16((float)(int16_t)(z >> (16 * k)) * scale);
    }
}

static gs_status write_weight(gs_safetensors_writer *st, const weight *w, int64_t seed, uint16_t *piece,
                              gs_error *err) {
    uint64_t count = (uint64_t)(w->rows ? w->rows : 1) * (uint64_t)w->cols;
    uint64_t state = gs_hash64(w->name, strlen(w->name)) ^ (uint64_t)seed;
    /* uniform on [-a, a) has variance a^2/3 */
    float scale = (float)(sqrt(3.0 / (double)w->cols) / 32768);
    for (uint64_t at = 0; at < count; at += PIECE) {
        size_t n = count - at < PIECE ? (size_t)(count - at) : PIECE;
        if (w->rows)
            fill(piece, n, &state, scale);
        else
            for (size_t i = 0; i < n; i++) piece[i] = 0x3f80; /* 1.0 */
        GS_TRY(gs_safetensors_writer_put(st, w->name, 2 * at, piece, 2 * n, err));
    }
    return GS_OK;
}

static void shard_name(const shape *s, int64_t shard, char *out, size_t size) {
    if (s->shards == 1)
        snprintf(out, size, "model.safetensors");
    else
        snprintf(out, size, "model-%05" PRId64 "-of-%05" PRId64 ".safetensors", shard + 1, s->shards);
}

static gs_status fill_shard(const plan *p, gs_safetensors_writer *st, const char *path, int64_t shard,
                            uint16_t *piece, gs_error *err) {
    for (size_t i = 0; i < p->count; i++) {
        const weight *w = &p->item[i];
        int64_t dims[2] = {w->rows ? w->rows : w->cols, w->cols};
        if (w->shard == shard)
            GS_TRY(gs_safetensors_writer_plan(st, w->name, GS_BF16, w->rows ? 2 : 1, dims, err));
    }
    GS_TRY(gs_safetensors_writer_begin(st, path, err));
    for (size_t i = 0; i < p->count; i++)
        if (p->item[i].shard == shard) GS_TRY(write_weight(st, &p->item[i], p->s.seed, piece, err));
    return GS_OK;
}

static gs_status write_shard(const plan *p, const char *dir, int64_t shard, gs_error *err) {
    char name[64];
    shard_name(&p->s, shard, name, sizeof name);
    char *path = gs_path_join(dir, name);
    uint16_t *piece = gs_alloc(PIECE * sizeof *piece);
    gs_safetensors_writer *st = NULL;
    gs_status status = path && piece ? GS_OK : gs_error_nomem(err, PIECE * sizeof *piece);
    if (status == GS_OK) status = gs_safetensors_writer_create(&st, err);
    if (status == GS_OK) status = fill_shard(p, st, path, shard, piece, err);
    if (status == GS_OK)
        status = gs_safetensors_writer_commit(st, err);
    else
        gs_safetensors_writer_abort(st);
    gs_free(piece);
    gs_free(path);
    return status;
}

static gs_status write_text(const char *dir, const char *name, gs_strbuf *text, gs_error *err) {
    char *path = gs_path_join(dir, name);
    gs_outfile *f = NULL;
    gs_status status = path && !text->failed ? GS_OK : gs_error_nomem(err, text->len);
    if (status == GS_OK) status = gs_outfile_create(path, &f, err);
    if (status == GS_OK) status = gs_outfile_write(f, text->data, text->len, err);
    if (status == GS_OK)
        status = gs_outfile_commit(f, err);
    else
        gs_outfile_abort(f);
    gs_free(path);
    gs_strbuf_clear(text);
    return status;
}

static gs_status write_index(const plan *p, const char *dir, gs_error *err) {
    gs_strbuf text = {0};
    gs_strbuf_printf(&text, "{\n  \"metadata\": {\"total_size\": %" PRIu64 "},\n  \"weight_map\": {\n", p->bytes);
    for (size_t i = 0; i < p->count; i++) {
        char name[64];
        shard_name(&p->s, p->item[i].shard, name, sizeof name);
        gs_strbuf_printf(&text, "    \"%s\": \"%s\"%s\n", p->item[i].name, name, i + 1 < p->count ? "," : "");
    }
    gs_strbuf_puts(&text, "  }\n}\n");
    return write_text(dir, "model.safetensors.index.json", &text, err);
}

static gs_status write_config(const shape *s, const char *dir, gs_error *err) {
    gs_strbuf text = {0};
    gs_strbuf_printf(&text,
                     "{\n  \"architectures\": [\"LlamaForCausalLM\"],\n  \"model_type\": \"llama\",\n"
                     "  \"hidden_size\": %" PRId64 ",\n  \"intermediate_size\": %" PRId64 ",\n"
                     "  \"num_hidden_layers\": %" PRId64 ",\n  \"num_attention_heads\": %" PRId64 ",\n"
                     "  \"num_key_value_heads\": %" PRId64 ",\n  \"vocab_size\": %" PRId64 ",\n"
                     "  \"max_position_embeddings\": 2048,\n  \"rms_norm_eps\": 1e-05,\n"
                     "  \"rope_theta\": 10000.0,\n  \"hidden_act\": \"silu\",\n"
                     "  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"bfloat16\"\n}\n",
                     s->hidden, s->intermediate, s->layers, s->heads, s->kv_heads, s->vocab,
                     s->tied ? "true" : "false");
    return write_text(dir, "config.json", &text, err);
}

static gs_status write_all(plan *p, const char *path, gs_error *err) {
    gs_outdir *dir = NULL;
    GS_TRY(make_plan(p, err));
    GS_TRY(gs_outdir_create(path, &dir, err));
    gs_status status = GS_OK;
    for (int64_t i = 0; status == GS_OK && i < p->s.shards; i++)
        status = write_shard(p, gs_outdir_path(dir), i, err);
    if (status == GS_OK && p->s.shards > 1) status = write_index(p, gs_outdir_path(dir), err);
    if (status == GS_OK) status = write_config(&p->s, gs_outdir_path(dir), err);
    if (status == GS_OK) return gs_outdir_commit(dir, err);
    gs_outdir_abort(dir);
    return status;
}

static const char *const usage =
    "usage: make_checkpoint DIR [--hidden N] [--intermediate N] [--layers N] [--heads N]\n"
    "                           [--kv-heads N] [--vocab N] [--shards N] [--tied 0|1] [--seed N]\n"
    "A checkpoint of random bf16 weights; the default shape is TinyLlama-1.1B's, one file.\n";

/* False on an unknown option or a number out of range. */
static bool read_shape(int argc, char **argv, shape *s) {
    static const struct option options[] = {
        {"hidden", 1, NULL, 0}, {"intermediate", 1, NULL, 1}, {"layers", 1, NULL, 2},
        {"heads", 1, NULL, 3},  {"kv-heads", 1, NULL, 4},     {"vocab", 1, NULL, 5},
        {"shards", 1, NULL, 6}, {"tied", 1, NULL, 7},         {"seed", 1, NULL, 8}, {0}};
    int64_t *const target[] = {&s->hidden,   &s->intermediate, &s->layers, &s->heads, &s->kv_heads,
                               &s->vocab,    &s->shards,       &s->tied,   &s->seed};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        char *end;
        if (c < 0 || c > 8) return false;
        *target[c] = strtoll(optarg, &end, 10);
        if (*end || end == optarg || *target[c] < (c >= 7 ? 0 : 1) || *target[c] > 1 << 20) return false;
    }
    return s->hidden % s->heads == 0 && s->heads % s->kv_heads == 0 && s->shards <= s->layers + 1;
}

int main(int argc, char **argv) {
    plan p = {.s = {2048, 5632, 22, 32, 4, 32000, 1, 0, 1}};
    gs_error err = {0};
    if (!read_shape(argc, argv, &p.s) || optind + 1 != argc) {
        fputs(usage, stderr);
        return 2;
    }
    gs_status status = write_all(&p, argv[optind], &err);
    gs_free(p.item);
    if (status == GS_OK) {
        printf("%s: %zu tensors, %" PRIu64 " bytes\n", argv[optind], p.count, p.bytes);
        return 0;
    }
    fprintf(stderr, "make_checkpoint: %s\n", err.text);
    return 5;
}
