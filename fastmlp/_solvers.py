"""The optimiser of each solver of the estimators. To add a solver: write a row in SOLVERS."""

from collections.abc import Callable
from typing import Any

from .optimizers import SGD, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop


class _SklearnMomentum(Momentum):
    """scikit-learn allows momentum=1, too."""

    def __post_init__(self) -> None:
        pass


class _SklearnNesterov(Nesterov):
    """scikit-learn allows momentum=1, too."""

    def __post_init__(self) -> None:
        pass


class _SklearnAdam(Adam):
    """epsilon is added before the bias correction, to ``sqrt(v)``: epsilon hat of Kingma & Ba 2015, section 2."""

    corrected = 2


class _SklearnAdamW(AdamW):
    """The same with weight decay."""

    corrected = 2


class Still(SGD):
    """Leaves the parameters alone: for who only wants losses and gradients."""

    kernel = "none"


def _epsilon(est: Any) -> float:
    return max(float(est.epsilon), 1e-37)  # float32 has no less


def _sgd(est: Any) -> Optimizer:
    if est.momentum == 0:
        return SGD()
    return (_SklearnNesterov if est.nesterovs_momentum else _SklearnMomentum)(float(est.momentum))


def _adam(est: Any) -> Adam:
    return _SklearnAdam(float(est.beta_1), float(est.beta_2), _epsilon(est))


def _adamw(est: Any) -> Optimizer:
    adam = _adam(est)
    return _SklearnAdamW(adam.beta1, adam.beta2, adam.epsilon, float(est.weight_decay))


# The optimiser of each solver; L-BFGS moves the parameters itself.
SOLVERS: dict[str, Callable[[Any], Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
    "rmsprop": lambda est: RMSprop(float(est.rho), _epsilon(est)),
    "lbfgs": lambda est: Still(),
}
