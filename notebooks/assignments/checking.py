"""What the checks of the five tasks are written with: drawn inputs, comparison, messages that teach.

A check never computes the right answer. It draws inputs and asks; the right outputs come from a file
of stored cases (the student's folder) or from the reference (the grader, which draws other inputs).
Both give the same messages.
"""

import hashlib
import math
import zlib

import numpy as np

PUBLIC_SEED = 2017

# The names of what each function gives back (sgd_step: of what it changes), for messages.
OUTPUTS = {
    "conv2d_forward": ("y",),
    "conv2d_backward": ("dx", "dweight", "dbias"),
    "maxpool2d_forward": ("y", "winner"),
    "maxpool2d_backward": ("dx",),
    "maxout_forward": ("y", "winner"),
    "maxout_backward": ("dz",),
    "win_counts": ("counts",),
    "rank_neurons": ("order",),
    "keep_top": ("keep",),
    "take_neurons": ("weight", "bias"),
    "prune_neurons": ("net",),
    "magnitude_mask": ("mask",),
    "apply_masks": ("net",),
    "sgd_step": ("weights", "grads", "velocities", "masks", "lr", "momentum", "weight_decay"),
}


class AnswerError(Exception):
    """The answer gave no result; the message says why."""


class WrongError(AssertionError):
    """The answer gave a result that is not right; the message says where."""


class Draws:
    """Inputs from a seed. Only the raw bits of PCG64 are used, which no NumPy version changes."""

    def __init__(self, seed, name):
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))

    def integers(self, low, high, shape=()):
        """Integers in [low, high)."""
        raw = np.array(self._bits.random_raw(max(1, math.prod(shape))), dtype=np.uint64)
        values = low + (raw >> np.uint64(11)).astype(np.int64) % (high - low)
        return values.reshape(shape) if shape else int(values[0])

    def one_of(self, choices):
        """One of a list."""
        return choices[self.integers(0, len(choices))]

    def order(self, n):
        """The numbers 0 to n - 1, shuffled."""
        return np.argsort(self._bits.random_raw(n), kind="stable").astype(np.int64)

    def eighths(self, *shape):
        """Multiples of 1/8 in [-2, 2]: sums and products of a few of them are exact in any order."""
        return self.integers(-16, 17, shape) / 8.0

    def distinct(self, *shape):
        """Multiples of 1/8 round zero, no two alike: no ties in any maximum or sort."""
        n = math.prod(shape)
        return ((self.order(n) - n // 2) / 8.0).reshape(shape)

    def magnitudes(self, *shape):
        """Like distinct, but no two have the same absolute value either, and none is zero."""
        n = math.prod(shape)
        signs = self.integers(0, 2, (n,)) * 2 - 1
        return (signs * (self.order(n) + 1) / 8.0).reshape(shape)


class Ask:
    """One check's way to the answer: ask(function, *args) compares with what is right."""

    def __init__(self, answer, oracle, draws):
        self.answer, self.oracle, self.draws = answer, oracle, draws

    def __call__(self, function, *args, parts=None, **kwargs):
        """Call the answer and compare its outputs (or only the named parts) with the right ones."""
        __tracebackhide__ = True
        expected, mistakes = self.oracle.look_up(function, args, kwargs)
        result, _ = self.answer.call(function, args, kwargs)
        self._compare(function, result, expected, mistakes, parts or OUTPUTS[function])
        return result

    def by_hand(self, function, args, expected, parts=None):
        """Like a call, but the right outputs stand in the check itself, for a reader to follow."""
        __tracebackhide__ = True
        _, mistakes = self.oracle.look_up(function, args, {})
        result, _ = self.answer.call(function, args)
        self._compare(function, result, expected, mistakes, parts or OUTPUTS[function])

    def in_place(self, function, *args):
        """For a function that changes its arguments: compare them as they are afterwards."""
        __tracebackhide__ = True
        expected, mistakes = self.oracle.look_up(function, args, {}, after=True)
        _, after = self.answer.call(function, args, after=True)
        names = OUTPUTS[function]
        _compare_all(function, names, after, expected, mistakes, names)

    def unchanged(self, function, *args):
        """The call must leave its inputs alone, and be right: doing nothing is no merit."""
        __tracebackhide__ = True
        expected, mistakes = self.oracle.look_up(function, args, {})
        result, after = self.answer.call(function, args, after=True)
        self._compare(function, result, expected, mistakes, OUTPUTS[function])
        for number, (before, now) in enumerate(zip(args, after, strict=True)):
            if difference(now, before, "") is not None:
                raise WrongError(
                    f"{function} changes its input number {number + 1}. Whoever called it still needs"
                    " that array: work on a copy, or build a new one."
                )

    def _compare(self, function, result, expected, mistakes, parts):
        __tracebackhide__ = True
        names = OUTPUTS[function]
        if len(names) == 1:
            result, expected = (result,), (expected,)
            mistakes = [(text, (outputs,)) for text, outputs in mistakes]
        elif not isinstance(result, tuple | list) or len(result) != len(names):
            raise WrongError(
                f"{function} must return {len(names)} values: {', '.join(names)}; yours: {short(result)}"
            )
        _compare_all(function, names, result, expected, mistakes, parts)


def _compare_all(function, names, result, expected, mistakes, parts):
    __tracebackhide__ = True
    wanted = [i for i, name in enumerate(names) if name in parts]
    for i in wanted:
        told = difference(result[i], expected[i], names[i])
        if told is None:
            continue
        # A slip that explains every part goes before one that explains the part looked at.
        for explained in (wanted, [i]):
            for text, outputs in mistakes:
                fits = all(difference(result[j], outputs[j], "") is None for j in explained)
                if fits and difference(outputs[i], expected[i], "") is not None:
                    raise WrongError(f"{function}: {told}\nIt looks as if {text}")
        raise WrongError(f"{function}: {told}")


def short(value):
    """A few words about a value."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}, {value.dtype}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{type(value).__name__} {value!r:.60}"


def difference(yours, right, name):
    """None if two results agree; else a sentence about the first place where they do not."""
    if right is None:
        return None if yours is None else f"{name} should be None here; yours: {short(yours)}"
    if isinstance(right, dict):
        return _difference_of_dicts(yours, right, name)
    if isinstance(right, tuple | list):
        if not isinstance(yours, tuple | list) or len(yours) != len(right):
            return f"{name} should be {short(right)}; yours: {short(yours)}"
        told = (difference(y, r, f"{name}[{i}]") for i, (y, r) in enumerate(zip(yours, right, strict=True)))
        return next((text for text in told if text is not None), None)
    if not isinstance(right, np.ndarray):
        return (
            None
            if type(yours) is type(right) and yours == right
            else f"{name} should be {right!r}, not {yours!r}"
        )
    if not isinstance(yours, np.ndarray):
        return f"{name} should be an array of shape {right.shape}; yours: {short(yours)}"
    if yours.shape != right.shape:
        return f"{name} has shape {yours.shape}; it should be {right.shape}"
    groups = {"b": "bool", "i": "an integer type", "u": "an integer type", "f": "a floating-point type"}
    if groups.get(yours.dtype.kind) != groups[right.dtype.kind]:
        return f"{name} has dtype {yours.dtype}; it should be {groups[right.dtype.kind]}"
    if right.dtype.kind == "f":
        close = np.isclose(yours, right, rtol=1e-5 if right.dtype.itemsize < 8 else 1e-9, atol=1e-9)
    else:
        close = yours == right
    if close.all():
        return None
    first = tuple(int(i) for i in np.argwhere(~close)[0])
    count = int((~close).sum())
    some = f"all {right.size} places" if count == right.size else f"{count} of {right.size} places"
    index = f"[{', '.join(map(str, first))}]" if first else ""
    return (
        f"{name} is wrong in {some}, first in {name}{index}: yours {yours[first]}, should be {right[first]}"
    )


def _difference_of_dicts(yours, right, name):
    if not isinstance(yours, dict):
        return f"{name} should be a dict with {sorted(right)}; yours: {short(yours)}"
    if set(yours) != set(right):
        return f"{name} should have the keys {sorted(right)}; yours has {sorted(yours)}"
    told = (difference(yours[key], right[key], f'{name}["{key}"]') for key in right)
    return next((text for text in told if text is not None), None)


def fingerprint(value):
    """A short text that two equal inputs share, to find the stored outputs that belong to them."""
    digest = hashlib.sha256()

    def add(item):
        if isinstance(item, dict):
            item = [part for key in sorted(item) for part in (key, item[key])]
        if isinstance(item, tuple | list):
            digest.update(f"({len(item)}".encode())
            for part in item:
                add(part)
        elif isinstance(item, np.ndarray):
            digest.update(f"{item.dtype.str}{item.shape}".encode() + np.ascontiguousarray(item).tobytes())
        else:
            digest.update(repr(item).encode())

    add(value)
    return digest.hexdigest()[:16]


def numerical_gradient(function, x, step=1e-4):
    """The gradient of a scalar function by central differences: slow, plain, and hard to get wrong."""
    x = np.array(x, dtype=np.float64)
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        kept = x[place]
        x[place] = kept + step
        above = function(x)
        x[place] = kept - step
        gradient[place] = (above - function(x)) / (2 * step)
        x[place] = kept
    return gradient
