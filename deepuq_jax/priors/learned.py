"""Priors whose scales are trained with the posterior.

This approximates type-II maximum likelihood: the scales follow the gradient of the ELBO.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from deepuq_jax._checks import expected
from deepuq_jax.priors._numbers import Numbers, is_plain
from deepuq_jax.priors.base import Prior
from deepuq_jax.priors.gaussian import GaussianPrior


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class LearnedPrior(Prior):
    """A prior whose scales are trained with the posterior.

    The ELBO trains the logarithms of the scales, and the scales themselves have no prior. The KL is computed by the
    wrapped prior.

    The model holds the scales in an `nnx.Param`. All weights that share a `LearnedPrior` share its scales: all weights
    of a layer that gets it, or of the whole network in `bayesianize`. A rule that makes a new prior per path,
    `lambda path, leaf: LearnedPrior(...)`, gives each tensor its own scale.

    Args:
        prior: a prior of `deepuq_jax.priors` with a scale, whose value is the initial value. The scale may be an array
            with an entry per weight; the other parameters are plain numbers.
    Raises:
        TypeError: `prior` has no scale to train. ValueError: a parameter of `prior` other than a scale is an array.

    >>> learned = LearnedPrior(GaussianPrior(sigma=0.5))
    >>> round(float(learned.at_present().sigma), 4), len(jax.tree.leaves(learned))
    (0.5, 1)
    """

    prior: Any = field(default_factory=GaussianPrior)
    log_scales: dict[str, Array] = field(init=False)
    is_learned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        prior = self.prior
        if not isinstance(prior, Numbers) or not prior.SCALES:
            raise TypeError(expected("prior", "to be a prior of deepuq_jax.priors with a scale", prior))
        scales = {name: getattr(prior, name) for name in prior.SCALES}
        logs = {name: jnp.log(jnp.asarray(scale, jnp.result_type(float))) for name, scale in scales.items()}
        template = prior.unchecked(**dict.fromkeys(prior.SCALES, 1.0))
        if not all(is_plain(value) for value in vars(template).values()):
            raise ValueError(expected("prior", "to hold plain numbers beside its scales", "arrays"))
        object.__setattr__(self, "prior", template)
        object.__setattr__(self, "log_scales", logs)

    def tree_flatten_with_keys(self) -> tuple[Any, Any]:
        """Flatten into log scales (children) and the rest (static)."""
        return [(jax.tree_util.GetAttrKey("log_scales"), self.log_scales)], self.prior

    @classmethod
    def tree_unflatten(cls, template: Any, children: Any) -> LearnedPrior:
        """Rebuild the prior from its log scales."""
        learned = object.__new__(cls)
        object.__setattr__(learned, "prior", template)
        object.__setattr__(learned, "log_scales", children[0])
        return learned

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether the wrapped prior has a closed-form KL."""
        return self.prior.has_closed_form_kl

    def log_prob(self, w: Array) -> Array:
        """Compute log p(w) at the present scales, in nats, summed."""
        return self.at_present().log_prob(w)

    def resolve(self, mu: Array, rho: Array, mask: Array | None = None) -> Prior:
        """Return the wrapped prior with its present scales."""
        return self.at_present()

    def at_present(self) -> Any:
        """Return the wrapped prior with its present scales."""
        return self.prior.unchecked(**{name: jnp.exp(value) for name, value in self.log_scales.items()})
