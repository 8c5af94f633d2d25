"""Subnormal numbers: right in what a user calls, absent from training, where they would cost a hundred cycles each."""

import numpy as np
import pytest

from fastmlp import MLP
from fastmlp.kernels import JIT, subnormals

pytestmark = pytest.mark.skipif(
    not (JIT and subnormals._HAS_MXCSR), reason="only compiled kernels on x86 switch subnormal numbers off"
)


def _subnormal(array):
    return np.count_nonzero((array != 0) & (np.abs(array) < np.finfo(array.dtype).tiny))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_training_makes_none_and_leaves_the_processor_as_it_was(dtype, n_threads):
    """The second input is tiny and then gone: its weights' moments shrink through the subnormal range."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((64, 2))
    X[:, 1] *= 1e-18 if dtype == np.float32 else 1e-150
    mlp = MLP([2, 16, 1], "tanh", "linear", 1e-3, optimizer="adam", dtype=dtype, random_state=0, n_threads=n_threads)
    mlp.fit(X, X[:, 0], epochs=2, batch_size=8)
    assert np.count_nonzero(mlp._slots) > 0
    X[:, 1] = 0
    mlp.fit(X, X[:, 0], epochs=1000 if dtype == np.float32 else 1, batch_size=8)
    assert _subnormal(mlp._slots) == _subnormal(mlp.parameters) == 0
    smallest = np.array([np.finfo(dtype).smallest_subnormal])
    assert (smallest * dtype(1))[0] > 0


def test_forward_keeps_them():
    """Outside training a subnormal input is a number like any other."""
    mlp = MLP([1, 1], output_activation="linear", dtype=np.float64)
    mlp.weights[0][...] = 1
    x = np.array([[5e-320]])
    assert mlp.predict(x)[0, 0] == 5e-320
    assert mlp.activation_function(x, "tanh")[0, 0] == 5e-320
