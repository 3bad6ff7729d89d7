"""Weights of the KL as functions of the step: the `kl_weight` of an objective.

Each ends at a `temperature` T, 1 by default. A `kl_weight` of T targets p(y|x,w)^(1/T) p(w), a cold posterior where
T < 1: the likelihood is sharpened, the prior is not. Wenzel et al. 2020, arXiv 2002.02405, sharpen both,
(p(y|x,w) p(w))^(1/T): for a Gaussian prior that is a `kl_weight` of T with the prior's sigma times sqrt(T).

They are pytrees whose numbers are leaves: another warm-up or temperature does not recompile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import check_count, check_positive, expected
from deepuq_jax._pytree import register


@register()
@dataclass(frozen=True)
class Linear:
    """weight(t) = T min(1, t / steps): what `linear` returns."""

    steps: Any
    temperature: Any = 1.0

    def __call__(self, step: Any) -> Array:
        """The weight at a step."""
        return self.temperature * jnp.where(step < self.steps, step / jnp.maximum(self.steps, 1.0), 1.0)


@register()
@dataclass(frozen=True)
class Cyclical:
    """weight(t) = T min(1, (t mod length) / rise) up to `steps`, then T: what `cyclical` returns."""

    steps: Any
    length: Any
    rise: Any
    temperature: Any = 1.0

    def __call__(self, step: Any) -> Array:
        """The weight at a step."""
        # Whole cycles first: a float32 remainder of a large step has lost its digits.
        done = jnp.floor(jnp.asarray(step, jnp.result_type(float)) / self.length)
        share = jnp.minimum((step - done * self.length) / self.rise, 1.0)
        return self.temperature * jnp.where(step < self.steps, share, 1.0)


@register()
@dataclass(frozen=True)
class PerMinibatch:
    """weight(t) = factor 2^-i / (size of batch i) for batch i of the epoch: what `per_minibatch` returns."""

    factor: Any
    batches: Any
    batch_size: Any
    last: Any

    def __call__(self, step: Any) -> Array:
        """The weight at a step."""
        i = step % self.batches + 1
        size = jnp.where(i == self.batches, self.last, self.batch_size)
        return self.factor / size * jnp.ldexp(jnp.ones((), jnp.result_type(float)), -i)


def linear(steps: int, *, temperature: float = 1.0) -> Linear:
    """From 0 to `temperature` in a straight line over `steps` steps, and there from then on.

    Args:
        steps: of the optimizer, not epochs; a positive int.
        temperature: the weight at the end.
    Raises:
        ValueError: a count or a temperature that is not above zero.

    >>> weight = linear(100)
    >>> [float(weight(step)) for step in (0, 50, 100, 1000)]
    [0.0, 0.5, 1.0, 1.0]
    """
    check_count("steps", steps)
    check_positive("temperature", temperature)
    return Linear(steps, temperature)


def cyclical(steps: int, *, cycles: int = 4, ramp: float = 0.5, temperature: float = 1.0) -> Cyclical:
    """The line of `linear` several times over: in each cycle up during a share `ramp` of it, then at `temperature`.

    weight(t) = T min(1, (t mod C) / (ramp C)) with cycles of C = steps / cycles; T after the last.

    Args:
        steps: of all cycles together; a positive int, at least `cycles`.
        cycles: a positive int.
        ramp: share of a cycle, above 0 and at most 1.
        temperature: the weight at the end of each ramp.
    Raises:
        ValueError: numbers outside of these ranges.
    Source: Fu et al. 2019, arXiv 1903.10145.

    >>> weight = cyclical(100, cycles=2)
    >>> [float(weight(step)) for step in (0, 20, 30, 50, 100)]
    [0.0, 0.8..., 1.0, 0.0, 1.0]
    """
    if check_count("steps", steps) < check_count("cycles", cycles):
        raise ValueError(expected("steps", f"to be at least the {cycles} cycles", f"{steps}"))
    check_positive("temperature", temperature)
    check_positive("ramp", ramp)
    if ramp > 1:
        raise ValueError(expected("ramp", "to be at most 1", f"{ramp}"))
    length = steps / cycles
    return Cyclical(steps, length, ramp * length, temperature)


def per_minibatch(num_data: int, batch_size: int, *, temperature: float = 1.0) -> PerMinibatch:
    """The KL falls on the first batches of each epoch, and the data count for more in the later ones.

    Batch i of M weighs the whole KL by pi_i = 2^(M - i) / (2^M - 1) beside its own summed log-likelihood. In the units
    of `ELBO`, whose terms are per example, that is kl_weight = pi_i num_data / (size of batch i). Over an epoch it
    adds up to the ELBO.

    Args:
        num_data: number of examples N.
        batch_size: of all batches but the last, which takes the remainder, as in `train_epoch`: M = ceil(N / B).
        temperature: a factor.
    Raises:
        ValueError: counts that are no positive ints, a batch larger than the data.
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
    # pi_i = 2^-i / (1 - 2^-M): powers of -M and -i underflow to 0, where those of M overflow.
    total = 1.0 - 2.0**-batches
    return PerMinibatch(temperature / total * num_data, batches, batch_size, last)
