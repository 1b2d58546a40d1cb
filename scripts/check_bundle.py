#!/usr/bin/env python3
"""Checks an Ascend bundle (W8A16, W8A8, W8A8_DYNAMIC) independently of gstick: nothing here shares code with it.

    python3 -m venv VENV && VENV/bin/pip install numpy safetensors
    VENV/bin/python scripts/check_bundle.py BUNDLE [--source HF_DIR [--smoothed]] [--target NAME]

What is checked: the container (tiling, alignment, names unique over shards, the index, no
foreign safetensors files), the description (exactly the stored tensors and the known globals),
dtypes and shapes against config.json, fused groups, zero offsets, what a server looks up for
every module, the mixture of types that the target loads, and reading by the safetensors library.
Of static linears also: scales that survive the server's rounding, integral offsets, input scale and
offset shared by a fused group, deq_scale, quant_bias, and that no accumulator can overflow.
With --source (a Hugging Face directory of F32, F16 or BF16 safetensors) every code, scale and
dequantized weight is computed again with numpy and compared bit for bit, and every float tensor
with the source's cast; of a bundle that was smoothed (--smoothed) only what smoothing leaves alone.

The formulas, for one row w of a weight as float32 and the bundle's torch_dtype T:
    scale = max|w| / 127                        one float32 division
    T bfloat16 or float16: scale rounded to T, half to even; but in float16 up where it is below 2^-14
    scale = max(scale, 2^-23)
    q     = clip(rint(w / scale), -128, 127)    one float32 division, half to even
and of a static linear with input_scale s, input_offset o (float32, values of T) and bias b:
    deq_scale  = s * scale                      one float32 product; stored as F32 for bfloat16,
                                                else its bits as I64
    quant_bias = rint(b / deq_scale) - o * sum(q)        b / deq_scale one float32 division
    |quant_bias| + 128 * sum|q| < 2^31
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
PRIORITY = ("FLOAT", "W8A16", "W8A8_DYNAMIC", "W8A8")  # of model_quant_type, lowest first
TARGETS = ("both", "vllm-ascend", "mindie")
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
        """F32 and integers as they are; F16 and BF16 as float32 (exact)."""
        entry, raw = self.tensors[name], self.bytes_of(name)
        shape = entry["shape"]
        if entry["dtype"] == "BF16":
            wide = raw.view("<u2").astype(np.uint32) << 16
            return wide.view(np.float32).reshape(shape)
        kind = {"F32": "<f4", "F16": "<f2", "I8": "i1", "I32": "<i4", "I64": "<i8"}[entry["dtype"]]
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
        check(description[name] in PRIORITY, f"description: {name} has type {description[name]!r}")
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


def parts_of(kind, rows, cols, dtype):
    """What a linear of that type stores: suffix -> (dtype, shape)."""
    if kind == "FLOAT":
        return {"weight": (dtype, (rows, cols))}
    parts = {"weight": ("I8", (rows, cols)), "weight_scale": ("F32", (rows, 1)), "weight_offset": ("F32", (rows, 1))}
    if kind == "W8A8":
        parts.update(input_scale=("F32", (1,)), input_offset=("F32", (1,)), quant_bias=("I32", (rows,)),
                     deq_scale=("F32" if dtype == "BF16" else "I64", (rows,)))
    return parts


def check_linear(description, tensors, prefix, kind, shape, dtype):
    """False when the values cannot be looked at."""
    before, wanted = len(failures), parts_of(kind, *shape, dtype)
    for part, (part_dtype, part_shape) in wanted.items():
        check_tensor(tensors, f"{prefix}.{part}", part_dtype, part_shape)
        check(description.get(f"{prefix}.{part}") == kind, f"description of {prefix}.{part}: not {kind}")
    for name in tensors.of:
        if name.startswith(prefix + ".") and name[len(prefix) + 1:] not in wanted:
            check(name == prefix + ".bias", f"{name} is no part of a {kind} linear")
    if prefix + ".bias" in tensors.of:
        entry = tensors.entry(prefix + ".bias")
        check(entry["dtype"] in (dtype, "F32") and entry["shape"] == [shape[0]],
              f"{prefix}.bias: {entry['dtype']} {entry['shape']}")
        check(description.get(prefix + ".bias") == "FLOAT", f"description of {prefix}.bias: not FLOAT")
    return len(failures) == before


def check_mixture(config, description, kinds, target):
    """One type beside FLOAT, but for vllm-ascend; the globals name the dominant one."""
    present = sorted(set(kinds.values()), key=PRIORITY.index)
    dominant = present[-1]
    check(description.get("model_quant_type") == dominant,
          f"model_quant_type {description.get('model_quant_type')!r}, the dominant type is {dominant}")
    check(config.get("quantize") == dominant.lower(), f"config.json: quantize {config.get('quantize')!r}")
    if target != "vllm-ascend":
        check(set(present) <= {"FLOAT", dominant}, f"{target} does not load a mixture of {', '.join(present)}")


def check_architecture(config, description, tensors, dtype, tied, target):
    """The type of each linear whose tensors are what they should be, and the fused groups."""
    modules, groups = architecture(config)
    groups_of = {}
    for group in groups:
        for shard in group:
            groups_of[shard] = group
    kinds, sound = {}, {}
    for prefix, shape in modules.items():
        look_up(description, prefix, groups_of)
        kind = description.get(prefix + ".weight")
        if not check(kind in PRIORITY, f"{prefix} has type {kind!r}"):
            continue
        kinds[prefix] = kind
        if check_linear(description, tensors, prefix, kind, shape, dtype):
            sound[prefix] = kind
    vocab, hidden = config["vocab_size"], config["hidden_size"]
    check_tensor(tensors, "model.embed_tokens.weight", dtype, (vocab, hidden))
    check_tensor(tensors, "model.norm.weight", dtype, (hidden,))
    if not tied or "lm_head.weight" in tensors.of:
        check_tensor(tensors, "lm_head.weight", dtype, (vocab, hidden))
    for layer in range(config["num_hidden_layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            check_tensor(tensors, f"model.layers.{layer}.{norm}.weight", dtype, (hidden,))
    check(any(kind != "FLOAT" for kind in kinds.values()), "nothing is quantized")
    if kinds:
        check_mixture(config, description, kinds, target)
    return sound, groups


# --- the constants of quantized linears ---

def finite_positive(x):
    return bool(np.all(np.isfinite(x)) and np.all(x > 0))


def bits_of(scale):
    """deq_scale in the form its I64 has."""
    return scale.view(np.uint32).astype(np.int64)


def check_weight_scale(tensors, prefix, dtype):
    scale = tensors.array(prefix + ".weight_scale")
    check(not tensors.array(prefix + ".weight_offset").any(), f"{prefix}.weight_offset is not zero")
    check(finite_positive(scale) and finite_positive(cast(scale, dtype)),
          f"{prefix}.weight_scale is not positive and finite in {dtype}")
    check(same_bits(scale, cast(scale, dtype)), f"{prefix}.weight_scale changes when it is loaded as {dtype}")


def check_static_input(tensors, prefix, dtype):
    scale, offset = tensors.array(prefix + ".input_scale"), tensors.array(prefix + ".input_offset")
    check(finite_positive(scale), f"{prefix}.input_scale is {scale[0]}")
    check(same_bits(scale, cast(scale, dtype)), f"{prefix}.input_scale {scale[0]} is no value of {dtype}")
    with np.errstate(over="ignore", divide="ignore"):
        inverse = cast(np.float32(1) / scale, dtype)
    check(finite_positive(inverse), f"{prefix}.input_scale {scale[0]} has no reciprocal in {dtype}")
    check(bool(offset[0] == np.rint(offset[0]) and -128 <= offset[0] <= 127),
          f"{prefix}.input_offset {offset[0]} is no integer from -128 to 127")


def bias_of(tensors, source, prefix, rows):
    """The bias that went into quant_bias, float32, and the share of it that a cast may have taken."""
    name = prefix + ".bias"
    if name not in tensors.of:
        return np.zeros(rows, np.float32), 0.0
    if source and name in source.of:
        return source.array(name), 0.0
    lost = {"F32": 0.0, "F16": 2.0 ** -11, "BF16": 2.0 ** -8}[tensors.entry(name)["dtype"]]
    return tensors.array(name), lost


def check_static(tensors, source, prefix, dtype):
    check_static_input(tensors, prefix, dtype)
    codes = tensors.array(prefix + ".weight").astype(np.int64)
    scale, offset = tensors.array(prefix + ".input_scale")[0], tensors.array(prefix + ".input_offset")[0]
    deq = scale * tensors.array(prefix + ".weight_scale")[:, 0]
    stored = tensors.array(prefix + ".deq_scale")
    wanted = deq if stored.dtype == np.float32 else bits_of(deq)
    check(finite_positive(deq), f"{prefix}.deq_scale is not positive and finite")
    check(same_bits(stored, wanted), f"{prefix}.deq_scale: {np.sum(stored != wanted)} of {len(deq)} differ")
    bias, lost = bias_of(tensors, source, prefix, len(deq))
    quant_bias = tensors.array(prefix + ".quant_bias").astype(np.int64)
    steps = quant_bias + int(offset) * codes.sum(axis=1)
    quotient = (bias / deq).astype(np.float32)
    if lost == 0:
        check(np.array_equal(steps, np.rint(quotient).astype(np.int64)),
              f"{prefix}.quant_bias: {np.sum(steps != np.rint(quotient))} of {len(deq)} differ")
    else:
        check(bool(np.all(np.abs(steps - quotient) <= 0.5 + (lost + 2.0 ** -23) * np.abs(quotient))),
              f"{prefix}.quant_bias is not the bias in steps of deq_scale")
    return quant_bias


def check_values(tensors, source, kinds, groups, dtype):
    for prefix, kind in kinds.items():
        if kind == "FLOAT":
            continue
        check_weight_scale(tensors, prefix, dtype)
        if kind == "W8A16":
            continue
        quant_bias = check_static(tensors, source, prefix, dtype) if kind == "W8A8" else 0
        most = np.abs(quant_bias) + 128 * np.abs(tensors.array(prefix + ".weight").astype(np.int64)).sum(axis=1)
        check(int(most.max()) < 2 ** 31, f"{prefix}: row {most.argmax()} can overflow its accumulator")
    for group in groups:
        for part in ("input_scale", "input_offset"):
            values = {tensors.array(f"{p}.{part}").tobytes() for p in group if kinds.get(p) == "W8A8"}
            check(len(values) <= 1, f"{', '.join(group)}: {part} differs")


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
                         np.ceil(scale * np.float32(2.0 ** 24)) * np.float32(2.0 ** -24), cast(scale, "F16"))
    scale = np.maximum(scale, MIN_SCALE)
    return np.clip(np.rint(w / scale), -128, 127).astype(np.int8), scale


def cast(x, dtype):
    if dtype == "BF16":
        return round_to_bf16(x)
    return x.astype(np.float16).astype(np.float32) if dtype == "F16" else x


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


DERIVED = (".weight_scale", ".weight_offset", ".input_scale", ".input_offset", ".quant_bias", ".deq_scale")


def check_against_source(source, tensors, dtype, smoothed):
    compared = values = 0
    for name in sorted(tensors.of):
        if name.endswith(DERIVED) or (smoothed and name.startswith("model.layers.")):
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
                if entry["dtype"] in ("I8", "I32", "I64", "F32", "F16"):
                    check(f.get_tensor(name).tobytes() == container.bytes_of(name).tobytes(),
                          f"{name}: the library reads other bytes")
                seen += 1
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--source", help="the Hugging Face directory it was made from")
    parser.add_argument("--smoothed", action="store_true", help="scales were moved between the layers of --source")
    parser.add_argument("--target", choices=TARGETS, default="both", help="who is to load it (default both)")
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
    for container in tensors.containers:
        container.check()
    check_files(args.bundle, tensors)
    check_description(description, tensors, tied)
    source = Tensors(args.source) if args.source else None
    kinds, groups = check_architecture(config, description, tensors, dtype, tied, args.target)
    check_values(tensors, None if args.smoothed else source, kinds, groups, dtype)
    seen = check_with_library(tensors)
    counts = ", ".join(f"{list(kinds.values()).count(k)} in {k}" for k in PRIORITY if k in kinds.values())
    print(f"{len(tensors.files)} files, {seen} tensors, linears: {counts}; floats are {dtype}")
    if source:
        compared, values = check_against_source(source, tensors, dtype, args.smoothed)
        check(compared > (1 if args.smoothed else len(kinds)), "the source shares too few tensors with the bundle")
        print(f"{compared} tensors, {values} values computed again from the source")
    print(f"{len(failures)} findings" if failures else "all checks hold")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError) as problem:
        print(f"FAIL  {type(problem).__name__}: {problem}")
        sys.exit(1)
