/* Every bundle that this program writes passes, also against its source: dtypes, schemes, shards, families, tied or not. */
#include "verify_support.h"

typedef struct choice {
    const char *scheme, *dtype, *alpha;
    bool biased, tied, sharded;
} choice;

static void expect_good(gs_session *session, const char *root, int i, const choice *c) {
    char model[1000], bundle[1000], ids[1000];
    gs_error err = {0};
    tiny_shape shape = tiny_default;
    shape.tied = c->tied;
    snprintf(model, sizeof model, "%s/model%d", root, i);
    snprintf(bundle, sizeof bundle, "%s/bundle%d", root, i);
    snprintf(ids, sizeof ids, "%s/ids.i32", root);
    assert_int_equal(mkdir(model, 0755), 0);
    if (c->biased) tiny_biased_model(model, &shape, 7 + (uint64_t)i);
    else tiny_model(model, &shape, 7 + (uint64_t)i);
    make_bundle(session, model, bundle, ids, (gs_quantize_options){.scheme = c->scheme, .dtype = c->dtype, .alpha = c->alpha,
                                                                   .max_shard_size = c->sharded ? 24 << 10 : 0});
    gs_verify_options o = {.against = model};
    gs_verify_result r;
    assert_ok(gs_verify(session, bundle, &o, &r, &err), &err);
    if (r.total_findings) {
        print_message("%s %s %s%s%s%s\n", c->scheme, c->dtype, c->alpha ? c->alpha : "", c->biased ? " biased" : "", c->tied ? " tied" : "",
                      c->sharded ? " sharded" : "");
        print_findings(&r);
    }
    assert_int_equal(r.total_findings, 0);
    assert_true(r.checks_run >= 30 && r.tensors > 60 && r.bytes > 0);
    gs_verify_result_clear(&r);
}

static void every_bundle_of_ours_holds(void **state) {
    (void)state;
    static const char *const schemes[] = {"w8a16", "w8a8", "w8a8-dynamic", "w8a8-mix"}, *const dtypes[] = {"f16", "bf16"};
    gs_error err = {0};
    gs_session *session;
    char *root = gs_test_tmpdir(), ids[1000];
    int n = 0;
    snprintf(ids, sizeof ids, "%s/ids.i32", root);
    tiny_tokens(ids, 4 * 32, tiny_default.vocab, 5);
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    for (int i = 0; i < 4 * 2 * 4; i++) {
        choice c = {schemes[i % 4], dtypes[i / 4 % 2], NULL, i / 8 % 2 == 1, (i + i / 8) % 2 == 1, i / 16 % 2 == 1};
        if (i % 4 && i / 8 % 2) c.alpha = "0.5";
        expect_good(session, root, n++, &c);
    }
    print_message("%d bundles\n", n);
    gs_session_destroy(session);
    gs_test_rmdir(root);
}

/* Options that change what is stored. */
static void whatever_it_is_asked_for_the_bundle_holds(void **state) {
    (void)state;
    static const gs_quantize_options options[] = {
        {.scheme = "w8a16", .dtype = "f16", .scale_convention = "goldenstick"},
        {.scheme = "w8a8", .dtype = "bf16", .act_symmetric = true, .observer = "mse"},
        {.scheme = "w8a8-dynamic", .dtype = "bf16", .refine = true},
        {.scheme = "w8a8", .dtype = "f16", .refine = true, .alpha = "0.7"},
        {.scheme = "w8a8", .dtype = "f16", .target = "vllm-ascend", .alpha = "none"},
        {.scheme = "w8a8", .dtype = "bf16", .compat = "msmodelslim-v1", .alpha = "none"},
        {.scheme = "w8a8", .dtype = "f16", .compat = "msmodelslim-v0", .alpha = "none"},
        {.scheme = "w8a8-dynamic", .dtype = "f16", .calibrate.kv_cache = "int8"},
        {.scheme = "float", .dtype = "bf16", .calibrate.kv_cache = "int8"},
    };
    gs_error err = {0};
    gs_session *session;
    char *root = gs_test_tmpdir(), model[1000], bundle[1000], ids[1000];
    snprintf(ids, sizeof ids, "%s/ids.i32", root);
    snprintf(model, sizeof model, "%s/model", root);
    tiny_tokens(ids, 4 * 32, tiny_default.vocab, 5);
    assert_int_equal(mkdir(model, 0755), 0);
    tiny_model(model, &tiny_default, 11);
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(options); i++) {
        gs_verify_options o = {.against = model};
        gs_verify_result r;
        snprintf(bundle, sizeof bundle, "%s/bundle%zu", root, i);
        make_bundle(session, model, bundle, ids, options[i]);
        assert_ok(gs_verify(session, bundle, &o, &r, &err), &err);
        if (r.total_findings) print_message("options %zu\n", i);
        print_findings(&r);
        assert_int_equal(r.total_findings, 0);
        gs_verify_result_clear(&r);
    }
    gs_session_destroy(session);
    gs_test_rmdir(root);
}

/* Golden Stick sums codes and rounds the correction in 16 bits: that its bundles are off is found, and said to be its way. */
static void the_arithmetic_of_another_tool_is_named(void **state) {
    (void)state;
    gs_error err = {0};
    gs_session *session;
    gs_verify_result r;
    char *root = gs_test_tmpdir(), model[1000], source[1000], bundle[1000], ids[1000];
    snprintf(model, sizeof model, "%s/model", root);
    snprintf(source, sizeof source, "%s/source", root);
    snprintf(bundle, sizeof bundle, "%s/bundle", root);
    snprintf(ids, sizeof ids, "%s/ids.i32", root);
    tiny_tokens(ids, 4 * 32, tiny_default.vocab, 5);
    assert_int_equal(mkdir(model, 0755), 0);
    tiny_model(model, &tiny_default, 11);
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    make_bundle(session, model, source, ids, (gs_quantize_options){.scheme = "float", .dtype = "bf16", .format = "compressed-tensors"});
    make_bundle(session, source, bundle, ids, (gs_quantize_options){.scheme = "w8a8", .compat = "goldenstick", .alpha = "none"});
    assert_ok(gs_verify(session, bundle, NULL, &r, &err), &err);
    assert_true(r.total_findings > 0);
    for (size_t i = 0; i < r.finding_count; i++) {
        assert_string_equal(r.finding[i].check, "quant-bias");
        assert_non_null(strstr(r.finding[i].text, "compat goldenstick"));
    }
    gs_verify_result_clear(&r);
    gs_session_destroy(session);
    gs_test_rmdir(root);
}

/* A finding's order and words do not depend on the number of threads. */
static void the_report_is_the_same_at_any_number_of_threads(void **state) {
    (void)state;
    gs_error err = {0};
    char *root = gs_test_tmpdir(), model[1000], bundle[1000];
    gs_verify_result r[2];
    snprintf(model, sizeof model, "%s/model", root);
    snprintf(bundle, sizeof bundle, "%s/bundle", root);
    assert_int_equal(mkdir(model, 0755), 0);
    tiny_model(model, &tiny_default, 3);
    for (int i = 0; i < 2; i++) {
        gs_session *session;
        gs_session_options so = {.threads = i ? 3 : 1};
        assert_ok(gs_session_create(&so, &session, &err), &err);
        if (i == 0) {
            make_bundle(session, model, bundle, "", (gs_quantize_options){.scheme = "w8a16", .dtype = "f16"});
            tiny_model(model, &tiny_default, 4); /* another one */
            tiny_text(bundle, "note.safetensors", "x");
        }
        gs_verify_options o = {.against = model};
        assert_ok(gs_verify(session, bundle, &o, &r[i], &err), &err);
        gs_session_destroy(session);
    }
    assert_true(r[0].total_findings > 20 && r[0].total_findings == r[1].total_findings);
    for (size_t i = 0; i < r[0].finding_count; i++) {
        assert_string_equal(r[0].finding[i].check, r[1].finding[i].check);
        assert_string_equal(r[0].finding[i].tensor, r[1].finding[i].tensor);
        assert_string_equal(r[0].finding[i].text, r[1].finding[i].text);
    }
    for (int i = 0; i < 2; i++) gs_verify_result_clear(&r[i]);
    gs_test_rmdir(root);
}

static void what_cannot_be_looked_at_is_an_error(void **state) {
    (void)state;
    gs_error err = {0};
    gs_session *session;
    gs_verify_result r;
    char *root = gs_test_tmpdir();
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    assert_fails(gs_verify(session, "/nonexistent/bundle", NULL, &r, &err), GS_E_FORMAT, &err);
    gs_verify_options o = {.target = "both of them"};
    assert_fails(gs_verify(session, root, &o, &r, &err), GS_E_INVALID, &err);
    gs_verify_options less = {.tolerance_steps = -1};
    assert_fails(gs_verify(session, root, &less, &r, &err), GS_E_INVALID, &err);
    /* an empty directory is looked at, and is no bundle */
    assert_ok(gs_verify(session, root, NULL, &r, &err), &err);
    assert_true(found(&r, "format") && found(&r, "container"));
    gs_verify_result_clear(&r);
    gs_session_destroy(session);
    gs_test_rmdir(root);
}

/* A config.json of a hundred bytes that asks for millions of linears is not followed to its end. */
static void more_modules_than_any_bundle_has_are_one_finding(void **state) {
    (void)state;
    gs_error err = {0};
    gs_session *session;
    gs_verify_result r;
    char *root = gs_test_tmpdir();
    tiny_model(root, &tiny_default, 3);
    tiny_text(root, "config.json",
              "{\"model_type\": \"qwen3_moe\", \"vocab_size\": 96, \"hidden_size\": 32, \"intermediate_size\": 48,\n"
              " \"num_hidden_layers\": 512, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"torch_dtype\": \"float32\",\n"
              " \"num_experts\": 128, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 24, \"rms_norm_eps\": 1e-06}");
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    assert_ok(gs_verify(session, root, NULL, &r, &err), &err);
    print_findings(&r);
    assert_true(r.total_findings == 1 && found(&r, "tensor-missing"));
    gs_verify_result_clear(&r);
    gs_session_destroy(session);
    gs_test_rmdir(root);
}

static void every_check_is_described_once(void **state) {
    (void)state;
    size_t n;
    const gs_check_info *c = gs_verify_checks(&n);
    assert_true(n >= 50);
    for (size_t i = 0; i < n; i++) {
        assert_true(c[i].id[0] && c[i].what[0] && c[i].why[0] && c[i].source[0]);
        for (size_t k = 0; k < i; k++) assert_string_not_equal(c[i].id, c[k].id);
    }
}

/* Out of memory at every place is an error, and leaks nothing (the sanitizers say so). */
static void fail_everywhere(gs_session *session, const char *bundle, const char *model) {
    gs_error err = {0};
    gs_verify_result r;
    gs_verify_options o = {.against = model};
    bool ended = false;
    for (int64_t k = 0; k < 20000 && !ended; k += 1 + k / 16) {
        gs_mem_fail_after(k);
        gs_status status = gs_verify(session, bundle, &o, &r, &err);
        gs_mem_fail_after(-1);
        ended = status == GS_OK && r.total_findings == 0;
        if (status == GS_OK && !ended) print_findings(&r);
        assert_true(ended || status == GS_E_NOMEM);
        gs_verify_result_clear(&r);
    }
    assert_true(ended);
}

static void no_allocation_may_fail_unnoticed(void **state) {
    (void)state;
    static const char *const formats[] = {"ascend", "compressed-tensors", "gptq", "mindspore", "mindspore-ckpt", "gguf"};
    gs_error err = {0};
    gs_session *session;
    char *root = gs_test_tmpdir(), model[1000], bundle[1000];
    snprintf(model, sizeof model, "%s/model", root);
    assert_int_equal(mkdir(model, 0755), 0);
    tiny_shape shape = tiny_default;
    shape.layers = 1;
    shape.intermediate = 64;
    tiny_model(model, &shape, 3);
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(formats); i++) {
        snprintf(bundle, sizeof bundle, "%s/bundle%zu", root, i);
        make_bundle(session, model, bundle, "", (gs_quantize_options){.scheme = "w8a16", .dtype = "f16", .format = formats[i]});
        fail_everywhere(session, bundle, model);
    }
    gs_session_destroy(session);
    gs_test_rmdir(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bundle_of_ours_holds),
        cmocka_unit_test(whatever_it_is_asked_for_the_bundle_holds),
        cmocka_unit_test(the_arithmetic_of_another_tool_is_named),
        cmocka_unit_test(the_report_is_the_same_at_any_number_of_threads),
        cmocka_unit_test(what_cannot_be_looked_at_is_an_error),
        cmocka_unit_test(more_modules_than_any_bundle_has_are_one_finding),
        cmocka_unit_test(every_check_is_described_once),
        cmocka_unit_test(no_allocation_may_fail_unnoticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
