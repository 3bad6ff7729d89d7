"""The uncertainties of a prediction, from its moments over draws."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.functional.moments import Moments, entropy_of_probs, variance


def of_regression(moments: Moments, aleatoric_var: Any) -> dict[str, Any]:
    """Return the variances of a regression.

    Args:
        moments: of the predicted means over draws.
        aleatoric_var: variance of the noise, which broadcasts to the mean, or None.
    Raises:
        ValueError: `aleatoric_var` has a shape that does not broadcast.
    """
    epistemic = variance(moments)
    if aleatoric_var is None:
        return {"mean": moments.mean, "epistemic_var": epistemic, "total_var": epistemic}
    own, shape = jnp.shape(aleatoric_var), epistemic.shape
    if len(own) > len(shape) or any(a not in (1, b) for a, b in zip(own[::-1], shape[::-1], strict=False)):
        raise ValueError(expected("aleatoric_var", f"to broadcast to {list(shape)}", aleatoric_var))
    aleatoric_var = jnp.broadcast_to(jnp.asarray(aleatoric_var, epistemic.dtype), shape)
    total = epistemic + aleatoric_var
    return {"mean": moments.mean, "epistemic_var": epistemic, "aleatoric_var": aleatoric_var, "total_var": total}


def of_classification(moments: Moments, mean_entropy: Array) -> dict[str, Any]:
    """Return the variances, and the entropies in nats, of a classification.

    Args:
        moments: of the class probabilities over draws.
        mean_entropy: entropy of the probabilities of a draw, averaged over draws, [batch].
    """
    probs, probs_var = moments.mean, variance(moments)
    predictive_entropy = entropy_of_probs(probs)
    # Without rounding errors, H(E p) - E H(p) is never negative.
    mutual_information = jnp.maximum(predictive_entropy - mean_entropy, 0.0)
    own = {"probs": probs, "probs_var": probs_var, "mutual_information": mutual_information}
    same = {"mean": probs, "epistemic_var": probs_var, "total_var": probs_var}
    return {**same, **own, "predictive_entropy": predictive_entropy}
