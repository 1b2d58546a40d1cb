#!/usr/bin/env python3
"""Checks a W8A16 Ascend bundle independently of gstick: nothing here shares code with it.

    python3 -m venv VENV && VENV/bin/pip install numpy safetensors
    VENV/bin/python scripts/check_bundle.py BUNDLE [--source HF_DIR]

What is checked: the container (tiling, alignment, names unique over shards, the index, no
foreign safetensors files), the description (exactly the stored tensors and the known globals),
dtypes and shapes against config.json, fused groups, zero offsets, what a server looks up for
every module, and reading by the safetensors library. With --source (a Hugging Face directory
of F32, F16 or BF16 safetensors) every code, scale and dequantized weight is computed again with
numpy and compared bit for bit, and every float tensor with the source's cast.

The formulas, for one row w of a weight as float32 and the bundle's torch_dtype T:
    scale = max|w| / 127                        one float32 division
    T bfloat16: scale rounded to bfloat16; T float16: scale rounded up to float16 if below 2^-14
    scale = max(scale, 2^-23)
    q     = clip(rint(w / scale), -128, 127)    one float32 division, half to even
Exit code 0 when all holds, 1 when something does not, 2 on wrong usage.
"""

import argparse
import json
import math
import os
import stat
import struct
import sys

import numpy as np
from safetensors import safe_open

DTYPE_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2,
               "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8}
TORCH_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
GLOBALS = {"model_quant_type", "version", "group_size", "metadata", "optional", "kv_cache_type", "kv_quant_type"}
MAX_JSON = 100 * 1024 * 1024
MIN_SCALE = np.float32(2.0 ** -23)

failures = []


def fail(text):
    failures.append(text)
    if len(failures) <= 20:
        print(f"FAIL  {text}")


def check(condition, text):
    if not condition:
        fail(text)
    return condition


def unique_pairs(pairs):
    names = [name for name, _ in pairs]
    for name in {n for n in names if names.count(n) > 1} if len(set(names)) != len(names) else ():
        raise ValueError(f"duplicate key {name!r}")
    return dict(pairs)


def read_json(path):
    if os.path.getsize(path) > MAX_JSON:
        raise ValueError(f"{path}: larger than 100 MiB")
    with open(path, encoding="utf-8") as f:
        return json.load(f, object_pairs_hook=unique_pairs)


class Container:
    """One safetensors file, parsed by hand; tensors are views of a memory map."""

    def __init__(self, path):
        self.path = path
        self.data = np.memmap(path, dtype=np.uint8, mode="r")
        if len(self.data) < 8:
            raise ValueError(f"{path}: {len(self.data)} bytes")
        n = struct.unpack("<Q", self.data[:8].tobytes())[0]
        if not 1 <= n <= min(100_000_000, len(self.data) - 8):
            raise ValueError(f"{path}: header of {n} bytes")
        head = self.data[8:8 + n].tobytes()
        self.header_bytes = 8 + n
        self.starts_with_brace = head[:1] == b"{"
        header = json.loads(head.decode("utf-8"), object_pairs_hook=unique_pairs)
        self.metadata = header.pop("__metadata__", None)
        self.tensors = header
        self.buffer = self.data[8 + n:]

    def bytes_of(self, name):
        begin, end = self.tensors[name]["data_offsets"]
        return self.buffer[begin:end]

    def array(self, name):
        """F32, I8 as they are; F16 and BF16 as float32 (exact)."""
        entry, raw = self.tensors[name], self.bytes_of(name)
        shape = entry["shape"]
        if entry["dtype"] == "BF16":
            wide = raw.view("<u2").astype(np.uint32) << 16
            return wide.view(np.float32).reshape(shape)
        kind = {"F32": "<f4", "F16": "<f2", "I8": "i1"}[entry["dtype"]]
        value = raw.view(kind).reshape(shape)
        return value.astype(np.float32) if kind == "<f2" else value

    def check(self):
        where = os.path.basename(self.path)
        check(self.starts_with_brace, f"{where}: the header does not begin with a brace")
        check(self.header_bytes % 8 == 0, f"{where}: the data begins at {self.header_bytes}, no multiple of 8")
        check(self.metadata is not None and self.metadata.get("format") == "pt" and
              all(isinstance(v, str) for v in self.metadata.values()), f"{where}: metadata {self.metadata}")
        at = 0
        for name, entry in sorted(self.tensors.items(), key=lambda t: t[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            size = math.prod(entry["shape"]) * DTYPE_BYTES[entry["dtype"]]
            check(begin == at and end - begin == size, f"{where}: {name} at {begin}..{end}, wanted {at}..{at + size}")
            check(begin % DTYPE_BYTES[entry["dtype"]] == 0, f"{where}: {name} is not aligned")
            at = end
        check(at == len(self.buffer), f"{where}: tensors end at {at} of {len(self.buffer)}")


class Tensors:
    """All tensors of a directory: name -> container."""

    def __init__(self, folder):
        self.files = sorted(f for f in os.listdir(folder) if f.endswith(".safetensors"))
        self.containers = [Container(os.path.join(folder, f)) for f in self.files]
        self.of = {}
        for container in self.containers:
            for name in container.tensors:
                check(name not in self.of, f"{name} is stored twice")
                self.of[name] = container

    def entry(self, name):
        return self.of[name].tensors[name] if name in self.of else None

    def array(self, name):
        return self.of[name].array(name)


# --- 1: files, container, description ---

def check_files(folder, tensors):
    for name in os.listdir(folder):
        mode = os.stat(os.path.join(folder, name)).st_mode
        check(mode & stat.S_IRUSR and not mode & stat.S_IWOTH, f"{name}: mode {stat.filemode(mode)}")
    check("model.safetensors.index.json" not in os.listdir(folder), "a stale model.safetensors.index.json")
    count = len(tensors.files)
    sharded = [f"quant_model_weights-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    one = tensors.files == ["quant_model_weights.safetensors"]
    check(one or (count and tensors.files == sharded), f"unexpected safetensors files: {tensors.files}")
    index_path = os.path.join(folder, "quant_model_weights.safetensors.index.json")
    if one:
        check(not os.path.exists(index_path), "an index beside a single file")
        return
    if not check(os.path.exists(index_path), "no index beside the shards"):
        return
    index = read_json(index_path)
    wanted = {name: os.path.basename(c.path) for name, c in tensors.of.items()}
    check(index["weight_map"] == wanted, "the index does not say where the tensors are")
    total = sum(len(c.buffer) for c in tensors.containers)
    check(index["metadata"]["total_size"] == total, f"total_size {index['metadata']['total_size']}, wanted {total}")


def check_description(description, tensors, tied):
    listed = {k for k in description if k not in GLOBALS}
    stored = set(tensors.of)
    for name in sorted(stored - listed):
        fail(f"description: {name} is stored but not listed")
    for name in sorted(listed - stored):
        check(tied and name == "lm_head.weight", f"description: {name} is listed but not stored")
    for name in ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"):
        check(description.get(name) == "FLOAT", f"description: {name} is {description.get(name)}, wanted FLOAT")
    for name in sorted(listed):
        check(description[name] in ("FLOAT", "W8A16"), f"description: {name} has type {description[name]!r}")
    check(description.get("model_quant_type") == "W8A16", f"model_quant_type {description.get('model_quant_type')!r}")
    check(description.get("group_size") in (None, 0), f"group_size {description.get('group_size')!r}")
    check(not any("norm.bias" in k for k in description), "a norm.bias would give every norm a bias")


# --- 2 and 7: the architecture against config.json, and what a server looks up ---

def architecture(config):
    """Module prefix -> (rows, columns), and the fused groups, of a Llama-like config."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or hidden // heads
    modules, groups = {}, []
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        if config["model_type"] == "baichuan":
            modules[p + "self_attn.W_pack"] = (3 * hidden, hidden)
        else:
            modules[p + "self_attn.q_proj"] = (heads * head_dim, hidden)
            modules[p + "self_attn.k_proj"] = (kv_heads * head_dim, hidden)
            modules[p + "self_attn.v_proj"] = (kv_heads * head_dim, hidden)
            groups.append([p + f"self_attn.{x}_proj" for x in "qkv"])
        modules[p + "self_attn.o_proj"] = (hidden, heads * head_dim)
        modules[p + "mlp.gate_proj"] = modules[p + "mlp.up_proj"] = (inner, hidden)
        modules[p + "mlp.down_proj"] = (hidden, inner)
        groups.append([p + "mlp.gate_proj", p + "mlp.up_proj"])
    return modules, groups


def look_up(description, prefix, groups_of):
    """The type a server finds for a module; a fused module asks for each of its shards."""
    shards = groups_of.get(prefix, [prefix])
    types = [description.get(shard + ".weight") for shard in shards]
    check(None not in types, f"look-up of {prefix}: a shard is not in the description")
    check(len(set(types)) == 1, f"look-up of {prefix}: its shards have types {types}")
    return types[0]


def check_tensor(tensors, name, dtype, shape):
    entry = tensors.entry(name)
    if check(entry is not None, f"{name} is not stored"):
        check(entry["dtype"] == dtype and entry["shape"] == list(shape),
              f"{name}: {entry['dtype']} {entry['shape']}, wanted {dtype} {list(shape)}")


def check_architecture(config, description, tensors, dtype, tied):
    modules, groups = architecture(config)
    groups_of = {}
    for group in groups:
        for shard in group:
            groups_of[shard] = group
    quantized = 0
    for prefix, (rows, cols) in modules.items():
        kind = look_up(description, prefix, groups_of)
        if kind == "W8A16":
            quantized += 1
            check_tensor(tensors, prefix + ".weight", "I8", (rows, cols))
            for part in ("weight_scale", "weight_offset"):
                check_tensor(tensors, f"{prefix}.{part}", "F32", (rows, 1))
                check(description.get(f"{prefix}.{part}") == "W8A16", f"description of {prefix}.{part}")
            if f"{prefix}.weight_offset" in tensors.of:
                check(not tensors.array(f"{prefix}.weight_offset").any(), f"{prefix}.weight_offset is not zero")
        else:
            check_tensor(tensors, prefix + ".weight", dtype, (rows, cols))
    vocab, hidden = config["vocab_size"], config["hidden_size"]
    check_tensor(tensors, "model.embed_tokens.weight", dtype, (vocab, hidden))
    check_tensor(tensors, "model.norm.weight", dtype, (hidden,))
    if not tied or "lm_head.weight" in tensors.of:
        check_tensor(tensors, "lm_head.weight", dtype, (vocab, hidden))
    for layer in range(config["num_hidden_layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            check_tensor(tensors, f"model.layers.{layer}.{norm}.weight", dtype, (hidden,))
    check(quantized > 0, "nothing is quantized")
    return quantized


# --- 3 and 6: values ---

def round_to_bf16(x):
    """float32 -> bfloat16 -> float32, half to even (finite values)."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return bits.astype(np.uint32).view(np.float32)


def quantize_rows(w, dtype):
    """[rows, cols] float32 -> codes int8, scales float32 [rows, 1], as the module text says."""
    scale = np.max(np.abs(w), axis=1, keepdims=True) / np.float32(127)
    if dtype == "BF16":
        scale = round_to_bf16(scale)
    elif dtype == "F16":
        # the last bit of a float16 subnormal is 2^-24
        scale = np.where(scale < np.float32(2.0 ** -14),
                         np.ceil(scale * np.float32(2.0 ** 24)) * np.float32(2.0 ** -24), scale)
    scale = np.maximum(scale, MIN_SCALE)
    return np.clip(np.rint(w / scale), -128, 127).astype(np.int8), scale


def cast(x, dtype):
    if dtype == "BF16":
        return round_to_bf16(x)
    return x.astype(np.float16).astype(np.float32) if dtype == "F16" else x


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def check_against_source(source, tensors, dtype):
    compared = values = 0
    for name in sorted(tensors.of):
        if name.endswith((".weight_scale", ".weight_offset")):
            continue
        if name not in source.of:
            check(name == "lm_head.weight", f"{name} is not in the source")
            continue
        w = source.array(name)
        if tensors.entry(name)["dtype"] == "I8":
            codes, scale = quantize_rows(w, dtype)
            stored, stored_scale = tensors.array(name), tensors.array(name + "_scale")
            check(same_bits(stored_scale, scale), f"{name}: {np.sum(stored_scale != scale)} scales differ")
            check(same_bits(stored, codes), f"{name}: {np.sum(stored != codes)} codes differ")
            ours, theirs = codes.astype(np.float32) * scale, stored.astype(np.float32) * stored_scale
            check(same_bits(ours, theirs), f"{name}: dequantized weights differ")
            # half a step, and what the rounding of the scale moves the largest weight
            bound = stored_scale * np.float32(0.5 + 127 * 2.0 ** -8)
            check(bool(np.all(np.abs(w - theirs) <= bound)), f"{name}: an error above half a step")
        else:
            check(same_bits(tensors.array(name), cast(w, dtype)), f"{name}: not the source's values")
        compared += 1
        values += w.size
    return compared, values


def check_with_library(tensors):
    """The safetensors package must see the same names, dtypes, shapes and bytes."""
    seen = 0
    for container in tensors.containers:
        with safe_open(container.path, framework="numpy") as f:
            check(set(f.keys()) == set(container.tensors), f"{container.path}: the library sees other names")
            for name in f.keys():
                part, entry = f.get_slice(name), container.tensors[name]
                check(part.get_shape() == entry["shape"] and part.get_dtype() == entry["dtype"],
                      f"{name}: the library sees {part.get_dtype()} {part.get_shape()}")
                if entry["dtype"] in ("I8", "F32", "F16"):
                    check(f.get_tensor(name).tobytes() == container.bytes_of(name).tobytes(),
                          f"{name}: the library reads other bytes")
                seen += 1
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--source", help="the Hugging Face directory it was made from")
    args = parser.parse_args()

    config = read_json(os.path.join(args.bundle, "config.json"))
    description = read_json(os.path.join(args.bundle, "quant_model_description.json"))
    tensors = Tensors(args.bundle)
    dtype = TORCH_DTYPES.get(config.get("torch_dtype"))
    tied = bool(config.get("tie_word_embeddings"))

    if not check(dtype, f"config.json: torch_dtype {config.get('torch_dtype')!r}"):
        return 1
    check(config.get("dtype") in (None, config["torch_dtype"]), "config.json: dtype contradicts torch_dtype")
    check("quantization_config" not in config and "quantization_config" not in config.get("text_config", {}),
          "config.json: a quantization_config is left")
    check(config.get("quantize") == "w8a16", f"config.json: quantize {config.get('quantize')!r}")
    for container in tensors.containers:
        container.check()
    check_files(args.bundle, tensors)
    check_description(description, tensors, tied)
    quantized = check_architecture(config, description, tensors, dtype, tied)
    seen = check_with_library(tensors)
    print(f"{len(tensors.files)} files, {seen} tensors, {quantized} linears in W8A16, the rest {dtype}")
    if args.source:
        compared, values = check_against_source(Tensors(args.source), tensors, dtype)
        check(compared > quantized, "the source shares too few tensors with the bundle")
        print(f"{compared} tensors, {values} values computed again from the source")
    print(f"{len(failures)} findings" if failures else "all checks hold")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError) as problem:
        print(f"FAIL  {type(problem).__name__}: {problem}")
        sys.exit(1)
