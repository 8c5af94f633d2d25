"""Spans: what the functions of the kernels take for a matrix, the bare address of its first number.

Handing one over is handing over a machine word. It has no bounds: who makes one says how many numbers will be used.
"""

from llvmlite import ir
from numba import types
from numba.core import config
from numba.core.errors import TypingError
from numba.extending import intrinsic

from . import emit, simd

_I64 = ir.IntType(64)


def _span_plain(array, offset, size):
    """``array.ravel()[offset:]``, of which `size` numbers will be used: what the functions of the kernels take.

    Compiled it is the address, a single machine word, and ``NUMBA_BOUNDSCHECK=1`` has it looked at.
    """
    if size > 0 and not 0 <= offset <= array.size - size:
        raise IndexError("a kernel reaches outside its array")
    return array.reshape(-1)[offset:]


def _advance_plain(span, n):
    """The span that starts `n` numbers further on."""
    return span[n:]


@intrinsic
def _span_lowered(typing_context, array, offset, size):
    if array.layout != "C":
        raise TypingError("an array for a kernel must be in C order: np.ascontiguousarray makes such a one")

    def generate(context, builder, signature, arguments):
        array, offset, size = arguments
        fields = context.make_array(signature.args[0])(context, builder, array)
        if config.BOUNDSCHECK:
            zero = _I64(0)
            before = builder.icmp_signed("<", offset, zero)
            beyond = builder.icmp_signed(">", builder.add(offset, size), fields.nitems)
            some = builder.icmp_signed(">", size, zero)
            with builder.if_then(builder.and_(some, builder.or_(before, beyond)), likely=False):
                message = ("a kernel reaches outside its array",)
                context.call_conv.return_user_exc(builder, IndexError, message)
        return builder.gep(fields.data, [offset])

    return types.CPointer(array.dtype)(array, types.int64, types.int64), generate


@intrinsic
def _advance_lowered(typing_context, span, n):
    def generate(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return span(span, types.int64), generate


@intrinsic
def _lanes_lowered(typing_context, span):
    def generate(context, builder, signature, arguments):
        return _I64(emit.lanes_of(arguments[0].type.pointee))

    return types.int64(span), generate


def _lanes_plain(span):
    """How many numbers of the span fill a register."""
    return simd.REGISTER_BYTES // span.itemsize


def _same_dtype_plain(array, other):
    """TypingError, when that is compiled, if the two arrays hold numbers of different types."""


@intrinsic
def _same_dtype_lowered(typing_context, array, other):
    if array.dtype != other.dtype:
        raise TypingError(f"arrays for a kernel must be of one dtype, the network's: {other.dtype}, not {array.dtype}")

    def generate(context, builder, signature, arguments):
        return context.get_dummy_value()

    return types.void(array, other), generate


span = _span_plain if config.DISABLE_JIT else _span_lowered
advance = _advance_plain if config.DISABLE_JIT else _advance_lowered
lanes = _lanes_plain if config.DISABLE_JIT else _lanes_lowered
same_dtype = _same_dtype_plain if config.DISABLE_JIT else _same_dtype_lowered
