#!/usr/bin/env python3
"""Logits of a small random model of a family, as transformers computes them, against gstick's.

    python3 family_logits.py GSTICK --config CONFIG.json [--helper FILE.json]

The model is made of a config.json, whose sizes are made small, and read with a family described in JSON (docs/adding-a-model.md)
or a built-in one. Exit code 0 when the logits agree.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import transformers

from make_model import SIZES, save
from transformers_logits import compare

WINDOW = 128
BOUNDS = (1.0, 1e-5)


def small_config(path):
    with open(path, encoding="utf-8") as f:
        said = json.load(f)
    said.update({k: v for k, v in SIZES.items() if k in said})
    if isinstance(said.get("layer_types"), list):
        said["layer_types"] = said["layer_types"][:SIZES["num_hidden_layers"]]
    for key in ("head_dim", "sliding_window"):
        if isinstance(said.get(key), int):
            said[key] = min(said[key], 32)
    return transformers.AutoConfig.for_model(said.pop("model_type"), **said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gstick")
    parser.add_argument("--config", required=True)
    parser.add_argument("--helper")
    o = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        tokens, logits = save(small_config(o.config), folder, 1), os.path.join(folder, "logits.f32")
        command = [o.gstick, "eval", folder, "--tokens", tokens, "--window", str(WINDOW), "--no-bos", "--dump-logits", logits, "-q"]
        done = subprocess.run(command + (["--helper", o.helper] if o.helper else []), capture_output=True, text=True)
        if done.returncode:
            print(done.stderr.strip())
            return 1
        good, text = compare(folder, tokens, logits, BOUNDS, WINDOW)
        print(f"{'ok    ' if good else 'DIFFER'} {text}")
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
