/* A random Llama-shaped checkpoint of a few kilobytes, written through our own writer, so that
 * the suite runs end to end without any outside data. */
#ifndef GS_TESTS_TINY_MODEL_H
#define GS_TESTS_TINY_MODEL_H

#include "support.h"

#include <base/file.h>
#include <base/half.h>
#include <loaders/safetensors.h>

typedef struct tiny_shape {
    int64_t vocab, hidden, intermediate, layers, heads, kv_heads;
    gs_dtype dtype; /* F32, F16 or BF16 */
    bool tied;
} tiny_shape;

static const tiny_shape tiny_default = {96, 32, 48, 3, 4, 2, GS_F32, false};

typedef struct tiny_tensor {
    char name[96];
    int ndim;
    int64_t shape[2];
} tiny_tensor;

static inline size_t tiny_list(const tiny_shape *s, tiny_tensor *t) {
    size_t n = 0;
    int64_t hd = s->hidden / s->heads;
#define TINY(nd, r, c, ...)                                                    \
    do {                                                                       \
        snprintf(t[n].name, sizeof t[n].name, __VA_ARGS__);                    \
        t[n].ndim = nd;                                                        \
        t[n].shape[0] = r;                                                     \
        t[n].shape[1] = c;                                                     \
        n++;                                                                   \
    } while (0)
    TINY(2, s->vocab, s->hidden, "model.embed_tokens.weight");
    for (int l = 0; l < (int)s->layers; l++) {
        TINY(1, s->hidden, 1, "model.layers.%d.input_layernorm.weight", l);
        TINY(2, s->heads * hd, s->hidden, "model.layers.%d.self_attn.q_proj.weight", l);
        TINY(2, s->kv_heads * hd, s->hidden, "model.layers.%d.self_attn.k_proj.weight", l);
        TINY(2, s->kv_heads * hd, s->hidden, "model.layers.%d.self_attn.v_proj.weight", l);
        TINY(2, s->hidden, s->heads * hd, "model.layers.%d.self_attn.o_proj.weight", l);
        TINY(1, s->hidden, 1, "model.layers.%d.post_attention_layernorm.weight", l);
        TINY(2, s->intermediate, s->hidden, "model.layers.%d.mlp.gate_proj.weight", l);
        TINY(2, s->intermediate, s->hidden, "model.layers.%d.mlp.up_proj.weight", l);
        TINY(2, s->hidden, s->intermediate, "model.layers.%d.mlp.down_proj.weight", l);
    }
    TINY(1, s->hidden, 1, "model.norm.weight");
    if (!s->tied) TINY(2, s->vocab, s->hidden, "lm_head.weight");
#undef TINY
    return n;
}

static inline void tiny_text(const char *dir, const char *name, const char *text) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static inline void tiny_config(const char *dir, const tiny_shape *s) {
    char text[1024];
    snprintf(text, sizeof text,
             "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": %lld,\n"
             " \"hidden_size\": %lld, \"intermediate_size\": %lld, \"num_hidden_layers\": %lld,\n"
             " \"num_attention_heads\": %lld, \"num_key_value_heads\": %lld, \"rms_norm_eps\": 1e-05,\n"
             " \"rope_theta\": 10000.0, \"hidden_act\": \"silu\", \"max_position_embeddings\": 256,\n"
             " \"tie_word_embeddings\": %s, \"torch_dtype\": \"%s\",\n"
             " \"quantization_config\": {\"quant_method\": \"stale\"}}\n",
             (long long)s->vocab, (long long)s->hidden, (long long)s->intermediate, (long long)s->layers,
             (long long)s->heads, (long long)s->kv_heads, s->tied ? "true" : "false", gs_dtype_torch_name(s->dtype));
    tiny_text(dir, "config.json", text);
}

/* Value i of tensor t: small weights, norms near one. */
static inline float tiny_value(const tiny_tensor *t, uint64_t *state) {
    float r = gs_test_randf(state);
    return t->ndim == 1 ? 1.0f + 0.1f * r : 0.2f * r;
}

static inline void tiny_weights(const char *path, const tiny_shape *s, const tiny_tensor *t, size_t n, uint64_t seed) {
    gs_error err = {0};
    gs_safetensors_writer *w;
    assert_ok(gs_safetensors_writer_create(&w, &err), &err);
    for (size_t i = 0; i < n; i++)
        assert_ok(gs_safetensors_writer_plan(w, t[i].name, s->dtype, t[i].ndim, t[i].shape, &err), &err);
    assert_ok(gs_safetensors_writer_begin(w, path, &err), &err);
    for (size_t i = 0; i < n; i++) {
        size_t count = (size_t)(t[i].shape[0] * t[i].shape[1]), element = (size_t)gs_dtype_block_bytes(s->dtype);
        uint8_t *bytes = malloc(count * element);
        uint64_t state = seed * 1000003u + strlen(t[i].name) * 131u + (uint64_t)(unsigned char)t[i].name[13] * 7u + i;
        assert_non_null(bytes);
        for (size_t k = 0; k < count; k++) {
            float v = tiny_value(&t[i], &state);
            uint16_t half = s->dtype == GS_BF16 ? gs_f32_to_bf16(v) : gs_f32_to_f16(v);
            if (s->dtype == GS_F32)
                memcpy(bytes + 4 * k, &v, 4);
            else
                memcpy(bytes + 2 * k, &half, 2);
        }
        assert_ok(gs_safetensors_writer_put(w, t[i].name, 0, bytes, count * element, &err), &err);
        free(bytes);
    }
    assert_ok(gs_safetensors_writer_commit(w, &err), &err);
}

/* Writes config.json and model.safetensors into dir. */
static inline void tiny_model(const char *dir, const tiny_shape *s, uint64_t seed) {
    tiny_tensor list[64];
    char path[1200];
    size_t n = tiny_list(s, list);
    tiny_config(dir, s);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    tiny_weights(path, s, list, n, seed);
}

/* Sets the first value of a tensor of an F32 model, for weights that no trained model has. */
static inline void tiny_poke(const char *dir, const char *tensor, float value) {
    char path[1200];
    gs_error err = {0};
    gs_safetensors *st;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    const gs_tensor *t = gs_safetensors_find(st, tensor);
    assert_non_null(t);
    long at = (long)(t->data - gs_safetensors_file(st)->data);
    gs_safetensors_close(st);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fwrite(&value, sizeof value, 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

/* `count` token ids below vocab into an .i32 file. */
static inline void tiny_tokens(const char *path, int64_t count, int64_t vocab, uint64_t seed) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int64_t i = 0; i < count; i++) {
        int32_t id = (int32_t)(gs_test_rand(&seed) % (uint64_t)vocab);
        assert_int_equal(fwrite(&id, sizeof id, 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
}

#endif
