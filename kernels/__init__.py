"""Numba kernels for multi-layer perceptrons: they know arrays, integers and floats, and nothing of the classes above.

Read them in this order: _jit, simd, spans, pointwise, elementary, activations, softmax, sums, losses, own_loss,
optimizers (what happens to one number, or to a row of them); packing, gemm, dense, sparse, dropout, network, backprop,
feature_major (layers); team, gather, batch, parts, updates, subnormals, training (steps).
"""

from numba.core import config as _config

JIT = not _config.DISABLE_JIT  # False: everything runs as plain Python, slowly
