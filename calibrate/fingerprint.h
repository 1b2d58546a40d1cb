/* Which model is this? A hash that tells models apart without reading them whole.
 *
 * XXH3 of every segment's text (gs_net_dump: operations, their attributes, shapes) and, for each tensor in the checkpoint's order, its name, dtype, shape and
 * a sample of its bytes: all of it up to 12 KiB, else the first, middle and last 4 KiB. So a 70B
 * model costs a few megabytes of reading. Two checkpoints that differ only between the
 * samples have the same fingerprint: it guards against mistakes, not against malice. The same weights
 * in another container, dtype or shard order have another one. A rewrite of the model counts where it changes
 * the network.
 */
#ifndef GS_CALIBRATE_FINGERPRINT_H
#define GS_CALIBRATE_FINGERPRINT_H

#include <llm/model.h>

gs_status gs_model_fingerprint(const gs_model *m, uint64_t *out, gs_error *err) GS_NODISCARD;

#endif
