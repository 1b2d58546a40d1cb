/* The files of a bundle that are not weights: config.json with its edits, the tokenizer and
 * other texts copied verbatim (internal to deploy/). */
#ifndef GS_DEPLOY_SIDE_FILES_H
#define GS_DEPLOY_SIDE_FILES_H

#include <base/json.h>
#include <deploy/bundle_format.h>

/* config.json of the source, the caller's (cJSON_Delete): quantization_config removed (also inside text_config),
 * "quantize" and "quantization" too, torch_dtype explicit (and dtype, where that key exists). */
gs_status gs_side_config(const gs_bundle_options *o, cJSON **config, gs_error *err) GS_NODISCARD;
/* Sets object[key] = value, in its old place where there is one. GS_E_NOMEM */
gs_status gs_side_set(cJSON *object, const char *key, const char *value, gs_error *err) GS_NODISCARD;
/* Writes a JSON tree, and consumes it: mode 0644, `indent` spaces a level. */
gs_status gs_side_json(const char *dir, const char *name, cJSON *json, int indent, gs_error *err) GS_NODISCARD;
/* Copies generation_config.json, tokenizer files, *.model, *.jinja, *.py and the like of a
 * Hugging Face directory into dir; for a GGUF source makes the tokenizer files instead. */
gs_status gs_side_copy(gs_context *cx, const gs_bundle_options *o, const char *dir, gs_error *err) GS_NODISCARD;
/* Writes a text file of mode 0644 into dir. */
gs_status gs_side_write(const char *dir, const char *name, const char *text, size_t len, gs_error *err) GS_NODISCARD;

#endif
