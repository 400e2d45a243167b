"""Recipes as frozen dataclasses: checked types and values, to and from dicts, changed by `--set` texts.

Everything here reads the annotations and the metadata of whatever dataclass it is given; no recipe is known.
"""

import ast
import dataclasses
import difflib
import hashlib
import inspect
import json
import math
import types
import typing

from mnp.errors import MnpError

RENAMED = {"batch": "batch_size", "learning_rate": "lr"}  # old name -> name of a field, since mnp 0.1
MAX_SHOWN = 60  # characters of a wrong value that an error line repeats


# --- fields with a rule --------------------------------------------------------------------------------


def _field(default, accepts, rule):
    return dataclasses.field(default=default, metadata={"accepts": accepts, "rule": rule})


def at_least(minimum, default):
    """A dataclass field whose value, or each of whose values, is `minimum` or more."""
    return _field(default, lambda value: value >= minimum, f"at least {minimum}")


def between(minimum, maximum, default):
    """A field with a number from `minimum` to `maximum`, both included."""
    return _field(default, lambda value: minimum <= value <= maximum, f"from {minimum} to {maximum}")


def below_one(default):
    """A field with a number in [0, 1)."""
    return _field(default, lambda value: 0 <= value < 1, "in [0, 1)")


def above_zero(default):
    """A field with a number greater than 0."""
    return _field(default, lambda value: value > 0, "above 0")


def choice(names, default, own=None):
    """A field with one of some names, or for which own(value) is true."""
    rule = f"one of {', '.join(names)}" + (", or module:function" if own else "")
    return _field(default, lambda value: value in names or (own is not None and own(value)), rule)


def is_own(value):
    """Whether a text names a function of the user's: "module:function"."""
    module, colon, function = value.partition(":")
    return bool(colon) and function.isidentifier() and all(map(str.isidentifier, module.split(".")))


def added(field):
    """A field that a later version added: left out of dicts while it has its default, so digests stay."""
    return dataclasses.field(default=field.default, metadata={**field.metadata, "added": True})


def check_fields(section, path=""):
    """Check the type of every field, then the rule in its metadata; MnpError names the field."""
    for field, hint in fields_of(section):
        name, value = field.name, getattr(section, field.name)
        if dataclasses.is_dataclass(hint):
            if type(value) is not hint:
                raise MnpError(f"{path}{name} = {short_repr(value)} is not a {hint.__name__}")
            check_fields(value, f"{path}{name}.")
            continue
        if not matches_type(value, hint):
            raise MnpError(f"{path}{name} = {short_repr(value)} is not {describe_type(hint)}")
        if "rule" in field.metadata:
            values = value if isinstance(value, tuple) else () if value is None else (value,)
            if not all(map(field.metadata["accepts"], values)):
                raise MnpError(f"{path}{name} = {format_value(value)} must be {field.metadata['rule']}")


# --- types and words ---------------------------------------------------------------------------------


def fields_of(section):
    """List (field, annotation) of the fields of a dataclass or of an instance of one."""
    kind = section if isinstance(section, type) else type(section)
    hints = typing.get_type_hints(kind)
    return [(field, hints[field.name]) for field in dataclasses.fields(kind)]


def suggest(name, names):
    """The end of an error message: the names that resemble a wrong one, or all of them.

    >>> suggest("epoch", ["epochs", "batch_size"]), suggest("decay", ["momentum", "weight_decay"])
    (': did you mean epochs?', ': did you mean weight_decay?')
    >>> suggest("xyz", ["epochs", "lr"])
    ': choose one of epochs, lr'
    """
    name, names = str(name)[:100], list(names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if not near and len(name) > 1:  # a part of the name, or its initials: decay, wd for weight_decay
        near = [n for n in names if name in n or name == "".join(word[0] for word in n.split("_") if word)]
    return f": did you mean {' or '.join(near)}?" if near else f": choose one of {', '.join(names)}"


def short_repr(value):
    """The repr of a value, cut to a length that fits into an error line."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def describe_type(hint):
    """An annotation in words.

    >>> describe_type(tuple[float, ...]), describe_type(int | None)
    ('a list of numbers', 'a whole number or none')
    """
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is types.UnionType:
        return " or ".join(map(describe_type, inner))
    if typing.get_origin(hint) is tuple:
        words = {float: "numbers", int: "whole numbers", str: "names"}
        return f"a list of {words.get(inner[0], 'name:number pairs')}"
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a string",
        dict: "a table",
    }
    return words.get(hint, "none")


def matches_type(value, hint):
    """Whether a value matches an annotation. A bool is no int here; a float must be finite."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is types.UnionType:
        return any(matches_type(value, h) for h in inner)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(matches_type(v, inner[0]) for v in value)
        return len(value) == len(inner) and all(map(matches_type, value, inner))
    if type(value) is int and hint in (int, float):
        return abs(value) < 2**63  # as in NumPy; a larger one may not fit into a float
    return type(value) is hint and (hint is not float or math.isfinite(value))


# --- dicts -----------------------------------------------------------------------------------------------


def to_dict(section):
    """A dataclass as dicts and lists, ready for JSON; an int in a float field becomes a float."""
    values = {}
    for field, hint in fields_of(section):
        value = getattr(section, field.name)
        if not (field.metadata.get("added") and value == field.default):
            values[field.name] = to_dict(value) if dataclasses.is_dataclass(hint) else to_builtin(value, hint)
    return values


def to_builtin(value, hint):
    """A field's value with lists for tuples, and with floats where the annotation says float."""
    if isinstance(value, tuple):
        inner = typing.get_args(hint)
        hints = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return list(map(to_builtin, value, hints))
    return float(value) if hint is float else dict(value) if hint is dict else value


def from_dict(kind, values, path="", complete=True):
    """Make a dataclass from what `to_dict` returned; no field may be unknown or of another type.

    complete: no field may be missing. False takes a field's default instead, as in a recipe file, where the
    text "none" also stands for None, which TOML does not have.
    """
    if not isinstance(values, dict):
        raise MnpError(f"{path[:-1] or 'the recipe'} = {short_repr(values)}, where a section is expected")
    values = {RENAMED.get(name, name): value for name, value in values.items()}
    names = [field.name for field in dataclasses.fields(kind)]
    for name in values:
        if name not in names:
            raise MnpError(f"no field {path}{short_repr(name)}{suggest(name, names)}")
    made = {}
    for field, hint in fields_of(kind):
        name = field.name
        if name not in values:
            if complete and not field.metadata.get("added"):
                raise MnpError(f"field {path}{name} is missing")
            continue
        if dataclasses.is_dataclass(hint):
            made[name] = from_dict(hint, values[name], f"{path}{name}.", complete)
            continue
        made[name] = lists_to_tuples(values[name])
        if not complete and made[name] == "none" and matches_type(None, hint):
            made[name] = None
        if not matches_type(made[name], hint):
            raise MnpError(f"{path}{name} = {short_repr(values[name])} is not {describe_type(hint)}")
    return kind(**made)


def lists_to_tuples(value):
    return tuple(map(lists_to_tuples, value)) if isinstance(value, list) else value


def digest(section):
    """The first eight hexadecimal digits of the SHA-256 of a dataclass as sorted JSON.

    They name a run's folder. Fields count under the names of mnp 0.1, so that a folder begun by that
    version keeps its name.
    """
    old = {new: old for old, new in RENAMED.items()}

    def with_old_names(values):
        return {old.get(k, k): with_old_names(v) if isinstance(v, dict) else v for k, v in values.items()}

    text = json.dumps(with_old_names(to_dict(section)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


# --- TOML ------------------------------------------------------------------------------------------------


def to_toml(section, path=""):
    """A dataclass as the text of a TOML file; comments say what each section and field is.

    Section comments are the docstrings; field comments the type, and the rule if there is one.
    """
    text = f"\n[{path}]\n" if path else ""
    text += "".join(f"# {line}".rstrip() + "\n" for line in inspect.getdoc(section).split("\n"))
    sections = ""
    for field, hint in fields_of(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(hint):
            sections += to_toml(value, f"{path}.{field.name}" if path else field.name)
            continue
        rule = field.metadata.get("rule")
        note = describe_type(hint) + (f", {rule}" if rule else "")
        text += f"{field.name} = {_toml_value(value)}  # {note}\n"
    return text + sections


def _toml_value(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml_value(v)}" for name, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_toml_value, value))}]"
    return json.dumps("none" if value is None else value)


# --- text from the command line --------------------------------------------------------------------------


def override(section, *assignments):
    """Return a copy of a dataclass with fields changed by texts such as "train.epochs=1".

    Lists are comma-separated ("0.9,0.95", or "conv1:0.25,fc4:0.5" for pairs; empty text: empty list);
    bools are true or false; a field that may be None takes none. Rules that involve several fields are
    checked once, after all changes.

    >>> from mnp.experiments.registry import get_experiment
    >>> override(get_experiment("digits"), "train.epochs=1").train.epochs
    1
    >>> override(get_experiment("digits"), "train.epoch=1")
    Traceback (most recent call last):
    mnp.errors.MnpError: --set train.epoch=1: no field train.epoch: did you mean epochs or step_epochs?
    """
    values = to_dict(section)
    shown = [short_repr(assignment)[1:-1] for assignment in assignments]
    for assignment, text in zip(assignments, shown, strict=True):
        path, equals, value = assignment.partition("=")
        names = path.strip().split(".")
        try:
            if not equals or len(names) < 2:
                raise MnpError(
                    "write section.field=value, as in train.epochs=1; the seed is --seed, name and plan "
                    "are set in a recipe file (`mnp recipe`)"
                )
            set_field(values, type(section), names, value.strip())
        except MnpError as error:
            raise MnpError(f"--set {text}: {error}") from None
    try:
        return from_dict(type(section), values)
    except MnpError as error:
        raise MnpError(f"--set {' '.join(shown)}: {error}") from None


def set_field(values, kind, names, text, path=""):
    """Set a field in the dict of a dataclass; `names` is the path to it, such as ["train", "epochs"]."""
    if kind is dict:  # arguments of the user's function: no types are known
        try:
            values[names[0]] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            values[names[0]] = text
        return
    hints = {field.name: hint for field, hint in fields_of(kind)}
    name, *rest = names
    name = RENAMED.get(name, name)
    sections = [n for n, hint in hints.items() if dataclasses.is_dataclass(hint) or hint is dict]
    if rest:
        if name not in sections:
            raise MnpError(f"no section {path}{name}{suggest(name, sections)}")
        set_field(values[name], hints[name], rest, text, f"{path}{name}.")
        return
    if name not in hints or name in sections:
        raise MnpError(f"no field {path}{name}{suggest(name, [n for n in hints if n not in sections])}")
    value = parse(text, hints[name])
    if not matches_type(value, hints[name]):
        raise MnpError(f"{text!r} is not {describe_type(hints[name])}")
    values[name] = to_builtin(value, hints[name])


def parse(text, hint):
    """Convert a text to the type of an annotation; a text that does not fit is returned as it is.

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
        return tuple(map(parse, map(str.strip, parts), inner)) if len(parts) == len(inner) else text
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return hint(text)
    except ValueError:
        return text


def format_value(value, separator=","):
    """A value as the text that `parse` reads."""
    if isinstance(value, tuple):
        return separator.join(format_value(part, ":") for part in value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def differences(section, base, path=""):
    """List (path, value, value in base) of the fields in which two dataclasses of one type differ.

    >>> from mnp.experiments.registry import get_experiment
    >>> digits = get_experiment("digits")
    >>> differences(override(digits, "weights.floors=conv1:0.5", "prune.to_k=none"), digits)
    [('prune.to_k', 'none', '1'), ('weights.floors', 'conv1:0.5', '')]
    """
    changes = []
    for field, hint in fields_of(section):
        value, other = getattr(section, field.name), getattr(base, field.name)
        if dataclasses.is_dataclass(hint):
            changes += differences(value, other, f"{path}{field.name}.")
        elif field.compare and value != other:
            changes.append((f"{path}{field.name}", format_value(value), format_value(other)))
    return changes
