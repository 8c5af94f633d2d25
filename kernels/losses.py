"""Losses. To add one: write its function, a row in TABLE, and what is reported of it, in fastmlp/losses.py.

A row's function takes, for one number, (z, a, y): the pre-activation, the output and the target, and, if the row names
a `parameter`, that parameter's value for the output. It gives the loss and a gradient; `gradient_of` says with respect
to what. A row with an `activation` is the pair's own formula, from z itself: no logarithm of a rounded probability,
hence no clipping constant and no overflow. A row without one serves every other output activation through its
derivative.
"""

import math
from typing import NamedTuple

from ._jit import inlined, routine
from .activations import activate_backward
from .elementary import log, softplus
from .own_loss import evaluate
from .pointwise import pointwise
from .simd import absolute, where
from .softmax import softmax_backward, softmax_backward_columns
from .sums import column_sums, row_sums

# What the gradient of a row is taken with respect to. For a softmax z holds log a, and dL/d log a = a * dL/da. ROW is
# for a pair that is not pointwise: it has a function here. OWN is for a loss of the user's own (own_loss.py), whose
# gradient is taken with respect to the output, and whose code is an address.
OUTPUT, PRE_ACTIVATION, LOG_OUTPUT, ROW, OWN = 0, 1, 2, 3, 4


def squared_error(z, a, y):
    """The usual half: ``1/2 (a - y)**2``, so that the gradient is a - y."""
    d = a - y
    return 0.5 * d * d, d


def absolute_error(z, a, y):
    """``|a - y|``; its slope at a = y is taken to be 0."""
    d = a - y
    return absolute(d), where(d > 0.0, 1.0 + 0.0 * d, where(d < 0.0, -1.0 + 0.0 * d, 0.0 * d))


def binary_cross_entropy(z, a, y):
    """``-(y log a + (1 - y) log(1 - a))``; a term with factor 0 is 0, whatever its logarithm."""
    n = 1.0 - y
    loss = where(y > 0.0, -y * log(a), 0.0 * y) + where(n > 0.0, -n * log(1.0 - a), 0.0 * n)
    return loss, where(n > 0.0, n / (1.0 - a), 0.0) - where(y > 0.0, y / a, 0.0)


def cross_entropy(z, a, y):
    """``-y log a``; 0 where y is 0."""
    return where(y > 0.0, -y * log(a), 0.0 * y), where(y > 0.0, -y / a, 0.0 * y)


def poisson(z, a, y):
    """Half the deviance, ``y log(y / a) - y + a``, which is least, 0, at a = y; y log y is 0 where y is 0."""
    return where(y > 0.0, y * log(y / a), 0.0 * y) - y + a, 1.0 - where(y > 0.0, y / a, 0.0 * y)


def huber(z, a, y, delta):
    """``1/2 (a - y)**2`` where ``|a - y| <= delta``, beyond that its tangent."""
    d = a - y
    slope = where(d > delta, delta, where(d < -delta, -delta, d))
    return slope * (d - 0.5 * slope), slope


def quantile(z, a, y, q):
    """The pinball loss, ``q (y - a)`` below the target and ``(1 - q) (a - y)`` above; its slope at a = y is 0."""
    d = a - y
    slope = where(d > 0.0, 1.0 - q, where(d < 0.0, -q, 0.0 * d))
    return slope * d, slope


def gamma(z, a, y):
    """Half the deviance, ``y / a - log(y / a) - 1``, for y > 0; least, 0, at a = y."""
    ratio = y / a
    return ratio - log(ratio) - 1.0, (1.0 - ratio) / a


def sigmoid_binary_cross_entropy(z, a, y):
    return softplus(z) - y * z, a - y


def sigmoid_cross_entropy(z, a, y):
    return y * softplus(-z), -y * (1.0 - a)


def exp_cross_entropy(z, a, y):
    return -y * z, -y


def exp_poisson(z, a, y):
    return where(y > 0.0, y * (log(y) - z), 0.0 * y) - y + a, a - y


def exp_gamma(z, a, y):
    ratio = y / a
    return ratio + z - log(y) - 1.0, 1.0 - ratio


def softmax_squared_error(log_a, a, y):
    d = a - y
    return 0.5 * d * d, a * d


def softmax_absolute_error(log_a, a, y):
    d = a - y
    return absolute(d), where(d > 0.0, a, where(d < 0.0, -a, 0.0 * a))


def softmax_cross_entropy(log_a, a, y):
    return where(y > 0.0, -y * log_a, 0.0 * y), -y


def softmax_poisson(log_a, a, y):
    return where(y > 0.0, y * (log(y) - log_a), 0.0 * y) - y + a, a - y


def softmax_huber(log_a, a, y, delta):
    loss, slope = huber(log_a, a, y, delta)
    return loss, a * slope


def softmax_quantile(log_a, a, y, q):
    loss, slope = quantile(log_a, a, y, q)
    return loss, a * slope


def softmax_gamma(log_a, a, y):
    ratio = y / a
    return ratio + log_a - log(y) - 1.0, 1.0 - ratio


class Loss(NamedTuple):
    name: str
    function: object
    activation: str | None = None  # the only one of outputs that it serves, or all that have no row of their own
    gradient_of: int = OUTPUT
    parameter: str | None = None  # the name of a number that each output has one of


TABLE = (
    Loss("squared_error", squared_error),
    Loss("absolute_error", absolute_error),
    Loss("binary_cross_entropy", binary_cross_entropy),
    Loss("cross_entropy", cross_entropy),
    Loss("poisson", poisson),
    Loss("gamma", gamma),
    Loss("huber", huber, parameter="delta"),
    Loss("quantile", quantile, parameter="quantile"),
    Loss("binary_cross_entropy", sigmoid_binary_cross_entropy, "sigmoid", PRE_ACTIVATION),
    Loss("cross_entropy", sigmoid_cross_entropy, "sigmoid", PRE_ACTIVATION),
    Loss("cross_entropy", exp_cross_entropy, "exp", PRE_ACTIVATION),
    Loss("poisson", exp_poisson, "exp", PRE_ACTIVATION),
    Loss("gamma", exp_gamma, "exp", PRE_ACTIVATION),
    Loss("squared_error", softmax_squared_error, "softmax", LOG_OUTPUT),
    Loss("absolute_error", softmax_absolute_error, "softmax", LOG_OUTPUT),
    Loss("cross_entropy", softmax_cross_entropy, "softmax", LOG_OUTPUT),
    Loss("poisson", softmax_poisson, "softmax", LOG_OUTPUT),
    Loss("gamma", softmax_gamma, "softmax", LOG_OUTPUT),
    Loss("huber", softmax_huber, "softmax", LOG_OUTPUT, "delta"),
    Loss("quantile", softmax_quantile, "softmax", LOG_OUTPUT, "quantile"),
    Loss("binary_cross_entropy", None, "softmax", ROW),  # softmax_binary_cross_entropy
)
NAMES = tuple(dict.fromkeys(row.name for row in TABLE))


def resolve(name, activation):
    """The code of the row that serves loss `name` after the output activation, and its `gradient_of`."""
    for wanted in (activation, None):
        for code, row in enumerate(TABLE):
            if (row.name, row.activation) == (name, wanted):
                return code, row.gradient_of
    raise KeyError(name)


def _scaled(row):
    """The function of a row with its gradient times a number."""

    def scaled(scale, z, a, y):
        loss, gradient = row.function(z, a, y)
        return loss, scale[0] * gradient

    def scaled_with_parameter(scale, z, a, y, parameter):
        loss, gradient = row.function(z, a, y, parameter)
        return loss, scale[0] * gradient

    return scaled if row.parameter is None else scaled_with_parameter


_functions = [_scaled(row) for row in TABLE if row.function is not None]
_evaluate = pointwise(_functions, inputs=(0, 1, 2, 3), outputs=(4, 5), n_scalars=1)


@routine
def pointwise_loss(code, rows, n, pitch, z, a, y, parameter, value, delta, scale):
    """Losses to `value` and ``scale`` times their gradients to `delta`: `rows` runs of n numbers, `pitch` apart."""
    _evaluate(code, rows, n, pitch, (z, a, y, parameter, value, delta), (scale,))


@routine
def softmax_binary_cross_entropy(rows, k, log_a, a, y, value, delta, scale):
    """Losses and ``scale * dL/dz`` of ``-(y log a + (1 - y) log(1 - a))`` after a softmax, for rows of k >= 2 outputs.

    Spans of rows x k numbers: `log_a`, `a`, `y` are read, `value` (may be log_a) and `delta` written. The largest
    output needs care: its 1 - a is the sum of the others, whose logarithm is taken from theirs, and its gradient is
    minus the sum of theirs. Neither cancels, and nothing overflows, however sure the network is.
    """
    for r in range(rows):
        first, last = r * k, r * k + k
        top = first
        for i in range(first, last):
            if log_a[i] > log_a[top]:
                top = i
        second = log_a[first if top != first else first + 1]
        for i in range(first, last):
            if i != top:
                second = max(second, log_a[i])
        rest = 0.0
        for i in range(first, last):
            if i != top:
                rest += math.exp(log_a[i] - second)
        log_rest = second + math.log(rest)  # log(1 - a) of the largest
        n_top = 1 - y[top]
        total = 0.0  # of dL/d log a over the others
        for i in range(first, last):
            if i != top:
                total += (1 - y[i]) * a[i] / (1 - a[i]) - y[i]
        sum_delta = 0.0
        for i in range(first, last):
            if i != top:
                share = math.exp(log_a[i] - second) / rest  # of a in 1 - a of the largest
                own = (1 - y[i]) * a[i] / (1 - a[i]) - y[i]
                pull = n_top * a[top] * share - y[top] * a[i]
                gradient = own - a[i] * total - pull
                delta[i] = scale * gradient
                sum_delta += gradient
        delta[top] = -scale * sum_delta
        for i in range(first, last):
            log_rest_i = log_rest if i == top else math.log1p(-a[i])
            value[i] = -(y[i] * log_a[i] + (1 - y[i]) * log_rest_i)


@inlined
def losses_and_delta(activation, loss, gradient_of, rows, k, z, a, y, parameter, value, delta, row_loss, scale):
    """Losses and the output layer's delta from its outputs.

    Spans of rows x k numbers: `z` (log a after a softmax), `a` outputs, `y` targets and the loss's `parameter`
    (anything, if it has none) are read; `delta`, ``scale * dL/dz``, is written, and, of several outputs, `value`
    (scratch, may be z). `row_loss` (rows numbers) is written: the loss of each row, summed over its outputs. `scale` is
    of the spans' type.
    """
    n = rows * k
    if k == 1:
        value = row_loss
    if gradient_of == ROW:
        softmax_binary_cross_entropy(rows, k, z, a, y, value, delta, scale)
    elif gradient_of == OWN:
        evaluate(loss, rows, k, a, y, value, delta)
        for i in range(n):
            delta[i] *= scale
    else:
        pointwise_loss(loss, rows, k, k, z, a, y, parameter, value, delta, scale)
    if gradient_of == OUTPUT or gradient_of == OWN:  # noqa: SIM109 (a tuple takes longer to compile)
        activate_backward(activation, rows, k, k, delta, z, a)
    elif gradient_of == LOG_OUTPUT:
        softmax_backward(rows, k, (a, delta))
    if k > 1:
        row_sums(rows, k, value, row_loss)


@inlined
def losses_and_delta_columns(
    activation, loss, gradient_of, columns, k, pitch, z, a, y, parameter, value, delta, row_loss, scale
):  # fmt: skip
    """The same for feature-major spans: k rows of `pitch` numbers, of which `columns` count, a row of the batch each.

    For losses that are pointwise: `gradient_of` is neither ROW nor OWN.
    """
    if k == 1:
        value = row_loss
    pointwise_loss(loss, k, columns, pitch, z, a, y, parameter, value, delta, scale)
    if gradient_of == OUTPUT:
        activate_backward(activation, k, columns, pitch, delta, z, a)
    elif gradient_of == LOG_OUTPUT:
        softmax_backward_columns(columns, k, pitch, (a, delta))
    if k > 1:
        column_sums(k, pitch, value, pitch, row_loss)
