"""What users pass to the estimators, checked, and as the trainer takes it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight

from . import _validation as validation
from ._trainer import Data

Array = NDArray[Any]


def needs_no_checks(X: Any, y: Any) -> bool:
    """Whether scikit-learn's checks, which take half a millisecond, would change nothing and find nothing."""
    with np.errstate(over="ignore", invalid="ignore"):  # a sum that is not finite only means: look closer
        for array in (X, y):
            if type(array) is not np.ndarray or array.dtype.kind not in "fiub" or not np.isfinite(array.sum()):
                return False
    if X.ndim != 2 or y.ndim != 1 or X.dtype not in (np.float32, np.float64):
        return False
    return len(X) == len(y) and X.shape[1] > 0 and validation.is_ready(X, X.shape[1], X.dtype)


def validation_pair(X_val: Any, y_val: Any, eval_set: Any) -> Any:
    """(X, y), or None."""
    if eval_set is not None:
        if X_val is not None or y_val is not None:
            raise ValueError("eval_set is another way to pass X_val and y_val: give one of them")
        pair = eval_set[0] if isinstance(eval_set, list) and len(eval_set) == 1 else eval_set
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError(f"eval_set must be a pair (X, y), or a list of one pair; got a {type(eval_set).__name__}")
        return pair
    if (X_val is None) != (y_val is None):
        raise ValueError("X_val and y_val go together: one of them is missing")
    return None if X_val is None else (X_val, y_val)


def hidden_sizes(value: Any) -> list[int]:
    """hidden_layer_sizes as a list, also of a single number."""
    sizes = list(value) if isinstance(value, Iterable) else [value]
    integers = [validation.integer(f"hidden_layer_sizes[{i}]", size) for i, size in enumerate(sizes)]
    if min(integers, default=1) <= 0:
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return integers


def put(what: str, given: Any, views: tuple[Array, ...]) -> None:
    """Writes the arrays of a parameter into views."""
    if given is None:
        return
    if len(given) != len(views):
        raise ValueError(f"{what} must hold {len(views)} arrays, one for each layer; got {len(given)}")
    for i, (array, view) in enumerate(zip(given, views, strict=True)):
        view[...] = validation.like(f"{what}[{i}]", array, view.shape, view.dtype)
        validation.check_finite(f"{what}[{i}]", view)


def checked_weights(sample_weight: Any, x: Any) -> Array | None:
    """sample_weight as the kernels take it, (n,) float64."""
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
    if not np.any(weights):
        raise ValueError("sample_weight must not be zero for all rows: there is nothing to learn from")
    return validation.kernel_array(weights, np.float64)


def trainer_data(x: Any, y: Array, weights: Array | None, dtype: Any) -> Data:
    """What the epoch takes. A row of weight 0 is left out: a batch of such rows would have no mean."""
    ready = validation.kernel_array
    if scipy.sparse.issparse(x):
        x = scipy.sparse.csr_array((ready(x.data, dtype), x.indices, x.indptr), shape=x.shape)
    else:
        x = ready(x, dtype)
    rows = np.arange(x.shape[0]) if weights is None else np.flatnonzero(weights)
    return Data(x, ready(y, dtype).reshape(-1), rows, np.empty(0) if weights is None else weights)
