#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/fuzz_mindspore_ckpt.c: small MindSpore checkpoints, right and wrong ones.

    make_mindspore_seeds.py [DIRECTORY]
"""
import pathlib
import sys


def varint(n):
    out = b""
    while n >= 128:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(dims, dtype, data):
    return b"".join(b"\x08" + varint(d) for d in dims) + field(2, dtype) + field(3, data)


def entry(name, dims, dtype, data):
    return field(1, field(1, name) + field(2, tensor(dims, dtype, data)))


WORDS = {b"Bool": 1, b"Int8": 1, b"Int16": 2, b"Int32": 4, b"Int64": 8, b"UInt8": 1, b"UInt16": 2, b"UInt32": 4,
         b"UInt64": 8, b"Float16": 2, b"BFloat16": 2, b"Float32": 4, b"Float64": 8}


def seeds():
    yield "every-dtype", b"".join(entry(b"t." + w, [2, 3], w, bytes(range(6 * n))) for w, n in WORDS.items())
    yield "scalar", entry(b"s", [], b"Float32", b"\0\0\x80\x3f")
    yield "none", entry(b"n", [0, 4], b"Float16", b"")
    yield "long", entry(b"l" * 200, [300], b"Int8", bytes(300))
    yield "pieces", b"".join(entry(b"p", [2, 4], b"Int8", part) for part in (b"abc", b"de", b"fgh")) \
        + entry(b"q", [1], b"Int8", b"x")
    yield "pieces-short", entry(b"p", [8], b"Int8", b"abc")
    yield "pieces-apart", entry(b"p", [8], b"Int8", b"abcd") + entry(b"q", [1], b"Int8", b"x") \
        + entry(b"p", [8], b"Int8", b"efgh")
    yield "twice", 2 * entry(b"t", [1], b"Int8", b"x")
    yield "int4", entry(b"t", [2, 2], b"Int4", b"abcd")
    yield "too-many-bytes", entry(b"t", [2], b"Int8", b"abc")
    yield "huge", entry(b"t", [1 << 62, 1 << 62], b"Int8", b"a")
    yield "long-varint", b"\x0a\x88\x80\x80\x00" + entry(b"t", [1], b"Int8", b"x")[2:]
    yield "cut", entry(b"t", [4], b"Int32", bytes(16))[:-3]
    yield "map", field(1, field(1, b"m") + field(3, b""))
    yield "empty", b""


def main():
    here = pathlib.Path(__file__).resolve().parent.parent
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here / "tests/fuzz/corpus/fuzz_mindspore_ckpt"
    out.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (out / name).write_bytes(data)


if __name__ == "__main__":
    main()
