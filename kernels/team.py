"""The thread team: every member runs the same kernel on its share, and they meet at a barrier.

Members are ordinary Python threads, each inside one compiled call that has released the GIL; no threading layer is
involved, so nothing is left behind that a fork or another library could trip over.
"""

import os

from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from . import emit, simd
from ._jit import inlined, routine

# Positions in the array of int64 that a team shares, a cache line apart.
ARRIVED, GENERATION, ABANDONED, NOT_FINITE = 0, 8, 16, 24
SHARED_SIZE = 32
# After so many looks (some tens of microseconds) a waiting member offers its core to whoever has lost one.
_SPINS = 4096


def _element(context, builder, array_type, array, index):
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


@intrinsic
def _add_lowered(typing_context, shared, index, value):
    def generate(context, builder, signature, arguments):
        array, index, value = arguments
        return builder.atomic_rmw("add", _element(context, builder, signature.args[0], array, index), value, "acq_rel")

    return types.int64(shared, types.int64, types.int64), generate


@intrinsic
def _read_lowered(typing_context, shared, index):
    def generate(context, builder, signature, arguments):
        array, index = arguments
        return builder.load_atomic(_element(context, builder, signature.args[0], array, index), "acquire", 8)

    return types.int64(shared, types.int64), generate


@intrinsic
def _write_lowered(typing_context, shared, index, value):
    def generate(context, builder, signature, arguments):
        array, index, value = arguments
        builder.store_atomic(value, _element(context, builder, signature.args[0], array, index), "release", 8)
        return context.get_dummy_value()

    return types.void(shared, types.int64, types.int64), generate


@intrinsic
def _offer_core_lowered(typing_context):
    def generate(context, builder, signature, arguments):
        if os.name == "posix":
            yield_now = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield"
            )
            builder.call(yield_now, [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _fetch_lowered(typing_context, n, start):
    def generate(context, builder, signature, arguments):
        n, start = arguments
        line = emit.lanes_of(start.type.pointee) * 64 // simd.REGISTER_BYTES
        with emit.steps(builder, n, line) as i:
            emit.prefetch(builder, builder.gep(start, [i]), cache=2)
        return context.get_dummy_value()

    return types.void(types.int64, start), generate


def _fetch_plain(n, start):
    """Asks for the n numbers of a span, which other members have written, before they are needed."""


def _add_plain(shared, index, value):
    """``shared[index] += value``; the number before. (Atomic when compiled, as the next two.)"""
    shared[index] += value
    return shared[index] - value


def _read_plain(shared, index):
    """``shared[index]``, and all that its writer had done before."""
    return shared[index]


def _write_plain(shared, index, value):
    """``shared[index] = value``, after all that the caller has done before."""
    shared[index] = value


def _offer_core_plain():
    """Lets another thread run."""


if config.DISABLE_JIT:  # one member only: see `team_size` in fastmlp/_threads.py
    add, read, write, _offer_core = _add_plain, _read_plain, _write_plain, _offer_core_plain
    fetch = _fetch_plain
else:
    add, read, write, _offer_core = _add_lowered, _read_lowered, _write_lowered, _offer_core_lowered
    fetch = _fetch_lowered


@routine
def barrier(shared, members):
    """Waits until all `members` members have come here. False if the team was abandoned (a member failed)."""
    if members == 1:
        return True
    generation = read(shared, GENERATION)
    if add(shared, ARRIVED, 1) == members - 1:
        write(shared, ARRIVED, 0)
        write(shared, GENERATION, generation + 1)
        return True
    spins = 0
    while read(shared, GENERATION) == generation:
        spins += 1
        if spins > _SPINS:
            if read(shared, ABANDONED) != 0:
                return False
            _offer_core()
    return True


@inlined
def share(n, grain, member, members):
    """What `member` of `members` works on of ``range(n)``, cut at multiples of `grain`: first and stop."""
    if members == 1:
        return 0, n
    grains = (n + grain - 1) // grain
    first = grains * member // members * grain
    stop = grains * (member + 1) // members * grain
    return min(first, n), min(stop, n)
