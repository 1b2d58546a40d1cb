#!/usr/bin/env python3
"""A GGUF file of a Llama model as a Hugging Face directory in float32, independently of gstick's own reader.

    python3 -m venv VENV && VENV/bin/pip install gguf==0.19.0 numpy
    VENV/bin/python scripts/gguf_to_hf.py MODEL.gguf OUT_DIR [--gstick build/release/gstick]

Every tensor is dequantized by the Python package gguf, named as Hugging Face names it, and q and k get their
rows back in Hugging Face's order (a GGUF file holds them interleaved for its rotary embedding). The result
must have the GGUF's perplexity, which checks gstick's reader:

    gstick eval MODEL.gguf --text FILE --max-windows 2
    gstick eval OUT_DIR --text FILE --max-windows 2

With --gstick, tokenizer files are those that this program writes beside a bundle of the GGUF; without, there are
none (give `gstick eval` a --tokenizer MODEL.gguf then). Exit code 0 done, 1 the file does not fit, 2 wrong usage.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import gguf
import numpy as np

import tiny_safetensors as st

LAYER = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
GLOBAL = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def field(reader, key, default=None):
    f = reader.get_field(key)
    if f is None and default is None:
        raise ValueError(f"metadata key {key!r} is missing")
    return default if f is None else f.contents()


def short(value):
    """The short decimal that a float32 in the file was rounded from."""
    return float(str(np.float32(value)))


def make_config(reader, names):
    if field(reader, "general.architecture") != "llama":
        raise ValueError(f"architecture {field(reader, 'general.architecture')!r} is not known here, only llama")
    if reader.get_field("llama.rope.scaling.type") is not None or "rope_freqs.weight" in names:
        raise ValueError("a scaled rotary embedding is not known here")
    heads = field(reader, "llama.attention.head_count")
    hidden = field(reader, "llama.embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
        "vocab_size": len(field(reader, "tokenizer.ggml.tokens")), "hidden_size": hidden,
        "intermediate_size": field(reader, "llama.feed_forward_length"),
        "num_hidden_layers": field(reader, "llama.block_count"), "num_attention_heads": heads,
        "num_key_value_heads": field(reader, "llama.attention.head_count_kv", heads), "head_dim": hidden // heads,
        "hidden_act": "silu", "rms_norm_eps": short(field(reader, "llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": short(field(reader, "llama.rope.freq_base", 10000.0)),
        "max_position_embeddings": field(reader, "llama.context_length"),
        "tie_word_embeddings": "output.weight" not in names, "attention_bias": False, "mlp_bias": False,
    }


def hf_name(name):
    parts = name.split(".")
    if parts[0] == "blk" and len(parts) == 4 and parts[2] in LAYER and parts[3] == "weight":
        return f"model.layers.{parts[1]}.{LAYER[parts[2]]}.weight"
    if len(parts) == 2 and parts[0] in GLOBAL and parts[1] == "weight":
        return GLOBAL[parts[0]] + ".weight"
    raise ValueError(f"tensor {name!r} is not known here")


def values(tensor, config):
    w = np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
    kind = tensor.name.split(".")[-2]
    if kind in ("attn_q", "attn_k"):
        heads = config["num_attention_heads" if kind == "attn_q" else "num_key_value_heads"]
        half = w.shape[0] // heads // 2
        w = w.reshape(heads, half, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
    return st.encode(w, "F32")


def copy_tokenizer(program, model, out):
    with tempfile.TemporaryDirectory() as work:
        bundle = os.path.join(work, "bundle")
        subprocess.run([program, "quantize", model, "--scheme", "w8a16", "-q", "-o", bundle], check=True,
                       stdout=subprocess.DEVNULL)
        for name in os.listdir(bundle):
            if "token" in name or name in ("vocab.json", "merges.txt"):
                shutil.copyfile(os.path.join(bundle, name), os.path.join(out, name))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--gstick")
    args = parser.parse_args()

    reader = gguf.GGUFReader(args.model)
    config = make_config(reader, {t.name for t in reader.tensors})
    # a GGUF shape has the fastest dimension first
    items = [(hf_name(t.name), "F32", [int(n) for n in reversed(t.shape)], lambda t=t: values(t, config)) for t in reader.tensors]
    with st.OutputDirectory(args.out) as partial:
        with open(os.path.join(partial, "config.json"), "w", encoding="utf-8") as f:
            json.dump(config, f, indent=2)
            f.write("\n")
        st.write(os.path.join(partial, "model.safetensors"), items)
        if args.gstick:
            copy_tokenizer(args.gstick, args.model, partial)
    print(f"{len(items)} tensors: {args.out}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError, subprocess.CalledProcessError) as problem:
        print(f"gguf_to_hf: {problem}", file=sys.stderr)
        sys.exit(1)
