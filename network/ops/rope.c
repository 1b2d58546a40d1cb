/* Rotary embedding of every head's first rotary_dim channels; formulas in rope_table.h. */
#include <network/ops/op.h>
#include <network/ops/rope_table.h>

#include <base/mem.h>

#include <math.h>
#include <string.h>

/* "positive": also finite and no NaN */
static bool positive(double x) { return x > 0 && isfinite(x); }

static gs_status check_llama3(const gs_attr *attr, gs_error *err) {
    double low = attr->rope.low_freq_factor, high = attr->rope.high_freq_factor;
    if (positive(low) && positive(high) && low < high) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "rope scaling between frequencies %g and %g of %lld positions", low, high,
                   (long long)attr->rope.original_positions);
}

static gs_status check_yarn(const gs_attr *attr, gs_error *err) {
    double fast = attr->rope.beta_fast, slow = attr->rope.beta_slow, amplitude = attr->rope.attention_factor;
    bool turns = (fast == 0 || positive(fast)) && (slow == 0 || positive(slow)); /* 0: the default */
    if (turns && (amplitude == 0 || positive(amplitude)) && attr->rope.theta > 1) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "yarn rope scaling between %g and %g turns, attention factor %g, theta %g", fast, slow,
                   amplitude, attr->rope.theta);
}

static gs_status check_scaling(const gs_attr *attr, gs_error *err) {
    gs_rope_kind kind = attr->rope.kind;
    if ((unsigned)kind > GS_ROPE_DYNAMIC) return GS_FAIL(err, GS_E_UNSUPPORTED, "rope scaling %d", (int)kind);
    if (kind == GS_ROPE_PLAIN) return GS_OK;
    if (!positive(attr->rope.factor)) return GS_FAIL(err, GS_E_INVALID, "rope scaling by %g", attr->rope.factor);
    if (kind == GS_ROPE_LINEAR) return GS_OK;
    if (attr->rope.original_positions < 1)
        return GS_FAIL(err, GS_E_INVALID, "rope scaling of %lld original positions", (long long)attr->rope.original_positions);
    if (kind == GS_ROPE_LLAMA3) return check_llama3(attr, err);
    if (kind == GS_ROPE_YARN) return check_yarn(attr, err);
    if (attr->rope.factor >= 1 && gs_rope_dim(attr) > 2) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "dynamic rope scaling by %g of %lld dimensions", attr->rope.factor,
                   (long long)gs_rope_dim(attr));
}

static gs_status check_attr(const gs_attr *attr, gs_error *err) {
    int64_t heads = attr->rope.heads, head_dim = attr->rope.head_dim, rotary = attr->rope.rotary_dim;
    if (heads < 1 || heads > GS_OP_MAX_HEADS || head_dim < 2 || head_dim > GS_OP_MAX_HEADS || !positive(attr->rope.theta))
        return GS_FAIL(err, GS_E_INVALID, "rope of %lld heads of %lld with theta %g", (long long)heads,
                       (long long)head_dim, attr->rope.theta);
    if (rotary < 0 || rotary > head_dim || gs_rope_dim(attr) % 2 != 0)
        return GS_FAIL(err, GS_E_INVALID, "rope of %lld of the %lld channels of a head", (long long)gs_rope_dim(attr),
                       (long long)head_dim);
    return check_scaling(attr, err);
}

static gs_status infer(const gs_node *node, gs_dims *out, gs_error *err) {
    const gs_dims *in = &node->input[0]->dims;
    int64_t heads = node->attr.rope.heads, head_dim = node->attr.rope.head_dim;
    GS_TRY(check_attr(&node->attr, err));
    GS_TRY(gs_op_check_ndim(node, 0, 1, err));
    if (!gs_op_dim_fits(in->dim[0], heads * head_dim))
        return GS_FAIL(err, GS_E_INVALID, "%lld heads of %lld do not fit an input of %lld",
                       (long long)heads, (long long)head_dim, (long long)in->dim[0]);
    *out = (gs_dims){.ndim = 1, .dim = {heads * head_dim}};
    return GS_OK;
}

typedef struct state {
    gs_rope_table table;    /* of all sequences, with DYNAMIC scaling of those within the original positions */
    gs_rope_table *stretched; /* DYNAMIC: one for each longer length of the last batch that had some; positions = the length */
    int count;
} state;

static void drop_stretched(state *s) {
    for (int i = 0; i < s->count; i++) gs_rope_table_clear(&s->stretched[i]);
    gs_free(s->stretched);
    s->stretched = NULL;
    s->count = 0;
}

static void release(void *prepared) {
    state *s = prepared;
    drop_stretched(s);
    gs_rope_table_clear(&s->table);
    gs_free(s);
}

static gs_status prepare(const gs_op_env *env, gs_node *node, gs_error *err) {
    (void)env;
    state *s = gs_calloc(1, sizeof *s);
    if (!s) return gs_error_nomem(err, sizeof *s);
    gs_status status = gs_rope_table_init(&s->table, &node->attr, err);
    if (status != GS_OK) {
        release(s);
        return status;
    }
    node->prepared = s;
    return GS_OK;
}

/* The sequence that holds a row: the last that starts at or before it and is not empty. */
static int64_t sequence_of(const gs_batch *b, int64_t row) {
    int64_t low = 0, high = b->sequences - 1;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (b->starts[middle] <= row) low = middle;
        else high = middle - 1;
    }
    return low;
}

static bool is_stretched(const gs_attr *attr, int64_t length) {
    return attr->rope.kind == GS_ROPE_DYNAMIC && length > attr->rope.original_positions;
}

static const gs_rope_table *find_stretched(const state *s, int64_t length) {
    for (int i = 0; i < s->count; i++)
        if (s->stretched[i].positions == length) return &s->stretched[i];
    return NULL;
}

static int64_t length_of(const gs_batch *b, int64_t sequence) { return b->starts[sequence + 1] - b->starts[sequence]; }

/* A table more, for sequences of that length. */
static gs_status add_stretched(state *s, const gs_op_call *call, int64_t length, gs_error *err) {
    gs_attr plain = gs_rope_stretched(&call->node->attr, length);
    gs_rope_table t = {0}, *grown;
    if (!positive(plain.rope.theta))
        return GS_FAIL(err, GS_E_NUMERIC, "dynamic rope scaling to %lld positions gives theta %g", (long long)length,
                       plain.rope.theta);
    gs_status status = gs_rope_table_init(&t, &plain, err);
    if (status == GS_OK) status = gs_rope_table_grow(&t, call->env->team, length, err);
    grown = status == GS_OK ? gs_alloc((size_t)(s->count + 1) * sizeof *grown) : NULL;
    if (!grown) {
        gs_rope_table_clear(&t);
        return status != GS_OK ? status : gs_error_nomem(err, (size_t)(s->count + 1) * sizeof *grown);
    }
    if (s->count) memcpy(grown, s->stretched, (size_t)s->count * sizeof *grown);
    gs_free(s->stretched);
    s->stretched = grown;
    s->stretched[s->count++] = t;
    return GS_OK;
}

/* Tables of the long sequences' lengths. Those of an earlier batch serve when they all do, else they go: a run over
 * texts of many lengths keeps no more than one batch needs. */
static gs_status stretch(state *s, const gs_op_call *call, gs_error *err) {
    const gs_batch *b = call->batch;
    const gs_attr *attr = &call->node->attr;
    bool known = true;
    for (int64_t i = 0; i < b->sequences && known; i++)
        known = !is_stretched(attr, length_of(b, i)) || find_stretched(s, length_of(b, i));
    if (known) return GS_OK;
    drop_stretched(s);
    for (int64_t i = 0; i < b->sequences; i++)
        if (is_stretched(attr, length_of(b, i)) && !find_stretched(s, length_of(b, i)))
            GS_TRY(add_stretched(s, call, length_of(b, i), err));
    return GS_OK;
}

static const gs_rope_table *table_of(const gs_op_call *call, int64_t sequence) {
    const state *s = call->node->prepared;
    int64_t length = length_of(call->batch, sequence);
    return is_stretched(&call->node->attr, length) ? find_stretched(s, length) : &s->table;
}

static void rotate_rows(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    const gs_op_call *call = ctx;
    int64_t heads = call->node->attr.rope.heads, head_dim = call->node->attr.rope.head_dim;
    int64_t n = heads * head_dim;
    for (int64_t r = begin; r < end; r++) {
        int64_t sequence = sequence_of(call->batch, r), position = r - call->batch->starts[sequence];
        const gs_rope_table *t = table_of(call, sequence);
        float *y = call->out + r * n;
        if (call->out != call->in[0]) memcpy(y, call->in[0] + r * n, (size_t)n * sizeof *y);
        for (int64_t h = 0; h < heads; h++)
            call->env->kernels->rope_f32(t->half, t->cosine + position * t->half,
                                         t->sine + position * t->half, y + h * head_dim);
    }
}

static gs_status forward(const gs_op_call *call, gs_error *err) {
    const gs_batch *b = call->batch;
    state *s = call->node->prepared;
    int64_t longest = 0;
    GS_TRY(gs_op_check_sequences(call, err));
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = length_of(b, i);
        if (length > longest && !is_stretched(&call->node->attr, length)) longest = length;
    }
    GS_TRY(gs_rope_table_grow(&s->table, call->env->team, longest, err));
    GS_TRY(stretch(s, call, err));
    gs_op_for_rows(call, rotate_rows);
    return GS_OK;
}

static void describe(const gs_attr *attr, gs_strbuf *out) {
    gs_strbuf_printf(out, " heads %lld head_dim %lld theta %g", (long long)attr->rope.heads,
                     (long long)attr->rope.head_dim, attr->rope.theta);
    if (attr->rope.rotary_dim) gs_strbuf_printf(out, " rotated %lld", (long long)attr->rope.rotary_dim);
    if (attr->rope.kind == GS_ROPE_LINEAR) gs_strbuf_printf(out, " linear factor %g", attr->rope.factor);
    if (attr->rope.kind == GS_ROPE_LLAMA3)
        gs_strbuf_printf(out, " llama3 factor %g low %g high %g original %lld", attr->rope.factor,
                         attr->rope.low_freq_factor, attr->rope.high_freq_factor,
                         (long long)attr->rope.original_positions);
    if (attr->rope.kind == GS_ROPE_YARN)
        gs_strbuf_printf(out, " yarn factor %g fast %g slow %g amplitude %g original %lld", attr->rope.factor,
                         attr->rope.beta_fast, attr->rope.beta_slow, (double)gs_rope_amplitude(attr),
                         (long long)attr->rope.original_positions);
    if (attr->rope.kind == GS_ROPE_DYNAMIC)
        gs_strbuf_printf(out, " dynamic factor %g original %lld", attr->rope.factor, (long long)attr->rope.original_positions);
}

const gs_op_class gs_op_class_ROPE = {
    .in_place = 1,
    .infer = infer,
    .prepare = prepare,
    .forward = forward,
    .release = release,
    .describe = describe,
};
