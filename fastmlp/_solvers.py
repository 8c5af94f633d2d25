"""The optimiser of each solver of the estimators. To add a solver: write a row in SOLVERS."""

from collections.abc import Callable
from typing import Any

from .optimizers import SGD, Adam, Momentum, Nesterov, Optimizer, RMSprop


class _Unchecked:
    """For hyperparameters that scikit-learn has checked: it allows momentum=1, too."""

    def __post_init__(self) -> None:
        pass


class _SklearnMomentum(_Unchecked, Momentum):
    pass


class _SklearnNesterov(_Unchecked, Nesterov):
    pass


class _SklearnAdam(Adam):
    """epsilon is added before the bias correction, to ``sqrt(v)``: epsilon hat of Kingma & Ba 2015, section 2."""

    corrected = 2


class Still(SGD):
    """Leaves the parameters alone: for those who only want losses and gradients."""

    kernel = "none"


def _epsilon(est: Any) -> float:
    return max(float(est.epsilon), 1e-37)  # scikit-learn allows 0; just above the least normal number of float32


def _decay(est: Any) -> float:
    if est.weight_decay is None:
        return 0.01 if est.solver == "adamw" else 0.0
    return float(est.weight_decay)


def _sgd(est: Any) -> Optimizer:
    if est.momentum == 0:
        return SGD(_decay(est))
    return (_SklearnNesterov if est.nesterovs_momentum else _SklearnMomentum)(float(est.momentum), _decay(est))


def _adam(est: Any) -> Optimizer:
    return _SklearnAdam(float(est.beta_1), float(est.beta_2), _epsilon(est), _decay(est))


def _lbfgs(est: Any) -> Optimizer:
    if est.weight_decay:
        raise ValueError(
            f"weight_decay={est.weight_decay} goes with the learning rate of a step, which lbfgs has not: alpha is"
            " for every solver"
        )
    return Still()


# The optimiser of each solver; L-BFGS moves the parameters itself.
SOLVERS: dict[str, Callable[[Any], Optimizer]] = {
    "adam": _adam,
    "adamw": _adam,
    "sgd": _sgd,
    "rmsprop": lambda est: RMSprop(float(est.rho), _epsilon(est), _decay(est)),
    "lbfgs": _lbfgs,
}
