"""The functions of `mnp.sparse.plain` as loops compiled by Numba, for any float type.

Columns and starts are unsigned integers, so that Numba need not check whether an index counts from the end.
"""

import numpy as np
from numba import prange

from mnp.kernels.compiling import compiled


def dense(x, values, columns, starts, bias, k=1):
    """Product with a sparse matrix, plus bias, then the maximum over k adjacent rows."""
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
    """Convolution of flat images with sparse filters, then max pooling."""
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
