"""Dropout: masks as random numbers, the gradient under given masks, the same bits however training is cut up."""

import pickle

import numba
import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from test_gradients import COMPLEX, COMPLEX_LOSSES, complex_step
from test_training_parity import assert_same_state, state_of
from tolerances import assert_within

import fastmlp
from fastmlp import MLP, MLPClassifier, MLPRegressor, _threads, reference
from fastmlp.kernels import JIT, dropout
from fastmlp.kernels.spans import span

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FLOATS = [np.float32, np.float64]
STATE = np.array([123456789, 362436069, 521288629, 4088675123])
SHARES = [0.5, 0.2]


@numba.njit
def run_drop(state, updates, layer, first, rows, n, keep, ws):
    key = dropout.mix(dropout.step_key(state, updates), layer)
    dropout.drop(key, first, rows, n, n, keep, span(ws, 0, rows * n), span(ws, rows * n, rows * n))


def masks(rows, n, share=0.5, dtype=np.float64, state=STATE, updates=3, layer=1, first=0):
    """(rows, n) as the kernels apply them to ones."""
    ws = np.concatenate([np.ones(rows * n), np.full(rows * n + 5, 7.0)]).astype(dtype)
    run_drop(state, updates, layer, first, rows, n, round((1 - share) * dropout.ALL), ws)
    assert (ws[: rows * n] == 1).all()
    assert (ws[2 * rows * n :] == 7).all()
    return ws[rows * n : 2 * rows * n].reshape(rows, n)


# --- masks as random numbers --------------------------------------------------------------------------------------

N = 400 if JIT else 60


def assert_independent(a, b):
    """The correlation of two arrays of bits is that of independent ones, to five standard deviations."""
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    assert abs(np.mean(a * b) / (a.std() * b.std())) < 5 / np.sqrt(a.size)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.97])
def test_the_share_is_met_in_every_part_and_the_mean_is_one(share):
    mask = masks(N, N, share)
    assert set(np.unique(mask)) == {0.0, dropout.ALL / round((1 - share) * dropout.ALL)}
    deviation = np.sqrt(share / (1 - share))  # of one number of the mask
    assert abs(mask.mean() - 1) < 5 * deviation / N
    for axis in (0, 1):
        z = (mask.mean(axis=axis) - 1) / (deviation / np.sqrt(N))
        if share in (0.1, 0.5):  # else far from normal
            assert np.abs(z).max() < 5
            assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / N)  # neither too uneven nor too even


def test_rows_columns_steps_layers_and_states_are_independent():
    mask = masks(N, N) > 0
    for shift in (1, 2, 3, 8, 16, 31):
        assert_independent(mask[:, shift:], mask[:, :-shift])
        assert_independent(mask[shift:], mask[:-shift])
    for other in (
        {"updates": 4}, {"updates": 3 + 2**32}, {"layer": 2}, {"first": N}, {"state": STATE ^ np.array([0, 0, 0, 1])},
        {"state": STATE[::-1]},
    ):  # fmt: skip
        assert_independent(mask, masks(N, N, **other) > 0)
    # no row is another one moved aside
    rows = mask[:40]
    for i, row in enumerate(rows):
        same = [(np.roll(row, shift) == rows[i + 1 :]).mean(axis=1).max(initial=0.5) for shift in range(0, N, 7)]
        assert max(same) < 0.5 + 3.5 / np.sqrt(N)


def test_the_correlation_notices_what_is_not_independent():
    rng = np.random.default_rng(0)
    bits = rng.random((N, N)) < 0.5
    assert_independent(bits, rng.random((N, N)) < 0.5)
    tenth = np.where(rng.random((N, N)) < 0.1, bits, rng.random((N, N)) < 0.5)
    with pytest.raises(AssertionError):
        assert_independent(bits, tenth)


@pytest.mark.parametrize("dtype", FLOATS)
def test_masks_are_the_references_at_every_width(dtype):
    for n in (*range(1, 20), 33, 64):
        for share in (0.3, 1e-12):
            expected = reference.dropout_mask(STATE.tolist(), 3, 1, 5, n, share)
            keep_all = share < 1e-9  # ALL - 1: the least that can be dropped
            mask = masks(5, n, 1 / dropout.ALL if keep_all else share, dtype)
            assert_array_equal(mask, expected.astype(dtype))
            assert_array_equal(masks(3, n, 1 / dropout.ALL if keep_all else share, dtype, first=2), mask[2:])


def test_the_row_keys_are_splitmix64():
    """Three numbers from the seed 1234567, as published by others."""
    found = [reference.splitmix64(1234567, i) for i in range(3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_what_is_dropped_is_zero_whatever_it_was():
    ws = np.full(2 * 64, np.nan)
    run_drop(STATE, 3, 1, 0, 1, 64, dropout.ALL // 2, ws)
    assert_array_equal(np.isnan(ws[64:]), masks(1, 64)[0] > 0)
    assert_array_equal(ws[64:][masks(1, 64)[0] == 0], 0)


# --- training -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("shares", [SHARES, [0.0, 0.4], [0.3, 0.0]])
@pytest.mark.parametrize(("activation", "loss"), [("gelu", "squared_error"), (("sigmoid", "tanh"), "quantile")])
def test_one_step_follows_the_gradient_under_its_masks(network, data, activation, loss, shares):
    """The masks as the kernels draw them, the gradient by the complex step."""
    mlp = network([3, 6, 5, 2], activation, "linear", loss=loss, optimizer="sgd", dtype=np.float64, learning_rate=0.5)
    X, y = data(mlp, 7)
    start, sizes = mlp.parameters.copy(), mlp.layer_sizes
    names = [activation] * 2 if isinstance(activation, str) else activation
    drawn = [np.ones((7, 3))]
    drawn += [masks(7, sizes[l], p, state=mlp._shuffling(), updates=0, layer=l) if p else np.ones((7, sizes[l]))
              for l, p in enumerate(shares, 1)]  # fmt: skip
    assert any((m == 0).any() for m in drawn)
    parameter = () if isinstance(mlp.loss, str) else (np.array(mlp.loss.of_outputs(2)),)

    def objective(parameters):
        a, at = X, 0
        for l, name in enumerate([*names, "linear"]):
            W = parameters[at : at + sizes[l] * sizes[l + 1]].reshape(sizes[l], -1)
            at += W.size
            a = COMPLEX[name]((a * drawn[l]) @ W + parameters[at : at + sizes[l + 1]])
            at += sizes[l + 1]
        return COMPLEX_LOSSES[loss](a, y, *parameter).sum() / 7

    history = mlp.fit(X, y, epochs=1, batch_size=7, shuffle=False, dropout=shares)
    assert_within((start - mlp.parameters) / 0.5, complex_step(objective, start), 1e-12, "gradient")
    assert history.loss[0] == pytest.approx(objective(start), rel=1e-13)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("activation", ["relu", "gelu", "sigmoid"])
def test_trainings_agree_with_the_reference(network, data, twin, activation, dtype):
    mlp = network([3, 9, 6, 2], activation, "softmax", optimizer="adam", dtype=dtype, alpha=0.01)
    expected = twin(mlp, shuffle=True)
    expected.dropout = SHARES
    X, y = data(mlp, 11)
    losses = expected.fit(X, y, epochs=20, batch_size=4)
    history = mlp.fit(X, y, epochs=20, batch_size=4, dropout=SHARES)
    limit = {np.float32: 1e-4, np.float64: 1e-10}[dtype]
    assert_within(mlp.parameters, expected.parameters, limit, "parameters")
    assert_within(history.loss, losses, limit, "loss")
    assert_within(mlp.predict(X), expected.forward(X), limit, "output")  # nothing is dropped any more


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_same_bits_however_training_is_cut_up(network, data, monkeypatch, tmp_path, dtype):
    def train(*parts, n_threads=None, shuffle=True, files=False):
        mlp = network([3, 40, 17, 2], "mish", optimizer="adam", dtype=dtype, n_threads=n_threads)
        X, y = data(mlp, 53)
        losses = []
        for epochs in parts:
            losses += mlp.fit(X, y, epochs=epochs, batch_size=23, shuffle=shuffle, dropout=SHARES).loss
            if files:
                mlp.save(tmp_path / "net")
                mlp = fastmlp.load(tmp_path / "net")
        return {**state_of(mlp), "loss": losses}

    for shuffle in (True, False):
        whole = train(6, n_threads=1, shuffle=shuffle)
        assert_same_state(train(2, 4, shuffle=shuffle), whole)
    whole = train(6)
    assert_same_state(train(1, 5, files=True), whole)
    for n_threads in (2, 3) if JIT else ():
        assert_same_state(train(6, n_threads=n_threads), whole)
    for limit in ("_SECONDS_PER_CALL", "_SECONDS_PER_TRIAL"):
        monkeypatch.setattr(_threads, limit, 0)  # back in Python after every step
    assert_same_state(train(6), whole)


def test_no_dropout_takes_no_memory_and_changes_no_bit(network, data):
    mlp = network([3, 8, 5, 2])
    X, y = data(mlp, 11)
    again = pickle.loads(pickle.dumps(mlp))
    mlp.fit(X, y, epochs=3)
    again.fit(X, y, epochs=3, dropout=[0, 0.0])
    assert_same_state(state_of(again), state_of(mlp))
    layout = mlp._layout
    assert layout.tables(64, dropped=(0.0, 0.5)).size == layout.tables(64).size + 64 * 5
    for size in ([3, 8], [3, 1]):
        flat = MLP(size, random_state=0)
        flat.fit(X, np.zeros((11, size[-1])), epochs=1, dropout=0.5)  # no hidden layer: nothing to drop


# --- estimators ---------------------------------------------------------------------------------------------------

SMALL = {"hidden_layer_sizes": (7, 4), "random_state": 3, "max_iter": 8, "batch_size": 16, "dropout": 0.4}
X = np.random.default_rng(0).normal(size=(60, 5))
Y = {MLPClassifier: (X[:, 0] > 0).astype(int), MLPRegressor: np.sin(X[:, 0])}


@pytest.mark.parametrize("kind", Y)
def test_estimators_take_it(kind):
    model, y = kind(**SMALL), Y[kind]
    model.fit(X, y)
    plain = clone(model).set_params(dropout=0.0).fit(X, y)
    assert np.abs(model.coefs_[0] - plain.coefs_[0]).max() > 1e-4
    for other in ({"n_threads": 2}, {"dropout": [0.4, 0.4]}):
        assert_array_equal(clone(model).set_params(**other).fit(X, y).coefs_[0], model.coefs_[0])
    assert_array_equal(model.predict(X), model.predict(X))
    sparse = clone(model).fit(scipy.sparse.csr_array(X), y)
    assert_allclose(sparse.coefs_[0], model.coefs_[0], rtol=1e-10)
    half = clone(model).set_params(max_iter=4, warm_start=True).fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(half)).fit(X, y).coefs_[0], model.coefs_[0])
    held = clone(model).fit(X, y, X_val=X, y_val=y)  # a look at other rows drops nothing, and changes nothing
    assert_array_equal(held.coefs_[0], model.coefs_[0])
    assert held.history_["validation_score"][-1] == pytest.approx(model.score(X, y), rel=1e-12)


BAD = [
    (1.0, ValueError, "dropout must be >= 0 and < 1 and finite, got 1.0"),
    (-0.1, ValueError, "dropout must be >= 0 and < 1 and finite, got -0.1"),
    (np.nan, ValueError, "dropout must be >= 0 and < 1 and finite, got nan"),
    ([0.5, 1], ValueError, r"dropout\[1\] must be >= 0 and < 1 and finite, got 1"),
    ([0.5], ValueError, r"dropout must be one number or 2, one for each hidden layer; got \[0.5\]"),
    ("0.5", TypeError, "dropout must be a number, got '0.5'"),
]


@pytest.mark.parametrize(("value", "error", "message"), BAD)
def test_shares_that_do_not_fit(value, error, message):
    mlp = MLP([5, 7, 4, 1], random_state=0)
    before = mlp.parameters.copy()
    with pytest.raises(error, match=message):
        mlp.fit(X, Y[MLPClassifier], dropout=value)
    assert_array_equal(mlp.parameters, before)
    model = MLPRegressor(**SMALL).fit(X, Y[MLPRegressor])
    expected = model.predict(X)
    wanted = message if isinstance(value, list) else "The 'dropout' parameter of MLPRegressor must be"
    with pytest.raises(ValueError, match=wanted):
        model.set_params(dropout=value).fit(X, Y[MLPRegressor])
    assert_array_equal(model.predict(X), expected)


def test_lbfgs_has_no_steps_to_drop_in():
    with pytest.raises(ValueError, match="dropout needs steps of a batch each, which solver='lbfgs' does not have"):
        MLPRegressor(**SMALL, solver="lbfgs").fit(X, Y[MLPRegressor])
    MLPRegressor(**SMALL | {"dropout": [0, 0]}, solver="lbfgs").fit(X, Y[MLPRegressor])
