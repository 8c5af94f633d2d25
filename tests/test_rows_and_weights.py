"""What the compiled epoch trains on: some of the rows, weighted rows, sparse rows, a penalty shared by the batch."""

import numpy as np
import pytest
import scipy.sparse
from tolerances import assert_within

from fastmlp import MLP, _threads, fitting
from fastmlp._trainer import Data, Options, Trainer
from fastmlp.kernels import JIT

pytestmark = pytest.mark.no_cover  # tracing doubles their time, and other tests cover the lines

DTYPES = [np.float32, np.float64]
LIMITS = {np.float32: 1e-5, np.float64: 1e-12}
NONE = np.empty(0)


def problem(dtype, rows=37, features=7):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, features)).astype(dtype)
    X[rng.uniform(size=X.shape) < 0.7] = 0
    return X, rng.integers(0, 3, rows).astype(dtype)


def train(dtype, x, y, *, rows=None, weights=NONE, batch_size=8, epochs=3, alpha=0.1, optimizer="adam", **options):
    """Parameters and losses after some epochs from weights that are always the same."""
    mlp = MLP([x.shape[1], 9, 3], "tanh", "softmax", optimizer=optimizer, dtype=dtype, random_state=0, alpha=alpha)
    rows = np.arange(x.shape[0]) if rows is None else rows
    data = Data(x, y, rows, weights)
    chosen = {"batch_size": min(batch_size, len(rows)), "shuffle": True} | options
    history = fitting.fit(mlp, data, None, Options(**chosen), epochs=epochs)
    return mlp.parameters.copy(), history.loss


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_those_of_the_smaller_array(dtype, shuffle):
    X, y = problem(dtype)
    rows = np.random.default_rng(1).permutation(37)[:21]
    weights = np.random.default_rng(2).uniform(0.5, 2, 37)
    some = train(dtype, X, y, rows=rows, weights=weights, shuffle=shuffle)
    alone = train(dtype, X[rows], y[rows], weights=weights[rows], shuffle=shuffle)
    np.testing.assert_array_equal(some[0], alone[0])
    assert some[1] == alone[1]
    assert not np.array_equal(some[0], train(dtype, X, y, weights=weights, shuffle=shuffle)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [7, 150])  # of 150 dW has several blocks
@pytest.mark.parametrize("options", [{}, {"track_gradients": True}, {"clip_norm": 0.1}], ids=str)
def test_sparse_rows_train_to_the_same_bits(monkeypatch, dtype, options, features):
    """Where dense ones do not go in parts. (Without the compiler dense products add in NumPy's order.)"""
    monkeypatch.setattr(Trainer, "_part_rows", lambda *_: 0)
    X, y = problem(dtype, features=features)
    for dense, sparse in zip(
        train(dtype, X, y, **options), train(dtype, scipy.sparse.csr_array(X), y, **options), strict=True
    ):
        if JIT:
            np.testing.assert_array_equal(sparse, dense)
        else:
            assert_within(sparse, dense, LIMITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_one_place_are_added(dtype):
    y = np.ones(1, dtype)
    twice = scipy.sparse.csr_array((np.array([1, 2], dtype), np.array([0, 0]), np.array([0, 2])), shape=(1, 7))
    once = np.zeros((1, 7), dtype)
    once[0, 0] = 3
    np.testing.assert_array_equal(train(dtype, twice, y)[0], train(dtype, scipy.sparse.csr_array(once), y)[0])


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_counts_as_so_many_copies_of_the_row(dtype):
    X, y = problem(dtype)
    copies = np.random.default_rng(3).integers(1, 5, 37)
    options = {"batch_size": 1000, "optimizer": "sgd", "epochs": 20}
    weighted = train(dtype, X, y, weights=copies.astype(float), **options)
    repeated = train(dtype, np.repeat(X, copies, axis=0), np.repeat(y, copies), **options)
    for pair in zip(weighted, repeated, strict=True):
        assert_within(*pair, LIMITS[dtype])
    assert np.abs(weighted[0] - train(dtype, X, y, **options)[0]).max() > 100 * LIMITS[dtype]


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("factor", [1, 3.5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_are_all_the_same_change_nothing_but_a_shared_penalty(dtype, factor):
    X, y = problem(dtype)
    weights = np.full(37, float(factor))
    for options in ({}, {"shared_penalty": True, "alpha": 4.0}):
        plain = train(dtype, X, y, optimizer="sgd", **options)
        options["alpha"] = options.get("alpha", 0.1) * (factor if options.get("shared_penalty") else 1)
        weighted = train(dtype, X, y, weights=weights, optimizer="sgd", **options)
        for pair in zip(weighted, plain, strict=True):
            assert_within(*pair, LIMITS[dtype])


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_shared_penalty_is_divided_by_the_rows_of_each_batch(dtype):
    """37 rows in batches of 18 end with a batch of one row, whose penalty is 18 times as large."""
    X, y = problem(dtype)
    shared = train(dtype, X, y, batch_size=18, alpha=0.5, shared_penalty=True, shuffle=False, epochs=1, optimizer="sgd")
    mlp = MLP([7, 9, 3], "tanh", "softmax", dtype=dtype, random_state=0)
    for start in (0, 18, 36):
        rows = slice(start, start + 18)
        mlp.alpha = 0.5 / len(y[rows])
        mlp.update_parameters(*mlp.backward(X[rows], y[rows], mlp.forward(X[rows])))
    assert_within(shared[0], mlp.parameters, LIMITS[dtype])


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
def test_rates_are_those_of_the_steps(monkeypatch, optimizer):
    """A rate for each step is the network's rate, changed by hand between steps."""
    X, y = problem(np.float64)
    rates = np.random.default_rng(4).uniform(1e-3, 1e-1, 10)
    options = Options(batch_size=8, shuffle=False)

    def trainer():
        mlp = MLP([7, 9, 3], "tanh", "softmax", optimizer=optimizer, dtype=np.float64, random_state=0)
        return mlp, Trainer(mlp, Data.whole(X, y), options, 1)

    scheduled, one = trainer()
    monkeypatch.setattr(_threads, "_SECONDS_PER_CALL", 0)  # a call for each step
    one.run(0, 10, rates)
    by_hand, _ = trainer()
    for step, rate in enumerate(rates):
        by_hand.learning_rate = rate
        rows = slice(step % 5 * 8, step % 5 * 8 + 8)
        by_hand.update_parameters(*by_hand.backward(X[rows], y[rows], by_hand.forward(X[rows])))
    assert_within(scheduled.parameters, by_hand.parameters, 1e-12)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_clipped_to_a_norm(monkeypatch, dtype, optimizer, n_threads):
    """By hand: the gradient of all layers, penalty included, as one vector."""
    monkeypatch.setattr(_threads, "team_size", lambda *_: n_threads)
    monkeypatch.setattr(_threads.Pace, "next_call", lambda pace: (n_threads, 100))
    X, y = problem(dtype)
    norms = []

    def start():
        return MLP([7, 9, 3], "tanh", "softmax", optimizer=optimizer, dtype=dtype, random_state=0, alpha=0.1)

    clipped, by_hand = start(), start()
    options = Options(batch_size=16, shuffle=False, clip_norm=0.9)
    fitting.fit(clipped, Data.whole(X, y), None, options, epochs=3)
    for step in range(9):
        rows = slice(step % 3 * 16, step % 3 * 16 + 16)
        dW, db = by_hand.backward(X[rows], y[rows], by_hand.forward(X[rows]))
        norms.append(np.sqrt(sum(float(np.sum(g.astype(np.float64) ** 2)) for g in [*dW, *db])))
        factor = min(1, 0.9 / norms[-1])
        by_hand.update_parameters([factor * g for g in dW], [factor * g for g in db])
    assert min(norms) < 0.9 < max(norms), "some are clipped, some are not"
    assert_within(clipped.parameters, by_hand.parameters, LIMITS[dtype])
