#include <base/mem.h>
#include <kernels/attention/attention.h>
#include <math.h>

/* A score as softmax takes it; distance: key - query. */
static double finished(const gs_attention_shape *s, double score, double slope, int64_t distance) {
    if (s->softcap > 0) score = (double)s->softcap * tanh(score / (double)s->softcap);
    return score + slope * (double)distance;
}

/* softmax(scores) * v of one query, at position `last`, over the keys first..last */
static void attend(const gs_attention_shape *s, double slope, int64_t first, int64_t last, const float *q,
                   const float *k, const float *v, double *score, double *sum, float *out) {
    int64_t stride = s->kv_heads * s->head_dim;
    double top = -INFINITY, total = 0;
    for (int64_t j = first; j <= last; j++) {
        double dot = 0;
        for (int64_t d = 0; d < s->head_dim; d++)
            dot += (double)q[d] * (double)k[j * stride + d];
        score[j] = finished(s, dot * (double)s->scale, slope, j - last);
        if (score[j] > top) top = score[j];
    }
    for (int64_t d = 0; d < s->head_dim; d++) sum[d] = 0;
    for (int64_t j = first; j <= last; j++) {
        double p = exp(score[j] - top);
        total += p;
        for (int64_t d = 0; d < s->head_dim; d++) sum[d] += p * (double)v[j * stride + d];
    }
    for (int64_t d = 0; d < s->head_dim; d++) out[d] = (float)(sum[d] / total);
}

gs_status gs_attention_reference(const gs_attention_shape *s, int64_t sequences,
                                 const int64_t *starts, const float *q, const float *k,
                                 const float *v, float *out, gs_error *err) {
    int64_t longest = 0, group = s->heads / s->kv_heads, hd = s->head_dim;
    for (int64_t i = 0; i < sequences; i++)
        if (starts[i + 1] - starts[i] > longest) longest = starts[i + 1] - starts[i];
    size_t count = (size_t)longest + (size_t)hd;
    double *work = gs_calloc(count, sizeof *work);
    if (!work) return gs_error_nomem(err, count * sizeof *work);
    for (int64_t seq = 0; seq < sequences; seq++) {
        for (int64_t t = starts[seq]; t < starts[seq + 1]; t++) {
            int64_t position = t - starts[seq];
            int64_t first = s->window && position >= s->window ? position - s->window + 1 : 0;
            for (int64_t h = 0; h < s->heads; h++) {
                int64_t kv = starts[seq] * s->kv_heads * hd + h / group * hd;
                double slope = s->alibi ? (double)gs_alibi_slope(s->heads, h) : 0;
                attend(s, slope, first, position, q + (t * s->heads + h) * hd, k + kv, v + kv, work,
                       work + longest, out + (t * s->heads + h) * hd);
            }
        }
    }
    gs_free(work);
    return GS_OK;
}
