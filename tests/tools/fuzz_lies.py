"""Files put together with lies: false sizes, pickles, NaN, bombs, names that lead outside."""

import io
import json
import pickle
import struct
import warnings
import zipfile

import numpy as np

BIG = 1 << 25  # bytes of zeros in a bomb; deflated it is a thousand times smaller
NUMBERS = [-1, 0, 1, 2, 7, 2**16, 2**31 - 1, 2**31, -(2**31), 2**32, 2**62, 2**63, -(2**63), 2**64, 10**30]
FLOATS = [1e308, -0.5, 5e-324, float("nan"), float("inf")]
VALUES = [*NUMBERS, *FLOATS, None, True, "", "3", "../x", "é\n" * 9, [], {}]
SHAPES = [
    "(-1,)",
    "(9223372036854775807, 9)",
    "(4294967296, 4294967296)",
    "(1,)*9",
    "(3",
    "(True,)",
    "(2.0,)",
]
DTYPES = ["|O", "<f8", ">f4", "<c16", "|V64", "<U9", "<M8[s]", "|b1", "<i8", "f4,f4", "@", "<f99"]


def one_of(values, rng):
    return values[int(rng.integers(len(values)))]


class Payload:
    """Its pickle calls print when it is read: harmless, and seen as the event pickle.find_class."""

    def __reduce__(self):
        return print, ("a pickle was read",)


def lie(value, rng, depth=0):
    """The same JSON value with one thing in it false: a number, a kind, a name, a length."""
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = one_of(keys, rng)
        made = value.copy()
        match int(rng.integers(12)):
            case 0:
                del made[key]
            case 1 if isinstance(made, dict):
                made[str(one_of(VALUES, rng))] = made.pop(key)
            case 2 if isinstance(made, list):
                made *= int(rng.integers(2, 50))
            case _:
                made[key] = lie(value[key], rng, depth + 1)
        return made
    if depth == 0 or rng.random() < 0.05:
        return json.loads("[" * 400 + "]" * 400)
    return one_of(VALUES, rng)


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npy_claiming(text: str, body: bytes = bytes(64), version: bytes = b"\x01\x00") -> bytes:
    """An array file whose header is any text."""
    raw = text.encode("latin1", "replace") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(raw)) + raw + body


def lying_npy(data: bytes, rng, mutated) -> bytes:
    """One array file made false."""
    try:
        array = np.load(io.BytesIO(data)).copy()
    except Exception:  # an earlier lie was about this one
        return mutated(data, rng)
    match int(rng.integers(8)):
        case 0:
            return mutated(data, rng)
        case 1:
            return npy(np.array([Payload()] * int(rng.integers(1, 3)), dtype=object))
        case 2:
            return pickle.dumps(Payload(), protocol=int(rng.integers(0, 6)))
        case 3:
            return npy_claiming(
                f"{{'descr': '<f4', 'fortran_order': False, 'shape': {one_of(SHAPES, rng)}, }}"
            )
        case 4:
            return npy_claiming(
                f"{{'descr': '{one_of(DTYPES, rng)}', 'fortran_order': False, 'shape': (2,), }}"
            )
        case 5:
            text = ["{" * 150, "9" * 9000 + "**9", "{'descr': " + "(" * 90, "__import__('os')", "", "{1: '\\"]
            return npy_claiming(one_of(text, rng))
        case 6:
            if array.size and array.dtype.kind in "fiu":
                bad = [np.nan, np.inf, -np.inf] if array.dtype.kind == "f" else [-1, 2**30, 0]
                value = np.array(one_of(bad, rng))
                with np.errstate(all="ignore"):
                    array.flat[int(rng.integers(array.size))] = value.astype(array.dtype)
            return npy(array)
        case _:
            kinds = [np.float64, np.float16, np.int8, np.complex64, np.bool_]
            part = array.reshape(-1)[: int(rng.integers(array.size + 1))]
            return npy(part.astype(one_of(kinds, rng)))


def lying_checkpoint(seed: bytes, rng, mutated) -> bytes:
    """A checkpoint with one to three lies in it, and checksums that fit."""
    if rng.random() < 0.2:
        return mutated(seed, rng)
    with zipfile.ZipFile(io.BytesIO(seed)) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    packing = zipfile.ZIP_STORED
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(entries)))
        name, data = entries[at]
        match int(rng.integers(10)):
            case 0 | 1 | 2:
                entries[at] = name, lying_npy(data, rng, mutated)
            case 3 | 4 | 5 | 6:
                at = next((i for i, (n, _) in enumerate(entries) if n.startswith("meta")), at)
                name, data = entries[at]
                try:
                    meta = lie(json.loads(np.load(io.BytesIO(data)).tobytes()), rng)
                except Exception:  # an earlier lie was about this entry
                    continue
                entries[at] = name, npy(np.frombuffer(json.dumps(meta).encode(), np.uint8))
            case 7:
                entries[at] = ("../" if rng.random() < 0.5 else "/") + name, data
            case 8:
                entries.append((name if rng.random() < 0.5 else "more.npy", data))
            case 9 if rng.random() < 0.15:
                packing = zipfile.ZIP_DEFLATED
                entries.append(("bomb.npy", npy(np.zeros(BIG, np.uint8))))
            case _ if len(entries) > 1:
                del entries[at]
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", packing, compresslevel=1) as archive:
        warnings.simplefilter("ignore")  # two entries of one name are what is wanted
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, packing)
    return buffer.getvalue()


def lying_safetensors(seed: bytes, rng, mutated) -> bytes:
    """A header with a lie in it, of the right length or not; NaN in the arrays."""
    length = int.from_bytes(seed[:8], "little")
    header, body = json.loads(seed[8 : 8 + length]), bytearray(seed[8 + length :])
    for _ in range(int(rng.integers(0, 3))):
        header = lie(header, rng)
        if not isinstance(header, dict):
            break
    text = json.dumps(header).encode()
    if rng.random() < 0.1:
        text = text[:-1] + b", " + text[1:]  # every name twice
    if rng.random() < 0.2:
        at = int(rng.integers(len(body) // 4)) * 4
        body[at : at + 4] = struct.pack("<f", [float("nan"), float("inf"), -1e38][int(rng.integers(3))])
    if rng.random() < 0.1:
        body = body[: int(rng.integers(len(body)))]
    claimed = len(text) if rng.random() < 0.9 else one_of(NUMBERS, rng) % 2**64
    if rng.random() < 0.02:
        return pickle.dumps(Payload())
    return claimed.to_bytes(8, "little") + text + bytes(body)


def lying_json(seed: bytes, rng, mutated) -> bytes:
    value = json.loads(seed)
    for _ in range(int(rng.integers(1, 4))):
        value = lie(value, rng)
    text = json.dumps(value).encode()
    return mutated(text, rng) if rng.random() < 0.1 else text


def lying_array(seed: bytes, rng, mutated) -> bytes:
    return lying_npy(seed, rng, mutated)
