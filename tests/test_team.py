"""The thread team: shares, the barrier with real threads, a team that is abandoned."""

import itertools
import threading
from itertools import pairwise

import numba
import numpy as np
import pytest

from fastmlp import MLP, _trainer
from fastmlp.kernels import JIT, team

NEEDS_JIT = pytest.mark.skipif(not JIT, reason="plain Python has teams of one only: members would share the GIL")
PATIENCE = 60  # seconds after which a thread counts as stuck; a test that passes needs none of it


@numba.njit
def share(n, grain, member, size):
    return team.share(n, grain, member, size)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("grain", [1, 4, 8])
def test_shares_cover_the_range_in_order_at_multiples_of_the_grain(grain, size):
    for n in range(70):
        parts = [share(n, grain, member, size) for member in range(size)]
        assert parts[0][0] == 0
        assert parts[-1][1] == n
        for (_, end), (start, _) in pairwise(parts):
            assert end == start
        for start, end in parts:
            assert start <= end
            assert start % grain == 0 or start == n
        lengths = [-(-(end - start) // grain) for start, end in parts]
        assert max(lengths) - min(lengths) <= 1, "work is spread evenly, up to a grain"


@numba.njit(nogil=True)
def _meet(shared, size, member, rounds, progress):
    """`rounds` times: a step forward, a barrier, a look at the others, a barrier. Which round went wrong, or -1."""
    for r in range(rounds):
        team.write(progress, 8 * member, r + 1)
        if not team.barrier(shared, size):
            return r
        for other in range(size):
            if team.read(progress, 8 * other) != r + 1:
                return r
        if not team.barrier(shared, size):
            return r
    return -1


def run(size, rounds, start=None):
    """What each member of a team of real threads returns; None where one is stuck."""
    shared, progress = np.zeros(team.SHARED_SIZE, np.int64), np.zeros(8 * size, np.int64)
    results = [None] * size

    def member(i):
        results[i] = _meet(shared, size, i, rounds, progress)

    _meet(np.zeros(team.SHARED_SIZE, np.int64), 1, 0, 1, np.zeros(8, np.int64))  # compiled before the threads start
    threads = [threading.Thread(target=member, args=(i,), daemon=True) for i in range(size)]
    for thread in threads if start is None else threads[:start]:
        thread.start()
    return shared, results, threads


def test_a_team_of_one_does_not_wait():
    shared = np.zeros(team.SHARED_SIZE, np.int64)
    assert _meet(shared, 1, 0, 100, np.zeros(8, np.int64)) == -1
    assert not shared.any()


@NEEDS_JIT
@pytest.mark.parametrize(("size", "rounds"), [(2, 20_000), (3, 300), (4, 300)])
def test_nobody_passes_the_barrier_before_all_have_come(size, rounds):
    shared, results, threads = run(size, rounds)
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [-1] * size
    assert shared[team.GENERATION] == 2 * rounds
    assert shared[team.ARRIVED] == 0


@NEEDS_JIT
def test_an_abandoned_team_returns():
    shared, results, threads = run(3, 5, start=2)  # the third never comes
    threads[0].join(0.05)
    assert threads[0].is_alive(), "a barrier waits for all members"
    shared[team.ABANDONED] = 1
    for thread in threads[:2]:
        thread.join(PATIENCE)
    assert results == [0, 0, None]


@NEEDS_JIT
def test_atomic_additions_lose_nothing():
    @numba.njit(nogil=True)
    def count(shared, times):
        largest = np.int64(-1)
        for _ in range(times):
            largest = max(largest, team.add(shared, 0, 3))
        return largest

    shared, times = np.zeros(team.SHARED_SIZE, np.int64), 200_000
    count(np.zeros_like(shared), 1)
    threads = [threading.Thread(target=count, args=(shared, times)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert shared[0] == 3 * 3 * times
    assert not shared[1:].any()


def test_add_returns_what_was_there_before():
    @numba.njit
    def add(shared, index, value):
        return team.add(shared, index, value)

    shared = np.arange(team.SHARED_SIZE)
    assert add(shared, 5, 7) == 5
    assert shared[5] == 12


def test_parts_of_a_batch_are_whole_registers_and_divide_evenly_among_two_threads():
    for lanes, shared, rows in itertools.product((4, 16), (False, True), range(1, 3000)):
        part = _trainer._rows_of_a_part(rows, lanes, shared)
        assert part % lanes == 0
        assert part <= 128
        longest = max(last - first for first, last in (share(rows, part, member, 2) for member in range(2)))
        assert not shared or rows <= 128 or longest <= 1.25 * rows / 2


@pytest.mark.parametrize(
    ("sizes", "batch", "rows"),
    [([2, 10, 10, 1], 32, 32), ([2, 10, 10, 1], 1, 0), ([1100, 1], 4, 0), ([300, 300, 2], 32, 0)],
)
def test_shapes_alone_decide_whether_a_step_goes_in_parts(sizes, batch, rows):
    """Results do not depend on the number of threads, so that must not, either."""
    for n_threads in (1, 2, 8, None):
        mlp = MLP(sizes, dtype=np.float32, n_threads=n_threads, random_state=0)
        data = _trainer.Data.whole(np.zeros((100, sizes[0]), np.float32), np.zeros(100 * sizes[-1], np.float32))
        options = _trainer.Options(batch_size=batch, shuffle=True)
        assert _trainer.Trainer(mlp, data, options, 1).choices.part_rows == rows


def test_the_shared_positions_are_a_cache_line_apart():
    positions = [team.ARRIVED, team.GENERATION, team.ABANDONED, team.NOT_FINITE]
    assert all(b - a >= 64 // 8 for a, b in pairwise(positions))
    assert max(positions) < team.SHARED_SIZE
