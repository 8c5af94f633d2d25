"""Initial weights. To add a scheme: write its function and add a row to INITIALIZERS.

A function takes (fan_in, fan_out, rng) and returns an array (fan_in, fan_out); `rng` draws as `numpy.random` does.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Initializer = Callable[[int, int, Any], NDArray[Any]]


def xavier(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Normal, variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010).

    Parameters
    ----------
    fan_in, fan_out : int
    rng : object
        Draws as `numpy.random` does.

    Returns
    -------
    ndarray of shape (fan_in, fan_out)

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.initializers import xavier
    >>> W = xavier(150, 50, np.random.default_rng(0))
    >>> W.shape, round(float(W.std()), 2)
    ((150, 50), 0.1)
    """
    return np.asarray(rng.standard_normal((fan_in, fan_out)) * np.sqrt(2.0 / (fan_in + fan_out)))


def xavier_uniform(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Uniform with the variance of `xavier`: bound sqrt(6 / (fan_in + fan_out)).

    Parameters
    ----------
    fan_in, fan_out : int
    rng : object
        Draws as `numpy.random` does.

    Returns
    -------
    ndarray of shape (fan_in, fan_out)

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.initializers import xavier_uniform
    >>> W = xavier_uniform(4, 2, np.random.default_rng(0))
    >>> W.shape, bool(np.abs(W).max() <= 1)
    ((4, 2), True)
    """
    return _uniform(np.sqrt(6.0 / (fan_in + fan_out)), fan_in, fan_out, rng)


def he(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Normal, variance 2 / fan_in, which keeps the size of signals through relu (He et al. 2015).

    Parameters
    ----------
    fan_in, fan_out : int
    rng : object
        Draws as `numpy.random` does.

    Returns
    -------
    ndarray of shape (fan_in, fan_out)

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.initializers import he
    >>> W = he(200, 50, np.random.default_rng(0))
    >>> W.shape, round(float(W.std()), 2)
    ((200, 50), 0.1)
    """
    return np.asarray(rng.standard_normal((fan_in, fan_out)) * np.sqrt(2.0 / fan_in))


def he_uniform(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Uniform with the variance of `he`: bound sqrt(6 / fan_in).

    Parameters
    ----------
    fan_in, fan_out : int
    rng : object
        Draws as `numpy.random` does.

    Returns
    -------
    ndarray of shape (fan_in, fan_out)

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.initializers import he_uniform
    >>> W = he_uniform(6, 3, np.random.default_rng(0))
    >>> W.shape, bool(np.abs(W).max() <= 1)
    ((6, 3), True)
    """
    return _uniform(np.sqrt(6.0 / fan_in), fan_in, fan_out, rng)


def lecun(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Normal, variance 1 / fan_in (LeCun et al. 1998); the companion of selu.

    Parameters
    ----------
    fan_in, fan_out : int
    rng : object
        Draws as `numpy.random` does.

    Returns
    -------
    ndarray of shape (fan_in, fan_out)

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.initializers import lecun
    >>> W = lecun(100, 50, np.random.default_rng(0))
    >>> W.shape, round(float(W.std()), 2)
    ((100, 50), 0.1)
    """
    return np.asarray(rng.standard_normal((fan_in, fan_out)) * np.sqrt(1.0 / fan_in))


def lecun_uniform(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Uniform with the variance of `lecun`: bound sqrt(3 / fan_in).

    Parameters
    ----------
    fan_in, fan_out : int
    rng : object
        Draws as `numpy.random` does.

    Returns
    -------
    ndarray of shape (fan_in, fan_out)

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.initializers import lecun_uniform
    >>> W = lecun_uniform(3, 6, np.random.default_rng(0))
    >>> W.shape, bool(np.abs(W).max() <= 1)
    ((3, 6), True)
    """
    return _uniform(np.sqrt(3.0 / fan_in), fan_in, fan_out, rng)


def random(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Normal, standard deviation 0.01: what beginners try first, and too small for deep networks.

    Parameters
    ----------
    fan_in, fan_out : int
    rng : object
        Draws as `numpy.random` does.

    Returns
    -------
    ndarray of shape (fan_in, fan_out)

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.initializers import random
    >>> W = random(100, 50, np.random.default_rng(0))
    >>> W.shape, round(float(W.std()), 2)
    ((100, 50), 0.01)
    """
    return np.asarray(rng.standard_normal((fan_in, fan_out)) * 0.01)


def zeros(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """All zero: right for a single layer; hidden units that start equal stay equal.

    Parameters
    ----------
    fan_in, fan_out : int
    rng : object
        Draws as `numpy.random` does.

    Returns
    -------
    ndarray of shape (fan_in, fan_out)

    Examples
    --------
    >>> from fastmlp.initializers import zeros
    >>> zeros(2, 3, None).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return np.zeros((fan_in, fan_out))


def orthogonal(fan_in: int, fan_out: int, rng: Any) -> NDArray[Any]:
    """Orthonormal rows or columns, whichever are fewer, uniformly distributed (Saxe et al. 2014).

    Parameters
    ----------
    fan_in, fan_out : int
    rng : object
        Draws as `numpy.random` does.

    Returns
    -------
    ndarray of shape (fan_in, fan_out)

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.initializers import orthogonal
    >>> W = orthogonal(4, 2, np.random.default_rng(0))
    >>> bool(np.allclose(W.T @ W, np.eye(2)))
    True
    """
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
