"""Figures from a results file: the workloads as shares of the peak, and time against everything that can grow."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator, PercentFormatter

from . import machine, report

# Okabe and Ito's colours, which the colour-blind can tell apart, and markers for print in grey.
_STYLES = {
    "fastmlp": ("#D55E00", "o"),
    "JAX": ("#0072B2", "s"),
    "PyTorch": ("#CC79A7", "^"),
    "scikit-learn": ("#009E73", "D"),
}
_AXES = {
    "rows": "rows",
    "width": "width of the two hidden layers",
    "depth": "hidden layers of 128",
    "batch": "rows in a batch",
    "cores": "cores (hidden layers of 512)",
}


def _caption(figure, results, part):
    date, versions = results["parts"][part]["date"][:10], results["machine"]["versions"]
    names = {"fastmlp": "fastmlp", "jax": "JAX", "torch": "PyTorch", "scikit-learn": "scikit-learn"}
    versions = ", ".join(f"{name} {versions[package]}" for package, name in names.items() if package in versions)
    figure.supxlabel(f"{machine.line(results['machine'])}; {versions}; {date}", fontsize=9, color="0.35")


def _plain(axis, values):
    axis.set_major_locator(NullLocator())
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_ticks(values, [f"{value:,}" for value in values])


def _percent(share):
    return f"{share:.0f}" if share >= 9.5 else f"{share:.1f}" if share >= 0.05 else "~0"


def workloads(results):
    """Bars: the share of the peak of each contestant on each workload."""
    part = results["parts"]["training"]
    cases, peak = part["cases"], part["peak"]
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(_STYLES)
    for i, (name, (color, _)) in enumerate(_STYLES.items()):
        entries = [(j, case, entry) for j, case in enumerate(cases) if (entry := report.best(case, name))]
        if not entries:
            continue
        places = [j + (i - (len(_STYLES) - 1) / 2) * width for j, _, _ in entries]
        shares = [100 * report.share(case, entry["seconds"], peak) for _, case, entry in entries]
        bars = axes.bar(places, shares, width, label=name, color=color)
        axes.bar_label(bars, [_percent(s) for s in shares], fontsize=7.5, padding=1)
    axes.set_xticks(range(len(cases)), [f"{c['name']}\n{c['description'].split()[0]}" for c in cases])
    axes.set_ylabel(f"share of the FMA peak ({peak['all']:.0f} GFLOP/s)")
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    axes.set_ylim(0, 105)
    axes.set_title("Training: arithmetic done, of what the CPU can do (float32, higher is better)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    _caption(figure, results, "training")
    return figure


def growth(results):
    """Time of an epoch against rows, width, depth, batch and cores, above the time of the arithmetic at the peak."""
    part = results["parts"]["growth"]
    cases, peak = part["cases"], part["peak"]
    figure = Figure(figsize=(13, 7.6), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    for axes, (axis, label) in zip(panels, _AXES.items(), strict=False):
        series = [case for case in cases if case["axis"] == axis]
        values = [case["value"] for case in series]
        for name, (color, marker) in _STYLES.items():
            points = [(c["value"], 1e3 * e["seconds"]) for c in series if (e := report.best(c, name))]
            if points:
                axes.plot(*zip(*points, strict=True), color=color, marker=marker, label=name, linewidth=2)
        roofs = [peak["one"] * case["value"] if axis == "cores" else peak["all"] for case in series]
        at_peak = [case["arithmetic"] / roof / 1e6 for case, roof in zip(series, roofs, strict=True)]
        axes.plot(values, at_peak, color="black", linestyle="--", label="the arithmetic at the CPU's peak")
        axes.set(xscale="log", yscale="log", xlabel=label)
        _plain(axes.xaxis, values)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[::3]:
        axes.set_ylabel("ms an epoch")
    panels[-1].axis("off")
    handles, labels = panels[0].get_legend_handles_labels()
    panels[-1].legend(handles, labels, loc="center", frameon=False, fontsize=12)
    figure.suptitle(
        "Time of an epoch: 64-128-128-10, relu, softmax, adam, 4,096 rows in batches of 256, float32,"
        " but for what the axis says"
    )
    _caption(figure, results, "growth")
    return figure


FIGURES = {"training": workloads, "growth": growth}


def draw(results, folder):
    """Paths of the figures for the parts that there are."""
    for part, figure in FIGURES.items():
        if part in results["parts"]:
            path = folder / f"{figure.__name__}.png"
            figure(results).savefig(path, dpi=150)
            yield path
