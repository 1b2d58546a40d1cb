#include <loaders/tensor_plan.h>

#include <base/mem.h>
#include <base/utf8.h>

#include <string.h>

static gs_status measure(gs_planned *t, gs_error *err) {
    int64_t count = 1;
    for (int i = 0; i < t->ndim; i++)
        if (t->shape[i] < 0 || __builtin_mul_overflow(count, t->shape[i], &count))
            return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': its shape is negative or overflows", t->name);
    int block = gs_dtype_block(t->dtype);
    int64_t row = t->ndim ? t->shape[t->ndim - 1] : 1;
    if (!block || row % block || !gs_dtype_bytes(t->dtype, (uint64_t)count, &t->bytes))
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': rows of %lld %s elements are not whole blocks, or overflow",
                       t->name, (long long)row, gs_dtype_name(t->dtype));
    return GS_OK;
}

static gs_status append(gs_tensor_plan *p, const gs_planned *t, gs_error *err) {
    bool taken;
    if (t->bytes > INT64_MAX / 2 - p->total)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': the sizes of the tensors overflow", t->name);
    if (p->count == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 64;
        gs_planned *more = gs_realloc(p->entry, cap, sizeof *more);
        if (!more) return gs_error_nomem(err, cap * sizeof *more);
        p->entry = more;
        p->cap = cap;
    }
    GS_TRY(gs_map_put(&p->names, t->name, strlen(t->name), (int64_t)p->count, &taken, err));
    if (taken) return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s' is planned already", t->name);
    p->entry[p->count++] = *t;
    p->total += t->bytes;
    return GS_OK;
}

gs_status gs_tensor_plan_add(gs_tensor_plan *p, const char *name, gs_dtype dtype, int ndim, const int64_t *shape,
                             gs_error *err) {
    if (!name[0] || !gs_utf8_is_plain(name, strlen(name)))
        return GS_FAIL(err, GS_E_INVALID, "'%.200s' cannot be the name of a tensor", name);
    if (ndim < 0 || ndim > GS_MAX_DIMS)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': %d dimensions, at most %d", name, ndim, GS_MAX_DIMS);
    gs_planned t = {.dtype = dtype, .ndim = ndim};
    if (ndim) memcpy(t.shape, shape, (size_t)ndim * sizeof *shape);
    t.name = gs_strdup(name);
    if (!t.name) return gs_error_nomem(err, strlen(name) + 1);
    gs_status status = measure(&t, err);
    if (status == GS_OK) status = append(p, &t, err);
    if (status != GS_OK) gs_free(t.name);
    return status;
}

bool gs_tensor_plan_find(const gs_tensor_plan *p, const char *name, size_t *index) {
    int64_t at;
    if (!gs_map_get(&p->names, name, strlen(name), &at)) return false;
    if (index) *index = (size_t)at;
    return true;
}

static gs_status lacks(const gs_tensor_plan *p, size_t i, uint64_t done, gs_error *err) {
    return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': %llu of %llu bytes were put", p->entry[i].name,
                   (unsigned long long)done, (unsigned long long)p->entry[i].bytes);
}

/* All tensors from the current one up to `end` have their bytes. */
static gs_status check_until(const gs_tensor_plan *p, size_t end, gs_error *err) {
    for (size_t i = p->current; i < end; i++) {
        uint64_t done = i == p->current ? p->done : 0;
        if (done != p->entry[i].bytes) return lacks(p, i, done, err);
    }
    return GS_OK;
}

gs_status gs_tensor_plan_put(gs_tensor_plan *p, size_t index, size_t n, gs_error *err) {
    if (index >= p->count) return GS_FAIL(err, GS_E_INVALID, "tensor %zu of %zu", index, p->count);
    if (index < p->current)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s' is behind '%.200s'", p->entry[index].name,
                       p->entry[p->current].name);
    GS_TRY(check_until(p, index, err));
    uint64_t done = index == p->current ? p->done : 0;
    if (n > p->entry[index].bytes - done)
        return GS_FAIL(err, GS_E_INVALID, "tensor '%.200s': %zu bytes at byte %llu, it has %llu", p->entry[index].name, n,
                       (unsigned long long)done, (unsigned long long)p->entry[index].bytes);
    p->current = index;
    p->done = done + n;
    return GS_OK;
}

gs_status gs_tensor_plan_complete(const gs_tensor_plan *p, gs_error *err) { return check_until(p, p->count, err); }

void gs_tensor_plan_clear(gs_tensor_plan *p) {
    for (size_t i = 0; i < p->count; i++) gs_free(p->entry[i].name);
    gs_free(p->entry);
    gs_map_clear(&p->names);
    *p = (gs_tensor_plan){0};
}
