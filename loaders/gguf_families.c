/* What is known about GGUF's architectures, as data. Sources: llama.cpp as llama-cpp-python 0.3.36 carries it
 * (src/models/<architecture>.cpp for what is read and computed, llama_model_rope_type for whose rows are interleaved,
 * conversion/<family>.py for what is added and reordered) and its gguf-py/gguf/constants.py (keys and names). Judged
 * by llama.cpp itself: tests/interop/run.py. */
#include <loaders/gguf_hf_config.h>

#include <base/strbuf.h>

#include <string.h>

enum {
    LLAMA = GS_GGUF_NORMS_BEFORE | GS_GGUF_PARTS | GS_GGUF_DENSE,
    ALL_BIASES = GS_GGUF_QKV | GS_GGUF_O | GS_GGUF_MLP
};

static const gs_gguf_family families[] = {
    {.architecture = "llama", .model_type = "llama", .class_name = "LlamaForCausalLM", .hidden_act = "silu",
     .interleaved = true, .names = LLAMA, .biases = ALL_BIASES, .head_size = GS_GGUF_HEADS_FREE, .rope_divisors = true},
    {.architecture = "qwen2", .model_type = "qwen2", .class_name = "Qwen2ForCausalLM", .hidden_act = "silu",
     .names = LLAMA, .biases = GS_GGUF_QKV, .window = GS_GGUF_WINDOW_LOST_WHEN},
    /* only written: its file says no word that a Llama's does not */
    {.architecture = "llama", .model_type = "mistral", .class_name = "MistralForCausalLM", .hidden_act = "silu",
     .interleaved = true, .names = LLAMA, .head_size = GS_GGUF_HEADS_FREE, .window = GS_GGUF_WINDOW_LOST,
     .rope_divisors = true},
    {.architecture = "qwen3", .model_type = "qwen3", .class_name = "Qwen3ForCausalLM", .hidden_act = "silu",
     .names = LLAMA | GS_GGUF_QK_NORMS, .head_size = GS_GGUF_HEADS_SAID, .window = GS_GGUF_WINDOW_LOST_WHEN},
    {.architecture = "phi3", .model_type = "phi3", .class_name = "Phi3ForCausalLM", .hidden_act = "silu",
     .names = GS_GGUF_NORMS_BEFORE | GS_GGUF_FUSED, .window = GS_GGUF_WINDOW_SAID, .rope_part = true},
    {.architecture = "gemma2", .model_type = "gemma2", .class_name = "Gemma2ForCausalLM",
     .hidden_act = "gelu_pytorch_tanh", .names = GS_GGUF_NORMS_AROUND | GS_GGUF_PARTS | GS_GGUF_DENSE,
     .head_size = GS_GGUF_HEADS_SAID,
     .window = GS_GGUF_WINDOW_ALTERNATES, .output = GS_GGUF_OUTPUT_TIED, .numbers = GS_GGUF_SOFT_CAPS, .norm_shift = 1,
     .wide_layers = 46},
    {.architecture = "granite", .model_type = "granite", .class_name = "GraniteForCausalLM", .hidden_act = "silu",
     .interleaved = true, .names = LLAMA, .biases = ALL_BIASES, .numbers = GS_GGUF_MULTIPLIERS, .rope_divisors = true},
    {.architecture = "olmo2", .model_type = "olmo2", .class_name = "Olmo2ForCausalLM", .hidden_act = "silu",
     .names = GS_GGUF_NORMS_BEHIND | GS_GGUF_PARTS | GS_GGUF_DENSE | GS_GGUF_QK_NORMS, .output = GS_GGUF_OUTPUT_OWN},
    {.architecture = "llama", .model_type = "mixtral", .class_name = "MixtralForCausalLM", .hidden_act = "silu",
     .interleaved = true, .names = GS_GGUF_NORMS_BEFORE | GS_GGUF_PARTS | GS_GGUF_EXPERTS_W,
     .head_size = GS_GGUF_HEADS_FREE, .rope_divisors = true, .experts = {"num_local_experts", NULL, NULL}},
    {.architecture = "qwen3moe", .model_type = "qwen3_moe", .class_name = "Qwen3MoeForCausalLM", .hidden_act = "silu",
     .names = GS_GGUF_NORMS_BEFORE | GS_GGUF_PARTS | GS_GGUF_QK_NORMS | GS_GGUF_EXPERTS_PROJ,
     .head_size = GS_GGUF_HEADS_SAID, .experts = {"num_experts", "moe_intermediate_size", "norm_topk_prob"}},
    /* only read: what is fused in their own files is split in these, and computed as a Llama */
    {.architecture = "internlm2", .model_type = "llama", .class_name = "LlamaForCausalLM", .hidden_act = "silu",
     .interleaved = true, .names = LLAMA},
    {.architecture = "baichuan", .model_type = "llama", .class_name = "LlamaForCausalLM", .hidden_act = "silu",
     .interleaved = true, .names = LLAMA, .only_layers = 32},
};

static const gs_gguf_number numbers[] = {
    {GS_GGUF_MULTIPLIERS, "attention.scale", "attention_multiplier", -1, 1},
    {GS_GGUF_MULTIPLIERS, "embedding_scale", "embedding_multiplier", 1, 1},
    {GS_GGUF_MULTIPLIERS, "residual_scale", "residual_multiplier", 1, 1},
    {GS_GGUF_MULTIPLIERS, "logit_scale", "logits_scaling", 0, 1},
    {GS_GGUF_SOFT_CAPS, "attn_logit_softcapping", "attn_logit_softcapping", 50, 0},
    {GS_GGUF_SOFT_CAPS, "final_logit_softcapping", "final_logit_softcapping", 30, 0},
};

static const struct {
    const char *gguf, *hf;
} model_names[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
};

enum { AROUND = GS_GGUF_NORMS_AROUND, BEHIND = GS_GGUF_NORMS_BEHIND };

static const gs_gguf_layer_name layer_names[] = {
    {"attn_norm", "input_layernorm", GS_GGUF_NORM, GS_GGUF_ROWS_PLAIN, GS_GGUF_NORMS_BEFORE | AROUND},
    {"attn_q", "self_attn.q_proj", GS_GGUF_QKV, GS_GGUF_ROWS_Q, GS_GGUF_PARTS},
    {"attn_k", "self_attn.k_proj", GS_GGUF_QKV, GS_GGUF_ROWS_K, GS_GGUF_PARTS},
    {"attn_v", "self_attn.v_proj", GS_GGUF_QKV, GS_GGUF_ROWS_PLAIN, GS_GGUF_PARTS},
    {"attn_qkv", "self_attn.qkv_proj", GS_GGUF_QKV, GS_GGUF_ROWS_PLAIN, GS_GGUF_FUSED},
    {"attn_q_norm", "self_attn.q_norm", GS_GGUF_NORM, GS_GGUF_ROWS_PLAIN, GS_GGUF_QK_NORMS},
    {"attn_k_norm", "self_attn.k_norm", GS_GGUF_NORM, GS_GGUF_ROWS_PLAIN, GS_GGUF_QK_NORMS},
    {"attn_output", "self_attn.o_proj", GS_GGUF_O, GS_GGUF_ROWS_PLAIN, GS_GGUF_EVERY},
    {"post_attention_norm", "post_attention_layernorm", GS_GGUF_NORM, GS_GGUF_ROWS_PLAIN, AROUND | BEHIND},
    {"ffn_norm", "post_attention_layernorm", GS_GGUF_NORM, GS_GGUF_ROWS_PLAIN, GS_GGUF_NORMS_BEFORE},
    {"ffn_norm", "pre_feedforward_layernorm", GS_GGUF_NORM, GS_GGUF_ROWS_PLAIN, AROUND},
    {"ffn_gate", "mlp.gate_proj", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_DENSE},
    {"ffn_up", "mlp.up_proj", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_DENSE},
    {"ffn_up", "mlp.gate_up_proj", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_FUSED},
    {"ffn_down", "mlp.down_proj", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_DENSE | GS_GGUF_FUSED},
    {"ffn_gate_inp", "block_sparse_moe.gate", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_EXPERTS_W},
    {"ffn_gate_exps", "block_sparse_moe.experts.%d.w1", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_EXPERTS_W},
    {"ffn_up_exps", "block_sparse_moe.experts.%d.w3", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_EXPERTS_W},
    {"ffn_down_exps", "block_sparse_moe.experts.%d.w2", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_EXPERTS_W},
    {"ffn_gate_inp", "mlp.gate", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_EXPERTS_PROJ},
    {"ffn_gate_exps", "mlp.experts.%d.gate_proj", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_EXPERTS_PROJ},
    {"ffn_up_exps", "mlp.experts.%d.up_proj", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_EXPERTS_PROJ},
    {"ffn_down_exps", "mlp.experts.%d.down_proj", GS_GGUF_MLP, GS_GGUF_ROWS_PLAIN, GS_GGUF_EXPERTS_PROJ},
    {"post_ffw_norm", "post_feedforward_layernorm", GS_GGUF_NORM, GS_GGUF_ROWS_PLAIN, AROUND | BEHIND},
};

const gs_gguf_number *gs_gguf_number_at(size_t i) { return i < GS_COUNTOF(numbers) ? &numbers[i] : NULL; }

const gs_gguf_layer_name *gs_gguf_layer_name_at(const gs_gguf_family *family, size_t i) {
    for (size_t k = 0; k < GS_COUNTOF(layer_names); k++)
        if ((layer_names[k].names & family->names) && i-- == 0) return &layer_names[k];
    return NULL;
}

const char *gs_gguf_model_name(const char *gguf) {
    for (size_t i = 0; i < GS_COUNTOF(model_names); i++)
        if (strcmp(gguf, model_names[i].gguf) == 0) return model_names[i].hf;
    return NULL;
}

const char *gs_gguf_model_name_back(const char *hf) {
    for (size_t i = 0; i < GS_COUNTOF(model_names); i++)
        if (strcmp(hf, model_names[i].hf) == 0) return model_names[i].gguf;
    return NULL;
}

int64_t gs_gguf_attention_width(const gs_gguf_family *family, int64_t layers, int64_t hidden, int64_t heads,
                                int64_t head_dim) {
    return family->wide_layers && layers == family->wide_layers ? hidden / heads : head_dim;
}

/* ---- which row ---- */

static const char *architecture(size_t i) { return families[i].architecture; }
static const char *written_type(size_t i) { return families[i].experts.count ? NULL : families[i].model_type; }

/* Each word once; NULL: none. */
static void hint_known(const char *(*word)(size_t), gs_error *err) {
    gs_strbuf known = {0};
    for (size_t i = 0; i < GS_COUNTOF(families); i++) {
        size_t first = 0;
        while (word(i) && (!word(first) || strcmp(word(first), word(i)) != 0)) first++;
        if (word(i) && first == i) gs_strbuf_printf(&known, "%s%s", i ? ", " : "", word(i));
    }
    gs_error_hint(err, "known: %s", gs_strbuf_text(&known));
    gs_strbuf_clear(&known);
}

static bool is_architecture(size_t i, gs_gguf_str name) {
    return strlen(families[i].architecture) == name.len && memcmp(families[i].architecture, name.data, name.len) == 0;
}

gs_status gs_gguf_family_of(gs_gguf_str name, bool experts, const gs_gguf_family **out, gs_error *err) {
    *out = NULL;
    for (size_t i = 0; i < GS_COUNTOF(families); i++) {
        if (!is_architecture(i, name)) continue;
        bool fits = experts == (families[i].experts.count != NULL);
        if (fits || !*out) *out = &families[i];
        if (fits) return GS_OK;
    }
    if (*out) return GS_OK; /* whose reader says what is wrong */
    (void)GS_FAIL(err, GS_E_UNSUPPORTED, "GGUF architecture '%.*s' is not supported",
                  name.len < 64 ? (int)name.len : 64, name.data);
    hint_known(architecture, err);
    return GS_E_UNSUPPORTED;
}

gs_status gs_gguf_family_find(const char *type, const gs_gguf_family **out, gs_error *err) {
    for (size_t i = 0; i < GS_COUNTOF(families); i++) {
        if (strcmp(families[i].model_type, type) != 0) continue;
        *out = &families[i];
        return GS_OK;
    }
    (void)GS_FAIL(err, GS_E_UNSUPPORTED, "no GGUF architecture is known for model_type '%.60s'", type);
    hint_known(written_type, err);
    return GS_E_UNSUPPORTED;
}
