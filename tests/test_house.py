"""The rules of the house: who imports whom, who names Numba's options, what one row in one file is enough for."""

import ast
import doctest
import importlib
import inspect
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import textwrap
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fastmlp
import fastmlp.kernels
from fastmlp.fitting import DivergenceError
from fastmlp.kernels import activations, losses

UPPER = Path(fastmlp.__file__).parent
LOWER = Path(fastmlp.kernels.__file__).parent
UPPER_FILES = sorted(UPPER.glob("*.py"))
LOWER_FILES = sorted(LOWER.glob("*.py"))
FILES = UPPER_FILES + LOWER_FILES


def name_of(path):
    return f"{'kernels' if path.parent == LOWER else 'fastmlp'}/{path.name}"


def every_file(paths=FILES):
    return pytest.mark.parametrize("path", paths, ids=map(name_of, paths))


def imports(path, *, only_at_import=False):
    """Absolute names of the modules that a file imports, names included: ``from . import a`` gives fastmlp.a.

    With `only_at_import` those inside functions and ``if TYPE_CHECKING`` are left out.
    """
    package = "fastmlp.kernels" if path.parent == LOWER else "fastmlp"
    found = set()

    def visit(node):
        if only_at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if only_at_import and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.update(f"{module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def within(name, package):
    return name == package or name.startswith(package + ".")


# --- imports -------------------------------------------------------------------------------------------------------


@every_file(LOWER_FILES)
def test_kernels_know_nothing_of_the_classes_above(path):
    assert [n for n in imports(path) if within(n, "fastmlp") and not within(n, "fastmlp.kernels")] == []


@every_file(UPPER_FILES)
def test_no_numba_above_the_kernels(path):
    assert [n for n in imports(path) if within(n, "numba") or within(n, "llvmlite")] == []


# Who emits LLVM code may name what that takes; _jit owns the decorators, __init__ asks whether there is a compiler.
CODE_EMITTERS = {"simd", "emit", "pointwise", "gather", "packing", "gemm", "sums", "softmax", "subnormals", "team"}
CODE_EMITTERS |= {"dropout", "own_loss", "feature_major", "spans"}
EMITTERS_NEED = ("numba.types", "numba.core.cgutils", "numba.core.config", "numba.core.errors.TypingError")
EMITTERS_NEED += ("numba.core.errors.NumbaError", "numba.extending.intrinsic", "llvmlite")


@every_file(LOWER_FILES)
def test_only_who_emits_code_names_the_compiler(path):
    if path.name == "_jit.py":
        return
    allowed = EMITTERS_NEED if path.stem in CODE_EMITTERS else ("numba.core.config",) * (path.name == "__init__.py")
    compiler = {n for n in imports(path) if within(n, "numba") or within(n, "llvmlite")}
    assert {n for n in compiler if not any(within(n, a) for a in allowed)} == set()


# Decorators and their arguments; not every word that Numba could take, but those that somebody would reach for.
OPTIONS = {"njit", "jit", "fastmath", "error_model", "nogil", "parallel", "prange", "boundscheck", "forceinline"}
OPTIONS |= {"no_cpython_wrapper", "no_cfunc_wrapper", "_nrt"}


def identifiers(path):
    """Names, attributes, keywords and imported names in the code of a file (not in its comments and strings)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield from (node.name, node.asname)


@every_file()
def test_one_file_names_numbas_options(path):
    # LLVM's call of a reduction takes `fastmath`, too: the lanes of one register may be added pairwise
    meant = {"fastmath"} if name_of(path) == "kernels/emit.py" else set()
    assert path.name == "_jit.py" or (OPTIONS - meant).isdisjoint(identifiers(path))


def test_that_file_does_name_them():
    text = (LOWER / "_jit.py").read_text()
    assert "njit" in set(identifiers(LOWER / "_jit.py"))
    assert '"error_model"' in text


def modules(name, known):
    """`name`, or the module that holds it, as far as `known` goes."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def test_imports_go_one_way():
    """No file needs, while it is imported, a file that needs it."""
    known = {f"fastmlp.{p.stem}": p for p in UPPER_FILES} | {f"fastmlp.kernels.{p.stem}": p for p in LOWER_FILES}
    known["fastmlp"], known["fastmlp.kernels"] = known.pop("fastmlp.__init__"), known.pop("fastmlp.kernels.__init__")
    graph = {
        name: {modules(n, known) for n in imports(path, only_at_import=True) if within(n, "fastmlp")} - {name}
        for name, path in known.items()
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("fastmlp.kernels._jit") < order.index("fastmlp.kernels.training") < order.index("fastmlp.mlp")
    assert "fastmlp.kernels._jit" in graph["fastmlp.kernels.training"], "the reader of imports reads them"
    users = [name for name, needs in graph.items() if "fastmlp.reference" in needs]
    assert users == [], "the fast code never imports its reference"


def python(code, **environment):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import fastmlp", {"numba", "numpy", "sklearn", "matplotlib", "scipy", "tqdm", "safetensors", "pandas"}),
        ("from fastmlp import MLP", {"sklearn", "matplotlib", "tqdm", "pandas"}),
    ],
)
def test_what_an_import_does_not_load(statement, absent):
    code = f"import json, sys\n{statement}\nprint(json.dumps([n for n in sys.modules if '.' not in n]))"
    loaded = set(python(code))
    assert "fastmlp" in loaded
    assert loaded & absent == set()


# --- size and words ------------------------------------------------------------------------------------------------


@every_file()
def test_no_file_outgrows_a_reader(path):
    assert len(path.read_text().splitlines()) <= 600


def public_objects():
    """(name, object) of every public function, class and method of the package."""
    homes = [f"fastmlp.{m.name}" for m in pkgutil.iter_modules([str(UPPER)]) if not m.name.startswith("_")]
    homes += [f"fastmlp.kernels.{m.name}" for m in pkgutil.iter_modules([str(LOWER)]) if not m.name.startswith("_")]
    for home in homes:
        module = importlib.import_module(home)
        yield home, module
        for name, value in vars(module).items():
            value = getattr(value, "py_func", value)
            if name.startswith("_") or getattr(value, "__module__", None) != home:
                continue
            if inspect.isclass(value):
                yield f"{home}.{name}", value
                for method, function in vars(value).items():
                    if not method.startswith("_") and inspect.isfunction(function):
                        yield f"{home}.{name}.{method}", function
            elif inspect.isfunction(value):
                yield f"{home}.{name}", value


# One-line formulas whose row in a table is their documentation.
ROWS = {row.forward.__name__ for row in activations.TABLE} | {row.backward.__name__ for row in activations.TABLE}
ROWS |= {row.function.__name__ for row in losses.TABLE if row.function}


def test_every_public_name_has_a_docstring():
    found = dict(public_objects())
    assert "fastmlp.mlp.MLP.fit" in found
    assert "fastmlp.kernels.training.train" in found
    bare = [name for name, value in found.items() if not inspect.getdoc(value) and name.rpartition(".")[2] not in ROWS]
    assert bare == []


def test_every_name_in_all_can_be_had():
    for name in fastmlp.__all__:
        assert inspect.getdoc(getattr(fastmlp, name)), name
        assert name in dir(fastmlp)
    with pytest.raises(AttributeError, match="no_such_name"):
        fastmlp.no_such_name  # noqa: B018


MODULES = [f"fastmlp.{path.stem}" for path in UPPER_FILES if path.stem != "__init__"]
MODULES += ["fastmlp", "fastmlp.kernels", *(f"fastmlp.kernels.{p.stem}" for p in LOWER_FILES if p.stem != "__init__")]


def names_for_users():
    """(name, object, class or None) of what users are told of: names of the package and of its modules, and methods.

    The name is that of the place where it is defined. Left out are the kernels, and what scikit-learn has written.
    """
    modules = [importlib.import_module(f"fastmlp.{name}") for name in fastmlp._MODULES if name != "kernels"]
    found = [getattr(fastmlp, name) for name in fastmlp.__all__] + [DivergenceError]
    for module in modules:
        own = (value for name, value in vars(module).items() if not name.startswith("_"))
        found += [value for value in own if getattr(value, "__module__", None) == module.__name__]
    for value in found:
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        yield f"{value.__module__}.{value.__qualname__}", value, None
        for name in dir(value) if inspect.isclass(value) else ():
            method = getattr(value, name)
            ours = inspect.isroutine(method) and (getattr(method, "__module__", None) or "").startswith("fastmlp.")
            if ours and not name.startswith("_"):
                yield f"{method.__module__}.{method.__qualname__}", method, value


def doctests():
    """The examples by the names of what they are about, each with nothing imported but, for a method, its class."""
    finder, parser = doctest.DocTestFinder(), doctest.DocTestParser()
    found = {test.name: test for name in MODULES for test in finder.find(importlib.import_module(name), globs={})}
    for name, value, owner in names_for_users():  # doctest itself overlooks methods that a decorator has wrapped
        known = {} if owner is None else {owner.__name__: owner}
        found[name] = parser.get_doctest(inspect.getdoc(value) or "", known, name, None, None)
    return {name: test for name, test in found.items() if test.examples}


DOCTESTS = doctests()


@pytest.mark.parametrize("name", DOCTESTS)
def test_examples_in_docstrings(name):
    assert doctest.DocTestRunner().run(DOCTESTS[name], clear_globs=False).failed == 0


def test_every_name_for_users_has_an_example():
    names = {name: inspect.getdoc(value) or "" for name, value, _ in names_for_users()}
    some = {"mlp.MLP.save", "estimators.BaseMLP.fit", "classifier.MLPClassifier.partial_fit", "losses.Huber"}
    some |= {"estimators.BaseMLP.from_sklearn", "plotting.training_curves", "_warmup.warmup", "schedules.cosine"}
    assert {f"fastmlp.{name}" for name in some} <= set(names)
    assert [name for name, text in names.items() if name not in DOCTESTS or "Examples\n--------\n" not in text] == []
    silent = [name for name in names if not any(example.want for example in DOCTESTS[name].examples)]
    assert silent == ["fastmlp._warmup.warmup"], "an example shows what comes out"


def test_docstrings_for_users_say_what_goes_in_and_comes_out():
    lacking = []
    for name, value, _ in names_for_users():
        if inspect.isclass(value):
            continue
        text, signature = inspect.getdoc(value), inspect.signature(value)
        if set(signature.parameters) - {"self", "cls"} and "Parameters\n----------\n" not in text:
            lacking.append(f"{name}: Parameters")
        if signature.return_annotation not in (None, "None") and "Returns\n-------\n" not in text:
            lacking.append(f"{name}: Returns")
    assert lacking == []


# --- one row adds one thing ----------------------------------------------------------------------------------------

ACTIVATION = """
def square(z):
    return z * z


def square_backward(delta, z, a):
    return 2.0 * delta * z


"""
LOSS = """
def quartic(z, a, y):
    d = a - y
    return d * d * d * d, 4.0 * d * d * d


"""
ADDITIONS = [  # file of the copy, text in it, what is put before it (functions) or after it (rows)
    ("kernels/activations.py", "class Activation(", ACTIVATION, ""),
    (
        "kernels/activations.py",
        "TABLE = (",
        "",
        ' Activation("square", square, square_backward, keeps_z=True, output=True),',
    ),
    ("kernels/losses.py", "class Loss(", LOSS, ""),
    ("kernels/losses.py", "TABLE = (", "", ' Loss("quartic", quartic),'),
    ("initializers.py", "INITIALIZERS: dict[str, Initializer] = {", "", ' "twos": lambda *_: np.full((1, 1), 2.0),'),
]


def test_one_row_in_one_file_adds_an_activation_a_loss_an_initializer(tmp_path):
    """In a copy of the package a function and its row are all that the class, its messages and its gradients need."""
    site = tmp_path / "fastmlp"
    ignored = shutil.ignore_patterns("__pycache__", "kernels")
    shutil.copytree(UPPER, site, ignore=ignored)
    shutil.copytree(LOWER, site / "kernels", ignore=ignored)
    for file, place, before, after in ADDITIONS:
        text = (site / file).read_text()
        assert text.count(place) == 1, (file, place)
        (site / file).write_text(text.replace(place, before + place + after))
    code = """
        import json
        import fastmlp
        import numpy as np
        from fastmlp import MLP

        errors = []
        for arguments in (dict(activation="?"), dict(output_activation="?"), dict(loss="?"), dict(weight_init="?")):
            try:
                MLP([2, 3, 1], **arguments)
            except ValueError as error:
                errors.append(str(error))
        mlp = MLP([1, 1, 1], "square", "square", 1e-6, "twos", loss="quartic", dtype=np.float64)
        out = mlp.forward([[0.5]])  # z = 1, a = 1, z = 2, a = 4
        dW, db = mlp.backward([[0.5]], [[3.0]], out)  # delta = 4 (4 - 3)**3 * 2 * 2 = 16; below: 16 * 2 * 2 * 1 = 64
        loss = mlp.loss_and_gradients([[0.5]], [[3.0]])[0]
        mlp.fit([[0.5]], [[3.0]], epochs=1)
        print(json.dumps([fastmlp.__file__, errors, float(out[0, 0]), loss, [float(g[0, 0]) for g in [*dW, *db]]]))
    """
    # the copy is in plain Python, since what is asked is not whether it compiles; without this run's coverage
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "COV"))}
    environment |= {"PYTHONPATH": str(tmp_path), "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    file, errors, out, loss, gradients = json.loads(result.stdout)
    assert Path(file).is_relative_to(tmp_path)
    for error, name in zip(errors, ["square", "square", "quartic", "twos"], strict=True):
        assert name in error
    assert out == pytest.approx(4)
    assert loss == pytest.approx(1)
    assert gradients == pytest.approx([64 * 0.5, 16 * 1, 64, 16])


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("activation", [row.name for row in activations.TABLE if row.hidden]),
        ("output_activation", [row.name for row in activations.TABLE if row.output] + ["softmax"]),
        ("loss", ["auto", *losses.NAMES]),
        ("weight_init", list(importlib.import_module("fastmlp.initializers").INITIALIZERS)),
        ("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"]),
    ],
)
def test_messages_list_the_names_of_the_tables(argument, names):
    with pytest.raises(ValueError, match=argument) as caught:
        fastmlp.MLP([2, 3, 2], **{argument: "no such name"})
    message = str(caught.value)
    assert "no such name" in message
    for name in names:
        assert name in message
        if argument not in ("output_activation", "loss"):
            fastmlp.MLP([2, 3, 2], **{argument: name})
