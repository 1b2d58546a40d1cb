/* Codes put into the layouts that formats store them in, one at a time, straight from loaders/tensor.h. */
#ifndef GS_TESTS_CODES_H
#define GS_TESTS_CODES_H

#include <loaders/tensor.h>

/* Code (r, c) of [n, k] into zeroed bytes. */
static inline void gs_test_put_code(gs_code_layout layout, int64_t n, int64_t k, uint8_t *bytes, int64_t r, int64_t c,
                                    int8_t code) {
    switch (layout) {
    case GS_CODES_PLAIN: bytes[r * k + c] = (uint8_t)code; break;
    case GS_CODES_BIASED: bytes[r * k + c] = (uint8_t)(code + 128); break;
    case GS_CODES_GPTQ8: bytes[(c / 4 * n + r) * 4 + c % 4] = (uint8_t)(code + 128); break;
    case GS_CODES_INT4_COLUMNS: bytes[r * (k / 2) + c / 2] |= (uint8_t)((code & 15) << 4 * (c % 2)); break;
    case GS_CODES_INT4_ROWS: bytes[r / 2 * k + c] |= (uint8_t)((code & 15) << 4 * (r % 2)); break;
    case GS_CODES_Q8_0: bytes[r * (k / 32 * 34) + c / 32 * 34 + 2 + c % 32] = (uint8_t)code; break;
    }
}

static inline bool gs_test_is_int4(gs_code_layout layout) {
    return layout == GS_CODES_INT4_COLUMNS || layout == GS_CODES_INT4_ROWS;
}

#endif
