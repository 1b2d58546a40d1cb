/* What an ascend bundle may hold, by its target (internal to deploy/; ascend-bundles.md 3.2 to 3.8, 5.2, 5.3). The members
 * of a gs_bundle_format of these names. */
#ifndef GS_DEPLOY_ASCEND_RULES_H
#define GS_DEPLOY_ASCEND_RULES_H

#include <deploy/bundle_writer.h>

gs_status gs_ascend_permits(const gs_bundle_options *o, const gs_node *node, gs_error *err) GS_NODISCARD;
/* Linears that one server kernel computes together have one type and one input scale and offset; a norm's bias
 * is read by static linears alone; the experts of one layer have one type for vllm-ascend. */
gs_status gs_ascend_permits_segment(const gs_bundle_options *o, const gs_net *segment, gs_error *err) GS_NODISCARD;
/* MindIE: FLOAT and one type more, and one group size. */
gs_status gs_ascend_permits_bundle(const gs_bundle_writer *w, gs_error *err) GS_NODISCARD;

#endif
