"""Every piece of a training step against the NumPy reference."""

from dataclasses import fields
from itertools import cycle, product

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError
from tolerances import assert_all_close, assert_close, chain_length, tolerance

from fastmlp import MLP, reference
from fastmlp.initializers import INITIALIZERS
from fastmlp.kernels import JIT, backprop, gemm, simd
from fastmlp.optimizers import OPTIMIZERS

pytestmark = pytest.mark.no_cover  # tracing doubles their time, and other tests cover the lines

HIDDEN = [name for name in reference.ACTIVATIONS if name != "exp"]
OUTPUTS = reference.OUTPUT_ACTIVATIONS
LOSSES = list(reference.LOSSES)
DTYPES = [np.float32, np.float64]
PAIRS = list(product(OUTPUTS, LOSSES))


def assert_gradient_agrees(mlp, twin, X, y):
    """Forward and backward of `mlp` and of its `twin`; the gradient of `mlp`."""
    length = chain_length(mlp.layer_sizes, len(X))
    output, expected = mlp.forward(X), twin.forward(X)
    for name in ("pre_activations", "activations"):
        assert_all_close(getattr(mlp, name), getattr(twin, name), length, name)
    *ours, dX = mlp.backward(X, y, output, return_input_gradient=True)
    *theirs, expected_dX = twin.backward(X, y, expected, return_input_gradient=True)
    assert_all_close(ours[0], theirs[0], length, "dW")
    assert_all_close(ours[1], theirs[1], length, "db")
    assert_close(dX, expected_dX, length, "dX")
    return ours


def assert_update_agrees(mlp, twin, gradient):
    """An update of both from the same gradient: where one is all but zero, Adam's step is as uncertain as its sign."""
    mlp.update_parameters(*gradient)
    twin.update_parameters(*gradient)
    assert_close(mlp.parameters, twin.parameters, 4, "parameters")
    for ours, theirs in zip(mlp._slots.reshape(twin.slots.shape), twin.slots, strict=True):
        assert_close(ours, theirs, 4, "a slot")


# --- the comparison itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 50, 1000])
def test_assert_close_accepts_only_what_it_should(dtype, length):
    expected = np.linspace(-2, 1, 12).reshape(3, 4)
    limit = tolerance(dtype, length)
    close, off = expected.astype(dtype), expected.astype(dtype)
    close[1, 2] += limit  # half of what the largest number, 2, allows
    off[1, 2] += 3 * limit
    assert_close(close, expected, length)
    wrong = {
        "off": off,
        "sign": -close,
        "factor": close * dtype(1 + 3 * limit),
        "transposed": close.T,
        "flat": close.ravel(),
        "row": close[:1],
        "nan": np.where(close == close[0, 0], np.nan, close).astype(dtype),
        "inf": np.where(close == close[0, 0], -np.inf, close).astype(dtype),
        "zero": np.zeros_like(close),
        "neighbour": np.roll(close, 1),
    }
    for array in wrong.values():
        with pytest.raises(AssertionError):
            assert_close(array, expected, length)
        with pytest.raises(AssertionError):
            assert_all_close([close, array], [expected, expected], length)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ([19.9], [10.0]),
        ([1e-300], [0.0]),  # nothing is close to an array of zeros but zeros
        ([np.nan], [np.nan]),
        ([np.inf], [np.inf]),
        ([], []),
        ([1.0], 1.0),
    ],
)
def test_assert_close_rejects(actual, expected):
    with pytest.raises(AssertionError):
        assert_close(np.array(actual), np.array(expected), 100)


def test_assert_all_close_rejects_a_missing_array():
    with pytest.raises(AssertionError):
        assert_all_close([np.ones(2)], [np.ones(2), np.ones(2)], 100)


def test_tolerance_stays_useful():
    """The longest chain of the products below, in each precision."""
    assert tolerance(np.float64, chain_length([3, 5, 4, 3], 7)) < 1e-12
    assert tolerance(np.float32, chain_length([3, 5, 4, 3], 7)) < 1e-4


# --- every combination --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crossed", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("output", "loss"), PAIRS)
@pytest.mark.parametrize("activation", HIDDEN)
def test_every_combination(network, data, twin, activation, output, loss, crossed):
    """With every initialiser and optimiser if `crossed`, else with one of each, in turn."""
    turn = HIDDEN.index(activation) * len(PAIRS) + PAIRS.index((output, loss))
    weight_inits, optimizers = (
        table if crossed else [list(table)[turn % len(table)]] for table in (INITIALIZERS, OPTIMIZERS)
    )
    rng = np.random.default_rng(3)
    for weight_init, dtype in product(weight_inits, DTYPES):
        start = gradient = None
        for optimizer in optimizers:
            options = {"loss": loss, "weight_init": weight_init, "optimizer": optimizer, "dtype": dtype}
            mlp = network([3, 5, 4, 3], activation, output, random_state=rng, **options)
            if start is None:
                start, (X, y) = mlp.parameters.copy(), data(mlp, 7)
                gradient = assert_gradient_agrees(mlp, twin(mlp), X, y)
            else:  # the same network but for its optimiser
                mlp.parameters = start
                same = mlp.backward(X, y, mlp.forward(X))
                np.testing.assert_array_equal(same[0].vector, gradient[0].vector)
            assert_update_agrees(mlp, twin(mlp), gradient)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_hyperparameters_and_later_updates(network, data, twin, optimizer, dtype):
    """Settings that are not the defaults, three updates in a row: the slots are not zero any more."""
    unusual = {"momentum": 0.7, "rho": 0.8, "beta1": 0.6, "beta2": 0.95, "epsilon": 1e-3, "weight_decay": 0.3}
    kind = OPTIMIZERS[optimizer]
    settings = kind(**{field.name: unusual[field.name] for field in fields(kind)})
    mlp = network([3, 5, 2], optimizer=settings, dtype=dtype, learning_rate=0.1)
    reference_mlp = twin(mlp)
    X, y = data(mlp, 7)
    for _ in range(3):
        assert_update_agrees(mlp, reference_mlp, mlp.backward(X, y, mlp.forward(X)))
        reference_mlp.parameters[:] = mlp.parameters  # so that roundings do not add up


# --- shapes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_hidden", range(7))
def test_depths_with_another_activation_in_each_layer(network, data, twin, n_hidden, dtype, alpha):
    for i, (output, loss) in list(enumerate(PAIRS))[:: 1 if JIT else 3]:
        activation = [HIDDEN[(i + 5 * l) % len(HIDDEN)] for l in range(n_hidden)]
        sizes = [4, *([6, 3, 7, 5, 2, 9][:n_hidden]), 2]
        mlp = network(sizes, activation, output, loss=loss, dtype=dtype, alpha=alpha, weight_init="orthogonal")
        X, y = data(mlp, 5)
        assert_gradient_agrees(mlp, twin(mlp), X, y)


def around(*sizes):
    return sorted({n for size in sizes for n in (size - 1, size, size + 1) if n > 0})


def tile_edges(dtype):
    """1, and one less, as many, and one more than the columns and rows of a tile."""
    lanes = simd.REGISTER_BYTES // np.dtype(dtype).itemsize
    return around(1, lanes, gemm.NV * lanes), around(1, gemm.MR)


@pytest.mark.parametrize("dtype", DTYPES)
def test_widths_at_the_edges_of_a_tile(network, data, twin, dtype):
    """Every pair as fan_in and fan_out of the middle layer, with rows at an edge, too."""
    widths, rows = tile_edges(dtype)
    turns = cycle(rows)
    for fan_in, fan_out in product(widths, widths):
        mlp = network([2, fan_in, fan_out, 2], dtype=dtype)
        X, y = data(mlp, next(turns))
        assert_gradient_agrees(mlp, twin(mlp), X, y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_at_the_edges_of_a_tile(network, data, twin, dtype):
    columns, rows = tile_edges(dtype)
    mlp = network([3, 5, 2], "gelu", "softmax", dtype=dtype)
    for n in sorted({*columns, *rows}):
        X, y = data(mlp, n)
        assert_gradient_agrees(mlp, twin(mlp), X, y)


@pytest.mark.parametrize("length", around(gemm.KC_BYTES // 8, gemm.KC_BYTES // 4))
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_at_the_edges_of_a_block(network, data, twin, dtype, length):
    """`length` as the length of the sums in the forward pass, the recursion and the gradient."""
    for sizes, rows in (([length, 3, 2], 4), ([2, 3, length], 4), ([2, 3, 2], length)):
        mlp = network(sizes, dtype=dtype)
        X, y = data(mlp, rows)
        assert_gradient_agrees(mlp, twin(mlp), X, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[70, 66, 65, 3], [65, 130, 1]])
def test_rows_for_which_weights_are_packed(network, data, twin, sizes, dtype):
    mlp = network(sizes, dtype=dtype)
    for rows in (*around(gemm._PACK_ROWS), 130):
        X, y = data(mlp, rows)
        assert_gradient_agrees(mlp, twin(mlp), X, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[1, 1], [1, 1, 1], [3, 4, 1]])
def test_one_row_and_one_output(network, data, twin, sizes, dtype):
    for output in ("linear", "sigmoid", "tanh", "exp"):
        for rows in (1, 2):
            mlp = network(sizes, "relu", output, dtype=dtype, random_state=3)
            X, y = np.abs(data(mlp, rows)[0]), np.ones((rows, 1))  # one sign: nothing cancels in so short sums
            reference_mlp = twin(mlp)
            gradient = assert_gradient_agrees(mlp, reference_mlp, X, y)
            flat = mlp.backward(X, y.ravel(), mlp.forward(X))
            np.testing.assert_array_equal(flat[0].vector, gradient[0].vector)
            assert_update_agrees(mlp, reference_mlp, gradient)


# --- the other ways in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_loss_and_gradients(network, data, twin, output, loss, dtype):
    for activation, alpha in list(product(HIDDEN, (0.0, 0.1)))[:: 1 if JIT else 3]:
        mlp = network([3, 5, 4, 3], activation, output, loss=loss, dtype=dtype, alpha=alpha)
        X, y = data(mlp, 7)
        length = chain_length(mlp.layer_sizes, 7)
        value, *gradients = mlp.loss_and_gradients(X, y)
        expected, *references = twin(mlp).loss_and_gradients(X, y)
        assert isinstance(value, float)
        assert_close(dtype(value), expected, length, "loss")
        for name, ours, theirs in zip(("dW", "db"), gradients, references, strict=True):
            assert_all_close(ours, theirs, length, name)


def test_loss_and_gradients_leaves_no_trace(network, data):
    mlp = network([3, 5, 2], optimizer="adam")
    X, y = data(mlp, 7)
    output = mlp.forward(X).copy()
    before, gradient = mlp.parameters.copy(), mlp.backward(X, y, output)[0].vector
    mlp.loss_and_gradients(*data(mlp, 9, seed=5))
    np.testing.assert_array_equal(mlp.parameters, before)
    np.testing.assert_array_equal(mlp.activations[-1], output)
    np.testing.assert_array_equal(mlp.backward(X, y, output)[0].vector, gradient)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_output_gradient(network, data, twin, output, dtype):
    mlp = network([3, 5, 4, 3], "silu", output, dtype=dtype, alpha=0.1)
    X, _ = data(mlp, 7)
    given = np.random.default_rng(4).normal(size=(7, 3)).astype(np.float32)
    reference_mlp = twin(mlp)
    expected = reference_mlp.forward(X)
    mlp.forward(X)
    ours = mlp.backward(X, output_gradient=given, return_input_gradient=True)
    theirs = reference_mlp.backward(X, None, expected, output_gradient=given, return_input_gradient=True)
    length = chain_length(mlp.layer_sizes, 7)
    assert_all_close(ours[0], theirs[0], length, "dW")
    assert_all_close(ours[1], theirs[1], length, "db")
    assert_close(ours[2], theirs[2], length, "dX")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_compute_loss(network, data, twin, output, loss, dtype):
    mlp = network([3, 5, 3], "tanh", output, loss=loss, dtype=dtype)
    X, y = data(mlp, 7)
    p = mlp.predict(X)
    value = mlp.compute_loss(y, p)
    assert isinstance(value, float)
    assert_close(value, twin(mlp).compute_loss(y, p.astype(np.float64)), 30, "loss")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "gamma"])  # which has no value for a zero
def test_class_indices_are_one_hot_rows(network, data, loss, dtype):
    mlp = network([3, 5, 4], "tanh", "softmax", loss=loss, dtype=dtype)
    X, _ = data(mlp, 9)
    classes = np.random.default_rng(0).integers(0, 4, 9)
    rows = np.eye(4)[classes]
    output = mlp.forward(X)
    np.testing.assert_array_equal(mlp.backward(X, classes, output)[0].vector, mlp.backward(X, rows, output)[0].vector)
    assert mlp.loss_and_gradients(X, classes)[0] == mlp.loss_and_gradients(X, rows)[0]


def test_compute_loss_of_class_indices(network):
    mlp = network([3, 4], output_activation="softmax")
    p = np.full((2, 4), 0.25)
    assert mlp.compute_loss(np.array([0, 3]), p) == pytest.approx(np.log(4), rel=1e-15)
    assert mlp.compute_loss(np.eye(4)[[0, 3]], p) == pytest.approx(np.log(4), rel=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_predict_is_forward_and_more_rows_than_a_block(network, data, twin, output, dtype):
    mlp = network([3, 5, 4, 3], "elu", output, dtype=dtype)
    for rows in (1, 127, 128, 129, 300):
        X, _ = data(mlp, rows)
        predicted, forward = mlp.predict(X), mlp.forward(X)
        if JIT:
            np.testing.assert_array_equal(predicted, forward)
            np.testing.assert_array_equal(predicted[-1:], mlp.predict(X[-1:]))
        assert_close(predicted, twin(mlp).forward(X), chain_length(mlp.layer_sizes, 0), "output")
        assert predicted.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_order_and_flags_do_not_matter(network, data, dtype):
    mlp = network([3, 5, 2], dtype=dtype)
    X, y = data(mlp, 9)
    read_only, wide = X.copy(), np.zeros((18, 6), dtype)
    read_only.flags.writeable = False
    wide[::2, ::-2] = X
    expected = mlp.predict(X), *mlp.loss_and_gradients(X, y)
    for same in (read_only, np.asfortranarray(X), wide[::2, ::-2], X.tolist()):
        ours = mlp.predict(same), *mlp.loss_and_gradients(same, y)
        assert ours[1] == expected[1]
        np.testing.assert_array_equal(ours[0], expected[0])
        np.testing.assert_array_equal(ours[2].vector, expected[2].vector)


@pytest.mark.parametrize(("output", "loss"), [("linear", "cross_entropy"), ("tanh", "binary_cross_entropy")])
def test_a_loss_without_a_value_is_not_finite(network, data, twin, output, loss):
    """Outputs below zero have no logarithm: neither side may invent a number."""
    mlp = network([3, 2], output_activation=output, loss=loss)
    mlp.biases[-1][...] = -0.5
    X, _ = data(mlp, 4)
    y = np.full((4, 2), 0.5)
    assert not np.isfinite(mlp.loss_and_gradients(X, y)[0])
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(twin(mlp).loss_and_gradients(X, y)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*HIDDEN, "exp", "softmax"])
def test_activation_function_and_derivative(name, dtype):
    mlp = MLP([2, 2], dtype=dtype)
    x = np.append(np.linspace(-6, 6, 101), 0.0).astype(dtype)
    x = x.reshape(-1, 3) if name == "softmax" else x
    exact = x.astype(np.float64)
    assert_close(mlp.activation_function(x, name), reference.activate(name, exact), 8, "f")
    if name != "softmax":
        assert_close(mlp.activation_derivative(x, name), reference.ACTIVATIONS[name][1](exact), 8, "f'")


@numba.njit
def _call_infer(network, x, out):
    return backprop.infer(x, *network, out)


X_FOR_INFER = np.ones(6, np.float32)
BAD_FOR_INFER = {
    "out of another dtype": (
        X_FOR_INFER,
        np.empty(4),
        TypingError,
        "of one dtype, the network's: float32, not float64",
    ),
    "x of another dtype": (np.ones(6), np.empty(4, np.float32), TypingError, "must be of one dtype"),
    "x in another order": (np.asfortranarray(np.ones((2, 3), np.float32)), X_FOR_INFER[:4], TypingError, "in C order"),
    "x in strides": (np.ones(12, np.float32)[::2], X_FOR_INFER[:4], TypingError, "in C order"),
    "out too large": (X_FOR_INFER, np.empty(5, np.float32), ValueError, "x must hold whole rows, and out as many"),
    "out too small": (X_FOR_INFER, np.empty(3, np.float32), ValueError, "x must hold whole rows, and out as many"),
    "part of a row": (X_FOR_INFER[:5], np.empty(2, np.float32), ValueError, "x must hold whole rows"),
}


@pytest.mark.skipif(not JIT, reason="types are looked at while compiling")
@pytest.mark.once
@pytest.mark.parametrize("name", BAD_FOR_INFER)
def test_infer_refuses_what_would_reach_outside(name):
    """A user's compiled code calls it without the checks of `predict`."""
    x, out, error, message = BAD_FOR_INFER[name]
    network = MLP([3, 4, 2], random_state=0).compiled_arguments()
    assert _call_infer(network, X_FOR_INFER, np.empty(4, np.float32))
    with pytest.raises(error, match=message):
        _call_infer(network, x, out)
