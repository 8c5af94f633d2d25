"""Elementary functions: distances to the exact value in units in the last place, and special values.

The exact value of a float32 argument is computed in float64 by NumPy and SciPy, that of a float64 argument in extended
precision (where the platform has one), by libraries that share nothing with the kernels.
"""

import numba
import numpy as np
import pytest
import scipy.special
from numpy.testing import assert_array_equal

from fastmlp.kernels import JIT, elementary, simd
from fastmlp.kernels.pointwise import pointwise
from fastmlp.kernels.spans import span

# The bound in ULP for each function; normal_cdf's depends on where, see `cdf_bound`.
BOUNDS = {"exp": 2, "tanh": 2, "sigmoid": 3, "softplus": 3, "log": 3, "log1p": 3, "expm1": 3, "normal_cdf": 8}
NAMES = list(BOUNDS)
FLOATS = [np.float32, np.float64]
EXTENDED = np.finfo(np.longdouble).nmant >= 63
NEEDS_EXTENDED = pytest.mark.skipif(not EXTENDED, reason="np.longdouble is no wider than float64 on this platform")
PRECISION = [np.float32, pytest.param(np.float64, marks=NEEDS_EXTENDED)]

_map = pointwise([getattr(elementary, name) for name in NAMES], inputs=(0,), outputs=(1,))


@numba.njit(error_model="numpy")
def _evaluate(code, x, out):
    n = x.size
    _map(code, 1, n, n, (span(x, 0, n), span(out, 0, n)))


def evaluate(name, x):
    """The kernel's values at the numbers of `x`."""
    out = np.empty_like(x)
    _evaluate(NAMES.index(name), x, out)
    return out


def fma_is_fused():
    """Whether the CPU that is compiled for rounds a multiply-add once: then a * a minus the rounded a * a is not 0."""
    product = pointwise([lambda a: simd.fma(a, a, -(a * a))], inputs=(0,), outputs=(1,))

    @numba.njit
    def run(x, out):
        product(0, 1, 1, 1, (span(x, 0, 1), span(out, 0, 1)))

    x = np.full(1, 1 + np.finfo(np.float64).eps)
    run(x, x)
    return x[0] != 0


# --- exact values --------------------------------------------------------------------------------------------------


def exact_normal_cdf(x):
    """Phi in the precision of `x`, for extended precision: SciPy has none.

    The series ``1/2 + phi(x) (x + x**3/3 + x**5/15 + ...)`` near 0, the continued fraction
    ``Phi(-a) = phi(a) / (a + 1/(a + 2/(a + 3/(a + ...))))`` elsewhere; in phi the square is split so that its first
    part is exact.
    """
    a = np.minimum(np.abs(x), 40)
    high = a.astype(np.float32).astype(a.dtype)
    root_two_pi = np.sqrt(8 * np.arctan(a.dtype.type(1)))
    density = np.exp(-high * high / 2) * np.exp(-(a - high) * (a + high) / 2) / root_two_pi
    term, total = a.copy(), a.copy()
    for k in range(3, 99, 2):
        term = term * a * a / k
        total += term
    fraction = a + 30  # any start will do: what follows forgets it
    for k in range(700, 0, -1):
        fraction = a + k / np.maximum(fraction, 1e-3)
    lower = np.where(a < 1, a.dtype.type(0.5) - density * total, density / np.maximum(fraction, 1e-3))
    return np.where(x > 0, 1 - lower, lower)


def exact_sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


ORACLES = {
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": exact_sigmoid,
    "softplus": lambda x: np.logaddexp(x.dtype.type(0), x),
    "log": np.log,
    "log1p": np.log1p,
    "expm1": np.expm1,
}


def exact(name, x):
    """The function's value at each float32 (float64) number of `x`, correct to many more digits than that."""
    with np.errstate(all="ignore"):
        wide = x.astype(np.longdouble if x.dtype == np.float64 else np.float64)
        if name == "normal_cdf":
            return scipy.special.ndtr(wide) if x.dtype == np.float32 else exact_normal_cdf(wide)
        return ORACLES[name](wide)


# --- distances -----------------------------------------------------------------------------------------------------


def ulp_distance(actual, expected):
    """|actual - expected| in spacings of actual's type at `expected`, which is of a wider type.

    NaN for NaN is 0, NaN for a number or the reverse infinite. Infinity counts as the number that would follow the
    largest one.
    """
    info, wide = np.finfo(actual.dtype), expected.dtype.type
    beyond = wide(info.max) + wide(info.max) * wide(info.epsneg)  # exactly 2**maxexp

    def finite(values):
        with np.errstate(invalid="ignore"):
            return np.clip(values.astype(wide), -beyond, beyond)

    _, exponent = np.frexp(np.where(np.isfinite(expected), expected, 1))
    exponent = np.clip(exponent, info.minexp + 1, info.maxexp)
    spacing = np.ldexp(wide(1), exponent - info.nmant - 1)
    with np.errstate(invalid="ignore"):
        distance = np.abs(finite(actual) - finite(expected)) / spacing
    nan = np.isnan(actual) | np.isnan(expected)
    return np.where(nan, np.where(np.isnan(actual) == np.isnan(expected), 0, np.inf), distance)


def worst(name, x):
    """(largest distance in ULP, the argument where it is)"""
    distance = ulp_distance(evaluate(name, x), exact(name, x))
    at = np.argmax(distance)
    return float(distance[at]), x[at]


def sample(dtype):
    """Numbers of every exponent and both signs: bit patterns a prime number apart (float32), 120 of each (float64).

    Added are the neighbourhoods of the points where formulas change.
    """
    if dtype == np.float32:
        bits = np.arange(0, 2**32, 4093, dtype=np.uint64).astype(np.uint32)
        numbers = bits.view(np.float32)
    else:
        rng = np.random.default_rng(0)
        exponents = np.repeat(np.arange(2048, dtype=np.uint64), 120)
        mantissas = rng.integers(0, 2**52, exponents.size, dtype=np.uint64)
        signs = rng.integers(0, 2, exponents.size, dtype=np.uint64)
        numbers = (signs << np.uint64(63) | exponents << np.uint64(52) | mantissas).view(np.float64)
    rng = np.random.default_rng(1)
    centres = [0.3466, 0.5, 0.5545, 0.6931, 1.0, 5.0, 8.0, 9.02, 14.5, 19.1, 20.0, 38.5, 39.0]
    centres += [87.336, 88.7228, 103.28, 104.0, 708.396, 709.7827, 745.13, 746.0]
    near = np.outer(np.concatenate([centres, np.negative(centres)]), 1 + rng.uniform(-1e-2, 1e-2, 500)).ravel()
    ordinary = rng.uniform(-40, 40, 20_000)  # where most arguments of a network lie
    return np.concatenate([numbers, near.astype(dtype), ordinary.astype(dtype)])


def cdf_bound(x, fused):
    """The bound of normal_cdf's docstring, in ULP."""
    if fused:
        return np.full(x.shape, 8.0)
    if x.dtype == np.float32:
        return np.where(x >= -5, 10.0, 70.0)
    return np.where(x >= -8, 4e-15 / 2.0**-53, np.inf)


# --- tests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "normal_cdf"])
def test_ulp_bound(name, dtype):
    distance, where = worst(name, sample(dtype))
    assert distance <= BOUNDS[name], f"{name}({where!r}) is {distance:.2f} ULP off"


@pytest.mark.parametrize("dtype", PRECISION)
def test_normal_cdf_keeps_its_documented_bound(dtype):
    x = sample(dtype)
    x = np.concatenate([x[np.abs(x) < 40][::7], np.linspace(-39, 9, 20_000).astype(dtype)])
    distance = ulp_distance(evaluate("normal_cdf", x), exact("normal_cdf", x))
    ratio = distance / cdf_bound(x, fma_is_fused())
    at = np.argmax(ratio)
    assert ratio[at] <= 1, f"normal_cdf({x[at]!r}) is {distance[at]:.2f} ULP off"


@pytest.mark.slow
@pytest.mark.skipif(not JIT, reason="four billion arguments want compiled code")
@pytest.mark.parametrize("name", ["exp", "tanh"])
def test_ulp_bound_for_every_float32(name):
    for first in range(0, 2**32, 2**24):
        x = np.arange(first, first + 2**24, dtype=np.uint64).astype(np.uint32).view(np.float32)
        distance, where = worst(name, x)
        assert distance <= BOUNDS[name], f"{name}({where!r}) is {distance:.2f} ULP off"


INF, NAN = np.inf, np.nan
SPECIAL = {  # pairs of argument and value, exactly, signs of zeros included
    "exp": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, 0.0), (1e4, INF), (-1e4, 0.0)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e4, 1), (-1e4, -1)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0.0), (1e4, 1), (-1e4, 0.0)],
    "softplus": [(INF, INF), (-INF, 0.0), (1e4, 1e4), (-1e4, 0.0)],
    "log": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN), (-INF, NAN)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1), (1e4, INF), (-1e4, -1)],
    "normal_cdf": [(0.0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0.0), (1e4, 1), (-1e4, 0.0)],
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", NAMES)
def test_special_values(name, dtype):
    x, expected = np.array([*SPECIAL[name], (NAN, NAN)], dtype).T.copy()
    actual = evaluate(name, x)
    assert_array_equal(actual, expected)
    numbers = ~np.isnan(expected)
    assert_array_equal(np.signbit(actual[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", NAMES)
def test_every_nan_stays_nan(name, dtype):
    word = np.uint32 if dtype == np.float32 else np.uint64
    quiet = np.array(NAN, dtype).view(word)
    payloads = quiet + np.arange(200, dtype=word)
    sign = word(1) << word(np.dtype(dtype).itemsize * 8 - 1)
    x = np.concatenate([payloads, payloads | sign]).view(dtype)
    assert np.isnan(x).all()
    assert np.isnan(evaluate(name, x)).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", ["exp", "sigmoid", "softplus", "normal_cdf", "tanh", "log1p", "expm1"])
def test_subnormal_arguments(name, sign, dtype):
    """Near 0 the functions are their first term: x where f(0) = 0, and that to the last bit for subnormals."""
    x = sign * np.finfo(dtype).smallest_subnormal * np.arange(1, 100, dtype=dtype)
    limit = {"exp": 1, "sigmoid": 0.5, "softplus": np.log(2), "normal_cdf": 0.5}.get(name)
    expected = np.full_like(x, limit) if limit else x
    assert np.max(ulp_distance(evaluate(name, x), expected.astype(np.longdouble))) <= (1 if limit else 0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_subnormal_results_are_rounded_once(dtype):
    info = np.finfo(dtype)
    low, high = np.log([float(info.smallest_subnormal), float(info.tiny)])
    x = np.linspace(low, high, 5000).astype(dtype)
    actual = evaluate("exp", x)
    assert (actual > 0).all()
    # half a ULP for the one rounding, and what exp of such an argument is off by, which shrinks with the spacing
    assert np.max(ulp_distance(actual, exact("exp", x))[:2000]) <= 0.51


@pytest.mark.parametrize("dtype", FLOATS)
def test_odd_functions_are_odd_to_the_bit(dtype):
    x = sample(dtype)
    x = x[np.isfinite(x)]
    assert_array_equal(evaluate("tanh", -x), -evaluate("tanh", x))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("off", [-3, 3])
def test_the_ulp_helper_rejects_three_ulp(off, dtype):
    info = np.finfo(dtype)
    true = np.array([1.5, -1.5, 1e-30, 3e30, info.smallest_subnormal * 8, info.max], dtype)
    wrong = true.copy()
    for _ in range(3):
        wrong = np.nextafter(wrong, dtype(np.inf * off)) if off < 0 else np.nextafter(wrong, dtype(0))
    distance = ulp_distance(wrong, true.astype(np.longdouble))
    assert_array_equal(distance, np.where(np.isinf(wrong), 1, 3))
    assert (ulp_distance(true, true.astype(np.longdouble)) == 0).all()
