"""Time from the start of Python to the end of a first fit: with an empty cache, and in a later process."""

import os
import subprocess
import sys

import numpy as np
import pytest
from workloads import WORKLOADS

_FIRST_FIT = """
import time
start = time.perf_counter()
import sys
import numpy as np
from fastmlp import MLP
X, y = np.load(sys.argv[1])["X"], np.load(sys.argv[1])["y"]
mlp = MLP([2, 10, 10, 1], weight_init="he", random_state=0)
loss = mlp.fit(X, y, epochs=1).loss[0]
print(loss, time.perf_counter() - start)
"""


@pytest.mark.parametrize("cache", ["empty", "filled"])
def test_first_fit(benchmark, tmp_path, cache):
    X, y = WORKLOADS[0].data()
    np.savez(tmp_path / "data.npz", X=X, y=y)
    expected = WORKLOADS[0].fast().fit(X, y, epochs=1).loss[0]
    rounds = iter(range(100))
    seconds, errors = [], []

    def run(folder):
        command = [sys.executable, "-c", _FIRST_FIT, str(tmp_path / "data.npz")]
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / folder)}
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        loss, elapsed = map(float, output.split())
        seconds.append(elapsed)
        errors.append(abs(loss - expected))

    def folder():
        return (f"cache{next(rounds) if cache == 'empty' else ''}",), {}

    if cache == "filled":
        run("cache")
        seconds.clear()
    benchmark.group = "startup"
    benchmark.pedantic(run, setup=folder, rounds=2 if cache == "empty" else 5)
    benchmark.extra_info.update(contestant=f"{cache} cache", error=max(errors), epochs=1, import_and_fit=min(seconds))
    assert max(errors) == 0
