"""Weight sampling: one draw of the weights, shared by the batch.

Source: Blundell et al. 2015, Weight Uncertainty in Neural Networks, arXiv 1505.05424, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jax import Array

from deepuq_jax.estimators.base import Estimator, Op, add_bias
from deepuq_jax.noise import normal_like


@dataclass(frozen=True)
class WeightSampling(Estimator):
    """Outputs under one draw of the weights: exact for every layer, and a draw is a function of x.

    y = op(x, mu_W + sigma_W * eps_W) + (mu_b + sigma_b * eps_b)

    Args:
        op: the layer's linear map of `x` and a kernel, which casts both to the compute dtype.
        x: inputs [..., in_features].
        kernel, bias: posteriors; `bias` may be None.
        noise: {"kernel": shape of the kernel, "bias": shape of the bias}.
    Returns:
        outputs [..., out_features], in the dtype of op.

    >>> import jax.numpy as jnp
    >>> from deepuq_jax import GaussianPosterior
    >>> q = GaussianPosterior(jnp.ones((2, 1)), jnp.zeros((2, 1)))
    >>> weight_sampling(jnp.matmul, jnp.ones((1, 2)), q, None, {"kernel": jnp.zeros((2, 1))})
    Array([[2.]], dtype=float32)
    """

    def draw_noise(self, op: Op, x: Any, kernel: Any, bias: Any | None, *, key: Array) -> dict[str, Array]:
        """One standard normal per weight, {"kernel": ..., "bias": ...}; `op` and `x` play no part."""
        del op, x
        like = {"kernel": kernel.mu} if bias is None else {"kernel": kernel.mu, "bias": bias.mu}
        return normal_like(key, like)

    def __call__(self, op: Op, x: Array, kernel: Any, bias: Any | None, noise: dict[str, Array]) -> Array:
        """Outputs under the weights of that noise."""
        outputs = op(x, kernel.sample(noise=noise["kernel"]))
        return outputs if bias is None else add_bias(outputs, bias.sample(noise=noise["bias"]))


weight_sampling = WeightSampling()
