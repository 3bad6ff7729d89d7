"""Weight sampling: a draw of the weights per batch.

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
    """Outputs of a draw of the weights.

    The outputs are exact in distribution for every layer, and a draw is a function of x.

    y = op(x, mu_W + sigma_W * eps_W) + (mu_b + sigma_b * eps_b)

    Args:
        op: the layer's linear map of `x` and a kernel, which casts both to the compute dtype.
        x: inputs [..., in_features].
        kernel, bias: posteriors; `bias` may be None.
        noise: standard normal numbers, {"kernel": ..., "bias": ...}, of the shapes of the kernel and the bias.
    Returns:
        outputs [..., out_features], in the dtype of `op`.

    >>> import jax.numpy as jnp
    >>> from deepuq_jax import GaussianPosterior
    >>> q = GaussianPosterior(jnp.ones((2, 1)), jnp.zeros((2, 1)))
    >>> weight_sampling(jnp.matmul, jnp.ones((1, 2)), q, None, {"kernel": jnp.zeros((2, 1))})
    Array([[2.]], dtype=float32)
    """

    def draw_noise(self, op: Op, x: Any, kernel: Any, bias: Any | None, *, key: Array) -> dict[str, Array]:
        """Draw a standard normal number per weight."""
        del op, x
        like = {"kernel": kernel.mu} if bias is None else {"kernel": kernel.mu, "bias": bias.mu}
        return normal_like(key, like)

    def __call__(self, op: Op, x: Array, kernel: Any, bias: Any | None, noise: dict[str, Array]) -> Array:
        """Compute outputs with the weights that the noise draws."""
        outputs = op(x, kernel.sample(noise=noise["kernel"]))
        return outputs if bias is None else add_bias(outputs, bias.sample(noise=noise["bias"]))


weight_sampling: WeightSampling = WeightSampling()
