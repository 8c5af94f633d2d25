"""Explicit SIMD: pointwise kernels touch their spans and nothing else, and their building blocks agree with NumPy."""

import os
import platform
import subprocess
import sys
import textwrap

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastmlp.kernels import simd

FLOATS = [np.float32, np.float64]
CANARY = 77.0
MAX_LANES = simd.REGISTER_BYTES // 4


def lanes(dtype):
    return simd.REGISTER_BYTES // np.dtype(dtype).itemsize


def lengths(dtype):
    """Every tail of up to three registers, and one number more."""
    return range(3 * lanes(dtype) + 2)


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
_apply = simd.pointwise(TABLE, inputs=(0, 1, 2), outputs=(3, 4))
_apply_in_place = simd.pointwise(TABLE, inputs=(0, 1, 2), outputs=(0, 1))


@numba.njit
def apply(code, n, arrays, offsets):
    return _apply(code, n, arrays, offsets)


@numba.njit
def apply_in_place(code, n, arrays, offsets):
    return _apply_in_place(code, n, arrays, offsets)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("code", range(len(TABLE)), ids=[f.__name__ for f in TABLE])
def test_pointwise_writes_its_span_and_nothing_else(code, dtype):
    for n in lengths(dtype):
        offsets = (0, 3, 1, 5, 2)
        arrays = [numbers(n + 9, dtype, seed) for seed in range(3)] + [np.full(n + 9, CANARY, dtype) for _ in range(2)]
        before = [array.copy() for array in arrays]
        spans = [slice(offset, offset + n) for offset in offsets]
        outputs, flag = EXPECTED[TABLE[code]](*(array[span] for array, span in zip(before[:3], spans[:3], strict=True)))
        for output, array, span in zip(outputs, before[3:], spans[3:], strict=False):
            array[span] = output
        raised = apply(code, n, tuple(arrays), offsets)
        assert bool(raised) == flag, f"n = {n}"
        for array, expected in zip(arrays, before, strict=True):
            assert_array_equal(array, expected, err_msg=f"n = {n}")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("code", range(len(TABLE)), ids=[f.__name__ for f in TABLE])
def test_pointwise_in_place(code, dtype):
    for n in lengths(dtype):
        arrays = [numbers(n + 4, dtype, seed) for seed in range(3)]
        expected = [array.copy() for array in arrays]
        span = slice(2, 2 + n)
        outputs, flag = EXPECTED[TABLE[code]](*(array[span] for array in expected))
        for output, array in zip([o.copy() for o in outputs], expected, strict=False):
            array[span] = output
        assert bool(apply_in_place(code, n, tuple(arrays), (2, 2, 2))) == flag
        for array, wanted in zip(arrays, expected, strict=True):
            assert_array_equal(array, wanted, err_msg=f"n = {n}")


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_true_lane_anywhere_raises_the_flag_and_lanes_outside_do_not(dtype):
    code = TABLE.index(with_mask)
    for n in lengths(dtype):
        x = np.zeros(n + 2, dtype)
        x[[0, -1]] = 9  # next to the span, where the mask would be true
        arrays = x, np.ones(n + 2, dtype), x, np.empty(n + 2, dtype), x
        assert apply(code, n, arrays, (1, 1, 1, 1, 1)) == 0
        for at in range(1, n + 1):
            x[at] = 2
            assert apply(code, n, arrays, (1, 1, 1, 1, 1)) != 0, (n, at)
            x[at] = 0


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_code_beyond_the_table_does_nothing(dtype):
    arrays = tuple(numbers(5, dtype, seed) for seed in range(5))
    before = [array.copy() for array in arrays]
    if numba.config.DISABLE_JIT:
        with pytest.raises(IndexError):
            apply(len(TABLE), 5, arrays, (0, 0, 0, 0, 0))
    else:
        assert apply(len(TABLE), 5, arrays, (0, 0, 0, 0, 0)) == 0
    for array, expected in zip(arrays, before, strict=True):
        assert_array_equal(array, expected)


def axpy(h, x, y):
    return h[0] * x + h[1] * y


def scaled(h, x):
    return h[1] * x, x > h[0]


_with_scalars = simd.pointwise([axpy, scaled], inputs=(0, 1), outputs=(1,), n_scalars=2)


@numba.njit
def with_scalars(code, n, arrays, offsets):
    return _with_scalars(code, n, arrays, offsets)


@pytest.mark.parametrize("dtype", FLOATS)
def test_scalars_are_the_same_for_all_elements(dtype):
    h = np.array([9, 0.5, -2], dtype)  # used from position 1
    for n in lengths(dtype):
        x, y = numbers(n, dtype), np.rint(numbers(n, dtype, 1))
        out = np.concatenate([[CANARY], y, [CANARY]]).astype(dtype)
        assert with_scalars(0, n, (x, out, h), (0, 1, 1)) == 0
        expected = np.concatenate([[CANARY], 0.5 * x - 2 * y, [CANARY]]).astype(dtype)
        # contracting the multiply and the add changes no bit here: y is whole, so both products are exact
        assert_array_equal(out, expected)
        assert bool(with_scalars(1, n, (x, out, h), (0, 1, 1))) == (x > 0.5).any()
        assert_array_equal(out[1:-1], -2 * x)
    assert_array_equal(h, np.array([9, 0.5, -2], dtype))


# --- building blocks -----------------------------------------------------------------------------------------------

OPERATIONS = {
    "rint": lambda x, y: simd.rint(x),
    "pow2": lambda x, y: simd.pow2(simd.rint(x)),
    "sqrt": lambda x, y: simd.sqrt(x),
    "absolute": lambda x, y: simd.absolute(x),
    "mantissa": lambda x, y: simd.split(x)[0],
    "exponent": lambda x, y: simd.split(x)[1],
    "fma": lambda x, y: simd.fma(x, y, 0.5),
    "fma with two constants": lambda x, y: simd.fma(2.0, x, 0.5),
    "where with a constant first": lambda x, y: simd.where(x < y, 7.0, x),
    "where with a constant last": lambda x, y: simd.where(x >= y, x, 7.0),
    "reflected operators": lambda x, y: (1.0 - x) + (1.0 + y) + 2.0 * x + 1.0 / (y + 10.0),
    "negation": lambda x, y: -x,
    "division": lambda x, y: x / y,
    "precision": lambda x, y: simd.where(x < y, 64.0, 64.0 * y) if simd.is_float64(x) else simd.where(x < y, 32.0, y),
}
_operations = simd.pointwise(list(OPERATIONS.values()), inputs=(0, 1), outputs=(2,))


@numba.njit
def _operate(code, n, x, y, out):
    _operations(code, n, (x, y, out), (0, 0, 0))


def operate(name, x, y=None):
    out = np.empty_like(x)
    _operate(list(OPERATIONS).index(name), x.size, x, x if y is None else y, out)
    return out


@pytest.mark.parametrize("dtype", FLOATS)
def test_rint_rounds_to_even_in_its_range(dtype):
    limit = 2.0 ** (np.finfo(dtype).nmant - 1)
    x = np.concatenate([np.arange(-20, 21) / 2, numbers(1000, dtype) * 1000, [limit - 1, 1 - limit, limit - 0.5]])
    x = x.astype(dtype)
    assert_array_equal(operate("rint", x), np.rint(x))


@pytest.mark.parametrize("dtype", FLOATS)
def test_pow2_for_every_normal_exponent(dtype):
    info = np.finfo(dtype)
    k = np.arange(info.minexp, info.maxexp).astype(dtype)
    assert_array_equal(operate("pow2", k), np.ldexp(dtype(1), k.astype(int)))


@pytest.mark.parametrize("dtype", FLOATS)
def test_split_is_exact_and_balanced(dtype):
    info = np.finfo(dtype)
    rng = np.random.default_rng(0)
    exponents = np.repeat(np.arange(info.minexp, info.maxexp), 3)
    x = np.ldexp(rng.uniform(1, 2, exponents.size).astype(dtype), exponents)
    root = np.sqrt(dtype(0.5))
    below = np.nextafter(root, dtype(0))
    edges = [root, below, 2 * root, 2 * below, info.tiny, info.max, dtype(1)]
    x = np.concatenate([x, edges]).astype(dtype)
    m, e = operate("mantissa", x), operate("exponent", x)
    assert_array_equal(np.ldexp(m, e.astype(int)), x)
    assert (e == np.rint(e)).all()
    assert m.min() >= root
    assert m.max() < 2 * root


EXACT = {  # operations of one rounding: NumPy's bits
    "sqrt": (lambda x, y: np.sqrt(x), np.abs),
    "absolute": (lambda x, y: np.abs(x), None),
    "where with a constant first": (lambda x, y: np.where(x < y, 7, x), None),
    "where with a constant last": (lambda x, y: np.where(x >= y, x, 7), None),
    "negation": (lambda x, y: -x, None),
    "division": (lambda x, y: x / y, None),
    "fma with two constants": (lambda x, y: 2 * x + 0.5, None),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", EXACT)
def test_exact_operations(name, dtype):
    function, prepare = EXACT[name]
    x, y = numbers(500, dtype), numbers(500, dtype, 1)
    x[:6] = [0, -0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).smallest_subnormal]
    x = x if prepare is None else prepare(x)
    with np.errstate(invalid="ignore"):
        expected = function(x, y).astype(dtype)
    actual = operate(name, x, y)
    assert actual.dtype == dtype
    assert_array_equal(actual, expected)
    assert_array_equal(np.signbit(actual), np.signbit(expected))


@pytest.mark.parametrize("dtype", FLOATS)
def test_fma_and_reflected_operators_within_their_roundings(dtype):
    x, y = numbers(500, dtype), numbers(500, dtype, 1)
    wide = np.longdouble
    eps = np.finfo(dtype).eps
    error = np.abs(operate("fma", x, y) - (wide(x) * y + wide(0.5)))
    assert np.max(error / (np.abs(x * y) + 0.5)) <= eps  # at most two roundings, half a spacing each
    exact = (1 - wide(x)) + (1 + wide(y)) + 2 * wide(x) + 1 / (wide(y) + 10)
    assert np.max(np.abs(operate("reflected operators", x, y) - exact)) <= 8 * eps * 8


@pytest.mark.parametrize("dtype", FLOATS)
def test_functions_know_their_precision_while_compiling(dtype):
    x, y = numbers(50, dtype), numbers(50, dtype, 1)
    expected = np.where(x < y, 64, 64 * y) if dtype == np.float64 else np.where(x < y, 32, y)
    assert_array_equal(operate("precision", x, y), expected.astype(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
def test_comparisons_with_nan_are_false(dtype):
    x = np.full(5, np.nan, dtype)
    assert_array_equal(operate("where with a constant first", x, np.zeros(5, dtype)), x)
    assert_array_equal(operate("where with a constant last", x, np.zeros(5, dtype)), np.full(5, 7, dtype))


# --- the host ------------------------------------------------------------------------------------------------------


def test_the_register_probe_is_one_of_the_known_machines():
    assert (simd.REGISTER_BYTES, simd.REGISTERS) in {(64, 32), (32, 16), (16, 16), (16, 32)}


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [("skylake-avx512", (64, 32)), ("haswell", (32, 16)), ("x86-64", (16, 16)), ("nehalem", (16, 16))],
)
def test_a_named_cpu_counts_with_its_own_registers(cpu, expected, monkeypatch):
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        pytest.skip("LLVM compiles for this process's architecture, which is not x86-64")
    monkeypatch.setattr(numba.config, "CPU_NAME", cpu)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", "")
    assert simd._probe_registers() == expected


BOUNDS = """
    import numba, numpy as np
    from fastmlp.kernels import gemm, simd, transpose

    one = simd.pointwise([lambda x: x + 1.0, lambda x, y: (x, y)], inputs=(0, 1), outputs=(2, 3))

    @numba.njit
    def pointwise(code, n, arrays, offsets):
        return one(code, n, arrays, offsets)

    @numba.njit
    def product(m, n, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc):
        gemm.gemm(m, n, k, a, ao, sai, sak, b, bo, ldb, s, so, lds, c, co, ldc)

    @numba.njit
    def transposed(first, last, fan_in, fan_out, w, wo, t, to):
        transpose.transpose(first, last, fan_in, fan_out, w, wo, t, to)

    def vector(n):  # what reaches outside it hits numbers that nobody needs
        return np.zeros(n + 64)[32 : 32 + n]

    v = vector(6)
    wide = vector(600)
    def matrices(ao=0, bo=0, so=0, co=0):  # 2 x 3 times 3 x 2, in vectors that they just fill
        return 2, 2, 3, v, ao, 3, 1, v, bo, 2, vector(4), so, 2, vector(4), co, 2

    inside = [
        ("pointwise", pointwise, (0, 6, (v, v, v, v), (0, 9, 0, 9))),  # arrays that the function does not use
        ("pointwise, both inputs", pointwise, (1, 5, (v, v, v, v), (1, 0, 1, 0))),
        ("pointwise, nothing", pointwise, (1, 0, (v, v, v, v), (99, -99, 99, 99))),
        ("gemm", product, matrices()),
        ("gemm, nothing", product, (0, 2, 3, v, 99, 3, 1, v, 0, 2, v, 99, 2, v, 99, 2)),
        ("transpose", transposed, (0, 2, 2, 3, v, 0, vector(6), 0)),
    ]
    outside = [
        ("input, end", pointwise, (0, 6, (v, v, v, v), (1, 0, 0, 0))),
        ("input, start", pointwise, (0, 3, (v, v, v, v), (-1, 0, 0, 0))),
        ("second input", pointwise, (1, 6, (v, v, v, v), (0, 1, 0, 0))),
        ("output, end", pointwise, (0, 6, (v, v, v, v), (0, 0, 1, 0))),
        ("output, start", pointwise, (0, 3, (v, v, v, v), (0, 0, -1, 0))),
        ("second output", pointwise, (1, 6, (v, v, v, v), (0, 0, 0, 1))),
        *((f"gemm {o} {at}", product, matrices(**{o: at})) for o in ("ao", "bo", "so", "co") for at in (-1, 1)),
        ("transpose from, end", transposed, (0, 2, 2, 3, v, 1, wide, 0)),
        ("transpose from, start", transposed, (0, 2, 2, 3, wide, -1, v, 0)),
        ("transpose to, end", transposed, (0, 2, 2, 3, wide, 0, v, 1)),
        ("transpose to, start", transposed, (0, 2, 2, 3, v, 0, wide, -1)),
        ("transpose more rows than there are", transposed, (0, 3, 2, 3, v, 0, vector(6), 0)),
    ]
    for name, function, arguments in inside:
        function(*arguments)
    for name, function, arguments in outside:
        try:
            function(*arguments)
        except IndexError:
            continue
        print("no IndexError:", name)
"""


def test_bounds_are_checked_on_request():
    """Under NUMBA_BOUNDSCHECK=1 no kernel primitive accepts a span outside its array, nor refuses one inside."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    environment["NUMBA_BOUNDSCHECK"] = "1"
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(BOUNDS)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
