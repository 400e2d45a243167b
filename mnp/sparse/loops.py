"""Loops of the sparse layers: the definition, for any float type.

A matrix in CSR (compressed sparse rows) keeps its non-zeros row by row:

    weight[r, columns[m]] = values[m]    for m in starts[r] .. starts[r + 1] - 1

`tiled_loops` has the same two functions, for speed; a test holds the two together. Columns and starts
are unsigned integers, so that Numba need not check whether an index counts from the end.

Zero weights are not multiplied at all: where the dense product gives NaN for 0 * inf, these do not.
"""

import numpy as np
from numba import prange

from mnp.kernels.compiling import compiled


def dense(x, values, columns, starts, bias, k=1):
    """Product with a sparse matrix, plus bias, then the maximum over k adjacent rows.

        z[n, r] = bias[r] + sum_m values[m] * x[n, columns[m]],    m in starts[r] .. starts[r + 1] - 1
        y[n, u] = max_j z[n, u * k + j]

    Parameters
    ----------
    x : (N, in) float, C order
    values : (nnz,) float; columns : (nnz,) uint32; starts : (rows + 1,) uint32
    bias : (rows,) float
    k : int
        Neurons per maxout unit; 1 is an ordinary dense layer. NaN wins any maximum.

    Returns
    -------
    y : (N, rows / k) float
    """
    y = np.empty((len(x), bias.size // k), dtype=x.dtype)
    _dense(x, values, columns, starts, bias, k, y)
    return y


@compiled()
def _dense(x, values, columns, starts, bias, k, y):
    nothing = values.dtype.type(0)
    for n in range(x.shape[0]):
        for u in range(y.shape[1]):
            for j in range(k):
                row = u * k + j
                # z = bias[row] + sum(values[m] * x[n, columns[m]]), as four independent sums.
                a = b = c = d = nothing
                m, end = starts[row], starts[row + 1]
                while m + 4 <= end:
                    a += values[m] * x[n, columns[m]]
                    b += values[m + 1] * x[n, columns[m + 1]]
                    c += values[m + 2] * x[n, columns[m + 2]]
                    d += values[m + 3] * x[n, columns[m + 3]]
                    m += 4
                while m < end:
                    a += values[m] * x[n, columns[m]]
                    m += 1
                z = ((a + b) + (c + d)) + bias[row]
                if j == 0 or z > y[n, u] or z != z:
                    y[n, u] = z


def conv(frames, values, offsets, starts, bias, line, oh, ow, size, stride):
    """Convolution of flat images with sparse filters, then max pooling.

        plane[t]      = bias[f] + sum_m values[m] * frames[n, offsets[m] + t]
        y[n, f, p, q] = max_i,j plane[(p * stride + i) * line + q * stride + j]

    In a flat image the sum is a shift: the pixel (p, q) of the convolution is t = p * line + q, and weight
    m reads offsets[m] further on. (t with q >= ow are no pixels; they are computed and not used.)

    Parameters
    ----------
    frames : (N, length) float, C order
        Flat images, with `layers.PADDING` more elements after the last row that is needed.
    values : (nnz,) float; offsets : (nnz,) uint32; starts : (F + 1,) uint32
    bias : (F,) float
    line : int
        Distance between two rows of pixels within a frame.
    oh, ow : int
        Size of the convolution's output, before the pooling.
    size, stride : int
        Max pooling; size = stride = 1 is none. NaN wins any maximum.

    Returns
    -------
    y : (N, F, (oh - size) // stride + 1, (ow - size) // stride + 1) float
    """
    shape = (len(frames), bias.size, (oh - size) // stride + 1, (ow - size) // stride + 1)
    y = np.empty(shape, dtype=frames.dtype)
    _conv(frames, values, offsets, starts, bias, line, (oh - 1) * line + ow, size, stride, y)
    return y


@compiled(parallel=True)
def _conv(frames, values, offsets, starts, bias, line, span, size, stride, y):
    for n in prange(y.shape[0]):
        frame, plane = frames[n], np.empty(span, frames.dtype)
        for f in range(y.shape[1]):
            plane[:] = bias[f]
            for m in range(starts[f], starts[f + 1]):
                value, offset = values[m], offsets[m]
                for t in range(span):
                    plane[t] += value * frame[offset + t]
            for p in range(y.shape[2]):
                for q in range(y.shape[3]):
                    best = plane[p * stride * line + q * stride]
                    for i in range(size):
                        for j in range(size):
                            v = plane[(p * stride + i) * line + q * stride + j]
                            if v > best or v != v:
                                best = v
                    y[n, f, p, q] = best
