"""Losses that have a parameter, and what `MLP.compute_loss` reports; what is trained on is in kernels/losses.py.

`MLP` takes the losses without a parameter by name alone, and these, too, if the parameter's default will do.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import _validation

Array = NDArray[Any]


@dataclass(frozen=True)
class Loss:
    """What these losses share. Parameters are checked when one is made.

    Examples
    --------
    >>> from fastmlp.losses import Huber, Loss
    >>> isinstance(Huber(), Loss)
    True
    """

    name: ClassVar[str]  # the rows of kernels/losses.py

    def of_outputs(self, k: int) -> list[float]:
        """The parameter of each output; empty if there is none.

        Parameters
        ----------
        k : int
            How many outputs there are.

        Returns
        -------
        list of float

        Examples
        --------
        >>> Loss().of_outputs(3)
        []
        """
        return []


@dataclass(frozen=True)
class Huber(Loss):
    """``1/2 (a - y)**2`` where ``|a - y| <= delta``, beyond that its tangent (Huber 1964).

    Parameters
    ----------
    delta : float, default 1.0
        In the units of the targets, more than 0: where the parabola ends.

    Raises
    ------
    ValueError, TypeError
        delta is not positive and finite; it is no number.

    Examples
    --------
    >>> from fastmlp import MLP, Huber
    >>> mlp = MLP([3, 1], output_activation="linear", loss=Huber(delta=0.5))
    >>> mlp.compute_loss([0.0, 0.0], [0.5, 2.5])  # 1/2 0.5**2, and 0.5 (2.5 - 0.5/2)
    0.625
    """

    name = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", _validation.real("delta", self.delta, above=0.0))

    def of_outputs(self, k: int) -> list[float]:
        """The same for all.

        Parameters
        ----------
        k : int
            How many outputs there are.

        Returns
        -------
        list of float
            As many.

        Examples
        --------
        >>> Huber(0.5).of_outputs(3)
        [0.5, 0.5, 0.5]
        """
        return [float(self.delta)] * k


@dataclass(frozen=True)
class Quantile(Loss):
    """The pinball loss, ``q (y - a)`` below the target and ``(1 - q) (a - y)`` above (Koenker & Bassett 1978).

    Parameters
    ----------
    quantile : float or sequence of float, default 0.5
        The share of targets that should lie below the output, more than 0 and less than 1: one number for all outputs,
        or one for each. A sequence becomes a tuple.

    Raises
    ------
    ValueError, TypeError
        A quantile is not between 0 and 1, or there is none; it is no number.

    Examples
    --------
    >>> from fastmlp import MLP, Quantile
    >>> mlp = MLP([3, 2], output_activation="linear", loss=Quantile([0.25, 0.75]))
    >>> mlp.loss
    Quantile(quantile=(0.25, 0.75))
    >>> mlp.compute_loss([[1.0, 1.0]], [[0.0, 0.0]])  # both below the target: (0.25 + 0.75) / 2
    0.5
    """

    name = "quantile"
    quantile: float | tuple[float, ...] = 0.5

    def __post_init__(self) -> None:
        given: Any = self.quantile
        if not isinstance(given, Iterable) or isinstance(given, str):
            object.__setattr__(self, "quantile", _validation.real("quantile", given, above=0.0, below=1.0))
            return
        several = tuple(_validation.real(f"quantile[{i}]", q, above=0.0, below=1.0) for i, q in enumerate(given))
        if not several:
            raise ValueError(f"quantile must be a number or several, got {given!r}")
        object.__setattr__(self, "quantile", several)

    def of_outputs(self, k: int) -> list[float]:
        """One number repeated, or the several.

        Parameters
        ----------
        k : int
            How many outputs there are.

        Returns
        -------
        list of float
            As many.

        Raises
        ------
        ValueError
            There are several, and not k.

        Examples
        --------
        >>> Quantile(0.5).of_outputs(2), Quantile([0.1, 0.9]).of_outputs(2)
        ([0.5, 0.5], [0.1, 0.9])
        """
        several = self.quantile if isinstance(self.quantile, tuple) else (float(self.quantile),) * k
        if len(several) != k:
            raise ValueError(f"quantile must be one number or {k}, one for each output; got {self.quantile}")
        return list(several)


LOSSES: dict[str, type[Loss]] = {kind.name: kind for kind in (Huber, Quantile)}


def name_of(loss: str | Loss) -> str:
    """The name in the kernels' table.

    Parameters
    ----------
    loss : str or Loss

    Returns
    -------
    str

    Examples
    --------
    >>> from fastmlp.losses import Huber, name_of
    >>> name_of(Huber()), name_of("poisson")
    ('huber', 'poisson')
    """
    return loss if isinstance(loss, str) else loss.name


def resolve(loss: str | Loss, known: Iterable[str]) -> str | Loss:
    """A loss with its parameter's default for a name that has one; else the given one itself.

    Parameters
    ----------
    loss : str or Loss
    known : iterable of str
        The names that are allowed.

    Returns
    -------
    str or Loss

    Raises
    ------
    ValueError, TypeError
        The name is not known; it is no name.

    Examples
    --------
    >>> from fastmlp.losses import resolve
    >>> [resolve(name, ["huber", "poisson"]) for name in ("huber", "poisson")]
    [Huber(delta=1.0), 'poisson']
    """
    if isinstance(loss, Loss) and getattr(loss, "name", None) in LOSSES:
        return loss
    name = _validation.choice("loss", loss, known, "an instance such as Huber()")
    return LOSSES[name]() if name in LOSSES else name


def _logarithm(p: Array) -> Array:
    return np.asarray(np.log(np.maximum(p, 1e-300)))


def _binary_cross_entropy(y: Array, p: Array, _: Array) -> Array:
    p = np.clip(p, 1e-15, 1 - 1e-15)
    return np.asarray(-(y * np.log(p) + (1 - y) * np.log(1 - p)))


def _huber(y: Array, p: Array, delta: Array) -> Array:
    slope = np.clip(y - p, -delta, delta)
    return np.asarray(slope * (y - p - slope / 2))


# What is reported of each entry, from (y_true, y_pred, the parameter of each output).
_REPORTED: dict[str, Callable[[Array, Array, Array], Array]] = {
    "squared_error": lambda y, p, _: (y - p) ** 2,
    "absolute_error": lambda y, p, _: np.abs(y - p),
    "binary_cross_entropy": _binary_cross_entropy,
    "cross_entropy": lambda y, p, _: -y * _logarithm(p),
    "poisson": lambda y, p, _: y * (_logarithm(y) - _logarithm(p)) - y + p,
    "gamma": lambda y, p, _: y / np.maximum(p, 1e-300) - (_logarithm(y) - _logarithm(p)) - 1,
    "huber": _huber,
    "quantile": lambda y, p, q: (q - (y < p)) * (y - p),
}


def plain_mean(loss: str | Loss, y: Array, p: Array) -> float:
    """The mean over entries, of cross_entropy over rows, of what `MLP.compute_loss` reports.

    Parameters
    ----------
    loss : str or Loss
    y, p : ndarray of float64 of the same shape
        Targets and predictions.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.losses import Huber, plain_mean
    >>> plain_mean(Huber(delta=1.0), np.array([0.0, 0.0]), np.array([1.0, 2.0]))
    1.0
    """
    parameter = np.array(loss.of_outputs(p.shape[-1]) if isinstance(loss, Loss) else [])
    entries = _REPORTED[name_of(loss)](y, p, parameter)
    return float(np.mean(entries.sum(axis=-1) if name_of(loss) == "cross_entropy" else entries))
