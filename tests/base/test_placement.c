/* Plans for machines that we do not have: no memory is placed and no thread is started here. */
#include "../synthetic.h"

#include <base/placement.h>

#define X86 "numa:2(memory=256GB) core:64 pu:2"
#define KUNPENG "numa:4(memory=64GB) core:48 pu:1"
static const uint64_t GB = 1000000000;

static gs_placement plan(const char *machine, int workers) {
    gs_placement p;
    gs_topology *t = gs_test_machine(machine);
    gs_placement_plan(t, workers, &p);
    gs_topology_destroy(t);
    return p;
}

static void expect_line(const char *machine, int workers, const char *line) {
    gs_placement p = plan(machine, workers);
    gs_strbuf text = {0};
    gs_placement_describe(&p, &text);
    assert_string_equal(gs_strbuf_text(&text), line);
    gs_strbuf_clear(&text);
}

/* first: nodes + 1 numbers */
static void expect_workers(const char *machine, int workers, int nodes, const int *first) {
    gs_placement p = plan(machine, workers);
    assert_int_equal(p.workers, workers);
    assert_int_equal(p.nodes, nodes);
    for (int d = 0; d <= nodes; d++) assert_int_equal(p.first[d], first[d]);
    for (int d = 0; d < nodes; d++) {
        assert_int_equal(gs_placement_node(&p, first[d]), d);
        assert_int_equal(gs_placement_node(&p, first[d + 1] - 1), d);
    }
    assert_int_equal(gs_placement_node(&p, workers), 0);
    assert_int_equal(gs_placement_node(&p, -1), 0);
}

static void workers_fill_one_node_before_the_next(void **state) {
    (void)state;
    expect_workers("numa:1 core:2 pu:1", 2, 1, (int[]){0, 2});
    expect_workers(X86, 128, 2, (int[]){0, 64, 128});
    expect_workers(X86, 64, 1, (int[]){0, 64});
    expect_workers(X86, 50, 1, (int[]){0, 50});
    expect_workers(X86, 65, 2, (int[]){0, 64, 65});
    expect_workers(X86, 100, 2, (int[]){0, 64, 100});
    expect_workers(KUNPENG, 192, 4, (int[]){0, 48, 96, 144, 192});
    expect_workers(KUNPENG, 1, 1, (int[]){0, 1});
    expect_workers(KUNPENG, 49, 2, (int[]){0, 48, 49});
    expect_workers(KUNPENG, 150, 4, (int[]){0, 48, 96, 144, 150});
}

static void a_team_that_is_not_bound_has_one_node(void **state) {
    (void)state;
    expect_workers(X86, 129, 1, (int[]){0, 129}); /* threads of a core are not cores */
    expect_workers(KUNPENG, 193, 1, (int[]){0, 193});
    expect_workers("numa:65 core:1 pu:1", 65, 1, (int[]){0, 65});
    gs_placement p;
    gs_placement_plan(NULL, 3, &p);
    assert_int_equal(p.nodes, 1);
    assert_int_equal(p.first[1], 3);
    gs_placement_plan(NULL, 0, &p);
    assert_int_equal(p.workers, 1);
    assert_int_equal(p.first[1], 1);
}

static void rows_are_split_in_proportion_to_workers(void **state) {
    (void)state;
    static const int64_t ns[] = {0, 1, 3, 4, 191, 192, 1000003, INT64_MAX};
    static const int teams[] = {192, 150, 49, 48, 1};
    for (size_t t = 0; t < GS_COUNTOF(teams); t++) {
        gs_placement p = plan(KUNPENG, teams[t]);
        for (size_t i = 0; i < GS_COUNTOF(ns); i++) {
            assert_int_equal(gs_placement_begin(&p, ns[i], 0), 0);
            assert_int_equal(gs_placement_begin(&p, ns[i], p.nodes), ns[i]);
            for (int d = 0; d < p.nodes; d++) {
                int64_t begin = gs_placement_begin(&p, ns[i], d),
                        got = gs_placement_begin(&p, ns[i], d + 1) - begin;
                int workers = p.first[d + 1] - p.first[d];
                assert_true(got >= 0);
                /* n * workers / p.workers, give or take one */
                assert_true(llabs(got - ns[i] / p.workers * workers - ns[i] % p.workers * workers / p.workers) <= 1);
            }
        }
    }
    gs_placement uneven = plan(X86, 96);
    assert_int_equal(gs_placement_begin(&uneven, 300, 1), 200);
}

static void weights_are_copied_while_they_fit(void **state) {
    (void)state;
    gs_placement p = plan(KUNPENG, 192);
    uint64_t share = 64 * GB / GS_PLACEMENT_SHARE;
    assert_in_range(p.copy_bytes, share - 4096, share); /* hwloc counts whole pages */
    share = p.copy_bytes;
    assert_int_equal(gs_placement_weight(&p, 1, 0), GS_WEIGHT_COPIES);
    assert_int_equal(gs_placement_weight(&p, share, 0), GS_WEIGHT_COPIES);
    assert_int_equal(gs_placement_weight(&p, share + 1, 0), GS_WEIGHT_INTERLEAVED);
    assert_int_equal(gs_placement_weight(&p, share / 2, share - share / 2), GS_WEIGHT_COPIES);
    assert_int_equal(gs_placement_weight(&p, share / 2 + 1, share - share / 2), GS_WEIGHT_INTERLEAVED);
    assert_int_equal(gs_placement_weight(&p, 1, UINT64_MAX), GS_WEIGHT_INTERLEAVED);
    assert_int_equal(gs_placement_weight(&p, UINT64_MAX, 1), GS_WEIGHT_INTERLEAVED);
    p = plan(KUNPENG, 48);
    assert_int_equal(gs_placement_weight(&p, UINT64_MAX, 0), GS_WEIGHT_PLAIN);
    p = plan("numa:1 core:2 pu:1", 2);
    assert_int_equal(gs_placement_weight(&p, 1, 0), GS_WEIGHT_PLAIN);
    p = plan("numa:2(memory=1MB) core:2 pu:1", 4);
    assert_int_equal(gs_placement_weight(&p, 120000, 0), GS_WEIGHT_COPIES);
    assert_int_equal(gs_placement_weight(&p, 130000, 0), GS_WEIGHT_INTERLEAVED);
}

static void the_plan_is_one_line(void **state) {
    (void)state;
    expect_line("numa:1 core:2 pu:1", 2, "1 node x 2 workers: memory is not placed");
    expect_line(KUNPENG, 1, "1 node x 1 worker: memory is not placed");
    expect_line(X86, 128, "2 nodes x 64 workers: rows split by node, packed weights replicated (2 copies, "
                          "while they fit 29.8 GiB a node), scratch local");
    expect_line(KUNPENG, 192, "4 nodes x 48 workers: rows split by node, packed weights replicated (4 copies, "
                              "while they fit 7.5 GiB a node), scratch local");
    expect_line(KUNPENG, 100, "3 nodes of 48 + 48 + 4 workers: rows split by node, packed weights replicated "
                              "(3 copies, while they fit 7.5 GiB a node), scratch local");
    expect_line("numa:2(memory=1) core:1 pu:1", 2,
                "2 nodes x 1 worker: rows split by node, packed weights interleaved, scratch local");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_fill_one_node_before_the_next),
        cmocka_unit_test(a_team_that_is_not_bound_has_one_node),
        cmocka_unit_test(rows_are_split_in_proportion_to_workers),
        cmocka_unit_test(weights_are_copied_while_they_fit),
        cmocka_unit_test(the_plan_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
