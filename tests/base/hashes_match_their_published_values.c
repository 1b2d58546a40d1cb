#include "../support.h"

#include <base/hash.h>
#include <base/mem.h>

static void nothing_has_the_known_hash(void **state) {
    (void)state;
    /* the values xxHash's own sanity checks give for empty input without a seed */
    char hex[33];
    gs_hasher *h = gs_hasher_create();
    gs_hasher_update(h, NULL, 0);
    gs_hasher_hex(h, hex);
    gs_hasher_destroy(h);
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
    assert_true(gs_hash64("", 0) == 0x2d06800538d394c2u);
}

static void pieces_hash_like_the_whole(void **state) {
    (void)state;
    enum { N = 100000 };
    uint8_t *data = gs_alloc(N);
    uint64_t seed = 3;
    for (int i = 0; i < N; i++) data[i] = (uint8_t)gs_test_rand(&seed);
    char whole[33], pieces[33], other[33];
    gs_hasher *a = gs_hasher_create(), *b = gs_hasher_create();
    gs_hasher_update(a, data, N);
    gs_hasher_hex(a, whole);
    for (size_t at = 0, n = 1; at < N; at += n, n = n * 3 % 1021 + 1)
        gs_hasher_update(b, data + at, n < N - at ? n : N - at);
    gs_hasher_hex(b, pieces);
    assert_string_equal(whole, pieces);
    gs_hasher_update(b, data, 1); /* reading the digest does not end the stream */
    gs_hasher_hex(b, other);
    assert_string_not_equal(other, pieces);
    gs_hasher_destroy(a);
    gs_hasher_destroy(b);
    gs_hasher_destroy(NULL);
    gs_free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_has_the_known_hash),
        cmocka_unit_test(pieces_hash_like_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
