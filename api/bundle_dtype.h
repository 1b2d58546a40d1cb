/* The dtype of a bundle's float tensors when the user leaves it to us. */
#ifndef GS_API_BUNDLE_DTYPE_H
#define GS_API_BUNDLE_DTYPE_H

#include <llm/model.h>
#include <ptq/comp_algo.h>

/* That of a 16-bit source; else F16, or BF16 where a tensor that stays float holds a value beyond f16. */
gs_status gs_bundle_dtype(const gs_model *m, gs_comp_algo *algo, gs_dtype *out, gs_error *err) GS_NODISCARD;

#endif
