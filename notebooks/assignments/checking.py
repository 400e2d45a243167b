"""What the checks are written with: drawn inputs, comparison, messages that teach.

A check never computes the right answer. It draws inputs and asks; the right outputs come from a file
of stored cases (the student's folder) or from the reference (the grader, which draws other inputs).
Both give the same messages.
"""

import hashlib
import math
import re
import zlib

import numpy as np
import pytest

PUBLIC_SEED = 2017

# Every function, in the order of its file: the arguments, and what is compared. sgd_step works in place:
# its arguments are compared as they are afterwards.
SIGNATURES = """
conv2d_forward(x, weight, bias, stride, padding) -> y
conv2d_backward(dy, x, weight, stride, padding, need_dx) -> dx, dweight, dbias
maxpool2d_forward(x, size, stride) -> y, winner
maxpool2d_backward(dy, winner, x_shape, size, stride) -> dx
maxout_forward(z) -> y, winner
maxout_backward(dy, winner, k) -> dz
win_counts(winner, k) -> counts
rank_neurons(relevance) -> order
keep_top(order, n_keep) -> keep
take_neurons(weight, bias, keep) -> weight, bias
prune_neurons(net, name, keep) -> net
magnitude_mask(weight, sparsity, mask) -> mask
apply_masks(net, masks) -> net
sgd_step(weights, grads, velocities, masks, lr, momentum, weight_decay) -> weights, grads, velocities, masks
"""
ARGUMENTS = {
    name: tuple(names.split(", ")) for name, names in re.findall(r"^(\w+)\((.*)\)", SIGNATURES, re.MULTILINE)
}
OUTPUTS = {
    name: tuple(names.split(", ")) for name, names in re.findall(r"^(\w+).* -> (.*)", SIGNATURES, re.M)
}
PRINTED = 24  # numbers; a larger array is described by its shape


def functions_above(function):
    """The functions that stand above this one in its file, which it may call, and those of earlier tasks."""
    names = list(OUTPUTS)
    return names[: names.index(function)]


def calls_others(text, function):
    """Whether a file calls one of the functions above this one; examples in docstrings do not count."""
    code = "\n".join(line for line in text.splitlines() if not re.match(r"def |\s*>>>", line))
    return any(re.search(rf"\b{name}\s*\(", code) for name in functions_above(function))


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
    """A check's access to the answer: ask(function, *args) compares with what is right.

    A function that calls another one of its file inherits the slips of that one. If it is not right, it is
    therefore called once more with right versions of the functions above it; if it is right then, the check
    passes, and `carried` names the function.
    """

    def __init__(self, answer, oracle, draws):
        self.answer, self.oracle, self.draws = answer, oracle, draws
        self.carried = []

    def __call__(self, function, *args, parts=None, **kwargs):
        """Call the answer and compare its outputs (or only the named parts) with the right ones."""
        __tracebackhide__ = True
        expected, mistakes = self.oracle.look_up(function, args, kwargs)
        return self._ask(function, args, kwargs, expected, mistakes, parts)

    def by_hand(self, function, args, expected, parts=None):
        """Like a call, but the right outputs stand in the check itself, for a reader to follow."""
        __tracebackhide__ = True
        _, mistakes = self.oracle.look_up(function, args, {})
        self._ask(function, args, {}, expected, mistakes, parts)

    def unchanged(self, function, *args):
        """The call must leave its inputs alone, and be right: doing nothing is no merit."""
        __tracebackhide__ = True
        expected, mistakes = self.oracle.look_up(function, args, {})
        self._ask(function, args, {}, expected, mistakes, unchanged=True)

    def in_place(self, function, *args):
        """For a function that changes its arguments: compare them as they are afterwards."""
        __tracebackhide__ = True
        expected, mistakes = self.oracle.look_up(function, args, {}, after=True)
        self._ask(function, args, {}, expected, mistakes, in_place=True)

    def _ask(self, function, args, kwargs, expected, mistakes, parts=None, unchanged=False, in_place=False):
        __tracebackhide__ = True

        def attempt(oracle=None):
            __tracebackhide__ = True
            result, after = self.answer.call(function, args, kwargs, unchanged or in_place, oracle)
            outputs = after[: len(OUTPUTS[function])] if in_place else result
            compare(function, outputs, expected, mistakes, parts)
            if unchanged:
                check_unchanged(function, args, after)
            return result

        try:
            try:
                return attempt()
            except pytest.exit.Exception:  # the debugger was left
                raise
            except Exception as error:
                if not self.answer.calls_others(function):
                    raise
                try:
                    result = attempt(self.oracle)
                except Exception:
                    raise error from None
                self.carried.append(function)
                return result
        except WrongError as error:
            raise WrongError(f"{error}\n{call_shown(function, args, kwargs)}") from None


def check_unchanged(function, before, after):
    """Raise WrongError if an argument is not what it was."""
    for name, old, new in zip(ARGUMENTS[function], before, after, strict=False):
        if difference(new, old, "") is not None:
            raise WrongError(
                f"{function} changes its argument {name}. The caller still needs that array:"
                " work on a copy, or build a new one."
            )


def compare(function, result, expected, mistakes, parts=None):
    """Raise WrongError if an output that is looked at is wrong, with a hint if there is one."""
    __tracebackhide__ = True
    names = OUTPUTS[function]
    if len(names) == 1:
        result, expected = (result,), (expected,)
        mistakes = [(text, (outputs,)) for text, outputs in mistakes]
    elif not isinstance(result, tuple | list) or len(result) != len(names):
        raise WrongError(
            f"{function} must return {len(names)} values: {', '.join(names)}; yours: {short(result)}"
        )
    told = {
        name: difference(yours, right, name)
        for name, yours, right in zip(names, result, expected, strict=False)
    }
    wrong = [name for name in names if told[name] is not None]
    looked_at = [name for name in wrong if name in (parts or names)]
    if looked_at:
        raise WrongError(f"{function}: {told[looked_at[0]]}{hint(names, wrong, result, expected, mistakes)}")


def hint(names, wrong, result, expected, mistakes):
    """The known slips that give all wrong outputs, and no other output that is not yours; else nothing.

    One slip, or several that could each have done it; or else slips that did it together, each with
    outputs of its own.
    """
    fitting = []
    for text, outputs in mistakes:
        rows = list(zip(names, result, expected, outputs, strict=False))
        touched = [row for row in rows if difference(row[3], row[2], "") is not None]
        if touched and all(difference(yours, slip, "") is None for _, yours, _, slip in touched):
            fitting.append((text, [name for name, *_ in touched]))
    together, left = [text for text, touched in fitting if touched == wrong], set(wrong)
    if together:
        words = ("It looks", "Or")
    else:
        words = ("It looks", "And")
        for text, touched in fitting:
            if left.issuperset(touched):
                together.append(text)
                left -= set(touched)
        if left:
            return ""
    return "".join(f"\n{words[i > 0]} as if {text}" for i, text in enumerate(dict.fromkeys(together)))


def call_shown(function, args, kwargs):
    """The call as a student can repeat it: small arrays in full, larger ones by their shape."""
    given = dict(zip(ARGUMENTS[function], args, strict=False)) | kwargs
    lines = [line for name, value in given.items() for line in _shown(name, value)]
    return "\n".join(["Called with:", *lines])


def _shown(name, value):
    if isinstance(value, dict):
        return [line for key, item in value.items() for line in _shown(f'{name}["{key}"]', item)]
    if isinstance(value, tuple | list) and any(isinstance(item, np.ndarray) for item in value):
        return [line for i, item in enumerate(value) for line in _shown(f"{name}[{i}]", item)]
    if isinstance(value, np.ndarray) and value.size <= PRINTED:
        start = f"  {name} = "
        rows = np.array2string(value, separator=", ", prefix=start)
        return [start + (rows if value.ndim < 3 else str(value.tolist()))]
    return [f"  {name} = {short(value) if isinstance(value, np.ndarray) else value}"]


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
