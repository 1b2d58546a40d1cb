/* Zip archives: every form that torch.save and archivers write is read, everything that lies is refused. */
#include "../support.h"
#include "zip_builder.h"

#include <base/mem.h>
#include <loaders/zip_archive.h>

static const char hello[] = "hello hello hello hello hello hello hello hello";

/* On a heap block that is exactly as long, so that sanitizers see any overrun. */
static gs_status open_exact(const zip_builder *z, size_t length, uint8_t **copy, gs_zip **zip, gs_error *err) {
    *copy = malloc(length ? length : 1);
    assert_non_null(*copy);
    memcpy(*copy, z->data, length);
    return gs_zip_open(*copy, length, zip, err);
}

static void reads(const zip_builder *z, const char *name, const void *content, size_t n) {
    uint8_t *copy, *out;
    gs_zip *zip;
    gs_error err = {0};
    assert_ok(open_exact(z, z->len, &copy, &zip, &err), &err);
    assert_int_equal(gs_zip_count(zip), z->count);
    const gs_zip_member *m = gs_zip_find(zip, name);
    assert_non_null(m);
    assert_int_equal(m->size, n);
    assert_ok(gs_zip_read(m, 1 << 20, &out, &err), &err);
    assert_memory_equal(out, content, n);
    if (!m->deflated) assert_memory_equal(m->packed, content, n);
    gs_free(out);
    assert_null(gs_zip_find(zip, "nobody"));
    assert_null(gs_zip_at(zip, z->count));
    gs_zip_close(zip);
    free(copy);
}

static void every_form_is_read(void **state) {
    (void)state;
    for (int flags = 0; flags < 16; flags++) {
        for (int end = 0; end < 3; end++) {
            zip_builder z = {0};
            zip_add(&z, "a/one", hello, sizeof hello, flags);
            zip_add(&z, "a/none", "", 0, flags & ~ZIP_DEFLATED);
            zip_add(&z, "a/two", hello + 6, 5, flags);
            zip_end(&z, end > 0, end > 1);
            reads(&z, "a/one", hello, sizeof hello);
            reads(&z, "a/none", "", 0);
            reads(&z, "a/two", "hello", 5);
            zip_clear(&z);
        }
    }
}

static void an_empty_archive_and_a_comment_are_fine(void **state) {
    (void)state;
    zip_builder z = {0};
    uint8_t *copy;
    gs_zip *zip;
    gs_error err = {0};
    zip_end(&z, false, false);
    assert_ok(open_exact(&z, z.len, &copy, &zip, &err), &err);
    assert_int_equal(gs_zip_count(zip), 0);
    gs_zip_close(zip);
    free(copy);
    zip_clear(&z);
    zip_add(&z, "x", hello, 5, 0);
    zip_end(&z, true, false);
    zip_set(&z, z.end + 20, 7, 2);
    zip_bytes(&z, "comment", 7);
    reads(&z, "x", "hello", 5);
    zip_clear(&z);
    gs_zip_close(NULL);
}

static void large_members_come_in_pieces(void **state) {
    (void)state;
    size_t n = (3 << 20) + 77;
    uint8_t *content = malloc(n);
    uint64_t seed = 5;
    assert_non_null(content);
    for (size_t i = 0; i < n; i++) content[i] = (uint8_t)(gs_test_rand(&seed) % 7);
    for (int flags = 0; flags < 2; flags++) {
        zip_builder z = {0};
        uint8_t *copy, *out;
        gs_zip *zip;
        gs_error err = {0};
        zip_add(&z, "big", content, n, flags);
        zip_end(&z, false, false);
        assert_ok(open_exact(&z, z.len, &copy, &zip, &err), &err);
        assert_ok(gs_zip_read(gs_zip_at(zip, 0), n, &out, &err), &err);
        assert_memory_equal(out, content, n);
        gs_free(out);
        assert_fails(gs_zip_read(gs_zip_at(zip, 0), n - 1, &out, &err), GS_E_UNSUPPORTED, &err);
        gs_zip_close(zip);
        free(copy);
        zip_clear(&z);
    }
    free(content);
}

/* Three members in torch's own form, to be broken. */
static zip_builder sound(void) {
    zip_builder z = {0};
    zip_add(&z, "t/data.pkl", hello, sizeof hello, ZIP_FOLLOWS | ZIP_ALIGNED);
    zip_add(&z, "t/data/0", hello, sizeof hello, ZIP_DEFLATED);
    zip_add(&z, "t/data/1", hello, 9, ZIP_WIDE);
    zip_end(&z, true, false);
    return z;
}

static void refuses(zip_builder *z, size_t length, gs_status status, const char *words) {
    uint8_t *copy;
    gs_zip *zip;
    gs_error err = {0};
    assert_fails(open_exact(z, length, &copy, &zip, &err), status, &err);
    assert_null(zip);
    if (!strstr(err.text, words)) fail_msg("the error is '%s', it should say '%s'", err.text, words);
    free(copy);
    zip_clear(z);
}

/* One number changed where `at` says. */
#define LIE(place, bytes, value, status, words)                                \
    do {                                                                       \
        zip_builder z = sound();                                               \
        zip_set(&z, place, value, bytes);                                      \
        refuses(&z, z.len, status, words);                                     \
    } while (0)

static void lies_of_the_directory_are_refused(void **state) {
    (void)state;
    LIE(z.member[0].entry, 4, 0, GS_E_FORMAT, "no directory entry");
    LIE(z.member[0].entry + 8, 2, 0x809, GS_E_UNSUPPORTED, "encrypted");
    LIE(z.member[0].entry + 10, 2, 12, GS_E_UNSUPPORTED, "method 12");
    LIE(z.member[0].entry + 20, 4, 5, GS_E_FORMAT, "stored in 5 bytes");
    LIE(z.member[0].entry + 24, 4, 5, GS_E_FORMAT, "but 5 long");
    LIE(z.member[1].entry + 24, 4, 1 << 30, GS_E_FORMAT, "cannot be deflated");
    LIE(z.member[1].entry + 20, 4, 1 << 30, GS_E_FORMAT, "reach beyond");
    LIE(z.member[1].entry + 16, 4, 77, GS_E_FORMAT, "another method, size or CRC");
    LIE(z.member[0].entry + 28, 2, 60000, GS_E_FORMAT, "reaches beyond the directory");
    LIE(z.member[0].entry + 34, 2, 3, GS_E_UNSUPPORTED, "another part");
    LIE(z.member[0].entry + 42, 4, 1, GS_E_FORMAT, "no local header at byte 1");
    LIE(z.member[0].entry + 42, 4, 0xfffffff0, GS_E_FORMAT, "no local header");
    LIE(z.member[0].entry + 42, 4, UINT32_MAX, GS_E_FORMAT, "extra fields are cut off");
    LIE(z.member[0].entry + 46, 1, 'x', GS_E_FORMAT, "another name");
    LIE(z.member[0].entry + 46, 1, '\n', GS_E_FORMAT, "control characters");
    LIE(z.member[0].entry + 46, 1, 0xff, GS_E_FORMAT, "not UTF-8");
    LIE(z.member[0].entry + 28, 2, 0, GS_E_FORMAT, "member 0: its name is empty");
    LIE(z.member[2].entry + 46 + 8 + 2, 2, 25, GS_E_FORMAT, "extra fields are cut off");
    LIE(z.member[2].entry + 46 + 8 + 2, 2, 16, GS_E_FORMAT, "extra fields are cut off");
    LIE(z.member[2].entry + 46 + 8 + 4, 8, UINT64_MAX, GS_E_FORMAT, "stored in 9 bytes");
    LIE(z.member[2].entry + 46 + 8 + 20, 8, UINT64_MAX, GS_E_FORMAT, "no local header");
}

static void lies_of_local_headers_are_refused(void **state) {
    (void)state;
    LIE(z.member[1].local, 1, 'X', GS_E_FORMAT, "no local header");
    LIE(z.member[1].local + 6, 2, 1, GS_E_FORMAT, "another method, size or CRC");
    LIE(z.member[1].local + 8, 2, 0, GS_E_FORMAT, "another method, size or CRC");
    LIE(z.member[1].local + 14, 4, 1, GS_E_FORMAT, "another method, size or CRC");
    LIE(z.member[1].local + 18, 4, 1, GS_E_FORMAT, "another method, size or CRC");
    LIE(z.member[1].local + 22, 4, 1, GS_E_FORMAT, "another method, size or CRC");
    LIE(z.member[1].local + 22, 4, UINT32_MAX, GS_E_FORMAT, "extra fields are cut off");
    LIE(z.member[1].local + 26, 2, 3, GS_E_FORMAT, "another name");
    LIE(z.member[1].local + 28, 2, 60000, GS_E_FORMAT, "reach beyond");
    LIE(z.member[1].local + 30, 1, 'u', GS_E_FORMAT, "another name");
    LIE(z.member[2].local + 30 + 8 + 4, 8, 10, GS_E_FORMAT, "another method, size or CRC");
    LIE(z.member[0].local + 14, 4, 1, GS_E_FORMAT, "another method, size or CRC");
}

static void lies_of_the_end_are_refused(void **state) {
    (void)state;
    LIE(z.end, 1, 'X', GS_E_FORMAT, "without the end record");
    LIE(z.end + 20, 2, 1, GS_E_FORMAT, "without the end record");
    LIE(z.end + 4, 2, 1, GS_E_UNSUPPORTED, "several parts");
    LIE(z.end + 8, 2, 1, GS_E_UNSUPPORTED, "several parts");
    LIE(z.end + 12, 4, 1, GS_E_FORMAT, "disagree");
    LIE(z.end + 16, 4, 1, GS_E_FORMAT, "disagree");
    LIE(z.end64 + 56 + 8, 8, UINT64_MAX, GS_E_FORMAT, "not at byte");
    LIE(z.end64 + 56 + 8, 8, 0, GS_E_FORMAT, "not at byte 0");
    LIE(z.end64 + 56 + 16, 4, 2, GS_E_UNSUPPORTED, "several parts");
    LIE(z.end64 + 4, 8, 45, GS_E_FORMAT, "does not end at its locator");
    LIE(z.end64 + 16, 4, 1, GS_E_UNSUPPORTED, "several parts");
    LIE(z.end64 + 32, 8, UINT64_MAX, GS_E_UNSUPPORTED, "several parts");
    LIE(z.end64 + 40, 8, UINT64_MAX, GS_E_FORMAT, "disagree");
    zip_builder z = sound();
    zip_set(&z, z.end64 + 24, UINT64_MAX, 8);
    zip_set(&z, z.end64 + 32, UINT64_MAX, 8);
    zip_set(&z, z.end + 8, UINT32_MAX, 4);
    refuses(&z, z.len, GS_E_FORMAT, "members do not fit a directory");
    z = sound();
    zip_set(&z, z.end64 + 48, z.directory - 1, 8);
    zip_set(&z, z.end + 16, UINT32_MAX, 4);
    refuses(&z, z.len, GS_E_FORMAT, "do not end at byte");
    z = sound(); /* one entry fewer than there is room for */
    zip_set(&z, z.end64 + 24, 2, 8);
    zip_set(&z, z.end64 + 32, 2, 8);
    zip_set(&z, z.end + 8, 2, 2);
    zip_set(&z, z.end + 10, 2, 2);
    refuses(&z, z.len, GS_E_FORMAT, "belong to no member");
}

static void overlaps_and_doubles_are_refused(void **state) {
    (void)state;
    zip_builder z = {0};
    zip_add(&z, "a", hello, 40, 0);
    zip_add(&z, "b", hello, 5, 0);
    zip_end(&z, false, false);
    /* a reaches into b */
    for (size_t at = z.member[0].local + 18; at; at = at == z.member[0].local + 18 ? z.member[0].entry + 20 : 0) {
        zip_set(&z, at, 50, 4);
        zip_set(&z, at + 4, 50, 4);
    }
    refuses(&z, z.len, GS_E_FORMAT, "members 'a' and 'b' overlap");
    zip_add(&z, "a", hello, 5, 0);
    zip_add(&z, "a", hello, 5, 0);
    zip_end(&z, false, false);
    refuses(&z, z.len, GS_E_FORMAT, "two members have this name");
    zip_add(&z, "a", hello, 5, 0); /* two entries of one member */
    z.count = 2;
    z.member[1] = z.member[0];
    zip_end(&z, false, false);
    refuses(&z, z.len, GS_E_FORMAT, "two members have this name");
}

static void every_cut_is_refused(void **state) {
    (void)state;
    zip_builder z = sound();
    for (size_t n = 0; n < z.len; n++) {
        uint8_t *copy;
        gs_zip *zip;
        gs_error err = {0};
        assert_fails(open_exact(&z, n, &copy, &zip, &err), GS_E_FORMAT, &err);
        free(copy);
    }
    zip_clear(&z);
}

/* Headers are sound, the bytes behind them are not. */
static void content_fails(zip_builder *z, size_t i, const char *words) {
    uint8_t *copy, *out;
    gs_zip *zip;
    gs_error err = {0};
    assert_ok(open_exact(z, z->len, &copy, &zip, &err), &err);
    assert_fails(gs_zip_read(gs_zip_at(zip, i), 1 << 20, &out, &err), GS_E_FORMAT, &err);
    assert_null(out);
    if (!strstr(err.text, words)) fail_msg("the error is '%s', it should say '%s'", err.text, words);
    gs_zip_close(zip);
    free(copy);
    zip_clear(z);
}

static void set_size(zip_builder *z, size_t i, uint32_t size) {
    zip_set(z, z->member[i].local + 22, size, 4);
    zip_set(z, z->member[i].entry + 24, size, 4);
}

static void damaged_content_is_refused(void **state) {
    (void)state;
    zip_builder z = sound();
    z.data[z.member[0].data + 3] ^= 1;
    content_fails(&z, 0, "its bytes are damaged");
    z = sound();
    z.data[z.member[1].data] = 0xff;
    content_fails(&z, 1, "does not inflate");
    z = sound();
    set_size(&z, 1, sizeof hello - 1);
    content_fails(&z, 1, "inflates to more than the 47 bytes");
    z = sound();
    set_size(&z, 1, sizeof hello + 1);
    content_fails(&z, 1, "inflates to 48 bytes, it states 49");
    z = sound(); /* the stream ends before its bytes do */
    zip_set(&z, z.member[1].data, 3, 2);
    set_size(&z, 1, 0);
    content_fails(&z, 1, "bytes follow its end");
    zip_add(&z, "cut", hello, sizeof hello, ZIP_DEFLATED);
    z.member[0].packed -= 3; /* the directory and the local header say the same */
    zip_end(&z, false, false);
    zip_set(&z, z.member[0].local + 18, z.member[0].packed, 4);
    content_fails(&z, 0, "cut off");
}

static void want_of_memory_leaks_nothing(void **state) {
    (void)state;
    zip_builder z = sound();
    for (int64_t k = 0;; k++) {
        uint8_t *copy, *out = NULL;
        gs_zip *zip;
        gs_error err = {0};
        gs_mem_fail_after(k);
        gs_status status = open_exact(&z, z.len, &copy, &zip, &err);
        if (status == GS_OK) status = gs_zip_read(gs_zip_at(zip, 1), 100, &out, &err);
        gs_mem_fail_after(-1);
        gs_free(out);
        gs_zip_close(zip);
        free(copy);
        if (status == GS_OK) break;
        assert_int_equal(status, GS_E_NOMEM);
        assert_true(k < 100);
    }
    zip_clear(&z);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_read),
        cmocka_unit_test(an_empty_archive_and_a_comment_are_fine),
        cmocka_unit_test(large_members_come_in_pieces),
        cmocka_unit_test(lies_of_the_directory_are_refused),
        cmocka_unit_test(lies_of_local_headers_are_refused),
        cmocka_unit_test(lies_of_the_end_are_refused),
        cmocka_unit_test(overlaps_and_doubles_are_refused),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(damaged_content_is_refused),
        cmocka_unit_test(want_of_memory_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
