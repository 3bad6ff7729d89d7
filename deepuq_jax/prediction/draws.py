"""How the draws of a prediction run: one after the other or some side by side, over all inputs or in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_count
from deepuq_jax.model.base import as_model
from deepuq_jax.model.posteriors import with_drawn_weights, with_scales
from deepuq_jax.noise import Given, NoiseSource


def resolve_draws_at_once(draws_at_once: int | None, n_samples: int) -> int:
    """How many draws run side by side under `vmap`; the rest follow in a scan. The one place of that choice.

    On a CPU one: it is busy with one, and XLA's batched products are slower than its plain ones (8-50-1, 1,000 inputs:
    2, 10 and 50 at once take 1.04, 1.5 and 1.9 times as long; 784-400-400-10: the same). Elsewhere ten: on an H100 a
    prediction with ten at once takes 0.5 to 0.8 of the time that it takes one by one, for all but the smallest networks
    (benchmarks/results/gpu-h100.json).
    """
    if draws_at_once is None:
        return 1 if jax.default_backend() == "cpu" else max(1, min(10, n_samples))
    return max(1, min(check_count("draws_at_once", draws_at_once), n_samples))


def outputs_of_draws(model: Any, x: Any, source: NoiseSource) -> Callable[[Any], Any]:
    """The outputs of draw i as a function of i.

    With a key each draw is one function for every input, also where a layer trains by another estimator than weight
    sampling; given noise is that of the estimators, and is used as it is.
    """
    if not isinstance(source, Given):
        model = with_drawn_weights(model)
    model = with_scales(model)

    def outputs(i: Any) -> Any:
        draw = source.of_draw(i, as_model(model), x)
        return as_model(model).call_with_state(x, key=draw.key, noise=draw.noise)[0]

    return outputs


def over_draws(
    take: Callable[[Any, Any, Any], Any], carry: Any, of_draw: Callable[[Any], Any], *, n_samples: int, at_once: int
) -> Any:
    """carry = take(carry, i, of_draw(i)) for every draw i in turn, with `at_once` of `of_draw` side by side.

    >>> def add(carry, i, part):
    ...     return carry + part
    >>> over_draws(add, jnp.zeros(()), lambda i: 1.0 * i**2, n_samples=5, at_once=2)
    Array(30., dtype=float32)
    """
    draws = jnp.arange(n_samples)
    if at_once == 1:
        return jax.lax.scan(lambda carry, i: (take(carry, i, of_draw(i)), None), carry, draws)[0]

    def chunk(carry: Any, some: Array) -> tuple[Any, None]:
        parts = jax.vmap(of_draw)(some)
        return jax.lax.scan(lambda carry, part: (take(carry, *part), None), carry, (some, parts))[0], None

    full = n_samples - n_samples % at_once
    carry, _ = jax.lax.scan(chunk, carry, draws[:full].reshape(-1, at_once))
    return carry if full == n_samples else chunk(carry, draws[full:])[0]


def check_batch_size(batch_size: int | None, noise: Any) -> None:
    """Refuse a batch size that is no positive int, or one beside given noise, which is that of all inputs.

    Raises:
        ValueError: either.
    """
    if batch_size is not None:
        check_count("batch_size", batch_size)
        if noise is not None:
            raise ValueError("Expected batch_size with key; got it with noise.")


def in_batches(function: Callable[[Any], Any], data: Any, batch_size: int | None) -> Any:
    """`function` over batches of `data`, joined: full batches by `lax.map`, then the remainder as it is."""
    size = jax.tree.leaves(data)[0].shape[0]
    if batch_size is None or batch_size >= size:
        return function(data)
    full = size - size % batch_size
    batches = jax.tree.map(lambda leaf: leaf[:full].reshape(-1, batch_size, *leaf.shape[1:]), data)
    parts = jax.lax.map(function, batches)
    parts = jax.tree.map(lambda leaf: leaf.reshape(full, *leaf.shape[2:]), parts)
    if full == size:
        return parts
    last = function(jax.tree.map(lambda leaf: leaf[full:], data))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), parts, last)
