"""Dense layers, alone or with ReLU, dropout and maxout behind them. The plain loop, forward:

      for n, o:  z[n, o] = bias[o]                                    o = u*k + j
          for i:  z[n, o] += weight[o, i] * x[n, i]

A tile multiplies 6 examples by 4 neurons (or 1 by 8; AVX2: 3 by 4), lanes along the features, and adds the
lanes up at the end; the maximum over each unit's neurons is taken while their sums are at hand.

Backward, only winners carry a gradient g (of a plain dense layer, where k = 1, all that is not zero):

      for n, u:  j = winner[n, u]
          dx[n, :] += g[n, u] * weight[u, j, :];  dweight[u, j, :] += g[n, u] * x[n, :]

Both are sums of few rows out of many: the rows are listed first, then added up 128 columns at a time (AVX2:
96). Such a strip of all rows stays in a near cache while every list goes by.
"""

import numpy as np

from mnp.kernels.registers import WIDE, get, make_tile, put
from mnp.kernels.tiled.compiling import device_noalloc
from mnp.kernels.tiled.layouts import clear
from mnp.kernels.tiled.parallel import BYTES, FLOAT, FLOATS, INT, shared, tuples

_LONG, _SHORT = 8 if WIDE else 6, 4  # vectors of a row of a tile, the short ones of 8 lanes
_STRIP = 16 * _LONG
_long, _short = make_tile(1, _LONG), make_tile(1, _SHORT, 8)
GROUP, _UNITS = 16, 32  # examples that share the weights of so many units
LANES = 16 if WIDE else 8  # features of a vector


def _make_sums(rows, columns, high, wide):
    tile = make_tile(high, wide, LANES)

    @device_noalloc
    def sums(x, n, weight, o, depth, z, at, step):
        """z[at + p*step + q] = x[n + p] . weight[o + q] over whole vectors, for rows p and columns q."""
        for p in range(0, rows, high):
            for q in range(0, columns, wide):
                # Each sum stays in 16 or 8 lanes until the last whole vector of features is in.
                a, b, t = (n + p) * depth, (o + q) * depth, tile.zero()
                for i in range(0, depth // LANES * LANES, LANES):
                    t = tile.dot(t, x, a + i, depth, weight, b + i, depth)
                tile.sum_lanes(t, z, at + p * step + q, step)

    return sums


# Each product is added in the same order in both, so the bits are the same. For one example, 8 neurons are as
# many streams of weights from memory at a time.
_six, _one = _make_sums(6, 4, 6 if WIDE else 3, 4), _make_sums(1, 8, 1, 8)


@device_noalloc
def _largest(z, at, bias, o, k, relu, keep, keep_at, scale):
    """Bias, ReLU, dropout and the maximum of one unit's neurons: its value, and the neuron that gave it."""
    best, winner = np.float32(0), 0
    for j in range(k):
        v = get(z, at + j) + get(bias, o + j)
        if relu and v <= 0:  # a NaN stays
            v = np.float32(0)
        if keep.size:
            v = v * np.float32(get(keep, keep_at + j)) / np.float32(scale)
        if j == 0 or (not v <= best and best == best):  # the lowest index wins a tie, the first NaN all
            best, winner = v, j
    return best, winner


@shared(INT, FLOATS, FLOATS, FLOATS, tuples(INT, 4), INT, BYTES, FLOAT, FLOATS, BYTES)
def dense_forward(index, groups, x, weight, bias, sizes, relu, keep, scale, y, winner):
    """y and winner (where not empty) of one group of units, for a chunk of at most 128 examples.

    A chunk of the examples stays in a core's cache while the units go by. sizes = (N, in, units, k);
    scale = 1 - p of the dropout.
    """
    count, depth, units, k = sizes
    first, end = index // groups * 128, min(count, index // groups * 128 + 128)
    low, high = index % groups * units // groups, (index % groups + 1) * units // groups
    start, neurons = low * k, (high - low) * k
    z = np.empty(6 * neurons, np.float32)
    n = first
    while n < end:
        # Six examples share each load of the weights; the last few go one by one. Whatever the tile, a sum's
        # terms come in the same order, so an example's bits do not depend on its place in the batch.
        rows = 6 if end - n >= 6 else 1
        wide = 4 if rows == 6 else 8
        for block in range(0, neurons, wide):
            o = min(block, neurons - wide)  # the last block goes back to be whole: the same sums once more
            if rows == 6:
                _six(x, n, weight, start + o, depth, z, o, neurons)
            else:
                _one(x, n, weight, start + o, depth, z, o, neurons)
        for p in range(rows):
            # Features behind the last whole vector, one at a time.
            if depth % LANES:
                for o in range(neurons):
                    s = z[p * neurons + o]
                    for i in range(depth // LANES * LANES, depth):
                        s += x[(n + p) * depth + i] * weight[(start + o) * depth + i]
                    z[p * neurons + o] = s
            # The unit's sums are in the first cache now: bias, ReLU, dropout and the maximum cost no pass.
            for u in range(low, high):
                o, to = u * k, (n + p) * units + u
                best, j = _largest(z, p * neurons + o - start, bias, o, k, relu, keep, to * k, scale)
                put(y, to, best)
                if winner.size:
                    put(winner, to, j)
        n += rows


@device_noalloc
def _add_rows(rows, gradients, at, count, source, depth, column, end, out, to, first):
    """out[to + column : to + end] += sum over the list of gradient * (those columns of a row of source).

    The list is `count` entries from `at`. first: nothing is there yet, and nothing is read.
    """
    i = column
    while i < end:
        # The widest tile that fits: it walks the list once for the most columns.
        if end - i >= _STRIP:
            t = _long.zero()
            if not first:
                t = _long.load(out, to + i, 0, 16)
            for e in range(at, at + count):
                t = _long.axpy(t, get(gradients, e), source, get(rows, e) * depth + i, 16)
            _long.store(t, out, to + i, 0, 16)
            i += _STRIP
        elif end - i >= 8 * _SHORT:
            u = _short.zero()
            if not first:
                u = _short.load(out, to + i, 0, 8)
            for e in range(at, at + count):
                u = _short.axpy(u, get(gradients, e), source, get(rows, e) * depth + i, 8)
            _short.store(u, out, to + i, 0, 8)
            i += 8 * _SHORT
        else:
            s = np.float32(0) if first else out[to + i]
            for e in range(at, at + count):
                s += get(gradients, e) * get(source, get(rows, e) * depth + i)
            out[to + i] = s
            i += 1


@device_noalloc
def _strip_end(column, depth):
    """Where the strip from this column ends; the last one takes what would be less than two."""
    return column + _STRIP if depth - column >= 2 * _STRIP else depth


@device_noalloc
def _gradient(n, u, dy, y, winner, units, k, relu, keep, scale):
    """Gradient with respect to the neuron that won unit u in example n, before ReLU; and that neuron."""
    at = n * units + u
    j = np.int64(get(winner, at)) if winner.size else 0
    g = get(dy, at)
    if keep.size:
        g = g * np.float32(get(keep, at * k + min(j, k - 1))) / np.float32(scale)
    if relu and not get(y, at) > 0:
        g = np.float32(0)
    return g, j


_INPUTS = INT, FLOATS, FLOATS, BYTES, FLOATS, FLOATS, tuples(INT, 4), INT, BYTES, FLOAT


@shared(*_INPUTS, FLOATS, FLOATS, FLOATS, BYTES)
def dense_backward(
    index, blocks, dy, y, winner, x, weight, sizes, relu, keep, scale, dx, dweight, dbias, bad
):
    """dweight and dbias of block `index` of the units; then, after them, dx of group index - blocks of GROUP
    examples, which share a strip of the weights while it is in a core's cache."""
    count, depth, units, k = sizes
    # dx of a group of examples.
    if index >= blocks:
        first = (index - blocks) * GROUP
        end = min(first + GROUP, count)
        rows, gradients = np.empty(GROUP * _UNITS, np.int64), np.empty(GROUP * _UNITS, np.float32)
        lengths = np.empty(GROUP, np.int64)
        # 32 units at a time: the weights of their winners are read once for all examples of the group.
        for start in range(0, units, _UNITS):
            for n in range(first, end):
                at = (n - first) * _UNITS
                # List the units that pass a gradient on: behind dropout and ReLU, half of them or fewer.
                for u in range(start, min(start + _UNITS, units)):
                    g, j = _gradient(n, u, dy, y, winner, units, k, relu, keep, scale)
                    if g != 0:
                        put(rows, at, u * k + min(j, k - 1))
                        put(gradients, at, g)
                        at += 1
                put(lengths, n - first, at - (n - first) * _UNITS)
            # Strip by strip, so that all rows of a strip stay in the first cache while every list goes by.
            column = 0
            while column < depth:
                stop = _strip_end(column, depth)
                for n in range(first, end):
                    at, entries = (n - first) * _UNITS, get(lengths, n - first)
                    _add_rows(
                        rows, gradients, at, entries, weight, depth, column, stop, dx, n * depth, start == 0
                    )
                column = stop
        return
    # dweight and dbias of a block of units: for every neuron, the list of the examples that it won.
    low, high = index * units // blocks, (index + 1) * units // blocks
    neurons = (high - low) * k
    rows, gradients = np.empty(neurons * count, np.int64), np.empty(neurons * count, np.float32)
    lengths, wrong = np.zeros(neurons, np.int64), False
    clear(dbias, low * k, high * k)
    for n in range(count):
        for u in range(low, high):
            g, j = _gradient(n, u, dy, y, winner, units, k, relu, keep, scale)
            wrong |= j >= k  # told to the caller, who names it; the index below is kept inside the array
            o = (u - low) * k + min(j, k - 1)
            if g != 0:
                put(rows, o * count + lengths[o], n)
                put(gradients, o * count + lengths[o], g)
                lengths[o] += 1
                dbias[low * k + o] += g
    column = 0
    while column < depth:
        end = _strip_end(column, depth)
        for o in range(neurons):
            to = (low * k + o) * depth
            _add_rows(rows, gradients, o * count, lengths[o], x, depth, column, end, dweight, to, True)
        column = end
    bad[index] = wrong
