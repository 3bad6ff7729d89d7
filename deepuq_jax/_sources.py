"""What the draws of an objective or a prediction are made of: a key, a key of opposite pairs, or a stack of noises."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_key, check_one_of, expected
from deepuq_jax._noise import draw_key
from deepuq_jax.model import split_params, variables_of


def noise_source(key: Array | None, noise: Any, count: int, *, antithetic: bool = False) -> dict[str, Any]:
    """What the draws of a call are made of: {"key": key}, or {"noise": a stack with a leading axis of `count`}.

    With `antithetic` {"antithetic": key}: draws 2 i and 2 i + 1 are of opposite noise.
    """
    check_one_of("key and noise", key, noise)
    if noise is None:
        if key is None:
            raise TypeError("Expected key (one key of jax.random.key) or noise; got neither.")
        check_key(key)
        if antithetic and count % 2:
            raise ValueError(expected("the number of draws", "to be even with antithetic=True", f"{count}"))
        return {"antithetic": key} if antithetic else {"key": key}
    if antithetic:
        raise ValueError("Expected antithetic with key; got it with noise.")
    for leaf in jax.tree.leaves(noise):
        if jnp.shape(leaf)[:1] != (count,):
            raise ValueError(expected("noise", f"with a leading axis of {count} draws", leaf))
    return {"noise": noise}


def source_of_draw(source: dict[str, Any], i: int | Array, model: Any, x: Any) -> dict[str, Any]:
    """Draw `i` of a `noise_source`, as the keyword argument of the call of `model` on `x`."""
    if "key" in source:
        return {"key": draw_key(source["key"], i)}
    if "antithetic" in source:
        return {"noise": _opposite(_pair_noise(model, x, draw_key(source["antithetic"], i // 2)), i % 2 == 1)}
    return {"noise": jax.tree.map(lambda leaf: leaf[i], source["noise"])}


def _pair_noise(model: Any, x: Any, key: Array) -> Any:
    """The noise of one of two opposite draws."""
    is_module = isinstance(model, nnx.Module)
    streams = variables_of(split_params(model)[1], nnx.RngKey) if is_module else []
    if streams or not hasattr(model, "draw_noise"):
        what = "to have draw_noise, and no dropout, for antithetic draws"
        raise ValueError(expected("model", what, type(model).__name__))
    return model.draw_noise(x, key=key)


def _opposite(noise: Any, is_second: bool | Array) -> Any:
    """The noise itself, or with every normal negated; what is no number (Flipout's signs) stays."""
    negate = lambda leaf: jnp.where(is_second, -leaf, leaf)
    return jax.tree.map(lambda leaf: negate(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, noise)
