"""The compiled epoch: gather, forward, backward, update, for as many steps as the caller asks for.

A team of threads runs `train` together, every member on the same arrays. A step has two halves, each followed by a
barrier. In the first a member takes its share of the batch's rows through all layers, forward and back. In the second
it takes its share of the rows of all dW, reduces over all rows of the batch, and updates those parameters while they
are hot. Each number is computed by one member in one order whatever the size of the team: results are the same to the
bit.

What a member reads in the second half, others have written, and it comes from far away. Where the parameters are few
and the rows many, a step is therefore in parts (parts.py): so many rows of the batch each get a gradient of their own
in the first half, and the second adds these up, always in the same order.
"""

import math

from ._jit import inlined, kernel, part
from .backprop import (
    DELTA,
    FAN_IN,
    FAN_OUT,
    INPUT,
    ROW_LOSS,
    ROWS_TOGETHER,
    TARGET,
    Z,
    block,
    delta_from_outputs,
    forward_scores,
    output_activation,
    recursion,
    sum_of_losses,
    weights,
    zeros,
)
from .dropout import step_key
from .gather import gather_targets, pick_rows
from .gemm import MR
from .optimizers import ALPHA, CLIP_NORM, CODES, LEARNING_RATE, prepare
from .parts import gradient_of_part, ones
from .pointwise import not_finite
from .simd import span
from .sparse import sparse_scores
from .subnormals import flush_subnormals, restore
from .team import NOT_FINITE, barrier, fetch, read, share, write
from .updates import squared_norm, squared_weights, update_all, update_from_parts, update_share

# Positions in `choices`.
BATCH, PART_ROWS, PITCH, WORKSPACE, LOSS, GRADIENT_OF, OPTIMIZER, SHUFFLE, TRACK, SHARED_PENALTY = range(10)
N_CHOICES = 10
_STAND_STILL = CODES["none"]
# What `apply_update` returns.
UPDATED, UPDATE_NOT_FINITE, GRADIENT_NOT_FINITE = range(3)


@part
def shuffle(rows, order, state):
    """Puts a new permutation of `rows` in `order` (both int64 and of one size); of none are all numbers from 0 on.

    Fisher and Yates, with the generator xorshift128 (Marsaglia 2003); its four words of 32 bits are in `state` (int64).
    """
    for i in range(order.size):
        order[i] = rows[i] if rows.size > 0 else i
    x, y, z, w = state[0], state[1], state[2], state[3]
    for i in range(order.size - 1, 0, -1):
        t = x ^ ((x << 11) & 0xFFFFFFFF)
        x, y, z = y, z, w
        w = w ^ (w >> 19) ^ t ^ (t >> 8)
        j = (w * (i + 1)) >> 32
        order[i], order[j] = order[j], order[i]
    state[0], state[1], state[2], state[3] = x, y, z, w


@inlined
def take_inputs(first, rows, numbers, x, indices, starts, params, layers, ws):
    """Of the rows `numbers` of x, `rows` rows from row `first` of INPUT; or, of a sparse x, the first layer's Z."""
    if starts.size == 0:
        pick_rows(rows, layers[0, FAN_IN], numbers, span(x, 0, x.size), block(0, INPUT, first, rows, layers, ws))
        return
    (w, b), z = weights(0, layers, params), block(0, Z, first, rows, layers, ws)
    sparse_scores(rows, layers[0, FAN_OUT], numbers, x, indices, starts, w, b, z)


@part
def total_weight(order, start, rows, row_weights):
    """Sum of the weights of the rows ``order[start : start + rows]``: their number if there are no weights."""
    if row_weights.size == 0:
        return float(rows)
    total = 0.0
    for i in range(start, start + rows):
        total += row_weights[order[i]]
    return total


@part
def weigh(first, last, order, start, row_weights, ws, k, delta, row_loss):
    """Losses and output deltas of rows `first` to `last`, at two positions of `ws`, times the rows' weights."""
    for r in range(first, last):
        weight = ws.dtype.type(row_weights[order[start + r]])
        ws[row_loss + r] *= weight
        for i in range(delta + r * k, delta + r * k + k):
            ws[i] *= weight


@inlined
def forward_and_back(
    first, rows, start, x, indices, starts, y, width, row_weights, order, params, layers, blocks, ws, choices, zero,
    key, scale,
):  # fmt: skip
    """`rows` rows of the batch from row `first`, through all layers and back: all layers' DELTA, and ROW_LOSS.

    The batch is the rows from ``order[start]`` on, with `width` numbers each in y; DELTA is the gradient of `scale`
    times the sum of their losses. The others: see `train`.
    """
    top = layers.shape[0] - 1
    k = layers[top, FAN_OUT]
    numbers = span(order, start + first, rows)
    take_inputs(first, rows, numbers, x, indices, starts, params, layers, ws)
    gather_targets(rows, k, numbers, y, width, span(ws, blocks[TARGET] + first * k, rows * k))
    forward_scores(first, rows, params, layers, ws, key, int(starts.size > 0))
    output_activation(first, rows, layers, blocks, ws)
    delta_from_outputs(first, rows, layers, blocks, ws, choices[LOSS], choices[GRADIENT_OF], scale)
    if row_weights.size > 0:
        weigh(first, first + rows, order, start, row_weights, ws, k, layers[top, DELTA], blocks[ROW_LOSS])
    recursion(first, rows, params, layers, zero, ws, key)


@inlined
def gradients_of_parts(
    start, n_rows, scale, x, y, width, row_weights, order, params, grads, layers, blocks, ws, part_losses, choices,
    zero, key, member, size,
):  # fmt: skip
    """A member's share of the parts of a batch of `n_rows` rows, and how many these are; arguments as in `train`.

    Each leaves its gradient at ``grads[part * params.size :]``, and the sum of its losses in `part_losses`.
    """
    part_rows = choices[PART_ROWS]
    if size > 1:  # others have just written some of them
        fetch(params.size, span(params, 0, params.size))
    first, last = share(n_rows, part_rows, member, size)
    for r in range(first, last, part_rows):
        i = r // part_rows
        part_losses[i] = gradient_of_part(
            r, min(part_rows, last - r), i * params.size, start, x, y, width, row_weights, order, params, grads, layers,
            blocks, ws, choices[PITCH], choices[LOSS], choices[GRADIENT_OF], zero, key, scale,
        )  # fmt: skip
    return (n_rows + part_rows - 1) // part_rows


@inlined
def deltas_of_rows(
    start, n_rows, scale, x, indices, starts, y, width, row_weights, order, params, layers, blocks, ws, choices, zero,
    key, member, size,
):  # fmt: skip
    """A member's share of the rows of a batch, through all layers and back; arguments as in `forward_and_back`."""
    first, last = share(n_rows, MR, member, size)
    for r in range(first, last, ROWS_TOGETHER):
        forward_and_back(
            r, min(ROWS_TOGETHER, last - r), start, x, indices, starts, y, width, row_weights, order, params, layers,
            blocks, ws, choices, zero, key, scale,
        )  # fmt: skip


@inlined
def total(numbers, n):
    """Sum of the first n numbers."""
    result = 0.0
    for i in range(n):
        result += numbers[i]
    return result


@part
def l2_penalty(alpha, layers, params):
    """``alpha / 2 * sum(W**2)`` over all layers, in float64."""
    penalty = 0.0
    for l in range(layers.shape[0]):
        penalty += alpha / 2 * squared_weights(l, layers, params)
    return penalty


@part
def add_norms(epoch, layers, grads, norms):
    """Adds the Euclidean norm of each layer's dW to ``norms[epoch]``."""
    for l in range(layers.shape[0]):
        norms[epoch, l] += math.sqrt(squared_weights(l, layers, grads))


@kernel
def train(
    steps, x, indices, starts, y, row_weights, rows, order, params, grads, slots, layers, blocks, workspaces,
    part_losses, choices, settings, rates, updates, constants, rng, losses, norms, shared, member, size,
):  # fmt: skip
    """Steps ``steps[0]`` to ``steps[1]`` of a fit, counted from its start; every epoch has ``ceil(n / batch)``.

    Parameters
    ----------
    steps : (2,) int64
    x : (n * features,) rows one after the other; or the numbers of a matrix of compressed sparse rows.
    indices, starts : (numbers,) and (n + 1,) int64, or empty
        Of a sparse x: the column of each number, no two alike in a row, and where each row starts.
    y : (n * outputs,) or (n,) class indices
    row_weights : (n,) float64 or empty
        How much each row counts, more than 0: a batch's loss is the weighted mean. Empty: all the same.
    rows : (m,) int64 or empty
        The rows to train on; empty: all. Only read if ``choices[SHUFFLE]``.
    order : (m,) int64
        Overwritten by a permutation of `rows` at each epoch's start if ``choices[SHUFFLE]``, else the rows in order.
    params : (parameters,)
        Updated.
    grads : (parameters,), or, with ``choices[PART_ROWS]``, as many for each part of a batch
        Scratch.
    slots : (slots * parameters,)
        The optimiser's state, updated.
    layers, blocks, workspaces
        The network, see backprop.py; there is room for a batch, or, with ``choices[PART_ROWS]``, for a part for each
        member, ``choices[WORKSPACE]`` numbers.
    part_losses : (parts of a batch,) float64
        Scratch.
    choices : (N_CHOICES,) int64
        With ``choices[PART_ROWS]`` not 0 steps are in parts of so many rows, see the top of this file, whose blocks
        have rows of ``choices[PITCH]`` numbers; x is not sparse then, and the loss is pointwise.
        With ``choices[SHARED_PENALTY]`` alpha is divided by the batch's weight (its number of rows).
    settings : (8,) float64
        See optimizers.py. To be clipped, gradients must be tracked.
    rates : (steps,) float64 or empty
        The learning rate of each of these steps; empty: that of `settings`.
    updates : (1,) int64
        How many updates the optimiser has made; counted on with every step, so that an interrupted caller knows.
    constants : (2 * N_CONSTANTS,)
        Scratch.
    rng : (4,) int64
        State of the shuffling generator, updated; with the number of updates it also decides what is dropped.
    losses : (epochs, 2) float64
        The rows' losses, times their weights, each batch before its update, are added at the epoch's position, counted
        from the epoch of ``steps[0]``; and beside them, with ``choices[SHARED_PENALTY]``, ``alpha / 2 * sum(W**2)``.
    norms : (epochs, layers) float64
        Likewise the norm of each dW, if ``choices[TRACK]``.
    shared : (team.SHARED_SIZE,) int64
        Zeros at the start; one array for each team.
    member, size : int
        Which of how many threads this is.

    Returns
    -------
    int
        Steps done: fewer than asked for if a loss or an update was not finite. The parameters are finite all the same:
        a step with such a loss changes nothing, a parameter with such an update keeps its value.
    """
    n, batch, alpha, limit = order.size, choices[BATCH], settings[ALPHA], settings[CLIP_NORM]
    optimizer = choices[OPTIMIZER] if limit == 0 else _STAND_STILL
    width = y.size // (starts.size - 1 if starts.size > 0 else x.size // layers[0, FAN_IN])
    steps_per_epoch = (n + batch - 1) // batch
    state = flush_subnormals()
    done = 0
    own = choices[WORKSPACE]
    ws = workspaces[member * own : (member + 1) * own] if own > 0 else workspaces
    zero = zeros(layers, blocks, ws)
    if own > 0:
        ones(layers, ws, choices[PITCH])
    index, epoch = steps[0] % steps_per_epoch, 0
    for step in range(steps[0], steps[1]):
        if index == 0 and choices[SHUFFLE] and member == 0:
            shuffle(rows, order, rng)
        if (index == 0 or step == steps[0]) and not barrier(shared, size):
            break
        start = index * batch
        n_rows = min(batch, n - start)
        weight = total_weight(order, start, n_rows, row_weights)
        key, parts = step_key(rng, updates[0]), 0
        if own > 0:
            parts = gradients_of_parts(
                start, n_rows, 1.0 / weight, x, y, width, row_weights, order, params, grads, layers, blocks, ws,
                part_losses, choices, zero, key, member, size,
            )  # fmt: skip
        else:
            deltas_of_rows(
                start, n_rows, 1.0 / weight, x, indices, starts, y, width, row_weights, order, params, layers, blocks,
                ws, choices, zero, key, member, size,
            )  # fmt: skip
        penalty = 0.0
        if member == 0:
            if choices[SHARED_PENALTY] and alpha != 0:
                penalty = l2_penalty(alpha, layers, params)
            rate = rates[step - steps[0]] if rates.size > 0 else settings[LEARNING_RATE]
            prepare(updates[0] + 1, rate, settings, constants)
        if not barrier(shared, size):
            break

        loss = total(part_losses, parts) if parts > 0 else sum_of_losses(n_rows, ws, blocks[ROW_LOSS])
        if not math.isfinite(loss):
            break
        if member == 0:
            losses[epoch, 0] += loss
            losses[epoch, 1] += penalty
            updates[0] += 1
        batch_alpha = ws.dtype.type(alpha / weight if choices[SHARED_PENALTY] else alpha)
        if parts > 0:
            failed = update_from_parts(
                parts, params, grads, slots, layers, batch_alpha, optimizer, constants, member, size
            )
        else:
            failed = update_share(
                start, n_rows, x, indices, starts, order, params, grads, slots, layers, ws, choices[TRACK], batch_alpha,
                optimizer, constants, zero, member, size,
            )  # fmt: skip
        if limit != 0:  # only now is the whole gradient known, on which each parameter's update depends
            if not barrier(shared, size):
                break
            norm = math.sqrt(squared_norm(grads, 0, params.size))
            if not barrier(shared, size):
                break
            factor = grads.dtype.type(limit / norm if norm > limit else 1.0)
            failed |= update_all(factor, params, grads, slots, layers, choices[OPTIMIZER], constants, member, size)
        if failed != 0:
            write(shared, NOT_FINITE, 1)
        if not barrier(shared, size):
            break
        if read(shared, NOT_FINITE) != 0:
            break
        done += 1
        if choices[TRACK]:
            if member == 0:
                add_norms(epoch, layers, grads, norms)
            if parts > 0 and not barrier(shared, size):  # the next step begins with gradients of parts
                break
        index += 1
        if index == steps_per_epoch:
            index, epoch = 0, epoch + 1
    restore(state)
    return done


@kernel
def apply_update(params, grads, slots, layers, updates, optimizer, settings, constants):
    """One update with the gradient `grads` by the row `optimizer` of the table; the other arguments as in `train`.

    Returns UPDATED, or UPDATE_NOT_FINITE if some updates were not (those parameters keep their values), or
    GRADIENT_NOT_FINITE (nothing has changed).
    """
    if not_finite(0, 1, grads.size, 0, (span(grads, 0, grads.size),)) != 0:
        return GRADIENT_NOT_FINITE
    state = flush_subnormals()
    updates[0] += 1
    prepare(updates[0], settings[LEARNING_RATE], settings, constants)
    failed = update_all(grads.dtype.type(1), params, grads, slots, layers, optimizer, constants, 0, 1)
    restore(state)
    return UPDATE_NOT_FINITE if failed != 0 else UPDATED
