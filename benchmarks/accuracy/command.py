"""``python -m benchmarks accuracy uci|tabular|smooth|mnist|fashion|continual|draws|precision|readme``."""

from __future__ import annotations

from typing import Any

from benchmarks.command_line import Command, run

COMMANDS = {
    "uci": Command("benchmarks.accuracy.uci", "regression on the standard splits of UCI sets"),
    "tabular": Command("benchmarks.accuracy.tabular", "classification and regression sets beside scikit-learn"),
    "smooth": Command("benchmarks.accuracy.smooth", "regression on many made rows with little or much noise"),
    "mnist": Command("benchmarks.accuracy.mnist", "MNIST: error, calibration, entropy elsewhere, pruning"),
    "fashion": Command("benchmarks.accuracy.fashion", "Fashion-MNIST: LeNet-5 beside published scores"),
    "continual": Command("benchmarks.accuracy.continual", "permuted MNIST: the posterior as the next prior"),
    "draws": Command("benchmarks.accuracy.draws", "the Monte Carlo error of predictions, measured and estimated"),
    "precision": Command("benchmarks.accuracy.precision", "MNIST in bfloat16 and in float32, nothing else set"),
    "readme": Command("benchmarks.accuracy.summary", "put the short tables of the committed records into their pages"),
}


def main(argv: list[str]) -> Any:
    """Run the named benchmark with the rest of the arguments."""
    return run("python -m benchmarks accuracy", "Score on real data, beside published results.", COMMANDS, argv)
