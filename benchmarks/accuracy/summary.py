"""The results in short, for the README: made of the committed records alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.accuracy import published, uci
from benchmarks.accuracy.report import table, units_and_epochs
from benchmarks.markers import block, put

README = Path(__file__).parents[2] / "README.md"
RESULTS = Path(__file__).parents[1] / "results"
UCI, MNIST = RESULTS / "accuracy-uci.json", RESULTS / "accuracy-mnist.json"


def regression(record: dict[str, Any]) -> str:
    """Log-likelihoods beside the published ones, and coverage."""
    methods = (uci.BAYESIAN, *uci.REGRESSORS, uci.POINT, uci.ENSEMBLE)
    rows = []
    for name, found in record["sets"].items():
        scores = [found["methods"][method] for method in methods]
        known = published.RESULTS.get(name)
        rows.append(
            [
                name,
                *(f"{s['log_likelihood']:.2f} ± {s['log_likelihood_se']:.2f}" for s in scores),
                *("-" if known is None else f"{known[i][1]:.2f}" for i in (published.MEAN_FIELD, published.DROPOUT)),
                " / ".join(f"{100 * share:.0f}" for share in scores[0]["coverage"]),
            ]
        )
    header = ["log-likelihood, nats", *methods, "published mean-field VI", "published MC dropout", "covered by ours, %"]
    return table(header, rows)


def digits(record: dict[str, Any]) -> str:
    """Error, likelihood and calibration, and the error with three quarters of the weights gone."""
    rows = []
    for row in record["final"]:
        errors = {point["pruned"]: f"{point['error']:.2f}" for point in row.get("pruning", ())}
        numbers = [f"{row['error']:.2f}", f"{row['nll']:.4f}", f"{row['ece']:.2f}", errors.get(0.75, "-")]
        rows.append([row["name"], *units_and_epochs(row), *numbers])
    return table(["MNIST", "units", "epochs", "error, %", "NLL, nats", "ECE, %", "error with 75 % pruned"], rows)


def accuracy(uci_record: dict[str, Any], mnist_record: dict[str, Any]) -> str:
    """The block of the README."""
    return block("accuracy", [regression(uci_record), "", digits(mnist_record)])


def write(readme: Path = README) -> None:
    """Put the block of the committed records into the README."""
    new = accuracy(*(json.loads(path.read_text(encoding="utf-8")) for path in (UCI, MNIST)))
    readme.write_text(put(readme.read_text(encoding="utf-8"), "accuracy", new), encoding="utf-8")


def main(argv: list[str]) -> None:
    """Write the README's block."""
    if argv:
        raise SystemExit(f"Expected no option of accuracy readme; got {' '.join(argv)}.")
    write()
