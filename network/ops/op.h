/* Inside of the executor: one row an operation, and what their functions share.
 *
 * Adding an operation: a line in GS_OP_LIST (network/net.h), a file network/ops/<op>.c that
 * defines gs_op_class_<OP>, and that file's name in network/CMakeLists.txt.
 */
#ifndef GS_NETWORK_OPS_OP_H
#define GS_NETWORK_OPS_OP_H

#include <kernels/kernels.h>
#include <network/buffers.h>
#include <network/exec.h>

#define GS_ROLE_BIT(role) (1u << (unsigned)(role))
/* Limit on heads and head dimensions, far above any model's; keeps products from overflowing. */
#define GS_OP_MAX_HEADS ((int64_t)1 << 20)

/* What prepare and forward work with. */
typedef struct gs_op_env {
    gs_team *team;
    gs_gemm_type type;
    const gs_kernels *kernels;
    gs_exec_drop *drop; /* may be NULL */
    void *drop_ctx;
} gs_op_env;

/* One node's forward. Values are [batch->rows, dims] row-major. */
typedef struct gs_op_call {
    const gs_op_env *env;
    const gs_batch *batch; /* checked: starts are ordered and end at rows */
    gs_node *node;         /* only node->prepared may change */
    const float *in[GS_MAX_INPUTS];
    float *out; /* may be one of `in` where the row says so */
    struct gs_run *run;
    /* Where in[0] is not the edge's value (routed_rows.h): its bf16 copy, made on first use, for the caller to give back */
    gs_buffer *half;
} gs_op_call;

/* How factors on the channels of an op's output can be made (network/scaling.h). */
typedef enum gs_scaling {
    GS_SCALED_BY_NOTHING,
    GS_SCALED_BY_PARAMS, /* rows of the weight (a vector's elements) and the bias */
    GS_SCALED_BY_INPUT   /* channels of input `scale_input` */
} gs_scaling;

typedef struct gs_op_class {
    unsigned required, optional; /* roles, as GS_ROLE_BITs */
    unsigned in_place;           /* bit i: out may be in[i] */
    /* Checks attributes and shapes, and computes the output's dims. Arity and roles are right;
     * param bytes may still be planned. An unknown dimension (0) fits everything. */
    gs_status (*infer)(const gs_node *node, gs_dims *out, gs_error *err);
    /* Makes node->prepared from the params; NULL: nothing to prepare. Leaves it NULL on
     * failure. */
    gs_status (*prepare)(const gs_op_env *env, gs_node *node, gs_error *err);
    gs_status (*forward)(const gs_op_call *call, gs_error *err);
    /* backward goes here: the gradient of the output in, those of the inputs and of the params
     * out, with the inputs' values at hand; NULL where an operation has none. */
    void (*release)(void *prepared);
    gs_scaling scaling;
    int scale_input;
    /* With these attributes it cannot be done; NULL: it always can. */
    bool (*is_rigid)(const gs_attr *attr);
    /* The channel of that input behind an output channel; NULL: the same. */
    int64_t (*scale_source)(const gs_node *node, int64_t channel);
    /* Appends " name value" for each attribute that matters; may be NULL. */
    void (*describe)(const gs_attr *attr, gs_strbuf *out);
} gs_op_class;

const gs_op_class *gs_op_class_get(gs_op op);
int gs_op_inputs(gs_op op);
/* Drops the node's prepared state, if any. */
void gs_op_release(gs_node *node);

/* ---- for infer ---- */

/* "weight [576, 576] does not fit an input of 512" */
gs_status gs_op_misfit(const gs_node *node, gs_role role, const gs_dims *in, gs_error *err);
/* The input has `ndim` dimensions, else an error. */
gs_status gs_op_check_ndim(const gs_node *node, int input, int ndim, gs_error *err) GS_NODISCARD;
/* The param, when present, is [n] of numbers that can be read as f32. */
gs_status gs_op_check_vector(const gs_node *node, gs_role role, int64_t n, gs_error *err) GS_NODISCARD;
/* Both inputs have the same dims, which become the output's. */
gs_status gs_op_infer_pair(const gs_node *node, gs_dims *out, gs_error *err) GS_NODISCARD;
/* The output's dims are the input's. */
gs_status gs_op_infer_same(const gs_node *node, gs_dims *out, gs_error *err) GS_NODISCARD;
/* An unknown dimension fits. */
bool gs_op_dim_fits(int64_t dim, int64_t want);
/* "512", or "[3, 8, 8]"; returns buf. */
const char *gs_op_dims_text(const gs_dims *dims, char *buf, size_t size);

/* ---- for prepare ---- */

/* All elements of a param as f32, in new memory (gs_free); then tells drop. */
gs_status gs_op_read(const gs_op_env *env, const gs_param *p, float **out, gs_error *err) GS_NODISCARD;
/* Tells drop, for a view. */
void gs_op_dropped(const gs_op_env *env, const gs_param *p);

/* ---- for forward ---- */

enum { GS_OP_ROWS = 16, GS_OP_ELEMENTS = 1 << 14 };

/* fn(call, begin, end, worker) over the batch's rows, or over all elements of the output, in
 * pieces of fixed size, so that results do not depend on the team. */
void gs_op_for_rows(const gs_op_call *call, gs_team_for_fn *fn);
void gs_op_for_elements(const gs_op_call *call, gs_team_for_fn *fn);
/* Elements of one row. */
int64_t gs_op_width(const gs_edge *edge);
/* The bf16 copy of an input, [rows, dims]: made on first use, kept as long as the value. */
gs_status gs_op_input_bf16(const gs_op_call *call, int input, const uint16_t **out, gs_error *err) GS_NODISCARD;
/* An edge's value, NULL when it is no longer (or not yet) there. */
const float *gs_op_value(const gs_op_call *call, const gs_edge *edge);
/* Working memory of a call, uninitialised, kept for later calls; give it back empty or not. */
gs_status gs_op_scratch_take(const gs_op_call *call, size_t bytes, gs_buffer *out, gs_error *err) GS_NODISCARD;
void gs_op_scratch_give(const gs_op_call *call, gs_buffer *buffer);
/* Position-dependent operations need sequences. */
gs_status gs_op_check_sequences(const gs_op_call *call, gs_error *err) GS_NODISCARD;

#endif
