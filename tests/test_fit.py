"""`fit`: history, callbacks, shuffling, reproducibility, interruption, copies."""

# ruff: noqa: NPY002 (the global generator is what random_state=None draws from)

import copy
import math
import os
import pickle
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from tolerances import assert_close, chain_length

import fastmlp
from fastmlp import MLP, Adam
from fastmlp.kernels import JIT

RNG = np.random.default_rng(0)
N = 11
X = RNG.uniform(-1, 1, (N, 3))
TARGETS = {  # output activation: (outputs, y)
    "linear": (2, RNG.uniform(-1, 1, (N, 2))),
    "sigmoid": (1, RNG.integers(0, 2, (N, 1))),
    "softmax": (4, RNG.integers(0, 4, N)),
}
Y = TARGETS["linear"][1]


def make(output="linear", learning_rate=0.05, **options):
    options = {"random_state": 0, "dtype": np.float64, **options}
    return MLP([3, 5, TARGETS[output][0]], "tanh", output, learning_rate, **options)


def bits(mlp):
    """All that further training depends on."""
    return mlp.parameters.tobytes(), mlp._slots.tobytes(), int(mlp._updates[0]), mlp._shuffling().tobytes()


def independent_loss(mlp, x, y):
    """The objective without penalty, from predictions, by its definition."""
    a = mlp.predict(x).astype(float)
    if mlp.output_activation == "linear":
        return float(np.mean(np.sum((a - y) ** 2 / 2, axis=1)))
    if mlp.output_activation == "sigmoid":
        return float(np.mean(np.sum(-np.log(np.where(y == 1, a, 1 - a)), axis=1)))
    return float(np.mean([-math.log(a[i, label]) for i, label in enumerate(y)]))


# --- history ---


@pytest.mark.parametrize("watch", [{}, {"validation_data": True}, {"callbacks": [lambda *_: None]}])
@pytest.mark.parametrize("track", [False, True])
def test_lengths_and_types(watch, track):
    validated = "validation_data" in watch
    options = {"validation_data": (X[:4], Y[:4])} if validated else watch
    history = make().fit(X, Y, epochs=7, batch_size=4, track_gradients=track, **options)
    assert isinstance(history, fastmlp.History)
    assert len(history.loss) == 7
    assert len(history.validation_loss) == (7 if validated else 0)
    assert [len(norms) for norms in history.gradient_norm] == ([2] * 7 if track else [])
    numbers = history.loss + history.validation_loss + [norm for norms in history.gradient_norm for norm in norms]
    assert all(type(number) is float for number in numbers)


def test_watching_changes_no_bit():
    """One compiled call for all epochs or one for each: the same numbers."""
    plain, watched = make(optimizer="adam"), make(optimizer="adam")
    history = plain.fit(X, Y, epochs=6, batch_size=4)
    other = watched.fit(
        X, Y, epochs=6, batch_size=4, validation_data=(X, Y), callbacks=[lambda *_: None], track_gradients=True
    )
    assert history.loss == other.loss
    assert bits(plain) == bits(watched)


@pytest.mark.parametrize("output", TARGETS)
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_losses_are_the_objective_without_penalty(output, alpha):
    y = TARGETS[output][1]
    x_held, y_held = X[:5] * 0.7, y[3:8]
    mlp = make(output, alpha=alpha)
    length = chain_length(mlp.layer_sizes, N)
    for _ in range(3):
        before = independent_loss(mlp, X, y)
        history = mlp.fit(X, y, epochs=1, batch_size=N, validation_data=(x_held, y_held))
        assert_close(np.array(history.loss), [before], length, "loss")
        assert_close(np.array(history.validation_loss), [independent_loss(mlp, x_held, y_held)], length, "validation")


def test_validation_in_many_blocks():
    """More rows than go through the layers together."""
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-1, 1, (300, 3)), rng.uniform(-1, 1, (300, 2))
    mlp = make()
    history = mlp.fit(X, Y, epochs=1, validation_data=(x, y))
    assert_close(np.array(history.validation_loss), [independent_loss(mlp, x, y)], chain_length([3, 5, 2], 300))


def test_loss_of_batches_is_weighted_by_their_rows():
    """The last batch of 11 rows by 4 has 3: with weights that hardly move, the mean over rows and nothing else."""
    mlp = make(learning_rate=1e-30)
    expected = independent_loss(mlp, X, Y)
    for batch_size in (1, 2, 3, 4, 10, 11):
        history = mlp.fit(X, Y, epochs=2, batch_size=batch_size)
        assert_close(np.array(history.loss), [expected] * 2, chain_length([3, 5, 2], N))


@pytest.mark.parametrize("output", TARGETS)
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_gradient_norms(output, alpha):
    y = TARGETS[output][1]
    mlp = make(output, alpha=alpha)
    for _ in range(2):
        _, dW, _ = mlp.loss_and_gradients(X, y)
        expected = [math.sqrt(math.fsum(g * g for g in w.ravel())) for w in dW]
        history = mlp.fit(X, y, epochs=1, batch_size=N, track_gradients=True)
        assert_close(np.array(history.gradient_norm[0]), expected, chain_length(mlp.layer_sizes, N))


def test_gradient_norms_are_means_over_steps(twin):
    mlp = make()
    slow = twin(mlp)
    history = mlp.fit(X, Y, epochs=2, batch_size=4, shuffle=False, track_gradients=True)
    expected = np.zeros((2, 2))
    for epoch in range(2):
        for first in range(0, N, 4):
            rows = slice(first, first + 4)
            dW, db = slow.backward(X[rows], Y[rows], slow.forward(X[rows]))
            expected[epoch] += [np.linalg.norm(w) / 3 for w in dW]
            slow.update_parameters(dW, db)
    assert_close(np.array(history.gradient_norm), expected, 10 * chain_length([3, 5, 2], N))


# --- callbacks ---


def test_what_a_callback_gets():
    calls = []
    mlp = make()
    history = mlp.fit(
        X, Y, epochs=4, validation_data=(X, Y), track_gradients=True, callbacks=[lambda *args: calls.append(args)]
    )
    assert [args[0] is mlp for args in calls] == [True] * 4
    assert [args[1] for args in calls] == [0, 1, 2, 3]
    for name in ("loss", "validation_loss", "gradient_norm"):
        assert [args[2][name] for args in calls] == getattr(history, name)
    assert all(set(args[2]) == {"loss", "validation_loss", "gradient_norm"} for args in calls)


def test_logs_hold_only_what_is_measured():
    seen = []
    make().fit(X, Y, epochs=1, callbacks=[lambda mlp, epoch, logs: seen.append(sorted(logs))])
    assert seen == [["loss"]]


def test_spoiling_the_logs_spoils_nothing():
    seen = []

    def spoil(mlp, epoch, logs):
        logs.clear()

    history = make().fit(X, Y, epochs=2, callbacks=[spoil, lambda mlp, epoch, logs: seen.append(logs["loss"])])
    assert seen == history.loss


@pytest.mark.parametrize(
    ("answer", "stops"),
    [
        (True, True),
        (np.True_, True),
        (False, False),
        (None, False),
        (1, False),
        (0, False),
        (1.0, False),
        ([True], False),
        ("stop", False),
        (np.array([True]), False),
        (np.array([1, 2]), False),
        ({}, False),
    ],
)
def test_only_true_stops(answer, stops):
    mlp, twin = make(optimizer="momentum"), make(optimizer="momentum")
    history = mlp.fit(X, Y, epochs=5, callbacks=[lambda mlp, epoch, logs: answer if epoch == 1 else None])
    assert len(history.loss) == (2 if stops else 5)
    twin.fit(X, Y, epochs=2 if stops else 5)
    assert bits(mlp) == bits(twin)


def test_every_callback_runs_before_a_stop():
    seen = []
    callbacks = [lambda *_: seen.append("a"), lambda *_: True, lambda *_: seen.append("c")]
    assert len(make().fit(X, Y, epochs=5, callbacks=callbacks).loss) == 1
    assert seen == ["a", "c"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_an_exception_in_a_callback(error):
    def fail(mlp, epoch, logs):
        if epoch == 2:
            raise error("from the callback")

    mlp, twin = make(optimizer="adam"), make(optimizer="adam")
    with pytest.raises(error, match="from the callback"):
        mlp.fit(X, Y, epochs=9, batch_size=4, callbacks=[fail], progress=True)
    twin.fit(X, Y, epochs=3, batch_size=4)
    assert bits(mlp) == bits(twin)
    assert mlp.fit(X, Y, epochs=2, batch_size=4).loss == twin.fit(X, Y, epochs=2, batch_size=4).loss


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_a_changed_learning_rate_counts_from_the_next_epoch(optimizer):
    def drop(mlp, epoch, logs):
        if epoch == 1:
            mlp.learning_rate = 0.003

    changed, by_hand = make(optimizer=optimizer), make(optimizer=optimizer)
    changed.fit(X, Y, epochs=5, batch_size=4, callbacks=[drop])
    by_hand.fit(X, Y, epochs=2, batch_size=4)
    by_hand.learning_rate = 0.003
    by_hand.fit(X, Y, epochs=3, batch_size=4)
    assert bits(changed) == bits(by_hand)
    constant = make(optimizer=optimizer)
    constant.fit(X, Y, epochs=5, batch_size=4)
    assert bits(changed) != bits(constant)


def test_a_step_is_as_long_as_the_learning_rate_says():
    mlp = make()
    for rate in (0.1, 0.2, 0.05):
        mlp.learning_rate = rate
        before = mlp.parameters.copy()
        _, dW, db = mlp.loss_and_gradients(X, Y)
        mlp.fit(X, Y, epochs=1, batch_size=N)
        flat = np.concatenate([part.ravel() for layer in zip(dW, db, strict=True) for part in layer])
        assert_close(mlp.parameters, before - rate * flat, chain_length(mlp.layer_sizes, N))


def test_a_bad_learning_rate_from_a_callback():
    def spoil(mlp, epoch, logs):
        mlp.learning_rate = -1.0

    mlp, twin = make(), make()
    with pytest.raises(ValueError, match=r"learning_rate must be > 0 and finite, got -1\.0"):
        mlp.fit(X, Y, epochs=3, callbacks=[spoil])
    twin.fit(X, Y, epochs=1)
    assert bits(mlp) == bits(twin)


def test_a_callback_may_set_weights():
    def clamp(mlp, epoch, logs):
        mlp.weights = [np.clip(w, -0.1, 0.1) for w in mlp.weights]

    mlp, by_hand = make(), make()
    mlp.fit(X, Y, epochs=3, callbacks=[clamp])
    for _ in range(3):
        by_hand.fit(X, Y, epochs=1)
        clamp(by_hand, 0, {})
    assert bits(mlp) == bits(by_hand)
    assert max(np.abs(w).max() for w in mlp.weights) <= 0.1


def test_a_callback_may_use_the_network():
    """Prediction, evaluation, and a fit inside the fit: the state it leaves is what the outer fit goes on with."""
    mlp, by_hand = make(optimizer="adam"), make(optimizer="adam")

    def use(mlp, epoch, logs):
        mlp.predict(X)
        mlp.forward(X)
        mlp.loss_and_gradients(X, Y)
        if epoch == 0:
            mlp.fit(X[:5], Y[:5], epochs=1)

    mlp.fit(X, Y, epochs=3, callbacks=[use])
    by_hand.fit(X, Y, epochs=1)
    by_hand.fit(X[:5], Y[:5], epochs=1)
    by_hand.fit(X, Y, epochs=2)
    assert bits(mlp) == bits(by_hand)


# --- progress ---


def test_progress_goes_to_stderr(capfd):
    shown, silent = make(), make()
    shown.fit(X, Y, epochs=3, progress=True, track_gradients=True, validation_data=(X, Y))
    out, err = capfd.readouterr()
    assert out == ""
    assert "3/3" in err
    assert "loss=" in err
    assert "validation_loss=" in err
    silent.fit(X, Y, epochs=3)
    assert capfd.readouterr() == ("", "")
    assert bits(shown) == bits(silent)


@pytest.mark.parametrize("epochs", [1, 5])
def test_the_bar_is_closed_after_an_early_end(capfd, epochs):
    make().fit(X, Y, epochs=epochs, progress=True, callbacks=[lambda *_: True])
    assert f"1/{epochs}" in capfd.readouterr().err
    with pytest.raises(FloatingPointError, match="diverged") as caught:
        make().fit(X, Y * 1e200, epochs=epochs, progress=True)
    # the traceback keeps the bar alive: the line has been ended by closing it, not by throwing it away
    assert capfd.readouterr().err.endswith("\n")
    assert caught.tb is not None


# --- order of rows ---


@pytest.mark.parametrize("batch_size", [1, 4, N])
def test_without_shuffling_the_order_is_kept(twin, batch_size):
    mlp = make()
    slow, reversed_rows = twin(mlp), twin(mlp)
    mlp.fit(X, Y, epochs=3, batch_size=batch_size, shuffle=False)
    for net, order in ((slow, np.arange(N)), (reversed_rows, np.arange(N)[::-1])):
        for _ in range(3):
            for first in range(0, N, batch_size):
                rows = order[first : first + batch_size]
                net.update_parameters(*net.backward(X[rows], Y[rows], net.forward(X[rows])))
    length = 40 * chain_length(mlp.layer_sizes, N)
    assert_close(mlp.parameters, slow.parameters, length)
    if batch_size < N:  # in a single batch the order only changes roundings
        with pytest.raises(AssertionError, match="allowed"):
            assert_close(mlp.parameters, reversed_rows.parameters, length)


def test_an_epoch_takes_every_row_once():
    """Row i is the i-th unit vector times i + 1 and moves weight i alone, so the weights tell who came how often."""
    n = 50
    scale = np.arange(1.0, n + 1)
    mlp = MLP([n, 1], output_activation="exp", learning_rate=1e-3, weight_init="zeros", loss="cross_entropy",
              dtype=np.float64, random_state=0)  # fmt: skip
    # L = -y z, so dL/dz = -y: a gradient that does not depend on the weights
    for epoch in range(1, 4):
        mlp.fit(np.diag(scale), np.ones(n), epochs=1, batch_size=1)
        np.testing.assert_allclose(mlp.weights[0][:, 0], epoch * 1e-3 * scale, rtol=1e-12)
        np.testing.assert_allclose(mlp.biases[0], epoch * 1e-3 * n, rtol=1e-12)


def test_every_epoch_has_another_order():
    """With one row per step and a momentum of almost nothing, slots hold the last row's gradient: who came last."""
    n = 8
    last = []
    mlp = MLP([n, 1], output_activation="exp", learning_rate=1e-3, weight_init="zeros", loss="cross_entropy",
              optimizer=fastmlp.Momentum(momentum=0.0), dtype=np.float64, random_state=0)  # fmt: skip
    mlp.fit(np.eye(n), np.ones(n), epochs=200, batch_size=1,
            callbacks=[lambda mlp, epoch, logs: last.append(np.flatnonzero(mlp._slots[:n]).tolist())])  # fmt: skip
    assert all(len(rows) == 1 for rows in last)
    counts = np.bincount(np.ravel(last), minlength=n)
    # chi-squared with 7 degrees of freedom: 40 is exceeded with a probability of 1e-6, and the seed is fixed
    assert ((counts - 25) ** 2 / 25).sum() < 40


@pytest.mark.parametrize("batch_size", [N, N + 1, 1000])
def test_a_batch_larger_than_the_data(batch_size):
    mlp, whole = make(optimizer="adam"), make(optimizer="adam")
    mlp.fit(X, Y, epochs=3, batch_size=batch_size)
    whole.fit(X, Y, epochs=3, batch_size=N)
    assert bits(mlp) == bits(whole)
    assert mlp._updates[0] == 3


@pytest.mark.parametrize("output", TARGETS)
def test_one_row(output):
    y = TARGETS[output][1]
    mlp = make(output)
    history = mlp.fit(X[:1], y[:1], epochs=200, validation_data=(X[:1], y[:1]))
    assert history.loss[-1] < 0.2 * history.loss[0]
    np.testing.assert_allclose(history.validation_loss[:-1], history.loss[1:], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("split", [1, 3, 5])
def test_a_second_fit_goes_on(split):
    once, twice = make(optimizer="adam"), make(optimizer="adam")
    losses = once.fit(X, Y, epochs=6, batch_size=4).loss
    again = twice.fit(X, Y, epochs=split, batch_size=4).loss + twice.fit(X, Y, epochs=6 - split, batch_size=4).loss
    assert losses == again
    assert bits(once) == bits(twice)


# --- random_state ---

SOURCES = {
    "int": lambda seed: seed,
    "numpy int": np.int64,
    "RandomState": np.random.RandomState,
    "Generator": np.random.default_rng,
    "global": lambda seed: np.random.seed(seed),
}


@pytest.mark.parametrize("source", list(SOURCES.values()), ids=list(SOURCES))
def test_random_states(source):
    def run(seed):
        mlp = make(random_state=source(seed))
        start = mlp.parameters.tobytes()
        mlp.fit(X, Y, epochs=3, batch_size=2)
        return start, bits(mlp)

    state = np.random.get_state()
    try:
        first, again, other = run(5), run(5), run(6)
    finally:
        np.random.set_state(state)
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]
    assert first[1][3] != other[1][3]  # orders of rows differ, too


def test_an_int_is_the_seed_of_a_random_state():
    a, b = make(random_state=7), make(random_state=np.random.RandomState(7))
    a.fit(X, Y, epochs=2)
    b.fit(X, Y, epochs=2)
    assert bits(a) == bits(b)


def test_one_generator_for_two_networks_gives_two_networks():
    rng = np.random.default_rng(0)
    assert make(random_state=rng).parameters.tobytes() != make(random_state=rng).parameters.tobytes()


def test_a_seed_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].tobytes(), np.random.get_state()[2]
    make().fit(X, Y, epochs=2)
    assert (np.random.get_state()[1].tobytes(), np.random.get_state()[2]) == before


# --- threads and interruption ---


def test_networks_that_train_in_threads_at_once():
    def network(i):
        return MLP([3, 6 + i, 2], "relu", "linear", optimizer="adam", random_state=i, n_threads=1 + i % 2)

    alone, together = [network(i) for i in range(4)], [network(i) for i in range(4)]
    options = {"epochs": 200 if JIT else 3, "batch_size": 4}
    for mlp in alone:
        mlp.fit(X, Y, **options)
    start = threading.Barrier(len(together))

    def run(mlp):
        start.wait()
        mlp.fit(X, Y, **options)

    threads = [threading.Thread(target=run, args=(mlp,)) for mlp in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert bits(one) == bits(other)


_LONG_FIT = """
import signal, sys
import numpy as np
from fastmlp import MLP

signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
x, y = rng.uniform(-1, 1, (512, 16)), rng.uniform(-1, 1, (512, 4))
mlp = MLP([16, 64, 64, 4], output_activation="linear", optimizer="adam", random_state=0, n_threads=int(sys.argv[1]))
mlp.fit(x, y, epochs=1)
before = mlp.parameters.copy()
print("ready", flush=True)
try:
    mlp.fit(x, y, epochs=10**6)
except KeyboardInterrupt:
    assert np.isfinite(mlp.parameters).all()
    assert (mlp.parameters != before).any(), "nothing was trained"
    losses = mlp.fit(x, y, epochs=3).loss
    assert np.isfinite(losses).all()
    print("stopped", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to another process")
@pytest.mark.skipif(not JIT, reason="plain Python can be interrupted anywhere")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_interrupting_a_long_fit(n_threads):
    """The whole fit takes many minutes; an interrupt must end it in a small part of that."""
    with subprocess.Popen(
        [sys.executable, "-c", _LONG_FIT, str(n_threads)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)  # it is inside the compiled loop now
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (out, process.returncode) == ("stopped\n", 0), err


# --- copies ---

COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda mlp: pickle.loads(pickle.dumps(mlp)),
    "old pickle": lambda mlp: pickle.loads(pickle.dumps(mlp, protocol=2)),
}


def assert_views(mlp):
    """Weights and biases lie in `parameters`, one after the other, and nothing else does."""
    parts = [part for layer in zip(mlp.weights, mlp.biases, strict=True) for part in layer]
    assert all(np.shares_memory(part, mlp.parameters) for part in parts)
    assert np.concatenate([part.ravel() for part in parts]).tobytes() == mlp.parameters.tobytes()


@pytest.mark.parametrize("duplicate", list(COPIES.values()), ids=list(COPIES))
@pytest.mark.parametrize("source", [SOURCES["int"], SOURCES["Generator"]])
@pytest.mark.parametrize("trained", [0, 2])
def test_copies_train_on(duplicate, source, trained):
    mlp = make("softmax", optimizer=Adam(beta1=0.8), alpha=0.01, random_state=source(3), learning_rate=0.02)
    y = TARGETS["softmax"][1]
    if trained:
        mlp.fit(X, y, epochs=trained, batch_size=4)
    mlp.forward(X)
    twin = duplicate(mlp)
    assert twin.predict(X).tobytes() == mlp.predict(X).tobytes()
    assert repr(twin) == repr(mlp)
    assert_views(twin)
    start = bits(mlp)
    losses = twin.fit(X, y, epochs=3, batch_size=4).loss
    assert bits(mlp) == start, "training the copy trained the original"
    assert mlp.fit(X, y, epochs=3, batch_size=4).loss == losses
    assert bits(mlp) == bits(twin)
    mlp.initialize_parameters()
    twin.initialize_parameters()
    assert bits(mlp) == bits(twin)
    with pytest.raises(RuntimeError, match="forward"):
        duplicate(mlp).backward(X, y)


def test_copies_of_a_views_list_are_plain_lists():
    mlp = make()
    for twin in (copy.deepcopy(mlp.weights), pickle.loads(pickle.dumps(mlp.weights))):
        assert type(twin) is list
        assert [w.tobytes() for w in twin] == [w.tobytes() for w in mlp.weights]
        assert not any(np.shares_memory(w, mlp.parameters) for w in twin)
        twin.append(0)


def test_weights_stay_views_through_everything():
    mlp = make(optimizer="adam")
    held = [*mlp.weights, *mlp.biases]

    def diverge():
        with pytest.raises(FloatingPointError):
            mlp.fit(X * 1e200, Y * 1e200, epochs=2)

    def reject():
        with pytest.raises(ValueError, match="shape"):
            mlp.weights = [np.zeros((1, 1))] * 2

    def assign():
        mlp.weights = [w + 1 for w in mlp.weights]
        mlp.biases[0] = mlp.biases[0] - 1
        mlp.weights[1] -= 0.1 * mlp.weights[1]
        mlp.parameters = mlp.parameters * 0.5
        mlp.parameters *= 2

    actions = [
        lambda: mlp.fit(X, Y, epochs=2), lambda: mlp.forward(X), lambda: mlp.update_parameters(*mlp.backward(X, Y)),
        assign, reject, diverge, mlp.initialize_parameters, lambda: mlp.fit(X, Y, epochs=1),
    ]  # fmt: skip
    for action in actions:
        action()
        assert_views(mlp)
        now = [*mlp.weights, *mlp.biases]
        assert all(np.shares_memory(a, b) for a, b in zip(held, now, strict=True))


def test_a_networks_own_weights_may_be_assigned_in_another_order():
    mlp = MLP([3, 3, 3], random_state=0)
    first, second = (w.copy() for w in mlp.weights)
    mlp.weights = mlp.weights[::-1]
    np.testing.assert_array_equal(mlp.weights[0], second)
    np.testing.assert_array_equal(mlp.weights[1], first)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_initial_weights_must_be_finite(bad):
    with pytest.raises(ValueError, match=r"the result of weight_init must be finite"):
        MLP([3, 2], weight_init=lambda fan_in, fan_out, rng: np.full((fan_in, fan_out), bad))
