"""Frozen dataclasses from text and back: types checked, names checked, one line when wrong.

Knows nothing of recipes: everything here reads the annotations of whatever dataclass it is given.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import types
import typing

from mnp.errors import MnpError

RENAMED = {"batch": "batch_size", "learning_rate": "lr"}  # fields of recipes written by mnp 0.1
LONGEST_SHOWN = 60  # characters of a wrong value that an error line repeats


def fields_of(section):
    """The fields of a dataclass (or of an object of one), each with its resolved annotation."""
    kind = section if isinstance(section, type) else type(section)
    hints = typing.get_type_hints(kind)
    return [(f.name, hints[f.name]) for f in dataclasses.fields(kind)]


def nearest(name, names):
    """The tail of an error line: the names that look like the wrong one, or all when none does.

    >>> nearest("epoch", ["epochs", "batch"])
    ': did you mean epochs?'
    >>> nearest("xyz", ["epochs", "batch"])
    ': there are epochs, batch'
    """
    near = difflib.get_close_matches(str(name)[:100], list(names), n=3, cutoff=0.6)
    return f": did you mean {' or '.join(near)}?" if near else f": there are {', '.join(names)}"


def show(value):
    """A value as an error line shows it: on one line, and not too long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def spell(hint):
    """An annotation in words.

    >>> spell(tuple[float, ...]), spell(int | None)
    ('a list of numbers', 'a whole number or none')
    """
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is types.UnionType:
        return " or ".join(spell(h) for h in inner)
    if typing.get_origin(hint) is tuple:
        words = {float: "numbers", int: "whole numbers", str: "names"}
        return f"a list of {words.get(inner[0], 'name:number pairs')}"
    return {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        types.NoneType: "none",
    }[hint]


def is_of(value, hint):
    """Does a value match an annotation? A bool is no int here, and no float is nan or infinite."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is types.UnionType:
        return any(is_of(value, h) for h in inner)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(is_of(v, inner[0]) for v in value)
        return len(value) == len(inner) and all(is_of(v, h) for v, h in zip(value, inner, strict=True))
    if type(value) is int and hint in (int, float):
        return abs(value) < 2**63  # as NumPy has them; a larger one may be no float at all
    if hint is float:
        return type(value) is float and math.isfinite(value)
    return type(value) is hint


def check_types(section, path=""):
    """Refuse an object whose fields do not hold what their annotations say."""
    for name, hint in fields_of(section):
        value = getattr(section, name)
        if dataclasses.is_dataclass(hint):
            if type(value) is not hint:
                raise MnpError(f"{path}{name} = {show(value)} is not a {hint.__name__}")
            check_types(value, f"{path}{name}.")
        elif not is_of(value, hint):
            raise MnpError(f"{path}{name} = {show(value)} is not {spell(hint)}")


# --- JSON ---------------------------------------------------------------------------------------------


def to_dict(section):
    """A dataclass as plain dicts and lists, ready for JSON; 1 in a field for floats becomes 1.0."""
    values = {}
    for name, hint in fields_of(section):
        value = getattr(section, name)
        values[name] = to_dict(value) if dataclasses.is_dataclass(hint) else plain(value, hint)
    return values


def plain(value, hint):
    if isinstance(value, tuple):
        inner = typing.get_args(hint)
        hints = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return [plain(v, h) for v, h in zip(value, hints, strict=True)]
    return float(value) if hint is float else value


def from_dict(kind, values, path=""):
    """A dataclass from plain dicts and lists: every field must be there, and no other.

    Raises MnpError with the dotted name of the first field that is missing, unknown or of another type.
    """
    if not isinstance(values, dict):
        raise MnpError(f"{path.rstrip('.') or kind.__name__} is {show(values)} where a section is wanted")
    hints = dict(fields_of(kind))
    values = {RENAMED.get(name, name): value for name, value in values.items()}
    for name in values:
        if name not in hints:
            raise MnpError(f"no field {path}{show(name)}{nearest(name, hints)}")
    made = {}
    for name, hint in hints.items():
        if name not in values:
            raise MnpError(f"field {path}{name} is missing")
        value = values[name]
        if dataclasses.is_dataclass(hint):
            made[name] = from_dict(hint, value, f"{path}{name}.")
        else:
            made[name] = as_tuples(value)
            if not is_of(made[name], hint):
                raise MnpError(f"{path}{name} = {show(value)} is not {spell(hint)}")
    return kind(**made)


def as_tuples(value):
    return tuple(as_tuples(v) for v in value) if isinstance(value, list) else value


def digest(section, length=8):
    """The first hexadecimal digits of the SHA-256 of a dataclass, as sorted JSON: it names a run's folder."""
    text = json.dumps(to_dict(section), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


# --- text from the command line -----------------------------------------------------------------------


def override(section, *assignments):
    """A copy of a dataclass with fields changed by texts like "train.epochs=1".

    Lists are comma-separated ("0.9,0.95", or "conv1:0.25,fc4:0.5" for pairs; empty text: empty list);
    bools are true or false; a field that may be None takes none. Whether the values fit together is asked
    once, when all are in place.

    >>> from mnp.experiments.catalogue import named
    >>> override(named("digits"), "train.epochs=1").train.epochs
    1
    >>> override(named("digits"), "model.k=3", "model.neurons=255").model.k
    3
    >>> override(named("digits"), "train.epoch=1")
    Traceback (most recent call last):
    mnp.errors.MnpError: --set train.epoch=1: no field train.epoch: did you mean epochs or step_epochs?
    """
    values, said = to_dict(section), " ".join(show(assignment)[1:-1] for assignment in assignments)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        names = path.strip().split(".")
        try:
            if not equals or len(names) < 2:
                raise MnpError("write section.field=value, as in train.epochs=1")
            put(values, type(section), names, text.strip(), "")
        except MnpError as error:
            raise MnpError(f"--set {show(assignment)[1:-1]}: {error}") from None
    try:
        return from_dict(type(section), values)
    except MnpError as error:
        raise MnpError(f"--set {said}: {error}") from None


def put(values, kind, names, text, path):
    """Put a text's value into the dict of a dataclass, where the names say."""
    hints = dict(fields_of(kind))
    name, *rest = names
    name = RENAMED.get(name, name)
    sections = [n for n, h in hints.items() if dataclasses.is_dataclass(h)]
    if rest:
        if name not in sections:
            raise MnpError(f"no section {path}{name}{nearest(name, sections)}")
        put(values[name], hints[name], rest, text, f"{path}{name}.")
        return
    if name not in hints or name in sections:
        raise MnpError(f"no field {path}{name}{nearest(name, [n for n in hints if n not in sections])}")
    value = parse(text, hints[name])
    if not is_of(value, hints[name]):
        raise MnpError(f"{text!r} is not {spell(hints[name])}")
    values[name] = plain(value, hints[name])


def differences(section, base, path=""):
    """The texts with which `override` makes `section` of `base`, another of its kind.

    >>> from mnp.experiments.catalogue import named
    >>> digits = named("digits")
    >>> differences(override(digits, "weights.floors=conv1:0.5", "prune.to_k=none"), digits)
    ['prune.to_k=none', 'weights.floors=conv1:0.5']
    """
    texts = []
    for name, hint in fields_of(section):
        value, before = getattr(section, name), getattr(base, name)
        if dataclasses.is_dataclass(hint):
            texts += differences(value, before, f"{path}{name}.")
        elif path and value != before:
            texts.append(f"{path}{name}={spelled(value)}")
    return texts


def spelled(value, between=","):
    """A value as `parse` reads it."""
    if isinstance(value, tuple):
        return between.join(spelled(part, ":") for part in value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def parse(text, hint):
    """A text as a value of an annotation; what cannot be read comes back as text, for `is_of` to refuse.

    >>> parse("conv1:0.25,fc4:1", tuple[tuple[str, float], ...])
    (('conv1', 0.25), ('fc4', 1.0))
    """
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is types.UnionType:
        return None if text.lower() == "none" else parse(text, inner[0])
    if typing.get_origin(hint) is tuple:
        if inner[-1] is Ellipsis:
            return tuple(parse(part.strip(), inner[0]) for part in text.split(",")) if text else ()
        parts = text.split(":")
        same = len(parts) == len(inner)
        return tuple(parse(p.strip(), h) for p, h in zip(parts, inner, strict=True)) if same else text
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return hint(text)
    except ValueError:
        return text
