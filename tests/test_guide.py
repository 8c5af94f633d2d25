"""What programs written for the guide's class rely on, against its mathematics in a few lines of NumPy."""
# ruff: noqa: NPY002  (the guide's programs seed and draw from NumPy's global state)

import copy
import inspect
import pickle

import numpy as np
import pytest
from tolerances import assert_all_close, assert_close, assert_within, chain_length

from fastmlp import MLP

SIZES = [3, 5, 4, 2]
F = {"relu": lambda z: z * (z > 0), "sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh, "linear": lambda z: z}
SLOPE = {
    "relu": lambda z: (z > 0) * 1.0,
    "sigmoid": lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
    "tanh": lambda z: 1 / np.cosh(z) ** 2,
    "linear": lambda z: 0 * z + 1,
}


class Textbook:
    """z = x W + b, next x = f(z); delta(L) = dL/dx(L) f'(z(L)), delta(l) = delta(l+1) W(l+1).T f'(z(l))."""

    def __init__(self, weights, biases, activation, output_activation, learning_rate):
        self.weights, self.biases = [W.astype(float) for W in weights], [b.astype(float) for b in biases]
        self.names = [activation] * (len(weights) - 1) + [output_activation]
        self.learning_rate = learning_rate

    def forward(self, X):
        self.x, self.z = [X], []
        for W, b, name in zip(self.weights, self.biases, self.names, strict=True):
            self.z.append(self.x[-1] @ W + b)
            self.x.append(F[name](self.z[-1]))
        return self.x[-1]

    def backward(self, X, y, output):
        dW, db, delta = [], [], output - y
        if self.names[-1] != "sigmoid":  # there the slope of the cross-entropy cancels that of the sigmoid
            delta = delta * SLOPE[self.names[-1]](self.z[-1])
        for l in reversed(range(len(self.weights))):
            dW.insert(0, self.x[l].T @ delta / len(X))
            db.insert(0, delta.sum(axis=0, keepdims=True) / len(X))
            delta = delta @ self.weights[l].T * (SLOPE[self.names[l - 1]](self.z[l - 1]) if l > 0 else 1)
        return dW, db

    def update_parameters(self, dW, db):
        self.weights = [W - self.learning_rate * g for W, g in zip(self.weights, dW, strict=True)]
        self.biases = [b - self.learning_rate * g for b, g in zip(self.biases, db, strict=True)]


@pytest.fixture
def batch():
    rng = np.random.RandomState(7)
    return rng.randn(11, SIZES[0]), (rng.rand(11, SIZES[-1]) > 0.5).astype(int)


# --- names, arguments, attributes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("initialize_parameters", []),
        ("activation_function", ["x", "activation_type"]),
        ("activation_derivative", ["x", "activation_type"]),
        ("forward", ["X"]),
        ("backward", ["X", "y", "output"]),
        ("update_parameters", ["dW", "db"]),
        ("compute_loss", ["y_true", "y_pred"]),
        ("predict", ["X"]),
        ("predict_classes", ["X"]),
    ],
)
def test_methods(method, arguments):
    parameters = list(inspect.signature(getattr(MLP, method)).parameters.values())[1:]
    assert [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY] == arguments


def test_constructor():
    parameters = list(inspect.signature(MLP).parameters.values())
    assert {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD} == {
        "layer_sizes": inspect.Parameter.empty,
        "activation": "relu",
        "output_activation": "sigmoid",
        "learning_rate": 0.01,
        "weight_init": "xavier",
    }
    mlp = MLP(SIZES, "tanh", "linear", 0.5, "he")
    assert (mlp.activation, mlp.output_activation) == ("tanh", "linear")
    assert (mlp.learning_rate, mlp.weight_init) == (0.5, "he")


def test_attributes(batch):
    X, _ = batch
    mlp = MLP(SIZES)
    assert mlp.layer_sizes == SIZES
    assert mlp.num_layers == len(SIZES)
    assert (mlp.activations, mlp.pre_activations) == ([], [])
    for name in ("weights", "biases"):
        assert isinstance(getattr(mlp, name), list)
    assert [W.shape for W in mlp.weights] == [(3, 5), (5, 4), (4, 2)]
    assert [b.shape for b in mlp.biases] == [(1, 5), (1, 4), (1, 2)]
    assert all((b == 0).all() for b in mlp.biases)
    output = mlp.forward(X)
    assert [a.shape for a in mlp.activations] == [(11, 3), (11, 5), (11, 4), (11, 2)]
    assert [z.shape for z in mlp.pre_activations] == [(11, 5), (11, 4), (11, 2)]
    np.testing.assert_array_equal(mlp.activations[0], X.astype(np.float32))
    np.testing.assert_array_equal(mlp.activations[-1], output)


@pytest.mark.parametrize(
    ("weight_init", "scale"),
    [
        ("xavier", lambda n_in, n_out: np.sqrt(2 / (n_in + n_out))),
        ("he", lambda n_in, n_out: np.sqrt(2 / n_in)),
        ("random", lambda n_in, n_out: 0.01),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpys_seed_gives_the_guides_weights(weight_init, scale, dtype):
    np.random.seed(0)
    mlp = MLP(SIZES, weight_init=weight_init, dtype=dtype)
    after = np.random.rand()
    np.random.seed(0)
    expected = [np.random.randn(*W.shape) * scale(*W.shape) for W in mlp.weights]
    assert np.random.rand() == after, "nothing else may be drawn: a shuffling that follows must be the guide's"
    for W, exact in zip(mlp.weights, expected, strict=True):
        np.testing.assert_array_equal(W, exact.astype(dtype))


def test_initialize_parameters_starts_anew(batch):
    X, y = batch
    np.random.seed(3)
    mlp = MLP(SIZES)
    start = mlp.parameters.copy()
    mlp.update_parameters(*mlp.backward(X, y, mlp.forward(X)))
    np.random.seed(3)
    mlp.initialize_parameters()
    np.testing.assert_array_equal(mlp.parameters, start)
    mlp.initialize_parameters()
    assert (mlp.parameters != start).any()


# --- activations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", F)
def test_activations(name):
    mlp = MLP(SIZES)
    z = np.linspace(-5, 5, 40).reshape(8, 5)
    for method, expected in ((mlp.activation_function, F[name](z)), (mlp.activation_derivative, SLOPE[name](z))):
        assert_close(method(z, name), expected, 8, name)
        for part in (np.s_[0], np.s_[1:3], np.s_[2, 1]):
            assert method(z[part], name).shape == z[part].shape
            np.testing.assert_allclose(method(z[part], name), expected[part], rtol=0, atol=1e-14)


def test_relu_has_no_slope_at_zero():
    mlp = MLP(SIZES)
    for zero in (0.0, -0.0):
        assert mlp.activation_derivative(np.array([zero]), "relu") == 0
        assert mlp.activation_function(np.array([zero]), "relu") == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_of_large_numbers(dtype):
    mlp = MLP(SIZES, dtype=dtype)
    z = np.array([-1000, -500, 0, 500, 1000], dtype)
    np.testing.assert_allclose(mlp.activation_function(z, "sigmoid"), [0, 0, 0.5, 1, 1], atol=1e-200)
    np.testing.assert_allclose(mlp.activation_derivative(z, "sigmoid"), [0, 0, 0.25, 0, 0], atol=1e-200)


@pytest.mark.parametrize("method", ["activation_function", "activation_derivative"])
def test_unknown_activation(method):
    with pytest.raises(ValueError, match="swish"):
        getattr(MLP(SIZES), method)(np.zeros(2), "swish")


# --- a training step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_activation", ["sigmoid", "linear", "tanh"])
@pytest.mark.parametrize("activation", F)
def test_the_guides_loop(batch, activation, output_activation):
    """Forward, backward, update and loss by hand, shuffled by NumPy, for a few epochs of batches of 4, 4 and 3."""
    X, y = batch
    mlp = MLP(SIZES, activation, output_activation, 0.1, dtype=np.float64, random_state=0)
    textbook = Textbook(mlp.weights, mlp.biases, activation, output_activation, 0.1)
    rng = np.random.RandomState(0)
    for _ in range(5):
        order = rng.permutation(len(X))
        for i in range(0, len(X), 4):
            batch_X, batch_y = X[order][i : i + 4], y[order][i : i + 4]
            output, expected = mlp.forward(batch_X), textbook.forward(batch_X)
            assert_within(output, expected, 1e-12)
            gradients = mlp.backward(batch_X, batch_y, output)
            references = textbook.backward(batch_X, batch_y, expected)
            mlp.update_parameters(*gradients)
            textbook.update_parameters(*references)
    for ours, theirs in ((gradients[0], references[0]), (mlp.weights, textbook.weights), (mlp.biases, textbook.biases)):
        for pair in zip(ours, theirs, strict=True):
            assert_within(*pair, 1e-12)


@pytest.mark.parametrize("output_activation", ["sigmoid", "linear", "tanh"])
def test_backward_uses_the_output_it_is_given(batch, output_activation):
    X, y = batch
    mlp = MLP(SIZES, "tanh", output_activation, dtype=np.float64, random_state=0)
    textbook = Textbook(mlp.weights, mlp.biases, "tanh", output_activation, 0.1)
    output = mlp.forward(X).copy()
    textbook.forward(X)
    other = output + np.linspace(-0.2, 0.2, output.size).reshape(output.shape)
    if output_activation == "tanh":  # its slope is written with the output, too
        textbook.z[-1] = np.arctanh(other)
    for ours, theirs in zip(mlp.backward(X, y, other), textbook.backward(X, y, other), strict=True):
        assert_all_close(ours, theirs, chain_length(SIZES, len(X)))
    np.testing.assert_array_equal(mlp.activations[-1], output)


def test_a_step_works_in_place(batch):
    X, y = batch
    mlp = MLP(SIZES)
    lists, weights, biases = (mlp.weights, mlp.biases), list(mlp.weights), list(mlp.biases)
    before = [W.copy() for W in weights]
    dW, db = mlp.backward(X, y, mlp.forward(X))
    assert [g.shape for g in dW] == [W.shape for W in weights]
    assert [g.shape for g in db] == [b.shape for b in biases]
    mlp.update_parameters(dW, db)
    assert mlp.weights is lists[0]
    assert mlp.biases is lists[1]
    for W, g, old, same in zip(mlp.weights, dW, before, weights, strict=True):
        assert W is same
        assert_close(W, old - 0.01 * g, 4)
    mlp.update_parameters([np.asarray(g) for g in dW], [g.tolist() for g in db])  # not only what backward returned
    for W, g, old in zip(mlp.weights, dW, before, strict=True):
        assert_close(W, old - 0.02 * g, 8)


def test_gradients_survive_the_next_backward(batch):
    X, y = batch
    mlp = MLP(SIZES)
    dW, _ = mlp.backward(X, y, mlp.forward(X))
    kept = [g.copy() for g in dW]
    mlp.backward(-X, y, mlp.forward(-X))
    for g, same in zip(dW, kept, strict=True):
        np.testing.assert_array_equal(g, same)


def test_a_gradient_is_a_sequence(batch):
    """Its arrays are made when first looked at: by whichever way, they are all there, and the same every time."""
    X, y = batch
    mlp, kept = MLP(SIZES, dtype=np.float64), MLP(SIZES, dtype=np.float64)
    kept.parameters = mlp.parameters

    def gradient():
        return mlp.backward(X, y, mlp.forward(X))

    expected = [g.copy() for g in gradient()[0]]
    looks = {
        "len": lambda dW: [dW[i] for i in range(len(dW))],
        "negative": lambda dW: [dW[i - 3] for i in range(3)],
        "slice": lambda dW: dW[:],
        "list": list,
        "star": lambda dW: [*dW],
        "reversed": lambda dW: list(reversed(dW))[::-1],
        "+": lambda dW: (dW + dW)[:3],
        "+ list": lambda dW: [] + dW,  # noqa: RUF005 (the sum is what is tested)
        "deepcopy": copy.deepcopy,
        "pickle": lambda dW: pickle.loads(pickle.dumps(dW)),
    }
    for name, look in looks.items():
        arrays = look(gradient()[0])
        assert len(arrays) == 3, name
        for array, wanted in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(array, wanted, err_msg=name)
    dW, db = gradient()
    assert [g.shape for g in dW + db] == [W.shape for W in mlp.weights] + [b.shape for b in mlp.biases]
    assert dW[0] is dW[0]
    assert repr(dW) == repr(list(dW))
    assert dW == dW.copy() == list(dW)
    with pytest.raises(ValueError, match="ambiguous"):  # as of lists
        assert dW == [g.copy() for g in dW]
    for change in (
        lambda: dW.append(dW[0]), lambda: dW.extend(db), dW.pop, dW.clear, dW.reverse, lambda: dW.insert(0, dW[0]),
        lambda: dW.__delitem__(0), lambda: dW.__iadd__(dW),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=r"^dW(\[0\])? "):
            change()
    assert len(dW) == 3

    for g in dW + db:  # changed in place or by items, it is what the update takes
        g *= 0.5
    dW[1] = np.ones_like(dW[1])
    given = [g.tolist() for g in dW], [g.tolist() for g in db]
    mlp.update_parameters(dW, db)
    kept.update_parameters(*given)
    np.testing.assert_array_equal(mlp.parameters, kept.parameters)
    for swapped in (db, dW), (dW, dW), (db, db):
        with pytest.raises(ValueError, match=r"must have shape"):
            mlp.update_parameters(*swapped)
    half, _ = gradient()
    mlp.update_parameters(half, db)  # of two passes
    kept.update_parameters([g.tolist() for g in half], given[1])
    np.testing.assert_array_equal(mlp.parameters, kept.parameters)


# --- losses and predictions ---------------------------------------------------------------------------------------


def test_compute_loss():
    y, p = np.array([[1], [0], [1]]), np.array([[0.8], [0.3], [0.5]])
    cross_entropy = -(np.log(0.8) + np.log(0.7) + np.log(0.5)) / 3
    assert MLP(SIZES).compute_loss(y, p) == pytest.approx(cross_entropy, rel=1e-14)
    assert MLP(SIZES, output_activation="linear").compute_loss(y, p) == pytest.approx(0.38 / 3, rel=1e-14)
    certain = MLP(SIZES).compute_loss(np.array([[1.0], [0.0]]), np.array([[0.0], [0.0]]))
    assert certain == pytest.approx(-np.log(1e-15) / 2, rel=1e-12), "predictions are kept 1e-15 away from 0 and 1"


@pytest.mark.parametrize("k", [1, 3])
def test_predict_classes_of_a_sigmoid(batch, k):
    X, _ = batch
    mlp = MLP([3, 4, k], random_state=1)
    classes = mlp.predict_classes(X)
    assert classes.shape == (11, k)
    assert classes.dtype == int
    np.testing.assert_array_equal(classes, mlp.predict(X) > 0.5)
    mlp.weights[-1] = np.zeros((4, k))
    assert (mlp.predict(X) == 0.5).all()
    assert (mlp.predict_classes(X) == 0).all(), "exactly one half is not above it"


@pytest.mark.parametrize("output_activation", ["linear", "tanh", "softmax"])
def test_predict_classes_of_other_outputs(batch, output_activation):
    X, _ = batch
    mlp = MLP([3, 4, 5], output_activation=output_activation, random_state=1)
    classes = mlp.predict_classes(X)
    assert classes.shape == (11,)
    assert np.issubdtype(classes.dtype, np.integer)
    np.testing.assert_array_equal(classes, np.argmax(mlp.forward(X), axis=1))
    assert len(set(classes)) > 1


def test_predict_classes_of_a_single_number(batch):
    """The largest of one output is always the first: that is no answer."""
    X, _ = batch
    for output_activation in ("linear", "tanh", "exp"):
        with pytest.raises(
            ValueError, match=rf"several outputs or a sigmoid: this network has one, {output_activation}"
        ):
            MLP([3, 4, 1], output_activation=output_activation).predict_classes(X)


@pytest.mark.parametrize("output_activation", ["linear", "sigmoid", "tanh", "softmax", "exp"])
def test_what_forward_gives_cannot_be_changed_under_backward(batch, output_activation):
    """``out -= y`` would be the gradient of a loss, and destroy what its way back through the output needs."""
    X, _ = batch
    mlp = MLP([3, 4, 2], output_activation=output_activation, random_state=0)
    output = mlp.forward(X)
    for kept in (output, *mlp.activations, *mlp.pre_activations):
        with pytest.raises(ValueError, match="read-only"):
            kept -= 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        output.flags.writeable = True
    slope = output - 1
    dW, _ = mlp.backward(X, output_gradient=slope)
    mlp.forward(X)
    expected, _ = mlp.backward(X, output_gradient=slope)
    np.testing.assert_array_equal(dW[0], expected[0])
    assert X.flags.writeable


def test_backward_is_at_x_wherever_forward_has_been():
    """In the guide predict is forward, so that backward follows either; here it looks at X."""
    rng = np.random.default_rng(0)
    A, B, y = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)), rng.integers(0, 2, (4, 2))
    mlp, other = (MLP(SIZES, dtype=np.float64, random_state=0) for _ in range(2))
    expected = other.backward(B, y, other.forward(B))
    mlp.forward(A)
    last = mlp.activations
    for X in (B, B.copy(), B.tolist()):
        for mine, wanted in zip(mlp.backward(X, y, mlp.predict(B)), expected, strict=True):
            for one, two in zip(mine, wanted, strict=True):
                np.testing.assert_array_equal(one, two)
    for kept, before in zip(mlp.activations, last, strict=True):
        np.testing.assert_array_equal(kept, before)
