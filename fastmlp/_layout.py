"""Where everything lies: parameters in one flat vector, activations in one flat workspace."""

from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from functools import cached_property
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from . import _validation as validation
from .kernels import activations, dropout, network

Array = NDArray[Any]
Places = list[tuple[int, tuple[int, int]]]  # where each array starts in a vector, and its shape
_ALIGNMENT = 16  # numbers; blocks start at a cache line where the workspace does
_FINITE = "weights", "biases"  # names of views that take no NaN; an update looks at a gradient's numbers itself
_CROWDED = 512  # numbers: rows of a multiple of so many lie badly


class Views(list[Array]):
    """Views into one flat vector. Assigning to an item copies into the vector; the length is fixed."""

    __slots__ = ("name",)

    def __init__(self, vector: Array, places: Places, name: str):
        dtype, size = vector.dtype, vector.itemsize
        super().__init__([np.ndarray(shape, dtype, vector, start * size) for start, shape in places])
        self.name = name

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(index, slice):
            self[index][...] = self._checked(index, value)
            return
        if not isinstance(value, Iterable):
            raise TypeError(f"{self.name} must be a list of arrays, got {value!r}")
        places, values = range(*index.indices(len(self))), list(value)
        if len(values) != len(places):
            raise ValueError(f"{self.name} has a fixed length: {len(places)} arrays are wanted, got {len(values)}")
        # copies: they may be these same views, in another order
        checked = [np.array(self._checked(i, v)) for i, v in zip(places, values, strict=True)]
        for i, v in zip(places, checked, strict=True):
            self[i][...] = v

    def _checked(self, index: int, value: Any) -> Array:
        view, name = self[index], f"{self.name}[{index}]"
        checked = validation.like(name, value, view.shape, view.dtype)
        if self.name in _FINITE:
            validation.check_finite(name, checked)
        return checked

    def _fixed(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self.name} has a fixed length, given by layer_sizes; assign to its items instead")

    append = extend = insert = pop = remove = clear = sort = reverse = __delitem__ = __iadd__ = __imul__ = _fixed

    def __reduce__(self) -> Any:
        return list, (list(map(np.copy, self)),)


class Gradient(MutableSequence[Array]):
    """dW or db: `Views` that are made when first looked at, since a step that only passes them on would wait for them.

    Attributes
    ----------
    vector : ndarray
        The gradient of all parameters.
    places : list
        The layout's, of weights or of biases.
    """

    __slots__ = ("_name", "_views", "places", "vector")

    def __init__(self, vector: Array, places: Places, name: str):
        self.vector, self.places, self._name = vector, places, name
        self._views: Views | None = None

    @property
    def views(self) -> Views:
        """The arrays."""
        if self._views is None:
            self._views = Views(self.vector, self.places, self._name)
        return self._views

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Array]:
        return iter(self.views)

    def __getitem__(self, index: Any) -> Any:
        return self.views[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.views[index] = value

    def __delitem__(self, index: Any) -> None:
        del self.views[index]

    def insert(self, index: int, value: Array) -> None:
        self.views.insert(index, value)

    def reverse(self) -> None:
        self.views.reverse()

    def copy(self) -> list[Array]:
        return self.views.copy()

    def __add__(self, other: Any) -> Any:
        return self.views + (other.views if isinstance(other, Gradient) else other)

    def __radd__(self, other: Any) -> Any:
        return other + self.views

    def __eq__(self, other: object) -> bool:
        return self.views == (other.views if isinstance(other, Gradient) else other)

    def __repr__(self) -> str:
        return repr(self.views)

    def __reduce__(self) -> Any:
        return self.views.__reduce__()


class Tables(NamedTuple):
    """What the kernels read of a network whose workspace holds so many rows: see kernels/network.py."""

    rows: int
    layers: Array
    blocks: Array
    size: int  # of the workspace
    places: list[list[int]]  # `layers` as numbers of Python, which are quicker to read

    def block(self, workspace: Array, layer: int, kind: SupportsIndex) -> Array:
        """A layer's Z or A (`kind`) in a workspace, (rows, width)."""
        place, size = self.places[layer], workspace.itemsize
        shape, strides = (self.rows, place[network.FAN_OUT]), (place[network.PITCH] * size, size)
        return np.ndarray(shape, workspace.dtype, workspace, place[kind] * size, strides)


class Layout:
    """The positions of a network's parameters and the tables that its kernels read.

    Parameters
    ----------
    layer_sizes : sequence of int
    codes : sequence of int
        The activation of each layer but the input, as the kernels number them.
    parametric : bool
        Whether the loss has a parameter, for which a workspace has a block.
    """

    def __init__(self, layer_sizes: Sequence[int], codes: Sequence[int], parametric: bool = False):
        self.sizes, self.codes, self.parametric = tuple(layer_sizes), tuple(codes), parametric
        self.n_layers = len(self.sizes) - 1
        self.offsets: list[tuple[int, int]] = []  # of W and of b
        end = 0
        for fan_in, fan_out in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            self.offsets.append((end, end + fan_in * fan_out))
            end += (fan_in + 1) * fan_out
        self.n_parameters = end
        shapes = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        self.weights: Places = [(w, shape) for (w, _), shape in zip(self.offsets, shapes, strict=True)]
        self.biases: Places = [(b, (1, k)) for (_, b), (_, k) in zip(self.offsets, shapes, strict=True)]
        self._tables: dict[tuple[int, bool, tuple[float, ...], bool], Tables] = {}

    def __reduce__(self) -> Any:  # a copy makes its own tables: those of another version may have other columns
        return Layout, (self.sizes, self.codes, self.parametric)

    @cached_property
    def layers(self) -> Array:
        """The table of layers for kernels that need no workspace."""
        return self.tables(1).layers

    def views(self, vector: Array, names: tuple[str, str] = ("weights", "biases")) -> tuple[Views, Views]:
        """Views of each W, (fan_in, fan_out), and of each b, (1, fan_out), in a flat vector."""
        return Views(vector, self.weights, names[0]), Views(vector, self.biases, names[1])

    def gradient(self, vector: Array) -> tuple[Gradient, Gradient]:
        """`vector` as dW and db."""
        return Gradient(vector, self.weights, "dW"), Gradient(vector, self.biases, "db")

    def tables(self, rows: int, keep_z: bool = False, dropped: tuple[float, ...] = (), part: bool = False) -> Tables:
        """The tables for a workspace of so many rows.

        Parameters
        ----------
        rows : int
            How many rows the workspace holds.
        keep_z : bool
            Whether every layer keeps its pre-activation, or only those whose backward needs it.
        dropped : tuple of float
            The share of each hidden layer's output that is dropped; empty: nothing.
        part : bool
            Whether the workspace is for parts of a batch (kernels/parts.py).
        """
        key = rows, keep_z, dropped, part
        if key not in self._tables:
            if len(self._tables) >= 16:
                self._tables.clear()
            self._tables[key] = self._build_tables(*key)
        return self._tables[key]

    def _build_tables(self, rows: int, keep_z: bool, dropped: tuple[float, ...], part: bool) -> Tables:
        end, ones = 0, int(part)

        def block(size: int) -> int:
            nonlocal end
            start, end = end, end + -(-size // _ALIGNMENT) * _ALIGNMENT
            return start

        layers = np.zeros((self.n_layers, network.N_COLUMNS), np.int64)
        layers[:, network.KEEP] = dropout.ALL
        blocks = np.zeros(network.N_BLOCKS, np.int64)
        blocks[network.ZEROS] = block(max(self.sizes))
        source, input_pitch = block(rows * (self.sizes[0] + ones)), self.sizes[0]
        for l, row in enumerate(layers):
            fan_out, code = self.sizes[l + 1], self.codes[l]
            output = l == self.n_layers - 1
            pitch = fan_out if output or part else _row_pitch(fan_out)
            a = block(rows * (pitch + ones))
            z = block(rows * pitch) if keep_z or output or activations.TABLE[code].keeps_z else a
            row[[network.FAN_IN, network.FAN_OUT, network.ACTIVATION]] = self.sizes[l], fan_out, code
            row[[network.W, network.B]] = self.offsets[l]
            row[[network.INPUT, network.Z, network.A, network.DELTA]] = source, z, a, block(rows * pitch)
            row[[network.INPUT_PITCH, network.PITCH]] = (rows, rows) if part else (input_pitch, pitch)
            source, input_pitch = a, pitch
            if not output and dropped and dropped[l] > 0:
                source = block(rows * (pitch + ones))
                keep = round((1 - dropped[l]) * dropout.ALL)
                layers[l + 1, network.KEEP] = min(max(keep, 1), dropout.ALL - 1)
        blocks[network.TARGET] = block(rows * self.sizes[-1])
        blocks[network.PARAMETER] = block(rows * self.sizes[-1]) if self.parametric else blocks[network.TARGET]
        blocks[network.SCRATCH] = block(rows * self.sizes[-1])
        blocks[network.ROW_LOSS] = block(rows)
        return Tables(rows, layers, blocks, end, layers.tolist())


def _row_pitch(width: int) -> int:
    """Numbers from one row of a hidden layer's block to the next.

    Rows that are a multiple of a large power of two apart share few places of the second cache.
    """
    return width + _ALIGNMENT if width % _CROWDED == 0 else width


def aligned_empty(size: int, dtype: Any) -> Array:
    """An uninitialised vector that starts at a cache line."""
    array = np.empty(size + _ALIGNMENT, dtype)
    start = -array.ctypes.data % 64 // array.itemsize
    return array[start : start + size]
