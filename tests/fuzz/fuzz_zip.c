/* Any bytes as a zip archive. What is accepted must lie inside the bytes, and comes out whole or not at all. */
#include <loaders/zip_archive.h>

#include <base/mem.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 1 << 20 };

static volatile uint8_t sink;

static void require(bool promise) {
    if (!promise) abort();
}

static void check_member(const gs_zip *zip, const gs_zip_member *m, const uint8_t *data, size_t size) {
    uint8_t *content;
    gs_error err = {0};
    require(gs_zip_find(zip, m->name) == m && m->name[0]);
    require(m->packed >= data && m->packed <= data + size && m->packed_size <= (size_t)(data + size - m->packed));
    require(m->deflated ? m->size / 1032 <= m->packed_size : m->size == m->packed_size);
    for (uint64_t i = 0; i < m->packed_size; i++) sink ^= m->packed[i];
    if (gs_zip_read(m, MOST, &content, &err) == GS_OK) {
        for (uint64_t i = 0; i < m->size; i++) sink ^= content[i];
        gs_free(content);
    } else {
        require(!content && err.text[0] && !strchr(err.text, '\n'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gs_zip *zip;
    gs_error err = {0};
    if (gs_zip_open(data, size, &zip, &err) != GS_OK) {
        require(!zip && err.text[0] && !strchr(err.text, '\n'));
        return 0;
    }
    uint64_t packed = 0;
    for (size_t i = 0; i < gs_zip_count(zip); i++) {
        check_member(zip, gs_zip_at(zip, i), data, size);
        packed += gs_zip_at(zip, i)->packed_size;
    }
    require(packed <= size); /* none overlap */
    gs_zip_close(zip);
    return 0;
}
