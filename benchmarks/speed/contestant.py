"""Contestants: a name, a call style, and set-ups of workloads."""

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
    """Backend ("cpu" or "gpu") and arithmetic ("float32", "tf32" or "bfloat16")."""

    backend: str = "cpu"
    precision: str = "float32"


# A trainer takes a number of steps, continues training, and returns the loss of each step (arrays of either framework).
Trainer = Callable[[int], Any]
# A predictor draws anew at each call, and returns mean and variance, each [inputs, outputs]. The variance of n draws
# divides by n.
Predictor = Callable[[], tuple[Any, Any]]


@dataclass(frozen=True)
class Contestant:
    """A way of doing the workloads.

    Attributes:
        package: the distribution, or `FLOOR`.
        variant: distinguishes the contestant from others of its package: estimator, call style.
        framework, style: select the floor that the contestant is compared with. Styles: "scanned" (one call per epoch),
            "call" (one jitted call per step), "flat" (the same with the leaves of the state as a donated list),
            "eager", "compiled".
        train, predict: set up a workload; they raise `Unsupported` if the package lacks a feature.
        kl: how the loss includes the KL: "exact", "sampled" (at the drawn weights) or "none" (not in the loss).
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
        """The package, and the variant if there is any."""
        return f"{self.package}, {self.variant}" if self.variant else self.package


class Unsupported(Exception):
    """The package lacks a feature, which the message names."""


def is_installed(module: str) -> bool:
    """Whether a module can be found; does not import it."""
    return importlib.util.find_spec(module) is not None


def load(module: str) -> Any:
    """Import a peer without its types, as the peer may be absent during type checks.

    Warnings at import concern the peer's own developers and are silenced.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)
