"""Compiled loops of `products`: unfold an image, multiply rows with rows, add rows up.

All in one file, because Numba's cache does not notice a change in another file's loops. Arrays are
contiguous; sizes were checked by the callers. `threads` is how many shares the work is cut into; every
number is computed in one order whatever it is. Pieces of rows are cut out before an inner loop, which
then counts from 0: an index like `first + r` might be negative for all the compiler knows, and stays slow.
"""

import numpy as np
from numba import prange

from mnp.kernels.compiling import FASTMATH, compiled

# ---- the two inner loops -----------------------------------------------------------------------------


@compiled(fastmath={*FASTMATH, "reassoc"})  # a sum may be kept in several parts, one for each SIMD lane
def add_dots(left, right, out, start):
    """out[a, start + b] += sum_r left[a, r] * right[b, r]

    Four rows on the left meet two on the right: six numbers are fetched for eight products, where one
    row with one row would fetch two for each. The eight sums stay in registers.
    """
    zero = left.dtype.type(0)
    n_left, n_right, terms = len(left), len(right), left.shape[1]
    for a in range(0, n_left - 3, 4):
        l0, l1, l2, l3 = left[a], left[a + 1], left[a + 2], left[a + 3]
        for b in range(0, n_right - 1, 2):
            r0, r1 = right[b], right[b + 1]
            s00 = s10 = s20 = s30 = s01 = s11 = s21 = s31 = zero
            for r in range(terms):
                u, v = r0[r], r1[r]
                s00 += l0[r] * u
                s10 += l1[r] * u
                s20 += l2[r] * u
                s30 += l3[r] * u
                s01 += l0[r] * v
                s11 += l1[r] * v
                s21 += l2[r] * v
                s31 += l3[r] * v
            at = start + b
            out[a, at], out[a, at + 1] = out[a, at] + s00, out[a, at + 1] + s01
            out[a + 1, at], out[a + 1, at + 1] = out[a + 1, at] + s10, out[a + 1, at + 1] + s11
            out[a + 2, at], out[a + 2, at + 1] = out[a + 2, at] + s20, out[a + 2, at + 1] + s21
            out[a + 3, at], out[a + 3, at + 1] = out[a + 3, at] + s30, out[a + 3, at + 1] + s31
    # The remainder: the last rows on the left with all, the last on the right with the others.
    whole_left, whole_right = n_left - n_left % 4, n_right - n_right % 2
    for a in range(n_left):
        for b in range(whole_right if a < whole_left else 0, n_right):
            total = zero
            for r in range(terms):
                total += left[a, r] * right[b, r]
            out[a, start + b] += total


@compiled()
def add_rows(out, factors, places, count, rows):
    """out[:] += sum_{t < count} factors[t] * rows[places[t], :], four rows at a time."""
    whole = count - count % 4
    for t in range(0, whole, 4):
        f0, f1, f2, f3 = factors[t], factors[t + 1], factors[t + 2], factors[t + 3]
        r0, r1, r2, r3 = rows[places[t]], rows[places[t + 1]], rows[places[t + 2]], rows[places[t + 3]]
        for r in range(out.size):
            out[r] = f3 * r3[r] + (f2 * r2[r] + (f1 * r1[r] + (f0 * r0[r] + out[r])))
    for t in range(whole, count):
        f0, r0 = factors[t], rows[places[t]]
        for r in range(out.size):
            out[r] += f0 * r0[r]


@compiled(fastmath={*FASTMATH, "reassoc"})
def total(values):
    """Add up in float64, also what is float32: a filter may have many thousand terms."""
    so_far = 0.0
    for r in range(values.size):
        so_far += values[r]
    return so_far


@compiled()
def nonzeros(values, first, factors, places):
    """List the values that are not 0 and their places (from `first` on); return how many there are."""
    count = 0
    for i in range(values.size):
        factors[count] = values[i]
        places[count] = first + i
        count += values[i] != 0  # a zero is overwritten by the next; NaN != 0, so a NaN stays
    return count


# ---- dense -------------------------------------------------------------------------------------------


@compiled()
def dense_forward_share(part, threads, x, weight, y, chunk):
    """Each thread owns some outputs, four together; the examples come a chunk at a time."""
    n_examples, outputs = y.shape
    fours = (outputs + 3) // 4  # a row that add_dots takes with three others must always be, for equal bits
    first, last = part * fours // threads * 4, min(outputs, (part + 1) * fours // threads * 4)
    for n in range(0, n_examples, chunk):
        add_dots(weight[first:last], x[n : n + chunk], y[:, first:last].T, n)


@compiled(parallel=True)
def dense_forward(x, weight, y, chunk, threads):
    for part in prange(threads):
        dense_forward_share(np.int64(part), threads, x, weight, y, chunk)


@compiled()
def sums_of_rows_share(part, threads, dy, rows, out, chunk):
    """out[m, :] += sum_t dy[m, t] * rows[t, :]; each thread owns some m; rows come a chunk at a time."""
    m_all, t_all = dy.shape
    factors, places = np.empty(chunk, dtype=dy.dtype), np.empty(chunk, dtype=np.int64)
    for t in range(0, t_all, chunk):
        for m in range(part * m_all // threads, (part + 1) * m_all // threads):
            count = nonzeros(dy[m][t : t + chunk], t, factors, places)
            add_rows(out[m], factors, places, count, rows)


@compiled(parallel=True)
def sums_of_rows(dy, rows, out, chunk, threads):
    for part in prange(threads):
        sums_of_rows_share(np.int64(part), threads, dy, rows, out, chunk)


# ---- convolution -------------------------------------------------------------------------------------


@compiled(parallel=True)
def channels_last(x, padding, out):
    """Copy (N, C, H, W) to (N, H, W, C) padded with zeros: a window's row becomes one run of numbers."""
    n_images, channels, height, width = x.shape
    for n in prange(n_images):
        for c in range(channels):
            for h in range(height):
                for w in range(width):
                    out[n, h + padding, w + padding, c] = x[n, c, h, w]


@compiled()
def unfold(image, kh, kw, stride, top, n_rows, ow, rows):
    """rows[(p, q), (i, j, c)] = image[(top + p)*stride + i, q*stride + j, c]; runs of KW * C numbers."""
    _, width, channels = image.shape
    run = kw * channels
    for p in range(n_rows):
        for i in range(kh):
            source = image[(top + p) * stride + i].reshape(width * channels)
            for q in range(ow):
                target = rows[p * ow + q][i * run : (i + 1) * run]
                piece = source[q * stride * channels :][:run]
                for r in range(run):
                    target[r] = piece[r]


@compiled()
def conv_forward_share(part, threads, images, weight, bias, kh, kw, stride, band, y):
    n_images, filters, oh, ow = y.shape
    bands = (oh + band - 1) // band
    jobs = n_images * bands
    rows = np.zeros((band * ow, weight.shape[1]), dtype=y.dtype)
    for job in range(part * jobs // threads, (part + 1) * jobs // threads):
        n, top = job // bands, job % bands * band
        n_rows = min(band, oh - top)
        unfold(images[n], kh, kw, stride, top, n_rows, ow, rows)
        for f in range(filters):
            y[n, f, top : top + n_rows] = bias[f]
        add_dots(weight, rows[: n_rows * ow], y[n].reshape(filters, oh * ow), top * ow)


@compiled(parallel=True)
def conv_forward(images, weight, bias, kh, kw, stride, band, y, threads):
    for part in prange(threads):
        conv_forward_share(np.int64(part), threads, images, weight, bias, kh, kw, stride, band, y)


@compiled()
def conv_backward_weight_share(part, threads, dy, images, kh, kw, stride, band, dweight, dbias):
    """Each thread owns some filters and unfolds every image for them."""
    n_images, filters, oh, ow = dy.shape
    first, last = part * filters // threads, (part + 1) * filters // threads
    rows = np.zeros((band * ow, dweight.shape[1]), dtype=dy.dtype)
    factors, places = np.empty(band * ow, dtype=dy.dtype), np.empty(band * ow, dtype=np.int64)
    partial, sums = np.empty(dweight.shape[1], dtype=dy.dtype), np.zeros(filters)
    for n in range(n_images):
        for top in range(0, oh, band):
            n_rows = min(band, oh - top)
            unfold(images[n], kh, kw, stride, top, n_rows, ow, rows)
            for f in range(first, last):
                here = dy[n, f].reshape(oh * ow)[top * ow : (top + n_rows) * ow]
                count = nonzeros(here, 0, factors, places)
                partial[:] = 0  # a sum of sums: fewer roundings in a row than one long sum
                add_rows(partial, factors, places, count, rows)
                target = dweight[f]
                for r in range(target.size):
                    target[r] += partial[r]
                sums[f] += total(factors[:count])
    for f in range(first, last):
        dbias[f] = sums[f]


@compiled(parallel=True)
def conv_backward_weight(dy, images, kh, kw, stride, band, dweight, dbias, threads):
    for part in prange(threads):
        conv_backward_weight_share(np.int64(part), threads, dy, images, kh, kw, stride, band, dweight, dbias)


@compiled()
def conv_backward_input_share(part, threads, dy, weight, kh, kw, stride, padding, dx):
    """Each thread owns some images; every window is summed on its own, then added where it lay."""
    n_images, filters, oh, ow = dy.shape
    _, channels, height, width = dx.shape
    run = kw * channels
    image = np.empty((height + 2 * padding, (width + 2 * padding) * channels), dtype=dy.dtype)
    window = np.empty(weight.shape[1], dtype=dy.dtype)
    here = np.empty((oh * ow, filters), dtype=dy.dtype)
    factors, places = np.empty(filters, dtype=dy.dtype), np.empty(filters, dtype=np.int64)
    for n in range(part * n_images // threads, (part + 1) * n_images // threads):
        image[:] = 0
        for f in range(filters):
            for p in range(oh):
                for q in range(ow):
                    here[p * ow + q, f] = dy[n, f, p, q]
        for p in range(oh):
            for q in range(ow):
                count = nonzeros(here[p * ow + q], 0, factors, places)
                if count == 0:
                    continue
                window[:] = 0
                add_rows(window, factors, places, count, weight)
                for i in range(kh):
                    target = image[p * stride + i][q * stride * channels :][:run]
                    source = window[i * run : (i + 1) * run]
                    for r in range(run):
                        target[r] += source[r]
        for c in range(channels):
            for h in range(height):
                for w in range(width):
                    dx[n, c, h, w] = image[h + padding, (w + padding) * channels + c]


@compiled(parallel=True)
def conv_backward_input(dy, weight, kh, kw, stride, padding, dx, threads):
    for part in prange(threads):
        conv_backward_input_share(np.int64(part), threads, dy, weight, kh, kw, stride, padding, dx)


@compiled()
def unfold_columns(xp, kh, kw, stride, top, n_rows, ow, cols):
    """cols[(c, i, j), (p, q)] = xp[c, (top + p)*stride + i, q*stride + j]; runs of OW numbers."""
    for c in range(xp.shape[0]):
        for i in range(kh):
            for j in range(kw):
                for p in range(n_rows):
                    target = cols[(c * kh + i) * kw + j][p * ow : (p + 1) * ow]
                    source = xp[c, (top + p) * stride + i][j:]
                    for q in range(ow):
                        target[q] = source[q * stride]


@compiled()
def conv_forward_columns_share(part, threads, xp, weight, bias, kh, kw, stride, band, y):
    """y[f, :] = bias[f] + sum_r weight[f, r] * cols[r, :], images and bands shared out."""
    n_images, filters, oh, ow = y.shape
    terms = weight.shape[1]
    bands = (oh + band - 1) // band
    jobs = n_images * bands
    buffer, every = np.empty(terms * band * ow, dtype=y.dtype), np.arange(terms)
    for job in range(part * jobs // threads, (part + 1) * jobs // threads):
        n, top = job // bands, job % bands * band
        n_rows = min(band, oh - top)
        cols = buffer[: terms * n_rows * ow].reshape(terms, n_rows * ow)
        unfold_columns(xp[n], kh, kw, stride, top, n_rows, ow, cols)
        for f in range(filters):
            out = y[n, f, top : top + n_rows].reshape(n_rows * ow)
            out[:] = bias[f]
            add_rows(out, weight[f], every, terms, cols)


@compiled(parallel=True)
def conv_forward_columns(xp, weight, bias, kh, kw, stride, band, y, threads):
    for part in prange(threads):
        conv_forward_columns_share(np.int64(part), threads, xp, weight, bias, kh, kw, stride, band, y)


@compiled()
def conv_backward_columns_share(part, threads, dy, xp, kh, kw, stride, band, dweight, dbias):
    """dweight[f, r] = sum over images of dy[f, :] . cols[r, :]; each thread owns filters, four together."""
    n_images, filters, oh, ow = dy.shape
    terms, fours = dweight.shape[1], (filters + 3) // 4
    first, last = part * fours // threads * 4, min(filters, (part + 1) * fours // threads * 4)
    buffer, sums = np.empty(terms * band * ow, dtype=dy.dtype), np.zeros(filters)
    for n in range(n_images):
        for top in range(0, oh, band):
            n_rows = min(band, oh - top)
            cols = buffer[: terms * n_rows * ow].reshape(terms, n_rows * ow)
            unfold_columns(xp[n], kh, kw, stride, top, n_rows, ow, cols)
            here = np.empty((last - first, n_rows * ow), dtype=dy.dtype)
            for f in range(first, last):
                target, source = here[f - first], dy[n, f, top : top + n_rows].reshape(n_rows * ow)
                for p in range(n_rows * ow):
                    target[p] = source[p]
                sums[f] += total(target)
            add_dots(here, cols, dweight[first:last], 0)
    for f in range(first, last):
        dbias[f] = sums[f]


@compiled(parallel=True)
def conv_backward_columns(dy, xp, kh, kw, stride, band, dweight, dbias, threads):
    for part in prange(threads):
        conv_backward_columns_share(np.int64(part), threads, dy, xp, kh, kw, stride, band, dweight, dbias)
