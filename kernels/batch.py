"""The rows of a fit: their order, a batch of them, their weights."""

from typing import Any, NamedTuple

from ._jit import inlined, routine
from .gather import gather_rows
from .network import DELTA, FAN_IN, FAN_OUT, INPUT, PITCH, ROW_LOSS, Z, block, w_and_b
from .spans import span
from .sparse import sparse_dense


class Samples(NamedTuple):
    """What to train on.

    x : (n * features,)
        Rows one after the other; or the numbers of a matrix of compressed sparse rows.
    columns, starts : (numbers,) and (n + 1,) int64, or empty
        Of a sparse x: the column of each number, no two alike in a row, and where each row starts.
    y : (n * outputs,) or (n,) class indices
    row_weights : (n,) float64 or empty
        How much each row counts, more than 0: a batch's loss is the weighted mean. Empty: all the same.
    row_indices : (m,) int64 or empty
        The rows to train on; empty: all. Only read where they are shuffled.
    order : (m,) int64
        The rows in the order of the epoch: overwritten by a permutation of `row_indices` if they are shuffled.
    """

    x: Any
    columns: Any
    starts: Any
    y: Any
    row_weights: Any
    row_indices: Any
    order: Any


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


@routine
def shuffle(rows, order, rng):
    """Puts a new permutation of `rows` in `order` (both int64 and of one size); of none are all numbers from 0 on.

    Fisher and Yates, with the generator xorshift128 (Marsaglia 2003); its four words of 32 bits are in `rng` (int64).
    """
    for i in range(order.size):
        order[i] = rows[i] if rows.size > 0 else i
    x, y, z, w = rng[0], rng[1], rng[2], rng[3]
    for i in range(order.size - 1, 0, -1):
        t = x ^ ((x << 11) & 0xFFFFFFFF)
        x, y, z = y, z, w
        w = w ^ (w >> 19) ^ t ^ (t >> 8)
        j = (w * (i + 1)) >> 32
        order[i], order[j] = order[j], order[i]
    rng[0], rng[1], rng[2], rng[3] = x, y, z, w


@inlined
def gather_inputs(first, rows, indices, samples, net):
    """Of the rows `indices` of x, `rows` rows from row `first` of INPUT; or, of a sparse x, the first layer's Z."""
    x, layers = samples.x, net.layers
    if samples.starts.size == 0:
        gather_rows(rows, layers[0, FAN_IN], indices, span(x, 0, x.size), block(0, INPUT, first, rows, net))
        return
    (w, b), z = w_and_b(0, layers, net.params), block(0, Z, first, rows, net)
    sparse_dense(rows, layers[0, FAN_OUT], indices, x, samples.columns, samples.starts, w, b, z, layers[0, PITCH])


@routine
def total_weight(start, rows, samples):
    """Sum of the weights of `rows` rows of the order from `start` on: their number if there are no weights."""
    if samples.row_weights.size == 0:
        return float(rows)
    total = 0.0
    for i in range(start, start + rows):
        total += samples.row_weights[samples.order[i]]
    return total


@routine
def weigh(first, rows, indices, row_weights, net):
    """Losses and output deltas of `rows` rows from row `first`, times the weights of the rows `indices`."""
    top = net.layers.shape[0] - 1
    k, delta = net.layers[top, FAN_OUT], block(top, DELTA, first, rows, net)
    for r in range(rows):
        weight = net.ws.dtype.type(row_weights[indices[r]])
        net.ws[net.blocks[ROW_LOSS] + first + r] *= weight
        for i in range(r * k, r * k + k):
            delta[i] *= weight
