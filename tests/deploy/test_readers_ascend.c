/* msModelSlim's forms that our own writer does not make, made by hand: 4-bit codes packed three ways, group scales, other
 * file names, a config.json elsewhere, norms stored twice, shifts, the int8 cache; and all of them broken. */
#include "foreign_bundle.h"

typedef struct form {
    gs_scheme scheme;
    int64_t group_size;
    bool packed, norm_bias, modules, cache;
    gs_dtype deq;
} form;

static int code(const form *f, const char *stem, int64_t r, int64_t c) {
    int q = fb_code(stem, r, c);
    return f->scheme == GS_SCHEME_W4A16 ? (q & 15) - 8 : q;
}

static void put_codes(foreign_bundle *b, const form *f, const char *stem, int64_t n, int64_t k) {
    bool four = f->scheme == GS_SCHEME_W4A16 && f->packed, rows = four && f->group_size, cols = four && !rows;
    fb_tensor *t = fb_put(b, stem, "weight", GS_I8, 2, rows ? n / 2 : n, cols ? k / 2 : k, NULL);
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < k; c++) {
            int q = code(f, stem, r, c);
            uint8_t *at = rows ? &t->data[r / 2 * k + c] : cols ? &t->data[r * (k / 2) + c / 2] : &t->data[r * k + c];
            bool high = (rows && r % 2) || (cols && c % 2);
            *at = four ? (uint8_t)(*at | (q & 15) << (high ? 4 : 0)) : (uint8_t)(int8_t)q;
        }
}

static void linear(foreign_bundle *b, const char *stem, int64_t n, int64_t k, void *ctx) {
    const form *f = ctx;
    int64_t groups = f->group_size ? k / f->group_size : 1;
    put_codes(b, f, stem, n, k);
    if (f->scheme != GS_SCHEME_W8A8) {
        fb_tensor *scale = fb_put(b, stem, "weight_scale", GS_F32, 2, n, groups, NULL);
        for (int64_t i = 0; i < n * groups; i++) fb_store(scale, i, fb_scale(stem, i / groups, i % groups));
        fb_put(b, stem, "weight_offset", GS_F32, 2, n, groups, NULL);
    } else {
        fb_store(fb_put(b, stem, "input_scale", GS_F32, 1, 1, 0, NULL), 0, fb_input_scale(stem));
        fb_put(b, stem, "input_offset", GS_F32, 1, 1, 0, NULL);
        fb_put(b, stem, "quant_bias", GS_I32, 1, n, 0, NULL);
        fb_tensor *deq = fb_put(b, stem, "deq_scale", f->deq, 1, n, 0, NULL);
        for (int64_t i = 0; i < n; i++) {
            float d = fb_scale(stem, i, 0) * fb_input_scale(stem);
            memcpy(deq->data + (f->deq == GS_I64 ? 8 : 4) * i, &d, 4);
        }
    }
    if (f->cache && (strstr(stem, "k_proj") || strstr(stem, "v_proj"))) {
        fb_tensor *scale = fb_put(b, stem, "kv_cache_scale", GS_F32, 1, n, 0, NULL);
        for (int64_t i = 0; i < n; i++) fb_store(scale, i, 0.0625f);
        fb_put(b, stem, "kv_cache_offset", GS_F32, 1, n, 0, NULL);
    }
}

static void put_norms(foreign_bundle *b, const form *f) {
    static const char *const norms[] = {"model.layers.0.input_layernorm", "model.layers.1.input_layernorm",
                                        "model.layers.0.post_attention_layernorm",
                                        "model.layers.1.post_attention_layernorm", "model.norm"};
    char name[160];
    for (size_t i = 0; i < GS_COUNTOF(norms); i++) {
        if (f->norm_bias) fb_store(fb_put(b, norms[i], "bias", GS_F32, 1, 32, 0, NULL), 3, 0.25f);
        snprintf(name, sizeof name, "%s.weight", norms[i]);
        if (f->modules) fb_put(b, norms[i], "module.weight", GS_F32, 1, 32, 0, fb_find(b, name)->data);
        snprintf(name, sizeof name, "%s.bias", norms[i]);
        if (f->modules && f->norm_bias) fb_put(b, norms[i], "module.bias", GS_F32, 1, 32, 0, fb_find(b, name)->data);
    }
}

static void describe_as(const foreign_bundle *b, const form *f, const char *type, const char *file, const char *globals) {
    char text[32768];
    snprintf(text, sizeof text, "{\"model_quant_type\": \"%s\"%s", type, globals);
    for (size_t i = 0; i < b->count; i++) {
        const char *name = b->tensor[i].name;
        bool quantized = strstr(name, "_proj.") || strstr(name, "module.");
        snprintf(text + strlen(text), sizeof text - strlen(text), ",\n \"%s\": \"%s\"", name,
                 strstr(name, "kv_cache") ? "C8" : quantized && !strstr(name, "bias") ? gs_scheme_name(f->scheme) : "FLOAT");
    }
    snprintf(text + strlen(text), sizeof text - strlen(text), "}\n");
    tiny_text(b->dir, file, text);
}

static void describe(const foreign_bundle *b, const form *f, const char *file, const char *globals) {
    describe_as(b, f, gs_scheme_name(f->scheme), file, globals);
}

static void make(foreign_bundle *b, const form *f) {
    fb_begin(b, linear, (void *)(uintptr_t)f, "weight");
    put_norms(b, f);
    fb_config(b, NULL);
}

#define V1 ", \"version\": \"1.0.0\""
#define NAME "quant_model_description.json"
#define WEIGHTS "quant_model_weights.safetensors"

static void four_bit_codes_are_unpacked(void **state) {
    (void)state;
    const struct {
        form f;
        const char *globals;
    } cases[] = {
        {{.scheme = GS_SCHEME_W4A16, .packed = true}, V1},
        {{.scheme = GS_SCHEME_W4A16, .packed = true, .group_size = 16}, V1 ", \"group_size\": 16"},
        {{.scheme = GS_SCHEME_W4A16}, ""},
        {{.scheme = GS_SCHEME_W4A16, .group_size = 16}, ", \"group_size\": 16"},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        foreign_bundle b;
        gs_error err = {0};
        gs_opened o;
        gs_net *net;
        int8_t q[48 * 48];
        make(&b, &cases[i].f);
        describe(&b, &cases[i].f, NAME, cases[i].globals);
        fb_weights(&b, WEIGHTS);
        assert_ok(gs_opened_open(NULL, b.dir, NULL, &o, &err), &err);
        assert_ok(gs_model_segment(o.model, 1, &net, &err), &err);
        for (int n = 0; n < gs_net_node_count(net); n++) {
            const gs_node *node = gs_net_node(net, n);
            if (node->op != GS_OP_QLINEAR) continue;
            int64_t rows = node->param[GS_ROLE_WEIGHT]->shape[0], cols = node->param[GS_ROLE_WEIGHT]->shape[1];
            assert_ok(gs_param_read_s8(node->param[GS_ROLE_WEIGHT], 0, rows, q, &err), &err);
            for (int64_t e = 0; e < rows * cols; e++)
                assert_int_equal(q[e], code(&cases[i].f, node->name, e / cols, e % cols));
        }
        gs_net_destroy(net);
        gs_opened_close(&o);
        fb_end(&b);
    }
}

static void group_scales_are_read(void **state) {
    (void)state;
    const form f = {.scheme = GS_SCHEME_W8A16, .group_size = 16};
    const fb_expected e = {GS_SCHEME_W8A16, 1, 16, 0, false};
    foreign_bundle b;
    make(&b, &f);
    describe(&b, &f, NAME, V1 ", \"group_size\": 16");
    fb_weights(&b, WEIGHTS);
    fb_check(&b, "ascend", &e);
    fb_end(&b);
}

/* Opens it with the config.json of `config`, or fails with the words. */
static void opens(const foreign_bundle *b, const char *config, const char *words) {
    gs_error err = {0};
    gs_opened o;
    const gs_bundle_open_options options = {.config = config};
    gs_status status = gs_opened_open(NULL, b->dir, &options, &o, &err);
    if (words) {
        if (status == GS_OK) fail_msg("'%s' was opened", words);
        if (!strstr(err.text, words)) fail_msg("'%s' lacks '%s'", err.text, words);
        return;
    }
    assert_ok(status, &err);
    gs_opened_close(&o);
}

static void other_file_names_are_found(void **state) {
    (void)state;
    const form f = {.scheme = GS_SCHEME_W8A16};
    foreign_bundle b;
    char path[3000], other[1300];
    gs_error err = {0};
    gs_opened o;
    make(&b, &f);
    describe(&b, &f, "quant_model_description_w8a16.json", "");
    opens(&b, NULL, "quant_model_weight");
    fb_weights(&b, "quant_model_weight_w8a16.safetensors");
    opens(&b, NULL, NULL);
    tiny_text(b.dir, "quant_model_description_w8a8.json", "{}");
    opens(&b, NULL, "several files");
    describe(&b, &f, NAME, ""); /* goes before both */
    opens(&b, NULL, NULL);
    fb_weights(&b, "quant_model_weights.safetensors");
    opens(&b, NULL, "2 files");
    snprintf(path, sizeof path, "%s/quant_model_weights.safetensors", b.dir);
    assert_int_equal(unlink(path), 0);
    /* without a config.json of its own */
    snprintf(other, sizeof other, "%s/elsewhere", b.dir);
    assert_int_equal(mkdir(other, 0755), 0);
    snprintf(path, sizeof path, "mv '%s/config.json' '%s'", b.dir, other);
    assert_int_equal(system(path), 0);
    opens(&b, other, NULL);
    opens(&b, b.dir, "has no config.json");
    assert_fails(gs_opened_open(NULL, b.dir, NULL, &o, &err), GS_E_FORMAT, &err);
    assert_non_null(strstr(err.hint, "--config"));
    fb_end(&b);
}

/* MindIE's writer stores F32 whatever the model; under vllm-ascend's file name that is what loads as garbage. */
static void an_f32_deq_scale_is_mindies_form(void **state) {
    (void)state;
    const form f = {.scheme = GS_SCHEME_W8A8, .deq = GS_F32};
    foreign_bundle b;
    char path[1200];
    make(&b, &f);
    fb_weights(&b, WEIGHTS);
    describe(&b, &f, NAME, V1);
    opens(&b, NULL, "a float32 model needs I64");
    snprintf(path, sizeof path, "%s/" NAME, b.dir);
    assert_int_equal(unlink(path), 0);
    describe(&b, &f, "quant_model_description_w8a8.json", "");
    opens(&b, NULL, NULL);
    fb_end(&b);
}

static void norms_have_the_bias_of_a_shift(void **state) {
    (void)state;
    const form f = {.scheme = GS_SCHEME_W8A8, .deq = GS_I64, .norm_bias = true, .modules = true};
    foreign_bundle b;
    gs_error err = {0};
    gs_opened o;
    gs_net *net;
    make(&b, &f);
    fb_put(&b, "model.layers.0.mlp.up_proj", "bias", GS_F32, 1, 48, 0, NULL);
    fb_weights(&b, WEIGHTS);
    describe(&b, &f, NAME, "");
    assert_ok(gs_opened_open(NULL, b.dir, NULL, &o, &err), &err);
    assert_ok(gs_model_segment(o.model, 1, &net, &err), &err);
    for (int n = 0; n < gs_net_node_count(net); n++) {
        const gs_node *node = gs_net_node(net, n);
        float v[32];
        bool shifted = node->op == GS_OP_RMSNORM || strcmp(node->name, "model.layers.0.mlp.up_proj") == 0;
        assert_true(shifted == (node->param[GS_ROLE_BIAS] != NULL));
        if (node->op != GS_OP_RMSNORM) continue;
        assert_ok(gs_param_read_f32(node->param[GS_ROLE_BIAS], 0, 1, v, &err), &err);
        assert_true(v[3] == 0.25f && v[4] == 0);
    }
    gs_net_destroy(net);
    gs_opened_close(&o);
    fb_store(fb_find(&b, "model.norm.module.weight"), 0, 7);
    fb_weights(&b, WEIGHTS);
    opens(&b, NULL, "would read two norms");
    fb_end(&b);
}

static void keys_and_values_pass_the_cache(void **state) {
    (void)state;
    const form f = {.scheme = GS_SCHEME_W8A16, .cache = true};
    foreign_bundle b;
    gs_error err = {0};
    gs_opened o;
    gs_net *net;
    make(&b, &f);
    fb_weights(&b, WEIGHTS);
    describe(&b, &f, NAME, V1 ", \"kv_cache_type\": \"C8\", \"kv_quant_type\": \"C8\"");
    assert_ok(gs_opened_open(NULL, b.dir, NULL, &o, &err), &err);
    assert_ok(gs_model_segment(o.model, 1, &net, &err), &err);
    int caches = 0;
    for (int n = 0; n < gs_net_node_count(net); n++) {
        const gs_node *node = gs_net_node(net, n);
        if (node->op == GS_OP_ATTENTION)
            for (int i = 1; i < 3; i++) assert_int_equal(node->input[i]->producer->op, GS_OP_CACHE);
        if (node->op != GS_OP_CACHE) continue;
        caches++;
        assert_true(fb_scalar(node->param[GS_ROLE_CACHE_SCALE]) == 0.0625f && node->param[GS_ROLE_CACHE_OFFSET]);
    }
    assert_int_equal(caches, 2);
    gs_net_destroy(net);
    gs_opened_close(&o);
    describe(&b, &f, NAME, V1 ", \"kv_cache_type\": \"C4\"");
    opens(&b, NULL, "of type 'C4'");
    fb_drop(&b, "model.layers.1.self_attn.v_proj.kv_cache_scale");
    fb_weights(&b, WEIGHTS);
    describe(&b, &f, NAME, V1 ", \"kv_cache_type\": \"C8\"");
    opens(&b, NULL, "v_proj.kv_cache_scale' is missing");
    fb_end(&b);
}

#define UP "model.layers.0.mlp.up_proj."

static void packed_codes_that_lie_are_refused(void **state) {
    (void)state;
    const form columns = {.scheme = GS_SCHEME_W4A16, .packed = true}, rows = {.scheme = GS_SCHEME_W4A16, .packed = true, .group_size = 16};
    static const char *const words[] = {"not two codes a byte", "weight_scale' is missing", "weight_scale' is F32 [48, 5]",
                                        "up_proj.weight", "up_proj.weight", "weight_offset' is missing"};
    for (int i = 0; i < (int)GS_COUNTOF(words); i++) {
        foreign_bundle b;
        make(&b, i % 2 ? &columns : &rows);
        switch (i) {
        case 0: fb_retype(&b, UP "weight", GS_I8, 2, 23, 32); break;
        case 1: fb_drop(&b, UP "weight_scale"); break;
        case 2: fb_retype(&b, UP "weight_scale", GS_F32, 2, 48, 5); break;
        case 3: fb_retype(&b, UP "weight", GS_I8, 2, 48, 15); break;
        case 4: fb_retype(&b, UP "weight", GS_U8, 2, 24, 32); break;
        default: fb_drop(&b, UP "weight_offset"); break;
        }
        fb_weights(&b, WEIGHTS);
        describe(&b, &columns, NAME, i % 2 ? V1 : V1 ", \"group_size\": 16");
        opens(&b, NULL, words[i]);
        fb_end(&b);
    }
}

static void a_path_that_no_format_claims_is_no_bundle(void **state) {
    (void)state;
    const form f = {.scheme = GS_SCHEME_W8A16};
    foreign_bundle b;
    gs_error err = {0};
    gs_bundle *bundle = (gs_bundle *)&b;
    gs_checkpoint *c = (gs_checkpoint *)&b;
    make(&b, &f);
    fb_weights(&b, WEIGHTS);
    assert_ok(gs_bundle_open(b.dir, NULL, &bundle, &c, &err), &err);
    assert_true(!bundle && !c);
    assert_ok(gs_bundle_open("/nonexistent/path", NULL, &bundle, &c, &err), &err);
    assert_true(!bundle && !c);
    describe(&b, &f, NAME, V1);
    assert_ok(gs_bundle_open(b.dir, NULL, &bundle, &c, &err), &err);
    assert_true(bundle && c);
    gs_checkpoint_close(c);
    gs_bundle_close(bundle);
    fb_end(&b);
}

/* It is printed, in tables and in JSON. */
static void a_model_type_that_is_no_word_is_refused(void **state) {
    (void)state;
    const form f = {.scheme = GS_SCHEME_W8A16};
    static const char *const types[] = {"", "W8A16\\u001b[2J", "W8\\\"A16", "W8A16 W8A16",
                                        "W8A16_W8A16_W8A16_W8A16_W8A16_W8A16_W8A16"};
    foreign_bundle b;
    make(&b, &f);
    fb_weights(&b, WEIGHTS);
    for (size_t i = 0; i < GS_COUNTOF(types); i++) {
        describe_as(&b, &f, types[i], NAME, V1);
        opens(&b, NULL, "is no name of a type");
    }
    describe_as(&b, &f, "W8A8S_odd-1", NAME, V1);
    opens(&b, NULL, NULL);
    fb_end(&b);
}

static void no_memory_is_an_error_everywhere(void **state) {
    (void)state;
    const form f = {.scheme = GS_SCHEME_W8A16, .cache = true};
    foreign_bundle b;
    make(&b, &f);
    fb_weights(&b, WEIGHTS);
    describe(&b, &f, NAME, V1 ", \"kv_cache_type\": \"C8\"");
    fb_starve(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_bit_codes_are_unpacked),
        cmocka_unit_test(group_scales_are_read),
        cmocka_unit_test(other_file_names_are_found),
        cmocka_unit_test(an_f32_deq_scale_is_mindies_form),
        cmocka_unit_test(norms_have_the_bias_of_a_shift),
        cmocka_unit_test(keys_and_values_pass_the_cache),
        cmocka_unit_test(packed_codes_that_lie_are_refused),
        cmocka_unit_test(a_path_that_no_format_claims_is_no_bundle),
        cmocka_unit_test(a_model_type_that_is_no_word_is_refused),
        cmocka_unit_test(no_memory_is_an_error_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
