/* Who is to load an ascend bundle, and which schemes may stand in it together (ascend-bundles.md 3.3, 5.2, 5.3):
 * vllm-ascend looks each linear's type up; MindIE reads one type from config.json for all, and takes a linear as
 * float when its weight is stored as one. 310p is vllm-ascend on Atlas 300I (Ascend 310P), which has less.
 */
#ifndef GS_DEPLOY_TARGET_H
#define GS_DEPLOY_TARGET_H

#include <network/net.h>

typedef enum gs_target {
    GS_TARGET_BOTH, GS_TARGET_VLLM_ASCEND, GS_TARGET_MINDIE, GS_TARGET_310P, GS_TARGET_COUNT
} gs_target;

/* "both", "vllm-ascend", "mindie", "310p": by value. */
extern const char *const gs_target_names[GS_TARGET_COUNT];

/* A linear of `scheme` is loadable in a bundle whose other linears are `dominant`. */
bool gs_target_permits(gs_target target, gs_scheme dominant, gs_scheme scheme);
/* MindIE is one of those who load it; vllm-ascend is. */
bool gs_target_has_mindie(gs_target target);
bool gs_target_has_vllm(gs_target target);

#endif
