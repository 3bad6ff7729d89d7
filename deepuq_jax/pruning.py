"""Prune weights by their signal-to-noise ratio.

Weights whose mean is small compared with their standard deviation are set to 0.

Source: Blundell et al. 2015, arXiv 1505.05424, section 5.1; Graves 2011, Practical Variational Inference for Neural
Networks.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from deepuq_jax._checks import check_count, check_scalar, expected
from deepuq_jax.diagnostics.weights import weight_tensors
from deepuq_jax.functional.gaussian import sigma_from_rho
from deepuq_jax.model.owners import posteriors_of, weight_owners
from deepuq_jax.model.state import with_streams
from deepuq_jax.model.structure import is_module
from deepuq_jax.model.variables import PruneMask, VariableTree, unwrap

# In floating point 0.29 * 100 is 28.999999999999996; this slack makes it count as 29 weights.
_ROUNDING = 1e-6


def signal_to_noise_curve(model: Any, points: int = 101) -> tuple[Array, Array]:
    """Return the quantiles of the weights' signal-to-noise ratio.

    The curve shows which ratios are lost when a fraction of the weights is pruned.

    Args:
        model: any Bayesian model with mean-field posteriors.
        points: length of the curve.
    Returns:
        (fractions from 0 to 1 [points], \\|mu\\| / sigma at those quantiles over all weights [points]). In decibels the
        ratio is 20 log10(\\|mu\\| / sigma). `prune(model, fractions[i])` prunes the weights below the i-th ratio; it
        refuses the fraction 1.
    Raises:
        ValueError: the model has no mean-field posterior, or `points` is not a positive int.

    >>> from deepuq_jax import BayesianLinear
    >>> fractions, ratio = signal_to_noise_curve(BayesianLinear(3, 2, rngs=nnx.Rngs(0)), points=5)
    >>> fractions.tolist(), float(ratio[0])  # biases start at 0
    ([0.0, 0.25, 0.5, 0.75, 1.0], 0.0)
    """
    check_count("points", points)
    ratios = jnp.concatenate([tensor.signal_to_noise.ravel() for tensor in weight_tensors(model)])
    fractions = jnp.linspace(0.0, 1.0, points)
    return fractions, jnp.quantile(ratios, fractions)


def prune(model: Any, fraction: float) -> Any:
    """Copy a model without its weights of smallest signal-to-noise ratio.

    The given fraction of the weights, those with the smallest \\|mu\\| / sigma, is pruned. A pruned weight is 0 in
    every draw and at the means, adds nothing to the KL, and has no gradient. The mask is carried, and `fit` continues
    to train the other weights. If the model was pruned before, its pruned weights count towards the fraction.

    Plain `jax.grad` of the model itself refuses the boolean masks; `nnx.grad`, `train_step` and `fit` leave them out.

    Args:
        model: a layer, a model of layers, or a model returned by `bayesianize`.
        fraction: fraction of all weights under a posterior, biases included, at least 0 and below 1. The number of
            pruned weights is rounded down.
    Returns:
        A model of the same kind.
    Raises:
        ValueError: the fraction is out of range, the model has no posterior, or one of its posteriors takes no mask.

    >>> from deepuq_jax import BayesianLinear, draw
    >>> layer = prune(BayesianLinear(3, 2, rngs=nnx.Rngs(0)), 0.5)
    >>> int((draw(layer, key=jax.random.key(0)).kernel[...] == 0).sum())  # and both biases, which start at 0
    2
    """
    if not 0 <= check_scalar("fraction", fraction) < 1:
        raise ValueError(expected("fraction", "to be at least 0 and below 1", f"{fraction!r}"))
    weight_tensors(model)  # Refuse a model without a posterior, or with a posterior that is not finite.
    copy = jax.tree.map(_own, model, is_leaf=is_module)
    owners: list[Any] = [owner for _, owner in weight_owners(copy)]
    for owner in owners:
        if not isinstance(owner, nnx.Module) or not hasattr(owner, "prune_mask"):
            raise ValueError(expected("every part with a posterior", "to take a prune mask", type(owner).__name__))
    ratios = [_signal_to_noise(owner) for owner in owners]
    for owner, kept in zip(owners, _keep_largest(ratios, fraction), strict=True):
        owner.prune_mask = nnx.data(VariableTree(kept, PruneMask))
    return copy


def _own(node: Any) -> Any:
    return with_streams(node, None) if isinstance(node, nnx.Module) else node


def _signal_to_noise(owner: Any) -> dict[str, Any]:
    """Compute |mu| / sigma per weight, keyed by posterior name.

    Weights that are already pruned get -1.
    """
    masks = unwrap(owner.prune_mask)
    ratios = {}
    for name, posterior in posteriors_of(owner).items():
        ratio = jax.tree.map(lambda mu, rho: jnp.abs(mu) / sigma_from_rho(rho), posterior.mu, posterior.rho)
        if masks is not None:
            ratio = jax.tree.map(lambda kept, value: jnp.where(kept, value, -1.0), masks[name], ratio)
        ratios[name] = ratio
    return ratios


def _keep_largest(ratios: Any, fraction: float) -> Any:
    """Mark the weights to keep.

    Returns:
        Booleans like `ratios`, False for the given fraction of entries with the smallest ratios and for ratios below 0.
    """
    leaves, treedef = jax.tree.flatten(ratios)
    flat = jnp.concatenate([leaf.ravel() for leaf in leaves])
    # Select by rank: ties (biases at 0) are then pruned in part, and the count is the requested count.
    rank = jnp.argsort(jnp.argsort(flat))
    kept = (rank >= math.floor(fraction * flat.size + _ROUNDING)) & (flat >= 0)
    masks, start = [], 0
    for leaf in leaves:
        masks.append(kept[start : start + leaf.size].reshape(leaf.shape))
        start += leaf.size
    return treedef.unflatten(masks)
