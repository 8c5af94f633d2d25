"""The rows of a batch, picked by their numbers: inputs and targets, one after the other."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from . import simd
from ._jit import inlined
from .simd import span

_I64 = ir.IntType(64)


def _emit_pick_rows(builder, rows, n, numbers, source, target):
    count = simd.lanes_of(source.type.pointee)
    zero, step, whole = ir.Constant(_I64, 0), ir.Constant(_I64, count), builder.and_(n, ir.Constant(_I64, -count))
    mask = simd.tail_mask(builder, builder.sub(n, whole), count)
    has_tail = builder.icmp_signed("<", whole, n)
    with cgutils.for_range(builder, rows) as loop:
        row = builder.gep(source, [builder.mul(builder.load(builder.gep(numbers, [loop.index])), n)])
        place = builder.gep(target, [builder.mul(loop.index, n)])

        def move(i, mask, row=row, place=place):
            simd.store(builder, simd.load(builder, builder.gep(row, [i]), count, mask), builder.gep(place, [i]), mask)

        with cgutils.for_range_slice(builder, zero, whole, step, inc=True) as (i, _):
            move(i, None)
        with builder.if_then(has_tail):
            move(whole, mask)


@intrinsic
def _pick_rows_lowered(typing_context, rows, n, numbers, source, target):
    def generate(context, builder, signature, arguments):
        _emit_pick_rows(builder, *arguments)
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
