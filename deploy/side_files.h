/* The files of a bundle that are not weights: config.json with its edits, the tokenizer and
 * other texts copied verbatim (internal to deploy/). */
#ifndef GS_DEPLOY_SIDE_FILES_H
#define GS_DEPLOY_SIDE_FILES_H

#include <deploy/bundle_format.h>

/* config.json of the source with quantization_config removed (also inside text_config),
 * torch_dtype explicit (and dtype, where that key exists) and "quantize" set. */
gs_status gs_side_config(const gs_bundle_options *o, gs_strbuf *text, gs_error *err) GS_NODISCARD;
/* Copies generation_config.json, tokenizer files, *.model, *.jinja, *.py and the like of a
 * Hugging Face directory into dir; for a GGUF source makes the tokenizer files instead. */
gs_status gs_side_copy(gs_context *cx, const gs_bundle_options *o, const char *dir, gs_error *err) GS_NODISCARD;
/* Writes a text file of mode 0644 into dir. */
gs_status gs_side_write(const char *dir, const char *name, const char *text, size_t len, gs_error *err) GS_NODISCARD;

#endif
