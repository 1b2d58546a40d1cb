/* The same model has the same fingerprint; a change of a setting or of a sampled byte another one. */
#include "../tiny_model.h"

#include <base/mem.h>
#include <calibrate/fingerprint.h>

static uint64_t fingerprint(const char *dir) {
    gs_error err = {0};
    gs_checkpoint *c;
    gs_model *m;
    uint64_t hash = 0;
    assert_ok(gs_checkpoint_open(dir, NULL, &c, &err), &err);
    assert_ok(gs_model_take(c, NULL, NULL, &m, &err), &err);
    gs_mem_fail_after(0);
    assert_fails(gs_model_fingerprint(m, &hash, &err), GS_E_NOMEM, &err);
    gs_mem_fail_after(-1);
    assert_ok(gs_model_fingerprint(m, &hash, &err), &err);
    gs_model_close(m);
    return hash;
}

static uint64_t fingerprint_of(const tiny_shape *shape, uint64_t seed) {
    char *dir = gs_test_tmpdir();
    tiny_model(dir, shape, seed);
    uint64_t hash = fingerprint(dir);
    gs_test_rmdir(dir);
    return hash;
}

static void the_same_model_has_the_same_fingerprint(void **state) {
    (void)state;
    assert_true(fingerprint_of(&tiny_default, 1) == fingerprint_of(&tiny_default, 1));
}

static void another_model_has_another(void **state) {
    (void)state;
    uint64_t hash[5];
    tiny_shape shape = tiny_default;
    hash[0] = fingerprint_of(&shape, 1);
    hash[1] = fingerprint_of(&shape, 2);
    shape.layers = 2;
    hash[2] = fingerprint_of(&shape, 1);
    shape = tiny_default;
    shape.heads = shape.kv_heads = 2; /* the tensors' names and sizes may stay */
    hash[3] = fingerprint_of(&shape, 1);
    shape = tiny_default;
    shape.dtype = GS_BF16;
    hash[4] = fingerprint_of(&shape, 1);
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < i; k++) assert_true(hash[i] != hash[k]);
}

/* Each over the same tensors: numbers that the network is built of, also those of some families alone. */
static void a_setting_counts(void **state) {
    (void)state;
    static const char *const settings[] = {
        "\"model_type\": \"llama\"", "\"model_type\": \"llama\", \"rope_theta\": 20000.0",
        "\"model_type\": \"llama\", \"rms_norm_eps\": 1e-06", "\"model_type\": \"mistral\", \"sliding_window\": 16",
        "\"model_type\": \"mistral\", \"sliding_window\": 17",
        "\"model_type\": \"granite\", \"residual_multiplier\": 0.5", "\"model_type\": \"granite\", \"residual_multiplier\": 0.25",
        "\"model_type\": \"granite\", \"attention_multiplier\": 0.5"};
    enum { N = sizeof settings / sizeof *settings };
    uint64_t hash[N];
    char *dir = gs_test_tmpdir(), text[700];
    tiny_model(dir, &tiny_default, 1);
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "{\"vocab_size\": 96, \"hidden_size\": 32, \"intermediate_size\": 48, \"num_hidden_layers\": 3, "
                 "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"max_position_embeddings\": 256, %s%s}", settings[i],
                 strstr(settings[i], "eps") ? "" : ", \"rms_norm_eps\": 1e-05");
        tiny_text(dir, "config.json", text);
        hash[i] = fingerprint(dir);
        for (int k = 0; k < i; k++)
            if (hash[i] == hash[k]) fail_msg("%s is as good as %s", settings[i], settings[k]);
    }
    gs_test_rmdir(dir);
}

/* The embedding is 4 MiB: its first, middle and last bytes count, those between do not. */
static void the_ends_and_the_middle_of_a_tensor_count(void **state) {
    (void)state;
    tiny_shape shape = tiny_default;
    shape.vocab = 32768;
    char *dir = gs_test_tmpdir(), *path = gs_path_join(dir, "model.safetensors");
    tiny_model(dir, &shape, 1);
    uint64_t before = fingerprint(dir);
    gs_error err = {0};
    gs_safetensors *st;
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    const gs_tensor *t = gs_safetensors_find(st, "model.embed_tokens.weight");
    long start = (long)(t->data - gs_safetensors_file(st)->data), size = (long)t->bytes;
    gs_safetensors_close(st);
    const struct { long at; bool counts; } places[] = {
        {0, true}, {4095, true}, {4096, false}, {size / 2, true}, {size / 2 + 4096, false}, {size - 4097, false},
        {size - 4096, true}, {size - 1, true}};
    for (size_t i = 0; i < GS_COUNTOF(places); i++) {
        for (int turn = 0; turn < 2; turn++) {
            FILE *f = fopen(path, "r+b");
            assert_non_null(f);
            assert_int_equal(fseek(f, start + places[i].at, SEEK_SET), 0);
            int byte = fgetc(f);
            assert_int_equal(fseek(f, -1, SEEK_CUR), 0);
            assert_int_not_equal(fputc(byte ^ 1, f), EOF);
            assert_int_equal(fclose(f), 0);
            assert_int_equal(fingerprint(dir) != before, places[i].counts && turn == 0);
        }
    }
    free(path);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_model_has_the_same_fingerprint),
        cmocka_unit_test(another_model_has_another),
        cmocka_unit_test(a_setting_counts),
        cmocka_unit_test(the_ends_and_the_middle_of_a_tensor_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
