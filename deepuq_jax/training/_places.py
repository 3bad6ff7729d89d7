"""Where the posteriors are among the leaves of a pytree of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from deepuq_jax._paths import dotted

_Path = tuple[str, ...]


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
    """Find the posteriors of a pytree, by the dotted path of their means.

    No leaf belongs to two posteriors: of several words "rho" in a path, the innermost counts.
    """
    paths = [tuple(dotted(path).split(".")) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    positions = {path: i for i, path in enumerate(paths)}
    # `nnx.Optimizer` passes Variables to `init`, whose paths end in "value", and their arrays to `update`.
    arrays = {path[:-1] if path[-1] == "value" else path: i for i, path in enumerate(paths)}
    scales = {path[:-1]: i for path, i in positions.items() if path[-1] == "value"}
    held, plain = _pairs(scales, "held_scale", positions), _pairs(arrays, "rho", arrays)
    found: dict[str, Place] = {}
    taken: set[int] = set()
    for path, mu, spread, is_scale in [*((*pair, True) for pair in held), *((*pair, False) for pair in plain)]:
        if not taken & {mu, spread}:
            taken |= {mu, spread}
            found[".".join(path)] = Place(mu, spread, is_scale)
    return found


def _pairs(spreads: dict[_Path, int], word: str, means: dict[_Path, int]) -> Iterator[tuple[_Path, int, int]]:
    """Find means and spreads whose paths differ in one word, "mu" or the given one, the innermost words first."""
    for i in reversed(range(max(map(len, spreads), default=0))):
        for path, position in spreads.items():
            mu = (*path[:i], "mu", *path[i + 1 :])
            if path[i : i + 1] == (word,) and mu in means:
                yield mu, means[mu], position


def has_posterior(params: Any) -> bool:
    """Whether a pytree of parameters holds a posterior."""
    return bool(posterior_places(params))


def other_leaves(leaves: list[Any], places: dict[str, Place]) -> dict[int, Any]:
    """Return the leaves that belong to no posterior, by position."""
    taken = {i for place in places.values() for i in (place.mu, place.spread)}
    return {i: leaf for i, leaf in enumerate(leaves) if i not in taken}
