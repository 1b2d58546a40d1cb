/* Whether a bundle would load and compute what it says, judged offline: every rule of the formats that can be checked from
 * the files alone, as a table of named checks (checks.h). It looks at files through loaders/ and at what the architecture
 * asks for through the blueprint of llm/; it shares nothing with the code that writes or reads bundles, so that it can
 * disagree with it. All findings are collected: it never stops at the first.
 *
 * Each tensor is read once (blocks of GGUF twice, what is compared with a source once or twice more), on the context's
 * team, and its pages are dropped behind. In memory are what names the tensors and the modules, one tensor's scales and
 * one segment's blueprint. The order of findings does not depend on the number of threads.
 */
#ifndef GS_VERIFY_VERIFY_H
#define GS_VERIFY_VERIFY_H

#include <base/context.h>

/* As gs_verify of gstick.h, which it is the body of. seconds and peak_rss_bytes are left zero. On failure *result is
 * cleared. */
gs_status gs_verify_run(gs_context *cx, const char *bundle, const gs_verify_options *options, gs_verify_result *result,
                        gs_error *err) GS_NODISCARD;
const gs_check_info *gs_verify_table(size_t *count);

#endif
