"""The training or evaluation mode of a model."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax.model.state import with_streams
from deepuq_jax.model.structure import is_module

# The attributes by which Flax modules keep their mode.
ATTRIBUTES: tuple[str, ...] = ("deterministic", "use_running_average")
Mode: TypeAlias = dict[str, bool] | None
TRAINING: Mode = dict.fromkeys(ATTRIBUTES, False)
EVALUATION: Mode = dict.fromkeys(ATTRIBUTES, True)
_MIXED: tuple[Mode, ...] = (
    {"deterministic": False, "use_running_average": True},
    {"deterministic": True, "use_running_average": False},
)


def with_mode(model: Any, mode: Mode) -> Any:
    """Copy a model, and set its mode unless it is None."""

    def change(node: Any) -> Any:
        if not isinstance(node, nnx.Module):
            return node
        node = with_streams(node, None)
        node.set_attributes(raise_if_not_found=False, **(mode or {}))
        return node

    return jax.tree.map(change, model, is_leaf=is_module)


def _is_in_mode(model: Any, mode: Mode) -> bool:
    """Whether setting a mode leaves the model as it is.

    Setting and comparing works for networks of every library, which keep their modes in many places.
    """
    return jax.tree.structure(with_mode(model, mode)) == jax.tree.structure(model)


def common_mode(model: Any) -> str | None:
    """Return "train" or "eval" if all parts agree, else None.

    It is None for a model without modes, too.
    """
    is_trained, is_evaluated = _is_in_mode(model, TRAINING), _is_in_mode(model, EVALUATION)
    if is_trained == is_evaluated:
        return None
    return "train" if is_trained else "eval"


def mode_of(model: Any, path: str) -> Mode:
    """Return the mode of a model, or None without modes.

    Raises:
        ValueError: its parts differ in `deterministic` or in `use_running_average`.
    """
    is_trained, is_evaluated = _is_in_mode(model, TRAINING), _is_in_mode(model, EVALUATION)
    if is_trained and is_evaluated:
        return None
    if is_trained or is_evaluated:
        return TRAINING if is_trained else EVALUATION
    for mode in _MIXED:
        if _is_in_mode(model, mode):
            return mode
    what = "to be in one mode (call its train() or eval() before you save it)"
    raise ValueError(expected(path or "model", what, "parts in both modes"))


def check_mode(mode: Any) -> Mode:
    """Require a mode as `mode_of` returns it."""
    is_mode = mode is None or (isinstance(mode, dict) and set(mode) == set(ATTRIBUTES))
    if not is_mode or not all(isinstance(value, bool) for value in (mode or {}).values()):
        raise ValueError(expected("mode", "to be null or an object of booleans", f"{mode!r:.100}"))
    return mode
