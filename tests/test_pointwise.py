"""Pointwise kernels: what a table's functions say, in the runs of the spans and nowhere else."""

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastmlp.kernels import JIT, simd
from fastmlp.kernels.pointwise import not_finite, pointwise
from fastmlp.kernels.spans import span

FLOATS = [np.float32, np.float64]
CANARY = 77.0


def lanes(dtype):
    return simd.REGISTER_BYTES // np.dtype(dtype).itemsize


def lengths(dtype):
    """Every tail of up to three registers, and one number more."""
    return range(3 * lanes(dtype) + 2)


def runs(dtype):
    """(rows, n, pitch): runs of every length, one or several, one after the other and with gaps between them."""
    for n in lengths(dtype):
        yield from [(1, n, n), (1, n, 0), (2, n, n + 1)]
    for n in (1, lanes(dtype) - 1, lanes(dtype), lanes(dtype) + 1):
        yield from [(0, n, n), (3, n, n), (3, n, n + 2), (4, n, n + lanes(dtype))]


def places(rows, n, pitch, offset):
    """Positions of the numbers of all runs, (rows, n), in a vector where the first one starts at `offset`."""
    return offset + pitch * np.arange(rows)[:, None] + np.arange(n)


def numbers(n, dtype, seed=0):
    return np.random.default_rng(seed).uniform(-3, 3, n).astype(dtype)


# --- a table of several arities ------------------------------------------------------------------------------------
# inputs 0, 1, 2, outputs 3, 4; all is exact, or one rounding, so that any answer but NumPy's is wrong


def one_to_one(x):
    return x + 1.0


def two_to_one(x, y):
    return x - y


def three_to_two(x, y, z):
    return x * y, simd.where(z > 0.0, x, y)


def with_mask(x, y):
    return x * 2.0, x > y


def masks_only_inside(x):
    return simd.where((x > 1.0) | ((x <= -1.0) & ~(x < -2.0)), 0.5, x)


def constant(x):
    return 0.25


TABLE = [one_to_one, two_to_one, three_to_two, with_mask, masks_only_inside, constant]
EXPECTED = {  # of the inputs x, y, z: the outputs, and the flag where there is a mask
    one_to_one: lambda x, y, z: ((x + 1,), False),
    two_to_one: lambda x, y, z: ((x - y,), False),
    three_to_two: lambda x, y, z: ((x * y, np.where(z > 0, x, y)), False),
    with_mask: lambda x, y, z: ((x * 2,), (x > y).any()),
    masks_only_inside: lambda x, y, z: ((np.where((x > 1) | ((x <= -1) & (x >= -2)), 0.5, x),), False),
    constant: lambda x, y, z: ((np.full_like(x, 0.25),), False),
}
EVERY_ROW = pytest.mark.parametrize("code", range(len(TABLE)), ids=[f.__name__ for f in TABLE])
_apply = pointwise(TABLE, inputs=(0, 1, 2), outputs=(3, 4))
_apply_in_place = pointwise(TABLE, inputs=(0, 1, 2), outputs=(0, 1))


@numba.njit
def apply(code, rows, n, pitch, arrays, offsets):
    size = (rows - 1) * pitch + n if rows > 0 else 0
    v, w, x = span(arrays[0], offsets[0], size), span(arrays[1], offsets[1], size), span(arrays[2], offsets[2], size)
    y, z = span(arrays[3], offsets[3], size), span(arrays[4], offsets[4], size)
    return _apply(code, rows, n, pitch, (v, w, x, y, z))


@numba.njit
def apply_in_place(code, rows, n, pitch, arrays):
    size = (rows - 1) * pitch + n if rows > 0 else 0
    spans = span(arrays[0], 2, size), span(arrays[1], 2, size), span(arrays[2], 2, size)
    return _apply_in_place(code, rows, n, pitch, spans)


@pytest.mark.parametrize("dtype", FLOATS)
@EVERY_ROW
def test_writes_its_runs_and_nothing_else(code, dtype):
    offsets = 0, 3, 1, 5, 2
    for rows, n, pitch in runs(dtype):
        size = rows * pitch + n + 9
        arrays = [numbers(size, dtype, seed) for seed in range(3)] + [np.full(size, CANARY, dtype) for _ in range(2)]
        expected = [array.copy() for array in arrays]
        at = [places(rows, n, pitch, offset) for offset in offsets]
        outputs, flag = EXPECTED[TABLE[code]](*(array[p] for array, p in zip(arrays[:3], at[:3], strict=True)))
        for output, array, p in zip(outputs, expected[3:], at[3:], strict=False):
            array[p] = output
        raised = apply(code, rows, n, pitch, tuple(arrays), offsets)
        assert bool(raised) == flag, (rows, n, pitch)
        for array, wanted in zip(arrays, expected, strict=True):
            assert_array_equal(array, wanted, err_msg=f"rows, n, pitch = {rows, n, pitch}")


@pytest.mark.parametrize("dtype", FLOATS)
@EVERY_ROW
def test_in_place(code, dtype):
    for rows, n, pitch in runs(dtype):
        arrays = [numbers(rows * pitch + n + 4, dtype, seed) for seed in range(3)]
        expected, at = [array.copy() for array in arrays], places(rows, n, pitch, 2)
        outputs, flag = EXPECTED[TABLE[code]](*(array[at] for array in arrays))
        for output, array in zip(outputs, expected, strict=False):
            array[at] = output
        assert bool(apply_in_place(code, rows, n, pitch, tuple(arrays))) == flag
        for array, wanted in zip(arrays, expected, strict=True):
            assert_array_equal(array, wanted, err_msg=f"rows, n, pitch = {rows, n, pitch}")


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_true_number_anywhere_raises_the_flag_and_numbers_outside_do_not(dtype):
    code = TABLE.index(with_mask)
    for rows, n, pitch in runs(dtype):
        x = np.full(rows * pitch + n + 2, 9, dtype)  # around the runs the mask would be true
        x[places(rows, n, pitch, 1)] = 0
        arrays = x, np.ones_like(x), x, np.empty_like(x), x
        assert apply(code, rows, n, pitch, arrays, (1,) * 5) == 0
        for at in places(rows, n, pitch, 1).flat:
            x[at] = 2
            assert apply(code, rows, n, pitch, arrays, (1,) * 5) != 0, (rows, n, pitch, at)
            x[at] = 0


_at_zero = pointwise([lambda x: x == 0.0 if isinstance(x, np.ndarray) else ~((x > 0.0) | (x < 0.0))], (0,), ())


@numba.njit
def at_zero(n, x):
    return _at_zero(0, 1, n, 0, (span(x, 0, n),))


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_mask_that_is_true_of_zero_raises_no_flag_for_lanes_beyond_the_run(dtype):
    """Lanes beyond the last number are computed with zeros, whose mask must not count."""
    for n in lengths(dtype):
        assert at_zero(n, np.ones(n, dtype)) == 0, f"n = {n}"
        assert n == 0 or at_zero(n, np.zeros(n, dtype)) != 0


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_code_beyond_the_table_does_nothing(dtype):
    arrays = tuple(numbers(5, dtype, seed) for seed in range(5))
    before = [array.copy() for array in arrays]
    if JIT:
        assert apply(len(TABLE), 1, 5, 5, arrays, (0,) * 5) == 0
    else:
        with pytest.raises(IndexError):
            apply(len(TABLE), 1, 5, 5, arrays, (0,) * 5)
    for array, expected in zip(arrays, before, strict=True):
        assert_array_equal(array, expected)


# --- scalars -------------------------------------------------------------------------------------------------------


def axpy(h, x, y):
    return h[0] * x + h[1] * y


def scaled(h, x):
    return h[1] * x, x > h[0]


_with_scalars = pointwise([axpy, scaled], inputs=(0, 1), outputs=(1,), n_scalars=2)


@numba.njit
def with_scalars(code, rows, n, pitch, x, y, h):
    size = (rows - 1) * pitch + n if rows > 0 else 0
    return _with_scalars(code, rows, n, pitch, (span(x, 1, size), span(y, 1, size)), (h[1], h[2]))


@pytest.mark.parametrize("dtype", FLOATS)
def test_scalars_are_the_same_for_all_numbers(dtype):
    h = np.array([9, 0.5, -2], dtype)
    for rows, n, pitch in runs(dtype):
        at = places(rows, n, pitch, 1)
        x, y = numbers(rows * pitch + n + 2, dtype), np.full(rows * pitch + n + 2, CANARY, dtype)
        y[at] = np.rint(numbers(at.size, dtype, 1)).reshape(at.shape)
        expected = y.copy()
        # contracting the multiply and the add changes no bit here: y is whole, so both products are exact
        expected[at] = 0.5 * x[at] - 2 * y[at]
        assert with_scalars(0, rows, n, pitch, x, y, h) == 0
        assert_array_equal(y, expected)
        expected[at] = -2 * x[at]
        assert bool(with_scalars(1, rows, n, pitch, x, y, h)) == (x[at] > 0.5).any()
        assert_array_equal(y, expected)


# --- a kernel of this kind that others use ---------------------------------------------------------------------------


@numba.njit
def _not_finite(rows, n, pitch, x):
    return not_finite(0, rows, n, pitch, (span(x, 0, x.size),))


@pytest.mark.parametrize("dtype", FLOATS)
def test_not_finite_finds_each_number_that_is_not(dtype):
    rows, n, pitch = 2, lanes(dtype) + 3, lanes(dtype) + 5
    x = np.full(rows * pitch, np.nan, dtype)
    inside = places(rows, n, pitch, 0)
    x[inside] = np.finfo(dtype).max
    assert _not_finite(rows, n, pitch, x) == 0
    for at in inside.flat:
        for wrong in (np.nan, np.inf, -np.inf):
            x[at] = wrong
            assert _not_finite(rows, n, pitch, x) != 0
        x[at] = -np.finfo(dtype).max
