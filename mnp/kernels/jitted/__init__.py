# ruff: noqa: F401 - __all__ names all of these
"""The textbook's kernels as plain loops compiled by Numba: as fast as readable code gets.

    products    convolution and dense layers; their loops are in `loops`
    pooling     max and average pooling
    units       maxout, win counts, ReLU, dropout
    batchnorm   batch normalisation
    learning    softmax cross-entropy, the SGD step

Formulas, arguments and examples are in `mnp.kernels.textbook`; a docstring here says what differs. The
public functions check their arguments and make them contiguous, so that each loop is compiled once for a
float type; then every thread computes its own share of the output. No two threads add into one number, and
no sum depends on the share it falls into: the bits are the same for any number of threads.

A loop is compiled when it is first called (about a second) and kept for the next process. With
`NUMBA_DISABLE_JIT=1` all of this is plain Python, to be stepped through, on small arrays.
"""

import numpy as np

import mnp.kernels
from mnp.kernels.jitted.batchnorm import batchnorm2d_backward, batchnorm2d_forward, batchnorm2d_inference
from mnp.kernels.jitted.learning import sgd_step, softmax_cross_entropy
from mnp.kernels.jitted.pooling import (
    avgpool2d_backward,
    avgpool2d_forward,
    maxpool2d_backward,
    maxpool2d_forward,
)
from mnp.kernels.jitted.products import conv2d_backward, conv2d_forward, dense_backward, dense_forward
from mnp.kernels.jitted.units import (
    dropout_backward,
    dropout_forward,
    maxout_backward,
    maxout_forward,
    relu_backward,
    relu_forward,
    win_counts,
)


def _keep_freed_memory():
    """Make glibc keep the memory of freed results, up to 32 MiB each, for the next ones.

    It returns large blocks to the system and pages them in again for the next result, which takes as long
    as a max pooling; but it keeps blocks up to the largest that it has seen freed. So one is allocated and
    freed here. None of its pages is touched: it takes no memory.
    """
    np.empty((32 << 20) - (64 << 10), dtype=np.uint8)


_keep_freed_memory()

__all__ = [*mnp.kernels.KERNELS]
