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

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, config

_I32, _I64 = ir.IntType(32), ir.IntType(64)


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


def quotient(a, b):
    """``a / b`` for normal `b`, to 1.5 ULP where the CPU has a good estimate of ``1 / b`` (AVX-512, float32).

    The estimate has 14 bits; a step of Newton's iteration doubles them. A square root and a division together keep the
    one unit busy that does both, for longer than all the other arithmetic of an update takes.
    """
    if not isinstance(b, Lanes) or REGISTER_BYTES < 64 or b.is_float64:
        return a / b
    i16 = ir.IntType(16)
    kind = ir.FunctionType(b.vector, [b.vector, b.vector, i16])
    estimate = cgutils.get_or_insert_function(b.builder.module, kind, "llvm.x86.avx512.rcp14.ps.512")
    zeros, all_lanes = ir.Constant(b.vector, [0.0] * b.count), i16(-1)
    r = Lanes(b.builder, b.builder.call(estimate, [b.value, zeros, all_lanes]))
    return a * fma(fma(-b, r, 1.0), r, r)


def has_lookup(x):
    """Whether `lookup` has an instruction: for AVX-512's registers of float32."""
    return isinstance(x, Lanes) and REGISTER_BYTES == 64 and not x.is_float64


def lookup(tables, x, start):
    """The entries of `tables`, 32 numbers each, for the quarter octave of each x: the first is that of ``2**start``.

    For 0 <= x < ``2**(start + 8)``; smaller numbers than ``2**start`` have the first. A table is two registers, and its
    entries are shuffled.
    """
    bits, integers = x.bits()
    b = x.builder

    def constant(number):
        return ir.Constant(integers, [number] * x.count)

    quarter = b.sub(b.lshr(bits, constant(21)), constant((127 + start) * 4))
    index = b.select(b.icmp_signed("<", quarter, constant(0)), constant(0), quarter)
    kind = ir.FunctionType(x.vector, [x.vector, integers, x.vector])
    shuffle = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.vpermi2var.ps.512")
    halves = [[ir.Constant(x.vector, list(map(float, half))) for half in np.split(table, 2)] for table in tables]
    return [Lanes(b, b.call(shuffle, [low, index, high])) for low, high in halves]


def copysign(x, sign):
    """`x`, which is not negative, with the sign of `sign`."""
    return x.call("copysign", x.value, sign.value) if isinstance(x, Lanes) else np.copysign(x, sign)


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
