"""Estimators to and from scikit-learn's: parameters, what has been learned, and the solver's state."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn.neural_network
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ._estimator_network import EstimatorNetwork
    from .estimators import BaseMLP

Array = NDArray[Any]

_NAMES = {"linear": "identity", "sigmoid": "logistic"}
_PRIVATE = ("_label_binarizer", "_no_improvement_count")  # what both classes keep beside public attributes


def theirs_of(ours: type["BaseMLP"]) -> Any:
    """scikit-learn's class of the same name."""
    return getattr(sklearn.neural_network, ours.__name__)


def _learned(est: Any) -> dict[str, Any]:
    """Copies of the attributes that a fit has set."""
    names = [name for name in vars(est) if name.endswith("_") and not name.startswith("_")]
    return {name: copy.deepcopy(getattr(est, name)) for name in [*names, *_PRIVATE] if hasattr(est, name)}


def from_sklearn(cls: type["BaseMLP"], model: Any) -> Any:
    """See `BaseMLP.from_sklearn`."""
    kind = theirs_of(cls)
    if not isinstance(model, kind):
        raise TypeError(f"model must be a {kind.__module__.split('.')[0]} {kind.__name__}, got {model!r}")
    ours = cls(**model.get_params())
    ours.__dict__.update(_learned(model))
    if not hasattr(model, "coefs_"):
        return ours
    network = ours._network()
    state = getattr(model, "_optimizer", None)
    if state is None:
        return ours
    ours._best = ours._last = ours._split_state = None
    ours._schedule_epoch = 0
    ours._rate_init = model.learning_rate_init
    ours.learning_rate_ = float(model.learning_rate_init)
    if hasattr(state, "ms"):
        network._updates[0] = state.t
        _write(network, 0, state.ms, 1.0)
        _write(network, 1, state.vs, 1.0)
    else:
        ours.learning_rate_ = float(state.learning_rate)
        if network._slots.size:
            _write(network, 0, state.velocities, -1 / ours.learning_rate_)  # they hold the learning rate, ours do not
    return ours


def to_sklearn(est: "BaseMLP") -> Any:
    """See `BaseMLP.to_sklearn`."""
    kind = theirs_of(type(est))
    model = kind()
    parameters = {name: value for name, value in est.get_params().items() if name in model.get_params()}
    given = [est.activation] if isinstance(est.activation, str) else est.activation
    names = {_NAMES.get(name, name) for name in given}
    if len(names) <= 1:  # of no hidden layer: whatever
        parameters["activation"] = names.pop() if names else model.activation
    for name in set(parameters) & {"solver", "learning_rate", "loss", "activation"}:
        (constraint,) = kind._parameter_constraints[name]
        if not constraint.is_satisfied_by(parameters[name]):
            if name == "activation":
                raise ValueError(f"scikit-learn's {kind.__name__} has no activation={est.activation!r}")
            del parameters[name]
    model.set_params(**parameters)
    if not hasattr(est, "coefs_"):
        return model
    network = est._network()
    learned = _learned(est)
    rate = learned.pop("learning_rate_", None)
    model.__dict__.update(learned)
    model._best_coefs, model._best_intercepts = copy.deepcopy((model.coefs_, model.intercepts_))
    if rate is not None and model.solver == est.solver:
        model._optimizer = _optimizer(est, network, model, rate)
    return model


def _optimizer(est: "BaseMLP", network: "EstimatorNetwork", model: Any, rate: float) -> Any:
    """scikit-learn's optimiser in the state of ours."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    arrays = model.coefs_ + model.intercepts_
    if est.solver == "adam":
        adam = AdamOptimizer(arrays, est.learning_rate_init, est.beta_1, est.beta_2, est.epsilon)
        adam.t = int(network._updates[0])
        adam.ms, adam.vs = (_read(network, slot, 1.0) for slot in (0, 1))
        return adam
    sgd = SGDOptimizer(
        arrays, est.learning_rate_init, est.learning_rate, est.momentum, est.nesterovs_momentum, est.power_t
    )
    sgd.learning_rate = rate
    if network._slots.size:
        sgd.velocities = _read(network, 0, -rate)
    return sgd


def _slot(network: "EstimatorNetwork", number: int) -> list[Array]:
    """Views of a slot of the optimiser, shaped like all weights, then all biases."""
    n = network._layout.n_parameters
    weights, biases = network._layout.views(network._slots[number * n : (number + 1) * n])
    return [*weights, *(b[0] for b in biases)]


def _write(network: "EstimatorNetwork", number: int, arrays: list[Array], factor: float) -> None:
    for view, array in zip(_slot(network, number), arrays, strict=True):
        view[...] = factor * array


def _read(network: "EstimatorNetwork", number: int, factor: float) -> list[Array]:
    return [np.asarray(factor * view, network.dtype) for view in _slot(network, number)]
