/* Element types of tensors, in files and in memory. Block types (GGUF) hold
 * `block` elements in `bytes` bytes along the innermost dimension. */
#ifndef GS_BASE_DTYPE_H
#define GS_BASE_DTYPE_H

#include <base/error.h>

/* enum name, text, elements per block, bytes per block, is a safetensors dtype */
#define GS_DTYPE_LIST(X)                                                       \
    X(F64, "F64", 1, 8, 1)                                                     \
    X(F32, "F32", 1, 4, 1)                                                     \
    X(F16, "F16", 1, 2, 1)                                                     \
    X(BF16, "BF16", 1, 2, 1)                                                   \
    X(I64, "I64", 1, 8, 1)                                                     \
    X(I32, "I32", 1, 4, 1)                                                     \
    X(I16, "I16", 1, 2, 1)                                                     \
    X(I8, "I8", 1, 1, 1)                                                       \
    X(U64, "U64", 1, 8, 1)                                                     \
    X(U32, "U32", 1, 4, 1)                                                     \
    X(U16, "U16", 1, 2, 1)                                                     \
    X(U8, "U8", 1, 1, 1)                                                       \
    X(BOOL, "BOOL", 1, 1, 1)                                                   \
    X(F8_E4M3, "F8_E4M3", 1, 1, 1)                                             \
    X(F8_E5M2, "F8_E5M2", 1, 1, 1)                                             \
    X(F8_E8M0, "F8_E8M0", 1, 1, 1)                                             \
    X(F4, "F4", 2, 1, 1)                                                       \
    X(Q8_0, "Q8_0", 32, 34, 0)                                                 \
    X(Q4_0, "Q4_0", 32, 18, 0)                                                 \
    X(Q4_1, "Q4_1", 32, 20, 0)                                                 \
    X(Q5_0, "Q5_0", 32, 22, 0)                                                 \
    X(Q5_1, "Q5_1", 32, 24, 0)                                                 \
    X(Q2_K, "Q2_K", 256, 84, 0)                                                \
    X(Q3_K, "Q3_K", 256, 110, 0)                                               \
    X(Q4_K, "Q4_K", 256, 144, 0)                                               \
    X(Q5_K, "Q5_K", 256, 176, 0)                                               \
    X(Q6_K, "Q6_K", 256, 210, 0)

typedef enum gs_dtype {
#define X(name, text, block, bytes, st) GS_##name,
    GS_DTYPE_LIST(X)
#undef X
    GS_DTYPE_COUNT,
    GS_DTYPE_NONE = -1
} gs_dtype;

const char *gs_dtype_name(gs_dtype t);      /* "BF16"; "?" when out of range */
int gs_dtype_block(gs_dtype t);             /* elements per block; 0 when out of range */
int gs_dtype_block_bytes(gs_dtype t);       /* bytes per block */
bool gs_dtype_is_safetensors(gs_dtype t);
bool gs_dtype_is_float(gs_dtype t);         /* F64 F32 F16 BF16 */
/* Exact safetensors spelling ("BF16") -> dtype, or GS_DTYPE_NONE. */
gs_dtype gs_dtype_from_name(const char *name);
/* "float32" | "float16" | "bfloat16" | "torch.bfloat16" | "f32" | "f16" | "bf16"
 * -> dtype, or GS_DTYPE_NONE; and the config.json spelling of a float dtype. */
gs_dtype gs_dtype_from_torch(const char *name);
const char *gs_dtype_torch_name(gs_dtype t);
/* Bytes of `count` elements. False when count is not whole blocks or on overflow. */
bool gs_dtype_bytes(gs_dtype t, uint64_t count, uint64_t *bytes);

#endif
