/* Rows with experts: which layers have them, what config.json may ask for, and a mixture described in JSON. */
#include "logits.h"
#include "settings_support.h"

#define QWEN "\"num_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 24"
#define MIXTRAL "\"num_local_experts\": 8, \"num_experts_per_tok\": 2"

static void each_layer_is_sparse_or_dense(void **state) {
    (void)state;
    static const struct {
        const char *type, *more, *sparse;
        int64_t experts, width;
        bool renormalize;
    } cases[] = {
        {"mixtral", MIXTRAL, "1111", 8, 48, true},
        {"mixtral", "\"num_local_experts\": 1, \"num_experts_per_tok\": 1", "1111", 1, 48, true},
        {"qwen3_moe", QWEN, "1111", 8, 24, false},
        {"qwen3_moe", QWEN ", \"norm_topk_prob\": true, \"mlp_only_layers\": [], \"decoder_sparse_step\": 1", "1111", 8, 24, true},
        {"qwen3_moe", QWEN ", \"mlp_only_layers\": [0, 2]", "0101", 8, 24, false},
        {"qwen3_moe", QWEN ", \"decoder_sparse_step\": 2", "0101", 8, 24, false},
        {"qwen3_moe", QWEN ", \"decoder_sparse_step\": 2, \"mlp_only_layers\": [3]", "0100", 8, 24, false},
        {"qwen3_moe", QWEN ", \"decoder_sparse_step\": 9, \"mlp_only_layers\": null", "0000", 8, 24, false},
        {"qwen3_moe", "\"num_experts\": 0", "0000", 0, 48, false},
        {"qwen3", "\"num_experts\": null", "0000", 0, 0, false},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        gs_error err = {0};
        gs_decoder_settings s;
        gs_model_config c = config_of(cases[i].type, cases[i].more);
        assert_ok(settle(&c, &s, &err), &err);
        for (int64_t l = 0; l < 4; l++) assert_int_equal(gs_decoder_is_sparse(&s, l), cases[i].sparse[l] == '1');
        assert_int_equal(s.experts, cases[i].experts);
        assert_int_equal(s.expert_width, cases[i].width);
        assert_int_equal(s.renormalize, cases[i].renormalize);
        gs_model_config_clear(&c);
    }
}

static void other_mixtures_are_refused_by_name(void **state) {
    (void)state;
    static const refusal cases[] = {
        {"qwen2_moe", "\"num_experts\": 60", "'qwen2_moe' is a mixture of 60 experts, which is not supported"},
        {"llama", "\"num_local_experts\": 16", "mixture of 16 experts, which its row has no names for"},
        {"mixtral", "\"num_experts_per_tok\": 2", "layer 0 has no experts"},
        {"mixtral", "\"num_local_experts\": 8", "\"num_experts_per_tok\" is 0"},
        {"mixtral", "\"num_local_experts\": 8, \"num_experts_per_tok\": 9", "\"num_experts_per_tok\" is 9, outside 1..8"},
        {"mixtral", "\"num_local_experts\": 1000000, \"num_experts_per_tok\": 9", "1000000 experts"},
        {"qwen3_moe", "\"num_experts\": 8, \"num_experts_per_tok\": 2", "\"moe_intermediate_size\" is 0"},
        {"qwen3_moe", QWEN ", \"n_shared_experts\": 1", "\"n_shared_experts\" is 1: shared experts"},
        {"qwen3_moe", QWEN ", \"shared_expert_intermediate_size\": 64", "shared experts"},
        {"qwen3_moe", QWEN ", \"n_group\": 4", "groups of experts"},
        {"qwen3_moe", QWEN ", \"routed_scaling_factor\": 2.5", "scaled shares"},
        {"qwen3_moe", QWEN ", \"scoring_func\": \"sigmoid\"", "sigmoid"},
        {"qwen3_moe", QWEN ", \"norm_topk_prob\": \"yes\"", "norm_topk_prob"},
        {"qwen3_moe", QWEN ", \"mlp_only_layers\": 3", "\"mlp_only_layers\" is not a list"},
        {"qwen3_moe", QWEN ", \"mlp_only_layers\": [\"0\"]", "\"mlp_only_layers\" is not a list"},
        {"mixtral", "\"num_local_experts\": 1025, \"num_experts_per_tok\": 9", "1025 experts, more than 1024"},
        {"qwen3_moe", QWEN ", \"mlp_only_layers\": [0, 0, 0, 0, 0]", "\"mlp_only_layers\" has 5 entries"},
        {"qwen3_moe", QWEN ", \"decoder_sparse_step\": 0", "\"decoder_sparse_step\" is 0"},
    };
    expect_refused(cases, GS_COUNTOF(cases));
}

/* A config.json of some bytes is no reason to build millions of nodes. */
static void experts_are_limited_over_all_layers(void **state) {
    (void)state;
    static const struct {
        int layers;
        bool good;
    } cases[] = {{64, true}, {65, false}};
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        char text[500];
        cJSON *json;
        gs_error err = {0};
        gs_model_config c;
        gs_decoder_settings s;
        snprintf(text, sizeof text, "{\"model_type\": \"mixtral\", \"vocab_size\": 96, \"hidden_size\": 32, "
                 "\"intermediate_size\": 48, \"num_hidden_layers\": %d, \"num_attention_heads\": 4, "
                 "\"num_local_experts\": 1024, \"num_experts_per_tok\": 2}", cases[i].layers);
        assert_ok(gs_json_parse(text, strlen(text), &json, &err), &err);
        assert_ok(gs_model_config_from_json(json, &c, &err), &err);
        if (cases[i].good) assert_ok(settle(&c, &s, &err), &err);
        else assert_fails(settle(&c, &s, &err), GS_E_FORMAT, &err);
        if (!cases[i].good) assert_non_null(strstr(err.text, "65 layers of 1024 experts"));
        gs_model_config_clear(&c);
    }
}

#define DENSE                                                                                                          \
    "\"embed\": \"model.embed_tokens\", \"final_norm\": \"model.norm\", \"head\": \"lm_head\", "                      \
    "\"block\": \"model.layers.%d\", \"attention_input_norm\": \"input_layernorm\", "                                 \
    "\"q\": \"self_attn.q_proj\", \"k\": \"self_attn.k_proj\", \"v\": \"self_attn.v_proj\", "                         \
    "\"o\": \"self_attn.o_proj\", \"mlp_input_norm\": \"post_attention_layernorm\""
#define EXPERTS                                                                                                        \
    "\"router\": \"block_sparse_moe.gate\", \"expert\": \"block_sparse_moe.experts.%d\", "                            \
    "\"expert_gate\": \"w1\", \"expert_up\": \"w3\", \"expert_down\": \"w2\""
#define ROW(names, more) "{\"family\": \"mine\", \"model_types\": [\"mixtral\"], \"name\": {" names "}" more "}"

static void a_described_mixture_computes_what_a_compiled_one_does(void **state) {
    (void)state;
    gs_need_data(folder, "reference/families/mixtral-moe");
    char *dir = gs_test_tmpdir(), path[1200], ids[1200];
    size_t n, m;
    tiny_text(dir, "row.json", ROW(DENSE ", " EXPERTS, ", \"expert_renormalize\": true"));
    snprintf(path, sizeof path, "%s/row.json", dir);
    snprintf(ids, sizeof ids, "%s/ids.i32", folder);
    float *ours = logits_of(folder, ids, 96, path, &n, NULL), *compiled = logits_of(folder, ids, 96, NULL, &m, NULL);
    assert_int_equal(n, m);
    assert_memory_equal(ours, compiled, n * sizeof *ours);
    free(ours);
    free(compiled);
    gs_test_rmdir(dir);
}

static void a_wrong_row_is_told_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        const char *text, *word;
    } cases[] = {
        {ROW(DENSE, ""), "\"down\" has no name"},
        {ROW(DENSE ", \"router\": \"gate\"", ""), "come together"},
        {ROW(DENSE ", \"router\": \"gate\", \"expert\": \"e.%d\", \"expert_gate\": \"a\", \"expert_up\": \"b\"", ""), "come together"},
        {ROW(DENSE ", \"router\": \"g\", \"expert\": \"e\", \"expert_gate\": \"a\", \"expert_up\": \"b\", \"expert_down\": \"c\"", ""),
         "one %d, for the expert"},
        {ROW(DENSE ", \"router\": \"g\", \"expert\": \"e.%d.%s\", \"expert_gate\": \"a\", \"expert_up\": \"b\", \"expert_down\": \"c\"", ""),
         "one %d, for the expert"},
        {ROW(DENSE ", " EXPERTS ", \"down\": \"d\"", ""), "\"gate\", \"up\""},
        {ROW(DENSE ", " EXPERTS, ", \"alternative\": {" DENSE ", " EXPERTS "}"), "no second set of names"},
        {ROW(DENSE ", " EXPERTS, ", \"expert_width\": 3"), "\"expert_width\" is not a string"},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        gs_error err = {0};
        gs_network_helper *row = NULL;
        assert_fails(gs_network_helper_parse(cases[i].text, strlen(cases[i].text), &row, &err), GS_E_FORMAT, &err);
        if (!strstr(err.text, cases[i].word)) fail_msg("%s: '%s'", cases[i].text, err.text);
    }
}

/* Nodes of a block without bytes: each expert's in its own names, in ascending order. */
static void a_block_is_made_of_ordinary_linears(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net;
    char name[128];
    gs_model_config c = config_of("qwen3_moe", QWEN ", \"mlp_only_layers\": [2], \"norm_topk_prob\": true");
    assert_ok(gs_model_blueprint(&c, 1, &net, NULL, &err), &err);
    const gs_node *router = gs_net_find(net, "model.layers.0.mlp.gate"), *route = gs_net_find(net, "model.layers.0.route");
    assert_true(router && router->op == GS_OP_LINEAR && router->param[GS_ROLE_WEIGHT]->shape[0] == 8);
    assert_true(route && route->attr.route.top_k == 2 && route->attr.route.renormalize);
    for (int e = 0; e < 8; e++) {
        snprintf(name, sizeof name, "model.layers.0.mlp.experts.%d.down_proj", e);
        const gs_node *down = gs_net_find(net, name);
        assert_true(down && down->op == GS_OP_LINEAR && down->param[GS_ROLE_WEIGHT]->shape[1] == 24);
        snprintf(name, sizeof name, "model.layers.0.mlp.experts.%d.sum", e);
        const gs_node *sum = gs_net_find(net, name);
        assert_true(sum && sum->op == (e ? GS_OP_ROUTED_ADD : GS_OP_ROUTED) && sum->attr.select.expert == e);
    }
    assert_null(gs_net_find(net, "model.layers.0.mlp.down_proj"));
    gs_net_destroy(net);
    assert_ok(gs_model_blueprint(&c, 3, &net, NULL, &err), &err);
    assert_non_null(gs_net_find(net, "model.layers.2.mlp.down_proj"));
    assert_null(gs_net_find(net, "model.layers.2.mlp.gate"));
    gs_net_destroy(net);
    gs_model_config_clear(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_layer_is_sparse_or_dense),
        cmocka_unit_test(experts_are_limited_over_all_layers),
        cmocka_unit_test(other_mixtures_are_refused_by_name),
        cmocka_unit_test(a_described_mixture_computes_what_a_compiled_one_does),
        cmocka_unit_test(a_wrong_row_is_told_what_is_wrong),
        cmocka_unit_test(a_block_is_made_of_ordinary_linears),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
