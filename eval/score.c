#include <eval/score.h>

#include <base/mem.h>

#include <math.h>
#include <stdlib.h>

gs_status gs_scores_init(gs_scores *s, int64_t capacity, bool compared, gs_error *err) {
    *s = (gs_scores){.capacity = capacity};
    size_t n = (size_t)capacity;
    s->nll = gs_calloc(n, sizeof *s->nll);
    if (compared) {
        s->ref_nll = gs_calloc(n, sizeof *s->ref_nll);
        s->kld = gs_calloc(n, sizeof *s->kld);
    }
    if (s->nll && (!compared || (s->ref_nll && s->kld))) return GS_OK;
    gs_scores_clear(s);
    return gs_error_nomem(err, n * 3 * sizeof(double));
}

void gs_scores_clear(gs_scores *s) {
    gs_free(s->nll);
    gs_free(s->ref_nll);
    gs_free(s->kld);
    *s = (gs_scores){0};
}

static double mean(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

/* Covariance of the two means: sum (x-mx)(y-my) / (n (n-1)); 0 for a single sample. */
static double covariance_of_means(const double *x, double mx, const double *y, double my, int64_t n) {
    if (n < 2) return 0;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (x[i] - mx) * (y[i] - my);
    return sum / (double)n / (double)(n - 1);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Quantile of sorted values with linear interpolation between order statistics. */
static double quantile(const double *sorted, int64_t n, double q) {
    double at = q * (double)(n - 1);
    int64_t i = (int64_t)floor(at);
    if (i + 1 >= n) return sorted[n - 1];
    return sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

static void compare(gs_scores *s, gs_eval_result *r, double variance) {
    int64_t n = s->count;
    r->compared = true;
    r->ref_nll = mean(s->ref_nll, n);
    r->ref_ppl = exp(r->ref_nll);
    double ref_variance = covariance_of_means(s->ref_nll, r->ref_nll, s->ref_nll, r->ref_nll, n);
    r->ref_ppl_stderr = r->ref_ppl * sqrt(ref_variance);
    r->delta_ppl = r->ppl - r->ref_ppl;
    double shared = covariance_of_means(s->nll, r->nll, s->ref_nll, r->ref_nll, n);
    double spread = r->ppl * r->ppl * variance + r->ref_ppl * r->ref_ppl * ref_variance -
                    2 * r->ppl * r->ref_ppl * shared;
    r->delta_ppl_stderr = sqrt(spread > 0 ? spread : 0);
    r->kld_mean = mean(s->kld, n);
    r->kld_stderr = sqrt(covariance_of_means(s->kld, r->kld_mean, s->kld, r->kld_mean, n));
    qsort(s->kld, (size_t)n, sizeof *s->kld, ascending);
    r->kld_p99 = quantile(s->kld, n, 0.99);
    r->kld_max = s->kld[n - 1];
    r->top1_agreement = (double)s->agree / (double)n;
}

gs_status gs_scores_summarise(gs_scores *s, gs_eval_result *r, gs_error *err) {
    r->tokens = s->count;
    r->nll = mean(s->nll, s->count);
    r->ppl = exp(r->nll);
    double variance = covariance_of_means(s->nll, r->nll, s->nll, r->nll, s->count);
    r->ppl_stderr = r->ppl * sqrt(variance);
    if (!isfinite(r->nll))
        return GS_FAIL(err, GS_E_NUMERIC, "the model's log-likelihood is not finite");
    if (s->kld) {
        compare(s, r, variance);
        if (!isfinite(r->ref_nll) || !isfinite(r->kld_mean))
            return GS_FAIL(err, GS_E_NUMERIC, "the reference's log-likelihood is not finite");
    }
    return GS_OK;
}
