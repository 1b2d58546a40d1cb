/* The list of tensors that a streamed file will hold, and how far their bytes have come: what the writers share whose
 * tensors are put one behind the other.
 *
 * Start with zeros; clear also after a failure, which leaves no tensor half added. One thread at a time. */
#ifndef GS_LOADERS_TENSOR_PLAN_H
#define GS_LOADERS_TENSOR_PLAN_H

#include <base/map.h>
#include <loaders/tensor.h>

typedef struct gs_planned {
    char *name; /* owned */
    gs_dtype dtype;
    int ndim;
    int64_t shape[GS_MAX_DIMS]; /* outermost first */
    uint64_t bytes;
} gs_planned;

typedef struct gs_tensor_plan {
    gs_planned *entry;
    size_t count, cap;
    gs_map names; /* name -> place in entry */
    uint64_t total; /* bytes of all */
    size_t current; /* whose bytes are coming; all before it are complete */
    uint64_t done;  /* of its bytes */
} gs_tensor_plan;

/* GS_E_INVALID: a name that is empty, taken, not UTF-8 or has control characters, a shape with a negative size or more
 * than GS_MAX_DIMS of them, one whose last size is no whole number of the dtype's blocks, sizes that overflow. */
gs_status gs_tensor_plan_add(gs_tensor_plan *p, const char *name, gs_dtype dtype, int ndim, const int64_t *shape,
                             gs_error *err) GS_NODISCARD;
/* The place of a planned name in entry; false: there is none. index may be NULL. */
bool gs_tensor_plan_find(const gs_tensor_plan *p, const char *name, size_t *index);
/* The next n bytes belong to tensor `index`: current and done move there. GS_E_INVALID when they come too early, too late
 * or are too many; the error names the tensor. Nothing has moved then. */
gs_status gs_tensor_plan_put(gs_tensor_plan *p, size_t index, size_t n, gs_error *err) GS_NODISCARD;
/* GS_E_INVALID naming the first tensor that lacks bytes. */
gs_status gs_tensor_plan_complete(const gs_tensor_plan *p, gs_error *err) GS_NODISCARD;
void gs_tensor_plan_clear(gs_tensor_plan *p);

#endif
