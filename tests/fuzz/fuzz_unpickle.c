/* Any bytes as a pickle, twice: as values, and as the data.pkl of a PyTorch file with two storages, "0" stored and "1"
 * deflated, of 96 bytes. What is accepted must keep the readers' promises. */
#include "../loaders/torch_builder.h"

#include <base/mem.h>
#include <loaders/torch_file.h>
#include <loaders/unpickle.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

static void require(bool promise) {
    if (!promise) abort();
}

/* Values may hold themselves and one another: so deep, and so many, and no more. */
static void walk(const gs_pickled *v, int depth, int *left) {
    if (depth == 0 || --*left < 0) return;
    switch (v->kind) {
    case GS_PICKLED_TEXT:
    case GS_PICKLED_BYTES:
        for (size_t i = 0; i < v->count; i++) sink ^= (uint8_t)v->text[i];
        break;
    case GS_PICKLED_TUPLE:
    case GS_PICKLED_LIST:
    case GS_PICKLED_DICT:
        require(v->kind != GS_PICKLED_DICT || v->count % 2 == 0);
        for (size_t i = 0; i < v->count; i++) walk(v->items[i], depth - 1, left);
        break;
    case GS_PICKLED_STORAGE: require(v->storage->count >= 0 && v->storage->key->kind == GS_PICKLED_TEXT); break;
    case GS_PICKLED_TENSOR:
        require(v->tensor->ndim >= 0 && v->tensor->ndim <= GS_MAX_DIMS && v->tensor->offset >= 0);
        for (int i = 0; i < v->tensor->ndim; i++) require(v->tensor->shape[i] >= 0 && v->tensor->stride[i] >= 0);
        break;
    default: require(v->kind >= GS_PICKLED_NONE && gs_pickled_kind_name(v->kind)[0] != '?'); break;
    }
}

static void read_tensor(const gs_torch_file *f, const gs_tensor *t) {
    uint64_t bytes;
    int64_t rows, cols;
    require(gs_torch_file_find(f, t->name) == t);
    require(gs_dtype_bytes(t->dtype, (uint64_t)gs_tensor_count(t), &bytes) && bytes == t->bytes && bytes <= 96);
    for (uint64_t i = 0; i < t->bytes; i++) sink ^= t->data[i];
    gs_tensor_matrix(t, &rows, &cols);
    if (rows < 1 || cols < 1 || rows > 96 / cols) return;
    float values[96];
    gs_status status = gs_tensor_read_f32(t, 0, rows, values, NULL);
    require(status == GS_OK || status == GS_E_UNSUPPORTED);
}

static void open_file(const uint8_t *data, size_t size) {
    static uint8_t storage[96];
    const torch_storage storages[] = {{"t/data/0", storage, 96, 0}, {"t/data/1", storage, 96, ZIP_DEFLATED}};
    pickle_builder b = {0};
    gs_torch_file *f;
    gs_error err = {0};
    pk_bytes(&b, data, size);
    zip_builder z = torch_zip(&b, storages, 2);
    if (gs_torch_file_open_memory(z.data, z.len, &f, &err) == GS_OK) {
        for (size_t i = 0; i < gs_torch_file_count(f); i++) read_tensor(f, gs_torch_file_at(f, i));
        gs_torch_file_close(f);
    } else {
        require(!f && err.text[0] && !strchr(err.text, '\n'));
    }
    zip_clear(&z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gs_pickle *p;
    gs_error err = {0};
    int left = 10000;
    if (gs_pickle_open(data, size, &p, &err) != GS_OK) {
        require(!p && err.text[0] && !strchr(err.text, '\n'));
        return 0;
    }
    walk(gs_pickle_root(p), 20, &left);
    gs_pickle_close(p);
    open_file(data, size);
    return 0;
}
