"""Flipout: one draw of the weights, with signs of its own for each example.

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

# Apart from the numbers that number a key's draws and streams.
_SIGNS = 0x51615


@dataclass(frozen=True)
class Flipout(Estimator):
    """Outputs under weights whose noise has another sign in each example: decorrelated at the cost of a second product.

    y = op(x, mu_W) + mu_b + r * (op(s * x, sigma_W * eps_W) + sigma_b * eps_b),  with signs r and s per example and
    channel

    Every example sees one draw of N(mu, sigma^2), the same at each of its positions: exact in law for an example, for
    convolutions and sequences too. Two examples see different draws, so a draw is no function of x: `predict_vi_uq`
    and `draw` draw weights instead.

    Args:
        op: the layer's linear map of `x` and a kernel, which casts both to the compute dtype.
        x: inputs [batch, ..., in_features].
        kernel, bias: posteriors; `bias` may be None.
        noise: {"kernel", "bias"} as in `weight_sampling`, and booleans, True for +1: {"in_signs": [batch, 1, ...,
            in_features], "out_signs": [batch, 1, ..., out_features]}.
    Returns:
        outputs [batch, ..., out_features], in the dtype of op.

    >>> from deepuq_jax import GaussianPosterior
    >>> q = GaussianPosterior(jnp.ones((2, 1)), jnp.zeros((2, 1)))
    >>> noise = {"kernel": jnp.zeros((2, 1)), "in_signs": jnp.ones((1, 2), bool), "out_signs": jnp.ones((1, 1), bool)}
    >>> flipout(jnp.matmul, jnp.ones((1, 2)), q, None, noise)
    Array([[2.]], dtype=float32)
    """

    def draw_noise(self, op: Op, x: Any, kernel: Any, bias: Any | None, *, key: Array) -> dict[str, Array]:
        """The noise of `weight_sampling`, and signs for each example and channel, shared by positions."""
        outputs = jax.eval_shape(op, x, kernel.mu)
        in_shape, out_shape = _signs_shape(x), _signs_shape(outputs)
        signs = _random_signs(draw_key(key, _SIGNS), math.prod(x.shape[:-1][:1]), in_shape[-1] + out_shape[-1])
        return {
            **weight_sampling.draw_noise(op, x, kernel, bias, key=key),
            "in_signs": signs[:, : in_shape[-1]].reshape(in_shape),
            "out_signs": signs[:, in_shape[-1] :].reshape(out_shape),
        }

    def __call__(self, op: Op, x: Array, kernel: Any, bias: Any | None, noise: dict[str, Array]) -> Array:
        """Outputs under that noise."""
        mean = op(x, kernel.mu)
        deviation = op(_signed(noise["in_signs"], x), kernel.sigma * noise["kernel"])
        if bias is not None:
            mean = add_bias(mean, bias.mu)
            deviation = add_bias(deviation, bias.sigma * noise["bias"])
        return mean + _signed(noise["out_signs"], deviation)


flipout = Flipout()


def _signs_shape(like: Any) -> tuple[int, ...]:
    """[batch, 1, ..., features] for an array [batch, ..., features]; [features] without a batch."""
    return like.shape[:-1][:1] + (1,) * (like.ndim - 2) + like.shape[-1:]


def _random_signs(key: Array, rows: int, columns: int) -> Array:
    """Fair booleans [rows, columns], from all 32 bits of each random word: one bit for each of 32 rows."""
    words = jax.random.bits(key, (-(-rows // 32), 1, columns), jnp.uint32)
    bits = (words >> jax.lax.iota(jnp.uint32, 32)[None, :, None]) & jnp.uint32(1)
    return (bits == 1).reshape(-1, columns)[:rows]


def _signed(signs: Array, values: Array) -> Array:
    return jnp.where(jnp.broadcast_to(signs, values.shape), values, -values)
