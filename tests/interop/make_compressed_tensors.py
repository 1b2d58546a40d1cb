#!/usr/bin/env python3
"""A checkpoint as the compressed-tensors package writes it: make_compressed_tensors.py MODEL TOKENS.i32 OUT KIND

KIND: w8a16, w8a16-group (groups of 4 columns), dynamic, or static (asymmetric, ranges from the tokens). This is the
package that llm-compressor saves with.
"""

import sys

import numpy as np
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (QuantizationArgs, QuantizationConfig, QuantizationScheme, QuantizationStatus,
                                             apply_quantization_config)
from transformers import AutoModelForCausalLM

GROUP = 4
INT8 = {"num_bits": 8, "type": "int"}
INPUTS = {"dynamic": {"symmetric": True, "strategy": "token", "dynamic": True}, "static": {"symmetric": False, "strategy": "tensor"}}


def input_ranges(model, ids):
    """Name of a linear -> least and largest value it reads, with zero between them."""
    ranges = {}

    def watch(name):
        def hook(_, given):
            ranges[name] = (min(float(given[0].min()), 0.0), max(float(given[0].max()), 0.0))
        return hook

    hooks = [m.register_forward_pre_hook(watch(n)) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        model(ids)
    for hook in hooks:
        hook.remove()
    return ranges


def set_scales(module, kind, span):
    rows = module.weight.detach()
    grouped = rows.reshape(len(rows), -1, GROUP) if kind == "w8a16-group" else rows[:, None, :]
    module.weight_scale.data.copy_(grouped.abs().amax(2) / 127.5)
    if hasattr(module, "weight_zero_point"):
        module.weight_zero_point.data.zero_()
    if kind == "static":
        scale = (span[1] - span[0]) / 255
        module.input_scale.data.fill_(scale)
        module.input_zero_point.data.fill_(round(-128 - span[0] / scale))
    module.quantization_status = QuantizationStatus.FROZEN


def make(source, tokens, out, kind):
    ids = torch.from_numpy(np.fromfile(tokens, dtype="<i4")[:96].astype(np.int64))[None]
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    ranges = input_ranges(model, ids)
    group = {"strategy": "group", "group_size": GROUP} if kind == "w8a16-group" else {"strategy": "channel"}
    inputs = QuantizationArgs(**INT8, **INPUTS[kind]) if kind in INPUTS else None
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**INT8, symmetric=True, **group),
                                input_activations=inputs)
    apply_quantization_config(model, QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head"]))
    for name, module in model.named_modules():
        if getattr(module, "quantization_scheme", None) is not None:
            set_scales(module, kind, ranges[name])
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(out)
    compressor.update_config(out)


if __name__ == "__main__":
    make(*sys.argv[1:5])
