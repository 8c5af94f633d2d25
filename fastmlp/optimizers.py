"""Optimisers and their hyperparameters; the updates themselves are in kernels/optimizers.py.

The learning rate is the network's (``MLP.learning_rate``), so that it has one place and can change during training.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from . import _validation


@dataclass(frozen=True)
class Optimizer:
    """What all optimisers share. Hyperparameters are checked when one is made.

    Beside its step each takes ``learning_rate * weight_decay * p`` from the weights (decoupled decay: Loshchilov &
    Hutter 2019), not from the biases; PyTorch and optax decay both unless told otherwise.
    """

    name: ClassVar[str]
    kernel: ClassVar[str]  # the row of kernels/optimizers.py
    corrected: ClassVar[int] = 0  # 1: Adam's bias corrections; 2: its epsilon is added before them

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "epsilon":
                _validation.real("epsilon", value, above=0.0)
            elif field.name == "weight_decay":
                _validation.real("weight_decay", value, least=0.0)
            else:
                _validation.real(field.name, value, least=0.0, below=1.0)

    def settings(self, learning_rate: float, alpha: float) -> list[float]:
        """The numbers that `kernels.optimizers.prepare` and `kernels.training.train` take."""
        first = getattr(self, "momentum", getattr(self, "beta1", 0.0))
        second = getattr(self, "rho", getattr(self, "beta2", 0.0))
        decay, epsilon = getattr(self, "weight_decay", 0.0), getattr(self, "epsilon", 0.0)
        return [learning_rate, decay, first, second, epsilon, float(self.corrected), alpha]


@dataclass(frozen=True)
class SGD(Optimizer):
    """``p -= learning_rate * g``."""

    name = kernel = "sgd"
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Momentum(Optimizer):
    """``s = momentum * s + g; p -= learning_rate * s`` (PyTorch's and optax's form, Polyak 1964).

    scikit-learn keeps ``learning_rate * s`` instead: the same as long as the learning rate is constant.
    """

    name = kernel = "momentum"
    momentum: float = 0.9
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Nesterov(Optimizer):
    """``s = momentum * s + g; p -= learning_rate * (g + momentum * s)`` (Sutskever et al. 2013, PyTorch's form)."""

    name = kernel = "nesterov"
    momentum: float = 0.9
    weight_decay: float = 0.0


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """``s = rho * s + (1 - rho) * g**2; p -= learning_rate * g / (sqrt(s) + epsilon)`` (Tieleman & Hinton 2012).

    epsilon stands outside the root, as in PyTorch.
    """

    name = kernel = "rmsprop"
    rho: float = 0.9
    epsilon: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Adam(Optimizer):
    """``p -= learning_rate * m_hat / (sqrt(v_hat) + epsilon)`` (Kingma & Ba 2015, algorithm 1).

    epsilon is added after the bias correction, as in PyTorch; scikit-learn adds it before.
    """

    name = kernel = "adam"
    corrected = 1
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam that decays unless told otherwise."""

    name = "adamw"
    weight_decay: float = 0.01


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in (SGD, Momentum, Nesterov, RMSprop, Adam, AdamW)}


def resolve(optimizer: Any) -> Optimizer:
    """The optimiser of that name with its default hyperparameters, or the given one itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    return OPTIMIZERS[_validation.choice("optimizer", optimizer, OPTIMIZERS)]()
