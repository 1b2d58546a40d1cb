/* Writes a bundle of any format. Every segment is planned once (its params may lack bytes), then begin checks the
 * disk space, then every segment comes again in the same order with its bytes, then finish adds the side
 * files. The directory appears whole or not at all. One thread at a time; encoding works on the context's team.
 */
#ifndef GS_DEPLOY_BUNDLE_WRITER_H
#define GS_DEPLOY_BUNDLE_WRITER_H

#include <deploy/bundle_format.h>

/* path: a directory that does not exist or is empty. options are copied, what they point to is borrowed. */
gs_status gs_bundle_writer_create(gs_context *cx, const gs_bundle_format *format, const char *path,
                                  const gs_bundle_options *options, gs_bundle_writer **out, gs_error *err) GS_NODISCARD;
gs_status gs_bundle_writer_plan(gs_bundle_writer *w, const gs_net *segment, gs_error *err) GS_NODISCARD;
gs_status gs_bundle_writer_begin(gs_bundle_writer *w, gs_error *err) GS_NODISCARD;
gs_status gs_bundle_writer_write(gs_bundle_writer *w, const gs_net *segment, gs_error *err) GS_NODISCARD;
/* A file of the bundle's own (manifest, config); before finish. */
gs_status gs_bundle_writer_add_file(gs_bundle_writer *w, const char *name, const char *text, size_t len,
                                    gs_error *err) GS_NODISCARD;
/* Side files, fsync, rename. Consumes w. *bytes: of all files. */
gs_status gs_bundle_writer_finish(gs_bundle_writer *w, uint64_t *bytes, gs_error *err) GS_NODISCARD;
void gs_bundle_writer_abort(gs_bundle_writer *w); /* consumes w; NULL ok */

/* ---- for a format's side_files ---- */
const gs_bundle_options *gs_bundle_writer_options(const gs_bundle_writer *w);
const gs_bundle_facts *gs_bundle_writer_facts(const gs_bundle_writer *w);
gs_context *gs_bundle_writer_context(const gs_bundle_writer *w);
const char *gs_bundle_writer_dir(const gs_bundle_writer *w); /* where the files are being made */
size_t gs_bundle_writer_count(const gs_bundle_writer *w);
/* The i-th tensor that was stored: its name and its description type. */
const char *gs_bundle_writer_tensor(const gs_bundle_writer *w, size_t i, const char **type);
bool gs_bundle_writer_has(const gs_bundle_writer *w, const char *name);

/* ---- for encoders ---- */
/* Appends n bytes of the tensor being written. */
gs_status gs_sink_put(gs_sink *sink, const void *data, size_t n, gs_error *err) GS_NODISCARD;
gs_context *gs_sink_context(gs_sink *sink);
const gs_bundle_options *gs_sink_options(const gs_sink *sink);

#endif
