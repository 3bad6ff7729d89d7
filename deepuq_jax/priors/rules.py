"""Rules, which choose a prior for each parameter.

A rule is a function of a parameter's path and means. A model applies its rule once, when it is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from deepuq_jax._arguments import check_axis, check_instance
from deepuq_jax._checks import check_positive, expected
from deepuq_jax._paths import path_matches
from deepuq_jax.priors.base import PriorRule, is_prior
from deepuq_jax.priors.gaussian import GaussianPrior


def by_path(priors: Mapping[str, Any]) -> PriorRule:
    """Choose priors by patterns over the paths of parameters.

    A parameter gets the prior of the first pattern that matches its dotted path. For `bayesianize`, the paths are those
    that `model.bayesian_paths()` lists; an MLP has "layers.0.kernel", "layers.2.bias" and so on; a layer that is built
    alone has "kernel" and "bias".

    Args:
        priors: a prior or a rule for each pattern. In a pattern ``*`` matches anything, dots included.
    Returns:
        A rule for the argument `prior` of layers and `bayesianize`. It raises ValueError for a parameter that no
        pattern matches; a last pattern "*" matches all remaining parameters.
    Raises:
        TypeError: a value of `priors` is neither a prior nor a rule.

    >>> import jax.numpy as jnp
    >>> rule = by_path({"*.bias": GaussianPrior(sigma=1.0), "*": fan_in_gaussian(gain=2.0)})
    >>> rule("layers.0.bias", jnp.zeros(8)).sigma, rule("layers.0.kernel", jnp.zeros((16, 8))).sigma
    (1.0, 0.5)
    """
    check_instance("priors", priors, Mapping, "to be a mapping of patterns to priors")
    for pattern, prior in priors.items():
        check_instance("a pattern of priors", pattern, str, "to be a string")
        if not is_prior(prior) and not callable(prior):
            raise TypeError(expected(f"the prior of {pattern!r}", "to have a method log_prob(w) or be a rule", prior))

    def rule(path: str, leaf: Array) -> Any:
        for pattern, prior in priors.items():
            if path_matches(pattern, path):
                return prior if is_prior(prior) else prior(path, leaf)
        raise ValueError(expected("by_path", f"to have a pattern for {path!r}", ", ".join(map(repr, priors))))

    return rule


def fan_in_gaussian(gain: ArrayLike = 1.0, *, out_axis: int | Sequence[int] = -1) -> PriorRule:
    """Choose Gaussian priors with sigma = gain / sqrt(fan_in).

    Under these priors the scale of a layer's outputs does not depend on the number of its inputs. fan_in is the number
    of weights that contribute to an output: the product of the sizes of all axes but `out_axis`. A bias [out] has
    fan_in 1, so its sigma is `gain`.

    Args:
        gain: positive number or array; an array is a leaf of the priors, as in `GaussianPrior`.
        out_axis: axes of the outputs. They are -1 in Flax and in the layers of this package, 0 in Equinox, and (-2, -1)
            in the query, key and value of `nnx.MultiHeadAttention`. A table of embeddings has fan_in 1, which
            out_axis=(-2, -1) expresses.
    Returns:
        A rule for the argument `prior` of layers and `bayesianize`.
    Source: Neal 1996, Bayesian Learning for Neural Networks, chapter 2 (the scaling); He et al. 2015, arXiv 1502.01852.

    >>> import jax.numpy as jnp
    >>> fan_in_gaussian()("conv.kernel", jnp.zeros((3, 3, 4, 8)))
    GaussianPrior(mu=0.0, sigma=0.16666666666666666)
    """
    check_positive("gain", gain)
    axes = check_axis("out_axis", out_axis)

    def rule(path: str, leaf: Array) -> GaussianPrior:
        # A tensor with fewer axes than `out_axis` names, such as a bias, has only axes of outputs.
        fan_in = leaf.size // prod(leaf.shape[axis] for axis in axes if -leaf.ndim <= axis < leaf.ndim)
        return GaussianPrior(sigma=gain / fan_in**0.5)

    return rule


def below(prior: Any, prefix: str) -> Any:
    """Return the prior for a part of a model.

    If `prior` is a rule, the result is a rule that puts `prefix` before the paths of the part.
    """
    if is_prior(prior) or isinstance(prior, type) or not callable(prior):
        return prior

    def rule(path: str, leaf: Array) -> Any:
        return prior(f"{prefix}.{path}", leaf)

    return rule


@dataclass(frozen=True)
class PosteriorRule:
    """A rule that returns the posterior of a trained model.

    `deepuq_jax.as_prior` makes it.

    Attributes:
        priors: the posterior of each parameter, keyed by dotted path.
    """

    priors: Mapping[str, GaussianPrior]

    def __call__(self, path: str, leaf: Array) -> GaussianPrior:
        """Return the prior for the parameter at `path`.

        Raises:
            ValueError: the trained model has no such parameter, or has it with another shape.
        """
        if path not in self.priors:
            names = ", ".join(self.priors)
            raise ValueError(
                expected("every path of the new model", f"to be in the model of as_prior ({names})", f"{path!r}")
            )
        prior = self.priors[path]
        if jnp.shape(prior.mu) != leaf.shape:
            what = f"of shape {list(jnp.shape(prior.mu))}, as in the model of as_prior"
            raise ValueError(expected(f"the parameter {path!r}", what, leaf))
        return prior
