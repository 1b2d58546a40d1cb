/* gs_verify: the check, the clock and the memory around it. */
#include <api/session.h>
#include <base/mem.h>
#include <verify/verify.h>

gs_status gs_verify(gs_session *session, const char *bundle, const gs_verify_options *options, gs_verify_result *result,
                    gs_error *err) {
    double began = gs_clock();
    gs_status status = gs_verify_run(&session->context, bundle, options, result, err);
    result->seconds = gs_clock() - began;
    result->peak_rss_bytes = gs_mem_peak_rss();
    return status;
}

void gs_verify_result_clear(gs_verify_result *result) {
    for (size_t i = 0; i < result->finding_count; i++) {
        gs_free(result->finding[i].tensor);
        gs_free(result->finding[i].text);
    }
    gs_free(result->finding);
    *result = (gs_verify_result){0};
}

const gs_check_info *gs_verify_checks(size_t *count) { return gs_verify_table(count); }
