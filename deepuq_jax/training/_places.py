"""Where the posteriors are among the leaves of a pytree of parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from deepuq_jax._paths import dotted


class Place(NamedTuple):
    """The positions of a posterior among the leaves.

    Attributes:
        mu: position of the means.
        spread: position of rho, or of the held sigma.
        is_scale: whether `spread` is a held sigma, whose gradient is the derivative with respect to log sigma.
    """

    mu: int
    spread: int
    is_scale: bool


def posterior_places(params: Any) -> dict[str, Place]:
    """Find the posteriors of a pytree, by the dotted path of mu."""
    paths = [tuple(dotted(path).split(".")) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    scales = {path: i for i, path in enumerate(paths)}
    # `nnx.Optimizer` passes Variables to `init`, whose paths end in "value", and their arrays to `update`.
    arrays = {path[:-1] if path[-1] == "value" else path: i for i, path in enumerate(paths)}
    found = {}
    for path, mu in arrays.items():
        for i in (i for i, word in enumerate(path) if word == "mu"):
            rho = arrays.get((*path[:i], "rho", *path[i + 1 :]))
            # The array of a `Scale` is its `value`.
            scale = scales.get((*path[:i], "scale", *path[i + 1 :], "value"))
            spread = rho if scale is None else scale
            if spread is not None:
                found[".".join(path)] = Place(mu, spread, is_scale=scale is not None)
    return found


def has_posterior(params: Any) -> bool:
    """Whether a pytree of parameters holds a posterior."""
    return bool(posterior_places(params))


def holds_scales(params: Any) -> bool:
    """Whether the posteriors of a pytree of parameters hold their scales."""
    return any(place.is_scale for place in posterior_places(params).values())


def other_leaves(leaves: list[Any], places: dict[str, Place]) -> dict[int, Any]:
    """Return the leaves that belong to no posterior, by position."""
    taken = {i for place in places.values() for i in (place.mu, place.spread)}
    return {i: leaf for i, leaf in enumerate(leaves) if i not in taken}
