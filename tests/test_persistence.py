"""`save` and `load`: the same bits; the old file or the new one, never half of one; bad files are ValueErrors."""

import copy
import json
import math
import os
import random
import re
import signal
import stat
import subprocess
import sys
import tracemalloc
import zlib
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save as serialize

import fastmlp
from fastmlp import MLP, Adam, AdamW, Huber, Momentum, Nesterov, Quantile, RMSprop

N = 7
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (N, 3))
POSIX = pytest.mark.skipif(os.name != "posix", reason="modes and signals of POSIX")


def bits(mlp):
    """All that predictions and further training depend on."""
    return mlp.parameters.tobytes(), mlp._slots.tobytes(), int(mlp._updates[0]), mlp._shuffling().tobytes()


def small():
    mlp = MLP([3, 4, 2], ["tanh"], "linear", optimizer="adam", random_state=0)
    mlp.fit(X, X[:, :2], epochs=2)
    return mlp


def content_of(mlp, folder):
    mlp.save(folder / "whole")
    return (folder / "whole").read_bytes()


# --- round trip ---

OPTIMIZERS = ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", Momentum(0.5), Nesterov(0.0)]
OPTIMIZERS += [RMSprop(0.5, 1e-3), Adam(0.5, 0.75, 1e-2), AdamW(weight_decay=0.3)]
HEADS = [
    ("linear", "squared_error"), ("sigmoid", "auto"), ("softmax", "auto"), ("exp", "cross_entropy"),
    ("softmax", "squared_error"), ("tanh", "squared_error"), ("sigmoid", "squared_error"), ("linear", Huber(0.25)),
    ("linear", Quantile([0.1, 0.9])), ("linear", "quantile"),
]  # fmt: skip
HIDDEN = [("relu", [5]), (["selu", "mish"], [4, 3]), ("gelu", []), (("silu", "tanh", "elu"), [2, 2, 2])]
OTHERS = [
    {"random_state": 0},
    {"random_state": np.random.default_rng(1), "alpha": 0.01, "n_threads": 2},
    {"random_state": np.random.RandomState(2), "weight_init": "orthogonal", "n_threads": 1},
]
ROUND_TRIPS = [
    pytest.param(optimizer, dtype, *head, *hidden, others, id=f"{optimizer}-{dtype.__name__}-{head[0]}-{head[1]}")
    for (optimizer, dtype), head, hidden, others in zip(
        product(OPTIMIZERS, (np.float32, np.float64)), cycle(HEADS), cycle(HIDDEN), cycle(OTHERS), strict=False
    )
]


@pytest.mark.parametrize(("optimizer", "dtype", "output", "loss", "names", "widths", "others"), ROUND_TRIPS)
@pytest.mark.parametrize("trained", [0, 3])
def test_round_trip(optimizer, dtype, output, loss, names, widths, others, trained, tmp_path):
    """fit(3), save, load, fit(2) is fit(5)."""
    mlp = MLP([3, *widths, 2], names, output, 0.02, loss=loss, optimizer=optimizer, dtype=dtype, **others)
    y = np.abs(X[:, :2]) / np.abs(X[:, :2]).sum(axis=1, keepdims=True)
    whole = copy.deepcopy(mlp)
    whole.fit(X, y, epochs=trained + 2, batch_size=3)
    if trained:
        mlp.fit(X, y, epochs=trained, batch_size=3)
    path = tmp_path / "net.safetensors"
    mlp.save(path)
    loaded = fastmlp.load(path)
    for name in (
        "layer_sizes", "num_layers", "activation", "output_activation", "loss", "optimizer", "dtype", "learning_rate",
        "alpha", "n_threads", "weight_init",
    ):  # fmt: skip
        assert getattr(loaded, name) == getattr(mlp, name), name
    assert type(loaded.optimizer) is type(mlp.optimizer)
    assert bits(loaded) == bits(mlp)
    assert loaded.predict(X).tobytes() == mlp.predict(X).tobytes()
    losses = mlp.fit(X, y, epochs=2, batch_size=3).loss
    assert loaded.fit(X, y, epochs=2, batch_size=3).loss == losses
    assert bits(loaded) == bits(mlp) == bits(whole)
    loaded.save(path)
    assert bits(fastmlp.load(path)) == bits(mlp)
    assert all(np.shares_memory(w, loaded.parameters) for w in loaded.weights)


def test_saving_changes_nothing(tmp_path):
    """Not even the order of the rows to come, which is drawn when it is first needed."""
    for make in (small, lambda: MLP([3, 2], output_activation="linear", random_state=0)):
        mlp, twin = make(), make()
        before = mlp.parameters.tobytes()
        mlp.save(tmp_path / "net")
        assert mlp.parameters.tobytes() == before
        mlp.fit(X, X[:, :2], epochs=3, batch_size=2)
        twin.fit(X, X[:, :2], epochs=3, batch_size=2)
        assert bits(mlp) == bits(twin)


def test_a_changed_learning_rate_is_kept(tmp_path):
    mlp = small()
    mlp.learning_rate = np.float32(0.3)
    mlp.alpha = 1
    mlp.n_threads = np.int64(2)
    mlp.save(tmp_path / "net")
    loaded = fastmlp.load(tmp_path / "net")
    assert (loaded.learning_rate, loaded.alpha, loaded.n_threads) == (float(np.float32(0.3)), 1.0, 2)


def test_an_initialiser_that_is_a_function(tmp_path):
    """It is not in the file: the network trains on, and says what is missing only if it is needed."""

    def draw(fan_in, fan_out, rng):
        return rng.standard_normal((fan_in, fan_out))

    mlp = MLP([3, 2], output_activation="linear", weight_init=draw, random_state=0)
    mlp.save(tmp_path / "net")
    loaded = fastmlp.load(tmp_path / "net")
    assert loaded.weight_init is None
    assert loaded.fit(X, X[:, :2], epochs=2).loss == mlp.fit(X, X[:, :2], epochs=2).loss
    with pytest.raises((TypeError, ValueError), match="weight_init"):
        loaded.initialize_parameters()
    assert bits(loaded) == bits(mlp)


def test_the_file_is_plain_safetensors(tmp_path):
    mlp = small()
    mlp.save(tmp_path / "net")
    with safe_open(tmp_path / "net", framework="numpy") as file:
        assert set(file.keys()) == {"parameters", "slots", "shuffling"}
        np.testing.assert_array_equal(file.get_tensor("parameters"), mlp.parameters)
        assert json.loads(file.metadata()["configuration"])["layer_sizes"] == [3, 4, 2]
    assert b"pickle" not in (tmp_path / "net").read_bytes()


# --- paths and files ---


class OwnPath:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


@pytest.mark.parametrize("kind", [str, Path, OwnPath, os.fsencode], ids=["str", "Path", "os.PathLike", "bytes"])
@pytest.mark.parametrize("name", ["net.safetensors", "no suffix", "Netz-Übung.x", ".hidden", "a" * 200])
def test_kinds_of_path(kind, name, tmp_path, monkeypatch):
    mlp = small()
    mlp.save(kind(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert bits(fastmlp.load(kind(tmp_path / name))) == bits(mlp)
    monkeypatch.chdir(tmp_path)
    mlp.save(kind(Path(name)))
    assert bits(fastmlp.load(kind(Path(name)))) == bits(mlp)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("path", [None, 5, 1.5, ["net"]])
def test_what_is_no_path(path):
    for call in (small().save, fastmlp.load):
        with pytest.raises(TypeError, match=r"path|PathLike"):
            call(path)


@pytest.mark.parametrize("call", [lambda path: small().save(path), fastmlp.load], ids=["save", "load"])
def test_places_that_do_not_exist(call, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        call(tmp_path / "nowhere" / "net")
    with pytest.raises(OSError):  # noqa: PT011 (which one is the operating system's choice)
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        fastmlp.load(tmp_path / "missing.safetensors")


class DiskFullError(OSError):
    pass


def _fail(*arguments, **keywords):
    raise DiskFullError("no space left")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda patch: patch.setattr(os, "replace", _fail),
        lambda patch: patch.setattr(os, "fsync", _fail),
        lambda patch: patch.setattr("safetensors.numpy.save", _fail),
    ],
    ids=["rename", "sync", "serialise"],
)
@pytest.mark.parametrize("exists", [False, True])
def test_a_failing_write_leaves_the_old_file(break_it, exists, tmp_path, monkeypatch):
    path = tmp_path / "net"
    if exists:
        path.write_bytes(b"what was here before")
    with monkeypatch.context() as patch, pytest.raises(DiskFullError, match="no space left"):  # noqa: PT012
        break_it(patch)
        small().save(path)
    assert [p.name for p in tmp_path.iterdir()] == (["net"] if exists else [])
    if exists:
        assert path.read_bytes() == b"what was here before"


def test_the_new_file_is_complete_before_it_replaces_the_old(tmp_path, monkeypatch):
    """At the moment of the rename both files can be loaded; what is at `path` is still the old one."""
    old, new, path = small(), small(), tmp_path / "net"
    old.save(path)
    new.fit(X, X[:, :2], epochs=1)
    seen = []

    def replace(source, target, replace=os.replace):
        assert Path(target) == path
        assert Path(source).parent == path.parent, "a rename across file systems is a copy"
        seen.append((bits(fastmlp.load(source)), bits(fastmlp.load(target))))
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace)
    new.save(path)
    assert seen == [(bits(new), bits(old))]
    assert bits(fastmlp.load(path)) == bits(new)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_could_not_be_loaded_is_not_saved(bad, tmp_path):
    mlp = small()
    mlp.save(tmp_path / "net")
    before = (tmp_path / "net").read_bytes()
    mlp.weights[1][2, 0] = bad
    with pytest.raises(ValueError, match=rf"parameters must be finite in float32, got {bad} at parameters\[20\]"):
        mlp.save(tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@POSIX
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002, 0o000])
def test_the_mode_follows_the_umask(umask, tmp_path):
    before = os.umask(umask)
    try:
        small().save(tmp_path / "net")
        assert stat.S_IMODE((tmp_path / "net").stat().st_mode) == 0o666 & ~umask
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


_SAVE_FOR_EVER = """
import sys
from fastmlp import MLP

path = sys.argv[1]
a, b = (MLP([200, 400, 200], optimizer="adam", weight_init="zeros", random_state=seed) for seed in (0, 1))
b.parameters[:] = 1
a.save(path)
print("ready", flush=True)
while True:
    b.save(path)
    a.save(path)
"""


@POSIX
@pytest.mark.slow
def test_a_process_killed_while_it_saves(tmp_path):
    path = tmp_path / "net"
    waits = random.Random(0)
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", _SAVE_FOR_EVER, path], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(waits.uniform(0, 0.2))
            process.kill()
        assert process.returncode == -signal.SIGKILL
        loaded = fastmlp.load(path)
        assert len(np.unique(loaded.parameters)) == 1


# --- bad files ---


def refused(path, content, message="is not a network saved by fastmlp"):
    """`load` of a file with that content is a ValueError that names the path; it allocates no more than a few files."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            fastmlp.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert "not a network saved by fastmlp, or is damaged: " in str(caught.value)
    assert peak < 4e6 + 20 * len(content), f"{peak} bytes for a file of {len(content)}"


def forge(tmp_path, change=None, tensors=None, metadata=None, text=None):
    """The file of `small()` with a changed configuration, other tensors or other metadata, and a checksum that fits.

    A tensor is an array, or a function of the valid one, or None for none.
    """
    with safe_open(_saved(tmp_path), framework="numpy") as file:
        found, known = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    configuration = json.loads(found["configuration"])
    text = json.dumps(change(configuration) or configuration) if change else text or found["configuration"]
    for name, tensor in (tensors or {}).items():
        known[name] = tensor(known[name]) if callable(tensor) else tensor
    known = {name: array for name, array in known.items() if array is not None}
    checksum = zlib.crc32(text.encode())
    for name in ("parameters", "slots", "shuffling"):
        checksum = zlib.crc32(known.get(name, np.zeros(0)).tobytes(), checksum)
    found.update({"configuration": text, "checksum": f"{checksum:08x}", **(metadata or {})})
    return serialize(known, {name: value for name, value in found.items() if value is not None})


def _saved(tmp_path):
    small().save(tmp_path / "good")
    return tmp_path / "good"


def test_the_forger_makes_files_that_load(tmp_path):
    """Otherwise every forgery would be refused for the wrong reason."""
    for content in (forge(tmp_path), forge(tmp_path, lambda c: c.update(learning_rate=0.5))):
        (tmp_path / "net").write_bytes(content)
        assert bits(fastmlp.load(tmp_path / "net")) == bits(small())
    assert fastmlp.load(tmp_path / "net").learning_rate == 0.5


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"{}", b"not a network", b"\0" * 8, b"\xff" * 8, b"\0" * 1000, b"PK\3\4"]
)
def test_other_files(content, tmp_path):
    refused(tmp_path / "net", content)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes(seed, tmp_path):
    rng = np.random.default_rng(seed)
    content = rng.bytes(int(rng.integers(1, 2000)))
    refused(tmp_path / "net", content)
    header = len(content).to_bytes(8, "little")
    refused(tmp_path / "net", header + content)


def test_every_truncation(tmp_path):
    content = content_of(small(), tmp_path)
    for length in {*range(0, len(content), 7), *range(len(content) - 40, len(content))}:
        refused(tmp_path / "net", content[:length])
    refused(tmp_path / "net", content + b"\0")


def test_safetensors_of_other_people(tmp_path):
    refused(tmp_path / "net", serialize({"weight": np.zeros((3, 4), np.float32)}), "its format is None")
    refused(tmp_path / "net", serialize({"parameters": np.zeros(3)}, {"format": "pt"}), "its format is 'pt'")
    refused(
        tmp_path / "net",
        forge(tmp_path, metadata={"format": "fastmlp 2"}),
        "its format is 'fastmlp 2', not 'fastmlp 1'",
    )


def _set(**entries):
    return lambda c: c.update(entries)


def _optimizer(**entries):
    return lambda c: c["optimizer"].update(entries)


BAD_CONFIGURATIONS = {
    "a list": (lambda c: [c], "."),
    "empty": (lambda c: c.clear() or {}, "entries"),
    "text": (lambda c: "MLP", "."),
    "a number": (lambda c: 5, "."),
    "one entry more": (_set(random_state=1), "entries .*'random_state'"),
    "one entry misspelt": (lambda c: c.update(aplha=c.pop("alpha")), "entries .*'aplha'"),
    "sizes as text": (_set(layer_sizes="342"), "layer_sizes must be a sequence"),
    "sizes null": (_set(layer_sizes=None), "layer_sizes must be a sequence"),
    "sizes nested": (_set(layer_sizes=[[3, 4, 2]]), r"layer_sizes\[0\] must be an integer"),
    "sizes empty": (_set(layer_sizes=[]), "layer_sizes must name at least"),
    "size 0": (_set(layer_sizes=[3, 0, 26]), r"layer_sizes\[1\] must be at least 1"),
    "negative size": (_set(layer_sizes=[-27, -1]), r"layer_sizes\[0\] must be at least 1, got -27"),
    "float size": (_set(layer_sizes=[3, 4.0, 2]), r"layer_sizes\[1\] must be an integer, got 4\.0"),
    "bool size": (_set(layer_sizes=[3, True, 2]), r"layer_sizes\[1\] must be an integer, got True"),
    "NaN size": (_set(layer_sizes=[3, math.nan, 2]), r"layer_sizes\[1\] must be an integer, got nan"),
    "huge sizes": (_set(layer_sizes=[10**6, 10**6]), "does not hold the 1000001000000 parameters"),
    "gigantic sizes": (_set(layer_sizes=[10**18, 10**18, 10**18]), "does not hold"),
    "sizes beyond integers": (_set(layer_sizes=[10**4000, 10**4000]), "."),
    "text to repeat": (_set(layer_sizes=[10**12, "x"]), r"layer_sizes\[1\] must be an integer, got 'x'"),
    "another size": (_set(layer_sizes=[3, 5, 2]), "does not hold the 32 parameters of a network of sizes"),
    "fewer layers": (_set(layer_sizes=[3, 2], activation="relu"), "does not hold the 8 parameters"),
    "unknown activation": (_set(activation=["rleu"]), "'rleu' is not known"),
    "activations too many": (_set(activation=["relu", "relu"]), "activation must be one name or 1"),
    "activation a number": (_set(activation=7), "activation must be a name"),
    "unknown output": (_set(output_activation="relu"), "output_activation='relu' is not known"),
    "unknown loss": (_set(loss="mse"), "loss='mse' is not known"),
    "loss null": (_set(loss=None), "loss must be a name"),
    "loss without a name": (_set(loss={"delta": 1.0}), "name"),
    "loss without a parameter": (_set(loss={"name": "mse"}), "mse"),
    "loss of another parameter": (_set(loss={"name": "huber", "quantile": 0.5}), "hyperparameters of huber"),
    "loss out of range": (_set(loss={"name": "huber", "delta": -1}), "delta must be > 0"),
    "quantiles too many": (_set(loss={"name": "quantile", "quantile": [0.1, 0.5, 0.9]}), "one number or 2"),
    "unknown initialiser": (_set(weight_init="glorot"), "weight_init='glorot' is not known"),
    "initialiser a number": (_set(weight_init=3), "weight_init must be a name"),
    "rate NaN": (_set(learning_rate=math.nan), "learning_rate must be > 0 and finite, got nan"),
    "rate infinite": (_set(learning_rate=math.inf), "learning_rate must be > 0 and finite, got inf"),
    "rate text": (_set(learning_rate="0.1"), "learning_rate must be a number"),
    "rate null": (_set(learning_rate=None), "learning_rate must be a number"),
    "rate true": (_set(learning_rate=True), "learning_rate must be a number"),
    "alpha negative": (_set(alpha=-1), "alpha must be >= 0"),
    "threads 0": (_set(n_threads=0), "n_threads must be at least 1"),
    "threads fractional": (_set(n_threads=1.5), "n_threads must be an integer"),
    "float64": (_set(dtype="float64"), "parameters must be float64 numbers"),
    "float16": (_set(dtype="float16"), "dtype must be float32 or float64"),
    "dtype null": (_set(dtype=None), "dtype must be float32 or float64"),
    "optimiser null": (_set(optimizer=None), "."),
    "optimiser a name": (_set(optimizer="adam"), "."),
    "optimiser empty": (_set(optimizer={}), "name"),
    "unknown optimiser": (_optimizer(name="lion"), "lion"),
    "optimiser a list": (_optimizer(name=["adam"]), "."),
    "another optimiser": (
        _set(optimizer={"name": "momentum", "momentum": 0.9, "weight_decay": 0.0}),
        r"slots must be float32 .*\(26,\)",
    ),
    "hyperparameter missing": (lambda c: c["optimizer"].pop("beta1") and None, "hyperparameters of adam"),
    "hyperparameter more": (_optimizer(momentum=0.1), "hyperparameters of adam"),
    "hyperparameter out of range": (_optimizer(beta1=1.5), "beta1 must be >= 0 and < 1"),
    "hyperparameter NaN": (_optimizer(epsilon=math.nan), "epsilon must be > 0"),
    "updates negative": (_set(updates=-1), "updates must be at least 0, got -1"),
    "updates fractional": (_set(updates=1.5), "updates must be an integer, got 1.5"),
    "updates text": (_set(updates="3"), "updates must be an integer, got '3'"),
    "updates null": (_set(updates=None), "updates must be an integer, got None"),
    "updates infinite": (_set(updates=math.inf), "updates must be an integer, got inf"),
    "updates huge": (_set(updates=2**63), "updates must be at most"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), list(BAD_CONFIGURATIONS.values()), ids=list(BAD_CONFIGURATIONS))
def test_bad_configurations(change, message, tmp_path):
    refused(tmp_path / "net", forge(tmp_path, change), message)


ENTRIES = [
    "layer_sizes", "activation", "output_activation", "learning_rate", "weight_init", "loss", "optimizer", "dtype",
    "n_threads", "alpha", "updates",
]  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES)
def test_missing_entries(entry, tmp_path):
    refused(tmp_path / "net", forge(tmp_path, lambda c: c.pop(entry) and None), "its configuration has the entries")


@pytest.mark.parametrize(
    "text", ["", "{", "nonsense", "null", "[]", "{}", "NaN", '"' * 9, "[" * 100_000, "9" * 5000, "\u00fc"]
)
def test_configurations_that_are_no_configuration(text, tmp_path):
    metadata = {"configuration": text}
    if text:
        refused(tmp_path / "net", forge(tmp_path, text=text))
    refused(tmp_path / "net", forge(tmp_path, metadata=metadata))


@pytest.mark.parametrize("name", ["configuration", "checksum", "format"])
def test_missing_metadata(name, tmp_path):
    refused(tmp_path / "net", forge(tmp_path, metadata={name: None}), name)


def test_a_wrong_checksum(tmp_path):
    refused(tmp_path / "net", forge(tmp_path, metadata={"checksum": "00000000"}), "checksum does not fit")


def _spoiled(name, value, dtype=None):
    """The tensor of that name in a valid file, with another last number or of another dtype."""

    def spoil(array):
        array = array.astype(dtype or array.dtype)
        if value is not None:
            array[-1] = value
        return array

    return {name: spoil}


BAD_TENSORS = {
    "no parameters": ({"parameters": None}, "parameters"),
    "no slots": ({"slots": None}, "slots"),
    "no shuffling": ({"shuffling": None}, "shuffling"),
    "one parameter too few": ({"parameters": np.zeros(25, np.float32)}, "does not hold the 26 parameters"),
    "one parameter too many": ({"parameters": np.zeros(27, np.float32)}, "does not hold the 26 parameters"),
    "parameters in two dimensions": ({"parameters": np.zeros((2, 13), np.float32)}, "does not hold the 26 parameters"),
    "no numbers": ({"parameters": np.zeros(0, np.float32)}, "does not hold the 26 parameters"),
    "float64 parameters": (_spoiled("parameters", None, np.float64), "parameters must be float32 numbers"),
    "float16 parameters": (_spoiled("parameters", None, np.float16), "parameters must be float32 numbers"),
    "int parameters": (_spoiled("parameters", None, np.int32), "parameters must be float32 numbers"),
    "complex parameters": (_spoiled("parameters", None, np.complex64), "parameters must be float32 numbers"),
    "NaN": (_spoiled("parameters", np.nan), r"parameters must be float32 .*all finite"),
    "infinity": (_spoiled("parameters", -np.inf), r"parameters must be float32 .*all finite"),
    "slots too few": ({"slots": np.zeros(51, np.float32)}, r"slots must be float32 numbers of shape \(52,\)"),
    "slots of another dtype": (_spoiled("slots", None, np.float64), r"slots must be float32 numbers of shape \(52,\)"),
    "slots NaN": (_spoiled("slots", np.nan), r"slots must be float32 .*all finite"),
    "three words": ({"shuffling": np.ones(3, np.int64)}, r"shuffling must be int64 numbers of shape \(4,\)"),
    "words of another dtype": (_spoiled("shuffling", None, np.int32), r"shuffling must be int64"),
    "words as floats": (_spoiled("shuffling", None, np.float64), r"shuffling must be int64"),
    "word negative": (_spoiled("shuffling", -1), r"shuffling is not a state"),
    "word too large": (_spoiled("shuffling", 2**32), r"shuffling is not a state"),
    "words all zero": ({"shuffling": np.zeros(4, np.int64)}, r"shuffling is not a state"),
}


@pytest.mark.parametrize(("tensors", "message"), list(BAD_TENSORS.values()), ids=list(BAD_TENSORS))
def test_bad_tensors(tensors, message, tmp_path):
    refused(tmp_path / "net", forge(tmp_path, tensors=tensors), message)


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F8_E5M2", "BOOL", "U8", "C64", "NONSENSE"])
def test_types_that_numpy_does_not_have(kind, tmp_path):
    content = forge(tmp_path)
    start = 8 + int.from_bytes(content[:8], "little")
    header = content[8:start].replace(b'"dtype":"F32"', f'"dtype":"{kind}"'.encode())
    assert header != content[8:start]
    refused(tmp_path / "net", len(header).to_bytes(8, "little") + header + content[start:])
    # and with as many bytes as such numbers have
    size = {"BF16": 2, "C64": 8}.get(kind, 1)
    parameters = {"dtype": kind, "shape": [26], "data_offsets": [0, 26 * size]}
    text = json.dumps({"__metadata__": json.loads(header)["__metadata__"], "parameters": parameters}).encode()
    refused(tmp_path / "net", len(text).to_bytes(8, "little") + text + bytes(26 * size))


def test_a_header_that_promises_more_than_there_is(tmp_path):
    for shape, size in (([10**12], 4 * 10**12), ([26], 4 * 10**12), ([-1], 4), ([2**62, 4], 0)):
        header = json.dumps({
            "__metadata__": {"format": "fastmlp 1", "configuration": "{}", "checksum": "0"},
            "parameters": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]},
        }).encode()  # fmt: skip
        refused(tmp_path / "net", len(header).to_bytes(8, "little") + header + b"\0" * 64)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    return folder / "net", content_of(small(), folder), bits(small())


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_flipped_bytes(whole, data):
    """The same numbers or a ValueError: never others, never another exception."""
    path, content, expected = whole
    spoiled = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        spoiled[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(spoiled)
    try:
        loaded = fastmlp.load(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert bits(loaded) == expected


@pytest.mark.parametrize("bit", range(8))
def test_every_single_flipped_bit_of_the_numbers_is_noticed(whole, bit):
    path, content, _ = whole
    start = 8 + int.from_bytes(content[:8], "little")
    for position in range(start + bit, len(content), 5):
        spoiled = bytearray(content)
        spoiled[position] ^= 1 << bit
        refused(path, bytes(spoiled), "checksum")


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": Adam(beta1=np.float32(0.75))},
        {"optimizer": Momentum(np.float16(0.5), weight_decay=np.float64(0.25))},
        {"loss": Huber(np.float32(0.25)), "output_activation": "linear"},
        {"loss": Quantile(np.float32(0.25)), "output_activation": "linear"},
    ],
    ids=str,
)
def test_hyperparameters_may_be_numpys_numbers(tmp_path, options):
    mlp = MLP([3, 4, 1], **options)
    mlp.save(tmp_path / "net")
    loaded = fastmlp.load(tmp_path / "net")
    assert (loaded.optimizer, loaded.loss) == (mlp.optimizer, mlp.loss)


def test_what_load_would_refuse_is_not_saved(tmp_path):
    mlp = MLP([3, 1])
    mlp.weight_init = "glorot"
    with pytest.raises(ValueError, match="weight_init='glorot' is not known"):
        mlp.save(tmp_path / "net")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="permissions and links are POSIX's")
def test_a_file_keeps_its_permissions_and_a_link_its_place(tmp_path):
    MLP([3, 1]).save(tmp_path / "net")
    (tmp_path / "net").chmod(0o600)
    (tmp_path / "link").symlink_to("net")
    MLP([2, 1]).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "net").stat().st_mode & 0o777 == 0o600
    assert fastmlp.load(tmp_path / "net").layer_sizes == [2, 1]


@dataclass(frozen=True)
class _Mine(Adam):
    name = "mine"


class _SameName(Adam):
    pass


@pytest.mark.parametrize("kind", [_Mine, _SameName])
def test_an_optimiser_of_ones_own_class_is_not_saved(kind, tmp_path):
    with pytest.raises(TypeError, match=rf"^optimizer cannot be saved: {kind.__name__}\(.*of a class of your own"):
        MLP([2, 1], optimizer=kind()).save(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [lambda path: MLP([2, 1]).save(path), fastmlp.load], ids=["save", "load"])
def test_paths_that_can_be_no_file(call, tmp_path):
    for path in (None, 123, ["net"]):
        with pytest.raises(TypeError, match=re.escape(f"path must be a string or path-like, got {path!r}")):
            call(path)
    with pytest.raises(IsADirectoryError, match=re.escape(f"not a folder's: {str(tmp_path)!r}")):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"no such folder for the file: {str(tmp_path / 'no')!r}")):
        MLP([2, 1]).save(tmp_path / "no" / "net")
