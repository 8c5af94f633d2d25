"""The compiled epoch as a piece of machinery: what it must not do (allocate, compile again), and its shuffling."""

import json
import math
import os
import re
import subprocess
import sys
import textwrap
from itertools import permutations

import numba
import numpy as np
import pytest
import scipy.stats
from numba import types
from numpy.testing import assert_allclose, assert_array_equal

from fastmlp.kernels import JIT, _jit, updates
from fastmlp.kernels.batch import shuffle


def python(code, *arguments, **environment):
    """What `code` prints as JSON in a new Python with the compiler on."""
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
    result = subprocess.run(command, env=inherited | environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


# Networks that between them visit every row of every table, with shuffling, penalty and tracking on and off.
NETWORKS = """
    import itertools, json
    import numpy as np
    from fastmlp import MLP
    from fastmlp.kernels import activations, losses

    hidden = [row.name for row in activations.TABLE if row.hidden]
    outputs = [row.name for row in activations.TABLE if row.output] + ["softmax"]
    optimizers = ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"]

    def networks(dtype):
        pairs = itertools.product(outputs, losses.NAMES)
        for i, (output, loss) in enumerate(pairs):
            sizes = [[3, 2], [5, 4, 2], [2, 33, 1, 7, 2], [1, 5, 5, 5, 5, 2]][i % 4]
            yield MLP(
                sizes, activation=[hidden[(i + l) % len(hidden)] for l in range(len(sizes) - 2)],
                output_activation=output, loss=loss, optimizer=optimizers[i % 6], learning_rate=1e-6,
                dtype=dtype, random_state=i, alpha=[0.0, 0.1][i % 2], n_threads=1,
            )

    def data(mlp, n):
        rng = np.random.default_rng(0)
        X = rng.uniform(0.1, 0.2, (n, mlp.layer_sizes[0]))
        # numbers for which every pair has a loss: outputs and targets inside (0, 1)
        for w, b in zip(mlp.weights, mlp.biases):
            w[...], b[...] = 0.01, 0.1
        if mlp.output_activation == "exp":
            mlp.biases[-1] = np.full((1, 2), -1)
        y = np.eye(2)[rng.integers(0, 2, n)]
        return X, np.maximum(y, 0.1) if mlp.loss == "gamma" else y
"""

ALLOCATIONS = (
    NETWORKS
    + """
    import numba
    from numba.core.runtime import rtsys
    from fastmlp.kernels import training

    numba.njit(lambda: 0)()  # starts the runtime, and with it its statistics
    counts = []

    def counting(function):  # a call's own bookkeeping for its arguments is the same for any number of steps
        def call(steps, *arguments):
            before = rtsys.get_allocation_stats()
            result = function(steps, *arguments)
            after = rtsys.get_allocation_stats()
            counts.append((int(steps[1] - steps[0]), after.alloc - before.alloc, after.mi_alloc - before.mi_alloc))
            return result
        return call

    training.train = counting(training.train)
    for dtype, epochs in itertools.product((np.float32, np.float64), (1, 50)):
        for mlp in networks(dtype):
            X, y = data(mlp, 40)
            mlp.fit(X, y, epochs=epochs, batch_size=16, track_gradients=True)
    print(json.dumps(counts))
"""
)


@pytest.mark.once
def test_nothing_is_allocated_inside_an_epoch():
    """As many allocations for a call of one epoch as for one of 50, for every row of every table."""
    counts = python(ALLOCATIONS, NUMBA_NRT_STATS="1")
    assert {steps for steps, *_ in counts} == {3, 150}, "one call each for 1 and 50 epochs of three batches"
    assert len(counts) >= 2 * 2 * 15
    assert len({tuple(rest) for _, *rest in counts}) == 1, counts


@pytest.mark.once
def test_the_statistics_of_allocations_tell_an_allocation():
    counts = python(
        """
        import json
        import numba, numpy as np
        from numba.core.runtime import rtsys

        @numba.njit
        def allocate(steps):
            total = 0.0
            for i in range(steps):
                total += np.empty(i + 1).size
            return total

        allocate(1)
        counts = []
        for steps in (1, 50):
            before = rtsys.get_allocation_stats().alloc
            allocate(steps)
            counts.append(rtsys.get_allocation_stats().alloc - before)
        print(json.dumps(counts))
        """,
        NUMBA_NRT_STATS="1",
    )
    assert counts[1] - counts[0] == 49


@pytest.mark.once
@pytest.mark.skipif(not JIT, reason="there is no machine code")
def test_no_reference_is_counted():
    """A count is an atomic operation wherever an array is passed on: in a step, as much as a small layer."""

    def norm(layers, vector):
        total = 0.0
        for l in range(layers.shape[0]):
            total += updates.squared_weights(l, layers, vector)
        return total

    def counts(dispatcher):
        signature = types.int64[:, ::1], types.float32[::1]
        dispatcher.compile(signature)
        return len(re.findall(r"call .*@NRT_(inc|dec)ref", dispatcher.inspect_llvm(signature)))

    assert counts(numba.njit(norm)) > 0, "what Numba does unasked"
    assert counts(_jit.routine(norm)) == 0


LIMITED = """
    import json, re, resource, sys
    from pathlib import Path
    import numpy as np
    from fastmlp import MLP

    path, megabytes, mapped = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "mapped"
    features = 256
    rows = megabytes * 2**20 // (4 * features)
    X = np.lib.format.open_memmap(path, "w+", np.float32, (rows, features))  # a sparse file: zeros
    del X
    MLP([features, 8, 1], output_activation="linear").fit(np.zeros((9, features)), np.zeros(9), epochs=1)
    size = int(re.search(r"VmData:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, [size + 2**20 * megabytes // 4] * 2)  # memory of its own, not files
    try:
        X = np.load(path, mmap_mode="r" if mapped else None)
        mlp = MLP([features, 8, 1], output_activation="linear", optimizer="adam", random_state=0)
        history = mlp.fit(X, np.ones(rows, np.float32), epochs=1, batch_size=1024)
        assert abs(mlp.predict(X).mean() - 1) < 0.5
        print(json.dumps(history.loss))
    except MemoryError:
        print(json.dumps("out of memory"))
"""


@pytest.mark.once
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
@pytest.mark.parametrize("megabytes", [512, pytest.param(4096, marks=pytest.mark.slow)])
def test_a_mapped_file_four_times_the_memory_allowed(tmp_path, megabytes):
    """Rows are visited in place: a fit's own memory does not grow with their number."""
    path = str(tmp_path / "x.npy")
    assert python(LIMITED, path, str(megabytes), "loaded") == "out of memory"
    (loss,) = python(LIMITED, path, str(megabytes), "mapped")
    assert 0 < loss < 0.5


COMPILATIONS = (
    NETWORKS
    + """
    from numba.core import event
    from fastmlp.kernels import backprop, training

    dispatchers = {
        "train": training.train, "apply_update": training.apply_update, "infer": backprop.infer,
        "total_loss": backprop.total_loss, "backward": backprop.backward, "apply": activations.apply,
        "apply_backward": activations.apply_backward, "apply_softmax": activations.apply_softmax,
    }

    def signatures():
        return {name: len(dispatcher.signatures) for name, dispatcher in dispatchers.items()}

    def use(mlp, n, batch_size):
        X, y = data(mlp, n)
        read_only = X.astype(mlp.dtype)
        read_only.flags.writeable = False
        softmax = mlp.output_activation == "softmax"
        targets = [y, np.asfortranarray(y), y.tolist()] + [y.argmax(axis=1)] * (softmax and mlp.loss != "gamma")
        for X, y in zip([X, read_only, X[::-1], X.tolist()], targets):
            mlp.fit(X, y, epochs=2, batch_size=batch_size, track_gradients=True, validation_data=(X, y))
            mlp.fit(X, y, epochs=1, batch_size=batch_size, shuffle=False, dropout=0.5)
            output = mlp.forward(X)
            mlp.update_parameters(*mlp.backward(X, y, output))
            mlp.backward(X, output_gradient=output, return_input_gradient=True)
            mlp.loss_and_gradients(X, y)
            mlp.predict(X)
            mlp.predict_classes(X)
        for row in activations.TABLE:
            mlp.activation_derivative(read_only, row.name)
        mlp.activation_function(read_only, "softmax")

    for mlp in networks(np.float32):
        use(mlp, 20, 8)
        break
    first = signatures()
    with event.install_recorder("numba:compile") as recorder:
        for mlp in networks(np.float32):
            use(mlp, 7, 3)
            use(mlp, 1, 100)
            mlp.n_threads = 2
            use(mlp, 33, 16)
    again = signatures()
    for dtype in (np.float64, np.float32):
        for mlp in networks(dtype):
            use(mlp, 20, 8)
    print(json.dumps({"first": first, "again": again, "both": signatures(), "compilations": len(recorder.buffer)}))
"""
)


@pytest.mark.once
def test_one_compilation_serves_every_network_of_a_dtype():
    """Other widths, depths, batches, functions, optimisers, threads, memory orders: nothing compiles again."""
    counts = python(COMPILATIONS)
    names = {"train", "apply_update", "infer", "total_loss", "backward", "apply", "apply_backward", "apply_softmax"}
    assert counts["first"] == dict.fromkeys(names, 1)
    assert counts["again"] == counts["first"]
    assert counts["compilations"] == 0
    assert counts["both"] == dict.fromkeys(names, 2)


# --- without the compiler ------------------------------------------------------------------------------------------

TRAININGS = (
    NETWORKS
    + """
    parameters = []
    for mlp in itertools.islice(networks(np.float32), 0, None, 3):
        X, y = data(mlp, 21)
        mlp.learning_rate = 0.02
        before = mlp.parameters.tolist()
        mlp.fit(X, y, epochs=3, batch_size=8)
        parameters.append([before, mlp.parameters.tolist(), mlp.predict(X).tolist()])
    print(json.dumps(parameters))
"""
)


def test_the_compiler_changes_no_training():
    """Beyond the last bits: with it, and without it, in processes of their own."""
    compiled, plain = python(TRAININGS), python(TRAININGS, NUMBA_DISABLE_JIT="1")
    assert len(compiled) == len(plain) >= 6
    for (before, *results), (same, *expected) in zip(compiled, plain, strict=True):
        assert before == same
        assert np.abs(np.subtract(results[0], before)).max() > 1e-3
        for result, wanted in zip(results, expected, strict=True):
            # RMSprop divides a gradient that nearly cancels by its own size: without fused multiply-adds (plain x86-64)
            # the last bits of such a gradient are 1e-4 of a parameter; its first step is 0.2
            assert_allclose(result, wanted, rtol=1e-4, atol=2e-4)


# --- shuffling -----------------------------------------------------------------------------------------------------


@numba.njit
def _shuffle(rows, order, state):
    shuffle(rows, order, state)


@numba.njit
def _count(orders, state, counts):
    """Shuffles `orders` times; counts each permutation by its number in base n."""
    rows, order = np.arange(counts.ndim), np.empty(counts.ndim, np.int64)
    for _ in range(orders):
        shuffle(rows, order, state)
        counts[order[0], order[1], order[2], order[3]] += 1


def xorshift128(state):
    """Marsaglia's generator as his paper has it: ``t=(x^(x<<11)); x=y; y=z; z=w; w=(w^(w>>19))^(t^(t>>8))``."""
    x, y, z, w = state
    while True:
        t = (x ^ (x << 11)) % 2**32
        x, y, z, w = y, z, w, (w ^ (w >> 19)) ^ (t ^ (t >> 8))
        yield w


def state_of(seed):
    return np.random.default_rng(seed).integers(1, 2**32, 4)


def test_the_generator_gives_the_numbers_of_the_paper():
    """The seeds of the paper, and the first numbers that follow from them by hand."""
    generator = xorshift128((123456789, 362436069, 521288629, 88675123))
    assert [next(generator) for _ in range(3)] == [3701687786, 458299110, 2500872618]


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1797])
def test_shuffle_equals_the_textbook(n):
    state = state_of(n)
    generator, order = xorshift128(map(int, state)), np.empty(n, np.int64)
    for _ in range(5):
        expected = list(range(n))
        for i in reversed(range(1, n)):
            j = math.floor(next(generator) / 2**32 * (i + 1))
            expected[i], expected[j] = expected[j], expected[i]
        _shuffle(np.arange(n), order, state)
        assert_array_equal(order, expected)


def test_every_permutation_is_as_likely_as_every_other():
    n, orders = 4, 24 * 400
    counts = np.zeros((n,) * n, np.int64)
    _count(orders, state_of(0), counts)
    seen = [counts[permutation] for permutation in permutations(range(n))]
    assert sum(seen) == counts.sum() == orders, "only permutations"
    assert 1e-3 < scipy.stats.chisquare(seen).pvalue < 1 - 1e-3


def test_every_place_is_as_likely_as_every_other():
    n, orders = 13, 2000
    state, order, counts = state_of(1), np.empty(n, np.int64), np.zeros((n, n), np.int64)
    for _ in range(orders):
        _shuffle(np.arange(n), order, state)
        counts[np.arange(n), order] += 1
    # rows and columns have fixed sums: (n - 1)**2 degrees of freedom
    statistic = np.sum((counts - orders / n) ** 2) / (orders / n)
    assert 1e-3 < scipy.stats.chi2.sf(statistic, (n - 1) ** 2) < 1 - 1e-3


def test_the_chi_square_test_rejects_a_lopsided_shuffle():
    """Swapping each place with any place, the usual mistake, is not uniform."""
    rng, seen = np.random.default_rng(0), dict.fromkeys(permutations(range(4)), 0)
    for _ in range(24 * 400):
        order = list(range(4))
        for i in range(4):
            j = rng.integers(4)
            order[i], order[j] = order[j], order[i]
        seen[tuple(order)] += 1
    assert scipy.stats.chisquare(list(seen.values())).pvalue < 1e-3
