"""Where the rows of a block lie: apart by more than they are wide, if that is a large power of two."""

import pickle

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

from fastmlp import MLP, MLPClassifier, _layout, _trainer
from fastmlp.kernels import JIT

FLOATS = [np.float32, np.float64]
X = np.random.default_rng(0).uniform(-1, 1, (40, 6))
CLASSES = np.arange(40) % 3


@pytest.fixture
def whole(monkeypatch):
    """Steps as those of large networks go, in workspaces full of NaN: a gap between rows that is read would show."""
    monkeypatch.setattr(_trainer.Trainer, "_part_rows", lambda *_: 0)
    monkeypatch.setattr(_trainer, "aligned_empty", lambda size, dtype: np.full(size, np.nan, dtype))


def everything(dtype, hidden, outputs):
    """What a network gives: after a training with dropout, and for one step by hand."""
    y = np.eye(3, dtype=dtype)[CLASSES] if outputs == 3 else X[:, :1]
    output = "softmax" if outputs == 3 else "linear"
    mlp = MLP([6, *hidden, outputs], "gelu", output, optimizer="adam", alpha=0.01, dtype=dtype, random_state=0)
    history = mlp.fit(X, y, epochs=2, batch_size=16, dropout=0.25, track_gradients=True)
    mlp.fit(X, y, epochs=2, batch_size=16)
    found = [mlp.parameters, np.array(history.loss), np.array(history.gradient_norm), mlp.predict(X)]
    dW, db, dX = mlp.backward(X, y, mlp.forward(X), return_input_gradient=True)
    return [*found, *dW, *db, dX, *mlp.activations, *mlp.pre_activations, mlp.loss_and_gradients(X, y)[0]]


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("hidden", [[1], [6], [34, 1, 20]])
@pytest.mark.parametrize("dtype", FLOATS)
def test_where_rows_lie_changes_no_bit(monkeypatch, dtype, hidden, outputs):
    monkeypatch.setattr(_layout, "_CROWDED", 10**6)
    close = everything(dtype, hidden, outputs)
    monkeypatch.setattr(_layout, "_CROWDED", 2)
    apart = everything(dtype, hidden, outputs)
    # NumPy's product, the plain fallback, chooses its order of summation by the strides
    same = assert_array_equal if JIT else lambda a, b: assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(close, apart, strict=True):
        same(a, b)


@pytest.mark.usefixtures("whole")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_same_of_sparse_rows(monkeypatch):
    sparse = scipy.sparse.csr_array(np.where(X > 0, X, 0))

    few = scipy.sparse.csr_array(([1.5, -2.0], ([2, 4], [3, 0])), (7, 6))  # so few that the dense kernels see them late

    def found(crowded):
        monkeypatch.setattr(_layout, "_CROWDED", crowded)
        model = MLPClassifier((6, 4), max_iter=3, random_state=0).fit(sparse, CLASSES)
        assert_allclose(model.predict_proba(few), model.predict_proba(few.toarray()), rtol=1e-12)
        return [*model.coefs_, model.predict_proba(few)]

    for a, b in zip(found(10**6), found(2), strict=True):
        assert_array_equal(a, b)


def test_a_copy_makes_its_own_tables():
    mlp = MLP([6, 512, 3], random_state=0)
    mlp.predict(X)
    copy = pickle.loads(pickle.dumps(mlp))
    assert mlp._layout._tables
    assert copy._layout._tables == {}
    assert_array_equal(copy.predict(X), mlp.predict(X))


def test_only_multiples_of_a_large_power_of_two_are_apart():
    layers = _layout.Layout([512, 512, 500, 1024, 512], [0] * 4).tables(3).layers
    assert layers[:, -2:].tolist() == [[512, 528], [528, 500], [500, 1040], [1040, 512]]
