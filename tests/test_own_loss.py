"""A loss of one's own: the same bits as ours for the same formula, errors that reach the user, and no recompilation."""

import gc
import pickle
import signal
import sys

import numba
import numpy as np
import pytest
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from fastmlp import MLPRegressor
from fastmlp.kernels import JIT, training

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).normal(size=(60, 5))
TARGETS = {1: np.sin(X[:, 0]), 3: np.sin(X[:, :3])}
SMALL = {"hidden_layer_sizes": (7, 4), "random_state": 3, "max_iter": 8, "batch_size": 16}


def half_square(y, p):
    d = p - y
    return d * d / 2, d


@numba.njit
def square(y, p):
    return (p - y) ** 2 / 2


@numba.njit
def slope(y, p):
    return p - y


OWN = {"array function": half_square, "compiled pair": (square, slope)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64] if JIT else [np.float64])
@pytest.mark.parametrize("k", TARGETS)
@pytest.mark.parametrize("own", OWN)
def test_the_squared_error_by_hand_is_ours(own, k, dtype):
    model, y = MLPRegressor(**SMALL, dtype=dtype), TARGETS[k]
    weights = np.random.default_rng(1).uniform(0.5, 2, 60)
    for options in ({}, {"solver": "lbfgs", "max_iter": 5}, {"early_stopping": True, "scoring": "loss"}):
        expected = clone(model).set_params(**options).fit(X, y, sample_weight=weights)
        mine = clone(model).set_params(**options, loss=OWN[own]).fit(X, y, sample_weight=weights)
        for a, b in zip(mine.coefs_, expected.coefs_, strict=True):
            assert_allclose(a, b, rtol=1e-4 if dtype == np.float32 else 1e-10)
        assert mine.loss_ == pytest.approx(expected.loss_, rel=1e-5)


@pytest.mark.parametrize("own", OWN)
def test_copies_threads_processes_and_more_of_the_same(own):
    y = TARGETS[3]
    model = MLPRegressor(OWN[own], **SMALL).fit(X, y)
    assert_array_equal(clone(model).set_params(n_threads=2).fit(X, y).coefs_[0], model.coefs_[0])
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X), model.predict(X))
    half = clone(model).set_params(max_iter=4, warm_start=True).fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(half)).fit(X, y).coefs_[0], model.coefs_[0])
    assert_allclose(model.to_sklearn().predict(X), model.predict(X))
    step = clone(model).partial_fit(X, y)
    assert_array_equal(step.coefs_[0], clone(model).set_params(max_iter=1).fit(X, y).coefs_[0])


@pytest.mark.once
def test_other_processes_have_it_too():
    models = Parallel(n_jobs=2)(delayed(MLPRegressor(half_square, **SMALL).fit)(X, TARGETS[1]) for _ in range(2))
    assert_array_equal(models[0].coefs_[0], MLPRegressor(half_square, **SMALL).fit(X, TARGETS[1]).coefs_[0])


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_nothing_of_train_compiles_again():
    MLPRegressor(**SMALL).fit(X, TARGETS[1])
    before = len(training.train.signatures)
    for own in OWN.values():
        MLPRegressor(own, **SMALL).fit(X, TARGETS[1])
    assert len(training.train.signatures) == before


def raising(y, p):
    raise LookupError("mine")


BAD = {
    "its own exception": (raising, LookupError, "mine"),
    "no pair": (lambda y, p: p - y, ValueError, r"must return \(loss, gradient\), got a ndarray"),
    "a sum": (lambda y, p: (np.sum(p), p), ValueError, r"return a loss for each prediction, .*; got shape \(\)"),
    "a column": (lambda y, p: (p, p[:, None]), ValueError, "return a gradient for each prediction, .* got shape"),
    "text": (lambda y, p: (p, p.astype(str)), ValueError, "return a gradient for each .* dtype <U"),
    "infinite": (lambda y, p: (p, p / 0 * 0), ValueError, "returned a gradient that is not finite: nan for y_true = "),
    "one function": ((square,), ValueError, "loss must be a name, a function, or two functions compiled by numba.njit"),
    "no loss": (3, ValueError, "The 'loss' parameter of MLPRegressor must be"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("n_threads", [1, 2] if JIT else [1])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("name", BAD)
def test_what_goes_wrong_reaches_the_user(name, solver, n_threads):
    loss, error, message = BAD[name]
    model = MLPRegressor(**SMALL, solver=solver, n_threads=n_threads).fit(X, TARGETS[1])
    before = model.predict(X)
    with pytest.raises(error, match=message):
        model.set_params(loss=loss).fit(X, TARGETS[1])
    assert_array_equal(model.set_params(loss="squared_error").predict(X), before)
    model.fit(X, TARGETS[1])


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_pairs_that_do_not_compile_or_raise(monkeypatch):
    plain = (lambda y, p: y, lambda y, p: p)
    with pytest.raises(ValueError, match="two functions compiled by"):
        MLPRegressor(plain, **SMALL).fit(X, TARGETS[1])

    @numba.njit
    def one_argument(y):
        return y

    with pytest.raises(TypeError, match=r"loss: two compiled functions must take two numbers"):
        MLPRegressor((one_argument, slope), **SMALL).fit(X, TARGETS[1])

    @numba.njit
    def fails(y, p):
        if p > -1e300:
            raise ValueError("not here")
        return p

    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: printed.append(str(found.exc_value)))
    with pytest.raises(ValueError, match=r"not finite in epoch 1, batch 1\. Your loss is not finite, although"):
        MLPRegressor((fails, slope), **SMALL).fit(X, TARGETS[1])
    assert set(printed) == {"not here"}


def _infinite(y, p):
    return np.inf * p


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"early_stopping": True}], ids=str)
@pytest.mark.parametrize(
    ("place", "message"), [(0, "Your loss is not finite"), (1, "gradient of your loss is first not finite in layer 3")]
)
def test_a_pair_that_is_not_finite_is_named(place, message, options):
    pair = [square, slope]
    pair[place] = numba.njit(_infinite)
    model = MLPRegressor(**SMALL).fit(X, TARGETS[1])
    before = model.predict(X)
    with pytest.raises(ValueError, match=f"{message}.*"):
        model.set_params(loss=tuple(pair), **options).fit(X, TARGETS[1])
    assert_array_equal(model.set_params(loss="squared_error").predict(X), before)


@pytest.mark.parametrize("solver", ["adam", "rmsprop"])
def test_a_partial_fit_that_fails_changes_nothing(solver):
    """Neither the weights, though some batches are done, nor the solver's state, though it would be another solver."""
    calls = []

    def fails_later(y, p):
        calls.append(len(y))
        if len(calls) == 6:
            raise RuntimeError("the third batch of the second call")
        return half_square(y, p)

    model = MLPRegressor(fails_later, **SMALL).partial_fit(X[:48], TARGETS[1][:48])
    expected = MLPRegressor(half_square, **SMALL).partial_fit(X[:48], TARGETS[1][:48])
    with pytest.raises(RuntimeError, match="the third batch"):
        model.set_params(solver=solver).partial_fit(X, TARGETS[1])
    model.set_params(solver="adam")
    for _ in range(2):
        assert_array_equal(model.predict(X), expected.predict(X))
        assert (model.t_, model.loss_, model.loss_curve_) == (expected.t_, expected.loss_, expected.loss_curve_)
        model.partial_fit(X, TARGETS[1])
        expected.partial_fit(X, TARGETS[1])


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timer")
@pytest.mark.skipif(not JIT, reason="coverage, which is measured there, waits for ever if it is interrupted itself")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_ctrl_c_is_not_lost_in_a_python_function(n_threads):
    """It nearly always comes while the function runs, called by compiled code, which knows no exceptions."""

    def interrupt(*_):
        raise KeyboardInterrupt

    def fit(delay):
        signal.setitimer(signal.ITIMER_REAL, delay)
        model.fit(X, TARGETS[1])

    options = SMALL | {"max_iter": 10**6, "n_iter_no_change": np.inf, "n_threads": n_threads}
    model = MLPRegressor(half_square, **options).partial_fit(X, TARGETS[1])
    gc.collect()  # what other tests have left: an exception in the callback of a weak reference is lost
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in np.random.default_rng(n_threads).uniform(0.02, 0.1, 10):
            with pytest.warns(UserWarning, match=r"interrupted by user after \d+ epochs"):
                fit(delay)
            whole = clone(model).set_params(max_iter=model.n_iter_).fit(X, TARGETS[1])
            assert_array_equal(model.coefs_[0], whole.coefs_[0])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_what_the_function_is_given_is_its_own():
    kept = []

    def keeps(y, p):
        kept.append((y, p))
        assert y.shape == p.shape
        y[:] = 0  # changes nothing
        return p * p / 2, p

    MLPRegressor(keeps, **SMALL).fit(X, TARGETS[3])
    assert len(kept) >= 8 * 4
    assert all(p.shape[1] == 3 and np.isfinite(p).all() and not y.any() for y, p in kept)
