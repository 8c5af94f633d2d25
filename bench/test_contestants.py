"""Every contestant on every case: checked, then timed in its worker. Without timing the cases are tiny."""

import pytest

from . import estimators, prediction, products, training
from .contest import check, facts
from .workloads import ESTIMATORS, NEIGHBOURS, PREDICTION, PRODUCTS, TRAINING

_CONTESTS = {
    "training": (TRAINING, training.CONTESTANTS),
    "neighbours": (NEIGHBOURS, training.CONTESTANTS),
    "prediction": (PREDICTION, prediction.CONTESTANTS),
    "estimators": (ESTIMATORS, estimators.CONTESTANTS),
    "kernels": (PRODUCTS, products.CONTESTANTS),
}
_ROUNDS = 5
_ROUND = 0.1


class Clock:
    """Shows the seconds that workers have measured, so that pytest-benchmark does not time the way to them and back."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds

    def run(self, worker, duration):
        self.seconds += worker.round(duration)


clock = Clock()


@pytest.mark.benchmark(timer=clock)
@pytest.mark.parametrize(
    ("part", "case", "contestant"),
    [
        pytest.param(part, case, contestant, id=f"{case.name}-{contestant.name}")
        for part, (cases, contestants) in _CONTESTS.items()
        for case in cases
        for contestant in contestants
        if case.arithmetic() <= contestant.limit
    ],
)
def test_contestant(benchmark, worker_of, request, part, case, contestant):
    if contestant.missing():
        pytest.skip(contestant.missing())
    if benchmark.disabled:
        case = case.tiny()
    worker = worker_of(contestant)
    entry = check(worker, contestant, case, case.expected())
    if entry.get("reason", "").startswith("NotImplementedError"):
        pytest.skip(f"{contestant.name} has no {entry['reason'].split()[-1]}")
    assert "reason" not in entry, entry["reason"]
    if not benchmark.disabled:
        benchmark.group = case.name
        peak = request.getfixturevalue("peak_gflops")
        benchmark.extra_info.update(part=part, case=facts(case), entry=entry, peak=peak)
    benchmark.pedantic(clock.run, args=(worker, 0.0 if benchmark.disabled else _ROUND), rounds=_ROUNDS)
