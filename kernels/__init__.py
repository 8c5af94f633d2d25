"""Numba kernels for multi-layer perceptrons: they know arrays, integers and floats, and nothing of the classes above.

Read them in this order: _jit, simd, emit, spans, pointwise, elementary, softmax, activations, sums, own_loss, losses,
optimizers (what happens to one number, or to a row of them); packing, gemm, dense, sparse, dropout, network, gather,
backprop, feature_major (layers); team, batch, parts, updates, subnormals, training (steps).
"""

from numba.core import config as _config

JIT = not _config.DISABLE_JIT  # False: everything runs as plain Python, slowly
