"""Activations: every row of the table against its closed form, its backward against differences of that form."""

import numpy as np
import pytest
import scipy.special
from numpy.testing import assert_array_equal

from fastmlp.kernels import activations

FLOATS = [np.float32, np.float64]
ROWS = {row.name: row for row in activations.TABLE}
KINKED = {"relu", "leaky_relu", "elu", "selu"}  # formulas that change at 0

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def mish(z):
    return z * np.tanh(np.logaddexp(0, z))


CLOSED_FORMS = {  # in float64
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.maximum(z, 0) + 0.01 * np.minimum(z, 0),
    "elu": lambda z: np.maximum(z, 0) + np.expm1(np.minimum(z, 0)),
    "selu": lambda z: SELU_SCALE * (np.maximum(z, 0) + SELU_ALPHA * np.expm1(np.minimum(z, 0))),
    "gelu": lambda z: z * scipy.special.ndtr(z),
    "silu": lambda z: z * scipy.special.expit(z),
    "mish": mish,
    "softplus": lambda z: np.logaddexp(0, z),
    "sigmoid": scipy.special.expit,
    "tanh": np.tanh,
    "linear": lambda z: z,
    "exp": np.exp,
}


def forward(name, z):
    a = z.copy()
    activations.apply(activations.CODES[name], a)
    return a


def backward(name, delta, z, a):
    ws = np.concatenate([delta, z, a])
    activations.apply_backward(activations.CODES[name], ws)
    assert_array_equal(ws[delta.size :], np.concatenate([z, a]))
    return ws[: delta.size]


def slope(function, z, step):
    """f' by differences of fourth order: the error is of the order ``step**4`` and of eps / step."""
    return (8 * (function(z + step) - function(z - step)) - function(z + 2 * step) + function(z - 2 * step)) / (
        12 * step
    )


def tolerance(dtype, scale):
    """32 roundings of a number of the size `scale`."""
    return 32 * np.finfo(dtype).eps * scale


def scores(dtype, away_from_zero=0.0):
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.uniform(-5, 5, 800), rng.normal(0, 1e-2, 100), rng.uniform(-80, 80, 101)]).astype(dtype)
    return z[np.abs(z) > away_from_zero]


def check_forward(name, z, a):
    wide = z.astype(np.float64)
    with np.errstate(over="ignore"):
        expected = CLOSED_FORMS[name](wide)
    scale = np.abs(expected)
    if name == "gelu":  # far out in the tail the digits of normal_cdf are those of z**2
        scale = np.where(np.abs(wide) > 5, np.abs(wide), scale)
    with np.errstate(over="ignore"):
        expected = expected.astype(z.dtype)
    finite = np.isfinite(expected)
    assert_array_equal(a[~finite], expected[~finite])
    excess = np.abs(a - expected.astype(np.float64))[finite] - tolerance(z.dtype, scale)[finite]
    assert np.max(excess) <= np.finfo(z.dtype).tiny, f"{name}({z[finite][np.argmax(excess)]!r})"


def check_backward(name, delta, z, result):
    step = 2.0**-9
    wide = z.astype(np.float64)
    with np.errstate(over="ignore"):
        derivative = slope(CLOSED_FORMS[name], wide, step)
    scale = np.maximum(1, np.abs(derivative)) * np.abs(delta)
    error = np.abs(result - delta * derivative)
    bound = tolerance(z.dtype, scale) + 1e-10 * scale
    assert (error <= bound).all(), f"{name}'({z[np.argmax(error - bound)]!r})"


def test_the_closed_forms_are_those_of_the_table():
    assert list(CLOSED_FORMS) == list(ROWS)
    assert {name: code for code, name in enumerate(ROWS)} == activations.CODES
    assert activations.SOFTMAX not in activations.CODES.values()
    assert all(row.hidden or row.output for row in activations.TABLE)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ROWS)
def test_forward(name, dtype):
    z = scores(dtype)
    check_forward(name, z, forward(name, z))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ROWS)
def test_backward(name, dtype):
    z = scores(dtype, away_from_zero=0.01 if name in KINKED else 0)
    if name == "exp":
        z = z[z < 50]
    delta = np.random.default_rng(1).standard_normal(z.size).astype(dtype)
    check_backward(name, delta, z, backward(name, delta, z, forward(name, z)))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ROWS)
def test_the_helpers_reject_a_wrong_answer(name, dtype):
    z = scores(dtype, away_from_zero=0.01)
    z = z[np.abs(z) < 5]
    at = np.argmax(forward(name, z))
    a = forward(name, z)
    a[at] *= 1 + 100 * np.finfo(dtype).eps
    with pytest.raises(AssertionError):
        check_forward(name, z, a)
    delta = np.ones_like(z)
    result = backward(name, delta, z, forward(name, z))
    at = np.argmax(result)
    result[at] *= 1 + 1e-4
    with pytest.raises(AssertionError):
        check_backward(name, delta, z, result)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", sorted(KINKED))
def test_the_slope_at_a_kink_is_the_one_from_the_left(name, dtype):
    z = np.array([0.0, -0.0], dtype)
    one_sided = -CLOSED_FORMS[name](-1e-9) / -1e-9 * -1
    result = backward(name, np.full(2, 2, dtype), z, forward(name, z))
    np.testing.assert_allclose(result, 2 * one_sided, rtol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ROWS)
def test_keeps_z_is_honest(name, dtype):
    z = scores(dtype)
    delta, a = np.ones_like(z), forward(name, z)
    with_z, without_z = backward(name, delta, z, a), backward(name, delta, np.full_like(z, np.nan), a)
    if ROWS[name].keeps_z:
        assert np.isnan(without_z).any()
    else:
        assert_array_equal(without_z, with_z)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ROWS)
def test_nan_comes_through(name, dtype):
    z = scores(dtype)[:50]
    z[::7] = np.nan
    assert_array_equal(np.isnan(forward(name, z)), np.isnan(z))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_scores(size, name, dtype):
    z = np.array([-size, size], dtype)
    if name == "exp":
        z = z[:1]
    wide = z.astype(np.float64)
    a = forward(name, z)
    np.testing.assert_allclose(a, CLOSED_FORMS[name](wide), rtol=4 * np.finfo(dtype).eps)
    derivative = slope(CLOSED_FORMS[name], wide, np.abs(wide) / 16)  # all are straight out there
    np.testing.assert_allclose(
        backward(name, np.ones_like(z), z, a), derivative, rtol=8 * np.finfo(dtype).eps, atol=1e-15
    )


# --- softmax -------------------------------------------------------------------------------------------------------


def softmax(z):
    rows, k = z.shape
    ws = np.concatenate([z.ravel(), np.empty(z.size, z.dtype)])
    activations.apply_softmax(rows, k, ws)
    return ws[: z.size].reshape(z.shape)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("rows", "k"), [(1, 1), (1, 2), (3, 10), (5, 17), (2, 300)])
@pytest.mark.parametrize("spread", [0, 1, 20, 1e4])
def test_softmax(spread, rows, k, dtype):
    z = (spread * np.random.default_rng(2).standard_normal((rows, k))).astype(dtype)
    expected = scipy.special.softmax(z.astype(np.float64), axis=1)
    a = softmax(z)
    # the difference of two scores is rounded before exp sees it
    bound = tolerance(dtype, expected * (1 + np.ptp(z, axis=1, keepdims=True) + k)) + np.finfo(dtype).tiny
    assert (np.abs(a - expected) <= bound).all()
    assert (np.abs(a.sum(axis=1, dtype=np.float64) - 1) <= tolerance(dtype, 1)).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("at", [0, 1, 3])
def test_nan_stays_in_its_row_of_a_softmax(at, dtype):
    z = np.arange(12, dtype=dtype).reshape(3, 4)
    expected = softmax(z)
    z[1, at] = np.nan
    a = softmax(z)
    assert np.isnan(a[1]).all()
    assert_array_equal(a[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize("dtype", FLOATS)
def test_ties_share_the_probability(dtype):
    assert_array_equal(softmax(np.full((2, 4), -3e4, dtype)), np.full((2, 4), 0.25, dtype))
