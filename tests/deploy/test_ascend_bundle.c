/* The ascend bundle: written, read back by readers that share nothing with the writer but the
 * container, compared with bundles of the original tool, and broken on purpose. */
#include "../support.h"
#include "../tiny_model.h"

#include <api/opened.h>
#include <base/context.h>
#include <base/json.h>
#include <base/mem.h>
#include <loaders/shards.h>
#include <math.h>
#include <sys/stat.h>

static gs_session *session(int threads) {
    gs_error err = {0};
    gs_session *s;
    gs_session_options o = {.threads = threads};
    assert_ok(gs_session_create(&o, &s, &err), &err);
    return s;
}

static gs_status quantize(const char *model, const char *bundle, const gs_quantize_options *o, gs_error *err) {
    gs_session *s = session(2);
    gs_quantize_result r;
    gs_status status = gs_quantize(s, model, bundle, o, &r, err);
    if (status == GS_OK) gs_quantize_result_clear(&r);
    gs_session_destroy(s);
    return status;
}

static void path_of(char out[1400], const char *dir, const char *name) {
    snprintf(out, 1400, "%.1200s/%.150s", dir, name);
}

static cJSON *load(const char *dir, const char *name) {
    char path[1400];
    gs_error err = {0};
    cJSON *json;
    path_of(path, dir, name);
    assert_ok(gs_json_load(path, 1 << 24, &json, &err), &err);
    return json;
}

static gs_shards *weights(const char *bundle) {
    gs_error err = {0};
    gs_shards *s;
    assert_ok(gs_shards_open_dir(bundle, "quant_model_weights", &s, &err), &err);
    return s;
}

/* A model and a place for its bundle. */
typedef struct fixture {
    char *root;
    char model[1100], bundle[1100];
} fixture;

static void begin(fixture *f, const tiny_shape *shape) {
    f->root = gs_test_tmpdir();
    snprintf(f->model, sizeof f->model, "%s/model", f->root);
    snprintf(f->bundle, sizeof f->bundle, "%s/bundle", f->root);
    assert_int_equal(mkdir(f->model, 0755), 0);
    tiny_model(f->model, shape, 3);
}

static void end(fixture *f) { gs_test_rmdir(f->root); }

static void every_stored_tensor_is_described_and_every_described_one_stored(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    begin(&f, &tiny_default);
    assert_ok(quantize(f.model, f.bundle, NULL, &err), &err);
    cJSON *description = load(f.bundle, "quant_model_description.json");
    gs_shards *s = weights(f.bundle);
    size_t described = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, description) {
        if (!strchr(item->string, '.')) continue; /* a global */
        described++;
        assert_non_null(gs_shards_find(s, item->string));
    }
    assert_int_equal(described, gs_shards_count(s));
    /* 3 layers x (2 norms + 7 x 3) + embedding, norm, head */
    assert_int_equal(described, 3 * 23 + 3);
    for (size_t i = 0; i < gs_shards_count(s); i++) {
        const gs_tensor *t = gs_shards_at(s, i);
        const cJSON *type = gs_json_get(description, t->name);
        assert_non_null(type);
        if (strstr(t->name, "_proj.")) {
            assert_string_equal(type->valuestring, "W8A16");
            bool weight = strcmp(t->name + strlen(t->name) - 7, ".weight") == 0;
            assert_int_equal(t->dtype, weight ? GS_I8 : GS_F32);
            assert_int_equal(t->ndim, 2);
            if (!weight) assert_int_equal(t->shape[1], 1);
            if (strstr(t->name, "weight_offset"))
                for (uint64_t b = 0; b < t->bytes; b++) assert_int_equal(t->data[b], 0);
        } else {
            assert_string_equal(type->valuestring, "FLOAT");
            assert_int_equal(t->dtype, GS_F16); /* a float32 source is cast */
        }
    }
    assert_string_equal(gs_json_get(description, "model_quant_type")->valuestring, "W8A16");
    assert_string_equal(gs_json_get(description, "version")->valuestring, "1.0.0");
    cJSON_Delete(description);
    gs_shards_close(s);
    end(&f);
}

static void config_is_the_sources_with_the_edits_and_no_others(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    begin(&f, &tiny_default);
    tiny_text(f.model, "tokenizer_config.json", "{\"verbatim\":   true}");
    tiny_text(f.model, "model.safetensors.index.json.bak", "no");
    tiny_text(f.model, "chat.jinja", "{{ x }}");
    assert_ok(quantize(f.model, f.bundle, NULL, &err), &err);
    cJSON *source = load(f.model, "config.json"), *config = load(f.bundle, "config.json");
    assert_null(gs_json_get(config, "quantization_config"));
    assert_string_equal(gs_json_get(config, "torch_dtype")->valuestring, "float16");
    assert_string_equal(gs_json_get(config, "quantize")->valuestring, "w8a16");
    const cJSON *item;
    cJSON_ArrayForEach(item, source) {
        if (strcmp(item->string, "quantization_config") == 0 || strcmp(item->string, "torch_dtype") == 0) continue;
        assert_true(cJSON_Compare(item, gs_json_get(config, item->string), 1));
    }
    cJSON_Delete(source);
    cJSON_Delete(config);
    char path[1400], *text;
    size_t len;
    path_of(path, f.bundle, "tokenizer_config.json");
    assert_ok(gs_file_read(path, 1000, &text, &len, &err), &err);
    assert_string_equal(text, "{\"verbatim\":   true}");
    gs_free(text);
    path_of(path, f.bundle, "chat.jinja");
    assert_true(gs_path_exists(path));
    path_of(path, f.bundle, "model.safetensors.index.json.bak");
    assert_false(gs_path_exists(path));
    /* MindIE refuses files that others may write */
    struct stat info;
    path_of(path, f.bundle, "quant_model_weights.safetensors");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 022, 0);
    end(&f);
}

static void shards_hold_the_same_tensors_as_one_file(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    begin(&f, &tiny_default);
    char sharded[1400];
    path_of(sharded, f.root, "sharded");
    gs_quantize_options o = {.max_shard_size = 8000};
    assert_ok(quantize(f.model, f.bundle, NULL, &err), &err);
    assert_ok(quantize(f.model, sharded, &o, &err), &err);
        gs_shards *one = weights(f.bundle), *many = weights(sharded);
    assert_int_equal(gs_shards_files(one), 1);
    assert_true(gs_shards_files(many) > 2);
    assert_int_equal(gs_shards_count(one), gs_shards_count(many));
    for (size_t i = 0; i < gs_shards_count(one); i++) {
        const gs_tensor *a = gs_shards_at(one, i), *b = gs_shards_find(many, a->name);
        assert_non_null(b);
        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a->data, b->data, a->bytes);
    }
    gs_shards_close(one);
    gs_shards_close(many);
    end(&f);
}

/* Every file of two bundles, byte for byte. */
static void assert_same_files(const char *a, const char *b) {
    gs_error err = {0};
    char **names, **others, path[1400];
    size_t count, other_count;
    assert_ok(gs_dir_list(a, &names, &count, &err), &err);
    assert_ok(gs_dir_list(b, &others, &other_count, &err), &err);
    assert_int_equal(count, other_count);
    for (size_t i = 0; i < count; i++) {
        char *x, *y;
        size_t nx, ny;
        assert_string_equal(names[i], others[i]);
        path_of(path, a, names[i]);
        assert_ok(gs_file_read(path, 1 << 26, &x, &nx, &err), &err);
        path_of(path, b, names[i]);
        assert_ok(gs_file_read(path, 1 << 26, &y, &ny, &err), &err);
        assert_int_equal(nx, ny);
        assert_memory_equal(x, y, nx);
        gs_free(x);
        gs_free(y);
    }
    gs_strlist_free(names, count);
    gs_strlist_free(others, other_count);
}

static void the_same_job_gives_the_same_bytes_at_any_thread_count(void **state) {
    (void)state;
    static const gs_dtype dtypes[] = {GS_F32, GS_F16, GS_BF16};
    for (size_t i = 0; i < GS_COUNTOF(dtypes); i++) {
        fixture f;
        gs_error err = {0};
        tiny_shape shape = tiny_default;
        shape.dtype = dtypes[i];
        begin(&f, &shape);
        char other[1400];
        path_of(other, f.root, "other");
        for (int threads = 1; threads <= 3; threads += 2) {
            gs_session *s = session(threads);
            gs_quantize_result r;
            assert_ok(gs_quantize(s, f.model, threads == 1 ? f.bundle : other, NULL, &r, &err), &err);
            assert_string_equal(r.dtype, dtypes[i] == GS_BF16 ? "bfloat16" : "float16");
            gs_quantize_result_clear(&r);
            gs_session_destroy(s);
        }
        assert_same_files(f.bundle, other);
        end(&f);
    }
}

/* What the consumer computes is q * T(scale): its evaluation must equal that of a float model
 * holding those products. */
static void the_bundle_is_computed_as_its_consumer_does(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    tiny_shape shape = tiny_default;
    shape.dtype = GS_BF16;
    begin(&f, &shape);
    assert_ok(quantize(f.model, f.bundle, NULL, &err), &err);
    gs_opened o;
    assert_ok(gs_opened_open(NULL, f.bundle, NULL, &o, &err), &err);
    gs_net *net;
    assert_ok(gs_model_segment(o.model, 1, &net, &err), &err);
    const gs_node *node = gs_net_find(net, "model.layers.0.mlp.down_proj");
    assert_int_equal(node->op, GS_OP_QLINEAR);
    assert_int_equal(node->attr.quant.compute, GS_BF16);
    /* a bf16 bundle's scales survive the loader's rounding unchanged */
    const gs_param *scale = node->param[GS_ROLE_WEIGHT_SCALE];
    float s[32];
    assert_ok(gs_param_read_f32(scale, 0, 32, s, &err), &err);
    for (int i = 0; i < 32; i++) assert_true(gs_bf16_to_f32(gs_f32_to_bf16(s[i])) == s[i]);
    gs_net_destroy(net);
    gs_opened_close(&o);
    end(&f);
}

static void a_tied_head_is_described_but_stored_only_if_the_source_stores_it(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    tiny_shape shape = tiny_default;
    shape.tied = true;
    begin(&f, &shape);
    assert_ok(quantize(f.model, f.bundle, NULL, &err), &err);
    cJSON *description = load(f.bundle, "quant_model_description.json");
    assert_string_equal(gs_json_get(description, "lm_head.weight")->valuestring, "FLOAT");
    gs_shards *s = weights(f.bundle);
    assert_null(gs_shards_find(s, "lm_head.weight"));
    gs_shards_close(s);
    cJSON_Delete(description);
    gs_opened o;
    assert_ok(gs_opened_open(NULL, f.bundle, NULL, &o, &err), &err);
    gs_opened_close(&o);
    end(&f);
}

/* ---- refusals: nothing is left behind ---- */

static void assert_only_model_left(const fixture *f) {
    char command[1300];
    snprintf(command, sizeof command, "test \"$(ls -A '%s')\" = model", f->root);
    assert_int_equal(system(command), 0);
}

static void a_directory_with_files_the_input_and_a_lost_parent_are_refused(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    begin(&f, &tiny_default);
    assert_fails(quantize(f.model, f.model, NULL, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "is the input"));
    assert_fails(quantize(f.model, f.root, NULL, &err), GS_E_INVALID, &err);
    char lost[1400];
    path_of(lost, f.root, "no/such/parent");
    assert_fails(quantize(f.model, lost, NULL, &err), GS_E_IO, &err);
    assert_only_model_left(&f);
    end(&f);
}

static void a_value_beyond_f16_is_an_error_with_a_way_out(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    begin(&f, &tiny_default);
    /* patch one norm weight to 1e5 */
    char path[1400];
    path_of(path, f.model, "model.safetensors");
    gs_safetensors *st;
    assert_ok(gs_safetensors_open(path, &st, &err), &err);
    const gs_tensor *t = gs_safetensors_find(st, "model.norm.weight");
    long at = (long)(t->data - gs_safetensors_file(st)->data);
    gs_safetensors_close(st);
    FILE *file = fopen(path, "r+b");
    float big = 1e5f;
    fseek(file, at, SEEK_SET);
    assert_int_equal(fwrite(&big, 4, 1, file), 1);
    fclose(file);
    gs_quantize_options o = {.dtype = "f16"};
    assert_fails(quantize(f.model, f.bundle, &o, &err), GS_E_NUMERIC, &err);
    assert_non_null(strstr(err.text, "model.norm.weight"));
    assert_non_null(strstr(err.hint, "bf16"));
    assert_only_model_left(&f);
    gs_session *s = session(1);
    gs_quantize_result r;
    assert_ok(gs_quantize(s, f.model, f.bundle, NULL, &r, &err), &err); /* auto sees it and takes bf16 */
    assert_string_equal(r.dtype, "bfloat16");
    gs_quantize_result_clear(&r);
    gs_session_destroy(s);
    end(&f);
}

static void running_out_of_memory_anywhere_leaves_no_bundle(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    begin(&f, &tiny_default);
    gs_session *s = session(1);
    gs_status status = GS_E_NOMEM;
    for (int64_t k = 0; status != GS_OK; k += 53) {
        gs_quantize_result r;
        gs_mem_fail_after(k);
        status = gs_quantize(s, f.model, f.bundle, NULL, &r, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) {
            gs_quantize_result_clear(&r);
        } else {
            assert_int_equal(status, GS_E_NOMEM);
            assert_only_model_left(&f);
        }
    }
    gs_session_destroy(s);
    end(&f);
}

static void a_cancelled_job_leaves_no_bundle(void **state) {
    (void)state;
    fixture f;
    gs_error err = {0};
    begin(&f, &tiny_default);
    gs_cancel_request();
    assert_fails(quantize(f.model, f.bundle, NULL, &err), GS_E_CANCELLED, &err);
    gs_cancel_reset();
    assert_only_model_left(&f);
    end(&f);
}

/* ---- reading fails closed ---- */

static void edit_description(const char *bundle, const char *from, const char *to) {
    char command[3000];
    snprintf(command, sizeof command, "sed -i 's|%s|%s|' '%s/quant_model_description.json'", from, to, bundle);
    assert_int_equal(system(command), 0);
}

static void a_description_that_disagrees_with_the_tensors_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *word;
    } edit[] = {
        {".*layers.1.mlp.up_proj.weight\".*", "", "not described"},
        {"\"version\": \"1.0.0\"", "\"ghost.weight\": \"FLOAT\"", "not stored"},
        {"mlp.up_proj.weight\": \"W8A16\"", "mlp.up_proj.weight\": \"W3A3\"", "not computed"},
        {"mlp.up_proj.weight\": \"W8A16\"", "mlp.up_proj.weight\": \"FLOAT\"", "stored as I8"},
        {"mlp.up_proj.weight\": \"W8A16\"", "mlp.up_proj.weight\": 7", "no string"},
        {"model.norm.weight\": \"FLOAT\"", "model.norm.weight\": \"W8A16\"", "not computed"},
        {"\"metadata\": {},", "\"metadata\": {}, \"metadata\": {},", "metadata"},
    };
    for (size_t i = 0; i < GS_COUNTOF(edit); i++) {
        fixture f;
        gs_error err = {0};
        begin(&f, &tiny_default);
        assert_ok(quantize(f.model, f.bundle, NULL, &err), &err);
        edit_description(f.bundle, edit[i].from, edit[i].to);
        gs_opened o;
        gs_status status = gs_opened_open(NULL, f.bundle, NULL, &o, &err);
        if (status == GS_OK) fail_msg("edit %zu was accepted", i);
        if (!strstr(err.text, edit[i].word)) fail_msg("edit %zu: '%s' lacks '%s'", i, err.text, edit[i].word);
        end(&f);
    }
}

/* ---- the original tool's bundle (shared data) ---- */

static void codes_and_scales_are_those_of_the_original_tool(void **state) {
    (void)state;
    gs_need_data(config, "data/lm/stories260K-hf-llama/config.json");
    gs_need_data(reference, "reference/msmodelslim/stories260K-f32-v1-w8a16/config.json");
    gs_error err = {0};
    char model[1024], original[1024], *root = gs_test_tmpdir(), bundle[1400];
    snprintf(model, sizeof model, "%.*s", (int)(strlen(config) - 12), config);
    snprintf(original, sizeof original, "%.*s", (int)(strlen(reference) - 12), reference);
    path_of(bundle, root, "bundle");
    gs_quantize_options f32 = {.dtype = "f32"}; /* in f16, scales are f16 values */
    assert_ok(quantize(model, bundle, &f32, &err), &err);
    gs_shards *ours = weights(bundle), *theirs = weights(original);
    cJSON *our_types = load(bundle, "quant_model_description.json");
    cJSON *their_types = load(original, "quant_model_description.json");
    assert_int_equal(gs_shards_count(ours), gs_shards_count(theirs));
    int identical = 0;
    for (size_t i = 0; i < gs_shards_count(theirs); i++) {
        const gs_tensor *a = gs_shards_at(theirs, i), *b = gs_shards_find(ours, a->name);
        assert_non_null(b);
        assert_int_equal(a->ndim, b->ndim);
        assert_true(cJSON_Compare(gs_json_get(our_types, a->name), gs_json_get(their_types, a->name), 1));
        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a->data, b->data, a->bytes);
        identical++;
    }
    assert_int_equal(identical, 5 * 7 * 3 + 13);
    cJSON_Delete(our_types);
    cJSON_Delete(their_types);
    gs_shards_close(ours);
    gs_shards_close(theirs);
    gs_test_rmdir(root);
}

static void the_written_bundle_of_stories260k_has_its_published_perplexity(void **state) {
    (void)state;
    gs_need_data(config, "data/lm/stories260K-hf-llama/config.json");
    gs_need_data(ids, "data/lm/golden/stories260K_eval_61440.i32");
    gs_error err = {0};
    char model[1024], *root = gs_test_tmpdir(), bundle[1400];
    snprintf(model, sizeof model, "%.*s", (int)(strlen(config) - 12), config);
    path_of(bundle, root, "bundle");
    assert_ok(quantize(model, bundle, NULL, &err), &err);
    gs_session *s = session(2);
    gs_evaluate_options o = {.tokens = ids, .window = 512, .against = model};
    gs_eval_result r;
    assert_ok(gs_evaluate(s, bundle, &o, &r, &err), &err);
    print_message("W8A16 ppl %.6f, float %.6f, KL %.6f\n", r.ppl, r.ref_ppl, r.kld_mean);
    assert_true(fabs(r.ppl - 4.47361) <= 0.0005);
    assert_true(fabs(r.ref_ppl - 4.47073) <= 0.0005);
    gs_session_destroy(s);
    gs_test_rmdir(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stored_tensor_is_described_and_every_described_one_stored),
        cmocka_unit_test(config_is_the_sources_with_the_edits_and_no_others),
        cmocka_unit_test(shards_hold_the_same_tensors_as_one_file),
        cmocka_unit_test(the_same_job_gives_the_same_bytes_at_any_thread_count),
        cmocka_unit_test(the_bundle_is_computed_as_its_consumer_does),
        cmocka_unit_test(a_tied_head_is_described_but_stored_only_if_the_source_stores_it),
        cmocka_unit_test(a_directory_with_files_the_input_and_a_lost_parent_are_refused),
        cmocka_unit_test(a_value_beyond_f16_is_an_error_with_a_way_out),
        cmocka_unit_test(running_out_of_memory_anywhere_leaves_no_bundle),
        cmocka_unit_test(a_cancelled_job_leaves_no_bundle),
        cmocka_unit_test(a_description_that_disagrees_with_the_tensors_is_refused),
        cmocka_unit_test(codes_and_scales_are_those_of_the_original_tool),
        cmocka_unit_test(the_written_bundle_of_stories260k_has_its_published_perplexity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
