"""The rows of a stage, printed and written to a file one by one.

A stage that is stopped halfway keeps the rows that it has.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax

Number = float | int | bool | str


class Record:
    """The rows of one stage.

    Args:
        stage: the name of the stage.
        file: rewritten after each row; None writes nothing.
    """

    def __init__(self, stage: str, file: Path | None):
        self.stage = stage
        self._file = file
        self.rows: dict[str, dict[str, Number]] = {}

    def add(self, row: str, **values: Number) -> None:
        """Add a row, print it, and rewrite the file."""
        self.rows[row] = values
        shown = "  ".join(f"{name}={_short(value)}" for name, value in values.items())
        print(f"{row:62s} {shown}", flush=True)
        if self._file is not None:
            write(self._file, {self.stage: self.as_dict()})

    def as_dict(self) -> dict[str, Any]:
        """Return the rows with the device and the settings of the measurement."""
        return {
            "device": jax.devices()[0].device_kind,
            "jax": jax.__version__,
            "flags": os.environ.get("XLA_FLAGS", ""),
            "rows": self.rows,
        }


def write(file: Path, stages: dict[str, Any]) -> None:
    """Merge stages into a file, in one atomic replacement."""
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(known | stages, indent=1) + "\n", encoding="utf-8")
    os.replace(part, file)


def markdown(stages: dict[str, Any]) -> str:
    """Render a table per stage."""
    lines = ["# Measured on a GPU", "", "Times are in microseconds, medians; `us_again` repeats the measurement."]
    for stage, found in stages.items():
        flags = f", flags `{found['flags']}`" if found["flags"] else ""
        lines += ["", f"## {stage}", "", f"{found['device']}, jax {found['jax']}{flags}.", "", "| row | values |"]
        lines.append("| --- | --- |")
        for row, values in found["rows"].items():
            lines.append(f"| {row} | {', '.join(f'{name} {_short(value)}' for name, value in values.items())} |")
    return "\n".join([*lines, ""])


def _short(value: Number) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
