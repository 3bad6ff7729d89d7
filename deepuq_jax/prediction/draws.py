"""Loops over the draws and the batches of a prediction."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_count, expected
from deepuq_jax._layout import parts_of
from deepuq_jax.model.independence import refuse_shared_noise
from deepuq_jax.model.own import as_model
from deepuq_jax.model.posteriors import with_drawn_weights, with_scales
from deepuq_jax.model.precision import in_float32
from deepuq_jax.noise import Given, NoiseSource

# Enough draws for most fits; `log_density_with_error` shows whether they are enough (docs/trust.md).
DEFAULT_DRAWS = 50
# So many draws of a group are folded without a loop: a GPU does that in a few kernels for all, and not for each.
_UNROLLED = 10


def resolve_draws_at_once(draws_at_once: int | None, n_samples: int) -> int:
    """Choose how many draws run side by side under `vmap`.

    The draws run in groups of this size, one group after the other in a scan. The default on a CPU is 1: a single draw
    keeps it busy, and batched products are slower there than plain ones. For 8-50-1 and 1,000 inputs, running 2, 10 or
    50 draws at once takes 1.04, 1.5 or 1.9 times as long; 784-400-400-10 gives the same ratios. The default elsewhere
    is ten draws: on an H100, a prediction with ten draws at once takes 0.5 to 0.8 of the time of single draws, for all
    but the smallest networks (benchmarks/results/gpu-h100.json).
    """
    if draws_at_once is None:
        return 1 if jax.default_backend() == "cpu" else max(1, min(10, n_samples))
    return max(1, min(check_count("draws_at_once", draws_at_once), n_samples))


def outputs_of_draws(model: Any, x: Any, source: NoiseSource) -> Callable[[Any], Any]:
    """Return the function i -> outputs of draw i.

    With a key, every layer draws its weights, so each draw is a single function of x, even if a layer trains with an
    estimator other than weight sampling. The caller's noise suits the estimators and is used as it is.
    """
    if not isinstance(source, Given):
        refuse_shared_noise(model, x)
        model = with_drawn_weights(model)
    model = with_scales(model)

    def outputs(i: Any) -> Any:
        draw = source.of_draw(i, as_model(model), x)
        found = as_model(model).call_with_state(x, key=draw.key, noise=draw.noise)[0]
        _check_outputs(x, found)
        return in_float32(found)

    return outputs


def _check_outputs(x: Any, outputs: Any) -> None:
    """Require outputs with a row per input.

    Raises:
        ValueError: the leading axis has another length, as for a single example without a batch axis.
    """
    size = jax.tree.leaves(x)[0].shape[0]
    for leaf in jax.tree.leaves(outputs):
        if leaf.shape[:1] != (size,):
            message = expected("the outputs", f"to have a leading axis of {size} examples, as x has", leaf)
            raise ValueError(f"{message} Pass a single example as x[None].")


def over_draws(
    take: Callable[[Any, Any, Any], Any], carry: Any, of_draw: Callable[[Any], Any], *, n_samples: int, at_once: int
) -> Any:
    """Fold the draws of a prediction into a carry.

    For every draw i in turn, carry = take(carry, i, of_draw(i)).

    Args:
        take: a function of the carry, the number of a draw and the value of that draw.
        carry: the initial carry.
        of_draw: a function of the number of a draw.
        n_samples: number of draws.
        at_once: number of draws that run side by side under `vmap`.

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

        def take_part(carry: Any, numbered: tuple[Array, Any]) -> tuple[Any, None]:
            i, part = numbered
            return take(carry, i, part), None

        return jax.lax.scan(take_part, carry, (some, parts), unroll=min(at_once, _UNROLLED))[0], None

    full = n_samples - n_samples % at_once
    carry, _ = jax.lax.scan(chunk, carry, draws[:full].reshape(-1, at_once))
    return carry if full == n_samples else chunk(carry, draws[full:])[0]


def check_batch_size(batch_size: int | None, noise: Any) -> None:
    """Check the batch size of a prediction.

    Raises:
        ValueError: the batch size is not a positive int, or is passed with noise, which belongs to all inputs.
    """
    if batch_size is not None:
        check_count("batch_size", batch_size)
        if noise is not None:
            raise ValueError("Expected key with batch_size; got noise.")


def in_batches(function: Callable[[Any], Any], data: Any, batch_size: int | None) -> Any:
    """Apply a function in batches and join the results.

    `lax.map` runs over the full batches, and the remainder follows at its own size. A batch takes an equal share from
    each of as many equal groups of rows as possible. If rows are split over devices whose number divides the batch
    size, each device therefore computes its own rows, and none are moved.
    """
    size = jax.tree.leaves(data)[0].shape[0]
    if batch_size is None or batch_size >= size:
        return function(data)
    groups = math.gcd(size, batch_size)
    _check_explicit(data, groups, batch_size)
    rows, share = size // groups, batch_size // groups
    grouped = jax.tree.map(lambda leaf: leaf.reshape(groups, rows, *leaf.shape[1:]), data)

    def of_rows(start: Any, count: int) -> Any:
        batch = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, count, axis=1), grouped)
        found = function(jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch))
        return jax.tree.map(lambda leaf: leaf.reshape(groups, count, *leaf.shape[1:]), found)

    full = rows - rows % share
    parts = jax.lax.map(lambda start: of_rows(start, share), jnp.arange(0, full, share))
    parts = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1).reshape(groups, full, *leaf.shape[3:]), parts)
    if full < rows:
        last = of_rows(full, rows - full)
        parts = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), parts, last)
    return jax.tree.map(lambda leaf: leaf.reshape(size, *leaf.shape[2:]), parts)


def _check_explicit(data: Any, groups: int, batch_size: int) -> None:
    """Refuse batches that have no layout in explicit sharding, where the type of an array states its layout.

    Raises:
        ValueError: the rows are split into parts whose number does not divide the groups.
    """
    for leaf in jax.tree.leaves(data):
        parts = parts_of(jax.typeof(leaf).sharding)
        if groups % parts:
            what = f"to be a multiple of the {parts} parts of x, whose mesh has explicit axes"
            raise ValueError(expected("batch_size", what, f"{batch_size}"))
