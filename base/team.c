#include <base/team.h>

#include <base/mem.h>

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

/* Polls before sleeping, some 50 to 100 us: the gap between two jobs of a forward
 * pass is shorter than a futex wake-up, the gap between two phases is not. */
enum { POLLS = 1500, MOST_THREADS = 4096 };

typedef struct worker {
    gs_team *team;
    int index, node;
    pthread_t thread;
} worker;

/* The chunks that the workers of one node take first. */
typedef struct range {
    _Alignas(64) _Atomic int64_t next; /* first chunk that nobody has taken */
    int64_t end;
} range;

/* Start of a job: the caller writes the job, then raises `round`. End: each worker
 * lowers `running`; at zero the caller goes on. Whoever sleeps announces it in a
 * sequentially consistent counter before looking a last time, and whoever changes the
 * state looks at that counter after the change (Dekker's argument), so that either
 * the sleeper sees the change or the changer sees the sleeper. */
struct gs_team {
    const gs_topology *topo;
    worker *workers; /* size; [0] is the caller and has no thread */
    gs_placement placement;
    int size, polls;
    bool bound, stop;
    pthread_t creator;

    pthread_mutex_t lock;
    pthread_cond_t started, ended;
    atomic_uint round;
    atomic_int running, asleep, caller_asleep;

    /* the job; written while no worker runs */
    gs_team_fn *run_fn;
    gs_team_for_fn *for_fn;
    void *ctx;
    int64_t n, grain;
    range ranges[GS_PLACEMENT_NODES]; /* one a node of the plan */
};

/* The team whose job this thread is executing, and as which worker. */
static _Thread_local struct {
    const gs_team *team;
    int worker;
} current;

static void relax(int turn) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
    /* the thread waited for may need this very core */
    if (turn % 64 == 63) sched_yield();
}

/* Nested parallelism inside libraries would oversubscribe the cores. OpenMP's setting
 * belongs to the calling thread, OpenBLAS's to the process. Found by name, so that
 * this room links neither. */
static void quiet_library(const char *setter) {
    void (*set_threads)(int);
    void *symbol = dlsym(RTLD_DEFAULT, setter);
    if (!symbol) return;
    *(void **)&set_threads = symbol;
    set_threads(1);
}

static void share_out(gs_team *t) {
    int64_t chunks = (t->n - 1) / t->grain + 1;
    for (int d = 0; d < t->placement.nodes; d++) {
        int64_t begin = gs_placement_begin(&t->placement, chunks, d);
        atomic_store_explicit(&t->ranges[d].next, begin, memory_order_relaxed);
        t->ranges[d].end = gs_placement_begin(&t->placement, chunks, d + 1);
    }
}

static void take_range(gs_team *t, range *r, int index) {
    for (;;) {
        int64_t c = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);
        if (c >= r->end) return;
        int64_t begin = c * t->grain, left = t->n - begin;
        t->for_fn(t->ctx, begin, left < t->grain ? t->n : begin + t->grain, index);
    }
}

static void take_chunks(gs_team *t, int index) {
    int nodes = t->placement.nodes, own = t->workers[index].node;
    for (int i = 0; i < nodes; i++) {
        range *r = &t->ranges[(own + i) % nodes];
        /* a look costs less than taking the cache line from the workers of that node */
        if (i > 0 && atomic_load_explicit(&r->next, memory_order_relaxed) >= r->end) continue;
        take_range(t, r, index);
    }
}

static void do_share(gs_team *t, int index) {
    current.team = t;
    current.worker = index;
    if (t->for_fn) take_chunks(t, index);
    else t->run_fn(t->ctx, index);
    current.team = NULL;
}

static void wait_for_round(gs_team *t, unsigned seen) {
    for (int i = 0; i < t->polls; i++) {
        if (atomic_load_explicit(&t->round, memory_order_acquire) != seen) return;
        relax(i);
    }
    pthread_mutex_lock(&t->lock);
    atomic_fetch_add(&t->asleep, 1);
    while (atomic_load(&t->round) == seen) pthread_cond_wait(&t->started, &t->lock);
    atomic_fetch_sub(&t->asleep, 1);
    pthread_mutex_unlock(&t->lock);
}

static void *worker_main(void *arg) {
    worker *w = arg;
    gs_team *t = w->team;
    quiet_library("omp_set_num_threads");
    if (t->bound) gs_topology_bind_core(t->topo, w->index);
    for (unsigned seen = 0;; seen++) {
        wait_for_round(t, seen);
        if (t->stop) return NULL;
        do_share(t, w->index);
        if (atomic_fetch_sub(&t->running, 1) == 1 && atomic_load(&t->caller_asleep)) {
            pthread_mutex_lock(&t->lock);
            pthread_cond_signal(&t->ended);
            pthread_mutex_unlock(&t->lock);
        }
    }
}

static void start_round(gs_team *t) {
    atomic_fetch_add(&t->round, 1);
    if (atomic_load(&t->asleep) == 0) return;
    pthread_mutex_lock(&t->lock);
    pthread_cond_broadcast(&t->started);
    pthread_mutex_unlock(&t->lock);
}

static void wait_for_end(gs_team *t) {
    for (int i = 0; i < t->polls; i++) {
        if (atomic_load_explicit(&t->running, memory_order_acquire) == 0) return;
        relax(i);
    }
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->caller_asleep, 1);
    while (atomic_load(&t->running) != 0) pthread_cond_wait(&t->ended, &t->lock);
    atomic_store(&t->caller_asleep, 0);
    pthread_mutex_unlock(&t->lock);
}

static void all_work(gs_team *t) {
    atomic_store_explicit(&t->running, t->size - 1, memory_order_relaxed);
    start_round(t);
    do_share(t, 0);
    wait_for_end(t);
}

void gs_team_run(gs_team *t, gs_team_fn *fn, void *ctx) {
    if (!t) {
        fn(ctx, 0);
    } else if (current.team) {
        /* a job may share its work out by worker number: every number gets its turn */
        for (int i = 0; i < t->size; i++) fn(ctx, i);
    } else {
        t->run_fn = fn;
        t->for_fn = NULL;
        t->ctx = ctx;
        all_work(t);
    }
}

static void serial_for(int64_t n, int64_t grain, gs_team_for_fn *fn, void *ctx, int index) {
    for (int64_t begin = 0, end; begin < n; begin = end) {
        end = n - begin < grain ? n : begin + grain;
        fn(ctx, begin, end, index);
    }
}

void gs_team_for(gs_team *t, int64_t n, int64_t grain, gs_team_for_fn *fn, void *ctx) {
    if (n <= 0) return;
    if (grain < 1) grain = 1;
    if (grain > n) grain = n;
    if (!t) {
        serial_for(n, grain, fn, ctx, 0);
    } else if (current.team) {
        serial_for(n, grain, fn, ctx, current.team == t ? current.worker : 0);
    } else if (t->size == 1 || grain == n) {
        current.team = t;
        current.worker = 0;
        serial_for(n, grain, fn, ctx, 0);
        current.team = NULL;
    } else {
        t->for_fn = fn;
        t->ctx = ctx;
        t->n = n;
        t->grain = grain;
        share_out(t);
        all_work(t);
    }
}

int gs_team_size(const gs_team *t) {
    return t ? t->size : 1;
}

const gs_placement *gs_team_placement(const gs_team *t) {
    static const gs_placement alone = {.workers = 1, .nodes = 1, .first = {0, 1}};
    return t ? &t->placement : &alone;
}

int gs_team_node(const gs_team *t, int index) {
    return t && index >= 0 && index < t->size ? t->workers[index].node : 0;
}

const gs_topology *gs_team_topology(const gs_team *t) {
    return t ? t->topo : NULL;
}

/* Processing units that the scheduler lets this thread use; for want of an answer 1. */
static int schedulable_units(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more than CPU_SETSIZE units */
    return online > 0 && online <= MOST_THREADS ? (int)online : 1;
}

static gs_status start_threads(gs_team *t, int *threads, gs_error *err) {
    sigset_t blocked, before;
    /* signals are the caller's business; only those that a fault raises stay open */
    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int code = 0;
    for (int i = 1; i < t->size && code == 0; i++) {
        t->workers[i].team = t;
        t->workers[i].index = i;
        code = pthread_create(&t->workers[i].thread, NULL, worker_main, &t->workers[i]);
        if (code == 0) ++*threads;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == 0) return GS_OK;
    gs_error_errno(err, code, "cannot start worker %d of %d", *threads + 1, t->size);
    gs_error_hint(err, "use fewer threads, or raise the limit on processes (ulimit -u)");
    return gs_error_errno(NULL, code, "-");
}

/* Ends the first `threads` workers and releases the team. */
static void shut_down(gs_team *t, int threads) {
    t->stop = true;
    start_round(t);
    for (int i = 1; i <= threads; i++) pthread_join(t->workers[i].thread, NULL);
    if (t->bound && pthread_equal(t->creator, pthread_self())) gs_topology_unbind(t->topo);
    pthread_cond_destroy(&t->ended);
    pthread_cond_destroy(&t->started);
    pthread_mutex_destroy(&t->lock);
    gs_free(t->workers);
    gs_free(t);
}

gs_status gs_team_create(const gs_topology *topo, int threads, gs_team **out, gs_error *err) {
    *out = NULL;
    int usable = schedulable_units();
    int cores = topo ? gs_topology_cores(topo) : usable;
    int size = threads > 0 ? threads : cores;
    if (size > MOST_THREADS)
        return GS_FAIL(err, GS_E_INVALID, "%d threads are more than %d", size, MOST_THREADS);
    gs_team *t = gs_calloc(1, sizeof *t);
    worker *workers = gs_calloc((size_t)size, sizeof *workers);
    if (!t || !workers) {
        gs_free(t);
        gs_free(workers);
        return gs_error_nomem(err, (size_t)size * sizeof *workers);
    }
    t->topo = topo;
    t->workers = workers;
    t->size = size;
    gs_placement_plan(topo, size, &t->placement);
    for (int i = 0; i < size; i++) workers[i].node = gs_placement_node(&t->placement, i);
    t->polls = size <= usable && size <= cores ? POLLS : 0;
    /* a lone worker gains nothing from being tied to core 0, where every other lone
     * worker of the machine would be tied as well */
    t->bound = topo && size > 1 && size <= cores;
    t->creator = pthread_self();
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->started, NULL);
    pthread_cond_init(&t->ended, NULL);
    quiet_library("omp_set_num_threads");
    quiet_library("openblas_set_num_threads");
    int started = 0;
    gs_status status = start_threads(t, &started, err);
    if (status != GS_OK) {
        shut_down(t, started);
        return status;
    }
    if (t->bound) gs_topology_bind_core(topo, 0);
    *out = t;
    return GS_OK;
}

void gs_team_destroy(gs_team *team) {
    if (team) shut_down(team, team->size - 1);
}
