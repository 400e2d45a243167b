"""Sparse layers as plain loops: the definition, for any float type and without a compiler.

A matrix in CSR (compressed sparse rows) keeps its non-zeros row by row:

    weight[r, columns[p]] = values[p]    for p in starts[r] .. starts[r + 1] - 1

`sparse_tiles` offers the same two functions for speed; a test holds the two together. Columns and
starts come as unsigned integers, so that Numba need not ask whether an index counts from the end.

Zero weights are not multiplied at all: where the dense product gives NaN for 0 * inf, these do not.
"""

import numpy as np
from numba import prange

from mnp.kernels.compiling import compiled


def dense(x, values, columns, starts, bias, k=1):
    """Multiply every row of x by a sparse matrix, add the bias, keep the largest of k adjacent rows.

        z[n, r] = bias[r] + sum_p values[p] * x[n, columns[p]],    p in starts[r] .. starts[r + 1] - 1
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
                # z = bias[row] + sum(values[p] * x[n, columns[p]]), as four sums that do not wait
                # for each other.
                a = b = c = d = nothing
                p, end = starts[row], starts[row + 1]
                while p + 4 <= end:
                    a += values[p] * x[n, columns[p]]
                    b += values[p + 1] * x[n, columns[p + 1]]
                    c += values[p + 2] * x[n, columns[p + 2]]
                    d += values[p + 3] * x[n, columns[p + 3]]
                    p += 4
                while p < end:
                    a += values[p] * x[n, columns[p]]
                    p += 1
                z = ((a + b) + (c + d)) + bias[row]
                if j == 0 or z > y[n, u] or z != z:
                    y[n, u] = z


def conv(frames, values, offsets, starts, bias, line, oh, ow, size, stride):
    """Slide sparse filters over flat images, then keep the largest of every pooling window.

        plane[q]      = bias[f] + sum_p values[p] * frames[n, offsets[p] + q]
        y[n, f, i, j] = max_a,b plane[(i * stride + a) * line + j * stride + b]

    A flat image makes the sum a shift: the output pixel (i, j) is q = i * line + j, and the weight at p
    reads offsets[p] further on. (q with j >= ow belong to no pixel; they are computed and not used.)

    Parameters
    ----------
    frames : (N, length) float, C order
        Flat images, with `sparse.ROOM` more elements behind the last row that is needed.
    values : (nnz,) float; offsets : (nnz,) uint32; starts : (F + 1,) uint32
    bias : (F,) float
    line : int
        Distance of one row of pixels from the next, within a frame.
    oh, ow : int
        The convolution's output, before the pooling.
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
            for p in range(starts[f], starts[f + 1]):
                value, at = values[p], offsets[p]
                for q in range(span):
                    plane[q] += value * frame[at + q]
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    best = plane[i * stride * line + j * stride]
                    for a in range(size):
                        for b in range(size):
                            v = plane[(i * stride + a) * line + j * stride + b]
                            if v > best or v != v:
                                best = v
                    y[n, f, i, j] = best
