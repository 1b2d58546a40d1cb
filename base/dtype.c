#include <base/dtype.h>

#include <string.h>

static const struct {
    const char *name;
    uint16_t block, bytes;
    bool safetensors;
} table[GS_DTYPE_COUNT] = {
#define X(name, text, block, bytes, st) {text, block, bytes, st},
    GS_DTYPE_LIST(X)
#undef X
};

static const struct {
    gs_dtype dtype;
    const char *torch, *brief;
} floats[] = {
    {GS_F32, "float32", "f32"},
    {GS_F16, "float16", "f16"},
    {GS_BF16, "bfloat16", "bf16"},
    {GS_F64, "float64", "f64"},
};

static bool in_range(gs_dtype t) {
    return (int)t >= 0 && (int)t < GS_DTYPE_COUNT;
}

const char *gs_dtype_name(gs_dtype t) {
    return in_range(t) ? table[t].name : "?";
}

int gs_dtype_block(gs_dtype t) {
    return in_range(t) ? table[t].block : 0;
}

int gs_dtype_block_bytes(gs_dtype t) {
    return in_range(t) ? table[t].bytes : 0;
}

bool gs_dtype_is_safetensors(gs_dtype t) {
    return in_range(t) && table[t].safetensors;
}

bool gs_dtype_is_float(gs_dtype t) {
    return t == GS_F64 || t == GS_F32 || t == GS_F16 || t == GS_BF16;
}

gs_dtype gs_dtype_from_name(const char *name) {
    for (int t = 0; name && t < GS_DTYPE_COUNT; t++) {
        if (table[t].safetensors && strcmp(name, table[t].name) == 0) return (gs_dtype)t;
    }
    return GS_DTYPE_NONE;
}

gs_dtype gs_dtype_from_torch(const char *name) {
    if (!name) return GS_DTYPE_NONE;
    if (strncmp(name, "torch.", 6) == 0) name += 6;
    for (size_t i = 0; i < GS_COUNTOF(floats); i++) {
        if (strcmp(name, floats[i].torch) == 0 || strcmp(name, floats[i].brief) == 0)
            return floats[i].dtype;
    }
    return GS_DTYPE_NONE;
}

const char *gs_dtype_torch_name(gs_dtype t) {
    for (size_t i = 0; i < GS_COUNTOF(floats); i++) {
        if (floats[i].dtype == t) return floats[i].torch;
    }
    return "?";
}

bool gs_dtype_bytes(gs_dtype t, uint64_t count, uint64_t *bytes) {
    if (!in_range(t) || count % table[t].block != 0) return false;
    return !__builtin_mul_overflow(count / table[t].block, (uint64_t)table[t].bytes, bytes);
}
