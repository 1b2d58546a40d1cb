/* The little of oneDNN that products and convolutions share, and the only place that knows
 * that versions 2 and 3 differ (descriptors by value or by handle, one or two steps to a
 * primitive descriptor).
 *
 * oneDNN here runs on the calling thread only: each call holds the OpenMP team of its thread at
 * one thread, and gives the caller its own setting back.
 *
 * State: one engine and one stream, made at the first use and kept for the process. Both are
 * stateless on the CPU; any number of threads may use them.
 */
#ifndef GS_KERNELS_ONEDNN_H
#define GS_KERNELS_ONEDNN_H

#include <base/error.h>
#include <dnnl.h>

/* Description of a memory layout. Start zeroed (memset). */
#if DNNL_VERSION_MAJOR >= 3
typedef struct gs_dnnl_md {
    dnnl_memory_desc_t handle;
} gs_dnnl_md;
typedef const_dnnl_memory_desc_t gs_dnnl_md_ref;
static inline gs_dnnl_md_ref gs_dnnl_md_get(const gs_dnnl_md *md) { return md->handle; }
#else
typedef struct gs_dnnl_md {
    dnnl_memory_desc_t value;
} gs_dnnl_md;
typedef const dnnl_memory_desc_t *gs_dnnl_md_ref;
static inline gs_dnnl_md_ref gs_dnnl_md_get(const gs_dnnl_md *md) { return &md->value; }
#endif

/* strides in elements; NULL lets oneDNN choose the layout. ndims <= 5. */
gs_status gs_dnnl_md_init(gs_dnnl_md *md, dnnl_data_type_t type, int ndims,
                          const int64_t *dims, const int64_t *strides,
                          gs_error *err) GS_NODISCARD;
gs_status gs_dnnl_md_copy(gs_dnnl_md *md, gs_dnnl_md_ref from, gs_error *err) GS_NODISCARD;
void gs_dnnl_md_clear(gs_dnnl_md *md);

/* A primitive with its descriptor; the caller gives the scratchpad (scratch_bytes, 64-byte
 * aligned) to each execution, so executions on different threads do not meet. */
typedef struct gs_dnnl_op {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    size_t scratch_bytes;
} gs_dnnl_op;

/* dst = src * weights, with += when accumulate. */
gs_status gs_dnnl_matmul(gs_dnnl_op *op, gs_dnnl_md_ref src, gs_dnnl_md_ref weights,
                         gs_dnnl_md_ref dst, bool accumulate, gs_error *err) GS_NODISCARD;
/* bias may be NULL. strides, dilates (0 = dense) and padding have two entries. */
gs_status gs_dnnl_convolution(gs_dnnl_op *op, gs_dnnl_md_ref src, gs_dnnl_md_ref weights,
                              gs_dnnl_md_ref bias, gs_dnnl_md_ref dst, const int64_t *strides,
                              const int64_t *dilates, const int64_t *padding_low,
                              const int64_t *padding_high, gs_error *err) GS_NODISCARD;
void gs_dnnl_op_clear(gs_dnnl_op *op);
/* The layout the primitive wants for src, weights, dst: valid as long as op. */
gs_dnnl_md_ref gs_dnnl_op_src(const gs_dnnl_op *op);
gs_dnnl_md_ref gs_dnnl_op_weights(const gs_dnnl_op *op);
gs_dnnl_md_ref gs_dnnl_op_dst(const gs_dnnl_op *op);

typedef struct gs_dnnl_arg {
    int index; /* DNNL_ARG_* */
    gs_dnnl_md_ref md;
    void *data;
} gs_dnnl_arg;
enum { GS_DNNL_MAX_ARGS = 5 };
/* Runs it on the calling thread. scratch may be NULL when scratch_bytes is 0. */
gs_status gs_dnnl_execute(const gs_dnnl_op *op, int count, const gs_dnnl_arg *args,
                          void *scratch, gs_error *err) GS_NODISCARD;
/* Copies between two layouts of the same tensor. */
gs_status gs_dnnl_reorder(gs_dnnl_md_ref from, const void *src, gs_dnnl_md_ref to, void *dst,
                          gs_error *err) GS_NODISCARD;

/* Whether bf16 products are worth while: native, or emulated faster than f32 (AVX-512). */
bool gs_dnnl_has_bf16(void);
/* Whether u8 x s8 products have exact s32 sums: integer dot products (VNNI, AMX). Without them
 * oneDNN adds pairs in 16 bits, which saturates. */
bool gs_dnnl_has_u8s8(void);
/* "oneDNN 2.6.3 (avx512_core_bf16)"; static text. */
const char *gs_dnnl_name(void);

#endif
