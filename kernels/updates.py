"""The second half of a step: blocks of dW, each of them updated while it is hot, shared out among a team."""

import math
from typing import Any, NamedTuple

from numpy import int64

from . import spans
from ._jit import ONE, ZERO, inlined, routine
from .backprop import bias_gradient, weight_gradient
from .batch import number_of_parts
from .gemm import MC, MR
from .network import DELTA, FAN_IN, FAN_OUT, PITCH, B, W, block, w_and_b
from .optimizers import CODES, DECAY, N_CONSTANTS, update
from .pointwise import axpy
from .spans import span
from .sparse import sparse_weight_gradient
from .sums import squared_norm
from .team import barrier, share

# A block of dW that is computed, then updated, has MC rows, enough to serve a panel of delta, and so many columns, few
# enough for it to stay in the second cache.
_BLOCK_COLS = 768
_STAND_STILL = CODES["none"]  # the optimiser
_GRAIN = 16  # parameters that are one member's: a cache line or two


class OptimizerState(NamedTuple):
    """What an update needs beside the parameters.

    optimizer : int
        A row of the table in optimizers.py.
    slots : (slots * parameters,)
        What the optimiser keeps, updated.
    constants : (2 * N_CONSTANTS,)
        The step's, see optimizers.py: for weights, then for biases.
    grads : (parameters,), or as many for each part of a batch
        The gradient: read by `apply_update`; in `train` left here if the choices say `track`, else scratch.
    """

    optimizer: Any
    slots: Any
    constants: Any
    grads: Any


@routine
def update_block(m, n, pitch, at, params, gradient, state, constants_at):
    """Updates m x n parameters from position `at` on, rows `pitch` apart. Non-zero if some update was not finite.

    `gradient` is the span of theirs, its rows as far apart; the constants are those from position `constants_at` on.
    """
    size, n_parameters, slots = (m - 1) * pitch + n, params.size, state.slots
    # an optimiser touches only the slots that it has
    first_slot = span(slots, at, size if slots.size > 0 else 0)
    second_slot = span(slots, n_parameters + at, size if slots.size > n_parameters else 0)
    h = state.constants[constants_at : constants_at + N_CONSTANTS]
    spans = span(params, at, size), gradient, first_slot, second_slot
    return update(state.optimizer, m, n, pitch, spans, (h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]))


@inlined
def update_biases(l, net, state):
    """Updates b of layer l."""
    at, n = net.layers[l, B], net.layers[l, FAN_OUT]
    return update_block(ONE, n, ZERO, at, net.params, span(state.grads, at, n), state, int64(N_CONSTANTS))


@inlined
def squared_weights(l, layers, vector):
    """The same of a layer's W, or of its dW."""
    first = layers[l, W]
    return squared_norm(vector, first, first + layers[l, FAN_IN] * layers[l, FAN_OUT])


@inlined
def number_of_tiles(l, layers, lanes):
    """How many tiles of MR rows and one register, of so many lanes, dW of layer l is cut into."""
    return (layers[l, FAN_IN] + MR - 1) // MR * ((layers[l, FAN_OUT] + lanes - 1) // lanes)


@inlined
def share_of_rows(l, layers, lanes, below, total, member, members):
    """The rows of W of layer l that `member` of `members` updates: first and stop.

    The tiles of all layers, `total`, `below` of them in the layers below, are shared out together: if each layer were,
    one with few rows would be a single member's, and the others would wait.
    """
    fan_in = layers[l, FAN_IN]
    if members == 1:
        return 0, fan_in
    columns = (layers[l, FAN_OUT] + lanes - 1) // lanes
    first = (total * member // members - below + columns - 1) // columns * MR
    stop = (total * (member + 1) // members - below + columns - 1) // columns * MR
    return min(max(first, 0), fan_in), min(max(stop, 0), fan_in)


@inlined
def update_weights(l, first, stop, batch, samples, net, state, track, zeros):
    """Rows ``first:stop`` of dW of layer l, over the whole batch, and their update. Non-zero if some was not finite.

    With `track` the whole gradient is left in ``state.grads``.
    """
    failed = 0
    fan_out = net.layers[l, FAN_OUT]
    sparse = samples.starts.size > 0 and l == 0
    if sparse:
        indices, delta = span(samples.order, batch.start, batch.rows), block(0, DELTA, 0, batch.rows, net)
        dw, ldd = w_and_b(0, net.layers, state.grads)[0], net.layers[0, PITCH]
        x, columns, starts = samples.x, samples.columns, samples.starts
        sparse_weight_gradient(first, stop, batch.rows, fan_out, indices, x, columns, starts, delta, ldd, dw)
    for j in range(0, fan_out, _BLOCK_COLS):
        for i in range(first, stop, MC):
            m, n = min(MC, stop - i), min(_BLOCK_COLS, fan_out - j)
            at, size_of_block = net.layers[l, W] + i * fan_out + j, (m - 1) * fan_out + n
            # a gradient that nobody looks at is computed in one place, which stays in the cache
            there = at if track or sparse else net.layers[l, W] + first * fan_out + j
            dw = span(state.grads, there, size_of_block)
            if not sparse:
                weight_gradient(l, i, m, j, n, 0, batch.rows, net, zeros, dw)
            if batch.alpha != 0:
                axpy(0, m, n, fan_out, (span(net.params, at, size_of_block), dw), (batch.alpha,))
            failed |= update_block(m, n, fan_out, at, net.params, dw, state, ZERO)
    return failed


@inlined
def update_from_deltas(batch, samples, net, state, track, zeros, member, members):
    """A member's share of all dW and db, and of their update. Non-zero if some was not finite."""
    layers, lanes, below, total, failed = net.layers, spans.lanes(span(net.params, 0, 0)), 0, 0, 0
    for l in range(layers.shape[0]):
        total += number_of_tiles(l, layers, lanes)
    for l in range(layers.shape[0]):
        first, stop = share_of_rows(l, layers, lanes, below, total, member, members)
        below += number_of_tiles(l, layers, lanes)
        failed |= update_weights(l, first, stop, batch, samples, net, state, track, zeros)
        if first < stop == layers[l, FAN_IN]:  # b goes with the last row of W
            bias_gradient(l, 0, batch.rows, net, w_and_b(l, layers, state.grads)[1])
            failed |= update_biases(l, net, state)
    return failed


@inlined
def end_of_parameters(layers):
    """How many parameters there are, by the table: a vector that is too short is to be noticed."""
    top = layers.shape[0] - 1
    return layers[top, B] + layers[top, FAN_OUT]


@routine
def update_range(first, stop, params, layers, state):
    """Updates the parameters ``first:stop``, whichever these are. Non-zero if some update was not finite."""
    grads = state.grads
    if state.constants[DECAY] == 0:  # for weights as for biases
        gradient = span(grads, first, stop - first)
        return update_block(ONE, stop - first, ZERO, first, params, gradient, state, ZERO)
    failed = 0
    for l in range(layers.shape[0]):
        w, b, end = layers[l, W], layers[l, B], layers[l, B] + layers[l, FAN_OUT]
        for w_or_b, its_end, constants_at in ((w, b, ZERO), (b, end, int64(N_CONSTANTS))):
            at = max(w_or_b, first)
            n = min(its_end, stop) - at
            if n > 0:
                failed |= update_block(ONE, n, ZERO, at, params, span(grads, at, n), state, constants_at)
    return failed


@routine
def add_parts(first, stop, parts, params, layers, grads, alpha):
    """The gradient of a batch to ``grads[first:stop]``, of which each part has left its own; and the penalty's."""
    n, one = stop - first, grads.dtype.type(1)
    for i in range(1, parts):
        axpy(0, 1, n, 0, (span(grads, i * params.size + first, n), span(grads, first, n)), (one,))
    if alpha != 0:
        for l in range(layers.shape[0]):
            at = max(first, layers[l, W])
            n = min(stop, layers[l, B]) - at
            if n > 0:
                axpy(0, 1, n, 0, (span(params, at, n), span(grads, at, n)), (alpha,))


@inlined
def update_from_parts(parts, batch, net, state, member, members):
    """A member's share of the parameters: the gradient, of which each part of the batch has left its own, and update.

    Non-zero if some update was not finite.
    """
    first, stop = share(end_of_parameters(net.layers), _GRAIN, member, members)
    add_parts(first, stop, parts, net.params, net.layers, state.grads, batch.alpha)
    return update_range(first, stop, net.params, net.layers, state)


@inlined
def update_all(factor, params, layers, state, member, members):
    """A member's share of the update with the whole gradient times `factor`. Non-zero if some was not finite."""
    first, stop = share(end_of_parameters(layers), _GRAIN, member, members)
    if factor != 1:
        for i in range(first, stop):
            state.grads[i] *= factor
    return update_range(first, stop, params, layers, state)


@inlined
def clipped_update(limit, net, state, shared, member, members):
    """A member's share of the update with the gradient that is known by now, its norm at most `limit`.

    Non-zero if some update was not finite; below zero if the team was abandoned.
    """
    if not barrier(shared, members):
        return -1
    norm = math.sqrt(squared_norm(state.grads, 0, net.params.size))
    if not barrier(shared, members):
        return -1
    factor = state.grads.dtype.type(limit / norm if norm > limit else 1.0)
    return update_all(factor, net.params, net.layers, state, member, members)


@inlined
def update_parameters(batch, samples, net, state, choices, limit, zeros, shared, member, members):
    """A member's share of the second half of a step: what `clipped_update` returns."""
    # to be clipped, the gradient must be known as a whole
    now = OptimizerState(state.optimizer if limit == 0 else _STAND_STILL, state.slots, state.constants, state.grads)
    if choices.part_rows > 0:
        failed = update_from_parts(number_of_parts(batch, choices), batch, net, now, member, members)
    else:
        failed = update_from_deltas(batch, samples, net, now, choices.track, zeros, member, members)
    if limit != 0:
        failed |= clipped_update(limit, net, state, shared, member, members)
    return failed
