"""The losses of MLPRegressor that scikit-learn's does not have: against scikit-learn's metrics."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import d2_pinball_score, mean_gamma_deviance, mean_pinball_loss, r2_score
from sklearn.model_selection import GridSearchCV

from fastmlp import MLPRegressor
from fastmlp.kernels import JIT

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, FEATURES = 60, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, FEATURES))
TARGETS = np.sin(X @ RNG.normal(size=(FEATURES, 2))) + 0.3 * RNG.normal(size=(N, 2))
WEIGHTS = RNG.uniform(0.2, 3, N)
QUANTILES = [0.2, 0.5, 0.95]
SMALL = {"hidden_layer_sizes": (7, 4), "activation": "tanh", "random_state": 3, "max_iter": 15, "batch_size": 16}
# One batch, which has not been trained on, shows the loss of the initial weights.
STILL = SMALL | {"max_iter": 1, "batch_size": N, "learning_rate_init": 1e-300, "alpha": 0}
# With constant inputs the best prediction is a number that is known.
N_DRAWN = 401 if JIT else 81  # rows take their time as plain Python
CONSTANT = np.ones((N_DRAWN, 1))
TO_THE_END = {
    "hidden_layer_sizes": (2,), "activation": "identity", "alpha": 0, "tol": 0, "n_iter_no_change": np.inf,
    "max_iter": 400, "batch_size": N_DRAWN, "learning_rate": "cosine", "learning_rate_init": 0.02, "random_state": 0,
}  # fmt: skip


def huber_loss(y, p, delta):
    """By the maximum of all tangents, of slopes from -delta to delta, to half the square."""
    slopes = np.linspace(-delta, delta, 20001)
    d = (y - p).ravel()
    return np.mean([np.max(slopes * e - slopes**2 / 2) for e in d])


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["huber", "quantile", "gamma"])
def test_the_loss_is_that_of_scikit_learns_metrics(loss, weighted):
    y = np.exp(TARGETS[:, 0]) if loss == "gamma" else TARGETS[:, 0]
    weights = WEIGHTS if weighted and loss != "huber" else None
    model = MLPRegressor(loss, **STILL, delta=0.3, quantile=0.8).fit(X, y, sample_weight=weights)
    p = model.predict(X)
    expected = {
        "huber": lambda: huber_loss(y, p, 0.3),
        "quantile": lambda: mean_pinball_loss(y, p, sample_weight=weights, alpha=0.8),
        "gamma": lambda: mean_gamma_deviance(y, p, sample_weight=weights) / 2,
    }[loss]()
    assert model.loss_ == pytest.approx(expected, rel=1e-7)
    assert model.out_activation_ == ("exp" if loss == "gamma" else "identity")


@pytest.mark.parametrize("n_targets", [1, 2])
def test_the_loss_of_several_quantiles_is_their_mean(n_targets):
    y = TARGETS[:, :n_targets]
    model = MLPRegressor("quantile", **STILL, quantile=QUANTILES).fit(X, y if n_targets > 1 else y[:, 0])
    assert model.n_outputs_ == 3 * n_targets
    p = model.predict(X)
    assert p.shape == ((N, 2, 3) if n_targets > 1 else (N, 3))
    p = p.reshape(N, n_targets, 3)
    cases = [(y[:, t], p[:, t, i], q) for t in range(n_targets) for i, q in enumerate(QUANTILES)]
    losses = [mean_pinball_loss(t, p, alpha=q) for t, p, q in cases]
    assert model.loss_ == pytest.approx(np.mean(losses), rel=1e-12)
    scores = [d2_pinball_score(t, p, alpha=q, sample_weight=WEIGHTS) for t, p, q in cases]
    assert model.score(X, y, sample_weight=WEIGHTS) == pytest.approx(np.mean(scores), rel=1e-12)


def test_one_quantile_has_no_axis_of_its_own_unless_it_comes_in_a_list():
    assert MLPRegressor("quantile", **STILL, quantile=0.3).fit(X, TARGETS).predict(X).shape == (N, 2)
    assert MLPRegressor("quantile", **STILL, quantile=0.3).fit(X, TARGETS[:, 0]).predict(X).shape == (N,)
    assert MLPRegressor("quantile", **STILL, quantile=[0.3]).fit(X, TARGETS).predict(X).shape == (N, 2, 1)
    assert MLPRegressor("quantile", **STILL, quantile=np.array([0.3])).fit(X, TARGETS[:, 0]).predict(X).shape == (N, 1)


# --- what they lead to --------------------------------------------------------------------------------------------


@pytest.mark.once
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_quantiles_are_found(solver):
    y = np.random.default_rng(0).standard_cauchy((N_DRAWN, 2))
    model = MLPRegressor("quantile", **TO_THE_END, solver=solver, quantile=[0.1, 0.5, 0.8]).fit(CONSTANT, y)
    below = (y[:, :, None] < model.predict(CONSTANT)).mean(axis=0)
    assert_allclose(below, [[0.1, 0.5, 0.8]] * 2, atol=4 / N_DRAWN)
    assert model.score(CONSTANT, y) == pytest.approx(0, abs=1e-3)  # as good as the quantiles themselves


@pytest.mark.once
def test_huber_finds_the_point_where_clipped_errors_balance():
    y = np.random.default_rng(0).standard_cauchy(N_DRAWN)
    p = MLPRegressor("huber", **TO_THE_END, delta=0.5).fit(CONSTANT, y).predict(CONSTANT)[0]
    assert np.clip(y - p, -0.5, 0.5).mean() == pytest.approx(0, abs=2e-3)
    assert abs(np.clip(y - p - 0.05, -0.5, 0.5).mean()) > 0.01  # which a twentieth further is not so
    far = MLPRegressor("huber", **TO_THE_END | {"max_iter": 20}, delta=1e9).fit(CONSTANT, y)
    square = MLPRegressor(**TO_THE_END | {"max_iter": 20}).fit(CONSTANT, y)
    assert_array_equal(far.coefs_[0], square.coefs_[0])  # no error is beyond: half the square


@pytest.mark.once
def test_gamma_finds_the_mean():
    y = np.random.default_rng(0).gamma(0.5, 3, N_DRAWN)
    model = MLPRegressor("gamma", **TO_THE_END).fit(CONSTANT, y)
    assert model.predict(CONSTANT)[0] == pytest.approx(y.mean(), rel=1e-4)
    assert model.loss_ == pytest.approx(mean_gamma_deviance(y, np.full(N_DRAWN, y.mean())) / 2, rel=1e-4)
    assert_allclose(model.to_sklearn().predict(CONSTANT), model.predict(CONSTANT))


# --- beside the rest of the estimator -----------------------------------------------------------------------------


def test_score_is_r2_for_the_other_losses():
    model = MLPRegressor("huber", **SMALL).fit(X, TARGETS)
    assert model.score(X, TARGETS) == pytest.approx(r2_score(TARGETS, model.predict(X)), rel=1e-12)


def test_early_stopping_and_validation_go_by_the_pinball_loss():
    options = SMALL | {"quantile": QUANTILES, "loss": "quantile", "max_iter": 8}
    model = MLPRegressor(**options, early_stopping=True).fit(X, TARGETS, X_val=X[:20], y_val=TARGETS[:20])
    assert model.best_validation_score_ == pytest.approx(model.score(X[:20], TARGETS[:20]), rel=1e-9)
    model = MLPRegressor(**options).fit(X, TARGETS[:, 0], X_val=X[:20], y_val=TARGETS[:20, 0])
    p = model.predict(X[:20])
    loss = np.mean([mean_pinball_loss(TARGETS[:20, 0], p[:, i], alpha=q) for i, q in enumerate(QUANTILES)])
    assert model.history_["validation_loss"][-1] == pytest.approx(loss, rel=1e-9)
    assert model.history_["validation_score"][-1] == pytest.approx(model.score(X[:20], TARGETS[:20, 0]), rel=1e-9)
    aside = MLPRegressor(**options, early_stopping=True, scoring=lambda m, X, y: -np.abs(y - m.predict(X)[:, 1]).mean())
    assert aside.fit(X, TARGETS[:, 0]).best_validation_score_ < 0


def test_pickles_clones_grids_and_warm_starts():
    model = MLPRegressor("quantile", **SMALL, quantile=[0.1, 0.9], warm_start=True)
    expected = clone(model).set_params(max_iter=30).fit(X, TARGETS[:, 0])
    again = pickle.loads(pickle.dumps(model.fit(X, TARGETS[:, 0])))
    assert_array_equal(again.predict(X), model.predict(X))
    assert_array_equal(again.fit(X, TARGETS[:, 0]).predict(X), expected.predict(X))
    with pytest.raises(ValueError, match="a fit that goes on must keep its loss"):
        again.set_params(quantile=[0.1, 0.8]).fit(X, TARGETS[:, 0])
    grid = GridSearchCV(MLPRegressor("huber", **SMALL), {"delta": [0.1, 10.0]}, cv=2).fit(X, TARGETS[:, 0])
    assert grid.best_params_["delta"] in (0.1, 10.0)
    model.coefs_ = [W.copy() for W in model.coefs_]
    assert model.predict(X).shape == (N, 2)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"loss": "quantile", "quantile": 1.0}, TARGETS, "The 'quantile' parameter of MLPRegressor must be"),
        ({"loss": "quantile", "quantile": [0.5, 1]}, TARGETS, r"quantile\[1\] must be > 0 and < 1 and finite, got 1"),
        ({"loss": "quantile", "quantile": []}, TARGETS, r"quantile must be a number or several, got \[\]"),
        ({"loss": "huber", "delta": 0}, TARGETS, "The 'delta' parameter of MLPRegressor must be"),
        ({"loss": "gamma"}, np.maximum(TARGETS, 0), "y must be greater than 0 for loss='gamma', got 0"),
    ],
)
def test_losses_that_do_not_fit(options, y, message):
    model = MLPRegressor(**SMALL).fit(X, TARGETS)
    before = model.predict(X)
    with pytest.raises(ValueError, match=message):
        model.set_params(**options).fit(X, y)
    assert_array_equal(model.set_params(loss="squared_error").predict(X), before)
