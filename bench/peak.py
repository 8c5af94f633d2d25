"""The most multiply-adds that the CPU can do, measured: the roof under which all contestants stand."""

import threading
import time

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastmlp.kernels.simd import REGISTER_BYTES

ACCUMULATORS = 12  # two units of four or five cycles' latency want 8 to 10 chains; 16 registers hold 12 and a constant
LANES = REGISTER_BYTES // 4
FLOPS = 2 * ACCUMULATORS * LANES  # of a step
_STEPS = 4_000_000
_ROUNDS = 6


@intrinsic
def _chains(typing_context, steps):
    """``a = 0.5 * a + 0.5`` in every lane of every accumulator, `steps` times from 0, 1, 2, ...; the sum of a lane."""

    def generate(context, builder, signature, arguments):
        vector = ir.VectorType(ir.FloatType(), LANES)
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{LANES}f32"
        )
        half = ir.Constant(vector, [0.5] * LANES)
        starts = [ir.Constant(vector, [float(i)] * LANES) for i in range(ACCUMULATORS)]
        accumulators = [cgutils.alloca_once_value(builder, start) for start in starts]
        with cgutils.for_range(builder, arguments[0]):
            for a in accumulators:
                builder.store(builder.call(fma, [builder.load(a), half, half]), a)
        total = builder.load(accumulators[0])
        for a in accumulators[1:]:
            total = builder.fadd(total, builder.load(a))
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.float32(types.int64), generate


@njit(nogil=True)
def chains(steps):
    return _chains(steps)


def gflops(threads):
    """float32 GFLOP/s of so many threads together, the best of some rounds; float64 has half of it."""
    chains(1)
    best = 0.0
    for _ in range(_ROUNDS):
        team = [threading.Thread(target=chains, args=(_STEPS,)) for _ in range(threads)]
        start = time.perf_counter()
        for member in team:
            member.start()
        for member in team:
            member.join()
        best = max(best, threads * _STEPS * FLOPS / (time.perf_counter() - start) / 1e9)
    return best
