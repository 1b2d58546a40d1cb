#include <deploy/target.h>

const char *const gs_target_names[GS_TARGET_COUNT] = {"both", "vllm-ascend", "mindie", "310p"};

bool gs_target_has_mindie(gs_target target) { return target == GS_TARGET_BOTH || target == GS_TARGET_MINDIE; }
bool gs_target_has_vllm(gs_target target) { return target != GS_TARGET_MINDIE; }

bool gs_target_permits(gs_target target, gs_scheme dominant, gs_scheme scheme) {
    if (scheme == GS_SCHEME_FLOAT) return true;
    if (target == GS_TARGET_310P) return scheme == GS_SCHEME_W8A8 || scheme == GS_SCHEME_W8A8_DYNAMIC;
    return scheme == dominant || target == GS_TARGET_VLLM_ASCEND;
}
