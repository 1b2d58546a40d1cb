#include <network/net_private.h>

#include <stdio.h>

const char *gs_shape_text(int ndim, const int64_t *shape, char *buf, size_t size) {
    size_t len = 0;
    if (size == 0) return buf;
    buf[0] = 0;
    for (int i = 0; i < ndim && len < size; i++) {
        int n = snprintf(buf + len, size - len, "%s%lld", i ? ", " : "[", (long long)shape[i]);
        len += n > 0 ? (size_t)n : 0;
    }
    if (len < size) snprintf(buf + len, size - len, "%s", ndim ? "]" : "[]");
    return buf;
}

bool gs_dims_count(const gs_dims *dims, int64_t *count) {
    int64_t n = 1;
    if (dims->ndim < 0 || dims->ndim >= GS_VALUE_DIMS) return false;
    for (int i = 0; i < dims->ndim; i++)
        if (dims->dim[i] < 1 || __builtin_mul_overflow(n, dims->dim[i], &n)) return false;
    *count = n;
    return true;
}
