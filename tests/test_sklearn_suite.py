"""scikit-learn's own tests of its two classes, run on ours: `check_estimator`, and the installed file test_mlp.py."""

import importlib.util
import inspect
import json
import math
import os
import subprocess
import sys

import pytest
import sklearn.neural_network
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.kernels import JIT

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # those tests are written for scikit-learn's configuration of pytest
    pytest.mark.skipif(not JIT, reason="some of these fits take minutes as plain Python"),
]

# What these tests look at is scikit-learn's private state.
PRIVATE = {
    "test_gradient": "_loss_grad_lbfgs",
    "test_learning_rate_warmstart": "_optimizer",
    "test_adaptive_learning_rate": "_optimizer",
}
SPEC = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")


def their_tests():
    """The functions of scikit-learn's test file, which have got our classes for scikit-learn's."""
    module = importlib.util.module_from_spec(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sklearn.neural_network, "MLPClassifier", MLPClassifier)
        patch.setattr(sklearn.neural_network, "MLPRegressor", MLPRegressor)
        SPEC.loader.exec_module(module)
    assert module.MLPClassifier is MLPClassifier
    return {name: f for name, f in vars(module).items() if name.startswith("test_") and inspect.isfunction(f)}


THEIRS = their_tests() if SPEC else {}
globals().update({name: test for name, test in THEIRS.items() if name not in PRIVATE})


@pytest.fixture
def global_random_seed():
    return 42


@pytest.mark.skipif(SPEC is None, reason="this scikit-learn comes without its tests")
@pytest.mark.parametrize(("name", "attribute"), PRIVATE.items())
def test_what_is_left_out_needs_a_private_attribute(name, attribute):
    with pytest.raises(AttributeError, match=attribute):
        THEIRS[name]()


def cases(function):
    """How many there are of a test with these parameters."""
    marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    return math.prod(len(mark.args[1]) for mark in marks)


@pytest.mark.skipif(SPEC is None, reason="this scikit-learn comes without its tests")
def test_most_of_their_tests_are_here():
    counts = {name: cases(test) for name, test in THEIRS.items()}
    assert {name: counts[name] for name in PRIVATE} == dict.fromkeys(PRIVATE, 1)
    assert sum(counts.values()) - len(PRIVATE) >= 54


WITH_ARRAY_API = """
import json, warnings
import sklearn.neural_network
from sklearn.utils.estimator_checks import check_estimator
import fastmlp

warnings.simplefilter("ignore")
for name in ("MLPClassifier", "MLPRegressor"):
    both = []
    for module in (fastmlp, sklearn.neural_network):
        results = check_estimator(getattr(module, name)(max_iter=100), on_skip=None)
        both.append({result["check_name"]: result["status"] for result in results})
    print(json.dumps(both))
"""


@pytest.mark.once
def test_check_estimator_with_array_api():
    """scikit-learn has some checks only where SciPy is told of the array API before it is imported."""
    command, environment = [sys.executable, "-c", WITH_ARRAY_API], {**os.environ, "SCIPY_ARRAY_API": "1"}
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    for ours, theirs in map(json.loads, output.splitlines()):
        assert set(theirs) <= set(ours)
        assert {name for name in theirs if ours[name] != "passed"} == {n for n in theirs if theirs[n] != "passed"}
        assert "check_array_api_input" in ours


CHECKS = [
    pytest.param(estimator, check, id=f"{type(estimator).__name__}-{getattr(check, 'func', check).__name__}-{i}")
    for kind in (MLPClassifier, MLPRegressor)
    for i, (estimator, check) in enumerate(estimator_checks_generator(kind(max_iter=100), mark="skip"))
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_check_estimator(estimator, check):
    try:
        check(estimator)
    except pytest.skip.Exception:
        raise
    except Exception as error:
        if type(error).__name__ != "SkipTest":
            raise
        theirs = getattr(sklearn.neural_network, type(estimator).__name__)(max_iter=100)
        with pytest.raises(type(error)):  # what does not concern theirs does not concern ours
            check(theirs)
