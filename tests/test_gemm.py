"""Matrix products: right for every shape, confined to their operands, in registers, the same however they are divided.

Most matrices hold small whole numbers, for which float32 and float64 are exact: there any wrong bit is an error.
"""

import json
import os
import platform
import re
import subprocess
import sys
import textwrap
from itertools import product

import numba
import numpy as np
import pytest
from llvmlite import binding as llvm
from numpy.testing import assert_array_equal

from fastmlp.kernels import JIT, dense, gemm, simd
from fastmlp.kernels.spans import span

FLOATS = [np.float32, np.float64]
CANARY = 77.0
MR, NV, PANELS = gemm.MR, gemm.NV, gemm._PANELS
PACK_ROWS, PACK_SIZE, COPY_SIZE = gemm._PACK_ROWS, gemm._PACK_SIZE, gemm._COPY_SIZE


@numba.njit
def run_gemm(m, n, k, a, ao, sai, sak, b, bo, sbk, sbj, s, so, lds, c, co, ldc):
    a, b = span(a, ao, a.size - ao), span(b, bo, b.size - bo)
    s, c = span(s, so, s.size - so), span(c, co, c.size - co)
    gemm.gemm(m, n, k, a, sai, sak, b, sbk, sbj, s, lds, c, ldc)


def lanes(dtype):
    return simd.REGISTER_BYTES // np.dtype(dtype).itemsize


def depth(dtype):
    """KC: the rows of B that are packed together."""
    return gemm.KC_BYTES // np.dtype(dtype).itemsize


def rows_of_a(dtype):
    """The rows of A that are packed together where k is KC or more."""
    strip = (gemm._STRIP * depth(dtype) + gemm._STRIP_GAP) * np.dtype(dtype).itemsize
    return gemm._A_PANEL // strip * MR


def whole(rng, *shape):
    return rng.integers(-4, 5, shape).astype(np.float64)  # in which NumPy's product of them is exact, too


class Placed:
    """A matrix inside a larger vector: rows `pitch` apart from `offset` on, canaries everywhere else."""

    def __init__(self, matrix, dtype, offset=3, gap=0):
        rows, columns = matrix.shape
        self.shape, self.offset, self.pitch = matrix.shape, offset, columns + gap
        self.vector = np.full(offset + rows * self.pitch + 5, CANARY, dtype)
        self.view[...] = matrix

    @property
    def view(self):
        rows, columns = self.shape
        return self.vector[self.offset : self.offset + rows * self.pitch].reshape(rows, self.pitch)[:, :columns]


MATRIX, ONE_ROW, ITSELF = S_KINDS = "S a matrix", "S one row", "S is C"
ROWS, COLUMNS = STORED = "as it is", "transposed"
EVERY_WAY = list(product(STORED, STORED, S_KINDS))


def some(shapes):
    """All of them; as plain Python, where a product takes milliseconds, every seventh."""
    return list(shapes)[:: 1 if JIT else 7]


in_every_way = pytest.mark.parametrize(
    ("a_stored", "b_stored", "s_kind"), EVERY_WAY, ids=[f"A {a}, B {b}, {s}" for a, b, s in EVERY_WAY]
)


def multiply(a, b, s, dtype, a_stored=ROWS, b_stored=ROWS, s_kind=MATRIX):
    """C = S + A @ B by the kernel, after a check that nothing but C was written."""
    (m, k), n = a.shape, b.shape[1]
    pa = Placed(a.T if a_stored == COLUMNS else a, dtype, offset=1, gap=2)
    pb = Placed(b.T if b_stored == COLUMNS else b, dtype, offset=2, gap=1)
    pc = Placed(s if s_kind == ITSELF else np.full((m, n), CANARY), dtype, offset=5, gap=2)
    ps = pc if s_kind == ITSELF else Placed(s, dtype, offset=4, gap=3)
    a_strides = (1, pa.pitch) if a_stored == COLUMNS else (pa.pitch, 1)
    b_strides = (1, pb.pitch) if b_stored == COLUMNS else (pb.pitch, 1)
    inputs = [placed for placed in (pa, pb, ps) if placed is not pc]
    before = [placed.vector.copy() for placed in inputs]
    run_gemm(
        m, n, k, pa.vector, pa.offset, *a_strides, pb.vector, pb.offset, *b_strides,
        ps.vector, ps.offset, 0 if s_kind == ONE_ROW else ps.pitch, pc.vector, pc.offset, pc.pitch,
    )  # fmt: skip
    for placed, copy in zip(inputs, before, strict=True):
        assert_array_equal(placed.vector, copy)
    result = pc.view.copy()
    pc.view[...] = CANARY
    assert (pc.vector == CANARY).all()
    return result


class Operands:
    """A, B and S of any shape up to the one given, cut from the same whole numbers."""

    def __init__(self, m, n, k):
        rng = np.random.default_rng(0)
        self.a, self.b, self.s = whole(rng, m, k), whole(rng, k, n), whole(rng, m, n)

    def check(self, m, n, k, dtype, a_stored, b_stored, s_kind):
        a, b, s = self.a[:m, :k], self.b[:k, :n], self.s[: 1 if s_kind == ONE_ROW else m, :n]
        result = multiply(a, b, s, dtype, a_stored, b_stored, s_kind)
        assert_array_equal(result, s + a @ b, err_msg=f"m, n, k = {m, n, k}")


@pytest.mark.parametrize("dtype", FLOATS)
@in_every_way
def test_every_edge_of_the_tiling(a_stored, b_stored, s_kind, dtype):
    """On both sides of every boundary: tiles, the two ways to halve what is left of the columns, blocks of k."""
    w, kc = lanes(dtype), depth(dtype)
    registers = [1, 2, NV, NV + 1, NV + 2, 2 * NV, 2 * NV + 1, PANELS * NV + 1]
    columns = sorted({0, 1, 2 * NV * w + 5, *(r * w + d for r in registers for d in (-1, 0, 1))})
    operands = Operands(2 * MR + 3, columns[-1], 2 * kc + 1)
    for m, n in some(product([0, 1, 2, MR - 1, MR, MR + 1, 2 * MR + 3], columns)):
        for k in (0, 1, 17, kc + 1) if m % 2 else (0, 2, kc - 1, kc, 2 * kc + 1):
            operands.check(m, n, k, dtype, a_stored, b_stored, s_kind)


@pytest.mark.parametrize("dtype", FLOATS)
@in_every_way
def test_a_single_row_of_every_width(a_stored, b_stored, s_kind, dtype):
    w, kc = lanes(dtype), depth(dtype)
    operands = Operands(1, 17 * w, kc + 1)
    for n, k in some(product(sorted({r * w + d for r in range(17) for d in (0, 1, w - 1)}), (1, 3, kc + 1))):
        operands.check(1, n, k, dtype, a_stored, b_stored, s_kind)


def around(n):
    return n - 1, n, n + 1


@pytest.mark.parametrize("dtype", FLOATS)
@in_every_way
def test_both_sides_of_what_is_packed(a_stored, b_stored, s_kind, dtype):
    """Rows around the least that B is packed for, and around the rows of A that are packed together; sizes likewise.

    And sizes of B around those that are copied."""
    w, kc, together = lanes(dtype), depth(dtype), rows_of_a(dtype)
    assert PACK_SIZE % 64 == 0, "the sizes below lie around it"
    sizes = [(n, PACK_SIZE // 64) for n in around(64)]  # (n, k)
    sizes += [(n, k) for n in ((NV + 1) * w, 2 * NV * w + 1) for k in around(kc)]
    operands = Operands(2 * together + 3, 2 * NV * w + 1 + 64, max(2 * kc + 7, PACK_SIZE))
    for m, (n, k) in some(product(sorted({*around(PACK_ROWS), *around(together), 2 * together + 3}), sizes)):
        operands.check(m, n, k, dtype, a_stored, b_stored, s_kind)
    for m, n, k in [(PACK_ROWS, 1, PACK_SIZE), (PACK_ROWS, 1, PACK_SIZE - 1), (together + 1, NV * w + 1, 2 * kc + 7)]:
        operands.check(m, n, k, dtype, a_stored, b_stored, s_kind)
    k = kc + 3  # a B of so many columns is as large as those that are copied, or a little smaller
    wide = Operands(2 * MR + 1, COPY_SIZE // k + 1, k)
    for m, n in some(product((MR, MR + 1, 2 * MR + 1), (COPY_SIZE // k - 1, COPY_SIZE // k, COPY_SIZE // k + 1))):
        wide.check(m, n, k, dtype, a_stored, b_stored, s_kind)
    for k in (0, 1):  # nothing to pack
        operands.check(PACK_ROWS, 2 * NV * w, k, dtype, a_stored, b_stored, s_kind)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("b_stored", STORED)
@pytest.mark.parametrize("a_stored", STORED)
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 784), (5, 7, 300), (64, 50, 1000), (130, 101, 513)])
def test_gemm_on_real_numbers(m, n, k, a_stored, b_stored, dtype):
    rng = np.random.default_rng(1)
    a, b, s = (rng.standard_normal(shape).astype(dtype) for shape in [(m, k), (k, n), (m, n)])
    wide = s + a.astype(np.longdouble) @ b
    # k + 1 roundings, each at most half an eps of the sum of the magnitudes
    bound = (k + 1) / 2 * np.finfo(dtype).eps * (np.abs(s) + np.abs(a).astype(np.float64) @ np.abs(b))
    assert (np.abs(multiply(a, b, s, dtype, a_stored, b_stored) - wide) <= bound).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("b_stored", STORED)
@pytest.mark.parametrize("m", [MR + 3, PACK_ROWS + 1])
def test_nan_in_one_row_stays_there(m, b_stored, dtype):
    k, n = 5, 9 if m < PACK_ROWS else PACK_SIZE // 4
    a, b, s = np.ones((m, k)), np.ones((k, n)), np.zeros((m, n))
    a[MR - 1, 2], b[3, 4] = np.nan, np.inf
    expected = np.full((m, n), 5.0)
    expected[:, 4], expected[MR - 1] = np.inf, np.nan
    for a_stored in STORED:
        assert_array_equal(multiply(a, b, s, dtype, a_stored, b_stored), expected)


@pytest.mark.skipif(not JIT, reason="NumPy's product, the plain fallback, chooses its order of summation by the shape")
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_same_bits_however_the_product_is_divided(dtype):
    """Single rows, tiles, packed or not: every number is made of the same chains of multiply-adds."""
    rng = np.random.default_rng(3)
    together, kc = rows_of_a(dtype), depth(dtype)
    m, n, k = together + 3 * MR + 2, 2 * NV * lanes(dtype) + 3, kc + 40
    a, b, s = (rng.standard_normal(shape).astype(dtype) for shape in [(m, k), (k, n), (m, n)])
    undivided = multiply(a, b, s, dtype)
    for stored in product(STORED, STORED):

        def parts(rows, columns=slice(None), depth=slice(None), start=s, stored=stored):
            return multiply(a[rows, depth], b[depth, columns], start[rows, columns], dtype, *stored)

        assert_array_equal(parts(slice(m)), undivided)
        for cut in (1, 2, MR - 1, MR, MR + 1, PACK_ROWS - 1, PACK_ROWS, together, m - 1):
            assert_array_equal(np.concatenate([parts(slice(cut)), parts(slice(cut, m))]), undivided)
        for cut in (1, lanes(dtype) - 1, lanes(dtype), NV * lanes(dtype), n - 1):
            for rows in (slice(m), slice(MR), slice(1)):  # alone, a narrow part is too small to be packed
                pair = [parts(rows, columns) for columns in (slice(cut), slice(cut, n))]
                assert_array_equal(np.concatenate(pair, axis=1), undivided[rows])


@pytest.mark.skipif(not JIT, reason="NumPy's product, the plain fallback, chooses its order of summation by the shape")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("m", [1, 2 * MR])
def test_sixteen_times_the_terms_are_no_sixteen_times_the_error(m, dtype):
    """That would be a single chain's: each addition rounds a sum that has grown with the root of their number."""
    rng = np.random.default_rng(0)

    def error(k):
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, 200)).astype(dtype)
        exact = np.longdouble(a) @ np.longdouble(b)
        return np.sqrt(np.mean((multiply(a, b, np.zeros((m, 200)), dtype) - exact) ** 2))

    assert 3 < error(16 * depth(dtype)) / error(depth(dtype)) < 8


# --- the products of a dense layer ---------------------------------------------------------------------------------


@numba.njit
def run_dense(rows, fan_in, fan_out, x, params, z):
    x, z = span(x, 3, rows * fan_in), span(z, 3, rows * fan_out)
    w, b = span(params, 0, fan_in * fan_out), span(params, fan_in * fan_out, fan_out)
    dense.dense(rows, fan_in, fan_out, x, fan_in, w, b, z, fan_out)


@numba.njit
def run_input_gradient(rows, fan_in, fan_out, delta, w, zeros, dx):
    delta, dx = span(delta, 3, rows * fan_out), span(dx, 3, rows * fan_in)
    w, zeros = span(w, 0, w.size), span(zeros, 1, fan_in)
    dense.dense_input_gradient(rows, fan_in, fan_out, delta, fan_out, w, zeros, dx, fan_in)


@numba.njit
def run_weight_gradient(i, m, j, n, rows, fan_in, fan_out, x, delta, zeros, dw):
    x, delta = span(x, 3 + i, rows * fan_in - i), span(delta, 3 + j, rows * fan_out - j)
    at = i * fan_out + j
    zeros, dw = span(zeros, 1, max(m, n)), span(dw, 3 + at, fan_in * fan_out - at)
    dense.dense_weight_gradient(m, n, rows, fan_out, x, fan_in, delta, fan_out, zeros, dw)


@numba.njit
def run_bias_gradient(rows, fan_out, delta, db):
    dense.dense_bias_gradient(rows, fan_out, span(delta, 3, rows * fan_out), fan_out, span(db, 3, fan_out))


LAYERS = [(1, 1, 1), (1, 784, 3), (7, 5, 1), (33, 3, 50), (MR, 16, 32), (MR + 1, 17, 33), (300, 20, 10), (5, 100, 257)]
LAYERS += [(1, 300, 1), (300, 64, 1), (PACK_ROWS, 65, 64), (2, 1, 40), (130, 150, 70)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("rows", "fan_in", "fan_out"), LAYERS)
def test_dense_layer_and_its_three_gradients(rows, fan_in, fan_out, dtype):
    rng = np.random.default_rng(4)
    x, w, b, delta = (
        whole(rng, *shape) for shape in [(rows, fan_in), (fan_in, fan_out), (1, fan_out), (rows, fan_out)]
    )

    def out(matrix_shape):
        return Placed(np.full(matrix_shape, CANARY), dtype)

    def check(placed, expected):
        assert_array_equal(placed.view, expected)
        placed.view[...] = CANARY
        assert (placed.vector == CANARY).all()

    vx, vdelta = Placed(x, dtype).vector, Placed(delta, dtype).vector
    params = np.concatenate([w.ravel(), b.ravel()]).astype(dtype)
    zeros = np.zeros(max(fan_in, fan_out) + 2, dtype)
    zeros[[0, -1]] = CANARY

    z = out((rows, fan_out))
    run_dense(rows, fan_in, fan_out, vx, params, z.vector)
    check(z, x @ w + b)

    dx = out((rows, fan_in))
    run_input_gradient(rows, fan_in, fan_out, vdelta, params[: w.size].copy(), zeros, dx.vector)
    check(dx, delta @ w.T)

    for first, last in {(0, fan_in), (fan_in // 2, fan_in), (0, fan_in // 2)}:
        for left, right in {(0, fan_out), (fan_out // 2, fan_out), (0, fan_out // 2)}:
            dw = out((fan_in, fan_out))
            block = first, last - first, left, right - left
            run_weight_gradient(*block, rows, fan_in, fan_out, vx, vdelta, zeros, dw.vector)
            expected = np.full((fan_in, fan_out), CANARY)
            expected[first:last, left:right] = (x.T @ delta)[first:last, left:right]
            if fan_out == 1 and left == right:
                continue  # one output: there is no block without it
            check(dw, expected)

    db = out((1, fan_out))
    run_bias_gradient(rows, fan_out, vdelta, db.vector)
    check(db, delta.sum(axis=0, keepdims=True))


@pytest.mark.skipif(not JIT, reason="NumPy's product, the plain fallback, chooses its order of summation by the shape")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("fan_out", [1, 7])
def test_the_same_bits_however_rows_and_weights_are_shared(fan_out, dtype):
    """What threads divide: rows of the forward pass and of dX, rows of dW."""
    rng = np.random.default_rng(5)
    rows, fan_in = 2 * PACK_ROWS + 3, 150
    x, delta, params = (
        rng.standard_normal(n).astype(dtype) for n in (rows * fan_in, rows * fan_out, (fan_in + 1) * fan_out)
    )
    zeros, w = np.zeros(max(fan_in, fan_out) + 1, dtype), params[: fan_in * fan_out].copy()

    def shifted(v):
        return np.concatenate([np.zeros(3, dtype), v])

    def results(cut):
        z, dx, dw = (np.zeros(3 + n, dtype) for n in (rows * fan_out, rows * fan_in, fan_in * fan_out))
        for first, last in ((0, cut), (cut, rows)):
            n = last - first
            part_z, part_dx = np.zeros(3 + n * fan_out, dtype), np.zeros(3 + n * fan_in, dtype)
            run_dense(n, fan_in, fan_out, shifted(x[first * fan_in :]), params, part_z)
            run_input_gradient(n, fan_in, fan_out, shifted(delta[first * fan_out :]), w, zeros, part_dx)
            z[3 + first * fan_out : 3 + last * fan_out] = part_z[3:]
            dx[3 + first * fan_in : 3 + last * fan_in] = part_dx[3:]
        for first, last in ((0, cut), (cut, fan_in)):
            shape, operands = (rows, fan_in, fan_out), (shifted(x), shifted(delta), zeros)
            run_weight_gradient(first, last - first, 0, fan_out, *shape, *operands, dw)
        return z, dx, dw

    whole_results = results(0)
    for cut in (1, MR, PACK_ROWS, 2 * PACK_ROWS):
        for part, undivided in zip(results(cut), whole_results, strict=True):
            assert_array_equal(part, undivided)


# --- memory beyond the operands ------------------------------------------------------------------------------------

GUARDED = """
    import ctypes, mmap, sys
    import numba, numpy as np
    from itertools import product
    from fastmlp.kernels import gather, gemm, pointwise, simd, softmax, sums
    from fastmlp.kernels.spans import span

    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    PAGE, PROT_NONE = mmap.PAGESIZE, 0
    kept = []

    def guarded(n, dtype, end):
        "A vector of n numbers, its end (or its start) flush against a page that nobody may touch."
        size = n * np.dtype(dtype).itemsize
        room = -(-max(size, 1) // PAGE) * PAGE
        memory = mmap.mmap(-1, room + 2 * PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for page in (address, address + PAGE + room):
            if mprotect(page, PAGE, PROT_NONE) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        kept.append(memory)
        return np.frombuffer(memory, dtype, n, PAGE + (room - size if end else 0))

    if sys.argv[1:]:  # the guard works: one number beyond either end
        at_end = sys.argv[1] == "end"
        v = guarded(10, np.float32, at_end)
        np.lib.stride_tricks.as_strided(v[9:] if at_end else v, (2,), (4 if at_end else -4,)).sum()
        sys.exit("not guarded")

    @numba.njit
    def whole(v):
        return span(v, 0, v.size)

    @numba.njit
    def run_gemm(m, n, k, a, sai, sak, b, sbk, sbj, s, c):
        gemm.gemm(m, n, k, whole(a), sai, sak, whole(b), sbk, sbj, whole(s), 0, whole(c), n)

    @numba.njit
    def run_copy(rows, n, pitch, source, target):
        pointwise.copy(0, rows, n, pitch, (whole(source), whole(target)))

    @numba.njit
    def run_pick(rows, n, numbers, source, target):
        gather.gather_rows(rows, n, whole(numbers), whole(source), whole(target))

    @numba.njit
    def run_rows(rows, k, z, log_a, a, sums_of_rows, sums_of_columns):
        softmax.softmax(rows, k, (whole(z), whole(log_a), whole(a)))
        softmax.softmax_backward(rows, k, (whole(a), whole(log_a)))
        sums.row_sums(rows, k, whole(z), whole(sums_of_rows))
        sums.column_sums(rows, k, whole(z), k, whole(sums_of_columns))
        sums.row_dots(rows, k, whole(z), k, whole(sums_of_columns), whole(sums_of_columns), whole(sums_of_rows))

    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        itemsize = np.dtype(dtype).itemsize
        w, kc = simd.REGISTER_BYTES // itemsize, gemm.KC_BYTES // itemsize
        for end in (True, False):
            def put(matrix):
                vector = guarded(matrix.size, dtype, end)
                vector[:] = matrix.ravel()
                return vector

            columns = (1, w - 1, w, w + 1, 2 * w, gemm.NV * w - 1, gemm.NV * w + 1)
            shapes = [*product((1, gemm.MR - 1, gemm.MR, gemm.MR + 1), columns, (1, 7, kc + 1))]
            shapes += [(1, n, 3) for n in (3 * w, 4 * w - 1, 7 * w + 1, 8 * w - 1, 13 * w + 1)]
            together = gemm._A_PANEL // (itemsize * (gemm._STRIP * kc + gemm._STRIP_GAP)) * gemm.MR
            shapes += product((gemm._PACK_ROWS, together - 1, together + 1), (gemm.NV * w + 1, 4 * w), (kc + 1,))
            shapes += [(gemm.MR + 1, gemm._COPY_SIZE // (kc + 1) + extra, kc + 1) for extra in (1, w)]
            for m, n, k in shapes:
                a, b, s = (rng.integers(-4, 5, shape).astype(float) for shape in ((m, k), (k, n), (1, n)))
                vs, vc = put(s), put(np.zeros((m, n)))
                for va, a_strides in ((put(a), (k, 1)), (put(a.T), (1, m))):
                    for vb, b_strides in ((put(b), (n, 1)), (put(b.T), (1, k))):
                        run_gemm(m, n, k, va, *a_strides, vb, *b_strides, vs, vc)
                        assert (vc.reshape(m, n) == s + a @ b).all(), (m, n, k)
            for n in range(1, 3 * w + 2):
                for rows, pitch in ((1, 0), (3, n + 1)):
                    size = (rows - 1) * pitch + n
                    source, target = put(np.arange(size)), put(np.arange(size))
                    run_copy(rows, n, pitch, source, target)
                    assert (source == target).all()
                source, target = put(np.arange(3 * n)), put(np.zeros(3 * n))
                run_pick(3, n, np.array([2, 0, 2]), source, target)
                assert (target.reshape(3, n) == source.reshape(3, n)[[2, 0, 2]]).all()
                z, log_a, a = (put(np.ones((3, n))) for _ in range(3))
                of_rows, of_columns = put(np.zeros(3)), put(np.zeros(n))
                run_rows(3, n, z, log_a, a, of_rows, of_columns)
                assert (of_columns == 3).all()
                assert (of_rows == 3 * n + 3).all()
        kept.clear()
"""


def python(code, *arguments, **environment):
    """`code` in a new Python with the compiler on."""
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True)


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="mprotect and its signal are those of Linux")


@pytest.mark.once
@linux_only
@pytest.mark.parametrize("cpu", ["host", "haswell"])
def test_nothing_outside_the_operands_is_read_or_written(cpu):
    if cpu == "haswell" and simd.REGISTER_BYTES < 64:
        pytest.skip("only a CPU with 64-byte registers stores part of a register otherwise than Haswell does, and can")
    result = python(GUARDED, **({} if cpu == "host" else {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}))
    assert result.returncode == 0, result.stderr


@pytest.mark.once
@linux_only
@pytest.mark.parametrize("end", ["start", "end"])
def test_the_guard_pages_stop_a_read_beyond_them(end):
    import signal

    assert python(GUARDED, end).returncode == -signal.SIGSEGV


# --- machine code --------------------------------------------------------------------------------------------------

ASSEMBLY = """
    import json, sys
    from numba import types
    from fastmlp.kernels import gemm, simd

    i, v = types.int64, types.CPointer(getattr(types, sys.argv[1]))
    signature = i, i, i, v, i, i, v, i, i, v, i, v, i
    gemm.gemm.compile(signature)  # not run: this CPU may lack the instructions
    assembly = gemm.gemm.inspect_asm(signature)
    print(json.dumps({"bytes": simd.REGISTER_BYTES, "tile": gemm.MR * gemm.NV, "assembly": assembly}))
"""


def innermost_loops(assembly):
    """The instructions of each loop that has no other loop in it: from a label to the last jump back to it."""
    lines = [line.split("#")[0].strip() for line in assembly.splitlines()]
    labels = {line[:-1]: number for number, line in enumerate(lines) if line.endswith(":")}
    ends = {}
    for number, line in enumerate(lines):
        jump = re.match(r"j\w+\s+(\S+)$", line)
        if jump and labels.get(jump.group(1), number) < number:
            ends[labels[jump.group(1)]] = number
    spans = sorted(ends.items())
    inner = [(s, e) for s, e in spans if not any(s <= s2 and e2 <= e and (s, e) != (s2, e2) for s2, e2 in spans)]
    return [lines[start : end + 1] for start, end in inner]


def vectors_on_the_stack(loop, assembly):
    """Instructions of a loop that move a vector register to or from the stack."""
    framed = re.search(r"movq\s+%rsp, %rbp", assembly)  # if not, rbp is a register like any other
    frame = "%rsp|%rbp" if framed else "%rsp"
    return [line for line in loop if re.search(r"%[xyz]mm", line) and re.search(rf"\(({frame})[,)]", line)]


@pytest.mark.once
@pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="reads x86-64 assembly")
@pytest.mark.parametrize(
    ("cpu", "dtype"), [("host", "float32"), ("host", "float64"), ("haswell", "float32"), ("skylake-avx512", "float32")]
)
def test_tiles_stay_in_registers(cpu, dtype):
    """In each loop over k all accumulators are vector registers of full width, and none visits the stack."""
    if cpu == "skylake-avx512" and simd.REGISTER_BYTES == 64:
        pytest.skip("the CPU compiled for has 64-byte registers itself")
    if cpu == "host" and not host_has_fma():
        pytest.skip("the CPU compiled for has no fused multiply-add")
    result = python(ASSEMBLY, dtype, **({} if cpu == "host" else {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}))
    assert result.returncode == 0, result.stderr
    machine = json.loads(result.stdout)
    register = {64: "zmm", 32: "ymm", 16: "xmm"}[machine["bytes"]]
    suffix = {"float32": "ps", "float64": "pd"}[dtype]
    any_multiply_add = re.compile(r"vfn?m(add|sub)")
    multiply_add = re.compile(rf"vfmadd[123]+{suffix}\s.*%{register}")
    counts, strips = [], []
    for loop in innermost_loops(machine["assembly"]):
        counts.append(sum(bool(multiply_add.match(line)) for line in loop))
        assert counts[-1] == sum(bool(any_multiply_add.match(line)) for line in loop), "a register that is not full"
        if counts[-1] > 0:
            assert vectors_on_the_stack(loop, machine["assembly"]) == []
            moved = [line for line in loop if re.match(r"(add|sub|inc|dec|lea)[ql]\s", line)]
            assert len(moved) <= 4, "more than a row of B, one of the panel, an index and a count"
        strips.append(counts[-1] >= 8 * sum(line.startswith("vbroadcast") for line in loop) > 0)
    assert max(counts, default=0) >= machine["tile"], "no loop holds a whole tile's multiply-adds"
    assert any(strips), "no loop multiplies one number of a single row by eight registers of B"


def host_has_fma():
    if numba.config.CPU_NAME:  # the only one without among those that this suite is run for
        return numba.config.CPU_NAME != "x86-64"
    return llvm.get_host_cpu_features().get("fma", False)


LISTING = """
.outer:
    vbroadcastss (%rdx), %zmm28
.loop:
    vfmadd231ps %zmm25, %zmm28, %zmm22
    {}
    jne .loop
    jmp .outer
"""


@pytest.mark.parametrize(
    ("line", "spills"),
    [
        ("vmovups 64(%rsp), %zmm1", True),
        ("vmovaps %zmm1, -128(%rsp,%rax)", True),
        ("vfmadd231ps 192(%rsp), %zmm2, %zmm3", True),
        ("addq 208(%rsp), %rdx", False),
        ("vmovups (%rdi), %zmm27", False),
        ("vbroadcastss (%rbp,%rax), %zmm28", False),
    ],
)
def test_the_reader_of_assembly_tells_a_spill(line, spills):
    listing = LISTING.format(line)
    (loop,) = innermost_loops(listing)
    assert line in loop
    assert bool(vectors_on_the_stack(loop, listing)) == spills


def test_the_reader_of_assembly_knows_frame_pointers():
    listing = "movq %rsp, %rbp\n" + LISTING.format("vmovups %ymm1, -64(%rbp)")
    assert vectors_on_the_stack(innermost_loops(listing)[0], listing) == ["vmovups %ymm1, -64(%rbp)"]
