"""What is measured: networks, data, their arithmetic, and the float64 results that contestants must reproduce."""

import warnings
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fastmlp import reference

# A check trains two epochs of so much, with a lower learning rate: at the full one, a rounding that turns one relu on
# grows in some dozen steps to a percent of everything, in every float32 library, and would hide true errors.
_CHECK_ARITHMETIC = 2e10
_CHECK_BATCHES = 8
_CHECK_RATE = 0.1


def initial_parameters(layer_sizes, dtype):
    """One vector W0 (row-major), b0, W1, b1, ...: normal weights with variance 2 / fan_in, biases of 0."""
    rng = np.random.default_rng(1)
    parts = []
    for fan_in, fan_out in pairwise(layer_sizes):
        parts += [rng.standard_normal(fan_in * fan_out) * np.sqrt(2 / fan_in), np.zeros(fan_out)]
    return np.concatenate(parts).astype(dtype)


def _reference(case, learning_rate=0.0, **options):
    """The NumPy class, in float64 from the case's start."""
    layers = reference.layer_views(case.start(), case.layer_sizes)
    return reference.MLP(case.layer_sizes, case.activation, case.output, learning_rate, *layers, **options)


def relative_error(result, expected, origin=0.0):
    """Distance of `result` from `expected`, by the distance that `expected` has gone from `origin`."""
    distance = np.linalg.norm(np.asarray(result, np.float64) - expected)
    return float(distance / np.linalg.norm(expected - origin))


@dataclass(frozen=True)
class Training:
    """Epochs of training. The result that is checked: the parameters after two epochs in the order of the rows."""

    name: str
    layer_sizes: tuple[int, ...]
    activation: str
    output: str
    batch_size: int
    rows: int
    optimizer: str
    learning_rate: float = 1e-3
    dtype: str = "float32"

    @property
    def description(self):
        batch = f"{self.batch_size:,} of {self.rows:,} rows" if self.shuffled else f"all {self.rows:,} rows"
        options = self.activation, self.output, batch, self.optimizer, self.dtype
        return f"{'-'.join(map(str, self.layer_sizes))} {', '.join(options)}"

    @property
    def shuffled(self):
        """The order of rows matters only where an epoch has several batches."""
        return self.batch_size < self.rows

    def data(self):
        """X (rows, features), y (rows,) classes or (rows, outputs) numbers; noise keeps y from being learnt whole."""
        rng = np.random.default_rng(0)
        n_features, k = self.layer_sizes[0], self.layer_sizes[-1]
        X = rng.standard_normal((self.rows, n_features)).astype(self.dtype)
        if self.output == "linear":
            y = np.sin(X @ rng.standard_normal((n_features, k)) / np.sqrt(n_features))
            return X, (y + 0.1 * rng.standard_normal(y.shape)).astype(self.dtype)
        classes = max(2, k)
        y = np.argmax(X[:, :8] @ rng.standard_normal((min(8, n_features), classes)), axis=1)
        noisy = rng.random(self.rows) < 0.2
        y[noisy] = rng.integers(0, classes, noisy.sum())
        y[:classes] = np.arange(classes)  # some libraries look at y to see what classes there are
        return X, y

    def arithmetic(self):
        """Floating-point operations in the products of an epoch: three for each layer, two for the first."""
        products = 3 * sum(a * b for a, b in pairwise(self.layer_sizes)) - self.layer_sizes[0] * self.layer_sizes[1]
        return 2 * products * self.rows

    def start(self):
        return initial_parameters(self.layer_sizes, self.dtype)

    def checked(self):
        """The same with a few batches, two at least where there are several, and the same last one that is not full."""
        whole, rest = divmod(self.rows, self.batch_size)
        affordable = int(_CHECK_ARITHMETIC / self.arithmetic() * self.rows / self.batch_size)
        rows = min(whole, _CHECK_BATCHES, max(2, affordable)) * self.batch_size + rest
        return replace(self, rows=rows, learning_rate=self.learning_rate * _CHECK_RATE)

    def tiny(self):
        """The same task in miniature, with a last batch that is not full where there are several."""
        layer_sizes = tuple(min(size, 24) for size in self.layer_sizes)
        batch_size = min(self.batch_size, 16)
        rows = 5 * batch_size + 3 if self.shuffled else batch_size
        return replace(self, layer_sizes=layer_sizes, batch_size=batch_size, rows=rows)

    def reference(self):
        return _reference(self, self.learning_rate, optimizer=self.optimizer)

    def expected(self):
        small = self.checked()
        model = small.reference()
        X, y = small.data()
        model.fit(X.astype(np.float64), y, epochs=2, batch_size=small.batch_size)
        return model.parameters

    def error(self, result, expected):
        """By the distance that the parameters have gone: who has not trained at all is off by 1."""
        return relative_error(result, expected, self.start())

    def bound(self):
        return 1e-2 if self.dtype == "float32" else 1e-7


@dataclass(frozen=True)
class Prediction:
    """Outputs for some rows: NumPy array in, NumPy array out."""

    layer_sizes: tuple[int, ...]
    output: str
    rows: int
    activation: str = "relu"
    dtype: str = "float32"

    @property
    def name(self):
        return f"{'-'.join(map(str, self.layer_sizes))}, {self.rows} row{'s' * (self.rows > 1)}"

    description = name

    def data(self):
        return np.random.default_rng(0).standard_normal((self.rows, self.layer_sizes[0])).astype(self.dtype)

    def arithmetic(self):
        return 2 * sum(a * b for a, b in pairwise(self.layer_sizes)) * self.rows

    def start(self):
        return initial_parameters(self.layer_sizes, self.dtype)

    def tiny(self):
        return replace(self, layer_sizes=tuple(min(s, 24) for s in self.layer_sizes), rows=min(self.rows, 37))

    def expected(self):
        return _reference(self).forward(self.data())

    def error(self, result, expected):
        return relative_error(result, expected)

    def bound(self):
        return 1e-5


@dataclass(frozen=True)
class Fit:
    """Epochs of an estimator that classifies, in batches of 200, as scikit-learn's defaults have it.

    The result that is checked: the parameters, and the loss of each epoch, after some epochs in the order of the rows.
    scikit-learn's, in float64, is what is expected.
    """

    data_set: str  # scikit-learn's, scaled; or made up
    layer_sizes: tuple[int, ...]
    rows: int
    epochs: int
    dtype: str = "float32"
    learning_rate: float = 1e-3
    epsilon: float = 1e-8
    shuffle: bool = True

    @property
    def name(self):
        return f"fit {self.data_set}, {self.epochs} epoch{'s' * (self.epochs > 1)}, {self.dtype}"

    @property
    def description(self):
        return f"{'-'.join(map(str, self.layer_sizes))}, {min(200, self.rows)} of {self.rows:,} rows"

    def _epoch(self):
        output = "sigmoid" if self.layer_sizes[-1] == 1 else "softmax"
        return Training(self.data_set, self.layer_sizes, "relu", output, 200, self.rows, "adam", dtype=self.dtype)

    def data(self):
        if self.data_set == "made up":
            return self._epoch().data()
        X, y = load_data_set(self.data_set)
        return X[: self.rows].astype(self.dtype), y[: self.rows]

    def parameters(self):
        """Of an estimator. It never waits longer for an improvement than it trains."""
        return {
            "hidden_layer_sizes": self.layer_sizes[1:-1], "max_iter": self.epochs, "n_iter_no_change": self.epochs,
            "learning_rate_init": self.learning_rate, "epsilon": self.epsilon, "shuffle": self.shuffle,
            "random_state": 0,
        }  # fmt: skip

    def arithmetic(self):
        return self.epochs * self._epoch().arithmetic()

    def checked(self):
        """Few epochs at a lower rate, as in `Training`; with an epsilon that is nothing wherever Adam adds it."""
        rate = self.learning_rate * _CHECK_RATE
        return replace(self, epochs=min(5, self.epochs), learning_rate=rate, epsilon=1e-20, shuffle=False)

    def tiny(self):
        if self.data_set != "made up":
            return replace(self, epochs=2)
        return replace(self, layer_sizes=tuple(min(size, 24) for size in self.layer_sizes), rows=230, epochs=2)

    def expected(self):
        from sklearn.neural_network import MLPClassifier

        small = self.checked()
        X, y = small.data()
        return learned(fitted(MLPClassifier(**small.parameters()), X.astype(np.float64), y))

    def start(self):
        """The initial parameters, and no losses."""
        from sklearn.neural_network import MLPClassifier

        X, y = self.data()
        still = {**self.parameters(), "max_iter": 1, "learning_rate_init": 1e-300}
        vector = learned(fitted(MLPClassifier(**still), X[:200].astype(np.float64), y[:200]))
        return np.concatenate([vector[:-1], np.zeros(self.checked().epochs)])

    def error(self, result, expected):
        return relative_error(result, expected, self.start())

    def bound(self):
        return 1e-2 if self.dtype == "float32" else 1e-7


@dataclass(frozen=True)
class Search:
    """A grid search on two cores. The result that is checked: the mean scores of a few candidates."""

    backend: str  # joblib's: processes, or threads
    epochs: int = 100
    n_alphas: int = 5
    folds: int = 5
    dtype = "float64"
    shuffle: bool = True
    data_set = "breast_cancer"

    @property
    def name(self):
        return f"grid search, {4 * self.n_alphas * self.folds} fits, n_jobs=2, {self.backend}"

    @property
    def description(self):
        return f"{self.data_set}, 30-32-1 and 30-64-64-1, at most {self.epochs} epochs"

    def data(self):
        return load_data_set(self.data_set)

    def parameters(self):
        return {"max_iter": self.epochs, "random_state": 0, "shuffle": self.shuffle}

    def grid(self):
        return {
            "hidden_layer_sizes": [(32,), (64, 64)],
            "learning_rate_init": [1e-3, 3e-3],
            "alpha": np.logspace(-5, -1, self.n_alphas).tolist(),
        }

    def search(self, estimator, n_jobs=2):
        import joblib
        from sklearn.model_selection import GridSearchCV

        with joblib.parallel_config(backend=self.backend, n_jobs=n_jobs):
            return fitted(GridSearchCV(estimator, self.grid(), cv=self.folds), *self.data())

    def arithmetic(self):
        layers = (30, 32, 1), (30, 64, 64, 1)
        epochs = sum(Training("", sizes, "relu", "sigmoid", 200, 569, "adam").arithmetic() for sizes in layers)
        return 2 * self.n_alphas * (self.folds - 1) * self.epochs * epochs  # of all folds' training rows

    def checked(self):
        return replace(self, epochs=10, n_alphas=1, folds=2, shuffle=False)

    def tiny(self):
        return replace(self, epochs=2, n_alphas=1, folds=2)

    def expected(self):
        from sklearn.neural_network import MLPClassifier

        small = self.checked()
        return small.search(MLPClassifier(**small.parameters()), n_jobs=1).cv_results_["mean_test_score"]

    def error(self, result, expected):
        return relative_error(result, expected)

    def bound(self):
        return 1e-9


def load_data_set(name):
    """X, scaled, and y."""
    import sklearn.datasets
    from sklearn.preprocessing import scale

    X, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))  # some are sorted by class
    return scale(X)[order], y[order]


def fitted(estimator, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged, it says after so few epochs
        return estimator.fit(X, y)


def learned(estimator):
    """One vector: coefs_, intercepts_, loss_curve_."""
    arrays = *estimator.coefs_, *estimator.intercepts_, np.array(estimator.loss_curve_)
    return np.concatenate([np.ravel(array) for array in arrays])


@dataclass(frozen=True)
class Product:
    """One of the three products of a dense layer, on one thread.

    forward x @ W, gradient x.T @ delta, recursion delta @ W.T, with x (rows, fan_in), W (fan_in, fan_out).
    """

    product: str
    rows: int
    fan_in: int
    fan_out: int
    dtype: str = "float32"

    @property
    def name(self):
        return f"{self.product} {self.rows} x {self.fan_in} x {self.fan_out}"

    description = name

    def data(self):
        """A (m, k) and B (k, n), views of x, W and delta as a layer has them."""
        rng = np.random.default_rng(0)
        shapes = (self.rows, self.fan_in), (self.fan_in, self.fan_out), (self.rows, self.fan_out)
        x, W, delta = (rng.standard_normal(shape).astype(self.dtype) for shape in shapes)
        return {"forward": (x, W), "gradient": (x.T, delta), "recursion": (delta, W.T)}[self.product]

    def arithmetic(self):
        return 2 * self.rows * self.fan_in * self.fan_out

    def tiny(self):
        return replace(self, rows=min(self.rows, 19), fan_in=min(self.fan_in, 35), fan_out=min(self.fan_out, 33))

    def expected(self):
        A, B = self.data()
        return A.astype(np.float64) @ B.astype(np.float64)

    def error(self, result, expected):
        return relative_error(result, expected)

    def bound(self):
        length = {"forward": self.fan_in, "gradient": self.rows, "recursion": self.fan_out}[self.product]
        return 4 * length**0.5 * float(np.finfo(self.dtype).eps)


TRAINING = (
    Training("guide", (2, 10, 10, 1), "relu", "sigmoid", 32, 800, "sgd", 0.01),
    Training("chains", (4, 32, 16, 4), "tanh", "linear", 10_000, 10_000, "adam"),
    Training("surrogate", (4, 64, 64, 64, 1), "relu", "linear", 1024, 8192, "adam"),
    Training("tabular", (54, 128, 128, 7), "relu", "softmax", 256, 20_000, "adam"),
    Training("images", (784, 256, 128, 10), "relu", "softmax", 128, 10_000, "adam"),
    Training("wide", (1024, 2048, 2048, 10), "relu", "softmax", 512, 4096, "adam"),
)

# What nobody tuned for: odd sizes, other activations, optimisers, batches, depths and float64.
NEIGHBOURS = (
    Training("odd", (37, 101, 67, 3), "relu", "softmax", 100, 5000, "momentum", 0.01),
    Training("deep", (20, 50, 50, 50, 50, 1), "sigmoid", "sigmoid", 64, 4000, "sgd", 0.01),
    Training("gelu", (100, 200, 200, 10), "gelu", "softmax", 256, 8192, "adam"),
    Training("batches of 8", (30, 100, 5), "tanh", "softmax", 8, 2000, "adam"),
    Training("regression", (12, 300, 300, 3), "tanh", "linear", 500, 10_000, "momentum", 0.01),
    Training("float64", (54, 128, 128, 7), "relu", "softmax", 256, 20_000, "adam", dtype="float64"),
)

PREDICTION = tuple(
    Prediction(layer_sizes, output, rows)
    for rows in (1, 4096)
    for layer_sizes, output in (
        ((2, 10, 10, 1), "sigmoid"),
        ((54, 128, 128, 7), "softmax"),
        ((784, 256, 128, 10), "softmax"),
    )
)

# What scikit-learn's users run: small nets that train in a moment, one row, many fits at once.
ESTIMATORS = (
    *(
        Fit(*case, dtype=dtype)
        for case in (
            ("iris", (4, 16, 3), 150, 1),
            ("iris", (4, 16, 3), 150, 100),
            ("digits", (64, 64, 10), 1797, 50),
            ("breast_cancer", (30, 64, 64, 1), 569, 100),
            ("made up", (54, 128, 128, 7), 10_000, 5),
            ("made up", (784, 256, 128, 10), 10_000, 2),
        )
        for dtype in ("float32", "float64")
    ),
    *(case for case in PREDICTION if case.rows == 1 and case.layer_sizes[-1] > 1),
    Search("loky"),
    Search("threading"),
)

PRODUCTS = tuple(
    Product(product, *shape)
    for shape in (
        (1, 54, 128),
        (1, 784, 256),
        (32, 10, 1),
        (32, 10, 10),
        (256, 128, 10),
        (64, 64, 64),
        (97, 201, 303),
        (128, 784, 256),
        (256, 128, 128),
        (256, 54, 128),
        (1024, 64, 64),
        (512, 1024, 2048),
        (512, 2048, 2048),
    )
    for product in ("forward", "gradient", "recursion")
)

_BASE = Training("growth", (64, 128, 128, 10), "relu", "softmax", 256, 4096, "adam")


def _hidden(*sizes):
    return replace(_BASE, layer_sizes=(_BASE.layer_sizes[0], *sizes, _BASE.layer_sizes[-1]))


# What is varied: value on the axis -> workload. The cores, which belong to the workers, are varied for the last one.
GROWTH = {
    "rows": {rows: replace(_BASE, rows=rows) for rows in (256, 1024, 4096, 16_384, 65_536)},
    "width": {width: _hidden(width, width) for width in (8, 32, 128, 512, 1024)},
    "depth": {depth: _hidden(*[128] * depth) for depth in (1, 2, 4, 8)},
    "batch": {batch: replace(_BASE, batch_size=batch) for batch in (16, 64, 256, 1024, 4096)},
}
CORES_WORKLOAD = _hidden(512, 512)
