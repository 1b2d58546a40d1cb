#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/fuzz_corpus.c: small calibration sets of each kind.

    make_corpus_seeds.py tests/fuzz/corpus/fuzz_corpus
"""
import json
import pathlib
import struct
import sys

OUT = pathlib.Path(sys.argv[1])
OUT.mkdir(parents=True, exist_ok=True)
TEXT, LINES, IDS = 0, 1, 2


def seed(name, kind, data, draw=0, bos=0, length=4, samples=0):
    """As the target takes them apart: bos is -1 never, 0 as the tokenizer says, 1 always."""
    OUT.joinpath(name).write_bytes(bytes([kind | (bos + 1) << 2 | draw << 4, (length - 2) | samples << 4]) + data)


def lines(*objects):
    return b"".join(json.dumps(o, ensure_ascii=False).encode() + b"\n" for o in objects)


CHAT = {"messages": [{"role": "user", "content": "a b"}, {"role": "assistant", "content": [{"type": "text", "text": "ba"}]}]}

seed("text", TEXT, b"ab ab\nba <s>ab", bos=1)
seed("text-drawn", TEXT, b"ab" * 40, draw=3, bos=-1, samples=3)
seed("text-mark", TEXT, b"\xef\xbb\xbfab\xe4\xb8\xad b")
seed("text-not-utf8", TEXT, b"ab\xe4\xb8")
seed("text-nul", TEXT, b"a\0b")
seed("ids", IDS, struct.pack("<8i", 0, 1, 2, 3, 4, 5, 6, 0), length=3)
seed("ids-outside", IDS, struct.pack("<3i", 0, 7, -1))
seed("ids-cut", IDS, b"\1\0\0\0\1\0")
seed("lines", LINES, lines({"text": "ab a"}, {"id": 1, "prompt": "b\u4e2d"}, {"inputs_pretokenized": "a"}))
seed("lines-drawn", LINES, b"\n \r\n".join([lines({"question": "ab" * i}) for i in range(1, 8)]), draw=9, samples=4)
seed("lines-chat", LINES, lines(CHAT, {"conversations": [{"value": None}, "a", ["b"]]}))
seed("lines-escapes", LINES, rb'{"text":"a\d\u12\"\\"}' + b"\r\n" + rb'{"text":"\ud83d\ude00 \ud800"}')
seed("lines-null", LINES, lines({"text": None, "content": "ab"}, {"text": None}))
seed("lines-number", LINES, lines({"text": 1}))
seed("lines-deep", LINES, b'{"text":' + b"[" * 70 + b"]" * 70 + b"}")
seed("lines-cut", LINES, b'{"text":"ab')
