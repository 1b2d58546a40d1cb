/* The statistics file: what calibration learned about a model, once, for any number of
 * quantizations. A directory with
 *
 *   statistics.json         format version, model hash, set hash, settings, and one row an edge
 *   statistics.safetensors  for each edge "<edge>.min", ".max" F32 [width], ".fold_min", ".fold_max" F32 [2, width],
 *                           ".abs_sum", ".square_sum" F64 [width], ".histogram" U64 [bins], ".sample" BF16
 *                           [sample_rows, width], ".sample_fold" U8 and ".sample_energy" F32 [sample_rows]: the
 *                           members of gs_observer
 *
 * written edge by edge, so that only one edge's statistics need to be in memory; it appears whole or
 * not at all. Read back through a map, edge by edge. The same input gives the same bytes.
 * Hashes and the seed are strings of 16 hexadecimal digits in the JSON.
 */
#ifndef GS_CALIBRATE_STATISTICS_H
#define GS_CALIBRATE_STATISTICS_H

#include <calibrate/observer.h>

/* What the statistics are of. Merging wants all but the counts and hashes of the sets equal. */
typedef struct gs_statistics_info {
    uint64_t model_hash;     /* gs_model fingerprint, see calibrate/fingerprint.h */
    uint64_t set_hash;       /* of the calibration set (of the sets, mixed in order, when merged) */
    int64_t sequences, tokens, length, skip_tokens, sample_rows;
    uint64_t seed;
    char compute[8];         /* "f32" or "bf16": operands of products */
    char store[8];           /* "f32" or "bf16" */
    char feed[16];           /* "float" or "sequential": what later segments were fed */
} gs_statistics_info;

typedef struct gs_statistics_writer gs_statistics_writer;

/* Plans the edges (name, width, sample rows each will have), then takes them in the same order. After a
 * failure the writer can only be aborted. put refuses (GS_E_INVALID) an edge out of turn, of other sizes
 * than planned. An edge may have seen no rows: an expert that no token reached. One thread at a time. */
gs_status gs_statistics_writer_create(const char *path, const gs_statistics_info *info,
                                      gs_statistics_writer **out, gs_error *err) GS_NODISCARD;
gs_status gs_statistics_writer_plan(gs_statistics_writer *w, const char *edge, int64_t width, int64_t sample_rows,
                                    gs_error *err) GS_NODISCARD;
gs_status gs_statistics_writer_begin(gs_statistics_writer *w, gs_error *err) GS_NODISCARD;
gs_status gs_statistics_writer_put(gs_statistics_writer *w, const gs_observer *o, gs_error *err) GS_NODISCARD;
/* Consumes w, also on failure. GS_E_INVALID when an edge is missing. */
gs_status gs_statistics_writer_commit(gs_statistics_writer *w, gs_error *err) GS_NODISCARD;
void gs_statistics_writer_abort(gs_statistics_writer *w); /* NULL ok */

typedef struct gs_statistics gs_statistics;

/* Read-only after open: any number of threads may use it. Reads the whole file once.
 * Validates everything: GS_E_FORMAT on a missing or ill-shaped tensor, on numbers that contradict each
 * other (min above max, negative sums, NaN), on an unknown version. */
gs_status gs_statistics_open(const char *path, gs_statistics **out, gs_error *err) GS_NODISCARD;
void gs_statistics_close(gs_statistics *s); /* NULL ok */
const gs_statistics_info *gs_statistics_about(const gs_statistics *s);
int64_t gs_statistics_count(const gs_statistics *s);
const char *gs_statistics_edge(const gs_statistics *s, int64_t i); /* in file order */
/* Channels and sample rows of an edge. GS_E_FORMAT when it is not there. */
gs_status gs_statistics_sizes(const gs_statistics *s, const char *edge, int64_t *width, int64_t *sample_rows,
                              gs_error *err) GS_NODISCARD;
/* A copy for the caller (gs_observer_clear). GS_E_FORMAT when the edge is not there. */
gs_status gs_statistics_read(const gs_statistics *s, const char *edge, gs_observer *out, gs_error *err) GS_NODISCARD;

/* Merges n >= 1 statistics of the same model, edges and settings into a new one at `path`, one edge at a
 * time; GS_E_INVALID with what differs. Sequences, tokens and sample rows add up; the set hash
 * is the XXH3 of the inputs' as little-endian bytes, in the order given. Merging one gives the same
 * bytes again. */
gs_status gs_statistics_merge(const char *const *inputs, int n, const char *path, gs_error *err) GS_NODISCARD;

#endif
