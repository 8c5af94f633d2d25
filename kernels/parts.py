"""Parts of a batch, each through all layers and back to a gradient of its own, with a lane for each of its rows.

All blocks of the workspace (network.py) are feature-major here: (width, PITCH) numbers, of which the first `columns`
count, whole registers; those beyond the part's rows are like its last (in TARGET, of classes, 0), and their DELTA is 0.
INPUT has one more row, of ones, the input of the bias: then W and b, which follow one another in `params`, are one
matrix. Each member of the team has a workspace of its own, for one part, which stays in the cache.
"""

from ._jit import ONE, ZERO, inlined, routine
from .activations import SOFTMAX, activate, activate_backward
from .dropout import ALL, drop_columns, mix
from .feature_major import combine, dots
from .gather import gather_columns, gather_target_columns
from .gemm import gemm
from .losses import losses_and_delta_columns
from .network import (
    ACTIVATION,
    DELTA,
    FAN_IN,
    FAN_OUT,
    INPUT,
    INPUT_PITCH,
    KEEP,
    PARAMETER,
    PITCH,
    ROW_LOSS,
    SCRATCH,
    TARGET,
    A,
    W,
    Z,
)
from .softmax import softmax_columns
from .spans import advance, span
from .sums import sum_of_losses
from .team import fetch, share


@routine
def ones(net):
    """The last row of every INPUT."""
    for l in range(net.layers.shape[0]):
        pitch = net.layers[l, INPUT_PITCH]
        first = net.layers[l, INPUT] + net.layers[l, FAN_IN] * pitch
        for i in range(first, first + pitch):
            net.ws[i] = 1


@routine
def block_columns(l, kind, n, net):
    """The span of n rows of a layer's block."""
    return span(net.ws, net.layers[l, kind], n * net.layers[l, PITCH])


@routine
def output_block_columns(kind, net):
    """The span of TARGET, PARAMETER or SCRATCH."""
    top = net.layers.shape[0] - 1
    return span(net.ws, net.blocks[kind], net.layers[top, FAN_OUT] * net.layers[top, PITCH])


@routine
def drop_inputs_columns(l, first, rows, net, key, source, target):
    """`drop_columns` for the inputs of layer l, from one position of ws to another; `first` is the part's first row."""
    n, pitch, keep = net.layers[l, FAN_IN], net.layers[l, INPUT_PITCH], net.layers[l, KEEP]
    before, after = span(net.ws, source, n * pitch), span(net.ws, target, n * pitch)
    drop_columns(mix(key, l), first, rows, n, pitch, keep, before, after)


@inlined
def forward_columns(first, rows, columns, net, key):
    """All layers' Z and A from the first INPUT; after a softmax SCRATCH holds log A."""
    layers = net.layers
    top = layers.shape[0] - 1
    for l in range(top + 1):
        fan_in, fan_out, pitch, code = layers[l, FAN_IN], layers[l, FAN_OUT], layers[l, PITCH], layers[l, ACTIVATION]
        x, size = block_columns(l, INPUT, fan_in + 1, net), (fan_in + 1) * fan_out
        z, a = block_columns(l, Z, fan_out, net), block_columns(l, A, fan_out, net)
        combine(fan_out, columns, fan_in + 1, span(net.params, layers[l, W], size), ONE, fan_out, x, z, pitch)
        if code == SOFTMAX:
            softmax_columns(columns, fan_out, pitch, (z, output_block_columns(SCRATCH, net), a))
        else:
            activate(code, fan_out, columns, pitch, z, a)
        if l < top and layers[l + 1, KEEP] < ALL:
            drop_inputs_columns(l + 1, first, rows, net, key, layers[l, A], layers[l + 1, INPUT])


@inlined
def output_delta_columns(rows, columns, net, loss, gradient_of, scale):
    """ROW_LOSS and the output layer's DELTA, ``scale * dL/dz``, which is 0 beyond the part's rows."""
    l = net.layers.shape[0] - 1
    k, pitch, code = net.layers[l, FAN_OUT], net.layers[l, PITCH], net.layers[l, ACTIVATION]
    y, parameter, value = (
        output_block_columns(TARGET, net), output_block_columns(PARAMETER, net), output_block_columns(SCRATCH, net)
    )  # fmt: skip
    z = value if code == SOFTMAX else block_columns(l, Z, k, net)
    a, delta = block_columns(l, A, k, net), block_columns(l, DELTA, k, net)
    row_loss, factor = span(net.ws, net.blocks[ROW_LOSS], pitch), net.ws.dtype.type(scale)
    losses_and_delta_columns(
        code, loss, gradient_of, columns, k, pitch, z, a, y, parameter, value, delta, row_loss, factor
    )
    for j in range(k):
        for r in range(rows, columns):
            delta[j * pitch + r] = 0


@routine
def weigh_columns(rows, indices, row_weights, net):
    """Losses and output deltas, times the weights of the rows `indices`."""
    top = net.layers.shape[0] - 1
    for r in range(rows):
        weight = net.ws.dtype.type(row_weights[indices[r]])
        net.ws[net.blocks[ROW_LOSS] + r] *= weight
        for j in range(net.layers[top, FAN_OUT]):
            net.ws[net.layers[top, DELTA] + j * net.layers[top, PITCH] + r] *= weight


@inlined
def recursion_columns(first, rows, columns, net, key):
    """The hidden layers' DELTA from the output layer's: ``(W @ delta) * f'(z)``."""
    layers = net.layers
    for l in range(layers.shape[0] - 1, 0, -1):
        fan_in, fan_out, pitch = layers[l, FAN_IN], layers[l, FAN_OUT], layers[l, PITCH]
        w, delta = span(net.params, layers[l, W], fan_in * fan_out), block_columns(l, DELTA, fan_out, net)
        below = block_columns(l - 1, DELTA, fan_in, net)
        combine(fan_in, columns, fan_out, w, fan_out, ONE, delta, below, pitch)
        if layers[l, KEEP] < ALL:
            drop_inputs_columns(l, first, rows, net, key, layers[l - 1, DELTA], layers[l - 1, DELTA])
        z, a = block_columns(l - 1, Z, fan_in, net), block_columns(l - 1, A, fan_in, net)
        activate_backward(layers[l - 1, ACTIVATION], fan_in, columns, pitch, below, z, a)


@inlined
def gradient_columns(columns, net, zeros, grads, at):
    """dW and db of all layers, to ``grads[at:]``."""
    for l in range(net.layers.shape[0]):
        fan_in, fan_out, pitch = net.layers[l, FAN_IN], net.layers[l, FAN_OUT], net.layers[l, PITCH]
        x, delta = block_columns(l, INPUT, fan_in + 1, net), block_columns(l, DELTA, fan_out, net)
        dw_and_db = span(grads, at + net.layers[l, W], (fan_in + 1) * fan_out)
        if min(fan_in, fan_out) < 8 + columns // 6:  # as measured: then a sum over lanes for each number pays
            dots(fan_in + 1, fan_out, columns, x, delta, pitch, dw_and_db, fan_out)
        else:
            gemm(fan_in, fan_out, columns, x, pitch, ONE, delta, ONE, pitch, zeros, ZERO, dw_and_db, fan_out)
            bias_inputs, db = advance(x, fan_in * pitch), advance(dw_and_db, fan_in * fan_out)
            dots(ONE, fan_out, columns, bias_inputs, delta, pitch, db, fan_out)


@inlined
def gradients_of_parts(batch, samples, net, choices, zeros, grads, losses, member, members):
    """A member's share of the parts of a batch; see batch.py for the arguments.

    Each leaves its gradient at ``grads[part * parameters :]``, and the sum of its losses in `losses`. The workspace is
    the member's own.
    """
    x, params, part_rows, pitch = samples.x, net.params, choices.part_rows, net.layers[0, INPUT_PITCH]
    n, k = net.layers[0, FAN_IN], net.layers[net.layers.shape[0] - 1, FAN_OUT]
    if members > 1:  # others have just written some of them
        fetch(params.size, span(params, 0, params.size))
    begin, stop = share(batch.rows, part_rows, member, members)
    for first in range(begin, stop, part_rows):
        i, rows = first // part_rows, min(part_rows, stop - first)
        indices = span(samples.order, batch.start + first, rows)
        columns = gather_columns(rows, n, indices, span(x, 0, x.size), block_columns(0, INPUT, n, net), pitch)
        gather_target_columns(rows, k, indices, samples.y, batch.width, output_block_columns(TARGET, net), pitch)
        forward_columns(first, rows, columns, net, batch.key)
        output_delta_columns(rows, columns, net, choices.loss, choices.gradient_of, batch.scale)
        if samples.row_weights.size > 0:
            weigh_columns(rows, indices, samples.row_weights, net)
        recursion_columns(first, rows, columns, net, batch.key)
        gradient_columns(columns, net, zeros, grads, i * params.size)
        losses[i] = sum_of_losses(rows, net.ws, net.blocks[ROW_LOSS])
