#include <verify/codes.h>

#include <string.h>

enum { TOGETHER = 64 /* rows: 256 bytes of neighbouring words */ };

static bool across(const gs_codes *c) { return c->layout == GS_LAYOUT_GPTQ8 || c->layout == GS_LAYOUT_GPTQ4; }

int64_t gs_codes_best_rows(const gs_codes *c) { return across(c) ? TOGETHER : 1; }

/* llama.cpp stores the two rotary halves of a head interleaved: row (head, 2 j + half) is the model's (head, half hd/2 + j). */
int64_t gs_codes_stored_row(const gs_codes *c, int64_t row) {
    if (c->t->order != GS_ROWS_LLAMA_INTERLEAVED || c->t->order_heads < 1) return row;
    int64_t width = c->rows / c->t->order_heads, head = row / width, r = row % width;
    return head * width + (r < width / 2 ? 2 * r : 2 * (r - width / 2) + 1);
}

static int8_t signed4(unsigned nibble) { return (int8_t)((int)((nibble & 15) ^ 8) - 8); }
static int8_t biased4(unsigned nibble) { return (int8_t)((int)(nibble & 15) - 8); }

static void read_nibbles(const uint8_t *src, int64_t n, bool biased, int8_t *out) {
    for (int64_t i = 0; i < n / 2; i++) {
        out[2 * i] = biased ? biased4(src[i]) : signed4(src[i]);
        out[2 * i + 1] = biased ? biased4(src[i] >> 4) : signed4(src[i] >> 4);
    }
    if (n % 2) out[n - 1] = biased ? biased4(src[n / 2]) : signed4(src[n / 2]);
}

static void read_row(const gs_codes *c, int64_t row, int8_t *out) {
    const uint8_t *data = c->t->data;
    int64_t k = c->cols;
    switch (c->layout) {
    case GS_LAYOUT_BIASED8:
        data += row * ((k + 3) / 4 * 4);
        for (int64_t j = 0; j < k; j++) out[j] = (int8_t)(data[j] ^ 0x80);
        break;
    case GS_LAYOUT_BIASED4: read_nibbles(data + row * ((k + 7) / 8 * 4), k, true, out); break;
    case GS_LAYOUT_COLUMNS4: read_nibbles(data + row * ((k + 1) / 2), k, false, out); break;
    case GS_LAYOUT_ROWS4:
        data += row / 2 * k;
        for (int64_t j = 0; j < k; j++) out[j] = signed4(row % 2 ? data[j] >> 4 : data[j]);
        break;
    case GS_LAYOUT_Q8_0:
        data += row * (k / GS_Q8_0_CODES * GS_Q8_0_BYTES);
        for (int64_t j = 0; j < k; j += GS_Q8_0_CODES, data += GS_Q8_0_BYTES) memcpy(out + j, data + 2, GS_Q8_0_CODES);
        break;
    default: memcpy(out, data + row * k, (size_t)k);
    }
}

/* A word row at a time; its words for these rows are neighbours. */
static void read_across(const gs_codes *c, int64_t row0, int64_t n, int8_t *out) {
    bool wide = c->layout == GS_LAYOUT_GPTQ8;
    int64_t a_word = wide ? 4 : 8, words = c->cols / a_word;
    for (int64_t w = 0; w < words; w++) {
        const uint8_t *src = c->t->data + 4 * (w * c->rows + row0);
        for (int64_t i = 0; i < n; i++) {
            int8_t *to = out + i * c->cols + w * a_word;
            if (!wide) {
                read_nibbles(src + 4 * i, a_word, true, to);
                continue;
            }
            uint32_t word;
            memcpy(&word, src + 4 * i, 4);
            word ^= 0x80808080u;
            memcpy(to, &word, 4);
        }
    }
}

void gs_codes_read(const gs_codes *c, int64_t row0, int64_t n, int8_t *out) {
    if (across(c)) {
        read_across(c, row0, n, out);
        return;
    }
    for (int64_t i = 0; i < n; i++) read_row(c, gs_codes_stored_row(c, row0 + i), out + i * c->cols);
}
