"""A first network: two classes in the plane, a [2, 10, 10, 1] network trained by plain gradient descent."""

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

    mlp = MLP([2, 10, 10, 1], activation="relu", output_activation="sigmoid", learning_rate=0.01, random_state=0)
    history = mlp.fit(X_train, y_train, epochs=100, batch_size=32, validation_data=(X_test, y_test))

    print(f"{'epoch':>5} {'train loss':>11} {'test loss':>10}")
    for epoch in [1, *range(10, 101, 10)]:
        print(f"{epoch:>5} {history.loss[epoch - 1]:>11.4f} {history.validation_loss[epoch - 1]:>10.4f}")
    print(f"\n{'set':<6} {'rows':>5} {'accuracy':>9}")
    for name, inputs, labels in (("train", X_train, y_train), ("test", X_test, y_test)):
        print(f"{name:<6} {len(labels):>5} {np.mean(mlp.predict_classes(inputs).ravel() == labels):>9.2%}")

    plt.rcParams.update({"font.size": 12})
    figure, axes = plt.subplots(1, 3, figsize=(16, 4.8), layout="constrained", width_ratios=(1, 1, 1.15))
    plotting.training_curves(history, axes[0])
    axes[0].set(title="Loss curves", ylabel="binary cross-entropy")
    for ax, inputs, labels, name in ((axes[1], X_train, y_train, "Training"), (axes[2], X_test, y_test, "Test")):
        plotting.decision_boundary(mlp, inputs, labels, ax)
        ax.set_title(f"{name} data and decision boundary")
    figure.colorbar(axes[2].collections[0], ax=axes[2], label="P(class 1)")

    path = Path("figures") / "mlp_demo.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"\nfigure: {path.resolve()}")


if __name__ == "__main__":
    main()
