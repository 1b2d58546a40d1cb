#include <loaders/unpickle_private.h>

#include <stdio.h>
#include <string.h>

const char *gs_pickled_kind_name(gs_pickled_kind kind) {
    static const char *const names[] = {"None",  "a boolean", "an integer", "a huge integer", "a float",   "a string",
                                        "bytes", "a tuple",   "a list",     "a dict",         "a type",    "a storage",
                                        "a tensor"};
    return (size_t)kind < GS_COUNTOF(names) ? names[kind] : "?";
}

bool gs_pickled_is(const gs_pickled *v, const char *text) {
    return v->kind == GS_PICKLED_TEXT && v->count == strlen(text) && memcmp(v->text, text, v->count) == 0;
}

const char *gs_pickle_printable(const char *text, size_t n, char *buf, size_t size) {
    size_t shown = n < size ? n : size - 4, i = 0;
    for (; i < shown; i++) buf[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    if (shown < n)
        for (size_t dots = 0; dots < 3; dots++) buf[i++] = '.';
    buf[i] = 0;
    return buf;
}

static gs_status make_dict(gs_pickle *p, const gs_pickled *args, gs_pickled **out, gs_error *err) {
    if (args->count != 0)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "calls collections.OrderedDict with %zu arguments, not with none",
                       args->count);
    *out = gs_pickle_value(p, GS_PICKLED_DICT, err);
    return *out ? GS_OK : GS_E_NOMEM;
}

static gs_status read_places(const gs_pickled *v, const char *what, int64_t *out, size_t n, gs_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (v->items[i]->kind != GS_PICKLED_INT || v->items[i]->integer < 0)
            return GS_FAIL(err, GS_E_FORMAT, "a tensor's %s is no tuple of non-negative integers", what);
        out[i] = v->items[i]->integer;
    }
    return GS_OK;
}

static gs_status read_view(const gs_pickled *const *args, gs_pickled_tensor *t, gs_error *err) {
    const gs_pickled *offset = args[1], *shape = args[2], *stride = args[3];
    if (offset->kind != GS_PICKLED_INT || offset->integer < 0)
        return GS_FAIL(err, GS_E_FORMAT, "a tensor's offset is no non-negative integer");
    if (shape->kind != GS_PICKLED_TUPLE || stride->kind != GS_PICKLED_TUPLE || shape->count != stride->count)
        return GS_FAIL(err, GS_E_FORMAT, "a tensor's shape and stride are no two tuples of one length");
    if (shape->count > GS_MAX_DIMS)
        return GS_FAIL(err, GS_E_UNSUPPORTED, "a tensor of %zu dimensions, more than %d", shape->count, GS_MAX_DIMS);
    t->offset = offset->integer;
    t->ndim = (int)shape->count;
    GS_TRY(read_places(shape, "shape", t->shape, shape->count, err));
    return read_places(stride, "stride", t->stride, stride->count, err);
}

static bool is_empty_dict(const gs_pickled *v) {
    return v->kind == GS_PICKLED_NONE || (v->kind == GS_PICKLED_DICT && v->count == 0);
}

/* (storage, offset, shape, stride, requires_grad, hooks), then dtype where it is not the storage's, then maybe
 * metadata, which says e.g. that the values are those of the conjugate. */
static gs_status make_view(gs_pickle *p, const gs_pickled *args, const gs_pickled *dtype, size_t fixed, gs_pickled **out,
                           gs_error *err) {
    const gs_pickled *const *item = (const gs_pickled *const *)args->items;
    gs_pickled_tensor *t = gs_pickle_alloc(p, sizeof *t, err);
    *out = gs_pickle_value(p, GS_PICKLED_TENSOR, err);
    if (!t || !*out) return GS_E_NOMEM;
    if (item[0]->kind != GS_PICKLED_STORAGE)
        return GS_FAIL(err, GS_E_FORMAT, "a tensor's storage is %s", gs_pickled_kind_name(item[0]->kind));
    if (!is_empty_dict(item[5])) return GS_FAIL(err, GS_E_UNSUPPORTED, "a tensor has backward hooks");
    if (args->count > fixed && !is_empty_dict(item[fixed]))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "a tensor has metadata of its own (a conjugate or negative view?)");
    t->storage = item[0]->storage;
    t->dtype = t->storage->dtype;
    if (dtype && (dtype->kind != GS_PICKLED_GLOBAL || dtype->global->storage || dtype->global->call))
        return GS_FAIL(err, GS_E_FORMAT, "a tensor's dtype is %s", gs_pickled_kind_name(dtype->kind));
    if (dtype) t->dtype = dtype->global->dtype;
    if (t->dtype == GS_DTYPE_NONE) return GS_FAIL(err, GS_E_FORMAT, "a tensor of bytes without a dtype");
    (*out)->tensor = t;
    return read_view(item, t, err);
}

static gs_status make_tensor_v2(gs_pickle *p, const gs_pickled *args, gs_pickled **out, gs_error *err) {
    if (args->count < 6 || args->count > 7)
        return GS_FAIL(err, GS_E_FORMAT, "calls _rebuild_tensor_v2 with %zu arguments, not 6 or 7", args->count);
    return make_view(p, args, NULL, 6, out, err);
}

static gs_status make_tensor_v3(gs_pickle *p, const gs_pickled *args, gs_pickled **out, gs_error *err) {
    if (args->count < 7 || args->count > 8)
        return GS_FAIL(err, GS_E_FORMAT, "calls _rebuild_tensor_v3 with %zu arguments, not 7 or 8", args->count);
    return make_view(p, args, args->items[6], 7, out, err);
}

/* (tensor, requires_grad, hooks) */
static gs_status make_parameter(gs_pickle *p, const gs_pickled *args, gs_pickled **out, gs_error *err) {
    (void)p;
    if (args->count != 3 || args->items[0]->kind != GS_PICKLED_TENSOR)
        return GS_FAIL(err, GS_E_FORMAT, "calls _rebuild_parameter with something else than a tensor and two settings");
    if (!is_empty_dict(args->items[2])) return GS_FAIL(err, GS_E_UNSUPPORTED, "a parameter has backward hooks");
    *out = args->items[0];
    return GS_OK;
}

#define STORAGE(word, type) {"torch", word "Storage", NULL, true, type}
#define DTYPE(word, type) {"torch", word, NULL, false, type}
static const gs_pickle_global globals[] = {
    {"collections", "OrderedDict", make_dict, false, GS_DTYPE_NONE},
    {"torch._utils", "_rebuild_tensor_v2", make_tensor_v2, false, GS_DTYPE_NONE},
    {"torch._utils", "_rebuild_tensor_v3", make_tensor_v3, false, GS_DTYPE_NONE},
    {"torch._utils", "_rebuild_parameter", make_parameter, false, GS_DTYPE_NONE},
    {"torch.storage", "UntypedStorage", NULL, true, GS_DTYPE_NONE},
    STORAGE("Float", GS_F32), STORAGE("Half", GS_F16), STORAGE("BFloat16", GS_BF16), STORAGE("Double", GS_F64),
    STORAGE("Long", GS_I64), STORAGE("Int", GS_I32), STORAGE("Short", GS_I16), STORAGE("Char", GS_I8),
    STORAGE("Byte", GS_U8), STORAGE("Bool", GS_BOOL),
    DTYPE("float32", GS_F32), DTYPE("float16", GS_F16), DTYPE("bfloat16", GS_BF16), DTYPE("float64", GS_F64),
    DTYPE("int64", GS_I64), DTYPE("int32", GS_I32), DTYPE("int16", GS_I16), DTYPE("int8", GS_I8),
    DTYPE("uint64", GS_U64), DTYPE("uint32", GS_U32), DTYPE("uint16", GS_U16), DTYPE("uint8", GS_U8),
    DTYPE("bool", GS_BOOL), DTYPE("float8_e4m3fn", GS_F8_E4M3), DTYPE("float8_e5m2", GS_F8_E5M2),
};

static bool is_word(const char *text, size_t n, const char *word) { return n == strlen(word) && memcmp(text, word, n) == 0; }

gs_status gs_pickle_find_global(const char *module, size_t module_length, const char *name, size_t name_length,
                                const gs_pickle_global **out, gs_error *err) {
    char m[80], n[80];
    for (size_t i = 0; i < GS_COUNTOF(globals); i++) {
        *out = &globals[i];
        if (is_word(module, module_length, (*out)->module) && is_word(name, name_length, (*out)->name)) return GS_OK;
    }
    GS_FAIL(err, GS_E_UNSUPPORTED,
            "asks for %s.%s, which is not run: only tensors, dicts, lists, numbers and strings are read",
            gs_pickle_printable(module, module_length, m, sizeof m), gs_pickle_printable(name, name_length, n, sizeof n));
    gs_error_hint(err, "a pickle can run any program: if you trust this one, load it in Python and save its state dict as "
                       "safetensors");
    return GS_E_UNSUPPORTED;
}

gs_status gs_pickle_storage(gs_pickle *p, const gs_pickled *id, gs_pickled **out, gs_error *err) {
    if (id->kind != GS_PICKLED_TUPLE || id->count < 1 || !gs_pickled_is(id->items[0], "storage"))
        return GS_FAIL(err, GS_E_UNSUPPORTED, "a persistent id that names no storage");
    const gs_pickled *type = id->count == 5 ? id->items[1] : NULL, *key = id->count == 5 ? id->items[2] : NULL,
                     *count = id->count == 5 ? id->items[4] : NULL;
    if (!type || type->kind != GS_PICKLED_GLOBAL || !type->global->storage || key->kind != GS_PICKLED_TEXT
        || count->kind != GS_PICKLED_INT || count->integer < 0)
        return GS_FAIL(err, GS_E_FORMAT, "a storage is not described by a type, a key, a place and a number of elements");
    gs_pickled_storage *s = gs_pickle_alloc(p, sizeof *s, err);
    *out = gs_pickle_value(p, GS_PICKLED_STORAGE, err);
    if (!s || !*out) return GS_E_NOMEM;
    *s = (gs_pickled_storage){.key = key, .dtype = type->global->dtype, .count = count->integer};
    (*out)->storage = s;
    return GS_OK;
}
