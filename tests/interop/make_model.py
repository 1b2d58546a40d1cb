"""Small models with random weights as transformers makes and saves them: make(name, folder). Each name is a
setting that the reference models of the shared data do not have."""

import os

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

SIZES = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": False, "pad_token_id": 0,
         "bos_token_id": 1, "eos_token_id": 2}


def rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


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
}


def make(name, folder, count=128):
    """Writes the model and ids.i32 of `count` tokens."""
    kind, settings = SETTINGS[name]
    torch.manual_seed(sum(map(ord, name)))
    config = AutoConfig.for_model(kind, **{**SIZES, **settings})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 1.5 / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    ids = np.random.default_rng(len(name)).integers(3, config.vocab_size, count).astype("<i4")
    path = os.path.join(folder, "ids.i32")
    ids.tofile(path)
    return path
