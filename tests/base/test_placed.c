/* Copies a node, made and read; on synthetic machines no page is bound, all else happens. */
#include "../synthetic.h"

#include <base/mem.h>
#include <base/placed.h>
#include <sys/mman.h>

#define TWO_NODES "numa:2(memory=100MB) core:2 pu:1"
enum { SHARE = 12500000, BYTES = (3 << 20) + 77 };

static void fill(unsigned char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) p[i] = (unsigned char)(i * 2654435761u >> 13);
}

static gs_placed *created(const gs_team *team, size_t bytes) {
    gs_error err = {0};
    gs_placed *p;
    assert_ok(gs_placed_create(team, bytes, &p, &err), &err);
    return p;
}

static void every_node_gets_the_same_copy(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 1 << 20, BYTES};
    gs_test_site site = gs_test_site_open("numa:3 core:2 pu:1", 6);
    for (size_t s = 0; s < GS_COUNTOF(sizes); s++) {
        assert_true(gs_placed_has_copies(site.team, sizes[s]));
        gs_placed *p = created(site.team, sizes[s]);
        assert_int_equal(gs_placed_copies(p), 3);
        assert_int_equal(gs_placed_bytes(p), 3 * sizes[s]);
        assert_int_equal(gs_placed_held(), sizes[s]);
        fill(gs_placed_write(p), sizes[s]);
        gs_placed_spread(p, site.team);
        for (int node = 1; node < 3; node++) {
            assert_memory_equal(gs_placed_read(p, node), gs_placed_write(p), sizes[s]);
            assert_ptr_not_equal(gs_placed_read(p, node), gs_placed_read(p, node - 1));
            assert_int_equal((uintptr_t)gs_placed_read(p, node) % 64, 0);
        }
        assert_ptr_equal(gs_placed_read(p, 0), gs_placed_write(p));
        assert_ptr_equal(gs_placed_read(p, 3), gs_placed_write(p));
        assert_ptr_equal(gs_placed_read(p, -1), gs_placed_write(p));
        gs_placed_destroy(p);
        assert_int_equal(gs_placed_held(), 0);
    }
    gs_test_site_close(&site);
}

static void one_node_has_plain_memory(void **state) {
    (void)state;
    gs_test_site site = gs_test_site_open(TWO_NODES, 2);
    gs_team *teams[] = {NULL, site.team};
    for (int i = 0; i < 2; i++) {
        assert_false(gs_placed_has_copies(teams[i], BYTES));
        gs_placed *p = created(teams[i], BYTES);
        assert_int_equal(gs_placed_copies(p), 1);
        assert_int_equal(gs_placed_held(), 0);
        fill(gs_placed_write(p), BYTES);
        gs_placed_spread(p, teams[i]);
        assert_ptr_equal(gs_placed_read(p, 1), gs_placed_write(p));
        gs_placed_destroy(p);
    }
    gs_test_site_close(&site);
    gs_placed_destroy(NULL);
}

/* Small weights one after another, until the share is used up; and again when some are gone. */
static void copies_together_keep_to_the_share(void **state) {
    (void)state;
    gs_test_site site = gs_test_site_open(TWO_NODES, 4);
    gs_placed *p[5];
    for (int i = 0; i < 5; i++) p[i] = created(site.team, BYTES);
    for (int i = 0; i < 5; i++) assert_int_equal(gs_placed_copies(p[i]), i < SHARE / BYTES ? 2 : 1);
    assert_int_equal(gs_placed_held(), SHARE / BYTES * BYTES);
    assert_false(gs_placed_has_copies(site.team, BYTES));
    gs_placed_destroy(p[4]);
    gs_placed_destroy(p[0]);
    assert_true(gs_placed_has_copies(site.team, BYTES));
    p[0] = created(site.team, BYTES);
    assert_int_equal(gs_placed_copies(p[0]), 2);
    for (int i = 0; i < 4; i++) gs_placed_destroy(p[i]);
    assert_int_equal(gs_placed_held(), 0);
    gs_test_site_close(&site);
}

static void too_little_memory_means_fewer_copies(void **state) {
    (void)state;
    gs_test_site site = gs_test_site_open("numa:3 core:1 pu:1", 3);
    for (int k = 0; k < 5; k++) {
        gs_error err = {0};
        gs_placed *p;
        gs_mem_fail_after(k); /* the handle, then one copy after another */
        gs_status status = gs_placed_create(site.team, BYTES, &p, &err);
        gs_mem_fail_after(-1);
        if (k < 2) {
            assert_int_equal(status, GS_E_NOMEM);
            assert_null(p);
        } else {
            assert_ok(status, &err);
            assert_int_equal(gs_placed_copies(p), k < 4 ? 1 : 3);
            fill(gs_placed_write(p), BYTES);
            gs_placed_spread(p, site.team);
        }
        assert_int_equal(gs_placed_held(), k < 4 ? 0 : BYTES);
        gs_placed_destroy(p);
        assert_int_equal(gs_placed_held(), 0);
    }
    gs_error err = {0};
    gs_placed *p;
    assert_fails(gs_placed_create(site.team, SIZE_MAX, &p, &err), GS_E_NOMEM, &err);
    assert_fails(gs_placed_create(NULL, SIZE_MAX, &p, &err), GS_E_NOMEM, &err);
    assert_null(p);
    gs_test_site_close(&site);
}

/* Whether the pages are bound cannot be seen on one node; that they stay usable can. */
static void pages_of_this_machine_can_be_bound(void **state) {
    (void)state;
    gs_error err = {0};
    gs_topology *t;
    assert_ok(gs_topology_create(&t, &err), &err);
    assert_true(gs_topology_node_memory(t, 0) > 0);
    assert_int_equal(gs_topology_node_memory(t, -1), 0);
    assert_int_equal(gs_topology_node_memory(t, gs_topology_nodes(t)), 0);
    unsigned char *p = gs_alloc_pages(BYTES);
    assert_non_null(p);
    gs_topology_bind_memory(t, p, BYTES, 0, 1);
    gs_topology_bind_memory(t, p, BYTES, 0, gs_topology_nodes(t));
    gs_topology_bind_memory(t, p, BYTES, 0, 1000); /* no such nodes: nothing happens */
    for (size_t i = 0; i < BYTES; i++) assert_int_equal(p[i], 0);
    fill(p, BYTES);
    gs_free_pages(p, BYTES);
    assert_int_equal(madvise(p, 4096, MADV_NORMAL), -1); /* gone */
    gs_free_pages(NULL, 1);
    gs_topology_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_node_gets_the_same_copy),
        cmocka_unit_test(one_node_has_plain_memory),
        cmocka_unit_test(copies_together_keep_to_the_share),
        cmocka_unit_test(too_little_memory_means_fewer_copies),
        cmocka_unit_test(pages_of_this_machine_can_be_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
