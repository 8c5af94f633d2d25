"""A process for each contestant, so that the thread pools of one do not disturb another.

Parent and child pickle (request, arguments) and (succeeded, answer) to each other over the child's stdin and stdout.
"""

import os
import pickle
import subprocess
import sys
import time
import traceback
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_MOMENT = 0.01  # seconds that are long enough to be timed
_MOST = 1 << 20  # runs in a moment
_OPENBLAS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # numpy is to pick its own kernels


class WorkerError(RuntimeError):
    """The child's traceback."""


class Worker:
    """A child process with `environment` added to the parent's, on the first `cores` cores (None: on all)."""

    def __init__(self, environment=None, cores=None):
        inherited = {name: value for name, value in os.environ.items() if name not in _OPENBLAS}
        command = [sys.executable, "-m", "bench.worker", *([str(cores)] if cores else [])]
        self._process = subprocess.Popen(
            command, cwd=_ROOT, env={**inherited, **(environment or {})}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def prepare(self, contestant, case):
        """The result of a contestant (a function in a module: see contest.py), which is then ready for `round`."""
        return self._ask("prepare", contestant, case)

    def round(self, duration):
        """Seconds that one run takes: the best mean over a moment, of as many moments as fill `duration` seconds."""
        return self._ask("round", duration)

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _ask(self, *request):
        try:
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()
            succeeded, answer = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError) as error:
            raise WorkerError(f"the worker has died with code {self._process.wait()}") from error
        if not succeeded:
            raise WorkerError(answer)
        return answer


class _Child:
    def prepare(self, contestant, case):
        self.run = None  # frees the last case's arrays
        result, self.run = contestant(case)
        self.run(1)  # some compile now
        self.times = 1
        return result

    def round(self, duration):
        best, start, now = float("inf"), time.perf_counter(), 0.0
        while best == float("inf") or now - start < duration:
            moment = time.perf_counter()
            self.run(self.times)
            now = time.perf_counter()
            if now - moment < min(_MOMENT, duration) and self.times < _MOST:
                self.times *= 2
            else:
                best = min(best, (now - moment) / self.times)
        return best


def _serve():
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print does not get between the answers
    child = _Child()
    while True:
        try:
            request, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = True, getattr(child, request)(*arguments)
        except Exception:
            answer = False, traceback.format_exc()
        pickle.dump(answer, channel)
        channel.flush()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
    _serve()
