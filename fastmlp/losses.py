"""Losses that have a parameter; the formulas themselves are in kernels/losses.py.

`MLP` takes the others by name alone, and these, too, if the parameter's default will do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from . import _validation


@dataclass(frozen=True)
class Loss:
    """What these losses share. Parameters are checked when one is made."""

    name: ClassVar[str]  # the rows of kernels/losses.py

    def of_outputs(self, k: int) -> list[float]:
        """The parameter of each of k outputs; empty if there is none."""
        return []


@dataclass(frozen=True)
class Huber(Loss):
    """``1/2 (a - y)**2`` where ``|a - y| <= delta``, beyond that its tangent (Huber 1964)."""

    name = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        _validation.real("delta", self.delta, above=0.0)

    def of_outputs(self, k: int) -> list[float]:
        """The same for all."""
        return [float(self.delta)] * k


@dataclass(frozen=True)
class Quantile(Loss):
    """The pinball loss, ``q (y - a)`` below the target and ``(1 - q) (a - y)`` above (Koenker & Bassett 1978).

    `quantile` is one number for all outputs, or a sequence of one for each.
    """

    name = "quantile"
    quantile: float | tuple[float, ...] = 0.5

    def __post_init__(self) -> None:
        given: Any = self.quantile
        if not isinstance(given, Iterable) or isinstance(given, str):
            _validation.real("quantile", given, above=0.0, below=1.0)
            return
        several = tuple(_validation.real(f"quantile[{i}]", q, above=0.0, below=1.0) for i, q in enumerate(given))
        if not several:
            raise ValueError(f"quantile must be a number or several, got {given!r}")
        object.__setattr__(self, "quantile", several)

    def of_outputs(self, k: int) -> list[float]:
        """One number repeated, or the several."""
        several = self.quantile if isinstance(self.quantile, tuple) else (float(self.quantile),) * k
        if len(several) != k:
            raise ValueError(f"quantile must be one number or {k}, one for each output; got {self.quantile}")
        return list(several)


LOSSES: dict[str, type[Loss]] = {kind.name: kind for kind in (Huber, Quantile)}


def name_of(loss: str | Loss) -> str:
    """The name in the kernels' table."""
    return loss if isinstance(loss, str) else loss.name


def resolve(loss: str | Loss, known: Iterable[str]) -> str | Loss:
    """A loss with its parameter's default for a name that has one; else the given one itself."""
    if isinstance(loss, Loss):
        return loss
    name = _validation.choice("loss", loss, known)
    return LOSSES[name]() if name in LOSSES else name
