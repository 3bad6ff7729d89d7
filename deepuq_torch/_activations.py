"""Activations by their documented names."""

from __future__ import annotations

from torch import nn

from ._checks import fault

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
}
ACTIVATION_TYPES = frozenset(_ACTIVATIONS.values())
ACTIVATION_NAMES = {kind: name for name, kind in _ACTIVATIONS.items()}


def activation_module(name: str) -> nn.Module:
    """Make a module of this name, in any case."""
    if not isinstance(name, str):
        raise TypeError(fault("activation", "to be a string", repr(name)))
    if name.lower() not in _ACTIVATIONS:
        raise ValueError(fault("activation", f"to be one of {', '.join(_ACTIVATIONS)}", repr(name)))
    return _ACTIVATIONS[name.lower()]()
