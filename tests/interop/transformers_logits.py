#!/usr/bin/env python3
"""Logits of a compressed-tensors (or float) checkpoint as transformers computes them, against a file of float32 logits.

    python3 transformers_logits.py BUNDLE TOKENS.i32 LOGITS.f32 [--share S] [--difference D] [--window N]

transformers loads the directory in float32 with the compressed-tensors package and runs windows of N tokens. Logits are centred (a
constant a token does not matter) and compared with the root mean square of all of them: a token agrees when none of its logits
differs by more than 1e-4 of that. At least a share S of the tokens must agree, and the root mean square of all differences stay
below D. Float activations agree everywhere. With int8 ones a value in the middle of two codes may fall to either side by the
last bit of a float sum, and that token and those after it then differ by a step; with a scale a token its largest value always
lies in such a middle, since the package divides it by 127.5. Also fails when config.json says quantized and no linear was
loaded so. Exit code 0 when they agree.
"""

import argparse
import json
import os
import sys

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM


def logits_of(model, ids, window):
    rows = []
    with torch.no_grad():
        for at in range(0, len(ids), window):
            rows.append(model(torch.from_numpy(ids[at:at + window].astype(np.int64))[None]).logits[0].float().numpy())
    return np.concatenate(rows)


def quantized_linears(model):
    return sum(getattr(m, "quantization_scheme", None) is not None for m in model.modules())


def with_weights(bundle, weights):
    """The network of a bundle's config.json with these float weights; every parameter must be among them."""
    config = AutoConfig.from_pretrained(bundle)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    missing, unknown = model.load_state_dict({n: torch.from_numpy(np.array(v)) for n, v in weights.items()}, strict=False)
    missing = [n for n in missing if not (n == "lm_head.weight" and config.tie_word_embeddings)]
    if missing or unknown:
        raise AssertionError(f"missing {missing[:3]}, unknown {unknown[:3]}")
    return model


def compare(bundle, tokens, logits, bounds, window, weights=None):
    """Whether they agree, and one line that says how well. weights: float ones, for formats that transformers cannot load."""
    torch.set_num_threads(1)
    ids = np.fromfile(tokens, dtype="<i4")
    if weights is None:
        model = AutoModelForCausalLM.from_pretrained(bundle, dtype=torch.float32).eval()
    else:
        model = with_weights(bundle, weights)
    with open(os.path.join(bundle, "config.json"), encoding="utf-8") as f:
        quantized = weights is None and "quantization_config" in json.load(f)
    linears = quantized_linears(model)
    theirs = logits_of(model, ids, window)
    ours = np.fromfile(logits, dtype="<f4").reshape(theirs.shape)
    theirs, ours = (x.astype(np.float64) - x.mean(axis=1, keepdims=True) for x in (theirs, ours))
    size = np.sqrt(np.mean(theirs ** 2))
    difference, worst = np.sqrt(np.mean((theirs - ours) ** 2)) / size, np.abs(theirs - ours).max(axis=1) / size
    found = float(np.mean(worst <= 1e-4))
    good = found >= bounds[0] and bool(difference <= bounds[1]) and (linears > 0) == quantized
    return good, (f"{linears} quantized linears, {found:.4f} of the tokens agree (at least {bounds[0]:g}), difference "
                  f"{difference:.2g} (at most {bounds[1]:g})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundle")
    parser.add_argument("tokens")
    parser.add_argument("logits")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--difference", type=float, default=1e-5)
    parser.add_argument("--window", type=int, default=128)
    args = parser.parse_args()
    good, text = compare(args.bundle, args.tokens, args.logits, (args.share, args.difference), args.window)
    print(f"{'ok    ' if good else 'DIFFER'} {args.bundle}: {text}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
