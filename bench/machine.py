"""The machine and the versions that numbers come from."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llvmlite.binding import get_host_cpu_name

from fastmlp.kernels.simd import REGISTER_BYTES

from .contest import cores

_PACKAGES = ("fastmlp", "numpy", "numba", "scikit-learn", "jax", "torch", "onnxruntime")


def _cpu():
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe():
    """A dict for JSON."""
    return {
        "cpu": _cpu(),
        "architecture": get_host_cpu_name(),
        "vector_bits": 8 * REGISTER_BYTES,
        "cores": cores(),
        "cores_of_the_machine": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            **{package: _version(package) for package in _PACKAGES if _version(package)},
        },
    }


def line(machine):
    """One line for the caption of a table or a figure."""
    bits, n = machine["vector_bits"], machine["cores"]
    return f"{machine['cpu']} ({machine['architecture']}, {bits}-bit vectors), {n} core{'s' * (n > 1)}"
