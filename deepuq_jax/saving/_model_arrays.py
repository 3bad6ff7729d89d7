"""Convert the arrays of models and of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepuq_jax._checks import expected
from deepuq_jax.saving._codec import Leaf

_NUMBERS = (bool, int, float)


class Spec(NamedTuple):
    """The dtype and shape that a file must hold."""

    dtype: np.dtype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """Return dtype and shape, as in messages."""
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def spec_of(leaf: Leaf) -> Spec:
    """Return dtype and shape in the file.

    The array may be a mere shape.

    Raises:
        TypeError: the leaf is neither an array nor a number.
    """
    value = leaf.value
    if isinstance(value, _NUMBERS):
        return Spec(np.asarray(value).dtype, ())
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise TypeError(expected(leaf.name, "to be an array or a number", value))
    if is_key(value):
        data = jax.eval_shape(jax.random.key_data, value)
        return Spec(np.dtype(data.dtype), data.shape)
    return Spec(np.dtype(value.dtype), leaf.layout.shape_in_file(value.shape))


def is_key(value: Any) -> bool:
    """Whether an array holds typed PRNG keys."""
    return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def array_of(leaf: Leaf) -> np.ndarray:
    """Return an array as the file holds it."""
    value = jax.random.key_data(leaf.value) if is_key(leaf.value) else leaf.value
    return leaf.layout.to_file(np.asarray(value))


def filled(model: Any, leaves: list[Leaf], arrays: Mapping[str, np.ndarray], keys: Mapping[str, str]) -> Any:
    """Copy a model with the arrays of a file.

    Args:
        model: the model, or a model of mere shapes.
        leaves: its arrays, in order.
        arrays: the arrays of the file, which match them.
        keys: the implementations of PRNG keys, by name.
    """
    values = [_value(leaf, arrays[leaf.name], keys) for leaf in leaves]
    if isinstance(model, nnx.Module):
        graphdef, state = nnx.split(model)
        return nnx.merge(graphdef, jax.tree.structure(state).unflatten(values))
    return jax.tree.structure(model).unflatten(values)


def _value(leaf: Leaf, array: np.ndarray, keys: Mapping[str, str]) -> Any:
    if is_key(leaf.value):
        return jax.random.wrap_key_data(jnp.array(array), impl=keys[leaf.name])
    if isinstance(leaf.value, _NUMBERS):
        return type(leaf.value)(array.item())
    own = leaf.layout.from_file(array)
    if isinstance(leaf.value, (np.ndarray, np.generic)):
        return np.array(own)
    return jnp.array(own, copy=True)
