#include <calibrate/statistics_info.h>

#include <math.h>

/* What rounding can do to a sum of many rows. */
static const double slack = 1e-6;

/* Is `sum` a sum of `rows` values in [0, most], one of which is `most`? False for NaN. */
static bool is_sum(double sum, double most, double rows) {
    return sum >= most * (1 - slack) && sum <= most * rows * (1 + slack);
}

static gs_status check_channels(const gs_observer *o, gs_error *err) {
    double rows = (double)o->rows;
    for (int64_t i = 0; i < o->width; i++) {
        if (!isfinite(o->min[i]) || !isfinite(o->max[i]) || o->min[i] > o->max[i])
            return GS_FAIL(err, GS_E_FORMAT, "channel %lld ranges from %g to %g", (long long)i,
                           (double)o->min[i], (double)o->max[i]);
        double most = (double)gs_observer_absmax(o, i);
        if (!is_sum(o->abs_sum[i], most, rows) || !is_sum(o->square_sum[i], most * most, rows))
            return GS_FAIL(err, GS_E_FORMAT, "channel %lld: sums %g and %g cannot be those of %lld values up to %g",
                           (long long)i, o->abs_sum[i], o->square_sum[i], (long long)o->rows, most);
    }
    return GS_OK;
}

/* The extremes are those of the halves; a half without rows has none. */
static gs_status check_halves(const gs_observer *o, gs_error *err) {
    for (int64_t i = 0; i < o->width; i++) {
        float lo0 = o->fold_min[i], lo1 = o->fold_min[o->width + i];
        float hi0 = o->fold_max[i], hi1 = o->fold_max[o->width + i];
        bool agree = (lo0 < lo1 ? lo0 : lo1) == o->min[i] && (hi0 > hi1 ? hi0 : hi1) == o->max[i];
        bool whole = (lo0 <= hi0 || (lo0 == INFINITY && hi0 == -INFINITY)) &&
                     (lo1 <= hi1 || (lo1 == INFINITY && hi1 == -INFINITY));
        if (!agree || !whole)
            return GS_FAIL(err, GS_E_FORMAT, "channel %lld: the halves range from %g to %g and from %g to %g, "
                           "together from %g to %g", (long long)i, (double)lo0, (double)hi0, (double)lo1,
                           (double)hi1, (double)o->min[i], (double)o->max[i]);
    }
    for (int64_t i = 0; i < o->sample_rows; i++)
        if (o->sample_fold[i] > 1 || !isfinite(o->sample_energy[i]) || o->sample_energy[i] < 0)
            return GS_FAIL(err, GS_E_FORMAT, "sample row %lld is of half %d, its energy %g", (long long)i,
                           o->sample_fold[i], (double)o->sample_energy[i]);
    return GS_OK;
}

static gs_status check_histogram(const gs_observer *o, gs_error *err) {
    uint64_t total = 0, values;
    int first = GS_HISTOGRAM_BINS, last = -1;
    float min, max;
    for (int i = 0; i < GS_HISTOGRAM_BINS; i++) {
        if (__builtin_add_overflow(total, o->histogram[i], &total))
            return GS_FAIL(err, GS_E_FORMAT, "the counts of the histogram overflow");
        if (!o->histogram[i]) continue;
        last = i;
        if (first > i) first = i;
    }
    if (__builtin_mul_overflow((uint64_t)o->rows, (uint64_t)o->width, &values) || total != values)
        return GS_FAIL(err, GS_E_FORMAT, "the histogram counts %llu values of %lld rows of %lld",
                       (unsigned long long)total, (long long)o->rows, (long long)o->width);
    gs_observer_range(o, &min, &max);
    if (first != gs_histogram_bin(min) || last != gs_histogram_bin(max))
        return GS_FAIL(err, GS_E_FORMAT, "the histogram does not end where the values do, at %g and %g",
                       (double)min, (double)max);
    return GS_OK;
}

static gs_status check_tokens(const gs_observer *o, gs_error *err) {
    float min, max;
    gs_observer_range(o, &min, &max);
    double most = fmax(fabs((double)min), fabs((double)max));
    if ((double)o->token_absmax_max != most || !is_sum(o->token_absmax_sum, most, (double)o->rows))
        return GS_FAIL(err, GS_E_FORMAT, "rows with a largest value of %g, %g in all, but the values go to %g",
                       (double)o->token_absmax_max, o->token_absmax_sum, most);
    return GS_OK;
}

static gs_status check_sample(const gs_observer *o, gs_error *err) {
    enum { INFINITE = 0x7f80 };
    uint16_t most = 0;
    for (int64_t i = 0; i < o->sample_rows * o->width; i++) {
        uint16_t magnitude = o->sample[i] & 0x7fff;
        most = magnitude > most ? magnitude : most;
    }
    return most < INFINITE ? GS_OK : GS_FAIL(err, GS_E_FORMAT, "the sample has values that are not finite");
}

/* An expert that no token reached: there is nothing but sample rows of zeros. */
static gs_status check_unseen(const gs_observer *o, gs_error *err) {
    int64_t values = 0;
    for (int64_t i = 0; i < o->width; i++)
        values += o->min[i] != INFINITY || o->max[i] != -INFINITY || o->abs_sum[i] != 0 || o->square_sum[i] != 0;
    for (int i = 0; i < GS_HISTOGRAM_BINS; i++) values += o->histogram[i] != 0;
    values += o->token_absmax_max != 0 || o->token_absmax_sum != 0;
    for (int64_t i = 0; i < o->sample_rows * o->width; i++) values += o->sample[i] != 0;
    if (values) return GS_FAIL(err, GS_E_FORMAT, "there are values of 0 rows");
    return check_halves(o, err);
}

gs_status gs_statistics_check(const gs_observer *o, gs_error *err) {
    if (o->rows == 0) return check_unseen(o, err);
    GS_TRY(check_channels(o, err));
    GS_TRY(check_halves(o, err));
    GS_TRY(check_histogram(o, err));
    GS_TRY(check_tokens(o, err));
    return check_sample(o, err);
}
