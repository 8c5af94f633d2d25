"""Every example runs as it is, from an empty folder, and does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from fastmlp.kernels import JIT

pytestmark = pytest.mark.once

FOLDER = Path(__file__).resolve().parents[1] / "examples"
EXAMPLES = sorted(path.name for path in FOLDER.glob("*.py"))

# What an example's output must show: a pattern, and the least that each number it finds may be.
EXPECTED = {
    "digits.py": (r"(?m)^(?:train|test) +\d+ +([\d.]+)%", [97.0, 97.0]),
    "mlp_demo.py": (r"(?m)^(?:train|test) +\d+ +([\d.]+)%", [85.0, 85.0]),
    "activation_functions.py": (r"(?m)^(?:relu|sigmoid|tanh) +([\d.]+) +[\d.]+e", [1.0, 0.25, 1.0]),
    "weight_initialization.py": (r"(?m)^(?:xavier|he|orthogonal) .* ([\d.]+)%", [85.0, 85.0, 85.0]),
    "vanishing_gradients.py": (r"(?m)^6 layers, relu and he .* ([\d.e+-]+)$", [0.01]),
    "imbalanced_classes.py": (r"(?m)^(?:None|balanced) +\d+ +([\d.]+)%", [40.0, 60.0]),
    "pipeline_grid_search.py": (r"test rows: R2 ([\d.]+)", [0.97]),
    "quantile_regression.py": (r"(?m)^quantiles .* ([\d.]+)% +[\d.]+$", [86.0]),  # where targets are spread most
    "policy_in_a_compiled_loop.py": (r"pendulums upright at the end: ([\d.]+)%", [95.0]),
}


def test_every_example_is_known():
    assert sorted(EXPECTED) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_short(name):
    assert len((FOLDER / name).read_text().splitlines()) < 80


def run(name, folder):
    """Output of an example run in `folder` under the tests' interpreter, warnings as errors."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MPLBACKEND", "DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / name], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.skipif(not JIT, reason="whole trainings: hours without the compiler")
@pytest.mark.parametrize("name", EXAMPLES)
def test_runs(name, tmp_path):
    done = run(name, tmp_path)
    pattern, least = EXPECTED[name]
    found = [float(number) for number in re.findall(pattern, done.stdout)]
    assert len(found) == len(least), done.stdout
    assert all(number >= bound for number, bound in zip(found, least, strict=True)), done.stdout

    (path,) = map(Path, re.findall(r"(?m)^figure: (.+)$", done.stdout))
    assert list(tmp_path.rglob("*.*")) == [path]
    assert path == tmp_path.resolve() / "figures" / f"{FOLDER.joinpath(name).stem}.png"
    pixels = matplotlib.image.imread(path)
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 1000
    assert pixels[..., :3].std() > 0.02  # not a blank sheet

    if name == "digits.py":
        assert "100%" in done.stderr  # the progress bar
        assert "60/60" in done.stderr
    else:
        assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(not JIT, reason="whole trainings: hours without the compiler")
def test_digits_prints_the_same_numbers_every_time(tmp_path):
    first, second = (run("digits.py", tmp_path).stdout for _ in range(2))
    assert first == second


@pytest.mark.skipif(not JIT, reason="whole trainings: hours without the compiler")
@pytest.mark.parametrize(("page", "n_blocks"), [("README.md", 1), ("docs/scikit-learn.md", 5)])
@pytest.mark.filterwarnings(f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}")
def test_code_in_pages_runs(page, n_blocks, tmp_path, monkeypatch):
    """Block after block, with data and a model of scikit-learn's at hand, from an empty folder."""
    monkeypatch.chdir(tmp_path)
    X = np.random.default_rng(0).standard_normal((90, 3))
    y = (X[:, 0] > 0).astype(int)
    names = {"X": X[:60], "y": y[:60], "X_val": X[60:], "y_val": y[60:], "model": MLPClassifier(max_iter=2).fit(X, y)}
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", (FOLDER.parent / page).read_text())
    assert len(blocks) == n_blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)
