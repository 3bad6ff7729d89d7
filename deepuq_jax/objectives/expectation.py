"""The terms that variational objectives share: an expected score over draws, and the KL."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax.model.base import as_model, refuse_streams
from deepuq_jax.model.posteriors import with_scales
from deepuq_jax.model.state import own_copy
from deepuq_jax.noise import noise_source
from deepuq_jax.objectives.kl import kl_divergence
from deepuq_jax.objectives.targets import Score

# Draws that follow each other outside of a loop. Four at once, on a CPU: a step of 8-50-1 takes 0.78 and one of
# 784-400-400-10 takes 0.86 of the time that it takes with them in a loop, that of two convolutions 0.15 (XLA:CPU has no
# fast gradient of a convolution in a loop: github.com/jax-ml/jax/issues/12868), and none compiles longer.
_UNROLLED = 4


class ExpectedTerms(NamedTuple):
    """The terms of an objective, over its draws.

    Attributes:
        score: mean of the score.
        kl: KL(q || p) in nats.
        state: the carried state as the last draw left it, or None.
    """

    score: Array
    kl: Array
    state: Any


def expected_terms(
    model: Any, x: Any, y: Any, score: Score, *, key: Array | None, noise: Any, mc_samples: int, antithetic: bool
) -> ExpectedTerms:
    """E[score(outputs, y)] over `mc_samples` draws, the KL, and the carried state after the last draw."""
    source = noise_source(key, noise, mc_samples, antithetic=antithetic)
    if antithetic:
        refuse_streams(model)
    model = with_scales(model)
    # A closed form needs no draw, so it is computed once.
    closed_kl = kl_divergence(model) if as_model(model).has_closed_form_kl else None

    def one_draw(i: Any) -> tuple[Array, Array, Any]:
        # Within a scan the model must be of that trace, or writing to its Variables is refused.
        fresh = own_copy(model)
        draw = source.of_draw(i, as_model(fresh), x)
        outputs, state = as_model(fresh).call_with_state(x, key=draw.key, noise=draw.noise)
        kl = kl_divergence(fresh, key=draw.key, noise=draw.noise) if closed_kl is None else closed_kl
        return score(outputs, y), kl, state

    if mc_samples == 1:
        mean_score, kl, state = one_draw(0)
    else:
        draws = jnp.arange(mc_samples)
        unroll = min(mc_samples, _UNROLLED)
        _, (scores, kl, states) = jax.lax.scan(lambda _, i: (None, one_draw(i)), None, draws, unroll=unroll)
        mean_score, state = jnp.mean(scores), jax.tree.map(lambda leaf: leaf[-1], states)
    return ExpectedTerms(mean_score, jnp.mean(kl) if closed_kl is None else closed_kl, state)
