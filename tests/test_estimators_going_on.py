"""Fits that go on: in parts they are one fit, bit for bit; and a Ctrl-C ends one between two epochs."""

import pickle
import signal
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.kernels import JIT

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, FEATURES = 60, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, FEATURES))
Y = (X @ RNG.normal(size=(FEATURES, 3)) + 0.3 * RNG.normal(size=(N, 3))).argmax(axis=1)
VALIDATION = RNG.normal(size=(20, FEATURES)), RNG.integers(0, 3, 20)
SMALL = {"hidden_layer_sizes": (7, 4), "activation": "tanh", "random_state": 3, "batch_size": 16, "warm_start": True}
SMALL |= {"learning_rate_init": 0.02, "n_iter_no_change": np.inf}
IMPATIENT = {"tol": 1e9, "n_iter_no_change": 2}
METHODS = {
    "sgd": {"solver": "sgd", "momentum": 0.0},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd", "weight_decay": 0.1},
    "adam": {"solver": "adam"},
    "adamw": {"solver": "adamw", "clip_norm": 0.1},
    "rmsprop": {"solver": "rmsprop"},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.2},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", **IMPATIENT},
    "plateau": {"solver": "adam", "learning_rate": "plateau", **IMPATIENT},
    "warm-up": {"solver": "adam", "warmup": 12.5},
    "dropout": {"solver": "adam", "dropout": 0.3},
}
if not JIT:  # as plain Python a step takes milliseconds
    METHODS = {name: METHODS[name] for name in ("nesterov", "plateau", "warm-up")}


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def assert_same_state(model, other):
    for one, two in zip(model.coefs_ + model.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        assert_array_equal(one, two)
    for name in ("loss_", "loss_curve_", "t_", "validation_scores_", "best_loss_", "best_validation_score_"):
        assert getattr(model, name) == getattr(other, name), name
    assert model.history_ == other.history_
    assert model.learning_rate_ == other.learning_rate_


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_fits_in_parts_are_one_fit(method, early_stopping):
    """10 epochs, then 7, then 3, are 20: the solver's state, the order of rows, the split and the last weights stay."""

    def train(*parts):
        model = MLPClassifier(**{**SMALL, "early_stopping": early_stopping, **METHODS[method]})
        for epochs in parts:
            model = pickled(model.set_params(max_iter=epochs).fit(X, Y))
        return model

    whole = train(20)
    assert len(whole.loss_curve_) == 20
    assert_same_state(train(10, 7, 3), whole)
    if METHODS[method].get("learning_rate"):
        assert len(set(whole.history_["learning_rate"])) > 3


def fade(t):
    return 1 - 0.9 * t


def to_nothing(t):
    return 1.0 if t < 0.5 else 0.0


def test_a_schedule_that_ended_at_0_begins_anew():
    model = MLPClassifier(**SMALL, learning_rate=to_nothing, max_iter=4).fit(X, Y)
    assert model.learning_rate_ == 0
    before = model.coefs_[0].copy()
    assert pickled(model).fit(X, Y).history_["learning_rate"][4:] == model.history_["learning_rate"]
    model.fit(X, Y)
    assert (model.coefs_[0] != before).any()


def stop_after(epochs):
    return lambda model, epoch, logs: epoch + 1 == epochs


@pytest.mark.parametrize("schedule", ["step", "exponential", "cosine", "one_cycle", fade] if JIT else ["cosine"])
@pytest.mark.parametrize("warmup", [0, 5])
def test_a_schedule_goes_on_where_it_was_left_and_begins_anew_at_its_end(schedule, warmup):
    whole = MLPClassifier(**SMALL, learning_rate=schedule, warmup=warmup, max_iter=12)
    parts = clone(whole).set_callbacks(stop_after(5)).fit(X, Y).set_callbacks()
    assert parts.n_iter_ == 5
    parts = pickled(parts).fit(X, Y)
    assert parts.n_iter_ == 7
    steps = clone(whole)
    for _ in range(12):
        steps.partial_fit(X, Y, classes=[0, 1, 2])
    whole.fit(X, Y)
    assert_same_state(parts, whole)
    assert_same_state(steps, whole)
    rates = whole.history_["learning_rate"]
    assert len(set(rates)) > 2
    assert parts.fit(X, Y).history_["learning_rate"] == rates + rates


# --- Ctrl-C -------------------------------------------------------------------------------------------------------


@pytest.fixture
def keyboard():
    """Ctrl-C raises KeyboardInterrupt, also where the shell has started the tests in the background without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Watch:
    """Presses Ctrl-C some moments after the third epoch, and again should nothing come of it.

    Python ignores what is raised while it forgets a weak reference, of which scikit-learn's callbacks have some.
    """

    def __init__(self, delay):
        self.delay, self.over = delay, threading.Event()

    def press(self):
        wait = self.delay
        while not self.over.wait(wait):
            signal.raise_signal(signal.SIGINT)
            wait = 5

    def __call__(self, model, epoch, logs):
        if epoch == 2:
            threading.Thread(target=self.press, daemon=True).start()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see Watch
@pytest.mark.skipif(not JIT, reason="coverage, which is measured there, waits for ever if it is interrupted itself")
@pytest.mark.usefixtures("keyboard")
@pytest.mark.parametrize("delay", [0.003, 0.02, 0.1])
@pytest.mark.parametrize("how", ["alone", "validated", "stopping early"])
def test_ctrl_c_keeps_the_best_whole_epoch(how, delay):
    """The epoch with the best score on the rows to validate on; without such rows the last. Then training goes on."""
    rows = {"X_val": VALIDATION[0], "y_val": VALIDATION[1]} if how == "validated" else {}
    options = SMALL | {"early_stopping": how == "stopping early", "max_iter": 10**6, "scoring": "loss"}
    watch = Watch(delay)
    model = MLPClassifier(**options, n_threads=2).set_callbacks(watch)
    with pytest.warns(UserWarning, match=r"Training interrupted by user after \d+ epochs"):
        model.fit(X, Y, **rows)
    watch.over.set()
    n = model.n_iter_
    assert n >= 3
    assert model.t_ == n * (54 if how == "stopping early" else N)
    assert {len(model.loss_curve_), *map(len, model.history_.values())} == {n}
    best = n if how == "alone" else int(np.argmax(model.history_["validation_score"])) + 1
    expected = MLPClassifier(**options | {"max_iter": best}).fit(X, Y)
    for one, two in zip(model.coefs_ + model.intercepts_, expected.coefs_ + expected.intercepts_, strict=True):
        assert_array_equal(one, two)
    model.set_callbacks()
    whole = clone(model).set_params(max_iter=n + 2).fit(X, Y, **rows)
    assert_same_state(pickled(model).set_params(max_iter=2).fit(X, Y, **rows), whole)


@pytest.mark.skipif(not JIT, reason="as plain Python these epochs take minutes")
@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_in_the_middle_of_a_long_epoch():
    x = RNG.normal(size=(120_000, 5))
    model = MLPRegressor(hidden_layer_sizes=(30,), random_state=0, batch_size=1, max_iter=100, shuffle=True)
    model.set_callbacks(lambda m, epoch, logs: threading.Timer(0.02, signal.raise_signal, [signal.SIGINT]).start())
    with pytest.warns(UserWarning, match="interrupted by user after 1 epochs"):
        model.fit(x, x[:, 0])
    one = clone(model).set_params(max_iter=1).set_callbacks().fit(x, x[:, 0])
    assert_same_state(model, one)


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_ctrl_c_before_the_end_of_the_first_epoch_leaves_the_old_fit(solver, monkeypatch):
    model = MLPRegressor(hidden_layer_sizes=(4,), solver=solver, max_iter=3, random_state=0)
    monkeypatch.setattr("fastmlp._trainer.Trainer._call", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")
    monkeypatch.undo()
    before = model.fit(X, Y).predict(X)
    monkeypatch.setattr("fastmlp._trainer.Trainer._call", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert_array_equal(model.predict(X), before)
    if solver == "adam":
        state = pickle.dumps(model)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(X, Y)
        assert pickle.dumps(model) == state


def test_ctrl_c_keeps_the_last_iteration_of_lbfgs():
    model = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", max_iter=50, random_state=0)
    three = clone(model).set_params(max_iter=3).fit(X, Y)
    model.set_callbacks(lambda m, epoch, logs: interrupt() if epoch == 2 else None)
    with pytest.warns(UserWarning, match="interrupted by user after 3 iterations"):
        model.fit(X, Y)
    assert (model.n_iter_, model.loss_) == (3, three.loss_)
    assert_array_equal(model.coefs_[0], three.coefs_[0])
