"""One file a family of contestants; a name here, and it takes part."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.speed.contestant import Contestant, is_installed

FAMILIES = (
    "floor_jax",
    "floor_torch",
    "deepuq_jax",
    "deepuq_torch",
    "uqdeepnn",
    "bayesian_torch",
    "torchbnn",
    "blitz",
    "posteriors",
    "ivon",
    "numpyro",
    "blackjax",
)


def _family(name: str) -> Any:
    return importlib.import_module(f"benchmarks.speed.contestants.{name}")


def present(names: tuple[str, ...] = FAMILIES) -> tuple[list[Contestant], list[str]]:
    """The contestants of the families whose package is installed, and the packages that are not."""
    families = [_family(name) for name in names]
    found = [c for family in families if is_installed(family.MODULE) for c in family.contestants()]
    return found, [family.PACKAGE for family in families if not is_installed(family.MODULE)]
