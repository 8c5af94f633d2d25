"""Threads in `fit`: the same bits for any number, how many are used, and what takes cores or threads away."""

import gc
import itertools
import math
import os
import signal
import threading
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLP, MLPRegressor, _network, _threads
from fastmlp.fitting import History
from fastmlp.kernels import JIT, backprop, training

NEEDS_JIT = pytest.mark.skipif(not JIT, reason="plain Python trains on one thread")
PATIENCE = 20  # seconds after which a thread counts as stuck; a test that passes needs a few


@pytest.fixture
def team_of(monkeypatch):
    """A function that makes every fit use a team of this size (or of these sizes in turn), so many steps a call."""

    def force(*sizes, steps=7):
        calls = itertools.cycle((size, steps) for size in sizes)
        monkeypatch.setattr(_threads.Pace, "next_call", lambda self: next(calls))

    return force


def patiently(function):
    """What `function` returns or raises, in a thread of its own: stuck, it fails the test instead of stopping it."""
    outcome = []

    def run():
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert outcome, "stuck"
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def state(mlp, history):
    """All that training leaves, as bytes."""
    arrays = mlp.parameters, mlp._slots, mlp._updates, mlp._shuffling(), history.loss, history.gradient_norm
    return [np.asarray(array).tobytes() for array in arrays]


# --- the same bits ---

SHAPES = {  # layer sizes, activation, output, rows, batch size: with shares of nothing, odd shares, a last batch
    "small": ([3, 5, 2], "tanh", "sigmoid", 11, 4),
    "no hidden layer": ([1, 1], "relu", "linear", 5, 5),
    "odd": ([13, 37, 9, 3], "gelu", "softmax", 53, 23),
    "wide": ([130, 70, 3], "relu", "linear", 90, 64),
    "deep": ([6, 8, 8, 8, 8, 8, 1], "silu", "sigmoid", 40, 33),
    "in parts": ([20, 40, 3], "relu", "softmax", 1020, 700),  # of 120 rows; the last batch has fewer parts
}


@pytest.mark.usefixtures("both_ways")
@NEEDS_JIT
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_changes_no_bit(network, data, team_of, shape, optimizer, dtype):
    sizes, activation, output, rows, batch_size = SHAPES[shape]

    def train(*team, steps):
        team_of(*team, steps=steps)
        mlp = network(sizes, activation, output, optimizer=optimizer, dtype=dtype, alpha=0.01)
        X, y = data(mlp, rows)
        return state(mlp, mlp.fit(X, y, epochs=6, batch_size=batch_size, track_gradients=True))

    alone = train(1, steps=10**6)
    for team in ((2,), (3,), (8,), (1, 5, 2)):  # the last: another size with every call
        assert train(*team, steps=4) == alone, team


# --- how many ---


def size_of(n_threads=None, step=1.0, call=1.0):
    return _threads.team_size(n_threads, call, step)


@NEEDS_JIT
@pytest.mark.parametrize(
    ("n_threads", "cores", "environment", "expected"),
    [
        (None, 8, {}, 8),
        (1, 8, {}, 1),
        (3, 8, {}, 3),
        (16, 8, {}, 8),
        (None, 1, {}, 1),
        (None, 8, {"OMP_NUM_THREADS": "2"}, 2),
        (None, 8, {"OMP_NUM_THREADS": "4,2"}, 4),
        (None, 8, {"NUMBA_NUM_THREADS": "1"}, 1),
        (None, 8, {"OMP_NUM_THREADS": "5", "NUMBA_NUM_THREADS": "3"}, 3),
        (None, 2, {"OMP_NUM_THREADS": "64"}, 2),
        (None, 8, {"OMP_NUM_THREADS": "0"}, 1),
        (None, 8, {"OMP_NUM_THREADS": "", "NUMBA_NUM_THREADS": "many"}, 8),
        (4, 8, {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}, 4),
    ],
)
def test_limits_of_a_team(monkeypatch, n_threads, cores, environment, expected):
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_threads, "_cores", lambda: cores)
    assert size_of(n_threads) == expected


@NEEDS_JIT
def test_more_work_never_has_fewer_threads(monkeypatch):
    monkeypatch.setattr(_threads, "_cores", lambda: 6)
    work = np.geomspace(1e-6, 1, 200)
    for sizes in ([size_of(step=w) for w in work], [size_of(call=w) for w in work]):
        assert sizes == sorted(sizes)
        assert set(sizes) == set(range(1, 7))


def test_plain_python_has_no_team(monkeypatch):
    monkeypatch.setattr(_threads, "JIT", False)
    assert size_of() == size_of(8) == 1


def test_a_small_fit_asks_nobody_and_starts_nothing(monkeypatch):
    """The questions to the system take as long as a small fit."""

    def fail(*_):
        raise AssertionError("not for this little work")

    monkeypatch.setattr(_threads, "_cores", fail)
    monkeypatch.setattr(_threads, "start_new_thread", fail)
    for n_threads in (None, 2, 64):
        mlp = MLP([2, 10, 10, 1], random_state=0, n_threads=n_threads)
        history = mlp.fit(np.ones((40, 2)), np.ones(40), epochs=3)
        assert len(history.loss) == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no CPU affinity")
def test_cores_are_those_of_the_affinity(monkeypatch):
    monkeypatch.setattr(_threads, "_quota", lambda root: math.inf)
    before = os.sched_getaffinity(0)
    assert _threads._cores() == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert _threads._cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("quota", "expected"), [(0.3, 1), (1.0, 1), (1.99, 1), (2.0, 2), (2.5, 2), (64.0, 4)])
def test_a_quota_counts_in_whole_cores(monkeypatch, quota, expected):
    monkeypatch.setattr(_threads, "_quota", lambda root: quota)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(4), raising=False)
    assert _threads._cores() == expected


UNIFIED = "0::/\n"
BOTH = "12:memory:/jobs/a\n4:cpu,cpuacct:/jobs/a\n3:cpuset:/\n0::/jobs/a\n"
QUOTAS = {  # /proc/self/cgroup, files below /sys/fs/cgroup, cores
    "no control groups": (None, {}, math.inf),
    "none with a limit": ("0::/user.slice\n", {}, math.inf),
    "a container": (UNIFIED, {"cpu.max": "150000 100000\n"}, 1.5),
    "a container without limit": (UNIFIED, {"cpu.max": "max 100000\n"}, math.inf),
    "a service": ("0::/system.slice/job.service\n", {"system.slice/job.service/cpu.max": "50000 100000"}, 0.5),
    "a group above": ("0::/a/b/c\n", {"a/b/c/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2.0),
    "the least of several": ("0::/a/b\n", {"a/b/cpu.max": "300000 100000", "a/cpu.max": "20000 20000"}, 1.0),
    "a name with a colon": ("0::/a:b\n", {"a:b/cpu.max": "400000 100000"}, 4.0),
    "seen from a container": ("0::/docker/0123\n", {"cpu.max": "100000 50000"}, 2.0),
    "version 1": (BOTH, {"cpu/jobs/a/cpu.cfs_quota_us": "250000", "cpu/jobs/a/cpu.cfs_period_us": "100000"}, 2.5),
    "version 1 without limit": (BOTH, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
    "version 1 without period": (BOTH, {"cpu/jobs/a/cpu.cfs_quota_us": "100000"}, math.inf),
    "another controller": ("3:cpuset:/a\n", {"cpu/a/cpu.cfs_quota_us": "1", "cpu/a/cpu.cfs_period_us": "1"}, math.inf),
    "nonsense in a file": (UNIFIED, {"cpu.max": "much\n"}, math.inf),
    "an empty file": (UNIFIED, {"cpu.max": ""}, math.inf),
    "nonsense in the list": ("0:", {}, math.inf),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_quotas_of_control_groups(tmp_path, case):
    groups, files, expected = QUOTAS[case]
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
    assert _threads._quota(tmp_path) == expected


@pytest.mark.parametrize(
    ("epochs", "parameters"),
    [
        (11, {}),
        (5, {"max_iter": 5}),
        (4, {"n_iter_no_change": 3}),
        (1, {"learning_rate": "cosine"}),
        (1, {"verbose": 1}),
    ],
)
def test_an_estimator_counts_on_the_epochs_that_nobody_sees(monkeypatch, epochs, parameters):
    asked = []
    monkeypatch.setattr(_threads, "team_size", lambda n_threads, call, step: asked.append(call / step) or 1)
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = MLPRegressor(hidden_layer_sizes=(3,), batch_size=10, **{"max_iter": 20, "random_state": 0, **parameters})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, X[:, 0])
    assert asked == [pytest.approx(3 * epochs)]


# --- by the clock ---


def simulate(monkeypatch, largest, seconds_of, until, guess=None):
    """Steps per second in a world where a step takes ``seconds_of(size, now)``, and each call a thread's start."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(_threads, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    pace = _threads.Pace(largest, 5 * seconds_of(1, 0.0) if guess is None else guess)
    done = 0
    while clock.now < until:
        size, steps = pace.next_call()
        assert 1 <= size <= largest
        assert steps >= 1
        start = clock.now
        clock.now += 5e-5 * size
        for part in range(50):  # the world may change during a call
            clock.now += seconds_of(size, clock.now) * (steps * (part + 1) // 50 - steps * part // 50)
        pace.record(size, steps, clock.now - start)
        done += steps
    return done / clock.now


@pytest.mark.once
@pytest.mark.parametrize("step", [2e-5, 1e-3, 0.2])
@pytest.mark.parametrize("guess", [0.5, 5, 20])
@pytest.mark.parametrize(
    "world",
    [{2: 0.5}, {2: 0.8}, {2: 1.0}, {2: 1.3}, {2: 30.0}, {2: 0.5, 4: 0.3, 8: 0.6}, {2: 1.1, 4: 1.3, 8: 2.0}, {}],
    ids=str,
)
def test_the_fastest_number_of_threads_is_found(monkeypatch, world, guess, step):
    """The time of a step with one thread is 1; the guess at it may be far off."""
    world = {1: 1.0, **world}
    speed = simulate(monkeypatch, max(world), lambda size, now: step * world[size], 60.0 + 2000 * step, guess * step)
    assert speed >= 0.93 / (step * min(world.values()))


def test_calls_are_short_enough_to_be_interrupted(monkeypatch):
    lengths = []
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(_threads, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    pace = _threads.Pace(1, 1e-4)
    while clock.now < 10:
        size, steps = pace.next_call()
        lengths.append(steps * 1e-3)  # ten times as slow as guessed
        clock.now += lengths[-1]
        pace.record(size, steps, lengths[-1])
    assert max(lengths) < 3 * _threads._SECONDS_PER_CALL
    assert lengths[-1] <= _threads._SECONDS_PER_CALL


def test_a_call_that_is_held_up_changes_nothing(monkeypatch):
    """Calls as short as a watched fit's; every twentieth loses its core for a while. Two threads stay better."""
    clock, used = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(_threads, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    pace = _threads.Pace(2, 5e-3)
    for i in range(5000):
        size, _ = pace.next_call()
        duration = 2e-3 / size + (5e-3 if i % 20 == 0 else 0)
        clock.now += duration
        pace.record(size, 2, duration)
        used.append(size)
    assert used.count(2) > 0.9 * len(used)


def test_a_slow_short_start_is_soon_forgotten(monkeypatch):
    """The first call is short and starts the threads. A few calls later one thread is tried: two stay better."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(_threads, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    pace = _threads.Pace(2, 3e-4)
    used = []
    for steps in (3, *[33] * 40):
        size, _ = pace.next_call()
        duration = steps * 1.2e-4 / size + (4e-4 if not used else 0)
        clock.now += duration
        pace.record(size, steps, duration)
        used.append(size)
    assert 1 <= used.count(1) <= 3, "tried, and no more"


@pytest.mark.parametrize(("two", "seconds"), [(0.5, 0.03), (0.5, 0.2), (1.0, 0.02), (2.0, 0.2), (4.0, 0.5)])
def test_a_short_fit_soon_has_the_right_number(monkeypatch, two, seconds):
    """With two threads a step takes `two` times as long as with one, in cold caches twice that."""
    best = min(1, two)

    def seconds_of(size, now):
        return 1e-4 * {1: 1.0, 2: two}[size] * (2 if now < 5e-4 else 1)

    assert simulate(monkeypatch, 2, seconds_of, seconds, 5e-4) >= 0.77 / (1e-4 * best)


def test_a_core_that_is_taken_away_and_comes_back(monkeypatch):
    """From 20 s to 40 s a second thread makes a step ten times as slow as a single one does it."""

    def seconds_of(size, now):
        if size == 1:
            return 1e-3
        return 1e-2 if 20 <= now < 40 else 5e-4

    speed = simulate(monkeypatch, 2, seconds_of, 60.0)
    assert speed >= 0.93 * (20 * 2000 + 20 * 1000 + 20 * 2000) / 60


# --- threads that fail ---


@NEEDS_JIT
@pytest.mark.parametrize("startable", [0, 1, 3])
def test_threads_that_cannot_start(monkeypatch, network, data, team_of, startable):
    """The fit goes on with those it has, and asks again with the next call."""

    def train():
        mlp = network([9, 20, 3], optimizer="adam")
        return state(mlp, mlp.fit(*data(mlp, 40), epochs=5, batch_size=16))

    start, asked = _threads.start_new_thread, []

    def refuse(function, arguments):
        asked.append(arguments)
        if len(asked) % 5 >= startable:
            raise RuntimeError("can't start new thread")
        return start(function, arguments)

    team_of(1)
    alone = train()
    team_of(6, steps=4)
    monkeypatch.setattr(_threads, "start_new_thread", refuse)
    assert train() == alone
    assert len(asked) >= 4


@NEEDS_JIT
def test_no_memory_for_a_thread(network, data, team_of):
    """The system's own refusal: a stack larger than the address space."""
    mlp, other = network([3, 5, 2]), network([3, 5, 2])
    team_of(3)
    before = threading.stack_size(2**46)
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threading.Thread(target=print).start()
        mlp.fit(*data(mlp, 40), epochs=5)
    finally:
        threading.stack_size(before)
    other.fit(*data(other, 40), epochs=5)
    assert mlp.parameters.tobytes() == other.parameters.tobytes()


@NEEDS_JIT
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_member_that_fails_stops_the_others(monkeypatch, network, data, team_of, failing, error):
    """Before its first step nothing has changed: the others must not wait for ever, nor train without it."""

    def fail(*arguments):
        if arguments[-2] == failing:
            raise error("from a member")
        return train(*arguments)

    mlp = network([9, 20, 3], optimizer="adam")
    X, y = data(mlp, 40)
    mlp.fit(X, y, epochs=1)
    before = mlp.parameters.tobytes(), mlp._slots.tobytes(), mlp._updates.tobytes()
    train = training.train
    team_of(3)
    monkeypatch.setattr(training, "train", fail)
    with pytest.raises(error, match="from a member"):
        patiently(lambda: mlp.fit(X, y, epochs=5))
    monkeypatch.setattr(training, "train", train)
    assert (mlp.parameters.tobytes(), mlp._slots.tobytes(), mlp._updates.tobytes()) == before
    assert np.isfinite(mlp.fit(X, y, epochs=2).loss).all()


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("n", [1, 255, 256, 257, 4096, 50001])
def test_pieces_are_whole_blocks_and_make_up_the_range(n, size):
    pieces = list(_threads.pieces(n, 256, size))
    assert [i for piece in pieces for i in range(n)[piece]] == list(range(n))
    assert all(piece.start % 256 == 0 for piece in pieces)
    assert len(pieces) <= (1 if size == 1 else 2 * size * (1 + math.log(n)))


@pytest.mark.parametrize("n", [4096, 20000, 50000, 10**6])
@pytest.mark.parametrize("size", [2, 3, 8])
@pytest.mark.parametrize("late", [0.0, 0.1])
def test_pieces_end_together(n, size, late):
    """One of the members starts `late`, in shares of what each has to do: none waits for more than a block."""
    pieces, free = list(_threads.pieces(n, 256, size)), [late * n / size] + [0.0] * (size - 1)
    for piece in pieces:
        member = free.index(min(free))
        free[member] += piece.stop - piece.start
    assert max(free) <= (n + late * n / size) / size + 256


@NEEDS_JIT
def test_a_prediction_does_not_wait_for_a_thread_that_is_late(monkeypatch, network, data):
    def start_late(function, arguments):
        start(lambda *given: all_done.wait(PATIENCE) and function(*given), arguments)

    def count(*arguments):
        callers.append(threading.get_ident())
        if len(callers) == pieces:
            all_done.set()
        return infer(*arguments)

    mlp = network([9, 20, 3])
    X, _ = data(mlp, 5000)
    expected = mlp.predict(X)
    pieces = len(list(_threads.pieces(5000, _network._PIECE_ROWS, 2)))
    callers, all_done, start, infer = [], threading.Event(), _threads.start_new_thread, backprop.infer
    monkeypatch.setattr(_threads, "start_new_thread", start_late)
    monkeypatch.setattr(backprop, "infer", count)
    monkeypatch.setattr(_threads, "team_size", lambda *limits: 2)
    assert patiently(lambda: mlp.predict(X)).tobytes() == expected.tobytes()
    assert len(callers) == pieces
    assert len(set(callers)) == 1


@NEEDS_JIT
def test_a_prediction_that_fails_takes_no_more_pieces(monkeypatch, network, data):
    def fail(*arguments):
        calls.append(arguments)
        raise MemoryError("from a member")

    mlp, calls = network([9, 20, 3]), []
    monkeypatch.setattr(_threads, "team_size", lambda *limits: 2)
    monkeypatch.setattr(backprop, "infer", fail)
    with pytest.raises(MemoryError, match="from a member"):
        patiently(lambda: mlp.predict(data(mlp, 5000)[0]))
    assert len(calls) <= 2


@NEEDS_JIT
def test_divergence_with_several_threads(network, data, team_of):
    def train(*team):
        team_of(*team)
        mlp = network([9, 20, 3], "relu", "linear", 1e6)
        with pytest.raises(FloatingPointError, match="diverged") as caught:
            mlp.fit(*data(mlp, 40), epochs=50, batch_size=16)
        assert np.isfinite(mlp.parameters).all()
        return str(caught.value), mlp.parameters.tobytes()

    assert train(2) == train(5) == train(1)


@NEEDS_JIT
def test_nothing_is_left_running(network, data, team_of):
    def tasks():
        return len(os.listdir("/proc/self/task"))

    if not os.path.isdir("/proc/self/task"):
        pytest.skip("the system does not list a process's threads")
    mlp = network([9, 20, 3])
    X, y = data(mlp, 40)
    before = tasks()
    team_of(6)
    mlp.fit(X, y, epochs=50)
    deadline = time.monotonic() + PATIENCE  # a thread that has reported may take a moment to end
    while tasks() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert tasks() <= before  # fewer, if one of an earlier test has ended meanwhile


# --- interruption ---


class Interrupted(BaseException):
    pass


@NEEDS_JIT
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timer")
@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_interrupt_at_any_time_leaves_whole_steps(network, data, team_of, size):
    """A step is an epoch here, so that a second network can be trained to just where the first was stopped."""

    def interrupt(*_):
        raise Interrupted

    def fit(delay):
        signal.setitimer(signal.ITIMER_REAL, delay)
        mlp.fit(X, y, epochs=10**6, batch_size=40)

    mlp, twin = (network([9, 40, 3], optimizer="adam") for _ in range(2))
    X, y = data(mlp, 40)
    delays = np.random.default_rng(size).uniform(1e-4, 0.03, 25)
    gc.collect()  # what other tests have left: an exception in the callback of a weak reference is lost
    before = signal.signal(signal.SIGALRM, interrupt)
    done = 0
    try:
        for delay in delays:
            team_of(size, steps=20)  # several calls a millisecond: interrupts meet every part of one
            with pytest.raises(Interrupted):
                fit(delay)
            steps = int(mlp._updates[0]) - done
            if steps:
                team_of(1, steps=10**6)
                twin.fit(X, y, epochs=steps, batch_size=40)
            done += steps
            assert mlp.parameters.tobytes() == twin.parameters.tobytes()
            assert mlp._slots.tobytes() == twin._slots.tobytes()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert done > 0


@NEEDS_JIT
@pytest.mark.parametrize("counted", [0, 1])
def test_an_interrupt_while_threads_start_trains_with_none_of_them(network, data, team_of, monkeypatch, counted):
    """The last moment to be interrupted: a member is there that its caller has not counted yet."""
    mlp = network([9, 40, 3], optimizer="adam")
    X, y = data(mlp, 40)
    team_of(3, steps=100)
    before, finished = state(mlp, History()), []
    start = _threads.start_new_thread

    def start_one_too_many(work, arguments):
        def run(*arguments):
            work(*arguments)
            finished.append(arguments)

        start(run, arguments)
        if arguments[0] > counted:
            raise Interrupted

    monkeypatch.setattr(_threads, "start_new_thread", start_one_too_many)
    with pytest.raises(Interrupted):
        mlp.fit(X, y, epochs=1000, batch_size=40)
    deadline = time.monotonic() + PATIENCE
    while len(finished) <= counted and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(finished) == counted + 1
    assert state(mlp, History()) == before


# --- several fits at once ---


def test_calls_at_the_same_time_share_the_cores(monkeypatch):
    """Threads that run several fits, as joblib's do: together they use the cores that there are."""
    monkeypatch.setattr(_threads, "_cores", lambda: 4)
    shares = []

    def look(*_):
        shares.append((_threads.share(4), _threads.share(1), _threads.Pace(4, 1e-3).next_call()[0]))

    def look_from_a_second_call(*_):
        _threads.together(look, 1, lambda: None)
        look()

    look()
    _threads.together(look_from_a_second_call, 1, lambda: None)
    with pytest.raises(ZeroDivisionError):
        _threads.together(lambda *_: 1 / 0, 2, lambda: None)
    look()
    assert shares == [(4, 1, 4), (1, 1, 1), (2, 1, 2), (4, 1, 4)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_does_not_count_what_its_parent_does(monkeypatch):
    monkeypatch.setattr(_threads, "_cores", lambda: 4)
    status = []

    def fork(*_):
        child = os.fork()
        if child == 0:
            os._exit(_threads.share(4))
        status.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest's own threads
        _threads.together(fork, 1, lambda: None)
    assert status == [4]


@NEEDS_JIT
@pytest.mark.once
def test_joblibs_processes_share_the_cores(monkeypatch):
    joblib = pytest.importorskip("joblib")
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with joblib.parallel_config("loky", n_jobs=2):
        sizes = joblib.Parallel()(joblib.delayed(_threads.team_size)(None, 1.0, 1.0) for _ in range(2))
    assert set(sizes) == {min(_threads._cores(), max(1, joblib.cpu_count() // 2))}


@NEEDS_JIT
@pytest.mark.parametrize("size", [1, 2, 3])
def test_fits_in_several_threads_at_once(network, data, team_of, size):
    def train(i):
        mlp = network([9, 10 + i, 3], optimizer="adam", dtype=[np.float32, np.float64][i % 2])
        return state(mlp, mlp.fit(*data(mlp, 50), epochs=30, batch_size=16))

    team_of(1)
    alone = [train(i) for i in range(8)]
    team_of(size)
    start, together = threading.Barrier(8), [None] * 8

    def run(i):
        start.wait()
        together[i] = train(i)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert together == alone


@pytest.mark.parametrize("size", [1, 2] if JIT else [1])
def test_fits_of_one_network_at_once(network, data, team_of, size):
    """What comes out is a mixture; but it is finite, and the network is as good as any other afterwards."""
    mlp = network([9, 20, 3], optimizer="adam")
    X, y = data(mlp, 50)
    team_of(size)
    start, losses = threading.Barrier(6), []

    def run():
        start.wait()
        losses.extend(mlp.fit(X, y, epochs=40 if JIT else 2, batch_size=16).loss)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(losses) == 6 * (40 if JIT else 2)
    assert np.isfinite(losses).all()
    assert np.isfinite(mlp.parameters).all()
    again = mlp.fit(X, y, epochs=5, batch_size=16).loss
    assert again[-1] < again[0]
