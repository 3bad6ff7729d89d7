"""Families of contestants: each has a file and a name below."""

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
    """Find the installed contestants, and the missing packages."""
    families = [_family(name) for name in names]
    found = [c for family in families if is_installed(family.MODULE) for c in family.contestants()]
    return found, [family.PACKAGE for family in families if not is_installed(family.MODULE)]
