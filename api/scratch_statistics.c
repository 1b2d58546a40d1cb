#include <api/calibration.h>
#include <base/file.h>
#include <base/mem.h>
#include <calibrate/statistics_info.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* What is not there needs no removing. */
static void remove_file(const char *dir, const char *name) {
    char *path = gs_path_join(dir, name);
    if (path) unlink(path);
    gs_free(path);
}

static gs_status run(gs_context *cx, const gs_model *m, const char *path, const char *dir,
                     const gs_calibrate_options *o, gs_statistics **out, gs_calibrate_result *result, gs_error *err) {
    char *statistics = gs_path_join(dir, "statistics");
    if (!statistics) return gs_error_nomem(err, 256);
    gs_status status = gs_calibration_run(cx, m, path, statistics, o, result, err);
    if (status == GS_OK) status = gs_statistics_open(statistics, out, err);
    remove_file(statistics, GS_STATISTICS_JSON);
    remove_file(statistics, GS_STATISTICS_TENSORS);
    rmdir(statistics);
    gs_free(statistics);
    return status;
}

gs_status gs_calibration_scratch(gs_context *cx, const gs_model *m, const char *path, const gs_calibrate_options *o,
                                 gs_statistics **out, gs_calibrate_result *result, gs_error *err) {
    char *dir = gs_path_join(gs_scratch_dir(o->scratch_dir), "gstick-statistics-XXXXXX");
    if (!dir) return gs_error_nomem(err, 256);
    gs_status status;
    if (mkdtemp(dir)) {
        status = run(cx, m, path, dir, o, out, result, err);
        rmdir(dir);
    } else {
        status = gs_scratch_error(gs_error_errno(err, errno, "cannot create a scratch directory '%s'", dir), err);
    }
    gs_free(dir);
    return status;
}
