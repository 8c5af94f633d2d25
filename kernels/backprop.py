"""Forward through all layers, the delta recursion, and the gradient, on the arrays of network.py."""

import math

from ._jit import inlined, kernel, routine
from .activations import SOFTMAX, activate, activate_backward
from .dense import dense, dense_bias_gradient, dense_input_gradient, dense_weight_gradient
from .dropout import ALL, drop, mix
from .gather import copy_targets
from .losses import losses_and_delta
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
    Net,
    Z,
    block,
    fill_zeros,
    output_block,
    w_and_b,
)
from .pointwise import axpy, copy, copy_finite, outside
from .softmax import softmax, softmax_backward
from .spans import advance, same_dtype, span
from .sums import sum_of_losses

# Rows that go through all layers together: enough to reuse the weights, few enough to stay in the caches.
ROWS_TOGETHER = 256


@routine
def drop_inputs(l, first, rows, net, key, source, target):
    """``target = source * mask`` for `rows` rows from row `first`, where some inputs of layer l are dropped.

    `source` and `target` are the positions of two blocks as wide as INPUT; `key` is the step's.
    """
    n, pitch, keep = net.layers[l, FAN_IN], net.layers[l, INPUT_PITCH], net.layers[l, KEEP]
    at, size = first * pitch, rows * pitch
    drop(mix(key, l), first, rows, n, pitch, keep, span(net.ws, source + at, size), span(net.ws, target + at, size))


@inlined
def forward(first, rows, net, key, known):
    """`rows` rows from row `first` of all layers' Z and A, from the INPUT block; after a softmax SCRATCH holds log A.

    `key` is the step's, for dropout; any number where there is none. The first `known` layers have their Z.
    """
    layers = net.layers
    top = layers.shape[0] - 1
    for l in range(top + 1):
        fan_out, pitch, code = layers[l, FAN_OUT], layers[l, PITCH], layers[l, ACTIVATION]
        (w, b), z, a = w_and_b(l, layers, net.params), block(l, Z, first, rows, net), block(l, A, first, rows, net)
        if l >= known:
            x = block(l, INPUT, first, rows, net)
            dense(rows, layers[l, FAN_IN], fan_out, x, layers[l, INPUT_PITCH], w, b, z, pitch)
        if code == SOFTMAX:
            softmax(rows, fan_out, (z, output_block(SCRATCH, first, rows, net), a))
        else:
            activate(code, rows, fan_out, pitch, z, a)
        if l < top and layers[l + 1, KEEP] < ALL:
            drop_inputs(l + 1, first, rows, net, key, layers[l, A], layers[l + 1, INPUT])


@inlined
def output_delta(first, rows, net, loss, gradient_of, scale):
    """`rows` rows from row `first` of ROW_LOSS and of the output layer's DELTA, ``scale * dL/dz``.

    Reads the rows' TARGET and PARAMETER, the output layer's A and Z, and, after a softmax, the SCRATCH that `forward`
    left.
    """
    l = net.layers.shape[0] - 1
    k, code = net.layers[l, FAN_OUT], net.layers[l, ACTIVATION]
    value, y = output_block(SCRATCH, first, rows, net), output_block(TARGET, first, rows, net)
    parameter = output_block(PARAMETER, first, rows, net)
    z = value if code == SOFTMAX else block(l, Z, first, rows, net)
    a, delta = block(l, A, first, rows, net), block(l, DELTA, first, rows, net)
    row_loss, factor = span(net.ws, net.blocks[ROW_LOSS] + first, rows), net.ws.dtype.type(scale)
    losses_and_delta(code, loss, gradient_of, rows, k, z, a, y, parameter, value, delta, row_loss, factor)


@inlined
def recursion(first, rows, net, key, zeros):
    """`rows` rows from row `first` of the hidden layers' DELTA from the output layer's: ``(delta @ W.T) * f'(z)``.

    Where numbers of A were dropped, ``delta @ W.T`` is, too. `key` as in `forward`.
    """
    layers = net.layers
    for l in range(layers.shape[0] - 1, 0, -1):
        fan_in, pitch, below = layers[l, FAN_IN], layers[l - 1, PITCH], block(l - 1, DELTA, first, rows, net)
        delta, w = block(l, DELTA, first, rows, net), w_and_b(l, layers, net.params)[0]
        dense_input_gradient(rows, fan_in, layers[l, FAN_OUT], delta, layers[l, PITCH], w, zeros, below, pitch)
        if layers[l, KEEP] < ALL:
            drop_inputs(l, first, rows, net, key, layers[l - 1, DELTA], layers[l - 1, DELTA])
        z, a = block(l - 1, Z, first, rows, net), block(l - 1, A, first, rows, net)
        activate_backward(layers[l - 1, ACTIVATION], rows, fan_in, pitch, below, z, a)


@inlined
def weight_gradient(l, i, m, j, n, first, rows, net, zeros, dw):
    """Rows `i` to ``i + m``, columns `j` to ``j + n`` of dW of layer l over `rows` rows of the batch from row `first`.

    To the span `dw`, its rows fan_out apart.
    """
    x, delta = advance(block(l, INPUT, first, rows, net), i), advance(block(l, DELTA, first, rows, net), j)
    ldx, ldd = net.layers[l, INPUT_PITCH], net.layers[l, PITCH]
    dense_weight_gradient(m, n, rows, net.layers[l, FAN_OUT], x, ldx, delta, ldd, zeros, dw)


@inlined
def bias_gradient(l, first, rows, net, db):
    """db of layer l over `rows` rows of the batch from row `first`, to a span."""
    dense_bias_gradient(rows, net.layers[l, FAN_OUT], block(l, DELTA, first, rows, net), net.layers[l, PITCH], db)


@inlined
def gradient(rows, net, zeros, grads):
    """dW and db of all layers over a batch of `rows` rows, to one vector."""
    for l in range(net.layers.shape[0]):
        dw, db = w_and_b(l, net.layers, grads)
        weight_gradient(l, 0, net.layers[l, FAN_IN], 0, net.layers[l, FAN_OUT], 0, rows, net, zeros, dw)
        bias_gradient(l, 0, rows, net, db)


@inlined
def forward_block(first, rows, x, net):
    """All layers for rows `first` to ``first + rows`` of x, to the start of `net.ws`. False if one is not finite."""
    n = net.layers[0, FAN_IN]
    run = rows if net.layers[0, INPUT_PITCH] == n else 1  # rows lie apart where this is the upper end of a network
    r = 0
    while r < rows:
        if copy_finite(0, 1, run * n, 0, (span(x, (first + r) * n, run * n), block(0, INPUT, r, run, net))) != 0:
            return False
        r += run
    forward(0, rows, net, 0, 0)
    return True


@kernel
def infer(x, params, layers, blocks, ws, rows_together, out):
    """Forward for all rows of x, `rows_together` at a time, keeping the last block's layers in `ws`.

    Parameters
    ----------
    x : (n * features,) or (n, features), in C order and of the dtype of `params`
    params, layers, blocks, ws
        The network, see network.py; `ws` has room for `rows_together` rows.
    out : (n * outputs,) or (n, outputs) or empty, in C order and of the dtype of `params`
        Written if not empty.

    Returns
    -------
    bool
        False, with some of `out` left unwritten, if a number of x is not finite.

    Raises
    ------
    ValueError
        x is not made of whole rows, or `out` is of another size.
    """
    same_dtype(x, params)
    same_dtype(out, params)
    net, top = Net(params, layers, blocks, ws), layers.shape[0] - 1
    n, k = x.size // layers[0, FAN_IN], layers[top, FAN_OUT]
    if n * layers[0, FAN_IN] != x.size or (out.size != 0 and out.size != n * k):
        raise ValueError("infer: x must hold whole rows, and out as many rows of outputs, or nothing")
    for first in range(0, n, rows_together):
        rows = min(rows_together, n - first)
        if not forward_block(first, rows, x, net):
            return False
        if out.size > 0:
            copy(0, 1, rows * k, 0, (block(top, A, 0, rows, net), span(out, first * k, rows * k)))
    return True


@kernel
def total_loss(x, y, params, layers, blocks, ws, rows_together, loss, gradient_of):
    """Sum of the losses of all rows of x, in float64; NaN if a number of x is not finite.

    y : (n * outputs,) or (n,) class indices; the others as in `infer` and `losses_and_delta` (losses.py).
    """
    net, n, k = Net(params, layers, blocks, ws), x.size // layers[0, FAN_IN], layers[layers.shape[0] - 1, FAN_OUT]
    width = y.size // n
    total = 0.0
    for first in range(0, n, rows_together):
        rows = min(rows_together, n - first)
        if not forward_block(first, rows, x, net):
            return math.nan
        copy_targets(rows, k, y, first * width, width, output_block(TARGET, 0, rows, net))
        output_delta(0, rows, net, loss, gradient_of, 1.0)
        total += sum_of_losses(rows, ws, blocks[ROW_LOSS])
    return total


@kernel
def backward(
    rows, y, output, output_gradient, params, layers, blocks, ws, loss, gradient_of, low, high, alpha, grads, dx
):  # fmt: skip
    """The gradient after `infer` has left `rows` rows (a single block) in `ws`.

    Parameters
    ----------
    rows : int
    y : (rows * outputs,) or (rows,) class indices or empty
    output : (rows, outputs) or empty
        What counts as the network's output in the loss; empty: what `infer` left in `ws`.
    output_gradient : (rows * outputs,) or empty
        Where y is empty: dL/d output of a loss of the caller's own.
    params, layers, blocks, ws
        The network, see network.py.
    loss, gradient_of : int
        See losses.py.
    low, high : float
        Between which y must be, if it does not hold class indices, which must be integers.
    alpha : float
        The gradient of ``alpha / 2 * sum(W**2)`` is added.
    grads : (parameters,)
        Written: the gradient of the mean loss over rows (or of the caller's own loss as it is).
    dx : (rows * features,) or empty
        Written if not empty: the gradient with respect to x.

    Returns
    -------
    bool
        False, and nothing is written, if y holds a number outside [low, high], or a class that there is not.
    """
    net, top = Net(params, layers, blocks, ws), layers.shape[0] - 1
    k, code = layers[top, FAN_OUT], layers[top, ACTIVATION]
    n = rows * k
    a, delta = block(top, A, 0, rows, net), block(top, DELTA, 0, rows, net)
    if y.size > 0:
        dtype = y.dtype.type
        bounds = (dtype(low), dtype(high)) if y.size == n else (dtype(0), dtype(k - 1))
        if outside(0, 1, y.size, 0, (span(y, 0, y.size),), bounds) != 0:
            return False
        copy_targets(rows, k, y, 0, y.size // rows, output_block(TARGET, 0, rows, net))
        if code == SOFTMAX:
            softmax(rows, k, (block(top, Z, 0, rows, net), output_block(SCRATCH, 0, rows, net), a))
        if output.size > 0:
            copy(0, 1, n, 0, (span(output, 0, n), a))
        output_delta(0, rows, net, loss, gradient_of, 1.0 / rows)
    else:
        copy(0, 1, n, 0, (span(output_gradient, 0, n), delta))
        if code == SOFTMAX:
            for i in range(n):
                delta[i] *= a[i]
            softmax_backward(rows, k, (a, delta))
        else:
            activate_backward(code, rows, k, k, delta, block(top, Z, 0, rows, net), a)
    zeros = fill_zeros(net)
    recursion(0, rows, net, 0, zeros)
    gradient(rows, net, zeros, grads)
    if alpha != 0:
        for l in range(top + 1):
            spans = w_and_b(l, layers, params)[0], w_and_b(l, layers, grads)[0]
            axpy(0, 1, layers[l, FAN_IN] * layers[l, FAN_OUT], 0, spans, (ws.dtype.type(alpha),))
    if dx.size > 0:
        fan_in, fan_out, w = layers[0, FAN_IN], layers[0, FAN_OUT], w_and_b(0, layers, params)[0]
        below = block(0, DELTA, 0, rows, net)
        dense_input_gradient(rows, fan_in, fan_out, below, layers[0, PITCH], w, zeros, span(dx, 0, dx.size), fan_in)
    return True
