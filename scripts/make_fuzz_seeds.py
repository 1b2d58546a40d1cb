#!/usr/bin/env python3
"""Writes the seeds of fuzz_safetensors, fuzz_json and fuzz_config: small inputs, right ones and
nearly right ones.

    python3 scripts/make_fuzz_seeds.py [DIRECTORY]    (default tests/fuzz/corpus)

The same bytes at every run. Standard library only.
"""
import json
import pathlib
import struct
import sys

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8,
         "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1}


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def every_dtype():
    """One tensor a dtype, 2 x 2, in the order of the table; the total is the data's length."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for dtype, size in SIZES.items():
        header["t." + dtype] = entry(dtype, [2, 2], at, at + 4 * size)
        at += 4 * size
    return header, at


def headers():
    """name -> (header text, data bytes); data bytes are a multiple of 4 up to 1020."""
    full, total = every_dtype()
    two = {"a": entry("F32", [2, 3], 0, 24), "b": entry("BF16", [4], 24, 32)}
    yield "empty", b"{}", 0
    yield "two", compact(two), 32
    yield "every-dtype", compact(full), total
    yield "scalar", compact({"s": entry("F32", [], 0, 4)}), 4
    yield "zero-sized", compact({"z": entry("F16", [0, 7], 0, 0), "a": entry("U8", [4], 0, 4)}), 4
    yield "half-bytes", compact({"f": entry("F4", [2, 4], 0, 4)}), 4
    yield "eight-dims", compact({"d": entry("I16", [1, 1, 1, 2, 1, 1, 1, 2], 0, 8)}), 8
    yield "unsorted", compact(dict(reversed(two.items()))), 32
    yield "spaces", b" \t\r\n" + compact(two) + b"   ", 32
    yield "escapes", b'{"a\\u00e9\\n\\ud83d\\ude42\\"":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', 4
    yield "overlap", compact({"a": entry("U8", [8], 0, 8), "b": entry("U8", [8], 4, 12)}), 12
    yield "hole", compact({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 8, 12)}), 12
    yield "cut", compact({"a": entry("U8", [16], 0, 16)}), 8
    yield "overflow", b'{"a":{"dtype":"I32","shape":[2,18446744073709551614],"data_offsets":[0,16]}}', 16
    yield "twice", b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{}}', 4
    yield "bad-metadata", b'{"__metadata__":{"a":{"b":"c"}}}', 0


def write(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def safetensors_seeds(folder):
    for name, header, data in headers():
        body = bytes(i % 251 for i in range(data))
        write(folder, name, struct.pack("<Q", len(header)) + header + body)
        # the target's second form: the header and a quarter of the data's length
        write(folder, name + "-header", header + bytes([data // 4]))
    write(folder, "too-large", struct.pack("<Q", 100000001) + b"{}")
    write(folder, "too-long", struct.pack("<Q", 3) + b"{}")


def json_seeds(folder):
    seeds = {
        "object": b'{"a":1,"b":[true,false,null],"c":{"d":"e"}}',
        "numbers": b"[0,-0,1.5,-2e10,3E-7,1e308,5e-324,9007199254740993,0.1,123456789012345678901234567890]",
        "strings": '["","\\"\\\\\\/\\b\\f\\n\\r\\t","\\u00e9\\ud83d\\ude42","é🙂"]'.encode(),
        "spaces": b" \r\n\t[ 1 , 2 ] \n",
        "mark": b"\xef\xbb\xbf{}",
        "deep": b"[" * 63 + b"]" * 63,
        "too-deep": b"[" * 100,
        "twice": b'{"a":1,"\\u0061":2}',
        "nul": b'["\\u0000"]',
        "half-pair": b'["\\ud83d"]',
        "not-utf8": b'["\xff"]',
        "trailing": b"{} {}",
        "zero": b"[01]",
        "wide": b'{' + b",".join(b'"k%d":%d' % (i, i) for i in range(20)) + b"}",
    }
    for name, content in seeds.items():
        write(folder, name, content)


def config_seeds(folder):
    base = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 5,
            "num_attention_heads": 8}
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 8192}
    seeds = {
        "smallest": base,
        "everything": base | {
            "num_key_value_heads": 4, "head_dim": 16, "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5, "rope_theta": 5e5, "tie_word_embeddings": True,
            "attention_bias": True, "mlp_bias": False, "hidden_act": "silu", "model_type": "llama",
            "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"},
        "linear": base | {"rope_scaling": {"type": "linear", "factor": 2.0}},
        "llama3": base | {"rope_scaling": llama3},
        "parameters": base | {"rope_parameters": llama3 | {"rope_theta": 5e5}, "dtype": "float16"},
        "per-layer": base | {"rope_parameters": {"full_attention": {"rope_theta": 1e6}}},
        "nulls": base | {"rope_scaling": None, "head_dim": None, "num_key_value_heads": None},
        "no-limit": base | {"model_max_length": 1e30},
        "nested": {"text_config": base},
        "negative": base | {"hidden_size": -1},
        "uneven": base | {"num_key_value_heads": 3},
    }
    for name, content in seeds.items():
        write(folder, name, compact(content))


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fuzz" / "corpus"
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    safetensors_seeds(root / "fuzz_safetensors")
    json_seeds(root / "fuzz_json")
    config_seeds(root / "fuzz_config")


if __name__ == "__main__":
    main()
