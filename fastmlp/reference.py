"""The slow twin: networks, losses and optimisers once more in plain NumPy and float64, written to be read.

Names, arguments and numbers are those of the guide's class `MLP`; the fast kernels are tested against this file and
never import it. Shapes: n rows, k outputs; X (n, layer_sizes[0]), W (fan_in, fan_out), b (1, fan_out). In formulas:

    z = x @ W + b           pre-activation
    a = f(z)                activation
    objective = mean over rows of the sum over outputs of the loss  +  alpha/2 * sum(W**2)
    delta = dobjective/dz   error term

Nothing warns: a number too large is inf, the logarithm of a number that has none is nan or -inf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Elementwise = Callable[[Array], Array]
Hyper = Mapping[str, float | Array]
Parameter = float | Array  # of a loss: one number, or (k,)

# ---- activations: f and f' side by side; at a kink, z = 0, f' is the slope from the left ----

LEAKY_SLOPE = 0.01
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^-z), with only e^-|z| ever computed."""
    e: Array = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1 + e)


def softplus(z: Array) -> Array:
    """log(1 + e^z); its derivative is the sigmoid."""
    return np.logaddexp(0.0, z)


def exp(z: Array) -> Array:
    """e^z, quietly inf above 709.78."""
    with np.errstate(over="ignore"):
        return np.exp(z)


def normal_cdf(z: Array) -> Array:
    """Phi(z) = erfc(-z / sqrt 2) / 2; erfc keeps the digits of the left tail, which 1 + erf loses."""
    erfc: Array = np.vectorize(math.erfc, otypes=[np.float64])(-z / math.sqrt(2))
    return erfc / 2


def mish_derivative(z: Array) -> Array:
    """f = z t with t = tanh(softplus z), so f' = t + z (1 - t^2) sigmoid(z)."""
    t: Array = np.tanh(softplus(z))
    return t + z * (1 - t**2) * sigmoid(z)


ACTIVATIONS: dict[str, tuple[Elementwise, Elementwise]] = {
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, LEAKY_SLOPE * z), lambda z: np.where(z > 0, 1.0, LEAKY_SLOPE)),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
    ),
    "selu": (
        lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
        lambda z: SELU_SCALE * np.where(z > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(z, 0))),
    ),
    "gelu": (lambda z: z * normal_cdf(z), lambda z: normal_cdf(z) + z * np.exp(-z * z / 2) / math.sqrt(math.tau)),
    "silu": (lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1 + z * sigmoid(-z))),
    "mish": (lambda z: z * np.tanh(softplus(z)), mish_derivative),
    "softplus": (softplus, sigmoid),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * sigmoid(-z)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "linear": (lambda z: z, np.ones_like),
    "exp": (exp, exp),
}
OUTPUT_ACTIVATIONS = ("linear", "sigmoid", "tanh", "softmax", "exp")


def row_sum(x: Array) -> Array:
    """(n, k) -> (n, 1)."""
    return np.asarray(np.sum(x, axis=1, keepdims=True))


def logsumexp(z: Array) -> Array:
    """log(sum_j e^z_j) of each row: (n, k) -> (n, 1)."""
    top: Array = np.max(z, axis=1, keepdims=True)
    log_sum: Array = np.log(row_sum(np.exp(z - top)))
    return top + log_sum


def softmax(z: Array) -> Array:
    """a_i = e^z_i / sum_j e^z_j of each row: (n, k) -> (n, k)."""
    e: Array = np.exp(z - np.max(z, axis=1, keepdims=True))
    return e / row_sum(e)


def activate(name: str, z: Array) -> Array:
    """a = f(z) for any name, softmax included."""
    return softmax(z) if name == "softmax" else ACTIVATIONS[name][0](z)


def chain_through_output(output_activation: str, z: Array, g: Array) -> Array:
    """dL/dz from g = dL/da, both (n, k): g f'(z), or for softmax a_i (g_i - sum_j g_j a_j)."""
    if output_activation == "softmax":
        a = softmax(z)
        return a * (g - row_sum(g * a))
    return g * ACTIVATIONS[output_activation][1](z)


# ---- losses: (output_activation, z, y) -> loss of each entry (n, k), dL/dz (n, k) ----
# log a and log(1 - a) are taken from the score z, where nothing has been rounded to 0 or 1 yet.

LOG_OUTPUT: dict[str, Callable[[Array], tuple[Array, Array]]] = {  # z -> log a, d(log a)/dz
    "linear": lambda z: (np.log(z), 1 / z),
    "sigmoid": lambda z: (-softplus(-z), sigmoid(-z)),
    "tanh": lambda z: (np.log(np.tanh(z)), 2 / np.sinh(2 * z)),
    "exp": lambda z: (z, np.ones_like(z)),
}
LOG_COMPLEMENT: dict[str, Callable[[Array], tuple[Array, Array]]] = {  # z -> log(1 - a), d(log(1 - a))/dz
    "linear": lambda z: (np.log1p(-z), -1 / (1 - z)),
    "sigmoid": lambda z: (-softplus(z), -sigmoid(z)),
    "tanh": lambda z: (math.log(2) - softplus(2 * z), -1 - np.tanh(z)),
    "exp": lambda z: (np.log(-np.expm1(z)), -1 / np.expm1(-z)),
}


def _times(y: Array, value: Array) -> Array:
    """y * value where a target of 0 silences everything, so that 0 log 0 = 0."""
    return np.where(y == 0, 0.0, y * value)


def squared_error(output_activation: str, z: Array, y: Array) -> tuple[Array, Array]:
    """L = 1/2 (a - y)^2 with dL/da = a - y."""
    a = activate(output_activation, z)
    return (a - y) ** 2 / 2, chain_through_output(output_activation, z, a - y)


def cross_entropy(output_activation: str, z: Array, y: Array) -> tuple[Array, Array]:
    """L = -y log a. Softmax: log a = z - logsumexp(z) and dL/dz = a sum(y) - y; exp: L = -y z and dL/dz = -y."""
    if output_activation == "softmax":
        return -_times(y, z - logsumexp(z)), softmax(z) * row_sum(y) - y
    log_a, slope = LOG_OUTPUT[output_activation](z)
    return -_times(y, log_a), -_times(y, slope)


def binary_cross_entropy(output_activation: str, z: Array, y: Array) -> tuple[Array, Array]:
    """L = -(y log a + (1 - y) log(1 - a)). Sigmoid: L = softplus(z) - y z and dL/dz = a - y, as the guide has it."""
    loss, delta = cross_entropy(output_activation, z, y)
    if output_activation != "softmax":
        log_rest, slope = LOG_COMPLEMENT[output_activation](z)
        return loss - _times(1 - y, log_rest), delta - _times(1 - y, slope)
    a = softmax(z)
    for i in range(z.shape[1]):  # 1 - a_i = sum_{j != i} e^z_j / sum_j e^z_j, and with q the softmax of the others:
        others, weight = z.copy(), 1 - y[:, [i]]
        others[:, i] = -np.inf
        loss[:, [i]] -= _times(weight, logsumexp(others) - logsumexp(z))
        delta -= _times(weight, softmax(others) - a)  # d log(1 - a_i) / dz = q - a
    return loss, delta


def poisson(output_activation: str, z: Array, y: Array) -> tuple[Array, Array]:
    """L = y log(y / a) - y + a with dL/da = 1 - y / a. Softmax and exp: log a from the score, as above."""
    a = activate(output_activation, z)
    loss, delta = cross_entropy(output_activation, z, y)
    return loss + _times(y, np.log(y)) - y + a, delta + chain_through_output(output_activation, z, np.ones_like(z))


def absolute_error(output_activation: str, z: Array, y: Array) -> tuple[Array, Array]:
    """L = |a - y| with dL/da = sign(a - y)."""
    d = activate(output_activation, z) - y
    return np.abs(d), chain_through_output(output_activation, z, np.sign(d))


def gamma(output_activation: str, z: Array, y: Array) -> tuple[Array, Array]:
    """L = y / a - log(y / a) - 1 with dL/da = 1 / a - y / a^2. Exp and softmax: log a from the score."""
    a = activate(output_activation, z)
    loss, delta = cross_entropy(output_activation, z, np.ones_like(y))  # -log a
    return y / a - loss - np.log(y) - 1, chain_through_output(output_activation, z, -y / a**2) - delta


def huber(output_activation: str, z: Array, y: Array, delta: Parameter = 1.0) -> tuple[Array, Array]:
    """L = 1/2 d^2 with d = a - y where |d| <= delta, else delta (|d| - delta / 2); dL/da = d, else delta sign(d)."""
    d = activate(output_activation, z) - y
    near = np.abs(d) <= delta
    slope = np.where(near, d, delta * np.sign(d))
    return np.where(near, d**2 / 2, delta * (np.abs(d) - delta / 2)), chain_through_output(output_activation, z, slope)


def quantile(output_activation: str, z: Array, y: Array, q: Parameter = 0.5) -> tuple[Array, Array]:
    """L = max(q (y - a), (q - 1) (y - a)) with dL/da = -q below y, 1 - q above."""
    d = y - activate(output_activation, z)
    slope = np.where(d > 0, -q, np.where(d < 0, 1 - q, 0.0))
    return np.maximum(q * d, (q - 1) * d), chain_through_output(output_activation, z, slope)


LOSSES: dict[str, Callable[..., tuple[Array, Array]]] = {
    f.__name__: f
    for f in (squared_error, binary_cross_entropy, cross_entropy, poisson, absolute_error, gamma, huber, quantile)
}


def default_loss(output_activation: str) -> str:
    """The loss that 'auto' stands for."""
    return {"sigmoid": "binary_cross_entropy", "softmax": "cross_entropy"}.get(output_activation, "squared_error")


def loss_and_delta(output_activation: str, loss: str, z: Array, y: Array, *parameter: Parameter) -> tuple[Array, Array]:
    """Loss of each row and its gradient with respect to the scores.

    Parameters
    ----------
    output_activation, loss : str
        A name from `OUTPUT_ACTIVATIONS` and one from `LOSSES`; every pair is allowed.
    z, y : (n, k) arrays
        Scores before the output activation, and dense targets.
    *parameter : float or (k,) array
        Of huber and quantile, if it is not 1 or 0.5.

    Returns
    -------
    row_loss, delta : (n,) and (n, k) arrays
        Loss summed over outputs, and d row_loss / dz, not divided by n.
    """
    with np.errstate(all="ignore"):
        entries, delta = LOSSES[loss](output_activation, z, y, *parameter)
        return np.sum(entries, axis=1), delta


# ---- optimisers: in place on the flat parameters p (m,), gradient g (m,), slots (SLOTS[name], m); t = 1 at first ----

HYPER: dict[str, float | Array] = {
    "momentum": 0.9, "rho": 0.9, "epsilon": 1e-8, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "decay_mask": 1.0,
}  # fmt: skip
SLOTS = {"sgd": 0, "momentum": 1, "nesterov": 1, "rmsprop": 1, "adam": 2, "adamw": 2}


def decay(p: Array, learning_rate: float, hyper: Hyper) -> None:
    """p -= lr weight_decay p where decay_mask is 1: beside the step of whatever method, which does not look at p."""
    h = {**HYPER, **hyper}
    p -= learning_rate * h["weight_decay"] * h["decay_mask"] * p


def sgd(p: Array, g: Array, slots: Array, t: int, learning_rate: float, hyper: Hyper) -> None:
    """p -= lr g."""
    decay(p, learning_rate, hyper)
    p -= learning_rate * g


def momentum(p: Array, g: Array, slots: Array, t: int, learning_rate: float, hyper: Hyper) -> None:
    """s = mu s + g;  p -= lr s. (No 1 - mu before g.)"""
    decay(p, learning_rate, hyper)
    slots[0] = {**HYPER, **hyper}["momentum"] * slots[0] + g
    p -= learning_rate * slots[0]


def nesterov(p: Array, g: Array, slots: Array, t: int, learning_rate: float, hyper: Hyper) -> None:
    """s = mu s + g;  p -= lr (g + mu s). (p is the looked-ahead point, where g was taken.)"""
    decay(p, learning_rate, hyper)
    mu = {**HYPER, **hyper}["momentum"]
    slots[0] = mu * slots[0] + g
    p -= learning_rate * (g + mu * slots[0])


def rmsprop(p: Array, g: Array, slots: Array, t: int, learning_rate: float, hyper: Hyper) -> None:
    """s = rho s + (1 - rho) g^2;  p -= lr g / (sqrt(s) + eps)."""
    decay(p, learning_rate, hyper)
    h = {**HYPER, **hyper}
    slots[0] = h["rho"] * slots[0] + (1 - h["rho"]) * g**2
    p -= learning_rate * g / (np.sqrt(slots[0]) + h["epsilon"])


def adam(p: Array, g: Array, slots: Array, t: int, learning_rate: float, hyper: Hyper) -> None:
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)."""
    decay(p, learning_rate, hyper)
    h = {**HYPER, **hyper}
    slots[0] = h["beta1"] * slots[0] + (1 - h["beta1"]) * g
    slots[1] = h["beta2"] * slots[1] + (1 - h["beta2"]) * g**2
    m_hat = slots[0] / (1 - h["beta1"] ** t)
    v_hat = slots[1] / (1 - h["beta2"] ** t)
    p -= learning_rate * m_hat / (np.sqrt(v_hat) + h["epsilon"])


def adamw(p: Array, g: Array, slots: Array, t: int, learning_rate: float, hyper: Hyper) -> None:
    """adam with weight_decay = 0.01."""
    adam(p, g, slots, t, learning_rate, {"weight_decay": 0.01, **hyper})


OPTIMIZERS = {f.__name__: f for f in (sgd, momentum, nesterov, rmsprop, adam, adamw)}


class Shuffler:
    """Marsaglia's xorshift128 (2003), `state` being four ints below 2**32, driving a Fisher-Yates shuffle."""

    def __init__(self, state: Sequence[int]) -> None:
        x, y, z, w = (int(word) for word in state)
        self.state = (x, y, z, w)

    def bits(self) -> int:
        """The next 32 random bits."""
        x, y, z, w = self.state
        t = x ^ ((x << 11) & 0xFFFFFFFF)
        self.state = (y, z, w, w ^ (w >> 19) ^ t ^ (t >> 8))
        return self.state[3]

    def permutation(self, n: int) -> NDArray[np.int64]:
        """A new order of 0 ... n-1: from the last place down, each swaps with a random place not after it."""
        order = np.arange(n)
        for i in range(n - 1, 0, -1):
            j = (self.bits() * (i + 1)) >> 32
            order[i], order[j] = order[j], order[i]
        return order


def splitmix64(key: int, number: int) -> int:
    """Output `number` (from 0) of splitmix64 (Steele, Lea, Flood 2014) that starts at `key`."""
    z = (key + (number + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return z ^ (z >> 31)


def dropout_mask(state: Sequence[int], updates: int, layer: int, rows: int, width: int, share: float) -> Array:
    """0 in about `share` of (rows, width) places, 1 / (1 - share) in the others: inverted dropout.

    Row r, column c stays if a hash of (the Shuffler's state, updates done, layer, r, c) is small: that of the row is a
    chain of splitmix64, its halves the keys of a hash of 32 bits of the column (Wellons's lowbias32).
    """
    key = state[0] | state[1] << 32
    for number in (state[2] | state[3] << 32, updates, layer):
        key = splitmix64(key, number)
    keep = min(max(round((1 - share) * 2**32), 1), 2**32 - 1)
    mask = np.zeros((rows, width))
    for r in range(rows):
        row_key = splitmix64(key, r)
        for c in range(width):
            h = (c + row_key) & 0xFFFFFFFF
            h = ((h ^ (h >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
            h = (((h ^ (h >> 15)) + (row_key >> 32)) * 0x846CA68B) & 0xFFFFFFFF
            mask[r, c] = 2**32 / keep if h ^ (h >> 16) < keep else 0.0
    return mask


def layer_views(flat: Array, layer_sizes: Sequence[int]) -> tuple[list[Array], list[Array]]:
    """Weight and bias views into a flat vector laid out as W0 (row-major), b0, W1, b1, ..."""
    weights, biases, start = [], [], 0
    for fan_in, fan_out in pairwise(layer_sizes):
        middle, stop = start + fan_in * fan_out, start + (fan_in + 1) * fan_out
        weights.append(flat[start:middle].reshape(fan_in, fan_out))
        biases.append(flat[middle:stop].reshape(1, fan_out))
        start = stop
    return weights, biases


class MLP:
    """Multi-layer perceptron: the guide's class, with a choice of activations, loss and optimiser.

    Parameters
    ----------
    layer_sizes : sequence of int
        Inputs, hidden widths, outputs.
    activation : str or list of str
        From `ACTIVATIONS`: one for all hidden layers, or one for each.
    output_activation, loss, optimizer : str
        From `OUTPUT_ACTIVATIONS`; `LOSSES` or 'auto' (see `default_loss`); `OPTIMIZERS`.
    loss_parameter : tuple of float or (k,) array
        Of huber or quantile; empty: 1 or 0.5.
    learning_rate, alpha : float
        Step, and factor of the L2 term in the objective.
    weights, biases : lists of (fan_in, fan_out) and (1, fan_out) arrays, optional
        Starting point, copied; zeros if absent.
    hyper : dict, optional
        Changes to `HYPER`; `decay_mask` is 1 on weights and 0 on biases unless given.
    order_state : four ints, optional
        Where the `Shuffler` starts that orders the rows for every epoch of every `fit`; without it they stay as given.
    dropout : list of float, optional
        For `fit`, with a `Shuffler`: the share of each hidden layer's output that is left out (see `dropout_mask`).

    Targets y are (n, k), or (n,) for one output, or (n,) integer class indices for softmax.
    """

    def __init__(
        self, layer_sizes: Sequence[int], activation: str | Sequence[str] = "relu", output_activation: str = "sigmoid",
        learning_rate: float = 0.01, weights: Sequence[Array] | None = None, biases: Sequence[Array] | None = None, *,
        loss: str = "auto", loss_parameter: tuple[Parameter, ...] = (), optimizer: str = "sgd",
        hyper: Hyper | None = None, alpha: float = 0.0, order_state: Sequence[int] | None = None,
        dropout: Sequence[float] = (),
    ) -> None:  # fmt: skip
        self.layer_sizes, self.num_layers, hidden = list(layer_sizes), len(layer_sizes), len(layer_sizes) - 2
        self.activation, self.output_activation, self.learning_rate = activation, output_activation, learning_rate
        self.hidden_activations = [activation] * hidden if isinstance(activation, str) else list(activation)
        self.loss = default_loss(output_activation) if loss == "auto" else loss
        self.loss_parameter = loss_parameter
        self.optimizer, self.alpha = optimizer, alpha
        self.shuffler = None if order_state is None else Shuffler(order_state)
        self.dropout, self.masks = dropout, [np.ones((1, 1))] * (hidden + 1)
        size = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(layer_sizes))
        self.parameters, self.slots, self.t = np.zeros(size), np.zeros((SLOTS[optimizer], size)), 0
        self.weights, self.biases = layer_views(self.parameters, layer_sizes)
        for views, given in ((self.weights, weights), (self.biases, biases)):
            for view, start in zip(views, given or views, strict=True):
                view[...] = start
        decay_mask = np.zeros(size)
        for view in layer_views(decay_mask, layer_sizes)[0]:
            view[...] = 1.0
        self.hyper: Hyper = {"decay_mask": decay_mask, **(hyper or {})}
        self.activations: list[Array] = []
        self.pre_activations: list[Array] = []

    def forward(self, X: Array) -> Array:
        """Outputs (n, k); keeps every layer's `activations` (X first) and `pre_activations` for `backward`."""
        self.activations, self.pre_activations = [np.asarray(X, dtype=np.float64)], []
        names = [*self.hidden_activations, self.output_activation]
        for W, b, name, mask in zip(self.weights, self.biases, names, self.masks, strict=True):
            z = (mask * self.activations[-1]) @ W + b
            self.pre_activations.append(z)
            self.activations.append(activate(name, z))
        return self.activations[-1]

    def backward(
        self, X: Array, y: NDArray[Any] | None, output: Array, *,
        output_gradient: Array | None = None, return_input_gradient: bool = False,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Gradient of the objective at the rows X last given to `forward`, which returned `output`.

            dW = x.T @ delta + alpha W      db = sum of delta's rows      delta below = (delta @ W.T) f'(z)

        With dropout x is mask * a of the layer below, and ``delta @ W.T`` is multiplied by the mask.

        Parameters
        ----------
        X, y, output : arrays
            As in the guide; only y is read, since the stored scores know more digits than `output`.
        output_gradient : (n, k) array, optional
            dobjective/doutput of an objective of your own, used as it is (no 1/n) instead of y; the L2 term stays.

        Returns
        -------
        dW, db[, dX] : lists of arrays shaped like `weights` and `biases`; with `return_input_gradient` dX like X
        """
        z = self.pre_activations[-1]
        if output_gradient is not None:
            delta = chain_through_output(self.output_activation, z, output_gradient)
        elif y is not None:
            delta = self._loss_and_delta(y)[1] / len(z)
        else:
            raise ValueError("backward needs y or output_gradient")
        dW, db = layer_views(np.zeros_like(self.parameters), self.layer_sizes)
        for layer in reversed(range(self.num_layers - 1)):
            x = self.masks[layer] * self.activations[layer]
            dW[layer][...] = x.T @ delta + self.alpha * self.weights[layer]
            db[layer][...] = np.sum(delta, axis=0)
            delta = delta @ self.weights[layer].T * self.masks[layer]
            if layer > 0:
                delta *= ACTIVATIONS[self.hidden_activations[layer - 1]][1](self.pre_activations[layer - 1])
        return (dW, db, delta) if return_input_gradient else (dW, db)

    def update_parameters(self, dW: Sequence[Array], db: Sequence[Array]) -> None:
        """One step of the optimiser, in place."""
        g = np.concatenate([part.ravel() for layer in zip(dW, db, strict=True) for part in layer])
        self.t += 1
        OPTIMIZERS[self.optimizer](self.parameters, g, self.slots, self.t, self.learning_rate, self.hyper)

    def compute_loss(self, y_true: NDArray[Any], y_pred: Array) -> float:
        """The guide's means over entries: no 1/2 in squared error, clipped BCE; cross-entropy is a mean over rows."""
        y = self._dense(y_true)
        if self.loss == "squared_error":
            return float(np.mean((y - y_pred) ** 2))
        if self.loss == "binary_cross_entropy":
            p = np.clip(y_pred, 1e-15, 1 - 1e-15)
            return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
        with np.errstate(all="ignore"):
            if self.loss == "absolute_error":
                return float(np.mean(np.abs(y - y_pred)))
            if self.loss == "poisson":
                return float(np.mean(_times(y, np.log(y / y_pred)) - y + y_pred))
            if self.loss in ("gamma", "huber", "quantile"):
                return float(np.mean(LOSSES[self.loss]("linear", y_pred, y, *self.loss_parameter)[0]))
            return float(-np.mean(row_sum(_times(y, np.log(y_pred)))))

    def loss_and_gradients(self, X: Array, y: NDArray[Any]) -> tuple[float, list[Array], list[Array]]:
        """Objective (L2 term included), dW and db."""
        dW, db = self.backward(X, y, self.forward(X))
        penalty = self.alpha / 2 * sum(float(np.sum(W**2)) for W in self.weights)
        return float(np.mean(self._loss_and_delta(y)[0])) + penalty, dW, db

    def fit(self, X: Array, y: NDArray[Any], *, epochs: int, batch_size: int) -> list[float]:
        """Train; return each epoch's mean over rows of the loss (no L2 term), every batch taken before its update.

        Every epoch of several batches draws a new order of rows from the `shuffler`, if there is one. The last batch
        may be smaller.
        """
        y, losses = self._dense(y), []
        for _ in range(epochs):
            order = np.arange(len(X))
            if self.shuffler and batch_size < len(X):
                order = self.shuffler.permutation(len(X))
            total = 0.0
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                self._draw_masks(len(rows))
                dW, db = self.backward(X[rows], y[rows], self.forward(X[rows]))
                total += float(np.sum(self._loss_and_delta(y[rows])[0]))
                self.update_parameters(dW, db)
            losses.append(total / len(order))
        self.masks = [np.ones((1, 1))] * (self.num_layers - 1)
        return losses

    def _draw_masks(self, n: int) -> None:
        """The masks of the hidden layers' outputs for a batch of n rows; that of X is 1."""
        for layer, share in enumerate(self.dropout, 1):
            if share > 0 and self.shuffler is not None:
                width = self.layer_sizes[layer]
                self.masks[layer] = dropout_mask(self.shuffler.state, self.t, layer, n, width, share)

    def _loss_and_delta(self, y: NDArray[Any]) -> tuple[Array, Array]:
        z = self.pre_activations[-1]
        return loss_and_delta(self.output_activation, self.loss, z, self._dense(y), *self.loss_parameter)

    def _dense(self, y: NDArray[Any]) -> Array:
        """Targets as (n, k), class indices as one-hot rows."""
        y, k = np.asarray(y), self.layer_sizes[-1]
        if self.output_activation == "softmax" and y.ndim == 1 and np.issubdtype(y.dtype, np.integer):
            return np.asarray(np.eye(k)[y])
        return np.asarray(y, dtype=np.float64).reshape(len(y), k)
