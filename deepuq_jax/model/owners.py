"""Find the objects that hold posteriors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deepuq_jax.model.structure import bayesian_nodes
from deepuq_jax.model.variables import unwrap
from deepuq_jax.posterior import MeanField


def weight_owners(model: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every object that holds a posterior and its prior.

    Yields:
        (dotted path, object), the model itself first.
    """
    if posteriors_of(model):
        yield path, model
    for below, node in bayesian_nodes(model):
        yield from weight_owners(node, join_paths(path, below))


def posteriors_of(owner: Any) -> dict[str, MeanField]:
    """Return an object's posteriors, keyed by attribute name.

    Without an attribute `prior` there are none.
    """
    attributes = getattr(owner, "__dict__", {})
    if "prior" not in attributes:
        return {}
    values = {name: unwrap(value) for name, value in attributes.items()}
    return {name: value for name, value in values.items() if isinstance(value, MeanField)}


def parameter_name(attribute: str) -> str:
    """Return the parameter to which a posterior's attribute belongs.

    >>> parameter_name("kernel_posterior"), parameter_name("posterior")
    ('kernel', '')
    """
    return attribute.removesuffix("posterior").removesuffix("_")


def means_of(owner: Any) -> Any:
    """Return the means that the prior of an object applies to.

    The single posterior of a model is itself a pytree of parameters; the posteriors of a layer are its parameters,
    keyed by name.
    """
    means = {parameter_name(name): posterior.mu for name, posterior in posteriors_of(owner).items()}
    return means.get("", means)


def join_paths(*paths: str) -> str:
    """Join dotted paths, some possibly empty.

    >>> join_paths("layers.0", "", "kernel")
    'layers.0.kernel'
    """
    return ".".join(filter(None, paths))
