/* Families against logits that an independent program computed (shared data), and what a row refuses. */
#include "../support.h"
#include "../tiny_model.h"

#include <base/mem.h>
#include <gstick.h>
#include <llm/model.h>

#include <math.h>

/* Largest |difference| from the folder's logits. */
static double logits_error(const char *folder, const char *dump) {
    char ids[1100], reference[1100];
    gs_error err = {0};
    gs_session *session;
    gs_eval_result r;
    char *ours, *theirs;
    size_t n, m;
    snprintf(ids, sizeof ids, "%s/ids.i32", folder);
    snprintf(reference, sizeof reference, "%s/logits.f32", folder);
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    gs_evaluate_options o = {.tokens = ids, .window = 96, .dtype = "f32", .dump_logits = dump, .bos = -1};
    assert_ok(gs_evaluate(session, folder, &o, &r, &err), &err);
    assert_ok(gs_file_read(dump, 1 << 24, &ours, &n, &err), &err);
    assert_ok(gs_file_read(reference, 1 << 24, &theirs, &m, &err), &err);
    assert_true(n == m && n == 96 * 256 * 4);
    double worst = 0;
    for (size_t i = 0; i < n / 4; i++) {
        float a, b;
        memcpy(&a, ours + 4 * i, 4);
        memcpy(&b, theirs + 4 * i, 4);
        double d = fabs((double)a - (double)b);
        if (!(d <= worst)) worst = d;
    }
    gs_free(ours);
    gs_free(theirs);
    gs_session_destroy(session);
    return worst;
}

static void expect_logits(const char *relative, double tolerance) {
    char dump[1100], folder[1024], *root = gs_test_tmpdir();
    snprintf(folder, sizeof folder, "%s", gs_test_data(relative));
    snprintf(dump, sizeof dump, "%s/logits", root);
    double worst = logits_error(folder, dump);
    print_message("%s: largest difference %.3g\n", relative, worst);
    assert_true(worst <= tolerance);
    gs_test_rmdir(root);
}

static void qwen2_gives_the_reference_logits(void **state) {
    (void)state;
    gs_need_data(data, "reference/families/qwen2/logits.f32");
    (void)data;
    expect_logits("reference/families/qwen2", 1e-2); /* its logits spread by about 9 */
}

static void llama2_gives_the_reference_logits(void **state) {
    (void)state;
    gs_need_data(data, "reference/families/llama2/logits.f32");
    (void)data;
    expect_logits("reference/families/llama2", 1e-3);
}

static gs_model_config config_of(const char *more) {
    char text[700];
    cJSON *json;
    gs_error err = {0};
    gs_model_config c;
    snprintf(text, sizeof text, "{\"model_type\": \"qwen2\", \"vocab_size\": 96, \"hidden_size\": 32, \"intermediate_size\": 48, "
             "\"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"num_key_value_heads\": 2%s}", more);
    assert_ok(gs_json_parse(text, strlen(text), &json, &err), &err);
    assert_ok(gs_model_config_from_json(json, &c, &err), &err);
    return c;
}

static void windows_that_are_on_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *more, *word;
    } cases[] = {
        {", \"use_sliding_window\": true, \"sliding_window\": 64", "use_sliding_window"},
        {", \"layer_types\": [\"full_attention\", \"sliding_attention\"]", "sliding_attention"},
        {", \"hidden_act\": \"gelu\"", "gelu"},
        {", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}", "yarn"},
    };
    const gs_network_helper *h;
    gs_error err = {0};
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        gs_model_config c = config_of(cases[i].more);
        assert_fails(gs_network_helper_find(&c, &h, &err), GS_E_UNSUPPORTED, &err);
        if (!strstr(err.text, cases[i].word)) fail_msg("'%s' lacks '%s'", err.text, cases[i].word);
        gs_model_config_clear(&c);
    }
    gs_model_config c = config_of(", \"use_sliding_window\": false, \"sliding_window\": 64, \"layer_types\": [\"full_attention\"]");
    assert_ok(gs_network_helper_find(&c, &h, &err), &err);
    assert_string_equal(h->family, "qwen2");
    gs_model_config_clear(&c);
}

/* The same nodes, edges and params as of a checkpoint, without one. */
static void a_blueprint_is_the_network_without_its_bytes(void **state) {
    (void)state;
    gs_error err = {0};
    char *dir = gs_test_tmpdir();
    gs_checkpoint *checkpoint;
    gs_model *m;
    int segments;
    tiny_shape shape = tiny_default;
    shape.tied = true;
    tiny_model(dir, &shape, 1);
    assert_ok(gs_checkpoint_open(dir, NULL, &checkpoint, &err), &err);
    assert_ok(gs_model_take(checkpoint, NULL, NULL, &m, &err), &err);
    for (int i = 0; i < gs_model_segments(m); i++) {
        gs_net *plan, *net;
        assert_ok(gs_model_segment(m, i, &net, &err), &err);
        assert_ok(gs_model_blueprint(gs_model_settings(m), i, &plan, &segments, &err), &err);
        assert_int_equal(segments, gs_model_segments(m));
        assert_int_equal(gs_net_node_count(plan), gs_net_node_count(net));
        for (int k = 0; k < gs_net_node_count(net); k++) {
            const gs_node *x = gs_net_node(net, k), *y = gs_net_node(plan, k);
            assert_string_equal(x->name, y->name);
            assert_memory_equal(&x->output->dims, &y->output->dims, sizeof x->output->dims);
            for (int r = 0; r < GS_ROLE_COUNT; r++) {
                assert_int_equal(!x->param[r], !y->param[r]);
                if (!x->param[r]) continue;
                assert_string_equal(x->param[r]->name, y->param[r]->name);
                assert_int_equal(gs_param_count(x->param[r]), gs_param_count(y->param[r]));
                assert_true(y->param[r]->dtype == GS_F32 && !y->param[r]->data && !y->param[r]->source);
            }
        }
        gs_net_destroy(net);
        gs_net_destroy(plan);
    }
    gs_net *none = NULL;
    assert_fails(gs_model_blueprint(gs_model_settings(m), 5, &none, NULL, &err), GS_E_INVALID, &err);
    assert_fails(gs_model_blueprint(gs_model_settings(m), -1, &none, NULL, &err), GS_E_INVALID, &err);
    gs_model_close(m);
    gs_test_rmdir(dir);
}

static void biases_are_on_q_k_and_v_alone(void **state) {
    (void)state;
    gs_error err = {0};
    gs_net *net;
    gs_model_config c = config_of("");
    assert_ok(gs_model_blueprint(&c, 1, &net, NULL, &err), &err);
    int biases = 0;
    for (int k = 0; k < gs_net_node_count(net); k++) {
        const gs_node *node = gs_net_node(net, k);
        if (!node->param[GS_ROLE_BIAS]) continue;
        biases++;
        assert_true(strstr(node->name, "q_proj") || strstr(node->name, "k_proj") || strstr(node->name, "v_proj"));
    }
    assert_int_equal(biases, 3);
    gs_net_destroy(net);
    gs_model_config_clear(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qwen2_gives_the_reference_logits),
        cmocka_unit_test(llama2_gives_the_reference_logits),
        cmocka_unit_test(windows_that_are_on_are_refused),
        cmocka_unit_test(a_blueprint_is_the_network_without_its_bytes),
        cmocka_unit_test(biases_are_on_q_k_and_v_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
