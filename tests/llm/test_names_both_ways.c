/* A family whose projections two frameworks fuse differently: quantized and exported under the names of either, each bundle
 * has the names that its loader asks for, and the same function. */
#include "layouts.h"

#include <sys/stat.h>

typedef struct work {
    gs_session *session;
    char *dir, packed[1100], parts[1100], ids[1100]; /* the same model in Hugging Face's and in MindFormers' layout */
} work;

static void place(char out[1100], const char *dir, const char *name) { snprintf(out, 1100, "%s/%s", dir, name); }

static void write_layout(const char *plain, const char *to, const layout *l) {
    assert_int_equal(mkdir(to, 0777), 0);
    config(to, "BaiChuanForCausalLM", "baichuan", 4);
    made_weights(plain, to, l->tensor, l->count);
}

static work open_work(void) {
    gs_error err = {0};
    work w = {.dir = gs_test_tmpdir()};
    char *plain = plain_model(4);
    const layout packed = packed_thirds(), parts = mindformers();
    const gs_session_options so = {.threads = 1};
    assert_ok(gs_session_create(&so, &w.session, &err), &err);
    place(w.packed, w.dir, "packed");
    place(w.parts, w.dir, "parts");
    place(w.ids, w.dir, "t.i32");
    write_layout(plain, w.packed, &packed);
    write_layout(plain, w.parts, &parts);
    tiny_tokens(w.ids, 256, 96, 5);
    gs_test_rmdir(plain);
    return w;
}

static void close_work(work *w) {
    gs_session_destroy(w->session);
    gs_test_rmdir(w->dir);
}

static void quantize(const work *w, const char *model, const char *scheme, const char *format, const char *name, char out[1100]) {
    gs_error err = {0};
    gs_quantize_result r;
    static const char *const none[] = {"none"};
    gs_quantize_options o = {.scheme = scheme, .format = format, .dtype = "f16", .fallback = none, .fallback_count = 1};
    if (strcmp(scheme, "w8a8") == 0) o.calibrate = (gs_calibrate_options){.calib = w->ids, .seq = 64};
    place(out, w->dir, name);
    assert_ok(gs_quantize(w->session, model, out, &o, &r, &err), &err);
    gs_quantize_result_clear(&r);
}

static void verified(const work *w, const char *bundle, const char *ckpt) {
    const char *const against[] = {NULL, w->packed, w->parts, ckpt};
    for (size_t i = 0; i < GS_COUNTOF(against); i++) {
        gs_error err = {0};
        gs_verify_result v;
        const gs_verify_options o = {.against = against[i]};
        assert_ok(gs_verify(w->session, bundle, &o, &v, &err), &err);
        if (v.finding_count)
            fail_msg("%s against %s: %s %s: %s", bundle, against[i] ? against[i] : "nothing", v.finding[0].check, v.finding[0].tensor,
                     v.finding[0].text);
        gs_verify_result_clear(&v);
    }
}

static void expect_same_file(const char *a, const char *b, const char *name) {
    char path[1200], *x, *y;
    size_t n, m;
    gs_error err = {0};
    snprintf(path, sizeof path, "%s/%s", a, name);
    assert_ok(gs_file_read(path, 1 << 26, &x, &n, &err), &err);
    snprintf(path, sizeof path, "%s/%s", b, name);
    assert_ok(gs_file_read(path, 1 << 26, &y, &m, &err), &err);
    if (n != m || memcmp(x, y, n) != 0) fail_msg("%s and %s have another %s", a, b, name);
    gs_free(x);
    gs_free(y);
}

static void expect_word(const char *dir, const char *file, const char *word, bool there) {
    char path[1200], *text;
    size_t n;
    gs_error err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, file);
    assert_ok(gs_file_read(path, 1 << 26, &text, &n, &err), &err);
    if ((memmem(text, n, word, strlen(word)) != NULL) != there)
        fail_msg("%s: '%s' is %s", path, word, there ? "not there" : "there");
    gs_free(text);
}

static const char *const schemes[] = {"w8a16", "w8a8-dynamic", "w8a8"};

static void bundles_of_both_layouts_are_the_same(void **state) {
    (void)state;
    static const struct {
        const char *format, *file, *has, *has_not;
    } formats[] = {
        {"ascend", "quant_model_weights.safetensors", "self_attn.W_pack.weight", "q_proj"},
        {"mindspore-ckpt", "model.ckpt", "attention.wq._layer.weight", "W_pack"},
    };
    work w = open_work();
    for (size_t f = 0; f < GS_COUNTOF(formats); f++)
        for (size_t s = 0; s < GS_COUNTOF(schemes); s++) {
            char a[1100], b[1100], name[100];
            snprintf(name, sizeof name, "%s-%s-packed", formats[f].format, schemes[s]);
            quantize(&w, w.packed, schemes[s], formats[f].format, name, a);
            snprintf(name, sizeof name, "%s-%s-parts", formats[f].format, schemes[s]);
            quantize(&w, w.parts, schemes[s], formats[f].format, name, b);
            expect_word(a, formats[f].file, formats[f].has, true);
            expect_word(a, formats[f].file, formats[f].has_not, false);
            expect_same_file(a, b, formats[f].file);
            verified(&w, a, NULL);
            expect_same_logits(a, NULL, b, NULL, 96);
        }
    close_work(&w);
}

static void export(const work *w, const char *from, const char *format, const char *name, char out[1100]) {
    gs_error err = {0};
    gs_export_result r;
    const gs_export_options o = {.format = format};
    place(out, w->dir, name);
    assert_ok(gs_export(w->session, from, out, &o, &r, &err), &err);
}

static void exports_come_back(void **state) {
    (void)state;
    static const char *const forms[] = {"w8a16", "w8a8-dynamic"}; /* a static linear's weight scales end in MindSpore's form */
    work w = open_work();
    for (size_t s = 0; s < GS_COUNTOF(forms); s++) {
        char first[1100], there[1100], back[1100], name[100];
        quantize(&w, w.packed, forms[s], "mindspore", forms[s], first);
        snprintf(name, sizeof name, "%s-there", forms[s]);
        export(&w, first, "mindspore-ckpt", name, there);
        expect_word(there, "model.ckpt", "attention.wk._layer.weight", true);
        verified(&w, there, NULL);
        snprintf(name, sizeof name, "%s-back", forms[s]);
        export(&w, there, "mindspore", name, back);
        expect_same_file(first, back, "quant-model-00001-of-00001.safetensors");
        expect_same_file(first, back, "quantization_description.json");
        expect_same_logits(first, NULL, there, NULL, 96);
    }
    close_work(&w);
}

static void float_models_too(void **state) {
    (void)state;
    char there[1100], back[1100], of_parts[1100];
    work w = open_work();
    export(&w, w.packed, "mindspore-ckpt", "there", there);
    verified(&w, there, NULL);
    expect_same_logits(there, NULL, w.packed, NULL, 96);
    export(&w, there, "compressed-tensors", "back", back);
    export(&w, w.parts, "compressed-tensors", "of_parts", of_parts);
    expect_word(back, "model.safetensors", "self_attn.W_pack.weight", true);
    expect_same_file(back, of_parts, "model.safetensors");
    verified(&w, back, there);
    /* beside a model's own weights a .ckpt is a state of its training */
    tiny_text(back, "optimizer.ckpt", "what only its program can read");
    verified(&w, back, NULL);
    expect_same_logits(back, NULL, there, NULL, 96);
    close_work(&w);
}

/* A float checkpoint of MindSpore's is a model like any other: to calibrate, to quantize, to verify against. */
static void mindspore_checkpoints_are_quantized(void **state) {
    (void)state;
    char there[1100], a[1100], b[1100], name[100];
    work w = open_work();
    export(&w, w.packed, "mindspore-ckpt", "there", there);
    for (size_t s = 0; s < GS_COUNTOF(schemes); s++) {
        snprintf(name, sizeof name, "%s-of-packed", schemes[s]);
        quantize(&w, w.packed, schemes[s], "ascend", name, a);
        snprintf(name, sizeof name, "%s-of-ckpt", schemes[s]);
        quantize(&w, there, schemes[s], "ascend", name, b);
        expect_same_file(a, b, "quant_model_weights.safetensors");
        expect_same_file(a, b, "quant_model_description.json");
        expect_same_file(a, b, "config.json");
        verified(&w, b, there);
    }
    gs_error err = {0};
    gs_quantize_result r;
    place(b, w.dir, "twice");
    assert_fails(gs_quantize(w.session, a, b, NULL, &r, &err), GS_E_UNSUPPORTED, &err); /* it is quantized */
    assert_non_null(strstr(err.text, "is a W8A8 bundle already"));
    close_work(&w);
}

static void expect_finding(const work *w, const char *bundle, const char *against, const char *tensor) {
    gs_error err = {0};
    gs_verify_result v;
    const gs_verify_options o = {.against = against};
    assert_ok(gs_verify(w->session, bundle, &o, &v, &err), &err);
    assert_int_equal(v.finding_count, 1);
    assert_string_equal(v.finding[0].check, "against-weights");
    assert_string_equal(v.finding[0].tensor, tensor);
    gs_verify_result_clear(&v);
}

/* A value that differs is found in the part it belongs to, whichever of the two has the projection whole. */
static void a_changed_part_is_found(void **state) {
    (void)state;
    char ascend[1100], ckpt[1100];
    work w = open_work();
    quantize(&w, w.packed, "w8a16", "ascend", "a", ascend);
    quantize(&w, w.packed, "w8a16", "mindspore-ckpt", "c", ckpt);
    tiny_poke(w.parts, "model.layers.1.attention.wk.weight", 3);
    tiny_poke(w.packed, "model.layers.2.self_attn.W_pack.weight", 3);
    expect_finding(&w, ascend, w.parts, "model.layers.1.self_attn.W_pack.weight");
    expect_finding(&w, ascend, w.packed, "model.layers.2.self_attn.W_pack.weight");
    expect_finding(&w, ckpt, w.parts, "model.layers.1.attention.wk._layer.weight");
    expect_finding(&w, ckpt, w.packed, "model.layers.2.attention.wq._layer.weight");
    close_work(&w);
}

static void an_int8_cache_has_no_place(void **state) {
    (void)state;
    gs_error err = {0};
    gs_quantize_result r;
    char out[1100];
    work w = open_work();
    place(out, w.dir, "cache");
    gs_quantize_options o = {.scheme = "w8a16", .dtype = "f16", .calibrate = {.calib = w.ids, .seq = 64, .kv_cache = "int8"}};
    assert_fails(gs_quantize(w.session, w.parts, out, &o, &r, &err), GS_E_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "one linear"));
    assert_false(gs_path_exists(out));
    close_work(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bundles_of_both_layouts_are_the_same),
        cmocka_unit_test(exports_come_back),
        cmocka_unit_test(float_models_too),
        cmocka_unit_test(mindspore_checkpoints_are_quantized),
        cmocka_unit_test(a_changed_part_is_found),
        cmocka_unit_test(an_int8_cache_has_no_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
