"""Activation functions and their derivatives: the three classical ones, and the smooth and leaky ones after them."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws files, needs no screen

import matplotlib.pyplot as plt
import numpy as np

from fastmlp import MLP, plotting

CLASSICAL = ["relu", "sigmoid", "tanh"]
MODERN = ["leaky_relu", "elu", "gelu", "silu", "mish"]


def main():
    z = np.array([-4.0, -1.0, 0.0, 1.0, 4.0])
    mlp = MLP([1, 1])
    for title, function in (("f(z)", mlp.activation_function), ("f'(z)", mlp.activation_derivative)):
        print(f"{title:<11}" + "".join(f"{f'z = {x:g}':>10}" for x in z))
        for name in CLASSICAL + MODERN:
            print(f"{name:<11}" + "".join(f"{value:>10.4f}" for value in function(z, name)))
        print()

    # Why deep sigmoid networks learn slowly: the largest factor that a layer's derivative gives to a gradient.
    grid = np.linspace(-10, 10, 20001)
    print(f"{'':<11}{'largest f-prime':>16}{'to the 10th power':>19}")
    for name in CLASSICAL + MODERN:
        largest = mlp.activation_derivative(grid, name).max()
        print(f"{name:<11}{largest:>16.4f}{largest**10:>19.2e}")

    plt.rcParams.update({"font.size": 12})
    figure, axes = plt.subplots(2, 2, figsize=(12, 8.5), layout="constrained")
    plotting.activation_functions(CLASSICAL, axes[0])
    plotting.activation_functions(MODERN, axes[1])
    for row, kind in zip(axes, ("classical", "modern"), strict=True):
        row[0].set_title(f"Activation functions, {kind}")
        row[1].set_title("Their derivatives")
        row[0].set_ylim(-1.25, 3)

    path = Path("figures") / "activation_functions.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"\nfigure: {path.resolve()}")


if __name__ == "__main__":
    main()
