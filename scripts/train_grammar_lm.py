#!/usr/bin/env python3
"""Makes examples/grammar-lm again: tokenizer, model, evaluation text, figures.

    python3 -m venv VENV
    VENV/bin/pip install torch==2.13.0 numpy==2.4.6 tokenizers==0.23.3 safetensors==0.8.0
    VENV/bin/python scripts/train_grammar_lm.py -o examples/grammar-lm

The text comes from scripts/grammar.py, the seeds are fixed, training runs on one thread (about
twenty minutes). The same versions on the same kind of processor give the same files;
elsewhere sums are rounded in another order, and the figures differ in their last digits.
"""

import argparse
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from grammar import Paragraphs, check_prefix_free

TRAIN_SEED, EVAL_SEED, WEIGHT_SEED = 20240, 31337, 7
VOCAB, HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, CONTEXT = 512, 128, 352, 4, 4, 2, 2048
HEAD_DIM, EPS, ROPE_BASE = HIDDEN // HEADS, 1e-5, 10000.0
EVAL_BYTES = 148_000


def train_tokenizer(text):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        text.splitlines(keepends=True),
        trainers.BpeTrainer(vocab_size=VOCAB, show_progress=False, special_tokens=[],
                            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    assert tokenizer.get_vocab_size() == VOCAB
    return tokenizer


# --- the model, with the names and the conventions of LlamaForCausalLM ---

def init_weights():
    generator = torch.Generator().manual_seed(WEIGHT_SEED)

    def normal(rows, cols, std):
        return (torch.randn(rows, cols, generator=generator) * std).requires_grad_()

    w = {"model.embed_tokens.weight": normal(VOCAB, HIDDEN, 0.05)}
    std, out_std = HIDDEN ** -0.5, HIDDEN ** -0.5 / math.sqrt(2 * LAYERS)
    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        w[p + "self_attn.q_proj.weight"] = normal(HIDDEN, HIDDEN, std)
        w[p + "self_attn.k_proj.weight"] = normal(KV_HEADS * HEAD_DIM, HIDDEN, std)
        w[p + "self_attn.v_proj.weight"] = normal(KV_HEADS * HEAD_DIM, HIDDEN, std)
        w[p + "self_attn.o_proj.weight"] = normal(HIDDEN, HIDDEN, out_std)
        w[p + "mlp.gate_proj.weight"] = normal(INTERMEDIATE, HIDDEN, std)
        w[p + "mlp.up_proj.weight"] = normal(INTERMEDIATE, HIDDEN, std)
        w[p + "mlp.down_proj.weight"] = normal(HIDDEN, INTERMEDIATE, out_std)
        w[p + "input_layernorm.weight"] = torch.ones(HIDDEN, requires_grad=True)
        w[p + "post_attention_layernorm.weight"] = torch.ones(HIDDEN, requires_grad=True)
    w["model.norm.weight"] = torch.ones(HIDDEN, requires_grad=True)
    return w


def rope_tables(length):
    """cos, sin [length, head_dim]; pairs are (j, j + head_dim/2)."""
    rate = ROPE_BASE ** (-torch.arange(0, HEAD_DIM, 2, dtype=torch.float64) / HEAD_DIM)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), rate)
    angle = torch.cat([angle, angle], dim=1)
    return angle.cos().float(), angle.sin().float()


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


def norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * weight


def forward(w, ids, cos, sin):
    """ids [batch, length] -> logits [batch, length, vocab]"""
    batch, length = ids.shape
    x = F.embedding(ids, w["model.embed_tokens.weight"])
    cos, sin = cos[:length], sin[:length]

    def heads(y, count):
        return y.view(batch, length, count, HEAD_DIM).transpose(1, 2)

    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        y = norm(x, w[p + "input_layernorm.weight"])
        q = rotate(heads(y @ w[p + "self_attn.q_proj.weight"].T, HEADS), cos, sin)
        k = rotate(heads(y @ w[p + "self_attn.k_proj.weight"].T, KV_HEADS), cos, sin)
        v = heads(y @ w[p + "self_attn.v_proj.weight"].T, KV_HEADS)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, dim=1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y.transpose(1, 2).reshape(batch, length, HIDDEN)
        x = x + y @ w[p + "self_attn.o_proj.weight"].T
        y = norm(x, w[p + "post_attention_layernorm.weight"])
        y = F.silu(y @ w[p + "mlp.gate_proj.weight"].T) * (y @ w[p + "mlp.up_proj.weight"].T)
        x = x + y @ w[p + "mlp.down_proj.weight"].T
    return norm(x, w["model.norm.weight"]) @ w["model.embed_tokens.weight"].T


@torch.no_grad()
def mean_nll(w, ids, window, tables):
    """Windows that do not overlap; every token but the first of a window is scored."""
    total, scored = 0.0, 0
    for at in range(0, len(ids), window):
        piece = torch.from_numpy(ids[at:at + window])
        if len(piece) < window:
            break
        logits = forward(w, piece[None], *tables)[0, :-1]
        total += F.cross_entropy(logits.double(), piece[1:], reduction="sum").item()
        scored += len(piece) - 1
    return total / scored, scored


def schedule(step, steps):
    """Warm-up, flat, then linearly down to nothing."""
    return min(1.0, (step + 1) / 60, (steps - step) / (0.5 * steps))


def train(w, ids, steps, tables):
    decayed = [t for t in w.values() if t.ndim == 2]
    plain = [t for t in w.values() if t.ndim == 1]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05},
                                   {"params": plain, "weight_decay": 0.0}],
                                  lr=4e-3, betas=(0.9, 0.98), eps=1e-9)
    at, started = 0, time.time()
    for step in range(steps):
        # the last fifth sees the whole context, so that long windows are no news
        batch, length = (16, 512) if step < 0.8 * steps else (4, CONTEXT)
        need = batch * length
        piece = torch.from_numpy(ids[at:at + need]).view(batch, length)
        at += need
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * schedule(step, steps)
        logits = forward(w, piece, *tables)
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, VOCAB), piece[:, 1:].reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(w.values()), 1.0)
        optimiser.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step:5d}  loss {loss.item():.4f}  {time.time() - started:.0f} s", flush=True)


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2, ensure_ascii=False)
        f.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--out", required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=1200, help="steps of 8,192 tokens (default 1200)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    check_prefix_free()
    os.makedirs(args.out, exist_ok=True)

    held_out = Paragraphs(EVAL_SEED)
    eval_text = held_out.text(EVAL_BYTES)
    training = Paragraphs(TRAIN_SEED)
    first = training.text(4_000_000)
    tokenizer = train_tokenizer(first)
    eval_ids = np.array(tokenizer.encode(eval_text).ids, dtype=np.int64)
    assert tokenizer.decode(eval_ids.tolist()) == eval_text

    need, parts, have = args.steps * 8192, [], 0
    text = first
    while have < need:
        part = [np.array(e.ids, dtype=np.int64) for e in tokenizer.encode_batch(text.splitlines(keepends=True))]
        parts.append(np.concatenate(part))
        have += len(parts[-1])
        text = training.text(4_000_000)
    ids = np.concatenate(parts)
    floor = held_out.nats / len(eval_ids)
    print(f"eval: {len(eval_text)} bytes, {len(eval_ids)} tokens, {held_out.nats:.2f} nats: "
          f"{floor:.6f} a token, perplexity {math.exp(floor):.5f}")
    print(f"train: {len(ids)} tokens", flush=True)

    w = init_weights()
    tables = rope_tables(CONTEXT)
    train(w, ids, args.steps, tables)

    stored = {name: t.detach().to(torch.bfloat16).contiguous() for name, t in w.items()}
    exact = {name: t.float() for name, t in stored.items()}
    for window in (512, CONTEXT):
        nll, scored = mean_nll(exact, eval_ids, window, tables)
        print(f"windows of {window}: {scored} tokens scored, nll {nll:.6f}, ppl {math.exp(nll):.5f}, "
              f"{100 * (math.exp(nll - floor) - 1):.2f} % above the floor")

    weights = os.path.join(args.out, "model.safetensors")
    save_file(stored, weights, metadata={"format": "pt"})
    os.chmod(weights, 0o644)
    with open(os.path.join(args.out, "eval.txt"), "w", encoding="ascii", newline="") as f:
        f.write(eval_text)
    tokenizer.save(os.path.join(args.out, "tokenizer.json"))
    newline = tokenizer.encode("\n").ids[0]
    write_json(args.out, "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False, "add_eos_token": False,
        "clean_up_tokenization_spaces": False, "model_max_length": CONTEXT})
    write_json(args.out, "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM, "hidden_act": "silu", "rms_norm_eps": EPS, "rope_theta": ROPE_BASE,
        "max_position_embeddings": CONTEXT, "tie_word_embeddings": True, "attention_bias": False,
        "mlp_bias": False, "bos_token_id": None, "eos_token_id": newline, "use_cache": True})


if __name__ == "__main__":
    main()
