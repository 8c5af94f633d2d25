"""The rows of a batch: the right ones, whole, and nothing beside them."""

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastmlp.kernels import gather, simd
from fastmlp.kernels.spans import span

FLOATS = [np.float32, np.float64]
NUMBERS = np.array([3, 0, 3, 6, 1])
CANARY = 77.0


@numba.njit
def gather_rows(rows, n, numbers, x, target):
    place = span(target, 2, rows * n)
    gather.gather_rows(rows, n, span(numbers, 0, numbers.size), span(x, 0, x.size), place)


@numba.njit
def gather_targets(rows, k, numbers, y, width, target):
    place = span(target, 2, rows * k)
    gather.gather_targets(rows, k, span(numbers, 0, numbers.size), y, width, place)


def framed(expected):
    """The numbers with two canaries before and after them, and a vector of canaries of that size."""
    around = np.full(2, CANARY, expected.dtype)
    wanted = np.concatenate([around, expected.ravel(), around])
    return wanted, np.full_like(wanted, CANARY)


@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_of_every_width(dtype):
    w = simd.REGISTER_BYTES // np.dtype(dtype).itemsize
    for n in range(1, 3 * w + 2):
        x = np.arange(7 * n, dtype=dtype).reshape(7, n)
        for rows in range(len(NUMBERS) + 1):
            expected, inputs = framed(x[NUMBERS[:rows]])
            gather_rows(rows, n, NUMBERS, x.ravel(), inputs)
            assert_array_equal(inputs, expected)
            targets = np.full_like(inputs, CANARY)
            gather_targets(rows, n, NUMBERS, x.ravel(), n, targets)
            assert_array_equal(targets, expected)


@pytest.mark.parametrize("dtype", FLOATS)
def test_classes_become_ones(dtype):
    classes = np.array([2, 0, 1, 3, 0, 2, 1], dtype)
    expected, targets = framed(np.eye(4, dtype=dtype)[[3, 2, 3, 1, 0]])
    gather_targets(5, 4, NUMBERS, classes, 1, targets)
    assert_array_equal(targets, expected)
