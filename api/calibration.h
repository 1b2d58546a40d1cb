/* Calibration data in front of a model: the set read and tokenised, the stream ready to run. */
#ifndef GS_API_CALIBRATION_H
#define GS_API_CALIBRATION_H

#include <calibrate/statistics.h>
#include <calibrate/stream.h>

typedef struct gs_calibration {
    gs_corpus corpus;
    gs_stream_options options;
    gs_stream *stream;
} gs_calibration;

/* Whether the cache is looked at, too. GS_E_INVALID for an unknown word. */
gs_status gs_calibration_cache(const gs_calibrate_options *options, bool *out, gs_error *err) GS_NODISCARD;
/* path: the model's, where its tokenizer is. GS_E_INVALID for an unknown word. */
gs_status gs_calibration_open(gs_context *cx, const gs_model *model, const char *path,
                              const gs_calibrate_options *options, gs_calibration *out, gs_error *err) GS_NODISCARD;
void gs_calibration_close(gs_calibration *c); /* safe on a zeroed struct */
/* What statistics of it are of. */
gs_status gs_calibration_about(const gs_calibration *c, const gs_model *model, const gs_calibrate_options *options,
                               gs_statistics_info *out, gs_error *err) GS_NODISCARD;
/* The whole of gs_calibrate on an open model: sets counts and note of *result. */
gs_status gs_calibration_run(gs_context *cx, const gs_model *m, const char *path, const char *statistics,
                             const gs_calibrate_options *o, gs_calibrate_result *result, gs_error *err) GS_NODISCARD;

/* Statistics in a scratch directory that is gone by the time this returns: only *out still holds them. */
gs_status gs_calibration_scratch(gs_context *cx, const gs_model *m, const char *path, const gs_calibrate_options *o,
                                 gs_statistics **out, gs_calibrate_result *result, gs_error *err) GS_NODISCARD;

#endif
