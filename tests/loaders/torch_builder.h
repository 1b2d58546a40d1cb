/* PyTorch files by hand: a pickle and storages in an archive. */
#ifndef GS_TESTS_TORCH_BUILDER_H
#define GS_TESTS_TORCH_BUILDER_H

#include "pickle_builder.h"
#include "zip_builder.h"

#define TORCH_FLOATS "torch\nFloatStorage\n"

typedef struct torch_entry {
    const char *name;
    pk_view view;
} torch_entry;

/* {name: tensor, ...}, without its STOP */
static inline void torch_dict(pickle_builder *b, const torch_entry *entries, size_t n) {
    pk(b, "}(");
    for (size_t i = 0; i < n; i++) {
        pk_text(b, entries[i].name);
        pk_tensor(b, &entries[i].view);
    }
    pk(b, "u");
}

/* A file whose pickle is b's (which is cleared), "t/data/0" and so on what follows; flags are zip_add's. */
typedef struct torch_storage {
    const char *name; /* "t/data/0" */
    const void *bytes;
    size_t size;
    int flags;
} torch_storage;

static inline zip_builder torch_zip(pickle_builder *b, const torch_storage *storages, size_t n) {
    zip_builder z = {0};
    zip_add(&z, "t/data.pkl", b->data, b->len, ZIP_FOLLOWS | ZIP_ALIGNED);
    zip_add(&z, "t/byteorder", "little", 6, ZIP_FOLLOWS | ZIP_ALIGNED);
    for (size_t i = 0; i < n; i++) zip_add(&z, storages[i].name, storages[i].bytes, storages[i].size, storages[i].flags);
    zip_add(&z, "t/version", "3\n", 2, ZIP_FOLLOWS | ZIP_ALIGNED);
    zip_end(&z, true, false);
    pk_clear(b);
    return z;
}

#endif
