"""Arrays of the other byte order, as FITS, IDX and netCDF readers give them, are as good in every backend."""

import numpy as np
import pytest
from kernel_cases import Sizes, arguments, call, copied
from tolerances import TEXTBOOK, assert_results_close

from mnp.errors import MnpError
from mnp.kernels import BACKENDS, KERNELS, get_backend, tiled


def swapped(value):
    """The same numbers in the other byte order, also inside tuples."""
    if isinstance(value, tuple):
        return tuple(swapped(item) for item in value)
    return value.astype(value.dtype.newbyteorder()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_gives_the_same_results_in_the_machines_byte_order(backend, kernel):
    module, dtype = get_backend(backend), np.float32
    args = arguments(kernel, Sizes(channels=9, kw=3, padding=1), np.random.default_rng(0), dtype)
    expected = call(module, kernel, copied(args))
    for other in (swapped(args), (swapped(args[0]), *copied(args[1:]))):  # all arrays, or one among others
        results = call(module, kernel, other)
        if kernel == "sgd_step":  # in place: what was handed in stays what it is
            assert all(a.dtype == b.dtype for a, b in zip(results[:3], other[0], strict=True))
            results = tuple(a.astype(dtype) for a in results)
        assert_results_close(results, expected, TEXTBOOK["float32"], kernel)


def test_fused_kernels_take_it_too():
    rng = np.random.default_rng(1)
    x, weight = rng.standard_normal((3, 20)).astype(np.float32), rng.standard_normal((4, 3, 20)).astype("f4")
    bias = np.zeros((4, 3), np.float32)
    expected = tiled.dense_maxout_forward(x, weight, bias)
    assert_results_close(tiled.dense_maxout_forward(swapped(x), weight, bias), expected, TEXTBOOK["float32"])
    x, weight = rng.standard_normal((2, 3, 8, 8)).astype("f4"), rng.standard_normal((4, 3, 3, 3)).astype("f4")
    args = weight, np.zeros(4, np.float32), 1, 1, 2, 2
    expected = tiled.conv2d_maxpool2d_forward(x, *args)
    assert_results_close(tiled.conv2d_maxpool2d_forward(swapped(x), *args), expected, TEXTBOOK["float32"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_float_types_stay_a_mistake(backend):
    x = np.ones((2, 3), ">f4")
    with pytest.raises(MnpError, match="use one float type for all"):
        get_backend(backend).dense_forward(x, np.ones((4, 3)), np.ones(4))
