/* One function in the layouts and under the names of several families: fused and grouped projections, another
 * framework's names. Each must give the logits of the plain layout that it was made of. */
#include "layouts.h"

#include <llm/model.h>

/* Writes the layout and compares it with the plain model in `plain`. */
static void expect_same(const char *plain, const layout *l, const char *class, const char *type, int64_t kv_heads) {
    char *dir = gs_test_tmpdir();
    config(dir, class, type, kv_heads);
    made_weights(plain, dir, l->tensor, l->count);
    expect_same_logits(dir, NULL, plain, NULL, 96);
    gs_test_rmdir(dir);
}

static void grouped_heads_are_taken_apart(void **state) {
    (void)state;
    char *plain = plain_model(2);
    layout l = {0};
    whole(&l, "model.tok_embeddings.weight", "model.embed_tokens");
    whole(&l, "model.norm.weight", "model.norm");
    whole(&l, "output.weight", "lm_head");
    for (int i = 0; i < LAYERS; i++) {
        made_tensor *all = in_block(&l, i, "attention.wqkv", NULL);
        for (int g = 0; g < 2; g++) { /* two heads of 8 rows to each key-value head */
            piece(all, i, "self_attn.q_proj", g * 16, 16);
            piece(all, i, "self_attn.k_proj", g * 8, 8);
            piece(all, i, "self_attn.v_proj", g * 8, 8);
        }
        other_names(&l, i);
    }
    expect_same(plain, &l, "InternLM2ForCausalLM", "internlm2", 2);
    gs_test_rmdir(plain);
}

static void fused_halves_are_taken_apart(void **state) {
    (void)state;
    char *plain = plain_model(2);
    layout l = {0};
    hugging_face_ends(&l);
    for (int i = 0; i < LAYERS; i++) {
        fused(&l, i, "self_attn.qkv_proj");
        made_tensor *both = in_block(&l, i, "mlp.gate_up_proj", NULL);
        piece(both, i, "mlp.gate_proj", 0, 0);
        piece(both, i, "mlp.up_proj", 0, 0);
    }
    expect_same(plain, &l, "Phi3ForCausalLM", "phi3", 2);
    gs_test_rmdir(plain);
}

static void packed_thirds_are_taken_apart(void **state) {
    (void)state;
    char *plain = plain_model(4);
    layout l = packed_thirds();
    expect_same(plain, &l, "BaiChuanForCausalLM", "baichuan", 4);
    gs_test_rmdir(plain);
}

static void other_names_are_detected(void **state) {
    (void)state;
    char *plain = plain_model(2), *whole_heads = plain_model(4);
    layout l = mindformers();
    expect_same(plain, &l, "LlamaForCausalLM", "llama", 2);
    /* separate there what is fused under the family's own names */
    expect_same(whole_heads, &l, "BaiChuanForCausalLM", "baichuan", 4);
    gs_test_rmdir(plain);
    gs_test_rmdir(whole_heads);
}

static gs_status open_model(const char *dir, gs_model **m, gs_error *err) {
    gs_checkpoint *c;
    gs_status status = gs_checkpoint_open(dir, NULL, &c, err);
    return status == GS_OK ? gs_model_take(c, NULL, NULL, m, err) : status;
}

static void renamed_tensors_have_the_familys_names(void **state) {
    (void)state;
    char *plain = plain_model(2), *dir = gs_test_tmpdir();
    layout l = mindformers();
    gs_error err = {0};
    gs_model *m;
    config(dir, "LlamaForCausalLM", "llama", 2);
    made_weights(plain, dir, l.tensor, l.count);
    assert_ok(open_model(dir, &m, &err), &err);
    assert_non_null(gs_checkpoint_find(gs_model_checkpoint(m), "model.embed_tokens.weight"));
    assert_non_null(gs_checkpoint_find(gs_model_checkpoint(m), "model.layers.2.mlp.up_proj.weight"));
    assert_null(gs_checkpoint_find(gs_model_checkpoint(m), "model.layers.2.feed_forward.w3.weight"));
    gs_model_close(m);
    /* a name that neither list has is refused as it is in the file */
    whole(&l, "model.layers.1.attention.wqkv.weight", "model.norm");
    made_weights(plain, dir, l.tensor, l.count);
    assert_fails(open_model(dir, &m, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "'model.layers.1.attention.wqkv.weight' [32]"));
    gs_test_rmdir(dir);
    gs_test_rmdir(plain);
}

static void layers_are_counted_on_both_sides(void **state) {
    (void)state;
    static const int said[] = {2, 4};
    for (size_t i = 0; i < GS_COUNTOF(said); i++) {
        char *dir = plain_model(2), command[1300], words[80];
        gs_error err = {0};
        gs_model *m;
        snprintf(command, sizeof command, "sed -i 's/\"num_hidden_layers\": 3/\"num_hidden_layers\": %d/' '%s/config.json'", said[i], dir);
        assert_int_equal(system(command), 0);
        assert_true(open_model(dir, &m, &err) != GS_OK);
        snprintf(words, sizeof words, "num_hidden_layers %d, the tensors have 3", said[i]);
        if (!strstr(err.hint, words)) fail_msg("'%s' (%s)", err.text, err.hint);
        gs_test_rmdir(dir);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grouped_heads_are_taken_apart),
        cmocka_unit_test(fused_halves_are_taken_apart),
        cmocka_unit_test(packed_thirds_are_taken_apart),
        cmocka_unit_test(other_names_are_detected),
        cmocka_unit_test(renamed_tensors_have_the_familys_names),
        cmocka_unit_test(layers_are_counted_on_both_sides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
