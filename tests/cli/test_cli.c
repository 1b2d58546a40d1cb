/* The program as a user meets it: output, exit codes, one clear line on every kind of bad input,
 * and nothing left behind. */
#include "program.h"

#include <base/hash.h>
#include <base/mem.h>
#include <signal.h>

static void help_teaches_and_goes_to_standard_output(void **state) {
    (void)state;
    static const char *const commands[] = {"", "inspect", "calibrate", "quantize", "eval", "verify", "tokenize"};
    for (size_t i = 0; i < GS_COUNTOF(commands); i++) {
        const outcome *o = gstick("%s --help", commands[i]);
        assert_int_equal(o->code, 0);
        assert_non_null(strstr(o->out, "usage: gstick"));
        assert_string_equal(o->err, "");
        if (i) assert_non_null(strstr(o->out, "exit codes"));
    }
    assert_int_equal(gstick("--version")->code, 0);
    assert_string_equal(last.out, "gstick " GSTICK_VERSION "\n");
}

static void the_main_job_from_model_to_measured_bundle(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    tiny_text(f.model, "tokenizer_config.json", "{}");
    cJSON *json = json_of(gstick("quantize '%s' --scheme w8a16 -o '%s' --json", f.model, f.bundle));
    assert_int_equal(cJSON_GetArraySize(gs_json_get(json, "layers")), 22);
    assert_true(number(json, "bytes_out") > 0 && number(json, "peak_rss_bytes") > 0 && number(json, "bytes_in") > 0);
    cJSON_Delete(json);
    assert_string_equal(last.err, "");
    json = json_of(gstick("eval '%s' --tokens '%s' --window 64 --against '%s' --json", f.bundle, f.ids, f.model));
    static const char *const keys[] = {"nll", "ppl", "ppl_stderr", "tokens", "windows", "tokens_per_second", "seconds",
                                       "peak_rss_bytes", "ref_ppl", "delta_ppl", "kld_mean", "kld_p99", "top1_agreement"};
    for (size_t i = 0; i < GS_COUNTOF(keys); i++) (void)number(json, keys[i]);
    assert_true(number(json, "windows") == 4 && number(json, "tokens") == 4 * 63);
    assert_true(number(json, "kld_mean") > 0 && number(json, "kld_mean") < 1e-3);
    cJSON_Delete(json);
    json = json_of(gstick("inspect '%s' --json", f.bundle));
    assert_true(number(json, "quantized_linears") == 21 && number(json, "linears") == 22);
    assert_string_equal(gs_json_get(json, "type")->valuestring, "W8A16");
    cJSON_Delete(json);
    assert_int_equal(gstick("inspect '%s'", f.model)->code, 0);
    assert_non_null(strstr(last.out, "llama"));
    assert_int_equal(gstick("inspect '%s' --segment 1", f.model)->code, 0);
    assert_non_null(strstr(last.out, "model.layers.0.mlp.down_proj"));
    end(&f);
}

/* One hash for every ISA level, thread count and architecture (a level that the machine lacks falls
 * back to scalar; test_row_quant asserts that a forced level is the one that runs). */
static void the_weights_file_has_the_same_bytes_everywhere(void **state) {
    (void)state;
    static const char *const levels[] = {"scalar", "avx2", "avx512", "neon"};
    static const uint64_t want = 0xe2d398a99676733du;
    fixture f;
    begin(&f);
    for (size_t i = 0; i < 2 * GS_COUNTOF(levels); i++) {
        char prefix[64], path[1200], *bytes;
        size_t len;
        gs_error err = {0};
        snprintf(prefix, sizeof prefix, "GSTICK_ISA=%s", levels[i / 2]);
        assert_int_equal(gstick_with(prefix, "quantize '%s' -o '%s%zu' --threads %zu", f.model, f.bundle, i, i % 2 + 1)->code, 0);
        snprintf(path, sizeof path, "%s%zu/quant_model_weights.safetensors", f.bundle, i);
        assert_ok(gs_file_read(path, 1 << 24, &bytes, &len, &err), &err);
        uint64_t hash = gs_hash64(bytes, len);
        if (hash != want) fail_msg("%s, %zu threads: %016llx", levels[i / 2], i % 2 + 1, (unsigned long long)hash);
        gs_free(bytes);
    }
    end(&f);
}

static void wrong_usage_exits_with_2(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    assert_refused(gstick("qantize"), 2, "did you mean 'quantize'");
    assert_refused(gstick("quantize"), 2, "no model");
    assert_refused(gstick("quantize '%s'", f.model), 2, "-o BUNDLE");
    assert_refused(gstick("quantize '%s' -o '%s' --shceme w8a16", f.model, f.bundle), 2, "did you mean '--scheme'");
    assert_refused(gstick("quantize '%s' -o '%s' --scheme w8a61", f.model, f.bundle), 2, "did you mean 'w8a16'");
    assert_refused(gstick("quantize '%s' -o '%s' --format ascent", f.model, f.bundle), 2, "did you mean 'ascend'");
    assert_refused(gstick("quantize '%s' -o '%s' --dtype f61", f.model, f.bundle), 2, "unknown dtype");
    assert_refused(gstick("eval '%s'", f.model), 2, "exactly one");
    assert_refused(gstick("eval '%s' --tokens '%s' --text x", f.model, f.ids), 2, "exactly one");
    assert_refused(gstick("eval '%s' --tokens '%s' --protocol windws", f.model, f.ids), 2, "did you mean 'windows'");
    assert_refused(gstick("eval '%s' --tokens '%s' --window 1", f.model, f.ids), 2, "two tokens");
    assert_refused(gstick("eval '%s' --tokens '%s' --dump-logits '%s'", f.model, f.ids, f.ids), 2, "is the input");
    assert_no_output(&f);
    end(&f);
}

/* The manifest's recipe of a bundle, made with `arguments` behind the model and the output. */
static cJSON *recipe_of(const fixture *f, const char *arguments) {
    char path[1200], command[1200];
    gs_error err = {0};
    cJSON *json, *recipe;
    if (gstick("quantize '%s' -o '%s' %s", f->model, f->bundle, arguments)->code != 0) fail_msg("%s", last.err);
    snprintf(path, sizeof path, "%s/gstick_manifest.json", f->bundle);
    assert_ok(gs_json_load(path, 1 << 20, &json, &err), &err);
    recipe = cJSON_DetachItemFromObject(json, "recipe");
    cJSON_Delete(json);
    snprintf(command, sizeof command, "rm -r '%s'", f->bundle);
    assert_int_equal(system(command), 0);
    return recipe;
}

static const char *recipe_word(const cJSON *recipe, const char *key) {
    const cJSON *item = gs_json_get(recipe, key);
    return cJSON_IsString(item) ? item->valuestring : cJSON_IsArray(item) && item->child ? item->child->valuestring : "";
}

static void flags_win_over_a_recipe_and_the_manifest_reads_back_as_one(void **state) {
    (void)state;
    fixture f;
    char arguments[2400];
    begin(&f);
    tiny_text(f.model, "tokenizer_config.json", "{}");
    tiny_text(f.model, "r.json", "{\"dtype\": \"bf16\", \"scale_convention\": \"goldenstick\", \"blacklist\": [\"down_proj\"]}");
    snprintf(arguments, sizeof arguments, "--dtype f16 --recipe '%s/r.json' --blacklist o_proj,lm_head --max-shard-size 1M", f.model);
    cJSON *recipe = recipe_of(&f, arguments);
    assert_string_equal(recipe_word(recipe, "scheme"), "w8a16");
    assert_string_equal(recipe_word(recipe, "format"), "ascend");
    assert_string_equal(recipe_word(recipe, "dtype"), "f16");
    assert_string_equal(recipe_word(recipe, "scale_convention"), "goldenstick");
    assert_string_equal(recipe_word(recipe, "blacklist"), "o_proj");
    assert_int_equal(cJSON_GetArraySize(gs_json_get(recipe, "blacklist")), 2);
    assert_true(number(recipe, "max_shard_size") == 1 << 20);
    char *text = cJSON_PrintUnformatted(recipe);
    tiny_text(f.model, "r.json", text);
    snprintf(arguments, sizeof arguments, "--recipe '%s/r.json'", f.model);
    cJSON *again = recipe_of(&f, arguments);
    assert_true(cJSON_Compare(recipe, again, true));
    cJSON_free(text);
    cJSON_Delete(recipe);
    cJSON_Delete(again);
    tiny_text(f.model, "r.json", "{\"dtpe\": \"bf16\"}");
    assert_refused(gstick("quantize '%s' -o '%s' --recipe '%s/r.json'", f.model, f.bundle, f.model), 2, "r.json: unknown key \"dtpe\"");
    assert_non_null(strstr(last.err, "did you mean \"dtype\""));
    assert_refused(gstick("quantize '%s' -o '%s' --recipe '%s/none.json'", f.model, f.bundle, f.model), 3, "none.json");
    assert_no_output(&f);
    end(&f);
}

static void bad_output_places_exit_as_documented(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    assert_refused(gstick("quantize '%s' -o '%s'", f.model, f.model), 2, "is the input");
    assert_refused(gstick("quantize '%s' -o '%s/.'", f.model, f.model), 2, "is the input");
    assert_refused(gstick("quantize '%s' -o '%s'", f.model, f.root), 2, "not empty");
    assert_refused(gstick("quantize '%s' -o '%s'", f.model, f.ids), 2, "ids.i32");
    assert_refused(gstick("quantize '%s' -o '%s/lost/bundle'", f.model, f.root), 5, "lost");
    assert_no_output(&f);
    /* an empty directory is fine, with or without a slash behind it */
    assert_int_equal(mkdir(f.bundle, 0755), 0);
    assert_int_equal(gstick("quantize '%s' -o '%s/'", f.model, f.bundle)->code, 0);
    end(&f);
}

static void a_directory_that_cannot_be_written_exits_with_5(void **state) {
    (void)state;
    if (geteuid() == 0) { /* root may write anywhere but here */
        if (access("/proc/sys/kernel", F_OK) != 0) skip();
        fixture f;
        begin(&f);
        assert_refused(gstick("quantize '%s' -o /proc/sys/kernel/bundle", f.model), 5, "/proc/sys/kernel");
        end(&f);
        return;
    }
    fixture f;
    begin(&f);
    char locked[1100];
    snprintf(locked, sizeof locked, "%s/model-locked", f.root);
    assert_int_equal(mkdir(locked, 0500), 0);
    assert_refused(gstick("quantize '%s' -o '%s/bundle'", f.model, locked), 5, "model-locked");
    end(&f);
}

/* A file-size limit stands in for a full disk: the write fails half-way, as it would there. */
static void a_write_that_fails_leaves_nothing(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    const outcome *o = gstick_with("ulimit -f 16;", "quantize '%s' -o '%s'", f.model, f.bundle);
    if (o->code != 4 && o->code != 5) fail_msg("exit %d: %s", o->code, o->err);
    assert_non_null(strstr(o->err, "quant_model_weights"));
    assert_no_output(&f);
    end(&f);
}

static void a_full_disk_exits_with_4(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    char command[1300];
    snprintf(command, sizeof command, "mkdir '%s/model-disk' && mount -t tmpfs -o size=40k tmpfs '%s/model-disk' 2>/dev/null",
             f.root, f.root);
    if (geteuid() != 0 || system(command) != 0) {
        print_message("skipped: no tmpfs can be mounted here\n");
        end(&f);
        skip();
    }
    gstick("quantize '%s' -o '%s/model-disk/bundle'", f.model, f.root);
    outcome o = last;
    snprintf(command, sizeof command, "test -z \"$(ls -A '%s/model-disk')\"", f.root);
    int left = system(command);
    snprintf(command, sizeof command, "umount '%s/model-disk'", f.root);
    assert_int_equal(system(command), 0);
    assert_int_equal(left, 0);
    assert_refused(&o, 4, "GB are free");
    end(&f);
}

/* Each edit of a good model must be refused with exit 3 (or as said) and a word that names it. */
static void bad_models_exit_with_3(void **state) {
    (void)state;
    static const struct {
        const char *edit; /* shell, in the model's directory */
        int code;
        const char *word;
    } cases[] = {
        {"rm config.json", 3, "config.json"},
        {"rm model.safetensors", 3, "model.safetensors"},
        {"truncate -s -5 model.safetensors", 3, "model.safetensors"},
        {"truncate -s 4 model.safetensors", 3, "model.safetensors"},
        {"truncate -s 0 model.safetensors", 3, "model.safetensors"},
        {"printf '\\377\\377\\377\\377\\377\\377\\377\\177' | dd of=model.safetensors conv=notrunc 2>/dev/null", 3, "header"},
        {"sed -i 's/\"F32\"/\"X32\"/' model.safetensors", 3, "X32"},
        {"sed -i 's/\"shape\":\\[32\\]/\"shape\":[33]/' model.safetensors", 3, "model.safetensors"},
        {"sed -i 's/q_proj/p_proj/' model.safetensors", 3, "q_proj"},
        {"sed -i 's/\"llama\"/\"gpt9\"/' config.json", 3, "gpt9"},
        {"sed -i 's/\"silu\"/\"gelu\"/' config.json", 3, "gelu"},
        {"sed -i 's/\"hidden_size\": 32/\"hidden_size\": 33/' config.json", 3, "config.json"},
        {"sed -i 's/\"hidden_size\": 32/\"hidden_size\": \"x\"/' config.json", 3, "hidden_size"},
        {"echo '{' > config.json", 3, "config.json"},
        {"yes '[' | head -100000 | tr -d '\\n' > config.json", 3, "config.json"},
        {"echo '{\"a\": 1, \"a\": 2}' > config.json", 3, "config.json"},
        {"cp model.safetensors a.safetensors; rm model.safetensors; echo '{\"weight_map\": {\"x\": \"../a.safetensors\"}}' > "
         "model.safetensors.index.json", 3, "../a.safetensors"},
        {"mv model.safetensors a.safetensors; echo '{\"weight_map\": {\"x\": \"gone.safetensors\"}}' > "
         "model.safetensors.index.json", 3, "gone.safetensors"},
        {"mv model.safetensors a.safetensors; echo '{\"weight_map\": {\"x\": \"a.safetensors\"}}' > "
         "model.safetensors.index.json", 3, "index.json"},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        fixture f;
        char command[1700];
        begin(&f);
        snprintf(command, sizeof command, "cd '%s' && %s", f.model, cases[i].edit);
        assert_int_equal(system(command), 0);
        assert_refused(gstick("quantize '%s' -o '%s'", f.model, f.bundle), cases[i].code, cases[i].word);
        assert_no_output(&f);
        assert_refused(gstick("eval '%s' --tokens '%s'", f.model, f.ids), cases[i].code, cases[i].word);
        end(&f);
    }
}

static void bad_tokens_and_texts_are_refused(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    char path[1200];
    assert_refused(gstick("eval '%s/none' --tokens '%s'", f.root, f.ids), 3, "none");
    assert_refused(gstick("eval '%s' --tokens '%s/none'", f.model, f.root), 3, "none");
    snprintf(path, sizeof path, "%s/ids-odd", f.root);
    FILE *odd = fopen(path, "w");
    fputs("12345", odd);
    fclose(odd);
    assert_refused(gstick("eval '%s' --tokens '%s'", f.model, path), 3, "no whole number");
    tiny_tokens(path, 50, 1000, 1);
    assert_refused(gstick("eval '%s' --tokens '%s'", f.model, path), 2, "vocabulary");
    assert_refused(gstick("eval '%s' --text '%s'", f.model, path), 3, "--tokenizer");
    end(&f);
}

static size_t files_in(const char *dir) {
    char **names;
    size_t n;
    gs_error err = {0};
    assert_ok(gs_dir_list(dir, &names, &n, &err), &err);
    gs_strlist_free(names, n);
    return n;
}

static void an_interrupt_exits_with_130_and_leaves_nothing(void **state) {
    (void)state;
    if (getenv("GSTICK_RUNNER") && *getenv("GSTICK_RUNNER")) skip();
    fixture f;
    begin(&f);
    char dump[1200];
    snprintf(dump, sizeof dump, "%s/logits.f32", f.root);
    char tokens[1200];
    snprintf(tokens, sizeof tokens, "%s/ids-long", f.root);
    tiny_tokens(tokens, 2000000, 96, 5);
    size_t before = files_in(f.root);
    pid_t child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stderr);
        execl(getenv("GSTICK_PROGRAM"), "gstick", "eval", f.model, "--tokens", tokens, "--memory", "1M", "--dump-logits", dump,
              (char *)NULL);
        _exit(99);
    }
    /* once it writes, it is listening: however busy the machine is */
    for (int i = 0; i < 6000 && files_in(f.root) == before; i++) usleep(10000);
    assert_true(files_in(f.root) > before);
    kill(child, SIGINT);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
    assert_no_output(&f);
    end(&f);
}

static void a_closed_pipe_is_an_error_not_a_crash(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    const outcome *o = gstick_with("", "inspect '%s' >/dev/full", f.model);
    assert_int_equal(o->code, 5);
    end(&f);
}

/* A family that is not built in, through every command that opens a model. */
static void a_family_can_be_described_in_a_file(void **state) {
    (void)state;
    fixture f;
    char row[1300];
    begin(&f);
    snprintf(row, sizeof row, "%s/model-row.json", f.root);
    tiny_text(f.root, "model-row.json",
              "{\"family\": \"mine\", \"model_types\": [\"nobodys\"], \"name\": {\"embed\": \"model.embed_tokens\", \"final_norm\": \"model.norm\", "
              "\"head\": \"lm_head\", \"block\": \"model.layers.%d\", \"attention_input_norm\": \"input_layernorm\", \"q\": \"self_attn.q_proj\", "
              "\"k\": \"self_attn.k_proj\", \"v\": \"self_attn.v_proj\", \"o\": \"self_attn.o_proj\", "
              "\"mlp_input_norm\": \"post_attention_layernorm\", \"gate\": \"mlp.gate_proj\", \"up\": \"mlp.up_proj\", \"down\": \"mlp.down_proj\"}}");
    char command[1400];
    snprintf(command, sizeof command, "sed -i 's/\"llama\"/\"nobodys\"/' '%s/config.json'", f.model);
    assert_int_equal(system(command), 0);
    assert_refused(gstick("inspect '%s'", f.model), 3, "--helper FILE.json");
    cJSON *json = json_of(gstick("inspect '%s' --helper '%s' --json", f.model, row));
    assert_string_equal(gs_json_get(json, "family")->valuestring, "mine");
    cJSON_Delete(json);
    assert_refused(gstick("quantize '%s' -o '%s' -q", f.model, f.bundle), 3, "'nobodys'");
    assert_no_output(&f);
    assert_int_equal(gstick("quantize '%s' -o '%s' --helper '%s' -q", f.model, f.bundle, row)->code, 0);
    assert_int_equal(gstick("verify '%s' -q", f.bundle)->code, 1);
    assert_int_equal(gstick("verify '%s' --helper '%s' --against '%s'", f.bundle, row, f.model)->code, 0);
    assert_int_equal(gstick("eval '%s' --helper '%s' --against '%s' --tokens '%s' --window 32 -q", f.bundle, row, f.model, f.ids)->code, 0);
    assert_int_equal(gstick("export '%s' --helper '%s' --to compressed-tensors -o '%s-2' -q", f.bundle, row, f.bundle)->code, 0);
    assert_refused(gstick("inspect '%s' --helper '%s-not'", f.model, row), 3, "model-row.json-not");
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_teaches_and_goes_to_standard_output),
        cmocka_unit_test(the_main_job_from_model_to_measured_bundle),
        cmocka_unit_test(the_weights_file_has_the_same_bytes_everywhere),
        cmocka_unit_test(wrong_usage_exits_with_2),
        cmocka_unit_test(flags_win_over_a_recipe_and_the_manifest_reads_back_as_one),
        cmocka_unit_test(bad_output_places_exit_as_documented),
        cmocka_unit_test(a_directory_that_cannot_be_written_exits_with_5),
        cmocka_unit_test(a_write_that_fails_leaves_nothing),
        cmocka_unit_test(a_full_disk_exits_with_4),
        cmocka_unit_test(bad_models_exit_with_3),
        cmocka_unit_test(bad_tokens_and_texts_are_refused),
        cmocka_unit_test(an_interrupt_exits_with_130_and_leaves_nothing),
        cmocka_unit_test(a_closed_pipe_is_an_error_not_a_crash),
        cmocka_unit_test(a_family_can_be_described_in_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
