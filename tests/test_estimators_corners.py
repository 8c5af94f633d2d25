"""Corners of the estimators that users have met, or will: scores that are no numbers, odd targets, old attributes."""

import math
import pickle
import warnings

import numba
import numpy as np
import pytest
import scipy.sparse
from numba.core import event
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as Theirs
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
LABELS = (X[:, 0] + 0.3 * RNG.normal(size=60) > 0).astype(int)
SMALL = {"hidden_layer_sizes": 5, "random_state": 0, "max_iter": 5}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_scores_that_are_no_numbers_end_the_fit_and_keep_its_last_weights():
    def score(model, X, y):
        return math.nan

    model = MLPClassifier(8, random_state=0, early_stopping=True, scoring=score, max_iter=100, n_iter_no_change=4)
    with pytest.warns(ConvergenceWarning, match="No epoch had a validation score that is a number"):
        model.fit(X, LABELS, X_val=X, y_val=LABELS)
    assert model.n_iter_ == 5
    # the same steps without anybody to judge them
    plain = MLPClassifier(8, random_state=0, max_iter=5, n_iter_no_change=9).fit(X, LABELS)
    for ours, expected in zip(model.coefs_, plain.coefs_, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_score_that_is_no_number_in_one_epoch_is_passed_over():
    scores = iter([0.5, math.nan, 0.6, 0.4])
    model = MLPClassifier(**SMALL | {"max_iter": 4}, early_stopping=True, scoring=lambda model, X, y: next(scores))
    model.fit(X, LABELS)
    assert model.best_validation_score_ == 0.6
    np.testing.assert_array_equal(model.validation_scores_, [0.5, math.nan, 0.6, 0.4])


def test_a_scorer_must_give_a_number():
    with pytest.raises(TypeError, match=r"scoring must give a number, got \[1\]"):
        MLPClassifier(**SMALL, early_stopping=True, scoring=lambda model, X, y: [1]).fit(X, LABELS)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_predictions_of_text_are_refused_as_by_scikit_learn(method):
    for model in (MLPClassifier(**SMALL), Theirs(**SMALL)):
        model.fit(X, LABELS)
        with pytest.raises(ValueError, match="dtype='numeric' is not compatible with arrays of bytes/strings"):
            getattr(model, method)([["1", "2", "3"]])


def test_predictions_of_whole_numbers():
    model = MLPClassifier(**SMALL).fit(X, LABELS)
    whole = np.array([[1, -2, 0], [0, 3, 1]])
    expected = model.predict_proba(whole.astype(float))
    for given in (whole, whole.astype(np.int8), whole.tolist(), whole.astype(object), np.asfortranarray(whole)):
        np.testing.assert_array_equal(model.predict_proba(given), expected)
    for kind in (scipy.sparse.csr_matrix, scipy.sparse.coo_array):
        np.testing.assert_allclose(model.predict_proba(kind(whole)), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.arange(60).astype("M8[s]"), TypeError, r"y must be an array of numbers, got dtype datetime64"),
        (np.arange(60).astype("m8[s]"), TypeError, r"y must be an array of numbers, got dtype timedelta64"),
        (["1.5"] * 60, TypeError, "y must be an array of numbers, got dtype <U3"),
        (["a"] * 60, TypeError, "y must be an array of numbers, got dtype <U1"),
        (scipy.sparse.csr_matrix(np.ones((60, 2))), TypeError, "y must be an array of numbers, got a sparse matrix"),
        (np.array([None] + [1.0] * 59, object), ValueError, "Input y contains NaN"),
    ],
)
def test_targets_that_are_no_numbers(y, error, message):
    model = MLPRegressor(**SMALL).fit(X, X[:, 0])
    before = pickle.dumps(model)
    with pytest.raises(error, match=message):
        model.fit(X, y)
    with pytest.raises(error, match=f"X_val, y_val: {message}"):
        model.fit(X, X[:, 0], X_val=X, y_val=y)
    assert pickle.dumps(model) == before
    if not isinstance(y, scipy.sparse.csr_matrix):
        assert MLPRegressor(**SMALL).fit(X, np.arange(60).astype(object)).n_outputs_ == 1


def test_scores_of_training_rows_and_of_others_are_of_one_kind():
    """With the same rows on both sides the scores of an epoch are the same, whatever the rows weigh in training."""
    weights = RNG.uniform(0.1, 5, 60)
    model = MLPClassifier(**SMALL, class_weight={0: 9})
    model.fit(X, LABELS, weights, X_val=X, y_val=LABELS)
    assert model.history_["score"] == model.history_["validation_score"]
    assert model.history_["score"][-1] == model.score(X, LABELS)


def test_early_stopping_with_another_bit_generator():
    def fit():
        rng = np.random.RandomState(np.random.PCG64(3))
        return MLPClassifier(**SMALL | {"random_state": rng}, early_stopping=True).fit(X, LABELS)

    np.testing.assert_array_equal(fit().coefs_[0], fit().coefs_[0])


def test_functions_of_the_user_that_give_something_else():
    with pytest.raises(ValueError, match=r"learning_rate must give finite numbers of at least 0, got \[1, 2\]"):
        MLPClassifier(**SMALL, learning_rate=lambda t: [1, 2]).fit(X, LABELS)
    with pytest.raises(ValueError, match="learning_rate must give finite numbers of at least 0, got 'a'"):
        MLPClassifier(**SMALL, learning_rate=lambda t: "a").fit(X, LABELS)
    with pytest.raises(ValueError, match=r"class_weight must hold numbers, got \{0: 'a'\}"):
        MLPClassifier(**SMALL, class_weight={0: "a"}).fit(X, LABELS)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="a pair is compiled only with the compiler")
def test_a_compiled_pair_of_another_form():
    @numba.njit
    def loss(y, a):
        return "much"

    @numba.njit
    def gradient(y):
        return 0.0

    with pytest.raises(TypeError, match=r"loss: two compiled functions must take two numbers, \(y_true, y_pred\)"):
        MLPRegressor(**SMALL, loss=(loss, loss)).fit(X, X[:, 0])
    with pytest.raises(TypeError, match=r"loss: two compiled functions must take two numbers, \(y_true, y_pred\)"):
        MLPRegressor(**SMALL, loss=(gradient, gradient)).fit(X, X[:, 0])


def test_sparse_labels_to_validate_on():
    y = (X[:, :2] > 0).astype(int)
    dense = MLPClassifier(**SMALL).fit(X, y, X_val=X, y_val=y)
    sparse = MLPClassifier(**SMALL).fit(X, scipy.sparse.csr_matrix(y), X_val=X, y_val=scipy.sparse.csr_matrix(y))
    assert sparse.history_ == dense.history_


def test_a_callback_that_stops_lbfgs_is_no_failure():
    model = MLPClassifier(**SMALL | {"max_iter": 50}, solver="lbfgs")
    model.set_callbacks(lambda model, epoch, logs: epoch == 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, LABELS)
    assert model.n_iter_ == 4


def test_large_numbers_overflow_no_check():
    large = X.copy()
    large[:, 0] = 1e307 * (1 + np.abs(X[:, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(ValueError, match="non-finite"):
            MLPRegressor(**SMALL).fit(large, large[:, 0])


def test_predictions_are_as_fine_as_the_finest_of_the_weights():
    model = MLPClassifier(**SMALL).fit(X, LABELS)
    model.coefs_ = [W.astype(np.float32) for W in model.coefs_]
    assert model.predict_proba(X).dtype == np.float64
    model.coefs_, model.intercepts_ = (
        [a.astype(np.float32) for a in given] for given in (model.coefs_, model.intercepts_)
    )
    assert model.predict_proba(X).dtype == np.float32


def test_attributes_are_those_of_the_last_fit():
    model = MLPClassifier(**SMALL, diagnostics=True, warm_start=True).fit(X, LABELS, X_val=X, y_val=LABELS)
    assert model.diagnostics_["gradient_norm"]
    model.set_params(diagnostics=False).fit(X, LABELS)
    assert not hasattr(model, "diagnostics_")
    lengths = {name: len(values) for name, values in model.history_.items()}
    assert set(lengths.values()) == {10}
    assert np.isfinite(model.history_["validation_score"][:5]).all()
    assert np.isnan(model.history_["validation_score"][5:]).all()
    model.fit(X, LABELS, X_val=X, y_val=LABELS)
    assert np.isnan(model.history_["score"]).tolist() == [False] * 5 + [True] * 5 + [False] * 5
    late = MLPClassifier(**SMALL, warm_start=True).fit(X, LABELS).fit(X, LABELS, X_val=X, y_val=LABELS)
    assert np.isnan(late.history_["score"]).tolist() == [True] * 5 + [False] * 5


@pytest.mark.filterwarnings("always::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("options", [{}, {"diagnostics": True}, {"batch_size": 1000}], ids=str)
def test_warnings_point_to_the_line_of_the_user(solver, options):
    if solver == "lbfgs" and options:
        options = {}
    with pytest.warns(UserWarning, match="converge|clipped|learn") as caught:
        MLPClassifier(**SMALL | {"max_iter": 1}, solver=solver, learning_rate_init=1e-9, **options).fit(X * 1e3, LABELS)
    assert {warning.filename for warning in caught} == {__file__}


def test_onnx_of_a_pipeline():
    skl2onnx, onnxruntime = pytest.importorskip("skl2onnx"), pytest.importorskip("onnxruntime")
    x = X.astype(np.float32)
    ours = make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).fit(x, LABELS)
    theirs = Pipeline([*ours.steps[:-1], ("mlp", ours[-1].to_sklearn())])
    converted = skl2onnx.to_onnx(theirs, x[:1], options={"zipmap": False})
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"X": x})[1], ours.predict_proba(x), atol=1e-6)


def test_equal_activations_convert():
    for given, expected in ((["logistic", "sigmoid"], "logistic"), (["linear", "identity"], "identity")):
        model = MLPClassifier((3, 3), activation=given, max_iter=2, random_state=0).fit(X, LABELS)
        theirs = model.to_sklearn()
        assert theirs.activation == expected
        np.testing.assert_allclose(theirs.predict_proba(X), model.predict_proba(X), rtol=1e-12)
    model = MLPClassifier((), activation=[], max_iter=2, random_state=0).fit(X, LABELS)
    np.testing.assert_allclose(model.to_sklearn().predict_proba(X), model.predict_proba(X), rtol=1e-12)


@pytest.mark.once
def test_read_only_weights_and_indices_compile_nothing():
    """pandas gives a column as a read-only array, which is another type to Numba."""
    weights = RNG.uniform(0.1, 1, 60)
    sparse = scipy.sparse.csr_array(np.where(np.abs(X) > 0.5, X, 0))
    sparse.indices, sparse.indptr = sparse.indices.astype(np.int64), sparse.indptr.astype(np.int64)
    for x in (X, sparse):
        MLPRegressor(**SMALL).fit(x, X[:, 0], weights)
    for array in (weights, sparse.data, sparse.indices, sparse.indptr):
        array.flags.writeable = False
    with event.install_recorder("numba:compile") as recorder:
        for x in (X, sparse):
            MLPRegressor(**SMALL).fit(x, X[:, 0], weights)
    assert recorder.buffer == []
