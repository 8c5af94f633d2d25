"""A part of a batch, through all layers and back to a gradient of its own, with a lane for each of its rows.

All blocks of the workspace (backprop.py) are feature-major here: (width, pitch) numbers, of which the first `columns`
count, whole registers; those beyond the part's rows are like its last, but that their DELTA is 0. INPUT has one more
row, of ones, the input of the bias: then W and b, which follow one another in `params`, are one matrix. Each member of
the team has a workspace of its own, for one part, which stays in the cache.
"""

from numpy import int64

from ._jit import inlined, part
from .activations import SOFTMAX, activate, activate_backward
from .backprop import (
    ACTIVATION,
    DELTA,
    FAN_IN,
    FAN_OUT,
    INPUT,
    KEEP,
    PARAMETER,
    ROW_LOSS,
    TARGET,
    VALUE,
    A,
    W,
    Z,
    sum_of_losses,
)
from .dropout import ALL, drop_columns, mix
from .feature_major import combine, dots
from .gather import pick_columns, pick_target_columns
from .gemm import gemm
from .losses import losses_and_delta_of_columns
from .simd import advance, span
from .softmax import softmax_columns

_ONE, _ZERO = int64(1), int64(0)  # a literal is a type of its own, for which gemm would be compiled again


@part
def ones(layers, ws, pitch):
    """The last row of every INPUT."""
    for l in range(layers.shape[0]):
        first = layers[l, INPUT] + layers[l, FAN_IN] * pitch
        for i in range(first, first + pitch):
            ws[i] = 1


@part
def features(l, column, n, layers, ws, pitch):
    """The span of n rows of a layer's block."""
    return span(ws, layers[l, column], n * pitch)


@part
def drop_features(l, source, target, first, rows, layers, ws, pitch, key):
    """`drop_columns` for the inputs of layer l, from one position of ws to another; `first` is the part's first row."""
    n, keep = layers[l, FAN_IN], layers[l, KEEP]
    drop_columns(mix(key, l), first, rows, n, pitch, keep, span(ws, source, n * pitch), span(ws, target, n * pitch))


@inlined
def outputs(first, rows, columns, params, layers, blocks, ws, pitch, key):
    """All layers' Z and A from the first INPUT; after a softmax VALUE holds log A."""
    top = layers.shape[0] - 1
    for l in range(top + 1):
        fan_in, fan_out, code = layers[l, FAN_IN], layers[l, FAN_OUT], layers[l, ACTIVATION]
        x, size = features(l, INPUT, fan_in + 1, layers, ws, pitch), (fan_in + 1) * fan_out
        z, a = features(l, Z, fan_out, layers, ws, pitch), features(l, A, fan_out, layers, ws, pitch)
        combine(fan_out, fan_in + 1, columns, span(params, layers[l, W], size), _ONE, fan_out, x, z, pitch)
        if code == SOFTMAX:
            softmax_columns(columns, fan_out, pitch, (z, span(ws, blocks[VALUE], fan_out * pitch), a))
        else:
            activate(code, fan_out, columns, pitch, z, a)
        if l < top and layers[l + 1, KEEP] < ALL:
            drop_features(l + 1, layers[l, A], layers[l + 1, INPUT], first, rows, layers, ws, pitch, key)


@inlined
def output_delta(rows, columns, layers, blocks, ws, pitch, loss, gradient_of, scale):
    """ROW_LOSS and the output layer's DELTA, ``scale * dL/dz``, which is 0 beyond the part's rows."""
    l = layers.shape[0] - 1
    k, code = layers[l, FAN_OUT], layers[l, ACTIVATION]
    size = k * pitch
    y, parameter = span(ws, blocks[TARGET], size), span(ws, blocks[PARAMETER], size)
    value = span(ws, blocks[VALUE], size)
    z = value if code == SOFTMAX else features(l, Z, k, layers, ws, pitch)
    a, delta = features(l, A, k, layers, ws, pitch), features(l, DELTA, k, layers, ws, pitch)
    row_loss, factor = span(ws, blocks[ROW_LOSS], pitch), ws.dtype.type(scale)
    losses_and_delta_of_columns(
        code, loss, gradient_of, columns, k, pitch, z, a, y, parameter, value, delta, row_loss, factor
    )
    for j in range(k):
        for r in range(rows, columns):
            delta[j * pitch + r] = 0


@part
def weigh_columns(rows, numbers, row_weights, layers, blocks, ws, pitch):
    """Losses and output deltas, times the weights of the rows `numbers`."""
    top = layers.shape[0] - 1
    for r in range(rows):
        weight = ws.dtype.type(row_weights[numbers[r]])
        ws[blocks[ROW_LOSS] + r] *= weight
        for j in range(layers[top, FAN_OUT]):
            ws[layers[top, DELTA] + j * pitch + r] *= weight


@inlined
def deltas(first, rows, columns, params, layers, ws, pitch, key):
    """The hidden layers' DELTA from the output layer's: ``(W @ delta) * f'(z)``."""
    for l in range(layers.shape[0] - 1, 0, -1):
        fan_in, fan_out = layers[l, FAN_IN], layers[l, FAN_OUT]
        w, delta = span(params, layers[l, W], fan_in * fan_out), features(l, DELTA, fan_out, layers, ws, pitch)
        below = features(l - 1, DELTA, fan_in, layers, ws, pitch)
        combine(fan_in, fan_out, columns, w, fan_out, _ONE, delta, below, pitch)
        if layers[l, KEEP] < ALL:
            drop_features(l, layers[l - 1, DELTA], layers[l - 1, DELTA], first, rows, layers, ws, pitch, key)
        z, a = features(l - 1, Z, fan_in, layers, ws, pitch), features(l - 1, A, fan_in, layers, ws, pitch)
        activate_backward(layers[l - 1, ACTIVATION], fan_in, columns, pitch, below, z, a)


@inlined
def gradients(columns, at, layers, ws, pitch, zero, grads):
    """dW and db of all layers, to ``grads[at:]``."""
    for l in range(layers.shape[0]):
        fan_in, fan_out = layers[l, FAN_IN], layers[l, FAN_OUT]
        x, delta = features(l, INPUT, fan_in + 1, layers, ws, pitch), features(l, DELTA, fan_out, layers, ws, pitch)
        dw_and_db = span(grads, at + layers[l, W], (fan_in + 1) * fan_out)
        if min(fan_in, fan_out) < 8 + columns // 6:  # as measured: then a sum over lanes for each number pays
            dots(fan_in + 1, fan_out, columns, x, delta, pitch, dw_and_db, fan_out)
        else:
            gemm(fan_in, fan_out, columns, x, pitch, _ONE, delta, _ONE, pitch, zero, _ZERO, dw_and_db, fan_out)
            bias_inputs, db = advance(x, fan_in * pitch), advance(dw_and_db, fan_in * fan_out)
            dots(_ONE, fan_out, columns, bias_inputs, delta, pitch, db, fan_out)


@inlined
def gradient_of_part(
    first, rows, at, start, x, y, width, row_weights, order, params, grads, layers, blocks, ws, pitch, loss,
    gradient_of, zero, key, scale,
):  # fmt: skip
    """`rows` rows of the batch from row `first`: their gradient to ``grads[at:]``, and the sum of their losses.

    `ws` is the member's own; the gradient is that of `scale` times the sum of the losses. The others: see
    `forward_and_back` and `train` (training.py).
    """
    n, k = layers[0, FAN_IN], layers[layers.shape[0] - 1, FAN_OUT]
    numbers, inputs = span(order, start + first, rows), features(0, INPUT, n, layers, ws, pitch)
    columns = pick_columns(rows, n, numbers, span(x, 0, x.size), inputs, pitch)
    pick_target_columns(rows, k, numbers, y, width, span(ws, blocks[TARGET], k * pitch), pitch)
    outputs(first, rows, columns, params, layers, blocks, ws, pitch, key)
    output_delta(rows, columns, layers, blocks, ws, pitch, loss, gradient_of, scale)
    if row_weights.size > 0:
        weigh_columns(rows, numbers, row_weights, layers, blocks, ws, pitch)
    deltas(first, rows, columns, params, layers, ws, pitch, key)
    gradients(columns, at, layers, ws, pitch, zero, grads)
    return sum_of_losses(rows, ws, blocks[ROW_LOSS])
