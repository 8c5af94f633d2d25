"""Bad input: an exception at the call that names argument, what came and what was wanted; the model stays as it was."""

# ruff: noqa: NPY002 (the global generator is what random_state=None draws from)

import math
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from fastmlp import MLP, Adam, AdamW, Huber, Momentum, Nesterov, Quantile, RMSprop
from fastmlp.kernels import JIT, training
from fastmlp.losses import Loss
from fastmlp.optimizers import Optimizer

N = 6
X = np.random.default_rng(0).uniform(-1, 1, (N, 3))
Y = {
    "regression": np.random.default_rng(1).uniform(-1, 1, (N, 2)),
    "binary": np.array([0.0, 1, 1, 0, 1, 0]),
    "classes": np.array([0, 1, 2, 2, 1, 0]),
}
LAYERS = {"regression": ([3, 4, 2], "linear"), "binary": ([3, 4, 1], "sigmoid"), "classes": ([3, 4, 3], "softmax")}


def make(kind, **options):
    """A network in the middle of its life: a fit and a forward pass behind it."""
    sizes, output = LAYERS[kind]
    mlp = MLP(sizes, "tanh", output, **{"optimizer": "adam", "random_state": 0, **options})
    mlp.fit(X, Y[kind], epochs=2, batch_size=4)
    mlp.forward(X)
    return mlp


def _bits(array):
    return None if array is None else (array.dtype, array.shape, array.tobytes())


def snapshot(mlp):
    """Every bit on which predictions, further training and `backward` depend."""
    arrays = [mlp.parameters, mlp._slots, mlp._shuffle_state, *mlp.activations, *mlp.pre_activations]
    own = [mlp._rng.get_state()] if isinstance(mlp._rng, np.random.RandomState) else []
    generators = [(name, key.tobytes(), *rest) for name, key, *rest in [np.random.get_state(), *own]]
    return [*map(_bits, arrays), int(mlp._updates[0]), mlp.learning_rate, mlp.alpha, generators]


def poke_parameters(mlp):
    mlp.weights[0][0, 0] = np.nextafter(mlp.weights[0][0, 0], np.inf, dtype=mlp.dtype)


def poke_slots(mlp):
    mlp._slots[-1] += 1


def poke_shuffling(mlp):
    mlp._shuffle_state[2] ^= 1


def poke_forward(mlp):
    mlp.forward(X[:2])


@pytest.mark.parametrize(
    "poke",
    [poke_parameters, poke_slots, poke_shuffling, poke_forward, lambda mlp: np.random.random(),
     lambda mlp: mlp.update_parameters(*mlp.backward(X, Y["regression"]))],
)  # fmt: skip
def test_the_snapshot_notices_every_change(poke):
    mlp = make("regression")
    before = snapshot(mlp)
    assert snapshot(mlp) == before
    poke(mlp)
    assert snapshot(mlp) != before


def rejected(mlp, call, error, message):
    before = snapshot(mlp)
    with pytest.raises(error, match=message):
        call(mlp)
    assert snapshot(mlp) == before


# --- X ---


def _with(value, row=4, column=1):
    array = X.copy()
    array[row, column] = value
    return array


def _frame(**columns):
    return pd.DataFrame(X, columns=["a", "b", "c"]).assign(**columns)


# name: (X, error, message); {X} is what the argument is called
BAD_X = {
    "a column too many": (np.zeros((N, 4)), ValueError, r"{X} must have 3 features .*got shape \(6, 4\)"),
    "a column too few": (np.zeros((N, 2)), ValueError, r"{X} must have 3 features .*got shape \(6, 2\)"),
    "no columns": (np.zeros((N, 0)), ValueError, r"{X} must have 3 features .*got shape \(6, 0\)"),
    "1-D": (np.zeros(3), ValueError, r"{X} must be 2-D, \(rows, 3\), got shape \(3,\); .*{X}\.reshape\(1, -1\)"),
    "3-D": (np.zeros((N, 3, 1)), ValueError, r"{X} must be 2-D, \(rows, 3\), got shape \(6, 3, 1\)$"),
    "a number": (1.5, ValueError, r"{X} must be 2-D, \(rows, 3\), got shape \(\)$"),
    "no rows": (np.zeros((0, 3)), ValueError, r"{X} is empty: at least one row is wanted, got shape \(0, 3\)"),
    "an empty list": ([], ValueError, r"{X} must be 2-D, \(rows, 3\), got shape \(0,\)"),
    "NaN": (_with(np.nan), ValueError, r"{X} must be finite in float32, got nan at {X}\[4, 1\]"),
    "infinity": (_with(np.inf), ValueError, r"{X} must be finite in float32, got inf at {X}\[4, 1\]"),
    "negative infinity": (_with(-np.inf, 0, 0), ValueError, r"{X} must be finite .*got -inf at {X}\[0, 0\]"),
    "float64 beyond float32": (_with(1e39), ValueError, r"{X} must be finite in float32, got inf at {X}\[4, 1\]"),
    "longdouble beyond float32": (
        _with(1e39).astype(np.longdouble), ValueError, r"{X} must be finite in float32, got inf at {X}\[4, 1\]"
    ),
    "an integer of 400 digits": ([[10**400, 1, 2]], ValueError, r"{X} must be .*real numbers.*too large"),
    "complex": (X.astype(complex), TypeError, r"{X} must hold real numbers, got dtype complex128"),
    "complex among objects": (X.astype(complex).astype(object), TypeError, r"{X} must hold real numbers, got \(.*j\)"),
    "objects": (np.array([[1, 2, {}]], object), TypeError, r"{X} must hold real numbers, got {{}} at {X}\[0, 2\]"),
    "None": (None, TypeError, r"^{X} must hold real numbers, got None$"),
    "a None inside": ([[1, None, 3]], TypeError, r"{X} must hold real numbers, got None at {X}\[0, 1\]"),
    "a dictionary": ({"a": 1}, TypeError, r"{X} must hold real numbers, got {{'a': 1}}"),
    "strings": (X.astype(str), TypeError, r"{X} must hold real numbers, got dtype <U"),
    "bytes": (X.astype("S8"), TypeError, r"{X} must hold real numbers, got dtype \|S8"),
    "dates": (np.zeros((N, 3), "M8[s]"), TypeError, r"{X} must hold real numbers, got dtype datetime64"),
    "durations": (np.zeros((N, 3), "m8[s]"), TypeError, r"{X} must hold real numbers, got dtype timedelta64"),
    "records": (np.zeros((N, 3), "f4,f4"), TypeError, r"{X} must hold real numbers, got dtype \[\("),
    "ragged": ([[1, 2, 3], [1, 2]], ValueError, r"{X} must be a rectangular array of real numbers"),
    "ragged objects": (np.array([[1, 2, 3], [1]], object), TypeError, r"{X} must hold real numbers, got \[1, 2, 3\]"),
    "sparse matrix": (scipy.sparse.csr_matrix(X), TypeError, r"{X} is a sparse matrix; .*{X}\.toarray\(\)"),
    "sparse array": (scipy.sparse.coo_array(X), TypeError, r"{X} is a sparse matrix; .*{X}\.toarray\(\)"),
    "masked": (np.ma.masked_less(X, 0), ValueError, r"{X} has masked entries; .*{X}\.filled"),
    "frame with text": (_frame(b=list("uvwxyz")), TypeError, r"{X} must hold real numbers, got 'u' at {X}\[0, 1\]"),
    "frame with dates": (
        _frame(c=pd.Timestamp(0)), TypeError, r"{X} must hold real numbers, got Timestamp.* {X}\[0, 2\]"
    ),
    "nullable frame with a gap": (
        _frame().astype("Float64").mask(0.9 * X.max() < X), (TypeError, ValueError), r"{X} must .*(<NA>|nan) at {X}\["
    ),
    "series": (pd.Series([1.0, 2, 3]), ValueError, r"{X} must be 2-D, \(rows, 3\), got shape \(3,\)"),
}  # fmt: skip

TAKES_X = {
    "forward": ("X", lambda mlp, x, y: mlp.forward(x)),
    "predict": ("X", lambda mlp, x, y: mlp.predict(x)),
    "predict_classes": ("X", lambda mlp, x, y: mlp.predict_classes(x)),
    "loss_and_gradients": ("X", lambda mlp, x, y: mlp.loss_and_gradients(x, y)),
    "fit": ("X", lambda mlp, x, y: mlp.fit(x, y, epochs=1)),
    "validation_data": ("validation_data[0]", lambda mlp, x, y: mlp.fit(X, y, epochs=1, validation_data=(x, y))),
}


def expand(table, takers, placeholder):
    """A row for each bad value and each call that takes it."""
    for entry, (name, call) in takers.items():
        for label, (value, error, message) in table.items():
            pattern = message.replace(f"{{{placeholder}}}", re.escape(name)).replace("{{", r"\{").replace("}}", r"\}")
            yield pytest.param(call, value, error, pattern, id=f"{entry}-{label}")


@pytest.mark.parametrize(("call", "value", "error", "message"), list(expand(BAD_X, TAKES_X, "X")))
def test_bad_features(call, value, error, message):
    rejected(make("binary"), lambda mlp: call(mlp, value, Y["binary"]), error, message)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("where", [(0, 0), (N - 1, 2), (3, 1)])
def test_no_number_escapes_the_scan(value, dtype, where):
    message = rf"X must be finite in {np.dtype(dtype)}, got {value} at X\[{where[0]}, {where[1]}\]"
    mlp = make("regression", dtype=dtype)
    bad = _with(value, *where).astype(dtype)
    for name in ("forward", "predict", "fit"):
        rejected(mlp, lambda mlp, name=name: TAKES_X[name][1](mlp, bad, Y["regression"]), ValueError, message)


def test_the_scan_sees_numbers_beyond_its_first_piece():
    mlp = MLP([3, 2, 1], random_state=0)
    x = np.zeros((400_000 if JIT else 1000, 3), np.float32)  # more than one piece of 4 MB
    x[-2, 1] = np.nan
    rejected(mlp, lambda mlp: mlp.fit(x, np.zeros(len(x))), ValueError, rf"nan at X\[{len(x) - 2}, 1\]")


# --- y ---


def _targets(kind, value, index):
    array = np.array(Y[kind], float)
    array[index] = value
    return array


ONE_HOT = np.eye(3)[Y["classes"]]

BAD_ANY_Y = {
    "too short": (np.zeros(N - 1), ValueError, r"{y} must have an entry for each of the 6 rows of .*got shape \(5,\)"),
    "too long": (np.zeros(N + 1), ValueError, r"{y} must have an entry for each of the 6 rows of .*got shape \(7,\)"),
    "a number": (0.0, ValueError, r"{y} must have shape \(6, .*got \(\)"),
    "empty": ([], ValueError, r"{y} must have shape \(6, .*got \(0,\)"),
    "no columns": (np.zeros((N, 0)), ValueError, r"{y} must have shape \(6, .*got \(6, 0\)"),
    "3-D": (np.zeros((N, 1, 1)), ValueError, r"{y} must have shape \(6, .*got \(6, 1, 1\)"),
    "four columns": (np.zeros((N, 4)), ValueError, r"{y} must have shape \(6, .*got \(6, 4\)"),
    "complex": (np.zeros(N, complex), TypeError, r"{y} must hold real numbers, got dtype complex128"),
    "strings": (["0"] * N, TypeError, r"{y} must hold real numbers, got dtype <U1"),
    "objects": ([0, 1, None, 0, 1, 1], TypeError, r"{y} must hold real numbers, got None at {y}\[2\]"),
    "dates": (np.zeros(N, "M8[s]"), TypeError, r"{y} must hold real numbers, got dtype datetime64"),
    "ragged": ([[0], [0, 1]] * 3, ValueError, r"{y} must be a rectangular array of real numbers"),
    "sparse": (scipy.sparse.csr_matrix(np.eye(N)), TypeError, r"{y} is a sparse matrix"),
    "masked": (np.ma.masked_equal(np.arange(N) % 2, 1), ValueError, r"{y} has masked entries"),
}
BAD_Y = {
    "regression": {
        "1-D for two outputs": (np.zeros(N), ValueError, r"{y} must have shape \(6, 2\), got \(6,\)"),
        "one column for two outputs": (np.zeros((N, 1)), ValueError, r"{y} must have shape \(6, 2\), got \(6, 1\)"),
        "NaN": (_targets("regression", np.nan, (3, 1)), ValueError, r"{y} must be finite .*got nan at {y}\[3, 1\]"),
        "infinity": (_targets("regression", -np.inf, (0, 0)), ValueError, r"{y} must be finite .*-inf at {y}\[0, 0\]"),
        "beyond float32": (_targets("regression", 1e39, (2, 0)), ValueError, r"{y} must be finite in float32, got inf"),
    },
    "binary": {
        "above 1": (
            _targets("binary", 1.001, 2), ValueError, r"{y} must be in \[0, 1\] for binary_.*got 1\.001 at {y}\[2\]"
        ),
        "below 0": (_targets("binary", -1, 5), ValueError, r"{y} must be in \[0, 1\] for binary_.*got -1 at {y}\[5\]"),
        "column above 1": (
            _targets("binary", 2, 2)[:, None], ValueError, r"{y} must be in \[0, 1\] .*got 2 at {y}\[2, 0\]"
        ),
        "NaN": (_targets("binary", np.nan, 4), ValueError, r"{y} must be finite .*got nan at {y}\[4\]"),
        "infinity": (_targets("binary", np.inf, 4), ValueError, r"{y} must be finite .*got inf at {y}\[4\]"),
        "two columns": (np.zeros((N, 2)), ValueError, r"{y} must have shape \(6, 1\) or \(6,\), got \(6, 2\)"),
    },
    "classes": {
        "label too large": (_targets("classes", 3, 1), ValueError, r"{y} must hold class indices 0 to 2.*{y}\[1\] = 3"),
        "label negative": (
            _targets("classes", -1, 1), ValueError, r"{y} must hold class indices 0 to 2.*{y}\[1\] = -1"
        ),
        "label fractional": (_targets("classes", 0.5, 0), ValueError, r"{y} must hold class indices 0 to 2.*= 0\.5"),
        "label NaN": (_targets("classes", np.nan, 0), ValueError, r"{y} must hold class indices 0 to 2.*= nan"),
        "label infinite": (_targets("classes", np.inf, 0), ValueError, r"{y} must hold class indices 0 to 2.*= inf"),
        "label huge": (_targets("classes", 2**64, 0), ValueError, r"{y} must hold class indices 0 to 2"),
        "labels in a column": (
            Y["classes"][:, None], ValueError, r"{y} must have shape \(6, 3\) or \(6,\), got \(6, 1\); .*{y}\.ravel\(\)"
        ),
        "row that sums to 0.9": (ONE_HOT * 0.9, ValueError, r"{y} must be one-hot .* sum to 1; {y}\[0\] sums to 0\.9"),
        "row of zeros": (
            ONE_HOT * (np.arange(N) != 3)[:, None], ValueError, r"{y} must be one-hot.* {y}\[3\] sums to 0"
        ),
        "entry above 1": (
            ONE_HOT * 2, ValueError, r"{y} must be in \[0, 1\] for cross_entropy of a softmax .*got 2 at"
        ),
        "entry below 0": (ONE_HOT - [0, 0, 1] + 0.0, ValueError, r"{y} must be in \[0, 1\] .*got -1 at {y}\[0, 2\]"),
        "NaN": (ONE_HOT + np.nan, ValueError, r"{y} must be finite .*got nan at {y}\[0, 0\]"),
    },
}  # fmt: skip

TAKES_Y = {
    "fit": ("y", lambda mlp, y, good: mlp.fit(X, y, epochs=1)),
    "loss_and_gradients": ("y", lambda mlp, y, good: mlp.loss_and_gradients(X, y)),
    "backward": ("y", lambda mlp, y, good: mlp.backward(X, y)),
    "validation_data": ("validation_data[1]", lambda mlp, y, good: mlp.fit(X, good, validation_data=(X, y))),
}


@pytest.mark.parametrize(
    ("kind", "call", "value", "error", "message"),
    [
        pytest.param(kind, *row.values, id=f"{kind}-{row.id}")
        for kind, table in BAD_Y.items()
        for row in expand({**BAD_ANY_Y, **table}, TAKES_Y, "y")
    ],
)
def test_bad_targets(kind, call, value, error, message):
    rejected(make(kind), lambda mlp: call(mlp, value, Y[kind]), error, message)


@pytest.mark.parametrize(
    ("output", "loss", "value", "message"),
    [
        ("linear", "cross_entropy", -0.5, r"y must be in \[0, .*for cross_entropy of a linear output, got -0\.5"),
        ("tanh", "binary_cross_entropy", -0.5, r"y must be in \[0, 1\] for binary_cross_entropy of a tanh output"),
        ("softmax", "binary_cross_entropy", 1.5, r"y must be in \[0, 1\] for binary_cross_entropy of a softmax output"),
        ("exp", "gamma", 0.0, r"y must be > 0 for gamma of a exp output, got 0 at y\[0, 0\]"),
    ],
)
def test_targets_that_the_loss_has_no_value_for(output, loss, value, message):
    mlp = MLP([3, 2], output_activation=output, loss=loss, random_state=0)
    rejected(mlp, lambda mlp: mlp.fit(X, np.full((N, 2), value)), ValueError, message)


def test_class_indices_that_the_loss_has_no_value_for():
    mlp = MLP([3, 2], output_activation="softmax", loss="gamma", random_state=0)
    message = r"y must have shape \(6, 2\) for gamma; class indices imply zeros"
    rejected(mlp, lambda mlp: mlp.fit(X, [0, 1] * 3), ValueError, message)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Huber(0), ValueError, "delta must be > 0 and finite, got 0"),
        (lambda: Huber("1"), TypeError, "delta must be a number, got '1'"),
        (lambda: Quantile(0), ValueError, "quantile must be > 0 and < 1 and finite, got 0"),
        (lambda: Quantile(math.nan), ValueError, "quantile must be > 0 and < 1 and finite, got nan"),
        (lambda: Quantile([0.5, 1]), ValueError, r"quantile\[1\] must be > 0 and < 1 and finite, got 1"),
        (lambda: Quantile([]), ValueError, r"quantile must be a number or several, got \[\]"),
        (lambda: Quantile("0.5"), TypeError, "quantile must be a number, got '0.5'"),
        (lambda: Quantile([[0.5]]), TypeError, r"quantile\[0\] must be a number, got \[0.5\]"),
    ],
)
def test_bad_parameters_of_losses(make, error, message):
    with pytest.raises(error, match=message):
        make()


# --- the network ---

# name: (arguments, keywords, error, message)
BAD_NETWORKS = {
    "no sizes": (([],), {}, ValueError, r"layer_sizes must name at least the inputs and the outputs, got \[\]"),
    "one size": (([3],), {}, ValueError, r"layer_sizes must name at least the inputs and the outputs, got \[3\]"),
    "size 0": (([3, 0, 1],), {}, ValueError, r"layer_sizes\[1\] must be at least 1, got 0"),
    "negative size": (([3, 4, -1],), {}, ValueError, r"layer_sizes\[2\] must be at least 1, got -1"),
    "bool size": (([3, True],), {}, TypeError, r"layer_sizes\[1\] must be an integer, got True"),
    "numpy bool size": (([3, np.True_],), {}, TypeError, r"layer_sizes\[1\] must be an integer, got np.True_"),
    "float size": (([3.0, 1],), {}, TypeError, r"layer_sizes\[0\] must be an integer, got 3\.0"),
    "text size": (([3, "1"],), {}, TypeError, r"layer_sizes\[1\] must be an integer, got '1'"),
    "sizes as text": (("31",), {}, TypeError, r"layer_sizes must be a sequence of integers .*got '31'"),
    "sizes as a number": ((3,), {}, TypeError, r"layer_sizes must be a sequence of integers .*got 3"),
    "no layer_sizes": ((None,), {}, TypeError, r"layer_sizes must be a sequence of integers .*got None"),
    "nested sizes": (([[3, 1]],), {}, TypeError, r"layer_sizes\[0\] must be an integer, got \[3, 1\]"),
    "unknown activation": (([3, 1], "rleu"), {}, ValueError, r"activation='rleu' is not known; .*'relu'.*'mish'"),
    "softmax hidden": (([3, 2, 1], "softmax"), {}, ValueError, r"activation='softmax' is not known; .*'relu'"),
    "activation None": (
        ([3, 2, 1], None), {}, TypeError, r"activation must be a name or a sequence of names, got None"
    ),
    "too many activations": (
        ([3, 2, 1], ["relu", "tanh"]), {}, ValueError, r"activation must be one name or 1, one for each.*'tanh'"
    ),
    "too few activations": (
        ([3, 2, 2, 1], ["relu"]), {}, ValueError, r"activation must be one name or 2, one for each"
    ),
    "unknown second activation": (
        ([3, 2, 2, 1], ["relu", "gleu"]), {}, ValueError, r"activation\[1\]='gleu' is not known; .*'gelu'"
    ),
    "activation of another type": (
        ([3, 2, 2, 1], ["relu", 3]), {}, TypeError, r"activation\[1\] must be a name, one of .*'relu'.*; got 3"
    ),
    "unknown output": (([3, 1], "relu", "relu"), {}, ValueError, r"output_activation='relu' is not known; .*'softmax'"),
    "output None": (([3, 1], "relu", None), {}, TypeError, r"output_activation must be a name, one of .*; got None"),
    "softmax of one": (([3, 1], "relu", "softmax"), {}, ValueError, r"layer_sizes\[-1\]=1: a softmax of one output"),
    "unknown initialiser": (
        ([3, 1],), {"weight_init": "glorot"}, ValueError, r"weight_init='glorot' .*'xavier'.*'zeros'"
    ),
    "initialiser None": (([3, 1],), {"weight_init": None}, TypeError, r"weight_init must be a name, .*; got None"),
    "unknown loss": (([3, 1],), {"loss": "mse"}, ValueError, r"loss='mse' is not known; .*'squared_error'"),
    "quantiles not one for each output": (
        ([3, 2],), {"loss": Quantile([0.1, 0.5, 0.9])}, ValueError,
        r"quantile must be one number or 2, one for each output; got \(0\.1, 0\.5, 0\.9\)",
    ),
    "unknown optimiser": (([3, 1],), {"optimizer": "lion"}, ValueError, r"optimizer='lion' is not known; .*'adamw'"),
    "optimiser class": (([3, 1],), {"optimizer": Adam}, TypeError, r"optimizer must be .*'adam'.*; got <class .*Adam"),
    "optimiser None": (([3, 1],), {"optimizer": None}, TypeError, r"optimizer must be .*'adam'.*; got None"),
    "float16": (([3, 1],), {"dtype": np.float16}, ValueError, r"dtype must be float32 or float64, got .*float16"),
    "dtype None": (([3, 1],), {"dtype": None}, ValueError, r"dtype must be float32 or float64, got None"),
    "int": (([3, 1],), {"dtype": int}, ValueError, r"dtype must be float32 or float64, got <class 'int'>"),
    "big-endian": (([3, 1],), {"dtype": ">f4"}, ValueError, r"dtype must be float32 or float64, got '>f4'"),
    "no dtype": (([3, 1],), {"dtype": "double trouble"}, ValueError, r"dtype must be float32 or float64, got 'double"),
    "bool seed": (([3, 1],), {"random_state": True}, TypeError, r"random_state must be .*Generator; got True"),
    "float seed": (([3, 1],), {"random_state": 1.0}, TypeError, r"random_state must be .*Generator; got 1\.0"),
    "text seed": (([3, 1],), {"random_state": "1"}, TypeError, r"random_state must be .*Generator; got '1'"),
    "negative seed": (([3, 1],), {"random_state": -1}, ValueError, r"random_state must be .*2\*\*32 - 1.*; got -1"),
    "large seed": (([3, 1],), {"random_state": 2**32}, ValueError, r"random_state must be .*; got 4294967296"),
    "misspelt keyword": (([3, 1],), {"optimiser": "adam"}, TypeError, "optimiser"),
}  # fmt: skip

BAD_NUMBERS = {  # value: (error, message) for a positive number
    "zero": (0, ValueError, r"{name} must be > 0 and finite, got 0"),
    "negative": (-0.1, ValueError, r"{name} must be > 0 and finite, got -0\.1"),
    "NaN": (math.nan, ValueError, r"{name} must be > 0 and finite, got nan"),
    "infinite": (math.inf, ValueError, r"{name} must be > 0 and finite, got inf"),
    "400 digits": (10**400, ValueError, r"{name} must be > 0 and finite, got 10000"),
    "bool": (True, TypeError, r"{name} must be a number, got True"),
    "text": ("0.1", TypeError, r"{name} must be a number, got '0\.1'"),
    "None": (None, TypeError, r"{name} must be a number, got None"),
    "complex": (1j, TypeError, r"{name} must be a number, got 1j"),
    "list": ([0.1], TypeError, r"{name} must be a number, got \[0\.1\]"),
}
BAD_COUNTS = {
    "zero": (0, ValueError, r"{name} must be at least 1, got 0"),
    "negative": (-3, ValueError, r"{name} must be at least 1, got -3"),
    "float": (2.0, TypeError, r"{name} must be an integer, got 2\.0"),
    "bool": (True, TypeError, r"{name} must be an integer, got True"),
    "text": ("2", TypeError, r"{name} must be an integer, got '2'"),
    "NaN": (math.nan, TypeError, r"{name} must be an integer, got nan"),
}
MAY_BE_ZERO = {label: row for label, row in BAD_NUMBERS.items() if label != "zero"}
MAY_BE_NONE = {label: row for label, row in BAD_COUNTS.items() if label != "None"}


def keyword_rows():
    for name, table in (("learning_rate", BAD_NUMBERS), ("alpha", MAY_BE_ZERO), ("n_threads", MAY_BE_NONE)):
        for label, (value, error, message) in table.items():
            pattern = message.replace("{name}", name).replace("> 0", "(> 0|>= 0)")
            yield pytest.param(([3, 1],), {name: value}, error, pattern, id=f"{name}-{label}")


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [*(pytest.param(*row, id=label) for label, row in BAD_NETWORKS.items()), *keyword_rows()],
)
def test_bad_networks(arguments, keywords, error, message):
    before = np.random.get_state()[1].tobytes(), np.random.get_state()[2]
    with pytest.raises(error, match=message):
        MLP(*arguments, **keywords)
    assert (np.random.get_state()[1].tobytes(), np.random.get_state()[2]) == before


@pytest.mark.parametrize(
    ("kind", "field", "below"),
    [
        (Momentum, "momentum", 1), (Nesterov, "momentum", 1), (RMSprop, "rho", 1), (RMSprop, "epsilon", None),
        (Adam, "beta1", 1), (Adam, "beta2", 1), (Adam, "epsilon", None), (AdamW, "weight_decay", None),
    ],
)  # fmt: skip
def test_bad_hyperparameters(kind, field, below):
    wrong = [(-0.1, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("0.5", TypeError), (True, TypeError)]
    wrong += [(None, TypeError), (1j, TypeError)] + ([(below, ValueError)] if below else [])
    wrong += [(0, ValueError)] if field == "epsilon" else []
    for value, error in wrong:
        with pytest.raises(error, match=rf"^{field} must be .*got {re.escape(repr(value))}$"):
            kind(**{field: value})


class _NamedMine(Huber):
    name = "mine"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", Adam), ("optimizer", Optimizer()), ("optimizer", 3),
        ("loss", Huber), ("loss", Loss()), ("loss", _NamedMine()), ("loss", None),
    ],
)  # fmt: skip
def test_what_is_neither_a_name_nor_an_instance(name, value):
    instance = {"optimizer": "Adam", "loss": "Huber"}[name]
    got = re.escape(repr(value))
    with pytest.raises(
        TypeError, match=rf"^{name} must be a name, .*, or an instance such as {instance}\(\); got {got}"
    ):
        MLP([3, 1], **{name: value})


# --- attributes that may change ---


@pytest.mark.parametrize("name", ["learning_rate", "alpha"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "0.1", None, [0.1, 0.2], np.array([0.1, 0.2])])
def test_bad_numbers_set_later(name, value):
    message = rf"^{name} must be .*got {re.escape(repr(value))}"
    rejected(make("regression"), lambda mlp: setattr(mlp, name, value), (ValueError, TypeError), message)


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
def test_bad_thread_count_set_later(value, monkeypatch):
    """A team of no threads would wait for ever: the check must come before the kernel."""

    def reached(*arguments):
        raise AssertionError("the kernel was called")

    mlp = make("regression")
    before = snapshot(mlp)
    mlp.n_threads = value
    monkeypatch.setattr(training, "train", reached)
    with pytest.raises((ValueError, TypeError), match=r"^n_threads must be .*got"):
        mlp.fit(X, Y["regression"])
    assert snapshot(mlp) == before


# --- fit ---

BAD_FITS = {
    "callback itself": ({"callbacks": print}, TypeError, r"callbacks must be a sequence of functions, got <built-in"),
    "callbacks None": ({"callbacks": None}, TypeError, r"callbacks must be a sequence of functions, got None"),
    "callback 3": ({"callbacks": [print, 3]}, TypeError, r"callbacks\[1\] must be callable, got 3"),
    "callbacks text": ({"callbacks": "no"}, TypeError, r"callbacks\[0\] must be callable, got 'n'"),
    "validation X only": ({"validation_data": X}, TypeError, r"validation_data must be a pair .*ndarray"),
    "validation of three": ({"validation_data": (X, X, X)}, TypeError, r"validation_data must be a pair .*3"),
    "validation of one": ({"validation_data": [X]}, TypeError, r"validation_data must be a pair .*1"),
    "shuffle": ({"shuffle": np.zeros(3)}, TypeError, r"shuffle must be True or False, got array"),
    "progress": ({"progress": "yes"}, TypeError, r"progress must be True or False, got 'yes'"),
    "validation text": ({"validation_data": "Xy"}, TypeError, r"validation_data must be a pair \(X, y\), got (a )?str"),
    "validation rows": (
        {"validation_data": (X[:4], Y["regression"])}, ValueError,
        r"validation_data\[1\] must have an entry for each of the 4 rows of validation_data\[0\], got shape \(6, 2\)",
    ),
    "misspelt": ({"epoch": 3}, TypeError, "epoch"),
}  # fmt: skip


def fit_rows():
    for label, (keywords, error, message) in BAD_FITS.items():
        yield pytest.param(keywords, error, message, id=label)
    for name in ("epochs", "batch_size"):
        for label, (value, error, message) in {**BAD_COUNTS, "None": (None, TypeError, r"{name} .*got None")}.items():
            yield pytest.param({name: value}, error, message.replace("{name}", name), id=f"{name}-{label}")


@pytest.mark.parametrize(("keywords", "error", "message"), list(fit_rows()))
def test_bad_fits(keywords, error, message):
    rejected(make("regression"), lambda mlp: mlp.fit(X, Y["regression"], **keywords), error, message)


# --- backward and update ---

y_good = Y["regression"]
BAD_BACKWARDS = {
    "fewer rows": (
        (X[:2], y_good), {}, ValueError, r"y must have an entry for each of the 2 rows of X, got shape \(6, 2\)"
    ),
    "X ragged": (([[1, 2, 3], [1]], y_good), {}, ValueError, r"X must be "),
    "other columns": ((X[:, :2], y_good), {}, ValueError, r"X must have 3 features \(columns\), got shape \(6, 2\)"),
    "X complex": ((X * 1j, y_good), {}, TypeError, r"X must hold real numbers, got dtype complex128"),
    "X NaN": ((X * np.nan, y_good), {}, ValueError, r"X must be finite.*got nan at X\[0, 0\]"),
    "a flag": ((X, y_good), {"return_input_gradient": "no"}, TypeError, "return_input_gradient must be True or False"),
    "neither": ((X,), {}, ValueError, r"either y or output_gradient"),
    "both": ((X, y_good), {"output_gradient": y_good}, ValueError, r"either y or output_gradient"),
    "output shape": ((X, y_good, y_good[:2]), {}, ValueError, r"output must have shape \(6, 2\), got \(2, 2\)"),
    "output complex": ((X, y_good, y_good * 1j), {}, TypeError, r"output must hold real numbers, got dtype complex128"),
    "output NaN": ((X, y_good, y_good + np.nan), {}, ValueError, r"output must be finite.*got nan at output\[0, 0\]"),
    "gradient shape": (
        (X,), {"output_gradient": y_good[:, 0]}, ValueError, r"output_gradient must have shape \(6, 2\), got \(6,\)"
    ),
    "gradient text": (
        (X,), {"output_gradient": y_good.astype(str)}, TypeError, r"output_gradient must hold real .* got dtype <U"
    ),
    "gradient NaN": (
        (X,), {"output_gradient": y_good + np.nan}, ValueError, r"output_gradient must be finite.*got nan at .*\[0, 0\]"
    ),
    "gradient infinite": (
        (X,), {"output_gradient": y_good + 1e39}, ValueError, r"output_gradient must be finite in float32, got inf"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"), list(BAD_BACKWARDS.values()), ids=list(BAD_BACKWARDS)
)
def test_bad_backwards(arguments, keywords, error, message):
    rejected(make("regression"), lambda mlp: mlp.backward(*arguments, **keywords), error, message)


def test_backward_before_forward():
    rejected(
        MLP([3, 4, 2], random_state=0), lambda mlp: mlp.backward(X, y_good), RuntimeError, r"call forward\(X\) first"
    )


def _zeros(mlp):
    return [np.zeros_like(w) for w in mlp.weights], [np.zeros_like(b) for b in mlp.biases]


BAD_UPDATES = {
    "dW None": (lambda dW, db: (None, db), TypeError, "dW"),
    "db None": (lambda dW, db: (dW, None), TypeError, "db"),
    "dW a number": (lambda dW, db: (0.0, db), TypeError, "dW"),
    "one dW": (lambda dW, db: (dW[:1], db), ValueError, r"dW .*fixed length: 2 arrays are wanted, got 1"),
    "three db": (lambda dW, db: (dW, [*db, db[0]]), ValueError, r"db .*fixed length: 2 arrays are wanted, got 3"),
    "swapped": (lambda dW, db: (db, dW), ValueError, r"dW\[0\] must have shape \(3, 4\), got \(1, 4\)"),
    "dW[1] transposed": (lambda dW, db: ([dW[0], dW[1].T], db), ValueError, r"dW\[1\] must have shape \(4, 2\), got"),
    "db[0] flat": (lambda dW, db: (dW, [db[0].ravel(), db[1]]), ValueError, r"db\[0\] must have shape \(1, 4\), got"),
    "complex": (lambda dW, db: ([dW[0] * 1j, dW[1]], db), TypeError, r"dW\[0\] must hold real numbers, got .*complex"),
    "strings": (
        lambda dW, db: ([dW[0], dW[1].astype(str)], db), TypeError, r"dW\[1\] must hold real numbers, got .*<U"
    ),
    "ragged": (lambda dW, db: ([[[1], [1, 2]], dW[1]], db), ValueError, r"dW\[0\] must "),
}  # fmt: skip


@pytest.mark.parametrize("own", [False, True], ids=["arrays", "from backward"])
@pytest.mark.parametrize(("change", "error", "message"), list(BAD_UPDATES.values()), ids=list(BAD_UPDATES))
def test_bad_updates(change, error, message, own):
    mlp = make("regression")
    dW, db = change(*(mlp.backward(X, y_good) if own else _zeros(mlp)))
    rejected(mlp, lambda mlp: mlp.update_parameters(dW, db), error, message)


def test_gradients_of_another_network_do_not_pass():
    other = MLP([4, 3, 2, 1], output_activation="linear", random_state=0)
    mlp = MLP([3, 4, 2], "tanh", "linear", random_state=0)
    assert other.parameters.size == mlp.parameters.size == 26
    x = np.ones((2, 4))
    other.forward(x)
    gradient = other.backward(x, [1, 2])
    rejected(mlp, lambda mlp: mlp.update_parameters(*gradient), ValueError, r"dW .*2 arrays are wanted, got 3")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_a_gradient_that_is_not_finite(optimizer, value):
    mlp = make("regression", optimizer=optimizer)
    mlp.update_parameters(*mlp.backward(X, y_good))
    dW, db = _zeros(mlp)
    dW[1][2, 1] = value
    rejected(mlp, lambda mlp: mlp.update_parameters(dW, db), FloatingPointError, "gradient is not finite.*nothing has")
    mlp.update_parameters(*mlp.backward(X, y_good))  # goes on


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_an_update_that_overflows(optimizer):
    """The gradient is finite, its product with the learning rate, or its square, is not."""
    mlp = make("regression", optimizer=optimizer, learning_rate=100.0)
    before = mlp.parameters.copy()
    dW, db = _zeros(mlp)
    dW[1][2, 1] = 3e38
    with pytest.raises(FloatingPointError, match=r"update is not finite.*Lower learning_rate \(now 100\)"):
        mlp.update_parameters(dW, db)
    assert np.isfinite(mlp.parameters).all()
    assert mlp.weights[1][2, 1] == before[16 + 2 * 2 + 1]
    assert not mlp._slots.any()
    assert mlp._updates[0] == 0
    mlp.learning_rate = 0.01
    mlp.update_parameters(*mlp.backward(X, y_good))  # goes on


# --- parameters ---


def _set(name, value):
    return lambda mlp: setattr(mlp, name, value)


def _set_item(name, index, value):
    return lambda mlp: getattr(mlp, name).__setitem__(index, value)


W0, W1 = np.ones((3, 4)), np.ones((4, 2))
BAD_PARAMETERS = {
    "weights[0] shape": (
        _set_item("weights", 0, W1), ValueError, r"weights\[0\] must have shape \(3, 4\), got \(4, 2\)"
    ),
    "weights[-1] shape": (_set_item("weights", -1, W0), ValueError, r"weights\[-1\] must have shape \(4, 2\), got"),
    "weights[0] a number": (
        _set_item("weights", 0, 1.0), ValueError, r"weights\[0\] must have shape \(3, 4\), got \(\)"
    ),
    "weights[0] complex": (_set_item("weights", 0, W0 * 1j), TypeError, r"weights\[0\] must hold real .*complex128"),
    "weights[0] text": (_set_item("weights", 0, W0.astype(str)), TypeError, r"weights\[0\] must hold real .*<U"),
    "weights[0] None": (_set_item("weights", 0, None), (TypeError, ValueError), r"weights\[0\] must"),
    "weights[0] ragged": (_set_item("weights", 0, [[1], [1, 2]]), ValueError, r"weights\[0\] must"),
    "biases[1] flat": (
        _set_item("biases", 1, np.ones(2)), ValueError, r"biases\[1\] must have shape \(1, 2\), got \(2,\)"
    ),
    "too few": (_set("weights", [W0]), ValueError, r"weights .*fixed length: 2 arrays are wanted, got 1"),
    "too many": (_set("weights", [W0, W1, W1]), ValueError, r"weights .*fixed length: 2 arrays are wanted, got 3"),
    "weights None": (_set("weights", None), TypeError, r"weights"),
    "second of wrong shape": (
        _set("weights", [W0, W0]), ValueError, r"weights\[1\] must have shape \(4, 2\), got \(3, 4\)"
    ),
    "second complex": (_set("weights", [W0, W1 * 1j]), TypeError, r"weights\[1\] must hold real numbers"),
    "biases too few": (_set("biases", []), ValueError, r"biases .*fixed length: 2 arrays are wanted, got 0"),
    "slice": (_set_item("weights", slice(1), [W1]), ValueError, r"weights\[0\] must have shape \(3, 4\), got \(4, 2\)"),
    "slice too long": (_set_item("weights", slice(1), [W0, W0]), ValueError, r"weights .*fixed length"),
    "append": (lambda mlp: mlp.weights.append(W0), TypeError, r"weights has a fixed length, given by layer_sizes"),
    "extend": (lambda mlp: mlp.biases.extend([]), TypeError, r"biases has a fixed length, given by layer_sizes"),
    "insert": (lambda mlp: mlp.weights.insert(0, W0), TypeError, r"weights has a fixed length"),
    "pop": (lambda mlp: mlp.weights.pop(), TypeError, r"weights has a fixed length"),
    "clear": (lambda mlp: mlp.weights.clear(), TypeError, r"weights has a fixed length"),
    "reverse": (lambda mlp: mlp.weights.reverse(), TypeError, r"weights has a fixed length"),
    "del": (lambda mlp: mlp.weights.__delitem__(0), TypeError, r"weights has a fixed length"),
    "+=": (lambda mlp: mlp.weights.__iadd__([W0]), TypeError, r"weights has a fixed length"),
    "parameters short": (
        _set("parameters", np.zeros(25)), ValueError, r"parameters must have shape \(26,\), got \(25,\)"
    ),
    "parameters a number": (_set("parameters", 0.0), ValueError, r"parameters must have shape \(26,\), got \(\)"),
    "weights[1] NaN": (
        _set_item("weights", 1, [[0, 0]] * 3 + [[0, math.nan]]), ValueError,
        r"^weights\[1\] must be finite in float32, got nan at weights\[1\]\[3, 1\]",
    ),
    "biases infinite": (
        _set("biases", [np.zeros((1, 4)), [[1e300, 0]]]), ValueError, r"^biases\[1\] must be finite in float32, got inf"
    ),
    "parameters NaN": (
        _set("parameters", [0.0] * 25 + [math.nan]), ValueError, r"^parameters must be finite in float32, got nan at"
    ),
    "parameters complex": (_set("parameters", np.zeros(26) * 1j), TypeError, r"parameters must hold real numbers"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), list(BAD_PARAMETERS.values()), ids=list(BAD_PARAMETERS))
def test_bad_parameters(call, error, message):
    rejected(make("regression"), call, error, message)


@pytest.mark.parametrize("name", ["activation", "output_activation", "loss", "optimizer", "dtype"])
def test_what_is_fixed_cannot_be_set(name):
    rejected(make("regression"), lambda mlp: setattr(mlp, name, getattr(mlp, name)), AttributeError, name)


def test_layer_sizes_cannot_mislead_the_kernels():
    """The kernels trust the layout: a list changed by hand must not make them read or write out of bounds."""
    mlp = MLP([3, 4, 2], output_activation="linear", random_state=0)
    expected = mlp.predict(X)
    try:
        mlp.layer_sizes[0] = 2
    except TypeError:
        pass
    else:
        np.testing.assert_array_equal(mlp.predict(X), expected)


def test_a_failing_initialiser_changes_nothing():
    """The second matrix has the wrong shape: the first must not have been taken."""
    good = True

    def initializer(fan_in, fan_out, rng):
        return np.ones((fan_in, fan_out)) if good or fan_in == 3 else np.ones((fan_out, fan_in + 1))

    mlp = MLP([3, 4, 2], "tanh", "linear", weight_init=initializer, optimizer="adam", random_state=0)
    mlp.fit(X, y_good, epochs=2)
    good = False
    rejected(mlp, MLP.initialize_parameters, ValueError, r"weight_init must have shape \(4, 2\), got \(2, 5\)")


def test_an_unknown_initialiser_set_later():
    mlp = make("regression")
    mlp.weight_init = "glorot"
    rejected(mlp, MLP.initialize_parameters, ValueError, r"weight_init='glorot' is not known; .*'xavier'")


# --- pointwise functions and losses ---


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda mlp: mlp.activation_function(X, "swish"), ValueError, r"activation_type='swish' .*'silu'.*'softmax'"),
        (lambda mlp: mlp.activation_function(X, 3), TypeError, r"activation_type must be a name.*got 3"),
        (lambda mlp: mlp.activation_function(X * 1j, "relu"), TypeError, r"x must hold real numbers, got .*complex"),
        (lambda mlp: mlp.activation_function("x", "relu"), TypeError, r"x must hold real numbers, got dtype <U1"),
        (lambda mlp: mlp.activation_function(1.0, "softmax"), ValueError, r"x"),
        (lambda mlp: mlp.activation_derivative(X, "swish"), ValueError, r"activation_type='swish' .*'silu'"),
        (lambda mlp: mlp.activation_derivative(X, "softmax"), ValueError, r"softmax .*no pointwise derivative"),
        (lambda mlp: mlp.compute_loss(y_good, y_good[:3]), ValueError, r"y_true|y_pred"),
        (lambda mlp: mlp.compute_loss(y_good[:, :1], y_good), ValueError, r"y_true|y_pred"),
        (lambda mlp: mlp.compute_loss([], []), ValueError, r"y_true|y_pred"),
        (lambda mlp: mlp.compute_loss(y_good * 1j, y_good), TypeError, r"y_true must hold real numbers"),
        (lambda mlp: mlp.compute_loss(y_good, "x"), TypeError, r"y_pred must hold real numbers"),
    ],
)
def test_bad_pieces(call, error, message):
    rejected(make("regression"), call, error, message)


def test_a_loss_of_flat_targets_is_not_broadcast():
    """(n,) against (n, 1) would silently become (n, n)."""
    mlp = MLP([3, 1], output_activation="linear", random_state=0)
    p, y = mlp.predict(X), np.arange(N)
    assert mlp.compute_loss(y, p) == mlp.compute_loss(y[:, None], p)


# --- training that diverges ---


def _diverges(mlp, x, y, **options):
    """Fits until it diverges; the epoch that the message names, counted from 1, and the epochs that ended before."""
    ended = []
    with pytest.raises(FloatingPointError, match=r"diverged.*not finite in epoch (\d+), batch \d+\. Lower") as caught:
        mlp.fit(x, y, callbacks=[lambda mlp, epoch, logs: ended.append(logs["loss"])], **options)
    assert f"learning_rate (now {mlp.learning_rate:g})" in str(caught.value)
    assert np.isfinite(mlp.parameters).all()
    assert np.isfinite(ended).all()
    assert not mlp._slots.any()
    assert mlp._updates[0] == 0
    assert all(np.shares_memory(view, mlp.parameters) for view in (*mlp.weights, *mlp.biases))
    return int(re.search(r"epoch (\d+)", str(caught.value))[1]), len(ended)


def _trains_like_new(mlp, x, y):
    """After a failure, a fit with a sane rate gives the bits of a network that never failed."""
    fresh = MLP(
        mlp.layer_sizes, mlp.activation, mlp.output_activation, 0.01, loss=mlp.loss, optimizer=mlp.optimizer,
        dtype=mlp.dtype, random_state=1,
    )  # fmt: skip
    fresh.parameters = mlp.parameters
    mlp.learning_rate = 0.01
    losses = mlp.fit(x, y, epochs=5, batch_size=4, shuffle=False).loss
    assert fresh.fit(x, y, epochs=5, batch_size=4, shuffle=False).loss == losses
    assert fresh.parameters.tobytes() == mlp.parameters.tobytes()
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov"])
def test_a_learning_rate_too_large(optimizer, dtype, n_threads):
    options = {"optimizer": optimizer, "dtype": dtype, "random_state": 0, "n_threads": n_threads}
    mlp, twin = (MLP([3, 4, 2], "relu", "linear", 1e4, **options) for _ in range(2))
    epoch, ended = _diverges(mlp, X, y_good, epochs=500, batch_size=N)
    assert epoch == ended + 1
    assert ended > 0
    # a step to a loss that is not finite changes nothing: the parameters are those after the epochs before
    twin.fit(X, y_good, epochs=ended, batch_size=N)
    assert twin.parameters.tobytes() == mlp.parameters.tobytes()
    mlp.initialize_parameters()
    _trains_like_new(mlp, X, y_good)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.5, 10.0])
def test_a_loss_that_overflows_at_once(dtype, scale):
    """Squares of numbers beyond the root of the largest are infinite: nothing has changed, and sane data train on."""
    huge = X * scale * math.sqrt(float(np.finfo(dtype).max))
    mlp = MLP([3, 2], output_activation="linear", optimizer="adam", dtype=dtype, random_state=0)
    mlp.weights[0] = np.full((3, 2), 3.0)
    before = mlp.parameters.copy()
    assert _diverges(mlp, np.abs(huge), y_good, epochs=3) == (1, 0)
    assert mlp.parameters.tobytes() == before.tobytes()
    _trains_like_new(mlp, X, y_good)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adamw"])
def test_squared_gradients_that_overflow(optimizer, dtype):
    """Inputs whose squares are too large: the loss is finite, the second moment is not."""
    huge = X * float(np.finfo(dtype).max) ** 0.75
    mlp = MLP([3, 4, 1], "linear", "sigmoid", 1e-3, optimizer=optimizer, dtype=dtype, random_state=0)
    assert np.isfinite(mlp.loss_and_gradients(huge, Y["binary"])[0])
    assert _diverges(mlp, huge, Y["binary"], epochs=3)[0] == 1
    mlp.initialize_parameters()
    _trains_like_new(mlp, X, Y["binary"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_an_update_that_overflows_at_a_finite_loss(optimizer, dtype):
    mlp = MLP([3, 1], optimizer=optimizer, learning_rate=0.5 * float(np.finfo(dtype).max), dtype=dtype, random_state=0)
    x = X * 100
    assert np.isfinite(mlp.loss_and_gradients(x, Y["binary"])[0])
    assert _diverges(mlp, x, Y["binary"], epochs=3, batch_size=N) == (1, 0)
    mlp.initialize_parameters()
    _trains_like_new(mlp, X, Y["binary"])


def test_divergence_names_the_batch():
    """Row 4 of 6, with batches of one row in order, is the first that overflows."""
    x, y = np.zeros((N, 3)), np.zeros(N)
    y[4] = 1e30
    mlp = MLP([3, 1], output_activation="linear", random_state=0)
    with pytest.raises(FloatingPointError, match=r"in epoch 1, batch 5\."):
        mlp.fit(x, y, shuffle=False, batch_size=1, epochs=2)
