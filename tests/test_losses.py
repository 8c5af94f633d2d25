"""Losses: every pair of output activation and loss against the plain formula, its gradient against differences."""

from itertools import product

import numpy as np
import pytest
import scipy.special
from numpy.testing import assert_allclose

from fastmlp import MLP, Huber, Quantile
from fastmlp.kernels import activations, backprop, losses
from fastmlp.kernels.network import ROW_LOSS

FLOATS = [np.float32, np.float64]
OUTPUTS = [row.name for row in activations.TABLE if row.output] + ["softmax"]
PAIRS = list(product(OUTPUTS, losses.NAMES))
WIDE = np.longdouble


DELTA = 0.375


def quantiles(k):
    """One for each of k outputs, exact in float32."""
    return (np.arange(k) * 7 % 31 + 1) / 32


def evaluate(output, loss, z, y):
    """(losses of the rows, dL/dz) by the kernels: those of a network whose only layer is the identity."""
    rows, k = z.shape
    loss = {"huber": Huber(DELTA), "quantile": Quantile(quantiles(k))}.get(loss, loss)
    mlp = MLP([k, k], output_activation=output, loss=loss, weight_init=lambda n, *_: np.eye(n), dtype=z.dtype)
    network, codes = mlp.compiled_arguments(rows), mlp._loss_codes
    params, blocks, ws = network[0], network[2], network[3]
    dx, targets, gradient = np.empty_like(z), y.flatten(), np.empty_like(params)
    total = backprop.total_loss(z, targets, *network, *codes)
    row_loss = ws[blocks[ROW_LOSS] :][:rows].copy()
    out = np.empty_like(z)
    assert backprop.infer(z, *network, out)
    none, limits = np.empty(0, z.dtype), (-np.inf, np.inf)
    assert backprop.backward(rows, targets, out, none, *network[:-1], *codes, *limits, 0.0, gradient, dx)
    np.testing.assert_array_equal(targets, y.ravel())
    slack = rows * np.finfo(z.dtype).eps * np.abs(row_loss).sum()
    assert_allclose(total, row_loss.sum(dtype=np.float64), rtol=0, atol=slack)
    return row_loss, dx * rows  # backward gives the gradient of the mean


OUTPUT_FORMS = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "linear": lambda z: z,
    "exp": np.exp,
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
}
LOSS_FORMS = {
    "squared_error": lambda a, y: (a - y) ** 2 / 2,
    "binary_cross_entropy": lambda a, y: -(y * np.log(a) + (1 - y) * np.log(1 - a)),
    "cross_entropy": lambda a, y: -y * np.log(a),
    "absolute_error": lambda a, y: np.abs(a - y),
    "poisson": lambda a, y: y * np.log(np.where(y > 0, y, 1)) - y * np.log(a) - y + a,
    "gamma": lambda a, y: y / a - np.log(y / a) - 1,
    "huber": lambda a, y: np.where(np.abs(a - y) < DELTA, (a - y) ** 2 / 2, DELTA * (np.abs(a - y) - DELTA / 2)),
    "quantile": lambda a, y: np.maximum(quantiles(y.shape[1]) * (y - a), (quantiles(y.shape[1]) - 1) * (y - a)),
}


def row_losses(output, loss, z, y):
    """The definition, for scores at which no logarithm is in trouble."""
    return LOSS_FORMS[loss](OUTPUT_FORMS[output](z.astype(WIDE)), y.astype(WIDE)).sum(axis=1)


def gradient(output, loss, z, y):
    """dL/dz of each row by differences of the sixth order."""
    step = WIDE(2.0**-10)
    result = np.empty(z.shape, WIDE)
    for i in range(z.shape[1]):
        shift = np.zeros(z.shape[1], WIDE)
        shift[i] = step

        def at(m, shift=shift):
            return row_losses(output, loss, z + m * shift, y)

        result[:, i] = (45 * (at(1) - at(-1)) - 9 * (at(2) - at(-2)) + (at(3) - at(-3))) / (60 * step)
    return result


def inside(output, loss, shape, dtype, rng):
    """Scores for which the loss has a value: where it takes a logarithm of a, a > 0, of 1 - a, a < 1."""
    low, high = -3.0, 3.0
    if loss != "squared_error" and output in ("linear", "tanh"):
        low, high = 0.1, 0.9
    if loss == "binary_cross_entropy" and output == "exp":
        low, high = -3.0, -0.1
    return rng.uniform(low, high, shape).astype(dtype)


def targets(kind, output, loss, shape, dtype, rng):
    if loss == "gamma":
        return rng.uniform(0.1, 3, shape).astype(dtype)
    if loss == "squared_error" and output != "softmax":
        return rng.normal(0, 2, shape).astype(dtype)
    if output == "softmax":
        if kind == "hard":
            return np.eye(shape[1])[rng.integers(0, shape[1], shape[0])].astype(dtype)
        return rng.dirichlet(np.ones(shape[1]), shape[0]).astype(dtype)
    return (rng.integers(0, 2, shape) if kind == "hard" else rng.uniform(0, 1, shape)).astype(dtype)


def tolerance(dtype, k):
    """For k terms that were each rounded some times, next to differences that are good to 1e-10."""
    return 32 * (k + 4) * np.finfo(dtype).eps + 1e-10


def check(actual, expected, dtype, k):
    for values, wanted in zip(actual, expected, strict=True):
        scale = np.maximum(1, np.abs(wanted))
        assert np.max(np.abs(values - wanted) / scale) <= tolerance(dtype, k)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_loss_and_gradient_of_every_pair(output, loss, kind, dtype):
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (1, 2), (7, 3), (40, 17)]:
        if output == "softmax" and shape[1] == 1:
            continue  # always 1: refused by the class
        z = inside(output, loss, shape, dtype, rng)
        y = targets(kind, output, loss, shape, dtype, rng)
        for kink in {"absolute_error": [0], "quantile": [0], "huber": [-DELTA, DELTA]}.get(loss, []):
            a = OUTPUT_FORMS[output](z)  # no kink within the differences' steps
            y = np.where(np.abs(a - y - kink) < 0.1, a + dtype(0.2 - kink), y)
        expected = row_losses(output, loss, z, y), gradient(output, loss, z, y)
        row_loss, delta = evaluate(output, loss, z, y)
        check((row_loss, delta), expected, dtype, shape[1])


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_helper_rejects_a_wrong_gradient(dtype):
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(3, 4)).astype(dtype), rng.uniform(0, 1, (3, 4)).astype(dtype)
    expected = row_losses("sigmoid", "squared_error", z, y), gradient("sigmoid", "squared_error", z, y)
    row_loss, delta = evaluate("sigmoid", "squared_error", z, y)
    check((row_loss, delta), expected, dtype, 4)
    other_delta = evaluate("tanh", "squared_error", z, y)[1]
    for wrong in [(row_loss * 1.001, delta), (row_loss, delta * 1.001), (row_loss, other_delta)]:
        with pytest.raises(AssertionError):
            check(wrong, expected, dtype, 4)


# --- extreme scores ------------------------------------------------------------------------------------------------


def softplus(z):
    return np.logaddexp(WIDE(0), z)


def log_rest(z):
    """log(1 - softmax(z)) from the scores: the log-sum-exp of the others minus that of all."""
    columns = range(z.shape[1])
    others = [scipy.special.logsumexp(np.delete(z, i, axis=1), axis=1) for i in columns]
    return np.stack(others, axis=1) - scipy.special.logsumexp(z, axis=1)[:, None]


def softmax_bce(z, y):
    log_a, rest = scipy.special.log_softmax(z, axis=1), log_rest(z)
    a, n = np.exp(log_a), 1 - y
    # d log(1 - a_i) / dz_j = [j != i] a_j / (1 - a_i) - a_j
    delta = a * y.sum(axis=1, keepdims=True) - y
    for i in range(z.shape[1]):
        log_share = log_a - rest[:, [i]]
        log_share[:, i] = -np.inf
        share = np.exp(log_share)
        delta -= n[:, [i]] * (share - a)
    return -(y * log_a + n * rest), delta


def softmax_squared_error(z, y):
    a = scipy.special.softmax(z, axis=1)
    g = a - y
    return g * g / 2, a * (g - (g * a).sum(axis=1, keepdims=True))


def exp_poisson(z, y):
    a = np.exp(z)
    return y * np.log(np.where(y > 0, y, 1)) - y * z - y + a, a - y


def softmax_poisson(z, y):
    a = scipy.special.softmax(z, axis=1)
    g = a - y  # dL/d log a
    loss = y * np.log(np.where(y > 0, y, 1)) - y * scipy.special.log_softmax(z, axis=1) - y + a
    return loss, g - a * g.sum(axis=1, keepdims=True)


def softmax_absolute_error(z, y):
    a = scipy.special.softmax(z, axis=1)
    g = np.sign(a - y)
    return np.abs(a - y), a * (g - (g * a).sum(axis=1, keepdims=True))


def exp_gamma(z, y):
    ratio = y * np.exp(-z)
    return ratio + z - np.log(y) - 1, 1 - ratio


def softmax_gamma(z, y):
    log_a = scipy.special.log_softmax(z, axis=1)
    ratio = y * np.exp(-log_a)
    g = 1 - ratio  # dL/d log a
    return ratio + log_a - np.log(y) - 1, g - np.exp(log_a) * g.sum(axis=1, keepdims=True)


def softmax_huber(z, y):
    a = scipy.special.softmax(z, axis=1)
    d = np.abs(a - y)
    g = np.sign(a - y) * np.minimum(d, DELTA)
    return np.where(d < DELTA, d * d / 2, DELTA * (d - DELTA / 2)), a * (g - (g * a).sum(axis=1, keepdims=True))


def softmax_quantile(z, y):
    a, q = scipy.special.softmax(z, axis=1), quantiles(z.shape[1])
    g = np.where(a > y, 1 - q, np.where(a < y, -q, 0))
    return g * (a - y), a * (g - (g * a).sum(axis=1, keepdims=True))


FUSED = {  # losses and gradients from scores, without overflow
    ("sigmoid", "binary_cross_entropy"): lambda z, y: (softplus(z) - y * z, scipy.special.expit(z) - y),
    ("sigmoid", "cross_entropy"): lambda z, y: (y * softplus(-z), -y * scipy.special.expit(-z)),
    ("exp", "cross_entropy"): lambda z, y: (-y * z, -y),
    ("softmax", "squared_error"): softmax_squared_error,
    ("softmax", "cross_entropy"): lambda z, y: (
        -y * scipy.special.log_softmax(z, axis=1),
        scipy.special.softmax(z, axis=1) * y.sum(axis=1, keepdims=True) - y,
    ),
    ("softmax", "binary_cross_entropy"): softmax_bce,
    ("softmax", "absolute_error"): softmax_absolute_error,
    ("exp", "poisson"): exp_poisson,
    ("softmax", "poisson"): softmax_poisson,
    ("exp", "gamma"): exp_gamma,
    ("softmax", "gamma"): softmax_gamma,
    ("softmax", "huber"): softmax_huber,
    ("softmax", "quantile"): softmax_quantile,
}


def test_the_fused_pairs_are_those_of_the_table():
    assert set(FUSED) == {(row.activation, row.name) for row in losses.TABLE if row.activation is not None}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [10, 100, 1000, 1e4])
@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize(("output", "loss"), FUSED)
def test_fused_pairs_at_extreme_scores(output, loss, kind, size, dtype):
    rng = np.random.default_rng(2)
    shape = (60, 4)
    z = (size * rng.choice([-1, -0.5, 0, 0.7, 1], shape)).astype(dtype)
    y = targets(kind, output, "gamma" if loss == "gamma" else "cross_entropy", shape, dtype, rng)
    if (output, loss) == ("exp", "poisson"):
        z = np.minimum(z, dtype(80))  # beyond, the loss itself, e**z, leaves float32
    if loss == "gamma":
        z = np.clip(z, -40, 40)  # likewise, e**-z
    entries, expected_delta = FUSED[output, loss](z.astype(WIDE), y.astype(WIDE))
    row_loss, delta = evaluate(output, loss, z, y)
    assert np.isfinite(row_loss).all()
    assert np.isfinite(delta).all()
    terms = np.abs(entries).sum(axis=1)
    eps = np.finfo(dtype).eps
    assert_allclose(row_loss, entries.sum(axis=1), atol=np.max(64 * eps * (terms + 1)), rtol=0)
    assert_allclose(delta, expected_delta, atol=64 * eps * max(1, np.max(np.abs(expected_delta))), rtol=0)


# --- the table -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_resolve_prefers_the_pairs_own_row(output, loss):
    code, gradient_of = losses.resolve(loss, output)
    row = losses.TABLE[code]
    own = [r for r in losses.TABLE if (r.name, r.activation) == (loss, output)]
    assert row.name == loss
    assert row.gradient_of == gradient_of
    assert row in own if own else row.activation is None


def test_resolve_knows_no_other_names():
    with pytest.raises(KeyError, match="no_such_loss"):
        losses.resolve("no_such_loss", "linear")


def test_softmax_has_a_row_for_every_loss():
    """Its derivative is not pointwise, so that no row for all outputs can serve it."""
    assert {row.name for row in losses.TABLE if row.activation == "softmax"} == set(losses.NAMES)
