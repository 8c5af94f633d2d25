"""Fits inside the threads and processes of others, before and after a fork: the same bits everywhere, and no hang.

Children run as processes of their own with a time limit, so that a hang fails the test instead of stopping it.
"""

import os
import shutil
import signal
import site
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

PATIENCE = 20  # seconds after which a child counts as stuck; a test that passes needs a few

CHILD = """
import concurrent.futures, hashlib, multiprocessing, os, sys, threading, time, warnings
import numpy as np
from fastmlp import MLP, _threads
from fastmlp.kernels import JIT

SIZE = int(os.environ["SIZE"])
JOBS = range(5)


def train(seed, size=SIZE):
    if JIT:  # in every process: so many threads, started again every few steps
        _threads.Pace.next_call = lambda self: (size, 7)
    rng = np.random.default_rng(seed)
    X, y = rng.uniform(-1, 1, (100, 9)), rng.uniform(-1, 1, (100, 3))
    mlp = MLP([9, 20, 5, 3], "tanh", "linear", optimizer="adam", random_state=seed)
    losses = mlp.fit(X, y, epochs=20 if JIT else 2, batch_size=16).loss
    return hashlib.sha256(mlp.parameters.tobytes() + mlp._slots.tobytes() + repr(losses).encode()).hexdigest()


def here():
    return [train(job) for job in JOBS]


def threads(workers):
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(train, JOBS))


def processes(method, workers):
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        return list(pool.map(train, JOBS))


def pool(method, workers):
    with multiprocessing.get_context(method).Pool(workers) as pool:
        return pool.map(train, JOBS)


def jobs(backend, workers):
    import joblib

    return joblib.Parallel(workers, backend=backend)(joblib.delayed(train)(job) for job in JOBS)


def child_of_a_child():
    reading, writing = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            os.write(writing, " ".join(here()).encode())
            os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
    assert os.wait()[1] == 0
    return os.read(reading, 10**4).decode().split()


def keep_fitting(stop=threading.Event()):
    started = threading.Event()

    def fit():
        while not stop.is_set():
            train(0)
            started.set()

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    started.wait()
    return thread, stop


def fork_while_fitting():
    thread, stop = keep_fitting()
    try:
        return processes("fork", 2)
    finally:
        stop.set()
        thread.join()


def fork_while_compiling():
    # the other thread holds Numba's lock, as it does while it compiles or loads machine code; the child needs it
    from numba.core.compiler_lock import global_compiler_lock

    compiling = threading.Event()

    def compile():
        with global_compiler_lock:
            compiling.set()
            time.sleep(0.5)

    threading.Thread(target=compile).start()
    compiling.wait()
    return child_of_a_child()


def end_with_a_fit():
    # when the main thread has ended: newer Pythons start no threads any more, and no pool takes work
    main = threading.current_thread()
    threading.Thread(target=lambda: [main.join(), print(*here())]).start()
    return []


def end_during_a_fit():
    keep_fitting()
    return here()


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of a fork while other threads run
    for name, *arguments in eval(sys.argv[1]):
        print(name, *arguments, file=sys.stderr, flush=True)  # the last line says where it got stuck
        print(*globals()[name](*arguments), flush=True)
"""


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    """A function that runs some of the functions above in a new process: a line of results for each."""
    script = tmp_path_factory.mktemp("child") / "child.py"
    script.write_text(CHILD)

    def run(*calls, size=2):
        with subprocess.Popen(
            [sys.executable, str(script), repr(calls)], env=os.environ | {"SIZE": str(size)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                out, err = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its children, too
                pytest.fail(f"stuck: {process.communicate()[1]}")
        assert process.returncode == 0, err
        return [line.split() for line in out.splitlines()]

    return run


@pytest.fixture(scope="module")
def alone(child):
    return child(["here"], size=1)[0]


SURROUNDINGS = {
    "threads": [["threads", 2], ["threads", 8]],
    "fork": [["processes", "fork", 2], ["here"], ["pool", "fork", 2], ["child_of_a_child"], ["fork_while_fitting"]],
    "spawn": [["processes", "spawn", 2], ["here"]],
    "forkserver": [["here"], ["pool", "forkserver", 2]],
    "joblib": [["jobs", backend, n] for backend in ("threading", "multiprocessing", "loky") for n in (2, 4)],
    "a fork while another thread compiles": [["fork_while_compiling"]],
    "the interpreter ends with a fit": [["end_with_a_fit"]],
    "the interpreter ends during a fit": [["end_during_a_fit"]],
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_any_surroundings(child, alone, surroundings):
    calls = SURROUNDINGS[surroundings]
    results = [line for line in child(*calls) if line]
    assert len(results) == len(calls)
    for call, result in zip(calls, results, strict=True):
        assert result == alone, call


# --- where Python finds the package, and where the package leaves things ---------------------------------------------

ROOT = Path(__file__).resolve().parent.parent
FOUND = """
import os, sys
import fastmlp
from fastmlp.kernels import JIT, training
print(os.path.dirname(fastmlp.__file__))
print(training.train._cache._cache_path if JIT else "")
"""


@pytest.mark.parametrize("installed", [False, True])
def test_the_package_is_found_and_leaves_nothing_in_its_folder(tmp_path, installed):
    """As a checkout, with Python started in it; and as installed, where uninstalling leaves what others wrote."""
    place = tmp_path / "place"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "fastmlp", place / "fastmlp", ignore=ignored)
    shutil.copytree(ROOT / "kernels", place / ("fastmlp/kernels" if installed else "kernels"), ignore=ignored)
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"PYTHONPATH": os.pathsep.join(site.getsitepackages()), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment |= {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", "-c", FOUND]  # -S: the editable installation is out of sight
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    where, cache = done.stdout.splitlines()
    assert Path(where).resolve() == (place / "fastmlp").resolve()
    assert not Path(cache).is_relative_to(place)
    assert cache == "" or Path(cache).is_relative_to(tmp_path)
    assert not list(place.rglob("__pycache__"))
