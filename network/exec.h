/* Runs a net forward on the kernels.
 *
 * prepare materialises the params of a net (reads views, packs the weights of linears);
 * run computes its outputs for one batch; release drops what prepare made. Between prepare
 * and release only this net's params are resident. Values are f32; with GS_GEMM_BF16 the
 * operands of matrix products are rounded to bf16 and accumulated in f32, all else stays f32.
 *
 * Values live only as long as a later node needs them; an elementwise node writes over an input
 * that it is the last to read, and a net output is computed straight into the caller's memory.
 * Buffers are kept between runs of the same number of rows. One executor is used by one thread,
 * and works on the context's team. Results do not depend on the team's size.
 *
 * Each op is one row (network/ops/op.h): infer, prepare, forward, release. A backward pass is
 * one more function in the row.
 */
#ifndef GS_NETWORK_EXEC_H
#define GS_NETWORK_EXEC_H

#include <base/context.h>
#include <kernels/gemm/gemm.h>
#include <network/net.h>

/* A batch. rows = tokens or images. For sequences laid end to end starts has sequences+1
 * entries, starts[0] = 0, starts[sequences] = rows; a token's position is row - start. */
typedef struct gs_batch {
    int64_t rows;
    int64_t sequences;     /* 0 for images */
    const int64_t *starts; /* borrowed */
} gs_batch;

typedef struct gs_exec gs_exec;

/* Sees every value as it is produced (the inputs first), in execution order: observers hang
 * here, by edge. data: [batch->rows, edge->dims] row-major, valid during the call. A failure
 * stops the run. */
typedef gs_status gs_exec_hook(void *ctx, const gs_edge *edge, const gs_batch *batch,
                               const float *data, gs_error *err);
/* The pages behind a view will not be needed again. */
typedef void gs_exec_drop(void *ctx, const gs_tensor *tensor);

/* cx is borrowed for the executor's life; NULL: serial. */
gs_status gs_exec_create(gs_context *cx, gs_gemm_type type, gs_exec **out, gs_error *err) GS_NODISCARD;
void gs_exec_destroy(gs_exec *ex);
void gs_exec_set_hook(gs_exec *ex, gs_exec_hook *hook, void *ctx);
/* Called for each view once prepare has read it; NULL: never. */
void gs_exec_set_drop(gs_exec *ex, gs_exec_drop *drop, void *ctx);

/* Infers the dims, checks them, and prepares every node afresh; nothing stays prepared on
 * failure. Any later change of the net's structure or of a node's params undoes it. Param bytes
 * (a checkpoint's and owned ones) must stay until release; changes to them may go unseen. */
gs_status gs_exec_prepare(gs_exec *ex, gs_net *net, gs_error *err) GS_NODISCARD;
/* No-op for a net that another executor prepared. Before gs_exec_destroy. */
void gs_exec_release(gs_exec *ex, gs_net *net);
/* inputs: one data pointer a net input, [rows, dims] f32, borrowed and unchanged;
 * outputs: one a net output, [rows, dims] f32, written (partly, on failure). The caller sizes
 * them from the edges' dims; outputs overlap neither inputs nor each other. A batch of no rows
 * is done at once, unseen by the hook. */
gs_status gs_exec_run(gs_exec *ex, gs_net *net, const gs_batch *batch, const float *const *inputs,
                      float *const *outputs, gs_error *err) GS_NODISCARD;

#endif
