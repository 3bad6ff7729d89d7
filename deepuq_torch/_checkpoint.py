"""State-dict keys of later releases of the documented API."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any


def rename_later_keys(state_dict: MutableMapping[str, Any], prefix: str, hidden: int) -> None:
    """Rename keys of later releases in place.

    They become the documented keys: ``hidden_layers.{i}.*`` becomes ``layers.{2 i}.*``, and ``output_layer.*`` becomes
    ``layers.{2 hidden}.*``. Keys of layers that a network of ``hidden`` hidden layers does not have keep their names:
    loading then reports them as unexpected, and does not mistake them for other layers.
    """
    renames = {f"{prefix}hidden_layers.{i}.": f"{prefix}layers.{2 * i}." for i in range(hidden)}
    renames[f"{prefix}output_layer."] = f"{prefix}layers.{2 * hidden}."
    for key in list(state_dict):
        for old, new in renames.items():
            renamed = new + key[len(old) :]
            if key.startswith(old) and renamed not in state_dict:
                state_dict[renamed] = state_dict.pop(key)
