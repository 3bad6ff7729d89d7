"""State-dict keys of later releases of the documented API."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from ._checks import fault

_MLP_KEY = re.compile(r"layers\.(\d+)\.((?:weight|bias)_posterior\.(?:mu|rho))")


def rename_later_keys(state_dict: MutableMapping[str, Any], prefix: str, hidden: int) -> None:
    """Rename keys of later releases in place.

    They become the documented keys: ``hidden_layers.{i}.*`` becomes ``layers.{2 i}.*``, and ``output_layer.*`` becomes
    ``layers.{2 hidden}.*``. Keys of layers that a network of ``hidden`` hidden layers does not have keep their names,
    so loading reports them as unexpected and does not mistake them for other layers.
    """
    renames = {f"{prefix}hidden_layers.{i}.": f"{prefix}layers.{2 * i}." for i in range(hidden)}
    renames[f"{prefix}output_layer."] = f"{prefix}layers.{2 * hidden}."
    for key in list(state_dict):
        for old, new in renames.items():
            renamed = new + key[len(old) :]
            if key.startswith(old) and renamed not in state_dict:
                state_dict[renamed] = state_dict.pop(key)


def to_later_layout(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the keys of an MLP's state dict as later releases do.

    The documented library loads the result from version 0.1.12 on. ``BayesByBackpropMLP`` of this package loads either
    layout without this function, and the keys of the other models are the same in both layouts.

    Args:
        state_dict: result of ``BayesByBackpropMLP.state_dict()``, with keys ``layers.{0,2,4,...}.*``.

    Returns:
        a new dict with the same tensors: ``layers.{2 i}.*`` becomes ``hidden_layers.{i}.*``, and the last layer
        ``output_layer.*``.

    Raises:
        ValueError: a key is not that of such a model, or a layer is missing.
        TypeError: ``state_dict`` is not a mapping whose keys are strings.

    Example:
        >>> from deepuq_torch import BayesByBackpropMLP
        >>> renamed = to_later_layout(BayesByBackpropMLP(3, [8], 2).state_dict())
        >>> list(renamed)[0], list(renamed)[-1]
        ('hidden_layers.0.weight_posterior.mu', 'output_layer.bias_posterior.rho')
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(key, str) for key in state_dict):
        raise TypeError(fault("state_dict", "to be a mapping of names to tensors", type(state_dict).__name__))
    matches = {key: _MLP_KEY.fullmatch(key) for key in state_dict}
    indices = sorted({int(match[1]) for match in matches.values() if match is not None})
    wrong = [key for key, match in matches.items() if match is None]
    if wrong or indices != list(range(0, 2 * len(indices), 2)) or not indices:
        got = repr(wrong[0]) if wrong else f"layers {indices}"
        raise ValueError(fault("state_dict", "to hold the keys layers.{0,2,4,...}.* of a BayesByBackpropMLP", got))
    renamed = {}
    for key, match in matches.items():
        assert match is not None  # for the type checker
        index = int(match[1])
        name = "output_layer" if index == indices[-1] else f"hidden_layers.{index // 2}"
        renamed[f"{name}.{match[2]}"] = state_dict[key]
    return renamed
