"""How the learning rate changes in a fit. To add a schedule: write its function and add a row to SCHEDULES.

A function takes t, which part of the fit is over (0 <= t < 1), and gives what `learning_rate_init` is multiplied by.
"""

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def step(t: float) -> float:
    """A tenth after half of the fit, a hundredth after three quarters (He et al. 2016).

    Parameters
    ----------
    t : float
        Which part of the fit is over.

    Returns
    -------
    float
        What the learning rate is multiplied by.

    Examples
    --------
    >>> from fastmlp.schedules import step
    >>> [step(t) for t in (0.0, 0.5, 0.75)]
    [1.0, 0.1, 0.01]
    """
    return 1.0 if t < 0.5 else 0.1 if t < 0.75 else 0.01


def exponential(t: float) -> float:
    """Down to a hundredth, the same share in each step.

    Parameters
    ----------
    t : float
        Which part of the fit is over.

    Returns
    -------
    float
        What the learning rate is multiplied by.

    Examples
    --------
    >>> from fastmlp.schedules import exponential
    >>> [round(exponential(t), 3) for t in (0.0, 0.5, 1.0)]
    [1.0, 0.1, 0.01]
    """
    return math.pow(0.01, t)


def cosine(t: float) -> float:
    """Half a period of a cosine, from 1 to 0 (Loshchilov & Hutter 2017).

    Parameters
    ----------
    t : float
        Which part of the fit is over.

    Returns
    -------
    float
        What the learning rate is multiplied by.

    Examples
    --------
    >>> from fastmlp.schedules import cosine
    >>> [round(cosine(t), 3) for t in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    """
    return (1 + math.cos(math.pi * t)) / 2


def one_cycle(t: float) -> float:
    """From 1/25 up to 1 in the first 30 %, then down to 1/250,000, by cosines (Smith & Topin 2019; PyTorch's form).

    Parameters
    ----------
    t : float
        Which part of the fit is over.

    Returns
    -------
    float
        What the learning rate is multiplied by.

    Examples
    --------
    >>> from fastmlp.schedules import one_cycle
    >>> [round(one_cycle(t), 6) for t in (0.0, 0.3, 1.0)]
    [0.04, 1.0, 4e-06]
    """
    low, peak, end = 1 / 25, 0.3, 1 / 250_000
    if t < peak:
        return low + (1 - low) * (1 - cosine(t / peak))
    return end + (1 - end) * cosine((t - peak) / (1 - peak))


SCHEDULES: dict[str, Schedule] = {f.__name__: f for f in (step, exponential, cosine, one_cycle)}
