"""Register tiles: blocks of SIMD accumulators for Numba. The one low-level file; it knows no layers.

      for p, q, i:  t[p, q] += w[p, i] * x[i, q]                      # the plain loop

A CPU multiplies and adds 16 floats in one instruction, but only as fast as it is fed. In this loop every
multiply-add waits for a load or two. A register tile loads a few vectors and uses each of them many
times, while all the sums stay in the CPU's registers from the first term to the last:

                          x[x_at + 0*x_step : ][:16]       x[x_at + 1*x_step : ][:16]
                            one load: 16 lanes               one load: 16 lanes
                                    |                                |
    w[w_at + 0*w_step] --->  t[0][0] 16 sums                  t[0][1] 16 sums
    w[w_at + 1*w_step] --->  t[1][0] 16 sums                  t[1][1] 16 sums
    w[w_at + 2*w_step] --->  t[2][0] 16 sums                  t[2][1] 16 sums
     one scalar, copied
     to all 16 lanes         t[row][column] += w[row] * x[column]                    (`outer`)

Here 3 + 2 loads feed 6 multiply-adds of 16 lanes. A tile of 6 rows and 4 columns needs 6 + 4 loads for
24, and its 24 accumulators, 4 vectors and a scalar fit the 32 registers of AVX-512. (28 accumulators do
not: the compiler then "spills" them to memory, and the speed is gone. AVX2 has 16 registers of 8 lanes, NEON
as many bytes in 32 of 4 lanes: there a vector of 16 takes two or four registers, and 4 such accumulators are
enough to keep both multipliers busy; 12 were spilled more often than not. `WIDE` says which of the two sizes
it is. A tile that is too large is slower by three or four times, but just as right.)

`make_tile(rows, columns, lanes)` gives a namespace of functions to call inside jitted code:

    t = tile.zero()                              # a value in registers, not an array
    for i in range(depth):
        t = tile.outer(t, w, i, depth, x, i * 64, 16)
    tile.store(t, y, 0, 64, 16)

Arrays are flat: one axis, contiguous, float32. Places (`..._at`) and distances (`..._step`) count
elements. **Nothing checks bounds**: a vector reaches `lanes` elements from its place, so leave room behind
the last one. Every product is added by one fused multiply-add (a single rounding), in the order
written; only `sum_lanes` adds the lanes of a vector in an order of the compiler's own, the same each time.

The functions are LLVM code written through `numba.extending.intrinsic`: they need the compiler, and
cannot be called with NUMBA_DISABLE_JIT=1.
"""

import inspect
import os
from functools import partial
from types import ModuleType

from llvmlite import ir
from llvmlite.binding import get_process_triple
from numba import config, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, models, register_model

_FLOAT, _BYTE, _INT, _LANE = ir.FloatType(), ir.IntType(8), ir.IntType(64), ir.IntType(32)
LINE = 16  # floats in a cache line of 64 bytes; vectors that start on one load fastest

# The instructions that Numba compiles for: this CPU's, less what NUMBA_CPU_NAME=generic, NUMBA_CPU_FEATURES
# or NUMBA_ENABLE_AVX=0 take away. Written as "+avx2,-avx512f,...".
_target = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
FEATURES = frozenset(name[1:] for name in _target.split(",") if name.startswith("+"))

# Every AArch64 CPU has NEON; for some (Macs) LLVM lists no features.
NEON = get_process_triple().startswith(("aarch64", "arm64"))

# Whether there are 32 registers of 16 lanes (AVX-512), or a quarter of that: 16 of 8 (AVX2;
# MNP_FORCE_AVX2=1 says so for tests), 32 of 4 (NEON).
WIDE = "avx512f" in FEATURES and os.environ.get("MNP_FORCE_AVX2") != "1"
VECTORS = NEON or "avx512f" in FEATURES or {"avx2", "fma"} <= FEATURES


class TileType(types.Type):
    """Numba's type of a tile's value: rows x columns vectors of `lanes` floats."""

    def __init__(self, rows, columns, lanes):
        self.rows, self.columns, self.lanes = rows, columns, lanes
        super().__init__(name=f"Tile({rows}, {columns}, {lanes})")

    @property
    def llvm(self):
        return ir.LiteralStructType([ir.VectorType(_FLOAT, self.lanes)] * (self.rows * self.columns))


@register_model(TileType)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, tile.llvm)


class _Emitter:
    """Emits LLVM instructions on vectors of `lanes` floats."""

    def __init__(self, builder, lanes):
        self.builder, self.lanes, self.vector = builder, lanes, ir.VectorType(_FLOAT, lanes)
        self.nothing = ir.Constant(self.vector, ir.Undefined)

    def spread(self, scalar):
        """The scalar in every lane."""
        first = self.builder.insert_element(self.nothing, scalar, ir.Constant(_LANE, 0))
        return self.pick(first, self.nothing, [0] * self.lanes)

    def pick(self, a, b, lanes):
        """A vector of chosen lanes: 0 ... from a, then from b."""
        chosen = ir.Constant(ir.VectorType(_LANE, len(lanes)), list(lanes))
        return self.builder.shuffle_vector(a, b, chosen)

    def fma(self, a, b, c):
        """a * b + c, rounded once."""
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.fma.v{self.lanes}f32"), [a, b, c]
        )

    def sum(self, a):
        """The sum of the lanes; `reassoc` lets it go pairwise and forbids nothing to NaN or infinity."""
        kind = ir.FunctionType(_FLOAT, [_FLOAT, self.vector])
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f32"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [ir.Constant(_FLOAT, -0.0), a], fastmath=("reassoc",))


class _Flat:
    """A flat array inside an emitter; the element meant is at + count * step."""

    def __init__(self, emitter, data):
        self.emitter, self.builder, self.data = emitter, emitter.builder, data

    def pointer(self, at, step, count, vector=None):
        if step is not None and count:
            at = self.builder.add(at, self.builder.mul(step, ir.Constant(_INT, count)))
        pointer = self.builder.gep(self.data, [at], inbounds=True)
        return self.builder.bitcast(pointer, vector.as_pointer()) if vector else pointer

    def scalar(self, at, step=None, count=0):
        return self.builder.load(self.pointer(at, step, count))

    def load(self, at, step=None, count=0):
        vector = self.builder.load(self.pointer(at, step, count, self.emitter.vector))
        vector.align = 4  # promise no more than any float's address keeps
        return vector

    def store(self, value, at, step=None, count=0):
        vector = value.type if isinstance(value.type, ir.VectorType) else None
        store = self.builder.store(value, self.pointer(at, step, count, vector))
        store.align = 1 if vector and vector.element == _BYTE else 4


def _is_flat(a, *kinds):
    return isinstance(a, types.Array) and (a.ndim, a.layout) == (1, "C") and (not kinds or a.dtype in kinds)


def _define(tile, result, emit, *arguments):
    """What an intrinsic returns to Numba: its signature, and the function that emits the code of a call.

    `emit` gets the arguments ready for use: a tile as a list of vectors, an array as a _Flat, an index as
    a 64-bit number, a float as float32. For a wrong argument, None: Numba then raises a typing error.
    """
    takes = []
    for a in arguments:
        if isinstance(a, types.Array):
            if not _is_flat(a, types.float32, types.uint8):
                return None
            takes.append(a)
        elif isinstance(a, types.Integer):
            takes.append(types.intp)
        elif isinstance(a, types.Float):
            takes.append(types.float32)
        elif isinstance(a, types.BaseTuple):
            takes.append(types.UniTuple(types.intp, len(a)))
        elif a == tile:
            takes.append(a)
        else:
            return None

    def code(context, builder, signature, values):
        emitter = _Emitter(builder, tile.lanes)
        ready = []
        for kind, value in zip(signature.args, values, strict=True):
            if isinstance(kind, types.Array):
                value = _Flat(emitter, context.make_array(kind)(context, builder, value=value).data)
            elif isinstance(kind, TileType | types.BaseTuple):
                count = len(kind) if isinstance(kind, types.BaseTuple) else len(kind.llvm.elements)
                value = [builder.extract_value(value, i) for i in range(count)]
            ready.append(value)
        out = emit(emitter, *ready)
        if result == types.void:
            return context.get_dummy_value()
        value = ir.Constant(result.llvm, ir.Undefined)
        for i, vector in enumerate(out):
            value = builder.insert_value(value, vector, i)
        return value

    return result(*takes), code


def make_tile(rows, columns, lanes=16):
    """Make the functions of a tile of rows x columns accumulators, each a vector of `lanes` floats.

    In their names, t is a tile's value, t[p][q] one accumulator, and [:lanes] the vector that starts there:

        zero()                                   t[p][q] = 0
        load(a, at, row, column)                 t[p][q] = a[at + p*row + q*column][:lanes]
        store(t, a, at, row, column)             a[at + p*row + q*column][:lanes] = t[p][q]
        outer(t, w, w_at, w_step, x, x_at, x_step)
                                                 t[p][q] += w[w_at + p*w_step] * x[x_at + q*x_step][:lanes]
        outer_at(t, w, w_at, w_step, x, places)  t[p][q] += w[w_at + p*w_step] * x[places[q]][:lanes]
        axpy(t, g, x, x_at, x_step)              t[p][q] += g * x[x_at + (p*columns + q)*x_step][:lanes]
        dot(t, a, a_at, a_step, b, b_at, b_step)
                                     t[p][q] += a[a_at + p*a_step][:lanes] * b[b_at + q*b_step][:lanes]
        sum_lanes(t, y, at, step)                y[at + p*step + q] = sum of the lanes of t[p][q]
        add(t, u), sub(t, u), scale(t, g)        t[p][q] + u[p][q], t[p][q] - u[p][q], t[p][q] * g
        add_rows(t, b, at)                       t[p][q] + b[at + p]
        max_columns(t, y, winner, at, step)      y[at + p*step][:lanes] = max over q of t[p][q], and the
                                                 winning q to winner (uint8) at the same place
        load_pairs(a, at, row)                   2 columns: t[p][0] the even ones of a[at + p*row][:2*lanes],
                                                 t[p][1] the odd ones
        store_pairs(t, a, at, row)               the same back
        transpose(t)                             1 column, rows = lanes: t[p][0][l] and t[l][0][p] swapped

    The maximum's rule is that of np.argmax: the lowest column wins a tie, and the first NaN wins all.

    Parameters
    ----------
    rows, columns, lanes : int
        rows * columns * lanes / 16 registers of AVX-512 hold the tile: stay at 24 or below. AVX2 needs
        rows * columns * lanes / 8 of its own: stay at 8, or time it (14 go well if no vector is used twice,
        `dot` with 12).

    Returns
    -------
    module of intrinsics
        (Numba looks up a module's attributes while it compiles, at no cost when the code runs.)
    """
    tile, made = TileType(rows, columns, lanes), ModuleType(f"Tile({rows}, {columns}, {lanes})")
    every = [(p, q) for p in range(rows) for q in range(columns)]

    def operation(emit, result=tile, fits=True):
        """Put an intrinsic into the module that is typed and emitted as `_define` says."""

        def define(typing, *arguments):
            return _define(tile, result, emit, *arguments) if fits else None

        define.__name__, define.__signature__ = emit.__name__, inspect.signature(emit)
        setattr(made, emit.__name__, intrinsic(define))

    @operation
    def zero(e):
        return [ir.Constant(e.vector, None)] * (rows * columns)

    @operation
    def load(e, a, at, row, column):
        starts = [e.builder.add(at, e.builder.mul(row, ir.Constant(_INT, p))) for p in range(rows)]
        return [a.load(starts[p], column, q) for p, q in every]

    @partial(operation, result=types.void)
    def store(e, t, a, at, row, column):
        starts = [e.builder.add(at, e.builder.mul(row, ir.Constant(_INT, p))) for p in range(rows)]
        for p, q in every:
            a.store(t[p * columns + q], starts[p], column, q)

    def multiply(e, t, w, w_at, w_step, vectors):
        out = []
        for p in range(rows):
            scalar = e.spread(w.scalar(w_at, w_step, p))
            out += [e.fma(scalar, vectors[q], t[p * columns + q]) for q in range(columns)]
        return out

    @operation
    def outer(e, t, w, w_at, w_step, x, x_at, x_step):
        return multiply(e, t, w, w_at, w_step, [x.load(x_at, x_step, q) for q in range(columns)])

    @operation
    def outer_at(e, t, w, w_at, w_step, x, places):
        return multiply(e, t, w, w_at, w_step, [x.load(at) for at in places])

    @operation
    def axpy(e, t, g, x, x_at, x_step):
        g = e.spread(g)
        return [e.fma(g, x.load(x_at, x_step, i), acc) for i, acc in enumerate(t)]

    @operation
    def dot(e, t, a, a_at, a_step, b, b_at, b_step):
        out = list(t)
        if rows < columns:  # the fewer vectors stay, the others come and go: registers are scarce
            kept = [a.load(a_at, a_step, p) for p in range(rows)]
            for q in range(columns):
                vector = b.load(b_at, b_step, q)
                for p in range(rows):
                    out[p * columns + q] = e.fma(kept[p], vector, t[p * columns + q])
        else:
            kept = [b.load(b_at, b_step, q) for q in range(columns)]
            for p in range(rows):
                vector = a.load(a_at, a_step, p)
                for q in range(columns):
                    out[p * columns + q] = e.fma(vector, kept[q], t[p * columns + q])
        return out

    @partial(operation, result=types.void)
    def sum_lanes(e, t, y, at, step):
        for p, q in every:
            y.store(e.sum(t[p * columns + q]), e.builder.add(at, ir.Constant(_INT, q)), step, p)

    @operation
    def add(e, t, u):
        return [e.builder.fadd(*pair) for pair in zip(t, u, strict=True)]

    @operation
    def sub(e, t, u):
        return [e.builder.fsub(*pair) for pair in zip(t, u, strict=True)]

    @operation
    def scale(e, t, g):
        g = e.spread(g)
        return [e.builder.fmul(vector, g) for vector in t]

    @operation
    def add_rows(e, t, b, at):
        scalars = [e.spread(b.scalar(at, ir.Constant(_INT, 1), p)) for p in range(rows)]
        return [e.builder.fadd(t[p * columns + q], scalars[p]) for p, q in every]

    @partial(operation, result=types.void)
    def max_columns(e, t, y, winner, at, step):
        b, bytes_ = e.builder, ir.VectorType(_BYTE, lanes)
        for p in range(rows):
            best, first = t[p * columns], ir.Constant(bytes_, [0] * lanes)
            for q in range(1, columns):
                other = t[p * columns + q]
                greater = b.fcmp_unordered(">", other, best)  # true for a NaN on either side
                greater = b.and_(greater, b.fcmp_ordered("ord", best, best))  # but the first NaN stays
                best = b.select(greater, other, best)
                first = b.select(greater, ir.Constant(bytes_, [q] * lanes), first)
            y.store(best, at, step, p)
            winner.store(first, at, step, p)

    @partial(operation, fits=columns == 2)
    def load_pairs(e, a, at, row):
        out, next_ = [], ir.Constant(_INT, lanes)
        for p in range(rows):
            low, high = a.load(at, row, p), a.load(e.builder.add(at, next_), row, p)
            out += [e.pick(low, high, range(odd, 2 * lanes, 2)) for odd in (0, 1)]
        return out

    @partial(operation, result=types.void, fits=columns == 2)
    def store_pairs(e, t, a, at, row):
        mixed = [lane // 2 + lane % 2 * lanes for lane in range(2 * lanes)]
        for p in range(rows):
            low, high = (e.pick(*t[2 * p : 2 * p + 2], half) for half in (mixed[:lanes], mixed[lanes:]))
            a.store(low, at, row, p)
            a.store(high, e.builder.add(at, ir.Constant(_INT, lanes)), row, p)

    @partial(operation, fits=columns == 1 and rows == lanes)
    def transpose(e, t):
        t, block = list(t), 1
        while block < rows:  # change the off-diagonal quarters of ever larger squares
            for p in [p for p in range(rows) if not p & block]:
                a, b = t[p], t[p + block]
                upper = [lane if not lane & block else lanes + lane - block for lane in range(lanes)]
                lower = [lane + block if not lane & block else lanes + lane for lane in range(lanes)]
                t[p], t[p + block] = e.pick(a, b, upper), e.pick(a, b, lower)
            block *= 2
        return t

    return made


def _element(context, builder, array_type, array, at):
    data = context.make_array(array_type)(context, builder, value=array).data
    return builder.gep(data, [at], inbounds=True)


@intrinsic
def get(typing, a, at):
    """a[at] of a flat array, in one instruction.

    Written a[at], Python's rule that a negative index counts from the end takes three more, and
    keeps the compiler from turning a loop into vectors.
    """

    def code(context, builder, signature, values):
        return builder.load(_element(context, builder, a, *values))

    fits = _is_flat(a) and isinstance(at, types.Integer)
    return (a.dtype(a, types.intp), code) if fits else None


@intrinsic
def put(typing, a, at, value):
    """a[at] = value, in the same manner."""

    def code(context, builder, signature, values):
        builder.store(values[2], _element(context, builder, a, *values[:2]))
        return context.get_dummy_value()

    fits = _is_flat(a) and isinstance(at, types.Integer) and isinstance(value, types.Number | types.Boolean)
    return (types.void(a, types.intp, a.dtype), code) if fits else None
