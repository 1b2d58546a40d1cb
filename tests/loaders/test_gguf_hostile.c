#include "gguf_builder.h"

/* Large: one for all, begun anew by every test. */
static gguf_builder b;

static gs_gguf *open_ok(void) {
    gs_gguf *g = NULL;
    gs_error err = {0};
    assert_ok(gguf_open_copy(b.data, b.len, &g, &err), &err);
    return g;
}

/* Refused with this status, and the message contains `word`. */
static void expect_refusal(gs_status status, const char *word) {
    gs_gguf *g = NULL;
    gs_error err = {0};
    assert_fails(gguf_open_copy(b.data, b.len, &g, &err), status, &err);
    if (!strstr(err.text, word)) fail_msg("'%s' does not mention '%s'", err.text, word);
}

static void other_versions_are_unsupported(void **state) {
    (void)state;
    gguf_begin(&b, 1);
    expect_refusal(GS_E_UNSUPPORTED, "version 1");
    gguf_begin(&b, 4);
    expect_refusal(GS_E_UNSUPPORTED, "version 4");
    gguf_begin(&b, 0x03000000);
    expect_refusal(GS_E_UNSUPPORTED, "big endian");
}

static void what_is_no_gguf_is_refused(void **state) {
    (void)state;
    gguf_begin(&b, 3);
    b.data[3] = 'f';
    expect_refusal(GS_E_FORMAT, "GGUF");
    b.len = 3;
    expect_refusal(GS_E_FORMAT, "GGUF");
    gs_gguf *g = NULL;
    gs_error err = {0};
    assert_fails(gs_gguf_open_memory(NULL, 0, &g, &err), GS_E_FORMAT, &err);
}

static void unknown_tensor_types_are_named(void **state) {
    (void)state;
    static const uint32_t ids[] = {4, 5, 9, 15, 16, 23, 29, 34, 39, 40, 0xffffffff};
    for (size_t i = 0; i < GS_COUNTOF(ids); i++) {
        gs_gguf *g = NULL;
        gs_error err = {0};
        char word[40];
        gguf_begin(&b, 3);
        gguf_tensor(&b, "blk.7.odd", 0, 256, ids[i], 2048);
        gguf_data(&b);
        snprintf(word, sizeof word, "tensor type %u ", (unsigned)ids[i]);
        expect_refusal(GS_E_UNSUPPORTED, word);
        expect_refusal(GS_E_UNSUPPORTED, "blk.7.odd");
        assert_int_not_equal(gguf_open_copy(b.data, b.len, &g, &err), GS_OK);
        assert_non_null(strstr(err.hint, "Q4_1"));
    }
}

/* Cut anywhere, the file is refused and nothing outside it is read. */
static void every_truncation_is_refused(void **state) {
    (void)state;
    gguf_everything(&b);
    size_t len = b.len - 16; /* the last tensor's end: what follows is padding */
    b.len = len;
    gs_gguf_close(open_ok());
    for (size_t cut = 0; cut < len; cut++) {
        gs_gguf *g = NULL;
        gs_error err = {0};
        assert_fails(gguf_open_copy(b.data, cut, &g, &err), GS_E_FORMAT, &err);
    }
}

static void a_second_key_or_tensor_of_the_same_name_is_refused(void **state) {
    (void)state;
    gguf_begin(&b, 3);
    gguf_kv_u32(&b, "same", 1);
    gguf_kv_u32(&b, "same", 1);
    gguf_data(&b);
    expect_refusal(GS_E_FORMAT, "'same' appears twice");
    gguf_begin(&b, 3);
    gguf_tensor_f32(&b, "t", 0, 1);
    gguf_tensor_f32(&b, "t", 0, 1);
    gguf_data(&b);
    expect_refusal(GS_E_FORMAT, "'t' appears twice");
}

static void names_must_be_text_of_a_sane_length(void **state) {
    (void)state;
    char *longest = malloc(65537);
    assert_non_null(longest);
    memset(longest, 'k', 65536);
    longest[65536] = 0;
    gguf_begin(&b, 3);
    gguf_kv_u32(&b, longest, 1);
    gguf_data(&b);
    expect_refusal(GS_E_FORMAT, "65536 bytes");
    longest[65535] = 0;
    gguf_begin(&b, 3);
    gguf_kv_u32(&b, longest, 1);
    gguf_data(&b);
    gs_gguf_close(open_ok());
    free(longest);
    gguf_begin(&b, 3);
    gguf_kv_u32(&b, "", 1);
    gguf_data(&b);
    expect_refusal(GS_E_FORMAT, "0 bytes");
    static const char *const bad[] = {"k\xff", "k\x1b[2J", "k\xc2\x9b"}; /* no UTF-8, and what a terminal obeys */
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        gguf_begin(&b, 3);
        gguf_kv_u32(&b, bad[i], 1);
        gguf_data(&b);
        expect_refusal(GS_E_FORMAT, "not text");
    }
    gguf_begin(&b, 3);
    gguf_int(&b, 2, 8);
    gguf_raw(&b, "k", 2); /* with its NUL */
    gguf_int(&b, GS_GGUF_U8, 4);
    gguf_int(&b, 0, 1);
    b.pairs++;
    gguf_data(&b);
    expect_refusal(GS_E_FORMAT, "not text");
}

static void a_long_name_does_not_hide_what_is_wrong(void **state) {
    (void)state;
    char name[3001];
    memset(name, 'n', 3000);
    name[3000] = 0;
    gguf_begin(&b, 3);
    gguf_tensor(&b, name, 0, 256, 29, 64);
    gguf_data(&b);
    expect_refusal(GS_E_UNSUPPORTED, "tensor type 29");
    gguf_begin(&b, 3);
    gguf_key(&b, name, 13);
    gguf_data(&b);
    expect_refusal(GS_E_FORMAT, "value type 13");
}

static void counts_beyond_the_limits_are_refused_at_once(void **state) {
    (void)state;
    static const uint64_t counts[] = {(1 << 20) + 1, UINT64_MAX};
    for (size_t i = 0; i < GS_COUNTOF(counts); i++) {
        gguf_begin(&b, 3);
        b.pairs = counts[i];
        gguf_finish(&b);
        expect_refusal(GS_E_FORMAT, "metadata keys");
        gguf_begin(&b, 3);
        b.tensors = counts[i];
        gguf_finish(&b);
        expect_refusal(GS_E_FORMAT, "tensors");
    }
}

static void lengths_beyond_the_file_are_refused(void **state) {
    (void)state;
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, 100};
    for (size_t i = 0; i < GS_COUNTOF(lengths); i++) {
        gguf_begin(&b, 3);
        gguf_int(&b, lengths[i], 8); /* of a key */
        b.pairs = 1;
        gguf_finish(&b);
        expect_refusal(GS_E_FORMAT, "metadata key");
        gguf_begin(&b, 3);
        gguf_key(&b, "k", GS_GGUF_STRING);
        gguf_int(&b, lengths[i], 8);
        gguf_finish(&b);
        expect_refusal(GS_E_FORMAT, "'k'");
        gguf_begin(&b, 3);
        gguf_kv_array(&b, "k", GS_GGUF_STRING, 1);
        gguf_int(&b, lengths[i], 8);
        gguf_finish(&b);
        expect_refusal(GS_E_FORMAT, "string of an array");
    }
}

static void array_counts_beyond_the_file_are_refused(void **state) {
    (void)state;
    static const uint64_t counts[] = {UINT64_MAX, UINT64_C(1) << 61, UINT64_C(1) << 62, 9};
    static const uint32_t elements[] = {GS_GGUF_U8, GS_GGUF_F32, GS_GGUF_F64, GS_GGUF_STRING};
    for (size_t i = 0; i < GS_COUNTOF(counts); i++)
        for (size_t k = 0; k < GS_COUNTOF(elements); k++) {
            gguf_begin(&b, 3);
            gguf_kv_array(&b, "k", elements[k], counts[i]);
            gguf_int(&b, 0, 8);
            gguf_finish(&b);
            expect_refusal(GS_E_FORMAT, "cannot fit");
        }
}

static void values_that_do_not_exist_are_refused(void **state) {
    (void)state;
    gguf_begin(&b, 3);
    gguf_kv_array(&b, "nested", GS_GGUF_ARRAY, 0);
    gguf_finish(&b);
    expect_refusal(GS_E_FORMAT, "array of arrays");
    gguf_begin(&b, 3);
    gguf_kv_array(&b, "k", 13, 0);
    gguf_finish(&b);
    expect_refusal(GS_E_FORMAT, "value type 13");
    gguf_begin(&b, 3);
    gguf_key(&b, "k", 0xffffffff);
    gguf_finish(&b);
    expect_refusal(GS_E_FORMAT, "value type 4294967295");
    gguf_begin(&b, 3);
    gguf_kv_int(&b, "k", GS_GGUF_BOOL, 2, 1);
    gguf_finish(&b);
    expect_refusal(GS_E_FORMAT, "not 0 or 1");
    gguf_begin(&b, 3);
    gguf_kv_array(&b, "k", GS_GGUF_BOOL, 2);
    gguf_int(&b, 0xff01, 2);
    gguf_finish(&b);
    expect_refusal(GS_E_FORMAT, "not 0 or 1");
}

static void the_alignment_is_a_power_of_two(void **state) {
    (void)state;
    static const uint32_t bad[] = {0, 3, 24, 0xffffffff};
    for (size_t i = 0; i < GS_COUNTOF(bad); i++) {
        gguf_begin(&b, 3);
        gguf_kv_u32(&b, "general.alignment", bad[i]);
        gguf_finish(&b);
        expect_refusal(GS_E_FORMAT, "power of two");
    }
    gguf_begin(&b, 3);
    gguf_kv_int(&b, "general.alignment", GS_GGUF_U64, 32, 8);
    gguf_finish(&b);
    expect_refusal(GS_E_FORMAT, "u32");
    gguf_begin(&b, 3);
    gguf_kv_u32(&b, "general.alignment", 0x80000000u);
    gguf_tensor_f32(&b, "t", 0, 1);
    gguf_data(&b);
    expect_refusal(GS_E_FORMAT, "before its tensors");
}

static void impossible_shapes_are_refused(void **state) {
    (void)state;
    static const uint64_t zero[4] = {4, 0, 1, 1}, ones[5] = {1, 1, 1, 1, 1};
    static const uint64_t huge[4] = {UINT64_MAX, 1, 1, 1};
    static const uint64_t product[4] = {UINT64_C(1) << 32, UINT64_C(1) << 31, 1, 1};
    static const uint64_t wraps[4] = {UINT64_C(1) << 32, UINT64_C(1) << 32, 1, 1};
    static const uint64_t bytes[4] = {UINT64_C(1) << 61, 1, 1, 1}; /* of f64: 2^64 */
    static const struct {
        uint32_t ndim;
        const uint64_t *dims;
        const char *word;
    } rows[] = {
        {0, ones, "0 dimensions"}, {5, ones, "5 dimensions"}, {0xffffffff, ones, "dimensions"},
        {2, zero, "dimension"},    {1, huge, "dimension"},    {2, product, "dimension"},
        {2, wraps, "dimension"},   {1, bytes, "overflow"},
    };
    for (size_t i = 0; i < GS_COUNTOF(rows); i++) {
        gguf_begin(&b, 3);
        /* at most five dimensions are written, whatever the count says */
        uint32_t ndim = rows[i].ndim;
        size_t at = b.len + 8 + 1;
        gguf_tensor_at(&b, "t", ndim > 5 ? 5 : ndim, rows[i].dims, 28, 0);
        for (int k = 0; k < 4; k++) b.data[at + (size_t)k] = (uint8_t)(ndim >> (8 * k));
        gguf_data(&b);
        expect_refusal(GS_E_FORMAT, rows[i].word);
        expect_refusal(GS_E_FORMAT, "'t'");
    }
}

static void rows_of_block_types_are_whole_blocks(void **state) {
    (void)state;
    gguf_begin(&b, 3);
    gguf_tensor(&b, "t", 2, 48, 8, 256); /* 96 elements are whole blocks, 48 are not */
    gguf_data(&b);
    expect_refusal(GS_E_FORMAT, "whole Q8_0 blocks");
    gguf_begin(&b, 3);
    gguf_tensor(&b, "t", 2, 128, 12, 256);
    gguf_data(&b);
    expect_refusal(GS_E_FORMAT, "whole Q4_K blocks");
}

static void tensors_lie_inside_the_data_section(void **state) {
    (void)state;
    static const uint64_t dims[1] = {8};
    static const uint64_t offsets[] = {64, 32, UINT64_MAX - 31, UINT64_C(1) << 63};
    for (size_t i = 0; i < GS_COUNTOF(offsets); i++) {
        gguf_begin(&b, 3);
        gguf_tensor_at(&b, "t", 1, dims, 0, offsets[i]);
        b.next_offset = 63; /* one byte short for the second */
        gguf_data(&b);
        expect_refusal(GS_E_FORMAT, "'t'");
        expect_refusal(GS_E_FORMAT, "data section");
    }
    gguf_begin(&b, 3);
    gguf_tensor_at(&b, "t", 1, dims, 0, 32);
    b.next_offset = 64;
    gguf_data(&b);
    gs_gguf_close(open_ok());
}

static void offsets_are_aligned(void **state) {
    (void)state;
    static const uint64_t dims[1] = {1};
    gguf_begin(&b, 3);
    gguf_tensor_at(&b, "t", 1, dims, 0, 16);
    b.next_offset = 64;
    gguf_data(&b);
    expect_refusal(GS_E_FORMAT, "multiple of 32");
}

static void tensors_do_not_share_bytes(void **state) {
    (void)state;
    static const uint64_t dims[1] = {9};
    static const uint64_t second[] = {64, 96, 32}; /* 36 bytes from 64 on are the first's */
    for (size_t i = 0; i < GS_COUNTOF(second); i++) {
        gguf_begin(&b, 3);
        gguf_tensor_at(&b, "first", 1, dims, 0, 64);
        gguf_tensor_at(&b, "second", 1, dims, 0, second[i]);
        b.next_offset = 256;
        gguf_data(&b);
        expect_refusal(GS_E_FORMAT, "overlap");
    }
    gguf_begin(&b, 3);
    gguf_tensor_at(&b, "first", 1, dims, 0, 64);
    gguf_tensor_at(&b, "second", 1, dims, 0, 0); /* any order, holes allowed */
    gguf_tensor_at(&b, "third", 1, dims, 0, 192);
    b.next_offset = 256;
    gguf_data(&b);
    gs_gguf_close(open_ok());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_versions_are_unsupported),
        cmocka_unit_test(what_is_no_gguf_is_refused),
        cmocka_unit_test(unknown_tensor_types_are_named),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(a_second_key_or_tensor_of_the_same_name_is_refused),
        cmocka_unit_test(names_must_be_text_of_a_sane_length),
        cmocka_unit_test(a_long_name_does_not_hide_what_is_wrong),
        cmocka_unit_test(counts_beyond_the_limits_are_refused_at_once),
        cmocka_unit_test(lengths_beyond_the_file_are_refused),
        cmocka_unit_test(array_counts_beyond_the_file_are_refused),
        cmocka_unit_test(values_that_do_not_exist_are_refused),
        cmocka_unit_test(the_alignment_is_a_power_of_two),
        cmocka_unit_test(impossible_shapes_are_refused),
        cmocka_unit_test(rows_of_block_types_are_whole_blocks),
        cmocka_unit_test(tensors_lie_inside_the_data_section),
        cmocka_unit_test(offsets_are_aligned),
        cmocka_unit_test(tensors_do_not_share_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
