"""Pruned layers as CSR (compressed sparse rows): smaller in memory and on disk, and run without the zeros.

masked = apply_masks(net, masks)        # zeros in full-size arrays, ready for training
small = sparse_network(masked)          # the same outputs; the zeros are gone
save_sparse("small.npz", small)

csr          the form, and the conversion of a network
layers       layers for inference
plain        their products in NumPy: the definition
loops        the same as loops compiled by Numba
tiled_loops  the same with SIMD tiles
file         save and load
"""

from mnp.sparse.csr import CSR, sparse_network, to_csr
from mnp.sparse.file import load_sparse, save_sparse
from mnp.sparse.layers import SPARSE_TYPES, SparseConv2d, SparseDense

__all__ = [
    "CSR",
    "SPARSE_TYPES",
    "SparseConv2d",
    "SparseDense",
    "load_sparse",
    "save_sparse",
    "sparse_network",
    "to_csr",
]
