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
from itertools import pairwise, product

import numba
import numpy as np
import pytest
from llvmlite import binding as llvm
from numpy.testing import assert_array_equal

from fastmlp.kernels import JIT, dense, gemm, simd, transpose

FLOATS = [np.float32, np.float64]
CANARY = 77.0
MR, KC = gemm.MR, gemm.KC


@numba.njit
def run_gemm(m, n, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc):
    gemm.gemm(m, n, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc)


@numba.njit
def run_transpose(first, last, fan_in, fan_out, w, wo, t, to):
    transpose.transpose(first, last, fan_in, fan_out, w, wo, t, to)


def lanes(dtype):
    return simd.REGISTER_BYTES // np.dtype(dtype).itemsize


def edges(dtype):
    """(rows, columns, depths) on both sides of every boundary of the tiling."""
    w = lanes(dtype)
    nr = gemm.NV * w
    rows = [0, 1, 3, MR - 1, MR, MR + 1, 2 * MR + 3]
    columns = sorted({0, 1, w - 1, w, w + 1, 2 * w - 1, 2 * w, 2 * w + 1, nr - 1, nr, nr + 1, 2 * nr + 5})
    return rows, columns, [0, 1, 2, 17, KC - 1, KC, KC + 1, 784]


def whole(rng, *shape):
    return rng.integers(-4, 5, shape)


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


def multiply(a, b, s, dtype, *, a_transposed=False, one_row=False):
    """C = S + A @ B by the kernel, after a check that nothing but C was written."""
    m, k, n = a.shape[0], a.shape[1], b.shape[1]
    pa = Placed(a.T if a_transposed else a, dtype, offset=1, gap=2)
    pb, ps = Placed(b, dtype, offset=2, gap=1), Placed(s, dtype, offset=4, gap=3)
    pc = Placed(np.full((m, n), CANARY), dtype, offset=5, gap=2)
    strides = (1, pa.pitch) if a_transposed else (pa.pitch, 1)
    inputs = [placed.vector.copy() for placed in (pa, pb, ps)]
    lds = 0 if one_row else ps.pitch
    run_gemm(
        m, n, k, pa.vector, pa.offset, *strides, pb.vector, pb.offset, pb.pitch,
        ps.vector, ps.offset, lds, pc.vector, pc.offset, pc.pitch,
    )  # fmt: skip
    for placed, before in zip((pa, pb, ps), inputs, strict=True):
        assert_array_equal(placed.vector, before)
    result = pc.view.copy()
    pc.view[...] = CANARY
    assert (pc.vector == CANARY).all()
    return result


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("a_transposed", [False, True], ids=["rows of A", "columns of A"])
@pytest.mark.parametrize("one_row", [False, True], ids=["S a matrix", "S one row"])
def test_gemm_at_every_edge_of_the_tiling(one_row, a_transposed, dtype):
    rng = np.random.default_rng(0)
    for m, n, k in product(*edges(dtype)):
        a, b, s = whole(rng, m, k), whole(rng, k, n), whole(rng, 1 if one_row else m, n)
        result = multiply(a, b, s, dtype, a_transposed=a_transposed, one_row=one_row)
        assert_array_equal(result, s + a @ b, err_msg=f"m, n, k = {m, n, k}")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 784), (5, 7, 300), (64, 50, 1000), (130, 101, 513)])
def test_gemm_on_real_numbers(m, n, k, dtype):
    rng = np.random.default_rng(1)
    a, b, s = (rng.standard_normal(shape).astype(dtype) for shape in [(m, k), (k, n), (m, n)])
    wide = s + a.astype(np.longdouble) @ b
    # k + 1 roundings, each at most half an eps of the sum of the magnitudes
    bound = (k + 1) / 2 * np.finfo(dtype).eps * (np.abs(s) + np.abs(a).astype(np.float64) @ np.abs(b))
    assert (np.abs(multiply(a, b, s, dtype) - wide) <= bound).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_gemm_accumulates_where_s_is_c(dtype):
    rng = np.random.default_rng(2)
    for m, n, k in [(1, 1, 0), (MR + 1, lanes(dtype) + 1, KC + 1), (3, 2 * gemm.NV * lanes(dtype) + 1, 2 * KC)]:
        a, b, c = whole(rng, m, k), whole(rng, k, n), Placed(whole(rng, m, n), dtype, gap=2)
        expected = c.view + a @ b
        va, vb = a.ravel().astype(dtype), b.ravel().astype(dtype)
        run_gemm(m, n, k, va, 0, k, 1, vb, 0, n, c.vector, c.offset, c.pitch, c.vector, c.offset, c.pitch)
        assert_array_equal(c.view, expected)
        c.view[...] = CANARY
        assert (c.vector == CANARY).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_in_one_row_stays_there(dtype):
    a, b, s = np.ones((MR + 3, 5)), np.ones((5, 9)), np.zeros((MR + 3, 9))
    a[MR - 1, 2], b[3, 4] = np.nan, np.inf
    expected = np.full((MR + 3, 9), 5.0)
    expected[:, 4], expected[MR - 1] = np.inf, np.nan
    assert_array_equal(multiply(a, b, s, dtype), expected)


@pytest.mark.skipif(not JIT, reason="NumPy's product, the plain fallback, chooses its order of summation by the shape")
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_same_bits_however_the_product_is_divided(dtype):
    rng = np.random.default_rng(3)
    m, n, k = 3 * MR + 2, 2 * gemm.NV * lanes(dtype) + 3, KC + 40
    a, b, s = (rng.standard_normal(shape).astype(dtype) for shape in [(m, k), (k, n), (m, n)])
    undivided = multiply(a, b, s, dtype)
    assert_array_equal(multiply(a, b, s, dtype, a_transposed=True), undivided)
    for cut in (1, MR - 1, MR, MR + 1, m - 1):
        parts = [multiply(a[rows], b, s[rows], dtype) for rows in (slice(cut), slice(cut, m))]
        assert_array_equal(np.concatenate(parts), undivided)
    for cut in (1, lanes(dtype) - 1, lanes(dtype), n - 1):
        parts = [multiply(a, b[:, columns], s[:, columns], dtype) for columns in (slice(cut), slice(cut, n))]
        assert_array_equal(np.concatenate(parts, axis=1), undivided)
    for cut in (0, 1, KC // 2, KC, k):  # one chain of multiply-adds over k, wherever it is interrupted
        start = multiply(a[:, :cut], b[:cut], s, dtype)
        assert_array_equal(multiply(a[:, cut:], b[cut:], start, dtype), undivided)


# --- the products of a dense layer ---------------------------------------------------------------------------------


@numba.njit
def run_dense(rows, fan_in, fan_out, x, xo, params, wo, bo, z, zo):
    dense.dense(rows, fan_in, fan_out, x, xo, params, wo, bo, z, zo)


@numba.njit
def run_input_gradient(rows, fan_in, fan_out, delta, do, transposed, to, ws, zero, dx, dxo):
    dense.dense_input_gradient(rows, fan_in, fan_out, delta, do, transposed, to, ws, zero, dx, dxo)


@numba.njit
def run_weight_gradient(first, last, rows, fan_in, fan_out, x, xo, delta, do, ws, zero, grads, wo):
    dense.dense_weight_gradient(first, last, rows, fan_in, fan_out, x, xo, delta, do, ws, zero, grads, wo)


@numba.njit
def run_bias_gradient(rows, fan_out, delta, do, ws, zero, one, grads, bo):
    dense.dense_bias_gradient(rows, fan_out, delta, do, ws, zero, one, grads, bo)


LAYERS = [(1, 1, 1), (1, 784, 3), (7, 5, 1), (33, 3, 50), (MR, 16, 32), (MR + 1, 17, 33), (300, 20, 10), (5, 100, 257)]


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

    vx, vdelta, vt = Placed(x, dtype), Placed(delta, dtype), Placed(w.T, dtype)
    params = np.concatenate([w.ravel(), b.ravel()]).astype(dtype)
    ws = np.concatenate([[CANARY, 1], np.zeros(max(fan_in, fan_out)), [CANARY]]).astype(dtype)  # a 1, then zeros

    z = out((rows, fan_out))
    run_dense(rows, fan_in, fan_out, vx.vector, vx.offset, params, 0, w.size, z.vector, z.offset)
    check(z, x @ w + b)

    dx = out((rows, fan_in))
    arguments = vdelta.vector, vdelta.offset, vt.vector, vt.offset, ws, 2, dx.vector, dx.offset
    run_input_gradient(rows, fan_in, fan_out, *arguments)
    check(dx, delta @ w.T)

    for first, last in {(0, fan_in), (fan_in // 2, fan_in), (0, fan_in // 2)}:
        dw = out((fan_in, fan_out))
        arguments = vx.vector, vx.offset, vdelta.vector, vdelta.offset, ws, 2, dw.vector, dw.offset
        run_weight_gradient(first, last, rows, fan_in, fan_out, *arguments)
        expected = np.full((fan_in, fan_out), CANARY)
        expected[first:last] = (x.T @ delta)[first:last]
        check(dw, expected)

    db = out((1, fan_out))
    run_bias_gradient(rows, fan_out, vdelta.vector, vdelta.offset, ws, 2, 1, db.vector, db.offset)
    check(db, delta.sum(axis=0, keepdims=True))


@pytest.mark.parametrize("dtype", FLOATS)
def test_transpose_of_every_shape_in_parts(dtype):
    rng = np.random.default_rng(5)
    w = lanes(dtype)
    sizes = [1, 2, 3, w - 1, w, w + 1, 2 * w + 1, 5 * w]
    for fan_in, fan_out in product(sizes, sizes):
        source = Placed(rng.standard_normal((fan_in, fan_out)), dtype, offset=2)
        target = Placed(np.full((fan_out, fan_in), CANARY), dtype, offset=5)
        before = source.vector.copy()
        cuts = sorted({0, fan_in // 3, fan_in // 2, fan_in})
        for number, (first, last) in enumerate(pairwise(cuts), 1):
            run_transpose(first, last, fan_in, fan_out, source.vector, 2, target.vector, 5)
            expected = np.full((fan_out, fan_in), CANARY, dtype)
            expected[:, :last] = source.view.T[:, :last]
            assert_array_equal(target.view, expected, err_msg=f"{fan_in, fan_out}, part {number}")
        target.view[...] = CANARY
        assert (target.vector == CANARY).all()
        assert_array_equal(source.vector, before)


# --- memory --------------------------------------------------------------------------------------------------------

GUARDED = """
    import ctypes, mmap, sys
    from itertools import pairwise, product
    import numba, numpy as np
    from fastmlp.kernels import activations, gemm, simd, transpose

    PAGE, PROT_NONE = mmap.PAGESIZE, 0
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
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
    def run_gemm(m, n, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc):
        gemm.gemm(m, n, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc)

    @numba.njit
    def run_transpose(first, last, fan_in, fan_out, w, wo, t, to):
        transpose.transpose(first, last, fan_in, fan_out, w, wo, t, to)

    @numba.njit
    def run_copy(n, source, target):
        activations.copy(0, n, (source, target), (0, 0))

    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        w = simd.REGISTER_BYTES // np.dtype(dtype).itemsize
        for end in (True, False):
            def put(matrix):
                vector = guarded(matrix.size, dtype, end)
                vector[:] = matrix.ravel()
                return vector

            columns = (1, w - 1, w, w + 1, 2 * w, gemm.NV * w - 1, gemm.NV * w + 1)
            for m, n, k in product((1, gemm.MR - 1, gemm.MR, gemm.MR + 1), columns, (1, 7, gemm.KC + 1)):
                a, b, s = (rng.integers(-4, 5, shape) for shape in ((m, k), (k, n), (1, n)))
                vb, vs, vc = put(b), put(s), put(np.zeros((m, n)))
                for va, strides in ((put(a), (k, 1)), (put(a.T), (1, m))):
                    run_gemm(m, n, k, va, 0, *strides, vb, 0, n, vs, 0, 0, vc, 0, n)
                    assert (vc.reshape(m, n) == s + a @ b).all(), (m, n, k)
            for rows, cols in product((1, w - 1, w, w + 1, 2 * w + 1), repeat=2):
                matrix = rng.standard_normal((rows, cols)).astype(dtype)
                source, target = put(matrix), put(np.zeros((cols, rows)))
                run_transpose(0, rows, rows, cols, source, 0, target, 0)
                assert (target.reshape(cols, rows) == matrix.T).all()
            for n in range(1, 3 * w + 2):
                source, target = put(np.arange(n)), put(np.zeros(n))
                run_copy(n, source, target)
                assert (source == target).all()
        kept.clear()
"""


def python(code, *arguments, **environment):
    """`code` in a new Python with the compiler on."""
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True)


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="mprotect and its signal are those of Linux")


@linux_only
def test_nothing_outside_the_operands_is_read_or_written():
    result = python(GUARDED)
    assert result.returncode == 0, result.stderr


@linux_only
@pytest.mark.parametrize("end", ["start", "end"])
def test_the_guard_pages_stop_a_read_beyond_them(end):
    import signal

    assert python(GUARDED, end).returncode == -signal.SIGSEGV


# --- machine code --------------------------------------------------------------------------------------------------

ASSEMBLY = """
    import json, sys
    import numba
    from numba import types
    from fastmlp.kernels import gemm, simd

    @numba.njit
    def run_gemm(m, n, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc):
        gemm.gemm(m, n, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc)

    i, v = types.int64, types.Array(getattr(types, sys.argv[1]), 1, "C")
    run_gemm.compile((i, i, i, v, i, i, i, v, i, i, v, i, i, v, i, i))  # not run: this CPU may lack the instructions
    (signature,) = gemm.gemm.signatures
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


@pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="reads x86-64 assembly")
@pytest.mark.parametrize(
    ("cpu", "dtype"), [("host", "float32"), ("host", "float64"), ("haswell", "float32"), ("skylake-avx512", "float32")]
)
def test_the_tile_stays_in_registers(cpu, dtype):
    """In the loop over k all accumulators are vector registers of full width, and none visits the stack."""
    if cpu == "skylake-avx512" and simd.REGISTER_BYTES == 64:
        pytest.skip("the CPU compiled for has 64-byte registers itself")
    if cpu == "host" and not host_has_fma():
        pytest.skip("the CPU compiled for has no fused multiply-add")
    result = python(ASSEMBLY, dtype, **({} if cpu == "host" else {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}))
    assert result.returncode == 0, result.stderr
    machine = json.loads(result.stdout)
    register = {64: "zmm", 32: "ymm", 16: "xmm"}[machine["bytes"]]
    suffix = {"float32": "ps", "float64": "pd"}[dtype]
    multiply_add = re.compile(rf"vfmadd[123]+{suffix}\s.*%{register}")
    loops = innermost_loops(machine["assembly"])
    counts = [sum(bool(multiply_add.match(line)) for line in loop) for loop in loops]
    busy = [loop for loop, count in zip(loops, counts, strict=True) if count >= 8]
    assert max(counts, default=0) >= machine["tile"], "no loop holds a whole tile's multiply-adds"
    for loop in busy:
        assert vectors_on_the_stack(loop, machine["assembly"]) == []


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
