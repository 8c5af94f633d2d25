"""The second half of a step: blocks of dW, each of them updated while it is hot, shared out among a team."""

from numpy import int64

from . import simd
from ._jit import inlined, part
from .backprop import DELTA, FAN_IN, FAN_OUT, B, W, add_scaled, bias_gradient, block, weight_gradient, weights
from .gemm import BLOCK_ROWS, MR
from .optimizers import N_CONSTANTS, update
from .simd import span
from .sparse import sparse_weight_gradient
from .sums import sum_of_squares
from .team import share

# A block of dW that is computed, then updated, has BLOCK_ROWS, enough to serve a panel of delta, and so many columns:
# small enough that it stays in the second cache.
_BLOCK_COLS = 768
_ZERO, _ONE = int64(0), int64(1)  # a literal is a type of its own, for which update_block would be compiled again


@part
def update_block(m, n, pitch, optimizer, at, params, gradient, slots, constants, first):
    """Updates m x n parameters from position `at` on, rows `pitch` apart. Non-zero if some update was not finite.

    `gradient` is the span of theirs, its rows as far apart; `constants` holds the step's constants (optimizers.py) from
    position `first` on.
    """
    size, n_parameters = (m - 1) * pitch + n, params.size
    # an optimiser touches only the slots that it has
    first_slot = span(slots, at, min(size, slots.size))
    second_slot = span(slots, n_parameters + at, min(size, slots.size - n_parameters))
    h = constants[first : first + N_CONSTANTS]
    spans = span(params, at, size), gradient, first_slot, second_slot
    return update(optimizer, m, n, pitch, spans, (h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]))


@inlined
def update_biases(l, params, grads, slots, layers, optimizer, constants):
    """Updates b of layer l."""
    at, n = layers[l, B], layers[l, FAN_OUT]
    first = int64(N_CONSTANTS)
    return update_block(_ONE, n, _ZERO, optimizer, at, params, span(grads, at, n), slots, constants, first)


@part
def squared_norm(vector, first, last):
    """Sum of the squares of ``vector[first:last]`` in float64."""
    return sum_of_squares(last - first, span(vector, first, last - first))


@inlined
def squared_weights(l, layers, vector):
    """The same of a layer's W, or of its dW."""
    first = layers[l, W]
    return squared_norm(vector, first, first + layers[l, FAN_IN] * layers[l, FAN_OUT])


@inlined
def tiles(l, layers, lanes):
    """How many tiles of MR rows and one register, of so many lanes, dW of layer l is cut into."""
    return (layers[l, FAN_IN] + MR - 1) // MR * ((layers[l, FAN_OUT] + lanes - 1) // lanes)


@inlined
def share_of_rows(l, layers, lanes, below, total, member, size):
    """First and last + 1 of the rows of W of layer l that `member` of `size` updates.

    The tiles of all layers, `total`, `below` of them in the layers below, are shared out together: if each layer were,
    one with few rows would be a single member's, and the others would wait.
    """
    fan_in = layers[l, FAN_IN]
    if size == 1:
        return 0, fan_in
    columns = (layers[l, FAN_OUT] + lanes - 1) // lanes
    first = (total * member // size - below + columns - 1) // columns * MR
    last = (total * (member + 1) // size - below + columns - 1) // columns * MR
    return min(max(first, 0), fan_in), min(max(last, 0), fan_in)


@inlined
def add_parts(m, n, pitch, at, parts, n_parameters, grads):
    """Adds to m x n numbers of the first part's gradient, from position `at` on, those of the other parts."""
    size, one = (m - 1) * pitch + n, grads.dtype.type(1)
    for i in range(1, parts):
        add_scaled(0, m, n, pitch, (span(grads, i * n_parameters + at, size), span(grads, at, size)), (one,))


@inlined
def update_weights(
    l, first, last, start, rows, parts, x, indices, starts, order, params, grads, slots, layers, ws, track,
    batch_alpha, optimizer, constants, zero,
):  # fmt: skip
    """Rows `first` to `last` of dW of layer l, over the whole batch, and their update. Non-zero if some was not finite.

    The batch is `rows` rows from ``order[start]`` on; `batch_alpha` is alpha for it. The others: see `train`.
    """
    failed = 0
    fan_out = layers[l, FAN_OUT]
    sparse = starts.size > 0 and l == 0
    if sparse:
        numbers, delta = span(order, start, rows), block(0, DELTA, 0, rows, layers, ws)
        dw = weights(0, layers, grads)[0]
        sparse_weight_gradient(first, last, rows, fan_out, numbers, x, indices, starts, delta, dw)
    for j in range(0, fan_out, _BLOCK_COLS):
        for i in range(first, last, BLOCK_ROWS):
            m, n = min(BLOCK_ROWS, last - i), min(_BLOCK_COLS, fan_out - j)
            at, size_of_block = layers[l, W] + i * fan_out + j, (m - 1) * fan_out + n
            # a gradient that nobody looks at is computed in one place, which stays in the cache
            there = at if track or sparse or parts > 0 else layers[l, W] + first * fan_out + j
            dw = span(grads, there, size_of_block)
            if parts > 0:
                add_parts(m, n, fan_out, at, parts, params.size, grads)
            elif not sparse:
                weight_gradient(l, i, m, j, n, 0, rows, layers, zero, ws, dw)
            if batch_alpha != 0:
                add_scaled(0, m, n, fan_out, (span(params, at, size_of_block), dw), (batch_alpha,))
            failed |= update_block(m, n, fan_out, optimizer, at, params, dw, slots, constants, _ZERO)
    return failed


@inlined
def update_share(
    start, rows, parts, x, indices, starts, order, params, grads, slots, layers, ws, track, batch_alpha, optimizer,
    constants, zero, member, size,
):  # fmt: skip
    """A member's share of all dW and db, and of their update. Arguments as in `update_weights`."""
    lanes, below, total, failed = simd.lanes(span(params, 0, 0)), 0, 0, 0
    for l in range(layers.shape[0]):
        total += tiles(l, layers, lanes)
    for l in range(layers.shape[0]):
        first, last = share_of_rows(l, layers, lanes, below, total, member, size)
        below += tiles(l, layers, lanes)
        failed |= update_weights(
            l, first, last, start, rows, parts, x, indices, starts, order, params, grads, slots, layers, ws, track,
            batch_alpha, optimizer, constants, zero,
        )  # fmt: skip
        if first < last == layers[l, FAN_IN]:  # b goes with the last row of W
            if parts > 0:
                add_parts(1, layers[l, FAN_OUT], 0, layers[l, B], parts, params.size, grads)
            else:
                bias_gradient(l, 0, rows, layers, ws, weights(l, layers, grads)[1])
            failed |= update_biases(l, params, grads, slots, layers, optimizer, constants)
    return failed


@inlined
def scale(first, last, grads, factor):
    """``grads[first:last] *= factor``"""
    for i in range(first, last):
        grads[i] *= factor


@inlined
def update_all(factor, params, grads, slots, layers, optimizer, constants, member, size):
    """A member's share of the update with the whole gradient times `factor`. Non-zero if some was not finite."""
    failed = 0
    for l in range(layers.shape[0]):
        fan_out = layers[l, FAN_OUT]
        first, last = share(layers[l, FAN_IN], 1, member, size)
        at, n = layers[l, W] + first * fan_out, (last - first) * fan_out
        if factor != 1:
            scale(at, at + n, grads, factor)
        failed |= update_block(_ONE, n, _ZERO, optimizer, at, params, span(grads, at, n), slots, constants, _ZERO)
        if member == 0:
            if factor != 1:
                scale(layers[l, B], layers[l, B] + fan_out, grads, factor)
            failed |= update_biases(l, params, grads, slots, layers, optimizer, constants)
    return failed
