/* NetworkHelper: what a model family is, as data. A family is one file with one row; the
 * walk, the algorithms and the bundles never ask which family a network came from. A row can also be read from a
 * JSON file at run time (gs_network_helper_load): same members, same names.
 *
 * Names are tensor-name stems (without ".weight"); `block` contains one %d for the layer. With the names it has, a
 * decoder block is (a norm that has no name is not there)
 *
 *     n = attention_input_norm(x)
 *     q, k, v = q(n), k(n), v(n), or slices of qkv(n);  q, k = q_norm(q), k_norm(k);  rotated unless ALiBi
 *     h = x + residual * attention_output_norm(o(attention(q, k, v)))
 *     m = mlp_input_norm(h)
 *     g, u = gate(m), up(m), or halves of gate_up(m)
 *     y = h + residual * mlp_output_norm(down(activation(g) * u))
 *
 * or, in the sparse layers of a row that has a router, with p the shares of the most likely experts by router(m)
 *
 *     y = h + residual * mlp_output_norm(sum over experts e of p_e * down_e(activation(gate_e(m)) * up_e(m)))
 *
 * and differences between families become further members here, never code elsewhere.
 * To add one: docs/adding-a-model.md.
 *
 * For users of Golden Stick's NetworkHelper, whose questions this row answers without functions:
 *     get_spec(name)            a key of config.json, or a member named after it below
 *     create_network()          gs_model_take, which walks the row; create_tokenizer(): loaders/tokenizer.h
 *     get_linears, get_decoder_layers    gs_model_segment: the LINEAR nodes of a block's net
 *     analysis_decoder_groups, get_pre_layer    asked of the net (who reads an edge, ptq/edge_group.h), which knows it
 *                               for every family; `name.attention_input_norm` and so on are what they find
 *     get_qkv_names ...         name.q, k, v, qkv, gate, up, gate_up, down
 *     generate, assemble_inputs no question of a family: gs_walk_hidden takes rows of any sequences
 */
#ifndef GS_LLM_NETWORK_HELPER_H
#define GS_LLM_NETWORK_HELPER_H

#include <loaders/config.h>
#include <network/net.h>

typedef struct gs_helper_names {
    const char *embed, *final_norm, *head;
    const char *embed_tensor; /* of alternative names: the embedding's last word; NULL: "weight" */
    const char *block;        /* "model.layers.%d" */
    /* below the block; NULL: there is none */
    const char *attention_input_norm, *attention_output_norm, *mlp_input_norm, *mlp_output_norm;
    const char *q, *k, *v, *o;
    const char *qkv;          /* all three in one linear; where it has a name it stands for q, k and v */
    const char *q_norm, *k_norm;
    const char *gate, *up, *down;
    const char *gate_up;      /* both in one linear, gate first */
    /* A mixture of experts, read under these names alone (`alternative` has none): the linear that gives their logits, where
     * expert %d is, and what is in it; no biases. */
    const char *router, *expert;
    const char *expert_gate, *expert_up, *expert_down;
} gs_helper_names;

struct gs_decoder_settings;

typedef struct gs_network_helper {
    const char *family;             /* "llama" */
    const char *model_types[8];     /* config.json model_type values, NULL-terminated */
    gs_helper_names name;
    /* The same tensors under the names of another framework: a checkpoint that has `alternative.embed` and not
     * `name.embed` is read as if it had the names above. Zeroed: there are none. A fused linear that these names do not
     * have is read from its parts. */
    gs_helper_names alternative;
    const char *redundant[4];       /* tensor-name endings that carry no parameter */

    /* Whether linears have a bias: a key of config.json that says so, "true", or NULL for never. */
    const char *qkv_bias, *o_bias, *mlp_bias;
    bool qkv_by_group;   /* rows of qkv: for each key-value head its query heads, its key, its value; else all q, k, v */
    bool norm_plus_one;  /* norms multiply by 1 + weight */
    bool qk_norm_whole;  /* q_norm and k_norm go over all heads at once; else over each */
    bool alibi;          /* distances are added to scores instead of rotating q and k */
    bool normalize_head; /* rows of the output projection are used at length 1 */
    bool tied;           /* the head is the embedding where config.json does not say (tie_word_embeddings) */

    /* Numbers, each a key of config.json; NULL or a key that is absent: 1, or no cap. */
    const char *embedding_multiplier; /* of the embedding's output */
    bool embedding_by_width;          /* sqrt(hidden_size) instead, rounded to the model's dtype */
    const char *residual_multiplier;
    const char *attention_multiplier; /* scores are multiplied by it, by 1 where config.json is silent; NULL: head_dim^-0.5 */
    const char *attention_width;      /* by its value^-0.5 instead */
    const char *attention_softcap, *logits_softcap;
    const char *logits_divisor;

    /* Sliding windows: sliding_window is obeyed. "layer_types" of config.json says in which layers; without it, all for
     * which the following hold. */
    bool window;
    const char *window_when; /* key of config.json that must be true, else no layer has one */
    const char *window_from; /* key: in layers from that one on */
    int64_t window_every;    /* in all but each so-maniest layer; 0: in all. sliding_window_pattern must agree */
    bool window_unscaled;    /* a layer with one rotates without the rope scaling, which is for the others */

    /* Experts: config.json counts them (num_experts and its other spellings, num_experts_per_tok). */
    const char *expert_width;       /* key of their intermediate size; NULL: intermediate_size */
    const char *expert_renormalize; /* whether shares are divided by their sum: a key that says so, "true", or NULL: never */
    const char *dense_layers;       /* key: list of layers with a dense mlp all the same; NULL: none */
    const char *expert_every;       /* key: experts are in each so-maniest layer alone; NULL: in all */

    /* Last word, for a rule that no member says: changes settings of one model, or refuses its config.json
     * (GS_E_UNSUPPORTED, naming key and value). NULL in most rows and in all that come from JSON. */
    gs_status (*settle)(const gs_model_config *config, struct gs_decoder_settings *settings, gs_error *err);
} gs_network_helper;

#define GS_HELPER_LIST(X)                                                                                             \
    X(llama) X(baichuan) X(gemma2) X(granite) X(internlm2) X(mistral) X(mixtral) X(olmo2) X(phi3) X(qwen2) X(qwen3)       \
    X(qwen3_moe)

#define X(family) extern const gs_network_helper gs_helper_##family;
GS_HELPER_LIST(X)
#undef X

/* The row for a config.json: `extra` (may be NULL) if it lists its model_type, else a compiled one. GS_E_UNSUPPORTED
 * naming the nearest known model_type, or the number of experts of a mixture whose row has none. */
gs_status gs_network_helper_find(const gs_model_config *config, const gs_network_helper *extra,
                                 const gs_network_helper **out, gs_error *err) GS_NODISCARD;

/* A row from a JSON file (docs/adding-a-model.md): an object with the members above by their names, "name" and
 * "alternative" objects, "model_types" and "redundant" lists. GS_E_FORMAT for an unknown member (with the nearest known),
 * a wrong type, a name that cannot be, or a row without the names that every network needs. */
gs_status gs_network_helper_load(const char *path, gs_network_helper **out, gs_error *err) GS_NODISCARD;
/* The same from text of `len` bytes; errors name no file. */
gs_status gs_network_helper_parse(const char *text, size_t len, gs_network_helper **out, gs_error *err) GS_NODISCARD;
void gs_network_helper_free(gs_network_helper *loaded); /* of those two; NULL ok */

#endif
