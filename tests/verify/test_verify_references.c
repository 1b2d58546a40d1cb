/* Bundles that the original tools wrote: what is found in them, folder by folder. Everything found is a real reason why one
 * of the servers would not load the folder as it is. */
#include "verify_support.h"

#define SLIM "reference/msmodelslim/stories260K-"

/* dtype-suffix -> the checks that find something for "both"; config: the folder has none of its own. */
static const struct {
    const char *folder, *checks;
    bool config;
} slim[] = {
    {"bf16-v0-w8a16", "", true},
    {"bf16-v0-w8a8-static", "", true},
    {"bf16-v1-w8a16", "", false},
    {"bf16-v1-w8a8-dynamic", "", false},
    {"bf16-v1-w8a8-static-asym", "", false},
    {"f16-v0-w8a16", "", true},
    {"f16-v0-w8a8-static", "", true},
    {"f16-v1-w8a16", "", false},
    {"f16-v1-w8a8-dynamic", "", false},
    {"f16-v1-w8a8-static-asym", "", false},
    /* float32: MindIE knows two dtypes, and vllm-ascend has no deq_scale for it */
    {"f32-v0-w4a16-g32", "config-dtype description-globals target-type", true},
    {"f32-v0-w4a16-g32-oldnames", "config-dtype description-name target-type tensor-shape", true},
    {"f32-v0-w4a16-perchannel", "config-dtype target-type", true},
    {"f32-v0-w8a16", "config-dtype", true},
    {"f32-v0-w8a16-asym", "config-dtype weight-offset", true},
    {"f32-v0-w8a16-c8", "config-dtype", true},
    {"f32-v0-w8a8-dynamic", "config-dtype", true},
    {"f32-v0-w8a8-static", "config-dtype", true},
    {"f32-v0-w8a8-static-m1", "config-dtype", true},
    {"f32-v0-w8a8-static-m1-oldnames", "config-dtype description-name tensor-unknown", true},
    {"f32-v0-w8a8-static-m4", "config-dtype", true},
    {"f32-v1-float-c8", "config-dtype", false},
    {"f32-v1-mindie-w8a8-static-asym", "config-dtype deq-scale-dtype description-name", false},
    {"f32-v1-w8a16", "config-dtype", false},
    {"f32-v1-w8a16-c8", "config-dtype", false},
    {"f32-v1-w8a16-gptq", "config-dtype", false},
    {"f32-v1-w8a16-gptq-g32", "config-dtype description-globals target-type", false},
    {"f32-v1-w8a16-onefile", "config-dtype", false},
    {"f32-v1-w8a16-ssz", "config-dtype", false},
    {"f32-v1-w8a8-dynamic", "config-dtype", false},
    {"f32-v1-w8a8-dynamic-itersmooth09", "config-dtype", false},
    {"f32-v1-w8a8-mix", "config-dtype", false},
    {"f32-v1-w8a8-static-asym", "config-dtype", false},
    {"f32-v1-w8a8-static-asym-bias", "config-dtype", false},
    {"f32-v1-w8a8-static-downfloat", "config-dtype", false},
    {"f32-v1-w8a8-static-flexsmooth", "config-dtype", false},
    {"f32-v1-w8a8-static-histogram", "config-dtype", false},
    {"f32-v1-w8a8-static-itersmooth05", "config-dtype", false},
    {"f32-v1-w8a8-static-itersmooth05-shift", "config-dtype", false},
    {"f32-v1-w8a8-static-mean", "config-dtype", false},
    {"f32-v1-w8a8-static-smoothquant05", "config-dtype", false},
    {"f32-v1-w8a8-static-sym", "config-dtype", false},
};

/* Ids of the checks that found something, sorted, each once. */
static void ids_of(const gs_verify_result *r, char out[600]) {
    const char *id[64];
    size_t n = 0;
    for (size_t i = 0; i < r->finding_count; i++) {
        size_t k = 0;
        while (k < n && strcmp(id[k], r->finding[i].check) < 0) k++;
        if (k < n && strcmp(id[k], r->finding[i].check) == 0) continue;
        memmove(&id[k + 1], &id[k], (n - k) * sizeof *id);
        id[k] = r->finding[i].check;
        n++;
    }
    out[0] = 0;
    for (size_t k = 0; k < n; k++) snprintf(out + strlen(out), 600 - strlen(out), "%s%s", k ? " " : "", id[k]);
}

static bool expect(gs_session *session, const char *path, const gs_verify_options *o, const char *checks) {
    gs_error err = {0};
    gs_verify_result r;
    char ids[600];
    assert_ok(gs_verify(session, path, o, &r, &err), &err);
    ids_of(&r, ids);
    bool same = strcmp(ids, checks) == 0;
    if (!same) {
        print_message("  %s: '%s', expected '%s'\n", path, ids, checks);
        print_findings(&r);
    }
    gs_verify_result_clear(&r);
    return same;
}

static void what_is_found_in_the_folders_of_msmodelslim_is_real(void **state) {
    (void)state;
    gs_need_data(first, SLIM "f32-v1-w8a16/config.json");
    (void)first;
    gs_error err = {0};
    gs_session *session;
    size_t good = 0;
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(slim); i++) {
        char folder[200], config[200];
        snprintf(folder, sizeof folder, SLIM "%s", slim[i].folder);
        snprintf(config, sizeof config, SLIM "%.*s-v1-w8a16", (int)strcspn(slim[i].folder, "-"), slim[i].folder);
        gs_verify_options o = {.config = slim[i].config ? gs_test_data(config) : NULL};
        good += expect(session, gs_test_data(folder), &o, slim[i].checks);
    }
    assert_int_equal(good, GS_COUNTOF(slim));
    gs_session_destroy(session);
}

/* Folders whose weights are not the source's, each within half a step; what the others find against their source is what
 * slim says and nothing more. */
static const struct {
    const char *folder, *checks;
} otherwise[] = {
    /* not the nearest codes: errors are moved between them */
    {"f32-v1-w8a16-gptq", "against-weights"},
    {"f32-v1-w8a16-gptq-g32", "against-weights"},
    /* biases that this source does not have; shifts of norms, which the biases of linears take out again */
    {"f32-v1-w8a8-static-asym-bias", "against-coverage against-weights"},
    {"f32-v1-w8a8-static-itersmooth05-shift", "against-coverage"},
    /* tensors with findings of their own cannot be compared; the norms of old names are stored twice */
    {"f32-v0-w4a16-g32-oldnames", "against-coverage"},
    {"f32-v0-w8a8-static-m1-oldnames", "against-coverage"},
    {"f32-v1-mindie-w8a8-static-asym", "against-coverage"},
};

/* Ids of two lists, each sorted and all of the first before those of the second, or the second empty. */
static void expected_against(const char *folder, const char *checks, char out[600]) {
    const char *more = "";
    for (size_t i = 0; i < GS_COUNTOF(otherwise); i++)
        if (strcmp(otherwise[i].folder, folder) == 0) more = otherwise[i].checks;
    snprintf(out, 600, "%s%s%s", more, more[0] && checks[0] ? " " : "", checks);
}

/* Codes are the nearest, whatever was smoothed, grouped or packed; nothing is left out silently. */
static void they_agree_with_the_model_they_were_made_from(void **state) {
    (void)state;
    gs_need_data(found_model, "data/lm/stories260K-hf-llama");
    gs_need_data(first, SLIM "f32-v1-w8a16/config.json");
    (void)first;
    char model[1024]; /* gs_test_data reuses its buffers */
    snprintf(model, sizeof model, "%s", found_model);
    gs_error err = {0};
    gs_session *session;
    size_t good = 0;
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    for (size_t i = 0; i < GS_COUNTOF(slim); i++) {
        char folder[200], config[200], checks[600];
        snprintf(folder, sizeof folder, SLIM "%s", slim[i].folder);
        snprintf(config, sizeof config, SLIM "%.*s-v1-w8a16", (int)strcspn(slim[i].folder, "-"), slim[i].folder);
        expected_against(slim[i].folder, slim[i].checks, checks);
        gs_verify_options o = {.against = model, .config = slim[i].config ? gs_test_data(config) : NULL};
        good += expect(session, gs_test_data(folder), &o, checks);
    }
    assert_int_equal(good, GS_COUNTOF(slim));
    /* GPTQ's codes are at most two steps off */
    gs_verify_options o = {.against = model, .tolerance_steps = 2};
    assert_true(expect(session, gs_test_data(SLIM "f32-v1-w8a16-gptq"), &o, "config-dtype"));
    assert_true(expect(session, gs_test_data(SLIM "f32-v1-w8a16-gptq-g32"), &o, "config-dtype description-globals target-type"));
    gs_session_destroy(session);
}

static void bundles_of_golden_stick_hold(void **state) {
    (void)state;
    gs_need_data(a, "reference/goldenstick/bundles/w8a16-f32");
    gs_need_data(b, "reference/goldenstick/bundles/w8a8-smooth-f32");
    gs_need_data(model, "data/lm/stories260K-hf-llama");
    gs_error err = {0};
    gs_session *session;
    assert_ok(gs_session_create(NULL, &session, &err), &err);
    for (int i = 0; i < 2; i++) {
        gs_verify_options o = {.against = i ? model : NULL};
        assert_true(expect(session, a, &o, ""));
        assert_true(expect(session, b, &o, ""));
    }
    gs_session_destroy(session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_found_in_the_folders_of_msmodelslim_is_real),
        cmocka_unit_test(they_agree_with_the_model_they_were_made_from),
        cmocka_unit_test(bundles_of_golden_stick_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
