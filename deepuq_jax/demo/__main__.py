"""Run the demo, which makes a table and two pictures.

``python -m deepuq_jax.demo [--out DIR] [--seeds 5]`` takes under a minute on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import jax

from deepuq_jax.demo.curve import Curve, curve_truth, fit_curve
from deepuq_jax.demo.digits import (
    Digits,
    Predictions,
    Settings,
    build_bayesian,
    build_twin,
    load_data,
    train_and_predict,
)
from deepuq_jax.demo.metrics import format_table, measure
from deepuq_jax.plots import plot_certainty, plot_regression

DPI = 160


def save_curve(path: Path, curve: Curve) -> None:
    """Save the picture of the regression."""
    ax = plot_regression(curve.x, curve.result, data=curve.data, truth=curve_truth(curve.x))
    ax.set(ylim=(-1.2, 2.0), xlim=(curve.x[0], curve.x[-1]))
    ax.set_title("Sure where there are data, unsure where there are none", loc="left", fontweight="bold")
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.savefig(path, dpi=DPI)


def save_digits(path: Path, predictions: Predictions, data: Digits) -> None:
    """Save the picture of the first seed's predictions on digits."""
    test, unseen, _ = jax.tree.map(lambda leaf: leaf[0], predictions)
    images, unseen_images = data.test[0].reshape(-1, 8, 8), data.unseen.reshape(-1, 8, 8)
    figure = plot_certainty(images, test, labels=data.test[1], unseen=(unseen_images, unseen))
    figure.savefig(path, dpi=DPI)


def run_demo(out: Path, *, seeds: int = 5, settings: Settings = Settings(), curve_epochs: int = 300) -> str:
    """Train the networks, measure them, and save the pictures.

    Args:
        out: folder for curve.png and digits.png; it is created if necessary.
        seeds: number of networks of each kind.
        settings: settings of the training on digits.
        curve_epochs: training epochs on the curve.
    Returns:
        The table.
    """
    out.mkdir(parents=True, exist_ok=True)
    data = load_data(seeds)
    bayesian = train_and_predict(build_bayesian, settings.learning_rate, data, settings)
    twin = train_and_predict(build_twin, settings.twin_learning_rate, data, settings)
    save_digits(out / "digits.png", bayesian, data)
    save_curve(out / "curve.png", fit_curve(key=jax.random.key(0), epochs=curve_epochs))
    return format_table({"Bayesian": measure(bayesian, data.test[1]), "deterministic": measure(twin, data.test[1])})


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo from the command line."""
    parser = argparse.ArgumentParser(prog="python -m deepuq_jax.demo", description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for the pictures")
    parser.add_argument("--seeds", type=int, default=5, help="number of networks of each kind")
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    table = run_demo(arguments.out, seeds=arguments.seeds)
    print(f"Digits 0 to 7 of scikit-learn, mean ± standard deviation over {arguments.seeds} seeds\n\n{table}\n")
    print(f"curve.png and digits.png are in {arguments.out}; {time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
