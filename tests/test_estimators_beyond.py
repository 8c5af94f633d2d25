"""What MLPClassifier and MLPRegressor have that scikit-learn's do not."""

import pickle
import re
import warnings
from itertools import pairwise, product

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.class_weight import compute_sample_weight

from fastmlp import MLP, AdamW, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, FEATURES = 60, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, FEATURES))
SCORES = X @ RNG.normal(size=(FEATURES, 3))
CLASSES = np.array(["a", "b", "c"])[SCORES.argmax(axis=1)]
NUMBER = np.sin(SCORES[:, 0])
WEIGHTS = RNG.uniform(0.2, 3, N)
SMALL = {"hidden_layer_sizes": (7, 4), "activation": "tanh", "random_state": 3, "max_iter": 15, "batch_size": 16}


def assert_same(a, b):
    for one, other in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        assert_array_equal(one, other)


# --- class weights ------------------------------------------------------------------------------------------------


@pytest.mark.once
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("given", ["balanced", {"a": 2.0, "c": 0.5}, {"b": 0}], ids=str)
@pytest.mark.parametrize("two", [False, True])
def test_class_weights_are_sample_weights(given, two, solver):
    x, y = (X[CLASSES != "c"], CLASSES[CLASSES != "c"]) if two else (X, CLASSES)
    given = {k: v for k, v in given.items() if not two or k != "c"} if isinstance(given, dict) else given
    model = MLPClassifier(**SMALL, class_weight=given, solver=solver).fit(x, y)
    weights = compute_sample_weight(given, y)
    expected = clone(model).set_params(class_weight=None).fit(x, y, sample_weight=weights)
    for one, other in zip(model.coefs_, expected.coefs_, strict=True):
        assert_allclose(one, other, rtol=1e-9)
    assert np.abs(model.coefs_[0] - MLPClassifier(**SMALL, solver=solver).fit(x, y).coefs_[0]).max() > 1e-6


def test_balanced_classes_weigh_the_same_with_sample_weights():
    model = MLPClassifier(**SMALL, class_weight="balanced").fit(X, CLASSES, sample_weight=WEIGHTS)
    of_class = {label: 1 / WEIGHTS[label == CLASSES].sum() for label in "abc"}
    weights = WEIGHTS * [of_class[label] * WEIGHTS.sum() / 3 for label in CLASSES]
    expected = MLPClassifier(**SMALL).fit(X, CLASSES, sample_weight=weights)
    assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-9)


@pytest.mark.parametrize(
    ("given", "y", "message"),
    [
        ({"a": 1, "z": 2}, CLASSES, r"class_weight has \['z'\], which are not among the classes"),
        ({"a": -1}, CLASSES, "class_weight must be finite, at least 0 and not 0 for all rows, got {'a': -1}"),
        ({"a": np.nan}, CLASSES, "class_weight must be finite"),
        ({"a": 0, "b": 0, "c": 0}, CLASSES, "not 0 for all rows"),
        ("balance", CLASSES, "The 'class_weight' parameter of MLPClassifier must be"),
        ("balanced", SCORES > 0, "class_weight is for one class per row"),
    ],
)
def test_class_weights_that_do_not_fit(given, y, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL, class_weight=given).fit(X, y)


def test_rows_of_no_weight_at_all():
    model = MLPClassifier(**SMALL, class_weight={"a": 0})
    with pytest.raises(ValueError, match="sample_weight times class_weight must not be zero for all rows"):
        model.fit(X, CLASSES, sample_weight=CLASSES == "a")


def test_balanced_is_not_for_partial_fit():
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows at once"):
        MLPClassifier(class_weight="balanced").partial_fit(X, CLASSES, classes=["a", "b", "c"])
    model = MLPClassifier(**SMALL, class_weight={"a": 3.0}).partial_fit(X, CLASSES, classes=["a", "b", "c"])
    weights = np.where(CLASSES == "a", 3.0, 1.0)
    assert_same(model, MLPClassifier(**SMALL).partial_fit(X, CLASSES, sample_weight=weights, classes=["a", "b", "c"]))


# --- label smoothing ----------------------------------------------------------------------------------------------

LABELS = {"binary": (SCORES[:, 0] > 0).astype(int), "classes": CLASSES, "labels": (SCORES > 0).astype(int)}


def every_label(y, smoothing):
    """Each row with each label that it could have, and how likely that is."""
    if y.ndim == 2:
        patterns = list(product([0, 1], repeat=y.shape[1]))
        likely = [np.where(y == p, 1 - smoothing / 2, smoothing / 2).prod(axis=1) for p in patterns]
    else:
        patterns = np.unique(y)
        share = smoothing / len(patterns)
        likely = [np.where(y == p, 1 - smoothing + share, share) for p in patterns]
    return np.tile(X, (len(patterns), 1)), np.repeat(patterns, len(y), axis=0), np.concatenate(likely)


@pytest.mark.once
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", LABELS)
def test_smoothed_labels_are_all_labels_by_their_weights(kind, solver, weighted):
    y, options = LABELS[kind], SMALL | {"batch_size": N, "learning_rate_init": 0.02, "solver": solver}
    weights = WEIGHTS if weighted else np.ones(N)
    model = MLPClassifier(**options, label_smoothing=0.3).fit(X, y, sample_weight=weights if weighted else None)
    many, labels, likely = every_label(y, 0.3)
    copies = len(many) // N
    expected = MLPClassifier(**options | {"batch_size": len(many)})
    expected.fit(many, labels, sample_weight=likely * np.tile(weights, copies))
    for one, other in zip(model.coefs_, expected.coefs_, strict=True):
        assert_allclose(one, other, rtol=1e-6, atol=1e-9)
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-9)
    hard = MLPClassifier(**options).fit(X, y, sample_weight=weights)
    assert np.abs(hard.coefs_[0] - model.coefs_[0]).max() > 1e-3


@pytest.mark.parametrize("kind", LABELS)
def test_rows_to_validate_on_keep_their_labels(kind):
    y = LABELS[kind]
    options = SMALL | {"label_smoothing": 0.5, "early_stopping": True, "max_iter": 5}
    model = MLPClassifier(**options, scoring="loss").fit(X, y, X_val=X[:20], y_val=y[:20])
    p = model.predict_proba(X[:20])
    if kind == "labels":
        expected = sum(log_loss(y[:20, j], p[:, j]) for j in range(3))
    else:
        expected = log_loss(y[:20], p, labels=model.classes_)
    assert -model.best_validation_score_ == pytest.approx(expected, rel=1e-9)
    model = MLPClassifier(**options).fit(X, y, X_val=X[:20], y_val=y[:20])
    assert model.best_validation_score_ == model.score(X[:20], y[:20])
    aside = MLPClassifier(**options, validation_fraction=0.3).fit(X, y)  # 18 rows
    assert_allclose(np.array(aside.validation_scores_) * 18 % 1, 0, atol=1e-9)
    assert_array_equal(aside.predict(X), pickle.loads(pickle.dumps(aside)).predict(X))


@pytest.mark.parametrize("scoring", [None, "accuracy"])
@pytest.mark.parametrize("kind", LABELS)
def test_training_rows_are_scored_by_labels_that_are_not_smoothed(kind, scoring):
    y, options = LABELS[kind], SMALL | {"label_smoothing": 0.3, "scoring": scoring, "max_iter": 3}
    model = MLPClassifier(**options).fit(X, y, X_val=X, y_val=y)
    assert model.history_["score"] == model.history_["validation_score"]
    assert 0 < model.history_["score"][-1] == model.score(X, y)


@pytest.mark.parametrize("kind", LABELS)
def test_partial_fit_smooths_labels(kind):
    y, options = LABELS[kind], SMALL | {"label_smoothing": 0.3}
    classes = [0, 1, 2] if kind == "labels" else np.unique(y)
    model = MLPClassifier(**options).partial_fit(X, y, classes=classes)
    assert_same(model, MLPClassifier(**options | {"max_iter": 1}).fit(X, y))
    with pytest.raises(ValueError, match="The 'label_smoothing' parameter of MLPClassifier must be"):
        model.set_params(label_smoothing=1).fit(X, y)


# --- schedules and solvers ----------------------------------------------------------------------------------------


def trained_by_hand(factors, optimizer, alpha, **options):
    """60 rows in order, 4 steps an epoch, by `MLP.update_parameters` with a rate for each step."""
    model = MLPRegressor(**SMALL, shuffle=False, alpha=0, **options)
    start = clone(model).set_params(max_iter=1, learning_rate_init=1e-300, learning_rate="constant", solver="sgd")
    start.fit(X, NUMBER)
    mlp = MLP([FEATURES, 7, 4, 1], "tanh", "linear", optimizer=optimizer, dtype=np.float64)
    mlp.weights, mlp.biases = start.coefs_, [b[None] for b in start.intercepts_]
    for step, factor in enumerate(factors):
        mlp.learning_rate = model.learning_rate_init * factor
        rows = slice(step % 4 * 16, step % 4 * 16 + 16)
        mlp.update_parameters(*mlp.backward(X[rows], NUMBER[rows], mlp.forward(X[rows])))
    return model.fit(X, NUMBER), mlp


T = np.arange(60) / 60  # 15 epochs of 4 steps
FACTORS = {  # written down from the papers
    "step": np.repeat([1, 0.1, 0.01], [30, 15, 15]),
    "exponential": 10.0 ** (-2 * T),
    "cosine": np.cos(np.pi * T / 2) ** 2,
    "one_cycle": np.r_[
        1 / 25 + (1 - 1 / 25) * np.sin(np.pi * np.arange(18) / 36) ** 2,
        4e-6 + (1 - 4e-6) * np.cos(np.pi * np.arange(42) / 84) ** 2,
    ],
}


@pytest.mark.parametrize("schedule", FACTORS)
@pytest.mark.parametrize(("solver", "optimizer"), [("sgd", "nesterov"), ("rmsprop", "rmsprop")])
def test_schedules_change_the_rate_of_each_step(schedule, solver, optimizer):
    expected = np.maximum(FACTORS[schedule], 1e-300)
    model, mlp = trained_by_hand(expected, optimizer, 0, learning_rate=schedule, solver=solver, learning_rate_init=0.01)
    assert_allclose(model.coefs_[0], mlp.weights[0], rtol=1e-9)
    assert model.learning_rate_ == pytest.approx(0.01 * expected[-1], rel=1e-9)


def test_a_schedule_that_has_come_to_its_end_is_no_reason_to_warn():
    model = MLPRegressor(**SMALL, n_iter_no_change=np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        assert clone(model).set_params(learning_rate="cosine").fit(X, NUMBER).n_iter_ == 15
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(15\) reached"):
        model.fit(X, NUMBER)


def test_warmup_and_a_schedule_of_ones_own():
    ramp = np.minimum(1, np.arange(1, 61) / 10)  # 2.5 epochs
    options = {"learning_rate": lambda t: 1 - t / 2, "solver": "rmsprop", "warmup": 2.5, "rho": 0.9}
    model, mlp = trained_by_hand(ramp * (1 - T / 2), "rmsprop", 0, **options)
    assert_allclose(model.coefs_[0], mlp.weights[0], rtol=1e-9)
    model, mlp = trained_by_hand(ramp, "rmsprop", 0, solver="rmsprop", warmup=2.5)
    assert_allclose(model.coefs_[0], mlp.weights[0], rtol=1e-9)


@pytest.mark.parametrize("factor", [-0.1, np.nan, np.inf])
def test_schedules_that_are_no_rates(factor):
    with pytest.raises(ValueError, match="learning_rate must give finite numbers of at least 0"):
        MLPRegressor(**SMALL, learning_rate=lambda t: factor).fit(X, NUMBER)


@pytest.mark.parametrize("solver", ["adam", "adamw", "rmsprop", "sgd"])
def test_plateau_lowers_the_rate_before_it_stops(solver):
    model = MLPRegressor(
        **SMALL | {"max_iter": 60}, solver=solver, tol=1e9, n_iter_no_change=1, learning_rate="plateau"
    )
    model.fit(X, NUMBER)
    assert model.n_iter_ < 60
    assert 1e-6 / 5 < model.learning_rate_ <= 1e-6


def test_adamw_is_adam_with_decoupled_decay():
    """With epsilon all but 0 it is that of PyTorch's form, too."""
    options = {"solver": "adamw", "weight_decay": 0.3, "epsilon": 1e-30, "learning_rate_init": 0.01}
    model, mlp = trained_by_hand(np.ones(60), AdamW(weight_decay=0.3, epsilon=1e-30), 0, **options)
    assert_allclose(model.coefs_[0], mlp.weights[0], rtol=1e-8)
    other = clone(model).set_params(solver="adam", weight_decay=0).fit(X, NUMBER)
    assert np.abs(model.coefs_[0] - other.coefs_[0]).max() > 1e-3


@pytest.mark.parametrize("options", [{"momentum": 0.0}, {"nesterovs_momentum": False}, {}, {"solver": "rmsprop"}])
def test_weights_decay_with_every_solver(options):
    """A constant X and y of which nothing is to be learned: what is left is the decay."""
    options = {"solver": "sgd", "coefs_init": [np.ones((FEATURES, 1))], "intercepts_init": [np.zeros(1)]} | options
    model = MLPRegressor(hidden_layer_sizes=(), alpha=0, learning_rate_init=0.1, max_iter=8, **options)
    model.set_params(weight_decay=0.5).fit(np.zeros((4, FEATURES)), np.zeros(4))
    assert_allclose(model.coefs_[0], (1 - 0.1 * 0.5) ** 8, rtol=1e-12)
    model.set_params(weight_decay=None).fit(np.zeros((4, FEATURES)), np.zeros(4))
    assert_array_equal(model.coefs_[0], 1.0)


def test_lbfgs_has_no_steps_to_decay_in():
    with pytest.raises(ValueError, match=r"weight_decay=0\.1 goes with the learning rate of a step"):
        MLPRegressor(solver="lbfgs", weight_decay=0.1).fit(X, NUMBER)
    MLPRegressor(**SMALL | {"max_iter": 1}, solver="lbfgs", weight_decay=0).fit(X, NUMBER)


def test_what_only_matters_for_training_is_left_out_for_scikit_learn():
    model = MLPRegressor(**SMALL | {"activation": ["tanh", "tanh"]}, solver="adamw", learning_rate="cosine")
    theirs = model.fit(X, NUMBER).to_sklearn()
    assert (theirs.solver, theirs.learning_rate, theirs.activation) == ("adam", "constant", "tanh")
    assert_allclose(theirs.predict(X), model.predict(X), rtol=1e-12)
    theirs.partial_fit(X, NUMBER)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_gradients_can_be_clipped(solver):
    wild = NUMBER * np.where(np.arange(N) == 5, 1e6, 1)
    model = MLPRegressor(**SMALL, solver=solver, clip_norm=1.0, learning_rate_init=0.01).fit(X, wild)
    assert max(np.abs(W).max() for W in model.coefs_) < 3
    free = MLPRegressor(**SMALL, solver=solver, weight_decay=0.3).fit(X, NUMBER)
    loose = clone(free).set_params(clip_norm=1e9).fit(X, NUMBER)
    assert_allclose(loose.coefs_[0], free.coefs_[0], rtol=1e-12)
    with pytest.raises(ValueError, match="The 'clip_norm' parameter of MLPRegressor must be"):
        MLPRegressor(clip_norm=0).fit(X, NUMBER)


@pytest.mark.once
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_absolute_error_finds_medians(solver):
    """With constant inputs the best prediction is the median, wherever the outliers are; to sum or mean is the same."""
    y = np.random.default_rng(0).standard_cauchy((101, 2))
    model = MLPRegressor("absolute_error", (2,), "identity", solver=solver, learning_rate="cosine", alpha=0, tol=0)
    model.set_params(max_iter=400, learning_rate_init=0.02, random_state=0, batch_size=101, n_iter_no_change=np.inf)
    model.fit(np.ones((101, 1)), y)
    error = np.abs(y - np.median(y, axis=0)).mean()
    assert np.abs(y - model.predict(np.ones((101, 1)))).mean() == pytest.approx(error, rel=1e-3)
    assert model.loss_ == pytest.approx(error, rel=1e-2)
    theirs = model.to_sklearn()
    assert theirs.loss == "squared_error"
    assert_allclose(theirs.predict(np.ones((3, 1))), model.predict(np.ones((3, 1))))


# --- validation ---------------------------------------------------------------------------------------------------

VALIDATION = np.random.default_rng(9).normal(size=(30, FEATURES))
TASKS = {  # targets of X and of VALIDATION
    "MLPClassifier": (CLASSES, np.resize(["a", "b", "c"], 30)),
    "MLPRegressor": (NUMBER, np.sin(VALIDATION[:, 0])),
}


def make(name, **options):
    return {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[name](**SMALL | options)


@pytest.mark.parametrize("how", ["X_val", "eval_set", "list", "sparse"])
@pytest.mark.parametrize("name", TASKS)
def test_the_users_own_set_is_looked_at_after_each_epoch(name, how):
    y, y_val = TASKS[name]
    x_val = scipy.sparse.csr_array(VALIDATION) if how == "sparse" else VALIDATION
    pair = (x_val, y_val)
    given = {"eval_set": pair, "list": [pair]}
    arguments = {"eval_set": given[how]} if how in given else {"X_val": x_val, "y_val": y_val}
    model = make(name).fit(X, y, **arguments)
    plain = make(name).fit(X, y)
    assert_same(model, plain)  # it changes nothing
    assert set(plain.history_) == {"loss", "learning_rate"}
    history = model.history_
    assert history["loss"] == model.loss_curve_
    assert history["learning_rate"] == [model.learning_rate_init] * 15
    assert model.validation_scores_ is None
    assert [len(values) for values in history.values()] == [15] * 5
    assert history["score"][-1] == pytest.approx(model.score(X, y), rel=1e-12)
    weighted = make(name, max_iter=1).fit(X, y, WEIGHTS, **arguments)
    # rows of X count alike, as those of X_val do, whatever they weigh in training
    assert weighted.history_["score"] == [pytest.approx(weighted.score(X, y), rel=1e-12)]
    assert history["validation_score"][-1] == pytest.approx(model.score(VALIDATION, y_val), rel=1e-12)
    if name == "MLPClassifier":
        expected = log_loss(y_val, model.predict_proba(VALIDATION))
    else:
        expected = np.mean((y_val - model.predict(VALIDATION)) ** 2) / 2
    assert history["validation_loss"][-1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "scoring", [None, "loss", "neg_log_loss", "accuracy", lambda m, X, y: -log_loss(y, m.predict_proba(X))]
)
def test_early_stopping_on_the_users_set_keeps_the_best_epoch(scoring):
    y, y_val = TASKS["MLPClassifier"]
    options = {"max_iter": 100, "n_iter_no_change": 5, "learning_rate_init": 0.02, "tol": 0.0, "scoring": scoring}
    model = make("MLPClassifier", early_stopping=True, **options).fit(X, y, X_val=VALIDATION, y_val=y_val)
    scores = model.validation_scores_
    assert scores == model.history_["validation_score"]
    assert 6 <= model.n_iter_ < 100
    best = int(np.argmax(scores))
    assert model.best_validation_score_ == scores[best]
    expected = make("MLPClassifier", **options | {"max_iter": best + 1, "n_iter_no_change": np.inf}).fit(X, y)
    assert_same(model, expected)
    if scoring not in (None, "accuracy"):
        assert scores[best] == pytest.approx(-log_loss(y_val, model.predict_proba(VALIDATION)), rel=1e-9)


@pytest.mark.parametrize("scoring", ["loss", "r2", "neg_mean_squared_error"])
@pytest.mark.parametrize("weighted", [False, True])
def test_early_stopping_on_rows_set_aside_takes_any_score(scoring, weighted):
    model = make("MLPRegressor", early_stopping=True, scoring=scoring, max_iter=15)
    frame = pd.DataFrame(X, columns=list("vwxyz"))
    model.fit(frame, NUMBER, sample_weight=WEIGHTS if weighted else None)
    default = make("MLPRegressor", early_stopping=True, max_iter=15)
    default.fit(frame, NUMBER, sample_weight=WEIGHTS if weighted else None)
    # a score that is R2 but for a scale and a shift; tol does not matter before convergence
    scores, r2 = np.array(model.validation_scores_), np.array(default.validation_scores_)
    n = min(len(scores), len(r2))
    slope, shift = np.polyfit(r2[:n], scores[:n], 1)
    assert slope > 0
    assert_allclose(scores[:n], slope * r2[:n] + shift, rtol=1e-9, atol=1e-9)
    if scoring == "loss":
        assert_allclose(-scores, model.history_["validation_loss"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X_val": VALIDATION}, "X_val and y_val go together"),
        ({"y_val": CLASSES}, "X_val and y_val go together"),
        ({"eval_set": 3}, r"eval_set must be a pair \(X, y\), or a list of one pair; got a int"),
        ({"eval_set": (VALIDATION, CLASSES[:30]), "X_val": X, "y_val": CLASSES}, "give one of them"),
        (
            {"X_val": VALIDATION[:, :3], "y_val": CLASSES[:30]},
            "X_val, y_val: X has 3 features, but MLPClassifier is exp",
        ),
        (
            {"X_val": VALIDATION, "y_val": ["a"] * 29 + ["z"]},
            r"X_val, y_val: y has classes \['z'\], which are not among",
        ),
        ({"X_val": VALIDATION, "y_val": CLASSES[:29]}, "X_val, y_val: Found input variables with inconsistent numbers"),
        (
            {"X_val": VALIDATION, "y_val": np.eye(3, dtype=int)[np.arange(30) % 3]},
            r"the form of the training rows' \(multiclass\), got",
        ),
        ({"X_val": VALIDATION * np.nan, "y_val": CLASSES[:30]}, "X_val, y_val: Input X contains NaN"),
    ],
)
def test_validation_sets_that_do_not_fit(arguments, message):
    model = MLPClassifier(**SMALL).fit(X, CLASSES)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match=message):
        model.fit(X, CLASSES, **arguments)
    assert_array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize(
    ("y_val", "message"),
    [
        (5 * np.eye(3, dtype=int)[np.arange(30) % 3], r"y has classes \[5\], which are not among \[0, 1\]"),
        (np.arange(30) % 2, r"the form of the training rows' \(multilabel-indicator\), got shape \(30,\)"),
        (np.eye(2, dtype=int)[np.arange(30) % 2], r"the form of the training rows' .* got shape \(30, 2\)"),
    ],
)
def test_validation_sets_of_other_labels(y_val, message):
    y = (SCORES > 0).astype(int)
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL).fit(X, y, X_val=VALIDATION, y_val=y_val)
    MLPClassifier(**SMALL).fit(X, y, X_val=X[:30], y_val=y[:30])


def _accuracy(model, x, y):
    return model.score(x, y)


@pytest.mark.parametrize("scoring", [_accuracy, "adjusted_rand_score", lambda m, x, y, **weights: float(len(weights))])
def test_scorers_are_given_weights_if_they_can_weigh(scoring):
    options = {"scoring": scoring, "early_stopping": True}
    model = MLPClassifier(**SMALL, **options).fit(X, CLASSES, sample_weight=WEIGHTS)
    assert len(model.validation_scores_) == model.n_iter_
    if isinstance(scoring, str) or scoring is _accuracy:
        return
    assert set(model.validation_scores_) == {1.0}
    assert set(MLPClassifier(**SMALL, **options).fit(X, CLASSES).validation_scores_) == {0.0}


def test_validation_sets_are_routed_by_pipelines():
    with sklearn.config_context(enable_metadata_routing=True):
        model = MLPRegressor(**SMALL).set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(FunctionTransformer(), model).fit(X, NUMBER, X_val=VALIDATION, y_val=VALIDATION[:, 0])
    assert len(pipeline[-1].history_["validation_score"]) == 15
    with pytest.raises(ValueError, match="y must have 1 outputs, got shape"):
        MLPRegressor(**SMALL).fit(X, NUMBER, X_val=VALIDATION, y_val=VALIDATION)
    with pytest.raises(ValueError, match="X_val is looked at after each epoch"):
        MLPRegressor(solver="lbfgs").fit(X, NUMBER, X_val=VALIDATION, y_val=VALIDATION[:, 0])


# --- callbacks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("name", TASKS)
def test_scikit_learns_callbacks_see_each_epoch(name, solver):
    y = TASKS[name][0]
    monitor = ScoringMonitor(scoring="accuracy" if name == "MLPClassifier" else "r2")
    model = make(name, solver=solver).set_callbacks(monitor).fit(X, y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert [row["task_id"] for row in rows] == list(range(model.n_iter_))
    scores = [row["accuracy" if name == "MLPClassifier" else "r2"] for row in rows]
    assert scores[-1] == pytest.approx(model.score(X, y), rel=1e-12)
    assert scores[0] < scores[-1]
    half = make(name, solver=solver, max_iter=8).fit(X, y)
    assert scores[7] == pytest.approx(half.score(X, y), rel=1e-12)
    assert_same(model, make(name, solver=solver).fit(X, y))
    assert not hasattr(model, "_callback_fit_ctx")


def test_callbacks_come_through_a_grid_search():
    monitor = ScoringMonitor(scoring="r2")
    GridSearchCV(MLPRegressor(**SMALL).set_callbacks(monitor), {"alpha": [0.1, 1.0]}, cv=2).fit(X, NUMBER)
    epochs = [row for log in monitor.get_logs(select="all") for row in log.data if row["task_name"] == "epoch"]
    assert len(epochs) == (2 * 2 + 1) * 15


def test_plain_functions_see_the_logs_and_may_stop():
    seen = []

    def watch(model, epoch, logs):
        seen.append((epoch, logs, model.predict(X)))
        return epoch == 6

    model = make("MLPRegressor").set_callbacks(watch).fit(X, NUMBER, X_val=X, y_val=NUMBER)
    assert [epoch for epoch, *_ in seen] == list(range(7))
    assert model.n_iter_ == 7
    assert seen[3][1] == {name: values[3] for name, values in model.history_.items()}
    assert_array_equal(seen[-1][2], model.predict(X))
    assert len(pickle.loads(pickle.dumps(make("MLPRegressor").fit(X, NUMBER))).history_["loss"]) == 15
    model.set_callbacks().fit(X, NUMBER)
    assert (len(seen), model.n_iter_) == (7, 15)


def test_callbacks_that_fail_leave_the_old_fit_and_are_torn_down():
    model = make("MLPRegressor").fit(X, NUMBER)
    before = model.predict(X)

    def fail(model, epoch, logs):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        model.set_callbacks(fail).fit(X, NUMBER)
    assert_array_equal(model.predict(X), before)
    assert not hasattr(model, "_callback_fit_ctx")
    with pytest.raises(TypeError, match="callbacks must be instances following the FitCallback protocol"):
        model.set_callbacks(3)


def test_only_true_stops_a_fit():
    model = make("MLPRegressor").set_callbacks(lambda model, epoch, logs: logs["loss"]).fit(X, NUMBER)
    assert model.n_iter_ == 15
    model.set_callbacks(lambda model, epoch, logs: np.bool_(epoch == 2)).fit(X, NUMBER)
    assert model.n_iter_ == 3


# --- diagnostics --------------------------------------------------------------------------------------------------


def test_diagnostics_of_a_network_that_learns():
    model = MLPRegressor(**SMALL | {"max_iter": 1000}, diagnostics=True, alpha=0, learning_rate_init=0.02, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X, NUMBER)
    found = model.diagnostics_
    assert (found["dead_units"], found["saturated_units"], found["messages"]) == ([0.0, 0.0], [0.0, 0.0], [])
    assert np.shape(found["gradient_norm"]) == (model.n_iter_, 3)
    one = MLPRegressor(**SMALL | {"max_iter": 1, "batch_size": N}, diagnostics=True, alpha=0, solver="sgd", momentum=0)
    one.set_params(learning_rate_init=1e-3).fit(X, NUMBER)
    start = clone(one).set_params(learning_rate_init=1e-300).fit(X, NUMBER)
    moved = [np.linalg.norm(a - b) / 1e-3 for a, b in zip(one.coefs_, start.coefs_, strict=True)]
    assert_allclose(one.diagnostics_["gradient_norm"][0], moved, rtol=1e-9)


def _weights(*scales):
    rng = np.random.default_rng(0)
    sizes = [FEATURES, 7, 4, 1]
    return [s * rng.uniform(0.5, 1, shape) for s, shape in zip(scales, pairwise(sizes), strict=True)]


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (X, {"activation": "relu", "intercepts_init": [np.full(7, -99.0), np.zeros(4), np.zeros(1)]},
         "100% of the units of hidden layer 1 give the same output for every row"),
        (np.abs(X) + 1, {"coefs_init": _weights(50, 1, 1)}, "100% of the units of hidden layer 1 are saturated"),
        (np.abs(X) + 1, {"activation": "logistic", "coefs_init": _weights(50, 1, 1)}, "hidden layer 1 are saturated"),
        (X, {"coefs_init": _weights(1, 1e-5, 1)}, r"The gradient vanishes: .* in the first layer"),
        (np.c_[X[:, :4], 1e4 * X[:, 4]], {}, r"Feature 4 has values up to 3\.07e\+04: scale the data"),
        (scipy.sparse.csr_array(np.c_[X[:, :4], 1e4 * X[:, 4]]), {}, "Feature 4 has values"),
    ],
)  # fmt: skip
def test_networks_that_do_not_learn_say_why(x, options, message):
    model = MLPRegressor(**SMALL | {"max_iter": 3, "learning_rate_init": 1e-9} | options, diagnostics=True)
    with pytest.warns(ConvergenceWarning, match="The network does not learn. .*" + message):
        model.fit(x, NUMBER)
    assert any(re.search(message, text) for text in model.diagnostics_["messages"])


def test_a_network_that_explodes_says_so():
    options = {"max_iter": 9, "learning_rate_init": 3.0, "activation": "identity", "batch_size": N}
    model = MLPRegressor(**SMALL | options)
    with pytest.warns(ConvergenceWarning, match=r"not learn\..* The loss has grown from .* lower learning_rate_init"):
        model.set_params(diagnostics=True).fit(X, NUMBER)
    assert model.loss_curve_[-1] > 2 * model.loss_curve_[0]
    steep = MLPRegressor(**SMALL | {"max_iter": 1, "activation": "identity"}, coefs_init=_weights(1e-4, 1, 1e4))
    steep.set_params(diagnostics=True, intercepts_init=[np.zeros(7), np.zeros(4), np.zeros(1)]).fit(X, NUMBER)
    assert any(text.startswith("The gradient explodes: ") for text in steep.diagnostics_["messages"])


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (X, NUMBER, {"coefs_init": _weights(1, 1e200, 1e200)}, "Pre-activations overflow first in layer 3"),
        (X, 1e200 * NUMBER, {}, "The loss is not finite, although the outputs, of layer 3, are"),
        (X, NUMBER**2, {"loss": "poisson", "coefs_init": _weights(1, 1, 1e4)}, "outputs of layer 3 are the first to"),
        (X, 1e150 * NUMBER, {"coefs_init": _weights(1, 0, 1e200), "intercepts_init": [np.zeros(k) for k in (7, 4, 1)]},
         "The gradient of the loss is first not finite in layer 2"),
        (X, NUMBER, {"solver": "sgd", "learning_rate_init": 1e308, "coefs_init": _weights(9, 9, 9)},
         "The gradient is largest in layer"),
    ],
)  # fmt: skip
def test_divergence_names_the_layer(x, y, options, message):
    with pytest.raises(ValueError, match=rf"in epoch 1, batch 1\. .*{message}"):
        MLPRegressor(**{**SMALL, "activation": "identity", **options}).fit(x, y)


# --- activations, threads, precision, initial weights -------------------------------------------------------------


def test_an_activation_for_each_layer():
    model = MLPRegressor(**SMALL | {"activation": ["gelu", "logistic"]}).fit(X, NUMBER)
    mlp = MLP([FEATURES, 7, 4, 1], ["gelu", "sigmoid"], "linear", dtype=np.float64)
    mlp.weights, mlp.biases = model.coefs_, [b[None] for b in model.intercepts_]
    assert_array_equal(model.predict(X), mlp.predict(X)[:, 0])
    first = MLPRegressor(**SMALL | {"activation": ["gelu", "logistic"], "max_iter": 1, "learning_rate_init": 1e-30})
    bounds = [np.sqrt(6 / 12), np.sqrt(2 / 11), np.sqrt(2 / 5)]
    for W, bound in zip(first.fit(X, NUMBER).coefs_, bounds, strict=True):
        assert 0.5 * bound < np.abs(W).max() <= bound
    same = MLPRegressor(**SMALL | {"activation": ("tanh", "tanh")}).fit(X, NUMBER)
    assert_same(same, MLPRegressor(**SMALL).fit(X, NUMBER))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (["tanh"], ValueError, r"activation must be one name or 2, one for each hidden layer; got \['tanh'\]"),
        (["tanh", "wave"], ValueError, r"activation\[1\]='wave' is not known"),
        (["tanh", 3], TypeError, r"activation\[1\] must be a name"),
    ],
)
def test_activations_that_do_not_fit(given, error, message):
    with pytest.raises(error, match=message):
        MLPRegressor(**SMALL | {"activation": given}).fit(X, NUMBER)


@pytest.mark.parametrize("activation", ["relu", ["logistic", "gelu"]])
def test_a_changed_activation_counts_from_then_on(activation):
    """As in scikit-learn, which looks at the parameter whenever it predicts or trains."""
    model = MLPRegressor(**SMALL, warm_start=True).fit(X, NUMBER)
    expected = MLPRegressor(**SMALL | {"activation": activation})
    expected.set_params(coefs_init=model.coefs_, intercepts_init=model.intercepts_)
    expected.set_params(max_iter=1, learning_rate_init=1e-300).fit(X, NUMBER)
    model.set_params(activation=activation)
    assert_array_equal(model.predict(X), expected.predict(X))
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), expected.predict(X))
    if activation == "relu":
        theirs = model.to_sklearn()
        assert_allclose(theirs.predict(X), expected.predict(X), rtol=1e-12)
        theirs.set_params(shuffle=False).fit(X, NUMBER)  # Adam begins anew there
        model = type(model).from_sklearn(model.to_sklearn()).set_params(shuffle=False)
        model._network()._reset_optimizer()
        assert_allclose(model.fit(X, NUMBER).coefs_[0], theirs.coefs_[0], rtol=1e-8)


def test_lbfgs_goes_on_in_float64():
    model = MLPRegressor(**SMALL, warm_start=True).fit(X.astype(np.float32), NUMBER)
    start = [W.astype(np.float64) for W in model.coefs_], [b.astype(np.float64) for b in model.intercepts_]
    model.set_params(solver="lbfgs").fit(X, NUMBER)
    expected = MLPRegressor(**SMALL, solver="lbfgs", coefs_init=start[0], intercepts_init=start[1]).fit(X, NUMBER)
    assert_same(model, expected)


def test_threads_change_no_bit():
    assert_same(*(MLPRegressor(**SMALL, n_threads=n).fit(X, NUMBER) for n in (1, 2)))
    with pytest.raises(ValueError, match="The 'n_threads' parameter of MLPRegressor must be"):
        MLPRegressor(n_threads=0).fit(X, NUMBER)


@pytest.mark.parametrize("dtype", ["float32", np.float64])
def test_the_precision_can_be_chosen(dtype):
    other = np.float64 if dtype == "float32" else np.float32
    model = MLPRegressor(**SMALL, dtype=dtype).fit(X.astype(other), NUMBER)
    assert {array.dtype for array in model.coefs_ + model.intercepts_} == {np.dtype(dtype)}
    assert model.predict(X).dtype == np.dtype(dtype)
    expected = MLPRegressor(**SMALL).fit(X.astype(np.float32).astype(dtype), NUMBER)
    if dtype == "float32":
        expected = MLPRegressor(**SMALL).fit(X.astype(dtype), NUMBER)
    assert_same(model, expected)
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got 'int8'"):
        MLPRegressor(dtype="int8").fit(X, NUMBER)


@pytest.mark.parametrize("mapped", [True, False])
def test_a_model_from_read_only_memory_trains_on(tmp_path, mapped):
    """joblib's processes get large arrays so: mapped from a file."""
    model = MLPRegressor(**SMALL).fit(X, NUMBER)
    joblib.dump(model, tmp_path / "model")
    loaded = joblib.load(tmp_path / "model", mmap_mode="r" if mapped else None)
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert_same(loaded.partial_fit(X, NUMBER), model.partial_fit(X, NUMBER))
    mlp = MLP([FEATURES, 3, 1], output_activation="linear", optimizer="adam", random_state=0)
    joblib.dump(mlp, tmp_path / "mlp")
    loaded = joblib.load(tmp_path / "mlp", mmap_mode="r" if mapped else None)
    for network in (mlp, loaded):
        network.fit(X, NUMBER, epochs=2)
    assert_array_equal(loaded.parameters, mlp.parameters)


def test_initial_weights_can_be_given():
    rng = np.random.default_rng(0)
    coefs = [rng.normal(size=shape) for shape in ((FEATURES, 7), (7, 4), (4, 1))]
    intercepts = [rng.normal(size=k) for k in (7, 4, 1)]
    still = {"max_iter": 1, "learning_rate_init": 1e-300}
    model = MLPRegressor(**SMALL | still, coefs_init=coefs, intercepts_init=intercepts).fit(X, NUMBER)
    for given, got in zip(coefs + intercepts, model.coefs_ + model.intercepts_, strict=True):
        assert_array_equal(got, given)
        assert not np.shares_memory(got, given)
    for wrong, message in [
        (coefs[:2], r"coefs_init must hold 3 arrays, one for each layer; got 2"),
        ([coefs[0], coefs[0], coefs[2]], r"coefs_init\[1\] must have shape \(7, 4\), got \(5, 7\)"),
        ([coefs[0] * np.nan, *coefs[1:]], r"coefs_init\[0\] must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            MLPRegressor(**SMALL, coefs_init=wrong).fit(X, NUMBER)
