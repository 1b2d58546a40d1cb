/* What each module stores: tensors, element types and shapes by its type (AB 3.4). */
#include <verify/subject.h>

#include <stdio.h>
#include <string.h>

enum { FLOAT = 1 << GS_TYPE_FLOAT, W4A16 = 1 << GS_TYPE_W4A16, W8A16 = 1 << GS_TYPE_W8A16, DYNAMIC = 1 << GS_TYPE_W8A8_DYNAMIC,
       MIX = 1 << GS_TYPE_W8A8_MIX, STATIC = 1 << GS_TYPE_W8A8 };

typedef enum part_dtype { PART_CODES, PART_SCALE, PART_I32, PART_DEQ } part_dtype;
typedef enum part_shape { SHAPE_CODES, SHAPE_GROUPS, SHAPE_ROWS, SHAPE_ONE } part_shape;

static const struct {
    const char *suffix;
    part_dtype dtype;
    part_shape shape;
    int needed, allowed; /* bits of types */
} parts[] = {
    {"weight", PART_CODES, SHAPE_CODES, W4A16 | W8A16 | DYNAMIC | MIX | STATIC, 0},
    {"weight_scale", PART_SCALE, SHAPE_GROUPS, W4A16 | W8A16 | DYNAMIC | MIX, STATIC},
    {"weight_offset", PART_SCALE, SHAPE_GROUPS, W4A16 | W8A16 | DYNAMIC | MIX, STATIC},
    {"input_scale", PART_SCALE, SHAPE_ONE, MIX | STATIC, 0},
    {"input_offset", PART_SCALE, SHAPE_ONE, MIX | STATIC, 0},
    {"quant_bias", PART_I32, SHAPE_ROWS, MIX | STATIC, 0},
    {"deq_scale", PART_DEQ, SHAPE_ROWS, MIX | STATIC, 0},
};

static void list_types(const gs_dtype *wanted, char out[64]) {
    out[0] = 0;
    for (; *wanted != GS_DTYPE_NONE; wanted++)
        snprintf(out + strlen(out), 64 - strlen(out), "%s%s", out[0] ? " or " : "", gs_dtype_name(*wanted));
}

static bool check_shape(gs_subject *s, const gs_stored *t, int ndim, int64_t a, int64_t b) {
    char got[128];
    const gs_tensor *v = t->t;
    bool fits = v->ndim == ndim && v->shape[0] == a && (ndim < 2 || v->shape[1] == b);
    gs_tensor_shape_text(v, got, sizeof got);
    if (ndim == 2)
        return gs_report_that(&s->report, GS_CHECK_TENSOR_SHAPE, fits, v->name, "%s, expected [%lld, %lld]", got, (long long)a, (long long)b);
    return gs_report_that(&s->report, GS_CHECK_TENSOR_SHAPE, fits, v->name, "%s, expected [%lld]", got, (long long)a);
}

bool gs_verify_tensor(gs_subject *s, gs_stored *t, const gs_dtype *wanted, int ndim, int64_t a, int64_t b) {
    bool typed = false;
    char list[64];
    for (const gs_dtype *w = wanted; *w != GS_DTYPE_NONE; w++) typed = typed || t->t->dtype == *w;
    list_types(wanted, list);
    typed = gs_report_that(&s->report, GS_CHECK_TENSOR_DTYPE, typed, t->t->name, "%s, expected %s", gs_dtype_name(t->t->dtype), list);
    return check_shape(s, t, ndim, a, b) && typed;
}

/* F32 for bfloat16, else I64; MindIE alone reads the other form of bfloat16 too. */
static bool check_deq(gs_subject *s, gs_stored *t, int64_t rows) {
    gs_dtype want = s->dtype == GS_BF16 ? GS_F32 : GS_I64;
    bool fine = t->t->dtype == want || (s->dtype == GS_BF16 && s->target == GS_FOR_MINDIE && t->t->dtype == GS_I64);
    fine = gs_report_that(&s->report, GS_CHECK_DEQ_SCALE_DTYPE, fine, t->t->name, "%s in a %s bundle, expected %s",
                     gs_dtype_name(t->t->dtype), s->dtype == GS_DTYPE_NONE ? "dtype-less" : gs_dtype_torch_name(s->dtype),
                     gs_dtype_name(want));
    return check_shape(s, t, 1, rows, 0) && fine;
}

/* Two codes a byte since version 1.0.0: along the row per channel, along the column per group (AB 5.2). */
static void code_shape(const gs_subject *s, const gs_module *m, int64_t *a, int64_t *b) {
    *a = m->rows;
    *b = m->cols;
    if (m->type != GS_TYPE_W4A16 || !gs_described(s, "version")[0]) return;
    if (s->group_size) *a = (m->rows + 1) / 2;
    else *b = (m->cols + 1) / 2;
}

static int64_t groups_of(const gs_subject *s, const gs_module *m) {
    bool grouped = s->group_size && (m->type == GS_TYPE_W4A16 || m->type == GS_TYPE_W8A16);
    return grouped && m->cols % s->group_size == 0 ? m->cols / s->group_size : 1;
}

static bool check_part(gs_subject *s, const gs_module *m, gs_stored *t, part_dtype dtype, part_shape shape) {
    const gs_dtype codes[] = {GS_I8, GS_DTYPE_NONE}, ints[] = {GS_I32, GS_DTYPE_NONE};
    const gs_dtype scale[] = {GS_F32, s->dtype == GS_F32 ? GS_DTYPE_NONE : s->dtype, GS_DTYPE_NONE};
    const gs_dtype *wanted = dtype == PART_CODES ? codes : dtype == PART_I32 ? ints : scale;
    int64_t a = m->rows, b = 0;
    int ndim = shape == SHAPE_CODES || shape == SHAPE_GROUPS ? 2 : 1;
    if (dtype == PART_DEQ) return check_deq(s, t, m->rows);
    if (shape == SHAPE_CODES) code_shape(s, m, &a, &b);
    if (shape == SHAPE_GROUPS) b = groups_of(s, m);
    if (shape == SHAPE_ONE) a = 1;
    return gs_verify_tensor(s, t, wanted, ndim, a, b);
}

static void check_value(gs_subject *s, const gs_stored *t, const char *want) {
    const char *value = gs_described(s, t->t->name);
    if (s->kind != GS_KIND_ASCEND || !s->description || !value[0]) return; /* description-complete has said so */
    gs_report_that(&s->report, GS_CHECK_DESCRIPTION_VALUE, strcmp(value, want) == 0, t->t->name, "described as %.40s, expected %s", value, want);
}

static bool missing(gs_subject *s, const gs_module *m, const char *suffix) {
    char name[400];
    snprintf(name, sizeof name, "%s.%s", m->name, suffix);
    return gs_report_that(&s->report, GS_CHECK_TENSOR_MISSING, false, name, "it is missing: %s needs it",
                     m->op == GS_OP_LINEAR ? gs_type_name(m->type) : gs_op_name(m->op));
}

/* A scale for each group of columns is MindIE's alone (AB 3.4, 5.2). */
static void check_grouped(gs_subject *s, const gs_module *m) {
    gs_report_that(&s->report, GS_CHECK_TARGET_TYPE, groups_of(s, m) == 1 || !(s->target & (GS_FOR_VLLM | GS_FOR_310P)), m->name,
                   "vllm-ascend has no kernel for %s with group_size %lld", gs_type_name(m->type), (long long)s->group_size);
}

static bool check_bias(gs_subject *s, gs_module *m) {
    char name[400];
    snprintf(name, sizeof name, "%s.bias", m->name);
    gs_stored *t = gs_subject_find(s, name);
    const gs_dtype wanted[] = {GS_F32, s->dtype == GS_F32 ? GS_DTYPE_NONE : s->dtype, GS_DTYPE_NONE};
    if (!t) return !m->bias || missing(s, m, "bias");
    /* a linear that has none has no parameter to load it into; a static one has it in quant_bias (AB 3.6) */
    if (!m->bias && m->type != GS_TYPE_W8A8) return true;
    t->known = true;
    check_value(s, t, "FLOAT");
    if (!gs_verify_tensor(s, t, wanted, 1, m->rows, 0)) return false;
    m->weight.bias = t;
    return true;
}

static bool check_float(gs_subject *s, gs_module *m) {
    const gs_dtype wanted[] = {s->dtype == GS_DTYPE_NONE ? GS_F32 : s->dtype, GS_DTYPE_NONE};
    gs_stored *t = gs_subject_part(s, m, "weight");
    if (!t) return m->tied || missing(s, m, "weight");
    check_value(s, t, "FLOAT");
    bool vector = m->op == GS_OP_RMSNORM;
    if (!gs_verify_tensor(s, t, wanted, vector ? 1 : 2, vector ? m->cols : m->rows, m->cols)) return false;
    m->weight.at = t;
    return true;
}

/* All parts are there, of their types and shapes. */
static void locate(gs_subject *s, gs_module *m) {
    gs_weight *w = &m->weight;
    bool four = m->type == GS_TYPE_W4A16, packed = four && gs_described(s, "version")[0];
    w->at = gs_subject_part(s, m, "weight");
    w->layout = !packed ? GS_LAYOUT_S8 : s->group_size ? GS_LAYOUT_ROWS4 : GS_LAYOUT_COLUMNS4;
    w->bits = four ? 4 : 8;
    w->groups = groups_of(s, m);
    w->scale = gs_subject_part(s, m, "weight_scale");
    w->offset = gs_subject_part(s, m, "weight_offset");
    if (m->type != GS_TYPE_W8A8 && m->type != GS_TYPE_W8A8_MIX) return;
    w->deq = gs_subject_part(s, m, "deq_scale");
    w->input = gs_subject_part(s, m, "input_scale");
    w->input_offset = gs_subject_part(s, m, "input_offset");
    w->quant_bias = gs_subject_part(s, m, "quant_bias");
}

static bool check_quantized(gs_subject *s, gs_module *m) {
    bool sound = true;
    check_grouped(s, m);
    for (size_t i = 0; i < GS_COUNTOF(parts); i++) {
        if (!((parts[i].needed | parts[i].allowed) & (1 << m->type))) continue;
        gs_stored *t = gs_subject_part(s, m, parts[i].suffix);
        if (!t) {
            if (parts[i].needed & (1 << m->type)) sound = missing(s, m, parts[i].suffix);
            continue;
        }
        check_value(s, t, gs_type_name(m->type));
        sound = check_part(s, m, t, parts[i].dtype, parts[i].shape) && sound;
    }
    if (sound) locate(s, m);
    return sound;
}

/* Its type is unknown: what it may store is at least not foreign. */
static void claim_all(gs_subject *s, const gs_module *m) {
    bool any = false;
    for (size_t i = 0; i < GS_COUNTOF(parts); i++) any = gs_subject_part(s, m, parts[i].suffix) || any;
    if (m->bias) gs_subject_part(s, m, "bias");
    if (!any) missing(s, m, "weight");
}

gs_status gs_verify_parts(gs_subject *s, gs_error *err) {
    (void)err;
    for (int i = 0; i < s->modules; i++) {
        gs_module *m = &s->module[i];
        if (m->op != GS_OP_LINEAR) m->type = GS_TYPE_FLOAT;
        if (m->type == GS_TYPE_UNKNOWN) {
            claim_all(s, m);
            continue;
        }
        m->sound = m->type == GS_TYPE_FLOAT ? check_float(s, m) : check_quantized(s, m);
        if (m->op == GS_OP_LINEAR) m->sound = check_bias(s, m) && m->sound;
    }
    return GS_OK;
}

void gs_verify_unclaimed(gs_subject *s) {
    if (!s->modules) return;
    for (size_t i = 0; i < s->tensors; i++)
        gs_report_that(&s->report, GS_CHECK_TENSOR_UNKNOWN, s->tensor[i].known, s->tensor[i].t->name, "it is no part of this architecture");
}
