"""How the epochs of `fit` run: in a loop on the device, or a call a step; over arrays, or over batches as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deepuq_jax import _fit_defaults as default
from deepuq_jax._checks import check_batch, check_count, check_num_data, expected
from deepuq_jax._noise import draw_key
from deepuq_jax.model import call_with_state
from deepuq_jax.objective import check_targets
from deepuq_jax.training import TrainState, batches_of_epoch, train_epoch, train_step
from deepuq_jax.types import ELBOTerms

# (state, key, first, epochs, *, weight, optimizer, at_once) -> (state, epochs that were run, their means by name):
# epochs from `first` on, of `epochs` in all.
EpochsOf = Callable[..., tuple[TrainState, Any, dict[str, Any]]]

_MEANS = ("loss", "nll", "kl")
_STATIC = ("optimizer", "log_likelihood", "mc_samples", "sticking_the_landing", "antithetic", "schedule")


def over_arrays(
    model: Any, x: Any, y: Any, num_data: Any, batch_size: int | None, options: dict[str, Any]
) -> tuple[EpochsOf, int]:
    """Epochs over arrays, checked before the first one, and the steps of an epoch."""
    x, y = checked(model, x, y, options["log_likelihood"])
    size = jax.tree.leaves(x)[0].shape[0]
    if batch_size is None:
        batch_size = min(default.BATCH_SIZE, size)
    if check_count("batch_size", batch_size) > size:
        raise ValueError(expected("batch_size", f"to be at most the {size} examples", f"{batch_size}"))
    num_data = size if num_data is None else num_data
    check_num_data(num_data)
    epochs = _a_call_a_step if is_slow_in_a_loop(model, x) else _in_a_loop

    def epochs_of(state: TrainState, key: Array, first: int, last: int, **more: Any) -> tuple[Any, Any, Any]:
        return epochs(state, x, y, key, first, last, num_data, batch_size=batch_size, **more, **options)

    return epochs_of, -(-size // batch_size)


def checked(model: Any, x: Any, y: Any, log_likelihood: Callable) -> tuple[Any, Any]:
    """The data on the device, once it is known to be sound."""
    check_batch(x, y)
    check_targets(model, x, y, log_likelihood)
    return jax.tree.map(jnp.asarray, (x, y))


def is_slow_in_a_loop(model: Any, x: Any) -> bool:
    """Whether steps are better taken a call each than in a loop on the device. The one place of that choice.

    A loop saves the way in and out of a call, a millisecond or so. But XLA:CPU has no fast gradient of a convolution in
    a loop (github.com/jax-ml/jax/issues/12868): 16-32-10 at batch 128 takes six times as long there.
    """
    if jax.default_backend() != "cpu" or all(np.ndim(leaf) < 3 for leaf in jax.tree.leaves(model)):
        return False  # Without a kernel of a convolution's rank there is no need to trace, which takes 70 ms or more.
    one = jax.tree.map(lambda leaf: leaf[:1], x)
    program = jax.make_jaxpr(lambda model, x, key: call_with_state(model, x, key=key)[0])(model, one, jax.random.key(0))
    return "conv_general_dilated" in str(program)


@partial(jax.jit, static_argnames=(*_STATIC, "batch_size", "at_once"), donate_argnums=0)
def _in_a_loop(state, x, y, key, first, epochs, num_data, *, weight, at_once, schedule, batch_size, **options):
    """Epochs from `first` on: `at_once` of them, fewer at the end and after a step that is not finite.

    Returns:
        (state, how many were run, their means [at_once] by name: entries from that number on mean nothing).
    """
    sizes = _sizes(x, batch_size)
    options |= dict(batch_size=batch_size, num_data=num_data, kl_weight=default.schedule_of(schedule, weight))

    def is_next(carry):
        i, state, _ = carry
        return (i < at_once) & (first + i < epochs) & (state.bad_step < 0)

    def one_epoch(carry):
        i, state, rows = carry
        state, history = train_epoch(state, x, y, key=draw_key(key, first + i), **options)
        means = _mean_over_examples(history, sizes)
        return i + 1, state, {name: rows[name].at[i].set(means[name]) for name in rows}

    rows = {name: jnp.zeros(at_once) for name in _MEANS}
    ran, state, rows = jax.lax.while_loop(is_next, one_epoch, (jnp.zeros((), jnp.int32), state, rows))
    return state, ran, rows


def _a_call_a_step(state, x, y, key, first, epochs, num_data, *, at_once, batch_size, **options):
    """One epoch, the steps of `train_epoch` one by one."""
    sizes = _sizes(x, batch_size)
    batches, last, keys = _batches_of_epoch(draw_key(key, first), sum(sizes), batch_size)
    rows = [*batches, last] if last.size else [*batches]
    terms = []
    for row, step_key in zip(rows, keys, strict=False):
        state, step_terms = _step(state, x, y, row, step_key, num_data, **options)
        terms.append(step_terms)
    return state, 1, _means_of_one_epoch(terms, sizes)


_batches_of_epoch = jax.jit(batches_of_epoch, static_argnums=(1, 2))


def _sizes(x: Any, batch_size: int) -> list[int]:
    """Examples of each step of an epoch."""
    steps, remainder = divmod(jax.tree.leaves(x)[0].shape[0], batch_size)
    return [batch_size] * steps + [remainder] * bool(remainder)


@partial(jax.jit, static_argnames=_STATIC, donate_argnums=0)
def _step(state, x, y, rows, key, num_data, *, weight, schedule, **options):
    """A step on a batch; with `rows` on these of it."""
    if rows is not None:
        x, y = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), (x, y))
    weight = default.schedule_of(schedule, weight)
    return train_step(state, x, y, key=key, num_data=num_data, kl_weight=weight, **options)


def over_batches(
    batches: Any, num_data: Any, batch_size: int | None, options: dict[str, Any]
) -> tuple[EpochsOf, int | None]:
    """Epochs over an iterable, each batch checked as it comes, and the steps of one where it tells them."""
    if isinstance(batches, (jax.Array, np.ndarray)) or not isinstance(batches, Iterable):
        raise ValueError(expected("y", "with an array x (or x an iterable of batches)", "None"))
    if batch_size is not None:
        raise ValueError(expected("batch_size", "to be set by the batches themselves", f"{batch_size}"))
    if num_data is None:
        raise ValueError(expected("num_data", "with an iterable of batches", "None"))
    check_num_data(num_data)

    def epochs_of(state: TrainState, key: Array, first: int, _: int, *, at_once: int, **more: Any) -> Any:
        key, terms, sizes = draw_key(key, first), [], []
        for i, (x, y) in enumerate(batches):
            x, y = jax.tree.map(np.asarray, (x, y))
            sizes.append(check_batch(x, y))
            check_targets(state.model, x, y, options["log_likelihood"])
            state, step_terms = _step(state, x, y, None, draw_key(key, i), num_data, **more, **options)
            terms.append(step_terms)
        if not terms:
            raise ValueError("Expected an iterable that starts anew each epoch; got one without a batch.")
        return state, 1, _means_of_one_epoch(terms, sizes)

    return epochs_of, len(batches) if isinstance(batches, Sized) else None


def _means_of_one_epoch(terms: list[ELBOTerms], sizes: list[int]) -> dict[str, Array]:
    means = _mean_over_examples(jax.tree.map(lambda *values: jnp.stack(values), *terms), sizes)
    return {name: mean[None] for name, mean in means.items()}


def _mean_over_examples(history: ELBOTerms, sizes: Any) -> dict[str, Array]:
    sizes = jnp.asarray(sizes, history.nll.dtype)
    return {name: jnp.average(getattr(history, name), weights=sizes) for name in _MEANS}
