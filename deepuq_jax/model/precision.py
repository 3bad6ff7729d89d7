"""Mixed precision: models with a compute dtype other than the dtype of their parameters."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepuq_jax._arguments import check_dtype
from deepuq_jax._checks import expected
from deepuq_jax.functional.gaussian import at_least_float32
from deepuq_jax.model.state import with_streams
from deepuq_jax.model.structure import is_module


class CastsItself(nnx.Module):
    """A module that holds a network, and casts its weights and inputs."""

    @abstractmethod
    def compute_in(self, dtype: Any) -> None:
        """Compute in a dtype from now on."""


def checked_compute_dtype(dtype: Any) -> Any:
    """Check an argument `compute_dtype`; None passes.

    Raises:
        ValueError: the dtype has less range than float32, whose gradients would need a scaled loss.
    """
    if dtype is None:
        return None
    dtype = check_dtype("compute_dtype", dtype)
    # bfloat16 is the only one of the small types that has the range of float32.
    if dtype not in (jnp.bfloat16, jnp.float32, jnp.float64):
        what = "to be bfloat16, float32 or float64, whose gradients need no scaled loss"
        raise ValueError(expected("compute_dtype", what, dtype.name))
    return dtype


def in_compute_dtype(model: Any, dtype: Any) -> Any:
    """Copy a model that computes in a dtype.

    Layers whose attribute `dtype` is None get the dtype; layers with a dtype of their own keep it. Networks that
    `bayesianize` holds cast their weights and inputs. Posteriors and carried state stay as they are, so weights are
    drawn, and the KL is computed, in the dtype of the posteriors.

    Args:
        model: any pytree; every Flax NNX module in it is copied, and the caller's modules stay as they are.
        dtype: the dtype from `checked_compute_dtype`; None returns the model as it is.
    Raises:
        ValueError: the model holds no layer that could compute in the dtype.

    >>> from deepuq_jax import BayesianLinear
    >>> layer = in_compute_dtype(BayesianLinear(2, 1, rngs=nnx.Rngs(0)), jnp.bfloat16)
    >>> layer(jnp.ones((1, 2))).dtype.name, layer.kernel_posterior.mu.dtype.name
    ('bfloat16', 'float32')
    """
    if dtype is None:
        return model
    found: list[bool] = []

    def change(node: Any) -> Any:
        if not isinstance(node, nnx.Module):
            return node
        node = with_streams(node, None)
        found.append(_set_dtype(node, dtype))
        return node

    changed = jax.tree.map(change, model, is_leaf=is_module)
    if not any(found):
        what = "to hold layers of Flax or of this library, or a network of bayesianize, for compute_dtype"
        raise ValueError(expected("model", what, type(model).__name__))
    return changed


def set_open_dtypes(module: nnx.Module, dtype: Any) -> None:
    """Set the attribute `dtype` of all layers of Flax in which it is None."""
    module.set_attributes(_has_open_dtype, raise_if_not_found=False, dtype=dtype)


def _set_dtype(node: nnx.Module, dtype: Any) -> bool:
    """Set the compute dtype, and return whether any layer has one."""
    modules: list[Any] = [module for _, module in nnx.iter_modules(node)]
    nets = [module for module in modules if isinstance(module, CastsItself)]
    for net in nets:
        net.compute_in(dtype)
    set_open_dtypes(node, dtype)
    return bool(nets) or any("dtype" in vars(module) for module in modules)


def _has_open_dtype(path: Any, module: Any) -> bool:
    del path
    return vars(module).get("dtype", module) is None


def in_float32(outputs: Any) -> Any:
    """Convert the outputs of a model to at least float32, for a likelihood.

    >>> in_float32(jnp.ones(1, jnp.bfloat16)).dtype.name
    'float32'
    """

    def convert(leaf: Any) -> Any:
        is_float = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
        return at_least_float32(leaf) if is_float else leaf

    return jax.tree.map(convert, outputs)


def cast_floats(tree: Any, dtype: Any) -> Any:
    """Cast the floating arrays of a pytree, unless `dtype` is None."""

    def cast(leaf: Any) -> Any:
        is_float = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if is_float else leaf

    return tree if dtype is None else jax.tree.map(cast, tree)
