"""Kinds of input that work: each gives the same bits as the plain array, compiles nothing and is left as it was."""

import numpy as np
import pandas as pd
import pytest

from fastmlp import MLP, MLPRegressor
from fastmlp.kernels import JIT, backprop, training

pytestmark = pytest.mark.once  # arrays are made ready outside of the kernels

N, FEATURES = 13, 3
DTYPES = [np.float32, np.float64]
# small integers are exact in every type, float16 included
WHOLE = np.random.default_rng(0).integers(-3, 4, (N, FEATURES)).astype(np.float64)
FLAGS = (WHOLE > 0).astype(np.float64)
SIZES = [FEATURES, 5, 2]
Y = np.random.default_rng(1).integers(-8, 9, (N, SIZES[-1])) / 8


def read_only(x):
    x = x.copy(order="K")
    x.flags.writeable = False
    return x


def memory_mapped(x, path):
    np.save(path / "x.npy", x)
    return np.load(path / "x.npy", mmap_mode="r")


def misaligned(x):
    """The same numbers one byte off."""
    buffer = bytearray(1 + x.nbytes)
    buffer[1:] = x.tobytes()
    array = np.frombuffer(buffer, x.dtype, offset=1).reshape(x.shape)
    assert not array.flags.aligned
    return array


def with_gaps(x):
    """Every second row and every third column of a larger array."""
    large = np.full((2 * x.shape[0], 3 * x.shape[1]), 99.0, x.dtype)
    large[::2, 1::3] = x
    return large[::2, 1::3]


def frame(x):
    return pd.DataFrame(x, index=range(100, 100 + len(x)), columns=list("abcdefgh")[: x.shape[1]])


def mixed_frame(x):
    """Columns of three types, one of them nullable."""
    return frame(x).astype({"a": "Int64", "b": "float32"})


# name: (the numbers it can hold, (array, a temporary folder) -> the same numbers in another guise)
KINDS = {
    "float64": (WHOLE, lambda x, path: x),
    "float32": (WHOLE, lambda x, path: x.astype(np.float32)),
    "float16": (WHOLE, lambda x, path: x.astype(np.float16)),
    "longdouble": (WHOLE, lambda x, path: x.astype(np.longdouble)),
    "int8": (WHOLE, lambda x, path: x.astype(np.int8)),
    "int64": (WHOLE, lambda x, path: x.astype(np.int64)),
    "uint16": (FLAGS, lambda x, path: x.astype(np.uint16)),
    "uint64": (FLAGS, lambda x, path: x.astype(np.uint64)),
    "bool": (FLAGS, lambda x, path: x.astype(bool)),
    "objects": (WHOLE, lambda x, path: x.astype(object)),
    "numpy bools among objects": (FLAGS, lambda x, path: np.array([[np.bool_(v) for v in row] for row in x], object)),
    "read-only float64": (WHOLE, lambda x, path: read_only(x)),
    "read-only float32": (WHOLE, lambda x, path: read_only(x.astype(np.float32))),
    "Fortran float64": (WHOLE, lambda x, path: np.asfortranarray(x)),
    "Fortran float32": (WHOLE, lambda x, path: np.asfortranarray(x, np.float32)),
    "read-only Fortran": (WHOLE, lambda x, path: read_only(np.asfortranarray(x, np.float32))),
    "with gaps float64": (WHOLE, lambda x, path: with_gaps(x)),
    "with gaps float32": (WHOLE, lambda x, path: with_gaps(x.astype(np.float32))),
    "backwards float64": (WHOLE, lambda x, path: x[::-1, ::-1].copy()[::-1, ::-1]),
    "backwards float32": (WHOLE, lambda x, path: x.astype(np.float32)[::-1].copy()[::-1]),
    "memory-mapped float64": (WHOLE, memory_mapped),
    "memory-mapped float32": (WHOLE, lambda x, path: memory_mapped(x.astype(np.float32), path)),
    "memory-mapped Fortran": (WHOLE, lambda x, path: memory_mapped(np.asfortranarray(x), path)),
    "memory-mapped big-endian": (WHOLE, lambda x, path: memory_mapped(x.astype(">f4"), path)),
    "big-endian float64": (WHOLE, lambda x, path: x.astype(">f8")),
    "big-endian float32": (WHOLE, lambda x, path: x.astype(">f4")),
    "big-endian int32": (WHOLE, lambda x, path: x.astype(">i4")),
    "misaligned float64": (WHOLE, lambda x, path: misaligned(x)),
    "misaligned float32": (WHOLE, lambda x, path: misaligned(x.astype(np.float32))),
    "read-only misaligned": (WHOLE, lambda x, path: np.frombuffer(b"\0" + x.tobytes(), offset=1).reshape(x.shape)),
    "list of lists": (WHOLE, lambda x, path: x.tolist()),
    "tuple of tuples": (WHOLE, lambda x, path: tuple(map(tuple, x.astype(int).tolist()))),
    "list of arrays": (WHOLE, lambda x, path: list(x.astype(np.float32))),
    "masked array without masked entries": (WHOLE, lambda x, path: np.ma.masked_greater(x, 99)),
    "broadcast": (np.tile(WHOLE[:1], (N, 1)), lambda x, path: np.broadcast_to(x[:1], x.shape)),
    "frame": (WHOLE, lambda x, path: frame(x)),
    "float32 frame": (WHOLE, lambda x, path: frame(x).astype("float32")),
    "nullable Float32 frame": (WHOLE, lambda x, path: frame(x).astype("Float32")),
    "nullable Int64 frame": (WHOLE, lambda x, path: frame(x).astype("Int64")),
    "nullable boolean frame": (FLAGS, lambda x, path: frame(x).astype("boolean")),
    "mixed frame": (WHOLE, lambda x, path: mixed_frame(x)),
    "frame with a bool column": (FLAGS, lambda x, path: frame(x).astype({"a": bool})),
    "frame with an object column": (WHOLE, lambda x, path: frame(x).astype({"b": object})),
}
CASES = pytest.mark.parametrize(("numbers", "disguise"), list(KINDS.values()), ids=list(KINDS))


def results(x, dtype, y=Y):
    """The bits of all that can be computed from X and y."""
    mlp = MLP(SIZES, "tanh", "linear", optimizer="adam", dtype=dtype, random_state=0)
    found = [mlp.predict(x), mlp.forward(x), mlp.activations[1]]
    found += [part for views in mlp.backward(x, y) for part in views]
    loss, dW, db = mlp.loss_and_gradients(x, y)
    history = mlp.fit(x, y, epochs=2, batch_size=5, validation_data=(x, y))
    found += [*dW, *db, mlp.parameters]
    return [loss, history.loss, history.validation_loss, *((a.dtype, a.tobytes()) for a in found)]


def compiled():
    return [len(kernel.signatures) for kernel in (training.train, backprop.infer, backprop.backward)]


@pytest.mark.skipif(not JIT, reason="plain Python compiles nothing")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.int32, np.uint64])
def test_a_batch_size_of_numpys_compiles_nothing_anew(kind):
    def fitted(batch_size):
        return MLPRegressor(batch_size=batch_size, max_iter=2, random_state=0).fit(WHOLE, Y[:, 0])

    expected, signatures = fitted(5), compiled()
    assert fitted(kind(5)).coefs_[0].tobytes() == expected.coefs_[0].tobytes()
    assert compiled() == signatures


@pytest.mark.parametrize("dtype", DTYPES)
@CASES
def test_features(numbers, disguise, dtype, tmp_path):
    expected = results(np.ascontiguousarray(numbers, dtype), dtype)
    signatures = compiled() if JIT else None
    x = disguise(numbers, tmp_path)
    before = np.array(x, float).tobytes()
    assert results(x, dtype) == expected
    assert np.array(x, float).tobytes() == before
    if JIT:
        assert compiled() == signatures, "another kind of array compiled a kernel again"


@pytest.mark.parametrize("dtype", DTYPES)
@CASES
def test_targets(numbers, disguise, dtype, tmp_path):
    """Two columns of the same disguises as y."""
    numbers = np.ascontiguousarray(numbers[:, :2])
    x = WHOLE.astype(dtype)
    expected = results(x, dtype, np.ascontiguousarray(numbers, dtype))
    signatures = compiled() if JIT else None
    y = disguise(numbers, tmp_path)
    before = np.array(y, float).tobytes()
    assert results(x, dtype, y) == expected
    assert np.array(y, float).tobytes() == before
    if JIT:
        assert compiled() == signatures, "another kind of array compiled a kernel again"


def test_the_comparison_notices_a_small_change():
    expected = results(WHOLE, np.float64)
    assert results(WHOLE.copy(), np.float64, Y.copy()) == expected
    change = np.zeros((N, FEATURES))
    change[7, 1] = 1e-12
    assert results(WHOLE + change, np.float64) != expected
    assert results(WHOLE, np.float64, Y + change[:, :2]) != expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("read", [False, True], ids=["plain", "read-only"])
def test_fitting_arrays_are_read_in_place(dtype, read, tmp_path):
    """What is in C order and of the network's dtype is not copied: a memory map stays on disk."""
    mlp = MLP(SIZES, dtype=dtype, random_state=0)
    for x in (WHOLE.astype(dtype), memory_mapped(WHOLE.astype(dtype), tmp_path)):
        if read:
            x.flags.writeable = False
        before = x.tobytes()
        mlp.forward(x)
        assert np.shares_memory(mlp.activations[0], x)
        mlp.fit(x, FLAGS[:, :2], epochs=1)
        mlp.predict(x)
        assert x.tobytes() == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_misaligned_numbers_are_copied(dtype):
    """Numba's types do not tell them apart, and the machine code may rely on alignment."""
    x = misaligned(WHOLE.astype(dtype))
    mlp = MLP(SIZES, dtype=dtype, random_state=0)
    mlp.forward(x)
    assert mlp.activations[0].flags.aligned
    assert not np.shares_memory(mlp.activations[0], x)


def test_a_read_only_array_stays_read_only():
    x = read_only(WHOLE.astype(np.float32))
    mlp = MLP(SIZES, random_state=0)
    mlp.fit(x, FLAGS[:, :2], epochs=1)
    assert not x.flags.writeable


def test_a_view_outlives_the_name_of_its_array():
    """The network keeps what it looks at alive, also where it looks through a read-only flag."""
    mlp = MLP(SIZES, random_state=0)
    mlp.forward(read_only(WHOLE.astype(np.float32)))
    filler = [np.full((N, FEATURES), 7.0, np.float32) for _ in range(50)]
    np.testing.assert_array_equal(mlp.activations[0], WHOLE)
    assert len(filler) == 50


# --- the shapes and kinds that y may have ---

BINARY = FLAGS[:, 0]
BINARY_KINDS = {
    "(n, 1)": lambda y: y[:, None],
    "list": lambda y: y.tolist(),
    "list of lists": lambda y: y[:, None].tolist(),
    "tuple of ints": lambda y: tuple(y.astype(int).tolist()),
    "bool": lambda y: y.astype(bool),
    "bool (n, 1)": lambda y: y.astype(bool)[:, None],
    "int8": lambda y: y.astype(np.int8),
    "uint64": lambda y: y.astype(np.uint64),
    "float16": lambda y: y.astype(np.float16),
    "big-endian": lambda y: y.astype(">f4"),
    "read-only": read_only,
    "with a gap": lambda y: np.repeat(y, 2)[::2],
    "backwards": lambda y: y[::-1].copy()[::-1],
    "column of an array": lambda y: np.stack([y, y + 1], axis=1)[:, 0],
    "column, two-dimensional": lambda y: np.stack([y, y + 1], axis=1)[:, :1],
    "series": lambda y: pd.Series(y, index=range(50, 50 + N)),
    "series of ints": lambda y: pd.Series(y.astype(int)),
    "nullable series": lambda y: pd.Series(y).astype("boolean"),
    "nullable ints": lambda y: pd.Series(y).astype("Int64"),
    "frame": lambda y: pd.DataFrame({"y": y}),
    "objects": lambda y: y.astype(object),
}


def trained(y, sizes, output, dtype):
    mlp = MLP(sizes, "tanh", output, optimizer="momentum", dtype=dtype, random_state=0)
    mlp.forward(WHOLE)
    gradient = [part.tobytes() for views in mlp.backward(WHOLE, y) for part in views]
    loss, *_ = mlp.loss_and_gradients(WHOLE, y)
    history = mlp.fit(WHOLE, y, epochs=2, batch_size=4, validation_data=(WHOLE, y))
    return loss, gradient, history.loss, history.validation_loss, mlp.parameters.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", list(BINARY_KINDS.values()), ids=list(BINARY_KINDS))
def test_targets_of_one_output(kind, dtype):
    expected = trained(BINARY.copy(), [FEATURES, 4, 1], "sigmoid", dtype)
    assert trained(kind(BINARY), [FEATURES, 4, 1], "sigmoid", dtype) == expected
    assert trained(1 - BINARY, [FEATURES, 4, 1], "sigmoid", dtype) != expected


CLASSES = np.random.default_rng(2).integers(0, 4, N)
CLASS_KINDS = {
    "one-hot": lambda y: np.eye(4)[y],
    "one-hot of the other precision": lambda y: np.eye(4, dtype=np.float32)[y],
    "one-hot bool": lambda y: np.eye(4, dtype=bool)[y],
    "one-hot int": lambda y: np.eye(4, dtype=int)[y],
    "one-hot list": lambda y: np.eye(4)[y].tolist(),
    "one-hot Fortran": lambda y: np.asfortranarray(np.eye(4)[y]),
    "one-hot frame": lambda y: pd.get_dummies(pd.Series(y)),
    "list": lambda y: y.tolist(),
    "float": lambda y: y.astype(float),
    "float32": lambda y: y.astype(np.float32),
    "float16": lambda y: y.astype(np.float16),
    "int8": lambda y: y.astype(np.int8),
    "uint64": lambda y: y.astype(np.uint64),
    "read-only": read_only,
    "with a gap": lambda y: np.repeat(y, 2)[::2],
    "series": lambda y: pd.Series(y, index=range(50, 50 + N)),
    "nullable series": lambda y: pd.Series(y).astype("Int64"),
    "objects": lambda y: y.astype(object),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", list(CLASS_KINDS.values()), ids=list(CLASS_KINDS))
def test_targets_of_a_softmax(kind, dtype):
    expected = trained(CLASSES.copy(), [FEATURES, 5, 4], "softmax", dtype)
    assert trained(kind(CLASSES), [FEATURES, 5, 4], "softmax", dtype) == expected
    assert trained((CLASSES + 1) % 4, [FEATURES, 5, 4], "softmax", dtype) != expected


def test_bool_labels_of_two_classes():
    labels = BINARY.astype(bool)
    assert trained(labels, [FEATURES, 2], "softmax", np.float32) == trained(
        labels.astype(int), [FEATURES, 2], "softmax", np.float32
    )


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("features", [1, 2])
def test_odd_strides_of_single_rows_and_columns(rows, features):
    """NumPy calls an array of one row contiguous whatever its strides are."""
    large = np.arange(4.0 * rows * features, dtype=np.float32).reshape(2 * rows, 2 * features)
    mlp = MLP([features, 3, 1], "tanh", random_state=0)
    for x in (large[::2, ::2], large[::-2, ::-2], large[-1::-2][:rows, ::-1][:, :features]):
        np.testing.assert_array_equal(mlp.predict(x), mlp.predict(x.copy()))


def test_layer_sizes_of_any_integer_type():
    expected = MLP([3, 4, 2], random_state=0)
    for sizes in ((3, 4, 2), np.array([3, 4, 2]), np.array([3, 4, 2], np.uint8), (n for n in (3, 4, 2)), range(3, 6)):
        mlp = MLP(sizes, random_state=0)
        assert all(type(size) is int for size in mlp.layer_sizes)
        if mlp.layer_sizes == [3, 4, 2]:
            assert mlp.parameters.tobytes() == expected.parameters.tobytes()
        else:
            assert mlp.layer_sizes == [3, 4, 5]
