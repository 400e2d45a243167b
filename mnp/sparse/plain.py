"""Products with sparse matrices in NumPy: the definition, for any float type.

A matrix in CSR (compressed sparse rows) keeps its non-zeros row by row:

    weight[r, columns[m]] = values[m]    for m in starts[r] .. starts[r + 1] - 1

`loops` and `tiled_loops` have the same two functions, for speed; tests hold them together.

Zero weights are not multiplied at all: where the dense product gives NaN for 0 * inf, these do not.
"""

import numpy as np

from mnp.kernels.textbook import maxout_forward, maxpool2d_forward


def dense(x, values, columns, starts, bias, k=1):
    """Product with a sparse matrix, plus bias, then the maximum over k adjacent rows.

        z[n, r] = bias[r] + sum_m values[m] * x[n, columns[m]],    m in starts[r] .. starts[r + 1] - 1
        y[n, u] = max_j z[n, u * k + j]

    x (N, in) float in C order; values (nnz,) float, columns (nnz,) uint32, starts (rows + 1,) uint32,
    bias (rows,) float -> y (N, rows / k) float. NaN wins any maximum.
    """
    z = np.empty((len(x), bias.size), dtype=x.dtype)
    for row in range(bias.size):
        here = slice(starts[row], starts[row + 1])
        z[:, row] = x[:, columns[here]] @ values[here] + bias[row]
    return maxout_forward(z.reshape(len(x), -1, k))[0]


def conv(frames, values, offsets, starts, bias, line, oh, ow, size, stride):
    """Convolution of flat images with sparse filters, then max pooling.

        plane[t]      = bias[f] + sum_m values[m] * frames[n, offsets[m] + t]
        y[n, f, p, q] = max_i,j plane[(p * stride + i) * line + q * stride + j]

    In a flat image the sum is a shift: the pixel (r, s) of the convolution is t = r * line + s, and weight
    m reads offsets[m] further on. (t with s >= ow are not pixels; they are computed and not used.)

    Parameters
    ----------
    frames : (N, length) float, C order
        Flat images, with `layers.PADDING` more elements after the last row that is needed.
    values : (nnz,) float; offsets : (nnz,) uint32; starts : (F + 1,) uint32; bias : (F,) float
    line : int
        Distance between two rows of pixels within a frame.
    oh, ow : int
        Size of the convolution's output (N, F, oh, ow), before the pooling.
    size, stride : int
        Max pooling; size = stride = 1 is none. NaN wins any maximum.
    """
    span = (oh - 1) * line + ow
    plane = np.empty((len(frames), bias.size, oh * line), dtype=frames.dtype)
    for f in range(bias.size):
        plane[:, f] = bias[f]
        for m in range(starts[f], starts[f + 1]):
            plane[:, f, :span] += values[m] * frames[:, offsets[m] : offsets[m] + span]
    pixels = plane.reshape(len(frames), bias.size, oh, line)[..., :ow]
    return maxpool2d_forward(pixels, size, stride)[0]
