#!/usr/bin/env python3
"""Loads an Ascend bundle the way vllm-ascend and MindIE look tensors up, without either of them.

    python3 ascend_lookup.py BUNDLE [--consumer vllm-ascend|mindie|both] [--config DIR]

Written from ascend-bundles.md 3.1 to 3.8 and 5.1 to 5.2, and from nothing of gstick. Each consumer builds its modules from
config.json, asks the description (or the global word) for their types, allocates parameters and copies tensors into them
with the casts it makes. What a server would do silently wrong (a parameter nobody fills, a float copied into an int64, a shard
that overwrites another's scale) is an error here. Exit code 0 when every consumer that was asked loads everything.
"""

import argparse
import json
import os
import re
import stat
import sys

import numpy as np
from safetensors import safe_open

TORCH = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
BYTES_100M = 100 * 1024 * 1024


class Refused(Exception):
    """The consumer stops, or would go on with nonsense."""


def need(condition, text):
    if not condition:
        raise Refused(text)


class Tensor:
    def __init__(self, file, name):
        part = file.get_slice(name)
        self.file, self.name = file, name
        self.dtype, self.shape = part.get_dtype(), tuple(part.get_shape())

    def values(self):
        """float64, or int64 of integers."""
        raw = self.file.get_tensor(self.name)
        return raw.double().numpy() if raw.is_floating_point() else raw.numpy().astype(np.int64)


def load_json(path):
    need(os.path.getsize(path) < BYTES_100M, f"{path} is too large")
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def tensors_of(folder, wanted=None):
    """Every tensor of every safetensors file of the folder; the same name twice is refused."""
    found = {}
    names = sorted(n for n in os.listdir(folder) if n.endswith(".safetensors"))
    need(names, "no safetensors file")
    for file_name in names:
        if wanted is not None and file_name not in wanted:
            continue
        file = safe_open(os.path.join(folder, file_name), "pt")
        for name in file.keys():
            need(name not in found, f"{name} is in two files")
            found[name] = Tensor(file, name)
    return found


class Network:
    """The linears, norms and tables that config.json asks for."""

    def __init__(self, config):
        self.config = config
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        kv = config.get("num_key_value_heads") or heads
        dim = config.get("head_dim") or hidden // heads
        inner = config["intermediate_size"]
        qkv_bias = config["model_type"] == "qwen2" or bool(config.get("attention_bias"))
        o_bias = config["model_type"] != "qwen2" and bool(config.get("attention_bias"))
        mlp_bias = bool(config.get("mlp_bias"))
        self.hidden, self.vocab, self.kv_width = hidden, config["vocab_size"], kv * dim
        self.tied = bool(config.get("tie_word_embeddings", False))
        self.layers = [f"model.layers.{i}." for i in range(config["num_hidden_layers"])]
        self.linears, self.fused, self.norms = {}, {}, ["model.norm"]
        for p in self.layers:
            q, k, v = (f"{p}self_attn.{x}_proj" for x in "qkv")
            gate, up = f"{p}mlp.gate_proj", f"{p}mlp.up_proj"
            self.linears[q] = (heads * dim, hidden, qkv_bias)
            self.linears[k] = self.linears[v] = (kv * dim, hidden, qkv_bias)
            self.linears[f"{p}self_attn.o_proj"] = (hidden, heads * dim, o_bias)
            self.linears[gate] = self.linears[up] = (inner, hidden, mlp_bias)
            self.linears[f"{p}mlp.down_proj"] = (hidden, inner, mlp_bias)
            self.fused[f"{p}self_attn.qkv_proj"] = [q, k, v]
            self.fused[f"{p}mlp.gate_up_proj"] = [gate, up]
            self.norms += [f"{p}input_layernorm", f"{p}post_attention_layernorm"]
        single = [n for n in self.linears if not any(n in shards for shards in self.fused.values())]
        self.modules = {**self.fused, **{n: [n] for n in single}}


def copy(tensor, shape, param):
    """A tensor copied into a parameter of that dtype: the value that ends up there."""
    need(tensor.shape == tuple(shape), f"{tensor.name} is {list(tensor.shape)}, the parameter {list(shape)}")
    floating = tensor.dtype in ("F32", "F16", "BF16")
    if param == "I64":
        need(tensor.dtype == "I64", f"{tensor.name}: {tensor.dtype} values copied into an int64 parameter are garbage")
    elif param in ("I8", "I32"):
        values = tensor.values()
        need(np.array_equal(values, np.rint(values)), f"{tensor.name} does not hold integers")
        if param == "I8":
            need(values.size == 0 or (values.min() >= -128 and values.max() <= 127), f"{tensor.name} does not fit an int8")
        need(floating is False or tensor.name.endswith("input_offset"), f"{tensor.name}: {tensor.dtype} into {param}")
    else:
        need(floating, f"{tensor.name}: {tensor.dtype} copied into a {param} parameter")
        values = cast(tensor.values(), param)
        need(np.isfinite(values).all(), f"{tensor.name} is not finite as {param}")
    return tensor


def cast(values, dtype):
    if dtype == "F16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float64)
    if dtype == "BF16":
        bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
        return bits.astype(np.uint32).view(np.float32).astype(np.float64)
    return values


# ---- vllm-ascend: 3.1 to 3.8 ----

def vllm_parameters(kind, rows, cols, dtype, has_bias):
    """suffix -> (parameter dtype, shape) of one shard, and the suffixes that a forward pass reads."""
    model = {"weight_scale": (dtype, (rows, 1)), "weight_offset": (dtype, (rows, 1))}
    static = {"input_scale": (dtype, (1,)), "input_offset": ("I8", (1,)), "quant_bias": ("I32", (rows,))}
    if dtype in ("BF16", "F16"):
        static["deq_scale"] = ("F32" if dtype == "BF16" else "I64", (rows,))
    params = {
        "FLOAT": {"weight": (dtype, (rows, cols))},
        "W8A16": {"weight": ("I8", (rows, cols)), **model},
        "W8A8_DYNAMIC": {"weight": ("I8", (rows, cols)), **model},
        "W8A8": {"weight": ("I8", (rows, cols)), **static, **model},
        "W8A8_MIX": {"weight": ("I8", (rows, cols)), **static, **model},
    }
    need(kind in params, f"type {kind} is not registered")
    found = dict(params[kind])
    unread = {"W8A8": {"weight_scale", "weight_offset"}, "W8A8_DYNAMIC": {"weight_offset"}}.get(kind, set())
    if has_bias:
        found["bias"] = (dtype, (rows,))
    return found, set(found) - unread


def vllm_type(description, shards):
    for shard in shards:
        need(f"{shard}.weight" in description, f"KeyError: {shard}.weight is not in the description")
    kinds = {description[f"{shard}.weight"] for shard in shards}
    need(len(kinds) == 1, f"ValueError: the shards of {shards[0]} have types {sorted(kinds)}")
    return kinds.pop()


def vllm_prefix_type(description, prefix):
    """Unfused look-up: float if any weight below the prefix is."""
    for key, value in description.items():
        if key.startswith(prefix) and key.endswith(".weight") and value == "FLOAT":
            return "FLOAT"
    need(f"{prefix}.weight" in description, f"KeyError: {prefix}.weight is not in the description")
    return description[f"{prefix}.weight"]


def vllm_files(folder):
    """The files that a stale index would leave."""
    index = os.path.join(folder, "model.safetensors.index.json")
    return set(load_json(index)["weight_map"].values()) if os.path.exists(index) else None


def vllm_module(description, tensors, network, module, shards, dtype, used):
    kind = vllm_type(description, shards) if len(shards) > 1 else vllm_prefix_type(description, shards[0])
    per_tensor = {}
    for shard in shards:
        rows, cols, has_bias = network.linears[shard]
        params, read = vllm_parameters(kind, rows, cols, dtype, has_bias)
        for suffix, (param, shape) in params.items():
            name = f"{shard}.{suffix}"
            if name not in tensors:
                need(suffix not in read, f"{name} is missing: {module} would compute with uninitialised memory")
                continue
            used.add(name)
            copy(tensors[name], shape, param)
            if suffix in ("input_scale", "input_offset"):
                value = cast(tensors[name].values(), dtype)[0]
                need(per_tensor.setdefault(suffix, value) == value, f"{module}: {name} overwrites another {suffix}")
        if kind == "W8A16":
            need(not tensors[f"{shard}.weight_offset"].values().any(), f"{shard}: an asymmetric weight is computed wrong")
        if "input_scale" in params:
            need(cast(tensors[f"{shard}.input_scale"].values(), dtype)[0] > 0, f"{shard}.input_scale is zero")
    return kind


def vllm_ascend(folder, config, network, dtype):
    path = os.path.join(folder, "quant_model_description.json")
    need(os.path.exists(path), "no quant_model_description.json: not recognised")
    need("quantization_config" not in config, "quantization_config in config.json conflicts")
    description = load_json(path)
    tensors, used, kinds = tensors_of(folder, vllm_files(folder)), set(), set()
    for module, shards in network.modules.items():
        kinds.add(vllm_module(description, tensors, network, module, shards, dtype, used))
    for table in ("model.embed_tokens", "lm_head"):
        need(vllm_prefix_type(description, table) == "FLOAT", f"{table} is not FLOAT")
        name = f"{table}.weight"
        if table == "lm_head" and network.tied and name not in tensors:
            continue
        need(name in tensors, f"{name} is missing")
        copy(tensors[name], (network.vocab, network.hidden), dtype)
        used.add(name)
    with_bias = any("norm.bias" in key for key in description)
    for norm in network.norms:
        need(f"{norm}.weight" in tensors, f"{norm}.weight is missing")
        copy(tensors[f"{norm}.weight"], (network.hidden,), dtype)
        used.add(f"{norm}.weight")
        if with_bias and f"{norm}.bias" in tensors:
            copy(tensors[f"{norm}.bias"], (network.hidden,), dtype)
            used.add(f"{norm}.bias")
    if description.get("kv_cache_type") == "C8":
        for p in network.layers:
            for part in ("k_proj.kv_cache_scale", "k_proj.kv_cache_offset", "v_proj.kv_cache_scale", "v_proj.kv_cache_offset"):
                name = f"{p}self_attn.{part}"
                need(name in tensors, f"{name} is missing")
                need(tensors[name].shape in ((1,), (network.kv_width,)), f"{name} is {tensors[name].shape}")
                need("scale" in part or not tensors[name].values().any(), f"{name} is not zero: one path ignores it")
                used.add(name)
    for name in sorted(set(tensors) - used):
        # Llama-class loaders drop a bias that has no parameter: harmless only where quant_bias holds it
        static = description.get(name[:-5] + ".weight") in ("W8A8",)
        need(name.endswith(".bias") and static, f"KeyError: no parameter is called {name}")
    return kinds


# ---- MindIE: 5.1, 5.2 ----

MINDIE_NEEDS = {
    "w8a8": ("weight", "deq_scale", "quant_bias", "input_scale", "input_offset"),
    "w8a16": ("weight", "weight_scale", "weight_offset"),
    "w8a8_dynamic": ("weight", "weight_scale", "weight_offset"),
    "w8a8_pdmix": ("weight", "weight_scale", "weight_offset", "deq_scale", "quant_bias", "input_scale", "input_offset"),
}


def mindie_files(folder):
    need(re.fullmatch(r"[0-9A-Za-z_./-]+", os.path.abspath(folder)), "characters of the path")
    for name in os.listdir(folder):
        mode = os.stat(os.path.join(folder, name)).st_mode
        need(not mode & stat.S_IWOTH and mode & stat.S_IRUSR, f"{name}: mode {stat.filemode(mode)}")
        need(re.fullmatch(r"[0-9A-Za-z_.-]+", name), f"characters of {name}")


def mindie_description(folder, config):
    word = config.get("quantize")
    names = ["quant_model_description.json"] + ([f"quant_model_description_{word}.json"] if word else [])
    for name in names:
        if os.path.exists(os.path.join(folder, name)):
            description = load_json(os.path.join(folder, name))
            word = word or description["model_quant_type"].lower()
            return description, {"w8a8_mix": "w8a8_pdmix"}.get(word, word)
    raise Refused("no description")


def mindie_linear(tensors, shard, rows, cols, word, dtype, group):
    weight = tensors.get(f"{shard}.weight")
    need(weight is not None, f"{shard}.weight is missing")
    need(weight.shape == (rows, cols), f"{weight.name} is {weight.shape}")
    if weight.dtype != "I8":
        copy(weight, (rows, cols), dtype)
        return "float"
    need(word in MINDIE_NEEDS, f"NotImplementedError: quantize {word!r}")
    for suffix in MINDIE_NEEDS[word]:
        need(f"{shard}.{suffix}" in tensors, f"KeyError: {shard}.{suffix}")
    groups = cols // group if group else 1
    for suffix in ("weight_scale", "weight_offset"):
        if suffix in MINDIE_NEEDS[word]:
            need(tensors[f"{shard}.{suffix}"].shape == (rows, groups), f"{shard}.{suffix}: {tensors[f'{shard}.{suffix}'].shape}")
    if "deq_scale" in MINDIE_NEEDS[word]:
        deq = tensors[f"{shard}.deq_scale"]
        need(deq.shape == (rows,), f"{deq.name} is {deq.shape}")
        need(deq.dtype == ("F32" if dtype == "BF16" else "I64"), f"{deq.name} is {deq.dtype}: precision is lost, or worse")
        need(tensors[f"{shard}.quant_bias"].dtype == "I32", f"{shard}.quant_bias")
        for suffix in ("input_scale", "input_offset"):
            need(tensors[f"{shard}.{suffix}"].shape == (1,), f"{shard}.{suffix}")
    return word


def mindie(folder, config, network, dtype):
    mindie_files(folder)
    need(dtype in ("F16", "BF16"), f"torch_dtype {config.get('torch_dtype')}")
    description, word = mindie_description(folder, config)
    tensors, kinds = tensors_of(folder), set()
    known = {"FLOAT", "W8A8", "W8A16", "W8A8_DYNAMIC", "W8A8_MIX", "C8"}
    for key, value in description.items():
        if isinstance(value, str) and "." in key:
            need(value in known, f"unknown type {value} of {key}")
    for module, shards in network.modules.items():
        found = {mindie_linear(tensors, s, *network.linears[s][:2], word, dtype, description.get("group_size") or 0)
                 for s in shards}
        need(len(found) == 1, f"{module}: its shards are {sorted(found)}")
        kinds |= found
        if "input_scale" in MINDIE_NEEDS.get(next(iter(found)), ()):
            for suffix in ("input_scale", "input_offset"):
                values = [float(tensors[f"{s}.{suffix}"].values()[0]) for s in shards]
                need(np.allclose(values, values[0]), f"ValueError: {module}: {suffix} {values}")
    for name in ["model.embed_tokens.weight"] + [f"{n}.weight" for n in network.norms]:
        need(name in tensors, f"KeyError: {name}")
    need(network.tied or "lm_head.weight" in tensors, "KeyError: lm_head.weight")
    if any("norm.bias" in key for key in description):
        need(word == "w8a8", f"norm.bias is ignored with {word}")
    if description.get("kv_quant_type") == "C8":
        need(any(key.endswith("k_proj.kv_cache_scale") for key in tensors), "kv_quant_type without scales")
    return kinds


CONSUMERS = {"vllm-ascend": vllm_ascend, "mindie": mindie}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundle")
    parser.add_argument("--consumer", choices=[*CONSUMERS, "both"], default="both")
    parser.add_argument("--config", help="directory of config.json, for a bundle without one")
    args = parser.parse_args()
    config = load_json(os.path.join(args.config or args.bundle, "config.json"))
    dtype = TORCH[config.get("torch_dtype") or config["dtype"]]
    status = 0
    for name in CONSUMERS if args.consumer == "both" else [args.consumer]:
        try:
            kinds = CONSUMERS[name](args.bundle, config, Network(config), dtype)
            print(f"ok      {name}: {args.bundle}: {', '.join(sorted(kinds))}")
        except Refused as reason:
            status = 1
            print(f"REFUSED {name}: {args.bundle}: {reason}")
    return status


if __name__ == "__main__":
    sys.exit(main())
