#include <loaders/torch_views.h>

#include <base/mem.h>

#include <string.h>

enum { PIECE = 1 << 20, ALIGN = 64 };

/* The number of elements; false on overflow. */
static bool count_elements(const gs_pickled_tensor *t, int64_t *count) {
    *count = 1;
    for (int i = 0; i < t->ndim; i++)
        if (__builtin_mul_overflow(*count, t->shape[i], count)) return false;
    return true;
}

/* The place behind the last element that the view touches; false on overflow. Its count is not 0. */
static bool find_end(const gs_pickled_tensor *t, int64_t *end) {
    *end = t->offset;
    for (int i = 0; i < t->ndim; i++) {
        int64_t step;
        if (__builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &step) || __builtin_add_overflow(*end, step, end))
            return false;
    }
    return !__builtin_add_overflow(*end, 1, end);
}

/* As PyTorch has it: a dimension of one element may have any stride. */
static bool is_row_major(const gs_pickled_tensor *t, int64_t count) {
    int64_t expected = 1;
    if (count == 0) return true;
    for (int i = t->ndim; i-- > 0;) {
        if (t->shape[i] == 1) continue;
        if (t->stride[i] != expected) return false;
        expected *= t->shape[i];
    }
    return true;
}

/* Elements of the view's dtype in its storage. */
static gs_status storage_count(const gs_torch_view *v, int64_t *count, gs_error *err) {
    const gs_pickled_storage *s = v->from->storage;
    uint64_t bytes = (uint64_t)s->count;
    unsigned element = (unsigned)gs_dtype_block_bytes(v->from->dtype);
    *count = 0;
    if ((s->dtype != GS_DTYPE_NONE && !gs_dtype_bytes(s->dtype, (uint64_t)s->count, &bytes)) || bytes != v->member->size)
        return GS_FAIL(err, GS_E_FORMAT, "its storage of %lld %s is not the %llu bytes of '%.200s'", (long long)s->count,
                       s->dtype == GS_DTYPE_NONE ? "bytes" : gs_dtype_name(s->dtype), (unsigned long long)v->member->size,
                       v->member->name);
    *count = (int64_t)(bytes / element); /* of a mapped file, or bounded by one: no overflow */
    return GS_OK;
}

static gs_status check_inside(const gs_torch_view *v, int64_t count, int64_t available, gs_error *err) {
    const gs_pickled_tensor *t = v->from;
    int64_t end;
    if (count == 0) return GS_OK; /* and PyTorch lets its offset be anything */
    if (!find_end(t, &end) || end > available)
        return GS_FAIL(err, GS_E_FORMAT, "the view reaches beyond the %lld elements of its storage '%.200s'",
                       (long long)available, v->member->name);
    if (count <= available) return GS_OK;
    GS_FAIL(err, GS_E_UNSUPPORTED, "%lld elements are made of the %lld of its storage '%.200s'", (long long)count,
            (long long)available, v->member->name);
    gs_error_hint(err, "an expanded tensor: save it with .contiguous()");
    return GS_E_UNSUPPORTED;
}

gs_status gs_torch_view_check(gs_torch_view *v, gs_tensor *t, gs_error *err) {
    const gs_pickled_tensor *from = v->from;
    int64_t count, available;
    t->dtype = from->dtype;
    t->ndim = from->ndim;
    memcpy(t->shape, from->shape, sizeof t->shape);
    if (!count_elements(from, &count) || !gs_dtype_bytes(t->dtype, (uint64_t)count, &t->bytes))
        return GS_FAIL(err, GS_E_FORMAT, "the size of its shape overflows");
    GS_TRY(storage_count(v, &available, err));
    GS_TRY(check_inside(v, count, available, err));
    v->row_major = is_row_major(from, count);
    return GS_OK;
}

/* --- where things go --- */

/* What becomes of a deflated storage. */
typedef struct storage_place {
    uint64_t at; /* in the scratch file */
    bool claimed, inflated;
} storage_place;

typedef struct placing {
    gs_torch_view *views;
    gs_tensor *tensors;
    size_t count;
    storage_place *storages; /* by the member's place in the archive */
    uint64_t total;          /* of scratch */
    const gs_filemap *file;
    gs_scratch_file *scratch;
    uint8_t *piece; /* [PIECE], of what is gathered */
} placing;

/* The next `bytes` of scratch; false on overflow. */
static bool claim(placing *p, uint64_t bytes, uint64_t *at) {
    uint64_t end;
    *at = p->total;
    if (__builtin_add_overflow(p->total, bytes, &end) || end > UINT64_MAX - ALIGN) return false;
    p->total = (end + ALIGN - 1) / ALIGN * ALIGN;
    return true;
}

static bool claim_all(placing *p) {
    for (size_t i = 0; i < p->count; i++) {
        gs_torch_view *v = &p->views[i];
        storage_place *s = &p->storages[v->place];
        if (v->member->deflated && !s->claimed) {
            if (!claim(p, v->member->size, &s->at)) return false;
            s->claimed = true;
        }
        if (!v->row_major && !claim(p, p->tensors[i].bytes, &v->at)) return false;
    }
    return true;
}

/* Where a writer of pieces puts them. */
typedef struct pour {
    gs_scratch_file *scratch;
    uint64_t base;
} pour;

static gs_status pour_piece(void *ctx, uint64_t at, const void *bytes, size_t n, gs_error *err) {
    const pour *p = ctx;
    return gs_scratch_file_write(p->scratch, p->base + at, bytes, n, err);
}

/* A source was read through: its pages are not needed again for now. */
static void drop_source(const placing *p, const gs_zip_member *m) {
    if (p->file->data) gs_filemap_drop(p->file, (size_t)(m->packed - p->file->data), m->packed_size);
}

static gs_status inflate_storages(placing *p, gs_error *err) {
    for (size_t i = 0; i < p->count; i++) {
        const gs_torch_view *v = &p->views[i];
        storage_place *s = &p->storages[v->place];
        if (!v->member->deflated || s->inflated) continue;
        pour to = {.scratch = p->scratch, .base = s->at};
        GS_TRY(gs_zip_extract(v->member, pour_piece, &to, err));
        s->inflated = true;
        drop_source(p, v->member);
    }
    return GS_OK;
}

/* A rectangle of elements: strides of its source in bytes, its copy row-major without gaps. */
typedef struct tile {
    const uint8_t *from;
    int64_t rows, cols;
    int64_t row_stride, col_stride;
} tile;

/* Along the source's shorter stride first, so that a page is read once a tile. */
static inline void copy_tile(const tile *t, uint8_t *to, size_t element) {
    bool by_column = t->row_stride < t->col_stride;
    int64_t outer = by_column ? t->cols : t->rows, inner = by_column ? t->rows : t->cols;
    int64_t outer_from = by_column ? t->col_stride : t->row_stride, inner_from = by_column ? t->row_stride : t->col_stride;
    size_t row = (size_t)t->cols * element;
    size_t outer_to = by_column ? element : row, inner_to = by_column ? row : element;
    for (int64_t o = 0; o < outer; o++) {
        const uint8_t *from = t->from + o * outer_from;
        uint8_t *put = to + (size_t)o * outer_to;
        for (int64_t i = 0; i < inner; i++, from += inner_from, put += inner_to) memcpy(put, from, element);
    }
}

/* Constant sizes make each copy one load and one store. */
static void copy_elements(const tile *t, uint8_t *to, size_t element) {
    switch (element) {
    case 1: copy_tile(t, to, 1); break;
    case 2: copy_tile(t, to, 2); break;
    case 4: copy_tile(t, to, 4); break;
    default: copy_tile(t, to, 8); break;
    }
}

/* One matrix [rows, cols] whose first element is at `from`, to *at of the scratch file; *at moves on. */
static gs_status gather_matrix(placing *p, tile whole, size_t element, uint64_t *at, gs_error *err) {
    int64_t fit = (int64_t)(PIECE / element), cols = whole.cols < fit ? whole.cols : fit;
    int64_t rows = cols < whole.cols ? 1 : fit / cols; /* a piece is contiguous in the copy */
    for (int64_t r = 0; r < whole.rows; r += rows) {
        for (int64_t c = 0; c < whole.cols; c += cols) {
            tile t = whole;
            t.from += r * whole.row_stride + c * whole.col_stride;
            t.rows = rows < whole.rows - r ? rows : whole.rows - r;
            t.cols = cols < whole.cols - c ? cols : whole.cols - c;
            size_t bytes = (size_t)(t.rows * t.cols) * element;
            copy_elements(&t, p->piece, element);
            GS_TRY(gs_scratch_file_write(p->scratch, *at, p->piece, bytes, err));
            *at += bytes;
        }
    }
    return GS_OK;
}

/* The next index of the dimensions before the last two, as the offset of its matrix; false after the last. */
static bool next_matrix(const gs_pickled_tensor *t, int64_t *index, int64_t *offset) {
    for (int i = t->ndim - 2; i-- > 0;) {
        if (index[i] + 1 < t->shape[i]) { /* else its stride may be anything */
            *offset += t->stride[i];
            index[i]++;
            return true;
        }
        *offset -= t->stride[i] * index[i];
        index[i] = 0;
    }
    return false;
}

static gs_status gather(placing *p, const gs_torch_view *v, const uint8_t *storage, gs_error *err) {
    const gs_pickled_tensor *t = v->from;
    size_t element = (size_t)gs_dtype_block_bytes(t->dtype);
    int64_t bytes = (int64_t)element, index[GS_MAX_DIMS] = {0}, offset = t->offset;
    int last = t->ndim - 1; /* a scalar is row-major: there is one */
    uint64_t at = v->at;
    /* inside the storage, so products with the size of an element do not overflow; a stride that no step takes may be
     * anything */
    tile m = {.rows = last ? t->shape[last - 1] : 1, .cols = t->shape[last]};
    m.row_stride = m.rows > 1 ? t->stride[last - 1] * bytes : 0;
    m.col_stride = m.cols > 1 ? t->stride[last] * bytes : 0;
    do {
        m.from = storage + offset * bytes;
        GS_TRY(gather_matrix(p, m, element, &at, err));
    } while (next_matrix(t, index, &offset));
    return GS_OK;
}

static gs_status place_tensors(placing *p, gs_error *err) {
    for (size_t i = 0; i < p->count; i++) {
        const gs_torch_view *v = &p->views[i];
        const uint8_t *storage = v->member->deflated ? p->scratch->map.data + p->storages[v->place].at : v->member->packed;
        uint64_t first = p->tensors[i].bytes ? (uint64_t)v->from->offset : 0;
        uint64_t offset = first * (uint64_t)gs_dtype_block_bytes(v->from->dtype);
        p->tensors[i].data = v->row_major ? storage + offset : p->scratch->map.data + v->at;
        if (v->row_major) continue;
        GS_TRY(gather(p, v, storage, err));
        if (!v->member->deflated) drop_source(p, v->member);
    }
    return GS_OK;
}

static gs_status make_scratch(placing *p, uint64_t limit, gs_error *err) {
    if (!claim_all(p) || p->total > limit) {
        GS_FAIL(err, GS_E_UNSUPPORTED, "its tensors would take more than %llu bytes of scratch space: a zip bomb?",
                (unsigned long long)limit);
        gs_error_hint(err, "save it again: torch.save does not compress, and .contiguous() lays tensors out in order");
        return GS_E_UNSUPPORTED;
    }
    if (p->total == 0) return GS_OK;
    p->piece = gs_alloc(PIECE);
    if (!p->piece) return gs_error_nomem(err, PIECE);
    GS_TRY(gs_scratch_file_open(p->scratch, p->total, err));
    return inflate_storages(p, err);
}

gs_status gs_torch_views_place(gs_torch_view *views, gs_tensor *tensors, size_t n, size_t members, uint64_t limit,
                               const gs_filemap *file, gs_scratch_file *scratch, gs_error *err) {
    placing p = {.views = views, .tensors = tensors, .count = n, .file = file, .scratch = scratch};
    p.storages = gs_calloc(members + 1, sizeof *p.storages);
    if (!p.storages) return gs_error_nomem(err, members * sizeof *p.storages);
    gs_status status = make_scratch(&p, limit, err);
    if (status == GS_OK) status = place_tensors(&p, err);
    gs_free(p.piece);
    gs_free(p.storages);
    return status;
}
