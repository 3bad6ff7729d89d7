"""Adapt Equinox modules.

Floating arrays are parameters, other arrays and `eqx.nn.State` are carried, and the rest is static. This file never
imports Equinox: it looks for it among the modules that are already imported.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax._paths import dotted
from deepuq_jax.adapters.protocol import Parts

_DEFAULT_AXIS = "batch"


@dataclass(frozen=True)
class EquinoxNet:
    """The static part of an Equinox module.

    `static` holds the leaves that are not arrays, with None in place of each array, and `treedef` the structure of all.
    """

    static: tuple[Any, ...]
    treedef: Any
    takes_key: bool
    axis_name: str
    has_state: bool

    def _rebuild(self, weights: Any, arrays: Any) -> Any:
        static = jax.tree.unflatten(self.treedef, self.static)
        return _equinox().combine(weights, arrays, static)

    def __call__(self, weights: Any, carried: Any, x: Any, key: Array | None) -> tuple[Any, Any]:
        """Call the module on each example with a separate key.

        Returns:
            (outputs, state after the call)
        """
        net = self._rebuild(weights, carried["arrays"])
        size = jax.tree.leaves(x)[0].shape[0]
        keys = jax.random.split(key, size) if key is not None and self.takes_key else None

        def call(x: Any, k: Array | None, *state: Any) -> Any:
            return net(x, *state) if k is None else net(x, *state, key=k)

        if not self.has_state:
            return jax.vmap(call, axis_name=self.axis_name)(x, keys), carried
        stateful = jax.vmap(call, in_axes=(0, 0, None), out_axes=(0, None), axis_name=self.axis_name)
        outputs, state = stateful(x, keys, carried["state"])
        return outputs, {**carried, "state": state}

    def in_mode(self, name: str, value: bool, weights: Any, carried: Any) -> EquinoxNet:
        """Set the `inference` flags of batch norms, or of all other layers."""
        eqx = _equinox()
        net = self._rebuild(weights, carried["arrays"])

        def set_mode(node: Any) -> Any:
            is_norm = isinstance(node, eqx.nn.BatchNorm)
            return eqx.nn.inference_mode(node, value) if is_norm == (name == "use_running_average") else node

        def is_leaf(node: Any) -> bool:
            return isinstance(node, eqx.Module) and hasattr(node, "inference")

        net = jax.tree.map(set_mode, net, is_leaf=is_leaf)
        return replace(self, static=_static(net)[0])

    def in_dtype(self, dtype: Any, weights: Any, carried: Any) -> EquinoxNet:
        """Return the network itself, which computes in the dtype of its arguments."""
        return self


def _equinox() -> Any:
    return sys.modules["equinox"]


def is_equinox(net: Any) -> bool:
    """Whether `net` is an Equinox module or (module, state)."""
    if "equinox" not in sys.modules:
        return False
    eqx = _equinox()
    if isinstance(net, tuple) and len(net) == 2 and isinstance(net[1], eqx.nn.State):
        net = net[0]
    return isinstance(net, eqx.Module)


def take_apart(net: Any) -> Parts:
    """Split the module into its parts, in its present mode."""
    eqx = _equinox()
    module, state = net if isinstance(net, tuple) else (net, None)
    if not callable(module):
        raise TypeError(expected("net", "to be an Equinox module that can be called", type(module).__name__))
    if state is None and any(isinstance(node, eqx.nn.StateIndex) for node in _nodes(module, eqx.nn.StateIndex)):
        what = "to be a pair (module, state) of `eqx.nn.make_with_state`, since the module has state"
        raise ValueError(expected("net", what, type(module).__name__))
    # Turn NumPy arrays into JAX arrays, so that they count as data and not as static leaves.
    module = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, module)
    params, rest = eqx.partition(module, eqx.is_inexact_array)
    carried = {"arrays": eqx.filter(rest, eqx.is_array)}
    if state is not None:
        # Copy the state, since Equinox allows each state to be used only once.
        carried["state"] = jax.tree.map(lambda leaf: leaf, state)
    static, treedef = _static(module)
    takes_key = "key" in inspect.signature(type(module).__call__).parameters
    adapter = EquinoxNet(static, treedef, takes_key, _axis_name(module), state is not None)
    in_order = tuple(dotted(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))

    def of_type(types: Any) -> list[str]:
        def is_of_type(node: Any) -> bool:
            return isinstance(node, types)

        paths: list[str] = []
        for path, node in jax.tree_util.tree_leaves_with_path(params, is_leaf=is_of_type):
            if is_of_type(node):
                paths += [dotted(path + below) for below, _ in jax.tree_util.tree_leaves_with_path(node)]
        return paths

    return Parts(adapter, params, carried, in_order, of_type)


def _static(module: Any) -> tuple[tuple[Any, ...], Any]:
    """Return the static leaves and the treedef.

    Arrays are replaced by None.
    """
    eqx = _equinox()
    leaves, treedef = jax.tree.flatten(module)
    return tuple(None if eqx.is_array(leaf) else leaf for leaf in leaves), treedef


def _nodes(module: Any, kind: type) -> list[Any]:
    leaves = jax.tree.leaves(module, is_leaf=lambda node: isinstance(node, kind))
    return [leaf for leaf in leaves if isinstance(leaf, kind)]


def _axis_name(module: Any) -> str:
    """Find the batch axis name of the batch norms."""
    names = {node.axis_name for node in _nodes(module, _equinox().nn.BatchNorm)}
    names = {name for name in names if isinstance(name, str)}
    if len(names) > 1:
        raise ValueError(expected("net", "to have one axis name in its batch norms", f"{sorted(names)}"))
    return names.pop() if names else _DEFAULT_AXIS
