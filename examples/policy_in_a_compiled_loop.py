"""A trained network in a user's own compiled loop: a million steps of pendulums that it swings up, without Python."""

import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numba import njit

from fastmlp import MLP
from fastmlp.kernels.backprop import infer

LIMIT, DT, STEPS, EPISODES = 0.4, 0.02, 2000, 500  # the largest torque is 0.4 of what could hold the pendulum level


def expert(angle, velocity):
    """The torque to imitate: pumps energy until a linear controller can hold the pendulum upright, at angle 0."""
    linear, energy = -2.5 * angle - 2.2 * velocity, velocity**2 / 2 + np.cos(angle) - 1
    return np.clip(np.where(np.abs(linear) < 0.8, linear, -2.0 * energy * velocity), -LIMIT, LIMIT)


@njit
def simulate(network, starts, paths):
    """Angle, velocity and torque, (starts, steps, 3), of pendulums that start at rest."""
    x, out = np.empty(3, np.float32), np.empty(1, np.float32)
    for i in range(len(starts)):
        angle, velocity = starts[i], 0.0
        for state in paths[i]:
            x[0], x[1], x[2] = np.cos(angle), np.sin(angle), velocity
            infer(x, *network, out)
            state[0], state[1], state[2] = angle, velocity, LIMIT * float(out[0])
            velocity += DT * (np.sin(angle) + state[2])
            angle += DT * velocity


def features(angle, velocity):
    return np.column_stack([np.cos(angle).ravel(), np.sin(angle).ravel(), velocity.ravel()]).astype(np.float32)


def main():
    rng = np.random.default_rng(0)
    angle, velocity = rng.uniform(-np.pi, np.pi, 40000), rng.uniform(-2.6, 2.6, 40000)
    policy = MLP([3, 32, 32, 1], "tanh", "tanh", learning_rate=0.003, optimizer="adam", random_state=0)
    policy.fit(features(angle, velocity), expert(angle, velocity) / LIMIT, epochs=60, batch_size=64)

    network, paths = policy.compiled_arguments(), np.empty((EPISODES, STEPS, 3))
    starts = np.linspace(-3.1, 3.1, EPISODES)
    simulate(network, starts[:1], paths)  # compiles
    times = [time.perf_counter()]
    simulate(network, starts, paths)
    times.append(time.perf_counter())
    torques = [LIMIT * float(policy.predict(row[None])[0, 0]) for row in features(*paths[0, :, :2].T)]
    times.append(time.perf_counter())
    print(f"{'loop':<26} {'steps':>8} {'steps per second':>17}")
    print(f"{'compiled, with infer':<26} {EPISODES * STEPS:>8} {EPISODES * STEPS / (times[1] - times[0]):>17,.0f}")
    print(f"{'Python, predict alone':<26} {STEPS:>8} {STEPS / (times[2] - times[1]):>17,.0f}")
    print(f"largest difference of their torques: {np.abs(torques - paths[0, :, 2]).max():.1e}")
    print(f"pendulums upright at the end: {np.mean(np.cos(paths[:, -100:, 0]).min(axis=1) > 0.99):.1%} of {EPISODES}")
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    angle, velocity = np.meshgrid(np.linspace(-np.pi, np.pi, 361), np.linspace(-2.6, 2.6, 261))
    torque = LIMIT * policy.predict(features(angle, velocity)).reshape(angle.shape)
    surface = right.contourf(np.degrees(angle), velocity, torque, 16, cmap="RdBu_r", alpha=0.7)
    figure.colorbar(surface, ax=right, label="torque of the network (gravity: 1)")
    for i, color in ((499, "black"), (410, "tab:green"), (170, "tab:purple"), (282, "tab:orange")):
        wrapped = np.degrees((paths[i, :, 0] + np.pi) % (2 * np.pi) - np.pi)
        left.plot(DT * np.arange(1000), np.degrees(paths[i, :1000, 0]), color=color, linewidth=2)
        right.plot(wrapped, paths[i, :, 1], ".", color=color, markersize=3)
        right.plot(wrapped[0], paths[i, 0, 1], "o", color=color, markeredgecolor="white", markersize=9)
    left.set(xlabel="time", ylabel="angle (degrees)", title="Swing-up", xlim=(0, 20), yticks=range(-360, 361, 90))
    right.set(xlabel="angle (degrees)", ylabel="angular velocity", title="The policy", xticks=range(-180, 181, 90))
    path = Path("figures") / "policy_in_a_compiled_loop.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"\nfigure: {path.resolve()}")


if __name__ == "__main__":
    main()
