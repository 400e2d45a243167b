"""Wrong versions of the kernels, by the words that name the mistake."""

from mnp.verify.mistakes import conv, learning, norm, pool, units

TABLE = {**conv.TABLE, **pool.TABLE, **units.TABLE, **norm.TABLE, **learning.TABLE}
