"""Rules: functions of a parameter's path and means that give its prior, applied once, when a model is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from jax import Array
from jax.typing import ArrayLike

from deepuq_jax._checks import check_positive, expected
from deepuq_jax._paths import path_matches
from deepuq_jax.priors.base import PriorRule, is_prior
from deepuq_jax.priors.gaussian import GaussianPrior


def by_path(priors: Mapping[str, Any]) -> PriorRule:
    """A different prior for each parameter: that of the first pattern which matches its dotted path.

    Paths are those of `model.bayesian_paths()` in `bayesianize`, "layers.0.kernel", "layers.2.bias" and so on in an
    MLP, and "kernel" and "bias" in a layer built alone.

    Args:
        priors: patterns, in which ``*`` stands for anything, dots included, and for each a prior or a rule.
    Returns:
        A rule, for the argument `prior` of layers and `bayesianize`; it raises ValueError where no pattern matches
        (put "*" last for the rest).
    Raises:
        TypeError: neither a prior nor a rule.

    >>> import jax.numpy as jnp
    >>> rule = by_path({"*.bias": GaussianPrior(sigma=1.0), "*": fan_in_gaussian(gain=2.0)})
    >>> rule("layers.0.bias", jnp.zeros(8)).sigma, rule("layers.0.kernel", jnp.zeros((16, 8))).sigma
    (1.0, 0.5)
    """
    for pattern, prior in priors.items():
        if not is_prior(prior) and not callable(prior):
            raise TypeError(expected(f"the prior of {pattern!r}", "to have a method log_prob(w) or be a rule", prior))

    def rule(path: str, leaf: Array) -> Any:
        for pattern, prior in priors.items():
            if path_matches(pattern, path):
                return prior if is_prior(prior) else prior(path, leaf)
        raise ValueError(expected("by_path", f"to have a pattern for {path!r}", ", ".join(map(repr, priors))))

    return rule


def fan_in_gaussian(gain: ArrayLike = 1.0, *, out_axis: int | Sequence[int] = -1) -> PriorRule:
    """Gaussian priors under which a layer's outputs keep their scale, whatever its width: sigma = gain / sqrt(fan_in).

    fan_in is the number of weights behind one output: that of all axes but `out_axis`. A bias [out] has fan_in 1, so
    sigma = gain.

    Args:
        gain: above zero, a number or an array (then swept or carried, as in `GaussianPrior`).
        out_axis: axes of the outputs: the last in Flax and in our layers, 0 in Equinox, (-2, -1) for the query, key
            and value of `nnx.MultiHeadAttention`. A table of embeddings has fan_in 1: out_axis=(-2, -1).
    Returns:
        A rule, for the argument `prior` of layers and `bayesianize`.
    Source: Neal 1996, Bayesian Learning for Neural Networks, chapter 2 (the scaling); He et al. 2015, arXiv 1502.01852.

    >>> import jax.numpy as jnp
    >>> fan_in_gaussian()("conv.kernel", jnp.zeros((3, 3, 4, 8)))
    GaussianPrior(mu=0.0, sigma=0.16666666666666666)
    """
    check_positive("gain", gain)
    axes = (out_axis,) if isinstance(out_axis, int) else tuple(out_axis)

    def rule(path: str, leaf: Array) -> GaussianPrior:
        # A tensor of fewer axes than are named, such as a bias, has only axes of outputs.
        fan_in = leaf.size // prod(leaf.shape[axis] for axis in axes if -leaf.ndim <= axis < leaf.ndim)
        return GaussianPrior(sigma=gain / fan_in**0.5)

    return rule


def below(prior: Any, prefix: str) -> Any:
    """The prior of a part of a model: a rule sees the part's paths with `prefix` before them."""
    if is_prior(prior) or not callable(prior):
        return prior
    return lambda path, leaf: prior(f"{prefix}.{path}", leaf)
