#include "../synthetic.h"

#include <base/mem.h>
#include <base/team.h>
#include <base/topology.h>
#include <sched.h>

/* Cores fill one node before the next, each node with the same number. */
static void expect(const char *description, int nodes, int cores, const char *line) {
    gs_topology *t = gs_test_machine(description);
    gs_strbuf text = {0};
    assert_int_equal(gs_topology_nodes(t), nodes);
    assert_int_equal(gs_topology_cores(t), cores);
    assert_false(gs_topology_is_this_machine(t));
    for (int i = 0; i < cores; i++)
        assert_int_equal(gs_topology_core_node(t, i), i / (cores / nodes));
    assert_int_equal(gs_topology_core_node(t, -1), 0);
    assert_int_equal(gs_topology_core_node(t, cores), 0);
    gs_topology_describe(t, &text);
    assert_string_equal(gs_strbuf_text(&text), line);
    gs_strbuf_clear(&text);
    gs_topology_destroy(t);
}

static void synthetic_machines_are_planned_for(void **state) {
    (void)state;
    expect("node:2 core:64 pu:2", 2, 128,
           "128 cores (256 hardware threads) on 2 NUMA nodes, synthetic");
    expect("node:4 core:48 pu:1", 4, 192,
           "192 cores (192 hardware threads) on 4 NUMA nodes, synthetic");
    expect("core:2 pu:1", 1, 2, "2 cores (2 hardware threads) on 1 NUMA node, synthetic");
    expect("pu:1", 1, 1, "1 core (1 hardware thread) on 1 NUMA node, synthetic");
}

static void interleaved_numbering_does_not_mix_the_nodes(void **state) {
    (void)state;
    /* operating system numbers alternate between the packages */
    expect("package:2 [numa] core:4 pu:2(indexes=2*8:1*2:4*4)", 2, 8,
           "8 cores (16 hardware threads) on 2 NUMA nodes, synthetic");
}

static void a_synthetic_machine_binds_nobody(void **state) {
    (void)state;
    gs_topology *t = gs_test_machine("node:2 core:1 pu:1");
    gs_error err = {0};
    gs_team *team;
    cpu_set_t before, after;
    sched_getaffinity(0, sizeof before, &before);
    gs_topology_bind_core(t, 0);
    assert_ok(gs_team_create(t, 0, &team, &err), &err);
    assert_int_equal(gs_team_size(team), 2);
    sched_getaffinity(0, sizeof after, &after);
    assert_true(CPU_EQUAL(&before, &after));
    gs_team_destroy(team);
    gs_topology_unbind(t);
    gs_topology_destroy(t);
}

static void this_machine_counts_only_what_the_thread_may_use(void **state) {
    (void)state;
    gs_error err = {0};
    gs_topology *t;
    cpu_set_t before, one, after;
    CPU_ZERO(&one);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_ok(gs_topology_create(&t, &err), &err);
    assert_true(gs_topology_is_this_machine(t));
    assert_in_range(gs_topology_cores(t), 1, CPU_COUNT(&before));
    assert_in_range(gs_topology_nodes(t), 1, gs_topology_cores(t));
    gs_topology_bind_core(t, gs_topology_cores(t) - 1);
    sched_getaffinity(0, sizeof one, &one);
    assert_int_equal(CPU_COUNT(&one), 1);
    gs_topology *narrow;
    gs_status status = gs_topology_create(&narrow, &err);
    gs_topology_unbind(t);
    sched_getaffinity(0, sizeof after, &after);
    assert_true(CPU_EQUAL(&before, &after));
    assert_ok(status, &err);
    assert_int_equal(gs_topology_cores(narrow), 1);
    assert_int_equal(gs_topology_nodes(narrow), 1);
    gs_topology_bind_core(t, 1000); /* no such core: nothing happens */
    gs_topology_destroy(narrow);
    gs_topology_destroy(t);
    gs_topology_destroy(NULL);
}

static void running_out_of_memory_is_reported(void **state) {
    (void)state;
    gs_error err = {0};
    gs_topology *t;
    for (int k = 0; k < 3; k++) {
        gs_mem_fail_after(k);
        gs_status status = gs_topology_create(&t, &err);
        gs_mem_fail_after(-1);
        assert_int_equal(status, GS_E_NOMEM);
        assert_null(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synthetic_machines_are_planned_for),
        cmocka_unit_test(interleaved_numbering_does_not_mix_the_nodes),
        cmocka_unit_test(a_synthetic_machine_binds_nobody),
        cmocka_unit_test(this_machine_counts_only_what_the_thread_may_use),
        cmocka_unit_test(running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
