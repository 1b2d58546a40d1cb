/* How tensors of a PyTorch file become row-major views; nobody outside loaders/torch_*.c includes it. */
#ifndef GS_LOADERS_TORCH_VIEWS_H
#define GS_LOADERS_TORCH_VIEWS_H

#include <base/scratch_file.h>
#include <loaders/unpickle.h>
#include <loaders/zip_archive.h>

/* One tensor on its way: what the pickle says, and where its storage lies. */
typedef struct gs_torch_view {
    const gs_pickled_tensor *from;
    const gs_zip_member *member;
    size_t place;   /* of the member in the archive */
    bool row_major; /* its elements lie one after the other */
    uint64_t at;    /* in the scratch file, when not row_major */
} gs_torch_view;

/* Fills row_major of a view whose from and member are set, and t's dtype, shape and bytes. GS_E_FORMAT for a view that is
 * not inside its storage or a storage that is not as long as its member. */
gs_status gs_torch_view_check(gs_torch_view *v, gs_tensor *t, gs_error *err) GS_NODISCARD;

/* Sets the data of n tensors: views on the archive where bytes allow, else on the scratch file, which is made for the
 * purpose and stays closed when nothing needs it. members: of the archive. limit: the most scratch bytes. file: the
 * archive's map, whose pages are dropped when they are read through; zeroed when its bytes are the caller's. */
gs_status gs_torch_views_place(gs_torch_view *views, gs_tensor *tensors, size_t n, size_t members, uint64_t limit,
                               const gs_filemap *file, gs_scratch_file *scratch, gs_error *err) GS_NODISCARD;

#endif
