"""The short tables of a session on a GPU, for docs/results.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parity_tests import markers

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
_TRAINING = (
    "| training step, µs | one call per step, waited for | queued | scanned | scanned, natural gradients "
    "| deterministic network, queued | ratio of the queued times |"
)
_ERRORS = "| relative error | precision | loss | gradient | predictive mean | epistemic variance |"

Rows = dict[str, dict[str, Any]]


def block(stages: dict[str, Any]) -> str:
    """Render the block of the page."""
    device = next(iter(stages.values()))["device"]
    training, prediction, correctness = (stages[name]["rows"] for name in ("training", "prediction", "correctness"))
    lines = [f'{device}. Medians. "Queued" is the time per call with many calls in flight, the best of five runs.', ""]
    lines += [*_training(training), "", *_prediction(prediction), "", *_errors(correctness)]
    return markers.block("gpu", lines)


def write(stages: dict[str, Any], page: Path = PAGE) -> None:
    """Put the block into the page."""
    markers.write(page, "gpu", block(stages))


def _training(rows: Rows) -> list[str]:
    lines = [_TRAINING, "| --- " * 7 + "|"]
    for row, plain in rows.items():
        network, _, kind = row.partition(", ")
        if kind == "the deterministic network":
            ours, scanned = rows[f"{network}, one call per step"], rows[f"{network}, scanned"]
            natural = rows[f"{network}, scanned, natural gradients"]
            ratio = ours["queued_us"] / plain["queued_us"]
            times = (ours["us"], ours["queued_us"], scanned["us"], natural["us"], plain["queued_us"])
            lines.append(f"| {network} | {' | '.join(f'{time:,.0f}' for time in times)} | {ratio:.2f} |")
    return lines


def _prediction(rows: Rows) -> list[str]:
    """A line per network and number of inputs, with a column per number of draws at once."""
    chunks = list(dict.fromkeys(name for row in rows.values() for name in row if name.startswith("at_")))
    names = [name.removeprefix("at_").removesuffix("_us") for name in chunks]
    columns = " | ".join([f"{name} at once" for name in names])
    lines = [f"| prediction, µs | {columns} | called without jit |", "| --- " * (len(chunks) + 2) + "|"]
    for row, times in rows.items():
        if "best_at_once" not in times:
            continue
        cells = [f"{times[chunk]:,.0f}" if chunk in times else "-" for chunk in chunks]
        uncompiled = rows.get(f"{row}, called without jit")
        cells.append(f"{uncompiled['us']:,.0f}" if uncompiled else "-")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


def _errors(rows: Rows) -> list[str]:
    """A line per network and precision: the errors against the CPU."""
    lines = [_ERRORS, "| --- " * 6 + "|"]
    for row, objective in rows.items():
        if row.startswith("ELBO of "):
            subject = row.removeprefix("ELBO of ").removesuffix(", relative error")
            prediction = rows[f"prediction of {subject}, relative error"]
            network, precision = subject.split(", precision ")
            errors = (objective["loss"], objective["gradient"], prediction["mean"], prediction["var"])
            lines.append(f"| {network} | {precision} | {' | '.join(f'{error:.1e}' for error in errors)} |")
    return lines
