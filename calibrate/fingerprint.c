#include <calibrate/fingerprint.h>

#include <base/hash.h>
#include <base/mem.h>

#include <stdlib.h>
#include <string.h>

enum { SAMPLE = 4096 };

static gs_status hash_settings(const gs_model_config *c, gs_hasher *h, gs_error *err) {
    gs_strbuf text = {0};
    const gs_rope_scaling *r = &c->rope_scaling;
    gs_strbuf_printf(&text, "%s|%s|%lld %lld %lld %lld %lld %lld %lld|", c->model_type, c->hidden_act,
                     (long long)c->vocab, (long long)c->hidden, (long long)c->intermediate, (long long)c->layers,
                     (long long)c->heads, (long long)c->kv_heads, (long long)c->head_dim);
    gs_strbuf_printf(&text, "%.17g %.17g|%s %.17g %.17g %.17g %lld|", c->norm_eps, c->rope_theta, r->name, r->factor,
                     r->low_freq_factor, r->high_freq_factor, (long long)r->original_max_positions);
    gs_strbuf_printf(&text, "%d%d%d\n", c->tied, c->attention_bias, c->mlp_bias);
    gs_status status = text.failed ? gs_error_nomem(err, 512) : GS_OK;
    if (status == GS_OK) gs_hasher_update(h, text.data, text.len);
    gs_strbuf_clear(&text);
    return status;
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
    gs_status status = hash_settings(gs_model_settings(m), h, err);
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
