/* What the jobs that write have in common. */
#ifndef GS_API_OUTPUT_H
#define GS_API_OUTPUT_H

#include <deploy/bundle_format.h>
#include <llm/model.h>

/* GS_E_INVALID where both are the same file or directory, by whatever names. Either may be NULL. */
gs_status gs_output_check_input(const char *input, const char *output, gs_error *err) GS_NODISCARD;
/* The same for a directory that has to be given: GS_E_INVALID for NULL or "". */
gs_status gs_output_check_dir(const char *input, const char *output, gs_error *err) GS_NODISCARD;
/* Tensor bytes a file: as asked for, 4 GiB for 0. GS_E_INVALID below. */
gs_status gs_output_shard_bytes(int64_t asked, uint64_t *out, gs_error *err) GS_NODISCARD;
/* The members of a bundle's options that are the model's: source, embed, head, tied. Borrows from it. */
void gs_output_describe(const gs_model *m, gs_bundle_options *out);

#endif
