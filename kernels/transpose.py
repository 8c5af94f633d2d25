"""The transposed copy of a weight matrix that the delta recursion multiplies by."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

from . import simd
from ._jit import part


def _block_plain(rows, cols, w, wo, ldw, t, to, ldt):
    strided = np.lib.stride_tricks.as_strided
    source = strided(w[wo:], (rows, cols), (ldw * w.itemsize, w.itemsize))
    strided(t[to:], (cols, rows), (ldt * t.itemsize, t.itemsize))[...] = source.T


def _emit_block(builder, rows, cols, w, ldw, t, ldt):
    """Up to `count` x `count` numbers, through registers: swap the off-diagonal 1x1 blocks of each 2x2, then the 2x2
    blocks of each 4x4, and so on; log2(count) rounds of shuffles."""
    i64 = ir.IntType(64)
    count = simd.lanes_of(w.type.pointee)

    def clamped(i, limit):  # a row beyond the last repeats it
        last = builder.sub(limit, ir.Constant(i64, 1))
        index = ir.Constant(i64, i)
        return builder.select(builder.icmp_signed("<", index, last), index, last)

    mask = simd.tail_mask(builder, cols, count)
    registers = [
        simd.load(builder, builder.gep(w, [builder.mul(clamped(i, rows), ldw)]), count, mask) for i in range(count)
    ]
    size = 1
    while size < count:
        upper = [lane - size + count if lane & size else lane for lane in range(count)]
        lower = [lane + count if lane & size else lane + size for lane in range(count)]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), count), m) for m in (upper, lower)]
        for i in range(count):
            if not i & size:
                pair = registers[i], registers[i + size]
                registers[i], registers[i + size] = (builder.shuffle_vector(*pair, m) for m in masks)
        size *= 2
    mask = simd.tail_mask(builder, rows, count)
    for i in reversed(range(count)):  # downwards, so that the last of the repeated rows to be stored is the true one
        simd.store(builder, registers[i], builder.gep(t, [builder.mul(clamped(i, cols), ldt)]), mask)


@intrinsic
def _block_lowered(typing_context, rows, cols, w, wo, ldw, t, to, ldt):
    def generate(context, builder, signature, arguments):
        rows, cols, w, wo, ldw, t, to, ldt = arguments
        source = builder.gep(simd.data_pointer(context, builder, signature.args[2], w), [wo])
        target = builder.gep(simd.data_pointer(context, builder, signature.args[5], t), [to])
        _emit_block(builder, rows, cols, source, ldw, target, ldt)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, w, i, i, t, i, i), generate


_block = _block_plain if config.DISABLE_JIT else _block_lowered
_BOUNDSCHECK = bool(config.BOUNDSCHECK)


@part
def transpose(first, last, fan_in, fan_out, w, wo, t, to):
    """Columns `first` to `last` of ``t = W.T``: W (fan_in, fan_out) at w[wo:], t (fan_out, fan_in) at t[to:]."""
    if _BOUNDSCHECK:
        size = fan_in * fan_out
        if first < 0 or last > fan_in or wo < 0 or to < 0 or wo + size > w.size or to + size > t.size:
            raise IndexError("a transposition reaches outside its array")
    lanes = simd.REGISTER_BYTES // w.itemsize
    for i in range(first, last, lanes):
        rows = min(lanes, last - i)
        for j in range(0, fan_out, lanes):
            cols = min(lanes, fan_out - j)
            _block(rows, cols, w, wo + i * fan_out + j, fan_out, t, to + j * fan_in + i, fan_in)
