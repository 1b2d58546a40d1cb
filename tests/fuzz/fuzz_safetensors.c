/* Any bytes as a safetensors file, twice: as they are, and (so that the fuzzer need not keep
 * a length right) as a header followed by a data section of four times the last byte. What
 * is accepted must keep the reader's promises. */
#include <loaders/safetensors.h>

#include <base/mem.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

static void require(bool promise) {
    if (!promise) abort();
}

static void read_tensor(const gs_tensor *t) {
    int64_t rows, cols;
    char text[64];
    gs_tensor_matrix(t, &rows, &cols);
    gs_tensor_shape_text(t, text, sizeof text);
    for (uint64_t i = 0; i < t->bytes; i++) sink ^= t->data[i];
    if (rows < 1 || cols < 1 || rows > (1 << 16) / cols) return;
    float *values = gs_alloc((size_t)(rows * cols) * sizeof *values);
    uint16_t *halves = gs_alloc((size_t)(rows * cols) * sizeof *halves);
    require(values && halves);
    gs_status status = gs_tensor_read_f32(t, 0, rows, values, NULL);
    require(gs_tensor_read_16(t, GS_BF16, 0, rows, halves, NULL) == status);
    require(status == GS_OK || status == GS_E_UNSUPPORTED);
    gs_free(values);
    gs_free(halves);
}

static void check_file(const gs_safetensors *st, const uint8_t *end) {
    const uint8_t *at = NULL;
    for (size_t i = 0; i < gs_safetensors_count(st); i++) {
        const gs_tensor *t = gs_safetensors_at(st, i);
        uint64_t bytes;
        require(gs_safetensors_find(st, t->name) == t);
        require(gs_dtype_bytes(t->dtype, (uint64_t)gs_tensor_count(t), &bytes) && bytes == t->bytes);
        require(!at || t->data == at);
        at = t->data + t->bytes;
        read_tensor(t);
    }
    require(!at || at == end);
    (void)gs_safetensors_metadata(st, "format");
}

static void open_and_check(const uint8_t *data, size_t size) {
    gs_safetensors *st = NULL;
    gs_error err = {0};
    if (gs_safetensors_open_memory(data, size, &st, &err) == GS_OK) {
        check_file(st, data + size);
        gs_safetensors_close(st);
    } else {
        require(!st && err.text[0] && !strchr(err.text, '\n'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_and_check(data, size);
    if (size == 0) return 0;
    size_t header = size - 1, section = 4 * (size_t)data[header];
    uint8_t *file = malloc(8 + header + section);
    require(file != NULL);
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)header >> 8 * i);
    memcpy(file + 8, data, header);
    memset(file + 8 + header, 0x3c, section);
    open_and_check(file, 8 + header + section);
    free(file);
    return 0;
}
