/* The bundles of other ecosystems: those that this program writes hold, and broken ones are found. */
#include "mutations.h"

enum { CT_WEIGHTS, CT_STATIC, CT_DYNAMIC, CT_MIXED, CT_GROUPS, CT_FLOAT, GPTQ, GPTQ_GROUPS, MS_WEIGHTS, MS_STATIC, CKPT_WEIGHTS, CKPT_STATIC,
       CKPT_DYNAMIC, CKPT_BIASED, GGUF, GGUF_FLOAT, BIASED_CT, CT_TIED, CT_FLOAT_TIED, GPTQ_TIED, MS_TIED, MS_FLOAT_TIED,
       MS_STATIC_TIED, CKPT_TIED, CKPT_STATIC_TIED, GGUF_TIED, BASES };
enum { PLAIN, WITH_BIASES, TIED, MODELS };

static const char *const down[] = {"down_proj"}, *const nothing[] = {"none"};

static const struct {
    gs_quantize_options options;
    int model;
} bases[BASES] = {
    [CT_WEIGHTS] = {{.scheme = "w8a16", .format = "compressed-tensors", .dtype = "bf16"}, PLAIN},
    [CT_STATIC] = {{.scheme = "w8a8", .format = "compressed-tensors", .dtype = "f16", .alpha = "none", .fallback = nothing, .fallback_count = 1}, PLAIN},
    [CT_DYNAMIC] = {{.scheme = "w8a8-dynamic", .format = "compressed-tensors", .dtype = "bf16", .alpha = "0.5"}, PLAIN},
    [CT_MIXED] = {{.scheme = "w8a8", .format = "compressed-tensors", .target = "vllm-ascend", .dtype = "bf16", .alpha = "none",
                   .fallback = down, .fallback_count = 1}, PLAIN},
    [CT_GROUPS] = {{.scheme = "w8a16", .format = "compressed-tensors", .dtype = "f16", .group_size = 16}, PLAIN},
    [CT_FLOAT] = {{.scheme = "float", .format = "compressed-tensors", .dtype = "bf16"}, PLAIN},
    [GPTQ] = {{.scheme = "w8a16", .format = "gptq", .dtype = "f16"}, PLAIN},
    [GPTQ_GROUPS] = {{.scheme = "w8a16", .format = "gptq", .dtype = "bf16", .group_size = 16}, PLAIN},
    [MS_WEIGHTS] = {{.scheme = "w8a16", .format = "mindspore", .dtype = "f16"}, PLAIN},
    [MS_STATIC] = {{.scheme = "w8a8", .format = "mindspore", .dtype = "bf16", .alpha = "none"}, PLAIN},
    [CKPT_WEIGHTS] = {{.scheme = "w8a16", .format = "mindspore-ckpt", .dtype = "f16"}, PLAIN},
    [CKPT_STATIC] = {{.scheme = "w8a8", .format = "mindspore-ckpt", .dtype = "f16", .alpha = "none"}, PLAIN},
    [CKPT_DYNAMIC] = {{.scheme = "w8a8-dynamic", .format = "mindspore-ckpt", .dtype = "bf16", .alpha = "none"}, PLAIN},
    [CKPT_BIASED] = {{.scheme = "w8a8", .format = "mindspore-ckpt", .dtype = "bf16", .alpha = "none"}, WITH_BIASES},
    [GGUF] = {{.scheme = "w8a16", .format = "gguf", .dtype = "f16"}, PLAIN},
    [GGUF_FLOAT] = {{.scheme = "float", .format = "gguf", .dtype = "bf16"}, PLAIN},
    [BIASED_CT] = {{.scheme = "w8a8", .format = "compressed-tensors", .dtype = "bf16", .alpha = "none"}, WITH_BIASES},
    [CT_TIED] = {{.scheme = "w8a16", .format = "compressed-tensors", .dtype = "f16"}, TIED},
    [CT_FLOAT_TIED] = {{.scheme = "float", .format = "compressed-tensors", .dtype = "bf16"}, TIED},
    [GPTQ_TIED] = {{.scheme = "w8a16", .format = "gptq", .dtype = "f16"}, TIED},
    [MS_TIED] = {{.scheme = "w8a16", .format = "mindspore", .dtype = "f16"}, TIED},
    [MS_FLOAT_TIED] = {{.scheme = "float", .format = "mindspore", .dtype = "bf16"}, TIED},
    [MS_STATIC_TIED] = {{.scheme = "w8a8", .format = "mindspore", .dtype = "bf16", .alpha = "none"}, TIED},
    [CKPT_TIED] = {{.scheme = "w8a16", .format = "mindspore-ckpt", .dtype = "f16"}, TIED},
    [CKPT_STATIC_TIED] = {{.scheme = "w8a8", .format = "mindspore-ckpt", .dtype = "bf16", .alpha = "none"}, TIED},
    [GGUF_TIED] = {{.scheme = "w8a16", .format = "gguf", .dtype = "f16"}, TIED},
};

#define ROW(check_, base_, apply_, ...) {.check = (check_), .base = (base_), .apply = (apply_), __VA_ARGS__}
#define A "model.layers.0.self_attn."
#define Q A "q_proj."
#define DOWN "model.layers.0.mlp.down_proj."
#define MS_DESC "quantization_description.json"
#define MS_FILE "quant-model-00001-of-00001.safetensors"
#define CONFIG "config.json"
#define G "model.gguf"
#define C "model.ckpt"
#define WQ "model.layers.0.attention.wq"

static const mutation table[] = {
    ROW("tensor-missing", CT_WEIGHTS, drop, .a = Q "weight_shape"),
    ROW("tensor-missing", CT_WEIGHTS, drop, .a = Q "weight_scale"),
    ROW("tensor-dtype", CT_WEIGHTS, retype, .a = Q "weight_packed", .b = "F32"),
    ROW("compressed-tensors-packed", CT_WEIGHTS, dirty, .a = Q "weight_shape"),
    ROW("compressed-tensors-config", CT_WEIGHTS, text, .a = CONFIG, .b = "\"symmetric\"", .c = "\"symetric\""),
    ROW("compressed-tensors-config", CT_WEIGHTS, text, .a = CONFIG, .b = "pack-quantized", .c = "int-quantized"),
    ROW("compressed-tensors-config", CT_STATIC, text, .a = CONFIG, .b = "\"Linear\"", .c = "\"Conv2d\""),
    ROW("compressed-tensors-config", CT_STATIC, text, .a = CONFIG, .b = "\"num_bits\": 8", .c = "\"num_bits\": 9"),
    ROW("compressed-tensors-config", CT_STATIC, text, .a = CONFIG, .b = "\"compressed\"", .c = "\"calibrated\""),
    ROW("compressed-tensors-config", CT_STATIC, text, .a = CONFIG, .b = "\"ignore\"", .c = "\"ignored\""),
    ROW("tensor-missing", CT_STATIC, text, .a = CONFIG, .b = "\"lm_head\"", .c = "\"ml_head\""),
    ROW("compressed-tensors-config", CT_DYNAMIC, text, .a = CONFIG, .b = "\"lm_head\"", .c = "\"lm_head\", \"re:.*q_proj$\""),
    ROW("compressed-tensors-config", CT_DYNAMIC, text, .a = CONFIG, .b = "\"lm_head\"", .c = "\"lm_head\", \"re:(\""),
    ROW("fused-type", CT_DYNAMIC, text, .a = CONFIG, .b = "\"lm_head\"", .c = "\"lm_head\", \"re:.*k_proj$\""),
    ROW("compressed-tensors-config", CT_DYNAMIC, text, .a = CONFIG, .b = "\"lm_head\"", .c = "\"lm_head\", \"re:(([a-z._0-9]+)+)+[!?]\""),
    /* lists where objects are expected */
    ROW("compressed-tensors-config", CT_WEIGHTS, text, .a = CONFIG, .b = "\"config_groups\": {", .c = "\"config_groups\": {\"a\": [1, \"b\"], "),
    ROW("compressed-tensors-config", CT_STATIC, text, .a = CONFIG, .b = "\"weights\":", .c = "\"weights\": [1, \"b\"], \"weigths\":"),
    ROW("compressed-tensors-config", CT_MIXED, text, .a = CONFIG, .b = A "q_proj", .c = A "p_proj"),
    ROW("compressed-tensors-config", CT_MIXED, text, .a = CONFIG, .b = "\"" A "q_proj\"", .c = "\"re:.*_proj\""),
    ROW("compressed-tensors-config", CT_MIXED, text, .a = CONFIG, .b = "model.layers.0.mlp.down_proj\"", .c = "model.layers.0.mlp.up_proj\""),
    ROW("tensor-shape", CT_GROUPS, text, .a = CONFIG, .b = "\"group_size\": 16", .c = "\"group_size\": 32"),
    ROW("code-range", CT_GROUPS, nibbles, .a = Q "weight_packed", .at = 0, .value = 0x81),
    ROW("tensor-missing", CT_STATIC, drop, .a = Q "input_scale"),
    ROW("tensor-missing", CT_STATIC, drop, .a = Q "input_zero_point"),
    ROW("fused-input", CT_STATIC, times, .a = Q "input_scale", .value = 2),
    ROW("fused-input", CT_STATIC, set, .a = Q "input_zero_point", .value = 99),
    ROW("scale-positive", CT_STATIC, set, .a = Q "weight_scale", .at = 3, .value = 0),
    ROW("code-range", CT_DYNAMIC, row, .a = Q "weight", .at = 3, .value = 2),
    ROW("finite", CT_DYNAMIC, set, .a = "model.norm.weight", .at = 3, .value = NAN),
    ROW("tensor-unknown", CT_DYNAMIC, copy_as, .a = "model.norm.weight", .b = "model.extra.weight"),
    ROW("tensor-missing", BIASED_CT, drop, .a = Q "bias"),
    ROW("format", CT_WEIGHTS, text, .a = CONFIG, .b = "\"compressed-tensors\"", .c = "\"fp8\""),
    ROW("tensor-missing", CT_WEIGHTS, text, .a = CONFIG, .b = "\"quantization_config\"", .c = "\"quantisation_config\""),
    ROW("against-weights", CT_WEIGHTS, nibbles, .a = Q "weight_packed", .at = 3, .value = 0x7f, .against = true),
    ROW("against-weights", CT_GROUPS, times, .a = DOWN "weight_scale", .at = 5, .value = 1.5, .against = true),
    ROW("against-weights", CT_DYNAMIC, swap_rows, .a = DOWN "weight", .against = true),
    ROW("against-float", BIASED_CT, set, .a = Q "bias", .at = 1, .value = 7, .against = true),
    ROW("against-config", CT_MIXED, text, .a = CONFIG, .b = "\"rope_theta\": 1", .c = "\"rope_theta\": 9", .against = true),
    /* a plain model */
    ROW("tensor-missing", CT_FLOAT, drop, .a = Q "weight"),
    ROW("tensor-dtype", CT_FLOAT, retype, .a = Q "weight", .b = "I16"),
    ROW("tensor-shape", CT_FLOAT, reshape, .a = DOWN "weight", .b = "64,32"),
    ROW("finite", CT_FLOAT, set, .a = Q "weight", .at = 5, .value = NAN),
    ROW("container", CT_FLOAT, cut, .a = "model.safetensors", .at = -10),
    ROW("tensor-unknown", CT_FLOAT, copy_as, .a = Q "weight", .b = Q "weight_scale"),
    ROW("against-float", CT_FLOAT, set, .a = Q "weight", .at = 5, .value = 3, .against = true),
    ROW("against-config", CT_FLOAT, text, .a = CONFIG, .b = "\"rope_theta\": 1", .c = "\"rope_theta\": 9", .against = true),
    /* gptq */
    ROW("gptq-config", GPTQ, text, .a = CONFIG, .b = "\"bits\": 8", .c = "\"bits\": 5"),
    ROW("gptq-config", GPTQ, text, .a = CONFIG, .b = "\"sym\": true", .c = "\"sym\": false"),
    ROW("gptq-config", GPTQ, text, .a = "quantize_config.json", .b = "\"bits\": 8", .c = "\"bits\": 4"),
    ROW("gptq-config", GPTQ_GROUPS, text, .a = CONFIG, .b = "\"group_size\": 16", .c = "\"group_size\": 15"),
    ROW("gptq-zeros", GPTQ, add, .a = Q "qzeros", .at = 2, .value = 1),
    ROW("gptq-zeros", GPTQ, add, .a = Q "g_idx", .at = 2, .value = 1),
    ROW("gptq-config", GPTQ, text, .a = "quantize_config.json", .b = "\"bits\": 8", .c = "\"bits\": [8]"),
    ROW("tensor-missing", GPTQ, drop, .a = Q "scales"),
    ROW("tensor-dtype", GPTQ, copy_as, .a = Q "qweight", .b = Q "bias"),
    ROW("tensor-unknown", GPTQ, copy_as, .a = "model.norm.weight", .b = Q "bias"),
    ROW("tensor-shape", GPTQ, reshape, .a = Q "qweight", .b = "32,8"),
    ROW("code-range", GPTQ, column, .a = Q "qweight", .at = 3, .value = 0x84),
    ROW("against-weights", GPTQ, column, .a = Q "qweight", .at = 3, .value = 0xff, .against = true),
    ROW("against-weights", GPTQ_GROUPS, times, .a = DOWN "scales", .at = 33, .value = 2, .against = true),
    ROW("against-coverage", GPTQ, add, .a = Q "qzeros", .at = 2, .value = 1, .against = true),
    /* mindspore */
    ROW("mindspore-description", MS_WEIGHTS, unlist, .a = MS_DESC, .b = Q "weight_scale"),
    ROW("mindspore-description", MS_WEIGHTS, text, .a = MS_DESC, .b = "\"W8A16\"", .c = "\"W8A61\""),
    ROW("tensor-missing", MS_WEIGHTS, drop, .a = Q "weight_scale"),
    ROW("weight-offset", MS_WEIGHTS, set, .a = Q "weight_offset", .at = 1, .value = 4),
    ROW("container", MS_STATIC, cut, .a = MS_FILE, .at = -10),
    ROW("tensor-missing", MS_STATIC, drop, .a = Q "deq_scale"),
    ROW("tensor-dtype", MS_STATIC, retype, .a = Q "input_offset", .b = "U8"),
    ROW("index-size", MS_STATIC, text, .a = "model.safetensors.index.json", .b = "\"total_size\": ", .c = "\"total_size\": 1"),
    ROW("against-weights", MS_STATIC, swap_rows, .a = DOWN "weight", .against = true),
    ROW("against-float", MS_WEIGHTS, set, .a = "model.embed_tokens.embedding_table", .at = 9, .value = 3, .against = true),
    ROW("mindspore-description", MS_WEIGHTS, text, .a = MS_DESC, .b = "{", .c = "{\"lm_haed.weight\": \"FLOAT\","),
    ROW("mindspore-description", MS_WEIGHTS, drop, .a = "lm_head.weight"),
    ROW("tied-head", MS_TIED, copy_changed, .a = "model.embed_tokens.embedding_table", .b = "lm_head.weight", .at = 9, .value = 0.75),
    /* mindspore-ckpt */
    ROW("container", CKPT_WEIGHTS, cut, .a = C, .at = -10),
    ROW("tensor-unknown", CKPT_STATIC, text, .a = C, .b = "attention.wq._layer.weight", .c = "attention.wx._layer.weight"),
    ROW("tensor-missing", CKPT_DYNAMIC, text, .a = C, .b = "model.norm_out", .c = "model.norm_uot"),
    ROW("tensor-missing", CKPT_STATIC, text, .a = C, .b = "wq._layer.matmul.quant_bias", .c = "wq._layer.matmul.quant_sabi"),
    ROW("tensor-missing", CKPT_STATIC, text, .a = C, .b = "wq.quant_op.input_zp", .c = "wq.quant_op.input_pz"),
    ROW("deq-scale-dtype", CKPT_STATIC, text, .a = CONFIG, .b = "float16", .c = "bfloat16"),
    ROW("scale-positive", CKPT_WEIGHTS, raw, .a = C, .b = WQ "._layer.matmul.weight_scale", .at = 4, .value = 0),
    ROW("scale-positive", CKPT_STATIC, raw, .a = C, .b = WQ ".quant_op.input_scale", .at = 4, .value = -1),
    ROW("weight-offset", CKPT_WEIGHTS, raw, .a = C, .b = WQ "._layer.matmul.weight_zp", .at = 4, .value = 2),
    ROW("finite", CKPT_DYNAMIC, raw, .a = C, .b = "model.norm_out.weight", .at = 4, .value = NAN),
    ROW("config", CKPT_DYNAMIC, remove_file, .a = CONFIG),
    ROW("stray-weights", CKPT_DYNAMIC, copy_file, .a = C, .b = "other.ckpt"),
    ROW("against-weights", CKPT_WEIGHTS, raw, .a = C, .b = WQ "._layer.weight", .at = 40, .value = -100, .against = true),
    ROW("against-weights", CKPT_STATIC, raw, .a = C, .b = WQ "._layer.weight", .at = 40, .value = -100, .against = true),
    ROW("against-float", CKPT_BIASED, raw, .a = C, .b = WQ "._layer.matmul.quant_bias", .at = 4, .value = 123456, .against = true),
    ROW("against-float", CKPT_STATIC, raw, .a = C, .b = "model.norm_out.weight", .at = 4, .value = 9, .against = true),
    /* gguf */
    ROW("container", GGUF, cut, .a = G, .at = -10),
    ROW("stray-weights", GGUF, copy_file, .a = G, .b = "other.gguf"),
    ROW("container", GGUF, text, .a = G, .b = "blk.0.attn_q.weight", .c = "blk.0.attn_x.weight"),
    ROW("tensor-missing", GGUF, behind, .a = G, .b = "llama.block_count", .at = 4, .value = 4),
    ROW("container", GGUF, behind, .a = G, .b = "llama.block_count", .at = 4, .value = 2),
    ROW("tensor-shape", GGUF, behind, .a = G, .b = "llama.feed_forward_length", .at = 4, .value = 32),
    ROW("gguf-types", GGUF, behind, .a = G, .b = "blk.0.attn_norm.weight", .at = 12, .value = 26 /* I32 */),
    ROW("gguf-types", GGUF_FLOAT, behind, .a = G, .b = "blk.0.attn_q.weight", .at = 20, .value = 25 /* I16 */),
    ROW("finite", GGUF, raw, .a = G, .b = "model.norm.weight", .at = 3, .value = NAN),
    ROW("finite", GGUF, raw, .a = G, .b = Q "weight", .at = 1, .value = 0x7c),
    ROW("scale-positive", GGUF, raw, .a = G, .b = Q "weight", .at = 1, .value = -64),
    ROW("against-weights", GGUF, raw, .a = G, .b = DOWN "weight", .at = 9, .value = -128, .against = true),
    ROW("against-float", GGUF, raw, .a = G, .b = "model.norm.weight", .at = 3, .value = 4, .against = true),
    ROW("against-float", GGUF_FLOAT, raw, .a = G, .b = DOWN "weight", .at = 3, .value = 4, .against = true),
    ROW("against-config", GGUF, behind, .a = G, .b = "llama.rope.freq_base", .at = 4, .value = 0x447a0000 /* 1000 */, .against = true),
};

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    gs_error err = {0};
    char model[MODELS][1000], ids[1100];
    w->root = gs_test_tmpdir();
    assert_ok(gs_session_create(NULL, &w->session, &err), &err);
    snprintf(ids, sizeof ids, "%s/ids.i32", w->root);
    tiny_tokens(ids, 4 * 32, tiny_default.vocab, 5);
    for (int i = 0; i < MODELS; i++) {
        /* rows of whole GGUF blocks */
        tiny_shape shape = tiny_default;
        shape.intermediate = 64;
        shape.tied = i == TIED;
        snprintf(model[i], sizeof model[i], "%s/model%d", w->root, i);
        assert_int_equal(mkdir(model[i], 0755), 0);
        (i == WITH_BIASES ? tiny_biased_model : tiny_model)(model[i], &shape, 3);
    }
    for (int b = 0; b < BASES; b++) {
        char bundle[1100];
        snprintf(bundle, sizeof bundle, "%s/bundle%d", w->root, b);
        make_bundle(w->session, model[bases[b].model], bundle, ids, bases[b].options);
    }
    *state = w;
    return 0;
}

static void bundle_of(const world *w, int base, char bundle[1100], char model[1100]) {
    snprintf(bundle, 1100, "%s/bundle%d", w->root, base);
    snprintf(model, 1100, "%s/model%d", w->root, bases[base].model);
}

/* With their sources, too: nothing is passed over. */
static void the_unbroken_ones_hold(void **state) {
    const world *w = *state;
    gs_error err = {0};
    for (int b = 0; b < 2 * BASES; b++) {
        gs_verify_result r;
        char bundle[1100], model[1100];
        bundle_of(w, b / 2, bundle, model);
        gs_verify_options o = {.against = b % 2 ? model : NULL};
        assert_ok(gs_verify(w->session, bundle, &o, &r, &err), &err);
        if (r.total_findings) print_message("%s %s %s\n", bases[b / 2].options.format, bases[b / 2].options.scheme, b % 2 ? "against" : "");
        print_findings(&r);
        assert_true(r.total_findings == 0 && r.checks_run >= 8 && r.tensors >= (bases[b / 2].model == TIED ? 29 : 30));
        gs_verify_result_clear(&r);
    }
}

static void every_way_to_break_one_is_found_by_its_check(void **state) {
    size_t hits = 0;
    char model[1100], bundle[1100];
    for (size_t i = 0; i < GS_COUNTOF(table); i++) {
        bundle_of(*state, table[i].base, bundle, model);
        hits += caught(*state, bundle, model, &table[i], i);
    }
    print_message("%zu of %zu mutations found\n", hits, GS_COUNTOF(table));
    assert_int_equal(hits, GS_COUNTOF(table));
}

static void set_words(cJSON *object, const char *key, const char *one) {
    cJSON *list = cJSON_CreateStringArray(&one, 1);
    assert_non_null(list);
    assert_true(cJSON_ReplaceItemInObjectCaseSensitive(object, key, list));
}

/* Groups of any name and order, whose targets are a class, patterns or names, as other tools write them. */
static void groups_of_compressed_tensors_may_be_said_otherwise(void **state) {
    const world *w = *state;
    static const struct {
        const char *rest, *down, *ignore; /* targets of the static group and of the other one */
    } said[] = {{"Linear", "re:.*down_proj$", "lm_head"},
                {"re:model[.]layers[.].*[.](self_attn[.]._proj|mlp[.](gate|up)_proj)", "Linear", "re:lm_.*"},
                {"re:(?!.*down).*_proj", "re:.*mlp[.]down_proj", "re:lm_head"}};
    for (size_t i = 0; i < 2 * GS_COUNTOF(said); i++) {
        char bundle[1100], model[1100], copy[1100], path[1200];
        gs_error err = {0};
        gs_verify_result r;
        gs_strbuf text = {0};
        cJSON *config;
        bundle_of(w, CT_MIXED, bundle, model);
        snprintf(copy, sizeof copy, "%s/said%zu", w->root, i);
        snprintf(path, sizeof path, "%s/config.json", copy);
        shell("cp -r '%s' '%s'", bundle, copy);
        assert_ok(gs_json_load(path, 1 << 20, &config, &err), &err);
        cJSON *q = cJSON_GetObjectItem(config, "quantization_config"), *groups = cJSON_GetObjectItem(q, "config_groups");
        cJSON *rest = cJSON_DetachItemFromObject(groups, "group_0"), *down_group = cJSON_DetachItemFromObject(groups, "group_1");
        assert_true(rest && down_group);
        set_words(rest, "targets", said[i / 2].rest);
        set_words(down_group, "targets", said[i / 2].down);
        set_words(q, "ignore", said[i / 2].ignore);
        assert_true(cJSON_AddItemToObject(groups, "a", i % 2 ? rest : down_group) && cJSON_AddItemToObject(groups, "b b", i % 2 ? down_group : rest));
        assert_ok(gs_json_print(config, 1, &text, &err), &err);
        tiny_text(copy, "config.json", text.data);
        cJSON_Delete(config);
        gs_strbuf_clear(&text);
        gs_verify_options o = {.against = model};
        assert_ok(gs_verify(w->session, copy, &o, &r, &err), &err);
        print_findings(&r);
        assert_int_equal(r.total_findings, 0);
        gs_verify_result_clear(&r);
    }
}

/* Codes that are not the nearest are as good as the caller says. */
static void a_tolerance_is_what_it_says(void **state) {
    const world *w = *state;
    gs_error err = {0};
    char bundle[1100], model[1100], copy[1100];
    bundle_of(w, CT_MIXED, bundle, model);
    snprintf(copy, sizeof copy, "%s/tolerant", w->root);
    shell("cp -r '%s' '%s'", bundle, copy);
    step(copy, &(mutation){.a = DOWN "weight", .at = 40});
    for (int i = 0; i < 3; i++) {
        gs_verify_result r;
        gs_verify_options o = {.against = model, .tolerance_steps = (double[]){0, 1.51, 3}[i]};
        assert_ok(gs_verify(w->session, copy, &o, &r, &err), &err);
        assert_int_equal(found(&r, "against-weights"), i < 1);
        gs_verify_result_clear(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_unbroken_ones_hold),
        cmocka_unit_test(every_way_to_break_one_is_found_by_its_check),
        cmocka_unit_test(groups_of_compressed_tensors_may_be_said_otherwise),
        cmocka_unit_test(a_tolerance_is_what_it_says),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
