"""Matrices with a row for each feature: products, gathering, softmax, dropout, against NumPy; their machine code."""

import json
import re
from itertools import product

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_gemm import host_has_fma, innermost_loops, python, vectors_on_the_stack
from tolerances import assert_within

from fastmlp import reference
from fastmlp.kernels import dropout, feature_major, gather, simd, softmax
from fastmlp.kernels.spans import span

FLOATS = [np.float32, np.float64]
CANARY = 77.0
LIMITS = {np.float32: 2e-6, np.float64: 4e-15}


def lanes(dtype):
    return simd.REGISTER_BYTES // np.dtype(dtype).itemsize


@numba.njit
def run_combine(m, columns, k, a, sai, sak, b, c, pitch):
    places = span(a, 1, a.size - 2), span(b, 1, k * pitch), span(c, 1, m * pitch)
    feature_major.combine(m, columns, k, places[0], sai, sak, places[1], places[2], pitch)


@numba.njit
def run_dots(m, n, columns, left, right, pitch, out, ldo):
    places = span(left, 1, m * pitch), span(right, 1, n * pitch), span(out, 1, (m - 1) * ldo + n)
    feature_major.dots(m, n, columns, places[0], places[1], pitch, places[2], ldo)


@numba.njit
def run_gather_columns(rows, n, numbers, x, target, pitch):
    place = span(target, 1, n * pitch)
    return gather.gather_columns(rows, n, span(numbers, 0, numbers.size), span(x, 0, x.size), place, pitch)


@numba.njit
def run_gather_target_columns(rows, k, numbers, y, width, target, pitch):
    place = span(target, 1, k * pitch)
    gather.gather_target_columns(rows, k, span(numbers, 0, numbers.size), y, width, place, pitch)


@numba.njit
def run_softmax_columns(columns, k, pitch, z, log_a, a):
    softmax.softmax_columns(columns, k, pitch, (span(z, 0, z.size), span(log_a, 0, log_a.size), span(a, 0, a.size)))


@numba.njit
def run_softmax_backward_columns(columns, k, pitch, a, g):
    softmax.softmax_backward_columns(columns, k, pitch, (span(a, 0, a.size), span(g, 0, g.size)))


@numba.njit
def run_drop_columns(key, first, rows, n, pitch, keep, source, target):
    dropout.drop_columns(key, first, rows, n, pitch, keep, span(source, 0, source.size), span(target, 0, target.size))


def framed(matrix, pitch):
    """The matrix, its rows `pitch` apart, in a vector with canaries beside every row and at both ends."""
    rows, columns = matrix.shape
    block = np.full((rows, pitch), CANARY, matrix.dtype)
    block[:, :columns] = matrix
    return np.concatenate([[CANARY], block.ravel(), [CANARY]]).astype(matrix.dtype)


def empty(rows, columns, dtype):
    """The same of canaries alone."""
    return framed(np.full((rows, columns), CANARY, dtype), columns)


def assert_framed(vector, expected, pitch, limit):
    """The matrix is in `vector`, to `limit` of its largest number, and only canaries are beside it."""
    rows, columns = expected.shape
    inside = vector[1:-1].reshape(rows, pitch)
    assert_within(inside[:, :columns], expected, limit)
    assert (inside[:, columns:] == CANARY).all()
    assert vector[0] == vector[-1] == CANARY


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_combinations_of_rows(dtype, turned):
    """Every number of rows up to three pieces, and of registers up to five; A by rows, and by columns."""
    rng, w = np.random.default_rng(0), lanes(dtype)
    for m, k, registers in product([*range(1, 26)], [0, 1, 2, 9, 40], range(1, 6)):
        columns, pitch = registers * w, (registers + m % 2) * w
        a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, columns)))
        stored, c = (a.T if turned else a).copy(), empty(m, pitch, dtype)
        strides = (1, m) if turned else (k, 1)
        run_combine(m, columns, k, np.pad(stored.ravel(), 1), *strides, framed(b, pitch), c, pitch)
        assert_framed(c, a.astype(float) @ b.astype(float), pitch, LIMITS[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
def test_dot_products_of_rows(dtype):
    """Every size up to two tiles in both directions; the rows of the result side by side, and apart."""
    rng, w = np.random.default_rng(0), lanes(dtype)
    for m, n, registers in product([*range(1, 10), 13], [*range(1, 19)], (1, 2, 5)):
        columns, pitch, ldo = registers * w, (registers + m % 2) * w, n + n % 3
        x, y = (rng.standard_normal((rows, columns)).astype(dtype) for rows in (m, n))
        out = empty(m, ldo, dtype)
        vector = np.concatenate([out[: 1 + (m - 1) * ldo + n], [CANARY]]).astype(dtype)
        run_dots(m, n, columns, framed(x, pitch), framed(y, pitch), pitch, vector, ldo)
        assert vector[-1] == CANARY
        padded = np.concatenate([vector[:-1], np.full(ldo - n + 1, CANARY, dtype)])
        assert_framed(padded, x.astype(float) @ y.T.astype(float), ldo, LIMITS[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_become_columns(dtype):
    rng, w = np.random.default_rng(0), lanes(dtype)
    for n, rows in product([1, 2, 3, w - 1, w, w + 1, 2 * w + 1], [1, 2, w - 1, w, w + 1, 2 * w]):
        x, numbers = rng.standard_normal((50, n)).astype(dtype), rng.integers(0, 50, rows)
        columns = -(-rows // w) * w
        pitch, picked = columns + w, x[numbers[np.minimum(np.arange(columns), rows - 1)]].T
        inputs, targets = empty(n, pitch, dtype), empty(n, pitch, dtype)
        assert run_gather_columns(rows, n, numbers, x.ravel(), inputs, pitch) == columns
        run_gather_target_columns(rows, n, numbers, x.ravel(), n, targets, pitch)
        assert_framed(inputs, picked, pitch, 0)
        assert_framed(targets, picked, pitch, 0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_classes_become_ones_in_columns(dtype):
    classes, numbers = np.array([2, 0, 1, 3, 0, 2, 1], dtype), np.array([3, 0, 3, 6, 1])
    pitch = -(-5 // lanes(dtype)) * lanes(dtype)
    targets = np.full(4 * pitch + 2, CANARY, dtype)
    run_gather_target_columns(5, 4, numbers, classes, 1, targets, pitch)
    block = targets[1:-1].reshape(4, pitch)
    assert_array_equal(block[:, :5], np.eye(4, dtype=dtype)[:, [3, 2, 3, 1, 0]])
    assert_array_equal(block[:, 5:], 0)
    assert targets[0] == targets[-1] == CANARY


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_of_columns_is_that_of_rows(dtype):
    rng, w = np.random.default_rng(0), lanes(dtype)
    for k, registers in product([2, 3, w, w + 3, 70], (1, 3)):
        columns, pitch = registers * w, (registers + 1) * w
        z = (rng.standard_normal((k, columns)) * 5).astype(dtype)
        block = np.zeros((k, pitch), dtype)
        block[:, :columns] = z
        scores, log_a, a = block.ravel(), np.zeros(k * pitch, dtype), np.zeros(k * pitch, dtype)
        run_softmax_columns(columns, k, pitch, scores, log_a, a)
        expected = reference.softmax(z.T.astype(float)).T
        found, logarithms = (v.reshape(k, pitch)[:, :columns] for v in (a, log_a))
        assert_within(found, expected, 4 * LIMITS[dtype])
        assert_within(logarithms, np.log(expected), 4 * LIMITS[dtype])
        g = rng.standard_normal((k, columns)).astype(dtype)
        block[:, :columns] = g
        delta = block.ravel().copy()
        run_softmax_backward_columns(columns, k, pitch, a, delta)
        wanted = g - found.astype(float) * g.sum(axis=0, dtype=float)
        assert_within(delta.reshape(k, pitch)[:, :columns], wanted, 8 * LIMITS[dtype])
        assert not delta.reshape(k, pitch)[:, columns:].any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_masks_of_columns_are_those_of_rows(dtype):
    w, n, key, keep = lanes(dtype), 11, 1234567, round(0.7 * dropout.ALL)
    for rows in (1, w, 2 * w - 1, 2 * w):
        columns, pitch = -(-rows // w) * w, 3 * w
        masks = np.ones(rows * n, dtype)
        dropout._drop_plain(key, 5, rows, n, n, keep, masks, masks)
        masks = masks.reshape(rows, n)[np.minimum(np.arange(columns), rows - 1)]
        source, target = np.ones(n * pitch, dtype), np.full(n * pitch, CANARY, dtype)
        run_drop_columns(key, 5, rows, n, pitch, keep, source, target)
        assert_array_equal(target.reshape(n, pitch)[:, :columns], masks.T)
        assert (target.reshape(n, pitch)[:, columns:] == CANARY).all()
        assert 0 < (masks == 0).sum() < masks.size


# --- machine code --------------------------------------------------------------------------------------------------

ASSEMBLY = """
    import json, sys
    from numba import types
    from fastmlp.kernels import feature_major, simd

    i, v = types.int64, types.CPointer(getattr(types, sys.argv[1]))
    signatures = {"combine": (i, i, i, v, i, i, v, v, i), "dots": (i, i, i, v, v, i, v, i)}
    assembly = []
    for name, signature in signatures.items():
        dispatcher = getattr(feature_major, name)
        dispatcher.compile(signature)  # not run: this CPU may lack the instructions
        assembly.append(dispatcher.inspect_asm(signature))
    tiles = feature_major._BROAD * feature_major._TALL, feature_major._DOTS
    print(json.dumps({"bytes": simd.REGISTER_BYTES, "tiles": tiles, "assembly": assembly}))
"""


@pytest.mark.once
@pytest.mark.skipif(not host_has_fma(), reason="the CPU compiled for has no fused multiply-add")
@pytest.mark.parametrize(("cpu", "dtype"), [("host", "float32"), ("host", "float64"), ("haswell", "float32")])
def test_sums_stay_in_registers(cpu, dtype):
    """In each loop with multiply-adds the registers are full, and none visits the stack; one loop has a whole tile."""
    result = python(ASSEMBLY, dtype, **({} if cpu == "host" else {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}))
    assert result.returncode == 0, result.stderr
    machine = json.loads(result.stdout)
    register = {64: "zmm", 32: "ymm", 16: "xmm"}[machine["bytes"]]
    multiply_add = re.compile(rf"vfmadd[123]+{'ps' if dtype == 'float32' else 'pd'}\s.*%{register}")
    for tile, assembly in zip(machine["tiles"], machine["assembly"], strict=True):
        counts = []
        for loop in innermost_loops(assembly):
            counts.append(sum(bool(multiply_add.match(line)) for line in loop))
            assert counts[-1] == sum(line.startswith(("vfma", "vfnm", "vfms")) for line in loop), "not full"
            assert counts[-1] == 0 or vectors_on_the_stack(loop, assembly) == []
        assert max(counts) >= tile
