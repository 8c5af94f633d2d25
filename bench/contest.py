"""How contestants are compared: each in a process of its own, checked before it is timed, in interleaved rounds."""

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .worker import Worker, WorkerError

_ROUND = 0.2  # seconds that a round lasts, if a run is not longer
_PAUSE = 0.05  # seconds before a round, in which idle threads of the last contestant's pools stop spinning
_BUDGET = 3.0  # seconds of rounds after which a contestant has had enough of them


def cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def repeat(function):
    """A function that calls `function` so many times."""

    def run(times):
        for _ in range(times):
            function()

    return run


@dataclass(frozen=True)
class Contestant:
    """A row of the tables of contestants.

    `prepare(case)` runs in the worker. It gives the result that is checked, an array, and `run`, a function that does
    `times` times what is timed. It may raise NotImplementedError: then this contestant has no such thing.
    `setting` tells apart rows of one rival, of which the best counts; fastmlp counts as it comes, without settings.
    `limit` is the arithmetic of a run from which waiting for the contestant is no use. `difference` is how far a
    convention of its own may take the result.
    """

    rival: str
    prepare: Callable[[Any], tuple[np.ndarray, Callable[[int], Any]]]
    module: str
    setting: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: int | None = None
    limit: float = float("inf")
    difference: float = 0.0

    @property
    def name(self):
        return f"{self.rival}, {self.setting}" if self.setting else self.rival

    def missing(self):
        """Why it cannot take part here, or ''."""
        if importlib.util.find_spec(self.module) is None:
            return f"{self.module} is not installed"
        if self.cores and not hasattr(os, "sched_setaffinity"):
            return "this system does not bind a process to cores"
        return ""

    def worker(self):
        return Worker(self.environment, self.cores)


def facts(case):
    """What a result says of its case."""
    return {
        "name": case.name,
        "description": case.description,
        "dtype": case.dtype,
        "arithmetic": case.arithmetic(),
    }


def check(worker, contestant, case, expected):
    """The contestant's entry in a result, without a time: its error, and the reason if it must not be timed.

    It is then ready for `worker.round`.
    """
    entry = {"name": contestant.name, "rival": contestant.rival, "setting": contestant.setting, "error": None}
    try:
        result = worker.prepare(contestant.prepare, case)
    except WorkerError as failure:
        if "NotImplementedError" not in str(failure):
            raise
        return {**entry, "reason": str(failure).strip().splitlines()[-1]}
    if np.shape(result) != np.shape(expected):
        return {**entry, "reason": f"wrong: shape {np.shape(result)} instead of {np.shape(expected)}"}
    entry["error"], bound = case.error(result, expected), max(case.bound(), contestant.difference)
    if not entry["error"] <= bound:
        entry["reason"] = f"wrong: error {entry['error']:.1e} exceeds {bound:.1e}"
    return entry


def is_wrong(entry):
    """It took part, and with a wrong result."""
    return entry.get("reason", "").startswith("wrong")


class Contest:
    """Workers for a table of contestants, kept from case to case."""

    def __init__(self, contestants, log=print):
        self._log = log
        self._contestants = [c for c in contestants if not c.missing()]
        for absent in (c for c in contestants if c.missing()):
            log(f"{absent.name}: {absent.missing()}")
        self._workers = {c.name: c.worker() for c in self._contestants}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for worker in self._workers.values():
            worker.close()

    def hold(self, case, rounds):
        """Facts of the case, and the entry of each contestant; with no rounds all are checked and none is timed."""
        expected, entries = case.expected(), []
        for contestant in self._contestants:
            if case.arithmetic() <= contestant.limit:
                entries.append(check(self._workers[contestant.name], contestant, case, expected))
        for entry in entries:
            if "reason" in entry:
                self._log(f"{case.name}: {entry['name']}: {entry['reason']}")
        ready = [entry for entry in entries if "reason" not in entry]
        spent = dict.fromkeys(self._workers, 0.0)
        for _ in range(rounds):
            for entry in ready:
                if spent[entry["name"]] < _BUDGET:
                    time.sleep(_PAUSE)
                    start = time.perf_counter()
                    seconds = self._workers[entry["name"]].round(_ROUND)
                    spent[entry["name"]] += time.perf_counter() - start
                    entry["seconds"] = min(seconds, entry.get("seconds", seconds))
        return {**facts(case), "entries": entries}
