"""The tables and the picture of the comparison with bde."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.accuracy.plot import COLOURS, SMALL, new_figure
from benchmarks.accuracy.report import table
from benchmarks.accuracy.uci_score import LEVELS, standard_error
from benchmarks.bde.methods import BDE_README

# Ticks of the axis of seconds.
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
_LEVELS = " / ".join(f"{100 * level:g}" for level in LEVELS)
COLUMNS = [
    "NLL, nats",
    "RMSE",
    f"coverage at {_LEVELS} %",
    "fit and predict, s",
    "user CPU, s",
    "second time, s",
    "share of README's time",
    "peak memory, MB",
]


def as_markdown(record: dict[str, Any]) -> str:
    """A line about the machine, and a table per set."""
    environment = record["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"]["bde"].items())
    parts = [
        f"{environment['cores']} cores; this library with jax {environment['jax']} and Python {environment['python']}; "
        f"the other environment: {versions}.",
        "NLL and RMSE are in the target's units, mean ± standard error over splits. Coverage is that of the central "
        "intervals of the mixture over draws. Seconds, CPU, memory and shares are medians over splits. A share is that "
        f"of the seconds of {BDE_README} on the same split.",
    ]
    for name, found in record["sets"].items():
        title = f"{found['rows']:,} rows, {found['inputs']} inputs, {found['splits']} splits"
        parts += [f"## {name.capitalize()}", f"{title}.", of_set(found)]
    return "\n\n".join(parts)


def of_set(found: dict[str, Any]) -> str:
    """The table of a set."""
    methods = found["methods"]
    return table(["method", *COLUMNS], [[name, *_cells(runs, methods)] for name, runs in methods.items()])


def in_short(record: dict[str, Any]) -> str:
    """One table of all sets, for the page of results."""
    rows = []
    for name, found in record["sets"].items():
        methods = found["methods"]
        rows += [[name, method, *_cells(runs, methods)] for method, runs in methods.items()]
    return table(["set", "method", *COLUMNS], rows)


def _cells(runs: list[dict[str, Any]], methods: dict[str, list[dict[str, Any]]]) -> list[str]:
    again, share = "-", "-"
    if all(run["again"] for run in runs):
        again = f"{np.median([run['again']['seconds'] for run in runs]):.1f}"
    if BDE_README in methods:
        recipe = [run["seconds"] for run in methods[BDE_README]]
        share = f"{100 * np.median([run['seconds'] / own for run, own in zip(runs, recipe, strict=True)]):.1f} %"
    return [
        mean_and_error([run["nll"] for run in runs]),
        mean_and_error([run["rmse"] for run in runs]),
        " / ".join(f"{share:.0f}" for share in np.mean([run["coverage"] for run in runs], axis=0)),
        f"{_median(runs, 'seconds'):.1f}",
        f"{_median(runs, 'cpu'):.1f}",
        again,
        share,
        f"{_median(runs, 'peak_bytes') / 1e6:,.0f}",
    ]


def mean_and_error(values: list[float]) -> str:
    """Mean and standard error, to three decimals; one value has no error.

    >>> mean_and_error([1.0, 3.0]), mean_and_error([2.5])
    ('2.000 ± 1.000', '2.500')
    """
    text = f"{np.mean(values):.3f}"
    return text if len(values) == 1 else f"{text} ± {standard_error(values):.3f}"


def _median(runs: list[dict[str, Any]], name: str) -> float:
    return float(np.median([run[name] for run in runs]))


def picture(record: dict[str, Any]) -> Any:
    """Draw the NLL against the seconds, with one panel per set."""
    sets = record["sets"]
    every = [_median(runs, "seconds") for found in sets.values() for runs in found["methods"].values()]
    ticks = [tick for tick in TICKS if min(every) / 2 <= tick <= 2 * max(every)]
    figure, axes = new_figure(1, len(sets), (4.0 * len(sets), 3.4))
    for ax, (name, found) in zip(axes, sets.items(), strict=True):
        for colour, (method, runs) in zip(COLOURS, found["methods"].items(), strict=False):
            nll, seconds = [run["nll"] for run in runs], _median(runs, "seconds")
            # The error of a single run is NaN, and is not drawn.
            ax.errorbar(seconds, np.mean(nll), standard_error(nll), fmt="o", color=colour, capsize=3, label=method)
        ax.set_xscale("log")
        ax.set_xlim(min(every) / 1.3, max(every) * 1.3)
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.set_title(f"{name}: test NLL, nats", fontsize=SMALL, loc="left")
        ax.set_xlabel("seconds to fit and predict", fontsize=SMALL)
        ax.tick_params(labelsize=SMALL)
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=SMALL, frameon=False)
    return figure
