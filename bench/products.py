"""Who multiplies matrices: the kernel, called from compiled code as layers call it, and numpy, called from Python.

All on one thread. In the recursion B is W.T, for both.
"""

from functools import cache

import numpy as np
from llvmlite.binding import get_host_cpu_features

from .contest import Contestant


@cache
def _kernel_loop():
    """A compiled loop around the one call of `fastmlp.kernels.gemm.gemm`.

    `a` and `b` come with their two strides, C is in C order, `zeros` holds n of them.
    """
    from numba import njit

    from fastmlp.kernels.gemm import gemm
    from fastmlp.kernels.spans import span

    @njit
    def loop(times, m, n, k, a, sai, sak, b, sbk, sbj, zeros, c):
        nil = np.int64(0)  # a literal would be a type of its own, for which gemm is compiled again
        A, B, S, C = span(a, nil, a.size), span(b, nil, b.size), span(zeros, nil, n), span(c, nil, c.size)
        for _ in range(times):
            gemm(m, n, k, A, sai, sak, B, sbk, sbj, S, nil, C, n)

    return loop


def _flat(matrix):
    """The numbers of a matrix in memory, and its two strides."""
    return matrix.ravel(order="K"), *(stride // matrix.itemsize for stride in matrix.strides)


def fastmlp(case):
    A, B = case.data()
    (m, k), n = A.shape, B.shape[1]
    c = np.zeros((m, n), case.dtype)
    arguments = *_flat(A), *_flat(B), np.zeros(n, c.dtype), c.reshape(-1)
    loop = _kernel_loop()
    loop(1, m, n, k, *arguments)
    return c.copy(), lambda times: loop(times, m, n, k, *arguments)


def numpy(case):
    A, B = case.data()
    C = np.empty((A.shape[0], B.shape[1]), A.dtype)

    def run(times):
        for _ in range(times):
            np.matmul(A, B, out=C)

    run(1)
    return C.copy(), run


_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_AVX512 = {
    **_ONE_THREAD,
    "OPENBLAS_CORETYPE": "SKYLAKEX",
}  # OpenBLAS picks its AVX2 kernels on some CPUs that have more
CONTESTANTS = (
    Contestant("fastmlp", fastmlp, "fastmlp"),
    Contestant("numpy", numpy, "numpy", environment=_ONE_THREAD),
    *([Contestant("numpy", numpy, "numpy", "SKYLAKEX", _AVX512)] if get_host_cpu_features().get("avx512f") else []),
)
