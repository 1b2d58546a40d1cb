/* Activations, streamed through a model segment by segment: all calibration sequences pass through one
 * materialised segment, in groups, before the next one is read from disk. What enters a segment lives
 * in an activation store and is replaced by what leaves it.
 *
 *     gs_stream_create(cx, model, corpus, &options, &stream, err)
 *     for each segment i but the head, in order:
 *         gs_model_segment(model, i, &net, err)
 *         gs_stream_observe(stream, net, &observers, err)    what its linears read; activations stay
 *         gs_stream_advance(stream, net or a quantized form of it, err)
 *
 * Observed are the edges of observed_edges.h. Of keys and values that only ATTENTION reads all tokens count, since all of
 * them are cached, and no sample is kept. Of the others the first skip_tokens tokens of each sequence (attention sinks, a
 * BOS) pass through but are not counted; sequences of different lengths lie end to end, so there is no padding to leave out.
 * Of what an expert's linears read (network/routing.h) the tokens that go to it count, so an observer may have seen no rows;
 * its sample is of those tokens, evenly spaced, and filled up with rows of zeros.
 *
 * Groups hold GS_STREAM_ROWS tokens or one sequence, whatever the memory, so that statistics depend neither on
 * it nor on threads. The memory option bounds the store alone.
 */
#ifndef GS_CALIBRATE_STREAM_H
#define GS_CALIBRATE_STREAM_H

#include <base/context.h>
#include <calibrate/observed_edges.h>
#include <calibrate/observer.h>
#include <kernels/gemm/gemm.h>
#include <llm/model.h>
#include <loaders/corpus.h>

enum { GS_STREAM_ROWS = 1024 };

typedef struct gs_stream_options {
    gs_gemm_type type;       /* operands of products */
    gs_dtype store;          /* GS_F32 or GS_BF16: activations between segments */
    int64_t memory;          /* bytes of the store kept in memory; the rest goes to scratch_dir */
    const char *scratch_dir; /* NULL: $TMPDIR or /tmp */
    int64_t skip_tokens;
    int64_t sample_rows;     /* evenly spaced rows each observer keeps */
    bool kv_cache;           /* observe keys and values, too */
} gs_stream_options;

/* One observer an observed edge, in the order of gs_observed_edges. */
typedef struct gs_observer_set {
    gs_observer *observer;
    int count;
} gs_observer_set;

typedef struct gs_stream gs_stream;

/* model and corpus are borrowed. GS_E_INVALID when no token is left to count. */
gs_status gs_stream_create(gs_context *cx, const gs_model *model, const gs_corpus *corpus,
                           const gs_stream_options *options, gs_stream **out, gs_error *err) GS_NODISCARD;
void gs_stream_destroy(gs_stream *s); /* NULL ok */

/* Rows each observer of what linears read will have kept. */
int64_t gs_stream_sample_rows(const gs_stream *s);
/* Rows the observer of an edge will have kept. */
int64_t gs_stream_edge_samples(const gs_stream *s, const gs_observed_edge *edge);

/* Runs the net over everything without keeping its outputs. The observers are the caller's
 * (gs_observer_set_clear). GS_E_NUMERIC for NaN or infinity in an observed value, with the edge and the row. */
gs_status gs_stream_observe(gs_stream *s, gs_net *net, gs_observer_set *out, gs_error *err) GS_NODISCARD;
/* Runs the net and keeps its outputs as the next segment's inputs. */
gs_status gs_stream_advance(gs_stream *s, gs_net *net, gs_error *err) GS_NODISCARD;
/* Both in one pass over the data. */
gs_status gs_stream_observe_and_advance(gs_stream *s, gs_net *net, gs_observer_set *out, gs_error *err) GS_NODISCARD;
void gs_observer_set_clear(gs_observer_set *set); /* safe on a zeroed struct */
const gs_observer *gs_observer_set_find(const gs_observer_set *set, const char *edge); /* NULL: not there */

int64_t gs_stream_spilled(const gs_stream *s); /* bytes of the store on disk */

#endif
