#include <api/output.h>

#include <base/file.h>

static const int64_t DEFAULT_SHARD = (int64_t)4 << 30;

gs_status gs_output_check_input(const char *input, const char *output, gs_error *err) {
    if (!input || !output || !gs_path_same(input, output)) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "output '%s' is the input: it is never overwritten", output);
}

gs_status gs_output_check_dir(const char *input, const char *output, gs_error *err) {
    if (!output || !*output) return GS_FAIL(err, GS_E_INVALID, "no output directory is given");
    return gs_output_check_input(input, output, err);
}

gs_status gs_output_shard_bytes(int64_t asked, uint64_t *out, gs_error *err) {
    if (asked < 0) return GS_FAIL(err, GS_E_INVALID, "a file of %lld bytes cannot be", (long long)asked);
    *out = (uint64_t)(asked ? asked : DEFAULT_SHARD);
    return GS_OK;
}

void gs_output_describe(const gs_model *m, gs_bundle_options *out) {
    out->source = gs_model_checkpoint(m);
    out->embed = gs_model_helper(m)->name.embed;
    out->head = gs_model_helper(m)->name.head;
    out->tied = gs_model_settings(m)->tied;
}
