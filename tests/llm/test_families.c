/* Families against logits that independent programs computed (shared data): the same walk for all of them. */
#include "logits.h"

#include <llm/model.h>

static const struct {
    const char *folder;
    double nll, tolerance;
} families[] = {
    {"llama2", 6.5599133, 1e-3},
    {"llama2-bf16-sharded", 6.5321097, 1e-3},
    {"llama3-rope", 6.4929578, 1e-3},
    {"llama-linear-rope-bias", 6.5339943, 1e-3},
    {"mistral-window", 6.4178569, 1e-3},
    {"qwen2", 26.1995949, 1e-2}, /* logits of a spread of about 9 */
    {"qwen3", 6.8971339, 1e-3},
    {"phi3-fused", 6.4997929, 1e-3},
    {"granite", 5.6081348, 1e-3},
    {"olmo2-postnorm", 6.3437246, 1e-3},
    {"gemma2", 27.7024377, 1e-2},
    {"mixtral-moe", 6.7769515, 1e-3},
    {"qwen3-moe", 6.3600476, 1e-3},
    {"baichuan1-7b", 6.3740705, 1e-3},
    {"baichuan2-7b", 6.0796203, 1e-3},
    {"baichuan2-13b-alibi", 6.0498254, 1e-3},
    {"baichuan2-7b-torch-bin-bf16", 6.0925576, 1e-3},
};

/* Largest |difference| from a file of logits. */
static double error_against(const float *ours, size_t n, const char *path) {
    char *theirs;
    size_t m;
    gs_error err = {0};
    assert_ok(gs_file_read(path, 1 << 24, &theirs, &m, &err), &err);
    assert_int_equal(m, n * sizeof *ours);
    double worst = largest_difference(ours, (const float *)(const void *)theirs, n);
    gs_free(theirs);
    return worst;
}

static void logits_are_those_of_the_reference(void **state) {
    (void)state;
    gs_need_data(first, "reference/families/llama2/logits.f32");
    (void)first;
    for (size_t i = 0; i < GS_COUNTOF(families); i++) {
        char folder[1024], ids[1100], reference[1100], relative[100];
        size_t n;
        double nll;
        snprintf(relative, sizeof relative, "reference/families/%s", families[i].folder);
        snprintf(folder, sizeof folder, "%s", gs_test_data(relative));
        snprintf(ids, sizeof ids, "%s/ids.i32", folder);
        snprintf(reference, sizeof reference, "%s/logits.f32", folder);
        float *ours = logits_of(folder, ids, 96, NULL, &n, &nll);
        double worst = error_against(ours, n, reference);
        print_message("%-28s largest difference %.2g, nll %.7f (%+.1g)\n", families[i].folder, worst, nll, nll - families[i].nll);
        assert_true(worst <= families[i].tolerance);
        assert_true(fabs(nll - families[i].nll) <= 1e-4);
        free(ours);
    }
}

/* One function under the names and in the layout of another family. */
static void a_packed_layout_gives_the_same_logits(void **state) {
    (void)state;
    gs_need_data(packed, "data/lm/stories260K-baichuan-layout/config.json");
    gs_need_data(reference, "data/lm/golden/stories260K_logits_512x512.f32");
    gs_need_data(ids, "data/lm/golden/stories260K_tokens512.i32");
    char dir[1024];
    size_t n;
    double nll;
    snprintf(dir, sizeof dir, "%.*s", (int)(strlen(packed) - strlen("/config.json")), packed);
    float *ours = logits_of(dir, ids, 512, NULL, &n, &nll);
    assert_true(error_against(ours, n, reference) <= 1e-3);
    assert_true(fabs(nll - 1.3507171) <= 1e-4);
    free(ours);
}

static void same_node(const gs_node *x, const gs_node *y) {
    assert_string_equal(x->name, y->name);
    assert_int_equal(x->op, y->op);
    assert_memory_equal(&x->output->dims, &y->output->dims, sizeof x->output->dims);
    for (int r = 0; r < GS_ROLE_COUNT; r++) {
        assert_int_equal(!x->param[r], !y->param[r]);
        if (!x->param[r]) continue;
        assert_string_equal(x->param[r]->name, y->param[r]->name);
        assert_int_equal(gs_param_count(x->param[r]), gs_param_count(y->param[r]));
        assert_true(y->param[r]->dtype == GS_F32 && !y->param[r]->data && !y->param[r]->source);
    }
}

/* The same nodes, edges and params as of a checkpoint, without one. */
static void expect_blueprint(const char *dir) {
    gs_error err = {0};
    gs_checkpoint *checkpoint;
    gs_model *m;
    int segments;
    assert_ok(gs_checkpoint_open(dir, NULL, &checkpoint, &err), &err);
    assert_ok(gs_model_take(checkpoint, NULL, NULL, &m, &err), &err);
    for (int i = 0; i < gs_model_segments(m); i++) {
        gs_net *plan, *net;
        assert_ok(gs_model_segment(m, i, &net, &err), &err);
        assert_ok(gs_model_blueprint(gs_model_settings(m), i, &plan, &segments, &err), &err);
        assert_int_equal(segments, gs_model_segments(m));
        assert_int_equal(gs_net_node_count(plan), gs_net_node_count(net));
        for (int k = 0; k < gs_net_node_count(net); k++) same_node(gs_net_node(net, k), gs_net_node(plan, k));
        gs_net_destroy(net);
        gs_net_destroy(plan);
    }
    gs_net *none = NULL;
    assert_fails(gs_model_blueprint(gs_model_settings(m), segments, &none, NULL, &err), GS_E_INVALID, &err);
    assert_fails(gs_model_blueprint(gs_model_settings(m), -1, &none, NULL, &err), GS_E_INVALID, &err);
    gs_model_close(m);
}

static void a_blueprint_is_the_network_without_its_bytes(void **state) {
    (void)state;
    char *dir = gs_test_tmpdir();
    tiny_shape shape = tiny_default;
    shape.tied = true;
    tiny_model(dir, &shape, 1);
    expect_blueprint(dir);
    gs_test_rmdir(dir);
}

static void every_family_has_a_blueprint(void **state) {
    (void)state;
    for (size_t i = 0; i < GS_COUNTOF(families); i++) {
        char relative[100];
        snprintf(relative, sizeof relative, "reference/families/%s", families[i].folder);
        gs_need_data(folder, relative);
        expect_blueprint(folder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_the_reference),
        cmocka_unit_test(a_packed_layout_gives_the_same_logits),
        cmocka_unit_test(a_blueprint_is_the_network_without_its_bytes),
        cmocka_unit_test(every_family_has_a_blueprint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
