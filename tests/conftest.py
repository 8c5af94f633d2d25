"""What several test files build: networks that every loss has a value for, data for them, and their reference twins."""

from dataclasses import asdict

import numpy as np
import pytest

from fastmlp import MLP, Huber, Quantile, reference, warmup
from fastmlp._trainer import Trainer
from fastmlp.kernels import JIT

# An output bias that keeps outputs, with small weights before them, inside (0, 1), where every loss has a value.
_MIDDLE = {"linear": 0.5, "sigmoid": 0.1, "tanh": 0.5, "softmax": 0.1, "exp": -1.0}
# Parameters under which a mistake shows, exact in float32: errors on both sides of delta, no quantile like another.
_PARAMETRIC = {"huber": lambda k: Huber(0.25), "quantile": lambda k: Quantile((np.arange(k) % 60 + 1) / 64)}

_COMPILES = {"gw0": np.float32, "gw1": np.float64}


@pytest.fixture(scope="session", autouse=True)
def _compiled(worker_id):
    """Of the processes that run tests two compile one precision each, and find the other's kernels on disk."""
    if JIT and worker_id in _COMPILES:
        warmup(_COMPILES[worker_id])


@pytest.fixture(params=["in parts", "whole"])
def both_ways(request, monkeypatch):
    """Steps of small networks go in parts (kernels/parts.py) and, for this test, as those of large ones go."""
    if request.param == "whole":
        monkeypatch.setattr(Trainer, "_part_rows", lambda *_: 0)


@pytest.fixture(scope="session")
def network():
    """A function like `MLP`, whose networks have biases that are not zero and outputs well inside (0, 1)."""

    def make(layer_sizes, activation="tanh", output_activation="sigmoid", learning_rate=0.01, **options):
        if options.get("loss") in _PARAMETRIC:
            options["loss"] = _PARAMETRIC[options["loss"]](layer_sizes[-1])
        mlp = MLP(layer_sizes, activation, output_activation, learning_rate, **{"random_state": 0, **options})
        rng = np.random.default_rng(1)
        for b in mlp.biases:
            b[...] = rng.uniform(-0.1, 0.1, b.shape)
        mlp.weights[-1] *= 0.1 / max(1, np.abs(mlp.weights[-1]).sum(axis=0).max())
        mlp.biases[-1] += _MIDDLE[output_activation]
        return mlp

    return make


@pytest.fixture(scope="session")
def data():
    """A function that draws X, float32 in any precision, and targets, with exact zeros and ones, that suit the loss."""

    def make(mlp, rows, seed=2):
        rng = np.random.default_rng(seed)
        n_features, k = mlp.layer_sizes[0], mlp.layer_sizes[-1]
        X = rng.uniform(-1, 1, (rows, n_features)).astype(np.float32).astype(mlp.dtype)
        if mlp.output_activation == "softmax" and mlp.loss == "cross_entropy":
            return X, np.eye(k)[rng.integers(0, k, rows)]
        y = rng.uniform(0.1, 0.9, (rows, k)).astype(np.float32).astype(np.float64)
        if mlp.loss != "gamma":
            y[::3, 0] = 0
        y[1::4, -1] = 1
        return X, y

    return make


@pytest.fixture(scope="session")
def twin():
    """A function that gives the NumPy reference of a network: same parameters, optimiser and order of rows."""

    def make(mlp, shuffle=False):
        return reference.MLP(
            mlp.layer_sizes, mlp.activation, mlp.output_activation, mlp.learning_rate, mlp.weights, mlp.biases,
            loss=mlp.loss if isinstance(mlp.loss, str) else mlp.loss.name,
            loss_parameter=() if isinstance(mlp.loss, str) else (np.array(mlp.loss.of_outputs(mlp.layer_sizes[-1])),),
            optimizer=mlp.optimizer.name, hyper=asdict(mlp.optimizer), alpha=mlp.alpha,
            order_state=mlp._shuffling() if shuffle else None,
        )  # fmt: skip

    return make
