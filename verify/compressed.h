/* The quantization_config of compressed-tensors, as far as it says what must be stored (internal to verify/). */
#ifndef GS_VERIFY_COMPRESSED_H
#define GS_VERIFY_COMPRESSED_H

#include <verify/patterns.h>

/* One group of linears. */
typedef struct gs_ct_group {
    const char *name;
    gs_patterns *targets;
    int64_t bits, group; /* of weights; group 0: a channel, or one scale for all */
    bool one_scale;      /* for the whole weight */
    bool packed;         /* weight_packed rather than weight */
    gs_type type;        /* W4A16, W8A16, W8A8 or W8A8_DYNAMIC */
    bool symmetric_input;
} gs_ct_group;

typedef struct gs_ct_groups {
    gs_ct_group *group;
    int count;
    gs_patterns *ignore;
} gs_ct_groups;

/* Reads and judges it. Clear *out in any case. */
gs_status gs_ct_groups_read(gs_subject *s, const cJSON *config, gs_ct_groups *out, gs_error *err) GS_NODISCARD;
void gs_ct_groups_clear(gs_ct_groups *g);
/* The group that a linear belongs to, or NULL: it stays float. Two groups that say different things of it are a finding. */
const gs_ct_group *gs_ct_groups_find(gs_subject *s, const gs_ct_groups *g, const char *linear);
/* Once every linear was looked up: targets that name none, and expressions that cannot be matched. */
void gs_ct_groups_idle(gs_subject *s, const gs_ct_groups *g);

#endif
