"""Gradients against what does not differentiate by hand: differences of the objective, and the complex step."""

from itertools import product

import numpy as np
import pytest
import scipy.special
from tolerances import assert_within

from fastmlp import Huber, reference
from fastmlp.kernels import JIT

pytestmark = pytest.mark.no_cover  # tracing doubles their time, and other tests cover the lines

HIDDEN = [name for name in reference.ACTIVATIONS if name != "exp"]
OUTPUTS = reference.OUTPUT_ACTIVATIONS
LOSSES = list(reference.LOSSES)
GRID = list(product(HIDDEN, OUTPUTS, LOSSES))
ALPHA = 0.3
LIMIT = 1e-8


@pytest.fixture(scope="module")
def away_from_kinks():
    """A function like `network` of two hidden layers, whose pre-activations stay at least 0.1 away from zero.

    Biases of 1 and -1 in turn outweigh what inputs within [-1, 1] can add.
    """

    def make(network, activation, output_activation, **options):
        mlp = network([2, 3, 2, 2], activation, output_activation, dtype=np.float64, **options)
        for W, b in zip(mlp.weights[:-1], mlp.biases[:-1], strict=True):
            W *= 0.7 / np.abs(W).sum(axis=0).max()
            b += np.resize([1.0, -1.0], b.shape)
        mlp.weights[-1] *= 3
        return mlp

    return make


def central_differences(f, x, h=7e-4):
    """df/dx for each number of the array `x`, which is changed in place and restored; error of order h**4."""
    gradient = np.empty(x.size)
    flat = x.reshape(-1)
    for i, kept in enumerate(flat.copy()):
        values = []
        for step in (-2, -1, 1, 2):
            flat[i] = kept + step * h
            values.append(f())
        flat[i] = kept
        gradient[i] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    return gradient.reshape(x.shape)


# Hundreds of evaluations each: as plain Python every eleventh, which still meets every activation and every pair.
@pytest.mark.once
@pytest.mark.parametrize(("activation", "output", "loss"), GRID if JIT else GRID[::11])
def test_gradient_is_the_slope_of_the_objective(network, away_from_kinks, data, activation, output, loss):
    mlp = away_from_kinks(network, activation, output, loss=loss, alpha=ALPHA)
    X, y = data(mlp, 3)
    if loss == "huber":  # its kink where no error is near
        errors = np.sort(np.abs(mlp.forward(X) - y), axis=None)
        i = np.argmax(np.diff(errors))
        mlp = away_from_kinks(network, activation, output, loss=Huber((errors[i] + errors[i + 1]) / 2), alpha=ALPHA)
    _, dW, db = mlp.loss_and_gradients(X, y)
    assert min(np.abs(z).min() for z in (mlp.forward(X), mlp.pre_activations)[1][:-1]) > 0.1

    def objective():
        return mlp.loss_and_gradients(X, y)[0]

    slopes = central_differences(objective, mlp.parameters)
    assert_within(dW.vector, slopes, LIMIT, "gradient")
    again = mlp.backward(X, y, mlp.forward(X), return_input_gradient=True)
    np.testing.assert_array_equal(again[0].vector, dW.vector)
    assert db.vector is dW.vector
    assert_within(again[2], central_differences(objective, X), LIMIT, "dX")


# The same formulas for complex numbers; a piece is chosen by the real part.
COMPLEX = {
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "leaky_relu": lambda z: np.where(z.real > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z.real > 0, z, np.exp(z) - 1),
    "selu": lambda z: 1.0507009873554805 * np.where(z.real > 0, z, 1.6732632423543772 * (np.exp(z) - 1)),
    "gelu": lambda z: z * (1 + scipy.special.erf(z / np.sqrt(2))) / 2,
    "silu": lambda z: z / (1 + np.exp(-z)),
    "mish": lambda z: z * np.tanh(np.log(1 + np.exp(z))),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "linear": lambda z: z,
    "exp": np.exp,
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
}
COMPLEX_LOSSES = {
    "squared_error": lambda a, y: (a - y) ** 2 / 2,
    "binary_cross_entropy": lambda a, y: -(y * np.log(a) + (1 - y) * np.log(1 - a)),
    "cross_entropy": lambda a, y: -y * np.log(a),
    "absolute_error": lambda a, y: np.sqrt((a - y) ** 2),
    "poisson": lambda a, y: np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / a), 0) - y + a,
    "gamma": lambda a, y: y / a + np.log(a / y) - 1,
    "huber": lambda a, y, delta: np.where(
        np.abs((a - y).real) < delta, (a - y) ** 2 / 2, delta * (np.sqrt((a - y) ** 2) - delta / 2)
    ),
    "quantile": lambda a, y, q: np.where((y - a).real > 0, q * (y - a), (q - 1) * (y - a)),
}


def objective(mlp, parameters, X, y):
    """The objective by its definition, for parameters and X that may be complex."""
    a, penalty, start = X, 0, 0
    names = [mlp.activation] * (mlp.num_layers - 2) + [mlp.output_activation]
    for name, W in zip(names, mlp.weights, strict=True):
        fan_in, fan_out = W.shape
        W = parameters[start : start + W.size].reshape(W.shape)
        b = parameters[start + W.size : start + W.size + fan_out]
        start += (fan_in + 1) * fan_out
        a, penalty = COMPLEX[name](a @ W + b), penalty + mlp.alpha / 2 * (W**2).sum()
    if isinstance(mlp.loss, str):
        return COMPLEX_LOSSES[mlp.loss](a, y).sum() / len(X) + penalty
    parameter = np.array(mlp.loss.of_outputs(y.shape[1]))
    return COMPLEX_LOSSES[mlp.loss.name](a, y, parameter).sum() / len(X) + penalty


def complex_step(f, x):
    """df/dx for each number of `x`: the imaginary part of f(x + ih) / h, to the last digits since nothing cancels."""
    gradient = np.empty(x.size)
    for i in range(x.size):
        moved = x.astype(complex)
        moved.reshape(-1)[i] += 1e-30j
        gradient[i] = f(moved).imag / 1e-30
    return gradient.reshape(x.shape)


@pytest.mark.parametrize(("activation", "output", "loss"), GRID)
def test_gradient_against_the_complex_step(network, data, activation, output, loss):
    mlp = network([2, 3, 2, 2], activation, output, loss=loss, alpha=ALPHA, dtype=np.float64)
    X, y = data(mlp, 3)
    value, dW, _ = mlp.loss_and_gradients(X, y)
    assert_within(value, objective(mlp, mlp.parameters, X, y), 1e-13, "objective")
    assert_within(dW.vector, complex_step(lambda p: objective(mlp, p, X, y), mlp.parameters), 1e-13, "gradient")
    dX = mlp.backward(X, y, mlp.forward(X), return_input_gradient=True)[2]
    assert_within(dX, complex_step(lambda x: objective(mlp, mlp.parameters, x, y), X), 1e-13, "dX")


@pytest.mark.parametrize("name", COMPLEX)
def test_derivative_against_the_complex_step(network, name):
    mlp = network([2, 2], dtype=np.float64)
    z = np.linspace(-4, 4, 50)  # without 0, where some have a kink
    if name == "softmax":
        with pytest.raises(ValueError, match="pointwise"):
            mlp.activation_derivative(z, name)
    else:
        slope = COMPLEX[name](z + 1e-30j).imag / 1e-30
        assert_within(mlp.activation_derivative(z, name), slope, 1e-14, "derivative")


@pytest.mark.parametrize("output", OUTPUTS)
def test_output_gradient_of_a_loss_of_ones_own(network, data, output):
    """L = sum(c * a**3), whose gradient with respect to a is 3 c a**2."""
    mlp = network([2, 3, 3], "gelu", output, dtype=np.float64)
    X, _ = data(mlp, 4)
    c = np.random.default_rng(5).normal(size=(4, 3))
    a = mlp.forward(X)
    dW, _, dX = mlp.backward(X, output_gradient=3 * c * a**2, return_input_gradient=True)

    def loss():
        return float((c * mlp.predict(X) ** 3).sum())

    assert_within(dW.vector, central_differences(loss, mlp.parameters), LIMIT, "gradient")
    assert_within(dX, central_differences(loss, X), LIMIT, "dX")


def test_differences_reject_a_gradient_that_is_slightly_wrong():
    x = np.array([0.3, -0.7])
    slopes = central_differences(lambda: float(np.sin(x).sum()), x)
    assert_within(np.cos(x), slopes, LIMIT)
    np.testing.assert_allclose(complex_step(lambda z: np.sin(z).sum(), x), np.cos(x), rtol=1e-15)
    for wrong in (np.cos(x) * (1 + 1e-7), np.cos(x) + np.array([0, 1e-7]), -np.cos(x), np.cos(x)[:1]):
        with pytest.raises(AssertionError):
            assert_within(wrong, slopes, LIMIT)
