"""Optimisers: one update of one parameter. To add one: write its function, a row in TABLE and its hyperparameters in
fastmlp/optimizers.py.

A function takes the step's constants h (see `prepare`), the parameter p, its gradient g and the slots that it keeps,
and gives the new p and the new slots.
"""

import functools
import math
from typing import NamedTuple

from ._jit import routine
from .pointwise import pointwise
from .simd import absolute, fma, quotient, sqrt, where

# Positions in h. RATE is the learning rate; DECAY is weight decay times the learning rate (0 for biases): each method
# takes that share of p away beside its step, which does not look at p (decoupled: Loshchilov & Hutter 2019).
RATE, DECAY, FIRST, FIRST_REST, SECOND, SECOND_REST, SCALE, EPSILON = range(8)
N_CONSTANTS = 8

# Positions in `settings`, what a fit is made with. BETA1 is momentum, too, and BETA2 rho. CORRECTED: 1 for Adam's bias
# corrections, 2 if epsilon counts before them (the paper's epsilon hat), else 0. CLIP_NORM: to which a step's gradient
# is clipped, 0: not at all.
LEARNING_RATE, WEIGHT_DECAY, BETA1, BETA2, EPSILON_GIVEN, CORRECTED, ALPHA, CLIP_NORM = range(8)


def sgd(h, p, g):
    """``p -= rate * g``"""
    return p - h[DECAY] * p - h[RATE] * g


def momentum(h, p, g, s):
    """``s = momentum * s + g; p -= rate * s`` (the form of PyTorch and optax; Polyak 1964)"""
    s = h[FIRST] * s + g
    return p - h[DECAY] * p - h[RATE] * s, s


def nesterov(h, p, g, s):
    """``s = momentum * s + g; p -= rate * (g + momentum * s)`` (Sutskever et al. 2013, in PyTorch's form)"""
    s = h[FIRST] * s + g
    return p - h[DECAY] * p - h[RATE] * (g + h[FIRST] * s), s


def rmsprop(h, p, g, s):
    """``s = rho * s + (1 - rho) * g**2; p -= rate * g / (sqrt(s) + epsilon)`` (Tieleman & Hinton 2012)"""
    s = fma(h[SECOND], s, h[SECOND_REST] * (g * g))
    return fma(-h[RATE], quotient(g, sqrt(s) + h[EPSILON]), p - h[DECAY] * p), s


def adam(h, p, g, m, v):
    """``p -= rate * m_hat / (sqrt(v_hat) + epsilon)``, epsilon outside the root (Kingma & Ba 2015, algorithm 1)

    The bias corrections of step t are in h: RATE holds ``rate / (1 - beta1**t)``, SCALE ``1 / sqrt(1 - beta2**t)``.
    """
    m = fma(h[FIRST], m, h[FIRST_REST] * g)
    v = fma(h[SECOND], v, h[SECOND_REST] * (g * g))
    return fma(-h[RATE], quotient(m, fma(sqrt(v), h[SCALE], h[EPSILON])), p - h[DECAY] * p), m, v


def none(h, p, g):
    """``p``: for those who only want the gradient"""
    return p


class Optimizer(NamedTuple):
    name: str
    function: object
    n_slots: int


TABLE = (
    Optimizer("sgd", sgd, 0),
    Optimizer("momentum", momentum, 1),
    Optimizer("nesterov", nesterov, 1),
    Optimizer("rmsprop", rmsprop, 1),
    Optimizer("adam", adam, 2),
    Optimizer("none", none, 0),
)
CODES = {row.name: code for code, row in enumerate(TABLE)}
N_SLOTS = {row.name: row.n_slots for row in TABLE}


def _guarded(function):
    """`function`, but a parameter whose update is not finite keeps its value, and a mask says so."""

    @functools.wraps(function)
    def update(h, p, g, *slots):
        new = function(h, p, g, *slots)
        new = new if isinstance(new, tuple) else (new,)
        finite = absolute(new[0]) < math.inf
        for slot in new[1:]:
            finite = finite & (absolute(slot) < math.inf)
        return *(where(finite, n, old) for n, old in zip(new, (p, *slots), strict=True)), ~finite

    return update


# update(code, rows, n, pitch, (p, g, slot, slot), h) -> non-zero if some update was not finite
update = pointwise([_guarded(row.function) for row in TABLE], (0, 1, 2, 3), (0, 2, 3), n_scalars=N_CONSTANTS)


@routine
def prepare(t, rate, settings, h):
    """The constants of update `t` (1, 2, ...) in `h`: for weights, then, without weight decay, for biases.

    `rate` is its learning rate, `settings` (float64) as above. Computed in float64, kept in the precision of `h`.
    """
    decay, first, second, epsilon = settings[WEIGHT_DECAY], settings[BETA1], settings[BETA2], settings[EPSILON_GIVEN]
    corrected = settings[CORRECTED] != 0
    h[RATE] = rate / (1 - first**t) if corrected else rate
    h[DECAY] = rate * decay
    h[FIRST], h[FIRST_REST] = first, 1 - first
    h[SECOND], h[SECOND_REST] = second, 1 - second
    h[SCALE] = 1 / math.sqrt(1 - second**t) if corrected else 1.0
    h[EPSILON] = epsilon * h[SCALE] if settings[CORRECTED] == 2 else epsilon
    for i in range(N_CONSTANTS):
        h[N_CONSTANTS + i] = h[i] if i != DECAY else 0
