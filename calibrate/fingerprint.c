#include <calibrate/fingerprint.h>

#include <base/hash.h>
#include <base/mem.h>

#include <stdlib.h>
#include <string.h>

enum { SAMPLE = 4096 };

/* What it computes: operations, attributes and shapes of every segment, as text. */
static gs_status hash_network(const gs_model *m, gs_hasher *h, gs_error *err) {
    for (int i = 0; i < gs_model_segments(m); i++) {
        gs_strbuf text = {0};
        gs_net *net;
        GS_TRY(gs_model_segment(m, i, &net, err));
        gs_net_dump(net, &text);
        gs_net_destroy(net);
        gs_status status = text.failed ? gs_error_nomem(err, text.len) : GS_OK;
        if (status == GS_OK) gs_hasher_update(h, text.data, text.len);
        gs_strbuf_clear(&text);
        GS_TRY(status);
    }
    return GS_OK;
}

static void hash_bytes(const gs_tensor *t, gs_hasher *h) {
    if (t->bytes <= 3 * SAMPLE) {
        gs_hasher_update(h, t->data, (size_t)t->bytes);
        return;
    }
    gs_hasher_update(h, t->data, SAMPLE);
    gs_hasher_update(h, t->data + (t->bytes - SAMPLE) / 2, SAMPLE);
    gs_hasher_update(h, t->data + t->bytes - SAMPLE, SAMPLE);
}

static void hash_tensor(const gs_tensor *t, gs_hasher *h) {
    char shape[256];
    const char *dtype = gs_dtype_name(t->dtype);
    /* with the final zeros, so that no two lists of names run together */
    gs_hasher_update(h, t->name, strlen(t->name) + 1);
    gs_hasher_update(h, dtype, strlen(dtype) + 1);
    gs_tensor_shape_text(t, shape, sizeof shape);
    gs_hasher_update(h, shape, strlen(shape) + 1);
    hash_bytes(t, h);
}

gs_status gs_model_fingerprint(const gs_model *m, uint64_t *out, gs_error *err) {
    const gs_checkpoint *c = gs_model_checkpoint(m);
    char hex[33];
    gs_hasher *h = gs_hasher_create();
    if (!h) return gs_error_nomem(err, 1024);
    gs_status status = hash_network(m, h, err);
    for (size_t i = 0; status == GS_OK && i < gs_checkpoint_count(c); i++) {
        const gs_tensor *t = gs_checkpoint_at(c, i);
        hash_tensor(t, h);
        gs_checkpoint_drop(c, t);
    }
    gs_hasher_hex(h, hex);
    gs_hasher_destroy(h);
    hex[16] = 0;
    *out = strtoull(hex, NULL, 16);
    return status;
}
