"""Activations: each function beside its backward. To add one: write the two functions and add a row to TABLE.

A forward function takes the pre-activation z and gives a = f(z). Its backward takes (delta, z, a), where delta is the
gradient with respect to a, and gives ``delta * f'(z)``, written with whichever of z and a is cheaper. Where a suffices,
training lets a overwrite z (`keeps_z` is False), and memory carries one array less.
"""

from typing import NamedTuple

from numpy import int64

from ._jit import kernel, routine
from .elementary import exp, expm1, normal_cdf, sigmoid, softplus, tanh
from .pointwise import pointwise
from .simd import fma, where
from .softmax import softmax
from .spans import span

_LEAK = 0.01
# Klambauer et al. 2017: with these two numbers mean 0 and variance 1 are a fixed point of a layer.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
_INV_SQRT_2PI = 0.3989422804014327
ONE = int64(1)  # a literal is a type of its own, for which activate would be compiled again


def relu(z):
    return where(z < 0.0, 0.0, z)  # this way round NaN stays NaN


def relu_backward(delta, z, a):
    return where(a > 0.0, delta, 0.0)


def leaky_relu(z):
    return where(z < 0.0, _LEAK * z, z)


def leaky_relu_backward(delta, z, a):
    return where(a > 0.0, delta, _LEAK * delta)


def elu(z):
    return where(z < 0.0, expm1(z), z)


def elu_backward(delta, z, a):
    return where(a > 0.0, delta, fma(delta, a, delta))  # e**z = a + 1


def selu(z):
    return _SELU_SCALE * where(z < 0.0, _SELU_ALPHA * expm1(z), z)


def selu_backward(delta, z, a):
    return delta * where(a > 0.0, _SELU_SCALE, a + _SELU_SCALE * _SELU_ALPHA)


def gelu(z):
    return z * normal_cdf(z)


def gelu_backward(delta, z, a):
    density = _INV_SQRT_2PI * exp(-0.5 * (z * z))
    return delta * fma(z, density, normal_cdf(z))


def silu(z):
    return z * sigmoid(z)


def silu_backward(delta, z, a):
    s = sigmoid(z)
    return delta * fma(a, 1.0 - s, s)


def _mish_ratio(z):
    """``tanh(softplus(z)) = n / (n + 2)`` and n, where n = e**z (e**z + 2) by tanh(log w) = (w**2 - 1)/(w**2 + 1)."""
    e = exp(where(z > 20.0, 20.0, z))  # beyond 20 the ratio is 1 in either precision
    n = e * (e + 2.0)
    return n / (n + 2.0), n, e


def mish(z):
    return z * _mish_ratio(z)[0]


def mish_backward(delta, z, a):
    ratio, n, e = _mish_ratio(z)
    # d ratio/dz = (1 - ratio**2) * sigmoid(z) with 1 - ratio**2 = 4 (n + 1) / (n + 2)**2 and n + 1 = (e + 1)**2
    slope = 4.0 * e * (e + 1.0) / ((n + 2.0) * (n + 2.0))
    return delta * fma(z, where(z > 20.0, 0.0, slope), ratio)


def softplus_backward(delta, z, a):
    return -delta * expm1(-a)  # sigmoid(z) = 1 - e**-a


def sigmoid_backward(delta, z, a):
    return delta * (a * (1.0 - a))


def tanh_backward(delta, z, a):
    return delta * (1.0 - a * a)


def linear(z):
    return z


def linear_backward(delta, z, a):
    return delta


def exp_backward(delta, z, a):
    return delta * a


class Activation(NamedTuple):
    name: str
    forward: object
    backward: object
    keeps_z: bool = False  # the backward needs z
    hidden: bool = True  # offered for hidden layers
    output: bool = False  # offered for the output layer


TABLE = (
    Activation("relu", relu, relu_backward),
    Activation("leaky_relu", leaky_relu, leaky_relu_backward),
    Activation("elu", elu, elu_backward),
    Activation("selu", selu, selu_backward),
    Activation("gelu", gelu, gelu_backward, keeps_z=True),
    Activation("silu", silu, silu_backward, keeps_z=True),
    Activation("mish", mish, mish_backward, keeps_z=True),
    Activation("softplus", softplus, softplus_backward),
    Activation("sigmoid", sigmoid, sigmoid_backward, output=True),
    Activation("tanh", tanh, tanh_backward, output=True),
    Activation("linear", linear, linear_backward, output=True),
    Activation("exp", exp, exp_backward, hidden=False, output=True),
)
CODES = {row.name: code for code, row in enumerate(TABLE)}

# Softmax mixes the numbers of a row, so it is not pointwise: it has the first code after the table.
SOFTMAX = len(TABLE)

_forward = pointwise([row.forward for row in TABLE], inputs=(0,), outputs=(1,))
_backward = pointwise([row.backward for row in TABLE], inputs=(0, 1, 2), outputs=(0,))


@routine
def activate(code, rows, n, pitch, z, a):
    """``a = f(z)`` for `rows` runs of n numbers, `pitch` apart, of two spans, which may be the same."""
    _forward(code, rows, n, pitch, (z, a))


@routine
def activate_backward(code, rows, n, pitch, delta, z, a):
    """``delta *= f'(z)`` for `rows` runs of n numbers, `pitch` apart, of three spans."""
    _backward(code, rows, n, pitch, (delta, z, a))


@kernel
def apply(code, ws):
    """``a = f(z)`` in place for a vector; `code` is any but SOFTMAX."""
    z = span(ws, 0, ws.size)
    activate(code, ONE, ws.size, ws.size, z, z)


@kernel
def apply_backward(code, ws):
    """``delta *= f'(z)``, where `ws` holds as many numbers of delta, then of z, then of a = f(z)."""
    n = ws.size // 3
    activate_backward(code, ONE, n, n, span(ws, 0, n), span(ws, n, n), span(ws, 2 * n, n))


@kernel
def apply_softmax(rows, k, ws):
    """Softmax of `rows` rows of k scores in place; `ws` holds them, and as much scratch."""
    n = rows * k
    softmax(rows, k, (span(ws, 0, n), span(ws, n, n), span(ws, 0, n)))
