"""Vanishing gradients: sigmoid networks of growing depth, started small, and the cure for the deepest."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws files, needs no screen

import matplotlib.pyplot as plt
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastmlp import MLP, plotting

NETWORKS = {
    "2 layers, sigmoid": ([2, 10, 1], "sigmoid", "random"),
    "4 layers, sigmoid": ([2, 10, 10, 10, 1], "sigmoid", "random"),
    "6 layers, sigmoid": ([2, 10, 10, 10, 10, 10, 1], "sigmoid", "random"),
    "6 layers, relu and he": ([2, 10, 10, 10, 10, 10, 1], "relu", "he"),
}


def main():
    X, y = make_classification(
        n_samples=1000, n_features=2, n_redundant=0, n_informative=2, n_clusters_per_class=1, random_state=42
    )
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

    histories = {}
    for name, (layer_sizes, activation, weight_init) in NETWORKS.items():
        mlp = MLP(layer_sizes, activation, learning_rate=0.1, weight_init=weight_init, random_state=0)
        histories[name] = mlp.fit(
            X_train, y_train, epochs=50, batch_size=32, validation_data=(X_test, y_test), track_gradients=True
        )

    print("after 50 epochs (norms of dW in the first epoch)")
    print(f"{'network':<22} {'train loss':>11} {'test loss':>10} {'first layer':>12} {'last layer':>11} {'ratio':>9}")
    for name, history in histories.items():
        first, last = history.gradient_norm[0][0], history.gradient_norm[0][-1]
        losses = f"{history.loss[-1]:>11.4f} {history.validation_loss[-1]:>10.4f}"
        print(f"{name:<22} {losses} {first:>12.2e} {last:>11.2e} {first / last:>9.1e}")

    plt.rcParams.update({"font.size": 12})
    figure = plt.figure(figsize=(16, 8), layout="constrained")
    names = list(NETWORKS)
    axes = figure.subplot_mosaic([["loss", *names[:2]], ["loss", *names[2:]]])
    for name, style in zip(names, ("-", "-", "--", "-"), strict=True):
        axes["loss"].plot(range(1, 51), histories[name].loss, style, linewidth=2, label=name)
    axes["loss"].set(xlabel="epoch", ylabel="binary cross-entropy", title="Training loss", ylim=(0, 0.75))
    axes["loss"].grid(alpha=0.3)
    axes["loss"].legend(frameon=False, loc="lower left")
    for name in names[1:]:
        axes[name].sharey(axes[names[0]])
    plotting.gradient_norms(histories, [axes[name] for name in names])

    path = Path("figures") / "vanishing_gradients.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"\nfigure: {path.resolve()}")


if __name__ == "__main__":
    main()
