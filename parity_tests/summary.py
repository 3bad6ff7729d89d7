"""Short forms of the report: a table for docs/results.md, and a smaller one for the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parity_tests import markers

ROOT = Path(__file__).parents[1]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "results.md"

# Pairs (part of a case's name, family of the case). The first part that a name contains determines its family.
_FAMILIES = (
    ("steps of ", "training, 200 steps"),
    ("predict_vi_uq", "`predict_vi_uq`"),
    ("vi_elbo_step", "`vi_elbo_step`"),
    ("negative_elbo", "`negative_elbo`"),
    ("kl", "KL"),
    ("log_prob", "log densities"),
    ("sigma", "sigma, its inverse, log sigma"),
    ("reparameterize", "a draw"),
    ("", "layers and networks"),
)
PAIRS = {"jax torch": "JAX to torch", "jax reference": "JAX to exact", "torch reference": "torch to exact"}


def block(data: dict[str, Any]) -> str:
    """Make the block of the page of results: a row per family of functions and dtype."""
    lines = [*_preamble(data), "", *_header("| | dtype |")]
    for family in families():
        for dtype in dtypes(data):
            rows = [row for row in data["rows"] if row["dtype"] == dtype and family_of(row["case"]) == family]
            if rows:
                lines.append(_line(f"{family} | {dtype}", rows))
    return markers.block("parity", lines)


def block_in_short(data: dict[str, Any]) -> str:
    """Make the block of the README: a row per dtype."""
    text = (
        "Each error is the largest over all values and gradients. Its unit is eps times the size of the result, as the "
        "tolerance of its case defines size. The last column is the largest ratio of an error to its tolerance."
    )
    lines = [*markers.wrapped(text), "", *_header("| dtype |")]
    for dtype in dtypes(data):
        lines.append(_line(dtype, [row for row in data["rows"] if row["dtype"] == dtype], with_absolute=False))
    return markers.block("parity", lines)


def families() -> list[str]:
    """List the families, in the order of the page."""
    return [family for _, family in reversed(_FAMILIES)]


def family_of(case: str) -> str:
    """Return the family of a case, by its name."""
    return next(family for part, family in _FAMILIES if part in case)


def write(data: dict[str, Any], readme: Path = README, page: Path = PAGE) -> None:
    """Put the blocks into the README and the page of results."""
    markers.write(readme, "parity", block_in_short(data))
    markers.write(page, "parity", block(data))


def dtypes(data: dict[str, Any]) -> list[str]:
    """List the dtypes of the rows, in their order."""
    return list(dict.fromkeys(row["dtype"] for row in data["rows"]))


def _header(first: str) -> list[str]:
    columns = first.count("|") + 1 + len(PAIRS)
    return [f"{first} cases | " + " | ".join(PAIRS.values()) + " | of the tolerance |", "| --- " * columns + "|"]


def _preamble(data: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {data['versions'][name]}" for name in ("jax", "torch"))
    return markers.wrapped(
        f"JAX on {data['devices']['jax']}, torch on {data['devices']['torch']}; {versions}; TF32 off. A cell is the "
        "largest error over all values and gradients, in units of eps times the magnitude that its tolerance refers "
        "to; in parentheses, the largest absolute error, which says little for gradients as large as 1e30. Exact "
        "results come from 60-digit arithmetic. The last column is the largest ratio of an error to its tolerance."
    )


def _line(name: str, rows: list[dict[str, Any]], *, with_absolute: bool = True) -> str:
    cases = len({row["case"] for row in rows})
    cells = [_cell([row["errors"][pair] for row in rows if pair in row["errors"]], with_absolute) for pair in PAIRS]
    shares = [error["share"] for row in rows for pair, error in row["errors"].items() if pair in PAIRS]
    used = "beyond" if None in shares else f"{max(shares):.2g}"
    return f"| {name} | {cases} | " + " | ".join(cells) + f" | {used} |"


def _cell(errors: list[dict[str, float | None]], with_absolute: bool) -> str:
    if not errors:
        return "-"
    ulps, absolutes = ([error[measure] for error in errors] for measure in ("ulp", "absolute"))
    known = [[value for value in values if value is not None] for values in (ulps, absolutes)]
    if len(known[0]) + len(known[1]) < 2 * len(errors):
        return "not finite"
    return f"{max(known[0]):.2g} eps" + (f" ({max(known[1]):.1e})" if with_absolute else "")
