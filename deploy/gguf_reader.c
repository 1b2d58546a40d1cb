/* A GGUF file as the codes that its Q8_0 matrices hold: W8A16 with an f16 scale for every 32 columns. Only where the
 * caller asks for codes; else such a file is the float model it stands for. The scales stand inside the blocks and are
 * gathered for one segment at a time; an embedding, and every other type, stays as it is stored. */
#include <deploy/bundle_reader.h>

#include <base/file.h>
#include <base/mem.h>
#include <network/rewrite.h>

#include <stdio.h>
#include <string.h>

enum { BLOCK = 32, BLOCK_BYTES = 34 };

typedef struct blocks {
    gs_tensor *codes; /* of every Q8_0 matrix */
    gs_map place;     /* name -> place there */
} blocks;

static bool is_matrix(const gs_tensor *t) { return t->dtype == GS_Q8_0 && t->ndim == 2; }

static bool detect(const char *path, const cJSON *config, const gs_bundle_open_options *options) {
    gs_checkpoint *c;
    bool found = false;
    if (!options->codes || config || gs_checkpoint_open(path, NULL, &c, NULL) != GS_OK) return false;
    for (size_t i = 0; i < gs_checkpoint_count(c); i++) found |= is_matrix(gs_checkpoint_at(c, i));
    gs_checkpoint_close(c);
    return found;
}

static void release(void *rules) {
    blocks *b = rules;
    gs_map_clear(&b->place);
    gs_free(b->codes);
    gs_free(b);
}

/* The f16 scales of all blocks, in the rows' logical order. */
static gs_status gather(const gs_tensor *codes, uint16_t *out, gs_error *err) {
    int64_t n = codes->shape[0], groups = codes->shape[1] / BLOCK;
    size_t bytes = (size_t)(n * groups) * sizeof *out;
    gs_tensor stored = {.name = codes->name, .dtype = GS_F16, .ndim = 2, .shape = {n, groups}, .bytes = bytes,
                        .order = codes->order, .order_heads = codes->order_heads};
    uint8_t *scales = gs_alloc(bytes);
    if (!scales) return gs_error_nomem(err, bytes);
    for (int64_t i = 0; i < n * groups; i++) memcpy(scales + 2 * i, codes->data + BLOCK_BYTES * i, 2);
    stored.data = scales;
    gs_status status = gs_tensor_read_16(&stored, GS_F16, 0, n, out, err);
    gs_free(scales);
    return status;
}

static gs_status add_scales(gs_net *net, gs_node *node, const gs_tensor *codes, gs_error *err) {
    const int64_t shape[2] = {codes->shape[0], codes->shape[1] / BLOCK};
    char name[512];
    snprintf(name, sizeof name, "%s.%s", node->name, gs_role_name(GS_ROLE_WEIGHT_SCALE));
    GS_TRY(gs_net_param_new(net, node, GS_ROLE_WEIGHT_SCALE, name, GS_F16, 2, shape, NULL, err));
    GS_TRY(gs_param_allocate(node->param[GS_ROLE_WEIGHT_SCALE], err));
    GS_TRY(gather(codes, node->param[GS_ROLE_WEIGHT_SCALE]->data, err));
    snprintf(name, sizeof name, "%s.%s", node->name, gs_role_name(GS_ROLE_WEIGHT_OFFSET));
    GS_TRY(gs_net_param_new(net, node, GS_ROLE_WEIGHT_OFFSET, name, GS_F16, 2, shape, NULL, err));
    GS_TRY(gs_param_allocate(node->param[GS_ROLE_WEIGHT_OFFSET], err));
    memset(node->param[GS_ROLE_WEIGHT_OFFSET]->data, 0, (size_t)(shape[0] * shape[1]) * sizeof(uint16_t));
    return GS_OK;
}

static gs_status rewrite(const void *rules, gs_net *net, gs_node *node, const gs_attr *attr, gs_error *err) {
    const blocks *b = rules;
    const gs_param *weight = node->param[GS_ROLE_WEIGHT];
    gs_attr quantized = *attr;
    int64_t place;
    if (weight->dtype != GS_Q8_0 || !gs_map_get(&b->place, weight->name, strlen(weight->name), &place)) return GS_OK;
    quantized.quant.scheme = GS_SCHEME_W8A16;
    GS_TRY(gs_net_replace(net, node, GS_OP_QLINEAR, &quantized, &node, err));
    GS_TRY(gs_net_param_view(net, node, GS_ROLE_WEIGHT, &b->codes[place], err));
    return add_scales(net, node, &b->codes[place], err);
}

static gs_status fill(gs_bundle_content *c, blocks *b, gs_error *err) {
    size_t count = gs_checkpoint_count(c->checkpoint), matrices = 0;
    b->codes = gs_calloc(count + 1, sizeof *b->codes);
    if (!b->codes) return gs_error_nomem(err, count * sizeof *b->codes);
    for (size_t i = 0; i < count; i++) {
        const gs_tensor *t = gs_checkpoint_at(c->checkpoint, i);
        GS_TRY(gs_content_add(c, t, t->name, err));
        if (!is_matrix(t)) continue;
        gs_tensor *codes = &b->codes[matrices];
        *codes = *t;
        codes->dtype = GS_I8;
        codes->codes = GS_CODES_Q8_0;
        GS_TRY(gs_tensor_check(codes, err));
        GS_TRY(gs_map_put(&b->place, t->name, strlen(t->name), (int64_t)matrices++, NULL, err));
    }
    return GS_OK;
}

static gs_status open_bundle(const char *path, const gs_bundle_open_options *options, gs_bundle_content *c, gs_error *err) {
    (void)options;
    blocks *b = gs_calloc(1, sizeof *b);
    if (!b) return gs_error_nomem(err, sizeof *b);
    c->rules = b;
    c->release = release;
    c->rewrite = rewrite;
    c->dominant = gs_scheme_name(GS_SCHEME_W8A16);
    GS_TRY(gs_checkpoint_open(path, NULL, &c->checkpoint, err));
    GS_TRY(gs_content_compute(c, err));
    return fill(c, b, err);
}

const gs_bundle_reader gs_bundle_reader_gguf = {
    .name = "gguf",
    .about = "the codes of a GGUF file's Q8_0 matrices",
    .detect = detect,
    .open = open_bundle,
};
