"""The layer on compressed sparse rows, against SciPy's products in float64."""

import numba
import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal
from tolerances import assert_close

from fastmlp.kernels import simd, sparse
from fastmlp.kernels.spans import span

FLOATS = [np.float32, np.float64]
NUMBERS = np.array([3, 0, 3, 6, 1])
CANARY = 77.0


@numba.njit
def whole(v):
    return span(v, 0, v.size)


@numba.njit
def scores(rows, n, numbers, x, columns, starts, w, b, z):
    place = span(z, 2, rows * n)
    sparse.sparse_dense(rows, n, whole(numbers), x, columns, starts, whole(w), whole(b), place, n)


@numba.njit
def weight_gradient(first, last, rows, n, numbers, x, columns, starts, delta, dw):
    sparse.sparse_weight_gradient(
        first, last, rows, n, whole(numbers), x, columns, starts, whole(delta), n, span(dw, 2, dw.size - 4)
    )


def case(dtype, fan_in, fan_out):
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((7, fan_in)).astype(dtype)
    dense[rng.uniform(size=dense.shape) < 0.7] = 0
    dense[6] = 0
    x = scipy.sparse.csr_array(dense)
    w, b, delta = (rng.standard_normal(shape).astype(dtype) for shape in ((fan_in, fan_out), fan_out, (5, fan_out)))
    return x, (x.data, x.indices.astype(np.int64), x.indptr.astype(np.int64)), w, b, delta


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("fan_in", [1, 40])
def test_scores(dtype, fan_in):
    lanes = simd.REGISTER_BYTES // np.dtype(dtype).itemsize
    for fan_out in (1, 2, lanes - 1, lanes, 2 * lanes + 1):
        x, parts, w, b, _ = case(dtype, fan_in, fan_out)
        for rows in range(len(NUMBERS) + 1):
            z = np.full(rows * fan_out + 4, CANARY, dtype)
            scores(rows, fan_out, NUMBERS, *parts, w.ravel(), b, z)
            assert (z[[0, 1, -2, -1]] == CANARY).all()
            if rows > 0:
                expected = b + x[NUMBERS[:rows]].astype(np.float64) @ w.astype(np.float64)
                assert_close(z[2:-2].reshape(rows, fan_out), expected, 1 + fan_in)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("fan_out", [1, 3, 33])
def test_weight_gradient(dtype, fan_out):
    x, parts, w, _, delta = case(dtype, 40, fan_out)
    expected = x[NUMBERS].astype(np.float64).T @ delta.astype(np.float64)
    dw = np.full(w.size + 4, CANARY, dtype)
    weight_gradient(0, 40, 5, fan_out, NUMBERS, *parts, delta.ravel(), dw)
    assert_close(dw[2:-2].reshape(w.shape), expected, 5)
    for first, last in ((0, 8), (8, 40), (17, 17)):  # a member's share, to the same bits, and nothing beside it
        part = np.full(w.size + 4, CANARY, dtype)
        weight_gradient(first, last, 5, fan_out, NUMBERS, *parts, delta.ravel(), part)
        inside = slice(2 + first * fan_out, 2 + last * fan_out)
        assert_array_equal(part[inside], dw[inside])
        part[inside] = CANARY
        assert (part == CANARY).all()
