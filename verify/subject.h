/* What is looked at: a bundle's files, tensors, description, configuration, and the modules that its architecture asks
 * for (internal to verify/). Filled step by step; what could not be read stays empty and is a finding.
 */
#ifndef GS_VERIFY_SUBJECT_H
#define GS_VERIFY_SUBJECT_H

#include <base/affix.h>
#include <base/context.h>
#include <base/json.h>
#include <base/map.h>
#include <llm/model.h>
#include <loaders/checkpoint.h>
#include <loaders/mindspore_ckpt.h>
#include <loaders/safetensors.h>
#include <verify/codes.h>
#include <verify/report.h>

typedef enum gs_bundle_kind {
    GS_KIND_ASCEND, GS_KIND_MINDSPORE, GS_KIND_CKPT, GS_KIND_COMPRESSED, GS_KIND_GPTQ, GS_KIND_GGUF,
    GS_KIND_FLOAT /* a model in safetensors in which nothing is quantized */
} gs_bundle_kind;

/* A bit a server. */
enum { GS_FOR_VLLM = 1, GS_FOR_MINDIE = 2, GS_FOR_310P = 4 };

/* What a linear may be described as, by rising dominance (AB 4.1). */
#define GS_TYPE_LIST(X)                                                                                               \
    X(FLOAT, "FLOAT")                                                                                                 \
    X(W4A16, "W4A16")                                                                                                 \
    X(W8A16, "W8A16")                                                                                                 \
    X(W8A8_DYNAMIC, "W8A8_DYNAMIC")                                                                                   \
    X(W8A8_MIX, "W8A8_MIX")                                                                                           \
    X(W8A8, "W8A8")

typedef enum gs_type {
#define X(name, text) GS_TYPE_##name,
    GS_TYPE_LIST(X)
#undef X
    GS_TYPE_UNKNOWN
} gs_type;

/* A stored tensor. */
typedef struct gs_stored {
    const gs_tensor *t;
    size_t file;
    bool known;    /* some check has claimed it */
    bool scanned;  /* its bytes were looked at */
    bool compared; /* with the source's, or what follows from it */
} gs_stored;

/* Where the numbers of a module are, once their types and shapes are known to be right. */
typedef struct gs_weight {
    gs_stored *at;    /* codes or floats; NULL: they cannot be told */
    gs_layout layout;
    int bits;         /* of codes: 8 or 4 */
    int64_t groups;   /* scales a row */
    gs_stored *scale, *offset; /* [rows, groups], turned: [groups, rows]; or one for all. Q8_0 has them in its blocks */
    bool turned, negated;      /* negated: the offset has the other sign */
    gs_stored *deq, *input;    /* no scale is stored but deq, its product with the input's */
    gs_stored *bias, *quant_bias, *input_offset;
} gs_weight;

/* A node of the blueprint that has params. */
typedef struct gs_module {
    char *name;
    gs_op op;
    int64_t rows, cols; /* of the weight; a norm's: 1, width */
    bool bias;
    int segment, node; /* its place in gs_subject_net */
    int group; /* of a linear: the first module that reads the same value, possibly itself */
    int norm;  /* of a linear: the module of the norm that makes what it reads, or -1 */
    bool tied; /* a head whose weight is the embedding's */
    bool plus_one; /* a norm that computes with its weight plus one */
    int mixture; /* of an expert's linear: which, counted from 0; else -1 */
    gs_type type;
    bool sound; /* its tensors are there with the right types and shapes */
    gs_weight weight;
} gs_module;

typedef struct gs_subject {
    gs_context *cx;
    const char *path;
    const gs_verify_options *options;
    gs_report report;
    gs_bundle_kind kind;
    unsigned target; /* GS_FOR_ bits */
    bool refined;    /* the manifest says that codes were chosen by the error of the output */
    char compat[40]; /* whose arithmetic the manifest names, or "" */
    char **names; /* regular files, sorted */
    size_t name_count;
    char **weights; /* names of the safetensors files, open ones first to last */
    gs_safetensors **file; /* NULL where it could not be opened */
    size_t files;
    const char *first; /* of the bundle's own weight files, one of `weights`; NULL: there is none */
    size_t own_files;
    gs_stored *tensor;
    size_t tensors;
    gs_map by_name; /* -> tensor */
    uint64_t bytes;
    char description_name[96];
    gs_checkpoint *gguf; /* instead of the files */
    gs_mindspore_ckpt *ckpt;
    gs_map described; /* key -> its item */
    cJSON *description; /* NULL: there is none that can be read */
    bool has_config;
    gs_model_config config;
    gs_dtype dtype; /* the server's; NONE: unknown */
    int64_t group_size;
    int segments; /* of the blueprint; 0: there is none */
    gs_module *module;
    int modules, module_room, mixtures;
} gs_subject;

/* Room for `more` tensors, and one taken in: *twice, and nothing else, where its name is there already. */
gs_status gs_subject_room(gs_subject *s, size_t more, gs_error *err) GS_NODISCARD;
gs_status gs_subject_add(gs_subject *s, const gs_tensor *t, size_t file, bool *twice, gs_error *err) GS_NODISCARD;
/* Where `name` is stored, or NULL. */
gs_stored *gs_subject_find(gs_subject *s, const char *name);
/* "<module>.<suffix>", marked as known when stored. */
gs_stored *gs_subject_part(gs_subject *s, const gs_module *m, const char *suffix);
/* The pages of bytes [offset, offset + bytes) of its data will not be needed again. */
void gs_subject_drop(const gs_subject *s, const gs_stored *t, uint64_t offset, uint64_t bytes);
/* Directory and name in a fresh string, or NULL. */
char *gs_subject_path(const gs_subject *s, const char *name);

/* files.c: names, permissions, sizes. */
gs_status gs_verify_files(gs_subject *s, gs_error *err) GS_NODISCARD;
/* The first file that ends so, and findings of the others: of formats that are one file. NULL: there is none. */
const char *gs_verify_only_file(gs_subject *s, const char *end);
/* container.c: opens every weight file; tensors, duplicates, shards. */
gs_status gs_verify_container(gs_subject *s, gs_error *err) GS_NODISCARD;
/* index.c */
gs_status gs_verify_index(gs_subject *s, gs_error *err) GS_NODISCARD;
/* settings.c: config.json and what the target asks of it. */
gs_status gs_verify_settings(gs_subject *s, gs_error *err) GS_NODISCARD;
/* The word of config.json against the dominant type. */
void gs_verify_quantize_word(gs_subject *s, gs_type dominant);
/* modules.c: the blueprint as a list of modules, none where the architecture cannot be told (a finding); the check of
 * each by its format, ctx handed through; and once all are through, what every format asks of the tensors: unclaimed,
 * finite, tied. */
gs_status gs_subject_modules(gs_subject *s, gs_error *err) GS_NODISCARD;
/* A segment of the blueprint, made anew: all of them are more than needs to be in memory. gs_net_destroy when done. */
gs_status gs_subject_net(const gs_subject *s, int segment, gs_net **out, gs_error *err) GS_NODISCARD;
typedef gs_status gs_module_check(gs_subject *s, gs_module *m, const void *ctx, gs_error *err);
gs_status gs_verify_modules(gs_subject *s, gs_module_check *check, const void *ctx, gs_error *err) GS_NODISCARD;
void gs_verify_rest(gs_subject *s);
/* description.c: reads it, and holds it against the stored tensors. */
gs_status gs_verify_description(gs_subject *s, gs_error *err) GS_NODISCARD;
void gs_verify_described(gs_subject *s);
/* "<head>.weight" of a tied model: descriptions list it although it need not be stored. */
bool gs_subject_tied_head(const gs_subject *s, const char *key);
/* The type string of a key, or "" when it is absent or no string. */
const char *gs_described(const gs_subject *s, const char *key);
/* The item of a key, or NULL. */
const cJSON *gs_described_item(const gs_subject *s, const char *key);
/* Once the description is loaded: makes its keys quick to find. */
gs_status gs_subject_index_description(gs_subject *s, gs_error *err) GS_NODISCARD;
/* types.c: a type a linear, fused groups, the mixture. */
void gs_verify_types(gs_subject *s);
gs_type gs_type_from_name(const char *name);
const char *gs_type_name(gs_type t);
/* parts.c: tensors of each module, their shapes and dtypes. */
gs_status gs_verify_parts(gs_subject *s, gs_error *err) GS_NODISCARD;
/* Stored tensors that nothing has claimed. */
void gs_verify_unclaimed(gs_subject *s);
/* One tensor's type and shape against what is wanted; `wanted` lists the allowed types, NONE-terminated. */
bool gs_verify_tensor(gs_subject *s, gs_stored *t, const gs_dtype *wanted, int ndim, int64_t a, int64_t b);
/* norms.c, cache.c */
gs_status gs_verify_norm_bias(gs_subject *s, gs_error *err) GS_NODISCARD;
gs_status gs_verify_cache(gs_subject *s, gs_error *err) GS_NODISCARD;
/* values.c: every byte once. Two parts of it serve every format: float tensors that nothing has scanned, and a tied
 * head stored all the same. */
gs_status gs_verify_values(gs_subject *s, gs_error *err) GS_NODISCARD;
void gs_verify_finite(gs_subject *s);
void gs_verify_tied(gs_subject *s);
/* constants.c: a tensor of that name, of one of two types (b may be a) and [rows] or [rows, cols]; findings, and NULL, where
 * it is not there or another. */
gs_stored *gs_verify_need(gs_subject *s, const char *name, gs_dtype a, gs_dtype b, int ndim, int64_t rows, int64_t cols);
gs_stored *gs_verify_need_part(gs_subject *s, const gs_module *m, const char *suffix, gs_dtype a, gs_dtype b, int ndim,
                               int64_t rows, int64_t cols);
/* Every value positive and finite; every value zero. NULL ok. */
gs_status gs_verify_positive(gs_subject *s, const gs_stored *t, gs_error *err) GS_NODISCARD;
gs_status gs_verify_zero(gs_subject *s, gs_check check, const gs_stored *t, gs_error *err) GS_NODISCARD;
/* All values of a tensor as f32, in logical order, a float of room at least; the caller frees, also after a failure. A
 * type that cannot be read as numbers is an error: its check comes first. */
gs_status gs_read_floats(const gs_tensor *t, float **out, gs_error *err) GS_NODISCARD;
/* The same of a deq_scale, which holds the bits of an f32 where it is I64. */
gs_status gs_read_deq(const gs_tensor *t, float **out, gs_error *err) GS_NODISCARD;
/* weights.c: what a module's gs_weight says. offset is NULL when all are zero; scale [rows * groups]; the caller frees. */
gs_codes gs_weight_codes(const gs_module *m);
gs_status gs_weight_scales(const gs_module *m, float **scale, float **offset, gs_error *err) GS_NODISCARD;
/* against.c; settings_against.c and coverage.c are its parts. */
gs_status gs_verify_against(gs_subject *s, gs_error *err) GS_NODISCARD;
gs_status gs_verify_settings_against(gs_subject *s, const cJSON *source, gs_error *err) GS_NODISCARD;
/* Stored tensors that have something of the source, and that nothing has compared. */
void gs_verify_coverage(gs_subject *s);
/* compressed.c, gptq.c, plain.c, mindspore.c, ckpt.c, gguf.c: the other formats. */
gs_status gs_verify_compressed(gs_subject *s, gs_error *err) GS_NODISCARD;
gs_status gs_verify_gptq(gs_subject *s, gs_error *err) GS_NODISCARD;
gs_status gs_verify_plain(gs_subject *s, gs_error *err) GS_NODISCARD;
/* Of the first two and of plain models: a module's float weight, and a bias of one of two types. */
void gs_verify_float_module(gs_subject *s, gs_module *m);
void gs_verify_bias(gs_subject *s, gs_module *m, gs_dtype otherwise);
void gs_verify_known_keys(gs_subject *s, gs_check check, const cJSON *object, const char *const *keys);
gs_status gs_verify_mindspore(gs_subject *s, gs_error *err) GS_NODISCARD;
gs_status gs_verify_ckpt(gs_subject *s, gs_error *err) GS_NODISCARD;
gs_status gs_verify_gguf(gs_subject *s, gs_error *err) GS_NODISCARD;

#endif
