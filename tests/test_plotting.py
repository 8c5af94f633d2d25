"""The pictures show the numbers: Axes are compared with the data they were drawn from."""

import subprocess
import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba

from fastmlp import MLP, History, plotting
from fastmlp.kernels import activations

NORMS = [[1e-3, 2.0], [2e-3, 1.0], [0.0, 3.0]]
HISTORY = History(loss=[0.9, 0.5, 0.25], validation_loss=[1.0, 0.75, 0.5], gradient_norm=NORMS)
ALONE = History(loss=[0.5, 0.25])
POINTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [2.0, 1.0]])


@pytest.fixture(autouse=True)
def _agg():
    backend = matplotlib.get_backend()
    plt.switch_backend("agg")
    before = matplotlib.rcParams.copy()
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()  # a picture that cannot be drawn fails here
    plt.close("all")
    assert matplotlib.rcParams == before  # pictures leave the settings alone
    plt.switch_backend(backend)


def lines(ax):
    """Label to (x, y) of the lines."""
    return {line.get_label(): tuple(np.asarray(d).tolist() for d in line.get_data()) for line in ax.lines}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# --- training curves --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (HISTORY, {"training": ([1, 2, 3], HISTORY.loss), "validation": ([1, 2, 3], HISTORY.validation_loss)}),
        (ALONE, {"training": ([1, 2], ALONE.loss)}),
    ],
)
def test_training_curves(history, expected):
    ax = plotting.training_curves(history)
    assert lines(ax) == expected
    assert legend(ax) == list(expected)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")


# --- decision boundary ------------------------------------------------------------------------------------------------


def step_network(n_outputs, output_activation):
    """A network that decides by x0 alone: the scores of outputs 0, 1, ... are 0, 8 x0 - 4, 16 x0 - 16, ..."""
    mlp = MLP([2, n_outputs], output_activation=output_activation, dtype=np.float64, random_state=0)
    orders = np.arange(n_outputs) if n_outputs > 1 else np.array([1])
    mlp.weights[0] = np.vstack([8.0 * orders, 0.0 * orders])
    mlp.biases[0] = -4.0 * orders[None, :] ** 2
    return mlp


def test_decision_boundary_of_a_probability():
    ax = plotting.decision_boundary(step_network(1, "sigmoid"), POINTS, [0, 0, 1, 1], eps=0.25, grid_resolution=91)
    surface, half, *points = ax.collections
    np.testing.assert_allclose(surface.levels, np.linspace(0, 1, 11))
    (path,) = (p for p in half.get_paths() if len(p.vertices))
    np.testing.assert_allclose(path.vertices[:, 0], 0.5, atol=1e-12)  # the line of 8 x0 = 4
    assert legend(ax) == ["class 0", "class 1"]
    for members, expected in zip(points, (POINTS[:2], POINTS[2:]), strict=True):
        np.testing.assert_array_equal(members.get_offsets(), expected)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.25, 2.25), (-0.25, 1.25))


def test_decision_boundary_without_a_line_where_one_class_wins_everywhere():
    mlp = step_network(1, "sigmoid")
    mlp.biases[0] = [[50.0]]
    ax = plotting.decision_boundary(mlp, POINTS, [0, 0, 1, 1], grid_resolution=5)
    assert len(ax.collections) == 3  # surface and two classes


@pytest.mark.parametrize("n_outputs", [3, 12])
@pytest.mark.parametrize("output_activation", ["softmax", "linear", "sigmoid"])
def test_decision_boundary_of_several_outputs(n_outputs, output_activation):
    mlp = step_network(n_outputs, output_activation)
    classes = np.array([0, 0, 1, 2])
    targets = classes if output_activation == "softmax" else np.eye(n_outputs)[classes]
    ax = plotting.decision_boundary(mlp, POINTS, targets, eps=0.4, grid_resolution=15)
    regions, *points = ax.collections
    x0 = np.linspace(-0.4, 2.4, 15)
    # score k beats score k - 1 where 8 x0 > 4 (2 k - 1); sigmoids may round to equal outputs, of which the first counts
    expected = np.clip(np.ceil(x0 - 0.5), 0, n_outputs - 1)
    if output_activation == "sigmoid":
        expected = mlp.predict(np.column_stack([x0, x0])).argmax(axis=1)
    np.testing.assert_array_equal(np.reshape(regions.get_array(), (15, 15)), np.tile(expected, (15, 1)))
    assert legend(ax) == [f"class {k}" for k in range(n_outputs)]
    for k, members in enumerate(points):
        np.testing.assert_array_equal(np.asarray(members.get_offsets()), POINTS[classes == k])
        # a region has the colour of its points
        wanted = to_rgba(tuple(members.get_facecolor()[0]), regions.get_alpha())
        assert to_rgba(regions.cmap(regions.norm(k)), regions.get_alpha()) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("slope", "targets", "scale"),
    [  # one scale for surface and targets: the surface 8 x0 - 4 goes from -8 to 16
        (8.0, [-3.0, 0.0, 1.0, 40.0], (-8.0, 40.0)),
        (8.0, [-30.0, 0.0, 1.0, 2.0], (-30.0, 16.0)),
        (0.0, [-4.0, -4.0, -4.0, -4.0], (-4.0, -3.0)),
    ],
)
def test_decision_boundary_of_a_surface(slope, targets, scale):
    mlp = step_network(1, "linear")
    mlp.weights[0] = [[slope], [0.0]]
    ax = plotting.decision_boundary(mlp, POINTS, targets, grid_resolution=9)
    surface, points = ax.collections
    np.testing.assert_allclose(surface.levels[[0, -1]], scale)
    assert points.get_clim() == pytest.approx(scale)
    np.testing.assert_array_equal(points.get_array(), targets)
    np.testing.assert_array_equal(points.get_offsets(), POINTS)


def test_decision_boundary_leaves_the_network_alone():
    mlp = step_network(1, "sigmoid")
    before = mlp.parameters.copy()
    plotting.decision_boundary(mlp, POINTS, [0, 0, 1, 1], grid_resolution=5)
    np.testing.assert_array_equal(mlp.parameters, before)
    assert mlp.activations == []


# --- activations ------------------------------------------------------------------------------------------------------


def test_activation_functions_against_differences():
    names = [row.name for row in activations.TABLE]
    functions, derivatives = plotting.activation_functions(names, limit=2)
    assert list(lines(functions)) == list(lines(derivatives)) == legend(functions) == names
    for name in names:
        z, f = map(np.array, lines(functions)[name])
        assert (z[0], z[-1]) == (-2, 2)
        slopes = (f[2:] - f[:-2]) / (z[2:] - z[:-2])
        smooth = np.abs(z[1:-1]) > 0.01  # but for the kink at 0
        drawn = np.array(lines(derivatives)[name][1])[1:-1]
        # second-order differences: an error of h**2 / 6 times a third derivative, here at most e**2
        bound = (z[1] - z[0]) ** 2 / 6 * np.exp(2) + 1e-10
        np.testing.assert_allclose(drawn[smooth], slopes[smooth], atol=bound, rtol=0)
    by_hand = {"relu": 2.0, "linear": 2.0, "tanh": np.tanh(2.0), "exp": np.exp(2.0), "softplus": np.log1p(np.exp(2.0))}
    for name, value in by_hand.items():
        assert lines(functions)[name][1][-1] == pytest.approx(value, rel=1e-14)


def test_activation_functions_of_the_guide_by_default():
    before = np.random.get_state()  # noqa: NPY002 (the one in question)
    functions, derivatives = plotting.activation_functions()
    assert list(lines(functions)) == ["relu", "sigmoid", "tanh"]
    assert functions.get_xlim() == derivatives.get_xlim() == (-4, 4)
    assert np.random.get_state()[2:] == before[2:]  # noqa: NPY002 (drawing from it would disturb the user's numbers)


# --- comparisons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [HISTORY, ALONE])
def test_initializer_comparison(others):
    runs = {"he": HISTORY, "zeros": others}
    panels = plotting.initializer_comparison(runs)
    kinds = ["loss", "validation_loss"] if others.validation_loss else ["loss"]
    assert len(panels) == len(kinds) + 1
    for panel, kind in zip(panels, kinds, strict=False):
        drawn = {name: y for name, (_, y) in lines(panel).items()}
        assert drawn == {name: getattr(history, kind) for name, history in runs.items()}
    bars = [[bar.get_height() for bar in container] for container in panels[-1].containers]
    assert bars == [[getattr(h, kind)[-1] for h in runs.values()] for kind in kinds]
    assert [label.get_text() for label in panels[-1].get_xticklabels()] == ["he", "zeros"]
    for i, tick in enumerate(panels[-1].get_xticks()):  # a name stands under the middle of its bars
        edges = [(c[i].get_x(), c[i].get_x() + c[i].get_width()) for c in panels[-1].containers]
        assert tick == pytest.approx((min(e[0] for e in edges) + max(e[1] for e in edges)) / 2)


def test_gradient_norms():
    ax = plotting.gradient_norms(HISTORY)
    assert ax.get_yscale() == "log"
    drawn = {name: y for name, (_, y) in lines(ax).items()}
    assert list(drawn) == ["layer 1", "layer 2"]
    np.testing.assert_array_equal(drawn["layer 1"], [1e-3, 2e-3, np.nan])  # no place for 0 on this scale
    np.testing.assert_array_equal(drawn["layer 2"], [2.0, 1.0, 3.0])
    assert HISTORY.gradient_norm[2][0] == 0


def test_gradient_norms_of_several_runs_share_their_scale():
    zeros = History(loss=[1.0], gradient_norm=[[0.0, 0.0, 0.0]])
    panels = plotting.gradient_norms({"trained": HISTORY, "dead": zeros})
    assert [panel.get_title() for panel in panels] == ["trained", "dead"]
    assert [len(panel.lines) for panel in panels] == [2, 3]
    assert panels[0].get_ylim() == panels[1].get_ylim()


# --- axes, errors, imports --------------------------------------------------------------------------------------------

BINARY = step_network(1, "sigmoid")
DRAWN = {
    "training_curves": (lambda ax: plotting.training_curves(HISTORY, ax), 1),
    "decision_boundary": (lambda ax: plotting.decision_boundary(BINARY, POINTS, [0, 0, 1, 1], ax), 1),
    "activation_functions": (lambda axes: plotting.activation_functions(["relu"], axes), 2),
    "initializer_comparison": (lambda axes: plotting.initializer_comparison({"he": HISTORY}, axes), 3),
    "gradient_norms": (lambda ax: plotting.gradient_norms(HISTORY, ax), 1),
    "gradient_norms of two": (lambda axes: plotting.gradient_norms({"a": HISTORY, "b": HISTORY}, axes), 2),
}


@pytest.mark.parametrize("name", DRAWN)
def test_draws_into_the_axes_that_are_given(name):
    draw, n = DRAWN[name]
    _, axes = plt.subplots(1, n, squeeze=False)
    result = draw(axes[0, 0] if n == 1 else axes[0])
    assert list(np.ravel(result)) == list(axes[0])
    assert all(ax.has_data() for ax in axes[0])
    assert plt.get_fignums() == [1]
    for wrong, error in ((object(), TypeError), (list(axes[0]) * 2, ValueError)):
        with pytest.raises(error, match=r"ax(es)? must be"):
            draw(wrong)


@pytest.mark.parametrize("name", DRAWN)
def test_makes_a_figure_where_none_is_given(name):
    draw, n = DRAWN[name]
    panels = np.ravel(draw(None))
    assert len(panels) == n
    assert plt.get_fignums() == [1]


WRONG = [
    (lambda: plotting.training_curves([0.5]), TypeError, "history must be a History.*list"),
    (lambda: plotting.training_curves(History()), ValueError, "history is empty"),
    (lambda: plotting.gradient_norms(ALONE), ValueError, "track_gradients=True"),
    (lambda: plotting.gradient_norms({"a": ALONE}), ValueError, r"history\['a'\].*track_gradients=True"),
    (lambda: plotting.gradient_norms([HISTORY]), TypeError, "history must map names.*list"),
    (lambda: plotting.gradient_norms({}), ValueError, "history is empty"),
    (lambda: plotting.initializer_comparison(HISTORY), TypeError, "histories must map names.*History"),
    (lambda: plotting.initializer_comparison({}), ValueError, "histories is empty"),
    (lambda: plotting.initializer_comparison({"he": [1.0]}), TypeError, r"histories\['he'\] must be a History.*list"),
    (lambda: plotting.activation_functions("relu"), TypeError, "names must be a sequence.*'relu'"),
    (lambda: plotting.activation_functions([]), ValueError, "names is empty"),
    (lambda: plotting.activation_functions(["relu", "step"]), ValueError, "'step' is not known.*'relu'"),
    (lambda: plotting.activation_functions(["softmax"]), ValueError, "softmax.*no pointwise derivative"),
    (lambda: plotting.activation_functions(limit=0), ValueError, "limit must be > 0.*got 0"),
    (lambda: plotting.activation_functions(limit=np.nan), ValueError, "limit must be > 0.*nan"),
    (lambda: plotting.decision_boundary("mlp", POINTS, [0, 0, 1, 1]), TypeError, "mlp must be an MLP, got str"),
    (lambda: plotting.decision_boundary(MLP([3, 1]), POINTS, [0, 0, 1, 1]), ValueError, "two features.*3"),
    (lambda: plotting.decision_boundary(BINARY, POINTS[:, :1], [0, 0, 1, 1]), ValueError, "X must have 2 features"),
    (lambda: plotting.decision_boundary(BINARY, POINTS * np.nan, [0, 0, 1, 1]), ValueError, "X must be finite"),
    (lambda: plotting.decision_boundary(BINARY, POINTS, [0, 1]), ValueError, "y must have .*4 rows"),
    (lambda: plotting.decision_boundary(BINARY, POINTS, [0, 0, 1, 2]), ValueError, r"y must be in \[0, 1\]"),
    (lambda: plotting.decision_boundary(BINARY, POINTS, [0, 0, 1, 1], eps=0.0), ValueError, "eps must be > 0"),
    (
        lambda: plotting.decision_boundary(BINARY, POINTS, [0, 0, 1, 1], grid_resolution=1),
        ValueError,
        "grid_resolution must be at least 2, got 1",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
    assert plt.get_fignums() == []  # nothing half drawn is left behind


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import fastmlp", {"matplotlib", "sklearn", "scipy", "numba", "pandas", "tqdm"}),
        ("import fastmlp; fastmlp.plotting", {"matplotlib", "sklearn", "pandas"}),  # numba itself imports scipy
        ("from fastmlp import MLP; MLP([2, 1])", {"matplotlib", "sklearn", "pandas"}),
    ],
)
def test_imports_only_what_is_needed(statement, unwanted):
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "fastmlp" in loaded
    assert not loaded & unwanted
