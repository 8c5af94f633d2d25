"""MLPRegressor: scikit-learn's, to the letter, on compiled kernels."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from .estimators import BaseMLP, goes_in_batches

Array = NDArray[Any]


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multi-layer perceptron for numbers: scikit-learn's MLPRegressor, trained by compiled kernels.

    Parameters, attributes, methods, defaults and errors are those of scikit-learn 1.9, and those of `MLPClassifier`
    except for the following.

    Parameters
    ----------
    loss : {'squared_error', 'poisson', 'absolute_error'}, default 'squared_error'
        Half the squared error; half the Poisson deviance of ``exp(z)``, for targets of at least 0; or the absolute
        error, whose predictions are medians.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, \
shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, \
beta_1, beta_2, epsilon, n_iter_no_change, max_fun, scoring, clip_norm, weight_decay, rho, warmup, diagnostics, \
n_threads, dtype, coefs_init, intercepts_init
        See `MLPClassifier`.

    Attributes
    ----------
    loss_ : float
        See `MLPClassifier`; the squared errors' mean over outputs, as in scikit-learn.
    validation_scores_ : list of float or None
        With early stopping, R2 on the rows set aside after each epoch.
    out_activation_ : {'identity', 'exp'}
        The output's activation.
    best_loss_, loss_curve_, best_validation_score_, t_, coefs_, intercepts_, learning_rate_, n_features_in_, \
feature_names_in_, n_iter_, n_layers_, n_outputs_
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
        "loss": [StrOptions({"squared_error", "poisson", "absolute_error"})],
    }
    _y_checks: ClassVar[dict[str, Any]] = {"y_numeric": True}

    def __init__(
        self,
        loss: str = "squared_error",
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
        scoring: Any = None,
        clip_norm: float | None = None,
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
            Parameters or data do not fit, and nothing has changed; or training diverges, and the last finite weights
            stay.
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
        """
        outputs = self._outputs(X)
        return outputs if outputs.shape[1] > 1 else outputs[:, 0]

    def _encode(self, y: Any, incremental: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._check_counts(y)
        self.n_outputs_ = y.shape[1] if y.ndim == 2 else 1
        targets: Array = y
        return targets

    def _targets_of(self, y: Any, known: bool = True) -> Array:
        targets = np.asarray(y, np.float64)
        if targets.size != len(targets) * self.n_outputs_:
            raise ValueError(f"y must have {self.n_outputs_} outputs, got shape {targets.shape}")
        self._check_counts(targets)
        return targets

    def _check_counts(self, y: Array) -> None:
        if self.loss == "poisson" and np.min(y) < 0:
            raise ValueError(f"y must be at least 0 for loss='poisson', got {np.min(y)}")

    def _output_and_loss(self) -> tuple[str, str]:
        return ("exp" if self.loss == "poisson" else "identity"), self.loss

    def _score_outputs(self, y: Array, outputs: Array, weights: Array | None) -> float:
        if not np.isfinite(outputs).all():
            return float("nan")
        y, outputs = y.astype(np.float64), outputs.astype(np.float64)
        residual = np.average((y - outputs) ** 2, axis=0, weights=weights)
        spread = np.average((y - np.average(y, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
        # scikit-learn's r2_score for targets that are all the same: 1 if they are met, else 0
        constant = spread == 0
        scores = np.where(constant, residual == 0, 1 - residual / np.where(constant, 1, spread))
        return float(np.mean(scores))
