"""Explicit SIMD: the building blocks of pointwise functions agree with NumPy, and spans keep to their arrays."""

import os
import platform
import subprocess
import sys
import textwrap

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastmlp.kernels import simd, spans
from fastmlp.kernels.pointwise import pointwise
from fastmlp.kernels.spans import advance, span

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
    "quotient": simd.quotient,
    "precision": lambda x, y: simd.where(x < y, 64.0, 64.0 * y) if simd.is_float64(x) else simd.where(x < y, 32.0, y),
}
_operations = pointwise(list(OPERATIONS.values()), inputs=(0, 1), outputs=(2,))


@numba.njit
def _operate(code, n, x, y, out):
    _operations(code, 1, n, n, (span(x, 0, n), span(y, 0, n), span(out, 0, n)))


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
def test_quotients_are_good_to_the_last_bits(dtype):
    """Of numbers of every size, down to where a quotient is subnormal; the divisor is normal, as an optimiser's is."""
    rng, least, most = np.random.default_rng(0), *np.log2([np.finfo(dtype).tiny, np.finfo(dtype).max])
    n = 400_000
    b = np.exp2(rng.uniform(least, most - 2, n)).astype(dtype)
    exact = np.exp2(rng.uniform(least, most - 1, n)) * rng.choice([-1, 1], n)
    with np.errstate(over="ignore", under="ignore"):
        a = (exact * b).astype(dtype)
    fit = (np.abs(a) >= np.finfo(dtype).tiny) & np.isfinite(a)
    a, b = a[fit], b[fit]
    assert len(a) > n / 4
    true = a.astype(np.longdouble) / b
    unit = np.spacing(np.abs(true).astype(dtype)).astype(np.longdouble)
    error = np.abs(operate("quotient", a, b) - true) / unit
    assert error.max() <= 1.5
    for a, b in ((0.0, 1.0), (-0.0, 1.0), (np.inf, 2.0), (-np.inf, 2.0), (np.nan, 2.0), (1.0, np.nan)):
        given = np.full(3, a, dtype), np.full(3, b, dtype)
        assert_array_equal(operate("quotient", *given), given[0] / given[1])


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


# --- places in memory ----------------------------------------------------------------------------------------------


@numba.njit
def _copy(n, x, first, advanced, out):
    place = advance(span(x, first, n), advanced)
    for i in range(n - advanced):
        out[i] = place[i]
    place[0] = 99
    return spans.lanes(place)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_span_is_a_place_in_its_array(dtype):
    x, out = np.arange(20, dtype=dtype), np.zeros(5, dtype)
    assert _copy(7, x, 3, 2, out) == lanes(dtype)
    assert_array_equal(out, [5, 6, 7, 8, 9])
    assert_array_equal(np.flatnonzero(x != np.arange(20)), [5])
    matrix = np.arange(20, dtype=dtype).reshape(4, 5)  # the same, row after row
    _copy(7, matrix, 3, 2, out)
    assert_array_equal(out, [5, 6, 7, 8, 9])
    assert_array_equal(np.argwhere(matrix != np.arange(20).reshape(4, 5)), [[1, 0]])


BOUNDS = """
    import numba, numpy as np
    from fastmlp.kernels.spans import span

    @numba.njit
    def touch(array, offset, size):
        span(array, offset, size)

    for array in (np.zeros(6), np.zeros(6, np.float32), np.zeros(20, np.float32)[7:13], np.zeros((2, 3))):
        for offset in range(-3, 10):
            for size in range(-1, 9):
                inside = size <= 0 or (offset >= 0 and offset + size <= 6)
                try:
                    touch(array, offset, size)
                except IndexError:
                    accepted = False
                else:
                    accepted = True
                if accepted != inside:
                    print(array.dtype, offset, size, accepted)
"""


def run(code, **environment):
    """What `code` prints in a new Python."""
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    result = subprocess.run(command, env=inherited | environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.once
@pytest.mark.parametrize("how", ["NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT"])
def test_bounds_are_checked_on_request(how):
    """No span outside its array is accepted, and none inside is refused."""
    assert run(BOUNDS, **{how: "1"}) == ""


@pytest.mark.once
def test_bounds_are_not_checked_unasked():
    assert "-3 8 True" in run(BOUNDS, NUMBA_BOUNDSCHECK="0")


SHORT = """
    import inspect
    import numpy as np
    from fastmlp import MLP
    from fastmlp._trainer import Trainer
    from fastmlp.kernels import backprop, training
    from fastmlp.kernels.batch import Samples
    from fastmlp.kernels.network import Net
    from fastmlp.kernels.updates import OptimizerState

    calls = {}
    fields = {"samples": Samples, "network": Net, "state": OptimizerState, "choices": training.Choices}  # of the tuples

    def copied(name, argument):
        if isinstance(argument, tuple):
            return fields[name](*(copied(None, x) for x in argument))
        return argument.copy() if isinstance(argument, np.ndarray) else argument

    def recorded(module, name):
        kernel, names = getattr(module, name), list(inspect.signature(getattr(module, name)).parameters)

        def call(*arguments):
            call_of = dict(zip(names, map(copied, names, arguments), strict=True))
            if "y" not in call_of or call_of["y"].size > 0:
                calls[name, name == "train" and in_parts] = kernel, call_of
            return kernel(*arguments)

        setattr(module, name, call)

    for name in ("infer", "total_loss", "backward"):
        recorded(backprop, name)
    for name in ("train", "apply_update"):
        recorded(training, name)
    X, y = np.random.default_rng(0).random((16, 3)), np.eye(2)[np.arange(16) % 2]
    mlp = MLP([3, 5, 1, 4, 2], "gelu", "softmax", optimizer="adam", random_state=0, alpha=0.1)
    in_parts = True
    mlp.fit(X, y, epochs=1, batch_size=8)
    Trainer._part_rows, in_parts = lambda *_: 0, False
    mlp.fit(X, y, epochs=1, batch_size=8)
    mlp.update_parameters(*mlp.backward(X, y, mlp.forward(X), return_input_gradient=True)[:2])
    mlp.loss_and_gradients(X, y)

    trained = [
        "samples.x", "network.params", "network.ws", "state.grads", "state.slots", "state.constants", "losses",
    ]
    short = {
        ("infer", False): ["params"], ("total_loss", False): ["params", "ws"],
        ("backward", False): ["params", "ws", "grads"],
        ("apply_update", False): ["params", "grads", "slots", "constants"],
        ("train", False): trained, ("train", True): [*trained, "part_losses"],
    }
    assert set(short) == set(calls)
    for kernel_name, names in short.items():
        kernel, call_of = calls[kernel_name]
        kernel(*(copied(n, argument) for n, argument in call_of.items()))
        for name in names:
            arguments = {n: copied(n, argument) for n, argument in call_of.items()}
            argument, _, field = name.partition(".")
            array = getattr(arguments[argument], field) if field else arguments[argument]
            array = array[: -16 if name.endswith("ws") else -1]  # blocks of a workspace are rounded up to 16 numbers
            arguments[argument] = arguments[argument]._replace(**{field: array}) if field else array
            try:
                kernel(*arguments.values())
            except IndexError:
                continue
            print("no IndexError:", kernel_name, name)
"""


def test_kernels_ask_for_all_that_they_touch():
    """A vector that is one number short is noticed where bounds are checked: sizes of spans are those that are used."""
    assert run(SHORT, NUMBA_DISABLE_JIT="1") == ""
