"""Small models with random weights as transformers makes and saves them: make(name, folder), or save(config, folder) of any
configuration. Each name is a setting that the reference models of the shared data do not have."""

import os

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

SIZES = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": False, "pad_token_id": 0,
         "bos_token_id": 1, "eos_token_id": 2}


def rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


MOE = {"head_dim": 32, "moe_intermediate_size": 40}
# name: model_type and settings, and the description of a family that is not built in
SETTINGS = {
    "llama yarn": ("llama", rope("yarn", factor=4.0, original_max_position_embeddings=32)),
    "llama yarn with betas": ("llama", rope("yarn", factor=8.0, original_max_position_embeddings=16, beta_fast=16.0, beta_slow=2.0,
                                            attention_factor=0.9)),
    "llama dynamic": ("llama", rope("dynamic", factor=2.0)),
    "llama linear": ("llama", rope("linear", factor=3.0)),
    "llama llama3": ("llama", rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                   original_max_position_embeddings=32)),
    "llama one head dim": ("llama", {"head_dim": 24}),
    "llama biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral window 7": ("mistral", {"sliding_window": 7}),
    "qwen2 window after 1 layer": ("qwen2", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}),
    "qwen3 tied": ("qwen3", {"head_dim": 20, "tie_word_embeddings": True}),
    "qwen3 biases": ("qwen3", {"head_dim": 16, "attention_bias": True}),
    "granite": ("granite", {"embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.7,
                            "logits_scaling": 2.0}),
    "gemma2 window 5": ("gemma2", {"head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 20,
                                   "attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0}),
    "olmo2": ("olmo2", {}),
    "phi3": ("phi3", {"partial_rotary_factor": 1.0}),
    "llama yarn with mscale": ("llama", {"head_dim": 64, **rope("yarn", factor=8.0, original_max_position_embeddings=16, mscale=1.0,
                                                                mscale_all_dim=0.7)}),
    "phi3 window 20": ("phi3", {"sliding_window": 20}),
    "qwen3 biases and windows": ("qwen3", {"head_dim": 32, "attention_bias": True, "use_sliding_window": True, "sliding_window": 20,
                                           "max_window_layers": 1}),
    "granite biases": ("granite", {"attention_bias": True, "mlp_bias": True, "logits_scaling": 3.0, "attention_multiplier": 0.2,
                                   "embedding_multiplier": 5.0, "residual_multiplier": 0.4}),
    "mixtral window 20": ("mixtral", {"num_local_experts": 5, "num_experts_per_tok": 3, "sliding_window": 20}),
    "mixtral takes all": ("mixtral", {"num_local_experts": 3, "num_experts_per_tok": 3}),
    "qwen3_moe plain shares": ("qwen3_moe", {**MOE, "num_experts": 12, "num_experts_per_tok": 4, "norm_topk_prob": False,
                                             "decoder_sparse_step": 2, "attention_bias": True}),
    "qwen3_moe takes one": ("qwen3_moe", {**MOE, "num_experts": 8, "num_experts_per_tok": 1, "norm_topk_prob": True,
                                          "mlp_only_layers": [0, 2]}),
    "gemma3 described": ("gemma3_text", {"head_dim": 32, "sliding_window": 20, "query_pre_attn_scalar": 24, "num_hidden_layers": 7},
                         "examples/helpers/gemma3_text.json"),
    "olmo3 described": ("olmo3", {"sliding_window": 20, "num_hidden_layers": 5, "rope_scaling":
                                  {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}},
                        "examples/helpers/olmo3.json"),
    # what llama.cpp computes, too
    "llama yarn with a factor of attention": ("llama", rope("yarn", factor=4.0, original_max_position_embeddings=32,
                                                            attention_factor=0.7)),
    "qwen2 yarn": ("qwen2", rope("yarn", factor=4.0, original_max_position_embeddings=32)),
    "mistral without window": ("mistral", {"sliding_window": None, "head_dim": 24}),
    "gemma2 window 5 of 64": ("gemma2", {"head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 16, "tie_word_embeddings": True,
                                         "attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0}),
    "gemma2 wide heads": ("gemma2", {"head_dim": 24, "sliding_window": 7, "query_pre_attn_scalar": 24,
                                     "tie_word_embeddings": True}),
    "phi3 half rotated": ("phi3", {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
                                   "tie_word_embeddings": True}),
}


def save(config, folder, seed, count=128):
    """Writes a random model and ids.i32 of `count` tokens, whose path is returned."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 1.5 / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    ids = np.random.default_rng(seed).integers(3, config.vocab_size, count).astype("<i4")
    path = os.path.join(folder, "ids.i32")
    ids.tofile(path)
    return path


def make(name, folder):
    kind, settings = SETTINGS[name][:2]
    return save(AutoConfig.for_model(kind, **{**SIZES, **settings}), folder, sum(map(ord, name)))
