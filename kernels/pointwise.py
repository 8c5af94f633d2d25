"""From a function of single numbers to a kernel that maps it over arrays, a register at a time."""

import inspect
import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from .emit import Tail, cases, lanes_of, load, splat, steps, store_rows
from .simd import Lanes, absolute, fma

_I1, _I64 = ir.IntType(1), ir.IntType(64)


def emit_run(builder, n, function, inputs, outputs, constants, flag):
    """``outputs[:][i] = function(*inputs[:][i])`` for i < n: whole registers first, the rest under a mask."""
    count = lanes_of(inputs[0].type.pointee)
    whole = builder.and_(n, _I64(-count))

    def apply(start, tail):
        values = [Lanes(builder, load(builder, builder.gep(p, [start]), count, tail)) for p in inputs]
        results = function(*([constants] if constants else []), *values)
        stored = []
        for result in results if isinstance(results, tuple) else (results,):
            if isinstance(result, Lanes) and result.element == _I1:
                inside = result.value if tail is None else builder.and_(result.value, tail.mask)
                mark = builder.bitcast(inside, ir.IntType(count))
                builder.store(builder.or_(builder.load(flag), builder.zext(mark, _I64)), flag)
            else:
                stored.append(values[0].lift(result))
        if stored:
            store_rows(builder, stored, [builder.gep(p, [start]) for p in outputs[: len(stored)]], tail)

    with steps(builder, whole, count) as i:
        apply(i, None)
    with builder.if_then(builder.icmp_signed("<", whole, n)):
        apply(whole, Tail(builder, builder.sub(n, whole), count))


def pointwise(functions, inputs, outputs, n_scalars=0):
    """A kernel that maps the function number `code` of a table over arrays.

    Parameters
    ----------
    functions : list of callable
        Each takes numbers (as many of `inputs` as it has parameters) and returns a number or a tuple of numbers (as
        many of `outputs` as it gives); a mask may follow. With `n_scalars`, a list of those comes first.
    inputs, outputs : tuple of int
        Positions in the tuple of spans that a call passes.
    n_scalars : int
        How many numbers, the same for all elements, a call passes in a tuple after the spans.

    Returns
    -------
    apply(code, rows, n, pitch, spans[, scalars]) -> int
        To be called from ``@njit`` code: works on `rows` runs of `n` numbers, each starting `pitch` after the one
        before, of every span (`spans.span`). An output may be the same place as an input, but must not overlap it
        otherwise. Returns non-zero if a mask was true anywhere.
    """
    arity = [len(inspect.signature(function).parameters) - (n_scalars > 0) for function in functions]

    def plain(code, rows, n, pitch, spans, *scalars):
        """The map that `pointwise` promises, by NumPy."""
        flag = 0
        for start in range(0, rows * pitch, pitch) if rows > 1 else range(rows):
            runs = [span[start : start + n] for span in spans]
            values = [runs[i].copy() for i in inputs[: arity[code]]]
            with np.errstate(all="ignore"):
                results = functions[code](*scalars, *values)
            targets = iter(outputs)
            for result in results if isinstance(results, tuple) else (results,):
                if np.asarray(result).dtype == bool:
                    flag |= int(np.any(result))
                else:
                    runs[next(targets)][:] = result
        return flag

    if config.DISABLE_JIT:
        return plain

    def generate(context, builder, signature, arguments):
        code, rows, n, pitch, spans, *scalars = arguments
        together = builder.icmp_signed("==", n, pitch)  # runs one after the other are one run
        n = builder.select(together, builder.mul(rows, n), n)
        rows = builder.select(together, _I64(1), rows)
        starts = [builder.extract_value(spans, i) for i in range(len(signature.args[4].types))]
        numbers = [builder.extract_value(scalars[0], i) for i in range(n_scalars)]
        constants = [Lanes(builder, splat(builder, x, lanes_of(x.type))) for x in numbers]
        flag = cgutils.alloca_once_value(builder, _I64(0))
        for function, n_inputs in cases(builder, code, dict(enumerate(zip(functions, arity, strict=True)))):
            with cgutils.for_range(builder, rows) as loop:
                offset = builder.mul(loop.index, pitch)
                run = [builder.gep(start, [offset]) for start in starts]
                sources, targets = [run[i] for i in inputs[:n_inputs]], [run[i] for i in outputs]
                emit_run(builder, n, function, sources, targets, constants, flag)
        return builder.load(flag)

    i = types.int64
    if n_scalars:

        @intrinsic
        def apply(typing_context, code, rows, n, pitch, spans, scalars):
            return types.int64(i, i, i, i, spans, types.UniTuple(spans.types[0].dtype, n_scalars)), generate
    else:

        @intrinsic
        def apply(typing_context, code, rows, n, pitch, spans):
            return types.int64(i, i, i, i, spans), generate

    return apply


# copy(0, rows, n, pitch, (source, target))
copy = pointwise([lambda x: x], inputs=(0,), outputs=(1,))
# copy_finite(0, rows, n, pitch, (source, target)) -> non-zero if a number is infinite or NaN
copy_finite = pointwise([lambda x: (x, ~(absolute(x) < math.inf))], inputs=(0,), outputs=(1,))
# not_finite(0, rows, n, pitch, (span,)) -> non-zero if a number is infinite or NaN
not_finite = pointwise([lambda x: ~(absolute(x) < math.inf)], inputs=(0,), outputs=())
# outside(0, rows, n, pitch, (span,), (low, high)) -> non-zero if a number is not in the closed interval
outside = pointwise([lambda h, x: ~((x >= h[0]) & (x <= h[1]))], inputs=(0,), outputs=(), n_scalars=2)
# axpy(0, rows, n, pitch, (x, y), (factor,)): y += factor * x
axpy = pointwise([lambda h, x, y: y + h[0] * x], inputs=(0, 1), outputs=(1,), n_scalars=1)
# fused_axpy(0, rows, n, pitch, (x, y), (factor,)): the same, rounded once, as gemm does it
fused_axpy = pointwise([lambda h, x, y: fma(h[0], x, y)], inputs=(0, 1), outputs=(1,), n_scalars=1)
