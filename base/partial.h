/* Names of output in progress: "<dir>/.<name>.partial-<pid>-<n>" beside the target,
 * and the step that makes it visible. Shared by output files and directories. */
#ifndef GS_BASE_PARTIAL_H
#define GS_BASE_PARTIAL_H

#include <base/error.h>

typedef struct gs_partial {
    char *target;    /* the path asked for, without trailing slashes */
    char *parent;    /* directory of the target */
    char *temporary; /* NULL until gs_partial_next */
} gs_partial;

/* GS_E_INVALID for a path that has no last name ("", "/", "a/.."). On failure the
 * struct is safe to clear. */
gs_status gs_partial_init(gs_partial *p, const char *path, gs_error *err) GS_NODISCARD;
/* Sets the next name to try. Its number is unique in the process; another process
 * with our pid (another pid namespace) is met by creating exclusively and trying on. */
gs_status gs_partial_next(gs_partial *p, gs_error *err) GS_NODISCARD;
/* The error for a temporary that could not be created; a missing parent is GS_E_IO. */
gs_status gs_partial_refused(const gs_partial *p, int errnum, gs_error *err);
/* Renames the temporary over the target and flushes the parent directory. When it
 * fails the target is as before (but for a failed flush: see the text). */
gs_status gs_partial_publish(const gs_partial *p, gs_error *err) GS_NODISCARD;
void gs_partial_clear(gs_partial *p);

#endif
