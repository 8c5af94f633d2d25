"""MLPClassifier: scikit-learn's, with more, on compiled kernels."""

from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from ._trainer import Data
from .estimators import BaseMLP, goes_in_batches

Array = NDArray[Any]


def _label_binarizer(y: Array) -> LabelBinarizer:
    """A fitted one. Its own `fit` takes most of a millisecond, which integers can do without."""
    if y.ndim != 1 or y.dtype.kind not in "iub":
        return LabelBinarizer().fit(y)
    least, most = int(y.min()), int(y.max())
    if most - least > len(y) or most >= 2**63:
        return LabelBinarizer().fit(y)
    binarizer = LabelBinarizer()
    binarizer.classes_ = (np.flatnonzero(np.bincount(y.astype(np.int64) - least)) + least).astype(y.dtype)
    binarizer.y_type_ = "binary" if len(binarizer.classes_) <= 2 else "multiclass"
    binarizer.sparse_input_ = False
    return binarizer


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multi-layer perceptron that classifies: scikit-learn's MLPClassifier, trained by compiled kernels.

    Parameters, attributes, methods, defaults and errors are those of scikit-learn 1.9. Two classes and several labels
    have sigmoid outputs, more classes a softmax; the loss is the log-loss plus ``alpha / (2 n) * sum(W**2)``.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default (100,)
        Numbers of units of the hidden layers.
    activation : str or list of str, default 'relu'
        Of the hidden layers, one for all or one for each: 'identity' (or 'linear'), 'logistic' (or 'sigmoid'), 'tanh',
        'relu', and besides 'leaky_relu', 'elu', 'selu', 'gelu', 'silu', 'mish', 'softplus'.
    solver : {'adam', 'sgd', 'lbfgs', 'adamw', 'rmsprop'}, default 'adam'
        'lbfgs' looks at all rows in each step, and suits small data; it works in float64.
    alpha : float, default 1e-4
        Strength of the L2 penalty on weights (not on intercepts); divided by the number of rows of a batch.
    batch_size : int or 'auto', default 'auto'
        Rows in a step; 'auto' is ``min(200, n_samples)``. Not for 'lbfgs'.
    learning_rate : str or callable, default 'constant'
        For 'sgd' also: 'invscaling' gives ``learning_rate_init / (t_ + 1)**power_t`` after an epoch; 'adaptive' divides
        by 5 when training would stop for lack of improvement, until the rate is 1e-6. For all: 'plateau', the same as
        'adaptive'; 'step', 'exponential', 'cosine', 'one_cycle' (`fastmlp.schedules`), or a function: of t, which part
        of the max_iter epochs is over, from 0 to 1; it gives what learning_rate_init is multiplied by in a step.
    learning_rate_init : float, default 1e-3
        The learning rate, or the first one.
    power_t : float, default 0.5
        See 'invscaling'.
    max_iter : int, default 200
        The most epochs; for 'lbfgs' iterations.
    shuffle : bool, default True
        A new order of rows in each epoch of several batches.
    random_state : int, RandomState instance or None, default None
        Initial weights (those of scikit-learn for the same number), early stopping's split, the order of rows.
    tol : float, default 1e-4
        The loss (with early stopping: the score) must improve by this much; 'lbfgs' stops at gradients below it.
    verbose : bool or int, default False
        Print the loss of each epoch.
    warm_start : bool, default False
        `fit` goes on from the last fit: its weights, the solver's state, the order of rows, early stopping's split, and
        the schedule, if that is not at its end. max_iter is the number of epochs that this fit may add.
    momentum : float, default 0.9
        For 'sgd', between 0 and 1.
    nesterovs_momentum : bool, default True
        For 'sgd', whether the momentum is Nesterov's.
    early_stopping : bool, default False
        Set rows aside, stop when their score no longer improves, and keep the weights with the best score.
    validation_fraction : float, default 0.1
        The share of rows that is set aside.
    beta_1, beta_2 : float, default 0.9, 0.999
        Adam's decay rates of the moments.
    epsilon : float, default 1e-8
        Adam's; added before the bias correction, as scikit-learn has it.
    n_iter_no_change : int, default 10
        Epochs without improvement that are allowed; numpy.inf: any number.
    max_fun : int, default 15000
        The most evaluations of the objective by 'lbfgs'.
    class_weight : dict, 'balanced' or None, default None
        How much the rows of each class count, beside their own weights; classes that are not named count 1. 'balanced':
        as if all classes were equally frequent. Not for several labels.
    label_smoothing : float, default 0
        This share, less than 1, of each label is spread evenly over the classes (Szegedy et al. 2016); of several
        labels, each is smoothed for itself. Rows to validate on keep their labels.
    scoring : str, callable or None, default None
        What early stopping goes by: a name or function as in scikit-learn; 'loss', the negative loss on the rows to
        validate on; None: accuracy, or R2.
    dropout : float or array-like of float, default 0
        The share, less than 1, of the hidden layers' outputs, of all or of each, that is left out at random in every
        step (Srivastava et al. 2014); the others are scaled up by ``1 / (1 - dropout)``. Not for 'lbfgs'.
    clip_norm : float or None, default None
        Longer gradients of a step, all layers together, are scaled to this Euclidean norm (Pascanu et al. 2013).
    weight_decay : float or None, default None
        Beside its step, whatever the solver (but not for 'lbfgs'), each update takes ``learning rate * weight_decay *
        W`` from the weights (decoupled decay: Loshchilov & Hutter 2019). None: 0.01 for 'adamw', else 0.
    rho : float, default 0.9
        For 'rmsprop': the decay rate of the mean square.
    warmup : float, default 0
        Linear warm-up of the learning rate over this many epochs, counted from the first fit.
    diagnostics : bool, default False
        Fill `diagnostics_`, and warn in plain words if the network does not learn.
    n_threads : int or None, default None
        The most threads to use; None: as many as are there and pay. The results are the same.
    dtype : {'float32', 'float64'} or None, default None
        Of weights and arithmetic; None: float32 for float32 X, else float64. 'lbfgs' always works in float64.
    coefs_init, intercepts_init : list of ndarray or None, default None
        Initial weights, shaped like `coefs_` and `intercepts_`.

    Attributes
    ----------
    classes_ : ndarray or list of ndarray of shape (n_classes,)
        The labels.
    loss_ : float
        The last epoch's mean loss, each batch before its update; 'lbfgs': at the end. Rows count by their weights.
    best_loss_ : float or None
        The least `loss_`; None with early stopping. Not for 'lbfgs'.
    loss_curve_ : list of float
        `loss_` of each epoch. Not for 'lbfgs'.
    validation_scores_ : list of float or None
        With early stopping, the score (see `scoring`) on the rows set aside after each epoch.
    best_validation_score_ : float or None
        The largest of them.
    history_ : dict of list of float
        For each epoch 'loss' and 'learning_rate'; with rows to validate on 'validation_score' and 'validation_loss'
        (without the penalty) after the epoch; with X_val also 'score', of the training rows, which count alike here, as
        those of X_val do. NaN in epochs that had none. Not for 'lbfgs'.
    diagnostics_ : dict
        With diagnostics, of the last fit: 'gradient_norm' of each epoch and layer; 'dead_units' and 'saturated_units',
        the shares of each hidden layer's units that are so for the first 1000 rows; 'messages'. Not for 'lbfgs'.
    t_ : int
        Rows that training has seen.
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        The weights of each layer.
    intercepts_ : list of ndarray of shape (fan_out,)
        The biases of each layer.
    learning_rate_ : float
        The learning rate of the last step (without `warmup`). Not for 'lbfgs'.
    n_features_in_ : int
        Features seen by `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if X had names that are all strings.
    n_iter_ : int
        Epochs (iterations) of the last fit.
    n_layers_ : int
        Layers, input and output included.
    n_outputs_ : int
        Outputs.
    out_activation_ : {'logistic', 'softmax'}
        The output's activation.

    Notes
    -----
    Initial weights are uniform with the bound ``sqrt(6 / (fan_in + fan_out))``, 2 instead of 6 for 'logistic' (Glorot &
    Bengio 2010), intercepts likewise. Adam is that of Kingma & Ba 2015 with the epsilon of section 2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import scale
    >>> from fastmlp import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(max_iter=1000, random_state=0).fit(scale(X), y)
    >>> bool(model.score(scale(X), y) > 0.95)
    True
    """

    loss = "log_loss"  # scikit-learn's name of the only one

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
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
        class_weight: Any = None,
        label_smoothing: float = 0.0,
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """One more epoch on these rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
        classes : array-like of shape (n_classes,), optional
            All classes that there will ever be; needed by the first call.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Parameters or data do not fit, or training diverges: nothing has changed.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> model = MLPClassifier(8, random_state=0)
        >>> for X, y in (([[0], [1]], ["a", "b"]), ([[2], [3]], ["b", "c"])):
        ...     model = model.partial_fit(X, y, classes=["a", "b", "c"])
        >>> model.t_, model.n_outputs_
        (4, 3)
        """
        with self._kept_unless_it_succeeds():
            if _check_partial_fit_first_call(self, classes):
                labels = y if type_of_target(y).startswith("multilabel") else classes
                self._label_binarizer = LabelBinarizer().fit(labels)
            return self._fit(X, y, sample_weight, None)

    def predict(self, X: Any) -> Any:
        """The likeliest class of each row, or for several labels 1 for each that is likelier than not.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            X does not have the features of the fit, or holds what is not a finite number.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> X, y = [[0], [1], [2], [3]], ["low", "low", "high", "high"]
        >>> MLPClassifier(8, solver="lbfgs", random_state=0).fit(X, y).predict([[0], [3]]).tolist()
        ['low', 'high']
        """
        outputs = self._outputs(X)
        if self._multilabel:
            return self._label_binarizer.inverse_transform(outputs)
        classes = self._label_binarizer.classes_
        if self._multiclass:
            return classes[outputs.argmax(axis=1)]
        return classes[(outputs[:, 0] > 0.5).astype(np.intp) if len(classes) > 1 else np.zeros(len(outputs), np.intp)]

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class (or label) for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            X does not have the features of the fit, or holds what is not a finite number.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> X, y = [[0], [1], [2], [3]], ["low", "low", "high", "high"]
        >>> model = MLPClassifier(8, solver="lbfgs", random_state=0).fit(X, y)
        >>> model.classes_.tolist(), model.predict_proba([[0], [3]]).round().tolist()
        (['high', 'low'], [[0.0, 1.0], [1.0, 0.0]])
        """
        outputs = self._outputs(X)
        if outputs.shape[1] > 1:
            return outputs
        both = np.empty((len(outputs), 2), outputs.dtype)
        both[:, 1] = outputs[:, 0]
        np.subtract(1, both[:, 1], out=both[:, 0])
        return both

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            X does not have the features of the fit, or holds what is not a finite number.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPClassifier
        >>> X, y = [[0], [1], [2], [3]], ["low", "low", "high", "high"]
        >>> model = MLPClassifier(8, solver="lbfgs", random_state=0).fit(X, y)
        >>> bool(np.allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X)))
        True
        """
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def _encode(self, y: Any, incremental: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = _label_binarizer(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            if self.warm_start and set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit."
                    f" Previously got {self.classes_}, `y` has {classes}"
                )
            if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
                )
        targets = self._targets_of(y)
        self.n_outputs_ = len(self.classes_) if self._multiclass else targets.reshape(len(targets), -1).shape[1]
        return targets

    @property
    def _multiclass(self) -> bool:
        """Whether a row has one of three or more classes."""
        return bool(self._label_binarizer.y_type_ == "multiclass")

    @property
    def _multilabel(self) -> bool:
        """Whether a row has any of several labels."""
        return bool(self._label_binarizer.y_type_.startswith("multilabel"))

    def _targets_of(self, y: Any, known: bool = True) -> Array:
        classes, kind = self.classes_, self._label_binarizer.y_type_
        if not known:
            y = y.toarray() if scipy.sparse.issparse(y) else y
            if y.ndim == 2 and y.shape[1] == 1 and not self._multilabel:
                y = y.ravel()
            if (y.shape[1:] or (1,)) != ((len(classes),) if self._multilabel else (1,)):
                raise ValueError(f"y must have the form of the training rows' ({kind}), got shape {y.shape}")
            values = [0, 1] if self._multilabel else classes
            unseen = np.setdiff1d(y, values)
            if len(unseen):
                raise ValueError(f"y has classes {unseen}, which are not among {values}")
        if kind == "binary" and y.ndim == 1:
            return np.asarray(y == classes[-1]) if len(classes) > 1 else np.zeros(len(y), bool)
        if self._multiclass and classes.dtype.kind in "iu" and (classes[0], classes[-1]) == (0, len(classes) - 1):
            return np.asarray(y)  # indices already
        targets: Array = np.searchsorted(classes, y) if self._multiclass else self._label_binarizer.transform(y)
        return targets

    def _labels_of(self, y: Array) -> Any:
        return y.astype(int) if self._multilabel else self.classes_[y[:, 0].astype(int)]

    def _weigh_classes(self, y: Array, weights: Array | None, incremental: bool) -> Array | None:
        given = self.class_weight
        if given is None:
            return weights
        if self._multilabel:
            raise ValueError("class_weight is for one class per row; weigh rows of several labels by sample_weight")
        y, k = y.astype(np.intp), len(self.classes_)
        if given == "balanced":
            if incremental:
                raise ValueError("class_weight='balanced' needs all rows at once, which partial_fit does not have")
            totals = np.bincount(y, weights, k)
            of_class = totals.sum() / (k * np.where(totals > 0, totals, 1))
        else:
            unknown = [label for label in given if label not in set(self.classes_)]
            if unknown:
                raise ValueError(f"class_weight has {unknown}, which are not among the classes {self.classes_}")
            of_class = [given.get(label, 1.0) for label in self.classes_]
            if not all(isinstance(weight, Real) for weight in of_class):
                raise ValueError(f"class_weight must hold numbers, got {given}")
            of_class = np.array(of_class, np.float64)
            if not (np.isfinite(of_class).all() and of_class.min() >= 0 and of_class[y].max() > 0):
                raise ValueError(f"class_weight must be finite, at least 0 and not 0 for all rows, got {given}")
        of_rows: Array = of_class[y]
        return of_rows if weights is None else of_rows * weights

    def _smoothed(self, data: Data) -> Data:
        unknown, y = float(self.label_smoothing), data.y
        if unknown == 0:
            return data
        k = len(self.classes_) if self._multiclass else 2
        if self._multiclass:
            y = np.eye(k, dtype=y.dtype)[y.astype(np.intp)].reshape(-1)
        return replace(data, y=(1 - unknown) * y + unknown / k)

    def _strata(self, y: Array, rows: Array) -> Array | None:
        return np.array(["False", "True"])[y[rows].astype(np.intp)] if self.n_outputs_ == 1 else None

    def _output_and_loss(self) -> tuple[str, str]:
        if self._multiclass:
            return "softmax", "cross_entropy"
        return "logistic", "binary_cross_entropy"

    def _score_outputs(self, y: Array, outputs: Array, weights: Array | None) -> float:
        if not np.isfinite(outputs).all():
            return float("nan")
        indices = y.shape[1] < outputs.shape[1]
        hits = outputs.argmax(axis=1) == y[:, 0] if indices else np.all((outputs > 0.5) == y, axis=1)
        return float(np.average(hits, weights=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
