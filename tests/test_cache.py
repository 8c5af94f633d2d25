"""The disk cache: never stale, never broken, never in the way; and the CPUs that the compiler can be told to serve.

Most tests work on a copy of the package to which two small kernels are added, so that a compilation takes a moment.
Each step of a story is a process of its own, or, where a story is long, imports the package anew.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from llvmlite import binding as llvm

import fastmlp
import fastmlp.kernels

pytestmark = pytest.mark.once

PROBE = """
from ._jit import kernel
from .probe_part import step


@kernel
def probe(x, i):
    return step(x[i])


@kernel
def ratio(a, b):
    return a / b
"""
PROBE_PART = """
from ._jit import routine


@routine
def step(x):
    return x + 1
"""


class Site:
    """A copy of the package, and processes that use it with a cache folder of their own."""

    def __init__(self, folder: Path):
        self.folder, self.kernels, self.cache = folder, folder / "site/fastmlp/kernels", folder / "cache"
        pristine, ignored = folder / "pristine/fastmlp", shutil.ignore_patterns("__pycache__", "kernels")
        shutil.copytree(Path(fastmlp.__file__).parent, pristine, ignore=ignored)
        shutil.copytree(Path(fastmlp.kernels.__file__).parent, pristine / "kernels", ignore=ignored)
        (pristine / "kernels/probe.py").write_text(PROBE)
        (pristine / "kernels/probe_part.py").write_text(PROBE_PART)
        self.restore()

    def restore(self):
        """The package as it was, and an empty cache folder."""
        for path in (self.folder / "site", self.cache):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.folder / "pristine", self.folder / "site")

    def edit(self, file, old, new):
        path = self.kernels / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} in {file}"
        path.write_text(text.replace(old, new))

    def start(self, code, **environment):
        # without this run's coverage, which would look for the copy's files when they are gone
        inherited = {n: v for n, v in os.environ.items() if not n.startswith(("NUMBA_", "COV", "PYTHON"))}
        paths = {"PYTHONPATH": str(self.folder / "site"), "NUMBA_CACHE_DIR": str(self.cache)}
        paths["PYTHONDONTWRITEBYTECODE"] = "1"  # two edits in one second of files of the same size look alike to it
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
            env={n: v for n, v in {**inherited, **paths, **environment}.items() if v is not None},
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    @staticmethod
    def finish(process):
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        return json.loads(output)

    def run(self, code, **environment):
        return self.finish(self.start(code, **environment))

    def probe(self, prelude="", **environment):
        """[value of step(1), hits, misses] in a new process."""
        return self.run(textwrap.dedent(prelude) + USE_PROBE, **environment)

    def entries(self):
        return sorted(path.name for path in self.cache.rglob("*") if path.is_file())


# The process works on 2 of 4 numbers: what an index beyond them finds is known.
USE_PROBE = """
import json
import numpy as np
from fastmlp.kernels.probe import probe

value = probe(np.arange(4.0)[:2], 1)
print(json.dumps([value, *(sum(counts.values()) for counts in (probe.stats.cache_hits, probe.stats.cache_misses))]))
"""
COMPILED, FROM_DISK = [2, 0, 1], [2, 1, 0]  # the value 2, hits, misses


# probe_anew() imports the package as a new process would, and returns what `Site.probe` does.
ANEW = """
    import json, sys
    from pathlib import Path
    import numpy as np

    def probe_anew():
        for name in [name for name in sys.modules if name.split(".")[0] == "fastmlp"]:
            del sys.modules[name]
        from fastmlp.kernels.probe import probe
        value = probe(np.arange(4.0)[:2], 1)
        stats = probe.stats
        return [value, sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]

    site, cache = Path("site/fastmlp/kernels"), Path("cache")

    def entries():
        return [path for path in cache.rglob("*") if path.is_file()]
"""


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory):
    """One site for all tests, since where the sources lie is part of an entry's name, and a cache that was filled."""
    site = Site(tmp_path_factory.mktemp("cache"))
    assert site.probe() == COMPILED
    shutil.copytree(site.cache, site.folder / "filled")
    return site


@pytest.fixture
def site(shared_site):
    """A site as it was at first, with an empty cache folder."""
    shared_site.restore()
    return shared_site


@pytest.fixture
def warm(site):
    """A site as it was at first, and a cache that a process has filled."""
    shutil.copytree(site.folder / "filled", site.cache)
    return site


def test_a_second_process_compiles_nothing(warm):
    entries = warm.entries()
    assert len(entries) == 1
    assert warm.probe() == FROM_DISK
    assert warm.entries() == entries


def test_a_copy_elsewhere_is_the_one_that_is_tested(site):
    assert Path(site.run("import fastmlp.kernels, json; print(json.dumps(fastmlp.kernels.__file__))")).is_relative_to(
        site.folder
    )


# --- never stale ---------------------------------------------------------------------------------------------------


def test_an_edit_in_a_callees_file_is_served(warm):
    warm.edit("probe_part.py", "x + 1", "x + 5")
    assert warm.probe() == [6, 0, 1]
    assert warm.probe() == [6, 1, 0]


@pytest.mark.slow
def test_an_edit_of_an_activation_reaches_the_table(site):
    code = """
        import json
        import numpy as np
        from fastmlp.kernels import activations

        z = np.full(3, -1.0)
        activations.apply(activations.CODES["leaky_relu"], z)
        print(json.dumps([z[0], sum(activations.apply.stats.cache_misses.values())]))
    """
    assert site.run(code) == [-0.01, 1]
    site.edit("activations.py", "_LEAK = 0.01", "_LEAK = 0.25")
    assert site.run(code) == [-0.25, 1]


def test_a_changed_option_is_served(site):
    code = """
        import json
        from fastmlp.kernels.probe import ratio

        try:
            value = ratio(1.0, 0.0) > 1e300
        except ZeroDivisionError:
            value = "raises"
        print(json.dumps([value, sum(ratio.stats.cache_misses.values())]))
    """
    assert site.run(code) == [True, 1]
    site.edit("_jit.py", '"error_model": "numpy"', '"error_model": "python"')
    assert site.run(code) == ["raises", 1]


def test_another_compiler_or_setting_compiles_again(warm):
    results = warm.run(
        ANEW
        + """
    import llvmlite, numba
    from numba.core import config

    changes = [
        (numba, "__version__", "99.0"), (llvmlite, "__version__", "99.0"), (config, "OPT", 1),
        (config, "BOUNDSCHECK", 1), (config, "LOOP_VECTORIZE", 0), (config, "SLP_VECTORIZE", 1),
        (config, "ENABLE_AVX", 0),
    ]
    results = {"nothing": [probe_anew()]}
    for owner, name, value in changes:
        setattr(owner, name, value)
        results[f"{owner.__name__}.{name}"] = [probe_anew(), probe_anew(), len(entries())]
    print(json.dumps(results))
    """
    )
    assert results.pop("nothing") == [FROM_DISK]
    assert len(results) == 7
    for change, result in results.items():
        assert result == [COMPILED, FROM_DISK, 1], change


def test_bounds_are_checked_once_asked_for_and_not_after(warm):
    code = """
        import json
        import numpy as np
        from fastmlp.kernels.probe import probe

        try:
            print(json.dumps(probe(np.arange(4.0)[:2], 3)))
        except IndexError:
            print('"raises"')
    """
    assert warm.run(code, NUMBA_BOUNDSCHECK="1") == "raises"
    assert warm.run(code) == 4


# --- never broken --------------------------------------------------------------------------------------------------


def test_a_damaged_entry_is_compiled_again(warm):
    results = warm.run(
        ANEW
        + """
    (path,) = entries()
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "truncated": whole[:middle], "one byte short": whole[:-1], "one byte long": whole + b"x", "empty": b"",
        "shorter than a checksum": whole[:20], "only a checksum": whole[:32],
        "a flipped bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "a flipped bit in the checksum": bytes([whole[0] ^ 1]) + whole[1:], "zeros": bytes(len(whole)),
        "text": b"text " * 99,
    }
    results = {}
    for name, content in damaged.items():
        path.write_bytes(content)
        results[name] = [probe_anew(), probe_anew(), len(entries())]
    path.unlink()
    path.mkdir()  # an entry that cannot be read, nor written
    results["a folder"] = [probe_anew(), [2, 1, 0], 1]
    print(json.dumps(results))
    """
    )
    assert len(results) == 11
    for damage, result in results.items():
        assert result == [COMPILED, FROM_DISK, 1], damage


FAULTS = {  # what goes wrong, and how it is made to
    "the folder is read-only": "tempfile.NamedTemporaryFile = tempfile.mkstemp = refuse",
    "the entry cannot be renamed": "os.replace = os.rename = refuse",
    "the disk is full": "tempfile.NamedTemporaryFile = Full",
}
FAULTY = """
    import errno, os, tempfile

    def refuse(*args, **kwargs):
        raise OSError(errno.EACCES, "refused")

    class Full:
        def __init__(self, *args, _make=tempfile.NamedTemporaryFile, **kwargs):
            self.file = _make(*args, **kwargs)
            self.name = self.file.name

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return self.file.__exit__(*args)

        def write(self, data):
            self.file.write(data[:100])
            raise OSError(errno.ENOSPC, "no space left")

    whole = tempfile.NamedTemporaryFile, tempfile.mkstemp, os.replace, os.rename
    FAULT
    broken = [probe_anew(), probe_anew()]
    litter = len(entries())
    tempfile.NamedTemporaryFile, tempfile.mkstemp, os.replace, os.rename = whole
    print(json.dumps({"broken": broken, "litter": litter, "repaired": [probe_anew(), probe_anew()]}))
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_takes_nothing_costs_a_compilation_and_no_more(fault, site):
    results = site.run(ANEW + FAULTY.replace("FAULT", FAULTS[fault]))
    assert results == {"broken": [COMPILED, COMPILED], "litter": 0, "repaired": [COMPILED, FROM_DISK]}


def test_no_folder_at_all(site):
    """Neither beside the sources nor in the user's home nor anywhere: as for a service user on a read-only system."""
    (site.kernels / "__pycache__").write_text("a file where a folder is wanted; even root cannot write in it")
    home = site.folder / "home"
    home.write_text("likewise")
    nowhere = {"NUMBA_CACHE_DIR": None, "HOME": str(home), "USERPROFILE": str(home), "XDG_CACHE_HOME": str(home)}
    code = """
        import json
        import numpy as np
        from fastmlp.kernels.probe import probe

        print(json.dumps(probe(np.arange(4.0), 1)))
    """
    assert site.run(code, **nowhere) == 2
    assert not site.cache.exists()


@pytest.mark.parametrize("edit", ["in a function", pytest.param("that moves every line", marks=pytest.mark.slow)])
def test_ten_edits_leave_no_more_files_than_one(edit, warm):
    change = {
        "in a function": """
        path = site / "probe_part.py"
        path.write_text(path.read_text().replace(f"x + {i}", f"x + {i + 1}"))
        """,
        "that moves every line": """
        path = site / "probe.py"
        path.write_text("# a new line\\n" + path.read_text())
        """,
    }[edit]
    counts = warm.run(
        ANEW
        + f"""
    counts = []
    for i in range(1, 11):
        {change.strip()}
        value, hits, misses = probe_anew()
        assert (value, hits, misses) == ({"i + 2" if edit == "in a function" else "2"}, 0, 1), (i, value, hits, misses)
        counts.append(len(entries()))
    print(json.dumps(counts))
    """
    )
    assert counts == [1] * 10


def test_types_of_one_kernel_do_not_push_each_other_out(warm):
    code = """
        import json
        import numpy as np
        from fastmlp.kernels.probe import probe

        values = [float(probe(np.arange(4).astype(dtype), 1)) for dtype in (np.float32, np.float64, np.int64)]
        print(json.dumps([values, sum(probe.stats.cache_misses.values())]))
    """
    assert warm.run(code) == [[2, 2, 2], 2]
    assert warm.run(code) == [[2, 2, 2], 0]
    assert len(warm.entries()) == 3


def test_two_processes_that_fill_an_empty_folder_at_once(site):
    code = """
        import json, time
        from pathlib import Path
        import numpy as np
        from fastmlp.kernels import activations

        name = Path(f"ready.{__import__('os').getpid()}")
        name.touch()
        while len(list(Path().glob("ready.*"))) < 2:
            time.sleep(0.001)
        z = np.array([-1.0, 2.0])
        activations.apply(activations.CODES["relu"], z)
        stats = activations.apply.stats
        print(json.dumps([z.tolist(), sum(stats.cache_hits.values()) + sum(stats.cache_misses.values())]))
    """
    results = [site.finish(process) for process in [site.start(code), site.start(code)]]
    assert results == [[[0, 2], 1]] * 2
    assert len(site.entries()) == 1
    again = """
        import json
        import numpy as np
        from fastmlp.kernels import activations

        z = np.array([-1.0, 2.0])
        activations.apply(activations.CODES["relu"], z)
        print(json.dumps([z.tolist(), sum(activations.apply.stats.cache_misses.values())]))
    """
    assert site.run(again) == [[0, 2], 0]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a signal of POSIX systems")
def test_processes_that_are_killed_leave_a_usable_cache(site):
    moments = {
        "while the code is serialised": "caching.dumps = kill",
        "while the checksum is made": "hashlib.sha256 = lambda data=b'': kill() if len(data) > 2000 else sha(data)",
        "between writing and renaming": "os.replace = kill",
    }
    prelude = """
        import hashlib, os, signal
        import fastmlp.kernels._jit
        from numba.core import caching

        sha = hashlib.sha256

        def kill(*args, **kwargs):
            os.kill(os.getpid(), signal.SIGKILL)

    """
    for moment, patch in moments.items():
        process = site.start(textwrap.dedent(prelude) + patch + USE_PROBE)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, moment
    assert site.probe() == COMPILED
    assert site.probe() == FROM_DISK


# --- the package itself --------------------------------------------------------------------------------------------


def python(code, *arguments, **environment):
    """What `code` prints as JSON in a new Python that uses the package itself, with the compiler on."""
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
    result = subprocess.run(command, env=inherited | environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_collector_of_cycles_rests_only_while_a_kernel_is_compiled():
    """Afterwards it is as it was, also after a compilation that failed."""
    code = """
        import gc, json
        from numba import TypingError, types
        from numba.extending import intrinsic
        from fastmlp.kernels._jit import kernel

        during, after = [], []

        @intrinsic
        def look(context, x):
            during.append(gc.isenabled())
            if x == types.float64:
                raise TypingError("no floats")
            return x(x), lambda context, builder, signature, arguments: arguments[0]

        @kernel
        def through(x):
            return look(x)

        through(1)
        after.append(gc.isenabled())
        try:
            through(1.0)
        except TypingError:
            after.append(gc.isenabled())
        gc.disable()
        through(True)
        after.append(gc.isenabled())
        print(json.dumps([sorted(set(during)), after]))
    """
    assert python(code, NUMBA_DISABLE_JIT="0") == [[False], [True, True, False]]


def test_a_whole_fit_in_a_second_process_compiles_nothing():
    code = """
        import json, sys
        import numba
        import numpy as np
        from numba.core import event
        from fastmlp import MLP
        from fastmlp.kernels import activations, backprop, training

        with event.install_recorder("numba:compile") as recorder:
            mlp = MLP([3, 5, 2], output_activation="softmax", optimizer="adam", random_state=0)
            X = np.random.default_rng(0).normal(size=(30, 3))
            y = np.arange(30) % 2
            mlp.fit(X, y, epochs=2, validation_data=(X, y))
            mlp.update_parameters(*mlp.backward(X, y, mlp.forward(X)))
            mlp.loss_and_gradients(X, y)
            mlp.activation_derivative(X, "tanh")
        used = training.train, training.apply_update, backprop.infer, backprop.total_loss, backprop.backward
        used += (activations.apply,)
        misses = sum(sum(dispatcher.stats.cache_misses.values()) for dispatcher in used)
        hits = sum(sum(dispatcher.stats.cache_hits.values()) for dispatcher in used)
        ready_to_compile = ["scipy.linalg" in sys.modules]  # Numba imports it as it gets ready
        numba.njit(lambda: 0)()
        ready_to_compile.append("scipy.linalg" in sys.modules)
        counts = [hits + misses, misses, len(recorder.buffer)]
        print(json.dumps([counts, ready_to_compile, mlp.parameters.tolist()]))
    """
    (_, _, first), (counts, ready_to_compile, second) = python(code), python(code)
    assert counts[1:] == [0, 0]
    assert counts[0] >= 6, "all six kernels came from the disk"
    assert ready_to_compile == [False, True]
    assert first == second


PARITY = """
    import json, sys
    import numpy as np
    from fastmlp import MLP, reference
    from fastmlp.kernels import simd

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 5)), np.arange(50) % 3
    for activation in (["tanh", "gelu"], ["relu", "softplus"]):
        common = dict(activation=activation, output_activation="softmax", optimizer="adam", alpha=0.01)
        mlp = MLP([5, 33, 9, 3], **common, dtype=np.float64, random_state=0)
        slow = reference.MLP([5, 33, 9, 3], **common, weights=mlp.weights, biases=mlp.biases)

        def close(a, b):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)

        if sys.argv[1:]:
            pairs = zip(mlp.backward(X, y, mlp.forward(X)), slow.backward(X, y, slow.forward(X))[:2], strict=True)
            for fast, reference_one in pairs:
                for a, b in zip(fast, reference_one, strict=True):
                    close(a, b)
        close(mlp.fit(X, y, epochs=5, batch_size=16, shuffle=False).loss, slow.fit(X, y, epochs=5, batch_size=16))
        close(mlp.parameters, slow.parameters)
        close(mlp.predict(X), slow.forward(X))
    print(json.dumps([simd.REGISTER_BYTES, simd.REGISTERS]))
"""
X86 = platform.machine().lower() in {"x86_64", "amd64"}
X86_ONLY = pytest.mark.skipif(not X86, reason="names an x86-64 CPU")
LACKS_AVX2 = not (X86 and all(llvm.get_host_cpu_features().get(name, False) for name in ("avx2", "fma", "bmi2")))


@X86_ONLY
@pytest.mark.slow
@pytest.mark.skipif(LACKS_AVX2, reason="this CPU cannot run code for haswell")
def test_parity_where_the_compiler_is_told_haswell():
    assert python(PARITY, NUMBA_CPU_NAME="haswell") == [32, 16]


@X86_ONLY
@pytest.mark.slow
@pytest.mark.skipif(LACKS_AVX2, reason="this CPU cannot run code for haswell")
def test_parity_of_backward_where_the_compiler_is_told_haswell():
    assert python(PARITY, "backward", NUMBA_CPU_NAME="haswell") == [32, 16]


@X86_ONLY
@pytest.mark.slow
def test_parity_where_the_compiler_is_told_the_first_x86_64():
    assert python(PARITY, "backward", NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="") == [16, 16]
