/* Status and caller-owned error, for every room.
 *
 *     gs_status f(gs_error *err) {
 *         GS_TRY(g(err));
 *         if (bad) return GS_FAIL(err, GS_E_FORMAT, "'%s': %d of %d", name, a, b);
 *         return GS_OK;
 *     }
 *     ... if (f(err) != GS_OK) return gs_error_at(err, "%s", path);
 *
 * The innermost function states the fact with numbers; each layer that knows a
 * place prepends it with gs_error_at. `err` may be NULL everywhere: only the
 * status then travels. Thread law: an error belongs to one thread at a time.
 */
#ifndef GS_BASE_ERROR_H
#define GS_BASE_ERROR_H

#include <gstick.h>

/* Formats `text`, clears the hint, returns `status`. */
gs_status gs_error_set(gs_error *err, gs_status status, const char *fmt, ...)
    GS_PRINTF(3, 4);
/* Prepends "<where>: " to the text (truncating its end) and returns err->status,
 * or GS_E_FORMAT when err is NULL -- so call it only on failure, and prefer
 * keeping the status yourself where err may be NULL. */
gs_status gs_error_at(gs_error *err, const char *fmt, ...) GS_PRINTF(2, 3);
/* Sets the hint; returns err->status. */
gs_status gs_error_hint(gs_error *err, const char *fmt, ...) GS_PRINTF(2, 3);
/* Sets the text from errno: "<what>: <strerror>", mapping ENOSPC/EDQUOT to
 * GS_E_NOSPACE, ENOMEM to GS_E_NOMEM, ENOENT/ENOTDIR to GS_E_FORMAT, the rest to
 * GS_E_IO. GS_E_NOSPACE comes with a hint. */
gs_status gs_error_errno(gs_error *err, int errnum, const char *fmt, ...)
    GS_PRINTF(3, 4);

#define GS_FAIL(err, status, ...) gs_error_set((err), (status), __VA_ARGS__)
#define GS_TRY(expr)                                                           \
    do {                                                                       \
        gs_status gs_try_status_ = (expr);                                     \
        if (gs_try_status_ != GS_OK) return gs_try_status_;                    \
    } while (0)
/* For functions with a single `done:` label and a local `gs_status status`. */
#define GS_TRY_GOTO(status, label, expr)                                       \
    do {                                                                       \
        (status) = (expr);                                                     \
        if ((status) != GS_OK) goto label;                                     \
    } while (0)

#define GS_COUNTOF(a) (sizeof(a) / sizeof((a)[0]))

#endif
