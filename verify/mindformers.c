#include <verify/mindformers.h>

#include <base/error.h>

#include <stdio.h>
#include <string.h>

static const struct {
    const char *ours, *theirs;
} endings[] = {
    {"self_attn.q_proj", "attention.wq"},     {"self_attn.k_proj", "attention.wk"},
    {"self_attn.v_proj", "attention.wv"},     {"self_attn.o_proj", "attention.wo"},
    {"mlp.gate_proj", "feed_forward.w1"},     {"mlp.up_proj", "feed_forward.w3"},
    {"mlp.down_proj", "feed_forward.w2"},     {"input_layernorm", "attention_norm"},
    {"post_attention_layernorm", "ffn_norm"}, {"model.embed_tokens", "model.tok_embeddings"},
    {"model.norm", "model.norm_out"},
};

/* The last of the first n bytes of a name is `from`, whole words: `to` in its place. */
static bool translate(const char *name, size_t n, const char *from, const char *to, char out[GS_MINDFORMERS_NAME]) {
    size_t k = strlen(from), before = n - k;
    if (n < k || strncmp(name + before, from, k) != 0 || (before > 0 && name[before - 1] != '.')) return false;
    snprintf(out, GS_MINDFORMERS_NAME, "%.*s%s", (int)(before > 200 ? 200 : before), name, to);
    return true;
}

void gs_mindformers_name(const char *module, char out[GS_MINDFORMERS_NAME]) {
    snprintf(out, GS_MINDFORMERS_NAME, "%.290s", module);
    for (size_t i = 0; i < GS_COUNTOF(endings); i++)
        if (translate(module, strlen(module), endings[i].ours, endings[i].theirs, out)) return;
}

void gs_mindformers_back(const char *tensor, char out[GS_MINDFORMERS_NAME]) {
    const char *dot = strrchr(tensor, '.'), *last = dot ? dot + 1 : "";
    size_t stem = dot ? (size_t)(dot - tensor) : strlen(tensor);
    snprintf(out, GS_MINDFORMERS_NAME, "%.290s", tensor);
    for (size_t i = 0; i < GS_COUNTOF(endings); i++) {
        if (!translate(tensor, stem, endings[i].theirs, endings[i].ours, out)) continue;
        size_t n = strlen(out);
        snprintf(out + n, GS_MINDFORMERS_NAME - n, ".%.60s", strcmp(last, "embedding_weight") == 0 ? "weight" : last);
        return;
    }
}
