"""Inference without Python between the layers: a network's calls, recorded once for one shape of input."""

import numpy as np

from mnp.errors import MnpError
from mnp.kernels.shapes import ShapeError
from mnp.nn.fused import plan


class Recorded:
    """Run a network on batches of one shape, as `net.forward` does, to the same bits; for inference only.

    For one image a small network's layers are done so soon that Python, on its way from one to the next,
    takes a good third of the time (`mnp bench`). So one forward pass is recorded here: which compiled
    loops it called, and with which arrays. To run it again, the images are copied into the first of these
    arrays, and one compiled loop makes all the calls. Every array between the layers is kept, none is made
    anew.

    Parameters
    ----------
    net : Network
        It is copied: training or pruning it later changes nothing here.
    shape : tuple of int
        Of the batches to come, (N, C, H, W), in the network's dtype.

    Attributes
    ----------
    calls : int
        How many loops a run calls; 0 where the network cannot be recorded. That is so for kernels that do
        not offer it (all but `tiled`) and for layers that do more than call loops; then `net.forward` runs.

    One object serves one thread at a time. Errors: ShapeError for a batch of another shape, MnpError for
    another dtype or an empty batch.

    >>> from mnp.nn import lenet5
    >>> net = lenet5(2, 4, 3, 2, rng=0)
    >>> run, images = Recorded(net, (1, 1, 28, 28)), np.ones((1, 1, 28, 28), np.float32)
    >>> bool((run(images) == net.forward(images)).all())
    True
    """

    def __init__(self, net, shape):
        self.net, self.shape, self.dtype = net.copy(), tuple(shape), net.dtype
        self._images = np.zeros(self.shape, self.dtype)
        self.net.forward(self._images)  # whatever does not fit is refused here
        self._recording, self._logits, self.calls = None, None, 0
        record = getattr(self.net.backend, "capture", None)
        if record is not None:
            self._record(record)

    def __call__(self, images):
        """The logits of a batch, a new array."""
        if images.shape != self.shape or images.dtype != self.dtype:
            self._refuse(images)
        if self._recording is None:
            return self.net.forward(images)
        self._images[:] = images
        self._recording.run()
        return self._logits.copy()

    def __repr__(self):
        how = f"{self.calls} calls" if self.calls else "not recorded: runs net.forward"
        return f"Recorded({self.shape}, {how})"

    def _record(self, record):
        calls, x, rng = [], self._images, np.random.default_rng(0)
        for _, step in plan(list(self.net.layers.items())):
            recording, y = record(step.forward, x)
            x[:] = rng.standard_normal(x.shape, x.dtype)  # other values than the recorded ones, of any sign
            recording.run()
            if not np.array_equal(y, step.forward(x.copy())):
                return  # the step does more than its calls, and that was not repeated
            calls += recording.calls
            x = y
        self._recording, self._logits, self.calls = type(recording)(calls), x, len(calls)

    def _refuse(self, images):
        if images.shape != self.shape:
            raise ShapeError(f"recorded for batches of shape {self.shape}, got {images.shape}")
        raise MnpError(f"recorded for {self.dtype}, got {images.dtype}; use x.astype(np.{self.dtype})")
