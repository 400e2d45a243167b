"""Maxout neuron pruning by hand: NumPy arrays, Numba kernels, manual backprop.

Reading order is import order: `mnp.kernels`, `mnp.nn`, `mnp.pruning`, `mnp.experiments`.
"""

from mnp.errors import MnpError

__version__ = "0.1.0"
__all__ = ["MnpError", "__version__"]
