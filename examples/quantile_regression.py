"""How sure is a prediction? Three quantiles from one network, beside the usual margin that is the same for all."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws files, needs no screen

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.model_selection import train_test_split

from fastmlp import MLPRegressor

QUANTILES = [0.05, 0.5, 0.95]
TRAINING = {"hidden_layer_sizes": (32, 32), "activation": "gelu", "learning_rate": "cosine", "learning_rate_init": 0.01,
            "max_iter": 60, "tol": 0, "n_iter_no_change": np.inf, "random_state": 0}  # fmt: skip


def main():
    X, y = make_friedman1(30000, 10, random_state=0)
    spread = 0.3 + 3 * X[:, 5] ** 2  # by a feature that says nothing of the mean
    y += spread * (np.random.default_rng(0).exponential(size=len(y)) - 1)  # late is late by more than early is early
    X_train, X_test, y_train, y_test, _, spread = train_test_split(X, y, spread, test_size=0.25, random_state=0)
    X_train, X_val, y_train, y_val = train_test_split(X_train, y_train, test_size=0.25, random_state=0)

    model = MLPRegressor("quantile", quantile=QUANTILES, **TRAINING).fit(X_train, y_train)
    low, median, high = model.predict(X_test).T
    mean = MLPRegressor(**TRAINING).fit(X_train, y_train)
    margin = np.quantile(np.abs(y_val - mean.predict(X_val)), 0.9)  # a margin that holds 90 % of other rows
    center = mean.predict(X_test)

    inside = {
        "quantiles 5 % to 95 %": (low <= y_test) & (y_test <= high),
        "one margin for all": np.abs(y_test - center) <= margin,
    }
    fifths = np.array_split(np.argsort(spread), 5)  # from the rows that are surest to those that are least so
    print(f"{'interval':<22} {'coverage':>9} {'surest fifth':>13} {'least sure':>11} {'mean width':>11}")
    for (name, hits), width in zip(inside.items(), (np.mean(high - low), 2 * margin), strict=True):
        print(f"{name:<22} {hits.mean():>9.1%} {hits[fifths[0]].mean():>13.1%} {hits[fifths[-1]].mean():>11.1%}"
              f" {width:>11.2f}")  # fmt: skip

    path = Path("figures") / "quantile_regression.png"
    path.parent.mkdir(exist_ok=True)
    shares = {name: [hits[fifth].mean() for fifth in fifths] for name, hits in inside.items()}
    draw(low, median, high, y_test, margin, shares, path)
    print(f"figure: {path.resolve()}")


def draw(low, median, high, y, margin, shares, path):
    plt.rcParams.update({"font.size": 12})
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained", width_ratios=[3, 2])
    order = np.argsort(high - low)
    rank = np.arange(len(y))
    left.scatter(rank, (y - median)[order], s=3, color="0.45", label="target")
    left.fill_between(rank, (low - median)[order], (high - median)[order], alpha=0.4, label="5 % to 95 %")
    for side in (-margin, margin):
        left.axhline(side, color="C1", linestyle="--", label="one margin for all" if side > 0 else None)
    left.set(title="Test rows by the width of their interval", xlabel="row", ylabel="target - predicted median")
    left.set_ylim(-4, 10)
    left.legend(frameon=False, loc="upper left", markerscale=4)
    for name, values in shares.items():
        right.plot(range(1, 6), values, "o-", label=name)
    right.axhline(0.9, color="0.4", linewidth=1)
    right.set(title="Share of targets inside", xlabel="fifth of the test rows, from sure to unsure", ylim=(0.5, 1.02))
    right.set_xticks(range(1, 6))
    right.yaxis.set_major_formatter("{x:.0%}")
    right.legend(frameon=False, loc="lower left")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
