"""The rows of a fit: their order, a batch of them, their weights."""

from typing import Any, NamedTuple

from ._jit import inlined, part
from .gather import gather_targets, pick_rows
from .network import DELTA, FAN_IN, FAN_OUT, INPUT, PITCH, ROW_LOSS, TARGET, Z, block, block_of_outputs, w_and_b
from .spans import span
from .sparse import sparse_scores


class Samples(NamedTuple):
    """What to train on.

    x : (n * features,)
        Rows one after the other; or the numbers of a matrix of compressed sparse rows.
    columns, starts : (numbers,) and (n + 1,) int64, or empty
        Of a sparse x: the column of each number, no two alike in a row, and where each row starts.
    y : (n * outputs,) or (n,) class indices
    row_weights : (n,) float64 or empty
        How much each row counts, more than 0: a batch's loss is the weighted mean. Empty: all the same.
    row_numbers : (m,) int64 or empty
        The rows to train on; empty: all. Only read where they are shuffled.
    order : (m,) int64
        The rows in the order of the epoch: overwritten by a permutation of `row_numbers` if they are shuffled.
    """

    x: Any
    columns: Any
    starts: Any
    y: Any
    row_weights: Any
    row_numbers: Any
    order: Any


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


class Batch(NamedTuple):
    """A step's rows: so many of `order` from `start` on.

    width : int
        Numbers a row has in y.
    scale : float
        By which the gradient of the sum of the rows' losses is multiplied: 1 / the weight of the batch.
    alpha : float
        The penalty's, for this batch.
    key : int
        For dropout.
    """

    start: Any
    rows: Any
    width: Any
    scale: Any
    alpha: Any
    key: Any


@inlined
def number_of_parts(batch, choices):
    """How many parts a batch has, if it goes in parts."""
    return (batch.rows + choices.part_rows - 1) // choices.part_rows


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
def take_inputs(first, rows, numbers, samples, net):
    """Of the rows `numbers` of x, `rows` rows from row `first` of INPUT; or, of a sparse x, the first layer's Z."""
    x, layers = samples.x, net.layers
    if samples.starts.size == 0:
        pick_rows(rows, layers[0, FAN_IN], numbers, span(x, 0, x.size), block(0, INPUT, first, rows, net))
        return
    (w, b), z = w_and_b(0, layers, net.params), block(0, Z, first, rows, net)
    sparse_scores(rows, layers[0, FAN_OUT], numbers, x, samples.columns, samples.starts, w, b, z, layers[0, PITCH])


@inlined
def take_targets(first, rows, numbers, width, samples, net):
    """Of the rows `numbers` of y, `rows` rows from row `first` of TARGET."""
    k = net.layers[net.layers.shape[0] - 1, FAN_OUT]
    gather_targets(rows, k, numbers, samples.y, width, block_of_outputs(TARGET, first, rows, net))


@part
def total_weight(start, rows, samples):
    """Sum of the weights of `rows` rows of the order from `start` on: their number if there are no weights."""
    if samples.row_weights.size == 0:
        return float(rows)
    total = 0.0
    for i in range(start, start + rows):
        total += samples.row_weights[samples.order[i]]
    return total


@part
def weigh(first, rows, numbers, row_weights, net):
    """Losses and output deltas of `rows` rows from row `first`, times the weights of the rows `numbers`."""
    top = net.layers.shape[0] - 1
    k, delta = net.layers[top, FAN_OUT], block(top, DELTA, first, rows, net)
    for r in range(rows):
        weight = net.ws.dtype.type(row_weights[numbers[r]])
        net.ws[net.blocks[ROW_LOSS] + first + r] *= weight
        for i in range(r * k, r * k + k):
            delta[i] *= weight
