"""Subnormal numbers switched off for the length of a kernel: the processor's state, set and restored.

In training, moments and decaying weights without a gradient shrink into the subnormal numbers, and Intel takes a
hundred cycles for each operation on one.
"""

from llvmlite import binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

_I32, _I64 = ir.IntType(32), ir.IntType(64)

# Bits of the MXCSR register of x86: results that are subnormal become 0, operands that are subnormal count as 0.
_FLUSH = 0x8040
_HAS_MXCSR = llvm.get_process_triple().startswith(("x86_64", "i686", "i386"))


def _flush_subnormals_plain():
    """Does nothing: without the compiler there is no time to be saved."""
    return 0


def _restore_plain(state):
    """The same."""


@intrinsic
def _flush_subnormals_lowered(typing_context):
    def generate(context, builder, signature, arguments):
        if not _HAS_MXCSR:
            return _I64(0)
        slot, read, write = _mxcsr(builder)
        builder.call(read, [builder.bitcast(slot, ir.IntType(8).as_pointer())])
        before = builder.load(slot)
        builder.store(builder.or_(before, _I32(_FLUSH)), slot)
        builder.call(write, [builder.bitcast(slot, ir.IntType(8).as_pointer())])
        return builder.zext(before, _I64)

    return types.int64(), generate


@intrinsic
def _restore_lowered(typing_context, state):
    def generate(context, builder, signature, arguments):
        if _HAS_MXCSR:
            slot, _, write = _mxcsr(builder)
            builder.store(builder.trunc(arguments[0], _I32), slot)
            builder.call(write, [builder.bitcast(slot, ir.IntType(8).as_pointer())])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _mxcsr(builder):
    """A place in memory for the register's content, and the LLVM intrinsics that read it to there and write it back."""
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    names = "llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr"
    return cgutils.alloca_once(builder, _I32), *(cgutils.get_or_insert_function(builder.module, kind, n) for n in names)


# flush_subnormals() -> state: until restore(state), this thread counts subnormal numbers as 0.
flush_subnormals = _flush_subnormals_plain if config.DISABLE_JIT else _flush_subnormals_lowered
restore = _restore_plain if config.DISABLE_JIT else _restore_lowered
