/* gstick: compress neural networks offline and measure what it cost.
 *
 * The one public header of the library. Types are opaque, functions return a
 * gs_status and fill a caller-owned gs_error; the library never prints, exits
 * or aborts on bad input.
 *
 * Ownership: inputs are borrowed for the call, outputs belong to the caller.
 * Threads: a gs_context is used by one caller at a time; different contexts
 * are independent.
 */
#ifndef GSTICK_H
#define GSTICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GSTICK_VERSION_MAJOR 0
#define GSTICK_VERSION_MINOR 1
#define GSTICK_VERSION_PATCH 0
#define GSTICK_VERSION "0.1.0"

#if defined(__GNUC__)
#define GS_API __attribute__((visibility("default")))
#define GS_NODISCARD __attribute__((warn_unused_result))
#define GS_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define GS_API
#define GS_NODISCARD
#define GS_PRINTF(f, a)
#endif

/* name, text */
#define GS_STATUS_LIST(X)                                                      \
    X(OK, "ok")                                                                \
    X(E_INVALID, "invalid argument")                                           \
    X(E_FORMAT, "malformed input")                                             \
    X(E_UNSUPPORTED, "unsupported")                                            \
    X(E_NUMERIC, "numeric failure")                                            \
    X(E_NOMEM, "not enough memory")                                            \
    X(E_NOSPACE, "not enough disk space")                                      \
    X(E_IO, "read or write failed")                                            \
    X(E_CANCELLED, "interrupted")                                              \
    X(E_CHECK, "a check said no")

typedef enum gs_status {
#define X(name, text) GS_##name,
    GS_STATUS_LIST(X)
#undef X
} gs_status;

/* What went wrong, where, and what the user can do. Owned by the caller;
 * start it with `gs_error err = {0}`. `text` is one line without a newline. */
typedef struct gs_error {
    gs_status status;
    char text[1024];
    char hint[512]; /* empty when there is nothing useful to say */
} gs_error;

/* Static text for a status, never NULL. */
GS_API const char *gs_status_text(gs_status status);

/* "0.1.0"; differs from GSTICK_VERSION if header and library do not match. */
GS_API const char *gs_version(void);


/* ---- session: the machine and the caller's ears ---- */

typedef enum gs_log_level { GS_LOG_ERROR, GS_LOG_WARN, GS_LOG_INFO, GS_LOG_DEBUG } gs_log_level;

typedef struct gs_session gs_session;

/* Zeroed is valid: one worker a core, silent. */
typedef struct gs_session_options {
    int threads;           /* 0: one per usable core */
    int64_t memory_budget; /* bytes of activations in flight; 0: 512 MiB */
    /* JSON file that describes a model family (docs/adding-a-model.md); it serves the model_types it lists, also those
     * that are known without it. May be NULL. */
    const char *helper;
    /* One line, no newline. May be NULL. */
    void (*log)(void *ui, gs_log_level level, const char *text);
    /* done of total units of `what`; called often. May be NULL. */
    void (*progress)(void *ui, const char *what, int64_t done, int64_t total);
    void *ui;
} gs_session_options;

GS_API gs_status gs_session_create(const gs_session_options *options, gs_session **out,
                                   gs_error *err) GS_NODISCARD;
GS_API void gs_session_destroy(gs_session *session); /* NULL ok */
/* Asks every running call of the process to return GS_E_CANCELLED, leaving no partial output;
 * async-signal-safe. */
GS_API void gs_cancel_request(void);

/* ---- calibrate ---- */

/* What a model is shown, and how. Zeroed is valid but for calib. */
typedef struct gs_calibrate_options {
    const char *calib;       /* UTF-8 text, .jsonl, or .i32 token ids */
    const char *tokenizer;   /* file or directory; NULL: the model's own */
    const char *calib_field; /* of a .jsonl line; NULL: the usual ones */
    int64_t samples;         /* sequences; 0: 128 */
    int64_t seq;             /* tokens a sequence; 0: 512, at most the model's positions */
    int64_t seed;            /* 0: the first ones of the file; else drawn at random */
    int64_t skip_tokens;     /* at the start of each sequence, passed through but not counted */
    int64_t sample_rows;     /* rows kept of each linear's input, for searches; 0: 512 */
    const char *calib_dtype; /* operands of products: "auto" (bf16 for a 16-bit model, else f32), "f32", "bf16" */
    const char *store;       /* activations between segments: "f32" (default) or "bf16" */
    const char *scratch_dir; /* for what does not fit in memory; NULL: $TMPDIR or /tmp */
    /* "none" (default) or "int8": look at keys and values, too; to gs_quantize: and store the scales of an int8
     * key-value cache */
    const char *kv_cache;
} gs_calibrate_options;

typedef struct gs_calibrate_result {
    int64_t sequences, tokens, edges; /* shown; values observed */
    int64_t spilled_bytes;            /* of activations that went to scratch files */
    double seconds, tokens_per_second;
    int64_t peak_rss_bytes;
    char note[240];                   /* what a user should know, or "" */
} gs_calibrate_result;

/* Runs the calibration set through the float model, segment by segment, and writes what its linears
 * read (extremes, moments, histograms, sample rows) to a directory that appears whole or not at all, for
 * any number of gs_quantize. The same input gives the same bytes at any number of threads and any memory. */
GS_API gs_status gs_calibrate(gs_session *session, const char *model, const char *statistics,
                              const gs_calibrate_options *options, gs_calibrate_result *result,
                              gs_error *err) GS_NODISCARD;
/* Adds up n statistics of one model, made with the same settings. */
GS_API gs_status gs_merge_statistics(const char *const *inputs, size_t n, const char *output,
                                     gs_error *err) GS_NODISCARD;

/* ---- quantize ---- */

/* Zeroed is valid: w8a16, ascend bundle, dtype of the source. Each member is also a key of a recipe file
 * and a flag of the program (api/recipe.c). */
typedef struct gs_quantize_options {
    /* "w8a16", "w8a8", "w8a8-dynamic", "w8a8-mix" (static to decode, per token to prefill) or "float" (nothing is
     * quantized) */
    const char *scheme;
    /* "ascend" (default), "mindspore", "mindspore-ckpt", "compressed-tensors", "gptq" or "gguf" */
    const char *format;
    const char *target;           /* "both" (vllm-ascend and MindIE; default), "vllm-ascend", "mindie" or "310p" */
    const char *scale_convention; /* "ascend" (max|w|/127) or "goldenstick" (2 max|w|/255) */
    /* "f16", "bf16", "f32", or "auto": that of the source; for a float32 or block-quantized
     * source f16, or bf16 where a value does not fit f16 */
    const char *dtype;
    /* linears whose dotted name contains one of these stay float; NULL: {"lm_head"} */
    const char *const *blacklist;
    size_t blacklist_count;
    /* smoothing: "none", "auto" (searched for each group of linears), or a number in [0, 1]; NULL: "auto" for
     * activations in int8 when there is calibration data, else "none" */
    const char *alpha;
    const char *observer;         /* range of static activations: "minmax", "percentile" or "mse" */
    double percentile;            /* 0: 99.99 */
    bool act_symmetric;           /* static activations; false: asymmetric */
    bool refine;                  /* choose weight scales by the error they leave in the output */
    int64_t group_size;           /* of w8a16: columns that share a weight scale; 0: the format's own, else a whole row */
    /* "none", or whose arithmetic is to be imitated bit by bit, in the dtype of the source: "msmodelslim-v1",
     * "msmodelslim-v0", "goldenstick" */
    const char *compat;
    /* linears that one static scale cannot serve: {"auto"} (found by their output error), {"none"}, or words
     * in their names; NULL: {"auto"} for w8a8, else {"none"} */
    const char *const *fallback;
    size_t fallback_count;
    double fallback_threshold;    /* largest output error that stays; 0: 0.02 */
    double fallback_share;        /* largest share of the weights that may fall back by themselves; 0: 0.05 */
    bool sequential;              /* calibrate each segment on what the quantized ones before it give */
    const char *stats;            /* of gs_calibrate, instead of calibration data */
    gs_calibrate_options calibrate;
    int64_t max_shard_size;       /* tensor bytes a file; 0: 4 GiB */
    bool dry_run;                 /* quantize and report, write nothing */
} gs_quantize_options;

/* What was done to one linear. Fields that do not apply are zero. */
typedef struct gs_layer_summary {
    char *name;         /* dotted name */
    const char *scheme; /* "W8A16", or "FLOAT" when it was left alone; static text */
    char reason[64];    /* why it was left alone, or treated otherwise than asked; "" otherwise */
    bool fallback;      /* it could not be done as asked, and was done as `scheme` for `reason` */
    int64_t out_features, in_features;
    double scale_min, scale_max;
    double sqnr_db;     /* 10 log10(sum w^2 / sum (w - w')^2); infinite when exact */
    double max_error;   /* max |w - w'| */
    int64_t saturated;  /* codes at -128, or clamped */
    int64_t zero_rows;  /* output channels that are all zero */
    double alpha;       /* of the smoothing of its input; NaN: not smoothed */
    double input_scale, input_offset; /* static activations; 0 otherwise */
    /* root mean square over calibration rows of the error of its outputs, relative to the value they end up in (the
     * residual stream when they are added to it, else they themselves); NaN: not measured */
    double output_error;
} gs_layer_summary;

typedef struct gs_quantize_result {
    int64_t parameters;
    uint64_t bytes_in, bytes_out; /* tensors of the source; files of the bundle (0 in a dry run) */
    double seconds;
    int64_t peak_rss_bytes;
    const char *dtype;            /* "float16" ...; static text */
    /* largest change of a float logit by smoothing alone, over the largest logit; NaN: not smoothed */
    double smoothing_change;
    char note[240];               /* what a user should know, or "" */
    gs_layer_summary *layer;      /* one a linear, network order */
    size_t layer_count;
} gs_quantize_result;

/* model: a Hugging Face directory (or config.json beside a float MindSpore .ckpt) or a GGUF file; bundle: a directory that does not exist or is
 * empty, and appears whole or not at all. *result must be cleared after success. */
GS_API gs_status gs_quantize(gs_session *session, const char *model, const char *bundle,
                             const gs_quantize_options *options, gs_quantize_result *result,
                             gs_error *err) GS_NODISCARD;
GS_API void gs_quantize_result_clear(gs_quantize_result *result);

/* ---- evaluate ---- */

/* Zeroed is valid but for one of text and tokens. */
typedef struct gs_evaluate_options {
    const char *text;        /* UTF-8 file, or */
    const char *tokens;      /* file of little-endian int32 ids */
    const char *against;     /* reference model, or NULL */
    const char *tokenizer;   /* file or directory; NULL: the model's own, else the reference's */
    const char *dtype;       /* "f32" or "bf16" (operands of products; f32 accumulation) */
    const char *protocol;    /* "windows" or "llama.cpp" */
    int64_t window;          /* 0: the protocol's default */
    int64_t max_windows;     /* 0: all */
    int bos;                 /* 0: as the tokenizer's configuration says, 1: yes, -1: no */
    const char *dump_logits; /* file for [tokens, vocab] f32, or NULL */
    const char *config;      /* directory with the config.json of a bundle that has none */
    /* of a bundle: "ascend" (default: what its server computes), "exact" (the stored numbers in f32) or
     * "weights" (dequantized weights, float activations) */
    const char *arith;
    bool deq19;              /* with "ascend": I64 deq_scales lose their low 13 bits, as some kernels do */
    bool decode;             /* W8A8_MIX as the decoding server computes it; false: as the prefilling one */
} gs_evaluate_options;

/* Negative log-likelihood in nats; the ref_ and kld_ figures only when compared. */
typedef struct gs_eval_result {
    int64_t window, windows;
    int64_t tokens;          /* scored */
    double nll, ppl, ppl_stderr;
    double seconds, tokens_per_second; /* tokens that went through the model, scored or not */
    bool compared;
    double ref_nll, ref_ppl, ref_ppl_stderr, delta_ppl, delta_ppl_stderr;
    double kld_mean, kld_stderr, kld_p99, kld_max; /* KL(reference || model) a token */
    double top1_agreement;   /* share of tokens with the same most likely next token */
} gs_eval_result;

/* model: a Hugging Face directory, a GGUF file, or a bundle, which is computed with its
 * consumer's arithmetic. */
GS_API gs_status gs_evaluate(gs_session *session, const char *model,
                             const gs_evaluate_options *options, gs_eval_result *result,
                             gs_error *err) GS_NODISCARD;

/* ---- export ---- */

/* Zeroed is valid but for format. */
typedef struct gs_export_options {
    const char *format;     /* as in gs_quantize_options; it has to be given */
    const char *target;     /* of an ascend bundle, as in gs_quantize_options */
    const char *config;     /* directory with the config.json of a bundle that has none */
    int64_t max_shard_size; /* tensor bytes a file; 0: 4 GiB */
} gs_export_options;

typedef struct gs_export_result {
    int64_t linears, quantized;
    uint64_t bytes_in, bytes_out;
    double seconds;
    int64_t peak_rss_bytes;
} gs_export_result;

/* Writes a model or bundle in another format. Codes and scales go over bit by bit: nothing is quantized again, and what
 * the format cannot carry exactly is refused (GS_E_UNSUPPORTED, with the reason). output: as in gs_quantize. */
GS_API gs_status gs_export(gs_session *session, const char *input, const char *output,
                           const gs_export_options *options, gs_export_result *result, gs_error *err) GS_NODISCARD;

/* ---- verify ---- */

/* Zeroed is valid. */
typedef struct gs_verify_options {
    const char *against; /* the float model the bundle was made from, or NULL */
    const char *target;  /* "both", "vllm-ascend", "mindie" or "310p"; NULL: what the bundle's manifest says, else both */
    const char *config;  /* directory with the config.json of a bundle that has none */
    double tolerance_steps; /* with against: how many weight scales a value may be off; 0: half a one, or a whole one where
                             * the manifest says refine. Quantizers that move errors between codes (GPTQ) need more */
} gs_verify_options;

/* One thing that does not hold. */
typedef struct gs_finding {
    const char *check; /* id, "deq-scale-dtype"; static text */
    char *tensor;      /* tensor or file it is about; "" for the bundle as a whole */
    char *text;        /* one line: what is there and what was expected */
} gs_finding;

/* A row of the table of checks. Static. */
typedef struct gs_check_info {
    const char *id, *what, *why, *source;
} gs_check_info;

typedef struct gs_verify_result {
    gs_finding *finding; /* in a fixed order; at most 10,000 are kept */
    size_t finding_count, total_findings;
    size_t checks_run;     /* of the table; those that the bundle's content does not call for are not run */
    size_t tensors;
    uint64_t bytes;        /* read */
    double seconds;
    int64_t peak_rss_bytes;
} gs_verify_result;

/* GS_OK: the checks were run; whether all hold is finding_count == 0. Another status: the bundle could not be looked at at all
 * (a path that does not exist, no memory). A bundle that is no well-formed container is a finding. */
GS_API gs_status gs_verify(gs_session *session, const char *bundle, const gs_verify_options *options,
                           gs_verify_result *result, gs_error *err) GS_NODISCARD;
GS_API void gs_verify_result_clear(gs_verify_result *result);
GS_API const gs_check_info *gs_verify_checks(size_t *count);

#ifdef __cplusplus
}
#endif
#endif
