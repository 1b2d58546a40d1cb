/* Pickles, as PyTorch writes a state dict: data only, nothing is ever run.
 *
 * The machine knows protocols 2 to 5 with dicts, lists, tuples, integers, floats, strings, bytes, booleans, None,
 * persistent ids of storages, and these globals:
 *
 *   collections.OrderedDict                                  called without arguments: a dict; its attributes are skipped
 *   torch._utils._rebuild_tensor_v2, _rebuild_tensor_v3      a tensor: a view on a storage
 *   torch._utils._rebuild_parameter                          the tensor it wraps
 *   torch.FloatStorage ... torch.BoolStorage, torch.storage.UntypedStorage    in persistent ids only
 *   torch.float32 ... torch.float8_e5m2                      dtypes
 *
 * Any other global is refused by name (GS_E_UNSUPPORTED) as soon as it is asked for, and so is every opcode that would
 * make or call something else, the text opcodes of protocols 0 and 1, extension codes and buffers out of band.
 * GS_E_FORMAT for what no pickler writes: unknown opcodes, a stack that runs dry, lengths beyond the input, bytes behind
 * the end.
 *
 * Bounds: each opcode does a bounded amount of work and nothing recurses. A pickle has at most GS_PICKLE_MAX_BYTES,
 * its values at most GS_PICKLE_MAX_MEMORY, the stack 2^20 entries, marks nest 1000 deep, and a place in the memo is
 * smaller than the number of bytes of the pickle. Values can contain themselves: who walks them must bound the depth. */
#ifndef GS_LOADERS_UNPICKLE_H
#define GS_LOADERS_UNPICKLE_H

#include <loaders/tensor.h>

enum { GS_PICKLE_MAX_BYTES = 64 << 20, GS_PICKLE_MAX_MEMORY = 256 << 20 };

typedef enum gs_pickled_kind {
    GS_PICKLED_NONE,
    GS_PICKLED_BOOL,
    GS_PICKLED_INT,
    GS_PICKLED_LONG, /* an integer beyond 64 bits: only that it is one */
    GS_PICKLED_FLOAT,
    GS_PICKLED_TEXT,  /* any bytes: the pickle's UTF-8 is not checked here */
    GS_PICKLED_BYTES,
    GS_PICKLED_TUPLE,
    GS_PICKLED_LIST,
    GS_PICKLED_DICT,
    GS_PICKLED_GLOBAL,
    GS_PICKLED_STORAGE,
    GS_PICKLED_TENSOR
} gs_pickled_kind;

typedef struct gs_pickled gs_pickled;

/* ('storage', type, key, place, count) */
typedef struct gs_pickled_storage {
    const gs_pickled *key; /* text: name of the archive's member */
    gs_dtype dtype;        /* GS_DTYPE_NONE: bytes */
    int64_t count;         /* elements, >= 0 */
} gs_pickled_storage;

/* Offset and strides in elements; they are not checked against the storage. */
typedef struct gs_pickled_tensor {
    const gs_pickled_storage *storage;
    gs_dtype dtype;
    int ndim;
    int64_t offset, shape[GS_MAX_DIMS], stride[GS_MAX_DIMS]; /* all >= 0 */
} gs_pickled_tensor;

struct gs_pickled {
    gs_pickled_kind kind;
    size_t count; /* bytes of text, items of a tuple or list, twice the entries of a dict */
    union {
        int64_t integer; /* and 0 or 1 of a BOOL */
        double real;
        const char *text;  /* in the pickle, not terminated */
        gs_pickled **items; /* of a dict: key, value, key, value ... as put, later ones winning */
        const struct gs_pickle_global *global;
        const gs_pickled_storage *storage;
        const gs_pickled_tensor *tensor;
    };
};

typedef struct gs_pickle gs_pickle;

/* data is borrowed until close. */
gs_status gs_pickle_open(const uint8_t *data, size_t size, gs_pickle **out, gs_error *err) GS_NODISCARD;
void gs_pickle_close(gs_pickle *p); /* NULL ok */
const gs_pickled *gs_pickle_root(const gs_pickle *p);
const char *gs_pickled_kind_name(gs_pickled_kind kind); /* "a dict" */
bool gs_pickled_is(const gs_pickled *v, const char *text); /* that text */

/* n bytes for a message: what is not printable ASCII as '?', longer than fits as "..."; returns buf. */
const char *gs_pickle_printable(const char *text, size_t n, char *buf, size_t size);

#endif
