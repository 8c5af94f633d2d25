"""Explicit SIMD: one register's worth of numbers as a Python value.

A pointwise function (an activation, a loss, an optimiser's update) is written once, as ordinary arithmetic::

    def silu(z):
        return z * sigmoid(z)

While a kernel is compiled its arguments are `Lanes`: each operator appends one LLVM vector instruction to the kernel,
so the function is traced into straight-line SIMD code of exactly the host's width. Called with NumPy arrays the same
function simply computes: that is how everything runs under ``NUMBA_DISABLE_JIT=1``.

Why not Numba loops and LLVM's auto-vectoriser: it stops at 256 bits on Intel's AVX-512 targets, gives up at the
wrap-around test of every signed index, and each scalar function costs tens of milliseconds of type inference.
"""

import inspect

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


def _probe_registers():
    """(bytes in a vector register, number of vector registers) of the CPU that Numba compiles for.

    LLVM itself is asked: add two 64-byte vectors and see which registers come out. A CPU that is only named
    (``NUMBA_CPU_NAME=haswell``) counts with the features it is known for, not with this host's.
    """
    if config.CPU_NAME:
        cpu, features = config.CPU_NAME, config.CPU_FEATURES or ""
    else:
        cpu, features = llvm.get_host_cpu_name(), config.CPU_FEATURES
        if features is None:
            features = llvm.get_host_cpu_features().flatten()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    vector = ir.VectorType(ir.FloatType(), 16)
    module = ir.Module()
    module.triple = llvm.get_process_triple()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [vector.as_pointer()] * 2), "probe")
    builder = ir.IRBuilder(function.append_basic_block())
    x, y = function.args
    builder.store(builder.fadd(builder.load(x), builder.load(y)), x)
    builder.ret_void()
    machine = llvm.Target.from_triple(module.triple).create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(llvm.parse_assembly(str(module)))
    if "zmm" in assembly:
        return 64, 32
    if "ymm" in assembly:
        return 32, 16
    return 16, 16 if "xmm" in assembly else 32


REGISTER_BYTES, REGISTERS = _probe_registers()


class Lanes:
    """One vector register while a kernel is being compiled: `count` numbers of the LLVM type `element`.

    Supports ``+ - * /``, unary minus, comparisons (which give masks) and ``& |`` on masks. Python floats mix in as
    constants of the element type, so a function never says float32 or float64.
    """

    __array_ufunc__ = None

    def __init__(self, builder, value):
        self.builder, self.value = builder, value
        self.vector = value.type
        self.element, self.count = self.vector.element, self.vector.count

    @property
    def is_float64(self):
        """Whether the lanes are float64 (else float32)."""
        return isinstance(self.element, ir.DoubleType)

    def lift(self, x):
        """`x` as an LLVM value of this vector's type."""
        if isinstance(x, Lanes):
            return x.value
        return ir.Constant(self.vector, [float(x)] * self.count)

    def _arithmetic(name, swap=False):  # noqa: N805 (a maker of methods)
        def method(self, other):
            pair = (self.lift(other), self.value) if swap else (self.value, self.lift(other))
            return Lanes(self.builder, getattr(self.builder, name)(*pair))

        return method

    __add__, __radd__ = _arithmetic("fadd"), _arithmetic("fadd", swap=True)
    __sub__, __rsub__ = _arithmetic("fsub"), _arithmetic("fsub", swap=True)
    __mul__, __rmul__ = _arithmetic("fmul"), _arithmetic("fmul", swap=True)
    __truediv__, __rtruediv__ = _arithmetic("fdiv"), _arithmetic("fdiv", swap=True)
    __and__, __or__ = _arithmetic("and_"), _arithmetic("or_")

    def __neg__(self):
        return Lanes(self.builder, self.builder.fneg(self.value))

    def __invert__(self):
        return Lanes(self.builder, self.builder.not_(self.value))

    def _comparison(symbol):  # noqa: N805
        def method(self, other):
            return Lanes(self.builder, self.builder.fcmp_ordered(symbol, self.value, self.lift(other)))

        return method

    __lt__, __le__, __gt__, __ge__ = _comparison("<"), _comparison("<="), _comparison(">"), _comparison(">=")
    del _arithmetic, _comparison

    def call(self, name, *operands):
        """The LLVM intrinsic `name` applied to `operands`, each of this vector's type."""
        kind = ir.FunctionType(self.vector, [self.vector] * len(operands))
        suffix = f"v{self.count}f{64 if self.is_float64 else 32}"
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.{suffix}")
        return Lanes(self.builder, self.builder.call(function, operands))

    def bits(self):
        """The bit pattern as a vector of integers, and the type of that vector."""
        integers = ir.VectorType(_I64 if self.is_float64 else _I32, self.count)
        return self.builder.bitcast(self.value, integers), integers

    def from_bits(self, value):
        """The lanes whose bit pattern is `value`, a vector of integers."""
        return Lanes(self.builder, self.builder.bitcast(value, self.vector))


# --- functions that a pointwise function may use besides the operators --------------------------------------------


def is_float64(x):
    """True where `x` holds float64: decided while compiling, for constants that depend on the precision."""
    return x.is_float64 if isinstance(x, Lanes) else np.asarray(x).dtype == np.float64


def where(mask, a, b):
    """`a` where `mask`, else `b`; both are evaluated. One of them may be a Python float."""
    if not isinstance(mask, Lanes):
        dtype = np.result_type(*(v for v in (a, b) if not isinstance(v, float)))
        return np.where(mask, a, b).astype(dtype)
    like = a if isinstance(a, Lanes) else b
    return Lanes(mask.builder, mask.builder.select(mask.value, like.lift(a), like.lift(b)))


def fma(a, b, c):
    """``a * b + c``, rounded once where the CPU has a fused instruction. At least one of the three is not a float."""
    like = next((x for x in (a, b, c) if isinstance(x, Lanes)), None)
    if like is None:
        return a * b + c
    return like.call("fmuladd", like.lift(a), like.lift(b), like.lift(c))


def sqrt(x):
    """The square root, correctly rounded."""
    return x.call("sqrt", x.value) if isinstance(x, Lanes) else np.sqrt(x)


def absolute(x):
    """`x` without its sign."""
    return x.call("fabs", x.value) if isinstance(x, Lanes) else np.abs(x)


def _format(x):
    """(mantissa bits, exponent bias, 1.5 * 2**mantissa bits) of the element type of `x`.

    Adding the last one to a small number leaves its nearest integer in the low bits of the sum: conversion without
    a conversion instruction (AVX2 has none for 64-bit integers).
    """
    mantissa, bias = (52, 1023) if is_float64(x) else (23, 127)
    return mantissa, bias, 1.5 * 2.0**mantissa


def rint(x):
    """The nearest integer, for ``|x| < 2**22`` (float32) or ``2**51`` (float64)."""
    if not isinstance(x, Lanes):
        return np.rint(x)
    magic = _format(x)[2]
    return (x + magic) - magic


def pow2(k):
    """``2**k`` for integer-valued `k` within the exponents of normal numbers."""
    if not isinstance(k, Lanes):
        with np.errstate(invalid="ignore"):
            return np.ldexp(np.ones_like(k), np.nan_to_num(k).astype(np.int32))
    mantissa, bias, magic = _format(k)
    bits, integers = (k + (magic + bias)).bits()
    return k.from_bits(k.builder.shl(bits, ir.Constant(integers, [mantissa] * k.count)))


def split(x):
    """``(m, e)`` with ``x == m * 2**e`` and m in [sqrt(1/2), sqrt(2)), for normal positive `x`."""
    if not isinstance(x, Lanes):
        m, e = np.frexp(x)
        low = m < np.asarray(np.sqrt(0.5), m.dtype)
        return np.where(low, m * 2, m), (e - low).astype(m.dtype)
    mantissa, _, magic = _format(x)
    bits, integers = x.bits()
    b = x.builder

    def constant(value):
        return ir.Constant(integers, [int(value)] * x.count)

    as_int = np.int64 if x.is_float64 else np.int32
    root_half = np.sqrt(0.5).astype(np.float64 if x.is_float64 else np.float32).view(as_int)
    magic_bits = np.asarray(magic, np.float64 if x.is_float64 else np.float32).view(as_int)
    e = b.ashr(b.sub(bits, constant(root_half)), constant(mantissa))
    m = x.from_bits(b.sub(bits, b.shl(e, constant(mantissa))))
    return m, x.from_bits(b.add(e, constant(magic_bits))) - magic


# --- the processor's state ------------------------------------------------------------------------------------------

# Bits of the MXCSR register of x86: results that are subnormal become 0, operands that are subnormal count as 0.
_FLUSH = 0x8040
_HAS_MXCSR = llvm.get_process_triple().startswith(("x86_64", "i686", "i386"))


def _plain_flush_subnormals():
    """Does nothing: without the compiler there is no time to be saved."""
    return 0


def _plain_restore(state):
    """The same."""


@intrinsic
def _lowered_flush_subnormals(typing_context):
    def generate(context, builder, signature, arguments):
        if not _HAS_MXCSR:
            return ir.Constant(_I64, 0)
        slot, read, write = _mxcsr(builder)
        builder.call(read, [builder.bitcast(slot, ir.IntType(8).as_pointer())])
        before = builder.load(slot)
        builder.store(builder.or_(before, ir.Constant(_I32, _FLUSH)), slot)
        builder.call(write, [builder.bitcast(slot, ir.IntType(8).as_pointer())])
        return builder.zext(before, _I64)

    return types.int64(), generate


@intrinsic
def _lowered_restore(typing_context, state):
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


# flush_subnormals() -> state: until restore(state), this thread counts subnormal numbers as 0. In training, moments and
# decaying weights without a gradient shrink into them, and Intel takes a hundred cycles for each operation on one.
flush_subnormals = _plain_flush_subnormals if config.DISABLE_JIT else _lowered_flush_subnormals
restore = _plain_restore if config.DISABLE_JIT else _lowered_restore


# --- from pointwise functions to kernels ---------------------------------------------------------------------------


def splat(builder, value, count):
    """`value` in each of `count` lanes."""
    vector = ir.VectorType(value.type, count)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, count), [0] * count)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def tail_mask(builder, remaining, count):
    """A mask of the first `remaining` (an i64) of `count` lanes."""
    lanes = ir.Constant(ir.VectorType(_I64, count), list(range(count)))
    return builder.icmp_signed("<", lanes, splat(builder, remaining, count))


def load(builder, pointer, count, mask=None):
    """`count` numbers from `pointer`, which need not be aligned; lanes outside `mask` are not touched and read 0."""
    element = pointer.type.pointee
    vector = ir.VectorType(element, count)
    size = 8 if isinstance(element, ir.DoubleType) else 4
    source = builder.bitcast(pointer, vector.as_pointer())
    if mask is None:
        value = builder.load(source)
        value.align = size
        return value
    kind = ir.FunctionType(vector, [source.type, _I32, mask.type, vector])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{count}f{size * 8}.p0")
    return builder.call(function, [source, ir.Constant(_I32, size), mask, ir.Constant(vector, [0.0] * count)])


def store(builder, value, pointer, mask=None):
    """Writes the vector `value` to `pointer`, which need not be aligned; lanes outside `mask` are left alone."""
    element, count = value.type.element, value.type.count
    size = 8 if isinstance(element, ir.DoubleType) else 4
    target = builder.bitcast(pointer, value.type.as_pointer())
    if mask is None:
        builder.store(value, target).align = size
        return
    kind = ir.FunctionType(ir.VoidType(), [value.type, target.type, _I32, mask.type])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.v{count}f{size * 8}.p0")
    builder.call(function, [value, target, ir.Constant(_I32, size), mask])


def lanes_of(element):
    """How many numbers of the LLVM type `element` fill a register."""
    return REGISTER_BYTES // (8 if isinstance(element, ir.DoubleType) else 4)


def data_pointer(context, builder, array_type, array):
    """The address of element 0 of a Numba array."""
    return context.make_array(array_type)(context, builder, array).data


def _check_span(context, builder, array_type, array, offset, n):
    """IndexError unless ``0 <= offset`` and ``offset + n <= array.size`` (only under NUMBA_BOUNDSCHECK=1)."""
    size = context.make_array(array_type)(context, builder, array).nitems
    zero = ir.Constant(_I64, 0)
    outside = builder.or_(
        builder.icmp_signed("<", offset, zero), builder.icmp_signed(">", builder.add(offset, n), size)
    )
    with builder.if_then(builder.and_(outside, builder.icmp_signed(">", n, zero)), likely=False):
        context.call_conv.return_user_exc(builder, IndexError, ("a pointwise kernel reaches outside its array",))


def _emit_map(builder, n, function, inputs, outputs, scalars, flag):
    """``outputs[:][i] = function(*inputs[:][i])`` for i < n: whole registers first, the rest under a mask."""
    count = lanes_of(inputs[0].type.pointee)
    whole = builder.and_(n, ir.Constant(_I64, -count))
    constants = [Lanes(builder, splat(builder, builder.load(pointer), count)) for pointer in scalars]

    def apply(start, mask):
        values = [Lanes(builder, load(builder, builder.gep(p, [start]), count, mask)) for p in inputs]
        results = function(*([constants] if scalars else []), *values)
        for result in results if isinstance(results, tuple) else (results,):
            if isinstance(result, Lanes) and result.element == _I1:
                mark = builder.bitcast(result.value, ir.IntType(count))
                builder.store(builder.or_(builder.load(flag), builder.zext(mark, _I64)), flag)
            else:
                pointer = builder.gep(next(targets), [start])
                store(builder, values[0].lift(result), pointer, mask)

    targets = iter(outputs)
    with cgutils.for_range_slice(builder, ir.Constant(_I64, 0), whole, ir.Constant(_I64, count), inc=True) as (i, _):
        apply(i, None)
    targets = iter(outputs)
    with builder.if_then(builder.icmp_signed("<", whole, n)):
        apply(whole, tail_mask(builder, builder.sub(n, whole), count))


def pointwise(functions, inputs, outputs, n_scalars=0):
    """A kernel that maps the function number `code` of a table over arrays.

    Parameters
    ----------
    functions : list of callable
        Each takes numbers (as many of `inputs` as it has parameters) and returns a number or a tuple of numbers (as
        many of `outputs` as it gives); a mask may follow. With `n_scalars`, a list of those comes first.
    inputs, outputs : tuple of int
        Positions in the tuple of arrays that a call passes.
    n_scalars : int
        How many numbers, the same for all elements, the last array of a call holds.

    Returns
    -------
    apply(code, n, arrays, offsets) -> int
        To be called from ``@njit`` code. Array i of a call is worked on at ``arrays[i][offsets[i]:offsets[i] + n]``
        (1-D, C order, all of one float type). An output may be the same place as an input, but must not overlap it
        otherwise. Returns non-zero if a mask was true anywhere.
    """
    arity = [len(inspect.signature(function).parameters) - (n_scalars > 0) for function in functions]

    def places(code):
        """Where in a call's arrays function number `code` reads and writes."""
        example = [np.ones(1)] * arity[code]
        with np.errstate(all="ignore"):
            results = functions[code](*([[np.ones(1)] * n_scalars] if n_scalars else []), *example)
        results = results if isinstance(results, tuple) else (results,)
        return {*inputs[: arity[code]], *outputs[: sum(np.asarray(result).dtype != bool for result in results)]}

    def plain(code, n, arrays, offsets):
        """The map that `pointwise` promises, by NumPy."""
        spans = [array[offset : offset + n] for array, offset in zip(arrays, offsets, strict=True)]
        values = [spans[i].copy() for i in inputs[: arity[code]]]
        scalars = [list(arrays[-1][offsets[-1] : offsets[-1] + n_scalars])] if n_scalars else []
        with np.errstate(all="ignore"):
            results = functions[code](*scalars, *values)
        targets, flag = iter(outputs), 0
        for result in results if isinstance(results, tuple) else (results,):
            if np.asarray(result).dtype == bool:
                flag = int(np.any(result))
            else:
                spans[next(targets)][:] = result
        return flag

    if config.DISABLE_JIT:
        return plain

    @intrinsic
    def apply(typing_context, code, n, arrays, offsets):
        def generate(context, builder, signature, arguments):
            code, n, arrays, offsets = arguments
            array_types = signature.args[2].types
            arrays = [builder.extract_value(arrays, i) for i in range(len(array_types))]
            offsets = [builder.extract_value(offsets, i) for i in range(len(array_types))]
            starts = [
                builder.gep(data_pointer(context, builder, array_type, array), [offset])
                for array_type, array, offset in zip(array_types, arrays, offsets, strict=True)
            ]
            scalars = [builder.gep(starts[-1], [ir.Constant(_I64, i)]) for i in range(n_scalars)]
            flag = cgutils.alloca_once_value(builder, ir.Constant(_I64, 0))
            done = builder.append_basic_block("pointwise.done")
            switch = builder.switch(code, done)
            for index, function in enumerate(functions):
                block = builder.append_basic_block(f"pointwise.{index}")
                switch.add_case(ir.Constant(code.type, index), block)
                builder.position_at_end(block)
                sources = inputs[: arity[index]]
                if config.BOUNDSCHECK:
                    for i in places(index):
                        _check_span(context, builder, array_types[i], arrays[i], offsets[i], n)
                pointers = [starts[i] for i in sources], [starts[i] for i in outputs]
                _emit_map(builder, n, function, *pointers, scalars, flag)
                builder.branch(done)
            builder.position_at_end(done)
            return builder.load(flag)

        return types.int64(types.int64, types.int64, arrays, types.UniTuple(types.int64, len(arrays))), generate

    return apply


# not_finite(0, n, (array,), (offset,)) -> non-zero if a number is infinite or NaN
not_finite = pointwise([lambda x: ~(absolute(x) < np.inf)], inputs=(0,), outputs=())
