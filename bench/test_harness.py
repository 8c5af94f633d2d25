"""The measuring itself: what is refused, what a worker does, what the tables and figures say."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from fastmlp.kernels import JIT

from . import __main__, fakes, figures, parts, peak, report, startup, worker
from .contest import Contest, Contestant, cores, is_wrong
from .worker import Worker, WorkerError
from .workloads import TRAINING, Prediction, Product, Training, relative_error

CASE = Product("forward", 4, 5, 3)


_MISSING = Contestant("missing", fakes.right, "a_module_that_nobody_has")
_VERDICTS = {
    "right": fakes.right,
    "off": fakes.off,
    "nan": fakes.nan,
    "shape": fakes.other_shape,
    "unable": fakes.unable,
    "chatty": fakes.chatty,
}


@pytest.fixture(scope="module")
def verdicts():
    log = []
    contestants = [Contestant(name, function, "numpy") for name, function in _VERDICTS.items()]
    contestants.append(Contestant("by convention", fakes.off, "numpy", difference=1e-3))
    contestants.append(Contestant("too slow", fakes.right, "numpy", limit=CASE.arithmetic() - 1))
    with Contest([*contestants, _MISSING], log.append) as contest:
        case = contest.hold(CASE, rounds=2)
    return {entry["name"]: entry for entry in case["entries"]}, log


def test_a_right_result_is_timed(verdicts):
    for name in ("right", "chatty", "by convention"):
        entry = verdicts[0][name]
        assert "reason" not in entry
        assert 0 < entry["seconds"] < float("inf")
    assert verdicts[0]["right"]["error"] < 1e-6


@pytest.mark.parametrize(
    ("name", "reason"), [("off", "error 1.0e-04"), ("nan", "error nan"), ("shape", "wrong: shape (12,)")]
)
def test_a_wrong_result_is_not_timed(verdicts, name, reason):
    entries, log = verdicts
    assert reason in entries[name]["reason"]
    assert is_wrong(entries[name])
    assert "seconds" not in entries[name]
    assert any(name in line and reason in line for line in log)


def test_who_cannot_or_is_missing_is_said(verdicts):
    entries, log = verdicts
    assert "seconds" not in entries["unable"]
    assert not is_wrong(entries["unable"])
    assert entries["unable"]["reason"] == "NotImplementedError: products"
    assert "missing" not in entries
    assert "too slow" not in entries
    assert "missing: a_module_that_nobody_has is not installed" in log


def test_a_contestants_error_is_the_parents():
    with Worker() as child:
        with pytest.raises(WorkerError, match="ValueError: something else"):
            child.prepare(fakes.broken, CASE)
        child.prepare(fakes.right, CASE)  # and the worker lives on
        with pytest.raises(WorkerError, match="died with code 3"):
            child.prepare(fakes.dead, CASE)


def test_a_workers_environment(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "HASWELL")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1")
    with Worker() as child:
        environment, affinity = child.prepare(fakes.environment, CASE)
    assert {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}.isdisjoint(environment)
    assert affinity in (0, cores())
    with Worker({"OPENBLAS_CORETYPE": "SKYLAKEX"}) as child:
        assert child.prepare(fakes.environment, CASE)[0]["OPENBLAS_CORETYPE"] == "SKYLAKEX"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind a process to cores")
def test_a_worker_on_one_core():
    with Worker(cores=1) as child:
        assert child.prepare(fakes.environment, CASE)[1] == 1


@pytest.mark.parametrize("seconds", [3e-4, 0.03, 2.0])
def test_a_round_gives_the_seconds_of_one_run(monkeypatch, seconds):
    now, asked = [100.0], []

    def run(times):
        slow = 1.5 if len(asked) % 2 else 1.0  # every second moment is disturbed
        asked.append(times)
        now[0] += slow * times * seconds

    monkeypatch.setattr(worker.time, "perf_counter", lambda: now[0])
    child = worker._Child()
    child.run, child.times = run, 1
    assert child.round(0.2) == pytest.approx(seconds, rel=1e-6)
    assert asked[-1] * seconds >= 0.0066  # long enough to be timed
    assert now[0] - 100 >= min(0.2, seconds)


def test_the_timing_of_training_shuffles_what_has_an_order():
    assert [case.name for case in TRAINING if not case.shuffled] == ["chains"]


def test_arithmetic_counts_every_multiply_add_twice():
    # 5 rows of 2-3-1: forward 2*3 + 3*1, dW the same, back through the second layer 3*1
    training = Training("", (2, 3, 1), "relu", "sigmoid", 5, 5, "sgd")
    assert training.arithmetic() == 2 * 5 * (9 + 9 + 3)
    assert Prediction((2, 3, 1), "sigmoid", 5).arithmetic() == 2 * 5 * 9
    assert Product("gradient", 5, 2, 3).arithmetic() == 2 * 5 * 2 * 3


@pytest.mark.parametrize("case", TRAINING, ids=lambda case: case.name)
def test_a_check_has_several_batches_and_the_same_rest(case):
    small = case.checked()
    assert small.rows % small.batch_size == case.rows % case.batch_size
    assert small.rows // small.batch_size >= min(2, case.rows // case.batch_size)
    assert small.rows <= case.rows
    assert (small.layer_sizes, small.optimizer) == (case.layer_sizes, case.optimizer)


def test_who_has_not_trained_is_off_by_1():
    case = TRAINING[0].tiny()
    assert case.error(case.start(), case.expected()) == pytest.approx(1)
    assert relative_error(np.array([1.0, 2.1]), np.array([1.0, 2.0]), np.array([0.5, 2.0])) == pytest.approx(0.2)


@pytest.mark.skipif(not JIT, reason="there is no peak without the compiler")
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_peak_computes_something(steps):
    half = 0.5**steps
    expected = sum(i * half + 1 - half for i in range(peak.ACCUMULATORS))
    assert peak.chains(steps) == pytest.approx(expected)


@pytest.mark.skipif(not JIT, reason="there is no peak without the compiler")
def test_the_peak_stays_in_registers():
    peak.chains(0)
    (assembly,) = peak.chains.inspect_asm().values()
    multiply_adds = [line.split() for line in assembly.splitlines() if "fmadd" in line and "ps" in line.split()[0]]
    if not multiply_adds:
        pytest.skip("this CPU has no fused multiply-add of that name")
    assert len(multiply_adds) >= peak.ACCUMULATORS
    assert not [line for line in multiply_adds if "(" in "".join(line) and "rip" not in "".join(line)]


# --- reports: a made-up result, so that what they must say is known --------------------------------------------------


def _entry(rival, seconds, setting=""):
    name = f"{rival}, {setting}" if setting else rival
    return {"name": name, "rival": rival, "setting": setting, "error": 1e-6, "seconds": seconds}


def _case(**facts):
    entries = [
        _entry("fastmlp", 2e-3),
        _entry("fastmlp, 1 thread", 4e-3),
        _entry("JAX", 8e-3),
        _entry("PyTorch", 9e-3),
        _entry("PyTorch", 6e-3, "1 core"),
        {"name": "scikit-learn", "rival": "scikit-learn", "setting": "", "error": 1.0, "reason": "wrong: error 1"},
    ]
    return {
        "name": "made up",
        "description": "2-3-1",
        "dtype": "float32",
        "arithmetic": 1e8,
        "entries": entries,
        **facts,
    }


_PEAK = {"one": 50.0, "all": 100.0}


def _results(machine):
    growth = [_case(axis=axis, value=v) for axis in figures._AXES for v in (1, 2)]
    made_up = {"training": [_case()], "prediction": [_case()], "growth": growth}
    start = [{"name": "import fastmlp", "seconds": 0.25, "error": None}]
    return {
        "machine": machine,
        "parts": {
            part: {"date": "2000-01-01 00:00:00", "peak": _PEAK, "cases": cases}
            for part, cases in {**made_up, "startup": start}.items()
        },
    }


@pytest.fixture
def machine():
    return {"cpu": "Z80", "architecture": "z80", "vector_bits": 8, "cores": 2, "versions": {"jax": "9.9"}}


def test_shares_and_ratios():
    case = _case()
    assert report.best(case, "PyTorch")["seconds"] == 6e-3
    assert report.best_rival(case)["seconds"] == 6e-3
    assert report.best(case, "scikit-learn") is None
    assert report.share(case, 2e-3, _PEAK) == pytest.approx(0.5)  # 50 of 100 GFLOP/s
    assert report.share(case, 2e-3, _PEAK, "one") == pytest.approx(1.0)
    assert report.share(_case(dtype="float64"), 2e-3, _PEAK) == pytest.approx(1.0)


def test_the_terminals_table():
    text = list(report.lines("training", {"peak": _PEAK, "cases": [_case()]}))
    fields = {" ".join(line.split()) for line in text}
    assert "made up fastmlp 2.00 1.0e-06 3.00 50.0 50.0" in fields
    assert "scikit-learn - 1.0e+00 - - -" in fields


def test_the_kernels_table_has_the_contestants_beside_each_other():
    text = list(report.lines("kernels", {"peak": _PEAK, "cases": [_case()]}))
    fields = {" ".join(line.split()) for line in text}
    ours, jax = "50.0 100.0 1.0e-06 25.0 50.0 1.0e-06", "12.5 25.0 1.0e-06"
    pytorch, refused = "11.1 22.2 1.0e-06 16.7 33.3 1.0e-06", "- - 1.0e+00"
    assert f"made up {ours} {jax} {pytorch} {refused}" in fields


def test_the_readmes_table(machine):
    text = "\n".join(report.markdown(_results(machine)))
    assert "Z80 (z80, 8-bit vectors), 2 cores" in text
    assert "| made up: 2-3-1 | 2.00 (1e-06) | 4.00 (1e-06) | 8.00 (1e-06) | 6.00 (1e-06) | **3** | 50 % |" in text
    assert "| import fastmlp | 0.25 |" in text


def test_the_figures(machine, tmp_path):
    results = _results(machine)
    axes = figures.workloads(results).axes[0]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([50, 12.5, 100 / 6])
    assert axes.get_legend_handles_labels()[1] == ["fastmlp", "JAX", "PyTorch"]
    panel = figures.growth(results).axes[0]
    roof = {line.get_label(): list(line.get_ydata()) for line in panel.lines}["the arithmetic at the CPU's peak"]
    assert roof == pytest.approx([1.0, 1.0])  # ms: 1e8 at 100 GFLOP/s
    paths = list(figures.draw(results, tmp_path))
    assert sorted(path.name for path in paths) == ["growth.png", "workloads.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def _stub(smoke, log):
    return [_case(name="stub", entries=[_entry("fastmlp", 1.0), _entry("JAX", 2.0)])]


def _refused(smoke, log):
    return [_case(entries=[{**_entry("JAX", 1.0), "reason": "wrong: error 1"}])]


@pytest.fixture
def stubs(monkeypatch):
    for parts_of in (parts.PARTS, __main__.PARTS):
        monkeypatch.setitem(parts_of, "training", _stub)
        monkeypatch.setitem(parts_of, "prediction", _refused)
    monkeypatch.setattr(peak, "gflops", lambda threads: 50.0 * threads)


def test_the_command_writes_and_keeps_other_parts(stubs, tmp_path, capsys):
    path = tmp_path / "results.json"
    assert __main__.main([str(tmp_path), "--only", "training"]) == 0
    written = json.loads(path.read_text())
    assert written["parts"]["training"]["cases"][0]["name"] == "stub"
    assert __main__.main([str(tmp_path), "--only", "prediction"]) == 1  # something was refused
    assert list(json.loads(path.read_text())["parts"]) == ["training", "prediction"]
    path.write_text(json.dumps({**written, "machine": "another"}))
    __main__.main([str(tmp_path), "--only", "prediction"])
    assert list(json.loads(path.read_text())["parts"]) == ["prediction"]
    assert (tmp_path / "workloads.png").exists()
    assert "stub" in capsys.readouterr().out


def test_a_smoke_run_writes_nothing(stubs, tmp_path, capsys):
    assert __main__.main([str(tmp_path), "--only", "training", "--smoke"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert "2 results checked" in capsys.readouterr().out


def test_an_unknown_part(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["--only", "training,nonsense"])
    assert "no part nonsense" in capsys.readouterr().err


def test_a_tables_argument(machine, tmp_path, capsys):
    (tmp_path / "results.json").write_text(json.dumps(_results(machine)))
    assert __main__.main(["--table", str(tmp_path / "results.json")]) == 0
    assert "Z80" in capsys.readouterr().out


@pytest.mark.skipif(not JIT, reason="nothing is compiled or kept")
@pytest.mark.slow  # compiles everything
def test_startup_fits_are_checked():
    rows = {row["name"]: row for row in startup.measure(rounds=2)}
    assert {"import numba", "import fastmlp", "from fastmlp import MLP"} < set(rows)
    fits = [row for row in rows.values() if row["error"] is not None]
    assert len(fits) == 2
    assert all(row["error"] < startup.BOUND for row in fits)
    assert all(row["seconds"] > 0 for row in rows.values())


def test_growth_has_a_figure_for_every_axis():
    assert set(parts.GROWTH) | {"cores"} == set(figures._AXES)


def test_tiny_cases_keep_what_matters():
    case = replace(TRAINING[3]).tiny()
    assert case.rows % case.batch_size
    assert (case.optimizer, case.output) == ("adam", "softmax")
