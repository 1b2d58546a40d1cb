/* Little-endian numbers in the bytes of a file, at any alignment. The caller has checked that they are there. */
#ifndef GS_BASE_LITTLE_H
#define GS_BASE_LITTLE_H

#include <stdint.h>

static inline uint16_t gs_le16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t gs_le32(const uint8_t *p) { return gs_le16(p) | (uint32_t)gs_le16(p + 2) << 16; }
static inline uint64_t gs_le64(const uint8_t *p) { return gs_le32(p) | (uint64_t)gs_le32(p + 4) << 32; }

#endif
