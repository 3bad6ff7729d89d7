"""Pictures of the results."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any

from benchmarks.accuracy import published
from benchmarks.accuracy.report import units_and_epochs
from benchmarks.accuracy.uci_score import LEVELS
from deepuq_jax.plots import BLUE, GREY, INK, ORANGE, SKY, VERMILION

COLOURS = (BLUE, SKY, VERMILION, GREY, ORANGE, INK)


def _figure(columns: int, width: float, height: float = 3.2) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("The plot needs matplotlib: pip install 'deepuq-jax[demo]'.") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def regression(record: dict[str, Any], order: Sequence[str]) -> Any:
    """Log-likelihoods of each set with their standard errors, methods in this order; and coverages."""
    sets = record["sets"]
    figure, axes = _figure(len(sets) + 1, 2.4 * (len(sets) + 1))
    methods = [method for method in order if method in next(iter(sets.values()))["methods"]]
    for ax, (name, found) in zip(axes, sets.items(), strict=False):
        for i, method in enumerate(methods):
            row = found["methods"][method]
            value, error = row["log_likelihood"], row["log_likelihood_se"]
            ax.errorbar(i, value, error, fmt="o", color=COLOURS[i % len(COLOURS)], capsize=3)
        if name in published.RESULTS:
            line = ax.axhline(published.RESULTS[name][published.MEAN_FIELD][1], color=INK, lw=0.8, ls="--")
            line.set_label("published mean-field VI")
        ax.set_title(name, fontsize=9)
        labels = [fill(method, 16) for method in methods]
        ax.set_xticks(range(len(methods)), labels, rotation=60, ha="right", fontsize=7)
    axes[0].set_ylabel("test log-likelihood, nats")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", fontsize=8, frameon=False)
    last = axes[-1]
    last.plot([0, 1], [0, 1], color=INK, lw=0.8)
    for i, method in enumerate(methods):
        for found in sets.values():
            last.plot(LEVELS, found["methods"][method]["coverage"], ".", color=COLOURS[i % len(COLOURS)])
    last.set_title("coverage of intervals", fontsize=9)
    last.set(xlim=(0.4, 1), ylim=(0.3, 1), xlabel="level")
    return figure


def digits(record: dict[str, Any]) -> Any:
    """The pruning curves, and the entropy on turned digits; a recipe has a colour, the larger network is dashed."""
    figure, (curve, turned) = _figure(2, 9.0, 4.2)
    names = list(dict.fromkeys(row["name"] for row in record["final"]))
    smaller = units_and_epochs(record["final"][0])[0]
    for row in record["final"]:
        style = dict(
            color=COLOURS[names.index(row["name"]) % len(COLOURS)],
            linestyle="-" if units_and_epochs(row)[0] == smaller else "--",
            label=f"{row['name'].split(', KL')[0].split(', learning')[0]}, {units_and_epochs(row)[0]}",
        )
        turned.plot(row["elsewhere"]["angles"], row["elsewhere"]["entropy_of_rotated"], marker=".", **style)
        if "pruning" in row:
            shares = [100 * point["pruned"] for point in row["pruning"]]
            curve.plot(shares, [point["error"] for point in row["pruning"]], marker=".", **style)
    curve.set(xlabel="weights pruned, %", ylabel="test error, %", yscale="log")
    curve.yaxis.set_major_formatter("{x:g}")
    curve.yaxis.set_minor_formatter("")
    curve.set_yticks([1, 2, 5, 10, 20, 50])
    turned.set(xlabel="turned by, degrees", ylabel="predictive entropy, nats")
    # Long enough to tell a dashed line.
    options = dict(ncols=2, fontsize=7, frameon=False, handlelength=4)
    figure.legend(*turned.get_legend_handles_labels(), loc="outside lower center", **options)
    return figure
