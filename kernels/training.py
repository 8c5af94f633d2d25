"""The compiled epoch: gather, forward, backward, update, for as many steps as the caller asks for.

A team of threads runs `train` together, every member on the same arrays. A step has two halves, each followed by a
barrier. In the first a member takes its share of the batch's rows through all layers, forward and back. In the second
it takes its share of the rows of each dW, reduces over all rows of the batch, and updates those parameters while they
are hot. Each number is computed by one member in one order whatever the size of the team: results are the same to the
bit.
"""

import math

from ._jit import inlined, kernel, part
from .activations import copy
from .backprop import (
    FAN_IN,
    FAN_OUT,
    INPUT,
    ROW_LOSS,
    TARGET,
    B,
    W,
    add_penalty,
    forward_scores,
    layer_gradient,
    load_targets,
    loss_and_delta,
    recursion,
    set_constants,
    transpose_weights,
)
from .gemm import MR
from .optimizers import N_CONSTANTS, prepare, update
from .simd import flush_subnormals, not_finite, restore
from .team import NOT_FINITE, barrier, read, share, write
from .transpose import transpose

# Positions in `choices`.
BATCH, LOSS, GRADIENT_OF, OPTIMIZER, SHUFFLE, TRACK = range(6)
N_CHOICES = 6
_HOT = 4096  # numbers of dW that are computed, then updated, at a time: they and their slots stay in the first cache


@part
def shuffle(order, state):
    """Puts a new permutation of ``range(order.size)`` in `order` (int64).

    Fisher and Yates, with the generator xorshift128 (Marsaglia 2003); its four words of 32 bits are in `state` (int64).
    """
    for i in range(order.size):
        order[i] = i
    x, y, z, w = state[0], state[1], state[2], state[3]
    for i in range(order.size - 1, 0, -1):
        t = x ^ ((x << 11) & 0xFFFFFFFF)
        x, y, z = y, z, w
        w = w ^ (w >> 19) ^ t ^ (t >> 8)
        j = (w * (i + 1)) >> 32
        order[i], order[j] = order[j], order[i]
    state[0], state[1], state[2], state[3] = x, y, z, w


@inlined
def gather(first, last, order, start, x, features, y, width, k, ws, x_block, y_block):
    """x and targets of the rows ``order[start:][first:last]``, to rows `first` to `last` of two blocks of `ws`."""
    for r in range(first, last):
        row = order[start + r]
        copy(0, features, (x, ws), (row * features, x_block + r * features))
        load_targets(1, k, y, row * width, width, ws, y_block + r * k)


@inlined
def total_loss(rows, ws, row_loss):
    """Sum of the rows' losses in float64: four running sums, since one is a chain of dependent additions."""
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for r in range(0, rows - 3, 4):
        i = row_loss + r
        s0, s1, s2, s3 = s0 + ws[i], s1 + ws[i + 1], s2 + ws[i + 2], s3 + ws[i + 3]
    for r in range(rows - rows % 4, rows):
        s0 += ws[row_loss + r]
    return (s0 + s1) + (s2 + s3)


@part
def update_layer(l, first, last, params, grads, slots, layers, optimizer, constants):
    """Rows `first` to `last` of W of layer l, and with the first row b. Non-zero if some update was not finite.

    `constants` holds the step's constants (optimizers.py) twice: for weights, then for biases.
    """
    at, n = layers[l, W] + first * layers[l, FAN_OUT], (last - first) * layers[l, FAN_OUT]
    arrays = params, grads, slots, slots, constants
    failed = update(optimizer, n, arrays, (at, at, at, params.size + at, 0))
    if first == 0:
        at = layers[l, B]
        failed |= update(optimizer, layers[l, FAN_OUT], arrays, (at, at, at, params.size + at, N_CONSTANTS))
    return failed


@part
def gradient_norms(layers, grads, norms, epoch):
    """Adds the Euclidean norm of each layer's dW to row `epoch` of `norms`."""
    for l in range(layers.shape[0]):
        total = 0.0
        for i in range(layers[l, W], layers[l, W] + layers[l, FAN_IN] * layers[l, FAN_OUT]):
            total += grads[i] * grads[i]
        norms[epoch, l] += math.sqrt(total)


@kernel
def train(
    steps, x, y, order, params, transposed, grads, slots, layers, blocks, ws,
    choices, settings, updates, constants, rng, losses, norms, shared, member, size,
):  # fmt: skip
    """Steps ``steps[0]`` to ``steps[1]`` of a fit, counted from its start; every epoch has ``ceil(n / batch)``.

    Parameters
    ----------
    steps : (2,) int64
    x : (n * features,) rows one after the other.
    y : (n * outputs,) or (n,) class indices
    order : (n,) int64
        Overwritten at each epoch's start if ``choices[SHUFFLE]``, else the order of the rows.
    params : (parameters,)
        Updated.
    transposed, grads : (parameters,)
        Scratch.
    slots : (slots * parameters,)
        The optimiser's state, updated.
    layers, blocks, ws
        The network, see backprop.py; `ws` has room for a batch.
    choices : (N_CHOICES,) int64
    settings : (7,) float64
        See `optimizers.prepare`; the last is alpha.
    updates : (1,) int64
        How many updates the optimiser has made; counted on with every step, so that an interrupted caller knows.
    constants : (2 * N_CONSTANTS,)
        Scratch.
    rng : (4,) int64
        State of the shuffling generator, updated.
    losses : (epochs,) float64
        The rows' losses, each batch before its update, are added at the epoch's position, counted from the epoch of
        ``steps[0]``.
    norms : (epochs, layers) float64
        Likewise the norm of each dW, if ``choices[TRACK]``.
    shared : (team.SHARED_SIZE,) int64
        Zeros at the start; one for a team.
    member, size : int
        Which of how many threads this is.

    Returns
    -------
    int
        Steps done: fewer than asked for if a loss or an update was not finite. The parameters are finite all the same:
        a step with such a loss changes nothing, a parameter with such an update keeps its value.
    """
    features, n_layers = layers[0, FAN_IN], layers.shape[0]
    top = layers[n_layers - 1]
    k, n, batch, alpha = top[FAN_OUT], order.size, choices[BATCH], settings[6]
    width, steps_per_epoch = y.size // n, (n + batch - 1) // batch
    state = flush_subnormals()
    done = 0
    if member == 0:
        set_constants(layers, blocks, ws)
        transpose_weights(params, layers, transposed)
    for step in range(steps[0], steps[1]):
        index, epoch = step % steps_per_epoch, step // steps_per_epoch - steps[0] // steps_per_epoch
        if index == 0 and choices[SHUFFLE] and member == 0:
            shuffle(order, rng)
        if (index == 0 or step == steps[0]) and not barrier(shared, size):
            break
        start = index * batch
        rows = min(batch, n - start)

        first, last = share(rows, MR, member, size)
        gather(first, last, order, start, x, features, y, width, k, ws, layers[0, INPUT], blocks[TARGET])
        forward_scores(first, last, params, layers, ws)
        loss_and_delta(first, last, layers, blocks, ws, choices[LOSS], choices[GRADIENT_OF], 1.0 / rows)
        recursion(first, last, transposed, layers, blocks, ws)
        if member == 0:
            prepare(updates[0] + 1, settings, constants)
        if not barrier(shared, size):
            break

        loss = total_loss(rows, ws, blocks[ROW_LOSS])
        if not math.isfinite(loss):
            break
        if member == 0:
            losses[epoch] += loss
            updates[0] += 1
        for l in range(n_layers):
            fan_in, fan_out = layers[l, FAN_IN], layers[l, FAN_OUT]
            first, last = share(fan_in, MR, member, size)
            hot = max(MR, _HOT // fan_out // MR * MR)
            for i in range(first, last, hot):
                j = min(i + hot, last)
                layer_gradient(l, i, j, rows, layers, blocks, ws, grads)
                if alpha != 0:
                    add_penalty(layers[l, W] + i * fan_out, (j - i) * fan_out, params, grads, alpha)
                if update_layer(l, i, j, params, grads, slots, layers, choices[OPTIMIZER], constants) != 0:
                    write(shared, NOT_FINITE, 1)
                if l > 0:
                    transpose(i, j, fan_in, fan_out, params, layers[l, W], transposed, layers[l, W])
        if not barrier(shared, size):
            break
        if read(shared, NOT_FINITE) != 0:
            break
        done += 1
        if choices[TRACK] and member == 0:
            gradient_norms(layers, grads, norms, epoch)
    restore(state)
    return done


@kernel
def apply_update(params, grads, slots, layers, updates, optimizer, settings, constants):
    """One update with the gradient `grads`; arguments as in `train`.

    Returns 0, or 1 if some updates were not finite (those parameters keep their values), or 2 if the gradient was not
    (nothing has changed).
    """
    if not_finite(0, grads.size, (grads,), (0,)) != 0:
        return 2
    state = flush_subnormals()
    updates[0] += 1
    prepare(updates[0], settings, constants)
    failed = 0
    for l in range(layers.shape[0]):
        failed |= update_layer(l, 0, layers[l, FAN_IN], params, grads, slots, layers, optimizer, constants)
    restore(state)
    return 1 if failed != 0 else 0
