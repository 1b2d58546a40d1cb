/* Frameworks differ in which projections they fuse: Baichuan's W_pack is wq, wk and wv to MindFormers. A network is built as its
 * checkpoint stores it; before it is written it is brought into the form that the bundle's names ask for. Bytes are those
 * that the other form would have: rows change places, values do not.
 */
#ifndef GS_LLM_REGROUP_H
#define GS_LLM_REGROUP_H

#include <llm/model.h>

/* parts: a fused linear that the row's `alternative` names lack becomes its parts, under the names that the row itself has for
 * them ("self_attn.q_proj"). Else parts of which the row knows the fused name become that linear. Nothing happens in segments and
 * families where there is nothing of the kind. source: what the params view, whose pages are given back once copied; NULL: nobody
 * will read the weights that are moved, and they become planned. Dims are inferred again. GS_E_UNSUPPORTED for parts that cannot be one linear: other
 * types, an int8 cache whose scales would have no place. On failure the net is to be dropped. */
gs_status gs_regroup(const gs_network_helper *helper, bool parts, const gs_checkpoint *source, gs_net *segment,
                     gs_error *err) GS_NODISCARD;

#endif
