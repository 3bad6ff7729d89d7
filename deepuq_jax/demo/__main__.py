"""``python -m deepuq_jax.demo [--out DIR] [--seeds 5]``: one table and two pictures, in under a minute on two cores."""

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
    """The picture of the regression."""
    ax = plot_regression(curve.x, curve.result, data=curve.data, truth=curve_truth(curve.x))
    ax.set(ylim=(-1.2, 2.0), xlim=(curve.x[0], curve.x[-1]))
    ax.set_title("Sure where there are data, unsure where there are none", loc="left", fontweight="bold")
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.savefig(path, dpi=DPI)


def save_digits(path: Path, predictions: Predictions, data: Digits) -> None:
    """The picture of the digits, as the network of the first seed sees them."""
    test, unseen, _ = jax.tree.map(lambda leaf: leaf[0], predictions)
    images = lambda x: x.reshape(-1, 8, 8)
    figure = plot_certainty(images(data.test[0]), test, labels=data.test[1], unseen=(images(data.unseen), unseen))
    figure.savefig(path, dpi=DPI)


def run_demo(out: Path, *, seeds: int = 5, settings: Settings = Settings(), curve_epochs: int = 300) -> str:
    """Train, measure, draw.

    Args:
        out: folder that gets curve.png and digits.png; made if need be.
        seeds: networks of each kind.
        settings: of the digits. curve_epochs: of the curve.
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
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deepuq_jax.demo", description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder of the pictures")
    parser.add_argument("--seeds", type=int, default=5, help="networks of each kind")
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    table = run_demo(arguments.out, seeds=arguments.seeds)
    print(f"Digits 0 to 7 of scikit-learn, mean ± standard deviation over {arguments.seeds} seeds\n\n{table}\n")
    print(f"curve.png and digits.png are in {arguments.out}; {time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
