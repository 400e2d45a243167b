"""Small data in MNIST's file format, under MNIST's names."""

import gzip
import struct

import numpy as np

from mnp.data import mnist


def idx_bytes(array, shape=None, code=8):
    """The file that holds `array`, or one that says something else about itself."""
    shape = array.shape if shape is None else shape
    return b"\0\0" + bytes([code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


def pictures(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def write_set(folder, train=5, test=3, packed=True, rename="{}", **replacements):
    """Four small files under MNIST's names; keyword arguments give a file other bytes."""
    contents = {
        "train_images": idx_bytes(pictures(train)),
        "train_labels": idx_bytes(np.arange(train, dtype=np.uint8) % 10),
        "test_images": idx_bytes(pictures(test, seed=1)),
        "test_labels": idx_bytes(np.arange(test, dtype=np.uint8) % 10),
    } | replacements
    for part, data in contents.items():
        name = mnist.FILES[part][0] + ".gz" * packed
        path = folder / (rename(name) if callable(rename) else rename.format(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if packed else data)
    return folder
