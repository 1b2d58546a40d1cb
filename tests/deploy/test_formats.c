/* What each format stores of a network, tensor by tensor against plain loops over what went in; what each refuses;
 * and that any of them appears whole, the same at any number of threads, or not at all. */
#include "formats_support.h"

#include <loaders/mindspore_ckpt.h>

static const int8_t *codes_of(const gs_node *node) { return node->param[GS_ROLE_WEIGHT]->data; }
static const float *floats_of(const gs_node *node, gs_role role) { return node->param[role]->data; }

/* ---- compressed-tensors ---- */

static void check_ct_scales(const gs_shards *s, const gs_node *node, const recipe *r, int64_t n, int64_t k) {
    int64_t groups = r->group ? k / r->group : 1;
    const uint8_t *scale = made_bytes(s, node->name, ".weight_scale", r->dtype, n, groups);
    for (int64_t i = 0; i < n * groups; i++)
        assert_true(made_float(scale, r->dtype, i) == floats_of(node, GS_ROLE_WEIGHT_SCALE)[i]);
    if (!r->bias) return;
    const uint8_t *bias = made_bytes(s, node->name, ".bias", r->dtype, n, 0);
    for (int64_t i = 0; i < n; i++) assert_true(made_float(bias, r->dtype, i) == floats_of(node, GS_ROLE_BIAS)[i]);
}

static void check_ct_packed(const gs_shards *s, const gs_node *node, const recipe *r, int64_t n, int64_t k) {
    const uint8_t *packed = made_bytes(s, node->name, ".weight_packed", GS_I32, n, k / 4);
    int64_t shape[2];
    memcpy(shape, made_bytes(s, node->name, ".weight_shape", GS_I64, 2, 0), sizeof shape);
    assert_int_equal(shape[0], n);
    assert_int_equal(shape[1], k);
    for (int64_t row = 0; row < n; row++)
        for (int64_t c = 0; c < k; c++) {
            uint32_t word;
            memcpy(&word, packed + 4 * (row * (k / 4) + c / 4), 4);
            assert_int_equal((int)(word >> 8 * (c % 4) & 0xff) - 128, codes_of(node)[row * k + c]);
        }
    check_ct_scales(s, node, r, n, k);
}

static void check_ct_plain(const gs_shards *s, const gs_node *node, const recipe *r, int64_t n, int64_t k) {
    char name[256];
    assert_memory_equal(made_bytes(s, node->name, ".weight", GS_I8, n, k), codes_of(node), (size_t)(n * k));
    check_ct_scales(s, node, r, n, k);
    snprintf(name, sizeof name, "%s.input_zero_point", node->name);
    assert_int_equal(gs_shards_find(s, name) != NULL, r->scheme == GS_SCHEME_W8A8 && !r->symmetric);
    if (r->scheme != GS_SCHEME_W8A8) return;
    float scale = made_float(made_bytes(s, node->name, ".input_scale", r->dtype, 1, 0), r->dtype, 0);
    assert_true(scale == *floats_of(node, GS_ROLE_INPUT_SCALE));
    if (!r->symmetric) assert_int_equal((int8_t)*made_bytes(s, node->name, ".input_zero_point", GS_I8, 1, 0), -7);
}

static void check_ct_config(const fixture *f, const recipe *r) {
    cJSON *config = made_json(f->bundle, "config.json");
    const cJSON *q = gs_json_get(config, "quantization_config"), *group = gs_json_get(gs_json_get(q, "config_groups"), "group_0");
    const cJSON *weights = gs_json_get(group, "weights"), *input = gs_json_get(group, "input_activations");
    bool packed = r->scheme == GS_SCHEME_W8A16, dynamic = r->scheme == GS_SCHEME_W8A8_DYNAMIC;
    assert_string_equal(gs_json_get(q, "quant_method")->valuestring, "compressed-tensors");
    assert_string_equal(gs_json_get(q, "format")->valuestring, packed ? "pack-quantized" : "int-quantized");
    assert_string_equal(gs_json_get(group, "targets")->child->valuestring, "Linear");
    assert_string_equal(gs_json_get(weights, "strategy")->valuestring, r->group ? "group" : "channel");
    assert_int_equal(cJSON_IsNull(gs_json_get(weights, "group_size")), r->group == 0);
    assert_int_equal(cJSON_GetArraySize(gs_json_get(q, "ignore")), 1);
    assert_string_equal(gs_json_get(q, "ignore")->child->valuestring, "lm_head");
    assert_int_equal(cJSON_IsNull(input), packed);
    if (!packed) {
        assert_string_equal(gs_json_get(input, "strategy")->valuestring, dynamic ? "token" : "tensor");
        assert_int_equal(cJSON_IsTrue(gs_json_get(input, "dynamic")), dynamic);
        assert_int_equal(cJSON_IsTrue(gs_json_get(input, "symmetric")), dynamic || r->symmetric);
    }
    assert_string_equal(gs_json_get(config, "torch_dtype")->valuestring, gs_dtype_torch_name(r->dtype));
    cJSON_Delete(config);
}

static void compressed_tensors_hold_what_went_in(void **state) {
    (void)state;
    const recipe recipes[] = {
        {.scheme = GS_SCHEME_W8A16, .dtype = GS_BF16},
        {.scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .group = 8, .bias = true},
        {.scheme = GS_SCHEME_W8A8_DYNAMIC, .dtype = GS_F16, .bias = true},
        {.scheme = GS_SCHEME_W8A8, .dtype = GS_BF16, .symmetric = true},
        {.scheme = GS_SCHEME_W8A8, .dtype = GS_F16, .bare = true},
    };
    for (size_t i = 0; i < GS_COUNTOF(recipes); i++) {
        fixture f;
        gs_error err = {0};
        gs_shards *s;
        recipe r = recipes[i];
        r.format = &gs_bundle_compressed_tensors;
        fixture_begin(&f, &tiny_default);
        assert_ok(made_write(&f, f.bundle, &r, &err), &err);
        assert_ok(gs_shards_open_dir(f.bundle, "model", &s, &err), &err);
        assert_int_equal(made_each(&f, s, &r, r.scheme == GS_SCHEME_W8A16 ? check_ct_packed : check_ct_plain), 21);
        check_ct_config(&f, &r);
        gs_shards_close(s);
        fixture_end(&f);
    }
}

/* A scale that the model's dtype does not hold is stored as it is. */
static void scales_that_the_dtype_lacks_stay_f32(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    gs_shards *s;
    const recipe r = {.format = &gs_bundle_compressed_tensors, .scheme = GS_SCHEME_W8A16, .dtype = GS_BF16, .odd = "down_proj",
                      .odd_scale = 1.00390625001};
    fixture_begin(&f, &tiny_default);
    assert_ok(made_write(&f, f.bundle, &r, &err), &err);
    assert_ok(gs_shards_open_dir(f.bundle, "model", &s, &err), &err);
    made_bytes(s, "model.layers.1.mlp.down_proj", ".weight_scale", GS_F32, 32, 1);
    made_bytes(s, "model.layers.1.mlp.up_proj", ".weight_scale", GS_BF16, 48, 1);
    gs_shards_close(s);
    fixture_end(&f);
}

/* Linears that stay float are all in `ignore`, a tied head as well. */
static void every_float_linear_is_ignored_by_name(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    tiny_shape shape = tiny_default;
    shape.tied = true;
    const recipe r = {.format = &gs_bundle_compressed_tensors, .scheme = GS_SCHEME_W8A8_DYNAMIC, .dtype = GS_F16, .left = "down_proj"};
    fixture_begin(&f, &shape);
    assert_ok(made_write(&f, f.bundle, &r, &err), &err);
    cJSON *config = made_json(f.bundle, "config.json");
    const cJSON *ignore = gs_json_get(gs_json_get(config, "quantization_config"), "ignore"), *item;
    int down = 0, head = 0;
    cJSON_ArrayForEach(item, ignore) {
        down += strstr(item->valuestring, ".mlp.down_proj") != NULL;
        head += strcmp(item->valuestring, "lm_head") == 0;
    }
    assert_int_equal(down, 3);
    assert_int_equal(head, 1);
    assert_int_equal(cJSON_GetArraySize(ignore), 4);
    cJSON_Delete(config);
    fixture_end(&f);
}

/* ---- gptq ---- */

static void check_gptq(const gs_shards *s, const gs_node *node, const recipe *r, int64_t n, int64_t k) {
    int64_t groups = r->group ? k / r->group : 1, size = k / groups;
    const uint8_t *words = made_bytes(s, node->name, ".qweight", GS_I32, k / 4, n);
    const uint8_t *zeros = made_bytes(s, node->name, ".qzeros", GS_I32, groups, n / 4);
    const uint8_t *scales = made_bytes(s, node->name, ".scales", GS_F16, groups, n);
    const uint8_t *g_idx = made_bytes(s, node->name, ".g_idx", GS_I32, k, 0);
    for (int64_t i = 0; i < k; i++) {
        int32_t group;
        memcpy(&group, g_idx + 4 * i, 4);
        assert_int_equal(group, i / size);
    }
    for (int64_t out = 0; out < n; out++)
        for (int64_t in = 0; in < k; in++) {
            uint32_t word, zero;
            int64_t g = in / size;
            memcpy(&word, words + 4 * (in / 4 * n + out), 4);
            memcpy(&zero, zeros + 4 * (g * (n / 4) + out / 4), 4);
            int u = (int)(word >> 8 * (in % 4) & 0xff), z = (int)(zero >> 8 * (out % 4) & 0xff) + 1;
            float w = (float)(u - z) * made_float(scales, GS_F16, g * n + out);
            assert_true(w == (float)codes_of(node)[out * k + in] * floats_of(node, GS_ROLE_WEIGHT_SCALE)[out * groups + g]);
        }
}

static void gptq_dequantizes_to_the_same_weights(void **state) {
    (void)state;
    const int64_t group[] = {0, 8};
    for (size_t i = 0; i < GS_COUNTOF(group); i++) {
        fixture f;
        gs_error err = {0};
        gs_shards *s;
        int64_t size;
        const recipe r = {.format = &gs_bundle_gptq, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .group = group[i], .threads = 3};
        fixture_begin(&f, &tiny_default);
        assert_ok(made_write(&f, f.bundle, &r, &err), &err);
        assert_ok(gs_shards_open_dir(f.bundle, "model", &s, &err), &err);
        assert_int_equal(made_each(&f, s, &r, check_gptq), 21);
        cJSON *legacy = made_json(f.bundle, "quantize_config.json"), *config = made_json(f.bundle, "config.json");
        assert_true(cJSON_Compare(legacy, gs_json_get(config, "quantization_config"), 1));
        assert_true(gs_json_is_int(gs_json_get(legacy, "group_size"), &size));
        assert_int_equal(size, group[i] ? group[i] : -1);
        cJSON_Delete(legacy);
        cJSON_Delete(config);
        gs_shards_close(s);
        fixture_end(&f);
    }
}

/* ---- mindspore ---- */

static void check_static_vectors(const uint8_t *scale, const uint8_t *offset, const gs_node *node, gs_dtype dtype, int64_t k) {
    for (int64_t i = 0; i < k; i++) {
        assert_true(made_float(scale, dtype, i) == *floats_of(node, GS_ROLE_INPUT_SCALE));
        assert_int_equal((int8_t)offset[i], (int)*floats_of(node, GS_ROLE_INPUT_OFFSET));
    }
}

/* The f32 in a deq_scale of either form. */
static float deq_of(const gs_node *node, int64_t i) {
    const gs_param *p = node->param[GS_ROLE_DEQ_SCALE];
    return made_float((const uint8_t *)p->data + (p->dtype == GS_I64 ? 8 : 4) * i, GS_F32, 0);
}

static void check_mindspore(const gs_shards *s, const gs_node *node, const recipe *r, int64_t n, int64_t k) {
    assert_memory_equal(made_bytes(s, node->name, ".weight", GS_I8, n, k), codes_of(node), (size_t)(n * k));
    const uint8_t *scale = made_bytes(s, node->name, ".weight_scale", r->dtype, n, 0);
    const uint8_t *offset = made_bytes(s, node->name, ".weight_offset", GS_I32, n, 0);
    for (int64_t i = 0; i < n; i++) {
        int32_t o;
        memcpy(&o, offset + 4 * i, 4);
        assert_int_equal(o, (int)r->weight_offset);
        assert_true(made_float(scale, r->dtype, i) == floats_of(node, GS_ROLE_WEIGHT_SCALE)[i]);
    }
    if (r->scheme != GS_SCHEME_W8A8) return;
    check_static_vectors(made_bytes(s, node->name, ".input_scale", r->dtype, k, 0),
                         made_bytes(s, node->name, ".input_offset", GS_I8, k, 0), node, r->dtype, k);
    const uint8_t *deq = made_bytes(s, node->name, ".deq_scale", GS_F32, n, 0);
    for (int64_t i = 0; i < n; i++) assert_true(made_float(deq, GS_F32, i) == deq_of(node, i));
    assert_memory_equal(made_bytes(s, node->name, ".quant_bias", GS_I32, n, 0), node->param[GS_ROLE_QUANT_BIAS]->data, (size_t)(4 * n));
}

static void mindspore_has_golden_sticks_names_and_forms(void **state) {
    (void)state;
    const recipe recipes[] = {{.scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .weight_offset = 3},
                              {.scheme = GS_SCHEME_W8A8_DYNAMIC, .dtype = GS_BF16},
                              {.scheme = GS_SCHEME_W8A8, .dtype = GS_F16},
                              {.scheme = GS_SCHEME_W8A8, .dtype = GS_BF16, .symmetric = true, .bias = true}};
    for (size_t i = 0; i < GS_COUNTOF(recipes); i++) {
        fixture f;
        gs_error err = {0};
        gs_shards *s;
        recipe r = recipes[i];
        r.format = &gs_bundle_mindspore;
        fixture_begin(&f, &tiny_default);
        assert_ok(made_write(&f, f.bundle, &r, &err), &err);
        assert_ok(gs_shards_open_dir(f.bundle, "model", &s, &err), &err); /* by the index, which is always there */
        assert_int_equal(made_each(&f, s, &r, check_mindspore), 21);
        made_bytes(s, "model.embed_tokens", ".embedding_table", r.dtype, 96, 32);
        cJSON *types = made_json(f.bundle, "quantization_description.json"), *config = made_json(f.bundle, "config.json");
        assert_int_equal(cJSON_GetArraySize(types), gs_shards_count(s));
        assert_string_equal(gs_json_get(types, "model.layers.0.mlp.up_proj.weight_offset")->valuestring, gs_scheme_name(r.scheme));
        if (r.bias) /* a module has one type */
            assert_string_equal(gs_json_get(types, "model.layers.0.mlp.up_proj.bias")->valuestring, gs_scheme_name(r.scheme));
        assert_string_equal(gs_json_get(config, "quantization")->valuestring, "golden-stick");
        cJSON_Delete(types);
        cJSON_Delete(config);
        gs_shards_close(s);
        fixture_end(&f);
    }
}

/* ---- mindspore-ckpt ---- */

static const uint8_t *ckpt_bytes(const gs_mindspore_ckpt *c, const char *name, gs_dtype dtype, int64_t a, int64_t b) {
    return made_tensor(gs_mindspore_ckpt_find(c, name), name, dtype, b ? 2 : 1, a, b)->data;
}

static gs_mindspore_ckpt *write_ckpt(fixture *f, const recipe *r) {
    gs_error err = {0};
    gs_mindspore_ckpt *c;
    char path[1300];
    fixture_begin(f, &tiny_default);
    assert_ok(made_write(f, f->bundle, r, &err), &err);
    snprintf(path, sizeof path, "%s/model.ckpt", f->bundle);
    assert_ok(gs_mindspore_ckpt_open(path, &c, &err), &err);
    return c;
}

/* One linear of the second block by hand: names, and zero points that are negated even where they are 0. */
static void a_checkpoint_has_mindformers_names(void **state) {
    (void)state;
    fixture f;
    const recipe r = {.format = &gs_bundle_mindspore_ckpt, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16};
    gs_mindspore_ckpt *c = write_ckpt(&f, &r);
    gs_net *net = made_segment(&f, 2, &r);
    const gs_node *up = gs_net_find(net, "model.layers.1.mlp.up_proj");
    assert_memory_equal(ckpt_bytes(c, "model.layers.1.feed_forward.w3._layer.weight", GS_I8, 48, 32), codes_of(up), 48 * 32);
    const uint8_t *scale = ckpt_bytes(c, "model.layers.1.feed_forward.w3._layer.matmul.weight_scale", GS_F16, 48, 0);
    const uint8_t *zp = ckpt_bytes(c, "model.layers.1.feed_forward.w3._layer.matmul.weight_zp", GS_F16, 48, 0);
    for (int i = 0; i < 48; i++) {
        assert_true(made_float(scale, GS_F16, i) == floats_of(up, GS_ROLE_WEIGHT_SCALE)[i]);
        assert_int_equal(zp[2 * i] | zp[2 * i + 1] << 8, 0x8000);
    }
    ckpt_bytes(c, "model.tok_embeddings.embedding_weight", GS_F16, 96, 32);
    ckpt_bytes(c, "model.layers.0.attention_norm.weight", GS_F16, 32, 0);
    ckpt_bytes(c, "model.layers.2.ffn_norm.weight", GS_F16, 32, 0);
    ckpt_bytes(c, "model.norm_out.weight", GS_F16, 32, 0);
    ckpt_bytes(c, "lm_head.weight", GS_F16, 96, 32);
    ckpt_bytes(c, "model.layers.0.attention.wo._layer.weight", GS_I8, 32, 32);
    ckpt_bytes(c, "model.layers.0.attention.wk._layer.weight", GS_I8, 16, 32);
    ckpt_bytes(c, "model.layers.0.feed_forward.w2._layer.weight", GS_I8, 32, 48);
    assert_int_equal(gs_mindspore_ckpt_count(c), 3 + 6 + 21 * 3);
    gs_net_destroy(net);
    gs_mindspore_ckpt_close(c);
    fixture_end(&f);
}

static void a_checkpoint_of_static_linears_has_the_fused_constants(void **state) {
    (void)state;
    fixture f;
    const recipe r = {.format = &gs_bundle_mindspore_ckpt, .scheme = GS_SCHEME_W8A8, .dtype = GS_F16};
    gs_mindspore_ckpt *c = write_ckpt(&f, &r);
    gs_net *net = made_segment(&f, 1, &r);
    const gs_node *q = gs_net_find(net, "model.layers.0.self_attn.q_proj");
    assert_memory_equal(ckpt_bytes(c, "model.layers.0.attention.wq._layer.matmul.dequant_scale", GS_I64, 32, 0),
                        q->param[GS_ROLE_DEQ_SCALE]->data, 32 * 8);
    assert_memory_equal(ckpt_bytes(c, "model.layers.0.attention.wq._layer.matmul.quant_bias", GS_I32, 32, 0),
                        q->param[GS_ROLE_QUANT_BIAS]->data, 32 * 4);
    check_static_vectors(ckpt_bytes(c, "model.layers.0.attention.wq.quant_op.input_scale", GS_F16, 32, 0),
                         ckpt_bytes(c, "model.layers.0.attention.wq.quant_op.input_zp", GS_I8, 32, 0), q, GS_F16, 32);
    assert_int_equal(gs_mindspore_ckpt_count(c), 3 + 6 + 21 * 5);
    gs_net_destroy(net);
    gs_mindspore_ckpt_close(c);
    fixture_end(&f);
}

/* ---- ascend ---- */

/* deq_scale and quant_bias of a linear that came without, from their definition in double and int64. */
static void check_derived(const gs_shards *s, const gs_node *node, const recipe *r, int64_t n, int64_t k) {
    bool bf16 = r->dtype == GS_BF16;
    const uint8_t *deq = made_bytes(s, node->name, ".deq_scale", bf16 ? GS_F32 : GS_I64, n, 0);
    const uint8_t *bias = made_bytes(s, node->name, ".quant_bias", GS_I32, n, 0);
    for (int64_t i = 0; i < n; i++) {
        float d = *floats_of(node, GS_ROLE_INPUT_SCALE) * floats_of(node, GS_ROLE_WEIGHT_SCALE)[i];
        int64_t sum = 0, high = 0;
        int32_t got;
        assert_true(made_float(deq + (bf16 ? 4 : 8) * i, GS_F32, 0) == d);
        if (!bf16) memcpy(&high, deq + 8 * i, 8);
        assert_true(high >> 32 == 0);
        for (int64_t c = 0; c < k; c++) sum += codes_of(node)[i * k + c];
        double b = r->bias ? floats_of(node, GS_ROLE_BIAS)[i] : 0;
        memcpy(&got, bias + 4 * i, 4);
        double want = b / d + 7.0 * (double)sum;
        assert_true(got >= want - 0.51 && got <= want + 0.51);
    }
}

static void ascend_derives_the_constants_that_are_missing(void **state) {
    (void)state;
    const gs_dtype dtypes[] = {GS_F16, GS_BF16};
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++) {
        fixture f;
        gs_error err = {0};
        gs_shards *s;
        const recipe r = {.format = &gs_bundle_ascend, .scheme = i ? GS_SCHEME_W8A8_MIX : GS_SCHEME_W8A8, .dtype = dtypes[i],
                          .bare = true, .bias = true, .threads = 2};
        fixture_begin(&f, &tiny_default);
        assert_ok(made_write(&f, f.bundle, &r, &err), &err);
        assert_ok(gs_shards_open_dir(f.bundle, "quant_model_weights", &s, &err), &err);
        assert_int_equal(made_each(&f, s, &r, check_derived), 21);
        cJSON *types = made_json(f.bundle, "quant_model_description.json"), *config = made_json(f.bundle, "config.json");
        assert_string_equal(gs_json_get(types, "model.layers.0.mlp.up_proj.weight_scale")->valuestring, gs_scheme_name(r.scheme));
        assert_string_equal(gs_json_get(types, "model.layers.0.mlp.up_proj.deq_scale")->valuestring, gs_scheme_name(r.scheme));
        assert_string_equal(gs_json_get(config, "quantize")->valuestring, i ? "w8a8_pdmix" : "w8a8");
        cJSON_Delete(types);
        cJSON_Delete(config);
        gs_shards_close(s);
        fixture_end(&f);
    }
}

/* ---- what is refused ---- */

static const struct {
    recipe r;
    const char *word; /* in the text or the hint */
} refused[] = {
    /* 310P */
    {{.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A8, .dtype = GS_BF16, .target = GS_TARGET_310P, .symmetric = true}, "float16"},
    {{.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .target = GS_TARGET_310P}, "no W8A16 on 310P"},
    {{.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A8_MIX, .dtype = GS_F16, .target = GS_TARGET_310P}, "no W8A8_MIX on 310P"},
    /* groups */
    {{.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .target = GS_TARGET_BOTH, .group = 8}, "vllm-ascend takes one weight scale a row"},
    {{.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .target = GS_TARGET_MINDIE, .group = 8}, "64, 128 or 256"},
    {{.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A8_DYNAMIC, .dtype = GS_F16, .target = GS_TARGET_MINDIE, .group = 8}, "int8 activations"},
    {{.format = &gs_bundle_mindspore, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .group = 8}, "one weight scale a row"},
    {{.format = &gs_bundle_mindspore_ckpt, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .group = 8}, "one weight scale a row"},
    /* offsets */
    {{.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .target = GS_TARGET_BOTH, .weight_offset = 3}, "--target mindie"},
    {{.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A8_DYNAMIC, .dtype = GS_F16, .target = GS_TARGET_MINDIE, .weight_offset = 3}, "offsets"},
    {{.format = &gs_bundle_compressed_tensors, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .weight_offset = 3}, "offsets"},
    {{.format = &gs_bundle_gptq, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .weight_offset = 3}, "offsets"},
    /* schemes */
    {{.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W4A16, .dtype = GS_F16}, "no W4A16"},
    {{.format = &gs_bundle_compressed_tensors, .scheme = GS_SCHEME_W8A8_MIX, .dtype = GS_F16}, "W8A8_MIX"},
    {{.format = &gs_bundle_gptq, .scheme = GS_SCHEME_W8A8, .dtype = GS_F16}, "W8A8"},
    {{.format = &gs_bundle_gptq, .scheme = GS_SCHEME_FLOAT, .dtype = GS_F16}, "is float"},
    {{.format = &gs_bundle_mindspore, .scheme = GS_SCHEME_W8A8_MIX, .dtype = GS_F16}, "no W8A8_MIX"},
    /* groups of linears */
    {{.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .left = "k_proj"}, "compute them together"},
    {{.format = &gs_bundle_compressed_tensors, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .left = "up_proj"}, "compute them together"},
    {{.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A8, .dtype = GS_F16, .odd = "v_proj"}, "input_scale"},
    {{.format = &gs_bundle_compressed_tensors, .scheme = GS_SCHEME_W8A8, .dtype = GS_F16, .odd = "gate_proj"}, "input_scale"},
    {{.format = &gs_bundle_gptq, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .left = "down_proj"}, "every linear but the head"},
    /* scales */
    {{.format = &gs_bundle_gptq, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .odd = "o_proj", .odd_scale = 1.0001}, "float16"},
    {{.format = &gs_bundle_mindspore, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .odd = "o_proj", .odd_scale = 1.0001}, "float16"},
};

static void what_cannot_be_carried_is_refused_with_its_reason(void **state) {
    (void)state;
    fixture f;
    fixture_begin(&f, &tiny_default);
    for (size_t i = 0; i < GS_COUNTOF(refused); i++) {
        gs_error err = {0};
        gs_status status = made_write(&f, f.bundle, &refused[i].r, &err);
        if (status != GS_E_UNSUPPORTED) fail_msg("row %zu: %s (%s)", i, gs_status_text(status), err.text);
        if (!strstr(err.text, refused[i].word) && !strstr(err.hint, refused[i].word)) fail_msg("row %zu: '%s' (%s) lacks '%s'", i, err.text, err.hint, refused[i].word);
        assert_int_not_equal(access(f.bundle, F_OK), 0);
    }
    fixture_end(&f);
}

/* The same rows are fine where the target's reason does not hold. */
static void what_the_target_takes_is_written(void **state) {
    (void)state;
    const recipe fine[] = {
        {.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A8, .dtype = GS_F16, .target = GS_TARGET_310P},
        {.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A8_DYNAMIC, .dtype = GS_F16, .target = GS_TARGET_310P, .left = "down_proj"},
        {.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .target = GS_TARGET_MINDIE, .weight_offset = 3},
        {.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A8_MIX, .dtype = GS_BF16, .target = GS_TARGET_BOTH},
        {.format = &gs_bundle_ascend, .scheme = GS_SCHEME_FLOAT, .dtype = GS_BF16, .target = GS_TARGET_BOTH},
        {.format = &gs_bundle_compressed_tensors, .scheme = GS_SCHEME_FLOAT, .dtype = GS_BF16},
        {.format = &gs_bundle_mindspore_ckpt, .scheme = GS_SCHEME_W8A8_DYNAMIC, .dtype = GS_BF16},
    };
    for (size_t i = 0; i < GS_COUNTOF(fine); i++) {
        fixture f;
        gs_error err = {0};
        fixture_begin(&f, &tiny_default);
        if (made_write(&f, f.bundle, &fine[i], &err) != GS_OK) fail_msg("row %zu: %s", i, err.text);
        fixture_end(&f);
    }
}

/* ---- one interface ---- */

static const recipe each[] = {
    {.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A8, .dtype = GS_BF16, .bare = true, .shard = 3000},
    {.format = &gs_bundle_mindspore, .scheme = GS_SCHEME_W8A8, .dtype = GS_F16, .shard = 3000},
    {.format = &gs_bundle_mindspore_ckpt, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16},
    {.format = &gs_bundle_compressed_tensors, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .shard = 3000},
    {.format = &gs_bundle_gptq, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16, .shard = 3000},
    {.format = &gs_bundle_gguf, .scheme = GS_SCHEME_FLOAT, .dtype = GS_F16},
};

static void the_bytes_do_not_depend_on_threads(void **state) {
    (void)state;
    for (size_t i = 0; i < GS_COUNTOF(each); i++) {
        fixture f;
        gs_error err = {0};
        char other[1200], command[3000];
        recipe one = each[i], four = each[i];
        one.threads = 1;
        four.threads = 4;
        fixture_begin(&f, &tiny_default);
        snprintf(other, sizeof other, "%s/other", f.root);
        assert_ok(made_write(&f, f.bundle, &one, &err), &err);
        assert_ok(made_write(&f, other, &four, &err), &err);
        snprintf(command, sizeof command, "diff -r '%s' '%s'", f.bundle, other);
        assert_int_equal(system(command), 0);
        fixture_end(&f);
    }
}

/* Every allocation of a write fails once; each time nothing is left behind, and at last it is done. */
static void running_out_of_memory_leaves_no_bundle(void **state) {
    (void)state;
    for (size_t i = 0; i < GS_COUNTOF(each); i++) {
        fixture f;
        gs_error err = {0};
        gs_context cx = {0};
        gs_bundle_options o;
        gs_status status = GS_E_NOMEM;
        char command[1400];
        fixture_begin(&f, &tiny_default);
        o = made_options(&f, &each[i]);
        snprintf(command, sizeof command, "test \"$(ls -A '%s')\" = model", f.root);
        gs_net *net = made_segment(&f, 1, &each[i]);
        for (int64_t k = 0; status == GS_E_NOMEM && k < 5000; k += 1 + k / 40) {
            gs_bundle_writer *w = NULL;
            uint64_t bytes;
            gs_mem_fail_after(k);
            status = gs_bundle_writer_create(&cx, each[i].format, f.bundle, &o, &w, &err);
            if (status == GS_OK) status = gs_bundle_writer_plan(w, net, &err);
            if (status == GS_OK) status = gs_bundle_writer_begin(w, &err);
            if (status == GS_OK) status = gs_bundle_writer_write(w, net, &err);
            if (status == GS_OK) {
                status = gs_bundle_writer_finish(w, &bytes, &err);
                w = NULL;
            }
            gs_bundle_writer_abort(w);
            gs_mem_fail_after(-1);
            if (status != GS_OK && k % 8 == 0) assert_int_equal(system(command), 0);
        }
        if (status != GS_OK) fail_msg("%s: %s", each[i].format->name, err.text);
        gs_net_destroy(net);
        fixture_end(&f);
    }
}

/* Segments come again as they were planned, or nothing is written. */
static void another_network_than_was_planned_is_refused(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    gs_context cx = {0};
    gs_bundle_writer *w;
    uint64_t bytes;
    recipe r = each[0];
    fixture_begin(&f, &tiny_default);
    gs_bundle_options o = made_options(&f, &r);
    gs_net *first = made_segment(&f, 1, &r), *second = made_segment(&f, 2, &r);
    assert_ok(gs_bundle_writer_create(&cx, r.format, f.bundle, &o, &w, &err), &err);
    assert_ok(gs_bundle_writer_plan(w, first, &err), &err);
    assert_ok(gs_bundle_writer_plan(w, second, &err), &err);
    assert_ok(gs_bundle_writer_begin(w, &err), &err);
    assert_fails(gs_bundle_writer_write(w, second, &err), GS_E_INVALID, &err);
    assert_fails(gs_bundle_writer_finish(w, &bytes, &err), GS_E_INVALID, &err);
    assert_int_not_equal(access(f.bundle, F_OK), 0);
    gs_net_destroy(first);
    gs_net_destroy(second);
    fixture_end(&f);
}

/* Segment 1 is changed after a recipe has made it; step fails then, and nothing is written. */
static void changed_is_refused(const recipe *r, void (*change)(gs_net *net), bool when_planned, gs_status want, const char *words) {
    fixture f;
    gs_error err = {0};
    gs_context cx = {0};
    gs_bundle_writer *w;
    fixture_begin(&f, &tiny_default);
    gs_bundle_options o = made_options(&f, r);
    gs_net *net = made_segment(&f, 1, r);
    change(net);
    assert_ok(gs_bundle_writer_create(&cx, r->format, f.bundle, &o, &w, &err), &err);
    if (!when_planned) {
        assert_ok(gs_bundle_writer_plan(w, net, &err), &err);
        assert_ok(gs_bundle_writer_begin(w, &err), &err);
    }
    assert_fails(when_planned ? gs_bundle_writer_plan(w, net, &err) : gs_bundle_writer_write(w, net, &err), want, &err);
    if (!strstr(err.text, words)) fail_msg("%s", err.text);
    gs_bundle_writer_abort(w);
    assert_int_not_equal(access(f.bundle, F_OK), 0);
    gs_net_destroy(net);
    fixture_end(&f);
}

static void widen(gs_net *net) {
    int64_t *deq = gs_net_find(net, "model.layers.0.mlp.up_proj")->param[GS_ROLE_DEQ_SCALE]->data;
    deq[3] |= (int64_t)1 << 37;
}

/* Its upper half says something that no other format could. */
static void a_deq_scale_that_is_more_than_an_f32_is_refused(void **state) {
    (void)state;
    const recipe recipes[] = {{.format = &gs_bundle_mindspore, .scheme = GS_SCHEME_W8A8, .dtype = GS_F16},
                              {.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A8, .dtype = GS_F16}};
    for (size_t i = 0; i < GS_COUNTOF(recipes); i++)
        changed_is_refused(&recipes[i], widen, false, GS_E_NUMERIC, "'model.layers.0.mlp.up_proj': deq_scale of row 3");
}

static void lengthen(gs_net *net) {
    gs_error err = {0};
    char name[600];
    const int64_t shape[1] = {32};
    memset(name, 'x', sizeof name);
    snprintf(name + 580, sizeof name - 580, ".weight");
    gs_node *norm = gs_net_find(net, "model.layers.0.input_layernorm");
    assert_ok(gs_net_param_new(net, norm, GS_ROLE_WEIGHT, name, GS_F32, 1, shape, NULL, &err), &err);
}

static void a_name_that_is_too_long_is_refused(void **state) {
    (void)state;
    const recipe r = {.format = &gs_bundle_ascend, .scheme = GS_SCHEME_W8A16, .dtype = GS_F16};
    changed_is_refused(&r, lengthen, true, GS_E_INVALID, "the name is too long");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compressed_tensors_hold_what_went_in),
        cmocka_unit_test(scales_that_the_dtype_lacks_stay_f32),
        cmocka_unit_test(every_float_linear_is_ignored_by_name),
        cmocka_unit_test(gptq_dequantizes_to_the_same_weights),
        cmocka_unit_test(mindspore_has_golden_sticks_names_and_forms),
        cmocka_unit_test(a_checkpoint_has_mindformers_names),
        cmocka_unit_test(a_checkpoint_of_static_linears_has_the_fused_constants),
        cmocka_unit_test(ascend_derives_the_constants_that_are_missing),
        cmocka_unit_test(what_cannot_be_carried_is_refused_with_its_reason),
        cmocka_unit_test(what_the_target_takes_is_written),
        cmocka_unit_test(the_bytes_do_not_depend_on_threads),
        cmocka_unit_test(running_out_of_memory_leaves_no_bundle),
        cmocka_unit_test(another_network_than_was_planned_is_refused),
        cmocka_unit_test(a_deq_scale_that_is_more_than_an_f32_is_refused),
        cmocka_unit_test(a_name_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
