/* The words of gs_quantize_options, understood: what the algorithm and the bundle are to be. */
#ifndef GS_API_CHOICES_H
#define GS_API_CHOICES_H

#include <calibrate/statistics.h>
#include <deploy/bundle_format.h>
#include <llm/model.h>
#include <ptq/ptq_config.h>
#include <ptq/smooth_quant.h>

typedef struct gs_choices {
    gs_ptq_config config;            /* its dtype (compute) is settled later */
    gs_dtype dtype;                  /* asked for; GS_DTYPE_NONE: auto */
    gs_target target;
    gs_smooth_quant_options smooth;
    bool needs_data;                 /* the job cannot be done without statistics */
    bool linears_need_data;          /* and not only for its cache */
    bool has_data;                   /* statistics or a calibration set are given */
    uint64_t max_shard_bytes;        /* tensor bytes a file */
    char alpha[32];                  /* canonical, for the manifest */
} gs_choices;

/* GS_E_INVALID for an unknown word (with the nearest known), a number out of range, options that contradict each
 * other, or data that is missing. The lists of o are borrowed. */
gs_status gs_choices_read(const gs_quantize_options *o, gs_choices *out, gs_error *err) GS_NODISCARD;

/* What the format settles: the dtype of weight scales, their groups and convention where none was asked for.
 * GS_E_INVALID when it contradicts what was asked for. */
gs_status gs_choices_take_format(gs_choices *c, const gs_quantize_options *o, const gs_bundle_format *format,
                                 gs_error *err) GS_NODISCARD;

/* o with every default filled in, for the manifest; borrows from both. */
gs_quantize_options gs_choices_effective(const gs_choices *c, const gs_quantize_options *o, const char *format);
/* The calibration options of a manifest's recipe: those that were used, so that statistics and a calibration set
 * give the same manifest, and the recipe the same bundle again. Borrows from *about. */
void gs_choices_take_calibration(const gs_statistics_info *about, gs_quantize_options *effective);

/* GS_E_INVALID for a fallback word that names no linear of the model. */
gs_status gs_choices_check_names(const gs_choices *c, const gs_model *model, gs_error *err) GS_NODISCARD;

#endif
