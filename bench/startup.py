"""Start-up, each time in a new process: imports, and the first fit with an empty and with a filled cache."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from .workloads import TRAINING, relative_error

_TASK = TRAINING[0]
_FIT = f"""
import sys
import numpy as np
from fastmlp import MLP
data = np.load(sys.argv[1])
mlp = MLP({_TASK.layer_sizes}, {_TASK.activation!r}, {_TASK.output!r}, {_TASK.learning_rate}, random_state=0)
mlp.parameters = data["start"]
result = mlp.fit(data["X"], data["y"], epochs=1, batch_size={_TASK.batch_size}, shuffle=False).loss[0]
"""
_PROGRAM = """
import time
start = time.perf_counter()
{statements}
seconds = time.perf_counter() - start
print(seconds, globals().get("result", 0))
"""
BOUND = 1e-4


def _run(statements, folder, cache):
    """(seconds, result) of the statements in a new process that keeps its machine code in `cache`."""
    command = [sys.executable, "-c", _PROGRAM.format(statements=statements), str(Path(folder) / "data.npz")]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(Path(folder) / cache)}
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    seconds, result = map(float, output.split()[-2:])
    return seconds, result


def measure(rounds):
    """What is done and, the best of some rounds, its seconds; for fits also the error of the loss."""
    X, y = _TASK.data()
    expected = _TASK.reference().fit(X.astype(np.float64), y, epochs=1, batch_size=_TASK.batch_size)[0]
    plain = ("import numba", "import fastmlp", "from fastmlp import MLP")
    best, errors = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "data.npz", X=X, y=y, start=_TASK.start())
        for i in range(rounds):
            name = f"import and first fit, {'filled' if i else 'empty'} cache"
            seconds, result = _run(_FIT, folder, "cache")
            best[name] = min(seconds, best.get(name, seconds))
            errors[name] = max(relative_error(result, expected), errors.get(name, 0.0))
            for statement in plain:
                seconds, _ = _run(statement, folder, "cache")
                best[statement] = min(seconds, best.get(statement, seconds))
    return [{"name": name, "seconds": best[name], "error": errors.get(name)} for name in (*plain, *errors)]
