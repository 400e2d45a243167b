"""Layers with CSR weights, for inference: arrays as buffers, and a forward pass."""

from functools import cache

import numpy as np

from mnp.errors import MnpError
from mnp.kernels.shapes import conv2d_output_size, pool2d_output_size
from mnp.nn.base import Layer, backend_name, check_int, float_dtype
from mnp.sparse import plain

PADDING = 96  # elements after a flat image that a vector may read


@cache
def _loops_for(backend, dtype):
    """Module of loops: plain for a backend that Numba does not compile, tiled_loops for tiles in float32."""
    if backend_name(backend) not in ("jitted", "tiled"):
        return plain
    from mnp.sparse import loops

    if backend_name(backend) == "tiled" and backend.available() and dtype == np.float32:
        from mnp.sparse import tiled_loops

        return tiled_loops
    return loops


class _Sparse(Layer):
    """Common base: buffers values (nnz,), columns (nnz,), starts (rows + 1,), bias (rows,)."""

    def __init__(self, rows, width, nonzero, dtype, backend):
        super().__init__(backend)
        self.nonzero = check_int("nonzero", nonzero, minimum=0)
        if self.nonzero > rows * width or rows * width >= 2**31:
            what = f"{type(self).__name__} with {self.nonzero} non-zeros in {rows}x{width} weights"
            raise MnpError(f"{what}: give nonzero <= rows * width < 2**31")
        self.rows, self.width, self.dtype = rows, width, float_dtype(dtype)
        self.buffers = {
            "values": np.zeros(self.nonzero, self.dtype),
            "columns": np.zeros(self.nonzero, np.int32),
            "starts": np.zeros(rows + 1, np.int32),
            "bias": np.zeros(rows, self.dtype),
        }

    @property
    def loops(self):
        return _loops_for(self.backend, self.dtype)

    def backward(self, dy, need_dx=True):
        raise MnpError(f"{self!r} is for inference: train the masked network, then make it sparse again")

    def macs(self, shape):
        raise MnpError(f"{self!r} cannot be counted: count the masked network that it was made from")

    def check(self):
        """Raise MnpError unless the buffers are a CSR matrix, as the loops assume: for arrays from a file."""
        columns, starts = self.buffers["columns"], self.buffers["starts"]
        if starts[0] != 0 or starts[-1] != self.nonzero or (starts[1:] < starts[:-1]).any():
            raise MnpError(f"{self!r}: starts must rise from 0 to {self.nonzero}; the arrays are damaged")
        if self.nonzero and (columns.min() < 0 or columns.max() >= self.width):
            raise MnpError(f"{self!r}: a column lies outside 0..{self.width - 1}; the arrays are damaged")
        row_begins = np.zeros(self.nonzero + 1, dtype=bool)
        row_begins[starts] = True
        if ((np.diff(columns) <= 0) & ~row_begins[1:-1]).any():
            raise MnpError(f"{self!r}: the columns of a row must ascend; the arrays are damaged")

    def _checked(self, x, training, expected):
        if training:
            self.backward(x)  # which says why not
        if type(x) is np.ndarray and x.dtype is self.dtype and x.shape[1:] == expected:
            return x  # quickly: for one example this counts
        x = self._check_input(x, expected)
        if x.dtype != self.dtype:
            raise MnpError(f"{self!r} got {x.dtype} x; convert with x.astype(np.{self.dtype})")
        return x


class SparseDense(_Sparse):
    """Dense or MaxoutDense layer with CSR weights, of which `nonzero` are not zero.

        z[n, r] = bias[r] + sum_m values[m] * x[n, columns[m]],    m in starts[r] .. starts[r + 1] - 1
        y[n, u] = max_j z[n, u * k + j]                            (relu: and then max(y, 0))

    out_features counts neurons, units * k; a Dense layer has k = 1.
    """

    def __init__(
        self, in_features, out_features, nonzero, *, k=1, relu=False, dtype=np.float32, backend=None
    ):
        self.in_features = check_int("in_features", in_features)
        self.out_features = check_int("out_features", out_features)
        super().__init__(self.out_features, self.in_features, nonzero, dtype, backend)
        self.k, self.relu = check_int("k", k), bool(relu)
        if self.out_features % self.k:
            raise MnpError(f"k={self.k} does not divide the {self.out_features} neurons of {self!r}")

    def forward(self, x, training=False, rng=None):
        x = np.ascontiguousarray(self._checked(x, training, (self.in_features,)))
        values, columns, starts, bias = self.buffers.values()
        y = self.loops.dense(x, values, columns.view(np.uint32), starts.view(np.uint32), bias, self.k)
        return self.backend.relu_forward(y) if self.relu else y

    def output_shape(self, shape):
        self._check_input_shape(shape, (self.in_features,))
        return (self.out_features // self.k,)


class SparseConv2d(_Sparse):
    """Conv2d layer with CSR weights, and the max pooling that may follow it: 1 and 1 for none.

        y[n, f, p, q] = bias[f] + sum_m values[m] * xp[n, c, p * stride + i, q * stride + j]

    m in starts[f] .. starts[f + 1] - 1, and columns[m] = (c * kernel_size + i) * kernel_size + j; xp is x
    with its padding. Images are laid out flat (`flat_images`), so that a weight is multiplied with a whole
    plane of pixels as one long row.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        nonzero,
        stride=1,
        padding=0,
        *,
        pool=1,
        pool_stride=1,
        dtype=np.float32,
        backend=None,
    ):
        self.in_channels = check_int("in_channels", in_channels)
        self.out_channels = check_int("out_channels", out_channels)
        self.kernel_size = check_int("kernel_size", kernel_size)
        super().__init__(self.out_channels, self.in_channels * self.kernel_size**2, nonzero, dtype, backend)
        self.stride, self.padding = check_int("stride", stride), check_int("padding", padding, minimum=0)
        self.pool, self.pool_stride = check_int("pool", pool), check_int("pool_stride", pool_stride)

    def forward(self, x, training=False, rng=None):
        x = self._checked(x, training, (self.in_channels, "H", "W"))
        size, (values, columns, starts, bias) = self.kernel_size, self.buffers.values()
        oh, ow = conv2d_output_size(*x.shape[2:], size, size, self.stride, self.padding)
        pool2d_output_size(oh, ow, self.pool, self.pool_stride)
        frames, high, line = flat_images(x, self.stride, self.padding)
        c, window = np.divmod(columns.astype(np.int64), size * size)
        i, j = np.divmod(window, size)
        # Which of the stride * stride interleaved images, and how far into it.
        phase = (c * self.stride + i % self.stride) * self.stride + j % self.stride
        offsets = (phase * high + i // self.stride) * line + j // self.stride
        sparse = values, offsets.astype(np.uint32), starts.view(np.uint32), bias
        return self.loops.conv(frames, *sparse, line, oh, ow, self.pool, self.pool_stride)

    def output_shape(self, shape):
        _, h, w = self._check_input_shape(shape, (self.in_channels, "H", "W"))
        size = conv2d_output_size(h, w, self.kernel_size, self.kernel_size, self.stride, self.padding)
        return (self.out_channels, *pool2d_output_size(*size, self.pool, self.pool_stride))


def flat_images(x, stride, padding):
    """Reshape every padded image to one row, in stride * stride interleaved parts.

        frames[n, (((c*s + i)*s + j) * high + p) * line + q] = xp[n, c, p*s + i, q*s + j],   s = stride

    With stride 1 that is the padded image itself. With a larger one, the pixels that a filter's weight
    is multiplied with one after the other are adjacent again. Rows and columns are padded with zeros to
    multiples of s; PADDING zeros follow every image.

    Returns frames (N, C * s * s * high * line + PADDING), high, line.

    >>> frames, high, line = flat_images(np.arange(6.0).reshape(1, 1, 2, 3), stride=2, padding=0)
    >>> frames[0, :8], high, line
    (array([0., 2., 1., 0., 3., 5., 4., 0.]), 1, 2)
    """
    n, channels, h, w = x.shape
    high, line = -(-(h + 2 * padding) // stride), -(-(w + 2 * padding) // stride)
    used = channels * stride * stride * high * line
    frames = np.zeros((n, used + PADDING), dtype=x.dtype)
    if stride == 1 and padding == 0:
        frames[:, :used] = x.reshape(n, used)
        return frames, high, line
    padded = np.zeros((n, channels, high * stride, line * stride), dtype=x.dtype)
    padded[:, :, padding : padding + h, padding : padding + w] = x
    parts = padded.reshape(n, channels, high, stride, line, stride).transpose(0, 1, 3, 5, 2, 4)
    frames[:, :used] = parts.reshape(n, used)
    return frames, high, line


SPARSE_TYPES = {"SparseDense": SparseDense, "SparseConv2d": SparseConv2d}
