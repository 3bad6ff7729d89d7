"""The training or evaluation mode of a model, as its parts show it."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax.model.state import with_streams

# The attributes by which Flax modules keep their mode, and their values: True in evaluation.
Mode: TypeAlias = dict[str, bool] | None
_ATTRIBUTES = ("deterministic", "use_running_average")


def with_mode(model: Any, mode: Mode) -> Any:
    """Copy a model in a mode; without a mode, the copy is as the model."""

    def change(node: Any) -> Any:
        if not isinstance(node, nnx.Module):
            return node
        node = with_streams(node, None)
        node.set_attributes(raise_if_not_found=False, **(mode or {}))
        return node

    return jax.tree.map(change, model, is_leaf=lambda node: isinstance(node, nnx.Module))


def modes_of(model: Any) -> dict[str, set[bool]]:
    """Find which values of each mode attribute leave the model as it is.

    Setting the attribute and comparing works for networks of every library, whose modes are kept in many places.
    """
    structure = jax.tree.structure(model)
    return {
        name: {value for value in (True, False) if jax.tree.structure(with_mode(model, {name: value})) == structure}
        for name in _ATTRIBUTES
    }


def mode_of(model: Any, path: str) -> Mode:
    """Return the mode of a model, or None if it has none.

    Raises:
        ValueError: some of its parts are in training mode, and some in evaluation mode.
    """
    found = modes_of(model)
    if not all(found.values()):
        what = "to be in one mode (call its train() or eval() before you save it)"
        raise ValueError(expected(path or "model", what, "parts in either mode"))
    return {name: values.pop() for name, values in found.items() if len(values) == 1} or None


def common_mode(model: Any) -> str | None:
    """Return "train" or "eval" if all parts that have a mode agree, else None."""
    found = modes_of(model)
    names = [name for name, values in found.items() if len(values) < 2]
    if names and all(found[name] == {True} for name in names):
        return "eval"
    return "train" if names and all(found[name] == {False} for name in names) else None
