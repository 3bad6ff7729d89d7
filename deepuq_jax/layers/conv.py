"""The Bayesian convolution.

Source: Blundell et al. 2015, arXiv 1505.05424; Shridhar, Laumann & Liwicki 2019, arXiv 1901.02731, for convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype
from jax import Array

from deepuq_jax._checks import check_last_axis, check_size, check_sizes, expected
from deepuq_jax.layers.affine import AffineLayer
from deepuq_jax.layers.options import LayerOptions

_PADDED_BY = {"CIRCULAR": "wrap", "REFLECT": "reflect"}
_WORDS = ("SAME", "VALID", "CAUSAL", *_PADDED_BY)


@dataclass(frozen=True)
class Convolution:
    """The convolution of an input with a kernel.

    The input is [batch, ..., *positions, in], the kernel [*kernel_size, in / groups, out].
    """

    strides: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    dtype: Any = None

    def __call__(self, x: Array, kernel: Array) -> Array:
        x, kernel = promote_dtype((x, kernel), dtype=self.dtype)
        rank = len(self.strides)
        batch = x.shape[: -rank - 1]
        x, padding = self._pad(x.reshape(-1, *x.shape[-rank - 1 :]), kernel.shape[:rank])
        axes = "DHW"[-rank:]
        outputs = jax.lax.conv_general_dilated(
            x,
            kernel,
            self.strides,
            padding,
            rhs_dilation=self.dilation,
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
            feature_group_count=self.groups,
        )
        return outputs.reshape(*batch, *outputs.shape[1:])

    def _pad(self, x: Array, size: tuple[int, ...]) -> tuple[Array, Any]:
        """Apply the paddings that `jax.lax` does not know.

        Returns:
            (padded input, padding left to `jax.lax`)
        """
        reach = [(n - 1) * d for n, d in zip(size, self.dilation, strict=True)]
        if self.padding in _PADDED_BY:
            widths = [(0, 0), *((r // 2, r - r // 2) for r in reach), (0, 0)]
            return jnp.pad(x, widths, mode=_PADDED_BY[self.padding]), "VALID"
        return x, [(reach[0], 0)] if self.padding == "CAUSAL" else self.padding


class BayesianConv(AffineLayer):
    """Convolution with a Gaussian posterior over kernel and bias.

    y = x * W + b,  W, b ~ q(w) = N(mu, softplus(rho)^2);  kl() = KL(q || p) in nats, summed over W and b.

    Inputs have one to three dimensions of positions, with channels last. The posteriors are `kernel_posterior`
    [*kernel_size, in_features / feature_group_count, out_features] and `bias_posterior` [out_features]. Every position
    sees the same weights. Estimators that draw separate noise for each output reproduce the variances of the outputs,
    but not the covariances between positions.

    Args:
        in_features, out_features: numbers of channels, positive ints, multiples of feature_group_count.
        kernel_size: one to three positive ints; a plain int means a single dimension.
        strides, kernel_dilation: an int for all dimensions, or an int per dimension.
        padding: "SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL" (a single dimension, padded before the sequence only),
            an int, or per dimension an int or a pair (before, after).
        feature_group_count: number of groups of channels that do not see each other.
        use_bias: whether to add a bias.
        prior, estimator, kernel_init, sigma_init, param_dtype, dtype, rngs: as in `BayesianLinear`.
    Raises:
        ValueError, TypeError: as in `BayesianLinear`; also if a size or a padding is invalid.

    >>> layer = BayesianConv(3, 8, (3, 3), strides=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((5, 8, 8, 3)), key=jax.random.key(1)).shape
    (5, 4, 4, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        *,
        padding: Any = "SAME",
        kernel_dilation: int | Sequence[int] = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        rngs: nnx.Rngs,
        **options: Unpack[LayerOptions],
    ):
        self.in_features: int = check_size("in_features", in_features)
        self.out_features: int = check_size("out_features", out_features)
        self.kernel_size: tuple[int, ...] = _sizes("kernel_size", kernel_size)
        rank = len(self.kernel_size)
        if not 1 <= rank <= 3:
            raise ValueError(expected("kernel_size", "to have one to three dimensions", f"{self.kernel_size}"))
        groups = check_size("feature_group_count", feature_group_count)
        for name, size in (("in_features", self.in_features), ("out_features", self.out_features)):
            if size % groups:
                raise ValueError(expected(name, f"to be a multiple of feature_group_count = {groups}", f"{size}"))
        self.strides: tuple[int, ...] = _sizes("strides", strides, rank)
        self.kernel_dilation: tuple[int, ...] = _sizes("kernel_dilation", kernel_dilation, rank)
        self.padding: str | tuple[tuple[int, int], ...] = _padding(padding, rank)
        self.feature_group_count = groups
        shape = (*self.kernel_size, self.in_features // groups, self.out_features)
        super().__init__(shape, use_bias=use_bias, rngs=rngs, **options)

    @property
    def _op(self) -> Convolution:
        return Convolution(self.strides, self.padding, self.kernel_dilation, self.feature_group_count, self.dtype)

    def _checked(self, x: Array) -> Array:
        check_last_axis("x", x, self.in_features)
        if x.ndim < len(self.kernel_size) + 2:
            positions = ", ".join("DHW"[-len(self.kernel_size) :])
            raise ValueError(expected("x", f"to have shape [batch, {positions}, {self.in_features}]", x))
        return x


def _sizes(name: str, value: Any, rank: int | None = None) -> tuple[int, ...]:
    """Check sizes, and return a positive int per dimension.

    A plain int is repeated `rank` times; without a rank, it means a single dimension.
    """
    if isinstance(value, (int, np.integer)):
        return (check_size(name, value),) * (rank or 1)
    sizes = check_sizes(name, value)
    if rank is not None and len(sizes) != rank:
        raise ValueError(expected(name, f"to have {rank} entries, as kernel_size has", f"{sizes}"))
    return sizes


def _padding(padding: Any, rank: int) -> str | tuple[tuple[int, int], ...]:
    words = ", ".join(_WORDS)
    if isinstance(padding, str):
        word = padding.upper()
        if word not in _WORDS or (word == "CAUSAL" and rank != 1):
            raise ValueError(expected("padding", f"to be one of {words} (CAUSAL in one dimension only)", repr(padding)))
        return word
    entries = [padding] * rank if isinstance(padding, (int, np.integer)) else padding
    what = f"to be one of {words}, an int, or {rank} ints or pairs (before, after)"
    if not isinstance(entries, Sequence):
        raise TypeError(expected("padding", what, padding))
    pairs = tuple((entry, entry) if isinstance(entry, (int, np.integer)) else tuple(entry) for entry in entries)
    if len(pairs) != rank or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
        raise ValueError(expected("padding", what, f"{padding!r}"))
    return tuple((int(before), int(after)) for before, after in pairs)
