"""Float weights of a W8A16 bundle, unpacked here from the formats' descriptions (ascend-bundles.md 3.5, 6.2, 7.2; reference data
of Golden Stick) and from nothing of gstick: folder -> {Hugging Face tensor name: float32 array}."""

import glob
import os

import numpy as np
from safetensors import safe_open

CKPT_TYPES = {"Float32": "<f4", "Float16": "<f2", "BFloat16": "<u2", "Int8": "i1", "Int32": "<i4", "Int64": "<i8", "UInt8": "u1"}
CKPT_NAMES = (("model.tok_embeddings.embedding_weight", "model.embed_tokens.weight"), ("model.norm_out.", "model.norm."),
              (".attention_norm.", ".input_layernorm."), (".ffn_norm.", ".post_attention_layernorm."),
              (".attention.wq", ".self_attn.q_proj"), (".attention.wk", ".self_attn.k_proj"), (".attention.wv", ".self_attn.v_proj"),
              (".attention.wo", ".self_attn.o_proj"), (".feed_forward.w1", ".mlp.gate_proj"), (".feed_forward.w3", ".mlp.up_proj"),
              (".feed_forward.w2", ".mlp.down_proj"), ("._layer.matmul.", "."), ("._layer.", "."))


def tensors_of(folder):
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
                found[name] = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    return found


def ascend(folder):
    t = tensors_of(folder)
    out = {}
    for name, value in t.items():
        if name + "_scale" in t:
            out[name] = ((value.astype(np.float32) - t[name + "_offset"]) * t[name + "_scale"]).astype(np.float32)
        elif not name.endswith(("weight_scale", "weight_offset")):
            out[name] = value
    return out


def mindspore(folder):
    t = tensors_of(folder)
    out = {}
    for name, value in t.items():
        if name + "_scale" in t:
            offset, scale = t[name + "_offset"].astype(np.float32)[:, None], t[name + "_scale"][:, None]
            out[name] = (value.astype(np.float32) - offset) * scale
        elif not name.endswith(("weight_scale", "weight_offset")):
            out[name.replace("embedding_table", "weight")] = value
    return out


def gptq(folder):
    t = tensors_of(folder)
    out = {n: v for n, v in t.items() if not n.endswith((".qweight", ".qzeros", ".scales", ".g_idx"))}
    for name in [n[:-len(".qweight")] for n in t if n.endswith(".qweight")]:
        words = t[name + ".qweight"]
        codes = np.stack([(words >> (8 * j)) & 255 for j in range(4)], 1).reshape(-1, words.shape[1])  # [k, n]
        zeros = t[name + ".qzeros"]
        zeros = np.stack([(zeros >> (8 * j)) & 255 for j in range(4)], 2).reshape(zeros.shape[0], -1) + 1  # [G, n]
        group = t[name + ".g_idx"]
        out[name + ".weight"] = ((codes - zeros[group]) * t[name + ".scales"][group]).T.astype(np.float32)
    return out


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, value) of each field; value: an integer or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        value, at = varint(data, at)
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        yield key >> 3, value


def ckpt_tensors(path):
    with open(path, "rb") as f:
        data = memoryview(f.read())
    for number, entry in fields(data):
        assert number == 1
        parts = dict(fields(entry))
        dims = [v for n, v in fields(parts[2]) if n == 1]
        inner = {n: v for n, v in fields(parts[2]) if n != 1}
        kind = bytes(inner[2]).decode()
        value = np.frombuffer(inner[3], CKPT_TYPES[kind]).reshape([d for d in dims if d])
        if kind == "BFloat16":
            value = (value.astype(np.uint32) << 16).view(np.float32)
        yield bytes(parts[1]).decode(), value


def mindspore_ckpt(folder):
    t = {}
    for path in glob.glob(os.path.join(folder, "*.ckpt")):
        for name, value in ckpt_tensors(path):
            for theirs, hugging in CKPT_NAMES:
                name = name.replace(theirs, hugging)
            t[name] = value
    out = {}
    for name, value in t.items():
        if name + "_scale" in t:  # the zero point is stored negated
            out[name] = (value.astype(np.float32) + t[name + "_zp"].astype(np.float32)[:, None]) * \
                t[name + "_scale"].astype(np.float32)[:, None]
        elif not name.endswith(("weight_scale", "weight_zp")):
            out[name] = value.astype(np.float32)
    return out


FORMATS = {"ascend": ascend, "mindspore": mindspore, "gptq": gptq, "mindspore-ckpt": mindspore_ckpt}
