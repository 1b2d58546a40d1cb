/* gstick_manifest.json: what made a bundle. Loaders ignore it. */
#ifndef GS_API_MANIFEST_H
#define GS_API_MANIFEST_H

#include <base/strbuf.h>
#include <calibrate/statistics.h>
#include <llm/model.h>
#include <ptq/comp_algo.h>

/* Effective recipe (options with every default filled in; it reads back as a recipe), what the
 * source and the calibration were (NULL: none), what smoothing did to the float function (NAN: not smoothed), and
 * one row a linear. No paths, no times: the same job gives the same bytes. */
gs_status gs_manifest_text(const gs_quantize_options *effective, const gs_model *source,
                           const gs_statistics_info *calibration, double smoothing_change,
                           const gs_summary *summary, gs_strbuf *out, gs_error *err) GS_NODISCARD;
/* One linear as a JSON object, for the manifest and for --json. */
void gs_manifest_layer(const gs_layer_summary *layer, gs_strbuf *out);

#endif
