/* CompAlgo: the one interface of every compression algorithm -- post-training quantization,
 * quantization-aware training, pruning. An algorithm is a set of rewrites on a net; it never
 * knows which family the net came from, nor which bundle it will end in.
 *
 *     decide     looks at a float segment, and at what calibration learned about it, and settles what is to
 *                become of it; the net is not changed. NULL for an algorithm that has nothing to find out.
 *     settle     after the last decide: what only the whole network can tell (how much may be spent where).
 *     apply      changes the structure: which nodes become what, new params planned without
 *                bytes. Cheap; may be called on a net whose params are only views.
 *     callbacks  what the algorithm wants to see while activations or training steps stream
 *                past (observers, temperature schedules); NULL when it needs no data.
 *     convert    fills in the planned params: after it the net can be run or written.
 *     summary    what was done to each layer, in the order it was done.
 *     save switches  whether and where the result is to be written.
 *
 * decide is called once for each segment, before its first apply. apply and convert are called for each segment
 * in turn, on the same net object, and may be called again on a fresh one; state between
 * them belongs to the algorithm. (Golden Stick's CompAlgo, reduced to what a streaming walk
 * needs.) Threads: one net at a time; convert works on the context's team.
 */
#ifndef GS_PTQ_COMP_ALGO_H
#define GS_PTQ_COMP_ALGO_H

#include <base/context.h>
#include <network/exec.h>
#include <network/net.h>

typedef struct gs_summary {
    gs_layer_summary *layer;
    size_t count, capacity;
} gs_summary;

gs_status gs_summary_add(gs_summary *s, const char *name, gs_layer_summary **out, gs_error *err) GS_NODISCARD;
void gs_summary_clear(gs_summary *s);

/* Called by the stream that feeds data, when an algorithm has callbacks. */
typedef struct gs_algo_callbacks {
    gs_exec_hook *on_edge; /* every value of the segment, see network/exec.h */
    void *ctx;
} gs_algo_callbacks;

typedef struct gs_comp_algo gs_comp_algo;

typedef struct gs_comp_algo_class {
    const char *name; /* "RoundToNearest" */
    gs_status (*decide)(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err); /* or NULL */
    gs_status (*settle)(gs_comp_algo *algo, gs_context *cx, gs_error *err); /* or NULL */
    gs_status (*apply)(gs_comp_algo *algo, gs_net *net, gs_error *err);
    const gs_algo_callbacks *(*callbacks)(gs_comp_algo *algo); /* or NULL */
    gs_status (*convert)(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err);
    void (*destroy)(gs_comp_algo *algo);
} gs_comp_algo_class;

/* First member of every algorithm's own struct. */
struct gs_comp_algo {
    const gs_comp_algo_class *class;
    gs_summary summary;
    bool save;       /* write a bundle at the end; true by default */
    char *save_path; /* where; NULL: the caller decides */
    gs_exec_drop *drop; /* told of each view once convert has read it; may be NULL */
    void *drop_ctx;
};

gs_status gs_comp_algo_decide(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err) GS_NODISCARD;
gs_status gs_comp_algo_settle(gs_comp_algo *algo, gs_context *cx, gs_error *err) GS_NODISCARD;
gs_status gs_comp_algo_apply(gs_comp_algo *algo, gs_net *net, gs_error *err) GS_NODISCARD;
const gs_algo_callbacks *gs_comp_algo_callbacks(gs_comp_algo *algo);
gs_status gs_comp_algo_convert(gs_comp_algo *algo, gs_context *cx, gs_net *net, gs_error *err) GS_NODISCARD;
const gs_summary *gs_comp_algo_summary(const gs_comp_algo *algo);
void gs_comp_algo_set_save(gs_comp_algo *algo, bool save);
/* GS_E_INVALID for an empty path. */
gs_status gs_comp_algo_set_save_path(gs_comp_algo *algo, const char *path, gs_error *err) GS_NODISCARD;
/* See gs_exec_drop: keeps resident memory at one weight while convert streams. */
void gs_comp_algo_set_drop(gs_comp_algo *algo, gs_exec_drop *drop, void *ctx);
void gs_comp_algo_destroy(gs_comp_algo *algo); /* NULL ok */

#endif
