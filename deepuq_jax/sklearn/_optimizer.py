"""Adam whose learning rate does not recompile."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from deepuq_jax._checks import check_positive


class _State(NamedTuple):
    rate: Array
    adam: Any
    count: Array


@dataclass(frozen=True)
class _Start:
    """Initialize the optimizer. Instances of all rates are equal, so that they share a compiled program."""

    rate: float = field(compare=False)

    def __call__(self, params: Any) -> _State:
        rate = jnp.asarray(self.rate, jnp.result_type(float))
        return _State(rate, optax.scale_by_adam().init(params), jnp.zeros((), jnp.int32))


def adam_of_rate(rate: float, steps: int) -> optax.GradientTransformation:
    """Create Adam with a rate that falls to 0 as a cosine.

    The rate is part of the optimizer's state, so another rate does not recompile.

    Args:
        rate: the learning rate at the start.
        steps: number of steps until it is 0.

    >>> adam_of_rate(1e-2, 100) == adam_of_rate(1e-3, 100)
    True
    """
    check_positive("learning_rate_init", rate)
    return optax.GradientTransformation(_Start(float(rate)), _update_over(steps))


@lru_cache
def _update_over(steps: int) -> Any:
    cosine = optax.cosine_decay_schedule(1.0, steps)

    def update(grads: Any, state: _State, params: Any = None) -> tuple[Any, _State]:
        updates, adam = optax.scale_by_adam().update(grads, state.adam, params)
        step = -state.rate * cosine(state.count)
        return jax.tree.map(lambda leaf: step.astype(leaf.dtype) * leaf, updates), _State(
            state.rate, adam, state.count + 1
        )

    return update
