"""Captured networks: all kernel calls of a forward pass, replayed without Python between the layers."""

import numpy as np

from mnp.errors import MnpError
from mnp.kernels.shapes import ShapeError
from mnp.nn.base import as_array
from mnp.nn.fused import fuse
from mnp.nn.maxout import MaxoutDense


class CapturedNetwork:
    """Inference on batches of one shape by replay: the same bits as `net.forward`, in less time.

    For a single image, a small network spends a third of its time in Python between the layers
    (`mnp bench`). So one forward pass is captured: which compiled loops it called, and with which arrays.
    A replay copies the images into the first of these arrays and makes all calls in one compiled loop.
    (CUDA graphs do the same on a GPU.) The arrays between the layers are kept, none is allocated.

    Parameters
    ----------
    net : Network
        It is copied: training or pruning it later changes nothing here. Capture the new network then.
    shape : tuple of int
        Shape of the batches, (N, C, H, W), in the network's dtype.

    Attributes
    ----------
    calls : int
        Loops that a replay calls; 0 if the network cannot be captured, which is so for every backend but
        `tiled` and for layers that do more than call loops. Then `net.forward` runs.

    One object serves one thread at a time. Errors: ShapeError for a batch of another shape, MnpError for
    another dtype or an empty batch.

    >>> from mnp.nn import lenet5
    >>> net = lenet5(2, 4, 3, 2, rng=0)
    >>> run, images = CapturedNetwork(net, (1, 1, 28, 28)), np.ones((1, 1, 28, 28), np.float32)
    >>> bool((run(images) == net.forward(images)).all())
    True
    """

    def __init__(self, net, shape):
        self.net, self.shape, self.dtype = net.copy(), tuple(shape), net.dtype
        self._images = np.zeros(self.shape, self.dtype)
        self.net.forward(self._images)  # raises if anything does not fit
        self._replay, self._logits, self.calls = None, None, 0
        capture = getattr(self.net.backend, "capture", None)
        if capture is not None:
            self._capture(capture)

    def __call__(self, images):
        """Return the logits of a batch, a new array."""
        if not isinstance(images, np.ndarray) or images.shape != self.shape or images.dtype != self.dtype:
            images = self._converted(images)
        if self._replay is None:
            return self.net.forward(images)
        self._images[:] = images
        self._replay.run()
        return self._logits.copy()

    def __reduce__(self):
        return CapturedNetwork, (self.net, self.shape)  # the calls hold addresses of this process

    def __repr__(self):
        how = f"{self.calls} calls" if self.calls else "not captured: runs net.forward"
        return f"CapturedNetwork({self.shape}, {how})"

    def _capture(self, capture):
        calls, x, rng = [], self._images, np.random.default_rng(0)
        for _, op in fuse(list(self.net.layers.items())):
            if isinstance(op, MaxoutDense) and op.masked_out() is not None:
                return  # NumPy sets the masked neurons between two loops
            captured, y = capture(op.forward, x)
            # Replay on other values, of any sign: an op that does more than its calls shows here.
            x[:] = rng.standard_normal(x.shape, x.dtype)
            captured.run()
            if not np.array_equal(y, op.forward(x.copy())):
                return
            calls += captured.calls
            x = y
        self._replay, self._logits, self.calls = type(captured)(calls), x, len(calls)

    def _converted(self, images):
        """The images in native byte order; raises if they do not fit."""
        images = as_array(images, "images")
        if images.shape != self.shape:
            raise ShapeError(f"captured for batches of shape {self.shape}, got {images.shape}")
        if images.dtype != self.dtype:
            raise MnpError(f"captured for {self.dtype}, got {images.dtype}; use x.astype(np.{self.dtype})")
        return images
