/* A checkpoint seen as segments, and what it says when tensors do not fit. */
#include "../support.h"
#include "../tiny_model.h"

#include <base/mem.h>
#include <llm/walk.h>

static gs_status open_model(const char *dir, gs_model **m, gs_error *err) {
    gs_checkpoint *c;
    gs_status status = gs_checkpoint_open(dir, NULL, &c, err);
    return status == GS_OK ? gs_model_take(c, NULL, NULL, m, err) : status;
}

static void segments_are_embedding_blocks_and_head(void **state) {
    (void)state;
    gs_error err = {0};
    char *dir = gs_test_tmpdir();
    gs_model *m;
    tiny_model(dir, &tiny_default, 1);
    assert_ok(open_model(dir, &m, &err), &err);
    assert_int_equal(gs_model_segments(m), 5);
    assert_int_equal(gs_model_segment_kind(m, 0), GS_SEGMENT_EMBED);
    assert_int_equal(gs_model_segment_kind(m, 1), GS_SEGMENT_BLOCK);
    assert_int_equal(gs_model_segment_kind(m, 4), GS_SEGMENT_HEAD);
    assert_int_equal(gs_model_parameters(m), 2 * 96 * 32 + 32 + 3 * (2 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32));
    gs_net *net;
    assert_ok(gs_model_segment(m, 2, &net, &err), &err);
    assert_string_equal(gs_net_name(net), "model.layers.1");
    /* which linears share an input is a question to the IR, not to the family */
    const gs_node *norm = gs_net_find(net, "model.layers.1.input_layernorm");
    assert_int_equal(norm->output->consumers, 3);
    assert_string_equal(gs_net_consumer(net, norm->output, 2)->name, "model.layers.1.self_attn.v_proj");
    assert_int_equal(gs_net_output_at(net, 0)->dims.dim[0], 32);
    gs_net_destroy(net);
    gs_model_close(m);
    gs_test_rmdir(dir);
}

/* Opens a model after its tensor list was changed; expects `word` in the error. */
static void expect_refusal(size_t victim, const char *new_name, int64_t new_rows, gs_status status, const char *word) {
    gs_error err = {0};
    tiny_tensor list[64];
    size_t n = tiny_list(&tiny_default, list);
    char *dir = gs_test_tmpdir(), path[1200];
    if (new_name) snprintf(list[victim].name, sizeof list[victim].name, "%s", new_name);
    if (new_rows) list[victim].shape[0] = new_rows;
    if (!new_name && !new_rows) memmove(&list[victim], &list[victim + 1], (--n - victim) * sizeof *list);
    tiny_config(dir, &tiny_default);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    tiny_weights(path, &tiny_default, list, n, 1);
    gs_model *m;
    assert_fails(open_model(dir, &m, &err), status, &err);
    if (!strstr(err.text, word)) fail_msg("'%s' lacks '%s'", err.text, word);
    gs_test_rmdir(dir);
}

static void a_missing_tensor_is_named_with_its_shape(void **state) {
    (void)state;
    expect_refusal(3, NULL, 0, GS_E_FORMAT, "'model.layers.0.self_attn.k_proj.weight' [16, 32] is missing");
}

static void a_wrong_shape_says_both(void **state) {
    (void)state;
    expect_refusal(3, NULL, 24, GS_E_FORMAT, "k_proj.weight' is [24, 32], config.json asks for [16, 32]");
}

static void an_unknown_tensor_is_not_dropped_silently(void **state) {
    (void)state;
    gs_error err = {0};
    tiny_tensor list[64];
    size_t n = tiny_list(&tiny_default, list);
    char *dir = gs_test_tmpdir(), path[1200];
    list[n] = (tiny_tensor){"model.layers.0.self_attn.sinks.weight", 1, {4, 1}};
    tiny_config(dir, &tiny_default);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    tiny_weights(path, &tiny_default, list, n + 1, 1);
    gs_model *m;
    assert_fails(open_model(dir, &m, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "sinks"));
    /* but a rotary table of old checkpoints is */
    snprintf(list[n].name, sizeof list[n].name, "model.layers.0.self_attn.rotary_emb.inv_freq");
    tiny_weights(path, &tiny_default, list, n + 1, 1);
    assert_ok(open_model(dir, &m, &err), &err);
    gs_model_close(m);
    gs_test_rmdir(dir);
}

static void an_unknown_architecture_names_the_nearest(void **state) {
    (void)state;
    gs_error err = {0};
    char *dir = gs_test_tmpdir(), command[1300];
    gs_model *m;
    tiny_model(dir, &tiny_default, 1);
    snprintf(command, sizeof command, "sed -i 's/\"llama\"/\"lama\"/' '%s/config.json'", dir);
    assert_int_equal(system(command), 0);
    assert_fails(open_model(dir, &m, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "'lama'"));
    assert_non_null(strstr(err.hint, "'llama'"));
    gs_test_rmdir(dir);
}

static void a_walk_gives_each_sequence_what_it_gets_alone(void **state) {
    (void)state;
    gs_error err = {0};
    char *dir = gs_test_tmpdir();
    gs_model *m;
    gs_context cx = {0};
    tiny_model(dir, &tiny_default, 1);
    assert_ok(open_model(dir, &m, &err), &err);
    int32_t ids[30];
    float both[30 * 32], alone[30 * 32];
    for (int i = 0; i < 30; i++) ids[i] = (i * 37) % 96;
    int64_t starts[3] = {0, 12, 30}, first[2] = {0, 12}, second[2] = {0, 18};
    gs_batch batch = {30, 2, starts}, a = {12, 1, first}, b = {18, 1, second};
    assert_ok(gs_walk_hidden(&cx, m, GS_GEMM_F32, ids, &batch, both, NULL, NULL, &err), &err);
    assert_ok(gs_walk_hidden(&cx, m, GS_GEMM_F32, ids, &a, alone, NULL, NULL, &err), &err);
    assert_ok(gs_walk_hidden(&cx, m, GS_GEMM_F32, ids + 12, &b, alone + 12 * 32, NULL, NULL, &err), &err);
    for (int i = 0; i < 30 * 32; i++) assert_true((double)(both[i] - alone[i]) * (double)(both[i] - alone[i]) <= 1e-10);
    gs_model_close(m);
    gs_test_rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_are_embedding_blocks_and_head),
        cmocka_unit_test(a_missing_tensor_is_named_with_its_shape),
        cmocka_unit_test(a_wrong_shape_says_both),
        cmocka_unit_test(an_unknown_tensor_is_not_dropped_silently),
        cmocka_unit_test(an_unknown_architecture_names_the_nearest),
        cmocka_unit_test(a_walk_gives_each_sequence_what_it_gets_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
