"""What kernels know of a network: a vector of parameters, a workspace, and tables that say where everything lies.

A network is described by two small arrays of int64 (fastmlp/_layout.py builds them), so that one compiled function
serves every depth and width. `layers` has a row for each layer; its columns, numbered here, are sizes, the activation's
code and positions: of W and b in the vector of parameters, and of the layer's blocks in the workspace `ws`, which have
a row for each row of the batch, or, in parts.py, for each feature. `blocks` holds the positions of what a network has
once. The caller owns all arrays.
"""

from typing import Any, NamedTuple

from numpy import int64

from ._jit import routine
from .spans import span

# Columns of `layers`. Z may equal A where the activation's backward does not need z (see activations.py). INPUT is the
# layer below's A, unless some of that is dropped: then KEEP is less than ALL (see dropout.py).
# PITCH is how many numbers it is from one row of Z, A or DELTA to the next, INPUT_PITCH the same of INPUT.
# (A literal is a type of its own to Numba, for which functions would be compiled again; an int64 is not.)
FAN_IN, FAN_OUT, ACTIVATION, W, B, INPUT, Z, A, DELTA, KEEP, INPUT_PITCH, PITCH = map(int64, range(12))
N_COLUMNS = 12

# Positions in `blocks`: a row of zeros as long as the widest layer; (rows, outputs) of targets, of the loss's parameter
# and of scratch; one loss for each row. Who makes a workspace writes the parameter, and kernels only read it; where the
# loss has none, the block is that of the targets.
ZEROS, TARGET, PARAMETER, SCRATCH, ROW_LOSS = map(int64, range(5))
N_BLOCKS = 5


class Net(NamedTuple):
    """The arrays of a network.

    params : (parameters,)
        W, its rows one after the other, and b of each layer.
    layers : (n_layers, N_COLUMNS) int64
    blocks : (N_BLOCKS,) int64
    ws : (size,)
        The workspace, of the dtype of params: overwritten.
    """

    params: Any
    layers: Any
    blocks: Any
    ws: Any


@routine
def block(l, kind, first, rows, net):
    """The span of `rows` rows from row `first` of a layer's INPUT, Z, A or DELTA, with what lies between them."""
    pitch = net.layers[l, INPUT_PITCH] if kind == INPUT else net.layers[l, PITCH]
    return span(net.ws, net.layers[l, kind] + first * pitch, rows * pitch)


@routine
def output_block(kind, first, rows, net):
    """The span of `rows` rows from row `first` of TARGET, PARAMETER or SCRATCH."""
    k = net.layers[net.layers.shape[0] - 1, FAN_OUT]
    return span(net.ws, net.blocks[kind] + first * k, rows * k)


@routine
def w_and_b(l, layers, vector):
    """The spans of a layer's W and b, of the vector of parameters or of one like it: their gradient."""
    fan_in, fan_out = layers[l, FAN_IN], layers[l, FAN_OUT]
    return span(vector, layers[l, W], fan_in * fan_out), span(vector, layers[l, B], fan_out)


@routine
def fill_zeros(net):
    """Fills the row of zeros, since a new workspace holds anything, and gives its span."""
    longest = 0
    for l in range(net.layers.shape[0]):
        longest = max(longest, max(net.layers[l, FAN_IN], net.layers[l, FAN_OUT]))
    result = span(net.ws, net.blocks[ZEROS], longest)
    for i in range(longest):
        result[i] = 0
    return result
