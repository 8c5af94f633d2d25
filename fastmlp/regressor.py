"""MLPRegressor: scikit-learn's, with more, on compiled kernels."""

from numbers import Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import d2_pinball_score
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from ._own_loss import OwnLoss
from .estimators import BaseMLP, goes_in_batches
from .losses import Huber, Loss, Quantile

Array = NDArray[Any]


def _numbers(y: Any) -> Any:
    """y, if it is an array of finite numbers."""
    if scipy.sparse.issparse(y):
        raise TypeError("y must be an array of numbers, got a sparse matrix: y.toarray() makes it one")
    if y.dtype.kind not in "fiubO":
        raise TypeError(f"y must be an array of numbers, got dtype {y.dtype}")
    if y.dtype.kind in "fO":
        y = y.astype(np.float64) if y.dtype.kind == "O" else y
        assert_all_finite(y, input_name="y")
    return y


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multi-layer perceptron for numbers: scikit-learn's MLPRegressor, trained by compiled kernels.

    Parameters, attributes, methods, defaults and errors are those of scikit-learn 1.9, and those of `MLPClassifier`
    except for the following.

    Parameters
    ----------
    loss : str, callable or pair of functions, default 'squared_error'
        'squared_error': half of it. 'poisson', 'gamma': half the deviance of ``exp(z)``, for targets of at least 0,
        above 0. 'absolute_error': predictions are medians. 'huber': half the squared error where it is at most `delta`
        from the target, beyond that its tangent. 'quantile': the pinball loss of `quantile`.

        A loss of your own is a function of (y_true, y_pred), arrays of some rows of a batch, (n,) or for several
        targets (n, n_outputs), that returns (loss, gradient), two arrays of that shape; the gradient is with respect to
        y_pred. Or two functions of single numbers (y_true, y_pred), compiled by ``numba.njit``: the loss, and its
        derivative with respect to y_pred. Training follows the mean over rows of the sum over outputs, and with several
        threads calls from any of them.
    delta : float, default 1.0
        See 'huber'.
    quantile : float or array-like of float, default 0.5
        The share of targets that should lie below the prediction, more than 0 and less than 1. With several, each has
        its output in one network, and nothing keeps them from crossing; `predict` gives (n_samples, n_quantiles), or
        for several targets (n_samples, n_targets, n_quantiles).
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, \
shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, \
beta_1, beta_2, epsilon, n_iter_no_change, max_fun, scoring, dropout, clip_norm, weight_decay, rho, warmup, \
diagnostics, n_threads, dtype, coefs_init, intercepts_init
        See `MLPClassifier`.

    Attributes
    ----------
    loss_ : float
        See `MLPClassifier`; the squared errors' mean over outputs, as in scikit-learn.
    validation_scores_ : list of float or None
        With early stopping, the score (see `scoring`) on the rows set aside after each epoch.
    out_activation_ : {'identity', 'exp'}
        The output's activation.
    best_loss_, loss_curve_, best_validation_score_, history_, diagnostics_, t_, coefs_, intercepts_, learning_rate_, \
n_features_in_, feature_names_in_, n_iter_, n_layers_, n_outputs_
        See `MLPClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from fastmlp import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X, y = scale(X), scale(y)
    >>> model = MLPRegressor(hidden_layer_sizes=16, solver="lbfgs", alpha=10, max_iter=2000, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.5)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "loss": [
            StrOptions({"squared_error", "poisson", "absolute_error", "huber", "quantile", "gamma"}),
            callable,
            tuple,
        ],
        "delta": [Interval(Real, 0, None, closed="neither")],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
    }
    _y_checks: ClassVar[dict[str, Any]] = {"y_numeric": True}

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        delta: float = 1.0,
        quantile: Any = 0.5,
        scoring: Any = None,
        clip_norm: float | None = None,
        dropout: Any = 0.0,
        weight_decay: float | None = None,
        rho: float = 0.9,
        warmup: float = 0.0,
        diagnostics: bool = False,
        n_threads: int | None = None,
        dtype: Any = None,
        coefs_init: Any = None,
        intercepts_init: Any = None,
    ):
        self._keep(locals())

    @available_if(goes_in_batches)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """One more epoch on these rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Parameters or data do not fit, or training diverges: nothing has changed.

        Examples
        --------
        >>> from fastmlp import MLPRegressor
        >>> model = MLPRegressor(hidden_layer_sizes=8, random_state=0)
        >>> for X, y in (([[0], [1]], [0, 2]), ([[2], [3]], [4, 6])):
        ...     model = model.partial_fit(X, y)
        >>> model.t_, len(model.loss_curve_)
        (4, 2)
        """
        return self._fit(X, y, sample_weight, None)

    def predict(self, X: Any) -> Array:
        """The prediction for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            With several quantiles the last axis is theirs.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            X does not have the features of the fit, or holds what is not a finite number.

        Examples
        --------
        >>> from fastmlp import MLPRegressor
        >>> X, y = [[0], [1], [2], [3]], [0, 2, 4, 6]
        >>> MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", random_state=0).fit(X, y).predict(X).shape
        (4,)
        >>> model = MLPRegressor("quantile", 8, quantile=[0.1, 0.5, 0.9], random_state=0)
        >>> model.partial_fit(X, y).predict(X).shape
        (4, 3)
        """
        outputs = self._outputs(X)
        n_quantiles = len(self._quantiles())
        if n_quantiles:
            return outputs if outputs.shape[1] == n_quantiles else outputs.reshape(len(outputs), -1, n_quantiles)
        return outputs if outputs.shape[1] > 1 else outputs[:, 0]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R2; with loss='quantile' D2 of the pinball loss, the mean over quantiles (see `d2_pinball_score`).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
            1 at best, and 0 if all predictions are the mean of y, or its quantiles.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            X does not have the features of the fit, or holds what is not a finite number.

        Examples
        --------
        >>> from fastmlp import MLPRegressor
        >>> X, y = [[0], [1], [2], [3]], [0, 2, 4, 6]
        >>> model = MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", random_state=0).fit(X, y)
        >>> bool(model.score(X, y) > 0.9)
        True
        """
        if self.loss != "quantile":
            return float(super().score(X, y, sample_weight))
        outputs = self._outputs(X)
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        check_consistent_length(outputs, y, sample_weight)
        weights = None if sample_weight is None else np.asarray(sample_weight)
        return self._score_outputs(self._targets_of(y), outputs, weights)

    def _encode(self, y: Any, incremental: bool) -> Array:
        y = _numbers(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._check_range(y)
        self.n_outputs_ = (y.shape[1] if y.ndim == 2 else 1) * self._n_quantiles()
        return self._for_each_quantile(y)

    def _targets_of(self, y: Any, known: bool = True) -> Array:
        targets, n_targets = np.asarray(_numbers(y), np.float64), self.n_outputs_ // self._n_quantiles()
        if targets.size != len(targets) * n_targets:
            raise ValueError(f"y must have {n_targets} outputs, got shape {targets.shape}")
        self._check_range(targets)
        return self._for_each_quantile(targets)

    def _check_range(self, y: Array) -> None:
        if self.loss == "poisson" and np.min(y) < 0:
            raise ValueError(f"y must be at least 0 for loss='poisson', got {np.min(y)}")
        if self.loss == "gamma" and np.min(y) <= 0:
            raise ValueError(f"y must be greater than 0 for loss='gamma', got {np.min(y)}")

    def _quantiles(self) -> Any:
        """Those that predictions have an axis for; () if they have none."""
        several = self.loss == "quantile" and not isinstance(self.quantile, Real)
        return Quantile(self.quantile).quantile if several else ()

    def _n_quantiles(self) -> int:
        """How many outputs a target has."""
        return len(self._quantiles()) or 1

    def _for_each_quantile(self, y: Array) -> Array:
        """Targets once for each output."""
        n = self._n_quantiles()
        return y if n == 1 else np.repeat(y.reshape(len(y), -1), n, axis=1)

    def _labels_of(self, y: Array) -> Any:
        return super()._labels_of(y[:, :: self._n_quantiles()])

    def _output_and_loss(self) -> tuple[str, str | Loss]:
        if self.loss == "huber":
            return "identity", Huber(float(self.delta))
        if self.loss == "quantile":
            of_a_target = self._quantiles() or (float(self.quantile),)
            return "identity", Quantile(of_a_target * (self.n_outputs_ // len(of_a_target)))
        if not isinstance(self.loss, str):
            return "identity", OwnLoss(self.loss)
        return ("exp" if self.loss in ("poisson", "gamma") else "identity"), self.loss

    def _score_outputs(self, y: Array, outputs: Array, weights: Array | None) -> float:
        if not np.isfinite(outputs).all():
            return float("nan")
        y, outputs = y.reshape(outputs.shape).astype(np.float64), outputs.astype(np.float64)
        if self.loss == "quantile":
            quantiles = np.resize(self.quantile, self.n_outputs_).tolist()
            triples = zip(y.T, outputs.T, quantiles, strict=True)
            return float(np.mean([d2_pinball_score(t, p, sample_weight=weights, alpha=q) for t, p, q in triples]))
        residual = np.average((y - outputs) ** 2, axis=0, weights=weights)
        spread = np.average((y - np.average(y, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
        # scikit-learn's r2_score for targets that are all the same: 1 if they are met, else 0
        constant = spread == 0
        scores = np.where(constant, residual == 0, 1 - residual / np.where(constant, 1, spread))
        return float(np.mean(scores))
