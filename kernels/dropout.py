"""Dropout: numbers left out at random, the others scaled up ("inverted"). It is linear, and its own backward.

Whether a number stays is a hash of where it is: of the step's key, the layer, the row of the batch, the column. So no
mask is stored, none depends on who computes it or in what order, and a training that is interrupted finds its masks
again.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from ._jit import inlined
from .emit import Tail, clamped_row, lanes_of, load, splat, steps, store, zeros
from .simd import REGISTER_BYTES

ALL = 2**32  # what `keep` counts in: so many of so many numbers stay
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_GOLDEN = 0x9E3779B97F4A7C15


def _mix_plain(key, number):
    """A key for each number: splitmix64 (Steele et al. 2014), with `key` as its state, at place `number`."""
    z = (int(key) + (int(number) + 1) * _GOLDEN) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def _emit_mix(builder, key, number):
    def shifted(z, bits):
        return builder.xor(z, builder.lshr(z, _I64(bits)))

    place = builder.mul(builder.add(number, _I64(1)), _I64(_GOLDEN))
    z = shifted(builder.add(key, place), 30)
    z = shifted(builder.mul(z, _I64(0xBF58476D1CE4E5B9)), 27)
    return shifted(builder.mul(z, _I64(0x94D049BB133111EB)), 31)


@intrinsic
def _mix_lowered(typing_context, key, number):
    def generate(context, builder, signature, arguments):
        return _emit_mix(builder, *arguments)

    return types.int64(types.int64, types.int64), generate


def _drop_plain(key, first, rows, n, pitch, keep, source, target):
    """`drop`, by NumPy."""
    columns = np.arange(n, dtype=np.uint32)
    for r in range(rows):
        row_key = _mix_plain(key, first + r)
        h = columns + np.uint32(row_key % 2**32)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
        h = ((h ^ (h >> np.uint32(15))) + np.uint32(row_key >> 32)) * np.uint32(0x846CA68B)
        stays = (h ^ (h >> np.uint32(16))) < keep
        scale = source.dtype.type(ALL / int(keep))
        row = slice(r * pitch, r * pitch + n)
        target[row] = np.where(stays, source[row] * scale, source.dtype.type(0))


def _emit_halves(builder, key):
    """The lower and the upper 32 bits of keys, of one or of a vector of them."""
    shift, half = _I64(32), _I32
    if isinstance(key.type, ir.VectorType):
        shift, half = ir.Constant(key.type, [32] * key.type.count), ir.VectorType(_I32, key.type.count)
    return builder.trunc(key, half), builder.trunc(builder.lshr(key, shift), half)


def _emit_stays(builder, columns, low, high, keep):
    """Which of the numbers in `columns` stay, under the halves of their rows' keys; all are vectors of i32, but `keep`.

    The hash is `lowbias32` (C. Wellons 2018) with a key before and inside.
    """
    count = columns.type.count

    def constant(value):
        return ir.Constant(columns.type, [value] * count)

    def shifted(h, bits):
        return builder.xor(h, builder.lshr(h, constant(bits)))

    h = builder.mul(shifted(builder.add(columns, low), 16), constant(0x7FEB352D))
    h = builder.mul(builder.add(shifted(h, 15), high), constant(0x846CA68B))
    return builder.icmp_unsigned("<", shifted(h, 16), splat(builder, builder.trunc(keep, _I32), count))


def _emit_scale(builder, keep, element):
    """``ALL / keep`` in each lane of a register of such numbers, and a register of zeros."""
    scale = builder.fdiv(ir.Constant(ir.DoubleType(), float(ALL)), builder.uitofp(keep, ir.DoubleType()))
    scale = splat(builder, scale if element == scale.type else builder.fptrunc(scale, element), lanes_of(element))
    return scale, zeros(element)


@intrinsic
def _drop_lowered(typing_context, key, first, rows, n, pitch, keep, source, target):
    def generate(context, builder, signature, arguments):
        key, first, rows, n, pitch, keep, source, target = arguments
        element = source.type.pointee
        count = lanes_of(element)
        numbers = ir.VectorType(_I32, count)
        scale, nothing = _emit_scale(builder, keep, element)
        with cgutils.for_range(builder, rows) as row:
            row_key, offset = _emit_mix(builder, key, builder.add(first, row.index)), builder.mul(row.index, pitch)
            low, high = (splat(builder, half, count) for half in _emit_halves(builder, row_key))
            with steps(builder, n, count) as j:
                tail, at = Tail(builder, builder.sub(n, j), count), builder.add(offset, j)
                columns = splat(builder, builder.trunc(j, _I32), count)
                columns = builder.add(columns, ir.Constant(numbers, list(range(count))))
                stays = _emit_stays(builder, columns, low, high, keep)
                x = builder.fmul(load(builder, builder.gep(source, [at]), count, tail), scale)
                store(builder, builder.select(stays, x, nothing), builder.gep(target, [at]), tail)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, i, i, i, source, target), generate


@intrinsic
def _drop_columns_lowered(typing_context, key, first, rows, n, pitch, keep, source, target):
    def generate(context, builder, signature, arguments):
        key, first, rows, n, pitch, keep, source, target = arguments
        element = source.type.pointee
        count = lanes_of(element)
        scale, nothing = _emit_scale(builder, keep, element)
        with steps(builder, rows, count) as r:
            keys = ir.Constant(ir.VectorType(_I64, count), ir.Undefined)
            for lane in range(count):
                row = builder.add(builder.add(first, r), clamped_row(builder, lane, builder.sub(rows, r)))
                keys = builder.insert_element(keys, _emit_mix(builder, key, row), _I32(lane))
            low, high = _emit_halves(builder, keys)
            with cgutils.for_range(builder, n) as column:
                at = builder.add(builder.mul(column.index, pitch), r)
                number = splat(builder, builder.trunc(column.index, _I32), count)
                stays = _emit_stays(builder, number, low, high, keep)
                x = builder.fmul(load(builder, builder.gep(source, [at]), count), scale)
                store(builder, builder.select(stays, x, nothing), builder.gep(target, [at]))
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, i, i, i, source, target), generate


def _drop_columns_plain(key, first, rows, n, pitch, keep, source, target):
    """`drop_columns`, by NumPy."""
    lanes = REGISTER_BYTES // source.itemsize
    columns = -(-rows // lanes) * lanes
    before, after = (span[: n * pitch].reshape(n, pitch)[:, :columns] for span in (source, target))
    for r in range(columns):
        row = before[:, r].copy()
        _drop_plain(key, first + min(r, rows - 1), 1, n, n, keep, row, row)
        after[:, r] = row


# mix(key, number) -> int: a key of its own for each number
mix = _mix_plain if config.DISABLE_JIT else _mix_lowered
# drop(key, first, rows, n, pitch, keep, source, target): ``target = source * mask`` for rows x n numbers of two spans,
# their rows `pitch` apart, which may be the same. The mask is ``ALL / keep`` in about `keep` (1 to ALL - 1) of ALL
# places and 0 in the others; that of row `first` and of those that follow, under the `key` of a step and layer.
drop = _drop_plain if config.DISABLE_JIT else _drop_lowered
# drop_columns(key, first, rows, n, pitch, keep, source, target): the same with a row of the batch in each column of
# spans of n rows, `pitch` apart; whole registers are written, those beyond the last row under its mask.
drop_columns = _drop_columns_plain if config.DISABLE_JIT else _drop_columns_lowered


@inlined
def step_key(rng, updates):
    """The key of a step, from the shuffling generator's state and the number of updates before it."""
    return mix(mix(rng[0] ^ (rng[1] << 32), rng[2] ^ (rng[3] << 32)), updates)
