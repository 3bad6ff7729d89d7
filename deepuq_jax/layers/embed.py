"""The Bayesian embedding.

Source: Blundell et al. 2015, arXiv 1505.05424.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from jax import Array

from deepuq_jax._checks import check_range, check_size, expected
from deepuq_jax.estimators.weight_sampling import WeightSampling
from deepuq_jax.layers.affine import AffineLayer
from deepuq_jax.layers.linear import Dot
from deepuq_jax.layers.options import LayerOptions

_default_table_init = nnx.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)


@dataclass(frozen=True)
class Lookup:
    """The lookup of rows in a table [num_embeddings, features].

    Integer inputs select rows by index; one-hot rows [..., num_embeddings] are multiplied with the table.
    """

    dtype: Any = None

    def __call__(self, x: Array, table: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.integer):
            return Dot(self.dtype)(x, table)
        (table,) = promote_dtype((table,), dtype=self.dtype)
        return jnp.take(table, x, axis=0)


class BayesianEmbed(AffineLayer):
    """Embedding with a Gaussian posterior over its table.

    y = W[x],  W ~ q(w) = N(mu, softplus(rho)^2);  kl() = KL(q || p) in nats, summed over the table.

    The posterior is `kernel_posterior` [num_embeddings, features]. Weight sampling looks up rows. Every other estimator
    receives the indices as one-hot rows, at the cost of a product with the whole table.

    Args:
        num_embeddings, features: numbers of rows and columns of the table, positive ints.
        kernel_init: initializer of the means of the table; the default is that of `nnx.Embed`.
        prior, estimator, sigma_init, param_dtype, dtype, rngs: as in `BayesianLinear`.
    Raises:
        ValueError, TypeError: as in `BayesianLinear`; also if the indices are not integers or, unless traced, are out
            of range.

    >>> layer = BayesianEmbed(10, 4, rngs=nnx.Rngs(0))
    >>> layer(jnp.array([[1, 2, 1]]), key=jax.random.key(1)).shape
    (1, 3, 4)
    """

    def __init__(self, num_embeddings: int, features: int, *, rngs: nnx.Rngs, **options: Unpack[LayerOptions]):
        self.num_embeddings: int = check_size("num_embeddings", num_embeddings)
        self.features: int = check_size("features", features)
        options = LayerOptions(kernel_init=_default_table_init) | options
        shape = (self.num_embeddings, self.features)
        super().__init__(shape, use_bias=False, rngs=rngs, **options)

    @property
    def _op(self) -> Lookup:
        return Lookup(self.dtype)

    def _checked(self, x: Any) -> Array:
        if not hasattr(x, "dtype") or not jnp.issubdtype(x.dtype, jnp.integer):
            raise TypeError(expected("x", f"to be integer indices below {self.num_embeddings}", x))
        check_range("x", "indices", x, self.num_embeddings)
        if isinstance(self.estimator, WeightSampling):
            return jnp.asarray(x)
        return jax.nn.one_hot(x, self.num_embeddings, dtype=self.dtype or self._posteriors()[0].mu.dtype)
