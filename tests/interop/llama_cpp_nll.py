#!/usr/bin/env python3
"""Mean negative log likelihood of token ids under a GGUF file, computed by llama.cpp, compared with what is expected.

    llama_cpp_nll.py GGUF TOKENS.i32 EXPECTED_NLL [--window N] [--tolerance T]

The ids (little-endian int32) are cut into windows of N, each from an empty cache; within a window every token but the first is
predicted. EXPECTED_NLL: of gstick eval on the same file, ids and windows. Exit code 0: they differ by at most T;
1: by more, or llama.cpp does not load the file; 77: the module llama_cpp is not installed.
"""
import argparse
import array
import ctypes
import math
import sys

SKIPPED = 77


def parse():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("gguf")
    p.add_argument("tokens")
    p.add_argument("expected", type=float)
    p.add_argument("--window", type=int, default=512)
    p.add_argument("--tolerance", type=float, default=1e-3)
    return p.parse_args()


def read_ids(path):
    ids = array.array("i")
    with open(path, "rb") as f:
        ids.frombytes(f.read())
    if sys.byteorder == "big":
        ids.byteswap()
    return ids


def log_probability(logits, n, target):
    """In double precision: f32 sums would be part of what is measured."""
    row = [float(logits[i]) for i in range(n)]
    top = max(row)
    return row[target] - top - math.log(sum(math.exp(x - top) for x in row))


class Model:
    def __init__(self, lib, path, window):
        self.lib = lib
        lib.llama_backend_init()
        lib.llama_log_set(self.quiet(lib), ctypes.c_void_p(0))
        self.model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not self.model:
            raise RuntimeError("llama.cpp does not load it:\n" + "".join(self.messages[-12:]))
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = window
        params.n_threads = params.n_threads_batch = 1
        # the cache as f32 and no approximate attention: what is compared is the file
        params.type_k = params.type_v = 0
        if hasattr(params, "flash_attn_type"):
            params.flash_attn_type = 0
        self.context = lib.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("llama.cpp makes no context:\n" + "".join(self.messages[-12:]))
        self.vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))

    def quiet(self, lib):
        self.messages = []
        self.callback = lib.llama_log_callback(lambda _level, text, _user: self.messages.append(text.decode(errors="replace")))
        return self.callback

    def window_nll(self, ids):
        lib, n = self.lib, len(ids)
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        batch = lib.llama_batch_init(n, 0, 1)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
            batch.seq_id[i][0] = 0
        batch.n_tokens = n
        if lib.llama_decode(self.context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        total = -sum(log_probability(lib.llama_get_logits_ith(self.context, i), self.vocab, ids[i + 1])
                     for i in range(n - 1))
        lib.llama_batch_free(batch)
        return total, n - 1


def main():
    args = parse()
    try:
        import llama_cpp as lib
    except ImportError as e:
        print(f"skipped: {e}")
        return SKIPPED
    ids = read_ids(args.tokens)
    try:
        model = Model(lib, args.gguf, args.window)
        if max(ids) >= model.vocab:
            raise RuntimeError(f"token {max(ids)} of a vocabulary of {model.vocab}")
        parts = [model.window_nll(ids[i:i + args.window]) for i in range(0, len(ids), args.window)]
    except RuntimeError as e:
        print(f"{args.gguf}: {e}")
        return 1
    nll = sum(p[0] for p in parts) / sum(p[1] for p in parts)
    good = abs(nll - args.expected) <= args.tolerance
    print(f"{'ok' if good else 'FAIL'}: llama.cpp {nll:.7f}, expected {args.expected:.7f}, "
          f"difference {nll - args.expected:+.2e} (tolerance {args.tolerance:g})")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
