#include <calibrate/stream.h>

#include <base/mem.h>
#include <calibrate/activation_store.h>
#include <kernels/kernels.h>
#include <network/exec.h>
#include <network/routing.h>

#include <string.h>

/* Where only the rows of one expert count: which of them are kept is not known before they were counted, so each so-maniest
 * is, and every other of those goes when there is no more room. */
typedef struct routed {
    bool is;
    int64_t rows, step; /* seen so far; kept are rows 0, step, 2 step ... */
    int64_t *token;     /* [sample capacity]: of the corpus, behind each kept row */
} routed;

struct gs_stream {
    gs_context *cx;
    const gs_model *model;
    const gs_corpus *corpus;
    gs_stream_options options;
    gs_activation_store *store;
    gs_exec *exec;
    bool entered;    /* the store holds activations; before it, tokens are the input */
    int64_t counted; /* rows that observers see in all */
    int64_t most_rows; /* of a group */
    float *in, *out; /* [most_rows, hidden] */
    int64_t *starts; /* [sequences + 1] of a group */
    /* while a net is observed */
    gs_observer_set *set;
    gs_observed_edges edges; /* one an observer, in the same order */
    routed *routed;          /* [routed_count], which is edges.count */
    int routed_count;
    float *gathered;         /* [most_rows, the widest routed edge] */
    int64_t *gathered_token; /* [most_rows] */
    int64_t first_sequence, seen; /* of the group in hand; rows counted before it */
};

/* ---- groups of sequences ---- */

static int64_t length(const gs_corpus *c, int64_t sequence) { return c->starts[sequence + 1] - c->starts[sequence]; }

/* Sequences of the group that begins at `first`. */
static int64_t group_size(const gs_corpus *c, int64_t first) {
    int64_t n = 1, rows = length(c, first);
    while (first + n < c->sequences && rows + length(c, first + n) <= GS_STREAM_ROWS) rows += length(c, first + n++);
    return n;
}

static int64_t counted_rows(const gs_stream *s, int64_t sequence) {
    int64_t n = length(s->corpus, sequence) - s->options.skip_tokens;
    return n > 0 ? n : 0;
}

static gs_status measure(gs_stream *s, gs_error *err) {
    const gs_corpus *c = s->corpus;
    for (int64_t q = 0; q < c->sequences; q++) s->counted += counted_rows(s, q);
    for (int64_t q = 0; q < c->sequences;) {
        int64_t n = group_size(c, q), rows = c->starts[q + n] - c->starts[q];
        if (rows > s->most_rows) s->most_rows = rows;
        q += n;
    }
    if (s->counted > 0) return GS_OK;
    return GS_FAIL(err, GS_E_INVALID, "the calibration set has no token beyond the %lld skipped at the start of each sequence",
                   (long long)s->options.skip_tokens);
}

int64_t gs_stream_sample_rows(const gs_stream *s) {
    return s->options.sample_rows < s->counted ? s->options.sample_rows : s->counted;
}

int64_t gs_stream_edge_samples(const gs_stream *s, const gs_observed_edge *edge) {
    return edge->linear ? gs_stream_sample_rows(s) : 0;
}

static gs_status allocate(gs_stream *s, gs_error *err) {
    int64_t hidden = gs_model_settings(s->model)->hidden;
    size_t cells = (size_t)s->most_rows * (size_t)hidden;
    s->in = gs_calloc(cells, sizeof(float));
    s->out = gs_calloc(cells, sizeof(float));
    s->starts = gs_calloc((size_t)s->corpus->sequences + 1, sizeof *s->starts);
    if (!s->in || !s->out || !s->starts) return gs_error_nomem(err, cells * sizeof(float));
    GS_TRY(gs_exec_create(s->cx, s->options.type, &s->exec, err));
    gs_exec_set_drop(s->exec, gs_checkpoint_drop_view, (void *)(uintptr_t)gs_model_checkpoint(s->model));
    return gs_activation_store_create(s->corpus->tokens, hidden, s->options.store, s->options.memory,
                                      s->options.scratch_dir, &s->store, err);
}

gs_status gs_stream_create(gs_context *cx, const gs_model *model, const gs_corpus *corpus,
                           const gs_stream_options *options, gs_stream **out, gs_error *err) {
    gs_stream *s = gs_calloc(1, sizeof *s);
    if (!s) return gs_error_nomem(err, sizeof *s);
    s->cx = cx;
    s->model = model;
    s->corpus = corpus;
    s->options = *options;
    gs_status status = measure(s, err);
    if (status == GS_OK) status = allocate(s, err);
    if (status != GS_OK) {
        gs_stream_destroy(s);
        return status;
    }
    *out = s;
    return GS_OK;
}

static void clear_routed(gs_stream *s) {
    for (int i = 0; i < s->routed_count; i++) gs_free(s->routed[i].token);
    gs_free(s->routed);
    gs_free(s->gathered);
    gs_free(s->gathered_token);
    s->routed = NULL;
    s->gathered = NULL;
    s->gathered_token = NULL;
    s->routed_count = 0;
}

void gs_stream_destroy(gs_stream *s) {
    if (!s) return;
    gs_exec_destroy(s->exec);
    gs_activation_store_destroy(s->store);
    gs_free(s->in);
    gs_free(s->out);
    gs_free(s->starts);
    clear_routed(s);
    gs_observed_edges_clear(&s->edges);
    gs_free(s);
}

int64_t gs_stream_spilled(const gs_stream *s) { return gs_activation_store_spilled(s->store); }

/* ---- observing ---- */

void gs_observer_set_clear(gs_observer_set *set) {
    for (int i = 0; i < set->count; i++) gs_observer_clear(&set->observer[i]);
    gs_free(set->observer);
    *set = (gs_observer_set){0};
}

const gs_observer *gs_observer_set_find(const gs_observer_set *set, const char *edge) {
    for (int i = 0; i < set->count; i++)
        if (strcmp(set->observer[i].name, edge) == 0) return &set->observer[i];
    return NULL;
}

static gs_status init_routed(gs_stream *s, gs_error *err) {
    int64_t widest = 0;
    int count = s->edges.count;
    clear_routed(s);
    s->routed = gs_calloc((size_t)count + 1, sizeof *s->routed);
    if (!s->routed) return gs_error_nomem(err, (size_t)count * sizeof *s->routed);
    s->routed_count = count;
    for (int i = 0; i < count; i++) {
        const gs_edge *edge = s->edges.at[i].edge;
        int64_t samples = gs_stream_edge_samples(s, &s->edges.at[i]);
        if (!gs_routed_select(edge)) continue;
        s->routed[i] = (routed){.is = true, .step = 1, .token = gs_calloc((size_t)samples + 1, sizeof(int64_t))};
        if (!s->routed[i].token) return gs_error_nomem(err, (size_t)samples * sizeof(int64_t));
        if (edge->dims.dim[0] > widest) widest = edge->dims.dim[0];
    }
    if (!widest) return GS_OK;
    s->gathered = gs_calloc((size_t)s->most_rows * (size_t)widest, sizeof *s->gathered);
    s->gathered_token = gs_calloc((size_t)s->most_rows, sizeof *s->gathered_token);
    bool ok = s->gathered && s->gathered_token;
    return ok ? GS_OK : gs_error_nomem(err, (size_t)(s->most_rows * widest) * sizeof *s->gathered);
}

static gs_status init_set(gs_stream *s, const gs_net *net, gs_observer_set *set, gs_error *err) {
    *set = (gs_observer_set){0};
    gs_observed_edges_clear(&s->edges);
    GS_TRY(gs_observed_edges_find(net, s->options.kv_cache, &s->edges, err));
    int count = s->edges.count;
    set->observer = gs_calloc((size_t)count + 1, sizeof *set->observer);
    if (!set->observer) return gs_error_nomem(err, (size_t)count * sizeof *set->observer);
    GS_TRY(init_routed(s, err));
    for (int i = 0; i < count; i++) {
        const gs_edge *edge = s->edges.at[i].edge;
        GS_TRY(gs_observer_init(&set->observer[i], edge->name, edge->dims.dim[0],
                                gs_stream_edge_samples(s, &s->edges.at[i]), err));
        set->count++;
    }
    return GS_OK;
}

/* Of all counted rows 0..N-1, row i is kept when the i-th step of a line from 0 to S crosses an
 * integer: S rows, evenly spaced, wherever groups begin. */
static bool is_kept(const gs_stream *s, int64_t i) {
    int64_t want = gs_stream_sample_rows(s);
    return (i + 1) * want / s->counted > i * want / s->counted; /* both below 2^30 */
}

/* Whole sequences go to one half or the other. */
static int fold_of(const gs_stream *s, int64_t sequence) { return 2 * sequence >= s->corpus->sequences; }

static gs_status see_rows(gs_stream *s, gs_observer *o, const gs_batch *batch, const float *data, gs_error *err) {
    int64_t seen = s->seen;
    for (int64_t q = 0; q < batch->sequences; q++) {
        int64_t n = counted_rows(s, s->first_sequence + q), row = batch->starts[q + 1] - n;
        const float *x = data + row * o->width;
        if (n == 0) continue;
        o->fold = fold_of(s, s->first_sequence + q);
        GS_TRY(gs_observer_see(o, s->cx->team, s->corpus->starts[s->first_sequence + q + 1] - n, n, x, err));
        for (int64_t r = 0; r < n; r++)
            if (is_kept(s, seen + r)) GS_TRY(gs_observer_keep(o, x + r * o->width, err));
        seen += n;
    }
    return GS_OK;
}

static gs_status see_whole(gs_stream *s, gs_observer *o, const gs_batch *batch, const float *data, gs_error *err) {
    for (int64_t q = 0; q < batch->sequences; q++) {
        int64_t row = batch->starts[q], n = batch->starts[q + 1] - row;
        o->fold = fold_of(s, s->first_sequence + q);
        GS_TRY(gs_observer_see(o, s->cx->team, s->corpus->starts[s->first_sequence + q], n, data + row * o->width, err));
    }
    return GS_OK;
}

static gs_status keep_routed(routed *t, gs_observer *o, int64_t token, const float *x, gs_error *err) {
    int64_t row = t->rows++;
    if (row % t->step || !o->sample_capacity) return GS_OK;
    if (o->sample_rows == o->sample_capacity) {
        gs_observer_thin(o);
        for (int64_t i = 1; i < o->sample_rows; i++) t->token[i] = t->token[2 * i];
        t->step *= 2;
        if (row % t->step) return GS_OK;
    }
    t->token[o->sample_rows] = token;
    return gs_observer_keep(o, x, err);
}

/* Rows of zeros are those that go to other experts. */
static gs_status see_routed(gs_stream *s, routed *t, gs_observer *o, const gs_batch *batch, const float *data, gs_error *err) {
    const gs_kernels *kernels = gs_kernels_get();
    for (int64_t q = 0; q < batch->sequences; q++) {
        int64_t n = counted_rows(s, s->first_sequence + q), row = batch->starts[q + 1] - n, count = 0;
        int64_t token = s->corpus->starts[s->first_sequence + q + 1] - n; /* behind `row` */
        o->fold = fold_of(s, s->first_sequence + q);
        for (int64_t r = 0; r < n; r++) {
            const float *x = data + (row + r) * o->width;
            if (kernels->absmax_f32(o->width, x) == 0) continue;
            memcpy(s->gathered + count * o->width, x, (size_t)o->width * sizeof *x);
            s->gathered_token[count++] = token + r;
        }
        GS_TRY(gs_observer_see(o, s->cx->team, token, count, s->gathered, err));
        for (int64_t i = 0; i < count; i++)
            GS_TRY(keep_routed(t, o, s->gathered_token[i], s->gathered + i * o->width, err));
    }
    return GS_OK;
}

static double energy_of(int64_t n, const float *x) {
    double sum = 0;
    for (int64_t j = 0; j < n; j++) sum += (double)x[j] * (double)x[j];
    return sum;
}

/* Of the kept rows whose tokens are in this group. */
static void see_routed_landing(const gs_stream *s, const routed *t, gs_observer *o, const gs_batch *batch, int64_t width,
                               const float *data) {
    int64_t first = s->corpus->starts[s->first_sequence];
    for (int64_t i = o->sample_rows - 1; i >= 0 && t->token[i] >= first; i--)
        if (t->token[i] < first + batch->rows)
            o->sample_energy[i] = (float)energy_of(width, data + (t->token[i] - first) * width);
}

/* The energies that belong to the rows the observer kept of this group. */
static void see_landing(gs_stream *s, gs_observer *o, const gs_batch *batch, int64_t width, const float *data) {
    int64_t seen = s->seen, at = s->seen * gs_stream_sample_rows(s) / s->counted;
    for (int64_t q = 0; q < batch->sequences; q++) {
        int64_t n = counted_rows(s, s->first_sequence + q);
        const float *x = data + (batch->starts[q + 1] - n) * width;
        for (int64_t r = 0; r < n; r++) {
            if (is_kept(s, seen + r)) o->sample_energy[at++] = (float)energy_of(width, x + r * width);
        }
        seen += n;
    }
}

static gs_status see(void *ctx, const gs_edge *edge, const gs_batch *batch, const float *data, gs_error *err) {
    gs_stream *s = ctx;
    for (int i = s->edges.first_landing[edge->index]; i >= 0; i = s->edges.at[i].next_landing) {
        gs_observer *o = &s->set->observer[i];
        if (s->routed[i].is) see_routed_landing(s, &s->routed[i], o, batch, edge->dims.dim[0], data);
        else see_landing(s, o, batch, edge->dims.dim[0], data);
    }
    int i = s->edges.of[edge->index];
    if (i < 0) return GS_OK;
    gs_observer *o = &s->set->observer[i];
    if (s->routed[i].is) return see_routed(s, &s->routed[i], o, batch, data, err);
    return s->edges.at[i].linear ? see_rows(s, o, batch, data, err) : see_whole(s, o, batch, data, err);
}

/* ---- running ---- */

static gs_status load(gs_stream *s, int64_t row0, int64_t rows, gs_error *err) {
    if (s->entered) return gs_activation_store_read(s->store, row0, rows, s->in, err);
    /* ids are exact in f32: vocabularies are limited to 2^24 (loaders/config.h) */
    for (int64_t r = 0; r < rows; r++) s->in[r] = (float)s->corpus->ids[row0 + r];
    return GS_OK;
}

static gs_status run_group(gs_stream *s, gs_net *net, int64_t first, int64_t n, bool keep, gs_error *err) {
    const gs_corpus *c = s->corpus;
    int64_t row0 = c->starts[first], rows = c->starts[first + n] - row0;
    for (int64_t q = 0; q <= n; q++) s->starts[q] = c->starts[first + q] - row0;
    gs_batch batch = {.rows = rows, .sequences = n, .starts = s->starts};
    const float *in = s->in;
    float *out = s->out;
    s->first_sequence = first;
    GS_TRY(load(s, row0, rows, err));
    GS_TRY(gs_exec_run(s->exec, net, &batch, &in, &out, err));
    for (int64_t q = 0; q < n; q++) s->seen += counted_rows(s, first + q);
    return keep ? gs_activation_store_write(s->store, row0, rows, s->out, err) : GS_OK;
}

static gs_status run_groups(gs_stream *s, gs_net *net, bool keep, gs_error *err) {
    s->seen = 0;
    for (int64_t q = 0; q < s->corpus->sequences;) {
        int64_t n = group_size(s->corpus, q);
        GS_TRY(gs_cancel_check(err));
        GS_TRY(run_group(s, net, q, n, keep, err));
        q += n;
    }
    return GS_OK;
}

static gs_status run(gs_stream *s, gs_net *net, gs_observer_set *set, bool keep, gs_error *err) {
    gs_status status = GS_OK;
    if (set) status = init_set(s, net, set, err);
    s->set = set; /* only while it runs */
    gs_exec_set_hook(s->exec, set ? see : NULL, s);
    if (status == GS_OK) status = gs_exec_prepare(s->exec, net, err);
    if (status == GS_OK) {
        status = run_groups(s, net, keep, err);
        for (int i = 0; set && i < set->count; i++)
            if (s->routed[i].is) gs_observer_pad(&set->observer[i]);
        gs_exec_release(s->exec, net);
    }
    gs_exec_set_hook(s->exec, NULL, NULL);
    if (status == GS_OK) {
        s->entered = s->entered || keep;
        return GS_OK;
    }
    if (set) gs_observer_set_clear(set);
    if (status != GS_E_CANCELLED) gs_error_at(err, "%s", gs_net_name(net));
    return status;
}

gs_status gs_stream_observe(gs_stream *s, gs_net *net, gs_observer_set *out, gs_error *err) {
    return run(s, net, out, false, err);
}

gs_status gs_stream_advance(gs_stream *s, gs_net *net, gs_error *err) { return run(s, net, NULL, true, err); }

gs_status gs_stream_observe_and_advance(gs_stream *s, gs_net *net, gs_observer_set *out, gs_error *err) {
    return run(s, net, out, true, err);
}
