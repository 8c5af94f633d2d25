"""Whole trainings: against the reference, and against themselves cut up differently, to the same bits."""

from collections import Counter
from itertools import combinations, permutations, product

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close, assert_within, chain_length

from fastmlp import MLP, _threads, reference
from fastmlp.kernels import JIT
from fastmlp.optimizers import OPTIMIZERS

pytestmark = pytest.mark.no_cover  # tracing doubles their time, and other tests cover the lines

HIDDEN = [name for name in reference.ACTIVATIONS if name != "exp"]
ROWS = 11
FACTORS = {
    "activation": HIDDEN,
    "output_activation": reference.OUTPUT_ACTIVATIONS,
    "loss": ["squared_error", "binary_cross_entropy", "cross_entropy"],
    "optimizer": list(OPTIMIZERS),
    "shuffle": [False, True],
    "alpha": [0.0, 0.01],
    "hidden": [(), (4,), (5, 3), (3, 6, 4)],
    "batch_size": [1, 4, 6, 100],  # the last batch has 1, 3 and 5 rows; all rows in one
}
# Adam's and rmsprop's steps are about as long as the rate, whatever the gradient.
RATES = {"sgd": 0.02, "momentum": 0.01, "nesterov": 0.01, "rmsprop": 0.001, "adam": 0.001, "adamw": 0.001}
EPOCHS = 50
LIMITS = {np.float32: 1e-4, np.float64: 1e-10}


def pairs(row):
    return set(map(frozenset, combinations(row.items(), 2)))


def covering(factors):
    """Choices of a value for each factor in which any two values of any two factors meet at least once (greedy)."""
    met, rows, used = set(), [], Counter()
    for a, b in combinations(factors, 2):
        for pair in product(product([a], factors[a]), product([b], factors[b])):
            if frozenset(pair) in met:
                continue
            row = dict(pair)
            for name in [name for name in factors if name not in row]:
                new = {v: sum(frozenset([(name, v), item]) not in met for item in row.items()) for v in factors[name]}
                row[name] = max(factors[name], key=lambda v: (new[v], -used[name, v]))
            rows.append({name: row[name] for name in factors})
            used.update(row.items())
            met |= pairs(row)
    return rows


CASES = covering(FACTORS)
# Where the loss has a value whatever the scores: steps must not lead out of its domain.
_OPTIONS = {"activation": "tanh", "loss": "poisson", "optimizer": "adam", "shuffle": True, "alpha": 0.01}
_LINEAR = {"output_activation": "linear", "hidden": (4,), "batch_size": 4}
CASES += [{**_OPTIONS, **_LINEAR, "loss": loss} for loss in ("absolute_error", "huber", "quantile")]
CASES += [{**_OPTIONS, "output_activation": "exp", "hidden": (4,), "batch_size": 4, "loss": "gamma"}]
CASES += [{**_OPTIONS, "output_activation": o, "hidden": (4,), "batch_size": 6} for o in ("exp", "sigmoid", "softmax")]
# As plain Python a step takes milliseconds. These meet every value of every other factor, too.
AFFORDABLE = CASES if JIT else [case for case in CASES if case["batch_size"] == 6]


def test_the_cases_cover_every_pair():
    met = set().union(*(pairs(row) for row in CASES))
    for (a, first), (b, second) in combinations(FACTORS.items(), 2):
        assert all(frozenset([(a, x), (b, y)]) in met for x, y in product(first, second))


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("case", AFFORDABLE, ids=lambda case: "-".join(map(str, case.values())))
def test_fifty_epochs_agree_with_the_reference(network, data, twin, case):
    options = dict(case)
    hidden, batch_size, shuffle = options.pop("hidden"), options.pop("batch_size"), options.pop("shuffle")
    activation, output, expected, losses = options.pop("activation"), options.pop("output_activation"), None, None
    sizes = [3, *hidden, 3 if output == "softmax" else 1 + len(hidden) % 2]
    for dtype in LIMITS:  # float32 first: float64 starts from the same numbers
        mlp = network(sizes, activation, output, RATES[options["optimizer"]], dtype=dtype, **options)
        if expected is None:
            expected = twin(mlp, shuffle)
            X, y = data(mlp, ROWS)
            start = mlp.parameters.copy()
            losses = expected.fit(X, y, epochs=EPOCHS, batch_size=batch_size)
        mlp.parameters = start
        history = mlp.fit(X, y, epochs=EPOCHS, batch_size=batch_size, shuffle=shuffle)
        assert np.abs(mlp.parameters - start).max() > 0.01
        for name in ("weights", "biases"):
            for i, pair in enumerate(zip(getattr(mlp, name), getattr(expected, name), strict=True)):
                assert_within(*pair, LIMITS[dtype], f"{name}[{i}]")
        assert_within(history.loss, losses, LIMITS[dtype], "loss")


def test_the_comparison_rejects_trainings_that_differ_slightly(network, data, twin):
    """An epoch too many, another order of rows, another learning rate."""
    mlp = network([3, 4, 1], dtype=np.float64)
    X, y = data(mlp, ROWS)
    start = mlp.parameters.copy()
    expected = twin(mlp, shuffle=True)
    expected.fit(X, y, epochs=EPOCHS, batch_size=4)
    state = mlp._shuffling().copy()
    for epochs, shuffle, rate in ((EPOCHS + 1, True, 0.01), (EPOCHS, False, 0.01), (EPOCHS, True, 0.010001)):
        mlp.parameters, mlp.learning_rate, mlp._shuffling()[:] = start, rate, state
        mlp.fit(X, y, epochs=epochs, batch_size=4, shuffle=shuffle)
        with pytest.raises(AssertionError):
            assert_within(mlp.parameters, expected.parameters, LIMITS[np.float64])


@pytest.mark.once
@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("sizes", [[130, 70, 3], [5, 4500, 2], [1100, 9, 4]])
def test_layers_larger_than_a_block(network, data, twin, sizes, dtype):
    """Weights that are updated in several pieces, sums over more rows than a block has, several compiled calls."""
    mlp = network(sizes, "tanh", "linear", optimizer="momentum", dtype=dtype, alpha=0.01)
    X, y = data(mlp, 600)
    expected = twin(mlp, shuffle=True)
    losses = expected.fit(X, y, epochs=2, batch_size=270)
    history = mlp.fit(X, y, epochs=2, batch_size=270)
    assert_within(mlp.parameters, expected.parameters, LIMITS[dtype], "parameters")
    assert_within(history.loss, losses, LIMITS[dtype], "loss")


@pytest.mark.usefixtures("both_ways")
def test_track_gradients_and_validation_loss(network, data, twin):
    mlp = network([3, 5, 4, 2], "gelu", "softmax", optimizer="momentum", dtype=np.float64, alpha=0.1)
    expected = twin(mlp, shuffle=True)
    X, y = data(mlp, ROWS)
    held_out = data(mlp, 300, seed=9)  # more than the rows of a block
    history = mlp.fit(X, y, epochs=3, batch_size=4, validation_data=held_out, track_gradients=True)
    for epoch in range(3):
        norms, order = np.zeros(3), expected.shuffler.permutation(ROWS)
        for rows in (order[:4], order[4:8], order[8:]):
            dW, db = expected.backward(X[rows], y[rows], expected.forward(X[rows]))
            expected.update_parameters(dW, db)
            norms += [np.sqrt((g**2).sum()) / 3 for g in dW]
        assert_within(history.gradient_norm[epoch], norms, 1e-12, "gradient norm")
        penalty = 0.05 * sum((W**2).sum() for W in expected.weights)
        loss = expected.loss_and_gradients(*held_out)[0] - penalty
        assert_within(history.validation_loss[epoch], loss, 1e-12, "validation loss")


def test_the_references_generator_is_marsaglias():
    """Five numbers from the seed of the paper (Xorshift RNGs, 2003), as published by others."""
    shuffler = reference.Shuffler([123456789, 362436069, 521288629, 88675123])
    assert [shuffler.bits() for _ in range(5)] == [3701687786, 458299110, 2500872618, 3633119408, 516391518]


def test_the_references_permutations_are_uniform():
    shuffler = reference.Shuffler([1, 2, 3, 4])
    counts = Counter(tuple(shuffler.permutation(4).tolist()) for _ in range(4800))
    assert set(counts) == set(permutations(range(4)))
    assert max(abs(n - 200) for n in counts.values()) < 70  # five standard deviations


# --- the same training, cut up differently ------------------------------------------------------------------------


def state_of(mlp):
    return {
        "parameters": mlp.parameters.copy(),
        "slots": mlp._slots.copy(),
        "shuffling": mlp._shuffling().copy(),
        "updates": np.copy(mlp._updates),
    }


def assert_same_state(a, b):
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS if JIT else ["adam"])
@pytest.mark.parametrize("dtype", LIMITS)
def test_three_epochs_and_three_more_are_six(network, data, monkeypatch, dtype, optimizer, shuffle):
    def train(*parts, **options):
        mlp = network([3, 6, 4, 2], "mish", optimizer=optimizer, dtype=dtype, alpha=0.01)
        X, y = data(mlp, ROWS)
        losses = []
        for epochs in parts:
            losses += mlp.fit(X, y, epochs=epochs, batch_size=4, shuffle=shuffle, **options).loss
        return {**state_of(mlp), "loss": losses}

    whole = train(6)
    assert len(whole["loss"]) == 6
    assert_same_state(train(3, 3), whole)
    assert_same_state(train(1, 2, 3, track_gradients=True), whole)
    assert_same_state(train(6, callbacks=[lambda *_: None]), whole)  # back in Python after every epoch
    for limit in ("_SECONDS_PER_CALL", "_SECONDS_PER_TRIAL"):
        monkeypatch.setattr(_threads, limit, 0)  # and after every step
    assert_same_state(train(6), whole)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.skipif(not JIT, reason="plain Python trains on one thread")
@pytest.mark.parametrize("sizes", [[13, 37, 9, 3], [1, 1], [130, 70, 3]])
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw"])
@pytest.mark.parametrize("dtype", LIMITS)
def test_the_number_of_threads_changes_no_bit(network, data, dtype, optimizer, sizes):
    def train(n_threads):
        options = {"optimizer": optimizer, "dtype": dtype, "alpha": 0.01, "n_threads": n_threads}
        mlp = network(sizes, "gelu", "sigmoid", **options)
        X, y = data(mlp, 53)  # a last batch of 7
        history = mlp.fit(X, y, epochs=4, batch_size=23, track_gradients=True)
        return {**state_of(mlp), "loss": history.loss, "norm": history.gradient_norm}

    alone = train(1)
    assert np.isfinite(alone["parameters"]).all()
    for n_threads in (2, 3, 5, None):
        assert_same_state(train(n_threads), alone)


# --- any shape, any value -----------------------------------------------------------------------------------------

SMOOTH = ["elu", "gelu", "silu", "mish", "softplus", "sigmoid", "tanh", "linear"]  # f' has no jumps
VALUES = st.floats(-4, 4, width=32)


@st.composite
def trainings(draw):
    """Sizes, rows, batch size, activations, and values of X and y: numbers of float32 in float64."""
    sizes = draw(st.lists(st.integers(1, 19), min_size=2, max_size=5))
    rows = draw(st.integers(1, 40))
    X = draw(arrays.arrays(np.float64, (rows, sizes[0]), elements=VALUES))
    y = draw(arrays.arrays(np.float64, (rows, sizes[-1]), elements=VALUES))
    activation = draw(st.lists(st.sampled_from(SMOOTH), min_size=len(sizes) - 2, max_size=len(sizes) - 2))
    return sizes, activation, X, y, draw(st.integers(1, 45)), draw(st.sampled_from(list(OPTIMIZERS)))


@settings(max_examples=100 if JIT else 15, derandomize=True, deadline=None)
@given(trainings())
def test_any_training_agrees_with_the_reference(twin, training):
    sizes, activation, X, y, batch_size, optimizer = training
    mlp = MLP(sizes, activation, "tanh", 1e-3, optimizer=optimizer, dtype=np.float64, random_state=len(X))
    expected = twin(mlp, shuffle=True)
    losses = expected.fit(X, y, epochs=3, batch_size=batch_size)
    history = mlp.fit(X, y, epochs=3, batch_size=batch_size)
    assert_within(mlp.parameters, expected.parameters, LIMITS[np.float64], "parameters")
    assert_within(history.loss, losses, LIMITS[np.float64], "loss")


@settings(max_examples=150 if JIT else 30, derandomize=True, deadline=None)
@given(trainings(), st.sampled_from(HIDDEN), st.sampled_from(list(LIMITS)))
def test_any_forward_agrees_with_the_reference(twin, training, activation, dtype):
    sizes, _, X, _, _, _ = training
    mlp = MLP(sizes, activation, "linear", dtype=dtype, random_state=len(X), weight_init="he")
    length = chain_length(sizes, 0)
    assert_close(mlp.predict(X), twin(mlp).forward(X), length, "output")
