"""Initial weights. To add a scheme: write its function and add a row to INITIALIZERS.

A function takes (fan_in, fan_out, rng) and returns an array (fan_in, fan_out); `rng` draws as `numpy.random` does.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Initializer = Callable[[int, int, Any], NDArray[Any]]


def xavier(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Normal, variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""
    return np.asarray(rng.standard_normal((fan_in, fan_out)) * np.sqrt(2.0 / (fan_in + fan_out)))


def xavier_uniform(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Uniform with the variance of `xavier`: bound sqrt(6 / (fan_in + fan_out))."""
    return _uniform(np.sqrt(6.0 / (fan_in + fan_out)), fan_in, fan_out, rng)


def he(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Normal, variance 2 / fan_in, which keeps the size of signals through relu (He et al. 2015)."""
    return np.asarray(rng.standard_normal((fan_in, fan_out)) * np.sqrt(2.0 / fan_in))


def he_uniform(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Uniform with the variance of `he`: bound sqrt(6 / fan_in)."""
    return _uniform(np.sqrt(6.0 / fan_in), fan_in, fan_out, rng)


def lecun(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Normal, variance 1 / fan_in (LeCun et al. 1998); the companion of selu."""
    return np.asarray(rng.standard_normal((fan_in, fan_out)) * np.sqrt(1.0 / fan_in))


def lecun_uniform(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Uniform with the variance of `lecun`: bound sqrt(3 / fan_in)."""
    return _uniform(np.sqrt(3.0 / fan_in), fan_in, fan_out, rng)


def random(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Normal, standard deviation 0.01, as in the guide's code. (Its formula says variance 0.01.)"""
    return np.asarray(rng.standard_normal((fan_in, fan_out)) * 0.01)


def zeros(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """All zero: right for a single layer; hidden units that start equal stay equal."""
    return np.zeros((fan_in, fan_out))


def orthogonal(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Orthonormal rows or columns, whichever are fewer, uniformly distributed (Saxe et al. 2014)."""
    long, short = max(fan_in, fan_out), min(fan_in, fan_out)
    q, r = np.linalg.qr(rng.standard_normal((long, short)))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # QR alone prefers some signs
    return np.ascontiguousarray(q if fan_in >= fan_out else q.T)


def _uniform(bound: float, fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    return np.asarray(rng.uniform(-bound, bound, (fan_in, fan_out)))


INITIALIZERS: dict[str, Initializer] = {
    "xavier": xavier,
    "xavier_normal": xavier,
    "xavier_uniform": xavier_uniform,
    "he": he,
    "he_normal": he,
    "he_uniform": he_uniform,
    "lecun": lecun,
    "lecun_normal": lecun,
    "lecun_uniform": lecun_uniform,
    "random": random,
    "zeros": zeros,
    "orthogonal": orthogonal,
}
