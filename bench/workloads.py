"""What is timed: networks, data, and how each contestant trains them."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from fastmlp import MLP, reference


@dataclass(frozen=True)
class Workload:
    """A classification task that a network of these sizes can learn."""

    name: str
    layer_sizes: tuple[int, ...]
    rows: int
    batch_size: int
    optimizer: str
    learning_rate: float
    output: str

    def data(self):
        """X (rows, features) float32 and y (rows,) classes: the sign of a product, or the nearest of some centres."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.rows, self.layer_sizes[0])).astype(np.float32)
        if self.output == "sigmoid":
            return X, (X[:, 0] * X[:, 1] > 0).astype(np.int64)
        centres = rng.standard_normal((self.layer_sizes[-1], self.layer_sizes[0])).astype(np.float32)
        y = rng.integers(0, len(centres), self.rows)
        return 0.9 * X + 0.3 * centres[y], y

    def fast(self, dtype=np.float32, **options):
        return MLP(
            self.layer_sizes,
            output_activation=self.output,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            weight_init="he",
            dtype=dtype,
            random_state=0,
            **options,
        )


WORKLOADS = (
    Workload("guide", (2, 10, 10, 1), 800, 32, "sgd", 0.01, "sigmoid"),
    Workload("images", (784, 256, 128, 10), 10_000, 128, "adam", 0.001, "softmax"),
)


@dataclass
class Contestant:
    """A network that has trained two epochs; `run` does `epochs` more. `error` must not exceed `bound`."""

    run: Callable[[], object]
    error: float
    bound: float
    epochs: int = 1


def _reference(workload):
    start = workload.fast(np.float64)
    return reference.MLP(
        list(workload.layer_sizes),
        output_activation=workload.output,
        learning_rate=workload.learning_rate,
        optimizer=workload.optimizer,
        weights=start.weights,
        biases=start.biases,
    )


def _parameters(model):
    return np.concatenate([np.r_[w.ravel(), b.ravel()] for w, b in zip(model.weights, model.biases, strict=True)])


def _error(parameters, workload):
    """Relative distance of `parameters` from the reference's after two epochs in the order of the rows."""
    X, y = workload.data()
    model = _reference(workload)
    model.fit(X.astype(np.float64), y, epochs=2, batch_size=workload.batch_size)
    expected = _parameters(model)
    return float(np.linalg.norm(parameters - expected) / np.linalg.norm(expected))


def _python_loop(model, workload, X):
    """The guide's own loop: forward, backward, update_parameters for every batch."""
    targets = workload.data()[1].reshape(-1, 1)
    targets = targets if workload.output == "sigmoid" else targets.ravel()

    def run():
        for start in range(0, workload.rows, workload.batch_size):
            batch = slice(start, start + workload.batch_size)
            output = model.forward(X[batch])
            model.update_parameters(*model.backward(X[batch], targets[batch], output))

    run()
    run()
    return run


def numpy_loop(workload):
    """The NumPy reference of the tests, float64."""
    model = _reference(workload)
    run = _python_loop(model, workload, workload.data()[0].astype(np.float64))
    return Contestant(run, _error(_parameters(model), workload), 1e-10)


def fastmlp_loop(workload):
    model = workload.fast()
    run = _python_loop(model, workload, workload.data()[0])
    return Contestant(run, _error(_parameters(model), workload), 1e-2)


def fastmlp_fit(workload):
    X, y = workload.data()
    model = workload.fast()
    model.fit(X, y, epochs=2, batch_size=workload.batch_size, shuffle=False)
    error = _error(_parameters(model), workload)
    epochs = 20 if workload.rows < 2000 else 1  # as a user would: many short epochs in a call
    return Contestant(lambda: model.fit(X, y, epochs=epochs, batch_size=workload.batch_size), error, 1e-2, epochs)


def scikit_learn(workload):
    """MLPClassifier from the same weights, with the same batches and precision."""
    X, y = workload.data()
    model = MLPClassifier(
        workload.layer_sizes[1:-1],
        solver=workload.optimizer,
        alpha=0.0,
        batch_size=workload.batch_size,
        learning_rate_init=workload.learning_rate,
        momentum=0.0,
        max_iter=1,
        warm_start=True,
        shuffle=False,
    )

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch at a time is what is wanted
            model.fit(X, y)

    run()
    start = workload.fast()
    for mine, its in zip([*start.weights, *start.biases], [*model.coefs_, *model.intercepts_], strict=True):
        its[...] = mine.reshape(its.shape)
    model.max_iter = 2
    run()
    parameters = [np.r_[w.ravel(), b] for w, b in zip(model.coefs_, model.intercepts_, strict=True)]
    error = _error(np.concatenate(parameters), workload)
    model.set_params(max_iter=1, shuffle=True)
    return Contestant(run, error, 1e-2)


CONTESTANTS = {
    "numpy loop": numpy_loop,
    "scikit-learn": scikit_learn,
    "fastmlp loop": fastmlp_loop,
    "fastmlp fit": fastmlp_fit,
}
