"""Optimisers and their hyperparameters; the updates themselves are in kernels/optimizers.py.

The learning rate is the network's (``MLP.learning_rate``), so that it has one place and can change during training.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from . import _validation

Numbers = tuple[float, float, float, float]


@dataclass(frozen=True)
class Optimizer:
    """What all optimisers share. Hyperparameters are checked when one is made.

    Beside its step each takes ``learning_rate * weight_decay * p`` from the weights (decoupled decay: Loshchilov &
    Hutter 2019), not from the biases; PyTorch and optax decay both unless told otherwise.

    Examples
    --------
    >>> from fastmlp.optimizers import Adam, Optimizer
    >>> isinstance(Adam(), Optimizer)
    True
    """

    name: ClassVar[str]
    kernel: ClassVar[str]  # the row of kernels/optimizers.py
    corrected: ClassVar[int] = 0  # 1: Adam's bias corrections; 2: its epsilon is added before them

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name == "epsilon":
                number = _validation.real(name, value, above=0.0)
            else:
                number = _validation.real(name, value, least=0.0, below=math.inf if name == "weight_decay" else 1.0)
            object.__setattr__(self, name, number)

    def settings(self, learning_rate: float, alpha: float) -> list[float]:
        """The numbers that `kernels.optimizers.prepare` and `kernels.training.train` take.

        Parameters
        ----------
        learning_rate, alpha : float
            The network's.

        Returns
        -------
        list of float
            In the order of the positions in kernels/optimizers.py, up to ALPHA.

        Examples
        --------
        >>> from fastmlp import Momentum
        >>> Momentum(0.5).settings(learning_rate=0.25, alpha=0.0)  # rate, decay, two rates, epsilon, corrected, alpha
        [0.25, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]
        """
        return [learning_rate, *self._numbers(), float(self.corrected), alpha]

    def _numbers(self) -> Numbers:
        """weight_decay, beta1 (or momentum), beta2 (or rho) and epsilon; 0 for what there is not."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """``p -= learning_rate * g``.

    Parameters
    ----------
    weight_decay : float, default 0
        At least 0; see `fastmlp.optimizers.Optimizer`.

    Raises
    ------
    ValueError, TypeError
        A hyperparameter is out of bounds or not finite; it is no number.

    Examples
    --------
    >>> from fastmlp import MLP, SGD
    >>> mlp = MLP([1, 1], learning_rate=0.5, weight_init="zeros", optimizer=SGD())
    >>> mlp.update_parameters([[[1]]], [[[1]]])
    >>> mlp.parameters.tolist()
    [-0.5, -0.5]
    """

    name = kernel = "sgd"
    weight_decay: float = 0.0

    def _numbers(self) -> Numbers:
        return self.weight_decay, 0.0, 0.0, 0.0


@dataclass(frozen=True)
class Momentum(Optimizer):
    """``s = momentum * s + g; p -= learning_rate * s`` (PyTorch's and optax's form, Polyak 1964).

    scikit-learn keeps ``learning_rate * s`` instead: the same as long as the learning rate is constant.

    Parameters
    ----------
    momentum : float, default 0.9
        The share of s that stays in each update, at least 0 and less than 1.
    weight_decay : float, default 0
        At least 0; see `fastmlp.optimizers.Optimizer`.

    Raises
    ------
    ValueError, TypeError
        A hyperparameter is out of bounds or not finite; it is no number.

    Examples
    --------
    >>> from fastmlp import MLP, Momentum
    >>> mlp = MLP([1, 1], learning_rate=0.5, weight_init="zeros", optimizer=Momentum(0.5))
    >>> for _ in range(2):
    ...     mlp.update_parameters([[[1]]], [[[1]]])
    >>> mlp.parameters.tolist()  # s = 1, then 1.5
    [-1.25, -1.25]
    """

    name = kernel = "momentum"
    momentum: float = 0.9
    weight_decay: float = 0.0

    def _numbers(self) -> Numbers:
        return self.weight_decay, self.momentum, 0.0, 0.0


@dataclass(frozen=True)
class Nesterov(Optimizer):
    """``s = momentum * s + g; p -= learning_rate * (g + momentum * s)`` (Sutskever et al. 2013, PyTorch's form).

    Parameters
    ----------
    momentum : float, default 0.9
        The share of s that stays in each update, at least 0 and less than 1.
    weight_decay : float, default 0
        At least 0; see `fastmlp.optimizers.Optimizer`.

    Raises
    ------
    ValueError, TypeError
        A hyperparameter is out of bounds or not finite; it is no number.

    Examples
    --------
    >>> from fastmlp import MLP, Nesterov
    >>> mlp = MLP([1, 1], learning_rate=0.5, weight_init="zeros", optimizer=Nesterov(0.5))
    >>> mlp.update_parameters([[[1]]], [[[1]]])
    >>> mlp.parameters.tolist()
    [-0.75, -0.75]
    """

    name = kernel = "nesterov"
    momentum: float = 0.9
    weight_decay: float = 0.0

    def _numbers(self) -> Numbers:
        return self.weight_decay, self.momentum, 0.0, 0.0


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """``s = rho * s + (1 - rho) * g**2; p -= learning_rate * g / (sqrt(s) + epsilon)`` (Tieleman & Hinton 2012).

    epsilon stands outside the root, as in PyTorch.

    Parameters
    ----------
    rho : float, default 0.9
        The share of s that stays in each update, at least 0 and less than 1.
    epsilon : float, default 1e-8
        In the units of the gradient, more than 0; for `MLP` at least the least normal number of its dtype.
    weight_decay : float, default 0
        At least 0; see `fastmlp.optimizers.Optimizer`.

    Raises
    ------
    ValueError, TypeError
        A hyperparameter is out of bounds or not finite; it is no number.

    Examples
    --------
    >>> from fastmlp import MLP, RMSprop
    >>> MLP([2, 3, 1], optimizer=RMSprop(rho=0.99)).optimizer
    RMSprop(rho=0.99, epsilon=1e-08, weight_decay=0.0)
    """

    name = kernel = "rmsprop"
    rho: float = 0.9
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def _numbers(self) -> Numbers:
        return self.weight_decay, 0.0, self.rho, self.epsilon


@dataclass(frozen=True)
class Adam(Optimizer):
    """``p -= learning_rate * m_hat / (sqrt(v_hat) + epsilon)`` (Kingma & Ba 2015, algorithm 1).

    epsilon is added after the bias correction, as in PyTorch; scikit-learn adds it before.

    Parameters
    ----------
    beta1 : float, default 0.9
        The share of m, the mean gradient, that stays in each update, at least 0 and less than 1.
    beta2 : float, default 0.999
        The share of v, the mean square, that stays in each update, at least 0 and less than 1.
    epsilon : float, default 1e-8
        In the units of the gradient, more than 0; for `MLP` at least the least normal number of its dtype.
    weight_decay : float, default 0
        At least 0; see `fastmlp.optimizers.Optimizer`.

    Raises
    ------
    ValueError, TypeError
        A hyperparameter is out of bounds or not finite; it is no number.

    Examples
    --------
    >>> from fastmlp import MLP, Adam
    >>> MLP([2, 3, 1], optimizer=Adam(beta2=0.99)).optimizer
    Adam(beta1=0.9, beta2=0.99, epsilon=1e-08, weight_decay=0.0)
    >>> Adam(beta1=1)
    Traceback (most recent call last):
        ...
    ValueError: beta1 must be >= 0 and < 1 and finite, got 1
    """

    name = kernel = "adam"
    corrected = 1
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def _numbers(self) -> Numbers:
        return self.weight_decay, self.beta1, self.beta2, self.epsilon


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam that decays unless told otherwise.

    Parameters
    ----------
    beta1, beta2, epsilon : float, default 0.9, 0.999, 1e-8
        See `Adam`.
    weight_decay : float, default 0.01
        At least 0; see `fastmlp.optimizers.Optimizer`.

    Raises
    ------
    ValueError, TypeError
        A hyperparameter is out of bounds or not finite; it is no number.

    Examples
    --------
    >>> from fastmlp import MLP, AdamW
    >>> MLP([2, 3, 1], optimizer="adamw").optimizer == AdamW(weight_decay=0.01)
    True
    """

    name = "adamw"
    weight_decay: float = 0.01


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in (SGD, Momentum, Nesterov, RMSprop, Adam, AdamW)}


def resolve(optimizer: Any) -> Optimizer:
    """The optimiser of that name with its default hyperparameters, or the given one itself.

    Parameters
    ----------
    optimizer : str or Optimizer

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError, TypeError
        The name is not known; it is neither a name nor an optimiser.

    Examples
    --------
    >>> from fastmlp.optimizers import resolve
    >>> resolve("nesterov")
    Nesterov(momentum=0.9, weight_decay=0.0)
    """
    if isinstance(optimizer, Optimizer) and type(optimizer) is not Optimizer:
        return optimizer
    return OPTIMIZERS[_validation.choice("optimizer", optimizer, OPTIMIZERS, "an instance such as Adam()")]()
