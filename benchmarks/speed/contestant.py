"""What takes part: a name, how it is called, and functions that set a workload up for it."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.speed.workloads import Predict, Train

Style = Literal["scanned", "call", "flat", "eager", "compiled"]
FLOOR = "deterministic"  # the package name of the networks without uncertainty
ORIGINAL = "uqdeepnn"


@dataclass(frozen=True)
class Setting:
    """Where and in which arithmetic: "cpu" or "gpu"; "float32", "tf32" or "bfloat16"."""

    backend: str = "cpu"
    precision: str = "float32"


# Takes a number of steps, goes on training, and returns the loss of each (arrays of either framework).
Trainer = Callable[[int], Any]
# Draws anew at each call, and returns (mean, variance divided by the number of draws), [inputs, outputs].
Predictor = Callable[[], tuple[Any, Any]]


@dataclass(frozen=True)
class Contestant:
    """One way of doing the workloads.

    Attributes:
        package: the distribution it comes from, or `FLOOR`.
        variant: what tells it from the package's other contestants: estimator, call style.
        framework, style: which floor it is held against. Styles: "scanned" (an epoch in one call), "call" (a jit call
            a step), "flat" (the same with the leaves of the state as a donated list), "eager", "compiled".
        train, predict: set a workload up; they raise `Unsupported` where the package has no such thing.
        kl: how its loss takes the KL: "exact", "sampled" (at the drawn weights) or "none" (not in its loss).
    """

    package: str
    variant: str
    framework: Literal["jax", "torch"]
    style: Style
    train: Callable[[Train, Setting], Trainer] | None = None
    predict: Callable[[Predict, Setting], Predictor] | None = None
    kl: Literal["exact", "sampled", "none"] = "exact"

    @property
    def name(self) -> str:
        """Package, and variant where there is one."""
        return f"{self.package}, {self.variant}" if self.variant else self.package


class Unsupported(Exception):
    """The package has no such thing; the message says what."""


def is_installed(module: str) -> bool:
    """Whether a module can be imported, found without importing it."""
    return importlib.util.find_spec(module) is not None


def load(module: str) -> Any:
    """A module that may be absent where types are checked; its warnings at import are for its own developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)
