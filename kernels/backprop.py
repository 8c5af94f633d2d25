"""Forward through all layers, the delta recursion, and the gradient, into flat vectors.

A network is described by two small arrays of int64 (fastmlp/_layout.py builds them), so that one compiled function
serves every depth and width. `layers` has a row for each layer; its columns, numbered here, are sizes, the activation's
code and positions: of W and b in the vector of parameters, and of the layer's blocks, (rows, width) each, in the
workspace `ws`. `blocks` holds the positions of what a network has once. The caller owns all arrays.
"""

import math

from ._jit import inlined, kernel
from .activations import SOFTMAX, activate, activate_backward, copy, softmax, softmax_backward
from .dense import dense, dense_bias_gradient, dense_input_gradient, dense_weight_gradient
from .losses import losses_and_delta
from .simd import absolute, pointwise
from .transpose import transpose

# Columns of `layers`. Z may equal A where the activation's backward does not need z (see activations.py).
FAN_IN, FAN_OUT, ACTIVATION, W, B, INPUT, Z, A, DELTA = range(9)
N_COLUMNS = 9

# Positions in `blocks`: a 1; a row of zeros as long as the widest layer; (rows, outputs) of targets, and of scratch;
# one loss for each row.
ONE, ZERO, TARGET, VALUE, ROW_LOSS = range(5)
N_BLOCKS = 5

# copy_finite(0, n, (source, target), offsets) -> non-zero if a number is infinite or NaN
copy_finite = pointwise([lambda x: (x, ~(absolute(x) < math.inf))], inputs=(0,), outputs=(1,))


@inlined
def set_constants(layers, blocks, ws):
    """Fills the ONE and ZERO blocks of a new workspace."""
    ws[blocks[ONE]] = 1
    for l in range(layers.shape[0]):
        for i in range(max(layers[l, FAN_IN], layers[l, FAN_OUT])):
            ws[blocks[ZERO] + i] = 0


@inlined
def forward_scores(first, last, params, layers, ws):
    """Rows `first` to `last` of the hidden layers' Z and A and of the output layer's Z, from the INPUT block."""
    rows = last - first
    n_layers = layers.shape[0]
    for l in range(n_layers):
        fan_in, fan_out = layers[l, FAN_IN], layers[l, FAN_OUT]
        x, z, a = layers[l, INPUT] + first * fan_in, layers[l, Z] + first * fan_out, layers[l, A] + first * fan_out
        dense(rows, fan_in, fan_out, ws, x, params, layers[l, W], layers[l, B], ws, z)
        if l < n_layers - 1:
            activate(layers[l, ACTIVATION], rows * fan_out, ws, z, a)


@inlined
def output_activation(first, last, layers, blocks, ws):
    """Rows `first` to `last` of the output layer's A from its Z (the VALUE and ROW_LOSS blocks are overwritten)."""
    l = layers.shape[0] - 1
    k, rows = layers[l, FAN_OUT], last - first
    z, a, code = layers[l, Z] + first * k, layers[l, A] + first * k, layers[l, ACTIVATION]
    if code == SOFTMAX:
        softmax(rows, k, ws, z, blocks[VALUE] + first * k, a, blocks[ROW_LOSS] + first)
    else:
        activate(code, rows * k, ws, z, a)


@inlined
def delta_from_outputs(first, last, layers, blocks, ws, loss, gradient_of, scale):
    """Rows `first` to `last` of ROW_LOSS and of the output layer's DELTA, ``scale * dL/dz``.

    Reads the rows' TARGET, the output layer's A and Z, and, after a softmax, the VALUE that `output_activation` left.
    """
    top = layers[layers.shape[0] - 1]
    k = top[FAN_OUT]
    value = blocks[VALUE] + first * k
    z = value if top[ACTIVATION] == SOFTMAX else top[Z] + first * k
    a, delta, y = top[A] + first * k, top[DELTA] + first * k, blocks[TARGET] + first * k
    rows, row_loss, code = last - first, blocks[ROW_LOSS] + first, top[ACTIVATION]
    losses_and_delta(code, loss, gradient_of, rows, k, ws, z, a, y, value, delta, row_loss, scale)


@inlined
def loss_and_delta(first, last, layers, blocks, ws, loss, gradient_of, scale):
    """The same from the scores: writes A, too."""
    output_activation(first, last, layers, blocks, ws)
    delta_from_outputs(first, last, layers, blocks, ws, loss, gradient_of, scale)


@inlined
def recursion(first, last, transposed, layers, blocks, ws):
    """Rows `first` to `last` of the hidden layers' DELTA from the output layer's: ``(delta @ W.T) * f'(z)``."""
    rows = last - first
    for l in range(layers.shape[0] - 1, 0, -1):
        fan_in, fan_out = layers[l, FAN_IN], layers[l, FAN_OUT]
        delta, below = layers[l, DELTA] + first * fan_out, layers[l - 1, DELTA] + first * fan_in
        dense_input_gradient(rows, fan_in, fan_out, ws, delta, transposed, layers[l, W], ws, blocks[ZERO], ws, below)
        z, a = layers[l - 1, Z] + first * fan_in, layers[l - 1, A] + first * fan_in
        activate_backward(layers[l - 1, ACTIVATION], rows * fan_in, ws, below, z, a)


@inlined
def layer_gradient(l, first, last, rows, layers, blocks, ws, grads):
    """Rows `first` to `last` of dW of layer l; whoever has the first row takes db, too."""
    fan_in, fan_out, delta = layers[l, FAN_IN], layers[l, FAN_OUT], layers[l, DELTA]
    x, zero = layers[l, INPUT], blocks[ZERO]
    dense_weight_gradient(first, last, rows, fan_in, fan_out, ws, x, ws, delta, ws, zero, grads, layers[l, W])
    if first == 0:
        dense_bias_gradient(rows, fan_out, ws, delta, ws, zero, blocks[ONE], grads, layers[l, B])


@inlined
def transpose_weights(params, layers, transposed):
    """The transposed copy, at the same position, of each W that the recursion needs: all but the first."""
    for l in range(1, layers.shape[0]):
        fan_in, w = layers[l, FAN_IN], layers[l, W]
        transpose(0, fan_in, fan_in, layers[l, FAN_OUT], params, w, transposed, w)


@inlined
def load_targets(rows, k, y, yo, width, ws, target):
    """Targets of `rows` rows at ws[target:]: `k` numbers each from y[yo:], or one-hot from a class index each.

    `width` is the numbers a row has in y: k, or 1 for class indices.
    """
    if width == k:
        copy(0, rows * k, (y, ws), (yo, target))
        return
    for r in range(rows):
        for i in range(k):
            ws[target + r * k + i] = 0
        ws[target + r * k + int(y[yo + r])] = 1


@inlined
def add_penalty(w, n, params, grads, alpha):
    """``dW += alpha * W`` for n numbers from position w: the gradient of ``alpha / 2 * sum(W**2)``."""
    gradient, weights, factor = grads[w : w + n], params[w : w + n], grads.dtype.type(alpha)
    for i in range(n):
        gradient[i] += factor * weights[i]


@kernel
def infer(x, y, params, layers, blocks, ws, block_rows, loss, gradient_of, out):
    """Forward for all rows of x, `block_rows` at a time, keeping the last block's layers in `ws`.

    Parameters
    ----------
    x : (n * features,) rows one after the other.
    y : (n * outputs,) or (n,) class indices or empty
        If not empty, the losses are computed, too.
    params, layers, blocks, ws
        The network, see the top of this file; `ws` has room for `block_rows` rows.
    loss, gradient_of : int
        See losses.py.
    out : (n * outputs,) or empty
        Written if not empty.

    Returns
    -------
    float
        Sum of the rows' losses (0 without y); NaN if a number of x is not finite.
    """
    features, k = layers[0, FAN_IN], layers[layers.shape[0] - 1, FAN_OUT]
    last_layer = layers[layers.shape[0] - 1]
    n = x.size // features
    total = 0.0
    set_constants(layers, blocks, ws)
    for first in range(0, n, block_rows):
        rows = min(block_rows, n - first)
        if copy_finite(0, rows * features, (x, ws), (first * features, layers[0, INPUT])) != 0:
            return math.nan
        forward_scores(0, rows, params, layers, ws)
        a = last_layer[A]
        if y.size > 0:
            width = y.size // n
            load_targets(rows, k, y, first * width, width, ws, blocks[TARGET])
            loss_and_delta(0, rows, layers, blocks, ws, loss, gradient_of, 1.0)
            for r in range(rows):
                total += ws[blocks[ROW_LOSS] + r]
        else:
            output_activation(0, rows, layers, blocks, ws)
        if out.size > 0:
            copy(0, rows * k, (ws, out), (a, first * k))
    return total


@kernel
def backward(
    rows, y, output, output_gradient, params, transposed, layers, blocks, ws, loss, gradient_of, alpha, grads, dx
):  # fmt: skip
    """The gradient after `infer` has left `rows` rows (a single block) in `ws`.

    Parameters
    ----------
    rows : int
    y : (rows * outputs,) or (rows,) class indices or empty
    output : (rows * outputs,)
        What counts as the network's output in the loss; usually what `infer` wrote.
    output_gradient : (rows * outputs,) or empty
        Where y is empty: dL/d output of a loss of the caller's own.
    params, layers, blocks, ws
        The network, see the top of this file.
    transposed : (parameters,)
        Overwritten with the transposed weights.
    loss, gradient_of : int
        See losses.py.
    alpha : float
        The gradient of ``alpha / 2 * sum(W**2)`` is added.
    grads : (parameters,)
        Written: the gradient of the mean loss over rows (or of the caller's own loss as it is).
    dx : (rows * features,) or empty
        Written if not empty: the gradient with respect to x.
    """
    last_layer = layers[layers.shape[0] - 1]
    k, code = last_layer[FAN_OUT], last_layer[ACTIVATION]
    z, a, delta = last_layer[Z], last_layer[A], last_layer[DELTA]
    if y.size > 0:
        load_targets(rows, k, y, 0, y.size // rows, ws, blocks[TARGET])
        output_activation(0, rows, layers, blocks, ws)
        copy(0, rows * k, (output, ws), (0, a))
        delta_from_outputs(0, rows, layers, blocks, ws, loss, gradient_of, 1.0 / rows)
    else:
        copy(0, rows * k, (output_gradient, ws), (0, delta))
        if code == SOFTMAX:
            for i in range(rows * k):
                ws[delta + i] *= ws[a + i]
            softmax_backward(rows, k, ws, a, delta)
        else:
            activate_backward(code, rows * k, ws, delta, z, a)
    transpose_weights(params, layers, transposed)
    recursion(0, rows, transposed, layers, blocks, ws)
    for l in range(layers.shape[0]):
        layer_gradient(l, 0, layers[l, FAN_IN], rows, layers, blocks, ws, grads)
        if alpha != 0:
            add_penalty(layers[l, W], layers[l, FAN_IN] * layers[l, FAN_OUT], params, grads, alpha)
    if dx.size > 0:
        fan_in, fan_out, w = layers[0, FAN_IN], layers[0, FAN_OUT], layers[0, W]
        transpose(0, fan_in, fan_in, fan_out, params, w, transposed, w)
        dense_input_gradient(rows, fan_in, fan_out, ws, layers[0, DELTA], transposed, w, ws, blocks[ZERO], dx, 0)
