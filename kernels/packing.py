"""Panels and strips: numbers copied to where the micro-kernel finds them one after the other in the cache.

In its own place a block of B or A is spread over as many memory pages as it has rows, and rows a power of two apart
share a few places of the cache. The same copy turns a transposed B round, so that ``delta @ W.T`` needs no other copy
of W. (A small B that is not transposed is packed by the first tile that reads it: gemm.py.)
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from . import emit, spans
from ._jit import inlined
from .spans import advance

_I64 = ir.IntType(64)
_AHEAD = 4  # rows of B that are asked for before they are read


def _emit_strips(builder, mr, width, k, m, a, lda, panel, pitch, ahead=0):
    """``panel[i // mr * pitch + p * width + i % mr] = a[p * lda + i]`` for k x m numbers.

    Rows of a are asked for `ahead` rows before they are read, if that is not 0.
    """
    zero = _I64(0)
    # strips of which a whole register can be read: it reaches into the next one where `width` is more than `mr`
    whole = builder.sdiv(builder.sub(builder.add(m, _I64(mr)), _I64(width)), _I64(mr))
    whole = builder.mul(builder.select(builder.icmp_signed(">", whole, zero), whole, zero), _I64(mr))
    rest = builder.sub(m, whole)
    source, target = cgutils.alloca_once_value(builder, a), cgutils.alloca_once_value(builder, panel)
    with cgutils.for_range(builder, k):  # row by row: a row is in one page of memory
        row, place = builder.load(source), cgutils.alloca_once_value(builder, builder.load(target))

        def copy(start, tail=None, row=row, place=place):
            if ahead:
                later = builder.gep(row, [builder.mul(lda, _I64(ahead))])
                emit.prefetch(builder, builder.gep(later, [start]))
            numbers = emit.load(builder, builder.gep(row, [start]), width, tail)
            emit.store(builder, numbers, builder.load(place))
            builder.store(builder.gep(builder.load(place), [pitch]), place)

        with emit.steps(builder, whole, mr) as i:
            copy(i)
        with emit.steps(builder, rest, mr) as i:
            copy(builder.add(whole, i), emit.Tail(builder, builder.sub(rest, i), width))
        builder.store(builder.gep(row, [lda]), source)
        builder.store(builder.gep(builder.load(target), [_I64(width)]), target)


def _emit_square(builder, rows, cols, b, ldb, panel, ldp):
    """``panel[j, i] = b[i, j]`` for up to `count` x `count` numbers, through registers."""
    count = emit.lanes_of(b.type.pointee)

    def line(start, i, n, pitch):
        return builder.gep(start, [builder.mul(emit.clamped_row(builder, i, n), pitch)])

    tail = emit.Tail(builder, cols, count)
    registers = [emit.load(builder, line(b, i, rows, ldb), count, tail) for i in range(count)]
    registers = emit.transpose(builder, registers)
    for i in reversed(range(count)):  # downwards, so that the last of the repeated rows to be stored is the true one
        emit.store(builder, registers[i], line(panel, i, cols, ldp))


@intrinsic(prefer_literal=True)
def pack_panels(typing_context, nv, k, cols, b, ldb, panels):
    """``panels[j // w * k * w + p * w + j % w] = b[p * ldb + j]`` for k x cols numbers, w those of nv registers."""

    def generate(context, builder, signature, arguments):
        _, k, cols, b, ldb, panels = arguments
        width = nv.literal_value * emit.lanes_of(b.type.pointee)
        _emit_strips(builder, width, width, k, cols, b, ldb, panels, builder.mul(k, _I64(width)), _AHEAD)
        return context.get_dummy_value()

    i = types.int64
    return types.void(nv, i, i, b, i, panels), generate


@intrinsic(prefer_literal=True)
def pack_strips(typing_context, mr, width, k, m, a, lda, panel, pitch):
    """``panel[i // mr * pitch + p * width + i % mr] = a[p * lda + i]`` for k x m numbers: strips of `mr`."""

    def generate(context, builder, signature, arguments):
        _emit_strips(builder, mr.literal_value, width.literal_value, *arguments[2:])
        return context.get_dummy_value()

    i = types.int64
    return types.void(mr, width, i, i, a, i, panel, i), generate


@intrinsic
def _square(typing_context, rows, cols, b, ldb, panel, ldp):
    def generate(context, builder, signature, arguments):
        _emit_square(builder, *arguments)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, b, i, panel, i), generate


@inlined
def pack_transposed(k, cols, b, ldb, panel, pitch):
    """``panel[p * pitch + j] = b[j * ldb + p]`` for k x cols numbers; else the panel's rows are undefined."""
    lanes = spans.lanes(b)
    for j in range(0, cols, lanes):
        for p in range(0, k, lanes):
            source, target = advance(b, p + j * ldb), advance(panel, p * pitch + j)
            _square(min(lanes, cols - j), min(lanes, k - p), source, ldb, target, pitch)
