/* The type of each linear as a server looks it up, and which stand together. */
#include <verify/subject.h>

#include <stdio.h>
#include <string.h>

/* Which servers have a kernel (AB 3.3, 5.2), by type. */
static const unsigned kernels[GS_TYPE_UNKNOWN] = {
    [GS_TYPE_FLOAT] = GS_FOR_VLLM | GS_FOR_MINDIE | GS_FOR_310P,
    [GS_TYPE_W4A16] = GS_FOR_MINDIE,
    [GS_TYPE_W8A16] = GS_FOR_VLLM | GS_FOR_MINDIE,
    [GS_TYPE_W8A8_DYNAMIC] = GS_FOR_VLLM | GS_FOR_MINDIE | GS_FOR_310P,
    [GS_TYPE_W8A8_MIX] = GS_FOR_VLLM | GS_FOR_MINDIE,
    [GS_TYPE_W8A8] = GS_FOR_VLLM | GS_FOR_MINDIE | GS_FOR_310P,
};

static const char *server_without(unsigned missing) {
    return missing & GS_FOR_VLLM ? "vllm-ascend" : missing & GS_FOR_MINDIE ? "MindIE" : "the 310P";
}

/* A vector of what each server may compute in. */
static void check_dtype(gs_subject *s, bool any_static) {
    unsigned refused = 0;
    if (s->dtype == GS_BF16) refused = GS_FOR_310P;
    else if (s->dtype != GS_F16) refused = GS_FOR_MINDIE | GS_FOR_310P | (any_static ? GS_FOR_VLLM : 0);
    gs_report_that(&s->report, GS_CHECK_CONFIG_DTYPE, !(refused & s->target), "config.json", "%s does not load a %s bundle",
              server_without(refused & s->target), s->dtype == GS_DTYPE_NONE ? "dtype-less" : gs_dtype_torch_name(s->dtype));
}

static void check_type(gs_subject *s, gs_module *m) {
    char key[400];
    snprintf(key, sizeof key, "%s.weight", m->name);
    m->type = m->tied ? GS_TYPE_FLOAT : gs_type_from_name(gs_described(s, key));
    if (m->type == GS_TYPE_UNKNOWN) return; /* description-complete or -value has said so */
    unsigned missing = s->target & ~kernels[m->type];
    gs_report_that(&s->report, GS_CHECK_TARGET_TYPE, !missing, key, "%s has no kernel for %s", server_without(missing), gs_type_name(m->type));
    const gs_module *first = &s->module[m->group];
    if (first != m && first->type != GS_TYPE_UNKNOWN)
        gs_report_that(&s->report, GS_CHECK_FUSED_TYPE, m->type == first->type, key, "%s, while %s is %s", gs_type_name(m->type), first->name,
                  gs_type_name(first->type));
}

static void check_mixture(gs_subject *s, gs_type dominant) {
    if (!(s->target & GS_FOR_MINDIE)) return;
    for (int i = 0; i < s->modules; i++) {
        const gs_module *m = &s->module[i];
        if (m->op != GS_OP_LINEAR || m->type == GS_TYPE_UNKNOWN) continue;
        gs_report_that(&s->report, GS_CHECK_TARGET_MIXTURE, m->type == GS_TYPE_FLOAT || m->type == dominant, m->name,
                  "%s in a bundle of %s: MindIE reads all as the latter", gs_type_name(m->type), gs_type_name(dominant));
    }
}

/* vllm-ascend asks the first expert of a layer for the type of all. */
static void check_experts(gs_subject *s) {
    const gs_module *first = NULL;
    if (!(s->target & (GS_FOR_VLLM | GS_FOR_310P))) return;
    for (int i = 0; i < s->modules; i++) {
        const gs_module *m = &s->module[i];
        if (m->mixture < 0) continue;
        if (!first || first->mixture != m->mixture) first = m;
        if (m->type == GS_TYPE_UNKNOWN || first->type == GS_TYPE_UNKNOWN) continue;
        gs_report_that(&s->report, GS_CHECK_TARGET_MIXTURE, m->type == first->type, m->name,
                  "%s, while %s is %s: vllm-ascend takes the experts of a layer as one type", gs_type_name(m->type), first->name,
                  gs_type_name(first->type));
    }
}

void gs_verify_types(gs_subject *s) {
    gs_type dominant = GS_TYPE_FLOAT;
    bool any_static = false;
    if (!s->description) return;
    for (int i = 0; i < s->modules; i++) {
        gs_module *m = &s->module[i];
        if (m->op != GS_OP_LINEAR) continue;
        check_type(s, m);
        if (m->type == GS_TYPE_UNKNOWN) continue;
        if (m->type > dominant) dominant = m->type;
        any_static = any_static || m->type == GS_TYPE_W8A8 || m->type == GS_TYPE_W8A8_MIX;
    }
    if (!s->modules) return;
    const char *said = gs_described(s, "model_quant_type");
    gs_report_that(&s->report, GS_CHECK_DESCRIPTION_DOMINANT, strcmp(said, gs_type_name(dominant)) == 0, "model_quant_type",
              "'%.40s', the dominant type is %s", said, gs_type_name(dominant));
    check_mixture(s, dominant);
    check_experts(s);
    gs_verify_quantize_word(s, dominant);
    check_dtype(s, any_static);
}
