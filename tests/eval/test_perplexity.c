/* The evaluator against itself, against definitions, and against independent figures. */
#include "../support.h"
#include "../tiny_model.h"

#include <base/mem.h>
#include <eval/perplexity.h>
#include <math.h>

static gs_model *open_model(const char *path) {
    gs_error err = {0};
    gs_checkpoint *c;
    gs_model *m;
    assert_ok(gs_checkpoint_open(path, NULL, &c, &err), &err);
    assert_ok(gs_model_take(c, NULL, NULL, &m, &err), &err);
    return m;
}

static int32_t *read_ids(const char *path, int64_t *count) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *count = ftell(f) / 4;
    rewind(f);
    int32_t *ids = malloc((size_t)*count * 4);
    assert_int_equal(fread(ids, 4, (size_t)*count, f), *count);
    fclose(f);
    return ids;
}

static float *read_floats(const char *path, size_t count) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    float *x = malloc(count * 4);
    assert_int_equal(fread(x, 4, count, f), count);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
    return x;
}

/* A fixture: a tiny model and 100 tokens. */
typedef struct fixture {
    char *dir;
    gs_model *model;
    int32_t ids[100];
} fixture;

static void begin(fixture *f, const tiny_shape *shape) {
    uint64_t seed = 77;
    f->dir = gs_test_tmpdir();
    tiny_model(f->dir, shape, 1);
    f->model = open_model(f->dir);
    for (int i = 0; i < 100; i++) f->ids[i] = (int32_t)(gs_test_rand(&seed) % (uint64_t)shape->vocab);
}

static void end(fixture *f) {
    gs_model_close(f->model);
    gs_test_rmdir(f->dir);
}

static gs_eval_result run(const fixture *f, const gs_model *reference, const gs_eval_options *o, int threads,
                          int64_t budget) {
    gs_error err = {0};
    gs_context cx = {.memory_budget = budget};
    gs_eval_result r;
    assert_ok(gs_team_create(NULL, threads, &cx.team, &err), &err);
    assert_ok(gs_eval_perplexity(&cx, f->model, reference, o, f->ids, 100, &r, &err), &err);
    gs_team_destroy(cx.team);
    return r;
}

static void the_result_depends_neither_on_threads_nor_on_the_budget(void **state) {
    (void)state;
    fixture f;
    begin(&f, &tiny_default);
    for (int type = GS_GEMM_F32; type <= GS_GEMM_BF16; type++) {
        gs_eval_options o = {.type = (gs_gemm_type)type, .window = 16, .bos = -1};
        gs_eval_result one = run(&f, NULL, &o, 1, 1), other = run(&f, NULL, &o, 3, 1 << 30);
        assert_int_equal(one.windows, 6);
        assert_int_equal(one.tokens, 6 * 15);
        assert_true(one.nll == other.nll && one.ppl_stderr == other.ppl_stderr);
    }
    end(&f);
}

/* A vocabulary that the head computes in one block, and one of three. */
static const int64_t vocabularies[] = {96, 5000};

static void check_nll(int64_t vocab) {
    fixture f;
    tiny_shape shape = tiny_default;
    shape.vocab = vocab;
    begin(&f, &shape);
    char path[1200];
    snprintf(path, sizeof path, "%s/logits.f32", f.dir);
    gs_eval_options o = {.window = 25, .bos = -1, .dump_logits = path};
    gs_eval_result r = run(&f, NULL, &o, 2, 1);
    float *logits = read_floats(path, (size_t)(100 * vocab));
    double sum = 0;
    for (int i = 0; i < 100; i++) {
        if (i % 25 == 24) continue;
        const float *l = logits + i * vocab;
        double z = 0;
        for (int64_t v = 0; v < vocab; v++) z += exp((double)l[v]);
        sum += log(z) - (double)l[f.ids[i + 1]];
    }
    assert_true(fabs(sum / 96 - r.nll) <= 1e-6);
    free(logits);
    end(&f);
}

static void the_nll_is_that_of_the_dumped_logits(void **state) {
    (void)state;
    for (size_t i = 0; i < GS_COUNTOF(vocabularies); i++) check_nll(vocabularies[i]);
}

static void a_model_against_itself_diverges_by_nothing(void **state) {
    (void)state;
    fixture f;
    begin(&f, &tiny_default);
    gs_eval_options o = {.window = 50, .bos = -1};
    gs_eval_result r = run(&f, f.model, &o, 2, 1 << 28);
    assert_true(r.compared && r.delta_ppl == 0 && r.delta_ppl_stderr == 0);
    assert_true(fabs(r.kld_mean) <= 1e-9 && r.kld_max <= 1e-8);
    assert_true(r.top1_agreement == 1);
    end(&f);
}

static void check_divergence(int64_t vocab) {
    fixture f, g;
    tiny_shape shape = tiny_default;
    shape.vocab = vocab;
    begin(&f, &shape);
    begin(&g, &shape);
    gs_model_close(g.model);
    tiny_model(g.dir, &shape, 2);
    g.model = open_model(g.dir);
    char p_path[1200], q_path[1200];
    snprintf(p_path, sizeof p_path, "%s/p.f32", f.dir);
    snprintf(q_path, sizeof q_path, "%s/q.f32", f.dir);
    gs_eval_options o = {.window = 100, .bos = -1, .dump_logits = p_path};
    run(&g, NULL, &o, 1, 1 << 28);
    o.dump_logits = q_path;
    gs_eval_result r = run(&f, g.model, &o, 2, 1 << 28);
    float *p = read_floats(p_path, (size_t)(100 * vocab)), *q = read_floats(q_path, (size_t)(100 * vocab));
    double kld = 0;
    int agree = 0;
    for (int i = 0; i < 99; i++) {
        const float *lp = p + i * vocab, *lq = q + i * vocab;
        double zp = 0, zq = 0;
        int64_t top_p = 0, top_q = 0;
        for (int64_t v = 0; v < vocab; v++) {
            zp += exp((double)lp[v]);
            zq += exp((double)lq[v]);
            top_p = lp[v] > lp[top_p] ? v : top_p;
            top_q = lq[v] > lq[top_q] ? v : top_q;
        }
        for (int64_t v = 0; v < vocab; v++)
            kld += exp((double)lp[v]) / zp * ((double)lp[v] - log(zp) - (double)lq[v] + log(zq));
        agree += top_p == top_q;
    }
    assert_true(r.kld_mean > 0.01);
    assert_true(fabs(r.kld_mean - kld / 99) <= 1e-6 * fabs(kld));
    assert_true(fabs(r.top1_agreement - agree / 99.0) <= 1e-12);
    free(p);
    free(q);
    end(&f);
    end(&g);
}

static void the_divergence_is_that_of_the_definition(void **state) {
    (void)state;
    for (size_t i = 0; i < GS_COUNTOF(vocabularies); i++) check_divergence(vocabularies[i]);
}

static void the_llama_cpp_protocol_scores_the_second_half(void **state) {
    (void)state;
    fixture f;
    begin(&f, &tiny_default);
    gs_eval_options o = {.protocol = GS_PROTOCOL_LLAMA_CPP, .window = 20, .bos = -1};
    gs_eval_result r = run(&f, NULL, &o, 2, 1 << 28);
    assert_int_equal(r.windows, 5);
    assert_int_equal(r.tokens, 5 * 9); /* predictions at positions 10 .. 18 */
    o.bos = 1;
    gs_eval_result with_bos = run(&f, NULL, &o, 2, 1 << 28);
    assert_int_equal(with_bos.tokens, 5 * 9);
    assert_true(with_bos.nll != r.nll);
    end(&f);
}

static void bad_tokens_and_short_texts_are_refused(void **state) {
    (void)state;
    fixture f;
    begin(&f, &tiny_default);
    gs_error err = {0};
    gs_context cx = {0};
    gs_eval_result r;
    gs_eval_options o = {.bos = -1};
    int32_t ids[3] = {1, 96, 2};
    assert_fails(gs_eval_perplexity(&cx, f.model, NULL, &o, ids, 3, &r, &err), GS_E_INVALID, &err);
    assert_non_null(strstr(err.text, "96"));
    ids[1] = -1;
    assert_fails(gs_eval_perplexity(&cx, f.model, NULL, &o, ids, 3, &r, &err), GS_E_INVALID, &err);
    assert_fails(gs_eval_perplexity(&cx, f.model, NULL, &o, ids, 1, &r, &err), GS_E_INVALID, &err);
    ids[1] = 3;
    assert_ok(gs_eval_perplexity(&cx, f.model, NULL, &o, ids, 3, &r, &err), &err);
    assert_int_equal(r.tokens, 2); /* a rest shorter than a window counts if it is all there is */
    end(&f);
}

static void running_out_of_memory_anywhere_leaves_nothing_behind(void **state) {
    (void)state;
    fixture f;
    begin(&f, &tiny_default);
    gs_error err = {0};
    gs_context cx = {0};
    gs_eval_result r;
    char path[1200];
    snprintf(path, sizeof path, "%s/logits.f32", f.dir);
    gs_eval_options o = {.window = 50, .bos = -1, .dump_logits = path};
    gs_status status = GS_E_NOMEM;
    for (int64_t k = 0; status != GS_OK && k < 5000; k += 7) {
        gs_mem_fail_after(k);
        status = gs_eval_perplexity(&cx, f.model, f.model, &o, f.ids, 100, &r, &err);
        gs_mem_fail_after(-1);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    assert_int_equal(status, GS_OK);
    end(&f);
}

/* ---- independent figures (shared data) ---- */

static void golden_logits(const char *path) {
    gs_need_data(ids_path, "data/lm/golden/stories260K_tokens512.i32");
    gs_need_data(want_path, "data/lm/golden/stories260K_logits_512x512.f32");
    gs_error err = {0};
    gs_context cx = {0};
    gs_model *m = open_model(path);
    int64_t count;
    int32_t *ids = read_ids(ids_path, &count);
    char *dir = gs_test_tmpdir(), dump[1200];
    snprintf(dump, sizeof dump, "%s/logits.f32", dir);
    gs_eval_options o = {.window = 512, .bos = -1, .dump_logits = dump};
    gs_eval_result r;
    assert_ok(gs_eval_perplexity(&cx, m, NULL, &o, ids, count, &r, &err), &err);
    float *want = read_floats(want_path, 512 * 512), *got = read_floats(dump, 512 * 512);
    double worst = 0;
    /* not fmax, which would pass over a NaN (and which gcc 12 for aarch64 can't vectorise) */
    for (size_t i = 0; i < 512 * 512; i++) {
        double d = fabs((double)want[i] - (double)got[i]);
        if (!(d <= worst)) worst = d;
    }
    print_message("largest logit difference %.3g, nll %.7f\n", worst, r.nll);
    assert_true(worst <= 1e-4);
    assert_true(fabs(r.nll - 1.3507171) <= 1e-4);
    free(want);
    free(got);
    free(ids);
    gs_test_rmdir(dir);
    gs_model_close(m);
}

static void stories260k_gives_the_golden_logits(void **state) {
    (void)state;
    gs_need_data(config, "data/lm/stories260K-hf-llama/config.json");
    char dir[1024];
    snprintf(dir, sizeof dir, "%.*s", (int)(strlen(config) - strlen("/config.json")), config);
    golden_logits(dir);
}

static void stories260k_as_gguf_gives_them_too(void **state) {
    (void)state;
    gs_need_data(path, "data/lm/stories260K-f32.gguf");
    golden_logits(path);
}

static void stories260k_has_the_published_perplexity(void **state) {
    (void)state;
    gs_need_data(config, "data/lm/stories260K-hf-llama/config.json");
    gs_need_data(ids_path, "data/lm/golden/stories260K_eval_61440.i32");
    char dir[1024];
    snprintf(dir, sizeof dir, "%.*s", (int)(strlen(config) - strlen("/config.json")), config);
    gs_error err = {0};
    gs_context cx = {0};
    gs_model *m = open_model(dir);
    int64_t count;
    int32_t *ids = read_ids(ids_path, &count);
    gs_eval_options o = {.window = 512, .bos = -1};
    gs_eval_result r, half;
    assert_ok(gs_eval_perplexity(&cx, m, NULL, &o, ids, count, &r, &err), &err);
    o.type = GS_GEMM_BF16;
    assert_ok(gs_eval_perplexity(&cx, m, NULL, &o, ids, count, &half, &err), &err);
    print_message("ppl f32 %.6f, bf16 %.6f\n", r.ppl, half.ppl);
    assert_int_equal(r.tokens, 120 * 511);
    assert_true(fabs(r.ppl - 4.470727) <= 0.0005);
    assert_true(fabs(half.ppl - r.ppl) <= 0.002 * r.ppl);
    free(ids);
    gs_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_result_depends_neither_on_threads_nor_on_the_budget),
        cmocka_unit_test(the_nll_is_that_of_the_dumped_logits),
        cmocka_unit_test(a_model_against_itself_diverges_by_nothing),
        cmocka_unit_test(the_divergence_is_that_of_the_definition),
        cmocka_unit_test(the_llama_cpp_protocol_scores_the_second_half),
        cmocka_unit_test(bad_tokens_and_short_texts_are_refused),
        cmocka_unit_test(running_out_of_memory_anywhere_leaves_nothing_behind),
        cmocka_unit_test(stories260k_gives_the_golden_logits),
        cmocka_unit_test(stories260k_as_gguf_gives_them_too),
        cmocka_unit_test(stories260k_has_the_published_perplexity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
