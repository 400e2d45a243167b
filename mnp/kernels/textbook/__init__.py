# ruff: noqa: F401 - __all__ names all of these
"""The definition of every kernel: NumPy and visible loops, made to be read and stepped through.

Each function gives the formula, then the arrays, then the line or two of NumPy that compute it. Backward
functions follow the order of the forward function that they differentiate. In float64 these are the
reference for every other implementation.

    windows     convolution, max pooling, average pooling
    dense       dense, maxout, win counts, ReLU, dropout
    batchnorm   batch normalisation
    learning    softmax cross-entropy, the SGD step
"""

import mnp.kernels
from mnp.kernels.textbook.batchnorm import (
    batchnorm2d_backward,
    batchnorm2d_forward,
    batchnorm2d_inference,
)
from mnp.kernels.textbook.dense import (
    dense_backward,
    dense_forward,
    dropout_backward,
    dropout_forward,
    maxout_backward,
    maxout_forward,
    relu_backward,
    relu_forward,
    win_counts,
)
from mnp.kernels.textbook.learning import (
    sgd_step,
    softmax_cross_entropy,
)
from mnp.kernels.textbook.windows import (
    avgpool2d_backward,
    avgpool2d_forward,
    conv2d_backward,
    conv2d_forward,
    maxpool2d_backward,
    maxpool2d_forward,
)

__all__ = [*mnp.kernels.KERNELS]
