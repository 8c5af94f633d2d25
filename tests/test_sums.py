"""Sums over rows and columns, and dot products with the rows: exact where they can be, within their roundings else."""

import math
from itertools import product

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastmlp.kernels import JIT, simd, sums
from fastmlp.kernels.spans import span

FLOATS = [np.float32, np.float64]
CANARY = 77.0


@numba.njit
def run_column_sums(rows, cols, x, weights, start, out):
    sums.column_sums(rows, cols, span(x, 3, rows * cols), cols, span(out, 2, cols))


@numba.njit
def run_row_sums(rows, cols, x, weights, start, out):
    sums.row_sums(rows, cols, span(x, 3, rows * cols), span(out, 2, rows))


@numba.njit
def run_row_dots(rows, cols, x, weights, start, out):
    weights, start = span(weights, 1, cols), span(start, 1, 1)
    sums.row_dots(rows, cols, span(x, 3, rows * cols), cols, weights, start, span(out, 2, rows))


@numba.njit
def run_sum_of_squares(n, x):
    return sums.sum_of_squares(n, span(x, 3, n))


KINDS = {  # the kernel; its sums in the precision of the arguments; how many numbers go into each
    "columns": (run_column_sums, lambda x, w, s: x.sum(axis=0), lambda rows, cols: rows),
    "rows": (run_row_sums, lambda x, w, s: x.sum(axis=1), lambda rows, cols: cols),
    "dots": (run_row_dots, lambda x, w, s: s + x @ w, lambda rows, cols: cols + 1),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def evaluate(kind, x, weights, start):
    """The kernel's sums, after a check that it has written nothing else. Around its inputs lie NaN."""
    dtype, (rows, cols) = x.dtype, x.shape

    def among(values, before, after, other):
        return np.concatenate([np.full(before, other), np.ravel(values), np.full(after, other)]).astype(dtype)

    inputs = among(x, 3, 70, np.nan), among(weights, 1, 70, np.nan), among(start, 1, 1, np.nan)
    copies, size = [v.copy() for v in inputs], cols if kind == "columns" else rows
    out = np.full(size + 72, CANARY, dtype)
    KINDS[kind][0](rows, cols, *inputs, out)
    for v, before in zip(inputs, copies, strict=True):
        assert_array_equal(v, before)
    assert (out[:2] == CANARY).all()
    assert (out[2 + size :] == CANARY).all()
    return out[2 : 2 + size]


def shapes(dtype):
    """(rows, columns) on both sides of the running sums and of the registers."""
    w = simd.REGISTER_BYTES // np.dtype(dtype).itemsize
    rows = {0, 1, 2, 3, sums._CHAINS, sums._CHAINS + 1, 2 * sums._CHAINS - 1, 2 * sums._CHAINS + 2, w - 1, w, 2 * w + 1}
    return product(sorted(rows), [0, 1, 2, w - 1, w, w + 1, 2 * w - 1, 2 * w, 2 * w + 1, 5 * w + 3])


@pytest.mark.parametrize("dtype", FLOATS)
@EVERY_KIND
def test_sums_of_whole_numbers_are_exact(kind, dtype):
    rng = np.random.default_rng(0)
    for rows, cols in [*shapes(dtype), (1000, 3), (3, 1000)]:
        x, weights, start = (rng.integers(-9, 10, shape) for shape in ((rows, cols), cols, 1))
        expected = KINDS[kind][1](x, weights, start)
        assert_array_equal(evaluate(kind, x.astype(dtype), weights, start), expected, err_msg=f"{rows} x {cols}")


@pytest.mark.parametrize("dtype", FLOATS)
@EVERY_KIND
def test_sums_of_real_numbers(kind, dtype):
    rng = np.random.default_rng(1)
    _, function, length = KINDS[kind]
    for rows, cols in [(1, 784), (10_000, 1), (301, 65), (7, 1001), *shapes(dtype)]:
        x, weights, start = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, cols), cols, 1))
        wide = function(*(v.astype(np.longdouble) for v in (x, weights, start)))
        # one rounding for each number and product, each at most half an eps of the sum of the magnitudes
        bound = length(rows, cols) * np.finfo(dtype).eps * function(*(np.abs(v) for v in (x, weights, start)))
        assert (np.abs(evaluate(kind, x, weights, start) - wide) <= bound).all()


@pytest.mark.parametrize("dtype", FLOATS)
@EVERY_KIND
def test_nan_stays_in_its_sum(kind, dtype):
    rng = np.random.default_rng(2)
    for rows, cols in ((5, 3), (9, 40), (70, 18)):
        x, weights, start = (rng.integers(1, 10, shape).astype(dtype) for shape in ((rows, cols), cols, 1))
        sums_without = KINDS[kind][1](x, weights, start)
        for place in {0, rows // 2, rows - 1}:
            with_nan, expected = x.copy(), sums_without.copy()
            with_nan[place, place % cols] = np.nan
            expected[place % cols if kind == "columns" else place] = np.nan
            assert_array_equal(evaluate(kind, with_nan, weights, start), expected)


@pytest.mark.skipif(not JIT, reason="NumPy's product, the plain fallback, chooses its order of summation by the shape")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", ["rows", "dots"])
def test_a_row_has_the_same_bits_in_any_company(kind, dtype):
    rng = np.random.default_rng(3)
    x, weights, start = (rng.standard_normal(shape).astype(dtype) for shape in ((39, 53), 53, 1))
    together = evaluate(kind, x, weights, start)
    alone = [evaluate(kind, x[i : i + 1], weights, start)[0] for i in range(39)]
    assert_array_equal(alone, together)


@pytest.mark.parametrize("dtype", FLOATS)
def test_squares_are_added_in_float64(dtype):
    rng = np.random.default_rng(4)
    for n in [0, 1, 7, 8, 9, 31, 32, 33, 95, 1000]:
        x = np.full(n + 75, np.nan, dtype)
        x[3 : 3 + n] = rng.standard_normal(n) * 10.0 ** rng.integers(-3, 4, n)
        expected = math.fsum(float(v) ** 2 for v in x[3 : 3 + n])
        assert run_sum_of_squares(n, x) == pytest.approx(expected, rel=n * 2.0**-53)
    x[500] = np.nan
    assert np.isnan(run_sum_of_squares(1000, x))
