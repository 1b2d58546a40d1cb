/* Any bytes as a MindSpore checkpoint. What is accepted must keep the reader's promises, and must come out of the writer
 * as a file that reads back the same. */
#include <loaders/mindspore_ckpt.h>

#include <base/mem.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

static void require(bool promise) {
    if (!promise) abort();
}

static void read_tensor(const gs_mindspore_ckpt *c, const gs_tensor *t) {
    uint64_t bytes;
    int64_t rows, cols;
    require(t->ndim >= 0 && t->ndim <= GS_MAX_DIMS);
    require(gs_dtype_bytes(t->dtype, (uint64_t)gs_tensor_count(t), &bytes) && bytes == t->bytes);
    require(gs_mindspore_ckpt_find(c, t->name) == t);
    for (uint64_t i = 0; i < t->bytes; i++) sink ^= t->data[i];
    gs_tensor_matrix(t, &rows, &cols);
    if (rows < 1 || cols < 1 || rows > (1 << 16) / cols) return;
    float *values = gs_alloc((size_t)(rows * cols) * sizeof *values);
    require(values != NULL);
    gs_status status = gs_tensor_read_f32(t, 0, rows, values, NULL);
    require(status == GS_OK || status == GS_E_UNSUPPORTED);
    gs_free(values);
}

/* Everything that can be read can be planned, and is no longer than it was (pieces become one entry, numbers short). */
static void plan_again(const gs_mindspore_ckpt *c, size_t size) {
    gs_mindspore_ckpt_writer *w;
    require(gs_mindspore_ckpt_writer_create(&w, NULL) == GS_OK);
    for (size_t i = 0; i < gs_mindspore_ckpt_count(c); i++) {
        const gs_tensor *t = gs_mindspore_ckpt_at(c, i);
        require(gs_mindspore_ckpt_writer_plan(w, t->name, t->dtype, t->ndim, t->shape, NULL) == GS_OK);
    }
    /* an empty field of data may have been left out: two bytes, and two longer lengths */
    require(gs_mindspore_ckpt_writer_bytes(w) <= size + 4 * gs_mindspore_ckpt_count(c));
    gs_mindspore_ckpt_writer_abort(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gs_mindspore_ckpt *c;
    gs_error err = {0};
    gs_status status = gs_mindspore_ckpt_open_memory(data, size, &c, &err);
    require((status == GS_OK) == (c != NULL));
    require(status == GS_OK || err.text[0] != 0);
    if (status != GS_OK) return 0;
    for (size_t i = 0; i < gs_mindspore_ckpt_count(c); i++) read_tensor(c, gs_mindspore_ckpt_at(c, i));
    plan_again(c, size);
    gs_mindspore_ckpt_close(c);
    return 0;
}
