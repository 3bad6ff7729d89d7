"""Schedules of the KL weight of an objective.

`linear` and `cyclical` end at a `temperature` T, which is 1 by default; `per_minibatch` multiplies its weights by T. A
`kl_weight` of T targets p(y|x,w)^(1/T) p(w), a cold posterior for T < 1: it sharpens the likelihood but not the prior.
Wenzel et al. 2020, arXiv 2002.02405, sharpen both, (p(y|x,w) p(w))^(1/T). For a Gaussian prior, their posterior needs a
`kl_weight` of T and a prior sigma that is multiplied by sqrt(T).

Schedules are pytrees whose numbers are leaves, so another warm-up or temperature does not recompile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_count, check_positive, expected
from deepuq_jax._pytree import register


def _as_float(number: Any) -> Array:
    return jnp.asarray(number, jnp.result_type(float))


@register()
@dataclass(frozen=True)
class Linear:
    """The schedule that `linear` returns.

    weight(t) = T min(1, t / steps)
    """

    steps: Any
    temperature: Any = 1.0

    def __call__(self, step: Any) -> Array:
        """Compute the weight at a step."""
        step = _as_float(step)
        return self.temperature * jnp.where(step < self.steps, step / jnp.maximum(_as_float(self.steps), 1.0), 1.0)


@register()
@dataclass(frozen=True)
class Cyclical:
    """The schedule that `cyclical` returns.

    weight(t) = T min(1, (t mod length) / rise) up to `steps`, then T
    """

    steps: Any
    length: Any
    rise: Any
    temperature: Any = 1.0

    def __call__(self, step: Any) -> Array:
        """Compute the weight at a step."""
        # Whole cycles are subtracted first, since a float32 remainder of a large step has lost its digits.
        step = _as_float(step)
        done = jnp.floor(step / self.length)
        share = jnp.minimum((step - done * self.length) / self.rise, 1.0)
        return self.temperature * jnp.where(step < self.steps, share, 1.0)


@register()
@dataclass(frozen=True)
class PerMinibatch:
    """The schedule that `per_minibatch` returns.

    weight(t) = factor 2^-i / (size of batch i), for batch i of the epoch
    """

    factor: Any
    batches: Any
    batch_size: Any
    last: Any

    def __call__(self, step: Any) -> Array:
        """Compute the weight at a step."""
        i = step % self.batches + 1
        size = jnp.where(i == self.batches, self.last, self.batch_size)
        return self.factor / size * jnp.ldexp(jnp.ones((), jnp.result_type(float)), -i)


def linear(steps: float, *, temperature: float = 1.0) -> Linear:
    """Rise linearly from 0 to `temperature` and stay there.

    weight(t) = T min(1, t / steps)

    Args:
        steps: number of optimizer steps (not epochs) of the rise, a positive whole number.
        temperature: the weight T at the end, positive.
    Raises:
        ValueError: `steps` or `temperature` is not positive.

    >>> weight = linear(100)
    >>> [float(weight(step)) for step in (0, 50, 100, 1000)]
    [0.0, 0.5, 1.0, 1.0]
    """
    steps = _whole("steps", steps)
    check_positive("temperature", temperature)
    return Linear(steps, temperature)


def cyclical(steps: float, *, cycles: int = 4, ramp: float = 0.5, temperature: float = 1.0) -> Cyclical:
    """Rise from 0 to `temperature` in each of several cycles.

    weight(t) = T min(1, (t mod C) / (ramp C)) with cycles of C = steps / cycles steps, and T after the last cycle

    Args:
        steps: number of optimizer steps of all cycles together, a whole number of at least `cycles`.
        cycles: number of cycles, a positive int.
        ramp: share of a cycle in which the weight rises, above 0 and at most 1.
        temperature: the weight T at the end of each rise, positive.
    Raises:
        ValueError: an argument is outside its range.
    Source: Fu et al. 2019, arXiv 1903.10145.

    >>> weight = cyclical(100, cycles=2)
    >>> [float(weight(step)) for step in (0, 20, 30, 50, 100)]
    [0.0, 0.8..., 1.0, 0.0, 1.0]
    """
    steps = _whole("steps", steps)
    if steps < check_count("cycles", cycles):
        raise ValueError(expected("steps", f"to be at least the {cycles} cycles", f"{steps}"))
    check_positive("temperature", temperature)
    check_positive("ramp", ramp)
    if ramp > 1:
        raise ValueError(expected("ramp", "to be at most 1", f"{ramp}"))
    length = steps / cycles
    return Cyclical(steps, length, ramp * length, temperature)


def per_minibatch(num_data: int, batch_size: int, *, temperature: float = 1.0) -> PerMinibatch:
    """Weight the KL most in the first batches of each epoch.

    In the original formulation, batch i of M adds the whole KL with weight pi_i = 2^(M - i) / (2^M - 1) to its summed
    negative log-likelihood, so the data dominate in later batches. In the units of `ELBO`, whose terms are per example,
    this is kl_weight = pi_i num_data / (size of batch i). At temperature 1, the losses of an epoch, each times the size
    of its batch, add up to an estimate of the negative ELBO.

    Args:
        num_data: number of examples N.
        batch_size: number of examples B in every batch but the last, which takes the remainder, as in `train_epoch`.
            The number of batches is M = ceil(N / B).
        temperature: a factor of the weight, positive.
    Raises:
        ValueError: a count is not a positive int, the batch size exceeds the number of examples, or `temperature` is
            not positive.
    Source: Blundell et al. 2015, arXiv 1505.05424, section 3.4.

    >>> weight = per_minibatch(300, 100)
    >>> [round(float(weight(step)), 4) for step in range(4)]  # 3 times 4/7, 2/7, 1/7
    [1.7143, 0.8571, 0.4286, 1.7143]
    """
    if check_count("batch_size", batch_size) > check_count("num_data", num_data):
        raise ValueError(expected("batch_size", f"to be at most the {num_data} examples", f"{batch_size}"))
    check_positive("temperature", temperature)
    batches = -(-num_data // batch_size)
    last = num_data - (batches - 1) * batch_size
    # pi_i is evaluated as 2^-i / (1 - 2^-M), since 2^-M and 2^-i underflow to 0, but 2^M would overflow.
    total = 1.0 - 2.0**-batches
    return PerMinibatch(temperature / total * num_data, batches, batch_size, last)


def _whole(name: str, steps: Any) -> int:
    """Return a positive whole number as an int.

    A quotient such as epochs * num_data / batch_size is a float, even if it is whole.
    """
    return check_count(name, int(steps) if isinstance(steps, float) and steps.is_integer() else steps)
