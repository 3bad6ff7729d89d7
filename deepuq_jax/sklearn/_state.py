"""The state of a fitted estimator, for pickle, joblib and skops."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np

from deepuq_jax.saving import load, save

_MODEL, _FILE = "model_", "model_file"


def packed(state: dict[str, Any]) -> dict[str, Any]:
    """Replace the model in a state by the bytes of its file.

    The model is then a NumPy array, which skops can write without pickle. A model that cannot be saved, or that `load`
    cannot build without `like` (an activation or a prior of the user's own), stays as it is.
    """
    if _MODEL not in state:
        return state
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        try:
            save(path, state[_MODEL])
            load(path)
        except (TypeError, ValueError):
            return state
        content = np.fromfile(path, np.uint8)
    return {name: value for name, value in state.items() if name != _MODEL} | {_FILE: content}


def unpacked(state: dict[str, Any]) -> dict[str, Any]:
    """Restore the state from before `packed`."""
    if _FILE not in state:
        return state
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        state[_FILE].tofile(path)
        model = load(path)
    return {name: value for name, value in state.items() if name != _FILE} | {_MODEL: model}
