"""Select the Bayesian parameters of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from deepuq_jax._checks import expected
from deepuq_jax._paths import dotted, path_matches
from deepuq_jax.adapters.protocol import Parts

WORDS = ("all", "kernels", "last_layer")


def select(where: Any, parts: Parts) -> Any:
    """Select parameters by the argument `where` of `bayesianize`.

    Args:
        where: as in `bayesianize`.
        parts: the parts of the network.
    Returns:
        A pytree like the parameters, with True for each selected parameter.
    Raises:
        ValueError: no parameter is selected, or the network has no order or no types to select by.
        TypeError: the selection is of another kind.
    """
    chooses = _chooser(where, parts)
    chosen = jax.tree_util.tree_map_with_path(lambda path, leaf: chooses(dotted(path), leaf), parts.params)
    if not any(jax.tree.leaves(chosen)):
        paths = [dotted(path) for path, _ in jax.tree_util.tree_leaves_with_path(parts.params)]
        raise ValueError(expected("where", f"to choose one of the parameters {', '.join(paths)}", f"{where!r}"))
    return chosen


def _chooser(where: Any, parts: Parts) -> Callable[[str, Any], object]:
    if isinstance(where, str):
        return _by_word(where, parts)
    if _is_types(where):
        if parts.of_type is None:
            raise ValueError(expected("where", "to choose by path, since these layers have no types", f"{where!r}"))
        paths = set(parts.of_type(where))
        return lambda path, leaf: path in paths
    if callable(where):
        return lambda path, leaf: bool(where(path, leaf))
    words = ", ".join(map(repr, WORDS))
    raise TypeError(expected("where", f"to be {words}, a pattern, layer types or a function of (path, leaf)", where))


def _by_word(where: str, parts: Parts) -> Callable[[str, Any], object]:
    if where == "all":
        return lambda path, leaf: True
    if where == "kernels":
        return _is_kernel
    if where != "last_layer":
        return lambda path, leaf: path_matches(where, path)
    if not parts.in_order:
        what = "to name the layer, as in 'head.*', since these parameters have no lasting order"
        raise ValueError(expected("where", what, "'last_layer'"))
    layer = parts.in_order[-1].rpartition(".")[0]
    return lambda path, leaf: path.rpartition(".")[0] == layer


def _is_types(where: Any) -> bool:
    types = where if isinstance(where, tuple) else (where,)
    return bool(types) and all(isinstance(kind, type) for kind in types)


def _is_kernel(path: str, leaf: Any) -> bool:
    """Whether the parameter is a kernel.

    A kernel has two axes or more and does not bear the name of a bias. The name is tested since the biases of attention
    have two axes.
    """
    name = path.rpartition(".")[2]
    return leaf.ndim >= 2 and name != "b" and "bias" not in name
