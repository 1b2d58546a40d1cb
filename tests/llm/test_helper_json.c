/* A family described in JSON at run time: it computes what a compiled row computes, wins over it, and says what is wrong
 * with itself. */
#include "logits.h"

#include <llm/model.h>

#define NAMES                                                                                                          \
    "\"embed\": \"model.embed_tokens\", \"final_norm\": \"model.norm\", \"head\": \"lm_head\", "                      \
    "\"block\": \"model.layers.%d\", \"attention_input_norm\": \"input_layernorm\", "                                 \
    "\"q\": \"self_attn.q_proj\", \"k\": \"self_attn.k_proj\", \"v\": \"self_attn.v_proj\", "                         \
    "\"o\": \"self_attn.o_proj\", \"mlp_input_norm\": \"post_attention_layernorm\", "                                 \
    "\"gate\": \"mlp.gate_proj\", \"up\": \"mlp.up_proj\", \"down\": \"mlp.down_proj\""
#define ROW(type, names, more) "{\"family\": \"mine\", \"model_types\": [\"" type "\"], \"name\": {" names "}" more "}"

/* A model of the shared data with the model_type of nobody, so that only a row from JSON can serve it. */
static char *under_another_type(const char *folder, const char *type) {
    char command[2600], *dir = gs_test_tmpdir();
    snprintf(command, sizeof command,
             "cp '%s/config.json' '%s/model.safetensors' '%s/ids.i32' '%s' && chmod u+w '%s'/* && "
             "sed -i 's/\"model_type\": \"[a-z0-9_]*\"/\"model_type\": \"%s\"/' '%s/config.json'",
             folder, folder, folder, dir, dir, type, dir);
    assert_int_equal(system(command), 0);
    return dir;
}

static void put(const char *dir, const char *text, char path[1200]) {
    tiny_text(dir, "row.json", text);
    snprintf(path, 1200, "%s/row.json", dir);
}

static void expect_reference(const char *folder, const char *row) {
    char path[1200], ids[1200], *dir = under_another_type(folder, "nobodys");
    size_t n, m;
    put(dir, row, path);
    snprintf(ids, sizeof ids, "%s/ids.i32", dir);
    float *ours = logits_of(dir, ids, 96, path, &n, NULL), *compiled = logits_of(folder, ids, 96, NULL, &m, NULL);
    assert_int_equal(n, m);
    assert_memory_equal(ours, compiled, n * sizeof *ours); /* the same walk: the same bits */
    free(ours);
    free(compiled);
    gs_test_rmdir(dir);
}

static void a_described_family_computes_what_a_compiled_one_does(void **state) {
    (void)state;
    gs_need_data(qwen3, "reference/families/qwen3");
    expect_reference(qwen3, ROW("nobodys", NAMES ", \"q_norm\": \"self_attn.q_norm\", \"k_norm\": \"self_attn.k_norm\"",
                                ", \"qkv_bias\": \"attention_bias\", \"window\": true, \"window_when\": \"use_sliding_window\""));
    gs_need_data(mistral, "reference/families/mistral-window");
    expect_reference(mistral, ROW("nobodys", NAMES, ", \"window\": true"));
    gs_need_data(gemma2, "reference/families/gemma2");
    expect_reference(gemma2,
        "{\"family\": \"mine\", \"model_types\": [\"other\", \"nobodys\"], \"name\": {\"embed\": \"model.embed_tokens\", "
        "\"final_norm\": \"model.norm\", \"head\": \"lm_head\", \"block\": \"model.layers.%d\", "
        "\"attention_input_norm\": \"input_layernorm\", \"attention_output_norm\": \"post_attention_layernorm\", "
        "\"mlp_input_norm\": \"pre_feedforward_layernorm\", \"mlp_output_norm\": \"post_feedforward_layernorm\", "
        "\"q\": \"self_attn.q_proj\", \"k\": \"self_attn.k_proj\", \"v\": \"self_attn.v_proj\", \"o\": \"self_attn.o_proj\", "
        "\"gate\": \"mlp.gate_proj\", \"up\": \"mlp.up_proj\", \"down\": \"mlp.down_proj\"}, \"norm_plus_one\": true, "
        "\"embedding_by_width\": true, \"attention_width\": \"query_pre_attn_scalar\", "
        "\"attention_softcap\": \"attn_logit_softcapping\", \"logits_softcap\": \"final_logit_softcapping\", "
        "\"window\": true, \"window_every\": 2}");
    gs_need_data(packed, "reference/families/baichuan2-13b-alibi");
    expect_reference(packed,
        "{\"family\": \"mine\", \"model_types\": [\"nobodys\"], \"name\": {\"embed\": \"model.embed_tokens\", "
        "\"final_norm\": \"model.norm\", \"head\": \"lm_head\", \"block\": \"model.layers.%d\", "
        "\"attention_input_norm\": \"input_layernorm\", \"mlp_input_norm\": \"post_attention_layernorm\", "
        "\"qkv\": \"self_attn.W_pack\", \"o\": \"self_attn.o_proj\", "
        "\"gate\": \"mlp.gate_proj\", \"up\": \"mlp.up_proj\", \"down\": \"mlp.down_proj\"}, \"alibi\": true, "
        "\"normalize_head\": true, \"redundant\": [\"inv_freq\"]}");
}

/* Biases that the compiled row does not ask for: the described one decides. */
static void a_described_family_wins_over_a_compiled_one(void **state) {
    (void)state;
    char path[1200], ids[1200], *dir = gs_test_tmpdir();
    gs_error err = {0};
    gs_session *session;
    gs_eval_result r;
    tiny_model(dir, &tiny_default, 1);
    put(dir, ROW("llama", NAMES, ", \"mlp_bias\": true"), path);
    snprintf(ids, sizeof ids, "%s/t.i32", dir);
    tiny_tokens(ids, 20, 96, 1);
    const gs_session_options so = {.threads = 1, .helper = path};
    const gs_evaluate_options o = {.tokens = ids, .window = 20, .bos = -1};
    assert_ok(gs_session_create(&so, &session, &err), &err);
    assert_fails(gs_evaluate(session, dir, &o, &r, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.text, "'model.layers.0.mlp.gate_proj.bias' [48] is missing"));
    gs_session_destroy(session);
    /* a row for others leaves the compiled ones alone */
    put(dir, ROW("others", NAMES, ", \"mlp_bias\": true"), path);
    assert_ok(gs_session_create(&so, &session, &err), &err);
    assert_ok(gs_evaluate(session, dir, &o, &r, &err), &err);
    gs_session_destroy(session);
    gs_test_rmdir(dir);
}

static void quantize_verify_and_evaluate_know_it(void **state) {
    (void)state;
    gs_need_data(qwen3, "reference/families/qwen3");
    char path[1200], ids[1200], bundle[1200], *dir = under_another_type(qwen3, "nobodys");
    gs_error err = {0};
    gs_session *session;
    gs_quantize_result q;
    gs_verify_result v;
    gs_eval_result e;
    put(dir, ROW("nobodys", NAMES ", \"q_norm\": \"self_attn.q_norm\", \"k_norm\": \"self_attn.k_norm\"", ""), path);
    snprintf(ids, sizeof ids, "%s/ids.i32", dir);
    snprintf(bundle, sizeof bundle, "%s/bundle", dir);
    const gs_session_options so = {.threads = 1, .helper = path};
    const gs_quantize_options qo = {.scheme = "w8a8", .calibrate = {.calib = ids, .seq = 96}};
    const gs_evaluate_options eo = {.tokens = ids, .window = 96, .against = dir, .bos = -1};
    assert_ok(gs_session_create(&so, &session, &err), &err);
    assert_ok(gs_quantize(session, dir, bundle, &qo, &q, &err), &err);
    gs_quantize_result_clear(&q);
    assert_ok(gs_verify(session, bundle, NULL, &v, &err), &err);
    if (v.finding_count) fail_msg("%s: %s", v.finding[0].tensor, v.finding[0].text);
    gs_verify_result_clear(&v);
    assert_ok(gs_evaluate(session, bundle, &eo, &e, &err), &err);
    assert_true(e.kld_mean < 0.01);
    gs_session_destroy(session);
    gs_test_rmdir(dir);
}

static void a_wrong_row_is_told_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        const char *text, *word, *hint;
    } cases[] = {
        {"[]", "not a JSON object", ""},
        {"{\"family\": \"x\"", "", ""},
        {"{}", "\"family\" has no name", ""},
        {"{\"family\": \"x\"}", "\"model_types\" has no name", ""},
        {ROW("x", NAMES, ", \"norm_plus_on\": true"), "unknown member \"norm_plus_on\"", "norm_plus_one"},
        {ROW("x", NAMES ", \"qkvs\": \"a\"", ""), "\"name\": unknown member \"qkvs\"", "\"qkv\""},
        {ROW("x", NAMES, ", \"window\": 1"), "\"window\" is not true or false", ""},
        {ROW("x", NAMES, ", \"window_every\": 1.5"), "\"window_every\" is not a count", ""},
        {ROW("x", NAMES, ", \"window_every\": -1"), "\"window_every\" is not a count", ""},
        {ROW("x", NAMES, ", \"qkv_bias\": 1"), "\"qkv_bias\" is not a string", ""},
        {ROW("x", NAMES, ", \"logits_divisor\": \"\""), "0 characters", ""},
        {ROW("x", NAMES, ", \"redundant\": [\"a\", 1]"), "\"redundant\" is not a list", ""},
        {ROW("x", NAMES, ", \"redundant\": [\"a\", \"b\", \"c\", \"d\", \"e\"]"), "\"redundant\" is not a list of up to 4", ""},
        {ROW("x", "\"embed\": \"e\", \"final_norm\": \"n\", \"head\": \"h\", \"block\": \"layers\"", ""), "one %d", ""},
        {ROW("x", "\"embed\": \"e\", \"final_norm\": \"n\", \"head\": \"h\", \"block\": \"%d.%s\"", ""), "one %d", ""},
        {ROW("x", "\"embed\": \"e\", \"final_norm\": \"n\", \"head\": \"h\", \"block\": \"%n%d\"", ""), "one %d", ""},
        {ROW("x", "\"embed\": \"e\", \"final_norm\": \"n\", \"head\": \"h\", \"block\": \"%d\", \"o\": \"o\", \"down\": \"d\"", ""),
         "\"q\", \"k\", \"v\"", ""},
        {ROW("x", NAMES ", \"q_norm\": \"a\"", ""), "come together", ""},
        {ROW("x", NAMES, ", \"alternative\": {\"final_norm\": \"n\"}"), "\"alternative\": \"embed\" has no name", ""},
        {ROW("x", NAMES ", \"embed_tensor\": \"embedding_weight\"", ""), "\"embed_tensor\" is 'embedding_weight'", ""},
        {ROW("x", NAMES, ", \"alternative\": {\"embed\": \"e\"}"), "\"alternative\": \"final_norm\" has no name", ""},
        {ROW("x", NAMES, ", \"alternative\": {" NAMES ", \"qkv\": \"w\"}"), "\"qkv\" is fused or split otherwise", ""},
        {ROW("x", NAMES, ", \"family\": \"again\""), "", ""},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        gs_error err = {0};
        gs_network_helper *row = (gs_network_helper *)&row;
        assert_fails(gs_network_helper_parse(cases[i].text, strlen(cases[i].text), &row, &err), GS_E_FORMAT, &err);
        assert_null(row);
        if (!strstr(err.text, cases[i].word) || !strstr(err.hint, cases[i].hint))
            fail_msg("%s: '%s' (%s)", cases[i].text, err.text, err.hint);
    }
}

static void a_file_that_is_not_there_is_named(void **state) {
    (void)state;
    gs_error err = {0};
    gs_session *session = NULL;
    const gs_session_options so = {.threads = 1, .helper = "/nowhere/row.json"};
    assert_true(gs_session_create(&so, &session, &err) != GS_OK);
    assert_non_null(strstr(err.text, "/nowhere/row.json"));
}

/* The files that docs/adding-a-model.md points to. */
static void the_examples_are_read(void **state) {
    (void)state;
    gs_error err = {0};
    gs_network_helper *r;
    assert_ok(gs_network_helper_load("examples/helpers/gemma3_text.json", &r, &err), &err);
    assert_true(r->norm_plus_one && r->window_every == 6);
    gs_network_helper_free(r);
}

static gs_rope_kind rotation_of(const gs_network_helper *row, const gs_model_config *config, int segment) {
    gs_error err = {0};
    gs_net *net;
    gs_rope_kind kind = GS_ROPE_LINEAR;
    assert_ok(gs_model_blueprint_as(row, config, segment, &net, NULL, &err), &err);
    for (int i = 0; i < gs_net_node_count(net); i++)
        if (gs_net_node(net, i)->op == GS_OP_ROPE) kind = gs_net_node(net, i)->attr.rope.kind;
    gs_net_destroy(net);
    return kind;
}

/* As published OLMo-3 files have it: one scaling for all layers is said, and those with a window do without. */
static void scaling_may_be_for_layers_without_a_window(void **state) {
    (void)state;
    static const char text[] =
        "{\"model_type\": \"olmo3\", \"vocab_size\": 32, \"hidden_size\": 16, \"intermediate_size\": 24, \"num_hidden_layers\": 2,"
        " \"num_attention_heads\": 2, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-06, \"sliding_window\": 8,"
        " \"layer_types\": [\"sliding_attention\", \"full_attention\"], \"rope_theta\": 500000, \"tie_word_embeddings\": false,"
        " \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 8.0, \"original_max_position_embeddings\": 32}}";
    gs_error err = {0};
    gs_network_helper *row;
    gs_model_config config;
    cJSON *json;
    assert_ok(gs_network_helper_load("examples/helpers/olmo3.json", &row, &err), &err);
    assert_ok(gs_json_parse(text, sizeof text - 1, &json, &err), &err);
    assert_ok(gs_model_config_from_json(json, &config, &err), &err);
    assert_int_equal(rotation_of(row, &config, 1), GS_ROPE_PLAIN);
    assert_int_equal(rotation_of(row, &config, 2), GS_ROPE_YARN);
    row->window_unscaled = false;
    assert_int_equal(rotation_of(row, &config, 1), GS_ROPE_YARN);
    gs_model_config_clear(&config);
    gs_network_helper_free(row);
}

/* Every member of the struct can be said: what is read back is what was written. */
static void all_members_are_read(void **state) {
    (void)state;
    static const char text[] = ROW("a\", \"b", NAMES,
        ", \"alternative\": {\"embed\": \"t\", \"embed_tensor\": \"embedding_weight\", \"final_norm\": \"n\", \"head\": \"h\", "
        "\"block\": \"b.%d\", \"q\": \"q\", \"k\": \"k\", \"v\": \"v\", \"o\": \"o\", \"gate\": \"g\", \"up\": \"u\", \"down\": \"d\"}, "
        "\"redundant\": [\"x\"], \"qkv_bias\": true, \"o_bias\": \"key\", \"mlp_bias\": false, \"qkv_by_group\": true, "
        "\"norm_plus_one\": true, \"qk_norm_whole\": true, \"alibi\": true, \"normalize_head\": true, \"tied\": true, "
        "\"embedding_multiplier\": \"a\", \"embedding_by_width\": true, \"residual_multiplier\": \"b\", "
        "\"attention_multiplier\": \"c\", \"attention_width\": \"d\", \"attention_softcap\": \"e\", \"logits_softcap\": \"f\", "
        "\"logits_divisor\": \"g\", \"window\": true, \"window_when\": \"h\", \"window_from\": \"i\", \"window_every\": 6, \"window_unscaled\": true");
    gs_error err = {0};
    gs_network_helper *r;
    assert_ok(gs_network_helper_parse(text, strlen(text), &r, &err), &err);
    assert_string_equal(r->model_types[1], "b");
    assert_null(r->model_types[2]);
    assert_string_equal(r->name.block, "model.layers.%d");
    assert_string_equal(r->alternative.embed_tensor, "embedding_weight");
    assert_true(strcmp(r->qkv_bias, "true") == 0 && strcmp(r->o_bias, "key") == 0 && !r->mlp_bias);
    assert_true(r->qkv_by_group && r->norm_plus_one && r->qk_norm_whole && r->alibi && r->normalize_head && r->tied);
    assert_true(r->embedding_by_width && r->window && r->window_every == 6 && r->window_unscaled && !r->settle);
    const char *const keys[] = {r->embedding_multiplier, r->residual_multiplier, r->attention_multiplier, r->attention_width,
                                r->attention_softcap, r->logits_softcap, r->logits_divisor, r->window_when, r->window_from};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) assert_true(keys[i][0] == "abcdefghi"[i]);
    gs_network_helper_free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_described_family_computes_what_a_compiled_one_does),
        cmocka_unit_test(a_described_family_wins_over_a_compiled_one),
        cmocka_unit_test(quantize_verify_and_evaluate_know_it),
        cmocka_unit_test(a_wrong_row_is_told_what_is_wrong),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
        cmocka_unit_test(the_examples_are_read),
        cmocka_unit_test(scaling_may_be_for_layers_without_a_window),
        cmocka_unit_test(all_members_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
