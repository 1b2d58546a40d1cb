#include <llm/names.h>

#include <base/mem.h>

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stems below a block. */
static const size_t in_block[] = {
#define X(member) offsetof(gs_helper_names, member)
    X(attention_input_norm), X(attention_output_norm), X(mlp_input_norm), X(mlp_output_norm), X(q), X(k), X(v), X(o),
    X(qkv), X(q_norm), X(k_norm), X(gate), X(up), X(down), X(gate_up),
};
static const size_t outside[] = {X(embed), X(final_norm), X(head)};
#undef X

static const char *stem_of(const gs_helper_names *names, size_t offset) {
    return *(const char *const *)(const void *)((const char *)names + offset);
}

bool gs_names_embedding(const gs_helper_names *names, char *out, size_t size) {
    int n = snprintf(out, size, "%s.%s", names->embed, names->embed_tensor ? names->embed_tensor : "weight");
    return n >= 0 && (size_t)n < size;
}

/* What follows "model.layers.3." in the name, and the 3; NULL when it is in no block. */
static const char *in_layer(const char *block, const char *name, int64_t *layer) {
    const char *place = strstr(block, "%d");
    size_t before = place ? (size_t)(place - block) : 0;
    if (!place || strncmp(name, block, before) != 0 || name[before] < '0' || name[before] > '9') return NULL;
    char *end;
    long long n = strtoll(name + before, &end, 10); /* saturates */
    size_t after = strlen(place + 2);
    if (n > INT32_MAX || strncmp(end, place + 2, after) != 0 || end[after] != '.') return NULL;
    *layer = n;
    return end + after + 1;
}

int64_t gs_names_layers(const gs_helper_names *names, const gs_checkpoint *checkpoint) {
    int64_t most = 0;
    for (size_t i = 0; i < gs_checkpoint_count(checkpoint); i++) {
        int64_t layer;
        if (in_layer(names->block, gs_checkpoint_at(checkpoint, i)->name, &layer) && layer >= most) most = layer + 1;
    }
    return most;
}

/* `rest` is "<from's stem>.<word>": "<to's stem>.<word>" behind `prefix`. */
static bool translate(const gs_helper_names *from, const gs_helper_names *to, const size_t *stems, size_t n,
                      const char *prefix, const char *rest, gs_strbuf *out) {
    for (size_t i = 0; i < n; i++) {
        const char *a = stem_of(from, stems[i]), *b = stem_of(to, stems[i]);
        size_t k = a && b ? strlen(a) : 0;
        if (k == 0 || strncmp(rest, a, k) != 0 || rest[k] != '.') continue;
        gs_strbuf_printf(out, "%s%s%s", prefix, b, rest + k);
        return true;
    }
    return false;
}

/* A name that no row knows stays as it is: it is refused later, by the name in the file. */
static void first_name(const gs_network_helper *h, const char *name, gs_strbuf *out) {
    char text[256];
    int64_t layer;
    bool fits = gs_names_embedding(&h->alternative, text, sizeof text);
    if (fits && strcmp(text, name) == 0 && gs_names_embedding(&h->name, text, sizeof text)) {
        gs_strbuf_puts(out, text);
        return;
    }
    const char *rest = in_layer(h->alternative.block, name, &layer);
    if (rest && gs_helper_block_name(h->name.block, layer, text, sizeof text - 1)) {
        strcat(text, ".");
        if (translate(&h->alternative, &h->name, in_block, GS_COUNTOF(in_block), text, rest, out)) return;
    } else if (translate(&h->alternative, &h->name, outside, GS_COUNTOF(outside), "", name, out)) {
        return;
    }
    gs_strbuf_puts(out, name);
}

static gs_status rename_all(gs_checkpoint *c, const gs_network_helper *h, gs_tensor *renamed, gs_error *err) {
    for (size_t i = 0; i < gs_checkpoint_count(c); i++) {
        gs_strbuf name = {0};
        renamed[i] = *gs_checkpoint_at(c, i);
        first_name(h, renamed[i].name, &name);
        renamed[i].name = name.failed ? NULL : gs_strdup(gs_strbuf_text(&name));
        gs_strbuf_clear(&name);
        if (!renamed[i].name) return gs_error_nomem(err, 256);
    }
    return gs_checkpoint_present(c, renamed, gs_checkpoint_count(c), err);
}

static bool has_tensor(const gs_checkpoint *c, const gs_helper_names *names) {
    char name[256];
    return gs_names_embedding(names, name, sizeof name) && gs_checkpoint_find(c, name);
}

/* The first block has `part` and not `fused`, of which it is one. */
static bool has_part(const gs_checkpoint *c, const gs_helper_names *names, const char *fused, const char *part) {
    char block[256], name[512];
    if (!fused || !part || !gs_helper_block_name(names->block, 0, block, sizeof block)) return false;
    snprintf(name, sizeof name, "%s.%s.weight", block, fused);
    if (gs_checkpoint_find(c, name)) return false;
    snprintf(name, sizeof name, "%s.%s.weight", block, part);
    return gs_checkpoint_find(c, name) != NULL;
}

gs_status gs_names_settle(gs_checkpoint *checkpoint, gs_decoder_settings *settings, gs_error *err) {
    const gs_network_helper *h = settings->helper;
    size_t n = gs_checkpoint_count(checkpoint);
    settings->split_qkv = has_part(checkpoint, &h->name, h->name.qkv, h->name.q);
    settings->split_gate_up = has_part(checkpoint, &h->name, h->name.gate_up, h->name.gate);
    if (!h->alternative.embed || has_tensor(checkpoint, &h->name) || !has_tensor(checkpoint, &h->alternative)) return GS_OK;
    settings->split_qkv = h->name.qkv && !h->alternative.qkv;
    settings->split_gate_up = h->name.gate_up && !h->alternative.gate_up;
    gs_tensor *renamed = gs_calloc(n + 1, sizeof *renamed);
    if (!renamed) return gs_error_nomem(err, n * sizeof *renamed);
    gs_status status = rename_all(checkpoint, h, renamed, err);
    for (size_t i = 0; i < n; i++) gs_free((char *)(uintptr_t)renamed[i].name);
    gs_free(renamed);
    return status;
}
