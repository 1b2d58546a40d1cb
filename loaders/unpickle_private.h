/* What the opcodes and the globals of the unpickler share; nobody outside includes it. */
#ifndef GS_LOADERS_UNPICKLE_PRIVATE_H
#define GS_LOADERS_UNPICKLE_PRIVATE_H

#include <loaders/unpickle.h>

typedef struct gs_pickle_global {
    const char *module, *name;
    /* what calling it with a tuple gives; NULL: it cannot be called */
    gs_status (*call)(gs_pickle *p, const gs_pickled *args, gs_pickled **out, gs_error *err);
    bool storage;   /* a type of storages */
    gs_dtype dtype; /* of a storage type (NONE: bytes), or the dtype that it is */
} gs_pickle_global;

/* Zeroed memory that lives as long as the pickle. */
void *gs_pickle_alloc(gs_pickle *p, size_t bytes, gs_error *err);
gs_pickled *gs_pickle_value(gs_pickle *p, gs_pickled_kind kind, gs_error *err); /* or NULL */

/* GS_E_UNSUPPORTED, by name, for one that is not known. */
gs_status gs_pickle_find_global(const char *module, size_t module_length, const char *name, size_t name_length,
                                const gs_pickle_global **out, gs_error *err) GS_NODISCARD;
/* What a persistent id stands for: a storage. */
gs_status gs_pickle_storage(gs_pickle *p, const gs_pickled *id, gs_pickled **out, gs_error *err) GS_NODISCARD;

#endif
