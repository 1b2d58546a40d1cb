/* One door to a model on disk, whatever it is stored in, and what it says when the door
 * does not open. */
#include "gguf_builder.h"
#include "safetensors_builder.h"

#include <loaders/checkpoint.h>

#define CONFIG                                                                 \
    "{\"model_type\":\"llama\",\"vocab_size\":8,\"hidden_size\":4,"            \
    "\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2}"
#define WEIGHTS "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}"

static char *model_dir(const char *config, const char *weights_name) {
    char *dir = gs_test_tmpdir();
    if (config) st_write_text(st_path(dir, "config.json"), config);
    if (weights_name) st_write(st_path(dir, weights_name), WEIGHTS, 4);
    return dir;
}

static void fails_with(const char *path, gs_status status, const char *words, const char *hint) {
    gs_checkpoint *c = NULL;
    gs_error err = {0};
    assert_fails(gs_checkpoint_open(path, NULL, &c, &err), status, &err);
    assert_null(c);
    assert_text_has(&err, words);
    if (hint && !strstr(err.hint, hint)) fail_msg("the hint is '%s', it should say '%s'", err.hint, hint);
}

static void a_directory_opens(void **state) {
    (void)state;
    char *dir = model_dir(CONFIG, "model.safetensors");
    gs_checkpoint *c;
    gs_error err = {0};
    assert_ok(gs_checkpoint_open(dir, NULL, &c, &err), &err);
    assert_int_equal(gs_checkpoint_container(c), GS_CONTAINER_SAFETENSORS);
    assert_string_equal(gs_checkpoint_path(c), dir);
    assert_int_equal(gs_checkpoint_config(c)->hidden, 4);
    assert_null(gs_checkpoint_gguf(c));
    assert_int_equal(gs_checkpoint_count(c), 1);
    assert_int_equal(gs_checkpoint_bytes(c), 4);
    const gs_tensor *t = gs_checkpoint_find(c, "a");
    assert_ptr_equal(t, gs_checkpoint_at(c, 0));
    assert_null(gs_checkpoint_at(c, 1));
    assert_null(gs_checkpoint_find(c, "b"));
    gs_checkpoint_drop(c, t);
    assert_int_equal(t->data[3], 3);
    gs_checkpoint_close(c);
    gs_checkpoint_close(NULL);
    gs_test_rmdir(dir);
}

static void another_stem_can_be_asked_for(void **state) {
    (void)state;
    char *dir = model_dir(CONFIG, "quant_model_weights.safetensors");
    gs_checkpoint *c;
    gs_error err = {0};
    fails_with(dir, GS_E_FORMAT, "has neither model.safetensors.index.json nor model.safetensors", NULL);
    assert_ok(gs_checkpoint_open(dir, "quant_model_weights", &c, &err), &err);
    gs_checkpoint_close(c);
    gs_test_rmdir(dir);
}

static void what_is_missing_is_named(void **state) {
    (void)state;
    fails_with("/nonexistent/model", GS_E_FORMAT, "/nonexistent/model", NULL);
    char *dir = model_dir(NULL, "model.safetensors");
    fails_with(dir, GS_E_FORMAT, "has no config.json", "directory of a Hugging Face checkpoint");
    st_write_text(st_path(dir, "tiny.gguf"), "GGUF");
    fails_with(dir, GS_E_FORMAT, "has no config.json", "give the file: tiny.gguf");
    fails_with(st_path(dir, "model.safetensors"), GS_E_FORMAT, "is neither a directory nor a GGUF file",
               "give the directory");
    gs_test_rmdir(dir);
    dir = model_dir("{", "model.safetensors");
    fails_with(dir, GS_E_FORMAT, "config.json: JSON", NULL);
    st_write_text(st_path(dir, "config.json"), "{}");
    fails_with(dir, GS_E_FORMAT, "config.json: \"vocab_size\" is missing", NULL);
    gs_test_rmdir(dir);
}

static void pickled_weights_are_read_where_there_are_no_others(void **state) {
    (void)state;
    static const char *const pickles[] = {"pytorch_model.bin", "pytorch_model.bin.index.json"};
    for (size_t i = 0; i < GS_COUNTOF(pickles); i++) {
        char *dir = model_dir(CONFIG, NULL);
        st_write_text(st_path(dir, pickles[i]), "x");
        fails_with(dir, GS_E_FORMAT, pickles[i], NULL);
        /* beside safetensors they do not matter */
        st_write(st_path(dir, "model.safetensors"), WEIGHTS, 4);
        gs_checkpoint *c;
        gs_error err = {0};
        assert_ok(gs_checkpoint_open(dir, NULL, &c, &err), &err);
        gs_checkpoint_close(c);
        gs_test_rmdir(dir);
    }
}

static void broken_weights_keep_their_own_message(void **state) {
    (void)state;
    char *dir = model_dir(CONFIG, NULL);
    st_write_text(st_path(dir, "pytorch_model.bin"), "x");
    st_write(st_path(dir, "model.safetensors"), WEIGHTS, 3);
    fails_with(dir, GS_E_FORMAT, "model.safetensors: cut off", NULL);
    st_write_text(st_path(dir, "model.safetensors.index.json"),
                  "{\"weight_map\":{\"a\":\"model-00001-of-00001.safetensors\"}}");
    fails_with(dir, GS_E_FORMAT, "model-00001-of-00001.safetensors' is missing", NULL);
    gs_test_rmdir(dir);
}

/* A GGUF model of one layer under a name that does not say so. */
static gguf_builder *small_gguf(void) {
    gguf_builder *b = malloc(sizeof *b);
    assert_non_null(b);
    gguf_begin(b, 3);
    gguf_kv_text(b, "general.architecture", "llama");
    gguf_kv_u32(b, "llama.block_count", 1);
    gguf_kv_u32(b, "llama.embedding_length", 8);
    gguf_kv_u32(b, "llama.feed_forward_length", 16);
    gguf_kv_u32(b, "llama.attention.head_count", 2);
    gguf_kv_u32(b, "llama.context_length", 64);
    gguf_kv_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_kv_u32(b, "llama.vocab_size", 4);
    gguf_tensor_f32(b, "token_embd.weight", 4, 8);
    gguf_tensor_f32(b, "output_norm.weight", 0, 8);
    gguf_tensor_f32(b, "blk.0.attn_norm.weight", 0, 8);
    gguf_tensor_f32(b, "blk.0.ffn_norm.weight", 0, 8);
    gguf_tensor_f32(b, "blk.0.attn_q.weight", 8, 8);
    gguf_tensor_f32(b, "blk.0.attn_k.weight", 8, 8);
    gguf_tensor_f32(b, "blk.0.attn_v.weight", 8, 8);
    gguf_tensor_f32(b, "blk.0.attn_output.weight", 8, 8);
    gguf_tensor_f32(b, "blk.0.ffn_gate.weight", 16, 8);
    gguf_tensor_f32(b, "blk.0.ffn_up.weight", 16, 8);
    gguf_tensor_f32(b, "blk.0.ffn_down.weight", 8, 16);
    gguf_data(b);
    return b;
}

static void gguf_is_known_by_its_first_bytes(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    const char *path = st_path(dir, "model.bin");
    gguf_builder *b = small_gguf();
    gs_checkpoint *c;
    gs_error err = {0};
    st_write_bytes(path, b->data, b->len);
    assert_ok(gs_checkpoint_open(path, NULL, &c, &err), &err);
    assert_int_equal(gs_checkpoint_container(c), GS_CONTAINER_GGUF);
    assert_int_equal(gs_checkpoint_count(c), 11);
    assert_int_equal(gs_checkpoint_config(c)->hidden, 8);
    assert_int_equal(gs_checkpoint_config(c)->head_dim, 4);
    assert_true(gs_checkpoint_config(c)->tied);
    assert_non_null(gs_checkpoint_gguf(c));
    const gs_tensor *q = gs_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight");
    assert_non_null(q);
    assert_int_equal(q->order, GS_ROWS_LLAMA_INTERLEAVED);
    assert_null(gs_checkpoint_find(c, "blk.0.attn_q.weight"));
    assert_null(gs_checkpoint_at(c, 11));
    float before[8], after[8];
    assert_ok(gs_tensor_read_f32(q, 1, 1, before, &err), &err);
    gs_checkpoint_drop(c, q);
    assert_ok(gs_tensor_read_f32(q, 1, 1, after, &err), &err);
    assert_memory_equal(before, after, sizeof before);
    uint64_t sum = 0;
    for (size_t i = 0; i < 11; i++) sum += gs_checkpoint_at(c, i)->bytes;
    assert_int_equal(gs_checkpoint_bytes(c), sum);
    gs_checkpoint_close(c);
    st_write_bytes(path, b->data, 100);
    fails_with(path, GS_E_FORMAT, "model.bin", NULL);
    st_write_bytes(path, "", 0);
    fails_with(path, GS_E_FORMAT, "is neither a directory nor a GGUF file", NULL);
    st_write_bytes(path, b->data, 3);
    fails_with(path, GS_E_FORMAT, "is neither a directory nor a GGUF file", NULL);
    free(b);
    gs_test_rmdir(dir);
}

/* The same trained model in both containers: every tensor of the GGUF file equals the Hugging
 * Face one, rows reordered. */
static void both_containers_hold_the_same_model(void **state) {
    (void)state;
    gs_need_data(hf_path, "data/lm/stories260K-hf-llama");
    gs_need_data(gguf_path, "data/lm/stories260K-f32.gguf");
    gs_checkpoint *hf, *gguf;
    gs_error err = {0};
    static float a[512 * 172], b[512 * 172];
    assert_ok(gs_checkpoint_open(hf_path, NULL, &hf, &err), &err);
    assert_ok(gs_checkpoint_open(gguf_path, NULL, &gguf, &err), &err);
    const gs_model_config *ca = gs_checkpoint_config(hf), *cb = gs_checkpoint_config(gguf);
    assert_int_equal(ca->vocab, cb->vocab);
    assert_int_equal(ca->heads, cb->heads);
    assert_int_equal(ca->kv_heads, cb->kv_heads);
    assert_int_equal(ca->layers, cb->layers);
    assert_true(gs_checkpoint_count(gguf) >= 47);
    for (size_t i = 0; i < gs_checkpoint_count(gguf); i++) {
        const gs_tensor *g = gs_checkpoint_at(gguf, i), *t = gs_checkpoint_find(hf, g->name);
        int64_t rows, cols;
        if (!t) fail_msg("'%s' is not in the Hugging Face directory", g->name);
        gs_tensor_matrix(t, &rows, &cols);
        assert_int_equal(gs_tensor_count(t), gs_tensor_count(g));
        assert_true(rows * cols <= (int64_t)GS_COUNTOF(a));
        assert_ok(gs_tensor_read_f32(t, 0, rows, a, &err), &err);
        assert_ok(gs_tensor_read_f32(g, 0, rows, b, &err), &err);
        assert_memory_equal(a, b, (size_t)(rows * cols) * sizeof a[0]);
    }
    gs_checkpoint_close(hf);
    gs_checkpoint_close(gguf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_opens),
        cmocka_unit_test(another_stem_can_be_asked_for),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(pickled_weights_are_read_where_there_are_no_others),
        cmocka_unit_test(broken_weights_keep_their_own_message),
        cmocka_unit_test(gguf_is_known_by_its_first_bytes),
        cmocka_unit_test(both_containers_hold_the_same_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
