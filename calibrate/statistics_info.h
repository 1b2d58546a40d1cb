/* What the writer and the reader of a statistics file share: its names, the tensors of an edge,
 * and the part of statistics.json that says what the statistics are of. Pure functions. */
#ifndef GS_CALIBRATE_STATISTICS_INFO_H
#define GS_CALIBRATE_STATISTICS_INFO_H

#include <base/dtype.h>
#include <base/json.h>
#include <calibrate/statistics.h>

#define GS_STATISTICS_JSON "statistics.json"
#define GS_STATISTICS_TENSORS "statistics.safetensors"
#define GS_STATISTICS_FORMAT "gstick statistics"
enum { GS_STATISTICS_VERSION = 1 };

/* member of gs_observer, which is also the tensor's ending; dtype; dimensions */
#define GS_STATISTICS_PART_LIST(X)                                             \
    X(min, GS_F32, 1, o->width)                                                \
    X(max, GS_F32, 1, o->width)                                                \
    X(fold_min, GS_F32, 2, 2)                                                  \
    X(fold_max, GS_F32, 2, 2)                                                  \
    X(abs_sum, GS_F64, 1, o->width)                                            \
    X(square_sum, GS_F64, 1, o->width)                                         \
    X(histogram, GS_U64, 1, GS_HISTOGRAM_BINS)                                 \
    X(sample, GS_BF16, 2, o->sample_rows)                                      \
    X(sample_fold, GS_U8, 1, o->sample_rows)                                   \
    X(sample_energy, GS_F32, 1, o->sample_rows)

typedef struct gs_statistics_part {
    const char *ending; /* without the dot */
    gs_dtype dtype;
    int ndim;
    int64_t shape[2];
    void *data;         /* the observer's own array; NULL when that has none */
    size_t bytes;
} gs_statistics_part;

/* The tensors of an edge, by the observer's width and sample_rows; its arrays may be NULL. */
enum { GS_STATISTICS_PARTS = 10 };
void gs_statistics_parts(const gs_observer *o, gs_statistics_part parts[GS_STATISTICS_PARTS]);
/* "<edge>.<ending>" in fresh memory, or NULL. */
char *gs_statistics_tensor(const char *edge, const char *ending);

/* `status` with what is wrong: counts below zero or beyond 2^53, a word that is none of those known. */
gs_status gs_statistics_info_check(const gs_statistics_info *info, gs_status status, gs_error *err) GS_NODISCARD;
/* The members "model_hash", "set_hash" and "settings", each followed by a comma. */
void gs_statistics_info_print(const gs_statistics_info *info, gs_strbuf *out);
gs_status gs_statistics_info_read(const cJSON *json, gs_statistics_info *out, gs_error *err) GS_NODISCARD;

/* An edge as statistics.json has it. */
typedef struct gs_statistics_row {
    char *name; /* owned */
    int64_t width, sample_rows, rows;
    double token_absmax_sum;
    float token_absmax_max;
} gs_statistics_row;

void gs_statistics_row_print(const gs_statistics_row *row, gs_strbuf *out);
/* Sizes are in range after success; the two floats may still be NaN, for gs_statistics_check. */
gs_status gs_statistics_row_read(const cJSON *json, gs_statistics_row *out, gs_error *err) GS_NODISCARD;

/* Do the numbers of an edge agree with each other? GS_E_FORMAT with what does not. */
gs_status gs_statistics_check(const gs_observer *o, gs_error *err) GS_NODISCARD;

#endif
