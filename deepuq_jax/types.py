"""What functions return, and what a Bayesian model is."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from deepuq_jax._checks import check_positive, expected


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True, eq=False)
class UQResult:
    """Predictive moments of a batch; the documented fields first, then two that the JAX side adds.

    A pytree whose arrays are the children and whose `metadata` is static. Every field but `mean` may be None.

    Attributes:
        mean: predictive mean, [batch, ...].
        epistemic_var: variance over draws of the model, the biased one.
        aleatoric_var: variance of the noise, averaged over draws.
        total_var: their sum.
        probs: class probabilities [batch, classes], in classification.
        probs_var: their variance over draws.
        metadata: `method`, `n_samples`, `task` and, in regression, `heteroscedastic`; a dict of this result's own.
        predictive_entropy: entropy of `probs` [batch], nats; None in regression.
        mutual_information: between label and weights [batch], nats (BALD; Houlsby et al. 2011, arXiv 1112.5745): the
            epistemic part of `predictive_entropy`; None in regression.
    """

    mean: Array
    epistemic_var: Array | None = None
    aleatoric_var: Array | None = None
    total_var: Array | None = None
    probs: Array | None = None
    probs_var: Array | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    predictive_entropy: Array | None = None
    mutual_information: Array | None = None

    def __post_init__(self):
        object.__setattr__(self, "metadata", dict(self.metadata))

    def tree_flatten_with_keys(self):
        """Arrays with their names, and the metadata as a sorted tuple: equal results share a treedef."""
        children = [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in _ARRAY_FIELDS]
        return children, tuple(sorted(self.metadata.items()))

    @classmethod
    def tree_unflatten(cls, metadata: Any, children: Any) -> UQResult:
        """The inverse of flattening."""
        return cls(**dict(zip(_ARRAY_FIELDS, children, strict=True)), metadata=dict(metadata))

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Central interval of a Gaussian with the predictive mean and the total variance.

        mean -+ z sqrt(total_var), with P(\\|Z\\| < z) = level.

        Args:
            level: probability inside, between 0 and 1.
        Returns:
            (lower, upper), each the shape of `mean`.
        Raises:
            ValueError: a level outside (0, 1), a classification result, or one with no total variance.

        >>> result = UQResult(mean=jnp.zeros(1), total_var=jnp.ones(1))
        >>> [round(float(bound[0]), 2) for bound in result.interval(0.95)]
        [-1.96, 1.96]
        """
        check_positive("level", level)
        if not isinstance(level, Tracer) and not (np.asarray(level) < 1).all():
            raise ValueError(expected("level", "to be between 0 and 1", f"{level!r}"))
        if self.probs is not None or self.total_var is None:
            raise ValueError("Expected a regression result with a total_var; got a result without an interval.")
        reach = jax.scipy.special.ndtri(
            0.5 + 0.5 * jnp.asarray(level, jnp.result_type(jnp.asarray(self.mean)))
        ) * jnp.sqrt(self.total_var)
        return self.mean - reach, self.mean + reach


_ARRAY_FIELDS = tuple(f.name for f in fields(UQResult) if f.name != "metadata")


class ELBOTerms(NamedTuple):
    """The parts of an objective.

    Attributes:
        nll: -E log p(y|x,w), nats per example, averaged over the batch and the draws.
        kl: KL(q||p) in nats: the whole of it in `ELBO`, KL / num_batches in `DocumentedELBO`.
        state: carried state as the model left it (BatchNorm statistics in training), or None.
        loss: the objective itself, so that a training step can log it.
    """

    nll: Array
    kl: Array
    state: Any = None
    loss: Array | None = None


@runtime_checkable
class BayesianModel(Protocol):
    """A pytree that is called as ``model(x, key=k)`` (a draw) or ``model(x)`` (posterior means) and has ``kl()``."""

    def __call__(self, x: Any, *, key: Array | None = None) -> Array: ...

    def kl(self, key: Array | None = None) -> Array: ...
