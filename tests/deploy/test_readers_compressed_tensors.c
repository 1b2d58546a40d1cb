/* compressed-tensors checkpoints, made by hand: what is read is what was meant, and what is not computed is refused. */
#include "foreign_bundle.h"

typedef struct form {
    bool packed, one_scale, is_static, asymmetric, dynamic;
    int64_t group_size;
    gs_dtype scale;
} form;

static void linear(foreign_bundle *b, const char *stem, int64_t n, int64_t k, void *ctx) {
    const form *f = ctx;
    int64_t groups = f->group_size ? k / f->group_size : 1, shape[2] = {n, k};
    int8_t codes[48 * 48];
    for (int64_t i = 0; i < n * k; i++) codes[i] = (int8_t)(fb_code(stem, i / k, i % k) + (f->packed ? -128 : 0));
    fb_put(b, stem, f->packed ? "weight_packed" : "weight", f->packed ? GS_I32 : GS_I8, 2, n, f->packed ? k / 4 : k, codes);
    if (f->packed) fb_put(b, stem, "weight_shape", GS_I64, 1, 2, 0, shape);
    fb_tensor *scale = fb_put(b, stem, "weight_scale", f->scale, f->one_scale ? 1 : 2, f->one_scale ? 1 : n, groups, NULL);
    for (int64_t i = 0; i < (f->one_scale ? 1 : n * groups); i++)
        fb_store(scale, i, fb_scale(stem, i / groups, i % groups));
    if (!f->is_static) return;
    fb_store(fb_put(b, stem, "input_scale", GS_F32, 1, 1, 0, NULL), 0, fb_input_scale(stem));
    if (f->asymmetric) fb_store(fb_put(b, stem, "input_zero_point", GS_I8, 1, 1, 0, NULL), 0, (float)fb_input_offset(stem));
}

/* quantization_config of a form, as llm-compressor writes it. */
static void settings(const form *f, char out[4096]) {
    char inputs[512] = "null", weights[512];
    if (f->is_static || f->dynamic)
        snprintf(inputs, sizeof inputs,
                 "{\"num_bits\": 8, \"type\": \"int\", \"symmetric\": %s, \"strategy\": \"%s\", \"dynamic\": %s, "
                 "\"group_size\": null, \"actorder\": null, \"observer\": \"minmax\", \"observer_kwargs\": {}}",
                 f->asymmetric ? "false" : "true", f->dynamic ? "token" : "tensor", f->dynamic ? "true" : "false");
    snprintf(weights, sizeof weights,
             "{\"num_bits\": 8, \"type\": \"int\", \"symmetric\": true, \"strategy\": \"%s\", \"dynamic\": false, "
             "\"group_size\": %lld, \"actorder\": null, \"unknown_member\": 3}",
             f->one_scale ? "tensor" : f->group_size ? "group" : "channel", (long long)f->group_size);
    snprintf(out, 4096,
             "{\"quant_method\": \"compressed-tensors\", \"format\": \"%s\", \"quantization_status\": \"compressed\", "
             "\"version\": \"0.9\", \"global_compression_ratio\": null, \"kv_cache_scheme\": null, \"sparsity_config\": {}, "
             "\"transform_config\": {}, \"ignore\": [\"lm_head\"], \"config_groups\": {\"group_0\": {\"targets\": "
             "[\"Linear\"], \"output_activations\": null, \"weights\": %s, \"input_activations\": %s}}}",
             f->packed ? "pack-quantized" : "int-quantized", weights, inputs);
}

static const form static_form = {.is_static = true, .asymmetric = true, .scale = GS_F32};
static const form packed_form = {.packed = true, .group_size = 16, .scale = GS_F16};

static void make(foreign_bundle *b, const form *f, const char *config) {
    char text[4096];
    settings(f, text);
    fb_begin(b, linear, (void *)(uintptr_t)f, "weight");
    fb_config(b, config ? config : text);
}

static void every_form_is_read(void **state) {
    (void)state;
    const struct {
        form f;
        fb_expected e;
    } cases[] = {
        {{.is_static = true, .asymmetric = true, .scale = GS_F32}, {GS_SCHEME_W8A8, 1, 0, 0, true}},
        {{.is_static = true, .scale = GS_BF16}, {GS_SCHEME_W8A8, 1, 0, 0, false}},
        {{.is_static = true, .one_scale = true, .scale = GS_F16}, {GS_SCHEME_W8A8, 0, 0, 0, false}},
        {{.dynamic = true, .scale = GS_BF16}, {GS_SCHEME_W8A8_DYNAMIC, 1, 0, 0, false}},
        {{.packed = true, .scale = GS_F16}, {GS_SCHEME_W8A16, 1, 0, 0, false}},
        {{.packed = true, .group_size = 16, .scale = GS_F16}, {GS_SCHEME_W8A16, 1, 16, 0, false}},
        {{.scale = GS_F32}, {GS_SCHEME_W8A16, 1, 0, 0, false}},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        foreign_bundle b;
        make(&b, &cases[i].f, NULL);
        fb_weights(&b, "model.safetensors");
        fb_check(&b, "compressed-tensors", &cases[i].e);
        fb_end(&b);
    }
}

static void settings_that_are_not_computed_are_refused(void **state) {
    (void)state;
    const struct {
        const form *f;
        const char *from, *to, *words;
    } bad[] = {
        {&static_form, "\"num_bits\": 8", "\"num_bits\": 4", "4 bits"},
        {&static_form, "\"type\": \"int\"", "\"type\": \"float\"", "type 'float'"},
        {&static_form, "\"symmetric\": true", "\"symmetric\": false", "zero points"},
        {&static_form, "\"strategy\": \"channel\"", "\"strategy\": \"block\"", "strategy 'block'"},
        {&static_form, "\"strategy\": \"channel\"", "\"strategy\": 3", "strategy"},
        {&static_form, "\"strategy\": \"tensor\"", "\"strategy\": \"token\"", "'token', static"},
        {&static_form, "\"strategy\": \"tensor\"", "\"strategy\": \"group\"", "strategy 'group'"},
        {&static_form, "\"strategy\": \"tensor\", \"dynamic\": false", "\"strategy\": \"tensor\", \"dynamic\": \"local\"", "dynamic"},
        {&static_form, "\"strategy\": \"channel\", \"dynamic\": false", "\"strategy\": \"channel\", \"dynamic\": true", "while running"},
        {&static_form, "\"kv_cache_scheme\": null", "\"kv_cache_scheme\": {\"num_bits\": 8}", "kv_cache_scheme"},
        {&static_form, "\"sparsity_config\": {}", "\"sparsity_config\": {\"format\": \"sparse-bitmask\"}", "sparsity_config"},
        {&static_form, "\"sparsity_config\": {}", "\"sparsity_config\": {\"sparsity_structure\": \"2:4\"}", "sparsity_config"},
        {&static_form, "\"transform_config\": {}", "\"transform_config\": {\"config_groups\": {}}", "transform_config"},
        {&static_form, "int-quantized", "float-quantized", "format 'float-quantized'"},
        {&static_form, "\"compressed\"", "\"initialized\"", "quantization_status"},
        {&static_form, "\"output_activations\": null", "\"output_activations\": {\"num_bits\": 8}", "output_activations"},
        {&static_form, "\"actorder\": null, \"unknown", "\"actorder\": \"group\", \"unknown", "actorder"},
        {&static_form, "[\"Linear\"]", "\"Linear\"", "no array"},
        {&static_form, "[\"lm_head\"]", "[3]", "no name"},
        {&static_form, "[\"lm_head\"]", "[\"re:(\"]", "no regular expression"},
        {&static_form, "[\"lm_head\"]", "[]", "quantizes 'lm_head'"},
        {&static_form, "[\"lm_head\"]", "[\"re:.*o_proj\", \"lm_head\"]", "not quantized in config.json"},
        {&static_form, "[\"Linear\"]", "[\"re:.*q_proj\"]", "not quantized in config.json"},
        {&static_form, "\"config_groups\": {\"group_0\"", "\"config_groups\": [], \"other\": {\"group_0\"", "config_groups"},
        {&static_form, "{\"targets\": [\"Linear\"], ", "3, \"x\": {", "no object"},
        {&packed_form, "\"group_size\": 16", "\"group_size\": 0", "groups of 0"},
        {&packed_form, "\"group_size\": 16", "\"group_size\": 8", "weight_scale"},
        {&packed_form, "\"group_size\": 16", "\"group_size\": 5", "in groups of 5"},
        {&packed_form, "\"group_size\": 16", "\"group_size\": \"many\"", "group_size"},
    };
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        foreign_bundle b;
        char text[4096];
        settings(bad[i].f, text);
        fb_edit(text, sizeof text, bad[i].from, bad[i].to);
        make(&b, bad[i].f, text);
        fb_weights(&b, "model.safetensors");
        fb_refused(&b, bad[i].words);
        fb_end(&b);
    }
}

#define Q "model.layers.0.self_attn.q_proj."
#define UP "model.layers.1.mlp.up_proj."

static void put_shape(foreign_bundle *b, int64_t n, int64_t k) {
    const int64_t shape[2] = {n, k};
    memcpy(fb_find(b, UP "weight_shape")->data, shape, sizeof shape);
}

static void spoil(foreign_bundle *b, int how) {
    const float other = 0.5f;
    switch (how) {
    case 0: fb_drop(b, Q "weight_scale"); break;
    case 1: fb_drop(b, Q "input_scale"); break;
    case 2: fb_drop(b, Q "input_zero_point"); break;
    case 3: fb_drop(b, Q "weight"); break;
    case 4: fb_retype(b, Q "weight_scale", GS_F32, 2, 31, 1); break;
    case 5: fb_retype(b, Q "weight_scale", GS_I32, 2, 32, 1); break;
    case 6: fb_retype(b, Q "input_scale", GS_F32, 1, 2, 0); break;
    case 7: fb_retype(b, Q "input_zero_point", GS_F32, 1, 1, 0); break;
    case 8: fb_retype(b, Q "weight", GS_I8, 2, 32, 31); break;
    case 9: fb_retype(b, Q "weight", GS_F32, 2, 32, 32); break;
    case 10: memcpy(fb_find(b, Q "input_scale")->data, &other, 4); break;
    case 11: fb_find(b, Q "input_zero_point")->data[0] = 100; break;
    case 12: fb_put(b, Q "g_idx", "", GS_I32, 1, 32, 0, NULL); break;
    case 13: fb_drop(b, UP "weight_shape"); break;
    case 14: put_shape(b, 48, 28); break;
    case 15: put_shape(b, 48, 31); break;
    case 16: put_shape(b, 47, 32); break;
    case 17: put_shape(b, INT64_MAX, INT64_MAX); break;
    case 18: put_shape(b, 48, -32); break;
    case 19: fb_retype(b, UP "weight_packed", GS_I32, 1, 48, 0); break;
    case 20: fb_retype(b, UP "weight_shape", GS_F32, 1, 2, 0); break;
    case 21: fb_put(b, UP "weight", "", GS_I8, 2, 48, 32, NULL); break;
    default: fb_drop(b, UP "weight_packed"); break;
    }
}

static void lying(foreign_bundle *b, int how) {
    make(b, how < 13 ? &static_form : &packed_form, NULL);
    spoil(b, how);
    fb_weights(b, "model.safetensors");
}

static void tensors_that_lie_are_refused(void **state) {
    (void)state;
    static const char *const words[] = {
        Q "weight_scale' is missing", Q "input_scale' is missing", Q "input_zero_point' is missing", "belongs to no weight",
        "weight_scale' is F32 [31, 1]", "weight_scale' is I32", "input_scale' is F32 [2]", "input_zero_point' is F32",
        "[32, 31]", "weight' is F32", "of the same input is", "of the same input is", "g_idx",
        "weight_shape' is missing", "weight_shape of", "end within a word", "weight_shape of", "weight_shape of",
        "weight_shape of", "weight_packed' is I32 [48]", "weight_shape' is F32", "a weight and a weight_packed", "belongs to no weight",
    };
    fb_all_refused(lying, words, GS_COUNTOF(words));
}

/* Names of linears stand beside patterns; the first group that targets one by name goes before "Linear". */
static void groups_and_patterns_choose_linears(void **state) {
    (void)state;
    const form whole = {.scale = GS_F32};
    foreign_bundle b;
    gs_error err = {0};
    gs_opened o;
    make(&b, &whole,
         "{\"quant_method\": \"compressed-tensors\", \"format\": \"int-quantized\", \"ignore\": [\"re:.*head\"], "
         "\"config_groups\": {\"a\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 8, \"strategy\": \"channel\"}}, "
         "\"b\": {\"targets\": [\"re:.*self_attn.*\", \"model.layers.0.mlp.up_proj\"], \"weights\": {\"num_bits\": 8, "
         "\"strategy\": \"channel\"}, \"input_activations\": {\"num_bits\": 8, \"strategy\": \"token\", \"dynamic\": true}}}}");
    fb_weights(&b, "model.safetensors");
    assert_ok(gs_opened_open(NULL, b.dir, NULL, &o, &err), &err);
    for (int i = 1; i < 3; i++) {
        gs_net *net;
        assert_ok(gs_model_segment(o.model, i, &net, &err), &err);
        for (int n = 0; n < gs_net_node_count(net); n++) {
            const gs_node *node = gs_net_node(net, n);
            if (node->op != GS_OP_QLINEAR) continue;
            bool dynamic = strstr(node->name, "self_attn") || strcmp(node->name, "model.layers.0.mlp.up_proj") == 0;
            assert_int_equal(node->attr.quant.scheme, dynamic ? GS_SCHEME_W8A8_DYNAMIC : GS_SCHEME_W8A16);
        }
        gs_net_destroy(net);
    }
    assert_string_equal(gs_bundle_type(o.bundle), "W8A8_DYNAMIC");
    gs_opened_close(&o);
    fb_end(&b);
}

/* A pattern that backtracks without end is given up, not waited for. */
static void a_runaway_pattern_is_given_up(void **state) {
    (void)state;
    foreign_bundle b;
    char text[4096];
    settings(&static_form, text);
    fb_edit(text, sizeof text, "[\"lm_head\"]", "[\"re:(([a-z._0-9]+)+)+[!?]\"]");
    make(&b, &static_form, text);
    fb_weights(&b, "model.safetensors");
    fb_refused(&b, "cannot be matched");
    fb_end(&b);
}

static void no_memory_is_an_error_everywhere(void **state) {
    (void)state;
    foreign_bundle b;
    make(&b, &static_form, NULL);
    fb_weights(&b, "model.safetensors");
    fb_starve(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_read),
        cmocka_unit_test(settings_that_are_not_computed_are_refused),
        cmocka_unit_test(tensors_that_lie_are_refused),
        cmocka_unit_test(groups_and_patterns_choose_linears),
        cmocka_unit_test(a_runaway_pattern_is_given_up),
        cmocka_unit_test(no_memory_is_an_error_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
