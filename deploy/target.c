#include <deploy/target.h>

const char *const gs_target_names[GS_TARGET_COUNT] = {"both", "vllm-ascend", "mindie"};

bool gs_target_permits(gs_target target, gs_scheme dominant, gs_scheme scheme) {
    if (scheme == GS_SCHEME_FLOAT || scheme == dominant) return true;
    return target == GS_TARGET_VLLM_ASCEND;
}
