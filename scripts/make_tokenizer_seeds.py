#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/fuzz_tokenizer.c: small vocabularies of each kind.

    make_tokenizer_seeds.py tests/fuzz/corpus/fuzz_tokenizer
"""
import json
import pathlib
import struct
import sys

OUT = pathlib.Path(sys.argv[1])
OUT.mkdir(parents=True, exist_ok=True)
TEXT = "ab <x>c \u00e9e\u0301 12\u00bd'LL\n".encode()
MODEL = {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "\u0120": 3, "ab": 4, "\u0120ab": 5, "<unk>": 6},
         "merges": ["a b", ["\u0120", "ab"]]}
ADDED = [{"id": 7, "content": "<x>", "lstrip": True, "single_word": True}, {"id": 8, "content": "<s>", "special": True}]
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def seed(name, data):
    (OUT / name).write_bytes(data)


def seed_json(name, **parts):
    seed(name, json.dumps({"added_tokens": ADDED, "model": MODEL, **parts}).encode() + b"\xff" + TEXT)


def split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def jsons():
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "use_regex": False}
    seed_json("plain")
    seed_json("byte-level", pre_tokenizer={"type": "ByteLevel"})
    seed_json("qwen", normalizer={"type": "NFC"},
              pre_tokenizer=sequence("pretokenizers", split({"Regex": QWEN}, "Isolated"), byte_level))
    for behavior in ("Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        seed_json("split-" + behavior, pre_tokenizer=split({"Regex": r"\w|[^\s\S]|x{1,2}"}, behavior, True))
    seed_json("literal", pre_tokenizer=split({"String": "b"}, "Isolated"))
    seed_json("classes", pre_tokenizer=sequence(
        "pretokenizers", {"type": "Digits", "individual_digits": True}, {"type": "Punctuation"},
        {"type": "WhitespaceSplit"}, {"type": "Metaspace", "prepend_scheme": "always"}))
    seed_json("normal", normalizer=sequence(
        "normalizers", {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "Strip"}, {"type": "Prepend", "prepend": "a"},
        {"type": "Replace", "pattern": {"Regex": "c+"}, "content": "b"},
        {"type": "Replace", "pattern": {"String": "1"}, "content": ""}))
    seed_json("fallback", model={**MODEL, "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>",
                                 "ignore_merges": True})
    seed_json("bos", post_processor=sequence("processors", {"type": "ByteLevel"}, {
        "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
        "special_tokens": {"<s>": {"ids": [8]}}}))
    seed_json("ends", post_processor={
        "type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<s>"}}],
        "special_tokens": {"<s>": {"ids": [8]}}})
    seed_json("nul", model={**MODEL, "vocab": {**MODEL["vocab"], "\0": 9, "a\0": 10, "\ufdd0": 11},
                            "merges": ["a b", "a \0"]})
    seed_json("blanks", normalizer={"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
              model={"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True,
                     "vocab": {"a": 0, "b": 1, "\u2581": 2, "\u2581a": 3, "b\u2581": 4, "<unk>": 5, "<0xC3>": 6, "<0xA9>": 9},
                     "merges": ["\u2581 a", "b \u2581"]})
    seed_json("newer", normalizer={"type": "NFC"}, pre_tokenizer=sequence(
        "pretokenizers", split({"Regex": r"\p{C}|\P{Cn}|[\w\p{Han}]+|\P{Han}"}, "Isolated"), {"type": "Digits"}))
    seed_json("runaway", pre_tokenizer=split({"Regex": "(a+)+b|(a|a)*c"}, "Isolated"))


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


PIECES = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("\u2581", -3.0, 1), ("a", -4.0, 1), ("\u2581a", -1.0, 1),
          ("l", -2.0, 1), ("ll", -2.5, 5), ("wor", -1.0, 4), ("o", -6.0, 1)]


def charsmap():
    """One rule, x to yz: a double array of two blocks, then the replacement."""
    unit = [0] * 512
    unit[0] = 256 << 10
    unit[256 ^ 120] = 120 | 0x100 | (120 ^ 1) << 10
    unit[256 ^ 1] = 0x80000000 | 1
    return struct.pack("<I512I", 2048, *unit) + b"\0yz\0"


def spm(name, kind, pieces=PIECES, **normalizer):
    body = b"".join(field(1, field(1, t.encode()) + field(2, s) + field(3, k)) for t, s, k in pieces)
    body += field(2, field(3, kind) + field(35, 1 if pieces is not PIECES else 0) + field(41, 1))
    parts = {"map": 2, "prefix": 3, "extra": 4, "escape": 5}
    body += field(3, b"".join(field(parts[k], v) for k, v in normalizer.items()))
    seed(name, body)


def models():
    for name, kind in (("unigram", 1), ("bpe", 2), ("word", 3), ("char", 4)):
        spm("spm-" + name, kind, prefix=1, extra=0)
    spm("spm-charsmap", 2, map=charsmap())
    spm("spm-bytes", 2, pieces=PIECES + [(f"<0x{b:02X}>", 0.0, 6) for b in range(256)])


def text(s):
    return struct.pack("<Q", len(s)) + s


def gguf(name, *pairs):
    seed(name, b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs))


def kv(key, value):
    key = text(b"tokenizer.ggml." + key)
    if isinstance(value, bytes):
        return key + struct.pack("<I", 8) + text(value)
    if isinstance(value, bool):
        return key + struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return key + struct.pack("<II", 4, value)
    head = key + struct.pack("<I", 9)
    if isinstance(value[0], bytes):
        return head + struct.pack("<IQ", 8, len(value)) + b"".join(map(text, value))
    if isinstance(value[0], float):
        return head + struct.pack("<IQ%df" % len(value), 6, len(value), *value)
    return head + struct.pack("<IQ%di" % len(value), 5, len(value), *value)


def ggufs():
    tokens = ["a", "b", "\u0120", "ab", "<s>", "[PAD5]"]
    for pre in ("gpt-2", "smollm", "qwen2", "deepseek-llm", "llama-bpe", "default"):
        gguf("gguf-" + pre, kv(b"model", b"gpt2"), kv(b"pre", pre.encode()), kv(b"tokens", [t.encode() for t in tokens]),
             kv(b"token_type", [1, 1, 1, 1, 3, 4]), kv(b"merges", [b"a b"]), kv(b"bos_token_id", 4))
    gguf("gguf-spm", kv(b"model", b"llama"), kv(b"tokens", [t.encode() for t, _, _ in PIECES]),
         kv(b"scores", [s for _, s, _ in PIECES]), kv(b"token_type", [k for _, _, k in PIECES]),
         kv(b"bos_token_id", 1), kv(b"add_space_prefix", False))


jsons()
models()
ggufs()
