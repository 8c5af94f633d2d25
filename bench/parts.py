"""The parts of a report. Each gives a list of cases for JSON; see `Contest.hold` for what is in one."""

from dataclasses import replace

from . import estimators, prediction, products, startup, training
from .contest import Contest, cores
from .workloads import CORES_WORKLOAD, ESTIMATORS, GROWTH, NEIGHBOURS, PREDICTION, PRODUCTS, TRAINING

_ROUNDS = 4
_GROWTH_ROUNDS = 2
_RIVALS_IN_GROWTH = (training.FASTMLP, training.JAX, training.PYTORCH, training.SCIKIT_LEARN)


def _contest(cases, contestants, smoke, log, rounds=_ROUNDS):
    """The result of each case; equal cases, as in a smoke run, are measured once."""
    cases = [case.tiny() if smoke else case for case in cases]
    with Contest(contestants, log) as contest:
        results = {case: contest.hold(case, 0 if smoke else rounds) for case in dict.fromkeys(cases)}
    return [results[case] for case in cases]


def run_training(smoke, log):
    return _contest(TRAINING, training.CONTESTANTS, smoke, log)


def run_neighbours(smoke, log):
    return _contest(NEIGHBOURS, training.CONTESTANTS, smoke, log)


def run_prediction(smoke, log):
    return _contest(PREDICTION, prediction.CONTESTANTS, smoke, log)


def run_estimators(smoke, log):
    return _contest(ESTIMATORS, estimators.CONTESTANTS, smoke, log)


def run_products(smoke, log):
    return _contest(PRODUCTS, products.CONTESTANTS, smoke, log)


def run_growth(smoke, log):
    cases = [(axis, value, case) for axis, series in GROWTH.items() for value, case in series.items()]
    results = _contest([case for _, _, case in cases], _RIVALS_IN_GROWTH, smoke, log, _GROWTH_ROUNDS)
    points = [{"axis": a, "value": v, **result} for (a, v, _), result in zip(cases, results, strict=True)]
    for n in range(1, cores() + 1):
        rivals = [replace(contestant, cores=n) for contestant in _RIVALS_IN_GROWTH]
        (result,) = _contest([CORES_WORKLOAD], rivals, smoke, log, _GROWTH_ROUNDS)
        points.append({"axis": "cores", "value": n, **result})
    return points


def run_startup(smoke, log):
    return startup.measure(rounds=2 if smoke else 6)


PARTS = {
    "training": run_training,
    "neighbours": run_neighbours,
    "prediction": run_prediction,
    "estimators": run_estimators,
    "kernels": run_products,
    "growth": run_growth,
    "startup": run_startup,
}
