#!/usr/bin/env python3
"""Writes the seeds of fuzz_gguf: small GGUF files, right ones and nearly right ones.

    python3 scripts/make_gguf_seeds.py [DIRECTORY]    (default tests/fuzz/corpus/fuzz_gguf)

The same bytes at every run. Standard library only.
"""
import math
import pathlib
import struct
import sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q",
         I64: "q", F64: "d"}
# ggml type id -> elements and bytes of a block
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
          10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
          24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2)}


def text(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(kind, v):
    return text(v) if kind == STRING else struct.pack("<" + FORMS[kind], v)


def pair(key, kind, v):
    return text(key) + struct.pack("<I", kind) + value(kind, v)


def array(key, element, values):
    head = text(key) + struct.pack("<IIQ", ARRAY, element, len(values))
    return head + b"".join(value(element, v) for v in values)


def gguf(pairs, tensors, alignment=32, version=3):
    """tensors: (name, dims innermost first, ggml type)."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs)
    offset = 0
    for name, dims, kind in tensors:
        block, size = BLOCKS[kind]
        out += text(name) + struct.pack("<I", len(dims))
        out += b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", kind, offset)
        offset += -(-(math.prod(dims) // block * size) // alignment) * alignment
    if not tensors:
        return out
    out += bytes(-len(out) % alignment)
    return out + bytes(i * 7 % 251 for i in range(offset))


def llama_pairs(layers=1, extra=(), name="llama"):
    return [
        pair("general.architecture", STRING, name),
        pair(f"{name}.block_count", U32, layers),
        pair(f"{name}.context_length", U32, 64),
        pair(f"{name}.embedding_length", U32, 8),
        pair(f"{name}.feed_forward_length", U32, 6),
        pair(f"{name}.attention.head_count", U32, 2),
        pair(f"{name}.attention.head_count_kv", U32, 1),
        pair(f"{name}.attention.layer_norm_rms_epsilon", F32, 1e-5),
        *extra,
    ]


def families():
    """name of the seed, architecture, pairs of its own, tensors of its own"""
    reals = [("attention.scale", 0.25), ("embedding_scale", 12), ("residual_scale", 0.5), ("logit_scale", 8)]
    mixture = [("expert_count", 3), ("expert_used_count", 2)]
    stacks = [(f"blk.0.ffn_{part}_exps.weight", dims, 0) for part, dims in (("gate", [8, 6, 3]), ("up", [8, 6, 3]), ("down", [6, 8, 3]))]
    yield "llama-woven-bias", "llama", [], [("blk.0.attn_q.bias", [8], 0), ("blk.0.attn_k.bias", [4], 0)]
    yield "llama-yarn", "llama", [("rope.scaling.type", "yarn"), ("rope.scaling.factor", 4.0), ("rope.scaling.attn_factor", 0.5),
                                  ("rope.scaling.original_context_length", 16)], []
    yield "qwen3", "qwen3", [], [("blk.0.attn_q_norm.weight", [4], 0), ("blk.0.attn_k_norm.weight", [4], 0)]
    yield "phi3", "phi3", [("rope.dimension_count", 2), ("attention.sliding_window", 7)], [
        ("blk.0.attn_qkv.weight", [8, 16], 0), ("blk.0.ffn_up.weight", [8, 12], 0)]
    yield "gemma2", "gemma2", [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0), ("attention.sliding_window", 7)], [
        (f"blk.0.{norm}.weight", [8], 0) for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")] + [
            ("output_norm.weight", [8], 0)]
    yield "granite", "granite", [(key, float(v)) for key, v in reals], [("blk.0.attn_q.weight", [8, 8], 0)]
    yield "olmo2", "olmo2", [], [("blk.0.post_ffw_norm.weight", [8], 0), ("blk.0.attn_q_norm.weight", [8], 0)]
    yield "mixtral", "llama", mixture, stacks + [("blk.0.ffn_gate_inp.weight", [8, 3], 0)]
    yield "qwen3moe", "qwen3moe", mixture + [("expert_feed_forward_length", 6)], stacks
    yield "internlm2", "internlm2", [], [("blk.0.attn_k.weight", [8, 4], 0)]


def family_seed(architecture, own, tensors):
    kinds = {str: STRING, float: F32, int: U32}
    return gguf(llama_pairs(extra=[pair(f"{architecture}.{key}", kinds[type(v)], v) for key, v in own], name=architecture),
                [("token_embd.weight", [8, 10], 0)] + tensors)


def llama_tensors(kind=0):
    return [
        ("token_embd.weight", [8, 10], kind), ("output_norm.weight", [8], 0),
        ("blk.0.attn_norm.weight", [8], 0), ("blk.0.ffn_norm.weight", [8], 0),
        ("blk.0.attn_q.weight", [8, 8], kind), ("blk.0.attn_k.weight", [8, 4], kind),
        ("blk.0.attn_v.weight", [8, 4], kind), ("blk.0.attn_output.weight", [8, 8], kind),
        ("blk.0.ffn_gate.weight", [8, 6], kind), ("blk.0.ffn_up.weight", [8, 6], kind),
        ("blk.0.ffn_down.weight", [6, 8], kind),
    ]


def seeds():
    vocab = [
        array("tokenizer.ggml.tokens", STRING, ["<unk>", "<s>", "a", ""]),
        array("tokenizer.ggml.scores", F32, [0, 0, -1, -2]),
        array("tokenizer.ggml.token_type", I32, [2, 3, 1, 1]),
        pair("tokenizer.ggml.model", STRING, "llama"),
        pair("tokenizer.ggml.bos_token_id", U32, 1),
        pair("tokenizer.ggml.add_bos_token", BOOL, 1),
    ]
    every = [pair(f"k{kind}", kind, 1) for kind in FORMS] + [array("a", U8, [1, 2]), array("b", BOOL, [0, 1]),
                                                            array("c", STRING, [])]
    yield "empty", gguf([], [])
    yield "version2", gguf([pair("a", U8, 1)], [], version=2)
    yield "every-value", gguf(every, [])
    yield "vocabulary", gguf(llama_pairs(extra=vocab), [])
    yield "llama-f32", gguf(llama_pairs(), llama_tensors())
    yield "llama-f16", gguf(llama_pairs(extra=vocab), llama_tensors(1))
    yield "llama-bf16-head", gguf(llama_pairs(), llama_tensors(30) + [("output.weight", [8, 10], 30)])
    yield "llama-bias", gguf(llama_pairs(), llama_tensors() + [("blk.0.attn_v.bias", [4], 0)])
    yield "llama-rope-freqs", gguf(llama_pairs(), [("rope_freqs.weight", [2], 0)])
    yield "llama-linear", gguf(llama_pairs(extra=[
        pair("llama.rope.scaling.type", STRING, "linear"), pair("llama.rope.scaling.factor", F32, 2)]), [])
    yield "llama-arrays", gguf(
        [array(k, U32, [4, 4]) if k.endswith("length") else pair(k, U32, 4) for k in (
            "llama.block_count", "llama.context_length", "llama.embedding_length",
            "llama.feed_forward_length", "llama.attention.head_count")]
        + [pair("general.architecture", STRING, "llama"),
           pair("llama.attention.layer_norm_rms_epsilon", F64, 1e-6)], [])
    for name, architecture, own, tensors in families():
        yield name, family_seed(architecture, own, tensors)
    yield "alignment", gguf([pair("general.alignment", U32, 64)], [("t", [3, 2], 0), ("u", [1], 0)], 64)
    for kind, (block, _) in BLOCKS.items():
        yield f"type-{kind}", gguf([], [("t", [block, 2], kind)])
    yield "four-dims", gguf([], [("t", [2, 3, 2, 2], 24)])
    whole = gguf(llama_pairs(), llama_tensors())
    yield "cut", whole[:-40]
    yield "duplicate", gguf([pair("a", U8, 1), pair("a", U8, 2)], [])
    yield "nested", gguf([text("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1)], [])
    yield "huge-count", gguf([text("a") + struct.pack("<IIQ", ARRAY, STRING, 1 << 60)], [])


def main():
    here = pathlib.Path(__file__).resolve().parent.parent
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here / "tests/fuzz/corpus/fuzz_gguf"
    out.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (out / name).write_bytes(data)


if __name__ == "__main__":
    main()
