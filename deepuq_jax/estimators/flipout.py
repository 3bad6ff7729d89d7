"""Flipout: weight noise with random signs per example.

Source: Wen, Vicol, Ba, Tran & Grosse 2018, Flipout, arXiv 1803.04386.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax.estimators.base import Estimator, Op, add_bias
from deepuq_jax.estimators.weight_sampling import weight_sampling
from deepuq_jax.noise import draw_key

# The number that derives the key of the signs; it differs from the numbers of draws and streams.
_SIGNS = 0x51615


@dataclass(frozen=True)
class Flipout(Estimator):
    """Outputs of weights whose noise has random signs per example.

    y = op(x, mu_W) + mu_b + r * (op(s * x, sigma_W * eps_W) + sigma_b * eps_b),  with signs r and s per example and
    channel

    The signs decorrelate the examples of a batch, at the cost of a second product. Every example sees a draw of
    N(mu, sigma^2) that is the same at all its positions, so the outputs of an example are exact in distribution, for
    convolutions and sequences too. Different examples see different draws, so a draw is not a function of x.
    `predict_vi_uq` and `draw` therefore draw weights instead.

    Args:
        op: the layer's linear map of `x` and a kernel, which casts both to the compute dtype.
        x: inputs [batch, ..., in_features].
        kernel, bias: posteriors; `bias` may be None.
        noise: a dict with "kernel" and "bias" as in `weight_sampling`, and with booleans, True for the sign +1:
            "in_signs" [batch, 1, ..., in_features] and "out_signs" [batch, 1, ..., out_features].
    Returns:
        outputs [batch, ..., out_features], in the dtype of `op`.

    >>> from deepuq_jax import GaussianPosterior
    >>> q = GaussianPosterior(jnp.ones((2, 1)), jnp.zeros((2, 1)))
    >>> noise = {"kernel": jnp.zeros((2, 1)), "in_signs": jnp.ones((1, 2), bool), "out_signs": jnp.ones((1, 1), bool)}
    >>> flipout(jnp.matmul, jnp.ones((1, 2)), q, None, noise)
    Array([[2.]], dtype=float32)
    """

    def draw_noise(self, op: Op, x: Any, kernel: Any, bias: Any | None, *, key: Array) -> dict[str, Array]:
        """Draw noise as in `weight_sampling`, and random signs.

        There is a sign for each example and channel, which all positions share.
        """
        outputs = jax.eval_shape(op, x, kernel.mu)
        in_shape, out_shape = _signs_shape(x), _signs_shape(outputs)
        signs = _random_signs(draw_key(key, _SIGNS), math.prod(x.shape[:-1][:1]), in_shape[-1] + out_shape[-1])
        return {
            **weight_sampling.draw_noise(op, x, kernel, bias, key=key),
            "in_signs": signs[:, : in_shape[-1]].reshape(in_shape),
            "out_signs": signs[:, in_shape[-1] :].reshape(out_shape),
        }

    def __call__(self, op: Op, x: Array, kernel: Any, bias: Any | None, noise: dict[str, Array]) -> Array:
        """Compute outputs [batch, ..., out_features] with the given noise."""
        mean = op(x, kernel.mu)
        deviation = op(_signed(noise["in_signs"], x), kernel.sigma * noise["kernel"])
        if bias is not None:
            mean = add_bias(mean, bias.mu)
            deviation = add_bias(deviation, bias.sigma * noise["bias"])
        return mean + _signed(noise["out_signs"], deviation)


flipout: Flipout = Flipout()


def _signs_shape(like: Any) -> tuple[int, ...]:
    """Shape of the signs for an array.

    It is [batch, 1, ..., features] for an array [batch, ..., features], and [features] without a batch axis.
    """
    return like.shape[:-1][:1] + (1,) * (like.ndim - 2) + like.shape[-1:]


def _random_signs(key: Array, rows: int, columns: int) -> Array:
    """Draw fair booleans [rows, columns].

    Each random word serves 32 rows with a bit per row.
    """
    words = jax.random.bits(key, (-(-rows // 32), 1, columns), jnp.uint32)
    bits = (words >> jax.lax.iota(jnp.uint32, 32)[None, :, None]) & jnp.uint32(1)
    return (bits == 1).reshape(-1, columns)[:rows]


def _signed(signs: Array, values: Array) -> Array:
    return jnp.where(jnp.broadcast_to(signs, values.shape), values, -values)
