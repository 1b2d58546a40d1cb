/* gs_export: there and back gives the same bytes, a foreign bundle comes out as it went in, what is read from any of
 * them computes the same, and a job that cannot be done leaves nothing. */
#include "../tiny_model.h"

#include <base/context.h>
#include <base/json.h>
#include <base/mem.h>
#include <loaders/shards.h>
#include <sys/stat.h>

typedef struct fixture {
    char *root;
    char model[1100], bundle[1100], ids[1100];
    gs_session *session;
} fixture;

/* Sizes that every format divides: rows of 32 for GGUF. */
static const tiny_shape even = {96, 32, 64, 2, 4, 2, GS_F16, false};

static void path_of(char out[1200], const fixture *f, const char *name) { snprintf(out, 1200, "%s/%s", f->root, name); }

static void begin(fixture *f, const tiny_shape *shape) {
    gs_error err = {0};
    const gs_session_options two = {.threads = 2};
    f->root = gs_test_tmpdir();
    snprintf(f->model, sizeof f->model, "%s/model", f->root);
    snprintf(f->bundle, sizeof f->bundle, "%s/bundle", f->root);
    snprintf(f->ids, sizeof f->ids, "%s/ids.i32", f->root);
    assert_int_equal(mkdir(f->model, 0755), 0);
    tiny_model(f->model, shape, 3);
    tiny_tokens(f->ids, 300, 96, 5);
    assert_ok(gs_session_create(&two, &f->session, &err), &err);
}

static void end(fixture *f) {
    gs_session_destroy(f->session);
    gs_test_rmdir(f->root);
}

static void quantize(const fixture *f, const char *scheme, const char *format, const char *cache) {
    gs_error err = {0};
    gs_quantize_result r;
    static const char *const none[] = {"none"};
    bool data = strcmp(scheme, "w8a8") == 0 || strcmp(scheme, "w8a8-mix") == 0 || cache;
    const gs_quantize_options o = {.scheme = scheme, .format = format, .fallback = data ? none : NULL, .fallback_count = data,
                                   .calibrate = {.calib = data ? f->ids : NULL, .seq = 32, .kv_cache = cache}};
    assert_ok(gs_quantize(f->session, f->model, f->bundle, &o, &r, &err), &err);
    gs_quantize_result_clear(&r);
}

static gs_status export(const fixture *f, const char *from, const char *to, const char *format, gs_error *err) {
    gs_export_result r;
    const gs_export_options o = {.format = format};
    return gs_export(f->session, from, to, &o, &r, err);
}

static void assert_same_file(const char *a, const char *b, const char *name) {
    char command[3000];
    snprintf(command, sizeof command, "cmp '%s/%s' '%s/%s'", a, name, b, name);
    if (system(command) != 0) fail_msg("%s of %s and %s differ", name, a, b);
}

/* ---- there and back ---- */

static const struct {
    const char *scheme, *cache, *formats[6];
} trips[] = {
    {"w8a16", NULL, {"ascend", "mindspore", "mindspore-ckpt", "compressed-tensors", "gptq"}},
    {"w8a8-dynamic", NULL, {"ascend", "mindspore", "mindspore-ckpt", "compressed-tensors"}},
    {"w8a8", NULL, {"ascend", "mindspore", "compressed-tensors"}},
    {"w8a8-mix", NULL, {"ascend"}},
    {"w8a16", "int8", {"ascend"}},
};

static void what_comes_back_is_what_went_out(void **state) {
    (void)state;
    const gs_dtype dtypes[] = {GS_F16, GS_BF16};
    for (size_t i = 0; i < GS_COUNTOF(trips) * GS_COUNTOF(dtypes); i++) {
        fixture f;
        gs_error err = {0};
        tiny_shape shape = even;
        size_t t = i / GS_COUNTOF(dtypes);
        shape.dtype = dtypes[i % GS_COUNTOF(dtypes)];
        shape.tied = shape.dtype == GS_BF16; /* then every format must cope with a head that is not stored */
        begin(&f, &shape);
        quantize(&f, trips[t].scheme, NULL, trips[t].cache);
        for (size_t k = 0; trips[t].formats[k]; k++) {
            char there[1200], back[1200], name[32];
            snprintf(name, sizeof name, "there%zu", k);
            path_of(there, &f, name);
            snprintf(name, sizeof name, "back%zu", k);
            path_of(back, &f, name);
            assert_ok(export(&f, f.bundle, there, trips[t].formats[k], &err), &err);
            assert_ok(export(&f, there, back, "ascend", &err), &err);
            assert_same_file(f.bundle, back, "quant_model_weights.safetensors");
            assert_same_file(f.bundle, back, "quant_model_description.json");
            assert_same_file(f.bundle, back, "config.json");
        }
        end(&f);
    }
}

/* Whatever shape a format gives its scales ([n], [n, 1], transposed). */
static void a_gguf_file_is_the_same_from_every_format(void **state) {
    (void)state;
    static const char *const formats[] = {"mindspore", "mindspore-ckpt", "compressed-tensors", "gptq"};
    fixture f;
    gs_error err = {0};
    char direct[1200], there[1200], through[1200], name[64];
    begin(&f, &even);
    quantize(&f, "w8a16", NULL, NULL);
    path_of(direct, &f, "direct");
    assert_ok(export(&f, f.bundle, direct, "gguf", &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(formats); i++) {
        path_of(there, &f, formats[i]);
        snprintf(name, sizeof name, "gguf-of-%s", formats[i]);
        path_of(through, &f, name);
        assert_ok(export(&f, f.bundle, there, formats[i], &err), &err);
        assert_ok(export(&f, there, through, "gguf", &err), &err);
        assert_same_file(direct, through, "model.gguf");
    }
    end(&f);
}

/* ---- the same numbers ---- */

static double nll(const fixture *f, const char *path) {
    gs_error err = {0};
    gs_eval_result r;
    const gs_evaluate_options o = {.tokens = f->ids, .window = 64, .arith = "exact"};
    assert_ok(gs_evaluate(f->session, path, &o, &r, &err), &err);
    return r.nll;
}

static void every_format_computes_the_same(void **state) {
    (void)state;
    static const char *const formats[] = {"mindspore", "compressed-tensors", "gptq"};
    fixture f;
    gs_error err = {0};
    begin(&f, &even);
    quantize(&f, "w8a16", NULL, NULL);
    double want = nll(&f, f.bundle);
    for (size_t i = 0; i < GS_COUNTOF(formats); i++) {
        char path[1200];
        path_of(path, &f, formats[i]);
        assert_ok(export(&f, f.bundle, path, formats[i], &err), &err);
        double got = nll(&f, path);
        if (got != want) fail_msg("%s: %.9g, not %.9g", formats[i], got, want);
    }
    end(&f);
}

/* A quantizer that writes a format itself gives what export gives, where the format asks nothing else of it. */
static void quantizing_into_a_format_is_exporting_to_it(void **state) {
    (void)state;
    static const char *const formats[] = {"compressed-tensors", "gptq"};
    for (size_t i = 0; i < GS_COUNTOF(formats); i++) {
        fixture f;
        gs_error err = {0};
        char other[1200];
        begin(&f, &even);
        quantize(&f, "w8a16", NULL, NULL);
        path_of(other, &f, "other");
        assert_ok(export(&f, f.bundle, other, formats[i], &err), &err);
        snprintf(f.bundle, sizeof f.bundle, "%s/direct", f.root);
        quantize(&f, "w8a16", formats[i], NULL);
        assert_same_file(other, f.bundle, "model.safetensors");
        assert_same_file(other, f.bundle, "config.json");
        end(&f);
    }
}

/* A float model goes to all of them but GPTQ, and stays float. */
static void a_float_model_is_exported_as_one(void **state) {
    (void)state;
    static const char *const formats[] = {"ascend", "mindspore", "mindspore-ckpt", "compressed-tensors", "gguf"};
    fixture f;
    gs_error err = {0};
    begin(&f, &even);
    for (size_t i = 0; i < GS_COUNTOF(formats); i++) {
        char path[1200];
        path_of(path, &f, formats[i]);
        gs_export_result r;
        const gs_export_options o = {.format = formats[i]};
        assert_ok(gs_export(f.session, f.model, path, &o, &r, &err), &err);
        assert_int_equal(r.linears, 15);
        assert_int_equal(r.quantized, 0);
        assert_true(r.bytes_out > 0);
    }
    char plain[1200], ascend[1200];
    path_of(plain, &f, "compressed-tensors");
    path_of(ascend, &f, "ascend");
    assert_true(nll(&f, plain) == nll(&f, f.model));
    assert_true(nll(&f, ascend) == nll(&f, f.model));
    end(&f);
}

/* ---- other tools' bundles ---- */

static void assert_same_tensors(const char *theirs, const char *ours, const char *stem) {
    gs_error err = {0};
    gs_shards *a, *b;
    assert_ok(gs_shards_open_dir(theirs, stem, &a, &err), &err);
    assert_ok(gs_shards_open_dir(ours, stem, &b, &err), &err);
    assert_int_equal(gs_shards_count(a), gs_shards_count(b));
    for (size_t i = 0; i < gs_shards_count(a); i++) {
        const gs_tensor *x = gs_shards_at(a, i), *y = gs_shards_find(b, x->name);
        if (!y || x->dtype != y->dtype || x->ndim != y->ndim || x->bytes != y->bytes || memcmp(x->data, y->data, x->bytes) != 0)
            fail_msg("%s differs", x->name);
    }
    print_message("%zu tensors agree\n", gs_shards_count(a));
    gs_shards_close(a);
    gs_shards_close(b);
}

/* Golden Stick's bundles, read and written again: every tensor and the description are theirs. */
static void golden_sticks_bundles_come_out_as_they_went_in(void **state) {
    (void)state;
    static const char *const files[] = {"reference/goldenstick/bundles/w8a16-f32/config.json",
                                        "reference/goldenstick/bundles/w8a8-smooth-f32/config.json"};
    gs_need_data(there, files[0]);
    for (size_t i = 0; i < GS_COUNTOF(files); i++) {
        fixture f;
        gs_error err = {0};
        char theirs[1024], command[3000];
        begin(&f, &even);
        const char *file = gs_test_data(files[i]);
        assert_non_null(file);
        snprintf(theirs, sizeof theirs, "%.*s", (int)(strlen(file) - strlen("/config.json")), file);
        assert_ok(export(&f, theirs, f.bundle, "mindspore", &err), &err);
        assert_same_tensors(theirs, f.bundle, "model");
        snprintf(command, sizeof command, "grep -o '\".*' '%s/quantization_description.json' | tr -d , | sort > '%s/a'; grep -o '\".*' "
                 "'%s/quantization_description.json' | tr -d , | sort | cmp - '%s/a'", theirs, f.root, f.bundle, f.root);
        assert_int_equal(system(command), 0);
        end(&f);
    }
    (void)there;
}

/* Quantized by us in Golden Stick's layout and convention, from the float weights. */
static void golden_sticks_w8a16_is_made_bit_for_bit(void **state) {
    (void)state;
    gs_need_data(reference, "reference/goldenstick/bundles/w8a16-f32/config.json");
    gs_need_data(config, "data/lm/stories260K-hf-llama/config.json");
    fixture f;
    gs_error err = {0};
    gs_quantize_result r;
    char theirs[1024], model[1024];
    const gs_quantize_options o = {.format = "mindspore", .dtype = "f32"};
    begin(&f, &even);
    snprintf(theirs, sizeof theirs, "%.*s", (int)(strlen(reference) - strlen("/config.json")), reference);
    snprintf(model, sizeof model, "%.*s", (int)(strlen(config) - strlen("/config.json")), config);
    assert_ok(gs_quantize(f.session, model, f.bundle, &o, &r, &err), &err);
    gs_quantize_result_clear(&r);
    assert_same_tensors(theirs, f.bundle, "model");
    end(&f);
}

/* ---- refusals ---- */

static void assert_nothing_made(const fixture *f) {
    char command[1300];
    snprintf(command, sizeof command, "test \"$(ls -A '%s' | tr '\\n' ' ')\" = 'bundle ids.i32 model '", f->root);
    assert_int_equal(system(command), 0);
}

static void impossible_exports_are_refused(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    gs_export_result r;
    char out[1200], lost[1200];
    begin(&f, &even);
    quantize(&f, "w8a8", NULL, NULL);
    path_of(out, &f, "out");
    path_of(lost, &f, "no/such/parent");
    assert_fails(export(&f, f.bundle, f.bundle, "gguf", &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "is the input"));
    assert_fails(export(&f, f.bundle, f.model, "mindspore", &err), GS_E_INVALID, &err); /* not empty */
    assert_fails(export(&f, f.bundle, "", "mindspore", &err), GS_E_INVALID, &err);
    assert_fails(export(&f, f.bundle, lost, "mindspore", &err), GS_E_IO, &err);
    assert_fails(export(&f, lost, out, "mindspore", &err), GS_E_FORMAT, &err);
    assert_fails(export(&f, f.bundle, out, NULL, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.hint, "--to"));
    assert_fails(export(&f, f.bundle, out, "mindspor", &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "mindspor"));
    assert_fails(export(&f, f.bundle, out, "gptq", &err), GS_E_UNSUPPORTED, &err);
    assert_fails(export(&f, f.bundle, out, "gguf", &err), GS_E_UNSUPPORTED, &err);
    const gs_export_options target = {.format = "ascend", .target = "mindy"}, shard = {.format = "ascend", .max_shard_size = -1};
    assert_fails(gs_export(f.session, f.bundle, out, &target, &r, &err), GS_E_INVALID, &err);
    assert_fails(gs_export(f.session, f.bundle, out, &shard, &r, &err), GS_E_INVALID, &err);
    assert_nothing_made(&f);
    end(&f);
}

/* ---- interruption ---- */

/* Asks for the end once `left` reports of progress have come. */
static void cancel_later(void *ui, const char *what, int64_t done, int64_t total) {
    (void)what, (void)done, (void)total;
    int *left = ui;
    if ((*left)-- == 0) gs_cancel_request();
}

/* How codes came about must survive, or a comparison with the float model would expect the nearest ones. */
static void the_manifest_carries_what_was_done_to_the_codes(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    cJSON *json;
    char path[1200], file[1300];
    begin(&f, &even);
    quantize(&f, "w8a16", NULL, NULL);
    tiny_text(f.bundle, "gstick_manifest.json", "{\"recipe\": {\"refine\": true, \"compat\": \"a\\\"b\", \"format\": \"x\"}}");
    path_of(path, &f, "out");
    assert_ok(export(&f, f.bundle, path, "gptq", &err), &err);
    snprintf(file, sizeof file, "%s/gstick_manifest.json", path);
    assert_ok(gs_json_load(file, 1 << 20, &json, &err), &err);
    const cJSON *recipe = gs_json_get(json, "recipe");
    assert_true(cJSON_IsTrue(gs_json_get(recipe, "refine")));
    assert_string_equal(gs_json_get(recipe, "compat")->valuestring, "a\"b");
    assert_string_equal(gs_json_get(recipe, "format")->valuestring, "gptq");
    cJSON_Delete(json);
    end(&f);
}

static void a_cancelled_export_leaves_nothing(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    char out[1200];
    int cancelled = 0;
    begin(&f, &even);
    quantize(&f, "w8a16", NULL, NULL);
    path_of(out, &f, "out");
    gs_session *own = f.session;
    for (gs_status status = GS_E_CANCELLED; status != GS_OK; cancelled++) {
        int left = cancelled;
        const gs_session_options so = {.threads = 1, .progress = cancel_later, .ui = &left};
        assert_ok(gs_session_create(&so, &f.session, &err), &err);
        status = export(&f, f.bundle, out, "compressed-tensors", &err);
        gs_session_destroy(f.session);
        gs_cancel_reset();
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_CANCELLED);
        assert_nothing_made(&f);
    }
    assert_true(cancelled >= 4); /* one report a segment, and none of them too late */
    f.session = own;
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_back_is_what_went_out),
        cmocka_unit_test(a_gguf_file_is_the_same_from_every_format),
        cmocka_unit_test(every_format_computes_the_same),
        cmocka_unit_test(quantizing_into_a_format_is_exporting_to_it),
        cmocka_unit_test(a_float_model_is_exported_as_one),
        cmocka_unit_test(golden_sticks_bundles_come_out_as_they_went_in),
        cmocka_unit_test(golden_sticks_w8a16_is_made_bit_for_bit),
        cmocka_unit_test(impossible_exports_are_refused),
        cmocka_unit_test(the_manifest_carries_what_was_done_to_the_codes),
        cmocka_unit_test(a_cancelled_export_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
