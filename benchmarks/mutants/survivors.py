"""Why mutants that no test finds are harmless."""

from __future__ import annotations

import tomllib
from pathlib import Path

FILE = Path(__file__).with_name("survivors.toml")


def explanations(path: Path = FILE) -> dict[str, str]:
    """Read the reason for each survivor, by the mutant's name.

    Raises:
        ValueError: if an entry lacks its name or its reason.
    """
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("survivor", [])
    for entry in entries:
        if not entry.get("name") or not entry.get("reason"):
            raise ValueError(f"Expected a name and a reason in every entry of {path.name}; got {entry}.")
    return {entry["name"]: entry["reason"] for entry in entries}
