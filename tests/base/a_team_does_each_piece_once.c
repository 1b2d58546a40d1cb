#include "../synthetic.h"

#include <base/context.h>
#include <base/mem.h>
#include <base/team.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

enum { MOST = 10007 };
static const int sizes[] = {1, 2, 3, 8};

typedef struct job {
    gs_team *team;
    int64_t n, grain;
    int size;
    atomic_int touched[MOST];
    atomic_int wrong, calls;
    atomic_int by_worker[64];
} job;

static void touch(void *ctx, int64_t begin, int64_t end, int worker) {
    job *j = ctx;
    if (begin % j->grain != 0 || (end - begin != j->grain && end != j->n) || end <= begin
        || worker < 0 || worker >= j->size)
        atomic_fetch_add(&j->wrong, 1);
    for (int64_t i = begin; i < end; i++) atomic_fetch_add(&j->touched[i], 1);
    atomic_fetch_add(&j->calls, 1);
}

static void each_index_is_covered_exactly_once(void **state) {
    (void)state;
    static const int64_t ns[] = {0, 1, 2, 7, 100, MOST}, grains[] = {1, 3, 64, 20000};
    gs_error err = {0};
    job *j = gs_calloc(1, sizeof *j);
    for (size_t s = 0; s < GS_COUNTOF(sizes); s++) {
        assert_ok(gs_team_create(NULL, sizes[s], &j->team, &err), &err);
        assert_int_equal(gs_team_size(j->team), sizes[s]);
        j->size = sizes[s];
        for (size_t a = 0; a < GS_COUNTOF(ns); a++) {
            for (size_t b = 0; b < GS_COUNTOF(grains); b++) {
                memset(j->touched, 0, sizeof j->touched);
                atomic_store(&j->calls, 0);
                j->n = ns[a];
                j->grain = grains[b] > ns[a] && ns[a] ? ns[a] : grains[b];
                gs_team_for(j->team, ns[a], grains[b], touch, j);
                for (int64_t i = 0; i < MOST; i++)
                    assert_int_equal(atomic_load(&j->touched[i]), i < ns[a]);
                assert_int_equal(atomic_load(&j->calls), (ns[a] + j->grain - 1) / j->grain);
            }
        }
        gs_team_destroy(j->team);
    }
    assert_int_equal(atomic_load(&j->wrong), 0);
    gs_free(j);
}

static void count_worker(void *ctx, int worker) {
    job *j = ctx;
    atomic_fetch_add(&j->by_worker[worker], 1);
}

static void a_run_reaches_every_worker_once(void **state) {
    (void)state;
    gs_error err = {0};
    for (size_t s = 0; s < GS_COUNTOF(sizes); s++) {
        job *j = gs_calloc(1, sizeof *j);
        gs_team *team;
        assert_ok(gs_team_create(NULL, sizes[s], &team, &err), &err);
        for (int i = 0; i < 100; i++) gs_team_run(team, count_worker, j);
        gs_team_destroy(team);
        for (int w = 0; w < 64; w++)
            assert_int_equal(atomic_load(&j->by_worker[w]), w < sizes[s] ? 100 : 0);
        gs_free(j);
    }
}

static void no_team_means_serial(void **state) {
    (void)state;
    job *j = gs_calloc(1, sizeof *j);
    j->n = 10;
    j->grain = 4;
    j->size = 1;
    gs_team_for(NULL, 10, 4, touch, j);
    gs_team_run(NULL, count_worker, j);
    assert_int_equal(gs_team_size(NULL), 1);
    assert_int_equal(atomic_load(&j->calls), 3);
    assert_int_equal(atomic_load(&j->wrong), 0);
    assert_int_equal(atomic_load(&j->by_worker[0]), 1);
    for (int i = 0; i < 10; i++) assert_int_equal(atomic_load(&j->touched[i]), 1);
    gs_free(j);
}

typedef struct nest {
    gs_team *team, *other;
    _Atomic int64_t sum, runs;
    atomic_int strayed;
} nest;

typedef struct inner {
    nest *nest;
    pthread_t thread;
    int worker;
} inner;

static void add_inner(void *ctx, int64_t begin, int64_t end, int worker) {
    inner *in = ctx;
    if (!pthread_equal(in->thread, pthread_self()) || worker != in->worker)
        atomic_fetch_add(&in->nest->strayed, 1);
    for (int64_t i = begin; i < end; i++) atomic_fetch_add(&in->nest->sum, i);
}

static void count_inner(void *ctx, int worker) {
    inner *in = ctx;
    (void)worker;
    if (!pthread_equal(in->thread, pthread_self())) atomic_fetch_add(&in->nest->strayed, 1);
    atomic_fetch_add(&in->nest->runs, 1);
}

static void call_again(void *ctx, int64_t begin, int64_t end, int worker) {
    nest *n = ctx;
    for (int64_t i = begin; i < end; i++) {
        inner in = {n, pthread_self(), worker};
        gs_team_for(n->team, 101, 10, add_inner, &in);
        gs_team_run(n->team, count_inner, &in);
        in.worker = 0;
        gs_team_for(n->other, 101, 10, add_inner, &in);
    }
}

static void a_nested_call_stays_on_its_worker(void **state) {
    (void)state;
    gs_error err = {0};
    for (size_t s = 0; s < GS_COUNTOF(sizes); s++) {
        nest n = {0};
        assert_ok(gs_team_create(NULL, sizes[s], &n.team, &err), &err);
        assert_ok(gs_team_create(NULL, 2, &n.other, &err), &err);
        gs_team_for(n.team, 50, 1, call_again, &n);
        gs_team_for(n.team, 1, 1, call_again, &n); /* one chunk is a job as well */
        assert_int_equal(atomic_load(&n.sum), 51 * 2 * 5050);
        assert_int_equal(atomic_load(&n.runs), 51 * sizes[s]);
        assert_int_equal(atomic_load(&n.strayed), 0);
        gs_team_destroy(n.other);
        gs_team_destroy(n.team);
    }
}

static void add_plainly(void *ctx, int64_t begin, int64_t end, int worker) {
    (void)worker;
    int *counts = ctx; /* without atomics: the thread sanitizer checks the hand-over */
    for (int64_t i = begin; i < end; i++) counts[i]++;
}

static void a_hundred_thousand_small_jobs_are_quick(void **state) {
    (void)state;
    gs_error err = {0};
    gs_topology *topo;
    gs_team *team;
    int counts[8] = {0};
    enum { RUNS = 100000 };
    assert_ok(gs_topology_create(&topo, &err), &err);
    int team_sizes[] = {gs_topology_cores(topo), gs_topology_cores(topo) + 1};
    for (int s = 0; s < 2; s++) {
        memset(counts, 0, sizeof counts);
        assert_ok(gs_team_create(topo, team_sizes[s], &team, &err), &err);
        double start = gs_clock();
        for (int i = 0; i < RUNS; i++) gs_team_for(team, 8, 1, add_plainly, counts);
        double seconds = gs_clock() - start;
        gs_team_destroy(team);
        print_message("%d workers: %.2f us a job\n", team_sizes[s], seconds / RUNS * 1e6);
        for (int i = 0; i < 8; i++) assert_int_equal(counts[i], RUNS);
        assert_true(seconds <= 120); /* a busy machine with sanitizers; a hang would be more */
    }
    gs_topology_destroy(topo);
}

static void jobs_after_a_pause_find_their_workers(void **state) {
    (void)state;
    gs_error err = {0};
    gs_team *team;
    int counts[8] = {0};
    assert_ok(gs_team_create(NULL, 3, &team, &err), &err);
    for (int i = 0; i < 50; i++) {
        usleep(1000); /* long enough to fall asleep */
        gs_team_for(team, 8, 1, add_plainly, counts);
    }
    for (int i = 0; i < 8; i++) assert_int_equal(counts[i], 50);
    gs_team_destroy(team);
}

static void the_caller_s_cores_are_given_back(void **state) {
    (void)state;
    gs_error err = {0};
    gs_topology *topo;
    gs_team *team;
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_ok(gs_topology_create(&topo, &err), &err);
    assert_ok(gs_team_create(topo, 0, &team, &err), &err);
    assert_int_equal(gs_team_size(team), gs_topology_cores(topo));
    sched_getaffinity(0, sizeof after, &after);
    if (gs_team_size(team) > 1) assert_int_equal(CPU_COUNT(&after), 1);
    gs_team_destroy(team);
    sched_getaffinity(0, sizeof after, &after);
    assert_true(CPU_EQUAL(&before, &after));
    gs_topology_destroy(topo);
}

static void look_at_signals(void *ctx, int worker) {
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    ((bool *)ctx)[worker] = sigismember(&set, SIGINT) == 1;
}

static void only_the_caller_takes_signals(void **state) {
    (void)state;
    gs_error err = {0};
    gs_team *team;
    bool blocked[3] = {false};
    assert_ok(gs_team_create(NULL, 3, &team, &err), &err);
    gs_team_run(team, look_at_signals, blocked);
    gs_team_destroy(team);
    assert_false(blocked[0]);
    assert_true(blocked[1]);
    assert_true(blocked[2]);
}

/* In place of the libraries' own setters: the program exports its symbols, and the team
 * finds these by name. */
static _Thread_local int openmp_threads = 4;
static int openblas_threads = 4;
GS_API void omp_set_num_threads(int n);
GS_API void openblas_set_num_threads(int n);
void omp_set_num_threads(int n) {
    openmp_threads = n;
}
void openblas_set_num_threads(int n) {
    openblas_threads = n;
}

static void ask_openmp(void *ctx, int worker) {
    ((int *)ctx)[worker] = openmp_threads;
}

static void libraries_are_kept_to_one_thread(void **state) {
    (void)state;
    gs_error err = {0};
    gs_team *team;
    int openmp[3] = {0};
    openmp_threads = openblas_threads = 4;
    assert_ok(gs_team_create(NULL, 3, &team, &err), &err);
    gs_team_run(team, ask_openmp, openmp);
    gs_team_destroy(team);
    for (int i = 0; i < 3; i++) assert_int_equal(openmp[i], 1);
    assert_int_equal(openblas_threads, 1);
}

/* Two nodes of two workers, 16 chunks. Everybody waits in the first chunk for the others; then
 * those of the second node wait until the rest is done. */
typedef struct nodes_job {
    gs_team *team;
    atomic_int calls[4], arrived, done, strayed, stolen;
} nodes_job;

/* Or for a minute: then the counts are wrong, which is better than a hang. */
static void wait_for(atomic_int *count, int wanted) {
    double start = gs_clock();
    while (atomic_load(count) < wanted && gs_clock() - start < 60) sched_yield();
}

static void take_own_range_first(void *ctx, int64_t begin, int64_t end, int worker) {
    nodes_job *j = ctx;
    (void)end;
    int node = gs_team_node(j->team, worker);
    bool own = begin / 8 == node;
    if (atomic_fetch_add(&j->calls[worker], 1) == 0) {
        if (!own) atomic_fetch_add(&j->strayed, 1);
        atomic_fetch_add(&j->arrived, 1);
        wait_for(&j->arrived, 4);
        if (node == 1) wait_for(&j->done, 14);
    } else if (!own) {
        atomic_fetch_add(&j->stolen, 1);
    }
    atomic_fetch_add(&j->done, 1);
}

static void nodes_take_their_own_range_first_and_then_help(void **state) {
    (void)state;
    gs_test_site site = gs_test_site_open("node:2 core:2 pu:1", 4);
    for (int i = 0; i < 20; i++) {
        nodes_job j = {.team = site.team};
        gs_team_for(site.team, 16, 1, take_own_range_first, &j);
        assert_int_equal(atomic_load(&j.arrived), 4);
        assert_int_equal(atomic_load(&j.strayed), 0);
        assert_int_equal(atomic_load(&j.stolen), 6);
        assert_int_equal(atomic_load(&j.done), 16);
    }
    assert_int_equal(gs_team_node(site.team, 1), 0);
    assert_int_equal(gs_team_node(site.team, 2), 1);
    assert_int_equal(gs_team_node(site.team, 4), 0);
    assert_int_equal(gs_team_node(NULL, 2), 0);
    assert_ptr_equal(gs_team_topology(site.team), site.topology);
    assert_null(gs_team_topology(NULL));
    assert_int_equal(gs_team_placement(site.team)->nodes, 2);
    assert_int_equal(gs_team_placement(NULL)->nodes, 1);
    gs_test_site_close(&site);
}

/* Fewer chunks than nodes, one more than nodes, many; on nodes of different sizes. */
static void every_chunk_is_taken_on_any_number_of_nodes(void **state) {
    (void)state;
    static const int64_t ns[] = {2, 3, 5, 7, 100, MOST};
    static const char *const machines[] = {"node:2 core:2 pu:1", "node:4 core:1 pu:1",
                                           "node:3 core:3 pu:1"};
    job *j = gs_calloc(1, sizeof *j);
    assert_non_null(j);
    j->grain = 1;
    for (size_t machine = 0; machine < GS_COUNTOF(machines); machine++) {
        gs_test_site site = gs_test_site_open(machines[machine], 4);
        j->size = 4;
        for (size_t a = 0; a < GS_COUNTOF(ns); a++) {
            memset(j->touched, 0, sizeof j->touched);
            j->n = ns[a];
            gs_team_for(site.team, ns[a], 1, touch, j);
            for (int64_t i = 0; i < MOST; i++)
                assert_int_equal(atomic_load(&j->touched[i]), i < ns[a]);
        }
        gs_test_site_close(&site);
    }
    assert_int_equal(atomic_load(&j->wrong), 0);
    gs_free(j);
}

static void impossible_teams_are_refused(void **state) {
    (void)state;
    gs_error err = {0};
    gs_team *team = (gs_team *)&err;
    assert_fails(gs_team_create(NULL, 1000000, &team, &err), GS_E_INVALID, &err);
    assert_null(team);
    for (int k = 0; k < 2; k++) {
        gs_mem_fail_after(k);
        gs_status status = gs_team_create(NULL, 2, &team, &err);
        gs_mem_fail_after(-1);
        assert_int_equal(status, GS_E_NOMEM);
        assert_null(team);
    }
    gs_team_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        /* first, while this thread is certainly not bound */
        cmocka_unit_test(the_caller_s_cores_are_given_back),
        cmocka_unit_test(each_index_is_covered_exactly_once),
        cmocka_unit_test(a_run_reaches_every_worker_once),
        cmocka_unit_test(no_team_means_serial),
        cmocka_unit_test(a_nested_call_stays_on_its_worker),
        cmocka_unit_test(a_hundred_thousand_small_jobs_are_quick),
        cmocka_unit_test(jobs_after_a_pause_find_their_workers),
        cmocka_unit_test(only_the_caller_takes_signals),
        cmocka_unit_test(libraries_are_kept_to_one_thread),
        cmocka_unit_test(nodes_take_their_own_range_first_and_then_help),
        cmocka_unit_test(every_chunk_is_taken_on_any_number_of_nodes),
        cmocka_unit_test(impossible_teams_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
