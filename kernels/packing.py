"""Panels: a block of B copied, row after row of whole registers, to where the micro-kernel finds it in the cache.

In its own place a block of B is spread over as many memory pages as it has rows, and rows a power of two apart share
a few places of the cache. The same copy turns a transposed B round, so that ``delta @ W.T`` needs no other copy of W.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from . import simd
from ._jit import inlined

_I64 = ir.IntType(64)


def _emit_rows(builder, k, cols, b, ldb, panel, registers):
    """``panel[p, :cols] = b[p, :cols]`` for k rows; the panel's rows have so many registers, filled up with zeros."""
    count = simd.lanes_of(b.type.pointee)
    starts = [ir.Constant(_I64, v * count) for v in range(registers)]
    masks = [simd.tail_mask(builder, builder.sub(cols, start), count) for start in starts]
    source, target = cgutils.alloca_once_value(builder, b), cgutils.alloca_once_value(builder, panel)
    with cgutils.for_range(builder, k):
        row, packed = builder.load(source), builder.load(target)
        for start, mask in zip(starts, masks, strict=True):
            numbers = simd.load(builder, builder.gep(row, [start]), count, mask)
            simd.store(builder, numbers, builder.gep(packed, [start]))
        builder.store(builder.gep(row, [ldb]), source)
        builder.store(builder.gep(packed, [ir.Constant(_I64, registers * count)]), target)


def _emit_square(builder, rows, cols, b, ldb, panel, ldp):
    """``panel[j, i] = b[i, j]`` for up to `count` x `count` numbers, through registers.

    Swap the off-diagonal 1x1 blocks of each 2x2, then the 2x2 blocks of each 4x4, and so on; log2(count) rounds.
    """
    count = simd.lanes_of(b.type.pointee)

    def clamped(i, limit):  # a row beyond the last repeats it
        last = builder.sub(limit, ir.Constant(_I64, 1))
        index = ir.Constant(_I64, i)
        return builder.select(builder.icmp_signed("<", index, last), index, last)

    mask = simd.tail_mask(builder, cols, count)
    registers = [
        simd.load(builder, builder.gep(b, [builder.mul(clamped(i, rows), ldb)]), count, mask) for i in range(count)
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
    for i in reversed(range(count)):  # downwards, so that the last of the repeated rows to be stored is the true one
        simd.store(builder, registers[i], builder.gep(panel, [builder.mul(clamped(i, cols), ldp)]))


@intrinsic(prefer_literal=True)
def _rows(typing_context, k, cols, b, ldb, panel, registers):
    def generate(context, builder, signature, arguments):
        _emit_rows(builder, *arguments[:5], registers.literal_value)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, b, i, panel, registers), generate


@intrinsic
def _square(typing_context, rows, cols, b, ldb, panel, ldp):
    def generate(context, builder, signature, arguments):
        _emit_square(builder, *arguments)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, b, i, panel, i), generate


@inlined
def pack(k, cols, b, sbk, sbj, panel, registers):
    """``panel[p, j] = b[p, j]`` for k x cols numbers of B; the panel's rows are `registers` long.

    B's element (p, j) is at ``b[p * sbk + j * sbj]``, and one of the two strides is 1. What the panel holds beyond
    `cols` is not defined.
    """
    if sbj == 1:
        _rows(k, cols, b, sbk, panel, registers)
        return
    lanes = simd.lanes(b)
    for j in range(0, cols, lanes):
        for p in range(0, k, lanes):
            source, target = simd.advance(b, p + j * sbj), simd.advance(panel, p * registers * lanes + j)
            _square(min(lanes, cols - j), min(lanes, k - p), source, sbj, target, registers * lanes)
