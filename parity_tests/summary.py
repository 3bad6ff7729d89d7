"""The report in short, for the README: a row for each family of functions and precision, between two markers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- parity:begin -->", "<!-- parity:end -->"

# Part of a case's name, and the family that it puts the case into; the first that fits counts.
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
_PAIRS = {"jax torch": "JAX to torch", "jax reference": "JAX to exact", "torch reference": "torch to exact"}


def block(data: dict[str, Any]) -> str:
    """The markers and what stands between them, made of a report's data alone."""
    lines = [BEGIN, "", *_preamble(data), ""]
    lines.append("| | dtype | cases | " + " | ".join(_PAIRS.values()) + " | of the tolerance |")
    lines.append("| --- " * (4 + len(_PAIRS)) + "|")
    dtypes = list(dict.fromkeys(row["dtype"] for row in data["rows"]))
    for _, family in reversed(_FAMILIES):
        for dtype in dtypes:
            rows = [row for row in data["rows"] if row["dtype"] == dtype and family_of(row["case"]) == family]
            if rows:
                lines.append(_line(family, dtype, rows))
    return "\n".join([*lines, "", END])


def family_of(case: str) -> str:
    """The family that a case of this name belongs to."""
    return next(family for part, family in _FAMILIES if part in case)


def put(text: str, new: str) -> str:
    """A text with the block in place of what stood between its markers.

    >>> put("a <!-- parity:begin --> old <!-- parity:end --> b", "new")
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
    versions = ", ".join(f"{name} {data['versions'][name]}" for name in ("jax", "torch"))
    return [
        f"JAX on {data['devices']['jax']}, torch on {data['devices']['torch']}; {versions}; TF32 off. A cell is the",
        "worst over values and gradients: in eps of the size that its tolerance is relative to, and absolute, which",
        "for gradients as large as 1e30 says little. Exact: 60-digit arithmetic. Last, the most used of a tolerance.",
    ]


def _line(family: str, dtype: str, rows: list[dict[str, Any]]) -> str:
    cases = len({row["case"] for row in rows})
    cells = [_cell([row["errors"][pair] for row in rows if pair in row["errors"]]) for pair in _PAIRS]
    shares = [error["share"] for row in rows for pair, error in row["errors"].items() if pair in _PAIRS]
    used = "beyond" if None in shares else f"{max(shares):.2g}"
    return f"| {family} | {dtype} | {cases} | " + " | ".join(cells) + f" | {used} |"


def _cell(errors: list[dict[str, float | None]]) -> str:
    if not errors:
        return "-"
    ulps, absolutes = ([error[measure] for error in errors] for measure in ("ulp", "absolute"))
    known = [[value for value in values if value is not None] for values in (ulps, absolutes)]
    if len(known[0]) + len(known[1]) < 2 * len(errors):
        return "not finite"
    return f"{max(known[0]):.2g} eps ({max(known[1]):.1e})"
