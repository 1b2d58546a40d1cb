#!/usr/bin/env python3
"""Logits of small random models of a family, as transformers computes them (in float64, mixtures of experts in float32), against gstick's.

    python3 family_logits.py GSTICK [NAME ...]
    python3 family_logits.py GSTICK --config CONFIG.json --helper FILE.json

The first form runs the cases below (all, or those named): settings that the shared reference models do not have. The second
makes a model of a config.json (its sizes are made small) and reads it with a row described in JSON. Exit code 0 when every
largest difference is below 1e-3.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers

HERE = os.path.dirname(os.path.abspath(__file__))
SMALL = {"vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 512}
TOKENS = 96


def rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


# name: model_type, settings, and the row of a family that is not built in
CASES = {
    "yarn": ("llama", rope("yarn", factor=4.0, original_max_position_embeddings=128), None),
    "yarn-bounds": ("llama", {"head_dim": 64, **rope("yarn", factor=8.0, original_max_position_embeddings=64, beta_fast=16.0, beta_slow=2.0,
                                                     mscale=1.0, mscale_all_dim=0.7)}, None),
    "yarn-attention-factor": ("llama", rope("yarn", factor=4.0, original_max_position_embeddings=128, attention_factor=1.3), None),
    "dynamic": ("llama", rope("dynamic", factor=2.0), None),
    "dynamic-beyond": ("llama", {"max_position_embeddings": 64, **rope("dynamic", factor=2.0)}, None),
    "phi3-partial": ("phi3", {"pad_token_id": 0, **rope("default", partial_rotary_factor=0.5)}, None),
    "phi3-window": ("phi3", {"pad_token_id": 0, "sliding_window": 20}, None),
    "qwen2-window": ("qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 2}, None),
    "qwen3-bias": ("qwen3", {"head_dim": 32, "attention_bias": True, "use_sliding_window": True, "sliding_window": 20,
                             "max_window_layers": 1}, None),
    "gemma2": ("gemma2", {"head_dim": 32, "sliding_window": 20, "query_pre_attn_scalar": 24}, None),
    "olmo2": ("olmo2", {}, None),
    "granite": ("granite", {"attention_bias": True, "mlp_bias": True, "logits_scaling": 3.0, "attention_multiplier": 0.2,
                            "embedding_multiplier": 5.0, "residual_multiplier": 0.4}, None),
    "mixtral-window": ("mixtral", {"num_local_experts": 5, "num_experts_per_tok": 3, "sliding_window": 20}, None),
    "mixtral-all": ("mixtral", {"num_local_experts": 3, "num_experts_per_tok": 3}, None),
    "qwen3-moe-shares": ("qwen3_moe", {"head_dim": 32, "num_experts": 12, "num_experts_per_tok": 4, "moe_intermediate_size": 40,
                                       "norm_topk_prob": False, "decoder_sparse_step": 2, "attention_bias": True}, None),
    "qwen3-moe-one": ("qwen3_moe", {"head_dim": 32, "num_experts": 8, "num_experts_per_tok": 1, "moe_intermediate_size": 40,
                                    "norm_topk_prob": True, "mlp_only_layers": [0, 3]}, None),
    "gemma3": ("gemma3_text", {"head_dim": 32, "sliding_window": 20, "query_pre_attn_scalar": 24, "num_hidden_layers": 7},
               os.path.join(HERE, "..", "..", "examples", "helpers", "gemma3_text.json")),
}


def random_model(config):
    """Weights that spread logits by about one; norms away from what they are initialised to, so that a forgotten one shows."""
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            about_one = p.dim() == 1 and "norm" in name and not (p == 0).all()
            p.copy_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 2.0 / p.shape[1] ** 0.5) + (1.0 if about_one else 0.0))
    return model


def difference(gstick, config, helper, folder):
    """Largest difference of the logits, and their spread."""
    model = random_model(config)
    model.save_pretrained(folder)
    ids = torch.randint(0, config.vocab_size, (TOKENS,))
    tokens, dump = os.path.join(folder, "ids.i32"), os.path.join(folder, "logits.f32")
    ids.numpy().astype("<i4").tofile(tokens)
    with torch.no_grad():
        exact = model if hasattr(config, "num_experts_per_tok") else model.double()  # experts have no product in float64
        theirs = exact(ids[None]).logits[0].float().numpy()
    command = [gstick, "eval", folder, "--tokens", tokens, "--window", str(TOKENS), "--no-bos", "--dump-logits", dump, "-q"]
    done = subprocess.run(command + (["--helper", helper] if helper else []), capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr.strip())
    ours = np.fromfile(dump, "<f4").reshape(theirs.shape)
    return float(np.abs(ours - theirs).max()), float(theirs.std())


def small_config(path):
    with open(path, encoding="utf-8") as f:
        said = json.load(f)
    said.update({k: v for k, v in SMALL.items() if k in said})
    if isinstance(said.get("layer_types"), list):
        said["layer_types"] = said["layer_types"][:SMALL["num_hidden_layers"]]
    for key in ("head_dim", "sliding_window"):
        if isinstance(said.get(key), int):
            said[key] = min(said[key], 32)
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        said[key] = None
    return transformers.AutoConfig.for_model(said.pop("model_type"), **said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gstick")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--config")
    parser.add_argument("--helper")
    o = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    cases = {n: (transformers.AutoConfig.for_model(t, **{**SMALL, **s}), h) for n, (t, s, h) in CASES.items() if not o.names or n in o.names}
    if o.config:
        cases = {os.path.basename(o.config): (small_config(o.config), o.helper)}
    bad = 0
    for name, (config, helper) in cases.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(open(os.devnull, "w")):
            try:
                worst, spread = difference(o.gstick, config, helper, folder)
                verdict = "ok" if worst < 1e-3 else "FAILED"
                print(f"{verdict:6} {name:24} largest difference {worst:.2g}, logits spread by {spread:.2f}", flush=True)
            except AssertionError as e:
                verdict = "FAILED"
                print(f"{verdict:6} {name:24} {e}", flush=True)
        bad += verdict != "ok"
    return 1 if bad or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
