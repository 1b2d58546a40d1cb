"""Reading and writing safetensors with numpy alone, for the scripts beside it.

    tensors = read(path)                  name -> Tensor; bytes stay in a memory map
    tensors[name].f32()                   values as float32 (F32, F16, BF16)
    write(path, items)                    items: (name, dtype, shape, bytes-like or callable giving it)

Only what these scripts need is checked; gstick's own reader is the strict one.
"""

import json
import math
import os
import struct

import numpy as np

BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1, "I32": 4, "I64": 8, "U8": 1, "F64": 8, "U64": 8}


class Tensor:
    def __init__(self, dtype, shape, raw):
        self.dtype, self.shape, self.raw = dtype, shape, raw

    def f32(self):
        if self.dtype == "BF16":
            wide = self.raw.view("<u2").astype(np.uint32) << 16
            return wide.view(np.float32).reshape(self.shape)
        kind = {"F32": "<f4", "F16": "<f2"}.get(self.dtype)
        if kind is None:
            raise ValueError(f"{self.dtype} is no float that is read here")
        return self.raw.view(kind).astype(np.float32).reshape(self.shape)


def read(path):
    data = np.memmap(path, dtype=np.uint8, mode="r")
    if len(data) < 8:
        raise ValueError(f"{path}: {len(data)} bytes")
    n = struct.unpack("<Q", data[:8].tobytes())[0]
    if not 1 <= n <= len(data) - 8:
        raise ValueError(f"{path}: header of {n} bytes")
    header = json.loads(data[8:8 + n].tobytes().decode("utf-8"))
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw = data[8 + n + begin:8 + n + end]
        if entry["dtype"] not in BYTES or len(raw) != math.prod(entry["shape"]) * BYTES[entry["dtype"]]:
            raise ValueError(f"{path}: {name}: {entry}")
        tensors[name] = Tensor(entry["dtype"], entry["shape"], raw)
    return tensors


def encode(values, dtype):
    """float32 values as bytes of dtype, half to even; ValueError where a finite one becomes infinite."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    if dtype == "F32":
        return values.astype("<f4").tobytes()
    if dtype == "F16":
        with np.errstate(over="ignore"):
            half = values.astype("<f2")
        if not np.array_equal(np.isfinite(half), np.isfinite(values)):
            raise ValueError("a value is beyond float16")
        return half.tobytes()
    bits = values.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def write(path, items):
    """One tensor in memory at a time; offsets in the order given, aligned because the largest types come first."""
    items = sorted(items, key=lambda item: -BYTES[item[1]])
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape, _ in items:
        size = math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, dtype, shape, data in items:
            data = data() if callable(data) else data
            if len(data) != math.prod(shape) * BYTES[dtype]:
                raise ValueError(f"{name}: {len(data)} bytes for {dtype} {shape}")
            f.write(data)


class OutputDirectory:
    """with OutputDirectory(path) as d: files written into d appear at path as a whole, or not at all."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.partial = os.path.join(os.path.dirname(self.path), f".{os.path.basename(self.path)}.partial-{os.getpid()}")

    def __enter__(self):
        if os.path.exists(self.path) and (not os.path.isdir(self.path) or os.listdir(self.path)):
            raise ValueError(f"{self.path} exists and is not an empty directory")
        os.mkdir(self.partial)
        return self.partial

    def __exit__(self, kind, value, trace):
        if kind is None:
            os.rename(self.partial, self.path)
            return
        for name in os.listdir(self.partial):
            os.unlink(os.path.join(self.partial, name))
        os.rmdir(self.partial)
