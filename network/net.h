/* The IR: a network is data. Nodes do operations, edges carry values between them, params
 * are what is learned. It knows nothing of model families, of algorithms or of files'
 * containers; LLM blocks and image networks are the same thing here.
 *
 *     gs_net *net;                                gs_net_create("block", &net, err)
 *     gs_edge *x = gs_net_input(net, "x", ...)    one input edge
 *     gs_net_add(net, GS_OP_LINEAR, "q", 1, &x, NULL, &node, err); gs_net_param_view(...)
 *     gs_net_output(net, edge)
 *
 * Structure. A node has an op, a dotted name unique in the net, input edges in the op's
 * order, exactly one output edge, attributes, and params by role. An edge has one producer
 * (NULL for a net input) and any number of consumers. Nodes are kept in an order in which
 * every producer precedes its consumers.
 *
 * Ownership: the net owns nodes, edges, params and owned param data; pointers stay valid
 * until the node is erased or the net destroyed. A param's bytes are either borrowed from a
 * checkpoint tensor (a view on disk, costs nothing) or owned by the param.
 * Threads: a net belongs to one thread while it is changed; reading is shared.
 */
#ifndef GS_NETWORK_NET_H
#define GS_NETWORK_NET_H

#include <base/strbuf.h>
#include <loaders/tensor.h>

/* name, text, number of inputs. One row an operation; each has its file in network/ops/
 * that infers the shape and runs it (and later differentiates it).
 * EMBEDDING reads token ids as f32, one a row (exact, vocabularies end at 2^24);
 * ATTENTION reads q, k, v; CACHE is what storing keys or values as int8 does to them; SWIGLU and GEGLU read gate, up;
 * SLICE is some channels of a fused projection; SCALE x * factor; SOFTCAP cap * tanh(x / cap);
 * ROUTE is what share of each row each expert gets, of a row of logits; SELECT (x, routing), ROUTED (y, routing) and
 * ROUTED_ADD (sum, y, routing) are the way into and out of one expert (network/routing.h);
 * GLOBAL_AVGPOOL gives [C, 1, 1]. */
#define GS_OP_LIST(X)                                                          \
    X(EMBEDDING, "embedding", 1)                                               \
    X(LINEAR, "linear", 1)                                                     \
    X(QLINEAR, "qlinear", 1)                                                   \
    X(RMSNORM, "rmsnorm", 1)                                                   \
    X(ROPE, "rope", 1)                                                         \
    X(ATTENTION, "attention", 3)                                               \
    X(CACHE, "cache", 1)                                                       \
    X(SWIGLU, "swiglu", 2)                                                     \
    X(GEGLU, "geglu", 2)                                                       \
    X(SLICE, "slice", 1)                                                       \
    X(SCALE, "scale", 1)                                                       \
    X(SOFTCAP, "softcap", 1)                                                   \
    X(ADD, "add", 2)                                                           \
    X(ROUTE, "route", 1)                                                       \
    X(SELECT, "select", 2)                                                     \
    X(ROUTED, "routed", 2)                                                     \
    X(ROUTED_ADD, "routed_add", 3)                                             \
    X(CONV2D, "conv2d", 1)                                                     \
    X(BATCHNORM2D, "batchnorm2d", 1)                                           \
    X(RELU, "relu", 1)                                                         \
    X(GLOBAL_AVGPOOL, "global_avgpool", 1)                                     \
    X(FLATTEN, "flatten", 1)

typedef enum gs_op {
#define X(name, text, inputs) GS_OP_##name,
    GS_OP_LIST(X)
#undef X
    GS_OP_COUNT
} gs_op;

/* What a param is to its node. */
#define GS_ROLE_LIST(X)                                                        \
    X(WEIGHT, "weight")             /* [out, in], [vocab, hidden], [dim], OIHW */ \
    X(BIAS, "bias")                 /* [out] */                                \
    X(WEIGHT_SCALE, "weight_scale") /* [out, 1], or [out, in/group] */         \
    X(WEIGHT_OFFSET, "weight_offset") /* as weight_scale */                    \
    X(INPUT_SCALE, "input_scale")   /* [1] */                                  \
    X(INPUT_OFFSET, "input_offset") /* [1] */                                  \
    X(QUANT_BIAS, "quant_bias")     /* [out] */                                \
    X(DEQ_SCALE, "deq_scale")       /* [out] */                                \
    X(CACHE_SCALE, "kv_cache_scale")   /* [1] or [width] */                    \
    X(CACHE_OFFSET, "kv_cache_offset") /* as kv_cache_scale */                 \
    X(MEAN, "running_mean")                                                    \
    X(VARIANCE, "running_var")

typedef enum gs_role {
#define X(name, text) GS_ROLE_##name,
    GS_ROLE_LIST(X)
#undef X
    GS_ROLE_COUNT
} gs_role;

enum { GS_MAX_INPUTS = 4, GS_VALUE_DIMS = 4 };

/* How a QLINEAR computes; the name is what bundles and reports call it. */
#define GS_SCHEME_LIST(X)                                                      \
    X(FLOAT, "FLOAT")                                                          \
    X(W8A16, "W8A16")                                                          \
    X(W8A8, "W8A8")                 /* static activations, per tensor */       \
    X(W8A8_DYNAMIC, "W8A8_DYNAMIC") /* activations per token */                \
    X(W8A8_MIX, "W8A8_MIX")         /* both: static to decode, per token to prefill */ \
    X(W4A16, "W4A16")               /* codes from -8 to 7 */

typedef enum gs_scheme {
#define X(name, text) GS_SCHEME_##name,
    GS_SCHEME_LIST(X)
#undef X
    GS_SCHEME_COUNT
} gs_scheme;

/* Whose arithmetic a quantized node computes in; the formulas are in network/ops/qlinear.c and cache.c. */
typedef enum gs_arith {
    GS_ARITH_CONSUMER, /* the server's (ascend-bundles.md 3.5): constants and results rounded to `compute` */
    GS_ARITH_EXACT,    /* the numbers as stored, in f32; activations quantized as the scheme says */
    GS_ARITH_WEIGHTS   /* dequantized weights alone: activations and cache stay float */
} gs_arith;

const char *gs_op_name(gs_op op);
const char *gs_role_name(gs_role role);
const char *gs_scheme_name(gs_scheme s);
gs_scheme gs_scheme_from_name(const char *name); /* GS_SCHEME_COUNT when unknown */
bool gs_scheme_is_static(gs_scheme s); /* activations have one scale that is stored: W8A8 and W8A8_MIX */

/* Formulas in network/ops/rope_table.h. */
typedef enum gs_rope_kind {
    GS_ROPE_PLAIN,
    GS_ROPE_LINEAR,  /* factor */
    GS_ROPE_LLAMA3,  /* factor, low_freq_factor, high_freq_factor, original_positions */
    GS_ROPE_YARN,    /* factor, beta_fast, beta_slow, original_positions, attention_factor */
    GS_ROPE_DYNAMIC  /* factor, original_positions */
} gs_rope_kind;

/* Attributes by op; unused members stay zero. */
typedef struct gs_attr {
    float eps; /* RMSNORM, BATCHNORM2D */
    struct {
        bool plus_one; /* rows are multiplied by 1 + weight */
        int64_t heads; /* so many slices of the row, each normalised by itself, weight [width/heads]; 0: the whole row */
    } norm; /* RMSNORM */
    struct {
        bool normalize_rows; /* the weight's rows, as read, are divided by max(L2 norm, 1e-12): gs_param_read_unit_f32 */
    } linear; /* LINEAR */
    struct {
        int64_t heads, head_dim;
        int64_t rotary_dim; /* the first channels of a head are rotated, the rest stays; 0: head_dim */
        double theta;
        gs_rope_kind kind;
        double factor, low_freq_factor, high_freq_factor;
        double beta_fast, beta_slow; /* 0: 32 and 1 */
        double attention_factor;     /* YARN: what cos and sin are multiplied by; 0: 0.1 ln(factor) + 1 */
        int64_t original_positions;
    } rope; /* ROPE */
    struct {
        int64_t heads, kv_heads, head_dim, window; /* window 0 = all */
        float scale;
        float softcap; /* scaled scores s become softcap * tanh(s / softcap); 0: they stay */
        bool alibi;    /* slope of the head * (key position - query position) is added (gs_alibi_slope) */
    } attention; /* ATTENTION */
    struct {
        /* count pieces of `width` channels, stride apart, the first at start; stride is 0 where count is 1, else >= width */
        int64_t start, width, stride, count;
    } slice; /* SLICE */
    struct {
        float factor;
    } scale; /* SCALE */
    struct {
        float cap;
    } softcap; /* SOFTCAP */
    struct {
        int64_t top_k;    /* experts a row goes to */
        bool renormalize; /* their shares are divided by their sum */
    } route; /* ROUTE */
    struct {
        int64_t expert; /* which of the routing's channels */
    } select; /* SELECT, ROUTED, ROUTED_ADD */
    struct {
        int64_t stride, padding, dilation, groups;
    } conv; /* CONV2D */
    struct {
        gs_scheme scheme;
        /* dtype the consumer computes in: scales are rounded to it before use */
        gs_dtype compute;
        gs_arith arith;
        bool deq19;  /* the low 13 bits of an I64 deq_scale's f32 are cleared (ascend-bundles.md 3.5) */
        float token_levels; /* W8A8_DYNAMIC in EXACT arithmetic: s_t = max|x_t| / token_levels; 0: 127 */
        bool decode; /* W8A8_MIX as the decoding instance computes it: static */
    } quant; /* QLINEAR, CACHE */
} gs_attr;

/* Logical shape of a value without its leading batch/token dimension, e.g. [hidden] or
 * [channels, height, width]; 0 in a place that is only known at run time. */
typedef struct gs_dims {
    int ndim;
    int64_t dim[GS_VALUE_DIMS - 1];
} gs_dims;

typedef struct gs_net gs_net;
typedef struct gs_node gs_node;
typedef struct gs_edge gs_edge;

typedef struct gs_param {
    gs_role role;
    char *name;          /* full tensor name, e.g. "model.layers.0.mlp.up_proj.weight" */
    gs_dtype dtype;      /* of the bytes: the source's or the owned data's */
    int ndim;
    int64_t shape[GS_MAX_DIMS];
    const gs_tensor *source; /* borrowed view, or NULL */
    void *data;              /* owned bytes (gs_free), or NULL; planned but absent: both NULL */
    /* factors of the float values, [rows] and [cols] of gs_param_matrix, owned; NULL: ones */
    float *row_factor, *col_factor;
} gs_param;

struct gs_edge {
    char *name;
    gs_node *producer; /* NULL: net input */
    gs_dims dims;
    int consumers;           /* number of (node, input) uses plus net outputs */
    int index;               /* position in the net's edge list, stable between rewrites */
    bool is_output;          /* listed in the net's outputs */
};

struct gs_node {
    gs_op op;
    char *name;
    int ninputs;
    gs_edge *input[GS_MAX_INPUTS];
    gs_edge *output;
    gs_param *param[GS_ROLE_COUNT]; /* NULL where the node has none in that role */
    gs_attr attr;
    void *prepared; /* the executor's state while materialised, else NULL */
};

gs_status gs_net_create(const char *name, gs_net **out, gs_error *err) GS_NODISCARD;
void gs_net_destroy(gs_net *net);
const char *gs_net_name(const gs_net *net);

/* Building. */
gs_status gs_net_input(gs_net *net, const char *name, gs_dims dims, gs_edge **out, gs_error *err) GS_NODISCARD;
/* Appends a node; its output edge is named like the node; dims are inferred later by
 * gs_net_infer. attr NULL = zeros. GS_E_INVALID on a wrong number of inputs or a name that
 * is taken. */
gs_status gs_net_add(gs_net *net, gs_op op, const char *name, int ninputs, gs_edge *const *inputs,
                     const gs_attr *attr, gs_node **out, gs_error *err) GS_NODISCARD;
/* A param that views a checkpoint tensor under its own name; replaces one in that role. */
gs_status gs_net_param_view(gs_net *net, gs_node *node, gs_role role, const gs_tensor *source,
                            gs_error *err) GS_NODISCARD;
/* A param of given type and shape without bytes yet (a plan), or with bytes: data is copied
 * when not NULL. */
gs_status gs_net_param_new(gs_net *net, gs_node *node, gs_role role, const char *name, gs_dtype dtype,
                           int ndim, const int64_t *shape, const void *data, gs_error *err) GS_NODISCARD;
/* Takes the param in that role out of the node; the caller owns it (gs_param_destroy). NULL when
 * there is none. */
gs_param *gs_node_param_detach(gs_node *node, gs_role role);
void gs_param_destroy(gs_param *p); /* NULL ok */
/* Allocates the bytes of a planned param (uninitialised); no-op when it has some. */
gs_status gs_param_allocate(gs_param *p, gs_error *err) GS_NODISCARD;
int64_t gs_param_count(const gs_param *p); /* elements */
uint64_t gs_param_bytes(const gs_param *p);
bool gs_param_ready(const gs_param *p); /* it has values: a view, or bytes of its own */
/* Rows [row0, row0+nrows) as f32 (rows = product of all but the last dimension), from view or
 * owned data. GS_E_INVALID for a planned param. Thread safe. */
gs_status gs_param_read_f32(const gs_param *p, int64_t row0, int64_t nrows, float *dst, gs_error *err) GS_NODISCARD;
/* The same rounded to nearest even: dtype F16 or BF16. */
gs_status gs_param_read_16(const gs_param *p, gs_dtype dtype, int64_t row0, int64_t nrows, uint16_t *dst,
                           gs_error *err) GS_NODISCARD;
/* Codes of an I8 param, whatever layout its view has; GS_E_INVALID for another dtype or one with factors. */
gs_status gs_param_read_s8(const gs_param *p, int64_t row0, int64_t nrows, int8_t *dst, gs_error *err) GS_NODISCARD;
void gs_param_matrix(const gs_param *p, int64_t *rows, int64_t *cols);
/* As the two reads above, but each row is divided by max(its L2 norm, 1e-12): what a LINEAR with normalize_rows multiplies
 * with. The sum of squares of the values as read (with their factors) is in double, 8 lanes added in order, its root is
 * rounded to f32, each value divided once; reading 16 bits rounds after that. */
gs_status gs_param_read_unit_f32(const gs_param *p, int64_t row0, int64_t nrows, float *dst, gs_error *err) GS_NODISCARD;
gs_status gs_param_read_unit_16(const gs_param *p, gs_dtype dtype, int64_t row0, int64_t nrows, uint16_t *dst,
                                gs_error *err) GS_NODISCARD;
/* Multiplies the values, as they are read from now on, by a factor a row or a column: in f32,
 * (value * column) * row. The source stays as it is and nothing of the param's size is allocated. A second
 * call multiplies the factors. factor: [rows] or [cols] of gs_param_matrix (a vector is one row), copied.
 * GS_E_NUMERIC for a factor that is zero or not finite, or becomes so with the earlier ones; GS_E_INVALID for a
 * param that is not of a float type; on failure the param is unchanged. What an executor prepared stays as it is. */
gs_status gs_param_scale_rows(gs_param *p, const float *factor, gs_error *err) GS_NODISCARD;
gs_status gs_param_scale_cols(gs_param *p, const float *factor, gs_error *err) GS_NODISCARD;
gs_status gs_net_output(gs_net *net, gs_edge *edge, gs_error *err) GS_NODISCARD;

/* Queries. */
int gs_net_node_count(const gs_net *net);
gs_node *gs_net_node(const gs_net *net, int i); /* in execution order */
gs_node *gs_net_find(const gs_net *net, const char *name);
int gs_net_edge_count(const gs_net *net);
gs_edge *gs_net_edge(const gs_net *net, int i);
int gs_net_input_count(const gs_net *net);
gs_edge *gs_net_input_at(const gs_net *net, int i);
int gs_net_output_count(const gs_net *net);
gs_edge *gs_net_output_at(const gs_net *net, int i);
/* The i-th node that reads the edge (execution order; a node that reads it twice counts once),
 * or NULL. */
gs_node *gs_net_consumer(const gs_net *net, const gs_edge *edge, int i);

bool gs_node_is_linear(const gs_node *node); /* LINEAR or QLINEAR */

/* Checks the structure (arity, order, acyclic, params present, counts) and infers every edge's
 * dims from the inputs' and the params' shapes; a mismatch names the node and both shapes. */
gs_status gs_net_infer(gs_net *net, gs_error *err) GS_NODISCARD;

/* Readable text: one line a node with op, inputs, output dims, params and attributes. */
void gs_net_dump(const gs_net *net, gs_strbuf *out);

#endif
