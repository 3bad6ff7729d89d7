"""The table in short, for the README: a row for each workload, between two markers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.speed import results
from benchmarks.speed.check import OK
from benchmarks.speed.table import micro, times

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
OURS = ("deepuq_jax", "deepuq_torch")
_HEADER = "| workload | deepuq_jax, µs | x JAX floor | x original | deepuq_torch x original | best peer, x deepuq_jax |"


def block(data: dict[str, Any]) -> str:
    """The markers and what stands between them, made of a result file's data alone."""
    lines = [BEGIN, "", *_preamble(data), "", _HEADER, "| --- " * 6 + "|"]
    lines += [_line(name, part) for name, part in data["workloads"].items()]
    return "\n".join([*lines, "", END])


def put(text: str, new: str) -> str:
    """A text with the block in place of what stood between its markers.

    >>> put("a <!-- speed:begin --> old <!-- speed:end --> b", "new")
    'a new b'
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"Expected the text to hold {BEGIN} and, after it, {END}, once each; got something else.")
    before, rest = text.split(BEGIN)
    return before + new + rest.split(END)[1]


def write(data: dict[str, Any], readme: Path = README) -> None:
    """Put the block into the README."""
    readme.write_text(put(readme.read_text(encoding="utf-8"), block(data)), encoding="utf-8")


def _preamble(data: dict[str, Any]) -> list[str]:
    parts = list(data["workloads"].values())
    where = parts[0]["environment"]
    commits = ", ".join(dict.fromkeys(part["environment"]["commit"] for part in parts))
    versions = ", ".join(f"{name} {where['versions'][name]}" for name in ("jax", "torch"))
    return [
        f"{where['device']}, {where['cores']} cores, {where['precision']}; {versions}; commit {commits}. Times are",
        "medians a step (a call, in prediction). deepuq_jax: weight sampling, a scanned epoch; its floor is the same",
        "network without uncertainty in the same style. deepuq_torch: the faster of eager and compiled. Original: uqdeepnn",
        "in torch. The best peer is the fastest of all others, the original among them. Below 1: faster than what the",
        "column is held against.",
    ]


def _line(name: str, part: dict[str, Any]) -> str:
    right = [row for row in results.timed(part) if row["check"] == OK]
    jax, original = _first(right, "deepuq_jax", "scanned"), results.original_of(part)
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


def _first(rows: list[dict[str, Any]], package: str, style: str) -> dict[str, Any] | None:
    """The first of a package in a style; weight sampling comes first."""
    return next((row for row in rows if row["package"] == package and row["style"] == style), None)


def _median(row: dict[str, Any]) -> float:
    return row["median_s"]
