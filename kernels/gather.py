"""The rows of a batch, picked by their numbers: inputs and targets, one after the other."""

import numpy as np
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from ._jit import inlined
from .pointwise import emit_run
from .simd import span


@intrinsic
def _pick_rows_lowered(typing_context, rows, n, numbers, source, target):
    def generate(context, builder, signature, arguments):
        rows, n, numbers, source, target = arguments
        with cgutils.for_range(builder, rows) as loop:
            row = builder.gep(source, [builder.mul(builder.load(builder.gep(numbers, [loop.index])), n)])
            place = builder.gep(target, [builder.mul(loop.index, n)])
            emit_run(builder, n, lambda x: x, [row], [place], [], None)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, numbers, source, target), generate


def _pick_rows_plain(rows, n, numbers, source, target):
    """``target[r] = source[numbers[r]]`` for `rows` rows of n numbers; `numbers`, `source` and `target` are spans."""
    target[: rows * n] = source[(numbers[:rows, None] * n + np.arange(n)).ravel()]


pick_rows = _pick_rows_plain if config.DISABLE_JIT else _pick_rows_lowered


@inlined
def gather_targets(rows, k, numbers, y, width, target):
    """The k targets of each of the rows `numbers` to `target`: from k numbers of y, or from one (`width`), a class."""
    if width == k:
        pick_rows(rows, k, numbers, span(y, 0, y.size), target)
        return
    for i in range(rows * k):
        target[i] = 0
    for r in range(rows):
        target[r * k + int(y[numbers[r]])] = 1
