"""The tables in short, for the READMEs: speed and limits, a row for each workload, each between two markers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.markers import block, put
from benchmarks.speed import results
from benchmarks.speed.check import OK
from benchmarks.speed.table import micro, times

README = Path(__file__).parents[2] / "README.md"
NOTES = Path(__file__).parents[1] / "README.md"
OURS = ("deepuq_jax", "deepuq_torch")
_SPEED = "| workload | deepuq_jax, µs | x JAX floor | x original | deepuq_torch x original | best peer, x deepuq_jax |"
_LIMITS = (
    "| workload | bytes | operations | normals | limit, µs | deepuq_jax, µs | JAX floor of its own limit | deepuq_jax |"
)


def speed(data: dict[str, Any]) -> str:
    """The speed of each workload, made of a result file's data alone."""
    lines = [*_preamble(data), "", _SPEED, "| --- " * 6 + "|"]
    return block("speed", [*lines, *(_speed_line(name, part) for name, part in data["workloads"].items())])


def limits(data: dict[str, Any]) -> str:
    """The two numbers of each workload, the limit that they imply, and where we stand."""
    machine = next(iter(data["workloads"].values()))["machine"]
    lines = [
        f"The machine: {machine['bandwidth'] / 1e9:.1f} GB/s, {machine['flops'] / 1e9:,.0f} GFLOP/s in a float32",
        f"product, {machine['normal_s'] * 1e9:.1f} ns a normal by `jax.random`. The last two columns are the share of",
        "the limit that the deterministic network and deepuq_jax (weight sampling, in its faster style) reach, each",
        "of its own.",
        "",
        _LIMITS,
        "| --- " * 8 + "|",
    ]
    return block("limits", [*lines, *(_limits_line(name, part) for name, part in data["workloads"].items())])


def write(data: dict[str, Any], readme: Path = README, notes: Path = NOTES) -> None:
    """Put both blocks into their files."""
    for path, name, new in ((readme, "speed", speed(data)), (notes, "limits", limits(data))):
        path.write_text(put(path.read_text(encoding="utf-8"), name, new), encoding="utf-8")


def _preamble(data: dict[str, Any]) -> list[str]:
    parts = list(data["workloads"].values())
    where = parts[0]["environment"]
    commits = ", ".join(dict.fromkeys(part["environment"]["commit"] for part in parts))
    versions = ", ".join(f"{name} {where['versions'][name]}" for name in ("jax", "torch"))
    return [
        f"{where['device']}, {where['cores']} cores, {where['precision']}; {versions}; commit {commits}. Times are",
        "medians a step (a call, in prediction). deepuq_jax: weight sampling, the faster of a scanned epoch and a call",
        "a step (convolutions, for which `fit` takes it too); its floor is the same network without uncertainty in the",
        "same style. deepuq_torch: the faster of eager and compiled. Original: uqdeepnn, torch. The best peer is the",
        "fastest of all others, the original among them. Below 1: faster than what the column is held against.",
    ]


def _speed_line(name: str, part: dict[str, Any]) -> str:
    right = [row for row in results.timed(part) if row["check"] == OK]
    jax, original = _ours(right), results.original_of(part)
    torch = min((r for r in right if r["package"] == "deepuq_torch"), key=_median, default=None)
    peers = [row for row in right if row["package"] not in (*OURS, results.FLOOR)]
    peer = min(peers, key=_median, default=None)
    cells = [
        name,
        "-" if jax is None else micro(jax["median_s"]),
        times(results.ratio(jax, None if jax is None else results.floor_of(jax, part))),
        times(results.ratio(jax, original)),
        times(results.ratio(torch, original)),
        "-" if peer is None or jax is None else f"{peer['contestant']}: {times(results.ratio(peer, jax))}",
    ]
    return f"| {' | '.join(cells)} |"


def _limits_line(name: str, part: dict[str, Any]) -> str:
    numbers, bound = part["limits"]["bayesian"], part["limits"]["deterministic"]["limit_s"]
    jax = _ours([row for row in results.timed(part) if row["check"] == OK])
    floor = None if jax is None else results.floor_of(jax, part)
    share = lambda row, limit: "-" if row is None or row["check"] != OK else f"{limit / row['median_s']:.0%}"
    cells = [
        name,
        *(f"{numbers[what]:,}" for what in ("bytes", "operations", "normals")),
        micro(numbers["limit_s"]),
        "-" if jax is None else micro(jax["median_s"]),
        share(floor, bound),
        share(jax, numbers["limit_s"]),
    ]
    return f"| {' | '.join(cells)} |"


def _ours(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Weight sampling in a loop or, where that is faster, a call a step."""
    first = lambda style: next((r for r in rows if r["package"] == "deepuq_jax" and r["style"] == style), None)
    # The first row of a style: weight sampling comes before the other estimators.
    styles = [first(style) for style in ("scanned", "call")]
    return min((row for row in styles if row is not None), key=_median, default=None)


def _median(row: dict[str, Any]) -> float:
    return row["median_s"]
