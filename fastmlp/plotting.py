"""Pictures of training and of networks. Matplotlib and scikit-learn are imported when a picture is drawn, not before.

Every function draws into the Axes it is given, or into a new figure, and returns them. None shows or saves anything.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _validation as validation
from .fitting import History
from .mlp import MLP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]

_LINE_WIDTH = 2.0
_MARKERS: dict[str, Any] = {"s": 22, "edgecolors": "white", "linewidths": 0.6}
_LOW_COLOR, _HIGH_COLOR = "#2166ac", "#b2182b"  # the ends of the colour map RdBu_r


def training_curves(history: History, ax: "Axes | None" = None) -> "Axes":
    """The loss of training and, if there is one, of validation data against the epoch.

    Parameters
    ----------
    history : History
        What `MLP.fit` returned.
    ax : matplotlib.axes.Axes, optional
        Drawn into; a new figure's by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        history is no History or has no epoch; ax is no Axes.

    Examples
    --------
    >>> from fastmlp import MLP, plotting
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> history = MLP([2, 8, 1], random_state=0).fit(X, y, epochs=5, validation_data=(X, y))
    >>> ax = plotting.training_curves(history)
    >>> [line.get_label() for line in ax.lines]
    ['training', 'validation']
    """
    curves = {"training": _losses("history", history)}
    if history.validation_loss:
        curves["validation"] = history.validation_loss
    panel: Axes = _panels("ax", ax, 1)[0]
    _draw_curves(panel, curves, "loss")
    return panel


def decision_boundary(
    mlp: MLP,
    X: ArrayLike,
    y: ArrayLike,
    ax: "Axes | None" = None,
    *,
    grid_resolution: int = 200,
    eps: float = 0.5,
) -> "Axes":
    """What a network of two inputs answers over the plane, and the data on top.

    One sigmoid output is drawn as a probability with the line of 0.5, one output of another kind as a surface, several
    outputs as the regions where each is the largest.

    Parameters
    ----------
    mlp : MLP
        With two inputs.
    X : array-like of shape (n, 2)
    y : array-like of shape (n,) or (n, layer_sizes[-1])
        Targets, as for `MLP.fit`.
    ax : matplotlib.axes.Axes, optional
        Drawn into; a new figure's by default.
    grid_resolution : int, default 200
        Points along each side of the grid.
    eps : float, default 0.5
        How far the grid reaches beyond the data, in the units of X.

    Returns
    -------
    matplotlib.axes.Axes
        Its first collection is the coloured surface, for a colour bar.

    Raises
    ------
    TypeError, ValueError
        The network has not two inputs; X or y do not fit it; a setting is out of range.

    Examples
    --------
    >>> from fastmlp import MLP, plotting
    >>> mlp = MLP([2, 8, 1], random_state=0)
    >>> ax = plotting.decision_boundary(mlp, [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['class 0', 'class 1']
    """
    if not isinstance(mlp, MLP):
        raise TypeError(f"mlp must be an MLP, got {type(mlp).__name__}")
    if mlp.layer_sizes[0] != 2:
        raise ValueError(f"a decision boundary is drawn over two features; the network has {mlp.layer_sizes[0]}")
    grid_resolution = validation.integer("grid_resolution", grid_resolution, 2)
    eps = validation.real("eps", eps, above=0.0)
    points = mlp._features(X, scan=True)
    targets = mlp._targets("y", y, len(points)).reshape(len(points), -1)
    n_outputs = mlp.layer_sizes[-1]

    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    panel: Axes = _panels("ax", ax, 1)[0]
    sides = [(float(column.min()) - eps, float(column.max()) + eps) for column in points.T]
    xx0, xx1 = np.meshgrid(*(np.linspace(low, high, grid_resolution) for low, high in sides))
    outputs = mlp.predict(np.column_stack([xx0.ravel(), xx1.ravel()])).reshape(*xx0.shape, n_outputs)
    if n_outputs > 1:
        regions, classes = outputs.argmax(axis=2), targets.argmax(axis=1) if targets.shape[1] > 1 else targets[:, 0]
        several = np.linspace(0, 1, n_outputs)
        colors = colormaps["tab10"].colors[:n_outputs] if n_outputs <= 10 else colormaps["turbo"](several)  # type: ignore[attr-defined]
        options = {"cmap": ListedColormap(colors), "vmin": -0.5, "vmax": n_outputs - 0.5, "alpha": 0.35}
        _surface(panel, xx0, xx1, regions, "pcolormesh", **options)
        _scatter_classes(panel, points, classes, colors)
    elif mlp.output_activation == "sigmoid":
        probability = outputs[..., 0]
        _surface(panel, xx0, xx1, probability, "contourf", cmap="RdBu_r", levels=np.linspace(0, 1, 11), alpha=0.6)
        if probability.min() < 0.5 < probability.max():
            panel.contour(xx0, xx1, probability, levels=[0.5], colors="black", linewidths=_LINE_WIDTH)
        _scatter_classes(panel, points, targets[:, 0] > 0.5, [_LOW_COLOR, _HIGH_COLOR])
    else:
        surface, values = outputs[..., 0], targets[:, 0]
        least, most = min(surface.min(), values.min()), max(surface.max(), values.max())
        levels = np.linspace(least, most if most > least else least + 1, 21)
        _surface(panel, xx0, xx1, surface, "contourf", cmap="viridis", levels=levels)
        style: dict[str, Any] = {"vmin": levels[0], "vmax": levels[-1], "cmap": "viridis"}
        panel.scatter(points[:, 0], points[:, 1], c=values, **style, **_MARKERS)
    panel.set(xlim=sides[0], ylim=sides[1])
    return panel


def activation_functions(
    names: Sequence[str] = ("relu", "sigmoid", "tanh"),
    axes: "Sequence[Axes] | None" = None,
    *,
    limit: float = 4.0,
) -> Array:
    """Activations in one panel, their derivatives in another, as the compiled kernels compute them.

    Parameters
    ----------
    names : sequence of str, default ('relu', 'sigmoid', 'tanh')
        Any that `MLP` knows, without softmax, which is no function of one number.
    axes : sequence of two matplotlib.axes.Axes, optional
        For the functions and the derivatives; a new figure's by default.
    limit : float, default 4
        Drawn for z from -limit to limit.

    Returns
    -------
    ndarray of two matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        A name is not known; there is none; axes are not two Axes; limit is not positive.

    Examples
    --------
    >>> from fastmlp import plotting
    >>> functions, derivatives = plotting.activation_functions(["relu", "gelu", "mish"])
    >>> [line.get_label() for line in derivatives.lines]
    ['relu', 'gelu', 'mish']
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"names must be a sequence of names, got {names!r}")
    if not len(names):
        raise ValueError("names is empty: at least one activation is wanted")
    limit = validation.real("limit", limit, above=0.0)
    network = MLP([1, 1], random_state=0, dtype=np.float64)
    z = np.linspace(-limit, limit, 801)
    values = [(network.activation_function(z, name), network.activation_derivative(z, name)) for name in names]
    panels = _panels("axes", axes, 2)
    for name, pair in zip(names, values, strict=True):
        for panel, numbers in zip(panels, pair, strict=True):
            panel.plot(z, numbers, label=name, linewidth=_LINE_WIDTH)
    for panel, label in zip(panels, ("f(z)", "f'(z)"), strict=True):
        panel.set(xlabel="z", ylabel=label, xlim=(-limit, limit))
        _finish(panel)
    return panels


def initializer_comparison(histories: Mapping[str, History], axes: "Sequence[Axes] | None" = None) -> Array:
    """Training loss, validation loss and the final losses of several runs, for example with different `weight_init`.

    Parameters
    ----------
    histories : mapping of str to History
        A run for each name. The panel of validation losses is left out if a run has none.
    axes : sequence of matplotlib.axes.Axes, optional
        Three, or two without validation losses; a new figure's by default.

    Returns
    -------
    ndarray of matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        histories is no mapping of History, is empty, or holds one without an epoch; axes do not fit.

    Examples
    --------
    >>> from fastmlp import MLP, plotting
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> runs = {name: MLP([2, 8, 1], weight_init=name, random_state=0).fit(X, y, epochs=5) for name in ("he", "zeros")}
    >>> training, final = plotting.initializer_comparison(runs)
    >>> [line.get_label() for line in training.lines]
    ['he', 'zeros']
    """
    losses = {"training": {name: _losses(f"histories[{name!r}]", h) for name, h in _items("histories", histories)}}
    if all(history.validation_loss for history in histories.values()):
        losses["validation"] = {name: history.validation_loss for name, history in histories.items()}
    panels = _panels("axes", axes, len(losses) + 1)
    for panel, (kind, curves) in zip(panels, losses.items(), strict=False):
        _draw_curves(panel, curves, f"{kind} loss")
    final, positions, width = panels[-1], np.arange(len(histories)), 0.8 / len(losses)
    for i, (kind, curves) in enumerate(losses.items()):
        heights = [curve[-1] for curve in curves.values()]
        # greys: the colours of the other panels stand for runs
        final.bar(positions + i * width, heights, width, label=kind, color=("0.35", "0.7")[i])
    final.set_xticks(positions + (len(losses) - 1) * width / 2, list(histories))
    final.set_ylabel("loss of the last epoch")
    _finish(final, grid="y")
    return panels


@overload
def gradient_norms(history: History, ax: "Axes | None" = None) -> "Axes": ...
@overload
def gradient_norms(history: Mapping[str, History], ax: "Sequence[Axes] | None" = None) -> Array: ...
def gradient_norms(history: History | Mapping[str, History], ax: Any = None) -> Any:
    """The norm of each layer's weight gradient against the epoch, on a logarithmic scale.

    Parameters
    ----------
    history : History or mapping of str to History
        What `MLP.fit` returned with ``track_gradients=True``; several are drawn side by side.
    ax : matplotlib.axes.Axes or sequence of them, optional
        As many as there are histories; a new figure's by default, with a common scale.

    Returns
    -------
    matplotlib.axes.Axes or ndarray of them
        An array if `history` is a mapping.

    Raises
    ------
    TypeError, ValueError
        Not a History or a mapping of them; no gradient norms were tracked; ax does not fit.

    Examples
    --------
    >>> from fastmlp import MLP, plotting
    >>> mlp = MLP([2, 8, 8, 1], activation="sigmoid", random_state=0)
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> ax = plotting.gradient_norms(mlp.fit(X, y, epochs=5, track_gradients=True))
    >>> [line.get_label() for line in ax.lines]
    ['layer 1', 'layer 2', 'layer 3']
    """
    single = isinstance(history, History)
    runs = {"history": history} if isinstance(history, History) else dict(_items("history", history))
    for name, run in runs.items():
        where = "history" if single else f"history[{name!r}]"
        _losses(where, run)
        if not run.gradient_norm:
            raise ValueError(f"{where} holds no gradient norms: call fit with track_gradients=True")

    from matplotlib import colormaps

    panels = _panels("ax", ax, len(runs), sharey=True)
    for panel, (name, run) in zip(panels, runs.items(), strict=True):
        norms = np.array(run.gradient_norm)
        norms[norms <= 0] = np.nan  # a gap: zero has no place on a logarithmic scale
        colors = colormaps["viridis"](np.linspace(0, 0.9, norms.shape[1]))
        epochs = np.arange(1, len(norms) + 1)
        for l, color in enumerate(colors):
            panel.plot(epochs, norms[:, l], label=f"layer {l + 1}", color=color, linewidth=_LINE_WIDTH)
        panel.set(xlabel="epoch", ylabel="norm of dW", yscale="log")
        if not single:
            panel.set_title(name)
        _finish(panel)
        panel.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # curves may be anywhere inside
    return panels[0] if single else panels


def _losses(name: str, history: Any) -> list[float]:
    """The training losses of a History that has some."""
    if not isinstance(history, History):
        raise TypeError(f"{name} must be a History, what MLP.fit returns; got {type(history).__name__}")
    if not history.loss:
        raise ValueError(f"{name} is empty: no epoch was recorded")
    return history.loss


def _items(name: str, histories: Any) -> list[tuple[str, History]]:
    """Names and histories of a mapping that has some."""
    if not isinstance(histories, Mapping):
        raise TypeError(f"{name} must map names to what MLP.fit returned, got {type(histories).__name__}")
    if not histories:
        raise ValueError(f"{name} is empty: at least one run is wanted")
    return list(histories.items())


def _panels(name: str, axes: Any, n: int, sharey: bool = False) -> Array:
    """n Axes in an array: those given, or a new figure's, side by side."""
    from matplotlib.axes import Axes

    if axes is None:
        from matplotlib import pyplot

        size = 5.0 * n + 1.0, 4.2
        _, panels = pyplot.subplots(1, n, figsize=size, squeeze=False, sharey=sharey, layout="constrained")
        return np.array(panels[0])
    given = [axes] if isinstance(axes, Axes) else list(np.ravel(axes))
    wrong = [item for item in given if not isinstance(item, Axes)]
    if wrong:
        raise TypeError(f"{name} must be matplotlib Axes, got {type(wrong[0]).__name__}")
    if len(given) != n:
        raise ValueError(f"{name} must be {n} Axes, got {len(given)}")
    panels = np.empty(n, object)
    panels[:] = given
    return panels


def _draw_curves(ax: "Axes", curves: Mapping[str, list[float]], label: str) -> None:
    for name, values in curves.items():
        ax.plot(np.arange(1, len(values) + 1), values, label=name, linewidth=_LINE_WIDTH)
    ax.set(xlabel="epoch", ylabel=label)
    _finish(ax)


def _finish(ax: "Axes", grid: Any = "both") -> None:
    ax.grid(axis=grid, alpha=0.3)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)


def _surface(ax: "Axes", xx0: Array, xx1: Array, response: Array, plot_method: str, **options: Any) -> None:
    """scikit-learn's DecisionBoundaryDisplay of a response computed here."""
    from sklearn.inspection import DecisionBoundaryDisplay

    display = DecisionBoundaryDisplay(
        xx0=xx0, xx1=xx1, response=response, xlabel="feature 1", ylabel="feature 2",
        n_classes=2,  # draw the response as it is
    )  # fmt: skip
    display.plot(plot_method, ax=ax, **options)


def _scatter_classes(ax: "Axes", points: Array, classes: Array, colors: Any) -> None:
    for label, color in enumerate(colors):
        members = points[classes == label]
        ax.scatter(members[:, 0], members[:, 1], color=color, label=f"class {label}", **_MARKERS)
    ax.legend(framealpha=0.9)
