#include <calibrate/histogram.h>

#include <base/half.h>
#include <base/mem.h>
#include <kernels/kernels.h>

#include <math.h>
#include <string.h>

enum {
    GROUP = 4096,    /* rows looked at before their absmax are put together */
    NARROW = 64,     /* columns a piece of work, for edges of few columns */
    WIDE = 256,      /* and of many: a kilobyte a row, which the memory system likes better */
    MANY = 2048,
    AHEAD = 8        /* rows prefetched ahead: a piece's rows lie far apart */
};

static gs_status allocate(gs_observer *o, gs_error *err) {
    size_t n = (size_t)o->width, sample;
    if (!gs_mul_size(n * sizeof *o->sample, (size_t)o->sample_capacity, &sample))
        return gs_error_nomem(err, SIZE_MAX);
    o->min = gs_alloc(n * sizeof *o->min);
    o->max = gs_alloc(n * sizeof *o->max);
    o->fold_min = gs_alloc(2 * n * sizeof *o->fold_min);
    o->fold_max = gs_alloc(2 * n * sizeof *o->fold_max);
    o->sample_fold = gs_calloc((size_t)o->sample_capacity + 1, 1);
    o->sample_energy = gs_calloc((size_t)o->sample_capacity + 1, sizeof *o->sample_energy);
    o->abs_sum = gs_calloc(n, sizeof *o->abs_sum);
    o->square_sum = gs_calloc(n, sizeof *o->square_sum);
    o->histogram = gs_calloc(GS_HISTOGRAM_BINS, sizeof *o->histogram);
    o->sample = gs_alloc(sample);
    bool ok = o->name && o->min && o->max && o->fold_min && o->fold_max && o->abs_sum && o->square_sum &&
              o->histogram && o->sample && o->sample_fold && o->sample_energy;
    return ok ? GS_OK : gs_error_nomem(err, n * 40 + sample);
}

gs_status gs_observer_init(gs_observer *o, const char *name, int64_t width, int64_t sample_capacity,
                           gs_error *err) {
    *o = (gs_observer){0};
    if (width < 1 || width > INT32_MAX || sample_capacity < 0)
        return GS_FAIL(err, GS_E_INVALID, "'%s': cannot observe %lld channels and keep %lld rows", name,
                       (long long)width, (long long)sample_capacity);
    *o = (gs_observer){.name = gs_strdup(name), .width = width, .sample_capacity = sample_capacity};
    gs_status status = allocate(o, err);
    if (status != GS_OK) {
        gs_observer_clear(o);
        return status;
    }
    for (int64_t i = 0; i < width; i++) {
        o->min[i] = o->fold_min[i] = o->fold_min[width + i] = INFINITY;
        o->max[i] = o->fold_max[i] = o->fold_max[width + i] = -INFINITY;
    }
    return GS_OK;
}

void gs_observer_clear(gs_observer *o) {
    gs_free(o->name);
    gs_free(o->min);
    gs_free(o->max);
    gs_free(o->fold_min);
    gs_free(o->fold_max);
    gs_free(o->sample_fold);
    gs_free(o->sample_energy);
    gs_free(o->abs_sum);
    gs_free(o->square_sum);
    gs_free(o->histogram);
    gs_free(o->sample);
    *o = (gs_observer){0};
}

/* One call of gs_observer_see. */
typedef struct look {
    gs_observer *o;
    const float *x;    /* [n, width] */
    int64_t n;
    int64_t columns;   /* a piece */
    int64_t pieces;
    float *absmax;     /* [n, pieces]: of each row's part */
    uint32_t *counts;  /* [workers, 2, GS_HISTOGRAM_BINS] */
} look;

static void prefetch(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(x + i);
}

static void add_row(int64_t n, const float *restrict x, double *restrict sum, double *restrict square) {
    for (int64_t i = 0; i < n; i++) {
        double v = (double)x[i];
        sum[i] += fabs(v);
        square[i] += v * v;
    }
}

/* The same sums as four add_row, with one load and store of each. */
static void add_four_rows(int64_t n, const float *restrict x, int64_t stride, double *restrict sum,
                          double *restrict square) {
    const float *restrict x1 = x + stride, *restrict x2 = x1 + stride, *restrict x3 = x2 + stride;
    for (int64_t i = 0; i < n; i++) {
        double a = (double)x[i], b = (double)x1[i], c = (double)x2[i], d = (double)x3[i];
        sum[i] = (((sum[i] + fabs(a)) + fabs(b)) + fabs(c)) + fabs(d);
        square[i] = (((square[i] + a * a) + b * b) + c * c) + d * d;
    }
}

/* All of one row's part but the sums. */
static void see_row(const look *k, int64_t row, int64_t piece, int64_t first, int64_t n, uint32_t *counts) {
    const float *x = k->x + row * k->o->width + first;
    if (row + AHEAD < k->n) prefetch(x + AHEAD * k->o->width, n);
    const gs_kernels *kernels = gs_kernels_get();
    k->absmax[row * k->pieces + piece] = kernels->absmax_f32(n, x);
    int64_t at = k->o->fold * k->o->width + first;
    kernels->min_max_channels(n, x, k->o->fold_min + at, k->o->fold_max + at);
    gs_histogram_count(n, x, counts);
}

static void see_piece(const look *k, int64_t piece, uint32_t *counts) {
    gs_observer *o = k->o;
    int64_t first = piece * k->columns, left = o->width - first, row = 0;
    int64_t n = left < k->columns ? left : k->columns;
    double *sum = o->abs_sum + first, *square = o->square_sum + first;
    for (; row + 4 <= k->n; row += 4) {
        for (int64_t i = row; i < row + 4; i++) see_row(k, i, piece, first, n, counts);
        add_four_rows(n, k->x + row * o->width + first, o->width, sum, square);
    }
    for (; row < k->n; row++) {
        see_row(k, row, piece, first, n, counts);
        add_row(n, k->x + row * o->width + first, sum, square);
    }
    float *lo = o->fold_min + o->fold * o->width, *hi = o->fold_max + o->fold * o->width;
    for (int64_t i = first; i < first + n; i++) {
        /* -0 + 0 is +0: which of two zeros is the extreme must not depend on their order */
        lo[i] += 0.0f;
        hi[i] += 0.0f;
        o->min[i] = lo[i] < o->min[i] ? lo[i] : o->min[i];
        o->max[i] = hi[i] > o->max[i] ? hi[i] : o->max[i];
    }
}

static void see_pieces(void *ctx, int64_t begin, int64_t end, int worker) {
    const look *k = ctx;
    uint32_t *counts = k->counts + (int64_t)worker * 2 * GS_HISTOGRAM_BINS;
    for (int64_t piece = begin; piece < end; piece++) see_piece(k, piece, counts);
}

static gs_status refuse_row(const look *k, int64_t row, int64_t row0, gs_error *err) {
    const float *x = k->x + row * k->o->width;
    int64_t channel = 0;
    while (isfinite(x[channel])) channel++;
    return GS_FAIL(err, GS_E_NUMERIC, "'%s': row %lld, channel %lld is %s", k->o->name,
                   (long long)(row0 + row), (long long)channel, isnan(x[channel]) ? "NaN" : "infinite");
}

static gs_status see_tokens(const look *k, int64_t row0, gs_error *err) {
    gs_observer *o = k->o;
    for (int64_t row = 0; row < k->n; row++) {
        float m = gs_kernels_get()->absmax_f32(k->pieces, k->absmax + row * k->pieces);
        if (!isfinite(m)) return refuse_row(k, row, row0, err);
        o->token_absmax_sum += (double)m;
        o->token_absmax_max = m > o->token_absmax_max ? m : o->token_absmax_max;
    }
    return GS_OK;
}

/* Moves the workers' counts into the observer. */
static void gather(const look *k, int workers) {
    for (int64_t half = 0; half < 2 * (int64_t)workers; half++) {
        uint32_t *counts = k->counts + half * GS_HISTOGRAM_BINS;
        for (int i = 0; i < GS_HISTOGRAM_BINS; i++) k->o->histogram[i] += counts[i];
        memset(counts, 0, GS_HISTOGRAM_BINS * sizeof *counts);
    }
}

/* Rows of a group: few enough that no count of 32 bits overflows. */
static int64_t group_rows(int64_t width, int64_t n) {
    int64_t most = UINT32_MAX / width;
    most = most < GROUP ? most : GROUP;
    return n < most ? n : most;
}

static gs_status see_groups(look *k, gs_team *team, int64_t row0, int64_t n, const float *x, gs_error *err) {
    gs_observer *o = k->o;
    int64_t group = group_rows(o->width, n);
    for (int64_t row = 0; row < n; row += group) {
        k->x = x + row * o->width;
        k->n = n - row < group ? n - row : group;
        gs_team_for(team, k->pieces, 1, see_pieces, k);
        GS_TRY(see_tokens(k, row0 + row, err));
        gather(k, gs_team_size(team));
        o->rows += k->n;
    }
    return GS_OK;
}

gs_status gs_observer_see(gs_observer *o, gs_team *team, int64_t row0, int64_t n, const float *x, gs_error *err) {
    if (n < 0 || (o->fold != 0 && o->fold != 1))
        return GS_FAIL(err, GS_E_INVALID, "'%s': %lld rows of half %d", o->name, (long long)n, o->fold);
    if (n == 0) return GS_OK;
    look k = {.o = o, .columns = o->width < MANY ? NARROW : WIDE};
    k.pieces = (o->width - 1) / k.columns + 1;
    int64_t parts = group_rows(o->width, n) * k.pieces;
    k.counts = gs_calloc((size_t)gs_team_size(team), 2 * GS_HISTOGRAM_BINS * sizeof *k.counts);
    k.absmax = gs_alloc((size_t)parts * sizeof *k.absmax);
    gs_status status = k.counts && k.absmax ? see_groups(&k, team, row0, n, x, err)
                                            : gs_error_nomem(err, (size_t)parts * sizeof *k.absmax);
    gs_free(k.counts);
    gs_free(k.absmax);
    return status;
}

gs_status gs_observer_keep(gs_observer *o, const float *x, gs_error *err) {
    if (o->sample_rows >= o->sample_capacity)
        return GS_FAIL(err, GS_E_INVALID, "'%s': there is room for %lld rows in the sample", o->name,
                       (long long)o->sample_capacity);
    /* the largest floats round to infinity */
    float m = gs_kernels_get()->absmax_f32(o->width, x);
    if (!isfinite(gs_bf16_to_f32(gs_f32_to_bf16(m))))
        return GS_FAIL(err, GS_E_NUMERIC, "'%s': row %lld of the sample has a value of magnitude %g, which is "
                       "no bf16", o->name, (long long)o->sample_rows, (double)m);
    gs_kernels_get()->convert_f32_bf16(o->width, x, o->sample + o->sample_rows * o->width);
    o->sample_energy[o->sample_rows] = 0;
    o->sample_fold[o->sample_rows++] = (uint8_t)o->fold;
    return GS_OK;
}

void gs_observer_thin(gs_observer *o) {
    int64_t kept = (o->sample_rows + 1) / 2;
    for (int64_t r = 1; r < kept; r++) {
        memcpy(o->sample + r * o->width, o->sample + 2 * r * o->width, (size_t)o->width * sizeof *o->sample);
        o->sample_energy[r] = o->sample_energy[2 * r];
        o->sample_fold[r] = o->sample_fold[2 * r];
    }
    o->sample_rows = kept;
}

void gs_observer_pad(gs_observer *o) {
    for (; o->sample_rows < o->sample_capacity; o->sample_rows++) {
        memset(o->sample + o->sample_rows * o->width, 0, (size_t)o->width * sizeof *o->sample);
        o->sample_energy[o->sample_rows] = 0;
        o->sample_fold[o->sample_rows] = 0;
    }
}

/* Room for the samples of both. */
static gs_status grow_sample(gs_observer *into, const gs_observer *from, gs_error *err) {
    int64_t rows = into->sample_rows + from->sample_rows;
    size_t row_bytes = (size_t)into->width * sizeof *into->sample;
    if (rows <= into->sample_capacity) return GS_OK;
    uint16_t *more = gs_realloc(into->sample, (size_t)rows, row_bytes);
    if (!more) return gs_error_nomem(err, (size_t)rows * row_bytes);
    into->sample = more;
    uint8_t *folds = gs_realloc(into->sample_fold, (size_t)rows, 1);
    if (!folds) return gs_error_nomem(err, (size_t)rows);
    into->sample_fold = folds;
    float *energy = gs_realloc(into->sample_energy, (size_t)rows, sizeof *energy);
    if (!energy) return gs_error_nomem(err, (size_t)rows * sizeof *energy);
    into->sample_energy = energy;
    into->sample_capacity = rows;
    return GS_OK;
}

gs_status gs_observer_merge(gs_observer *into, const gs_observer *from, gs_error *err) {
    int64_t rows;
    if (strcmp(into->name, from->name) != 0 || into->width != from->width)
        return GS_FAIL(err, GS_E_INVALID, "observers of '%s' [%lld] and '%s' [%lld] cannot be merged", into->name,
                       (long long)into->width, from->name, (long long)from->width);
    if (__builtin_add_overflow(into->rows, from->rows, &rows) || rows > INT64_MAX / into->width)
        return GS_FAIL(err, GS_E_INVALID, "'%s': the number of values overflows", into->name);
    GS_TRY(grow_sample(into, from, err));
    for (int64_t i = 0; i < into->width; i++) {
        into->min[i] = from->min[i] < into->min[i] ? from->min[i] : into->min[i];
        into->max[i] = from->max[i] > into->max[i] ? from->max[i] : into->max[i];
        into->abs_sum[i] += from->abs_sum[i];
        into->square_sum[i] += from->square_sum[i];
    }
    for (int64_t i = 0; i < 2 * into->width; i++) {
        into->fold_min[i] = from->fold_min[i] < into->fold_min[i] ? from->fold_min[i] : into->fold_min[i];
        into->fold_max[i] = from->fold_max[i] > into->fold_max[i] ? from->fold_max[i] : into->fold_max[i];
    }
    for (int i = 0; i < GS_HISTOGRAM_BINS; i++) into->histogram[i] += from->histogram[i];
    into->token_absmax_sum += from->token_absmax_sum;
    into->token_absmax_max = fmaxf(into->token_absmax_max, from->token_absmax_max);
    memcpy(into->sample + into->sample_rows * into->width, from->sample,
           (size_t)(from->sample_rows * from->width) * sizeof *from->sample);
    memcpy(into->sample_fold + into->sample_rows, from->sample_fold, (size_t)from->sample_rows);
    memcpy(into->sample_energy + into->sample_rows, from->sample_energy,
           (size_t)from->sample_rows * sizeof *from->sample_energy);
    into->sample_rows += from->sample_rows;
    into->rows = rows;
    return GS_OK;
}
