/* What the readers and writers of MindSpore's formats have in common: MindFormers' module names, and values that are
 * repeated for every column of an input. */
#ifndef GS_DEPLOY_MINDSPORE_TENSORS_H
#define GS_DEPLOY_MINDSPORE_TENSORS_H

#include <deploy/bundle_reader.h>
#include <deploy/bundle_writer.h>

/* What a Hugging Face module's name ends in, and what MindFormers calls it. A beginning ('.') is part of the rest. */
typedef struct gs_mindspore_ending {
    const char *hf, *ms;
} gs_mindspore_ending;
extern const gs_mindspore_ending gs_mindspore_endings[];
extern const size_t gs_mindspore_ending_count;

/* The Hugging Face name of a MindFormers module, kept by c; the stem itself (kept) where it is called the same in both.
 * NULL: no memory, err is set. len: of stem, which need not end there. */
const char *gs_mindspore_hf_name(gs_bundle_content *c, const char *stem, size_t len, gs_error *err);
/* Makes "<stem>.<role>" F32 [1] of a float, I8 or I32 tensor [1], or [cols] with one value repeated. GS_E_UNSUPPORTED for
 * values that differ: a smoothing is merged into them, which would have to divide each channel of the input. */
gs_status gs_mindspore_add_input(gs_bundle_content *c, const char *stem, gs_role role, const gs_tensor *t, int64_t cols,
                                 gs_error *err) GS_NODISCARD;

/* Copies of the tokenizer, and config.json with "quantization": "golden-stick". */
gs_status gs_mindspore_side_files(gs_bundle_writer *w, gs_error *err) GS_NODISCARD;

#endif
