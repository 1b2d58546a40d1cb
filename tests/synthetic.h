/* Machines that we do not have, described in hwloc's words: "numa:4(memory=64GB) core:48 pu:1". */
#ifndef GS_TESTS_SYNTHETIC_H
#define GS_TESTS_SYNTHETIC_H

#include <base/team.h>
#include <tests/support.h>

static inline gs_topology *gs_test_machine(const char *description) {
    gs_error err = {0};
    gs_topology *t;
    assert_int_equal(setenv("HWLOC_SYNTHETIC", description, 1), 0);
    gs_status status = gs_topology_create(&t, &err);
    unsetenv("HWLOC_SYNTHETIC");
    assert_ok(status, &err);
    return t;
}

/* A team on such a machine, and its end. */
typedef struct gs_test_site {
    gs_topology *topology;
    gs_team *team;
} gs_test_site;

static inline gs_test_site gs_test_site_open(const char *description, int workers) {
    gs_error err = {0};
    gs_test_site site = {.topology = gs_test_machine(description)};
    assert_ok(gs_team_create(site.topology, workers, &site.team, &err), &err);
    return site;
}

static inline void gs_test_site_close(gs_test_site *site) {
    gs_team_destroy(site->team);
    gs_topology_destroy(site->topology);
}

#endif
