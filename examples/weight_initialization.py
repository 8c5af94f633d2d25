"""Weight initialisation: the same network, data and order of batches, started in four ways."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws files, needs no screen

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastmlp import MLP, plotting


def main():
    X, y = make_classification(
        n_samples=1000, n_features=2, n_redundant=0, n_informative=2, n_clusters_per_class=1, random_state=42
    )
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

    histories = {}
    print(f"{'weight_init':<12} {'std of W1':>10} {'train loss':>11} {'test loss':>10} {'test accuracy':>14}")
    for name in ("random", "xavier", "he", "orthogonal"):
        mlp = MLP([2, 10, 10, 1], activation="relu", learning_rate=0.01, weight_init=name, random_state=0)
        spread = mlp.weights[0].std()
        history = mlp.fit(X_train, y_train, epochs=100, batch_size=32, validation_data=(X_test, y_test))
        histories[name] = history
        accuracy = np.mean(mlp.predict_classes(X_test).ravel() == y_test)
        train_loss, test_loss = history.loss[-1], history.validation_loss[-1]
        print(f"{name:<12} {spread:>10.4f} {train_loss:>11.4f} {test_loss:>10.4f} {accuracy:>14.2%}")

    plt.rcParams.update({"font.size": 12})
    figure, axes = plt.subplots(1, 3, figsize=(16, 4.8), layout="constrained")
    plotting.initializer_comparison(histories, axes)
    for ax, title in zip(axes, ("Training loss", "Validation loss", "Final losses"), strict=True):
        ax.set(title=title, ylim=(0, 0.8))
    # from about 0.01 the signal of `random` dies out within three layers: what is left is the loss of guessing, log 2
    axes[0].axhline(np.log(2), color="0.4", linestyle=":", zorder=0)
    axes[0].annotate("guessing: log 2", (100, np.log(2)), (0, 4), textcoords="offset points", ha="right")

    path = Path("figures") / "weight_initialization.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"\nfigure: {path.resolve()}")


if __name__ == "__main__":
    main()
