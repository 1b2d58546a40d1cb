/* What gguf_families.c, gguf_hf.c, gguf_hf_config.c, gguf_hf_rope.c and gguf_hf_put.c share: the rows of what is
 * known about an architecture, the sizes read from the metadata before any tensor is named, and the view itself.
 * Private to the room. */
#ifndef GS_LOADERS_GGUF_HF_CONFIG_H
#define GS_LOADERS_GGUF_HF_CONFIG_H

#include <loaders/gguf_hf.h>

/* ---- rows (gguf_families.c) ---- */

/* Which tensors an architecture has; a row of names is used where it shares a bit with the family. */
typedef enum gs_gguf_names {
    GS_GGUF_NORMS_BEFORE = 1, /* of attention and mlp */
    GS_GGUF_NORMS_AROUND = 2, /* before and behind both */
    GS_GGUF_NORMS_BEHIND = 4,
    GS_GGUF_PARTS = 8,        /* q, k and v, each its own */
    GS_GGUF_FUSED = 16,       /* qkv in one, gate and up in one */
    GS_GGUF_QK_NORMS = 32,
    GS_GGUF_DENSE = 64,       /* gate, up and down, each its own */
    GS_GGUF_EXPERTS_W = 128,  /* a router and experts, under either's names */
    GS_GGUF_EXPERTS_PROJ = 256,
    GS_GGUF_EVERY = -1
} gs_gguf_names;

/* What a tensor belongs to. Bits: a family's `biases` are those that llama.cpp reads biases of. */
typedef enum gs_gguf_part { GS_GGUF_NORM = 0, GS_GGUF_QKV = 1, GS_GGUF_O = 2, GS_GGUF_MLP = 4 } gs_gguf_part;

/* What the architecture makes of config.json's sliding_window. */
typedef enum gs_gguf_window {
    GS_GGUF_WINDOW_IGNORED,   /* so does the model */
    GS_GGUF_WINDOW_LOST,      /* llama.cpp lets everything attend to everything: one that cuts cannot be written */
    GS_GGUF_WINDOW_LOST_WHEN, /* the same, where use_sliding_window is true */
    GS_GGUF_WINDOW_SAID,      /* a key says it; llama.cpp reads it, warns, and lets everything attend to everything */
    GS_GGUF_WINDOW_ALTERNATES /* a key says it, for layers 0, 2, 4 ... */
} gs_gguf_window;

typedef enum gs_gguf_head_size {
    GS_GGUF_HEADS_DIVIDE, /* hidden size / heads: llama.cpp takes the output projection for square */
    GS_GGUF_HEADS_FREE,
    GS_GGUF_HEADS_SAID    /* free, and config.json always says it: the family's default is a number */
} gs_gguf_head_size;

typedef enum gs_gguf_output {
    GS_GGUF_OUTPUT_MAY_TIE,
    GS_GGUF_OUTPUT_OWN, /* llama.cpp wants output.weight */
    GS_GGUF_OUTPUT_TIED /* llama.cpp knows no output.weight; config.json need not say that it is tied */
} gs_gguf_output;

typedef enum gs_gguf_numbers { GS_GGUF_NO_NUMBERS, GS_GGUF_MULTIPLIERS, GS_GGUF_SOFT_CAPS } gs_gguf_numbers;

/* What config.json calls the numbers of a mixture of experts, all of whose layers are sparse. */
typedef struct gs_gguf_mixture {
    const char *count;       /* NULL: there are none */
    const char *width;       /* NULL: intermediate_size */
    const char *renormalize; /* a key that says so, llama.cpp does; NULL: the family does in any case */
} gs_gguf_mixture;

/* Several rows may have one architecture: a file is read as the first that has experts if the file has. */
typedef struct gs_gguf_family {
    const char *architecture; /* general.architecture, also the prefix of the size keys */
    const char *model_type, *class_name, *hidden_act; /* as config.json spells them */
    bool interleaved;         /* q and k rows, and their biases, lie as GS_ROWS_LLAMA_INTERLEAVED */
    int names;                /* gs_gguf_names */
    int biases;               /* gs_gguf_part */
    gs_gguf_window window;
    gs_gguf_head_size head_size;
    gs_gguf_output output;
    gs_gguf_numbers numbers;
    bool rope_divisors;       /* llama.cpp reads rope_freqs.weight */
    bool rope_part;           /* rope.dimension_count may be less than a head */
    float norm_shift;         /* the file's norms are larger by it: config.json's family multiplies by 1 + weight */
    gs_gguf_mixture experts;  /* read, not written: a file stacks in one tensor what many nodes hold */
    int64_t only_layers;      /* 0, or how many layers llama.cpp takes for a model that rotates */
    int64_t wide_layers;      /* so many layers: scores are scaled by (hidden size / heads)^-0.5, not head_dim^-0.5 */
} gs_gguf_family;

/* "x.<gguf>" of the metadata is <hf> of config.json. */
typedef struct gs_gguf_number {
    gs_gguf_numbers kind;
    const char *gguf, *hf;
    double absent_file;   /* what llama.cpp takes for an absent key; 0: the key must be there; -1: head_dim^-0.5 */
    double absent_config; /* what the family takes; 0: none, which llama.cpp cannot be told */
} gs_gguf_number;

/* "blk.N.<gguf>.weight" is "model.layers.N.<hf>.weight"; norms have no ".bias". With %d in hf the file's tensor is a
 * stack, [experts, rows, cols], and that the name of each. */
typedef struct gs_gguf_layer_name {
    const char *gguf, *hf;
    gs_gguf_part part;
    enum { GS_GGUF_ROWS_PLAIN, GS_GGUF_ROWS_Q, GS_GGUF_ROWS_K } rows; /* whose heads the rows belong to */
    int names; /* gs_gguf_names */
} gs_gguf_layer_name;

/* Item i, or NULL behind the last. */
const gs_gguf_number *gs_gguf_number_at(size_t i);
const gs_gguf_layer_name *gs_gguf_layer_name_at(const gs_gguf_family *family, size_t i); /* those of the family */
/* "token_embd.weight" and its like; NULL: none. */
const char *gs_gguf_model_name(const char *gguf);
const char *gs_gguf_model_name_back(const char *hf);

/* GS_E_UNSUPPORTED with the known as hint. */
gs_status gs_gguf_family_of(gs_gguf_str architecture, bool experts, const gs_gguf_family **out,
                            gs_error *err) GS_NODISCARD;
gs_status gs_gguf_family_find(const char *model_type, const gs_gguf_family **out, gs_error *err) GS_NODISCARD;
/* What scores are multiplied by, as a width: its value^-0.5. */
int64_t gs_gguf_attention_width(const gs_gguf_family *family, int64_t layers, int64_t hidden, int64_t heads,
                                int64_t head_dim);

/* ---- sizes and the view ---- */

/* head_dim is always set; explicit_head_dim when the file says it rather than hidden/heads. */
typedef struct gs_gguf_sizes {
    int64_t layers, hidden, intermediate, heads, kv_heads, head_dim, rope_dim, context;
    int64_t window; /* 0: none */
    int64_t experts, experts_used, expert_width; /* 0: there are none */
    bool explicit_head_dim;
    double norm_eps, rope_theta;
} gs_gguf_sizes;

struct gs_gguf_hf {
    const gs_gguf *g;
    const gs_gguf_family *family;
    gs_gguf_sizes sizes;
    gs_tensor *tensors; /* names owned (gs_free) */
    float **made;       /* [slots], owned: data of vectors whose values are not the file's, or NULL */
    size_t count, slots; /* tensors, as many as there is room for */
    bool tied, attention_bias, mlp_bias;
    const gs_tensor *rope_freqs; /* per-frequency divisors [head_dim/2], or NULL */
};

/* Reads and range-checks the sizes; refuses (GS_E_UNSUPPORTED) per-layer sizes that differ
 * and metadata that changes the arithmetic in ways config.json cannot say. */
gs_status gs_gguf_sizes_read(const gs_gguf *g, const gs_gguf_family *family, gs_gguf_sizes *out,
                             gs_error *err) GS_NODISCARD;

enum { GS_GGUF_KEY_MAX = 128 };
/* Metadata keys of an architecture begin with its name: "x.block_count". Into buf, and returns it. */
const char *gs_gguf_key(const gs_gguf_family *family, const char *suffix, char buf[GS_GGUF_KEY_MAX]);

/* ---- pieces of config.json (gguf_hf_config.c, gguf_hf_rope.c) ---- */

/* Adds to a tree; remembers a failed allocation. */
typedef struct gs_gguf_builder {
    cJSON *object;
    bool failed;
} gs_gguf_builder;
void gs_gguf_put_number(gs_gguf_builder *b, const char *key, double value);
void gs_gguf_put_string(gs_gguf_builder *b, const char *key, const char *value);
/* A finite number above zero, at most 1e15, into *out. Absent: *out keeps its value, which is the default; 0 there
 * means that there is none, GS_E_FORMAT. */
gs_status gs_gguf_read_real(const gs_gguf *g, const gs_gguf_family *family, const char *suffix, double *out,
                            gs_error *err) GS_NODISCARD;
/* GGUF stores f32; config.json means the short decimal that the f32 was rounded from (1e-5f is 1e-05, not
 * 9.99999974737875e-06). The shortest decimal that rounds to the same f32. */
double gs_gguf_shortest_decimal(double v);
/* rope_theta, rope_scaling, partial_rotary_factor. */
gs_status gs_gguf_put_rope(const gs_gguf_hf *h, gs_gguf_builder *b, gs_error *err) GS_NODISCARD;

/* Llama 3's scaling, which GGUF spells as one divisor a frequency. With inv_j = theta^(-2j/hd), wavelength l =
 * 2*pi/inv_j and o the original number of positions, frequency j is divided by
 *   1                                  where l < o/high
 *   factor                             where l > o/low
 *   1 / ((1-t)/factor + t)             between, t = (o/l - low)/(high - low)
 * Source: Hugging Face transformers, rope type "llama3". */
typedef struct gs_llama3_scaling {
    double theta, factor, low, high, original;
    int64_t head_dim;
} gs_llama3_scaling;
double gs_llama3_divisor(const gs_llama3_scaling *s, int64_t j);

/* The constants of every published model. Where a file's are others, pairs of our own say which: readers that do not
 * know them lose nothing, the divisors are what counts. */
#define GS_LLAMA3_LOW 1.0
#define GS_LLAMA3_HIGH 4.0
#define GS_LLAMA3_ORIGINAL 8192.0
#define GS_LLAMA3_KEY "gstick.rope_scaling." /* + "factor", "low", "high", "original": f32 */

/* llama.cpp multiplies cosine and sine by gs_yarn_amplitude(factor, 1), and by rope.scaling.attn_factor; its ramp lies between
 * these. (rope.scaling.yarn_attn_factor, yarn_beta_fast and yarn_beta_slow it reads for other architectures alone.) */
#define GS_YARN_BETA_FAST 32.0
#define GS_YARN_BETA_SLOW 1.0

#endif
