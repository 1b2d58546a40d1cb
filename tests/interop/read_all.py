#!/usr/bin/env python3
"""Every tensor of every safetensors file of a directory, read by the safetensors library: python3 read_all.py DIR"""

import glob
import os
import sys

from safetensors import safe_open

count = size = 0
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.safetensors"))):
    with safe_open(path, "pt") as file:
        for name in file.keys():
            tensor = file.get_tensor(name)
            count += 1
            size += tensor.numel() * tensor.element_size()
print(f"{count} tensors, {size} bytes")
sys.exit(0 if count else 1)
