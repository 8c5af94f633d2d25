"""Losses and scores of rows that are only looked at: those to validate on, and the training rows beside them."""

import copy
import inspect
from collections.abc import Iterator
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split

from ._trainer import Data

if TYPE_CHECKING:
    from ._estimator_network import EstimatorNetwork
    from .estimators import BaseMLP

Array = NDArray[Any]

_ROWS_MADE_DENSE = 1024  # of a sparse matrix, at a time


def dense_parts(x: Any, dtype: Any) -> Iterator[tuple[slice, Array]]:
    """All rows of x, dense; those of a sparse matrix some at a time."""
    if not scipy.sparse.issparse(x):
        yield slice(0, x.shape[0]), x
        return
    for start in range(0, x.shape[0], _ROWS_MADE_DENSE):
        rows = slice(start, start + _ROWS_MADE_DENSE)
        yield rows, x[rows].toarray().astype(dtype, copy=False)


class Rows(NamedTuple):
    """Rows to look at, as the network takes them; the labels are the user's form of y (None: ours to find)."""

    x: Any
    y: Array
    weights: Array | None
    labels: Any = None


def set_aside(est: "BaseMLP", data: Data, rng: Any) -> tuple[Data, Rows]:
    """What to train on, and some rows to validate on: only those are copied, the others stay where they are."""
    if est._split_state is None:
        est._split_state = copy.deepcopy(rng)
    else:  # a fit that goes on must not validate on what it has been trained on
        rng = copy.deepcopy(est._split_state)
    rows = np.asarray(data.rows)
    train, test = train_test_split(
        rows, random_state=rng, test_size=est.validation_fraction, stratify=est._strata(data.y, rows)
    )
    if len(test) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    y = data.y.reshape(data.x.shape[0], -1)[test]
    weights = data.row_weights[test] if data.row_weights.size else None
    return Data(data.x, data.y, train, data.row_weights), Rows(data.x[test], y, weights)


def _takes_weights(scorer: Any) -> bool:
    """Whether a scorer, scikit-learn's or any function of (estimator, X, y), can weigh rows."""
    parameters = inspect.signature(getattr(scorer, "_score_func", scorer)).parameters.values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


class Judge:
    """Score and loss of the network, as it is, on some rows."""

    def __init__(self, est: "BaseMLP", network: "EstimatorNetwork", rows: Rows):
        self.est, self.network, self.rows = est, network, rows
        self.scorer = None
        if est.scoring not in (None, "loss"):
            self.scorer = check_scoring(est, est.scoring)
            self.model = copy.copy(est)  # of the same network
            self.model.__dict__.pop("feature_names_in_", None)  # what it gets are arrays
            self.labels = est._labels_of(rows.y) if rows.labels is None else rows.labels

    def __call__(self) -> tuple[float, float]:
        """(score, loss), the loss without the penalty."""
        est, (x, y, weights, _) = self.est, self.rows
        outputs = np.empty((x.shape[0], est.n_outputs_), self.network.dtype)
        losses = [
            self.network._row_losses(part, y[rows].reshape(-1), outputs[rows])
            for rows, part in dense_parts(x, outputs.dtype)
        ]
        loss = float(np.average(np.concatenate(losses), weights=weights)) / est._loss_divisor()
        if est.scoring == "loss":
            return -loss, loss
        if self.scorer is None:
            return est._score_outputs(y, outputs, weights), loss
        chosen = {"sample_weight": weights} if weights is not None and _takes_weights(self.scorer) else {}
        score = self.scorer(self.model, x, self.labels, **chosen)
        if not isinstance(score, Real):
            raise TypeError(f"scoring must give a number, got {score!r}")
        return float(score), loss
