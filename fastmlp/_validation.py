"""The gate: what users pass becomes what kernels take, or an exception: which argument, what came, what was wanted."""

import math
import numbers
import reprlib
import sys
import warnings
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_LIBRARIES = "fastmlp", "sklearn", "joblib"  # whose lines no warning points to
_SCAN_ROWS_BYTES = 1 << 22  # rows are scanned in pieces of about 4 MB, so that a memory-mapped array stays on disk


def choice(name: str, value: Any, known: Iterable[str], otherwise: str = "") -> str:
    """`value`, if it is one of the `known` names; `otherwise` says what else the argument may be."""
    known = list(known)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a name, one of {known}{otherwise and f', or {otherwise}'}; got {value!r}")
    if value not in known:
        raise ValueError(f"{name}={value!r} is not known; choose one of {known}")
    return value


def integer(name: str, value: Any, least: int | None = None) -> int:
    """`value` as an int that is at least `least`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return int(value)


def real(
    name: str, value: Any, *, above: float | None = None, least: float | None = None, below: float = math.inf
) -> float:
    """`value` as a finite float within bounds (`above` and `below` excluded, `least` included)."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    low = number > above if above is not None else least is None or number >= least
    if not (low and number < below):
        bounds = f"> {above:g}" if above is not None else f">= {least:g}"
        bounds += "" if below == math.inf else f" and < {below:g}"
        raise ValueError(f"{name} must be {bounds} and finite, got {value!r}")
    return number


def dropout(value: Any, n_hidden: int) -> tuple[float, ...]:
    """The share of each hidden layer's outputs to drop; () if it is 0 for all."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        shares = tuple(real(f"dropout[{i}]", p, least=0.0, below=1.0) for i, p in enumerate(value))
    else:
        shares = (real("dropout", value, least=0.0, below=1.0),) * n_hidden
    if len(shares) != n_hidden:
        raise ValueError(f"dropout must be one number or {n_hidden}, one for each hidden layer; got {value!r}")
    return shares if any(shares) else ()


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning that points to the line of the user's that called the package, through scikit-learn or not."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def flag(name: str, value: Any) -> bool:
    """`value` as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def float_dtype(value: Any) -> np.dtype[Any]:
    """float32 or float64."""
    try:
        dtype: np.dtype[Any] = np.dtype(object if value is None else value)  # NumPy takes None for float64
    except (TypeError, ValueError):
        dtype = np.dtype(object)
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, got {value!r}")
    return dtype


def random_source(random_state: Any) -> Any:
    """Something that draws as `numpy.random` does. An int seeds a RandomState, None is NumPy's global state."""
    if random_state is None:
        return None
    if isinstance(random_state, np.random.RandomState | np.random.Generator):
        return random_state
    wanted = "random_state must be None, an integer from 0 to 2**32 - 1, a RandomState or a Generator"
    if isinstance(random_state, bool | np.bool_) or not isinstance(random_state, numbers.Integral):
        raise TypeError(f"{wanted}; got {random_state!r}")
    seed = int(random_state)
    if not 0 <= seed < 2**32:
        raise ValueError(f"{wanted}; got {seed}")
    return np.random.RandomState(seed)


def callables(name: str, value: Any) -> tuple[Any, ...]:
    """A sequence of functions."""
    if callable(value) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a sequence of functions, got {value!r}")
    functions = tuple(value)
    for i, function in enumerate(functions):
        if not callable(function):
            raise TypeError(f"{name}[{i}] must be callable, got {function!r}")
    return functions


def pointwise_input(name: str, value: Any) -> Array:
    """A fresh array of float32 (if it came so) or float64 in C order."""
    array = numeric(name, value)
    return np.array(array, np.float32 if array.dtype == np.float32 else np.float64, order="C")


def layer_sizes(value: Any) -> list[int]:
    """At least two positive integers."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"layer_sizes must be a sequence of integers such as [2, 10, 1], got {value!r}")
    sizes = [integer(f"layer_sizes[{i}]", size, 1) for i, size in enumerate(value)]
    if len(sizes) < 2:
        raise ValueError(f"layer_sizes must name at least the inputs and the outputs, got {value!r}")
    return sizes


def numeric(name: str, value: Any) -> Array:
    """`value` as an array of real numbers of whatever type."""
    if type(value) is np.ndarray and value.dtype.kind in "fiub":
        return value
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(f"{name} is a sparse matrix; dense is wanted: pass {name}.toarray()")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries; fill them first, for example with {name}.filled(0)")
    try:
        array = np.asarray(value)
        if array.dtype == object:
            array = _from_objects(name, array)
    except (ValueError, OverflowError) as error:  # ragged, or an integer of hundreds of digits
        raise ValueError(f"{name} must be a rectangular array of real numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


def _from_objects(name: str, array: Array) -> Array:
    """float64 from an array of objects if all are numbers: pandas makes such of mixed columns and of nullable ones."""
    for index, item in np.ndenumerate(array):
        if not isinstance(item, numbers.Real | np.bool_):
            raise TypeError(f"{name} must hold real numbers, got {reprlib.repr(item)}{_at(name, index)}")
    return array.astype(np.float64)


def _at(name: str, index: Iterable[Any]) -> str:
    """`` at name[3, 1]``; nothing for a 0-D array."""
    inside = ", ".join(str(int(i)) for i in index)
    return f" at {name}[{inside}]" if inside else ""


def check_finite(name: str, array: Array) -> None:
    """ValueError that says where, if a number is NaN or infinite."""
    step = max(1, _SCAN_ROWS_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        finite = np.isfinite(array[start : start + step])
        if not finite.all():
            index = tuple(np.argwhere(~finite)[0] + [start, *[0] * (array.ndim - 1)])
            raise ValueError(f"{name} must be finite in {array.dtype}, got {array[index]}{_at(name, index)}")


def kernel_array(array: Array, dtype: Any) -> Array:
    """`array` in C order, aligned, of `dtype`: itself if it is so already."""
    flags = array.flags
    if array.dtype != dtype or not (flags.c_contiguous and flags.aligned):
        with np.errstate(over="ignore"):
            return array.astype(dtype, order="C")
    if not flags.writeable:
        # A read-only array is another type to Numba and would compile every kernel again. Kernels never write to X or
        # y: show them the same memory without the flag.
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        array = np.asarray(SimpleNamespace(__array_interface__=interface, owner=array))
    return array


def features(name: str, value: Any, n_features: int, dtype: Any, *, scan: bool = True) -> Array:
    """X as (n, n_features) in C order of `dtype`, finite if `scan` (else the caller's kernel looks)."""
    if is_ready(value, n_features, dtype):
        if scan:
            check_finite(name, value)
        return value
    array = numeric(name, value)
    if array.ndim != 2:
        hint = f"; for a single row pass {name}.reshape(1, -1)" if array.ndim == 1 else ""
        raise ValueError(f"{name} must be 2-D, (rows, {n_features}), got shape {array.shape}{hint}")
    if array.shape[1] != n_features:
        raise ValueError(f"{name} must have {n_features} features (columns), got shape {array.shape}")
    if array.shape[0] == 0:
        raise ValueError(f"{name} is empty: at least one row is wanted, got shape {array.shape}")
    array = kernel_array(array, dtype)
    if scan:
        check_finite(name, array)
    return array


def is_ready(value: Any, n_features: int, dtype: Any) -> TypeGuard[Array]:
    """Whether there is nothing to check or to convert: a prediction takes a microsecond, and so may its checks."""
    if type(value) is not np.ndarray:
        return False
    shape = value.shape
    return len(shape) == 2 and shape[1] == n_features and shape[0] > 0 and value.dtype == dtype and value.flags.carray


def same(a: Array, b: Array) -> bool:
    """Whether two arrays of one dtype hold the same bits."""
    if a.shape != b.shape or a.nbytes <= _SCAN_ROWS_BYTES:
        return a.shape == b.shape and a.tobytes() == b.tobytes()
    step = max(1, _SCAN_ROWS_BYTES // a[:1].nbytes)
    pieces = (slice(start, start + step) for start in range(0, len(a), step))
    return all(a[rows].tobytes() == b[rows].tobytes() for rows in pieces)


def like(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array of numbers of exactly this shape."""
    array = numeric(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return kernel_array(array, dtype)


def targets(
    name: str, value: Any, n_rows: int, k: int, output: str, loss: str, dtype: Any, rows_of: str = "X",
    *, look: bool = True,
) -> Array:  # fmt: skip
    """y as a flat vector: n_rows * k numbers, or n_rows class indices where the output is a softmax.

    With `look` False the caller's kernel looks whether numbers and class indices are within their bounds.

    Raises
    ------
    ValueError
        Wrong length or shape, not finite, class indices out of range, or targets that the loss has no value for.
    """
    array = numeric(name, value)
    shape = array.shape
    if shape == (n_rows, k) or (shape == (n_rows,) and (k == 1 or output == "softmax")):
        if shape == (n_rows,) and output == "softmax":
            if loss == "gamma":
                raise ValueError(f"{name} must have shape ({n_rows}, {k}) for gamma; class indices imply zeros")
            if look or array.dtype.kind == "f":
                _check_class_indices(name, array, k)
            return kernel_array(array, dtype)
        array = kernel_array(array, dtype)
        if look or (output == "softmax" and loss == "cross_entropy" and not _sum_to_one(array)):
            _check_range(name, array, output, loss, dtype)
        return array.reshape(-1)
    shapes = f"({n_rows}, {k})" + (f" or ({n_rows},)" if k == 1 or output == "softmax" else "")
    if array.ndim > 0 and array.size > 0 and len(array) != n_rows:
        raise ValueError(f"{name} must have an entry for each of the {n_rows} rows of {rows_of}, got shape {shape}")
    hint = f"; class indices go in as a 1-D array: {name}.ravel()" if shape == (n_rows, 1) else ""
    raise ValueError(f"{name} must have shape {shapes}, got {shape}{hint}")


def _check_range(name: str, array: Array, output: str, loss: str, dtype: Any) -> None:
    """ValueError that says where, if a target is one that the loss has no value for."""
    low, high = target_range(loss, output, dtype)
    flat = array.reshape(-1)
    if not (np.minimum.reduce(flat) >= low and np.maximum.reduce(flat) <= high):  # false for NaN, too
        check_finite(name, array)
        where = tuple(np.argwhere((array < low) | (array > high))[0])
        limits = "> 0" if loss == "gamma" else f"in [{low:g}, {high:g}]"
        raise ValueError(
            f"{name} must be {limits} for {loss} of a {output} output, got {array[where]:g}{_at(name, where)}"
        )
    if output == "softmax" and loss == "cross_entropy":
        sums = array.sum(axis=1, dtype=np.float64)
        wrong = np.flatnonzero(np.abs(sums - 1) > 1e-3)
        if wrong.size:
            raise ValueError(
                f"{name} must be one-hot or probabilities, rows that sum to 1;"
                f" {name}[{wrong[0]}] sums to {sums[wrong[0]]:g}"
            )


def _sum_to_one(array: Array) -> bool:
    """Whether all rows do, nearly: a quick look, and stricter than that of `_check_range`."""
    sums = array.dot(np.ones(array.shape[1], array.dtype))
    return bool(np.minimum.reduce(sums) > 1 - 5e-4 and np.maximum.reduce(sums) < 1 + 5e-4)


_LARGEST = {np.dtype(kind): float(np.finfo(kind).max) for kind in (np.float32, np.float64)}
_LEAST = {np.dtype(kind): float(np.finfo(kind).tiny) for kind in (np.float32, np.float64)}  # above 0


def target_range(loss: str, output: str, dtype: Any) -> tuple[float, float]:
    """The least and the largest target that a loss has a value for."""
    largest = _LARGEST[dtype]
    if loss == "binary_cross_entropy" or (loss == "cross_entropy" and output == "softmax"):
        return 0.0, 1.0
    if loss == "gamma":
        return _LEAST[dtype], largest
    return (0.0 if loss in ("cross_entropy", "poisson") else -largest), largest


def _check_class_indices(name: str, array: Array, k: int) -> None:
    wrong = np.flatnonzero(~((array >= 0) & (array < k) & (array == np.floor(array))))
    if wrong.size:
        raise ValueError(
            f"{name} must hold class indices 0 to {k - 1} (or one-hot rows), got {name}[{wrong[0]}] = {array[wrong[0]]}"
        )
