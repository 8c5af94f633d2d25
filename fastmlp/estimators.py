"""What MLPClassifier and MLPRegressor share: checks, the network behind `coefs_`, fit, predictions, conversions."""

import contextlib
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.callback import with_callbacks
from sklearn.metrics import get_scorer_names
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from . import _conversion, _lbfgs, _stochastic
from . import _validation as validation
from ._callbacks import TakesCallbacks, Watcher
from ._estimator_input import checked_weights, hidden_sizes, needs_no_checks, put, trainer_data, validation_pair
from ._estimator_network import EstimatorNetwork
from ._scoring import Rows, dense_parts
from ._solvers import SOLVERS
from ._trainer import Data
from .kernels import activations
from .losses import Loss
from .schedules import SCHEDULES

Array = NDArray[Any]

# scikit-learn's names beside ours
_OTHER_NAMES = {"identity": "linear", "logistic": "sigmoid"}
_ACTIVATIONS = {row.name for row in activations.TABLE if row.hidden} | set(_OTHER_NAMES)

_SPARSE = 0.05  # the share of numbers below which a sparse product is faster than a dense one


class BaseMLP(TakesCallbacks, BaseEstimator):
    """The common base; use MLPClassifier or MLPRegressor."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(_ACTIVATIONS), list, tuple],
        "solver": [StrOptions(set(SOLVERS))],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive", "plateau", *SCHEDULES}), callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "rho": [Interval(Real, 0, 1, closed="left")],
        "warmup": [Interval(Real, 0, None, closed="left")],
        "diagnostics": ["boolean"],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "dtype": "no_validation",
        "coefs_init": [list, tuple, None],
        "intercepts_init": [list, tuple, None],
    }

    def _keep(self, arguments: dict[str, Any]) -> None:
        """The constructor's arguments, unchecked, as attributes of their names: scikit-learn's convention."""
        self.__dict__.update((name, value) for name, value in arguments.items() if name != "self")

    # --- what the two classes define ------------------------------------------------------------------------------

    def _encode(self, y: Any, incremental: bool) -> Array:
        """Targets as (n, n_outputs_) numbers, or (n,) class indices; sets n_outputs_ and what belongs to classes."""
        raise NotImplementedError

    def _targets_of(self, y: Any, known: bool = True) -> Array:
        """Targets as `_encode` gives them; of other rows, if it is not `known` that they suit."""
        raise NotImplementedError

    def _output_and_loss(self) -> tuple[str, str | Loss]:
        """scikit-learn's name of the output activation, and the network's loss."""
        raise NotImplementedError

    def _score_outputs(self, y: Array, outputs: Array, weights: Array | None) -> float:
        """The score of outputs for encoded targets: accuracy or R2."""
        raise NotImplementedError

    def _strata(self, y: Array, rows: Array) -> Array | None:
        """What early stopping's split keeps the shares of."""
        return None

    def _labels_of(self, y: Array) -> Any:
        """The user's targets from encoded ones."""
        return y[:, 0] if y.shape[1] == 1 else y

    def _weigh_classes(self, y: Array, weights: Array | None, incremental: bool) -> Array | None:
        """The rows' weights, times those of their classes."""
        return weights

    def _smoothed(self, data: Data) -> Data:
        """The same rows with the targets that are trained on."""
        return data

    def _loss_divisor(self) -> int:
        """scikit-learn reports the mean over outputs of squared errors, and the sum of its other losses."""
        return self.n_outputs_ if self.out_activation_ == "identity" else 1

    # --- fit ------------------------------------------------------------------------------------------------------

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None, eval_set: Any = None
    ) -> Any:
        """Trains on X and y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            float32 is trained in float32, all else in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
            How much each row counts, at least 0. A row of weight 0 is as good as absent.
        X_val, y_val : like X and y, optional
            Rows to validate on after each epoch (see `history_`). With early_stopping they are instead of rows of X.
            Ctrl-C keeps the epoch with their best score; without rows to validate on, the last whole epoch.
        eval_set : (X, y) or [(X, y)], optional
            Another way to pass X_val and y_val.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Parameters or data do not fit, or training diverges; a fit from before stays as it was.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> X, y = [[0], [1], [2], [3]], ["low", "low", "high", "high"]
        >>> model = MLPClassifier(8, solver="lbfgs", random_state=0).fit(X, y)
        >>> [W.shape for W in model.coefs_]
        [(1, 8), (8, 1)]
        """
        watcher = Watcher(self, X, y, sample_weight)
        self._fit(X, y, sample_weight, watcher, validation_pair(X_val, y_val, eval_set))
        watcher.close()
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, watcher: Watcher | None, pair: Any = None) -> Any:
        incremental = watcher is None
        with self._kept_unless_it_succeeds():
            hidden = hidden_sizes(self.hidden_layer_sizes)
            first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
            x, y = self._checked(X, y, first)
            weights = checked_weights(sample_weight, x)
            y = self._encode(y, incremental)
            weights = self._weigh_classes(y, weights, incremental)
            if weights is not None and not np.any(weights):
                raise ValueError("sample_weight times class_weight must not be zero for all rows")
            rng = check_random_state(self.random_state)
            if not self.diagnostics:
                self.__dict__.pop("diagnostics_", None)  # those of an earlier fit
            if first:
                dtype = x.dtype if self.dtype is None else validation.float_dtype(self.dtype)
                network = self._initialize([x.shape[1], *hidden, self.n_outputs_], rng, dtype)
            else:
                network = self._network()
                self._check_unchanged([x.shape[1], *hidden, self.n_outputs_], network)
                if self.solver == "lbfgs" and network.dtype != np.float64:
                    network = network.changed(self._hidden_names(len(hidden)), np.float64)
                method = SOLVERS[self.solver](self)
                if not incremental or method.kernel != network.optimizer.kernel:
                    network = network.twin()  # if this fit fails, the old one stays
                network.use(method)
            network.alpha, network.n_threads = float(self.alpha), self.n_threads
            data = trainer_data(x, y, weights, network.dtype)
            self._adopt(network)
            held_out = None if pair is None else self._held_out(pair[0], pair[1], network.dtype)
            if self.solver == "lbfgs":
                _lbfgs.fit(self, network, self._smoothed(data), watcher)
            else:
                _stochastic.fit(self, network, data, rng, watcher, held_out)
        return self

    def _held_out(self, X: Any, y: Any, dtype: Any) -> Rows:
        """The user's own rows to validate on."""
        if self.solver == "lbfgs":
            raise ValueError("X_val is looked at after each epoch, which solver='lbfgs' does not have")
        kinds = (np.float64, np.float32)
        try:
            x = validate_data(self, X, accept_sparse="csr", dtype=kinds, order="C", reset=False)
            labels = check_array(y, ensure_2d=False, dtype=None, input_name="y", accept_sparse="csr")
            check_consistent_length(x, labels)
            targets = self._targets_of(labels, known=False)
            labels = labels.toarray() if scipy.sparse.issparse(labels) else labels
        except (ValueError, TypeError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"X_val, y_val: {error}") from error
        data = trainer_data(x, targets, None, dtype)
        return Rows(data.x, data.y.reshape(len(labels), -1), None, labels)

    def _check_unchanged(self, sizes: list[int], network: EstimatorNetwork) -> None:
        if sizes != network.layer_sizes:
            raise ValueError(
                f"a fit that goes on must keep its layers: they have been {network.layer_sizes}, and would be {sizes}"
            )
        given = network.dtype if self.dtype is None or self.solver == "lbfgs" else validation.float_dtype(self.dtype)
        if given != network.dtype:
            raise ValueError(f"a fit that goes on must keep its dtype: it has been {network.dtype}, not {given}")
        if self._output_and_loss()[1] != network.loss:
            raise ValueError(
                f"a fit that goes on must keep its loss: it has been {network.loss}, and would be"
                f" {self._output_and_loss()[1]}"
            )

    @contextlib.contextmanager
    def _kept_unless_it_succeeds(self) -> Iterator[None]:
        """An error puts all attributes back."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        if reset and needs_no_checks(X, y):
            self.n_features_in_ = X.shape[1]
            self.__dict__.pop("feature_names_in_", None)
            return X, y
        kinds = (np.float64, np.float32)
        checked: tuple[Any, Any] = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, dtype=kinds, order="C", reset=reset, **self._y_checks
        )
        return checked

    _y_checks: ClassVar[dict[str, Any]] = {}

    def _initialize(self, sizes: list[int], rng: Any, dtype: Any) -> EstimatorNetwork:
        """A new network with scikit-learn's initial weights, drawn in its order, and the attributes of a new fit."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._output_and_loss()[0]
        network = self._build(sizes, np.float64 if self.solver == "lbfgs" else dtype)
        names = self._hidden_activations(len(sizes) - 2)
        names = (*names, names[-1] if names else self.activation)  # the output layer's weights are drawn like the last
        for name, W, b in zip(names, network.coefs, network.intercepts, strict=True):
            bound = np.sqrt((2.0 if name in ("logistic", "sigmoid") else 6.0) / sum(W.shape))  # Glorot & Bengio 2010
            W[:] = rng.uniform(-bound, bound, W.shape)
            b[:] = rng.uniform(-bound, bound, b.shape)
        for what, given, views in (
            ("coefs_init", self.coefs_init, network.coefs),
            ("intercepts_init", self.intercepts_init, network.intercepts),
        ):
            put(what, given, views)
        if self.solver != "lbfgs":
            _stochastic.begin(self)
        return network

    def _hidden_activations(self, n_hidden: int) -> tuple[str, ...]:
        """The activation of each hidden layer."""
        if isinstance(self.activation, str):
            return (self.activation,) * n_hidden
        if len(self.activation) != n_hidden:
            raise ValueError(
                f"activation must be one name or {n_hidden}, one for each hidden layer; got {self.activation!r}"
            )
        known = sorted(_ACTIVATIONS)
        return tuple(validation.choice(f"activation[{i}]", name, known) for i, name in enumerate(self.activation))

    def _hidden_names(self, n_hidden: int) -> tuple[str, ...]:
        """Their names in the kernels' table."""
        return tuple(_OTHER_NAMES.get(name, name) for name in self._hidden_activations(n_hidden))

    def _build(self, sizes: list[int], dtype: Any) -> EstimatorNetwork:
        output = _OTHER_NAMES.get(self.out_activation_, self.out_activation_)
        loss, method = self._output_and_loss()[1], SOLVERS[self.solver](self)
        network = EstimatorNetwork(sizes, self._hidden_names(len(sizes) - 2), output, loss, method, dtype)
        network.named = self.activation
        return network

    def _network(self) -> EstimatorNetwork:
        """The network of `coefs_` and `intercepts_`, with the `activation` there is now.

        A new one, if somebody has put others in their place.
        """
        network: EstimatorNetwork | None = self.__dict__.get("_net")
        if network is None or not network.holds(self.coefs_, self.intercepts_):
            coefs = [np.asarray(W) for W in self.coefs_]
            arrays = [*coefs, *map(np.asarray, self.intercepts_)]
            dtype = np.float32 if all(array.dtype == np.float32 for array in arrays) else np.float64
            network = self._build([len(coefs[0]), *(W.shape[1] for W in coefs)], dtype)
            network.weights = coefs
            network.biases = [np.reshape(b, (1, -1)) for b in self.intercepts_]
            self._adopt(network)
        elif network.named is not self.activation:
            hidden = self._hidden_names(network.num_layers - 2)
            if hidden != network.activation:
                network = network.changed(hidden, network.dtype)
                self._adopt(network)
            network.named = self.activation
        return network

    def _adopt(self, network: EstimatorNetwork) -> None:
        """`coefs_` and `intercepts_` are views of the network's parameters, in lists that anybody may change."""
        self._net, self.coefs_, self.intercepts_ = network, list(network.coefs), list(network.intercepts)

    # --- predictions ----------------------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Array:
        """The network's output for each row, (n, n_outputs_)."""
        state = self.__dict__
        network: EstimatorNetwork | None = state.get("_net")
        if network is not None and "feature_names_in_" not in state:
            ready = validation.is_ready(X, network.layer_sizes[0], network.dtype)
            if ready and network.named is self.activation and network.holds(self.coefs_, self.intercepts_):
                with contextlib.suppress(ValueError):  # not finite: the checks below say so in scikit-learn's words
                    return network._outputs(X)
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", order="C", reset=False)
        return self._network_outputs(self._network(), X)

    def _network_outputs(self, network: EstimatorNetwork, X: Any) -> Array:
        if not scipy.sparse.issparse(X):
            return network._outputs(validation.features("X", X, network.layer_sizes[0], network.dtype, scan=False))
        sparse = X.nnz < _SPARSE * X.shape[0] * X.shape[1]
        outputs = network.sparse_outputs(X) if sparse else None
        if outputs is not None:
            return outputs
        out: Array = np.empty((X.shape[0], self.n_outputs_), network.dtype)
        for rows, part in dense_parts(X, network.dtype):
            out[rows] = network._outputs(part)
        return out

    # --- copies and conversions -----------------------------------------------------------------------------------

    @classmethod
    def from_sklearn(cls, model: Any) -> Any:
        """The same estimator as scikit-learn's: parameters, everything learned, the solver's state.

        Parameters
        ----------
        model : estimator
            scikit-learn's class of the same name, fitted or not. It is left as it is.

        Returns
        -------
        estimator
            Predicts what `model` predicts, and trains on where it stands.

        Raises
        ------
        TypeError
            Another class.

        Examples
        --------
        >>> import fastmlp, sklearn.neural_network
        >>> X, y = [[0], [1], [2], [3]], ["low", "low", "high", "high"]
        >>> theirs = sklearn.neural_network.MLPClassifier(8, solver="lbfgs", random_state=0).fit(X, y)
        >>> ours = fastmlp.MLPClassifier.from_sklearn(theirs)
        >>> bool((ours.predict(X) == theirs.predict(X)).all())
        True
        """
        return _conversion.from_sklearn(cls, model)

    def to_sklearn(self) -> Any:
        """scikit-learn's estimator with the same parameters, everything learned, and the solver's state.

        For tools that know scikit-learn's classes only, such as skl2onnx. What only matters for training and has no
        place there (our solvers and schedules, the order of rows, early stopping's split) is left out.

        Returns
        -------
        estimator

        Raises
        ------
        ValueError
            scikit-learn has no such activation.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> X, y = [[0], [1], [2], [3]], ["low", "low", "high", "high"]
        >>> ours = MLPClassifier(8, solver="lbfgs", random_state=0).fit(X, y)
        >>> theirs = ours.to_sklearn()
        >>> type(theirs).__module__.split(".")[0], bool((theirs.predict(X) == ours.predict(X)).all())
        ('sklearn', True)
        """
        return _conversion.to_sklearn(self)

    def __getstate__(self) -> dict[str, Any]:
        if "_net" in self.__dict__:
            self._network()
        state: dict[str, Any] = dict(super().__getstate__())
        if "_net" in state:
            del state["coefs_"], state["intercepts_"]  # views of the network's parameters
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_net" in state:
            self._adopt(self._net)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def goes_in_batches(est: Any) -> bool:
    """Whether there is a partial_fit; AttributeError if not."""
    if est.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True
