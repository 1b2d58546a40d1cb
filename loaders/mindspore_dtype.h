/* MindSpore's words for element types, for reader and writer of its checkpoints. Private to the room. */
#ifndef GS_LOADERS_MINDSPORE_DTYPE_H
#define GS_LOADERS_MINDSPORE_DTYPE_H

#include <base/dtype.h>

#define GS_MINDSPORE_DTYPE_LIST(X)                                                                                     \
    X(BOOL, "Bool")                                                                                                    \
    X(I8, "Int8")                                                                                                      \
    X(I16, "Int16")                                                                                                    \
    X(I32, "Int32")                                                                                                    \
    X(I64, "Int64")                                                                                                    \
    X(U8, "UInt8")                                                                                                     \
    X(U16, "UInt16")                                                                                                   \
    X(U32, "UInt32")                                                                                                   \
    X(U64, "UInt64")                                                                                                   \
    X(F16, "Float16")                                                                                                  \
    X(BF16, "BFloat16")                                                                                                \
    X(F32, "Float32")                                                                                                  \
    X(F64, "Float64")

#endif
