/* Any bytes as a GGUF file: open, read everything that was accepted, then see it as a
 * Hugging Face checkpoint. */
#include <loaders/gguf_hf.h>

#include <base/mem.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const keys[] = {
    "general.architecture", "general.alignment", "llama.block_count", "tokenizer.ggml.tokens",
    "tokenizer.ggml.scores", "tokenizer.ggml.merges", "a", "b", "c",
};

static volatile uint8_t sink;

static void touch(const void *p, size_t n) {
    const uint8_t *bytes = p;
    for (size_t i = 0; i < n; i++) sink ^= bytes[i];
}

static void read_strings(const gs_gguf *g, const char *key) {
    gs_gguf_str s;
    int64_t n = gs_gguf_array(g, key, GS_GGUF_STRING);
    for (int64_t i = 0; i < n; i++) {
        if (!gs_gguf_array_string(g, key, i, &s)) abort();
        touch(s.data, s.len);
    }
    if (n >= 0 && gs_gguf_array_string(g, key, n, &s)) abort();
}

static void read_metadata(const gs_gguf *g, const char *key) {
    static const gs_gguf_type fixed[] = {GS_GGUF_U8, GS_GGUF_I32, GS_GGUF_F32, GS_GGUF_BOOL,
                                         GS_GGUF_F64};
    static const size_t bytes[] = {1, 4, 4, 1, 8};
    int64_t i;
    double d;
    bool flag;
    gs_gguf_str s;
    (void)gs_gguf_int(g, key, &i);
    (void)gs_gguf_double(g, key, &d);
    (void)gs_gguf_bool(g, key, &flag);
    if (gs_gguf_string(g, key, &s)) touch(s.data, s.len);
    read_strings(g, key);
    for (size_t k = 0; k < GS_COUNTOF(fixed); k++) {
        const uint8_t *p = gs_gguf_array_data(g, key, fixed[k], &i);
        if (p) touch(p, (size_t)i * bytes[k]);
    }
}

static void read_tensor(const gs_tensor *t) {
    int64_t rows, cols;
    gs_tensor_matrix(t, &rows, &cols);
    touch(t->data, t->bytes);
    if (rows < 1 || cols < 1 || rows > (1 << 16) / cols) return;
    float *values = gs_alloc((size_t)(rows * cols) * sizeof *values);
    if (values && gs_tensor_read_f32(t, 0, rows, values, NULL) == GS_OK)
        touch(values, (size_t)(rows * cols) * sizeof *values);
    gs_free(values);
}

static void read_as_checkpoint(const gs_gguf *g) {
    gs_gguf_hf *h = NULL;
    gs_error err = {0};
    cJSON *config = NULL;
    if (gs_gguf_hf_create(g, &h, &err) != GS_OK) return;
    for (size_t i = 0; i < gs_gguf_hf_count(h); i++) read_tensor(gs_gguf_hf_at(h, i));
    if (gs_gguf_hf_config(h, &config, &err) == GS_OK) cJSON_Delete(config);
    gs_gguf_hf_destroy(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gs_gguf *g = NULL;
    gs_error err = {0};
    if (gs_gguf_open_memory(data, size, &g, &err) != GS_OK) return 0;
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) read_metadata(g, keys[i]);
    for (size_t i = 0; i < gs_gguf_count(g); i++) {
        const gs_tensor *t = gs_gguf_at(g, i);
        if (gs_gguf_find(g, t->name) != t) abort();
        read_tensor(t);
    }
    read_as_checkpoint(g);
    gs_gguf_close(g);
    return 0;
}
