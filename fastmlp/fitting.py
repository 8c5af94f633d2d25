"""The loop of `MLP.fit`: Python sees epochs, the compiled kernel whole stretches of steps."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._layout import aligned_empty
from ._trainer import Data, DivergenceError, Options, Trainer
from .kernels.backprop import ROWS_TOGETHER

if TYPE_CHECKING:
    from .mlp import MLP

__all__ = ["DivergenceError", "History", "fit"]

Array = NDArray[Any]
Logs = dict[str, Any]


@dataclass
class History:
    """What `MLP.fit` saw, an entry for each epoch.

    Attributes
    ----------
    loss : list of float
        Mean over the epoch's rows of the objective without the L2 penalty, each batch before its own update.
    validation_loss : list of float
        The same for validation_data after the epoch's last update; empty without validation_data.
    gradient_norm : list of list of float
        For each layer the Euclidean norm of dW, averaged over the epoch's steps; empty without track_gradients.

    Examples
    --------
    >>> from fastmlp import MLP
    >>> history = MLP([2, 3, 1]).fit([[0, 1], [1, 1]], [0, 1], epochs=5, track_gradients=True)
    >>> len(history.loss), history.validation_loss, len(history.gradient_norm[0])
    (5, [], 2)
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    gradient_norm: list[list[float]] = field(default_factory=list)


def fit(
    mlp: "MLP",
    data: Data,
    held_out: tuple[Array, Array] | None,
    options: Options,
    *,
    epochs: int,
    progress: bool = False,
    callbacks: tuple[Callable[..., Any], ...] = (),
) -> History:
    """Trains `mlp` on checked data; see `MLP.fit`."""
    steps_per_epoch = math.ceil(len(data.rows) / options.batch_size)
    history = History()
    watched = held_out is not None or progress or bool(callbacks)
    trainer = Trainer(mlp, data, options, 1 if watched else epochs)
    with _progress_bar(epochs if progress else 0) as show:
        epoch = 0
        while epoch < epochs:
            until = epoch + 1 if watched else epochs
            losses, norms = trainer.run(epoch * steps_per_epoch, until * steps_per_epoch)
            history.loss += (losses[:, 0] / data.weight).tolist()
            if options.track_gradients:
                history.gradient_norm += (norms / steps_per_epoch).tolist()
            epoch = until
            if not watched:
                continue
            if held_out is not None:
                history.validation_loss.append(mean_loss(mlp, *held_out))
            logs = {name: values[-1] for name, values in vars(history).items() if values}
            show(logs)
            # every callback runs, also after one that wants to stop
            answers = [callback(mlp, epoch - 1, dict(logs)) for callback in callbacks]
            if any(isinstance(answer, bool | np.bool_) and answer for answer in answers):
                break
    return history


def mean_loss(mlp: "MLP", x: Array, y: Array) -> float:
    """Mean over rows of the objective without the L2 penalty."""
    tables = mlp._layout.tables(min(len(x), ROWS_TOGETHER))
    workspace = mlp._ready(aligned_empty(tables.size, mlp.dtype), tables)
    return mlp._total_loss(x, y, tables, workspace) / len(x)


@contextlib.contextmanager
def _progress_bar(epochs: int) -> Iterator[Callable[[Logs], None]]:
    """A bar of so many epochs, or none for 0: gives what shows an epoch's logs."""
    if epochs == 0:
        yield lambda logs: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=epochs, desc="fit", unit="epoch") as bar:

        def show(logs: Logs) -> None:
            numbers = {name: f"{value:.4g}" for name, value in logs.items() if isinstance(value, float)}
            bar.set_postfix(numbers, refresh=False)  # tqdm decides how often to draw
            bar.update()

        yield show
