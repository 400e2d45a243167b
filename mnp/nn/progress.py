"""Progress of a training: a bar on a terminal, one line per epoch in a log file."""

import sys
import time

from tqdm import tqdm


class Progress:
    """Progress display for the `progress` argument of `train_epoch`.

    Parameters
    ----------
    total : int
        Iterations of the whole training.
    label : str
        Shown in front.
    epoch : int
        Iterations per epoch; a log file gets a line after each.
    stream : file, optional
        sys.stderr if None. A bar is drawn only if it is a terminal.

    Close it, or use it in a `with`.

    >>> with Progress(4, "lenet5", epoch=2, stream=sys.stdout) as progress:
    ...     for i in range(4):
    ...         progress(i, 0.5, 1, 10)             # doctest: +ELLIPSIS
    lenet5: epoch 1/2, loss 0.5000, error 10.00 %, ... left
    lenet5: epoch 2/2, loss 0.5000, error 10.00 %, ... left
    """

    def __init__(self, total, label="", *, epoch=1, stream=None):
        self.total, self.label, self.epoch = total, label, max(epoch, 1)
        self.stream = sys.stderr if stream is None else stream
        self.started, self.done = time.perf_counter(), 0
        self._begin_epoch()
        terminal = getattr(self.stream, "isatty", lambda: False)()
        self.bar = tqdm(total=total, desc=label, file=self.stream, leave=False) if terminal else None

    def __call__(self, iteration, loss, wrong, batch_size):
        self.done += 1
        self.iterations += 1
        self.loss_sum += loss
        self.wrong += wrong
        self.seen += batch_size
        last = self.done == self.total
        if self.bar is not None:
            self.bar.set_postfix_str(self._figures(), refresh=last)
            self.bar.update()
        if self.iterations == self.epoch or last:
            if self.bar is None:
                left = (time.perf_counter() - self.started) / self.done * (self.total - self.done)
                epoch, epochs = -(-self.done // self.epoch), -(-self.total // self.epoch)
                line = f"{self.label}: epoch {epoch}/{epochs}, {self._figures()}, "
                print(f"{line}{tqdm.format_interval(left)} left", file=self.stream, flush=True)
            self._begin_epoch()

    def _begin_epoch(self):
        self.iterations, self.loss_sum, self.wrong, self.seen = 0, 0.0, 0, 0

    def _figures(self):
        return f"loss {self.loss_sum / self.iterations:.4f}, error {100.0 * self.wrong / self.seen:.2f} %"

    def close(self):
        """Remove the bar; a log file keeps its lines."""
        if self.bar is not None:
            self.bar.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
