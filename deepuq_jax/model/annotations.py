"""Flax's annotations of how a parameter lies over a mesh.

`nnx.with_partitioning` writes them into the metadata of a Variable. The arrays of a posterior get the annotation of the
parameter that they stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

# The metadata of Flax that say how a Variable lies over a mesh.
_NAMES = ("out_sharding", "sharding_rules", "mesh")
Annotation = dict[str, Any]


def annotation_of(metadata: Mapping[str, Any]) -> Annotation:
    """Return the part of a Variable's metadata that says how it lies over a mesh.

    >>> annotation_of({"out_sharding": (None, "model"), "other": 1})
    {'out_sharding': (None, 'model')}
    """
    if not metadata.get("out_sharding"):
        return {}
    return {name: metadata[name] for name in _NAMES if metadata.get(name) is not None}


def split_annotation(value: Any) -> tuple[Any, Annotation]:
    """Split the result of an initializer into array and annotation."""
    if isinstance(value, nnx.VariableMetadata):
        return value.raw_value, annotation_of(value.metadata)
    return value, {}


def of_last_axis(annotation: Annotation, axes: int) -> Annotation:
    """Return the annotation of a bias, whose axis is the last axis of its kernel.

    Args:
        annotation: the annotation of the kernel.
        axes: number of axes of the kernel.

    >>> of_last_axis({"out_sharding": (None, "model")}, 2)
    {'out_sharding': ('model',)}
    """
    if not annotation:
        return {}
    sharding = annotation["out_sharding"]
    spec = tuple(sharding.spec if isinstance(sharding, NamedSharding) else sharding)
    last = spec[axes - 1 : axes]
    if isinstance(sharding, NamedSharding):
        return annotation | {"out_sharding": NamedSharding(sharding.mesh, PartitionSpec(*last))}
    return annotation | {"out_sharding": last} if any(last) else {}


def as_metadata(annotation: Annotation) -> dict[str, Any]:
    """Return the keywords with which Flax creates an annotated Variable.

    Flax spreads the array of the Variable over the mesh of the annotation or of `jax.set_mesh`. Without a mesh, the
    array stays where it is.
    """
    if not annotation:
        return {}
    has_mesh = "mesh" in annotation or not jax.sharding.get_abstract_mesh().empty
    return {**annotation, "eager_sharding": has_mesh and nnx.using_eager_sharding()}
