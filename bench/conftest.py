"""Workers for the tests, and after the benchmarks the tables of ``python -m bench``."""

import pytest

from . import report


@pytest.fixture(scope="session")
def worker_of():
    """The worker of a contestant, kept for the session."""
    workers = {}

    def find(contestant):
        if contestant.name not in workers:
            workers[contestant.name] = contestant.worker()
        return workers[contestant.name]

    yield find
    for worker in workers.values():
        worker.close()


@pytest.fixture(scope="session")
def peak_gflops():
    from . import peak
    from .contest import cores

    return {"one": peak.gflops(1), "all": peak.gflops(cores())}


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    benchmarks = [b for b in session.benchmarks if b.stats.rounds] if session else []
    for part in dict.fromkeys(b.extra_info["part"] for b in benchmarks):
        infos = [{**b.extra_info, "seconds": b.stats.min} for b in benchmarks if b.extra_info["part"] == part]
        cases = {}
        for info in infos:
            case = cases.setdefault(info["case"]["name"], {**info["case"], "entries": []})
            case["entries"].append({**info["entry"], "seconds": info["seconds"]})
        terminalreporter.section(f"{part}: the best round")
        for line in report.lines(part, {"peak": infos[0]["peak"], "cases": list(cases.values())}):
            terminalreporter.write_line(line)
