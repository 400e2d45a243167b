"""Copies of images in the order that a kernel reads them. Arrays are flat; sizes are in floats."""

import numpy as np

from mnp.kernels.registers import LINE, get, make_tile, put
from mnp.kernels.tiled.compiling import device

_square, _four, _sixteen, _pairs = (
    make_tile(4, 1, 4),
    make_tile(1, 1, 4),
    make_tile(1, 1, 16),
    make_tile(1, 2, 4),
)


@device
def aligned(size):
    """An array (not set to zero) that starts on a cache line, where vectors load fastest."""
    raw = np.empty(size + LINE, np.float32)
    skip = -np.int64(raw.ctypes.data) // 4 % LINE
    return raw[skip : skip + size]


@device
def clear(a, first, end):
    """a[first:end] = 0. Written as a slice, it would take Numba half a second to compile, each time."""
    for i in range(first, end):
        put(a, i, np.float32(0))


@device
def copy(source, first, count, out, to):
    """out[to : to + count] = source[first : first + count]."""
    for i in range(count):
        put(out, to + i, get(source, first + i))


@device
def transpose(source, at, step, rows, columns, out, to, out_step):
    """out[to + q*out_step + p] = source[at + p*step + q] for p < rows, q < columns."""
    # Squares of 4x4 are turned in registers; element by element, every store would go to another line.
    whole = columns // 4 * 4
    for p in range(0, rows // 4 * 4, 4):
        for q in range(0, whole, 4):
            t = _square.transpose(_square.load(source, at + p * step + q, step, 0))
            _square.store(t, out, to + q * out_step + p, out_step, 0)
        for q in range(whole, columns):
            for r in range(p, p + 4):
                put(out, to + q * out_step + r, get(source, at + r * step + q))
    for p in range(rows // 4 * 4, rows):
        for q in range(columns):
            put(out, to + q * out_step + p, get(source, at + p * step + q))


@device
def pad_image(x, at, channels, h, w, padding, plane, pitch):
    """plane[(c*H + r)*pitch + s] = the image at x[at], zeros round it, which H counts; pitch may be wider."""
    high = h + 2 * padding
    if padding:
        clear(plane, 0, channels * high * pitch)
    for c in range(channels):
        for r in range(h):
            to, source = (c * high + r + padding) * pitch + padding, at + (c * h + r) * w
            for s in range(w):
                put(plane, to + s, get(x, source + s))


@device
def lay_out_windows(plane, c, h, pitch, kh, kw, ph, pw, halves, windows, wide):
    """Lay one channel out for 2x2 windows: windows[(u*(kw+1) + v)*wide + a*pw + b] = plane[2a+u, 2b+v].

    Columns are split into even and odd ones first, so that windows read runs of neighbours. Runs are
    copied in whole vectors: what is written too much is overwritten by the next run, or lies in the
    slack behind the last one: 2 vectors in `windows`, LINE floats in `plane`, 2 LINE in `halves`.
    """
    half = pitch // 2
    odd = h * half + LINE  # where the odd columns begin
    for r in range(h):
        at = (c * h + r) * pitch
        for s in range(0, half, 4):
            _pairs.store(_pairs.load_pairs(plane, at + 2 * s, 0), halves, r * half + s, 0, odd)
    for u in range(kh + 1):
        for v in range(kw + 1):
            # Windows are two columns apart: those of column v lie side by side in one of the halves.
            to = ((c * (kh + 1) + u) * (kw + 1) + v) * wide
            for a in range(ph):
                source = v % 2 * odd + (2 * a + u) * half + v // 2
                if pw <= 4:
                    _four.store(_four.load(halves, source, 0, 0), windows, to + a * pw, 0, 0)
                else:
                    for b in range(0, pw, 16):
                        _sixteen.store(
                            _sixteen.load(halves, source + b, 0, 0), windows, to + a * pw + b, 0, 0
                        )


@device
def channels_last(x, at, channels, h, w, padding, out, to, pixel, line):
    """out[to + r*line + s*pixel + c] = the image at x[at], with its padding; zeros in the gaps."""
    whole = padding == 0 and w * pixel == line  # then the image is one run
    rows, columns = (1, h * w) if whole else (h, w)
    if not whole or pixel > channels:
        clear(out, to, to + (h + 2 * padding) * line)
    for r in range(rows):
        start = to + (r + padding) * line + padding * pixel
        transpose(x, at + r * w, h * w, channels, columns, out, start, pixel)


@device
def channels_first(source, pixel, line, channels, h, w, padding, x, at):
    """The image at x[at] = the channels-last image in `source`, laid out as above, without its padding."""
    whole = padding == 0 and w * pixel == line
    rows, columns = (1, h * w) if whole else (h, w)
    for r in range(rows):
        start = (r + padding) * line + padding * pixel
        transpose(source, start, pixel, columns, channels, x, at + r * w, h * w)
