"""The short tables of accuracy, from the committed records."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.accuracy import draws, precision, published, uci
from benchmarks.accuracy.report import table, units_and_epochs
from parity_tests import markers

ROOT = Path(__file__).parents[2]
README, PAGE, TRUST = ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "docs" / "trust.md"
DEVICES = ROOT / "docs" / "devices.md"
RESULTS = Path(__file__).parents[1] / "results"
UCI, MNIST = RESULTS / "accuracy-uci.json", RESULTS / "accuracy-mnist.json"
OF_DRAWS, OF_PRECISION = RESULTS / "accuracy-draws.json", RESULTS / "accuracy-precision.json"


def regression(record: dict[str, Any], *, with_coverage: bool) -> str:
    """Log-likelihoods beside the published ones, and coverage of central intervals."""
    methods = (uci.BAYESIAN, *uci.FITS, uci.POINT, uci.ENSEMBLE)
    header = ["log-likelihood, nats", *methods, "published mean-field VI", "published MC dropout"]
    rows = []
    for name, found in record["sets"].items():
        scores = [found["methods"][method] for method in methods]
        row = [name, *(f"{s['log_likelihood']:.2f} ± {s['log_likelihood_se']:.2f}" for s in scores)]
        if name in published.RESULTS:
            row += [f"{published.RESULTS[name][i][1]:.2f}" for i in (published.MEAN_FIELD, published.DROPOUT)]
        else:
            row += ["-", "-"]
        if with_coverage:
            row.append(" / ".join(f"{100 * share:.0f}" for share in scores[0]["coverage"]))
        rows.append(row)
    if with_coverage:
        header.append(f"coverage of {uci.BAYESIAN}, %")
    return table(header, rows)


def digits(record: dict[str, Any]) -> str:
    """Error, likelihood and calibration on MNIST, and error after pruning."""
    rows = []
    for row in record["final"]:
        errors = {point["pruned"]: f"{point['error']:.2f}" for point in row.get("pruning", ())}
        numbers = [f"{row['error']:.2f}", f"{row['nll']:.4f}", f"{row['ece']:.2f}", errors.get(0.75, "-")]
        rows.append([row["name"], *units_and_epochs(row), *numbers])
    return table(["MNIST", "units", "epochs", "error, %", "NLL, nats", "ECE, %", "error with 75 % pruned"], rows)


def accuracy(uci_record: dict[str, Any], mnist_record: dict[str, Any]) -> str:
    """Format the block of accuracies for the page of results."""
    return markers.block("accuracy", [regression(uci_record, with_coverage=True), "", digits(mnist_record)])


def accuracy_in_short(uci_record: dict[str, Any]) -> str:
    """Format the block of the README, which has the regression sets alone."""
    return markers.block("uci", [regression(uci_record, with_coverage=False)])


def write(readme: Path = README, page: Path = PAGE, trust: Path = TRUST, devices: Path = DEVICES) -> None:
    """Put the blocks of the committed records into their pages."""
    uci_record, mnist_record, of_draws, of_precision = (
        json.loads(path.read_text(encoding="utf-8")) for path in (UCI, MNIST, OF_DRAWS, OF_PRECISION)
    )
    markers.write(readme, "uci", accuracy_in_short(uci_record))
    markers.write(page, "accuracy", accuracy(uci_record, mnist_record))
    markers.write(trust, "draws", draws.as_markdown(of_draws))
    markers.write(devices, "precision", precision.as_markdown(of_precision))


def main(argv: list[str]) -> None:
    """Write the blocks of the pages."""
    description = "Put the short tables of the committed records into README.md and the pages in docs."
    argparse.ArgumentParser(prog="python -m benchmarks accuracy readme", description=description).parse_args(argv)
    write()
