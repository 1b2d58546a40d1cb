/* A good bundle, broken in many ways: each is found, by the check that is meant for it. */
#include "mutations.h"

enum { STATIC, SHARDS, WEIGHTS, DYNAMIC, BIASED, MIX, CACHE, BASES };

static const struct {
    gs_quantize_options options;
    bool tied, biased;
} bases[BASES] = {
    [STATIC] = {{.scheme = "w8a8", .dtype = "bf16", .alpha = "none"}, false, false},
    [SHARDS] = {{.scheme = "w8a8", .dtype = "f16", .alpha = "none", .max_shard_size = 16 << 10}, false, false},
    [WEIGHTS] = {{.scheme = "w8a16", .dtype = "f16"}, true, false},
    [DYNAMIC] = {{.scheme = "w8a8-dynamic", .dtype = "bf16", .alpha = "0.5"}, false, false},
    [BIASED] = {{.scheme = "w8a8", .dtype = "f16", .alpha = "none"}, false, true},
    [MIX] = {{.scheme = "w8a8-mix", .dtype = "f16", .alpha = "none"}, false, false},
    [CACHE] = {{.scheme = "w8a8-dynamic", .dtype = "f16", .alpha = "none", .calibrate.kv_cache = "int8"}, false, false},
};

#define L0 "model.layers.0."
#define Q L0 "self_attn.q_proj."
#define K L0 "self_attn.k_proj."
#define V L0 "self_attn.v_proj."
#define O L0 "self_attn.o_proj."
#define UP L0 "mlp.up_proj."
#define DOWN L0 "mlp.down_proj."
#define ONE "quant_model_weights.safetensors"
#define SECOND "quant_model_weights-00002-of-00004.safetensors"
#define INDEX "quant_model_weights.safetensors.index.json"
#define DESC "quant_model_description.json"

/* the check that is meant for it, the bundle, the way to break it, and what that needs (mutations.h) */
#define ROW(check_, base_, apply_, ...) {.check = (check_), .base = (base_), .apply = (apply_), __VA_ARGS__}

static const mutation table[] = {
    /* completeness */
    ROW("tensor-missing", STATIC, drop, .a = UP "weight"),
    ROW("tensor-missing", WEIGHTS, drop, .a = UP "weight_scale"),
    ROW("tensor-missing", WEIGHTS, drop, .a = UP "weight_offset"),
    ROW("tensor-missing", STATIC, drop, .a = Q "input_scale"),
    ROW("tensor-missing", STATIC, drop, .a = Q "input_offset"),
    ROW("tensor-missing", STATIC, drop, .a = O "quant_bias"),
    ROW("tensor-missing", STATIC, drop, .a = O "deq_scale"),
    ROW("tensor-missing", MIX, drop, .a = O "weight_scale"),
    ROW("tensor-missing", DYNAMIC, drop, .a = L0 "input_layernorm.weight"),
    ROW("tensor-missing", DYNAMIC, drop, .a = "model.norm.weight"),
    ROW("tensor-missing", DYNAMIC, drop, .a = "model.embed_tokens.weight"),
    ROW("tensor-missing", DYNAMIC, drop, .a = "lm_head.weight"),
    ROW("tensor-missing", BIASED, drop, .a = Q "bias"),
    ROW("description-stored", STATIC, drop, .a = UP "weight_scale"),
    ROW("tensor-unknown", STATIC, copy_as, .a = L0 "input_layernorm.weight", .b = L0 "self_attn.q_norm.weight"),
    ROW("tensor-unknown", DYNAMIC, copy_as, .a = L0 "input_layernorm.weight", .b = O "bias"),
    ROW("description-complete", STATIC, copy_as, .a = L0 "input_layernorm.weight", .b = L0 "extra.weight"),
    ROW("tensor-missing", STATIC, text, .a = "config.json", .b = "\"num_hidden_layers\": 3", .c = "\"num_hidden_layers\": 4"),
    ROW("tensor-unknown", STATIC, text, .a = "config.json", .b = "\"num_hidden_layers\": 3", .c = "\"num_hidden_layers\": 2"),
    /* dtypes and shapes */
    ROW("tensor-dtype", STATIC, retype, .a = UP "weight", .b = "U8"),
    ROW("tensor-dtype", WEIGHTS, retype, .a = UP "weight_scale", .b = "I32"),
    ROW("tensor-dtype", STATIC, retype, .a = UP "quant_bias", .b = "F32"),
    ROW("tensor-dtype", STATIC, retype, .a = Q "input_scale", .b = "I32"),
    ROW("tensor-dtype", WEIGHTS, retype, .a = "model.embed_tokens.weight", .b = "BF16"),
    ROW("tensor-dtype", WEIGHTS, retype, .a = L0 "input_layernorm.weight", .b = "BF16"),
    ROW("deq-scale-dtype", SHARDS, deq_as_f32, .a = UP "deq_scale"),
    ROW("deq-scale-dtype", STATIC, retype, .a = UP "deq_scale", .b = "I64"),
    ROW("deq-scale-dtype", STATIC, text, .a = "config.json", .b = "bfloat16", .c = "float16"),
    ROW("tensor-shape", STATIC, reshape, .a = UP "weight", .b = "32,48"),
    ROW("tensor-shape", WEIGHTS, reshape, .a = UP "weight_scale", .b = "48"),
    ROW("tensor-shape", STATIC, reshape, .a = Q "input_scale", .b = ""),
    ROW("tensor-shape", STATIC, reshape, .a = Q "deq_scale", .b = "32,1"),
    ROW("tensor-shape", STATIC, reshape, .a = "model.norm.weight", .b = "1,32"),
    /* container */
    ROW("container", STATIC, text, .a = ONE, .b = L0 "mlp.up_proj.quant_bias\"", .c = "model.layers.1.mlp.up_proj.quant_bias\""),
    ROW("container", STATIC, text, .a = ONE, .b = "\"data_offsets\":[0,", .c = "\"data_offsets\":[8,"),
    ROW("container", SHARDS, cut, .a = SECOND, .at = -100),
    ROW("container", STATIC, cut, .a = ONE, .at = 5),
    ROW("container", STATIC, append, .a = ONE),
    ROW("container", STATIC, text, .a = ONE, .b = "{\"", .c = "{'"),
    ROW("container", STATIC, remove_file, .a = ONE),
    ROW("metadata-format", STATIC, text, .a = ONE, .b = "\"format\":\"pt\"", .c = "\"format\":\"xx\""),
    ROW("shard-names", SHARDS, remove_file, .a = SECOND),
    ROW("stray-weights", STATIC, write_file, .a = "model-00001-of-00001.safetensors", .b = "old"),
    ROW("stray-weights", SHARDS, copy_file, .a = SECOND, .b = ONE),
    ROW("duplicate-tensor", STATIC, copy_file, .a = ONE, .b = "model.safetensors"),
    ROW("stale-index", STATIC, write_file, .a = "model.safetensors.index.json", .b = "{\"weight_map\": {}}"),
    ROW("index", SHARDS, text, .a = INDEX, .b = "00002-of", .c = "00001-of"),
    ROW("index", SHARDS, text, .a = INDEX, .b = "model.norm.weight", .c = "model.morn.weight"),
    ROW("index", SHARDS, remove_file, .a = INDEX),
    ROW("index", SHARDS, text, .a = INDEX, .b = L0 "mlp.up_proj.weight\"", .c = L0 "mlp.gate_proj.weight\""),
    ROW("index", SHARDS, write_file, .a = INDEX, .b = "[]"),
    ROW("index-size", SHARDS, text, .a = INDEX, .b = "\"total_size\": ", .c = "\"total_size\": 1"),
    /* files */
    ROW("permissions", STATIC, mode, .a = DESC, .at = 0646),
    ROW("permissions", STATIC, mode, .a = ONE, .at = 0),
    ROW("permissions", STATIC, mode, .a = ".", .at = 0777),
    ROW("path-characters", STATIC, write_file, .a = "read me.txt", .b = "x"),
    ROW("json-size", STATIC, cut, .a = "gstick_manifest.json", .at = (int64_t)101 << 20),
    /* description */
    ROW("description-json", STATIC, text, .a = DESC, .b = "{", .c = "["),
    ROW("description-json", STATIC, remove_file, .a = DESC),
    ROW("description-json", STATIC, write_file, .a = DESC, .b = "[]"),
    ROW("description-json", STATIC, text, .a = DESC, .b = L0 "mlp.up_proj.weight\"", .c = L0 "mlp.gate_proj.weight\""),
    ROW("description-name", STATIC, rename_file, .a = DESC, .b = "quant_model_description_w8a8.json"),
    ROW("description-complete", STATIC, unlist, .a = DESC, .b = UP "weight"),
    ROW("description-complete", STATIC, unlist, .a = DESC, .b = UP "quant_bias"),
    ROW("description-stored", STATIC, text, .a = DESC, .b = "{", .c = "{\"model.layers.9.mlp.up_proj.weight\": \"W8A8\","),
    ROW("description-value", STATIC, describe, .a = "", .b = UP "weight", .c = "W9A9"),
    ROW("description-value", STATIC, describe, .a = "", .b = UP "quant_bias", .c = "FLOAT"),
    ROW("description-value", STATIC, describe, .a = "", .b = L0 "input_layernorm", .c = "W8A8"),
    ROW("description-float", STATIC, unlist, .a = DESC, .b = "model.embed_tokens.weight"),
    ROW("description-float", WEIGHTS, unlist, .a = DESC, .b = "lm_head.weight"),
    ROW("description-globals", STATIC, text, .a = DESC, .b = "\"1.0.0\"", .c = "\"2.0\""),
    ROW("description-globals", STATIC, text, .a = DESC, .b = "\"group_size\": 0", .c = "\"group_size\": 7"),
    ROW("description-dominant", STATIC, describe, .a = "", .b = "model_quant_type", .c = "W8A16"),
    ROW("description-kv", STATIC, text, .a = DESC, .b = "{", .c = "{\"kv_cache_type\": \"C8\","),
    ROW("fused-type", MIX, describe, .a = "", .b = Q, .c = "W8A8_DYNAMIC"),
    ROW("target-mixture", MIX, describe, .a = "", .b = O, .c = "W8A8_DYNAMIC"),
    ROW("target-type", WEIGHTS, write_file, .a = "note.txt", .b = "", .target = "310p"),
    /* config.json */
    ROW("config", STATIC, remove_file, .a = "config.json"),
    ROW("config", STATIC, text, .a = "config.json", .b = "\"llama\"", .c = "\"lama\""),
    ROW("config", STATIC, text, .a = "config.json", .b = "\"hidden_size\"", .c = "\"hidden_sise\""),
    ROW("config-dtype", STATIC, text, .a = "config.json", .b = "\"torch_dtype\"", .c = "\"torch_dtyp\""),
    ROW("config-dtype", STATIC, text, .a = "config.json", .b = "bfloat16", .c = "float32"),
    ROW("config-dtype", STATIC, write_file, .a = "note.txt", .b = "", .target = "310p"),
    ROW("config-quantize", STATIC, text, .a = "config.json", .b = "\"w8a8\"", .c = "\"w8a16\""),
    ROW("config-quantization", STATIC, text, .a = "config.json", .b = "{", .c = "{\"quantization_config\": {\"quant_method\": \"fp8\"},"),
    ROW("config-quantization", STATIC, text, .a = "config.json", .b = "{", .c = "{\"text_config\": {\"quantization_config\": {}},"),
    /* numbers */
    ROW("finite", STATIC, set, .a = "model.embed_tokens.weight", .at = 1000, .value = NAN),
    ROW("finite", WEIGHTS, set, .a = L0 "input_layernorm.weight", .at = 31, .value = INFINITY),
    ROW("finite", SHARDS, set, .a = "lm_head.weight", .at = 3071, .value = -INFINITY),
    ROW("scale-positive", WEIGHTS, set, .a = UP "weight_scale", .at = 47, .value = 0),
    ROW("scale-positive", WEIGHTS, set, .a = UP "weight_scale", .at = 3, .value = -0.001),
    ROW("scale-positive", WEIGHTS, set, .a = UP "weight_scale", .at = 3, .value = NAN),
    ROW("scale-positive", WEIGHTS, set, .a = UP "weight_scale", .at = 3, .value = 1e30),
    ROW("scale-positive", WEIGHTS, set, .a = UP "weight_scale", .at = 3, .value = 1e-12),
    ROW("scale-positive", STATIC, set, .a = Q "input_scale", .value = 0),
    ROW("scale-positive", STATIC, set, .a = O "deq_scale", .at = 7, .value = 0),
    ROW("scale-rounding", STATIC, times, .a = O "input_scale", .value = 1.001),
    ROW("offset-range", STATIC, set, .a = O "input_offset", .value = 200),
    ROW("offset-range", STATIC, set, .a = O "input_offset", .value = 0.5),
    ROW("weight-offset", WEIGHTS, set, .a = UP "weight_offset", .at = 5, .value = 3),
    ROW("weight-offset", WEIGHTS, set, .a = UP "weight_offset", .at = 5, .value = 0.5, .target = "mindie"),
    ROW("deq-scale-bits", SHARDS, dirty, .a = UP "deq_scale"),
    ROW("deq-scale-product", STATIC, times, .a = UP "deq_scale", .at = 5, .value = 2),
    ROW("deq-scale-product", SHARDS, times, .a = UP "weight_scale", .at = 5, .value = 1.25),
    ROW("quant-bias", STATIC, add, .a = UP "quant_bias", .at = 11, .value = 5),
    ROW("quant-bias", BIASED, set, .a = Q "bias", .at = 4, .value = 3),
    ROW("quant-bias", STATIC, row, .a = DOWN "weight", .at = 3, .value = 127),
    ROW("accumulator", STATIC, set, .a = UP "quant_bias", .at = 11, .value = 2147483647),
    ROW("fused-input", STATIC, times, .a = K "input_scale", .value = 2),
    ROW("fused-input", STATIC, set, .a = V "input_offset", .value = 5),
    ROW("fused-input", SHARDS, times, .a = UP "input_scale", .value = 0.5),
    ROW("code-range", WEIGHTS, row, .a = UP "weight", .at = 4, .value = 0),
    ROW("code-range", WEIGHTS, row, .a = UP "weight", .at = 4, .value = 2),
    ROW("code-saturation", WEIGHTS, saturate, .a = UP "weight"),
    ROW("tied-head", WEIGHTS, copy_changed, .a = "model.embed_tokens.weight", .b = "lm_head.weight", .at = 9, .value = 0.75),
    ROW("norm-bias", DYNAMIC, copy_as, .a = L0 "input_layernorm.weight", .b = L0 "input_layernorm.bias"),
    ROW("kv-cache", DYNAMIC, copy_as, .a = L0 "input_layernorm.weight", .b = K "kv_cache_scale"),
    ROW("kv-cache", CACHE, drop, .a = V "kv_cache_scale"),
    ROW("kv-cache", CACHE, drop, .a = K "kv_cache_offset"),
    ROW("kv-cache", CACHE, set, .a = K "kv_cache_offset", .at = 1, .value = 2),
    ROW("kv-cache", CACHE, set, .a = K "kv_cache_scale", .at = 1, .value = 0),
    ROW("tensor-shape", CACHE, reshape, .a = K "kv_cache_scale", .b = "8"),
    ROW("description-value", CACHE, describe, .a = "", .b = K "kv_cache_scale", .c = "FLOAT"),
    ROW("description-kv", CACHE, unlist, .a = DESC, .b = "kv_quant_type"),
    /* against the source */
    ROW("against-weights", WEIGHTS, swap_mlp, .a = "model.layers.0", .against = true),
    ROW("against-weights", DYNAMIC, swap_mlp, .a = "model.layers.2", .against = true),
    ROW("against-weights", WEIGHTS, transpose, .a = Q "weight", .against = true),
    ROW("against-weights", DYNAMIC, transpose, .a = Q "weight", .against = true),
    ROW("against-weights", DYNAMIC, swap_rows, .a = V "weight", .against = true),
    ROW("against-weights", DYNAMIC, swap_rows, .a = DOWN "weight", .against = true),
    ROW("against-weights", WEIGHTS, times, .a = UP "weight_scale", .at = 7, .value = 1.5, .against = true),
    ROW("against-weights", DYNAMIC, times, .a = V "weight_scale", .at = 7, .value = 2, .against = true),
    ROW("against-weights", STATIC, set, .a = O "weight", .at = 70, .value = -100, .against = true),
    ROW("against-weights", WEIGHTS, take, .a = Q "weight", .b = O "weight", .against = true),
    ROW("against-float", WEIGHTS, set, .a = "model.embed_tokens.weight", .at = 70, .value = 0.3, .against = true),
    ROW("against-float", WEIGHTS, set, .a = "model.norm.weight", .at = 7, .value = 2, .against = true),
    ROW("against-float", WEIGHTS, set, .a = L0 "input_layernorm.weight", .at = 7, .value = 2, .against = true),
    ROW("against-float", DYNAMIC, set, .a = "lm_head.weight", .at = 70, .value = 0.3, .against = true),
    ROW("against-weights", DYNAMIC, times, .a = L0 "input_layernorm.weight", .at = 7, .value = 1.5, .against = true),
    ROW("against-float", BIASED, set, .a = V "bias", .at = 4, .value = 3, .against = true),
    ROW("against-coverage", STATIC, copy_as, .a = L0 "input_layernorm.weight", .b = L0 "input_layernorm.bias", .against = true),
    ROW("against-coverage", DYNAMIC, retype, .a = UP "weight", .b = "U8", .against = true),
    ROW("against-config", STATIC, text, .a = "config.json", .b = "\"rope_theta\": 1", .c = "\"rope_theta\": 2", .against = true),
    ROW("against-config", STATIC, text, .a = "config.json", .b = "\"rms_norm_eps\"", .c = "\"rms_norm_epz\"", .against = true),
};

static void paths(const world *w, int base, char model[1000], char bundle[1000]) {
    snprintf(model, 1000, "%s/model%d", w->root, base);
    snprintf(bundle, 1000, "%s/bundle%d", w->root, base);
}

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    gs_error err = {0};
    char model[1000], bundle[1000], ids[1100];
    w->root = gs_test_tmpdir();
    assert_ok(gs_session_create(NULL, &w->session, &err), &err);
    snprintf(ids, sizeof ids, "%s/ids.i32", w->root);
    tiny_tokens(ids, 4 * 32, tiny_default.vocab, 5);
    for (int b = 0; b < BASES; b++) {
        tiny_shape shape = tiny_default;
        shape.tied = bases[b].tied;
        paths(w, b, model, bundle);
        assert_int_equal(mkdir(model, 0755), 0);
        (bases[b].biased ? tiny_biased_model : tiny_model)(model, &shape, 3);
        make_bundle(w->session, model, bundle, ids, bases[b].options);
    }
    *state = w;
    return 0;
}

static void the_unbroken_ones_hold(void **state) {
    const world *w = *state;
    gs_error err = {0};
    char model[1000], bundle[1000];
    for (int b = 0; b < BASES; b++) {
        gs_verify_result r;
        paths(w, b, model, bundle);
        gs_verify_options o = {.against = model};
        assert_ok(gs_verify(w->session, bundle, &o, &r, &err), &err);
        print_findings(&r);
        assert_int_equal(r.total_findings, 0);
        gs_verify_result_clear(&r);
    }
}

static void every_way_to_break_one_is_found_by_its_check(void **state) {
    size_t hits = 0;
    char model[1000], bundle[1000];
    for (size_t i = 0; i < GS_COUNTOF(table); i++) {
        paths(*state, table[i].base, model, bundle);
        hits += caught(*state, bundle, model, &table[i], i);
    }
    print_message("%zu of %zu mutations found\n", hits, GS_COUNTOF(table));
    assert_int_equal(hits, GS_COUNTOF(table));
}

/* A tensor that a linear's type does not ask for is foreign, whatever its name, type and shape: none of its values is read. */
static void what_a_type_does_not_ask_for_is_unknown_and_no_more(void **state) {
    static const mutation strays[] = {
        {.base = DYNAMIC, .apply = copy_as, .a = UP "weight", .b = UP "deq_scale"},
        {.base = DYNAMIC, .apply = copy_as, .a = "model.norm.weight", .b = UP "quant_bias"},
        {.base = WEIGHTS, .apply = copy_as, .a = UP "weight", .b = UP "input_scale"},
        {.base = MIX, .apply = copy_as, .a = Q "deq_scale", .b = Q "bias"}, /* integers of 64 bits */
        {.base = MIX, .apply = copy_as, .a = "model.norm.weight", .b = UP "bias"},
    };
    for (size_t i = 0; i < GS_COUNTOF(strays); i++) {
        char model[1000], bundle[1000];
        gs_verify_result r;
        paths(*state, strays[i].base, model, bundle);
        verify_broken(*state, bundle, model, &strays[i], &r);
        assert_true(found(&r, "tensor-unknown"));
        for (size_t k = 0; k < r.finding_count; k++) {
            assert_string_equal(r.finding[k].tensor, strays[i].b);
            assert_true(strcmp(r.finding[k].check, "tensor-unknown") == 0 || strcmp(r.finding[k].check, "description-complete") == 0);
        }
        gs_verify_result_clear(&r);
    }
}

/* Every check of the ascend bundle has a row above. */
static void every_check_of_this_format_is_tried(void **state) {
    (void)state;
    /* test_other_formats.c has these */
    static const char *const others[] = {"format", "compressed-tensors-config", "compressed-tensors-packed", "gptq-config",
                                         "gptq-zeros", "mindspore-description", "gguf-types"};
    size_t n, missing = 0;
    const gs_check_info *c = gs_verify_checks(&n);
    for (size_t i = 0; i < n; i++) {
        bool met = false;
        for (size_t k = 0; k < GS_COUNTOF(table); k++) met = met || strcmp(table[k].check, c[i].id) == 0;
        for (size_t k = 0; k < GS_COUNTOF(others); k++) met = met || strcmp(others[k], c[i].id) == 0;
        if (!met) print_message("  %s\n", c[i].id);
        missing += !met;
    }
    assert_int_equal(missing, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_unbroken_ones_hold),
        cmocka_unit_test(every_way_to_break_one_is_found_by_its_check),
        cmocka_unit_test(what_a_type_does_not_ask_for_is_unknown_and_no_more),
        cmocka_unit_test(every_check_of_this_format_is_tried),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
