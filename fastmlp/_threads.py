"""How many threads a call gets, and how they are started: plain Python threads that live as long as the call.

Nothing is left behind that a fork, an error or the interpreter's end could meet.
"""

import contextlib
import functools
import math
import os
import time
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from . import _validation as validation
from .kernels import JIT

# A compiled call cannot be interrupted: it gets about this much work. The first one is short, and now and then a short
# one tries another number of threads.
_SECONDS_PER_CALL, _SECONDS_PER_TRIAL = 0.1, 0.004
_TIME_BETWEEN_TRIALS = 40  # times what a trial takes
# A cautious guess at the speed: of the products, of what is done to each number of a layer, of the rest of a step.
_FLOPS_PER_SECOND, _SECONDS_PER_NUMBER, _SECONDS_PER_STEP = 2e10, 5e-9, 1e-6
# By that guess a thread needs so much work in a step, to pay for two meetings and for fetching what the others wrote,
# and so much in a call, to pay for its start.
_WORTH_A_MEETING, _WORTH_A_START = 1e-4, 1.5e-3


_at_work: list[None] = []  # an entry for each call of `together` that is running in this process
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_at_work.clear)  # the other threads are not in the child


def seconds(flops: float, numbers: float) -> float:
    """A cautious guess at the time of a step on one thread: of its products, and of what is done to each number."""
    return flops / _FLOPS_PER_SECOND + numbers * _SECONDS_PER_NUMBER + _SECONDS_PER_STEP


def may_share(step: float) -> bool:
    """Whether a step of so many seconds, by the guess, can be worth more than one thread."""
    return step >= 2 * _WORTH_A_MEETING


def together(work: Callable[[int, int], Any], size: int, give_up: Callable[[], object], apart: bool = False) -> Any:
    """Runs ``work(member, size)`` in `size` threads, or in as many as can be started; the caller is member 0.

    Returns what member 0 does. If one fails, `give_up` is called, so that the others need not wait for it, and the
    failure is raised when all have ended. With `apart` the caller only waits: what a signal raises then meets it, and
    not a Python function that the work calls through compiled code, where an exception would be lost.
    """
    try:  # around all else, so that no Ctrl-C comes between
        _at_work.append(None)
        return work(0, 1) if size == 1 and not apart else _together(work, size, give_up, apart)
    finally:
        _at_work.pop()


def _together(work: Callable[[int, int], Any], size: int, give_up: Callable[[], object], apart: bool) -> Any:
    first, members, all_counted = 0 if apart else 1, 0, allocate_lock()
    ended: dict[int, tuple[Any, BaseException | None]] = {}
    bell: SimpleQueue[None] = SimpleQueue()

    def join(member: int) -> None:
        with all_counted:
            pass
        if members == 0:  # a Ctrl-C came while members were started: perhaps before this one was counted
            return
        outcome: tuple[Any, BaseException | None]
        try:
            outcome = work(member, members), None
        except BaseException as failure:
            give_up()
            outcome = None, failure
        ended[member] = outcome
        bell.put(None)

    def wait() -> None:
        while len(ended) < members - first:
            bell.get()

    try:
        with all_counted:
            started = first
            with contextlib.suppress(RuntimeError):  # no more threads can be started
                for member in range(first, size):
                    start_new_thread(join, (member,))
                    started += 1
            members = started
        result = None if members > 0 and apart else work(0, max(members, 1))
        wait()
    except BaseException:
        give_up()
        wait()
        raise
    for _, failure in ended.values():
        if failure is not None:
            raise failure
    return ended[0][0] if 0 in ended else result


def share(size: int) -> int:
    """`size`, or fewer threads while other calls are at work in this process: all of them share the cores.

    So a grid search in threads, or a server, does not start more threads than there are cores.
    """
    return min(size, max(1, _cores() // (len(_at_work) + 1))) if size > 1 and _at_work else size


def pieces(n: int, block: int, size: int) -> Iterator[slice]:
    """``range(n)`` in pieces of whole blocks, for `size` members to take one after the other.

    Who starts late, or loses its core for a while, takes fewer. They become smaller, for all to end together: half of
    what would be a member's share of the rest (Polychronopoulos & Kuck 1987); for one member there is one piece.
    """
    found, first = [], 0
    while first < n:
        blocks = math.ceil((n - first) / block)
        length = block * (blocks if size == 1 else max(1, blocks // (2 * size)))
        found.append(slice(first, min(first + length, n)))
        first += length
    return iter(found)


class Pace:
    """How many threads a call has, and how many steps, by the clock.

    Cores that a process may use can be busy with other work, and a team waits for its slowest member. So now and then
    a short call has twice or half as many threads, and the number that has been fastest goes on.
    """

    def __init__(self, largest: int, guess: float):
        self.largest = self.size = largest
        self.guess = guess  # seconds a step, with one thread
        self.seconds: dict[int, float] = {}  # as measured, by the number of threads
        self.looked = 0.0  # for how long at self.size
        self.trying, self.up, self.next_trial = False, False, -math.inf

    def next_call(self) -> tuple[int, int]:
        """Threads and steps."""
        size, left = self.size, self.next_trial - time.perf_counter()
        self.trying = left <= 0  # also at the start: a first look at the speed
        duration = _SECONDS_PER_TRIAL if self.trying else min(_SECONDS_PER_CALL, left)
        if self.trying and self.seconds:
            self.up = size == 1 or (size < self.largest and not self.up)
            size = min(2 * size, self.largest) if self.up else size // 2
        size = share(size)
        slowest = max(self.seconds.values(), default=self.guess)
        return size, max(1, int(duration / self.seconds.get(size, slowest)))

    def record(self, size: int, steps: int, duration: float) -> None:
        """What a call has taken."""
        seconds = duration / steps
        if size == self.size:  # one short call that was held up is no reason to change
            known = self.seconds.get(size, seconds)
            expected = known * steps
            weight = expected / (expected + min(self.looked, _SECONDS_PER_CALL / 2))
            seconds = weight * seconds + (1 - weight) * known
            self.looked += expected
        self.seconds[size] = seconds
        times = {1: self.guess, **self.seconds}
        best = min(times, key=times.__getitem__)
        if best != self.size:
            self.size, self.looked = best, duration
        if self.trying:
            self.next_trial = time.perf_counter() + _TIME_BETWEEN_TRIALS * duration


def team_size(n_threads: int | None, call: float, step: float = math.inf) -> int:
    """The most threads that may be worth it for a call of so many seconds in steps of `step`, by the guess.

    Never more than n_threads, nor than cores: those that the process may run on, and whole cores in its quota. If
    n_threads is None, OMP_NUM_THREADS and NUMBA_NUM_THREADS are limits, too, where they are set: joblib's processes,
    Dask's and Ray's are told by them how many of the cores are theirs.
    """
    if n_threads is not None:
        n_threads = validation.integer("n_threads", n_threads, 1)
    worth = int(min(step / _WORTH_A_MEETING, call / _WORTH_A_START))
    if worth < 2 or not JIT:
        return 1
    limits = [worth, _cores()]
    if n_threads is not None:
        return min(*limits, n_threads)
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        with contextlib.suppress(KeyError, ValueError):
            limits.append(int(os.environ[name].split(",")[0]))
    return max(1, min(limits))


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, int(min(cores, _quota("/"))))


@functools.cache
def _quota(root: str) -> float:
    """How many cores' time the control groups of this process (Linux, version 1 or 2) allow it: the least of them."""
    least = math.inf
    with contextlib.suppress(OSError, ValueError):
        for line in Path(root, "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":
                folder, names = Path(root, "sys/fs/cgroup"), ["cpu.max"]
            elif "cpu" in controllers.split(","):
                folder, names = Path(root, "sys/fs/cgroup/cpu"), ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
            else:
                continue
            for path in (Path(group), *Path(group).parents):
                with contextlib.suppress(OSError, ValueError):  # no such file, or no number: no limit
                    quota, period = (
                        int(number)
                        for name in names
                        for number in folder.joinpath(*path.parts[1:], name).read_text().split()
                    )
                    least = min(least, quota / period if quota > 0 else math.inf)
    return least
