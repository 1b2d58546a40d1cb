/* NetworkHelper: what a model family is, as data. A family is one file with one row; the
 * walk, the algorithms and the bundles never ask which family a network came from.
 *
 * Names are tensor-name stems (without ".weight"); `block` contains one %d for the layer.
 * A decoder block is
 *     h = x + o(attention(rope(q(n)), rope(k(n)), v(n))),  n = input_norm(x)
 *     y = h + down(swiglu(gate(m), up(m))),                m = post_norm(h)
 * and differences between families become further members here, never code elsewhere.
 * To add one: write llm/helpers/<family>.c with a row, list it in GS_HELPER_LIST.
 */
#ifndef GS_LLM_NETWORK_HELPER_H
#define GS_LLM_NETWORK_HELPER_H

#include <loaders/config.h>
#include <network/net.h>

typedef struct gs_network_helper {
    const char *family;             /* "llama" */
    const char *model_types[8];     /* config.json model_type values, NULL-terminated */
    struct {
        const char *embed, *final_norm, *head;
        const char *block;          /* "model.layers.%d" */
        /* below the block */
        const char *input_norm, *q, *k, *v, *o, *post_norm, *gate, *up, *down;
    } name;
    const char *redundant[4];       /* tensor-name endings that carry no parameter */
    /* q, k and v have a bias and o has none, which no key of config.json says; false: attention_bias decides for all. */
    bool qkv_bias;
    /* Refuses settings of config.json that this row does not express (GS_E_UNSUPPORTED,
     * naming key and value). May be NULL. */
    gs_status (*check)(const gs_model_config *config, gs_error *err);
} gs_network_helper;

#define GS_HELPER_LIST(X) X(llama) X(qwen2)

#define X(family) extern const gs_network_helper gs_helper_##family;
GS_HELPER_LIST(X)
#undef X

/* The row for a config.json. GS_E_UNSUPPORTED naming the nearest known model_type. */
gs_status gs_network_helper_find(const gs_model_config *config, const gs_network_helper **out,
                                 gs_error *err) GS_NODISCARD;

#endif
