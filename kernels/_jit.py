"""How every kernel is compiled and cached: the only file that names Numba's options.

Numba's own disk cache looks at one file at a time: after an edit in a callee, a changed option or an upgraded wheel it
goes on serving the old machine code, and two processes that fill it together can mix their entries up. Here the name of
an entry holds a digest of everything the machine code depends on, so that a stale entry cannot be found; a file is
written beside and renamed, and carries a checksum, so that half an entry cannot be loaded.
"""

import contextlib
import functools
import gc
import hashlib
import os
import pickle
import sys
import tempfile
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core import caching, config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime.nrt import rtsys

# Division by zero gives an infinity (and lets loops be vectorised) instead of raising. No fast-math: the kernels' order
# of operations is part of their contract (same bits for any number of threads). No runtime (nrt): kernels allocate
# nothing, and need not count references to the caller's arrays, which takes an atomic operation wherever one is passed.
_OPTIONS = {"error_model": "numpy", "nogil": True, "_nrt": False}

# Numba settings that change the machine code and are not part of Numba's own key (CPU name and features are).
_SETTINGS = ("BOUNDSCHECK", "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "DEBUGINFO_DEFAULT", "DISABLE_JIT")


# For arguments of routines: a literal is a type of its own to Numba, for which it would compile the routine again.
ZERO, ONE = np.int64(0), np.int64(1)


def _stamp() -> str:
    """A digest of all kernel sources, the compiler's version and its settings."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    settings = [(name, getattr(config, name, None)) for name in _SETTINGS]
    digest.update(repr((numba.__version__, llvmlite.__version__, settings)).encode())
    return digest.hexdigest()


STAMP = _stamp()


class _Entries:
    """Machine code on disk, one file per key: the part of Numba's cache that finds, reads and writes files."""

    def __init__(self, folder: str, base: str):
        self.folder, self.base = Path(folder), base

    def _path(self, key) -> Path:
        digest = hashlib.sha256(repr(key).encode()).hexdigest()
        return self.folder / f"{self.base}.{STAMP[:16]}.{digest[:16]}.nbc"

    def load(self, key):
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        checksum, data = content[:32], content[32:]
        return pickle.loads(data) if hashlib.sha256(data).digest() == checksum else None

    def save(self, key, value) -> None:
        data = caching.dumps(value)
        beside = tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False)  # noqa: SIM115 (closed below)
        try:
            with beside as file:
                file.write(hashlib.sha256(data).digest() + data)
            os.replace(beside.name, self._path(key))
        except BaseException:
            os.unlink(beside.name)
            raise
        for path in self.folder.glob(f"{self.base}.*.nbc"):
            if f".{STAMP[:16]}." not in path.name:
                path.unlink(missing_ok=True)  # left behind by older sources

    def flush(self) -> None:
        for path in self.folder.glob(f"{self.base}.*.nbc"):
            path.unlink(missing_ok=True)


class _Places(caching.CompileResultCacheImpl):
    """Where entries go: NUMBA_CACHE_DIR, or the user's cache folder; beside the sources only if neither can be written.

    pip would leave that folder behind, and Python would take it for the package itself: one without content.
    """

    _locator_classes = sorted(caching.CompileResultCacheImpl._locator_classes, key=lambda place: "InTree" in str(place))


class _Cache(caching.FunctionCache):
    _impl_class = _Places

    def __init__(self, function):
        super().__init__(function)
        # Numba's own name has the line in it: every edit above a function would leave a file behind.
        interpreter = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"
        base = f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}.{interpreter}"
        self._cache_file = _Entries(self._cache_path, base)

    def load_overload(self, sig, target_context):
        # Numba's own loads all that is needed to compile first (SciPy, too); machine code asks for the runtime alone.
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)

    def save_overload(self, sig, data):
        with contextlib.suppress(OSError):  # a full or read-only disk costs the next process a compilation, no more
            super().save_overload(sig, data)


if hasattr(os, "register_at_fork"):
    # A child that is forked while another thread compiles, or loads machine code, would wait for that thread for ever.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def _uncollected(function):
    """`function` without Python's collector of cycles.

    Nearly all objects of the compiler live until its end: a tenth of its time would go into looking at them.
    """

    @functools.wraps(function)
    def call(*arguments):
        enabled = gc.isenabled()
        gc.disable()
        try:
            return function(*arguments)
        finally:
            if enabled:
                gc.enable()

    return call


def kernel(function):
    """Compiles `function` for calls from Python and from ``@njit`` code; the machine code is kept on disk."""
    dispatcher = numba.njit(**_OPTIONS)(function)
    if not config.DISABLE_JIT:
        dispatcher.compile = _uncollected(dispatcher.compile)
        with contextlib.suppress(RuntimeError):  # no folder can be written: every process compiles for itself
            dispatcher._cache = _Cache(function)
    return dispatcher


def routine(function):
    """Compiles `function` once for the kernels that call it: no entry from Python, no file of its own."""
    return numba.njit(**_OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def c_function(signature):
    """Compiles a function for calls from C, by its `address`; an exception in it is printed and goes no further."""
    return numba.cfunc(signature, error_model=_OPTIONS["error_model"])


def inlined(function):
    """Copies `function` into the kernels that call it before they are compiled: for what is called from few places."""
    return numba.njit(**_OPTIONS, inline="always", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
