"""MLPClassifier and MLPRegressor beside scikit-learn's: the same trainings, predictions, conversions and errors."""

import copy
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network as theirs
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import r2_score

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.kernels import JIT

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, FEATURES = 60, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, FEATURES))
WEIGHTS = RNG.uniform(0.2, 3, N)
SCORES = X @ RNG.normal(size=(FEATURES, 3)) + 0.3 * RNG.normal(size=(N, 3))
TASKS = {  # what is learned: the class, its targets, parameters
    "binary": ("MLPClassifier", np.array(["no", "yes"])[(SCORES[:, 0] > 0).astype(int)], {}),
    "classes": ("MLPClassifier", SCORES.argmax(axis=1) * 2 - 1, {}),
    "labels": ("MLPClassifier", (SCORES > 0).astype(int), {}),
    "number": ("MLPRegressor", np.sin(SCORES[:, 0]), {}),
    "numbers": ("MLPRegressor", np.sin(SCORES), {}),
    "counts": ("MLPRegressor", np.random.default_rng(1).poisson(np.exp(SCORES[:, 0] / 3)), {"loss": "poisson"}),
}
METHODS = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.05},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.05},
    "all momentum": {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-3},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.2, "learning_rate_init": 0.1},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e-2, "n_iter_no_change": 2},
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
    "adam with a large epsilon": {"solver": "adam", "learning_rate_init": 0.01, "epsilon": 0.1, "beta_1": 0.7},
}
# As plain Python a step takes milliseconds: some are enough there.
EACH_TASK = pytest.mark.parametrize("task", TASKS if JIT else ["binary", "labels", "counts"])
EACH_METHOD = pytest.mark.parametrize("method", METHODS if JIT else ["nesterov", "adaptive"])
SMALL = {
    "hidden_layer_sizes": (7, 4),
    "activation": "tanh",
    "random_state": 3,
    "max_iter": 25 if JIT else 8,
    "alpha": 0.5,
}


def pair(task, **parameters):
    """Ours, scikit-learn's, and the targets."""
    name, y, extra = TASKS[task]
    chosen = SMALL | extra | parameters
    return getattr(fastmlp, name)(**chosen), getattr(theirs, name)(**chosen), y


def assert_same_weights(ours, expected, rtol=1e-10):
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(ours, name), getattr(expected, name), strict=True):
            assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(), err_msg=name)


# --- the same training --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@EACH_METHOD
@EACH_TASK
def test_full_batches_train_as_scikit_learns(task, method, weighted):
    """The same initial weights, gradients, penalty, optimiser, schedule, losses, stopping: an independent oracle."""
    ours, expected, y = pair(task, **METHODS[method])
    weights = WEIGHTS if weighted else None
    for estimator in (ours, expected):
        estimator.fit(X, y, sample_weight=weights)
    assert_same_weights(ours, expected)
    assert np.abs(ours.coefs_[0] - pair(task)[0].set_params(max_iter=1).fit(X, y).coefs_[0]).max() > 1e-3
    for name in ("loss_", "loss_curve_", "best_loss_"):
        assert_allclose(getattr(ours, name), getattr(expected, name), rtol=1e-9, err_msg=name)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(expected, name), name
    assert (ours.validation_scores_, ours.best_validation_score_) == (None, None)
    rate = expected._optimizer.learning_rate if expected.solver == "sgd" else expected.learning_rate_init
    assert ours.learning_rate_ == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("task", ["classes", "number"])
def test_batches_in_order_train_as_scikit_learns(task, activation):
    """60 rows in batches of 16, the last of 12, with a penalty that each batch divides by its own rows."""
    ours, expected, y = pair(task, activation=activation, shuffle=False, batch_size=16, solver="adam")
    assert_same_weights(ours.fit(X, y), expected.fit(X, y))
    assert_allclose(ours.loss_curve_, expected.loss_curve_, rtol=1e-10)


@pytest.mark.once
@pytest.mark.parametrize("weighted", [False, True] if JIT else [True])
@EACH_TASK
def test_lbfgs_ends_where_scikit_learns_ends(task, weighted):
    ours, expected, y = pair(task, solver="lbfgs", max_iter=2000, alpha=1.0, tol=1e-5)
    weights = WEIGHTS if weighted else None
    for estimator in (ours, expected):
        estimator.fit(X, y, sample_weight=weights)
    if task != "numbers":  # there theirs follows the gradient of a sum with the values of a mean
        assert ours.loss_ == pytest.approx(expected.loss_, rel=2e-3)
    # a step of length 1 by their gradient descent shows their gradient, which should be all but zero
    step = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1.0, "batch_size": N}
    model = ours.to_sklearn().set_params(**step)
    model.loss_curve_, model.best_loss_, model._no_improvement_count = [], np.inf, 0
    model.partial_fit(X, y, sample_weight=weights)
    moved = [np.abs(a - b).max() for a, b in zip(model.coefs_, ours.coefs_, strict=True)]
    assert 0 < max(moved) < 1e-3


@pytest.mark.parametrize("weighted", [False, True])
@EACH_TASK
def test_early_stopping_goes_as_scikit_learns(task, weighted):
    """The same rows set aside, scores, end, and best weights."""
    ours, expected, y = pair(
        task, early_stopping=True, validation_fraction=0.3, n_iter_no_change=3, learning_rate_init=0.05, max_iter=60
    )
    weights = WEIGHTS if weighted else None
    for estimator in (ours, expected):
        estimator.fit(X, y, sample_weight=weights)
    assert ours.n_iter_ == expected.n_iter_ > 3
    assert_allclose(ours.validation_scores_, expected.validation_scores_, rtol=1e-8, atol=1e-8)
    assert ours.best_validation_score_ == pytest.approx(expected.best_validation_score_, rel=1e-8)
    assert ours.best_loss_ is None
    assert_same_weights(ours, expected, 1e-9)


def test_the_oracle_rejects_a_penalty_that_is_a_thousandth_off():
    ours, expected, y = pair("number", solver="sgd")
    ours.set_params(alpha=0.5005)
    with pytest.raises(AssertionError):
        assert_same_weights(ours.fit(X, y), expected.fit(X, y))


def test_r2_is_scikit_learns():
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=(9, 3)), rng.normal(size=(9, 3))
    y[:, 1] = p[:, 1] = y[:, 2] = 0.5
    for weights in (None, rng.uniform(size=9)):
        expected = r2_score(y, p, sample_weight=weights)
        assert MLPRegressor()._score_outputs(y, p, weights) == pytest.approx(expected, rel=1e-12)


# --- predictions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3, 200])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@EACH_TASK
def test_predictions_are_scikit_learns(task, activation, rows):
    _, model, y = pair(task, activation=activation, max_iter=20)
    model.fit(X, y)
    ours = getattr(fastmlp, type(model).__name__).from_sklearn(model)
    x = np.random.default_rng(5).normal(size=(rows, FEATURES))
    for method in ("predict", "predict_proba", "predict_log_proba"):
        if not hasattr(model, method):
            continue
        actual, expected = getattr(ours, method)(x), getattr(model, method)(x)
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        if expected.dtype.kind == "f":
            assert_allclose(actual, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
        else:
            assert_array_equal(actual, expected)
    assert ours.score(X, y) == pytest.approx(model.score(X, y), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_follow_weights_that_somebody_changes(dtype):
    model = MLPRegressor("squared_error", (4,), random_state=0, max_iter=2).fit(X.astype(dtype), TASKS["number"][1])
    x = X[:3].astype(dtype)
    before = model.predict(x)
    model.coefs_[-1] *= 2
    model.intercepts_[-1][:] = 0
    in_place = model.predict(x)
    assert not np.allclose(in_place, before)
    model.coefs_[-1] = model.coefs_[-1] * 2  # another array
    assert_allclose(model.predict(x), 2 * in_place, rtol=1e-6)
    model.coefs_ = [W.copy() for W in model.coefs_]
    model.intercepts_ = [b + 1 for b in model.intercepts_]
    assert not np.allclose(model.predict(x), 2 * in_place)
    assert model.coefs_[0].dtype == dtype


# --- conversions and copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["momentum", "nesterov", "invscaling", "adaptive", "adam", "sgd"])
@EACH_TASK
def test_conversions_go_on_as_if_nothing_had_happened(task, method):
    """Every attribute, and the solver's state: partial_fit goes on to the same weights, there and back."""
    ours, expected, y = pair(task, **METHODS[method])
    expected.fit(X, y)
    cls = type(ours)
    there = cls.from_sklearn(expected)
    back = there.to_sklearn()
    again = cls.from_sklearn(back)
    for model in (there, back, again):
        assert {key: model.get_params()[key] for key in expected.get_params()} == expected.get_params()
        for name, value in vars(expected).items():
            if name.endswith("_") and not name.startswith("_") and name not in ("coefs_", "intercepts_"):
                assert_array_equal(getattr(model, name), value, err_msg=name)
        assert_same_weights(model, expected, 0)
    assert type(back) is type(expected)
    for model in (expected, there, back, again):
        for _ in range(3):
            model.partial_fit(X, y)
    for model in (there, back, again):
        assert_same_weights(model, expected)
        assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-9)


def test_conversions_of_what_is_not_fitted_or_fitted_by_lbfgs():
    ours, expected, y = pair("number", solver="lbfgs")
    assert MLPRegressor.from_sklearn(expected).get_params() == ours.get_params()
    with pytest.raises(NotFittedError):
        MLPRegressor.from_sklearn(expected).predict(X)
    with pytest.raises(NotFittedError):
        ours.to_sklearn().predict(X)
    ours.fit(X, y)
    assert_allclose(ours.to_sklearn().predict(X), ours.predict(X), rtol=1e-12)


def test_conversions_leave_the_original_alone():
    _, expected, y = pair("number")
    expected.fit(X, y)
    before = copy.deepcopy(expected.coefs_)
    converted = MLPRegressor.from_sklearn(expected)
    converted.partial_fit(X, y)
    assert_array_equal(
        np.concatenate([W.ravel() for W in expected.coefs_]), np.concatenate([W.ravel() for W in before])
    )
    assert len(expected.loss_curve_) + 1 == len(converted.loss_curve_)


def test_conversions_that_cannot_be():
    with pytest.raises(TypeError, match=r"model must be a sklearn MLPClassifier, got MLPRegressor\(\)"):
        MLPClassifier.from_sklearn(theirs.MLPRegressor())
    with pytest.raises(TypeError, match="got 3"):
        MLPRegressor.from_sklearn(3)
    with pytest.raises(ValueError, match="has no activation='gelu'"):
        MLPClassifier(activation="gelu").to_sklearn()
    assert MLPClassifier(activation="sigmoid").to_sklearn().activation == "logistic"


@EACH_TASK
def test_onnx_by_way_of_scikit_learn(task):
    skl2onnx, onnxruntime = pytest.importorskip("skl2onnx"), pytest.importorskip("onnxruntime")
    if task == "counts":
        pytest.skip("skl2onnx knows no exponential output")
    ours, _, y = pair(task)
    ours.fit(X.astype(np.float32), y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"zipmap": False} if task in ("binary", "classes", "labels") else None
        converted = skl2onnx.to_onnx(ours.to_sklearn(), X[:1].astype(np.float32), options=options)
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    x = X[:20].astype(np.float32)
    *_, output = session.run(None, {"X": x})
    expected = ours.predict_proba(x) if options else ours.predict(x)
    assert_allclose(np.reshape(output, expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("method", ["adam", "nesterov", "invscaling"])
def test_copies_train_on_to_the_same_bits(method, copied):
    ours, _, y = pair("classes", **METHODS[method], batch_size=16)
    ours.fit(X, y)
    twin = copied(ours)
    assert_array_equal(twin.predict_proba(X), ours.predict_proba(X))
    for model in (ours, twin):
        model.partial_fit(X, y)
    for a, b in zip(twin.coefs_, ours.coefs_, strict=True):
        assert_array_equal(a, b)
        assert not np.shares_memory(a, b)
    assert twin.loss_curve_ == ours.loss_curve_
    assert not hasattr(clone(ours), "coefs_")


# --- going on -----------------------------------------------------------------------------------------------------


def test_partial_fit_goes_on_as_fit():
    ours, _, y = pair("classes", batch_size=8, max_iter=6, tol=0)
    twin = clone(ours)
    ours.fit(X, y)
    for _ in range(6):
        twin.partial_fit(X, y, classes=np.unique(y))
    assert_array_equal(twin.coefs_[0], ours.coefs_[0])
    assert twin.loss_curve_ == ours.loss_curve_


def test_a_new_learning_rate_counts_from_the_next_fit_on():
    ours, _, y = pair("number", warm_start=True, solver="sgd")
    ours.fit(X, y)
    ours.set_params(learning_rate_init=1e-30, momentum=0.0)
    before = ours.coefs_[0].copy()
    ours.fit(X, y)
    assert ours.learning_rate_ == 1e-30
    assert_allclose(ours.coefs_[0], before, rtol=1e-12)


def test_a_fit_anew_forgets():
    ours, _, y = pair("number", early_stopping=True)
    first, second = clone(ours).fit(X, y), ours.fit(X, y).fit(X, y)
    assert_array_equal(first.coefs_[0], second.coefs_[0])
    assert first.loss_curve_ == second.loss_curve_


# --- where scikit-learn is wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@EACH_TASK
def test_rows_of_weight_zero_are_as_good_as_absent(task, solver):
    """scikit-learn divides by zero where a batch has only such rows."""
    ours, expected, y = pair(task, solver=solver, batch_size=5, shuffle=False)
    weights = WEIGHTS.copy()
    weights[:20] = 0
    if solver != "lbfgs":
        with pytest.raises(ZeroDivisionError):
            expected.fit(X, y, sample_weight=weights)
    zeros = clone(ours).fit(X, y, sample_weight=weights)
    absent = ours.fit(X[20:], y[20:], sample_weight=weights[20:])
    for a, b in zip(zeros.coefs_ + zeros.intercepts_, absent.coefs_ + absent.intercepts_, strict=True):
        assert_array_equal(a, b)
    assert zeros.loss_ == absent.loss_


def test_the_loss_of_an_epoch_is_the_weighted_mean():
    """Rows that count a millionth hardly change it, in whatever batch they are."""
    ours, _, y = pair("number", batch_size=15, shuffle=False, max_iter=1, alpha=0, learning_rate_init=1e-12)
    weights = np.ones(N)
    weights[15:] = 1e-6
    ours.fit(X, y, sample_weight=weights)
    first = clone(ours).fit(X[:15], y[:15])
    assert ours.loss_ == pytest.approx(first.loss_, rel=1e-4)
    assert clone(ours).fit(X, y).loss_ != pytest.approx(first.loss_, rel=0.01)


@pytest.mark.once
def test_early_stopping_copies_only_the_rows_set_aside():
    big = np.random.default_rng(0).normal(size=(8_000, 100))
    y = big[:, 0]
    model = MLPRegressor("squared_error", (2,), early_stopping=True, max_iter=1, random_state=0)
    model.fit(big[:100], y[:100])  # what is compiled and loaded once
    tracemalloc.start()
    try:
        model.fit(big, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.4 * big.nbytes


# --- kinds of input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csr_array", "csr_matrix", "csc_array", "coo_array"] if JIT else ["csc_array"])
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_rows_are_dense_rows(kind, options, dtype):
    dense = np.where(np.abs(X) > 1, X, 0).astype(dtype)
    ours, _, y = pair("classes", batch_size=16, **options)
    sparse = getattr(scipy.sparse, kind)(dense)
    other = clone(ours).fit(sparse, y, sample_weight=WEIGHTS)
    ours.fit(dense, y, sample_weight=WEIGHTS)
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-12}
    assert_allclose(other.loss_, ours.loss_, **tolerance)
    for a, b in zip(other.coefs_ + other.intercepts_, ours.coefs_ + ours.intercepts_, strict=True):
        assert_allclose(a, b, **tolerance)
    assert_allclose(other.predict_proba(sparse), ours.predict_proba(dense), **tolerance)
    many = scipy.sparse.vstack([sparse] * 40)
    assert_allclose(other.predict_proba(many), ours.predict_proba(many.toarray()), rtol=1e-5)


@pytest.mark.parametrize("hidden", [(), (4,), (6, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_of_very_sparse_rows(dtype, hidden):
    """Those of the same rows made dense, in blocks of several sizes; also where the first layer overflows."""
    rng = np.random.default_rng(0)
    x = scipy.sparse.random(2100, 300, density=0.02, format="csr", dtype=dtype, random_state=rng)
    ours = MLPClassifier(hidden, max_iter=1, random_state=0).fit(x[:50], rng.integers(0, 3, 50))
    for rows in (1, 256, 1025, 2100):
        dense = ours.predict_proba(x[:rows].toarray())
        assert_allclose(ours.predict_proba(x[:rows]), dense, rtol=1e-5 if dtype == np.float32 else 1e-12)
    huge = x[:2] * np.finfo(dtype).max
    with np.errstate(all="ignore"):
        assert_array_equal(ours.predict_proba(huge), ours.predict_proba(huge.toarray()))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_names_of_features_are_kept_and_checked(library):
    frames = pytest.importorskip(library)
    names = [f"x{i}" for i in range(FEATURES)]
    frame = frames.DataFrame({name: X[:, i] for i, name in enumerate(names)})
    y = TASKS["number"][1]
    ours = MLPRegressor("squared_error", (4,), max_iter=5, random_state=0, early_stopping=True)
    ours.fit(frame, frames.Series(y))
    assert list(ours.feature_names_in_) == names
    plain = clone(ours).fit(X, y)
    assert not hasattr(plain, "feature_names_in_")
    assert_array_equal(ours.predict(frame), plain.predict(X))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        ours.predict(X)
    with pytest.raises(ValueError, match="feature names should match"):
        ours.predict(frame[names[::-1]])
    assert not hasattr(ours.fit(X, y), "feature_names_in_")


@pytest.mark.parametrize("labels", [[True, False], [0, 1], [7, -3], [250, 3, 9], ["a", "b", "c"], [0.5, 1.5, 2.5], [1]])
def test_labels_of_any_kind(labels):
    values = np.array(labels, np.uint8 if labels[0] == 250 else None)
    if values.dtype.kind == "f":
        with pytest.raises(ValueError, match="Unknown label type"):
            MLPClassifier((3,), max_iter=1).fit(X, values[np.arange(N) % 3])
        return
    y = values[np.arange(N) % len(values)]
    ours, expected = (c((3,), max_iter=20, random_state=0) for c in (MLPClassifier, theirs.MLPClassifier))
    for estimator in (ours, expected):
        estimator.fit(X, y)
        estimator.fit(X, y.tolist())
    assert_array_equal(ours.classes_, expected.classes_)
    assert ours.classes_.dtype == expected.classes_.dtype
    assert_array_equal(ours.predict(X), expected.predict(X))
    assert_allclose(ours.predict_proba(X), expected.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("extreme", [np.int64(2**62), np.uint64(2**64 - 1), np.int8(127)])
def test_labels_far_apart(extreme):
    least = np.iinfo(extreme.dtype).min
    y = np.array([least, extreme, least + 1], extreme.dtype)[np.arange(N) % 3]
    ours = MLPClassifier((3,), max_iter=2, random_state=0).fit(X, y)
    assert_array_equal(ours.classes_, np.unique(y))
    assert set(ours.predict(X)) <= set(y)


@pytest.mark.once
@pytest.mark.parametrize("activation", ["gelu", "elu", "silu", "sigmoid", "linear"])
def test_our_own_activations(activation):
    y = TASKS["number"][1]
    ours = MLPRegressor("squared_error", (8,), activation, solver="lbfgs", max_iter=100, random_state=0).fit(X, y)
    assert ours.score(X, y) > (0.4 if activation == "linear" else 0.93)


@pytest.mark.parametrize("task", ["binary", "classes", "number"])
def test_ready_arrays_are_checked_once_and_quickly(monkeypatch, task):
    """scikit-learn's checks take half a millisecond: they are for what is not ready, and for what is wrong."""
    ours, _, y = pair(task)
    y = np.unique(y, return_inverse=True)[1] if task != "number" else y
    slow = clone(ours).fit(X.tolist(), y.tolist())

    def no(*_, **__):
        raise AssertionError("called")

    monkeypatch.setattr(fastmlp.estimators, "validate_data", no)
    ours.fit(X, y)
    assert_array_equal(ours.coefs_[0], slow.coefs_[0])
    quick = ours.predict(X)
    assert ours.n_features_in_ == FEATURES
    for wrong in (X.tolist(), np.asfortranarray(X), np.where(X > 2, np.nan, X), X[:, :3]):
        with pytest.raises(AssertionError, match="called"):
            ours.predict(wrong)
    monkeypatch.undo()
    assert_array_equal(quick, slow.predict(X.tolist()))


# --- errors -------------------------------------------------------------------------------------------------------

BAD = [
    ({"hidden_layer_sizes": (3, -1)}, {}),
    ({"hidden_layer_sizes": -3}, {}),
    ({"activation": "mexican hat"}, {}),
    ({"solver": "newton"}, {}),
    ({"alpha": -1}, {}),
    ({"batch_size": 0}, {}),
    ({"learning_rate": "quick"}, {}),
    ({"learning_rate_init": 0}, {}),
    ({"momentum": 1.1}, {}),
    ({"beta_1": 1.0}, {}),
    ({"epsilon": 0}, {}),
    ({"max_iter": 0}, {}),
    ({"n_iter_no_change": 0}, {}),
    ({"validation_fraction": 1.0}, {}),
    ({"shuffle": 3}, {}),
    ({"random_state": "x"}, {}),
    ({}, {"X": np.where(X > 2, np.nan, X)}),
    ({}, {"X": np.where(X > 2, np.inf, X)}),
    ({}, {"X": X[:5]}),
    ({}, {"X": X[0]}),
    ({}, {"X": X[:0]}),
    ({}, {"X": X[:, :0]}),
    ({}, {"X": [["a"] * FEATURES] * N}),
    ({}, {"y": None}),
    ({}, {"y": np.zeros((N, 2, 2))}),
    ({}, {"y": np.where(X[:, 0] > 1, np.nan, X[:, 0])}),
    ({}, {"sample_weight": np.ones(3)}),
    ({}, {"sample_weight": np.full(N, np.nan)}),
    ({}, {"sample_weight": np.zeros(N)}),
    ({"early_stopping": True}, {"X": X[:2], "y": [0, 1]}),
]


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize(("parameters", "arguments"), BAD, ids=str)
def test_what_scikit_learn_rejects_ours_rejects(name, parameters, arguments):
    """The same kind of error with a message that begins alike; and the last fit stays."""
    arguments = {"X": X, "y": np.arange(N) % 2} | arguments
    with pytest.raises((ValueError, TypeError)) as expected:
        getattr(theirs, name)(**parameters).fit(**arguments)
    ours = getattr(fastmlp, name)(hidden_layer_sizes=(3,), max_iter=2)
    ours.fit(X, np.arange(N) % 2)
    before, state = ours.predict(X), dict(vars(ours))
    ours.set_params(**parameters)
    with pytest.raises(type(expected.value)) as caught:
        ours.fit(**arguments)
    if "activation" not in parameters:  # which lists more names
        assert str(caught.value)[:40] == str(expected.value)[:40]
    ours.set_params(**{key: state[key] for key in parameters})
    assert {key: value for key, value in vars(ours).items() if value is not state[key]} == {}
    assert_array_equal(ours.predict(X), before)


OWN = [
    ({"hidden_layer_sizes": ("a",)}, {}, TypeError, r"hidden_layer_sizes\[0\] must be an integer, got 'a'"),
    ({"hidden_layer_sizes": (2.5,)}, {}, TypeError, r"hidden_layer_sizes\[0\] must be an integer, got 2\.5"),
    (
        {},
        {"sample_weight": np.r_[-1.0, np.ones(N - 1)]},
        ValueError,
        "Negative values in data passed to `sample_weight`",
    ),
    (
        {"warm_start": True, "hidden_layer_sizes": (4,)},
        {},
        ValueError,
        r"have been \[5, 3, 1\], and would be \[5, 4, 1\]",
    ),
    ({"loss": "poisson"}, {"y": -np.ones(N)}, ValueError, r"y must be at least 0 for loss='poisson', got -1"),
    (
        {"solver": "sgd", "learning_rate_init": 1e9},
        {},
        ValueError,
        r"non-finite parameter .* in epoch \d, batch 1\. The loss is not finite, although the outputs, of layer 2,",
    ),
    ({"solver": "lbfgs", "clip_norm": 1.0}, {}, ValueError, "clip_norm needs steps of a batch each"),
    ({"solver": "lbfgs", "warmup": 1}, {}, ValueError, "warmup needs steps of a batch each"),
    ({"solver": "lbfgs", "diagnostics": True}, {}, ValueError, "diagnostics needs steps of a batch each"),
    ({"warm_start": True, "dtype": np.float32}, {}, ValueError, "keep its dtype: it has been float64, not float32"),
    ({"solver": "lbfgs"}, {"X": X * 1e300}, ValueError, "non-finite parameter weights"),
]


@pytest.mark.parametrize(("parameters", "arguments", "error", "message"), OWN, ids=str)
def test_what_ours_rejects_besides(parameters, arguments, error, message):
    ours = MLPRegressor("squared_error", (3,), max_iter=20, activation="identity").fit(X, np.arange(N) % 2)
    before = ours.predict(X)
    with pytest.raises(error, match=message):
        ours.set_params(**parameters).fit(**{"X": X, "y": np.arange(N) % 2} | arguments)
    assert_array_equal(ours.predict(X), before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("rows", [1, 300])
def test_predictions_refuse_numbers_that_are_not_finite_in_scikit_learns_words(bad, rows):
    ours, expected, y = pair("number")
    x = np.zeros((rows, FEATURES))
    x[-1, 1] = bad
    messages = []
    for estimator in (ours.fit(X, y), expected.fit(X, y)):
        with pytest.raises(ValueError, match="Input X contains") as caught:
            estimator.predict(x)
        messages.append(str(caught.value).splitlines()[0])
        with pytest.raises(ValueError, match="X has 3 features, but MLPRegressor is expecting 5 features as input"):
            estimator.predict(np.zeros((rows, 3)))
    assert messages[0] == messages[1]


def test_methods_before_fit():
    for name in ("predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(NotFittedError, match="This MLPClassifier instance is not fitted yet"):
            getattr(MLPClassifier(), name)(X)
    with pytest.raises(NotFittedError, match="This MLPRegressor instance is not fitted yet"):
        MLPRegressor().predict(X)


def test_divergence_with_early_stopping_keeps_the_best(recwarn):
    ours, _, y = pair("number", solver="sgd", learning_rate_init=1e9, early_stopping=True, activation="identity")
    with pytest.warns(ConvergenceWarning, match=r"in epoch \d+, batch 1\. .* of layer 3, are\. Training stops, with"):
        ours.fit(X, y)
    assert np.isnan(ours.validation_scores_[-1])
    assert {len(values) for values in ours.history_.values()} == {len(ours.loss_curve_)} == {ours.n_iter_}
    assert np.isfinite(ours.predict(X)).all()


# --- the interface ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_parameters_and_methods_are_scikit_learns(name):
    ours, expected = getattr(fastmlp, name), getattr(theirs, name)
    parameters = expected().get_params()
    assert {key: ours().get_params()[key] for key in parameters} == parameters
    public = {method for method in dir(expected) if not method.startswith("_")}
    assert public - set(dir(ours)) == set()
    positional = ("relu",) if name == "MLPClassifier" else ((4,), "relu")
    first = (4,) if name == "MLPClassifier" else "poisson"
    model, twin = ours(first, *positional), expected(first, *positional)
    assert {key: model.get_params()[key] for key in parameters} == twin.get_params()


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize(
    "name",
    ["load_iris", "load_wine", "load_breast_cancer", "load_digits", "load_diabetes", "make_moons", "make_friedman1"],
)
def test_defaults_reach_scikit_learns_accuracy(name, solver):
    """The mean of the test scores over 12 seeds is within three standard errors of scikit-learn's."""
    import sklearn.datasets
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    load = getattr(sklearn.datasets, name)
    if name.startswith("load"):
        features, y = load(return_X_y=True)
    else:
        features, y = load(n_samples=600, noise=0.3, random_state=0)
    features = StandardScaler().fit_transform(features)
    regression = name in ("load_diabetes", "make_friedman1")
    y = (y - y.mean()) / y.std() if regression else y
    kind = "MLPRegressor" if regression else "MLPClassifier"
    scores = {fastmlp: [], theirs: []}
    for seed in range(12):
        train_x, test_x, train_y, test_y = train_test_split(features, y, random_state=seed)
        for home, results in scores.items():
            results.append(
                getattr(home, kind)(solver=solver, random_state=seed).fit(train_x, train_y).score(test_x, test_y)
            )
    difference = np.subtract(scores[fastmlp], scores[theirs])
    assert abs(difference.mean()) <= 3 * difference.std(ddof=1) / np.sqrt(12) + 1e-3
