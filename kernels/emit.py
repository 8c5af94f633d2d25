"""What kernels are emitted with, beside `simd.Lanes`: loops, switches; registers loaded, stored, turned round, summed.

Each function appends LLVM instructions to the kernel that is being compiled, by its `builder`.
"""

import contextlib

from llvmlite import ir
from numba.core import cgutils

from .simd import REGISTER_BYTES, Lanes, fma

_I32, _I64 = ir.IntType(32), ir.IntType(64)


@contextlib.contextmanager
def steps(builder, n, step):
    """A loop whose body is emitted once, for 0, step, 2 * step, ... below n (an i64)."""
    with cgutils.for_range_slice(builder, _I64(0), n, _I64(step), inc=True) as (i, _):
        yield i


def cases(builder, number, table):
    """A switch: gives each entry of `table` in its turn, to emit what the kernel does where `number` is its key."""
    done = builder.append_basic_block("cases.done")
    switch = builder.switch(number, done)
    for key, entry in table.items():
        block = builder.append_basic_block(f"case.{key}")
        switch.add_case(number.type(key), block)
        builder.position_at_end(block)
        yield entry
        builder.branch(done)
    builder.position_at_end(done)


def zeros(element):
    """A register of zeros of the LLVM type `element`."""
    count = lanes_of(element)
    return ir.Constant(ir.VectorType(element, count), [0.0] * count)


def accumulator(builder, element):
    """The place of a register that starts with zeros."""
    return cgutils.alloca_once_value(builder, zeros(element))


def accumulate(builder, a, b, total):
    """``total += a * b`` for two vectors and the place of a third, rounded once where the CPU can."""
    product = [Lanes(builder, vector) for vector in (a, b, builder.load(total))]
    builder.store(fma(*product).value, total)


def splat(builder, value, count):
    """`value` in each of `count` lanes."""
    vector = ir.VectorType(value.type, count)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _I32(0))
    zeros = ir.Constant(ir.VectorType(_I32, count), [0] * count)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


class Tail:
    """The first `number` (an i64) of `count` lanes; none if it is negative, all if it is more than there are.

    What is left at the end of a row, where a whole register would reach into the next one.
    """

    def __init__(self, builder, number, count):
        integer = _I64 if count * 8 == REGISTER_BYTES else _I32  # as wide as a lane, or it is converted at each use
        lanes = ir.Constant(ir.VectorType(integer, count), list(range(count)))
        narrow = number if integer is _I64 else builder.trunc(number, _I32)
        self.number, self.count = number, count
        self.mask = builder.icmp_signed("<", lanes, splat(builder, narrow, count))


def load(builder, pointer, count, tail=None):
    """`count` numbers from `pointer`, which need not be aligned; lanes outside `tail` are not touched and read 0."""
    element = pointer.type.pointee
    vector = ir.VectorType(element, count)
    size = 8 if isinstance(element, ir.DoubleType) else 4
    source = builder.bitcast(pointer, vector.as_pointer())
    if tail is None:
        value = builder.load(source)
        value.align = size
        return value
    kind = ir.FunctionType(vector, [source.type, _I32, tail.mask.type, vector])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{count}f{size * 8}.p0")
    return builder.call(function, [source, _I32(size), tail.mask, ir.Constant(vector, [0.0] * count)])


def store(builder, value, pointer, tail=None):
    """Writes the vector `value` to `pointer`, which need not be aligned; lanes outside `tail` are left alone."""
    store_rows(builder, [value], [pointer], tail)


def store_rows(builder, values, pointers, tail=None):
    """Writes each vector to its pointer, as `store` does, all with the same `tail`."""
    if tail is None:
        for value, pointer in zip(values, pointers, strict=True):
            target = builder.bitcast(pointer, value.type.as_pointer())
            builder.store(value, target).align = 8 if isinstance(value.type.element, ir.DoubleType) else 4
    elif REGISTER_BYTES == 64:
        for value, pointer in zip(values, pointers, strict=True):
            _store_masked(builder, value, pointer, tail.mask)
    else:
        with builder.if_else(builder.icmp_signed(">=", tail.number, _I64(tail.count))) as (all_lanes, some):
            with all_lanes:
                store_rows(builder, values, pointers)
            with some:
                _store_pieces(builder, values, pointers, tail)


def _store_masked(builder, value, pointer, mask):
    element, count = value.type.element, value.type.count
    size = 8 if isinstance(element, ir.DoubleType) else 4
    target = builder.bitcast(pointer, value.type.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [value.type, target.type, _I32, mask.type])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.v{count}f{size * 8}.p0")
    builder.call(function, [value, target, _I32(size), mask])


def _store_pieces(builder, values, pointers, tail):
    """The first lanes of each vector, fewer than all: four together, then two, then one, as their number's bits say.

    AVX2 has a store under a mask, for which CPUs of AMD take twelve cycles; SSE2 and NEON have none.
    """
    some = builder.icmp_signed(">", tail.number, _I64(0))
    number = builder.select(some, tail.number, _I64(0))
    places = [cgutils.alloca_once_value(builder, pointer) for pointer in pointers]
    size = 1 << (tail.count - 1).bit_length() >> 1
    while size > 0:
        last = values[0].type.count - 1
        first, second = (
            ir.Constant(ir.VectorType(_I32, size), [min(lane, last) for lane in lanes])
            for lanes in (range(size), range(size, 2 * size))
        )
        halves = [[builder.shuffle_vector(value, value, lanes) for lanes in (first, second)] for value in values]
        rest = [cgutils.alloca_once_value(builder, half) for half, _ in halves]
        with builder.if_then(builder.icmp_signed("!=", builder.and_(number, _I64(size)), _I64(0))):
            for (half, other), place, left in zip(halves, places, rest, strict=True):
                start = builder.load(place)
                store(builder, half, start)
                builder.store(builder.gep(start, [_I64(size)]), place)
                builder.store(other, left)
        values = [builder.load(left) for left in rest]
        size //= 2


def row_pointers(builder, start, stride, n, rows=None):
    """Pointers to n rows, `stride` apart; where there are fewer `rows`, the last is repeated: that needs no branch.

    Each is its predecessor and `stride` or 0, which is quicker than a multiplication for each.
    """
    pointers = [start]
    for i in range(1, n):
        offset = stride
        if rows is not None:
            there = builder.icmp_signed("<", _I64(i), rows)
            offset = builder.select(there, stride, _I64(0))
        pointers.append(builder.gep(pointers[-1], [offset]))
    return pointers


def clamped_row(builder, row, rows):
    """`row` (a Python int) as an i64, or the last of `rows` if there are fewer: repeating that needs no branch."""
    index, last = _I64(row), builder.sub(rows, _I64(1))
    return builder.select(builder.icmp_signed("<", index, last), index, last)


def transpose(builder, registers):
    """The columns of the square matrix whose rows are these vectors, as many as each has lanes.

    Swap the off-diagonal 1x1 blocks of each 2x2, then the 2x2 blocks of each 4x4, and so on; log2(lanes) rounds. Fewer
    vectors are rows of several such matrices side by side, each of which is transposed.
    """
    registers, count = list(registers), registers[0].type.count
    size = 1
    while size < len(registers):
        upper = [lane - size + count if lane & size else lane for lane in range(count)]
        lower = [lane + count if lane & size else lane + size for lane in range(count)]
        masks = [ir.Constant(ir.VectorType(_I32, count), m) for m in (upper, lower)]
        for i in range(len(registers)):
            if not i & size:
                pair = registers[i], registers[i + size]
                registers[i], registers[i + size] = (builder.shuffle_vector(*pair, m) for m in masks)
        size *= 2
    return registers


def opaque(builder, number):
    """`number` (an i64), of which LLVM knows nothing from here on.

    An index that it knows it may replace: by a moving pointer for each place that is read with it, say.
    """
    return builder.asm(ir.FunctionType(_I64, [_I64]), "", "=r,0", [number], False)


def prefetch(builder, pointer, cache=1):
    """Asks for the cache line at `pointer`, which may be anywhere, to be brought into the first or second `cache`."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read, near, data = _I32(0), _I32(4 - cache), _I32(1)
    builder.call(function, [builder.bitcast(pointer, byte), to_read, near, data])


def reduce(builder, operation, vector):
    """The sum ("add") or the maximum ("max") over the lanes of `vector`, added pairwise."""
    element = vector.type.element
    name = f"llvm.vector.reduce.f{operation}.v{vector.type.count}f{64 if isinstance(element, ir.DoubleType) else 32}"
    start = [ir.Constant(element, -0.0)] if operation == "add" else []
    kind = ir.FunctionType(element, [*(x.type for x in start), vector.type])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [*start, vector], fastmath=("reassoc",))


def sums_of_lanes(builder, registers):
    """A vector whose lane i is the sum over the lanes of vector i, of as many as each has lanes; bits as of `reduce`.

    Each round adds halves of two registers, so that one is left of them: log2(lanes) rounds.
    """
    registers, count = list(registers), len(registers)
    while len(registers) > 1:
        size = len(registers) // 2
        here = [lane + count if lane & size else lane for lane in range(count)]
        there = [lane ^ size for lane in here]
        masks = [ir.Constant(ir.VectorType(_I32, count), m) for m in (here, there)]
        pairs = zip(registers[:size], registers[size:], strict=True)
        registers = [builder.fadd(*(builder.shuffle_vector(*pair, m) for m in masks)) for pair in pairs]
    return registers[0]


def lanes_of(element):
    """How many numbers of the LLVM type `element` fill a register."""
    return REGISTER_BYTES // (8 if isinstance(element, ir.DoubleType) else 4)
