"""Pictures of the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.accuracy import published
from benchmarks.accuracy.report import units_and_epochs
from benchmarks.accuracy.uci_score import LEVELS
from deepuq_jax.plots import BLUE, GREY, INK, ORANGE, SKY, VERMILION

# The last two are colours of the palette of Okabe and Ito that the package does not use.
COLOURS = (BLUE, SKY, VERMILION, GREY, ORANGE, INK, "#009E73", "#CC79A7")
SMALL = 9


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """Make a figure of a size in inches, and a flat array of its axes."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("The plot needs matplotlib: pip install 'deepuq-jax[demo]'.") from error
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def regression(record: dict[str, Any], order: Sequence[str]) -> Any:
    """Log-likelihoods of each set with standard errors, and the coverages of all sets."""
    sets = record["sets"]
    columns = min(3, len(sets) + 1)
    rows = -(-(len(sets) + 1) // columns)
    figure, axes = new_figure(rows, columns, (4 * columns, 2.8 * rows + 0.7))
    methods = [method for method in order if method in next(iter(sets.values()))["methods"]]
    colours = {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(methods)}
    for ax, (name, found) in zip(axes, sets.items(), strict=False):
        _plot_likelihoods(ax, name, found["methods"], colours)
    _plot_coverage(axes[len(sets)], sets, colours)
    for ax in axes[len(sets) + 1 :]:
        ax.set_axis_off()
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    labels = [*methods, *(label for label in handles if label not in methods)]
    options = dict(loc="outside lower center", ncols=4, fontsize=SMALL, frameon=False)
    figure.legend([handles[label] for label in labels], labels, **options)
    return figure


def _plot_likelihoods(ax: Any, name: str, found: dict[str, Any], colours: dict[str, str]) -> None:
    """Plot a point per method, and the published value."""
    for i, (method, colour) in enumerate(colours.items()):
        value, error = found[method]["log_likelihood"], found[method]["log_likelihood_se"]
        ax.errorbar(i, value, error, fmt="o", color=colour, capsize=3, label=method)
    if name in published.RESULTS:
        value = published.RESULTS[name][published.MEAN_FIELD][1]
        ax.axhline(value, color=INK, lw=0.8, ls="--", label="published mean-field VI")
    ax.set_title(f"{name}: test log-likelihood, nats", fontsize=SMALL, loc="left")
    ax.set_xticks([])
    ax.margins(x=0.1, y=0.08)
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)


def _plot_coverage(ax: Any, sets: dict[str, Any], colours: dict[str, str]) -> None:
    """Plot a point per set, method and level.

    The methods stand side by side at each level.
    """
    for i, (method, colour) in enumerate(colours.items()):
        places = [place + 0.7 * ((i + 0.5) / len(colours) - 0.5) for place in range(len(LEVELS))]
        for found in sets.values():
            excess = [100 * (c - level) for c, level in zip(found["methods"][method]["coverage"], LEVELS, strict=True)]
            ax.plot(places, excess, "o", ms=5, color=colour, alpha=0.8, mew=0)
    ax.axhline(0, color=INK, lw=0.8, label="coverage equal to the level")
    ax.set_title("coverage minus level, %; a dot per set", fontsize=SMALL, loc="left")
    ax.set_xticks(range(len(LEVELS)), [f"{100 * level:g} % intervals" for level in LEVELS])
    ax.tick_params(axis="x", length=0)
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)


def digits(record: dict[str, Any]) -> Any:
    """Pruning curves, and entropy on rotated digits.

    Each recipe has a colour, and lines of larger networks are dashed.
    """
    figure, (curve, turned) = new_figure(1, 2, (9.0, 4.4))
    names = list(dict.fromkeys(row["name"] for row in record["final"]))
    smaller = units_and_epochs(record["final"][0])[0]
    for row in record["final"]:
        units = units_and_epochs(row)[0]
        style = dict(
            color=COLOURS[names.index(row["name"]) % len(COLOURS)],
            linestyle="-" if units == smaller else "--",
            label=f"{row['name'].split(', KL')[0].split(', learning')[0]}, {units} units",
        )
        turned.plot(row["elsewhere"]["angles"], row["elsewhere"]["entropy_of_rotated"], marker=".", **style)
        if "pruning" in row:
            shares = [100 * point["pruned"] for point in row["pruning"]]
            curve.plot(shares, [point["error"] for point in row["pruning"]], marker=".", **style)
    curve.set(xlabel="weights pruned, %", ylabel="test error, %", yscale="log")
    curve.yaxis.set_major_formatter("{x:g}")
    curve.yaxis.set_minor_formatter("")
    curve.set_yticks([1, 2, 5, 10, 20, 50])
    turned.set(xlabel="rotation, degrees", ylabel="predictive entropy, nats", xticks=range(0, 181, 30))
    # Handles are long enough to show a dashed line.
    options = dict(ncols=2, fontsize=8, frameon=False, handlelength=4)
    figure.legend(*turned.get_legend_handles_labels(), loc="outside lower center", **options)
    return figure


def images(record: dict[str, Any], published: dict[str, tuple[float, float]]) -> Any:
    """Accuracy against NLL, one point per method; published scores are hollow points."""
    figure, (ax,) = new_figure(1, 1, (6.0, 4.0))
    colours = [colour for colour in COLOURS if colour != GREY]  # Grey is for the published scores.
    for (name, row), colour in zip(record["final"].items(), colours, strict=False):
        ax.plot(row["nll"], row["accuracy"], "o", color=colour)
        ax.annotate(name, (row["nll"], row["accuracy"]), xytext=(6, -3), textcoords="offset points", fontsize=SMALL)
    for name, (accuracy, nll) in published.items():
        ax.plot(nll, accuracy, "o", color=GREY, fillstyle="none")
        ax.annotate(name, (nll, accuracy), xytext=(6, -3), textcoords="offset points", fontsize=SMALL, color=GREY)
    ax.set(xlabel="test NLL, nats", ylabel="test accuracy, %")
    ax.margins(x=0.45, y=0.1)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def continual(record: dict[str, Any]) -> Any:
    """Average accuracy over the tasks so far, and accuracy on the first task, by the number of tasks."""
    figure, (ax,) = new_figure(1, 1, (6.0, 4.0))
    for (name, found), colour in zip(record["methods"].items(), (BLUE, VERMILION), strict=True):
        rows = found["accuracies"]
        counts = range(1, len(rows) + 1)
        ax.plot(counts, [sum(row) / len(row) for row in rows], "o-", color=colour, label=f"{name}: all tasks so far")
        ax.plot(counts, [row[0] for row in rows], ":", color=colour, label=f"{name}: the first task")
    ax.set(xlabel="tasks learned", ylabel="accuracy, %", xticks=list(counts))
    ax.legend(fontsize=SMALL, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure
