/* The small models of every family (shared data), and a job on one of them. */
#ifndef GS_TESTS_API_FAMILIES_H
#define GS_TESTS_API_FAMILIES_H

#include "../support.h"

#include <gstick.h>

static const char *const families[] = {
    "llama2", "llama2-bf16-sharded", "llama3-rope", "llama-linear-rope-bias", "mistral-window", "qwen2", "qwen3", "phi3-fused",
    "granite", "olmo2-postnorm", "gemma2", "mixtral-moe", "qwen3-moe", "baichuan1-7b", "baichuan2-7b", "baichuan2-13b-alibi", "baichuan2-7b-torch-bin-bf16",
};
typedef struct work {
    gs_session *session;
    char folder[1024], ids[1100], bundle[1100];
} work;

/* Another family: its folder and its tokens. */
static inline void work_on(work *w, const char *family) {
    char relative[100];
    snprintf(relative, sizeof relative, "reference/families/%s", family);
    snprintf(w->folder, sizeof w->folder, "%s", gs_test_data(relative));
    snprintf(w->ids, sizeof w->ids, "%s/ids.i32", w->folder);
}

static inline void verified(const work *w, const char *against, const char *what) {
    gs_error err = {0};
    gs_verify_result v;
    const gs_verify_options o = {.against = against};
    assert_ok(gs_verify(w->session, w->bundle, &o, &v, &err), &err);
    if (v.finding_count) fail_msg("%s: %s %s: %s", what, v.finding[0].check, v.finding[0].tensor, v.finding[0].text);
    gs_verify_result_clear(&v);
}

/* The bundle is found to be whole, alone and against its source. */
static inline void expect_verified(const work *w, const char *what) {
    verified(w, NULL, what);
    verified(w, w->folder, what);
}

#endif
