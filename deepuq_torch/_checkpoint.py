"""Key names of later releases of the documented API, read into the documented ones."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any


def rename_later_keys(state_dict: MutableMapping[str, Any], prefix: str, hidden: int) -> None:
    """Rename ``hidden_layers.{i}.*`` to ``layers.{2 i}.*`` and ``output_layer.*`` to ``layers.{2 hidden}.*``, in place.

    Layers that a network of ``hidden`` hidden layers does not have keep their names, so that loading still reports
    them as unexpected instead of taking one for another.
    """
    renames = {f"{prefix}hidden_layers.{i}.": f"{prefix}layers.{2 * i}." for i in range(hidden)}
    renames[f"{prefix}output_layer."] = f"{prefix}layers.{2 * hidden}."
    for key in list(state_dict):
        for old, new in renames.items():
            renamed = new + key[len(old) :]
            if key.startswith(old) and renamed not in state_dict:
                state_dict[renamed] = state_dict.pop(key)
