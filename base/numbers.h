/* Numbers as people write them, in options and files of options. A text is read whole or
 * refused; nothing is stored when it is refused. */
#ifndef GS_BASE_NUMBERS_H
#define GS_BASE_NUMBERS_H

#include <base/error.h>

/* Decimal, 0 .. INT64_MAX. */
bool gs_number_int(const char *text, int64_t *out);
/* 512M, 4G, 1.5G, 300MiB, 5GB: suffixes are powers of 1024, "B" alone bytes; a fraction of a byte
 * is dropped; 0 .. below 9e18. */
bool gs_number_bytes(const char *text, int64_t *out);
/* As strtod in the C locale; finite. */
bool gs_number_double(const char *text, double *out);

#endif
