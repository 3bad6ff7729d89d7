"""The short tables of speed and limits, for the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.speed import results
from benchmarks.speed.contestant import FLOOR
from benchmarks.speed.table import micro, times
from parity_tests import markers

ROOT = Path(__file__).parents[2]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "results.md"
NOTES = Path(__file__).parents[1] / "README.md"
OURS = ("deepuq_jax", "deepuq_torch")
_RATIOS = (
    "deepuq_jax, x original | deepuq_torch eager, x original | deepuq_torch compiled, x original "
    "| best peer, x deepuq_jax |"
)
_TRAINING = f"| training step, µs (x floor) | deepuq_jax, one call per step | deepuq_jax, scanned | {_RATIOS}"
_PREDICTION = f"| prediction, µs (x floor) | deepuq_jax | {_RATIOS}"
_LIMITS = (
    "| workload | bytes | operations | normals | limit, µs | deepuq_jax, µs "
    "| share of its limit: JAX floor | share of its limit: deepuq_jax |"
)

Row = dict[str, Any]


def speed(data: dict[str, Any]) -> str:
    """The block of the page of results: every workload."""
    return markers.block("speed", [*_preamble(data), "", *_tables(data["workloads"])])


def speed_in_short(data: dict[str, Any]) -> str:
    """The README's block: training with mc 1, and predictions."""
    parts = {name: part for name, part in data["workloads"].items() if name.startswith("predict") or ", mc 1" in name}
    where = next(iter(data["workloads"].values()))["environment"]
    lines = [
        f"{where['device']}, {where['cores']} cores, {where['precision']}; medians in µs.",
        'A factor is a time divided by a reference time, so below 1 means faster. "x floor" refers to the same network',
        'without uncertainty in the same call style, "x original" to Deep-UQ, and "x deepuq_jax" to deepuq_jax.',
        "Against another package, deepuq_jax runs in its faster style.",
    ]
    return markers.block("speed", [*lines, "", *_tables(parts)])


def limits(data: dict[str, Any]) -> str:
    """The block of limits, and of the shares of them that are reached."""
    machines = [part["machine"] for part in data["workloads"].values()]
    bandwidths = _range([machine["bandwidth"] / 1e9 for machine in machines], 1)
    flops = _range([machine["flops"] / 1e9 for machine in machines], 0)
    normals = _range([machine["normal_s"] * 1e9 for machine in machines], 1)
    text = (
        f"In the runs of these rows the machine reached {bandwidths} GB/s and {flops} GFLOP/s in a float32 product, "
        f"and `jax.random` drew a normal in {normals} ns. The last two columns compare the deterministic network and "
        "deepuq_jax (weight sampling, in its faster style), each with its own limit."
    )
    lines = [*markers.wrapped(text), "", _LIMITS, "| --- " * 8 + "|"]
    return markers.block("limits", [*lines, *(_limits_line(name, part) for name, part in data["workloads"].items())])


def write(data: dict[str, Any], readme: Path = README, page: Path = PAGE, notes: Path = NOTES) -> None:
    """Put the blocks into their pages."""
    markers.write(readme, "speed", speed_in_short(data))
    markers.write(page, "speed", speed(data))
    markers.write(notes, "limits", limits(data))


def _preamble(data: dict[str, Any]) -> list[str]:
    parts = list(data["workloads"].values())
    where = parts[0]["environment"]
    commits = ", ".join(dict.fromkeys(part["environment"]["commit"] for part in parts))
    versions = ", ".join(f"{name} {where['versions'][name]}" for name in ("jax", "torch"))
    return [
        f"{where['device']}, {where['cores']} cores, {where['precision']}; {versions}; commits {commits}.",
        "Times are medians, in µs per training step or per prediction. In parentheses (x floor): the multiple of the",
        "same network without uncertainty in the same style. deepuq_jax samples weights; its other factors are those",
        "of its faster style. The original is uqdeepnn, in torch. The best peer is the fastest other library, the",
        "original included. A factor below 1 means faster than the reference.",
    ]


def _tables(parts: dict[str, Any]) -> list[str]:
    """A table of training steps, and a table of predictions."""
    lines: list[str] = []
    for kind, header in (("train", _TRAINING), ("predict", _PREDICTION)):
        chosen = {name: part for name, part in parts.items() if name.startswith(kind)}
        if chosen:
            lines += ["", header, "| --- " * (header.count("|") - 1) + "|"]
            lines += [_line(name, part) for name, part in chosen.items()]
    return lines[1:]


def _line(name: str, part: dict[str, Any]) -> str:
    original, ours = results.original_of(part), _ours(part)
    styles = ("call", "scanned") if name.startswith("train") else ("scanned",)
    cells = [
        name,
        *(_time_and_ratio(_first(part, "deepuq_jax", style), part) for style in styles),
        times(results.ratio(ours, original)),
        *(times(results.ratio(_first(part, "deepuq_torch", style), original)) for style in ("eager", "compiled")),
        _best_peer(part, ours),
    ]
    return f"| {' | '.join(cells)} |"


def _time_and_ratio(row: Row | None, part: dict[str, Any]) -> str:
    if row is None:
        return "-"
    return f"{micro(row['median_s'])} ({times(results.ratio(row, results.floor_of(row, part)))})"


def _best_peer(part: dict[str, Any], ours: Row | None) -> str:
    peers = [row for row in results.right(part) if row["package"] not in (*OURS, FLOOR)]
    peer = min(peers, key=results.median, default=None)
    if peer is None or ours is None:
        return "-"
    return f"{peer['contestant']}: {times(results.ratio(peer, ours))}"


def _limits_line(name: str, part: dict[str, Any]) -> str:
    numbers, bound = part["limits"]["bayesian"], part["limits"]["deterministic"]["limit_s"]
    jax = _ours(part)
    floor = None if jax is None else results.floor_of(jax, part)
    cells = [
        name,
        *(f"{numbers[kind]:,}" for kind in ("bytes", "operations", "normals")),
        micro(numbers["limit_s"]),
        "-" if jax is None else micro(jax["median_s"]),
        _share(floor, bound),
        _share(jax, numbers["limit_s"]),
    ]
    return f"| {' | '.join(cells)} |"


def _range(values: list[float], digits: int) -> str:
    """Write the smallest and the largest value.

    >>> _range([6.47, 7.82], 1), _range([1.0], 0)
    ('6.5 to 7.8', '1')
    """
    low, high = (f"{value:,.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _share(row: Row | None, limit: float) -> str:
    return "-" if row is None or row["check"] != results.OK else f"{limit / row['median_s']:.0%}"


def _ours(part: dict[str, Any]) -> Row | None:
    """Weight sampling, scanned or by calls, whichever is faster."""
    styles = [_first(part, "deepuq_jax", style) for style in ("scanned", "call")]
    return min((row for row in styles if row is not None), key=results.median, default=None)


def _first(part: dict[str, Any], package: str, style: str) -> Row | None:
    """A package's first row of a style whose check is ok.

    Weight sampling comes before the other estimators.
    """
    rows = (row for row in results.right(part) if row["package"] == package and row["style"] == style)
    return next(rows, None)
