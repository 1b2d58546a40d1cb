#!/usr/bin/env python3
"""Golden vectors for the GGUF block formats.

Random blocks (numpy's PCG64, seed 20240229; scales chosen below so that every result is
finite) dequantized by the reference in the Python package gguf 0.19.0 (with numpy 2.x).
Prints the C header tests/golden/dequant_golden.h:

    python3 -m pip install gguf==0.19.0 numpy
    python3 scripts/make_dequant_golden.py > tests/golden/dequant_golden.h
"""
import importlib.metadata

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

SEED = 20240229

# type -> byte positions of its f16 scales; blocks to make
FORMATS = {
    "Q8_0": ([0], 6), "Q4_0": ([0], 6), "Q4_1": ([0, 2], 6), "Q5_0": ([0], 6), "Q5_1": ([0, 2], 6),
    "Q2_K": ([80, 82], 3), "Q3_K": ([108], 3), "Q4_K": ([0, 2], 3), "Q5_K": ([0, 2], 3), "Q6_K": ([208], 3),
}


def scale(rng, block):
    """A usual value, then a subnormal half, then one near the top of the range."""
    if block == 1:
        bits = rng.integers(1, 0x400)
    elif block == 2:
        bits = rng.integers(0x7000, 0x7c00)
    else:
        bits = np.float16(rng.uniform(0.001, 0.1)).view(np.uint16)
    return int(bits) | int(rng.integers(0, 2)) << 15


def lines(values, form, per_line):
    words = [form % v for v in values]
    for i in range(0, len(words), per_line):
        print("    " + " ".join(words[i:i + per_line]))


def main():
    version = importlib.metadata.version("gguf")
    print("/* Made by scripts/make_dequant_golden.py: random blocks and what the Python package")
    print(f" * gguf {version} dequantizes them to (f32 bits). Seed {SEED}. Do not edit. */")
    print("#ifndef GS_TESTS_DEQUANT_GOLDEN_H\n#define GS_TESTS_DEQUANT_GOLDEN_H\n")
    print("#include <stdint.h>\n")
    rng = np.random.default_rng(SEED)
    for name, (positions, blocks) in FORMATS.items():
        elements, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
        raw = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
        for block in range(blocks):
            for at in positions:
                raw[block, at:at + 2] = np.frombuffer(scale(rng, block).to_bytes(2, "little"), np.uint8)
        out = quants.dequantize(raw.reshape(1, -1), GGMLQuantizationType[name]).reshape(-1)
        assert out.dtype == np.float32 and out.size == blocks * elements and np.isfinite(out).all()
        print(f"static const uint8_t golden_{name}_bytes[{raw.size}] = {{")
        lines(raw.reshape(-1), "%d,", 22)
        print(f"}};\nstatic const uint32_t golden_{name}_f32[{out.size}] = {{")
        lines(out.view(np.uint32), "0x%08x,", 8)
        print("};\n")
    print("#endif")


if __name__ == "__main__":
    main()
