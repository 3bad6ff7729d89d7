"""Codecs of frozen dataclasses: priors, likelihoods, and users' own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from deepuq_jax.priors.base import OwnPrior, Prior, as_prior
from deepuq_jax.priors.learned import LearnedPrior
from deepuq_jax.saving._builder import Node
from deepuq_jax.saving._codec import Codec, Describe, join


class DataclassCodec(Codec):
    """The codec of a frozen dataclass, whose settings are its fields.

    Args:
        kind: the class.
        name: its name in the file.
    """

    def __init__(self, kind: type, name: str):
        self.kind: Any = kind
        self.name = name

    def _fields(self) -> list[str]:
        return [field.name for field in fields(self.kind) if field.init]

    def describe(self, value: Any, path: str, describe: Describe) -> dict[str, Any]:
        """Describe the fields."""
        return {name: describe(getattr(value, name), join(path, name)) for name in self._fields()}

    def build(self, node: Node) -> Any:
        """Call the class with the fields."""
        return self.kind(**{name: node.build(name) for name in self._fields()})


class LearnedPriorCodec(Codec):
    """The codec of a prior with trained scales, kept as logarithms."""

    name = "LearnedPrior"

    def describe(self, value: LearnedPrior, path: str, describe: Describe) -> dict[str, Any]:
        """Describe the prior inside, and the log scales."""
        logs = value.log_scales
        return {
            "prior": describe(value.prior, join(path, "prior")),
            "log_scales": {name: describe(logs[name], join(path, f"log_scales.{name}")) for name in sorted(logs)},
        }

    def build(self, node: Node) -> LearnedPrior:
        """Build the prior with the log scales of the file."""
        fresh = LearnedPrior(node.build("prior"))
        logs = {name: node.builder.value(value) for name, value in node["log_scales"].items()}
        if set(logs) != set(fresh.log_scales):
            raise ValueError(f"Expected log_scales of {', '.join(fresh.log_scales)}; got {', '.join(logs)}.")
        return LearnedPrior.tree_unflatten(fresh.prior, [logs])


class OwnPriorCodec(Codec):
    """The codec of the wrapper around a user's registered prior."""

    name = "OwnPrior"

    def describe(self, value: OwnPrior, path: str, describe: Describe) -> dict[str, Any]:
        """Describe the user's prior."""
        return {"prior": describe(value.prior, join(path, "prior"))}

    def build(self, node: Node) -> Prior:
        """Build the user's prior and wrap it."""
        return as_prior(node.build("prior"))
