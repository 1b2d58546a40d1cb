/* gstick calibrate, and gstick quantize with calibration data, at the terminal: what they print, how they end, one clear
 * line on every kind of bad data, and nothing left behind. */
#include "program.h"

#include <base/hash.h>
#include <base/mem.h>
#include <math.h>
#include <signal.h>

/* Every call here is small; the tiny model takes 12 values a layer's linears read, so 4 * 3. */
enum { EDGES = 12, LINEARS = 22 };
#define SMALL "--samples 6 --seq 40 --sample-rows 24"

/* With a tokenizer file, so that no bundle is warned about. */
static void start(fixture *f) {
    begin(f);
    tiny_text(f->model, "tokenizer_config.json", "{}");
}

static void path_in(const fixture *f, const char *name, char out[1200]) {
    snprintf(out, 1200, "%s/%s", f->root, name);
}

static void write_file(const fixture *f, const char *name, const char *bytes, size_t n) {
    char path[1200];
    path_in(f, name, path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void shell(const char *format, ...) {
    char command[3000];
    va_list rest;
    va_start(rest, format);
    vsnprintf(command, sizeof command, format, rest);
    va_end(rest);
    if (system(command) != 0) fail_msg("%s", command);
}

/* Statistics of the fixture's model, in <root>/<name>. */
static void calibrate_into(const fixture *f, const char *name) {
    if (gstick("calibrate '%s' --calib '%s' " SMALL " -o '%s/%s'", f->model, f->ids, f->root, name)->code != 0)
        fail_msg("%s", last.err);
}

static int count_of(const cJSON *layers, const char *scheme) {
    int n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, layers) n += strcmp(gs_json_get(item, "scheme")->valuestring, scheme) == 0;
    return n;
}

/* ---- what works ---- */

static void statistics_are_made_once_and_used_by_every_scheme(void **state) {
    (void)state;
    static const struct {
        const char *arguments, *scheme, *type;
    } jobs[] = {
        {"--scheme w8a8 --fallback none", "W8A8", "W8A8"},
        {"--scheme w8a8 --alpha none --observer percentile --percentile 99.9 --fallback none", "W8A8", "W8A8"},
        {"--scheme w8a8 --alpha 0.5 --observer mse --act-symmetric --refine --fallback none", "W8A8", "W8A8"},
        {"--scheme w8a8-dynamic", "W8A8_DYNAMIC", "W8A8_DYNAMIC"},
        {"--scheme w8a16 --refine", "W8A16", "W8A16"},
    };
    fixture f;
    start(&f);
    cJSON *json = json_of(gstick("calibrate '%s' --calib '%s' " SMALL " -o '%s/stats' --json", f.model, f.ids, f.root));
    assert_string_equal(last.err, "");
    assert_true(number(json, "sequences") == 6 && number(json, "tokens") == 240 && number(json, "edges") == EDGES);
    assert_true(number(json, "spilled_bytes") == 0 && number(json, "seconds") > 0);
    assert_true(number(json, "tokens_per_second") > 0 && number(json, "peak_rss_bytes") > 0);
    assert_string_equal(gs_json_get(json, "note")->valuestring, "");
    cJSON_Delete(json);
    for (size_t i = 0; i < GS_COUNTOF(jobs); i++) {
        json = json_of(gstick("quantize '%s' --stats '%s/stats' %s -o '%s%zu' --json", f.model, f.root, jobs[i].arguments,
                              f.bundle, i));
        const cJSON *layers = gs_json_get(json, "layers");
        assert_int_equal(cJSON_GetArraySize(layers), LINEARS);
        assert_int_equal(count_of(layers, jobs[i].scheme), LINEARS - 1);
        assert_true(!gs_json_get(json, "smoothing_change") || number(json, "smoothing_change") < 1e-5);
        cJSON_Delete(json);
        json = json_of(gstick("inspect '%s%zu' --json", f.bundle, i));
        assert_string_equal(gs_json_get(json, "type")->valuestring, jobs[i].type);
        cJSON_Delete(json);
        json = json_of(gstick("eval '%s%zu' --tokens '%s' --window 64 --against '%s' --json", f.bundle, i, f.ids, f.model));
        assert_true(number(json, "kld_mean") > 0 && number(json, "kld_mean") < 1e-2);
        cJSON_Delete(json);
    }
    end(&f);
}

static void a_calibration_set_does_in_one_step(void **state) {
    (void)state;
    fixture f;
    start(&f);
    assert_int_equal(gstick("quantize '%s' --scheme w8a8 --calib '%s' " SMALL " -o '%s'", f.model, f.ids, f.bundle)->code, 0);
    assert_non_null(strstr(last.out, "21 W8A8, 1 FLOAT"));
    assert_non_null(strstr(last.out, "smoothing   changes float logits"));
    assert_string_equal(last.err, "");
    assert_int_equal(gstick("quantize '%s' --scheme w8a8 --calib '%s' " SMALL " --sequential -o '%s-s' -v", f.model, f.ids,
                            f.bundle)->code, 0);
    assert_non_null(strstr(last.out, "out error"));
    /* fewer sequences than asked for is said, and quiet is quiet */
    assert_int_equal(gstick("calibrate '%s' --calib '%s' --seq 100 -o '%s/a'", f.model, f.ids, f.root)->code, 0);
    assert_non_null(strstr(last.err, "warning: "));
    assert_non_null(strstr(last.err, "3 of 128 samples"));
    assert_non_null(strstr(last.out, "300 tokens in 3 sequences, 12 values"));
    assert_int_equal(gstick("calibrate '%s' --calib '%s' --seq 100 -q -o '%s/b'", f.model, f.ids, f.root)->code, 0);
    assert_string_equal(last.err, "");
    end(&f);
}

static void a_dry_run_decides_everything_and_writes_nothing(void **state) {
    (void)state;
    fixture f;
    start(&f);
    cJSON *json = json_of(gstick("quantize '%s' --scheme w8a8 --calib '%s' " SMALL " --dry-run --json", f.model, f.ids));
    assert_true(cJSON_IsNull(gs_json_get(json, "bundle")) && number(json, "bytes_out") == 0);
    const cJSON *first = gs_json_get(json, "layers")->child;
    assert_true(number(first, "input_scale") > 0 && number(first, "output_error") > 0);
    assert_true(number(first, "alpha") >= 0 && number(first, "alpha") <= 1);
    cJSON_Delete(json);
    assert_no_output(&f);
    end(&f);
}

static void help_shows_the_options_of_calibration(void **state) {
    (void)state;
    gstick("calibrate --help");
    assert_non_null(strstr(last.out, "--calib FILE"));
    assert_non_null(strstr(last.out, "--merge"));
    assert_null(strstr(last.out, "--scheme NAME"));
    gstick("quantize --help");
    static const char *const flags[] = {"--alpha", "--observer", "--fallback", "--fallback-threshold", "--stats", "--calib",
                                        "--sequential", "--refine", "--target"};
    for (size_t i = 0; i < GS_COUNTOF(flags); i++) assert_non_null(strstr(last.out, flags[i]));
}

static void a_recipe_carries_calibrated_jobs_and_comes_back_from_the_manifest(void **state) {
    (void)state;
    fixture f;
    char path[1200], *a, *b;
    size_t na, nb;
    gs_error err = {0};
    cJSON *json;
    start(&f);
    tiny_text(f.model, "r.json", "{\"scheme\": \"w8a8\", \"alpha\": 0.5, \"fallback\": [\"down_proj\"], \"samples\": 4, \"seq\": 30}");
    assert_int_equal(gstick("quantize '%s' --recipe '%s/r.json' --calib '%s' --alpha 0.25 -o '%s'", f.model, f.model, f.ids,
                            f.bundle)->code, 0);
    path_in(&f, "bundle/gstick_manifest.json", path);
    assert_ok(gs_json_load(path, 1 << 20, &json, &err), &err);
    const cJSON *recipe = gs_json_get(json, "recipe");
    assert_string_equal(gs_json_get(recipe, "alpha")->valuestring, "0.25");
    assert_true(number(recipe, "samples") == 4 && number(recipe, "seq") == 30);
    assert_true(number(gs_json_get(json, "calibration"), "tokens") == 120);
    char *text = cJSON_Print(recipe);
    tiny_text(f.model, "r.json", text);
    cJSON_free(text);
    cJSON_Delete(json);
    assert_int_equal(gstick("quantize '%s' --recipe '%s/r.json' --calib '%s' -o '%s-again'", f.model, f.model, f.ids,
                            f.bundle)->code, 0);
    assert_ok(gs_file_read(path, 1 << 20, &a, &na, &err), &err);
    path_in(&f, "bundle-again/gstick_manifest.json", path);
    assert_ok(gs_file_read(path, 1 << 20, &b, &nb, &err), &err);
    assert_int_equal(na, nb);
    assert_memory_equal(a, b, na);
    gs_free(a);
    gs_free(b);
    end(&f);
}

/* ---- wrong words ---- */

static void wrong_words_exit_with_2(void **state) {
    (void)state;
    static const struct {
        const char *arguments, *word;
    } cases[] = {
        {"--alpha atuo", "alpha 'atuo'"},
        {"--alpha 1.5", "alpha '1.5'"},
        {"--alpha nan", "alpha 'nan'"},
        {"--observer minmaxx", "did you mean 'minmax'"},
        {"--observer percentile --percentile 10", "percentile 10"},
        {"--percentile 99", "observer 'percentile'"},
        {"--fallback atuo", "fallback 'atuo' is in no linear"},
        {"--fallback auto,q_proj", "fallback 'auto' cannot"},
        {"--fallback q_proj,none", "fallback 'none' cannot"},
        {"--fallback-threshold -1", "threshold of -1"},
        {"--fallback-threshold much", "wants a number"},
        {"--fallback-share 2", "share of 2"},
        {"--target mindi", "did you mean 'mindie'"},
        {"--sequential", "needs a calibration set"},
        {"--calib x.txt", "exclude each other"},
        {"--scheme w8a16 --alpha 0.5", "alpha is for int8 activations"},
        {"--scheme w8a16 --observer mse", "not w8a16"},
        {"--scheme w8a8-dynamic --act-symmetric", "not w8a8-dynamic"},
        {"--blacklist=", "keep lm_head in the blacklist"},
    };
    fixture f;
    start(&f);
    calibrate_into(&f, "model-stats");
    for (size_t i = 0; i < GS_COUNTOF(cases); i++)
        assert_refused(gstick("quantize '%s' --scheme w8a8 --stats '%s/model-stats' -o '%s' %s", f.model, f.root, f.bundle,
                              cases[i].arguments), 2, cases[i].word);
    static const char *const without_data[] = {"--scheme w8a8", "--scheme w8a8-dynamic --alpha 0.5", "--refine",
                                               "--scheme w8a8-dynamic --fallback auto"};
    for (size_t i = 0; i < GS_COUNTOF(without_data); i++)
        assert_refused(gstick("quantize '%s' %s -o '%s'", f.model, without_data[i], f.bundle), 2, "needs calibration data");
    static const struct {
        const char *arguments, *word;
    } calibrations[] = {
        {"--samples -1", "whole number"},    {"--seq 1", "at least two"},         {"--store f16", "did you mean 'bf16'"},
        {"--calib-dtype f23", "'f32'"},      {"--skip-tokens 400", "no token"},   {"--scheme w8a8", "unknown option"},
        {"--memory lots", "a size"},         {"--threads 5000", "beyond any"},    {"--recipe /nonexistent", "nonexistent"},
    };
    for (size_t i = 0; i < GS_COUNTOF(calibrations); i++)
        assert_refused(gstick("calibrate '%s' --calib '%s' -q %s -o '%s'", f.model, f.ids, calibrations[i].arguments, f.bundle),
                       i + 1 == GS_COUNTOF(calibrations) ? 3 : 2, calibrations[i].word);
    assert_refused(gstick("calibrate"), 2, "no model");
    assert_refused(gstick("calibrate '%s' -o '%s'", f.model, f.bundle), 2, "--calib FILE");
    assert_refused(gstick("calibrate '%s' --calib '%s'", f.model, f.ids), 2, "-o STATS");
    assert_refused(gstick("calibrate '%s' '%s' --calib '%s' -o '%s'", f.model, f.model, f.ids, f.bundle), 2, "only one model");
    assert_refused(gstick("calibrate --merge -o '%s'", f.bundle), 2, "no statistics");
    assert_refused(gstick("calibrate --merge '%s' --calib x -o '%s'", f.model, f.bundle), 2, "--merge takes");
    assert_no_output(&f);
    end(&f);
}

static void data_that_nothing_needs_is_mentioned(void **state) {
    (void)state;
    fixture f;
    start(&f);
    const outcome *o = gstick("quantize '%s' --calib '%s' -o '%s'", f.model, f.ids, f.bundle);
    assert_int_equal(o->code, 0);
    assert_non_null(strstr(o->err, "warning: nothing in this job needs calibration data"));
    end(&f);
}

/* ---- bad data ---- */

static void bad_calibration_sets_exit_with_3(void **state) {
    (void)state;
    static const char odd[] = "\1\0\0\0\2\0", foreign[] = "\1\0\0\0\2\0\0\0\140\0\0\0", negative[] = "\1\0\0\0\377\377\377\377";
#define BYTES(text) text, sizeof(text) - 1
    static const struct {
        const char *name, *bytes;
        size_t n;
        const char *word;
    } cases[] = {
        {"ids-empty.i32", "", 0, "empty"},
        {"ids-odd.i32", odd, sizeof odd - 1, "no whole number"},
        {"ids-one.i32", "\1\0\0\0", 4, "fewer than two"},
        {"ids-out.i32", foreign, sizeof foreign - 1, "vocabulary of 96"},
        {"ids-negative.i32", negative, sizeof negative - 1, "vocabulary"},
    };
    static const struct {
        const char *name, *bytes;
        size_t n;
        const char *word;
    } texts[] = {
        {"ids-empty.txt", "", 0, "empty"},
        {"ids-short.txt", BYTES("x"), "fewer than two"},
        {"ids-latin1.txt", BYTES("caf\351 au lait"), "UTF-8 at byte 3"},
        {"ids-empty.jsonl", BYTES("\n \r\n"), "no line"},
        {"ids-none.jsonl", BYTES("{\"text\": \"the fox sees the bird\"}\n{\"txt\": \"b\"}\n"), "line 2"},
        {"ids-field.jsonl", BYTES("{\"text\": 7}\n"), "\"text\" is no text"},
        {"ids-broken.jsonl", BYTES("{\"text\": \"a\"\n"), "line 1"},
        {"ids-array.jsonl", BYTES("[{\"text\": \"a\"}]\n"), "no JSON object"},
        {"ids-latin1.jsonl", BYTES("{\"text\": \"caf\351 au lait\"}\n"), "line 1"},
    };
#undef BYTES
    fixture f;
    start(&f);
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        write_file(&f, cases[i].name, cases[i].bytes, cases[i].n);
        assert_refused(gstick("calibrate '%s' --calib '%s/%s' -o '%s'", f.model, f.root, cases[i].name, f.bundle), 3, cases[i].word);
        assert_refused(gstick("quantize '%s' --scheme w8a8 --calib '%s/%s' -o '%s'", f.model, f.root, cases[i].name, f.bundle), 3,
                       cases[i].word);
    }
    for (size_t i = 0; i < GS_COUNTOF(texts); i++) {
        write_file(&f, texts[i].name, texts[i].bytes, texts[i].n);
        assert_refused(gstick("calibrate examples/grammar-lm --calib '%s/%s' -o '%s'", f.root, texts[i].name, f.bundle), 3,
                       texts[i].word);
    }
    assert_refused(gstick("calibrate '%s' --calib '%s/gone.i32' -o '%s'", f.model, f.root, f.bundle), 3, "gone");
    assert_refused(gstick("calibrate '%s' --calib README.md -o '%s'", f.model, f.bundle), 3, "--tokenizer");
    assert_refused(gstick("calibrate '%s' --calib '%s' -o '%s'", f.root, f.ids, f.bundle), 3, "config.json");
    assert_no_output(&f);
    end(&f);
}

/* NaN and infinity must be named where they appear, not spread into scales. */
static void a_model_that_computes_nan_or_infinity_exits_with_3(void **state) {
    (void)state;
    static const struct {
        const char *tensor;
        float value;
        const char *word;
    } cases[] = {
        {"model.layers.1.self_attn.v_proj.weight", NAN, "model.layers.1"},
        {"model.layers.1.input_layernorm.weight", 3e38f, "model.layers.1"},
        {"model.layers.0.mlp.up_proj.weight", INFINITY, "model.layers.0"},
        {"model.embed_tokens.weight", NAN, NULL},
    };
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        fixture f;
        start(&f);
        write_file(&f, "ids.i32", "\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0", 16); /* token 0 is what was changed */
        tiny_poke(f.model, cases[i].tensor, cases[i].value);
        const char *word = cases[i].word ? cases[i].word : "NaN";
        assert_refused(gstick("calibrate '%s' --calib '%s' -q -o '%s'", f.model, f.ids, f.bundle), 3, word);
        assert_refused(gstick("quantize '%s' --scheme w8a8 --dtype f32 --calib '%s' -q -o '%s'", f.model, f.ids, f.bundle), 3, word);
        assert_no_output(&f);
        end(&f);
    }
}

static void broken_or_foreign_statistics_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *edit; /* shell, in the statistics directory */
        int code;
        const char *word;
    } cases[] = {
        {"rm statistics.json", 3, "statistics.json"},
        {"rm statistics.safetensors", 3, "statistics.safetensors"},
        {"truncate -s -8 statistics.safetensors", 3, "statistics.safetensors"},
        {"truncate -s 0 statistics.json", 3, "statistics.json"},
        {"echo '[]' > statistics.json", 3, "statistics.json"},
        {"sed -i 's/\"version\": 1/\"version\": 9/' statistics.json", 3, "version 9"},
        {"sed -i 's/\"format\": \"gstick/\"format\": \"other/' statistics.json", 3, "format"},
        {"sed -i '0,/\"width\": 32/s//\"width\": 33/' statistics.json", 3, "F32 [32]"},
        {"sed -i '0,/\"rows\": 240/s//\"rows\": 241/' statistics.json", 3, "241"},
        {"sed -i '0,/\"token_absmax_max\": /s//\"token_absmax_max\": 9/' statistics.json", 3, "largest value"},
        {"sed -i 's/\\.histogram\"/.histogrem\"/' statistics.safetensors", 3, "histogram"},
        {"sed -i 's/layers\\.1\\./layers.7./' statistics.json", 3, "layers.7"},
        {"sed -i 's/\"model_hash\": \"..../\"model_hash\": \"ffff/' statistics.json", 2, "of another model"},
        {"sed -i 's/\"model_hash\": \".*\"/\"model_hash\": \"x\"/' statistics.json", 3, "model_hash"},
    };
    fixture f;
    start(&f);
    calibrate_into(&f, "model-good");
    for (size_t i = 0; i < GS_COUNTOF(cases); i++) {
        shell("rm -rf '%s/model-stats' && cp -r '%s/model-good' '%s/model-stats' && cd '%s/model-stats' && %s", f.root, f.root,
              f.root, f.root, cases[i].edit);
        assert_refused(gstick("quantize '%s' --scheme w8a8 --stats '%s/model-stats' -o '%s'", f.model, f.root, f.bundle),
                       cases[i].code, cases[i].word);
    }
    assert_refused(gstick("quantize '%s' --scheme w8a8 --stats '%s/gone' -o '%s'", f.model, f.root, f.bundle), 3, "gone");
    assert_refused(gstick("quantize '%s' --scheme w8a8 --stats '%s' -o '%s'", f.model, f.ids, f.bundle), 3, "not a directory");
    assert_refused(gstick("quantize examples/grammar-lm --scheme w8a8 --stats '%s/model-good' -o '%s'", f.root, f.bundle), 2,
                   "of another model");
    assert_refused(gstick("calibrate --merge '%s/model-good' '%s/model-stats' -o '%s'", f.root, f.root, f.bundle), 3, "model_hash");
    shell("cd '%s/model-stats' && cp ../model-good/* . && sed -i 's/\"model_hash\": \"..../\"model_hash\": \"ffff/' statistics.json",
          f.root);
    assert_refused(gstick("calibrate --merge '%s/model-good' '%s/model-stats' -o '%s'", f.root, f.root, f.bundle), 2,
                   "differ in the model");
    assert_no_output(&f);
    end(&f);
}

/* ---- bad places ---- */

static void bad_places_for_statistics_exit_as_documented(void **state) {
    (void)state;
    fixture f;
    start(&f);
    calibrate_into(&f, "model-stats");
#define CALIBRATE "calibrate '%s' --calib '%s' " SMALL " -o "
    assert_refused(gstick(CALIBRATE "'%s'", f.model, f.ids, f.model), 2, "is the input");
    assert_refused(gstick(CALIBRATE "'%s/model-stats'", f.model, f.ids, f.root), 2, "not empty");
    assert_refused(gstick(CALIBRATE "'%s'", f.model, f.ids, f.ids), 2, "ids.i32");
    assert_refused(gstick(CALIBRATE "'%s/lost/stats'", f.model, f.ids, f.root), 5, "lost");
    assert_refused(gstick(CALIBRATE "'%s' --scratch-dir /nonexistent --memory 1K", f.model, f.ids, f.bundle), 5, "nonexistent");
    assert_refused(gstick("quantize '%s' --scheme w8a8 --stats '%s/model-stats' -o '%s/model-stats'", f.model, f.root, f.root), 2,
                   "not empty");
    assert_refused(gstick("calibrate --merge '%s/model-stats' -o '%s/model-stats'", f.root, f.root), 2, "not empty");
#undef CALIBRATE
    assert_no_output(&f);
    end(&f);
}

static void a_full_disk_exits_with_4_and_leaves_nothing(void **state) {
    (void)state;
    fixture f;
    char disk[1200];
    start(&f);
    path_in(&f, "model-disk", disk);
    char command[3000];
    snprintf(command, sizeof command, "mkdir '%s' && mount -t tmpfs -o size=16k tmpfs '%s' 2>/dev/null", disk, disk);
    if (geteuid() != 0 || system(command) != 0) {
        print_message("skipped: no tmpfs can be mounted here\n");
        end(&f);
        skip();
    }
    static outcome o[3];
    o[0] = *gstick("calibrate '%s' --calib '%s' " SMALL " -o '%s/stats'", f.model, f.ids, disk);
    o[1] = *gstick("calibrate '%s' --calib '%s' " SMALL " -o '%s' --memory 1K --scratch-dir '%s'", f.model, f.ids, f.bundle, disk);
    o[2] = *gstick("quantize '%s' --scheme w8a8 --calib '%s' " SMALL " -o '%s/bundle'", f.model, f.ids, disk);
    snprintf(command, sizeof command, "test -z \"$(ls -A '%s')\"", disk);
    int left = system(command);
    snprintf(command, sizeof command, "umount '%s'", disk);
    assert_int_equal(system(command), 0);
    assert_int_equal(left, 0);
    for (size_t i = 0; i < GS_COUNTOF(o); i++) assert_refused(&o[i], 4, "model-disk");
    assert_no_output(&f);
    end(&f);
}

/* The program catches SIGINT, which takes longer the busier the machine is. */
static bool is_listening(pid_t pid) {
    char path[64], line[256];
    unsigned long long caught = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "SigCgt: %llx", &caught) == 1) break;
    if (f) fclose(f);
    return caught >> (SIGINT - 1) & 1;
}

static void interrupt(const fixture *f, char *const arguments[]) {
    pid_t child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stderr);
        freopen("/dev/null", "w", stdout);
        execv(getenv("GSTICK_PROGRAM"), arguments);
        _exit(99);
    }
    for (int i = 0; i < 6000 && !is_listening(child); i++) usleep(10000);
    usleep(300000); /* and is at work */
    kill(child, SIGINT);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
    assert_no_output(f);
}

static void an_interrupt_exits_with_130_and_leaves_nothing(void **state) {
    (void)state;
    if (getenv("GSTICK_RUNNER") && *getenv("GSTICK_RUNNER")) skip();
    fixture f;
    start(&f);
    tiny_tokens(f.ids, 1000000, 96, 5);
    char *const calibrate[] = {"gstick",   "calibrate", f.model, "--calib",  f.ids,    "--samples", "10000", "--seq", "100",
                               "--memory", "1M",        "--scratch-dir",     f.root, "-o",     f.bundle,    NULL};
    interrupt(&f, calibrate);
    char *const quantize[] = {"gstick", "quantize", f.model, "--scheme", "w8a8", "--calib",      f.ids, "--samples", "10000",
                              "--seq",  "100",      "-o",    f.bundle,   "--sequential", NULL};
    interrupt(&f, quantize);
    end(&f);
}

/* ---- a trained model ---- */

static void stories260k_keeps_its_perplexity_in_every_scheme(void **state) {
    (void)state;
    gs_need_data(config, "data/lm/stories260K-hf-llama/config.json");
    gs_need_data(ids, "data/lm/golden/stories260K_eval_61440.i32");
    static const struct {
        const char *arguments;
        double most; /* perplexity; float32 has 4.4707 */
    } jobs[] = {
        {"--scheme w8a8", 4.53},
        {"--scheme w8a8 --alpha none --fallback none", 4.60},
        {"--scheme w8a8-dynamic --alpha 0.5", 4.50},
        {"--scheme w8a16 --refine", 4.48},
    };
    fixture f;
    char model[1024];
    start(&f);
    snprintf(model, sizeof model, "%.*s", (int)(strlen(config) - 12), config);
    assert_int_equal(gstick("calibrate '%s' --calib '%s' --samples 8 --seq 256 -o '%s/stats'", model, ids, f.root)->code, 0);
    for (size_t i = 0; i < GS_COUNTOF(jobs); i++) {
        assert_int_equal(gstick("quantize '%s' --stats '%s/stats' %s -o '%s%zu'", model, f.root, jobs[i].arguments, f.bundle, i)->code,
                         0);
        cJSON *json = json_of(gstick("eval '%s%zu' --tokens '%s' --window 512 --max-windows 20 --against '%s' --json", f.bundle, i,
                                     ids, model));
        print_message("%-50s perplexity %.5f, float %.5f\n", jobs[i].arguments, number(json, "ppl"), number(json, "ref_ppl"));
        assert_true(number(json, "ppl") <= jobs[i].most * number(json, "ref_ppl") / 4.4707);
        cJSON_Delete(json);
    }
    end(&f);
}

static void the_carried_model_is_quantized_from_text_and_lines_alike(void **state) {
    (void)state;
    fixture f;
    start(&f);
    shell("head -c 6000 examples/grammar-lm/eval.txt > '%s/ids.txt' && head -40 examples/grammar-lm/eval.txt | grep . |"
          " sed 's/[\"\\\\]//g; s/.*/{\"text\": \"&\"}/' > '%s/ids.jsonl'", f.root, f.root);
    static const char *const sets[] = {"txt", "jsonl"};
    for (size_t i = 0; i < GS_COUNTOF(sets); i++) {
        cJSON *json = json_of(gstick("quantize examples/grammar-lm --scheme w8a8 --calib '%s/ids.%s' --seq 64 --samples 20 -q"
                                     " --sample-rows 64 -o '%s%zu' --json", f.root, sets[i], f.bundle, i));
        assert_int_equal(count_of(gs_json_get(json, "layers"), "W8A8"), 28);
        cJSON_Delete(json);
        json = json_of(gstick("eval '%s%zu' --text examples/grammar-lm/eval.txt --window 512 --max-windows 8 --against"
                              " examples/grammar-lm --json", f.bundle, i));
        assert_true(fabs(number(json, "delta_ppl")) < 0.05 && number(json, "top1_agreement") > 0.97);
        cJSON_Delete(json);
    }
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_are_made_once_and_used_by_every_scheme),
        cmocka_unit_test(a_calibration_set_does_in_one_step),
        cmocka_unit_test(a_dry_run_decides_everything_and_writes_nothing),
        cmocka_unit_test(help_shows_the_options_of_calibration),
        cmocka_unit_test(a_recipe_carries_calibrated_jobs_and_comes_back_from_the_manifest),
        cmocka_unit_test(wrong_words_exit_with_2),
        cmocka_unit_test(data_that_nothing_needs_is_mentioned),
        cmocka_unit_test(bad_calibration_sets_exit_with_3),
        cmocka_unit_test(a_model_that_computes_nan_or_infinity_exits_with_3),
        cmocka_unit_test(broken_or_foreign_statistics_are_refused),
        cmocka_unit_test(bad_places_for_statistics_exit_as_documented),
        cmocka_unit_test(a_full_disk_exits_with_4_and_leaves_nothing),
        cmocka_unit_test(an_interrupt_exits_with_130_and_leaves_nothing),
        cmocka_unit_test(stories260k_keeps_its_perplexity_in_every_scheme),
        cmocka_unit_test(the_carried_model_is_quantized_from_text_and_lines_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
