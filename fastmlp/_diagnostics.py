"""Why a network does not learn: looks at its layers for some rows of the training data, and says so in plain words."""

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from . import _validation as validation
from ._own_loss import OwnLoss
from ._trainer import Data
from .kernels.network import A, Z

if TYPE_CHECKING:
    from ._estimator_network import EstimatorNetwork
    from .estimators import BaseMLP

Array = NDArray[Any]

_ROWS = 1000  # looked at
_LEARNED = 0.95  # a loss that has not fallen to this share of the first has not been learned from
_STEEPEST = {"tanh": 1.0, "sigmoid": 0.25}  # the largest derivative of activations that saturate
_FLAT = 0.01  # a unit is saturated where its derivative is below this share of that
_MANY = 0.5  # of a layer's units
_VANISHING = 1e-3  # of the last layer's gradient
_LARGE = 100.0  # a feature


def layers(network: "EstimatorNetwork", x: Array) -> list[tuple[Array, Array]]:
    """(Z, A) of each layer for the rows of x, (rows, width) each."""
    tables = network._layout.tables(len(x), keep_z=True)
    ws = np.empty(tables.size, network.dtype)
    network._infer(x, tables, ws, network._no_output)
    return [(tables.block(ws, l, Z), tables.block(ws, l, A)) for l in range(network._layout.n_layers)]


def some_rows(data: Data) -> Array:
    """At most a thousand of the rows to train on, dense."""
    some = data.x[data.rows[:_ROWS]]
    x: Array = some.toarray() if scipy.sparse.issparse(some) else some
    return x


def where_not_finite(network: "EstimatorNetwork", data: Data) -> str:
    """What overflows first for some rows, in words: in which layer, or that it is the loss."""
    x = some_rows(data)
    for l, (z, a) in enumerate(layers(network, x)):
        if not np.isfinite(z).all():
            return f" Pre-activations overflow first in layer {l + 1}."
        if not np.isfinite(a).all():
            return f" The outputs of layer {l + 1} are the first to overflow."
    n = network._layout.n_layers
    y = data.y.reshape(data.x.shape[0], -1)[data.rows[:_ROWS]].reshape(-1)
    if not np.isfinite(network._row_losses(x, y, np.empty((len(x), network.layer_sizes[-1]), network.dtype))).all():
        whose = "Your loss" if isinstance(network.loss, OwnLoss) else "The loss"
        return f" {whose} is not finite, although the outputs, of layer {n}, are."
    dW, _ = network._layout.views(network._loss_and_gradient(x, y)[1])
    for l in reversed(range(n)):
        if not np.isfinite(dW[l]).all():
            whose = "your loss" if l == n - 1 and isinstance(network.loss, OwnLoss) else "the loss"
            return f" The gradient of {whose} is first not finite in layer {l + 1}."
    largest = int(np.argmax([np.abs(dw).max() for dw in dW]))
    return f" The gradient is largest in layer {largest + 1}: up to {np.abs(dW[largest]).max():.2g}."


def diagnose(est: "BaseMLP", network: "EstimatorNetwork", data: Data, norms: list[list[float]]) -> None:
    """Sets `diagnostics_`, and warns if the loss has hardly fallen."""
    x = some_rows(data)
    outputs = [a for _, a in layers(network, x)[:-1]]
    dead = [float(np.mean(np.ptp(a, axis=0) == 0)) for a in outputs]
    saturated = [_saturated(name, a) for name, a in zip(network.activation, outputs, strict=True)]
    found = []
    for kind, shares, advice in (
        ("give the same output for every row", dead, "lower learning_rate_init, scale the data, or try 'leaky_relu'"),
        ("are saturated for every row", saturated, "scale the data, or lower learning_rate_init"),
    ):
        found += [
            f"{share:.0%} of the units of hidden layer {l + 1} {kind}: {advice}."
            for l, share in enumerate(shares)
            if share >= _MANY
        ]
    first, last = (norms[-1][0], norms[-1][-1]) if norms else (1.0, 1.0)
    if first < _VANISHING * last:
        found.append(f"The gradient vanishes: {first:.2g} in the first layer, {last:.2g} in the last. Try 'relu'.")
    if last < _VANISHING * first:
        found.append(
            f"The gradient explodes: {first:.2g} in the first layer, {last:.2g} in the last. Lower"
            " learning_rate_init, or set clip_norm."
        )
    curve = est.loss_curve_
    if curve[-1] - curve[0] > abs(curve[0]):
        found.append(
            f"The loss has grown from {curve[0]:.2g} to {curve[-1]:.2g}: lower learning_rate_init, or set clip_norm."
        )
    size = np.abs(x).max(axis=0)
    if size.max() > _LARGE:
        found.append(f"Feature {size.argmax()} has values up to {size.max():.3g}: scale the data (StandardScaler).")
    est.diagnostics_ = {
        "gradient_norm": norms, "dead_units": dead, "saturated_units": saturated, "messages": found,
    }  # fmt: skip
    if found and not curve[-1] <= _LEARNED * curve[0]:
        validation.warn("The network does not learn. " + " ".join(found), ConvergenceWarning)


def _saturated(name: str, a: Array) -> float:
    """The share of units whose derivative is small for every row."""
    steepest = _STEEPEST.get(name)
    if steepest is None:
        return 0.0
    slope = 1 - a * a if name == "tanh" else a * (1 - a)
    return float(np.mean(slope.max(axis=0) < _FLAT * steepest))
