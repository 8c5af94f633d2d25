"""Why a network does not learn: looks at its layers for some rows of the training data, and says so in plain words."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from ._layout import A, Z
from .fitting import Data

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


def layers(network: "EstimatorNetwork", x: Array, kind: int) -> list[Array]:
    """Z or A (`kind`) of each layer for the rows of x, (rows, width)."""
    tables = network._layout.tables(len(x), keep_z=True)
    ws = np.empty(tables.size, network.dtype)
    network._infer(x, tables, ws, network._no_output)
    return [tables.block(ws, l, kind) for l in range(network._layout.n_layers)]


def some_rows(data: Data) -> Array:
    """At most a thousand of the rows to train on, dense."""
    some = data.x[data.rows[:_ROWS]]
    x: Array = some.toarray() if scipy.sparse.issparse(some) else some
    return x


def where_not_finite(network: "EstimatorNetwork", data: Data) -> str:
    """The first layer whose scores are not finite, in words; empty if all are."""
    for l, z in enumerate(layers(network, some_rows(data), Z)):
        if not np.isfinite(z).all():
            return f" Scores overflow first in layer {l + 1}."
    return ""


def diagnose(est: "BaseMLP", network: "EstimatorNetwork", data: Data, norms: list[list[float]]) -> None:
    """Sets `diagnostics_`, and warns if the loss has hardly fallen."""
    x = some_rows(data)
    outputs = layers(network, x, A)[:-1]
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
    size = np.abs(x).max(axis=0)
    if size.max() > _LARGE:
        found.append(f"Feature {size.argmax()} has values up to {size.max():.3g}: scale the data (StandardScaler).")
    est.diagnostics_ = {
        "gradient_norm": norms, "dead_units": dead, "saturated_units": saturated, "messages": found,
    }  # fmt: skip
    curve = est.loss_curve_
    if found and not curve[-1] <= _LEARNED * curve[0]:
        warnings.warn("The network does not learn. " + " ".join(found), ConvergenceWarning, stacklevel=6)


def _saturated(name: str, a: Array) -> float:
    """The share of units whose derivative is small for every row."""
    steepest = _STEEPEST.get(name)
    if steepest is None:
        return 0.0
    slope = 1 - a * a if name == "tanh" else a * (1 - a)
    return float(np.mean(slope.max(axis=0) < _FLAT * steepest))
