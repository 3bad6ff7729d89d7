"""How the draws of a prediction run: one after the other, or some side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from deepuq_jax._checks import check_count


def resolve_draws_at_once(draws_at_once: int | None, n_samples: int) -> int:
    """How many draws run side by side under `vmap`; the rest follow in a scan. The one place of that choice.

    On a CPU one: it is busy with one, and XLA's batched products are slower than its plain ones (8-50-1, 1,000 inputs:
    2, 10 and 50 at once take 1.04, 1.5 and 1.9 times as long; 784-400-400-10: the same). Elsewhere ten: a draw of a
    small network does not fill a GPU. (That figure is a guess: no GPU was at hand to measure.)
    """
    if draws_at_once is None:
        return 1 if jax.default_backend() == "cpu" else max(1, min(10, n_samples))
    return max(1, min(check_count("draws_at_once", draws_at_once), n_samples))


def over_draws(
    take: Callable[[Any, Any, Any], Any], carry: Any, of_draw: Callable[[Any], Any], *, n_samples: int, at_once: int
) -> Any:
    """carry = take(carry, i, of_draw(i)) for every draw i in turn, with `at_once` of `of_draw` side by side.

    >>> sum_of_squares = lambda carry, i, part: carry + part
    >>> over_draws(sum_of_squares, jnp.zeros(()), lambda i: 1.0 * i**2, n_samples=5, at_once=2)
    Array(30., dtype=float32)
    """
    draws = jnp.arange(n_samples)
    if at_once == 1:
        return jax.lax.scan(lambda carry, i: (take(carry, i, of_draw(i)), None), carry, draws)[0]

    def chunk(carry, some):
        parts = jax.vmap(of_draw)(some)
        return jax.lax.scan(lambda carry, part: (take(carry, *part), None), carry, (some, parts))[0], None

    full = n_samples - n_samples % at_once
    carry, _ = jax.lax.scan(chunk, carry, draws[:full].reshape(-1, at_once))
    return carry if full == n_samples else chunk(carry, draws[full:])[0]
