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
from typing import NamedTuple

from ._jit import ZERO, inlined, kernel, routine
from .backprop import ROWS_TOGETHER, forward, output_delta, recursion
from .batch import Batch, Samples, gather_inputs, number_of_parts, shuffle, total_weight, weigh
from .dropout import step_key
from .gather import gather_targets
from .gemm import MR
from .network import FAN_IN, FAN_OUT, ROW_LOSS, TARGET, Net, fill_zeros, output_block
from .optimizers import ALPHA, CLIP_NORM, LEARNING_RATE, prepare
from .parts import gradients_of_parts, ones
from .pointwise import not_finite
from .spans import span
from .subnormals import flush_subnormals, restore
from .sums import sum_of_losses
from .team import NOT_FINITE, barrier, read, share, write
from .updates import OptimizerState, squared_weights, update_all, update_parameters

# What `apply_update` returns.
UPDATED, UPDATE_NOT_FINITE, GRADIENT_NOT_FINITE = range(3)


class Choices(NamedTuple):
    """How steps are made.

    batch_size : int
    loss, gradient_of : int
        See losses.py.
    shuffle : bool
        Whether every epoch has a new order of rows.
    track : bool
        Whether the whole gradient is looked at: its norms are recorded, or it is clipped.
    shared_penalty : bool
        Whether alpha is divided by the batch's weight (its number of rows).
    part_rows : int
        Rows of a part, each with a gradient of its own (parts.py); 0: a batch goes as a whole. In parts x is not
        sparse, and the loss pointwise.
    workspace : int
        In parts, how many numbers of the workspace are each member's.
    """

    batch_size: int
    loss: int
    gradient_of: int
    shuffle: bool
    track: bool
    shared_penalty: bool
    part_rows: int
    workspace: int


@inlined
def deltas_of_rows(batch, samples, net, choices, zeros, member, members):
    """A member's share of the rows of a batch, through all layers and back: all layers' DELTA, and ROW_LOSS."""
    first, stop = share(batch.rows, MR, member, members)
    k = net.layers[net.layers.shape[0] - 1, FAN_OUT]
    for r in range(first, stop, ROWS_TOGETHER):
        rows = min(ROWS_TOGETHER, stop - r)
        indices = span(samples.order, batch.start + r, rows)
        gather_inputs(r, rows, indices, samples, net)
        gather_targets(rows, k, indices, samples.y, batch.width, output_block(TARGET, r, rows, net))
        forward(r, rows, net, batch.key, int(samples.starts.size > 0))
        output_delta(r, rows, net, choices.loss, choices.gradient_of, batch.scale)
        if samples.row_weights.size > 0:
            weigh(r, rows, indices, samples.row_weights, net)
        recursion(r, rows, net, batch.key, zeros)


@routine
def l2_penalty(alpha, layers, params):
    """``alpha / 2 * sum(W**2)`` over all layers, in float64."""
    penalty = 0.0
    for l in range(layers.shape[0]):
        penalty += alpha / 2 * squared_weights(l, layers, params)
    return penalty


@routine
def add_norms(epoch, layers, grads, norms):
    """Adds the Euclidean norm of each layer's dW to ``norms[epoch]``."""
    for l in range(layers.shape[0]):
        norms[epoch, l] += math.sqrt(squared_weights(l, layers, grads))


@kernel
def train(
    steps, samples, network, state, choices, settings, rates, part_losses, updates, rng, losses, norms, shared, member,
    members,
):  # fmt: skip
    """Steps ``steps[0]`` to ``steps[1]`` of a fit, counted from its start; every epoch has ``ceil(n / batch)``.

    Parameters
    ----------
    steps : (2,) int64
    samples, network, state, choices : tuple
        The fields of Samples (batch.py), Net (network.py), OptimizerState (updates.py) and Choices. Plain tuples: of
        named ones Numba would find out the type anew in each call. Net's workspace has room for a batch, or, in parts,
        is as many workspaces as there are members.
    settings : (8,) float64
        See optimizers.py. To be clipped, gradients must be tracked.
    rates : (steps,) float64 or empty
        The learning rate of each of these steps; empty: that of `settings`.
    part_losses : (parts of a batch,) float64
        Scratch.
    updates : (1,) int64
        How many updates the optimiser has made; counted on with every step, so that an interrupted caller knows.
    rng : (4,) int64
        State of the shuffling generator, updated; with the number of updates it also decides what is dropped.
    losses : (epochs, 2) float64
        The rows' losses, times their weights, each batch before its update, are added at the epoch's position, counted
        from the epoch of ``steps[0]``; and beside them, with a shared penalty, ``alpha / 2 * sum(W**2)``.
    norms : (epochs, layers) float64
        Likewise the norm of each dW, as clipped, if they are tracked.
    shared : (team.SHARED_SIZE,) int64
        Zeros at the start; one array for each team.
    member, members : int
        Which of how many threads this is.

    Returns
    -------
    int
        Steps done: fewer than asked for if a loss or an update was not finite. The parameters are finite all the same:
        a step with such a loss changes nothing, a parameter with such an update keeps its value.
    """
    samples, whole, state, choices = Samples(*samples), Net(*network), OptimizerState(*state), Choices(*choices)
    n, alpha, limit = samples.order.size, settings[ALPHA], settings[CLIP_NORM]
    n_samples = samples.starts.size - 1 if samples.starts.size > 0 else samples.x.size // whole.layers[0, FAN_IN]
    width = samples.y.size // n_samples
    steps_per_epoch = (n + choices.batch_size - 1) // choices.batch_size
    flags = flush_subnormals()
    in_parts, own = choices.part_rows > 0, choices.workspace
    ws = whole.ws[member * own : (member + 1) * own] if in_parts else whole.ws
    net = Net(whole.params, whole.layers, whole.blocks, ws)
    zeros = fill_zeros(net)
    if in_parts:
        ones(net)
    done, index, epoch = 0, steps[0] % steps_per_epoch, 0
    for step in range(steps[0], steps[1]):
        if index == 0 and choices.shuffle:
            if member == 0:
                shuffle(samples.row_indices, samples.order, rng)
            if not barrier(shared, members):
                break
        start = index * choices.batch_size
        rows = min(choices.batch_size, n - start)
        weight = total_weight(start, rows, samples)
        batch_alpha = ws.dtype.type(alpha / weight if choices.shared_penalty else alpha)
        batch = Batch(start, rows, width, 1.0 / weight, batch_alpha, step_key(rng, updates[0]))
        if in_parts:
            gradients_of_parts(batch, samples, net, choices, zeros, state.grads, part_losses, member, members)
        else:
            deltas_of_rows(batch, samples, net, choices, zeros, member, members)
        penalty = 0.0
        if member == 0:
            if choices.shared_penalty and alpha != 0:
                penalty = l2_penalty(alpha, net.layers, net.params)
            rate = rates[step - steps[0]] if rates.size > 0 else settings[LEARNING_RATE]
            prepare(updates[0] + 1, rate, settings, state.constants)
        if not barrier(shared, members):
            break

        if in_parts:
            loss = sum_of_losses(number_of_parts(batch, choices), part_losses, ZERO)
        else:
            loss = sum_of_losses(rows, ws, net.blocks[ROW_LOSS])
        if not math.isfinite(loss):
            break
        if member == 0:
            losses[epoch, 0] += loss
            losses[epoch, 1] += penalty
            updates[0] += 1
        failed = update_parameters(batch, samples, net, state, choices, limit, zeros, shared, member, members)
        if failed < 0:
            break
        if failed != 0:
            write(shared, NOT_FINITE, 1)
        if not barrier(shared, members):
            break
        if read(shared, NOT_FINITE) != 0:
            break
        done += 1
        if choices.track:
            if member == 0:
                add_norms(epoch, net.layers, state.grads, norms)
            if in_parts and not barrier(shared, members):  # the next step begins with gradients of parts
                break
        index += 1
        if index == steps_per_epoch:
            index, epoch = 0, epoch + 1
    restore(flags)
    return done


@kernel
def apply_update(params, grads, slots, layers, updates, optimizer, settings, constants):
    """One update with the gradient `grads`.

    params, grads : (parameters,)
        Updated; read.
    slots, optimizer, constants
        See OptimizerState (updates.py).
    layers
        See network.py.
    updates : (1,) int64
        Counted on.
    settings : (7,) float64, or more
        See optimizers.py: all before CLIP_NORM are read.

    Returns UPDATED, or UPDATE_NOT_FINITE if some updates were not (those parameters keep their values), or
    GRADIENT_NOT_FINITE (nothing has changed).
    """
    if not_finite(0, 1, grads.size, 0, (span(grads, 0, grads.size),)) != 0:
        return GRADIENT_NOT_FINITE
    flags = flush_subnormals()
    updates[0] += 1
    prepare(updates[0], settings[LEARNING_RATE], settings, constants)
    state = OptimizerState(optimizer, slots, constants, grads)
    failed = update_all(grads.dtype.type(1), params, layers, state, 0, 1)
    restore(flags)
    return UPDATE_NOT_FINITE if failed != 0 else UPDATED
